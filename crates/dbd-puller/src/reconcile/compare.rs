//! The comparison of one table: coarse first, then finer, down to keys (R9).
//!
//! Whatever is compared, the destination's rows are read before the source is asked about them: a key
//! that the source then does not have is one that it had lost already.

use std::collections::{HashMap, HashSet};

use common::digest::{Digest, Part, first_bits};

use crate::client::KeyValues;
use crate::destination::Destination;
use crate::error::PullError;
use crate::reconcile::findings::Findings;
use crate::reconcile::shape::{Compared, Shape};
use crate::reconcile::source::{Cells, Source, raw};

/// Rows of one range, the coarsest look.
const RANGE_ROWS: usize = 1_000;

/// Rows of the destination that are read in one statement.
const PAGE_ROWS: usize = 10_000;

/// Rows of the destination that are held in memory to be compared one by one, about.
const HELD_ROWS: usize = 50_000;

/// Parts that are asked for in one request; the server takes no more than 10,000.
const MAX_PARTS: usize = 8_000;

/// A part is split until about so many rows are left in it, which are then listed.
const LISTED_ROWS: u64 = 24;

/// The bits that a part is split by at once, at most.
const MAX_SPLIT: u8 = 16;

/// The cells of one request for digests, at most.
const MAX_CELLS: u64 = 1 << 18;

/// The comparison of one table.
struct Comparison<'a, 'b> {
    source: &'a Source<'a, 'b>,
    destination: &'a mut Destination,
    findings: Findings,
}

/// A range of keys whose digests differ, and the destination's rows in it.
struct Suspect {
    after: Option<KeyValues>,
    up_to: Option<KeyValues>,
    rows: Vec<Compared>,
}

/// A part of the table whose digests differ.
#[derive(Clone, Copy)]
struct Differing {
    bits: u8,
    value: u64,
    ours: u64,
    theirs: u64,
}

/// A cell that is not the same on both sides.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Cell {
    /// The number of the part, and the further bits.
    at: (usize, u64),
    /// Rows of the destination in it.
    ours: u64,
    /// Rows of the source in it.
    theirs: u64,
}

/// Compares a table, as far as it is due.
pub(crate) async fn compare(
    source: &Source<'_, '_>,
    destination: &mut Destination,
) -> Result<Findings, PullError> {
    let mut comparison = Comparison {
        source,
        destination,
        findings: Findings::default(),
    };
    if Shape::in_ranges(&source.order.plan) {
        comparison.by_ranges().await?;
    } else {
        comparison.by_hash().await?;
    }
    Ok(comparison.findings)
}

impl Comparison<'_, '_> {
    /// Range by range in the order of keys, which both sides share.
    async fn by_ranges(&mut self) -> Result<(), PullError> {
        let mut ranges = self.source.ranges(RANGE_ROWS).await?;
        let mut shape = Shape::new(
            &self.source.order.plan,
            self.source.level,
            &ranges.answer.header,
        )?;
        let mut after = None;
        let mut suspects: Vec<Suspect> = Vec::new();
        while let Some(range) = ranges.next().await? {
            let read = self
                .read_range(
                    &mut shape,
                    after.take(),
                    range.up_to.clone(),
                    &range.digest,
                    &mut suspects,
                )
                .await?;
            if read != range.digest {
                let held: usize = suspects.iter().map(|suspect| suspect.rows.len()).sum();
                if held >= HELD_ROWS || suspects.len() >= MAX_PARTS {
                    self.settle_ranges(std::mem::take(&mut suspects)).await?;
                }
            }
            after = range.up_to;
        }
        self.settle_ranges(suspects).await
    }

