//! Passes of reconcile: when there is one, of which tables, and in which order.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use common::digest::Level;
use common::ident::Ident;
use common::logs::millis;
use tokio::time::Instant;

use crate::args::Args;
use crate::choose::Chosen;
use crate::client::Listing;
use crate::destination::Destination;
use crate::error::PullError;
use crate::pull::Start;
use crate::reconcile::{Deletes, Mended, Source, check_deletes, reconcile, verify};
use crate::round::{Puller, order};
use crate::status::Came;

/// Between the beginnings of two passes, unless `--delete-interval` says otherwise.
const DELETE_INTERVAL: Duration = Duration::from_secs(300);

/// The pass that is under way, or was the last.
#[derive(Default)]
pub(crate) struct Pass {
    /// The tables still to be reconciled.
    left: VecDeque<Ident>,
    /// Those that failed for a moment and are tried once more.
    again: Vec<Ident>,
    began: Option<Instant>,
    /// Another server answers since the pass before: what it has not is not deleted in this one.
    keeps: bool,
}

impl Pass {
    /// Begins a new pass over these tables when it is time for one.
    fn begin_when_due(&mut self, args: &Args, tables: impl Iterator<Item = Ident>) {
        let interval = args.delete_interval.unwrap_or(DELETE_INTERVAL);
        let due = match self.began {
            None => true,
            Some(began) => args.poll_interval.is_some() && began.elapsed() >= interval,
        };
        if due && self.left.is_empty() {
            self.left = tables.collect();
            self.again.clear();
            // This one has been the source for a whole interval.
            self.keeps &= self.began.is_none();
            self.began = Some(Instant::now());
        }
    }

    /// Another server answers as the source: a new pass begins at once, to find what it has otherwise. A
    /// wrong server must not empty the destination, so nothing is deleted before the next pass.
    pub(crate) fn of_another_server(&mut self) {
        *self = Self {
            keeps: true,
            ..Self::default()
        };
    }

    /// The destination is another one, or its pass was broken off: a new one begins at once.
    pub(crate) fn of_another_destination(&mut self) {
        *self = Self {
            keeps: self.keeps,
            ..Self::default()
        };
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
            let result = match table.filter(|table| pulled.contains(&table.name)) {
                Some(table) => {
                    self.status.works_on(&name);
                    Some(self.reconcile(listing, table, destination).await)
                }
                None => None,
            };
            let known = self.tables.entry(name.clone()).or_default();
            match result {
                Some(Ok(())) => {
                    known.unmended = None;
                    self.status.table(&name, known, Came::Reconciled);
                }
                Some(Err(error)) if !error.is_of_one_table() => {
                    self.pass.left.push_front(name);
                    return Err(error);
                }
                Some(Err(error)) => {
                    known.reconcile_failed(&error);
                    let passing = matches!(
                        error,
                        PullError::CutShort { .. } | PullError::Refusal { .. }
                    );
                    if passing && until.is_some() && !self.pass.again.contains(&name) {
                        self.pass.again.push(name.clone());
                        self.pass.left.push_back(name.clone());
                    }
                    self.status.table(&name, known, Came::Failed);
                    failed.push(name);
                }
                None => {}
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
        let source = Source {
            order: &order,
            level: level(&self.args),
            due,
        };
        let deletes = match self.pass.keeps {
            true => Deletes::Keep,
            false => Deletes::UpTo(self.args.max_deletes),
        };
        let mut mended = Mended::default();
        let displaced = &mut known.displaced;
        let result = reconcile(&source, destination, displaced, deletes, &mut mended).await;
        // What was done was done, also when the rest failed.
        if result.is_ok() || mended.count() > 0 {
            tracing::info!(
                table = chosen.name.as_str(),
                deleted = mended.deleted,
                fetched = mended.fetched,
                repaired = mended.repaired,
                bytes = self.client.received() - received,
                seconds = millis(began.elapsed().as_secs_f64()),
                below = %due,
                "reconciled"
            );
            known.totals.add(&mended);
        }
        result?;
        if mended.kept > 0 {
            tracing::warn!(
                table = chosen.name.as_str(),
                "{} rows that the server which answers now has not were kept; the next pass deletes \
                 them if it is still the source",
                mended.kept
            );
        }
        let table_error = |reason| {
            Err(PullError::Table {
                table: chosen.name.clone(),
                reason,
            })
        };
        if mended.refused > 0 {
            return table_error(format!(
                "{} rows were left out, which the destination refused; mend what the lines above \
                 name, then reconcile again",
                mended.refused
            ));
        }
        if mended.waiting > 0 {
            return table_error(format!(
                "{} rows are to get unique values that other rows hold until the next pull brings \
                 those rows' changes; pull and reconcile again",
                mended.waiting
            ));
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
        // What is stamped later than the position was not pulled yet.
        let due = match order.position(destination).await? {
            Start::Behind(position) => order.pulled_below(&position).await?,
            Start::Beginning | Start::Horizon(_) => listing.source.horizon.floor(precision),
        };
        order.due = Some(due);
        let level = level(&self.args);
        let source = Source {
            order: &order,
            level,
            due,
        };
        let findings = verify(&source, destination).await?;
        let differences = findings.count();
        tracing::info!(
            table = chosen.name.as_str(),
            rows = findings.rows,
            only_destination = findings.only_destination.found,
            only_source = findings.only_source.found,
            differing = findings.differing.found,
            bytes = self.client.received() - received,
            seconds = millis(began.elapsed().as_secs_f64()),
            below = %due,
            %level,
            "compared"
        );
        if self.args.reconciles() {
            let (deletes, rows) = (findings.only_destination.found, findings.rows);
            if let Err(error) = check_deletes(&chosen.name, self.args.max_deletes, deletes, rows) {
                tracing::warn!("{error}");
            }
        }
        if let Err(error) = print(findings.lines(&chosen.name)).await {
            self.say(format!("the differences cannot be printed: {error}"));
        }
        Ok(differences)
    }
}

/// Prints lines. A thread of its own does, since whoever reads them may take its time, and a puller that is told
/// to stop must hear it.
async fn print(lines: Vec<String>) -> io::Result<()> {
    let printing = tokio::task::spawn_blocking(move || {
        let mut out = io::stdout().lock();
        for line in lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    });
    printing.await.map_err(io::Error::other)?
}
