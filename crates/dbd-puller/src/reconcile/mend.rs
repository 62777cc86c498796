//! Mends what a comparison found: deletes first, then what is fetched.

use std::collections::HashSet;

use crate::answer::Next;
use crate::batch::{Gather, Layout};
use crate::client::{Columns, KeyValues, in_parts};
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::reconcile::findings::Findings;
use crate::reconcile::source::Source;
use crate::writer::Writer;

/// Keys that are handled together.
const GROUP: usize = 1_000;

/// What was mended of a table.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mended {
    /// Rows that the source has no more.
    pub(crate) deleted: u64,
    /// Rows that the destination did not have.
    pub(crate) fetched: u64,
    /// Rows that were written again.
    pub(crate) repaired: u64,
    /// Rows that the destination refused and that were left out.
    pub(crate) refused: u64,
    /// Rows whose unique value is not free before the next pull.
    pub(crate) waiting: u64,
    /// Rows that the source has no more, and that were not to be deleted.
    pub(crate) kept: u64,
}

impl Mended {
    /// How many rows are as they should be now.
    pub(crate) fn count(&self) -> u64 {
        self.deleted + self.fetched + self.repaired
    }
}

/// Mends the destination, and counts what it has done in `mended`.
pub(crate) async fn mend(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    findings: &Findings,
    mended: &mut Mended,
) -> Result<(), PullError> {
    for keys in findings.only_destination.groups(GROUP) {
        let gone = gone(source, destination, keys).await?;
        mended.deleted += destination.delete(&source.order.plan, &gone).await?;
    }
    displaced.next_pull();
    for (keys, repairs) in [(&findings.only_source, false), (&findings.differing, true)] {
        for keys in keys.groups(GROUP) {
            for keys in in_parts(&keys) {
                write(source, destination, displaced, keys, repairs, mended).await?;
            }
        }
    }
    Ok(())
}

/// The last look before a delete: those of the keys that the source has no row for at this moment.
///
/// A key that it spells otherwise by now stays too, while the destination's collation holds both equal:
/// the row is written again with its new spelling, and keeps the values that only the destination has.
async fn gone(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    keys: Vec<KeyValues>,
) -> Result<Vec<KeyValues>, PullError> {
    let plan = &source.order.plan;
    let there = source.there(&keys).await?;
    let ours: HashSet<Vec<u8>> = keys.iter().map(|key| source.canonical(key)).collect();
    let respelled: Vec<KeyValues> = there
        .iter()
        .filter(|(canonical, _)| !ours.contains(*canonical))
        .map(|(_, row)| row.key.clone())
        .collect();
    let mut stay = HashSet::new();
    for key in destination.held_equal(plan, &respelled).await? {
        stay.insert(source.canonical(&key));
    }
    let gone = keys.into_iter().filter(|key| {
        let canonical = source.canonical(key);
        !there.contains_key(&canonical) && !stay.contains(&canonical)
    });
    Ok(gone.collect())
}

/// Fetches rows and writes those that are still due (R3).
async fn write(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    keys: &[KeyValues],
    repairs: bool,
    mended: &mut Mended,
) -> Result<(), PullError> {
    let (order, plan) = (source.order, &source.order.plan);
    let mut rows = order
        .by_key(&Columns::Without(&plan.excluded), keys)
        .await?;
    let layout = Layout::new(plan, &rows.header.columns)?;
    let mut gather = Gather::default();
    let mut writer = Writer::new(order, &layout, destination, displaced);
    loop {
        let batch = match rows.next().await? {
            Next::Row(line) => match layout.row(plan, line) {
                Ok(row) if source.is_due(layout.stamp(&row)) => gather.push(row),
                Ok(_) => None,
                Err(error @ PullError::Row { .. }) if order.ignore_refusals => {
                    writer.left_out(&error);
                    mended.refused += 1;
                    None
                }
                Err(error) => return Err(error),
            },
            Next::End(_) => break,
        };
        if let Some(batch) = batch {
            writer.count(&batch, repairs, mended).await?;
        }
    }
    let last = gather.take();
    writer.count(&last, repairs, mended).await
}

impl Writer<'_, '_> {
    async fn count(
        &mut self,
        batch: &crate::batch::Batch,
        repairs: bool,
        mended: &mut Mended,
    ) -> Result<(), PullError> {
        let before = self.refused();
        let waiting = self.mend(batch).await?;
        let refused = self.refused() - before;
        let written = batch.rows.len() as u64 - waiting - refused;
        mended.waiting += waiting;
        mended.refused += refused;
        match repairs {
            true => mended.repaired += written,
            false => mended.fetched += written,
        }
        Ok(())
    }
}
