//! Whether both sides hold the same, value by value.

use std::collections::BTreeMap;

use mysql_async::Value;

use crate::pair::Pair;
use crate::server::Flavour;
use crate::side::{Side, quoted};

/// How many differences a failure shows.
const SHOWN: usize = 20;

/// A column, as information_schema has it.
#[derive(Debug)]
struct Column {
    name: String,
    data_type: String,
    charset: String,
}

/// How two values of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// The bytes of the answer.
    Bytes,
    /// The bits of the number that the text of a CAST AS DOUBLE is.
    Number,
}

type Rows = BTreeMap<Vec<Option<Vec<u8>>>, Vec<Option<Vec<u8>>>>;

impl Pair {
    /// Every table of the source is the same at the destination, in every column of the source.
    ///
    /// # Panics
    /// When something differs; the message shows table, key, column and both values.
    pub async fn assert_same(&self) {
        let tables = self
            .source
            .column(
                "SELECT TABLE_NAME FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA=DATABASE() AND TABLE_TYPE='BASE TABLE'",
            )
            .await;
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        self.assert_same_in(&tables).await;
    }

    /// These tables are the same at the destination, in every column of the source.
    ///
    /// # Panics
    /// When something differs; the message shows table, key, column and both values.
    pub async fn assert_same_in(&self, tables: &[&str]) {
        self.assert_same_but(tables, &[]).await;
    }

    /// These tables are the same at the destination, in every column but those named.
    ///
    /// # Panics
    /// When something differs; the message shows table, key, column and both values.
    pub async fn assert_same_but(&self, tables: &[&str], without: &[&str]) {
        let differences = self.differences(tables, without).await;
        let count = differences.len();
        let shown: Vec<String> = differences.into_iter().take(SHOWN).collect();
        assert!(
            shown.is_empty(),
            "{count} differences, source against destination:\n{}",
            shown.join("\n")
        );
    }

    /// What differs, a line for each.
    pub async fn differences(&self, tables: &[&str], without: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for table in tables {
            self.compare(table, without, &mut lines).await;
        }
        lines
    }

    async fn compare(&self, table: &str, without: &[&str], lines: &mut Vec<String>) {
        let source: Vec<Column> = columns(&self.source, table).await;
        let source: Vec<Column> = source
            .into_iter()
            .filter(|column| !without.contains(&column.name.as_str()))
            .collect();
        let dest = columns(&self.dest, table).await;
        let mut here = Vec::new();
        let mut there = Vec::new();
        let mut by = Vec::new();
        for column in &source {
            let Some(other) = dest.iter().find(|other| other.name == column.name) else {
                lines.push(format!(
                    "{table}: no column {} at the destination",
                    column.name
                ));
                return;
            };
            // JSON is a type of MySQL's alone; elsewhere it is a text.
            let same_charset = column.charset == other.charset && other.data_type != "json";
            here.push(expression(column, same_charset));
            there.push(expression(other, same_charset));
            by.push(comparison(column));
        }
        let keys = key(&self.source, table).await;
        if keys.is_empty() {
            lines.push(format!("{table}: no key to compare by"));
            return;
        }
        let at: Vec<usize> = source
            .iter()
            .enumerate()
            .filter(|(_, column)| keys.contains(&column.name))
            .map(|(at, _)| at)
            .collect();
        let mut held = rows(&self.dest, table, &there, &at).await;
        for (key, values) in rows(&self.source, table, &here, &at).await {
            let name = show_all(&key);
            let Some(other) = held.remove(&key) else {
                lines.push(format!("{table} {name}: missing at the destination"));
                continue;
            };
            for (at, column) in source.iter().enumerate() {
                if !same(by[at], values[at].as_deref(), other[at].as_deref()) {
                    lines.push(format!(
                        "{table} {name}: {} is {} against {}",
                        column.name,
                        show(values[at].as_deref()),
                        show(other[at].as_deref())
                    ));
                }
            }
        }
        for key in held.keys() {
            let name = show_all(key);
            lines.push(format!("{table} {name}: only at the destination"));
        }
    }
}

