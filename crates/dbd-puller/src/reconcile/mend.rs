//! Mends what a comparison found: deletes first, then what is fetched.

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
        // The last look: what the source has at this moment is never deleted.
        let there = source.stamps(&keys).await?;
        let gone = keys
            .into_iter()
            .filter(|key| !there.contains_key(&source.canonical(key)));
        let gone: Vec<KeyValues> = gone.collect();
        mended.deleted += destination.delete(&source.order.plan, &gone).await?;
    }
    displaced.next_pull();
    (mended.fetched, mended.refused) =
        write(source, destination, displaced, &findings.only_source).await?;
    let (repaired, refused) = write(source, destination, displaced, &findings.differing).await?;
    mended.repaired = repaired;
    mended.refused += refused;
    Ok(mended)
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
