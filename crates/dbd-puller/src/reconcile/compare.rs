//! The comparison of one table: coarse first, then finer, down to keys (R9).
//!
//! Whatever is compared, the destination's rows are read before the source is asked about them: a key
//! that the source then does not have is one that it had lost already.

use std::collections::HashMap;

use common::digest::{Digest, Part};

use crate::destination::Destination;
use crate::error::PullError;
use crate::reconcile::findings::Findings;
use crate::reconcile::key;
use crate::reconcile::shape::{Compared, Shape};
use crate::reconcile::source::{Cells, Source};

/// Rows of the destination that are held in memory to be compared one by one, in bytes, about.
pub(crate) const HELD_BYTES: usize = 12 << 20;

/// Parts that are asked for in one request; the server takes no more than 10,000.
const MAX_PARTS: usize = 8_000;

/// The keys in the parts of one request, in bytes: a form of them has at most three times as many,
/// and the server takes 4 MiB.
const MAX_PART_BYTES: usize = 1 << 20;

/// The bits that a part is split by at once, at most.
pub(crate) const MAX_SPLIT: u8 = 16;

/// A part is split until about so many rows are left in it, which are then listed.
const LISTED_ROWS: u64 = 24;

/// The cells of one request for digests, at most.
const MAX_CELLS: u64 = 1 << 18;

/// The comparison of one table.
pub(crate) struct Comparison<'a, 'b> {
    pub(crate) source: &'a Source<'a, 'b>,
    pub(crate) destination: &'a mut Destination,
    pub(crate) findings: Findings,
}

/// A cell that is not the same on both sides.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Cell {
    /// The number of the part, and the further bits.
    pub(crate) at: (usize, u64),
    /// Rows of the destination in it.
    pub(crate) ours: u64,
    /// Rows of the source in it.
    pub(crate) theirs: u64,
}

/// Compares a table, as far as it is due.
pub(crate) async fn compare(
    source: &Source<'_, '_>,
    destination: &mut Destination,
    findings: Findings,
) -> Result<Findings, PullError> {
    let mut comparison = Comparison {
        source,
        destination,
        findings,
    };
    if Shape::in_ranges(&source.order.plan) {
        comparison.by_ranges().await?;
    } else {
        comparison.by_hash().await?;
    }
    Ok(comparison.findings)
}

impl Comparison<'_, '_> {
    /// Compares rows of the destination with all the keys that the source has in the same parts.
    pub(crate) async fn settle<'r>(
        &mut self,
        parts: &[Part],
        rows: impl Iterator<Item = &'r Compared>,
    ) -> Result<(), PullError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut ours: HashMap<Vec<u8>, &Compared> = rows
            .map(|row| (self.source.canonical(&key::values(&row.key)), row))
            .collect();
        let mut keys = self.source.keys(parts).await?;
        while let Some(theirs) = keys.next().await? {
            match ours.remove(&self.source.canonical(&theirs.key)) {
                // What is not due comes by the window.
                _ if !self.source.is_due(theirs.stamp) => {}
                None => self.findings.only_source.push(&key::text(&theirs.key)),
                Some(row) if row.hash.row != theirs.hash => {
                    self.findings.differing.push(&key::text(&theirs.key));
                }
                Some(_) => {}
            }
        }
        for row in ours.values() {
            self.findings.only_destination.push(&row.key);
        }
        Ok(())
    }
}

/// Splits parts so that each of the slices can be asked for in one request; `bytes` tells how long a
/// part's keys are.
pub(crate) fn in_requests<T>(parts: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut requests = Vec::new();
    let (mut from, mut sum) = (0, 0);
    for (at, part) in parts.iter().enumerate() {
        let length = bytes(part) + 16;
        if at > from && (at - from >= MAX_PARTS || sum + length > MAX_PART_BYTES) {
            requests.push(&parts[from..at]);
            (from, sum) = (at, 0);
        }
        sum += length;
    }
    if from < parts.len() {
        requests.push(&parts[from..]);
    }
    requests
}

/// By how many bits parts of at most `rows` rows are split, when there are so many parts.
pub(crate) fn split_for(rows: u64, parts: u64) -> u8 {
    (0..MAX_SPLIT)
        .find(|bits| rows >> bits <= LISTED_ROWS || (parts << (bits + 1)) > MAX_CELLS)
        .unwrap_or(MAX_SPLIT)
}

/// The cells that are not the same on both sides, in order.
pub(crate) fn differing(ours: &Cells, theirs: &Cells) -> Vec<Cell> {
    let none = Digest::default();
    let mut differing: Vec<Cell> = ours
        .keys()
        .chain(theirs.keys().filter(|cell| !ours.contains_key(cell)))
        .filter_map(|at| {
            let ours = ours.get(at).unwrap_or(&none);
            let theirs = theirs.get(at).unwrap_or(&none);
            (ours != theirs).then_some(Cell {
                at: *at,
                ours: ours.rows,
                theirs: theirs.rows,
            })
        })
        .collect();
    differing.sort_unstable();
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: u64, sum: u64) -> Digest {
        Digest { rows, sum }
    }

    #[test]
    fn r9_cells_differ_by_rows_or_by_sum_or_by_being_there() {
        let ours = Cells::from([
            ((0, 1), digest(3, 7)),
            ((0, 2), digest(3, 7)),
            ((0, 3), digest(3, 7)),
            ((1, 0), digest(1, 0)),
        ]);
        let theirs = Cells::from([
            ((0, 1), digest(3, 7)),
            ((0, 2), digest(3, 8)),
            ((0, 3), digest(4, 7)),
            ((2, 0), digest(5, 0)),
        ]);
        let found: Vec<_> = differing(&ours, &theirs)
            .iter()
            .map(|cell| (cell.at, cell.ours, cell.theirs))
            .collect();
        assert_eq!(
            found,
            [
                ((0, 2), 3, 3),
                ((0, 3), 3, 4),
                ((1, 0), 1, 0),
                ((2, 0), 0, 5)
            ]
        );
    }

    #[test]
    fn requests_are_bounded_by_parts_and_by_bytes() {
        let parts: Vec<usize> = vec![10; MAX_PARTS + 1];
        let sizes = |parts: &[usize]| -> Vec<usize> {
            let requests = in_requests(parts, |part| *part);
            requests.iter().map(|request| request.len()).collect()
        };
        assert_eq!(sizes(&parts), [MAX_PARTS, 1]);
        assert_eq!(sizes(&[MAX_PART_BYTES, 2, MAX_PART_BYTES / 2, 7]), [1, 3]);
        assert!(sizes(&[]).is_empty());
    }

    #[test]
    fn parts_are_split_down_to_what_can_be_listed() {
        for (rows, parts, bits) in [
            (0, 1, 0),
            (24, 1, 0),
            (25, 1, 1),
            (1_000, 1, 6),
            (1_000, 8_000, 5),
            (u64::MAX, 1, 16),
        ] {
            assert_eq!(split_for(rows, parts), bits, "{rows} {parts}");
        }
    }
}