    /// Reads a range of the destination; where it differs, its rows become suspects.
    async fn read_range(
        &mut self,
        shape: &mut Shape,
        mut after: Option<KeyValues>,
        up_to: Option<KeyValues>,
        source: &Digest,
        suspects: &mut Vec<Suspect>,
    ) -> Result<Digest, PullError> {
        let plan = &self.source.order.plan;
        let bound = |key: &Option<KeyValues>| {
            let key = key.as_ref().map(|key| {
                let values: Vec<&str> = key.iter().map(String::as_str).collect();
                shape.scan.bound(&values)
            });
            key.transpose()
                .map_err(|error| crate::position::broken(plan, &error))
        };
        let (mut from, to) = (bound(&after)?, bound(&up_to)?);
        let mut digest = Digest::default();
        loop {
            let (rows, next) = self
                .destination
                .page(plan, shape, from.as_ref(), to.as_ref(), 2 * RANGE_ROWS)
                .await?;
            for row in &rows {
                digest.add(row.hash);
            }
            self.findings.rows += rows.len() as u64;
            let last = match &next {
                Some(_) => rows.last().map(|row| row.key.clone()),
                None => up_to.clone(),
            };
            if next.is_some() || digest != *source {
                suspects.push(Suspect {
                    after: after.take(),
                    up_to: last.clone(),
                    rows,
                });
            }
            if next.is_none() {
                return Ok(digest);
            }
            // More rows than the source's range has: they differ, however many they are.
            let held: usize = suspects.iter().map(|suspect| suspect.rows.len()).sum();
            if held >= HELD_ROWS {
                self.settle_ranges(std::mem::take(suspects)).await?;
            }
            (from, after) = (next, last);
        }
    }

    /// Looks into ranges that differ: by digests of their rows' hashes first, then key by key.
    async fn settle_ranges(&mut self, suspects: Vec<Suspect>) -> Result<(), PullError> {
        for suspects in suspects.chunks(MAX_PARTS) {
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
            let differing = differing(&ours, &theirs);
            for differing in differing.chunks(MAX_PARTS) {
                let parts: Vec<Part> = differing
                    .iter()
                    .map(|cell| suspects[cell.at.0].part(split, cell.at.1))
                    .collect();
                let wanted: HashSet<(usize, u64)> = differing.iter().map(|cell| cell.at).collect();
                let rows = suspects.iter().enumerate().flat_map(|(at, suspect)| {
                    let wanted = &wanted;
                    suspect
                        .rows
                        .iter()
                        .filter(move |row| wanted.contains(&(at, first_bits(row.hash.key, split))))
                });
                let rows: Vec<Compared> = rows.cloned().collect();
                self.settle(&parts, rows).await?;
            }
        }
        Ok(())
    }

    /// By parts that the hash of the key tells from each other: no order of keys is shared.
    async fn by_hash(&mut self) -> Result<(), PullError> {
        // The columns that are hashed are known from the first answer.
        let (answer, _) = self.source.digests(&[], 0).await?;
        let plan = std::sync::Arc::clone(&self.source.order.plan);
        let mut shape = Shape::new(&plan, self.source.level, &answer.header)?;
        drop(answer);

        // As fine as it may be, since how many rows there are is not known yet.
        let mut finest: Vec<Digest> = vec![Digest::default(); 1 << MAX_SPLIT];
        let mut rows = 0_u64;
        self.scan(&mut shape, |row| {
            rows += 1;
            let at = usize::try_from(first_bits(row.hash.key, MAX_SPLIT)).unwrap_or_default();
            finest[at].add(row.hash);
        })
        .await?;
        self.findings.rows = rows;
        let split = (0..MAX_SPLIT)
            .find(|bits| rows >> bits <= RANGE_ROWS as u64 / 2)
            .unwrap_or(MAX_SPLIT);
        let mut ours = Cells::new();
        for (at, digest) in finest
            .iter()
            .enumerate()
            .filter(|(_, digest)| digest.rows > 0)
        {
            let cell = ours
                .entry((0, at as u64 >> (MAX_SPLIT - split)))
                .or_default();
            cell.rows += digest.rows;
            cell.sum = cell.sum.wrapping_add(digest.sum);
        }
        drop(finest);
        let (_, theirs) = self.source.digests(&[Part::default()], split).await?;
        let coarse = differing(&ours, &theirs);
        let mut parts: Vec<Differing> = coarse
            .iter()
            .map(|cell| Differing {
                bits: split,
                value: cell.at.1,
                ours: cell.ours,
                theirs: cell.theirs,
            })
            .collect();
        while !parts.is_empty() {
            let rest = parts.split_off(parts.len().min(MAX_PARTS));
            let finer = self.split_parts(&mut shape, &parts).await?;
            self.list_parts(&mut shape, finer).await?;
            parts = rest;
        }
        Ok(())
    }

