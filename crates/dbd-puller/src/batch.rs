//! Rows as they arrive, gathered into bounded batches; pure.

use bytes::Bytes;
use common::frame::{HeaderColumn, values};
use common::ident::Ident;
use common::stamp::Stamp;

use crate::client::KeyValues;
use crate::error::PullError;
use crate::literal::literal;
use crate::plan::{Plan, Planned};

/// The rows of one statement at most: the server is slower with more, which it reads as a whole first.
const STATEMENT_ROWS: usize = 250;

/// The literals of one statement at most, in bytes, where the server's max_allowed_packet is not
/// smaller. A row that is longer goes alone.
const STATEMENT_BYTES: usize = 1 << 20;

/// The rows of one batch at most. A commit costs what a hundred rows do, and some batches are in memory at a time.
const MAX_ROWS: usize = 4_000;

/// The rows of one batch at most, as they came and as literals, in bytes.
const MAX_BYTES: usize = 3 << 19;

/// The rows that are written the careful way at once, or of which one that is refused is looked for.
pub(crate) const PART_ROWS: usize = 1_000;

/// A row to write.
#[derive(Clone, Debug)]
pub(crate) struct BatchRow {
    /// The row as it came.
    line: Bytes,
    /// Its literals in parentheses, in the order of [`Plan::columns`].
    pub(crate) tuple: Vec<u8>,
}

impl BatchRow {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        self.line.len() + self.tuple.len()
    }
}

/// Rows that are written in one transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<BatchRow>,
}

impl Batch {
    /// Whether it is one row that is longer than a batch is otherwise: few of these are to be in memory.
    pub(crate) fn is_one_long_row(&self) -> bool {
        matches!(self.rows.as_slice(), [row] if row.bytes() > MAX_BYTES)
    }
}

/// Cuts rows into those of one statement each; `max_packet` is the destination's max_allowed_packet, in bytes.
pub(crate) fn statements<'a>(
    mut rows: &'a [&'a BatchRow],
    max_packet: usize,
) -> impl Iterator<Item = &'a [&'a BatchRow]> {
    let max_bytes = STATEMENT_BYTES.min(max_packet / 2);
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&&BatchRow| {
            bytes += row.tuple.len() + 1;
            bytes <= max_bytes
        };
        let fitting = rows.iter().take(STATEMENT_ROWS).take_while(fits).count();
        let (statement, rest) = rows.split_at(fitting.max(1).min(rows.len()));
        rows = rest;
        (!statement.is_empty()).then_some(statement)
    })
}

/// Where the columns of a plan stand in the rows of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    columns: Vec<usize>,
    key: Vec<usize>,
    stamp: usize,
    generated: Vec<usize>,
    width: usize,
}

impl Layout {
    /// Finds the plan's columns in the header of an answer.
    pub(crate) fn new(plan: &Plan, header: &[HeaderColumn]) -> Result<Self, PullError> {
        // A column that came since the plan was made would be left out in silence.
        let known = |column: &&HeaderColumn| {
            plan.columns
                .iter()
                .chain(&plan.generated)
                .any(|planned| planned.source.name == column.name)
        };
        if let Some(new) = header.iter().find(|column| !known(column)) {
            return Err(changed(plan, &new.name));
        }
        let all = |planned: &[Planned]| -> Result<Vec<usize>, PullError> {
            planned
                .iter()
                .map(|planned| find(plan, header, planned))
                .collect()
        };
        Ok(Self {
            columns: all(&plan.columns)?,
            generated: all(&plan.generated)?,
            ..Self::of_position(plan, header)?
        })
    }

    /// Finds the key and the stamp alone.
    pub(crate) fn of_position(plan: &Plan, header: &[HeaderColumn]) -> Result<Self, PullError> {
        let stamp = plan
            .columns
            .iter()
            .find(|planned| planned.destination.name == plan.stamp.name)
            .ok_or_else(|| changed(plan, &plan.stamp.name))?;
        let key = plan.key.iter().map(|planned| find(plan, header, planned));
        Ok(Self {
            columns: Vec::new(),
            key: key.collect::<Result<_, _>>()?,
            stamp: find(plan, header, stamp)?,
            generated: Vec::new(),
            width: header.len(),
        })
    }

    /// The key and the stamp of a line.
    pub(crate) fn position(
        &self,
        plan: &Plan,
        line: &[u8],
    ) -> Result<(KeyValues, Option<Stamp>), PullError> {
        let values = self.values(plan, line)?;
        Ok((self.key_of(&values), stamp_of(values[self.stamp])))
    }

    /// Makes a row to write from a line of the answer.
    pub(crate) fn row(&self, plan: &Plan, line: Bytes) -> Result<BatchRow, PullError> {
        let mut tuple = Vec::with_capacity(line.len() + 16);
        {
            let values = self.values(plan, &line)?;
            tuple.push(b'(');
            for (planned, at) in plan.columns.iter().zip(&self.columns) {
                if tuple.len() > 1 {
                    tuple.push(b',');
                }
                let wire = values[*at];
                let refuse = |reason: String| PullError::Row {
                    table: plan.table.clone(),
                    key: self.key_of(&values).join(", "),
                    reason,
                };
                literal(&planned.source, &planned.destination, wire, &mut tuple)
                    .map_err(|error| refuse(format!("column {}: {error}", planned.source.name)))?;
                if let Some(limit) = planned.limit
                    // No character is shorter than a byte.
                    && wire.len() as u64 > limit
                    && length(wire) > limit
                {
                    return Err(refuse(format!(
                        "column {} holds at most {limit} and the value is longer",
                        planned.destination.name
                    )));
                }
            }
            tuple.push(b')');
        }
        Ok(BatchRow { line, tuple })
    }

