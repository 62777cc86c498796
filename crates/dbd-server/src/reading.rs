//! What is read of a table, as the text of statements.

use common::ident::Ident;
use common::kind::Kind;
use common::scan::equals;
use common::stamp::Stamp;
use common::table::{Column, Table};
use common::wire::KindError;
use serde_json::value::RawValue;

/// What is read of which table.
pub(crate) struct Reading {
    pub(crate) database: Ident,
    pub(crate) table: Table,
    pub(crate) stamp: Column,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Rows,
    /// Whether the horizon is proven: no row can come below it while these are read.
    pub(crate) proven: bool,
    /// At most so many rows.
    pub(crate) limit: Option<u64>,
}

/// Which rows are read.
pub(crate) enum Rows {
    /// Those of a window.
    Window {
        /// Stamped at or after this; without it every row, NULL stamps first.
        since: Option<Stamp>,
        /// Of those stamped exactly `since` (or NULL, without it) only those with a greater key: its SQL literals.
        after: Option<Vec<String>>,
        /// The horizon below which everything before was served; what is known for certain only of a cursor.
        reached: Option<Stamp>,
        /// Stamped before this.
        horizon: Stamp,
    },
    /// Those that this condition holds for, whatever their stamp.
    Keys(String),
}

impl Reading {
    /// An index that begins with the stamp.
    pub(crate) fn index(&self) -> Option<&Ident> {
        self.table
            .index_on(&self.stamp.name)
            .map(|index| &index.name)
    }

    /// The table, to be read along that index where there is one.
    pub(crate) fn from(&self) -> String {
        let index = self
            .index()
            .map_or(String::new(), |index| format!(" FORCE INDEX ({index})"));
        format!("{}.{}{index}", self.database, self.table.name)
    }

    /// The primary key, where it is one whole number.
    pub(crate) fn whole_number_key(&self) -> Option<&Ident> {
        let is_primary = self.table.key.as_ref()?.name == "PRIMARY";
        match self.table.key_columns().as_slice() {
            [column] if is_primary && column.kind == Kind::Integer => Some(&column.name),
            _ => None,
        }
    }

    /// The table, to be read along its primary key.
    pub(crate) fn table_by_key(&self) -> String {
        format!(
            "{}.{} FORCE INDEX (PRIMARY)",
            self.database, self.table.name
        )
    }

    /// A statement that reads the columns; `from` is [`Reading::from`], or empty where the key's own
    /// index serves better.
    pub(crate) fn select(&self, from: &str, condition: &str, order: &[String]) -> String {
        let columns: Vec<String> = self.columns.iter().map(Column::select).collect();
        let from = match from {
            "" => format!("{}.{}", self.database, self.table.name),
            from => from.to_owned(),
        };
        let order = match order {
            [] => String::new(),
            order => format!(" ORDER BY {}", order.join(", ")),
        };
        format!(
            "SELECT {} FROM {from} WHERE {condition}{order}",
            columns.join(", ")
        )
    }

    /// The expressions that rows of one stamp are ordered by.
    pub(crate) fn key_order(&self) -> Vec<String> {
        let key = self.table.key_columns();
        key.into_iter().map(Column::order).collect()
    }

    /// Whether an index on the stamp has the rows of one stamp in the order of their key: InnoDB
    /// puts the primary key behind every index.
    pub(crate) fn tie_in_order(&self) -> bool {
        let primary =
            self.table.key.as_ref().is_some_and(|key| {
                key.name == "PRIMARY" && key.prefixes.iter().all(Option::is_none)
            });
        let key = self.table.key_columns();
        primary && self.index().is_some() && key.into_iter().all(Column::orders_by_index)
    }

    /// A statement that finds a row stamped at or after `low`, and up to `high` if that is given;
    /// `None` where it would have to look at the whole table and `scan` is not allowed.
    pub(crate) fn lookup(&self, low: Stamp, high: Option<Stamp>, scan: bool) -> Option<String> {
        if !scan && self.index().is_none() {
            return None;
        }
        let stamp = &self.stamp.name;
        let up_to = high.map_or(String::new(), |high| {
            format!(" AND {stamp} <= {}", literal(high))
        });
        Some(format!(
            "SELECT 1 FROM {} WHERE {stamp} >= {}{up_to} LIMIT 1",
            self.from(),
            literal(low)
        ))
    }
}

/// A stamp as SQL text.
pub(crate) fn literal(stamp: Stamp) -> String {
    format!("'{}'", stamp.sql())
}

/// How a row's key is compared with one that was asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Match {
    /// Byte for byte.
    #[default]
    Bytes,
    /// As the table's own collations do.
    Collation,
}

/// The condition that a row's key is one of these.
pub(crate) fn one_of(
    key: &[&Column],
    keys: &[Vec<&RawValue>],
    matching: Match,
) -> Result<String, KindError> {
    if keys.is_empty() {
        return Ok("FALSE".to_owned());
    }
    let mut alternatives = Vec::with_capacity(keys.len());
    for values in keys {
        let mut terms = Vec::new();
        for (column, wire) in key.iter().zip(values) {
            let exact = column.kind.order_literal(wire.get())?;
            let by_index = column.orders_by_index();
            // A comparison by bytes cannot use an index; one in the column's own order can, and holds
            // for these bytes as well.
            if !by_index {
                terms.push(equals(column, wire.get())?);
            }
            if by_index || matching == Match::Bytes {
                terms.push(format!("{} = {exact}", column.order()));
            }
        }
        alternatives.push(format!("({})", terms.join(" AND ")));
    }
    Ok(alternatives.join(" OR "))
}
