//! The comparison by ranges of keys, where both sides have keys in the same order.
//!
//! The source cuts its table into ranges and streams their digests; the destination is read along with
//! them. Where only few rows are gone at the source, the difference of the two sums says which, and
//! no key needs to travel.

use std::collections::{HashMap, HashSet};

use common::digest::{Digest, Part, first_bits};
use common::scan::Bound;

use crate::client::KeyValues;
use crate::error::PullError;
use crate::position::broken;
use crate::reconcile::compare::{Comparison, HELD_BYTES, differing, in_requests, split_for};
use crate::reconcile::key::{self, KeyText};
use crate::reconcile::shape::{Compared, Shape};
use crate::reconcile::source::{Cells, Range};

/// Rows of one range.
const RANGE_ROWS: usize = 500;

/// Rows without the end of a range from which on they are taken apart by themselves.
const LONG: usize = 4 * RANGE_ROWS;

/// Rows that are believed to be gone before the source is asked for them.
const CANDIDATES: usize = 1_000;

/// A range of keys that differs, and the destination's rows in it.
struct Suspect {
    after: Option<KeyText>,
    up_to: Option<KeyText>,
    rows: Vec<Compared>,
}

/// A range that would be the same without some rows of the destination.
struct Explained {
    after: Option<KeyText>,
    up_to: Option<KeyText>,
    gone: Vec<KeyText>,
}

/// What differs and is still to be looked into.
#[derive(Default)]
struct Doubts {
    suspects: Vec<Suspect>,
    explained: Vec<Explained>,
}

impl Doubts {
    fn are_many(&self) -> bool {
        let rows = self.suspects.iter().flat_map(|suspect| &suspect.rows);
        rows.map(Compared::bytes).sum::<usize>() >= HELD_BYTES
    }

    fn candidates(&self) -> usize {
        self.explained.iter().map(|range| range.gone.len()).sum()
    }

    /// Takes note of the destination's rows in a range, unless they are the source's.
    fn take(
        &mut self,
        after: Option<KeyText>,
        up_to: Option<KeyText>,
        rows: Vec<Compared>,
        source: Option<Digest>,
    ) {
        let mut digest = Digest::default();
        for row in &rows {
            digest.add(row.hash);
        }
        if source == Some(digest) {
            return;
        }
        let gone = source.and_then(|source| gone(&rows, digest, source));
        match gone {
            Some(gone) => self.explained.push(Explained { after, up_to, gone }),
            None => self.suspects.push(Suspect { after, up_to, rows }),
        }
    }
}

/// The one or two rows without which the digest would be the source's, if there are such.
pub(super) fn gone(rows: &[Compared], ours: Digest, source: Digest) -> Option<Vec<KeyText>> {
    let sum = ours.sum.wrapping_sub(source.sum);
    match ours.rows.checked_sub(source.rows)? {
        1 => {
            let row = rows.iter().find(|row| row.hash.row == sum)?;
            Some(vec![row.key.clone()])
        }
        2 => {
            let places: HashMap<u64, usize> = rows
                .iter()
                .enumerate()
                .map(|(at, row)| (row.hash.row, at))
                .collect();
            let pair = rows.iter().enumerate().find_map(|(at, row)| {
                let other = places.get(&sum.wrapping_sub(row.hash.row))?;
                (*other != at).then_some((at, *other))
            })?;
            Some(vec![rows[pair.0].key.clone(), rows[pair.1].key.clone()])
        }
        _ => None,
    }
}

impl Comparison<'_, '_> {
    /// Range by range in the order of keys, which both sides share.
    pub(crate) async fn by_ranges(&mut self) -> Result<(), PullError> {
        let mut ranges = self.source.ranges(RANGE_ROWS).await?;
        let header = &ranges.answer.header;
        let mut shape = Shape::new(&self.source.order.plan, self.source.level, header)?;
        let mut after = None;
        let mut doubts = Doubts::default();
        // The source may have lost rows that are still to be read here.
        let at_once = (shape.page_rows() * 5 / 6 / RANGE_ROWS).max(1);
        loop {
            let mut next = Vec::with_capacity(at_once);
            while next.len() < at_once {
                match ranges.next().await? {
                    Some(range) => next.push(range),
                    None => break,
                }
            }
            let Some(last) = next.last() else {
                break;
            };
            let up_to = last.up_to.clone();
            self.read_ranges(&mut shape, after, &next, &mut doubts)
                .await?;
            if doubts.candidates() >= CANDIDATES {
                self.confirm(&mut shape, &mut doubts).await?;
            }
            if doubts.are_many() {
                self.settle_ranges(&mut doubts).await?;
            }
            after = up_to;
        }
        self.confirm(&mut shape, &mut doubts).await?;
        self.settle_ranges(&mut doubts).await
    }

