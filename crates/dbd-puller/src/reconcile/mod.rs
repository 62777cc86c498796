//! Reconcile: one comparison of a table with the source, as a story (R9).

mod compare;
mod delete;
mod findings;
mod guard;
mod hashed;
mod key;
mod mend;
mod pages;
mod ranges;
mod shape;
mod source;

use common::digest::Level;
use common::stamp::Stamp;

pub use guard::MaxDeletes;

pub(crate) use findings::Findings;
pub(crate) use mend::Mended;

use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::pull::Order;
use crate::reconcile::source::Source;

/// Compares a table and says what differs; writes nothing. Others may write to the destination
/// meanwhile, a puller perhaps: what differs is looked at again, and counts when it still does.
pub(crate) async fn verify(
    order: &Order<'_>,
    destination: &mut Destination,
    level: Level,
    due: Stamp,
) -> Result<Findings, PullError> {
    let source = Source { order, level, due };
    let first = compare::compare(&source, destination).await?;
    if first.count() == 0 {
        return Ok(first);
    }
    Ok(compare::compare(&source, destination)
        .await?
        .also_in(&first))
}

/// Compares a table that was pulled up to `due`, and mends what differs.
pub(crate) async fn reconcile(
    order: &Order<'_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    level: Level,
    due: Stamp,
    max_deletes: Option<MaxDeletes>,
) -> Result<Mended, PullError> {
    let source = Source { order, level, due };
    let mut all = Mended::default();
    let mut rows = None;
    loop {
        let findings = compare::compare(&source, destination).await?;
        let table = &order.plan.table;
        // Of the table as it was before the first delete.
        let rows = *rows.get_or_insert(findings.rows);
        let deletes = all.deleted + findings.only_destination.found;
        guard::check(table, max_deletes, deletes, rows)?;
        let mended = mend::mend(&source, destination, displaced, &findings).await?;
        all.deleted += mended.deleted;
        all.fetched += mended.fetched;
        all.repaired += mended.repaired;
        all.refused += mended.refused;
        // What did not fit into memory is found again, without what was mended.
        let mended = mended.deleted + mended.fetched + mended.repaired;
        if findings.is_whole() || mended == 0 {
            return Ok(all);
        }
    }
}
