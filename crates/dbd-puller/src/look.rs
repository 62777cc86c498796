//! What has nothing new: found out for all tables at once, so that it costs next to nothing.
//!
//! A table that is passed over counts as pulled, up to the horizon that came with the answer: the server knew
//! that before it saw that the window of this table is empty (R2), and that the row is there behind which the
//! window would begin (R12). Whatever is in doubt is pulled the usual way.

use std::collections::HashSet;

use common::frame::SourceState;
use common::ident::Ident;

use crate::choose::Chosen;
use crate::client::{Begin, Changes, ListedTable, Listing};
use crate::destination::Destination;
use crate::error::PullError;
use crate::known::Known;
use crate::plan::Plan;
use crate::round::Puller;

/// The tables that have nothing new.
#[derive(Default)]
pub(crate) struct Unchanged {
    /// Where the source stood before they were looked at.
    pub(crate) source: Option<SourceState>,
    tables: HashSet<Ident>,
}

impl Unchanged {
    fn new(asked: Vec<Begin>, changes: Changes) -> Self {
        let mut tables: HashSet<Ident> = asked.into_iter().map(|begin| begin.table).collect();
        for table in &changes.changed {
            tables.remove(table);
        }
        Self {
            source: Some(changes.source),
            tables,
        }
    }

    /// Where the source stands, if this table has nothing new.
    pub(crate) fn of(&self, table: &Ident) -> Option<&SourceState> {
        self.source.as_ref().filter(|_| self.tables.contains(table))
    }
}

impl Puller {
    /// The list of tables of the pull before, if it still holds, and what has nothing new since.
    pub(crate) async fn as_before(&mut self) -> Result<Option<(Listing, Unchanged)>, PullError> {
        let Some(mut listing) = self.listing.take() else {
            return Ok(None);
        };
        let begins = |listed: &ListedTable| {
            let known = self.tables.get(&listed.name)?;
            let (_, plan) = known.plan.as_ref()?;
            let (stamp, since) = (stamp(listed, plan)?, known.horizon?);
            self.goes_on(known).then(|| Begin {
                table: listed.name.clone(),
                stamp: stamp.clone(),
                since,
                after: None,
            })
        };
        let begins: Vec<Begin> = listing.tables.iter().filter_map(begins).collect();
        if begins.is_empty() {
            return Ok(None);
        }
        let version = listing.version.as_deref();
        let database = &self.args.source_database;
        let changes = self.client.changed(database, &begins, version).await?;
        let same = |changes: &Changes| {
            changes.source.identity == listing.source.identity
                && Some(changes.version.as_str()) == version
        };
        Ok(changes.filter(same).map(|changes| {
            listing.source = changes.source.clone();
            (listing, Unchanged::new(begins, changes))
        }))
    }

    /// Whether it is known from where a table's next pull goes on.
    fn goes_on(&self, known: &Known) -> bool {
        let is_fine = known.failed.is_none() && known.reached.is_none();
        is_fine && known.checked && !known.resync_is_due(&self.args)
    }

    /// Those of the tables of a new list that have nothing new. From where they go on, where that is not known,
    /// the destination's rows say (R3).
    pub(crate) async fn unchanged(
        &mut self,
        listing: &Listing,
        chosen: &[Chosen<'_>],
        destination: &mut Destination,
    ) -> Result<Unchanged, PullError> {
        if listing.version.is_none() || self.args.only_compares() {
            return Ok(Unchanged::default());
        }
        let mut begins = Vec::new();
        let mut unknown = Vec::new();
        destination.read_tables().await?;
        if self.args.create_tables {
            self.create_missing(listing, chosen, destination).await?;
        }
        for chosen in chosen {
            let Ok(listed) = chosen.listed() else {
                continue;
            };
            let known = self.tables.entry(listed.name.clone()).or_default();
            let usual = known.failed.is_some()
                || known.reached.is_some()
                || known.resync_is_due(&self.args)
                || !destination.has_read(&listed.name);
            if usual {
                continue;
            }
            // What is wrong with it is said when its turn comes.
            let plan = match self.plan(listing, listed, chosen, destination).await {
                Ok(plan) => plan,
                Err(error) if error.is_of_one_table() => continue,
                Err(error) => return Err(error),
            };
            let Some(stamp) = stamp(listed, &plan).cloned() else {
                continue;
            };
            let known = &self.tables[&listed.name];
            match known.horizon {
                Some(horizon) if known.checked => begins.push(Begin {
                    table: listed.name.clone(),
                    stamp,
                    since: horizon,
                    after: None,
                }),
                horizon if plan.stamp_indexed => unknown.push((plan, stamp, horizon)),
                _ => {}
            }
        }
        destination.forget_tables();
        let plans: Vec<&Plan> = unknown.iter().map(|(plan, ..)| &**plan).collect();
        let tops = destination.tops(&plans, listing.source.horizon).await?;
        for ((plan, stamp, horizon), top) in unknown.iter().zip(tops) {
            // R12: never above the horizon of the last pull of this process.
            let top = top.filter(|top| horizon.is_none_or(|horizon| top.stamp < horizon));
            if let Some(top) = top {
                begins.push(Begin {
                    table: plan.table.clone(),
                    stamp: stamp.clone(),
                    since: top.stamp,
                    after: Some(top.key),
                });
            }
        }
        if begins.is_empty() {
            return Ok(Unchanged::default());
        }
        let database = &self.args.source_database;
        let changes = self.client.changed(database, &begins, None).await?;
        // Another dbd-server of the same source may answer, and know less.
        let same = |changes: &Changes| {
            changes.source.identity == listing.source.identity
                && changes.source.horizon >= listing.source.horizon
        };
        Ok(changes
            .filter(same)
            .map_or_else(Unchanged::default, |changes| {
                Unchanged::new(begins, changes)
            }))
    }
}

/// The stamp column, as the source has it.
fn stamp<'a>(listed: &'a ListedTable, plan: &'a Plan) -> Option<&'a Ident> {
    let usual = listed.stamp.as_ref().map(|stamp| &stamp.column);
    plan.asked_stamp.as_ref().or(usual)
}
