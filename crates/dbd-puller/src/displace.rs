//! R6: rows that hold a unique value another row is to get.

use common::stamp::Stamp;
use common::table::Key;
use mysql_async::Row;

use crate::batch::{BatchRow, Layout};
use crate::client::KeyValues;
use crate::destination::{Destination, KeyMap, KeySet};
use crate::error::PullError;
use crate::literal::literal;
use crate::plan::Plan;
use crate::position::{broken, cell, key_of, wire};
use crate::transaction::{WriteError, timed};
use crate::upsert::compares;

/// Rows whose unique values are looked up in one statement.
const LOOK_UP: usize = 100;

/// What is remembered of the rows displaced in one pull of a table, and of their values in the
/// destination's own columns, as literals, until they are back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Displaced {
    seen: KeySet,
    extra: KeyMap<Vec<Vec<u8>>>,
}

impl Displaced {
    pub(crate) fn is_empty(&self) -> bool {
        self.extra.is_empty()
    }

    /// The values to put back with the row of this key.
    pub(crate) fn extra(&self, key: &KeyValues) -> Option<&[Vec<u8>]> {
        self.extra.get(key).map(Vec::as_slice)
    }

    /// Forgets rows that are back.
    pub(crate) fn forget(&mut self, keys: &[KeyValues]) {
        for key in keys {
            self.extra.remove(key);
        }
    }

    /// A new pull begins: a row may be displaced once more.
    pub(crate) fn next_pull(&mut self) {
        self.seen.clear();
    }
}

/// A row in the way.
#[derive(Clone, Debug)]
pub(crate) struct InTheWay {
    pub(crate) key: KeyValues,
    /// Whether its key comes after that of each bound.
    pub(crate) after: Vec<bool>,
    extra: Vec<Vec<u8>>,
}