    /// Reads successive ranges of the destination, and doubts those that differ.
    async fn read_ranges(
        &mut self,
        shape: &mut Shape,
        after: Option<KeyValues>,
        ranges: &[Range],
        doubts: &mut Doubts,
    ) -> Result<(), PullError> {
        let Some((last, before)) = ranges.split_last() else {
            return Ok(());
        };
        let plan = &self.source.order.plan;
        let ends: HashMap<u64, usize> = before
            .iter()
            .enumerate()
            .filter_map(|(at, range)| Some((self.source.key_hash(range.up_to.as_ref()?), at)))
            .collect();
        let mut from = self.bound(shape, after.as_ref())?;
        let to = self.bound(shape, last.up_to.as_ref())?;
        let mut after = after.as_deref().map(key::text);
        // The first range whose end has not been met; none of a sum where a part of it was taken already.
        let mut at = 0;
        let mut cut = false;
        let mut rows: Vec<Compared> = Vec::new();
        let sum = |ranges: &[Range], cut: bool| {
            let mut sum = Digest::default();
            for range in ranges {
                sum.rows = sum.rows.saturating_add(range.digest.rows);
                sum.sum = sum.sum.wrapping_add(range.digest.sum);
            }
            (!cut).then_some(sum)
        };
        loop {
            let (page, next) = self
                .destination
                .page(plan, shape, from.as_ref(), to.as_ref(), shape.page_rows())
                .await?;
            self.findings.rows += page.len() as u64;
            for row in page {
                let end = ends.get(&row.hash.key).copied().filter(|end| *end >= at);
                let up_to = row.key.clone();
                rows.push(row);
                if let Some(end) = end {
                    let source = sum(&ranges[at..=end], cut);
                    let rows = std::mem::take(&mut rows);
                    doubts.take(after.replace(up_to.clone()), Some(up_to), rows, source);
                    (at, cut) = (end + 1, false);
                } else if rows.len() >= LONG {
                    let rows = std::mem::take(&mut rows);
                    doubts.take(after.replace(up_to.clone()), Some(up_to), rows, None);
                    cut = true;
                }
            }
            if next.is_none() {
                break;
            }
            if doubts.are_many() {
                self.settle_ranges(doubts).await?;
            }
            from = next;
        }
        let up_to = last.up_to.as_deref().map(key::text);
        doubts.take(after, up_to, rows, sum(&ranges[at..], cut));
        Ok(())
    }

    fn bound(&self, shape: &Shape, key: Option<&KeyValues>) -> Result<Option<Bound>, PullError> {
        let bound = key.map(|key| {
            let values: Vec<&str> = key.iter().map(String::as_str).collect();
            shape.scan.bound(&values)
        });
        bound
            .transpose()
            .map_err(|error| broken(&self.source.order.plan, &error))
    }

