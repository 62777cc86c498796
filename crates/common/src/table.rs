//! The shape of a table, as both sides see it.

use serde::{Deserialize, Serialize};

use crate::ident::Ident;
use crate::kind::Kind;

/// Whose server it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Oracle's MySQL, or a server that says it is one.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// One base table of a database.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Table {
    /// Its name.
    pub name: Ident,
    /// Its storage engine, as the server names it.
    pub engine: String,
    /// Whether that engine has transactions.
    pub transactional: bool,
    /// What identifies a row (R6): the primary key, or else a NOT NULL unique key.
    pub key: Option<Key>,
    /// Every unique key but [`Table::key`].
    pub unique_keys: Vec<Key>,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// The indexes that a statement may name.
    pub indexes: Vec<Index>,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// Its foreign keys, where they were read.
    pub foreign_keys: Vec<ForeignKey>,
    /// The names of its triggers.
    pub triggers: Vec<String>,
}

/// An index, unique or not.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Index {
    /// Its name.
    pub name: Ident,
    /// Its first column; none where that is an expression.
    pub first: Option<Ident>,
}

/// The primary key or a unique key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    /// `PRIMARY`, or the name of the unique key.
    pub name: String,
    /// Its columns, in its order; empty where it is over an expression.
    pub columns: Vec<Ident>,
    /// For each column, of how many characters or bytes only the beginning counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Option<u32>>,
}

/// One column.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type as the server writes it: `varchar(10)`, `int unsigned`.
    #[serde(rename = "type")]
    pub column_type: String,
    /// How its values travel.
    pub kind: Kind,
    /// Its character set, where it holds text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// Its collation, where it holds text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collation: Option<String>,
    /// The characters (text) or bytes (binary) it holds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// Digits behind the point of a DECIMAL, or of the seconds of a time.
    pub scale: u8,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether it has a default, or is filled in by the server some other way.
    pub has_default: bool,
    /// Whether it is computed from other columns.
    pub generated: bool,
    /// Whether INSERT sets it to the current time.
    pub initialised: bool,
    /// Whether UPDATE sets it to the current time.
    pub on_update: bool,
}

/// The rule of a foreign key that the account may not see.
pub const UNKNOWN_RULE: &str = "unknown";

/// One foreign key of a table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<Ident>,
    /// The table it refers to, when that is in the same database.
    pub parent: Option<Ident>,
    /// `CASCADE`, `SET NULL`, `RESTRICT`, `NO ACTION`, `SET DEFAULT` or [`UNKNOWN_RULE`].
    pub on_delete: String,
    /// Likewise.
    pub on_update: String,
}

impl ForeignKey {
    /// Whether a change of the parent's row can change or delete this table's row, without touching its
    /// stamp.
    #[must_use]
    pub fn reaches_children(&self) -> bool {
        let reaches = |rule: &str| !matches!(rule, "RESTRICT" | "NO ACTION");
        reaches(&self.on_update) || reaches(&self.on_delete)
    }

    /// Whether a change of the parent's row can change the columns of this table's row, without
    /// touching its stamp.
    #[must_use]
    pub fn cascades(&self) -> bool {
        // ON DELETE CASCADE changes no row, it deletes it.
        let deletes = self.on_delete == "CASCADE"
            && matches!(self.on_update.as_str(), "RESTRICT" | "NO ACTION");
        self.reaches_children() && !deletes
    }
}

impl Table {
    /// The column of that name. Column names have no letter case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| same_name(column.name.as_str(), name))
    }

    /// An index that begins with that column.
    #[must_use]
    pub fn index_on(&self, column: &Ident) -> Option<&Index> {
        self.indexes
            .iter()
            .find(|index| index.first.as_ref() == Some(column))
    }

    /// The index that has rows in the order of a key's columns, where a statement may name it.
    #[must_use]
    pub fn index_of(&self, key: &Key) -> Option<&Ident> {
        // An index over the beginning of a column has not the order of the whole column.
        let whole = key.prefixes.iter().all(Option::is_none);
        let mut indexes = self.indexes.iter().filter(|_| whole);
        let index = indexes.find(|index| index.name.as_str() == key.name)?;
        Some(&index.name)
    }

    /// The columns of [`Table::key`], in its order; none without one.
    #[must_use]
    pub fn key_columns(&self) -> Vec<&Column> {
        let Some(key) = &self.key else {
            return Vec::new();
        };
        key.columns
            .iter()
            .filter_map(|name| self.column(name.as_str()))
            .collect()
    }
}

/// Whether two column names are one and the same to MySQL and MariaDB.
#[must_use]
pub fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}