    /// The key of a row.
    pub(crate) fn key(&self, row: &BatchRow) -> KeyValues {
        self.with(row, |values| self.key_of(values))
    }

    /// The stamp of a row; none where it is NULL.
    pub(crate) fn stamp(&self, row: &BatchRow) -> Option<Stamp> {
        self.with(row, |values| stamp_of(values.get(self.stamp)?))
    }

    /// The wire form of a column of the destination, where the answer has it.
    pub(crate) fn value(
        &self,
        plan: &Plan,
        row: &BatchRow,
        destination: &str,
    ) -> Option<(Planned, String)> {
        let written = plan.columns.iter().zip(&self.columns);
        let generated = plan.generated.iter().zip(&self.generated);
        let (planned, at) = written.chain(generated).find(|(planned, _)| {
            common::table::same_name(planned.destination.name.as_str(), destination)
        })?;
        self.with(row, |values| {
            values
                .get(*at)
                .map(|value| (planned.clone(), (*value).to_owned()))
        })
    }

    fn values<'a>(&self, plan: &Plan, line: &'a [u8]) -> Result<Vec<&'a str>, PullError> {
        let cut = |why: String| PullError::CutShort {
            table: plan.table.clone(),
            why,
        };
        let values = values(line).map_err(|error| cut(error.to_string()))?;
        if values.len() != self.width {
            return Err(cut("a row of another width than its header".to_owned()));
        }
        Ok(values)
    }

    fn key_of(&self, values: &[&str]) -> KeyValues {
        self.key
            .iter()
            .filter_map(|at| values.get(*at))
            .map(|value| (*value).to_owned())
            .collect()
    }

    fn with<T>(&self, row: &BatchRow, read: impl FnOnce(&[&str]) -> T) -> T {
        // The line was read once before, when the row was made.
        read(&values(&row.line).unwrap_or_default())
    }
}

fn find(plan: &Plan, header: &[HeaderColumn], planned: &Planned) -> Result<usize, PullError> {
    header
        .iter()
        .position(|column| column.name == planned.source.name && column.kind == planned.source.kind)
        .ok_or_else(|| changed(plan, &planned.source.name))
}

fn changed(plan: &Plan, column: &Ident) -> PullError {
    PullError::Table {
        table: plan.table.clone(),
        reason: format!("column {column} changed at the source while it was pulled; pull again"),
    }
}

fn stamp_of(value: &str) -> Option<Stamp> {
    serde_json::from_str(value).ok()
}

/// The characters of a text.
fn length(wire: &str) -> u64 {
    let Ok(text) = serde_json::from_str::<String>(wire) else {
        return 0;
    };
    text.chars().count() as u64
}

/// Gathers rows until a batch is full.
#[derive(Default)]
pub(crate) struct Gather {
    batch: Batch,
    bytes: usize,
}

impl Gather {
    /// Adds a row; answers a batch when it is full.
    pub(crate) fn push(&mut self, row: BatchRow) -> Option<Batch> {
        let mut full = None;
        if !self.batch.rows.is_empty()
            && (self.batch.rows.len() == MAX_ROWS || self.bytes + row.bytes() > MAX_BYTES)
        {
            full = Some(self.take());
        }
        self.bytes += row.bytes();
        self.batch.rows.push(row);
        full
    }

    /// What is left.
    pub(crate) fn take(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bytes: usize) -> BatchRow {
        BatchRow {
            line: Bytes::new(),
            tuple: vec![b'x'; bytes],
        }
    }

    #[test]
    fn a_batch_is_bounded_by_rows_and_by_bytes() {
        let mut gather = Gather::default();
        let full: Vec<usize> = (0..10_000)
            .filter_map(|_| gather.push(row(10)))
            .map(|batch| batch.rows.len())
            .collect();
        assert_eq!(full, [4_000, 4_000]);
        assert_eq!(gather.take().rows.len(), 2_000);

        const HALF: usize = MAX_BYTES / 2;
        for (bytes, full) in [
            (HALF, None),
            (HALF, None),
            (1, Some(2)),
            (MAX_BYTES * 2, Some(1)),
            (1, Some(1)),
        ] {
            assert_eq!(
                gather.push(row(bytes)).map(|batch| batch.rows.len()),
                full,
                "{bytes}"
            );
        }
        assert_eq!(gather.take().rows.len(), 1);
        assert!(gather.take().rows.is_empty());
    }

    #[test]
    fn a_statement_is_bounded_by_rows_and_by_bytes() {
        let cut = |sizes: &[usize], max_packet: usize| -> Vec<usize> {
            let rows: Vec<BatchRow> = sizes.iter().map(|bytes| row(*bytes)).collect();
            let rows: Vec<&BatchRow> = rows.iter().collect();
            statements(&rows, max_packet).map(<[_]>::len).collect()
        };
        assert_eq!(cut(&[10; 600], 1 << 30), [250, 250, 100]);
        assert_eq!(cut(&[200, 200, 200, 5_000, 1, 1], 1_000), [2, 1, 1, 2]);
        assert_eq!(cut(&[400_000; 5], 1 << 30), [2, 2, 1]);
        assert!(cut(&[], 1_000).is_empty());
    }
}