impl Destination {
    /// The rows that hold unique values which these rows are to get, under other keys. They are
    /// locked until the transaction ends.
    pub(crate) async fn in_the_way(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        rows: &[BatchRow],
        bounds: &[(Option<Stamp>, KeyValues)],
    ) -> Result<Vec<InTheWay>, WriteError> {
        let mut found: KeyMap<InTheWay> = KeyMap::new();
        let mut columns: Vec<String> = plan
            .key
            .iter()
            .map(|key| key.destination.select())
            .collect();
        columns.extend(plan.extra.iter().map(|column| column.select()));
        for unique in &plan.unique_keys {
            for rows in rows.chunks(LOOK_UP) {
                let mut conditions = Vec::new();
                for row in rows {
                    conditions.extend(holds(plan, layout, unique, row)?);
                }
                if conditions.is_empty() {
                    continue;
                }
                let mut statement = format!("SELECT {}", columns.join(",")).into_bytes();
                for (_, key) in bounds {
                    statement.push(b',');
                    let after = compares(plan, key, '>');
                    statement.extend(after.map_err(|error| broken(plan, &error))?);
                }
                statement.extend_from_slice(format!(" FROM {} WHERE ", plan.table).as_bytes());
                statement.extend_from_slice(&conditions.join(&b" OR "[..]));
                statement.extend_from_slice(b" FOR UPDATE");
                let answer: Vec<Row> = timed(plan, self.link.query(statement)).await?;
                for row in answer {
                    let row = in_the_way(plan, &row, bounds.len())?;
                    found.insert(row.key.clone(), row);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Deletes rows that are in the way, within a transaction. No cascade runs (R8).
    pub(crate) async fn displace(
        &mut self,
        plan: &Plan,
        rows: &[InTheWay],
    ) -> Result<(), WriteError> {
        let keys: Vec<KeyValues> = rows.iter().map(|row| row.key.clone()).collect();
        self.delete_rows(plan, &keys).await?;
        Ok(())
    }
}

impl Displaced {
    /// Remembers rows that are displaced now.
    ///
    /// # Errors
    /// When one was displaced before in the same pull: two rows would go on displacing each other.
    pub(crate) fn remember(&mut self, plan: &Plan, rows: &[InTheWay]) -> Result<(), PullError> {
        for row in rows {
            if !self.seen.insert(row.key.clone()) {
                return Err(PullError::Table {
                    table: plan.table.clone(),
                    reason: format!(
                        "the row with key {} was displaced from a unique value twice in one pull; \
                         compare the unique keys of source and destination, and their collations",
                        row.key.join(", ")
                    ),
                });
            }
        }
        for row in rows {
            if !row.extra.is_empty() {
                self.extra.insert(row.key.clone(), row.extra.clone());
            }
        }
        Ok(())
    }
}

fn in_the_way(plan: &Plan, row: &Row, bounds: usize) -> Result<InTheWay, PullError> {
    let width = plan.key.len();
    let mut extra = Vec::new();
    for (at, column) in plan.extra.iter().enumerate() {
        let mut literal = Vec::new();
        let value = wire(column.kind, cell(row, width + at), column.is_tagged())
            .and_then(|wire| self::literal(column, column, &wire, &mut literal));
        value.map_err(|error| broken(plan, &error))?;
        extra.push(literal);
    }
    Ok(InTheWay {
        key: key_of(plan, row, 0)?,
        after: (0..bounds)
            .map(|at| cell(row, width + plan.extra.len() + at) == Some(b"1"))
            .collect(),
        extra,
    })
}

/// The condition for rows that hold the value of `row` in a unique key; none where that value can
/// meet no other, or cannot be known here.
fn holds(
    plan: &Plan,
    layout: &Layout,
    unique: &Key,
    row: &BatchRow,
) -> Result<Option<Vec<u8>>, PullError> {
    let broken = |error| broken(plan, &error);
    if unique.columns.is_empty() {
        // A key over an expression, whose value is not known here: the row itself makes room, for
        // those of its batch that are to get its value.
        return is_same_key(plan, &layout.key(row))
            .map(Some)
            .map_err(broken);
    }
    let mut condition = b"(".to_vec();
    for (at, name) in unique.columns.iter().enumerate() {
        let Some((planned, value)) = layout.value(plan, row, name.as_str()) else {
            return Ok(None);
        };
        if value == "null" {
            return Ok(None);
        }
        let mut literal = Vec::new();
        self::literal(&planned.source, &planned.destination, &value, &mut literal)
            .map_err(broken)?;
        let column = &planned.destination;
        let prefix = unique.prefixes.get(at).copied().flatten();
        let (left, right) = match prefix {
            Some(prefix) => (
                format!("LEFT({name},{prefix})"),
                format!("LEFT({{}},{prefix})"),
            ),
            None if column.kind == common::kind::Kind::Float => (column.order(), "{}".to_owned()),
            None => (name.to_string(), "{}".to_owned()),
        };
        let (before, after) = right.split_once("{}").unwrap_or_default();
        condition.extend_from_slice(format!("{left}={before}").as_bytes());
        condition.extend_from_slice(&literal);
        condition.extend_from_slice(after.as_bytes());
        condition.extend_from_slice(b" AND ");
    }
    condition.extend_from_slice(b"NOT ");
    condition.extend(is_same_key(plan, &layout.key(row)).map_err(broken)?);
    condition.push(b')');
    Ok(Some(condition))
}

/// A condition for the row whose key the destination holds equal to this one, whatever its case.
pub(crate) fn is_same_key(
    plan: &Plan,
    key: &KeyValues,
) -> Result<Vec<u8>, common::wire::KindError> {
    let mut condition = b"(".to_vec();
    for (at, (planned, value)) in plan.key.iter().zip(key).enumerate() {
        if at > 0 {
            condition.extend_from_slice(b" AND ");
        }
        let column = &planned.destination;
        let name = match column.kind {
            common::kind::Kind::Float => column.order(),
            _ => column.name.to_string(),
        };
        condition.extend_from_slice(format!("{name}=").as_bytes());
        literal(&planned.source, column, value, &mut condition)?;
    }
    condition.push(b')');
    Ok(condition)
}
