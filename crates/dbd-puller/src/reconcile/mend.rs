//! Mends what a comparison found: deletes first, then what is fetched.

use std::collections::HashSet;

use crate::answer::Next;
use crate::batch::{Gather, Layout};
use crate::client::{Columns, KeyValues, in_parts};
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::reconcile::findings::{Findings, Keys};
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
}

/// Mends the destination.
pub(crate) async fn mend(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    findings: &Findings,
) -> Result<Mended, PullError> {
    let mut mended = Mended::default();
    for keys in findings.only_destination.groups(GROUP) {
        for keys in in_parts(&keys) {
            let gone = gone(source, keys).await?;
            mended.deleted += destination.delete(&source.order.plan, &gone).await?;
        }
    }
    displaced.next_pull();
    (mended.fetched, mended.refused) =
        write(source, destination, displaced, &findings.only_source).await?;
    let (repaired, refused) = write(source, destination, displaced, &findings.differing).await?;
    mended.repaired = repaired;
    mended.refused += refused;
    Ok(mended)
}

/// Those of the keys that the source has no row for at this moment: what it has is never deleted.
async fn gone(source: &Source<'_, '_>, keys: &[KeyValues]) -> Result<Vec<KeyValues>, PullError> {
    let (order, plan) = (source.order, &source.order.plan);
    let stamp = std::slice::from_ref(&plan.stamp.name);
    let mut rows = order.by_key(&Columns::Only(stamp), keys).await?;
    let layout = Layout::of_position(plan, &rows.header.columns)?;
    let mut there = HashSet::new();
    let end = loop {
        match rows.next().await? {
            Next::Row(line) => {
                let (key, _) = layout.position(plan, &line)?;
                there.insert(source.canonical(&key));
            }
            Next::End(end) => break end,
        }
    };
    if end.rows != there.len() as u64 {
        return Err(rows.broken("it does not hold the rows that it counts"));
    }
    let gone = keys
        .iter()
        .filter(|key| !there.contains(&source.canonical(key)));
    Ok(gone.cloned().collect())
}

/// Fetches rows and writes those that are still due (R3); answers how many were written and how many
/// refused.
async fn write(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    keys: &Keys,
) -> Result<(u64, u64), PullError> {
    let (order, plan) = (source.order, &source.order.plan);
    let (mut written, mut refused) = (0, 0);
    for keys in keys.groups(GROUP) {
        for keys in in_parts(&keys) {
            let mut rows = order
                .by_key(&Columns::Without(&plan.excluded), keys)
                .await?;
            let layout = Layout::new(plan, &rows.header.columns)?;
            let mut gather = Gather::new(destination.max_packet);
            let mut writer = Writer::new(order, &layout, destination, displaced);
            while let Next::Row(line) = rows.next().await? {
                let row = layout.row(plan, line)?;
                if !source.is_due(layout.stamp(&row)) {
                    continue;
                }
                written += 1;
                if let Some(batch) = gather.push(row) {
                    writer.write(&batch).await?;
                }
            }
            let last = gather.take();
            if !last.rows.is_empty() {
                writer.write(&last).await?;
            }
            refused += writer.refused();
        }
    }
    Ok((written - refused, refused))
}
