//! The comparison by the hash of the key, where no order of keys is shared.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::digest::{Digest, Part, first_bits};

use crate::error::PullError;
use crate::reconcile::compare::{
    Comparison, HELD_BYTES, MAX_SPLIT, differing, in_requests, split_for,
};
use crate::reconcile::shape::{Compared, Shape};
use crate::reconcile::source::Cells;

/// Rows of one part of the coarsest look, at most.
const PART_ROWS: u64 = 500;

/// A part of the table whose digests differ.
#[derive(Clone, Copy)]
struct Differing {
    bits: u8,
    value: u64,
    ours: u64,
    theirs: u64,
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

impl Comparison<'_, '_> {
    /// By parts that the hash of the key tells from each other.
    pub(crate) async fn by_hash(&mut self) -> Result<(), PullError> {
        // The columns that are hashed are known from the header alone.
        let (answer, _) = self.source.digests(&[], 0).await?;
        let plan = Arc::clone(&self.source.order.plan);
        let mut shape = Shape::new(&plan, self.source.level, &answer.header)?;
        drop(answer);

        // As fine as it may be, since how many rows there are is not known yet.
        let mut finest: Vec<Digest> = vec![Digest::default(); 1 << MAX_SPLIT];
        let (mut rows, mut bytes) = (0_u64, 0);
        self.scan(&mut shape, |row| {
            rows += 1;
            bytes += row.bytes() as u64;
            let at = usize::try_from(first_bits(row.hash.key, MAX_SPLIT)).unwrap_or_default();
            finest[at].add(row.hash);
        })
        .await?;
        self.findings.rows = rows;
        let split = (0..MAX_SPLIT)
            .find(|bits| rows >> bits <= PART_ROWS)
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
        let coarse: Vec<Differing> = differing(&ours, &theirs)
            .iter()
            .map(|cell| Differing {
                bits: split,
                value: cell.at.1,
                ours: cell.ours,
                theirs: cell.theirs,
            })
            .collect();
        let row_bytes = bytes / rows.max(1) + 1;
        for parts in in_requests(&coarse, |_| 0) {
            let finer = self.split_parts(&mut shape, parts).await?;
            self.list_parts(&mut shape, &finer, HELD_BYTES as u64 / row_bytes)
                .await?;
        }
        Ok(())
    }

    /// Splits parts that differ; answers those of their parts that do.
    async fn split_parts(
        &mut self,
        shape: &mut Shape,
        parts: &[Differing],
    ) -> Result<Vec<Differing>, PullError> {
        let Some(bits) = parts.first().map(|part| part.bits) else {
            return Ok(Vec::new());
        };
        let rows = parts.iter().map(|part| part.ours.max(part.theirs));
        let split = split_for(rows.max().unwrap_or_default(), parts.len() as u64);
        let places: HashMap<u64, usize> = parts
            .iter()
            .enumerate()
            .map(|(at, part)| (part.value, at))
            .collect();
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

    /// Compares the rows of parts one by one, in groups of about so many rows that fit into memory.
    async fn list_parts(
        &mut self,
        shape: &mut Shape,
        parts: &[Differing],
        rows: u64,
    ) -> Result<(), PullError> {
        let mut left = parts;
        while let Some(first) = left.first() {
            let mut held = 0;
            let fits = left.iter().take_while(|part| {
                held += part.ours;
                held <= rows
            });
            let size = fits.count().max(1);
            let size = in_requests(&left[..size], |_| 0)[0].len();
            let (group, rest) = left.split_at(size);
            let wanted: HashSet<u64> = group.iter().map(|part| part.value).collect();
            let mut rows = Vec::new();
            self.scan(shape, |row| {
                if wanted.contains(&first_bits(row.hash.key, first.bits)) {
                    rows.push(row);
                }
            })
            .await?;
            let asked: Vec<Part> = group.iter().map(Differing::part).collect();
            self.settle(&asked, rows.iter()).await?;
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
        let page = shape.page_rows();
        loop {
            let (rows, next) = self
                .destination
                .page(plan, shape, after.as_ref(), None, page)
                .await?;
            rows.into_iter().for_each(&mut each);
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }
}