async fn columns(side: &Side, table: &str) -> Vec<Column> {
    let rows = side
        .rows(&format!(
            "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COALESCE(CHARACTER_SET_NAME,'') \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={} \
             ORDER BY ORDINAL_POSITION",
            literal(table)
        ))
        .await;
    let text = |value: &Option<Vec<u8>>| {
        String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
    };
    rows.iter()
        .map(|row| Column {
            name: text(&row[0]),
            data_type: text(&row[1]),
            charset: text(&row[2]),
        })
        .collect()
}

/// The columns of the primary key, or of the first unique key.
async fn key(side: &Side, table: &str) -> Vec<String> {
    let of_index = "SELECT COLUMN_NAME FROM information_schema.STATISTICS \
                    WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME=";
    let table = literal(table);
    let primary = side
        .column(&format!("{of_index}{table} AND INDEX_NAME='PRIMARY'"))
        .await;
    if !primary.is_empty() {
        return primary;
    }
    side.column(&format!(
        "{of_index}{table} AND INDEX_NAME=(SELECT MIN(INDEX_NAME) FROM \
         information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME={table} \
         AND NON_UNIQUE=0)"
    ))
    .await
}

fn literal(text: &str) -> String {
    // Through the driver's own escaping, which the harness's sessions agree with.
    Value::from(text).as_sql(false)
}

/// Text in the bytes of its own charset when both sides have the same one, else as Unicode.
fn expression(column: &Column, same_charset: bool) -> String {
    let name = quoted(&column.name);
    match column.data_type.as_str() {
        "float" | "double" => format!("CAST({name} AS DOUBLE)"),
        "json" => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
        "bit" | "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob"
        | "vector" | "geometry" | "point" | "linestring" | "polygon" | "multipoint"
        | "multilinestring" | "multipolygon" | "geomcollection" | "geometrycollection" => {
            format!("HEX({name})")
        }
        _ if column.charset.is_empty() => format!("CAST({name} AS CHAR)"),
        "enum" | "set" => format!("CONVERT({name} USING utf8mb4)"),
        _ if same_charset => format!("HEX({name})"),
        _ => format!("CONVERT({name} USING utf8mb4)"),
    }
}

fn comparison(column: &Column) -> By {
    match column.data_type.as_str() {
        "float" | "double" => By::Number,
        _ => By::Bytes,
    }
}

fn same(by: By, here: Option<&[u8]>, there: Option<&[u8]>) -> bool {
    if here == there {
        return true;
    }
    let (Some(here), Some(there)) = (here, there) else {
        return false;
    };
    match by {
        By::Bytes => false,
        By::Number => match (number(here), number(there)) {
            (Some(here), Some(there)) => here.to_bits() == there.to_bits(),
            _ => false,
        },
    }
}

fn number(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

async fn rows(side: &Side, table: &str, expressions: &[String], key: &[usize]) -> Rows {
    let sql = format!("SELECT {} FROM {}", expressions.join(", "), quoted(table));
    let rows = side.rows(&sql).await;
    rows.into_iter()
        .map(|row| (key.iter().map(|&at| row[at].clone()).collect(), row))
        .collect()
}

fn show_all(values: &[Option<Vec<u8>>]) -> String {
    let shown: Vec<String> = values.iter().map(|value| show(value.as_deref())).collect();
    format!("({})", shown.join(", "))
}

fn show(value: Option<&[u8]>) -> String {
    value.map_or_else(
        || "NULL".to_owned(),
        |value| {
            let text: String = String::from_utf8_lossy(value).chars().take(200).collect();
            format!("'{text}'")
        },
    )
}

impl Flavour {
    /// The flavour's name, as in the name of a test.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
        }
    }
}