    /// Splits parts that differ; answers those of their parts that do.
    async fn split_parts(
        &mut self,
        shape: &mut Shape,
        parts: &[Differing],
    ) -> Result<Vec<Differing>, PullError> {
        let rows = parts.iter().map(|part| part.ours.max(part.theirs));
        let most = rows.max().unwrap_or_default();
        let split = split_for(most, parts.len() as u64);
        let places: HashMap<u64, usize> = parts
            .iter()
            .enumerate()
            .map(|(at, part)| (part.value, at))
            .collect();
        let Some(bits) = parts.first().map(|part| part.bits) else {
            return Ok(Vec::new());
        };
        let mut ours = Cells::new();
        self.scan(shape, |row| {
            if let Some(at) = places.get(&first_bits(row.hash.key, bits)) {
                let further = first_bits(row.hash.key << bits, split);
                ours.entry((*at, further)).or_default().add(row.hash);
            }
        })
        .await?;
        let asked: Vec<Part> = parts.iter().map(Differing::part).collect();
        let (_, theirs) = self.source.digests(&asked, split).await?;
        Ok(differing(&ours, &theirs)
            .into_iter()
            .map(|cell| Differing {
                bits: bits + split,
                value: parts[cell.at.0].value << split | cell.at.1,
                ours: cell.ours,
                theirs: cell.theirs,
            })
            .collect())
    }

    /// Compares the rows of parts one by one, in groups that fit into memory.
    async fn list_parts(
        &mut self,
        shape: &mut Shape,
        parts: Vec<Differing>,
    ) -> Result<(), PullError> {
        let mut left = parts.as_slice();
        while let Some(first) = left.first() {
            let mut held = 0;
            let size = left
                .iter()
                .take(MAX_PARTS)
                .take_while(|part| {
                    held += part.ours;
                    held <= HELD_ROWS as u64
                })
                .count();
            let (group, rest) = left.split_at(size.max(1));
            let wanted: HashSet<u64> = group.iter().map(|part| part.value).collect();
            let mut rows = Vec::new();
            self.scan(shape, |row| {
                if wanted.contains(&first_bits(row.hash.key, first.bits)) {
                    rows.push(row);
                }
            })
            .await?;
            let parts: Vec<Part> = group.iter().map(Differing::part).collect();
            self.settle(&parts, rows).await?;
            left = rest;
        }
        Ok(())
    }

    /// Reads the whole destination, in pages.
    async fn scan(
        &mut self,
        shape: &mut Shape,
        mut each: impl FnMut(Compared),
    ) -> Result<(), PullError> {
        let plan = &self.source.order.plan;
        let mut after = None;
        loop {
            let (rows, next) = self
                .destination
                .page(plan, shape, after.as_ref(), None, PAGE_ROWS)
                .await?;
            rows.into_iter().for_each(&mut each);
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    /// Compares rows of the destination with all the keys that the source has in the same parts.
    async fn settle(&mut self, parts: &[Part], rows: Vec<Compared>) -> Result<(), PullError> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut ours: HashMap<Vec<u8>, Compared> = rows
            .into_iter()
            .map(|row| (self.source.canonical(&row.key), row))
            .collect();
        let mut keys = self.source.keys(parts).await?;
        while let Some(theirs) = keys.next().await? {
            match ours.remove(&self.source.canonical(&theirs.key)) {
                // What is not due comes by the window.
                _ if !self.source.is_due(theirs.stamp) => {}
                None => self.findings.only_source.push(&theirs.key),
                Some(row) if row.hash.row != theirs.hash => {
                    self.findings.differing.push(&theirs.key);
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

impl Suspect {
    fn part(&self, bits: u8, value: u64) -> Part {
        Part {
            after: self.after.as_ref().map(raw),
            up_to: self.up_to.as_ref().map(raw),
            bits,
            value,
        }
    }
}

impl Differing {
    fn part(&self) -> Part {
        Part {
            after: None,
            up_to: None,
            bits: self.bits,
            value: self.value,
        }
    }
}

/// By how many bits parts of at most `rows` rows are split, when there are so many parts.
fn split_for(rows: u64, parts: u64) -> u8 {
    (0..MAX_SPLIT)
        .find(|bits| rows >> bits <= LISTED_ROWS || (parts << (bits + 1)) > MAX_CELLS)
        .unwrap_or(MAX_SPLIT)
}

/// The cells that are not the same on both sides, in order.
fn differing(ours: &Cells, theirs: &Cells) -> Vec<Cell> {
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
        let found = differing(&ours, &theirs);
        let found: Vec<_> = found
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
