//! Reconcile: one comparison of a table with the source, as a story (R9).

mod by_key;
mod compare;
mod findings;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod hashed;
mod key;
mod mend;
mod pages;
#[cfg(test)]
mod properties;
mod ranges;
mod shape;
mod source;

pub use guard::MaxDeletes;

pub(crate) use findings::Findings;
pub(crate) use guard::check as check_deletes;
pub(crate) use mend::Mended;
pub(crate) use source::Source;

use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;

/// How many rows a reconcile may delete.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deletes {
    /// None: they are counted.
    Keep,
    /// As many as the guard lets through.
    UpTo(Option<MaxDeletes>),
}

/// Compares a table and says what differs; writes nothing. Others may write to the destination
/// meanwhile, a puller perhaps: what differs is looked at again, and counts when it still does.
pub(crate) async fn verify(
    source: &Source<'_, '_>,
    destination: &mut Destination,
) -> Result<Findings, PullError> {
    let first = compare::compare(source, destination, Findings::default()).await?;
    if first.count() == 0 {
        return Ok(first);
    }
    let second = first.again();
    drop(first);
    compare::compare(source, destination, second).await
}

/// Compares a table that was pulled up to what is due, and mends what differs; counts in `mended` what it
/// has done, also when it fails.
pub(crate) async fn reconcile(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    deletes: Deletes,
    mended: &mut Mended,
) -> Result<(), PullError> {
    let table = &source.order.plan.table;
    // Of the table as it was before the first delete.
    let mut rows = None;
    let mut left = u64::MAX;
    loop {
        let mut findings = compare::compare(source, destination, Findings::default()).await?;
        let rows = *rows.get_or_insert(findings.rows);
        let gone = findings.only_destination.found;
        match deletes {
            Deletes::Keep => {
                mended.kept = gone;
                findings.only_destination = findings::Keys::default();
            }
            Deletes::UpTo(max) => guard::check(table, max, mended.deleted + gone, rows)?,
        }
        // What did not fit into memory is found again, without what was mended.
        if findings.count() >= left {
            return Err(PullError::Table {
                table: table.clone(),
                reason: format!(
                    "{} rows differ again after they were written; see whether triggers at the \
                     destination change what is written",
                    findings.count()
                ),
            });
        }
        left = findings.count();
        mend::mend(source, destination, displaced, &findings, mended).await?;
        if findings.is_whole() {
            return Ok(());
        }
    }
}
