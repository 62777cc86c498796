//! Passes of reconcile: when there is one, of which tables, and in which order.

use std::collections::VecDeque;

use common::digest::Level;
use common::ident::Ident;
use tokio::time::Instant;

use crate::args::Args;
use crate::choose::Chosen;
use crate::client::Listing;
use crate::destination::Destination;
use crate::error::PullError;
use crate::pull::Start;
use crate::reconcile::{reconcile, verify};
use crate::round::{Puller, order};

/// The pass that is under way, or was the last.
#[derive(Default)]
pub(crate) struct Pass {
    /// The tables still to be reconciled.
    left: VecDeque<Ident>,
    began: Option<Instant>,
}

impl Pass {
    /// Begins a new pass over these tables when it is time for one.
    fn begin_when_due(&mut self, args: &Args, tables: impl Iterator<Item = Ident>) {
        let due = match self.began {
            None => true,
            Some(began) => args.poll_interval.is_some() && began.elapsed() >= args.delete_interval,
        };
        if due && self.left.is_empty() {
            self.left = tables.collect();
            self.began = Some(Instant::now());
        }
    }

    /// A new pass begins at once: what was compared before is of another server.
    pub(crate) fn again(&mut self) {
        *self = Self::default();
    }
}

/// The level of a reconcile.
fn level(args: &Args) -> Level {
    args.verify.unwrap_or(Level::Stamps)
}

impl Puller {
    /// Reconciles tables, children first, until `until`, but one at least; answers those that could not be.
    /// The tables that were not pulled in this round wait for the next pass.
    pub(crate) async fn pass(
        &mut self,
        listing: &Listing,
        chosen: &[Chosen<'_>],
        pulled: &[Ident],
        until: Option<Instant>,
        destination: &mut Destination,
    ) -> Result<Vec<Ident>, PullError> {
        // Listed are parents first.
        let listed = listing.tables.iter().rev().map(|listed| &listed.name);
        let is_chosen = |name: &&Ident| chosen.iter().any(|chosen| chosen.name == **name);
        self.pass
            .begin_when_due(&self.args, listed.filter(is_chosen).cloned());
        let mut failed = Vec::new();
        while let Some(name) = self.pass.left.pop_front() {
            let table = chosen.iter().find(|chosen| chosen.name == name);
            if let Some(table) = table.filter(|table| pulled.contains(&table.name))
                && let Err(error) = self.reconcile(listing, table, destination).await
            {
                if !error.is_of_one_table() {
                    return Err(error);
                }
                self.tables.entry(name.clone()).or_default().fail(&error);
                failed.push(name);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
        Ok(failed)
    }

    async fn reconcile(
        &mut self,
        listing: &Listing,
        chosen: &Chosen<'_>,
        destination: &mut Destination,
    ) -> Result<(), PullError> {
        let Ok(listed) = chosen.listed.as_ref() else {
            return Ok(());
        };
        let plan = self.plan(listing, listed, chosen, destination).await?;
        let known = self.tables.entry(chosen.name.clone()).or_default();
        let Some(due) = known.horizon else {
            return Ok(());
        };
        let (began, received) = (Instant::now(), self.client.received());
        let mut order = order(&self.client, &self.args, listing, plan);
        order.due = Some(due);
        let mended = reconcile(
            &order,
            destination,
            &mut known.displaced,
            level(&self.args),
            due,
            self.args.max_deletes,
        )
        .await?;
        tracing::info!(
            table = chosen.name.as_str(),
            deleted = mended.deleted,
            fetched = mended.fetched,
            repaired = mended.repaired,
            bytes = self.client.received() - received,
            seconds = format_args!("{:.3}", began.elapsed().as_secs_f64()),
            below = %due,
            "reconciled"
        );
        known.totals.add(&mended);
        if mended.refused > 0 {
            return Err(PullError::Table {
                table: chosen.name.clone(),
                reason: format!(
                    "{} rows were left out, which the destination refused; mend what the lines \
                     above name, then reconcile again",
                    mended.refused
                ),
            });
        }
        Ok(())
    }

    /// Compares a table without writing anything, and prints what differs; answers how many rows do.
    pub(crate) async fn verify(
        &mut self,
        listing: &Listing,
        chosen: &Chosen<'_>,
        destination: &mut Destination,
    ) -> Result<u64, PullError> {
        let listed = chosen.listed()?;
        let plan = self.plan(listing, listed, chosen, destination).await?;
        let (began, received) = (Instant::now(), self.client.received());
        let mut order = order(&self.client, &self.args, listing, plan);
        let precision = order.plan.precision;
        // What lies above the position was not pulled yet.
        let due = match order.position(destination).await? {
            Start::Behind(position) => position.stamp.next(precision),
            Start::Beginning | Start::Horizon(_) => listing.source.horizon.floor(precision),
        };
        order.due = Some(due);
        let level = level(&self.args);
        let findings = verify(&order, destination, level, due).await?;
        let differences = findings.count();
        tracing::info!(
            table = chosen.name.as_str(),
            rows = findings.rows,
            only_destination = findings.only_destination.found,
            only_source = findings.only_source.found,
            differing = findings.differing.found,
            bytes = self.client.received() - received,
            seconds = format_args!("{:.3}", began.elapsed().as_secs_f64()),
            below = %due,
            %level,
            "compared"
        );
        for line in findings.lines(&chosen.name) {
            println!("{line}");
        }
        Ok(differences)
    }
}
