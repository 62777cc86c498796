//! How the rows of one table are compared: which columns, in which order; pure.

use common::digest::{Hasher, Level, RowHash};
use common::frame::Header;
use common::ident::Ident;
use common::scan::{Bound, Scan};
use common::table::same_name;
use common::wire::KindError;
use mysql_async::Row;

use crate::error::PullError;
use crate::plan::{Plan, Planned};
use crate::position::cell;
use crate::reconcile::key::KeyText;

/// A row of the destination, as it is compared.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    pub(crate) key: KeyText,
    pub(crate) hash: RowHash,
}

impl Compared {
    /// The memory it takes, in bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + self.key.len() + 16
    }
}

/// The rows of a page take at most so many bytes.
const PAGE_BYTES: u64 = 8 << 20;

/// Rows that are read in one statement, where keys are short.
const PAGE_ROWS: u64 = 12_000;

/// The same where they are as long as they can be.
const LEAST_PAGE_ROWS: u64 = 1_000;

/// How the destination's rows are read and hashed.
pub(crate) struct Shape {
    /// The columns that are hashed.
    columns: Vec<Planned>,
    /// Where the key's columns stand among them, in the key's order.
    key: Vec<usize>,
    /// Where those of the destination's key stand, in its own order.
    scanned: Vec<usize>,
    pub(crate) scan: Scan,
    hasher: Hasher,
}

impl Shape {
    /// Whether both sides have keys in the same order, so that they can be compared in ranges.
    pub(crate) fn in_ranges(plan: &Plan) -> bool {
        let key = &plan.destination_key;
        let same_order = plan
            .key
            .iter()
            .zip(&key.columns)
            .all(|(planned, name)| planned.destination.name == *name);
        same_order
            && key.prefixes.iter().all(Option::is_none)
            && scan_of(plan).is_some_and(|scan| scan.sorts_alike())
    }

    /// Takes the columns that the source has hashed.
    pub(crate) fn new(plan: &Plan, level: Level, header: &Header) -> Result<Self, PullError> {
        let changed = |name: &Ident| PullError::Table {
            table: plan.table.clone(),
            reason: format!("column {name} changed at the source while it was compared; try again"),
        };
        let mut columns = Vec::with_capacity(header.columns.len());
        for column in &header.columns {
            let planned = plan.columns.iter().find(|planned| {
                planned.source.name == column.name && planned.source.kind == column.kind
            });
            columns.push(planned.ok_or_else(|| changed(&column.name))?.clone());
        }
        if level == Level::Full
            && let Some(missing) = plan.columns.iter().find(|planned| {
                columns
                    .iter()
                    .all(|column: &Planned| column.source.name != planned.source.name)
            })
        {
            return Err(changed(&missing.source.name));
        }
        let place = |name: &Ident| {
            columns
                .iter()
                .position(|planned| same_name(planned.destination.name.as_str(), name.as_str()))
                .ok_or_else(|| changed(name))
        };
        let key: Vec<usize> = plan
            .key
            .iter()
            .map(|planned| place(&planned.destination.name))
            .collect::<Result<_, _>>()?;
        let scanned = plan
            .destination_key
            .columns
            .iter()
            .map(place)
            .collect::<Result<_, _>>()?;
        let fields = columns
            .iter()
            .map(|planned| (planned.source.kind, planned.destination.is_tagged()))
            .collect();
        let scan = scan_of(plan).ok_or_else(|| changed(&plan.key[0].source.name))?;
        Ok(Self {
            hasher: Hasher::new(fields, key.clone()),
            columns,
            key,
            scanned,
            scan,
        })
    }

    /// How many rows of the destination are read in one statement.
    pub(crate) fn page_rows(&self) -> usize {
        // A character takes up to four bytes, a number no more than some twenty.
        let key = self.key.iter().map(|at| {
            let length = self.columns[*at].destination.max_length;
            length.map_or(20, |length| 4 * length)
        });
        let bytes: u64 = 64 + key.sum::<u64>();
        let rows = (PAGE_BYTES / bytes).clamp(LEAST_PAGE_ROWS, PAGE_ROWS);
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    /// What is selected.
    pub(crate) fn select(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|planned| planned.destination.select())
            .chain(self.scan.cursor())
            .collect()
    }

    /// What is compared of a row that was read by [`Shape::select`].
    pub(crate) fn compared(&mut self, row: &Row) -> Result<Compared, KindError> {
        let hash = self.hasher.hash(|at| cell(row, at))?;
        let mut key = b"[".to_vec();
        for at in &self.key {
            if key.len() > 1 {
                key.push(b',');
            }
            let planned = &self.columns[*at];
            let (kind, tagged) = (planned.source.kind, planned.destination.is_tagged());
            kind.encode(cell(row, *at), tagged, &mut key)?;
        }
        key.push(b']');
        Ok(Compared {
            key: String::from_utf8_lossy(&key).into(),
            hash,
        })
    }

    /// Where the next page goes on behind this row.
    pub(crate) fn bound_of(&self, row: &Row) -> Result<Bound, KindError> {
        let key = self.scanned.iter().map(|at| cell(row, *at));
        let cursor = (self.columns.len()..row.len()).map(|at| cell(row, at));
        self.scan.bound_of(key, cursor)
    }
}

fn scan_of(plan: &Plan) -> Option<Scan> {
    let key = &plan.destination_key;
    let columns = key.columns.iter().map(|name| {
        plan.key
            .iter()
            .find(|planned| planned.destination.name == *name)
            .map(|planned| planned.destination.clone())
    });
    let columns = columns.collect::<Option<Vec<_>>>()?;
    let index = plan.destination_index.as_ref();
    Some(Scan::new(&plan.table.to_string(), index, columns))
}