    /// Asks the source for the rows that are believed to be gone.
    async fn confirm(&mut self, shape: &mut Shape, doubts: &mut Doubts) -> Result<(), PullError> {
        for ranges in std::mem::take(&mut doubts.explained).chunks(CANDIDATES) {
            let keys: Vec<KeyValues> = ranges
                .iter()
                .flat_map(|range| &range.gone)
                .map(|key| key::values(key))
                .collect();
            let there = self.source.there(&keys).await?;
            for range in ranges {
                let found = range
                    .gone
                    .iter()
                    .map(|key| there.get(&self.source.canonical(&key::values(key))));
                let found: Vec<_> = found.collect();
                // It has a row that it had not a moment ago, and not since the pull: no sum explains that.
                if found
                    .iter()
                    .flatten()
                    .any(|there| self.source.is_due(there.stamp))
                {
                    self.suspect(shape, range, doubts).await?;
                    continue;
                }
                for (key, there) in range.gone.iter().zip(found) {
                    if there.is_none() {
                        self.findings.only_destination.push(key);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a range of the destination again, to be looked into.
    async fn suspect(
        &mut self,
        shape: &mut Shape,
        range: &Explained,
        doubts: &mut Doubts,
    ) -> Result<(), PullError> {
        let values = |key: &Option<KeyText>| key.as_ref().map(|key| key::values(key));
        let mut from = self.bound(shape, values(&range.after).as_ref())?;
        let to = self.bound(shape, values(&range.up_to).as_ref())?;
        let plan = &self.source.order.plan;
        let mut after = range.after.clone();
        loop {
            let (rows, next) = self
                .destination
                .page(plan, shape, from.as_ref(), to.as_ref(), shape.page_rows())
                .await?;
            let up_to = match &next {
                Some(_) => rows.last().map(|row| row.key.clone()),
                None => range.up_to.clone(),
            };
            doubts.take(after, up_to.clone(), rows, None);
            if next.is_none() {
                return Ok(());
            }
            (from, after) = (next, up_to);
        }
    }

    /// Looks into ranges that differ: by digests of parts of them first, then key by key.
    async fn settle_ranges(&mut self, doubts: &mut Doubts) -> Result<(), PullError> {
        for suspects in in_requests(&std::mem::take(&mut doubts.suspects), Suspect::bytes) {
            let parts: Vec<Part> = suspects.iter().map(|suspect| suspect.part(0, 0)).collect();
            let split = split_for(RANGE_ROWS as u64, parts.len() as u64);
            let mut ours = Cells::new();
            for (at, suspect) in suspects.iter().enumerate() {
                for row in &suspect.rows {
                    let cell = (at, first_bits(row.hash.key, split));
                    ours.entry(cell).or_default().add(row.hash);
                }
            }
            let (_, theirs) = self.source.digests(&parts, split).await?;
            let cells = differing(&ours, &theirs);
            for cells in in_requests(&cells, |cell| suspects[cell.at.0].bytes()) {
                let parts: Vec<Part> = cells
                    .iter()
                    .map(|cell| suspects[cell.at.0].part(split, cell.at.1))
                    .collect();
                let wanted: HashSet<(usize, u64)> = cells.iter().map(|cell| cell.at).collect();
                let rows = suspects.iter().enumerate().flat_map(|(at, suspect)| {
                    let wanted = &wanted;
                    suspect
                        .rows
                        .iter()
                        .filter(move |row| wanted.contains(&(at, first_bits(row.hash.key, split))))
                });
                self.settle(&parts, rows).await?;
            }
        }
        Ok(())
    }
}

impl Suspect {
    /// The length of the keys that its range is named by, in bytes.
    fn bytes(&self) -> usize {
        let keys = [&self.after, &self.up_to];
        keys.iter()
            .map(|key| key.as_ref().map_or(4, |key| key.len()))
            .sum()
    }

    fn part(&self, bits: u8, value: u64) -> Part {
        // A key's text is the JSON of its values.
        let raw = |key: &Option<KeyText>| serde_json::from_str(key.as_deref()?).ok();
        Part {
            after: raw(&self.after),
            up_to: raw(&self.up_to),
            bits,
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::digest::RowHash;

    fn rows(hashes: &[u64]) -> (Vec<Compared>, Digest) {
        let mut digest = Digest::default();
        let rows = hashes.iter().map(|hash| {
            let hash = RowHash {
                key: *hash,
                row: *hash,
            };
            digest.add(hash);
            Compared {
                key: format!("[{}]", hash.key).into(),
                hash,
            }
        });
        let rows = rows.collect();
        (rows, digest)
    }

    #[test]
    fn r9_few_rows_that_are_gone_are_known_by_the_sums() {
        let (ours, digest) = rows(&[3, u64::MAX, 50, 700]);
        for (left, expected) in [
            (&[3, u64::MAX, 700][..], Some(&["[50]"][..])),
            (&[3, 50, 700], Some(&["[18446744073709551615]"])),
            (&[u64::MAX, 700], Some(&["[3]", "[50]"])),
            // Three are too many; another row instead; one more.
            (&[700], None),
            (&[3, 50, 701], None),
            (&[3, u64::MAX, 50, 700, 9], None),
            (&[3, 4, 700], None),
        ] {
            let found = gone(&ours, digest, rows(left).1);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|keys| keys.iter().map(|key| &**key).collect());
            assert_eq!(found.as_deref(), expected, "{left:?}");
        }
    }
}
