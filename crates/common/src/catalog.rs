//! Reads the shape of tables from information_schema.

use std::collections::{HashMap, HashSet};

use mysql_async::{Conn, Row, Value, prelude::Queryable};

use crate::ident::Ident;
use crate::kind::Kind;
use crate::session::literal;
use crate::table::{Column, ForeignKey, Index, Key, Table, UNKNOWN_RULE};

/// The base tables of a database, by name; or only the one of the name `only`.
///
/// Views are not among them. A column that the account may not read is not seen. Their foreign keys are not
/// read: [`add_foreign_keys`] does that.
///
/// # Errors
/// When the server did not answer.
pub async fn tables(
    conn: &mut Conn,
    database: &Ident,
    only: Option<&Ident>,
) -> Result<Vec<Table>, mysql_async::Error> {
    let schema = literal(database.as_str());
    let and = |column: &str| named(column, only);
    // MariaDB compares these names without letter case: whose schema it is, is checked below.
    let rows: Vec<Row> = conn
        .query(format!(
            "SELECT TABLE_NAME, ENGINE, CREATE_OPTIONS, TABLE_SCHEMA FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA={schema}{} AND TABLE_TYPE IN ('BASE TABLE','SYSTEM VERSIONED') \
             ORDER BY TABLE_NAME",
            and("TABLE_NAME")
        ))
        .await?;
    let transactional: HashSet<String> = conn
        .query("SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS='YES'")
        .await?
        .into_iter()
        .collect();
    let mut columns = columns(conn, &schema, &and("TABLE_NAME")).await?;
    let mut keys = indexes(conn, &schema, &and("TABLE_NAME")).await?;
    let mut triggers: HashMap<String, Vec<String>> = HashMap::new();
    let found: Vec<Row> = conn
        .query(format!(
            "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS \
             WHERE EVENT_OBJECT_SCHEMA={schema}{}",
            and("EVENT_OBJECT_TABLE")
        ))
        .await?;
    for row in found {
        triggers
            .entry(text(&row, 0))
            .or_default()
            .push(text(&row, 1));
    }

    let mut tables = Vec::new();
    for row in rows {
        let name = text(&row, 0);
        let engine = text(&row, 1);
        let (Ok(ident), true) = (Ident::parse(&name), text(&row, 3) == database.as_str()) else {
            continue;
        };
        if only.is_some_and(|only| *only != ident) {
            continue;
        }
        let columns = columns.remove(&name).unwrap_or_default();
        let (indexes, unique) = keys.remove(&name).unwrap_or_default();
        let (key, unique_keys) = identity(unique, &columns);
        tables.push(Table {
            name: ident,
            transactional: transactional.contains(&engine),
            engine,
            key,
            unique_keys,
            columns,
            indexes,
            partitioned: text(&row, 2).contains("partitioned"),
            foreign_keys: Vec::new(),
            triggers: triggers.remove(&name).unwrap_or_default(),
        });
    }
    Ok(tables)
}

/// Adds to these tables of a database their foreign keys.
///
/// # Errors
/// When the server did not answer.
pub async fn add_foreign_keys(
    conn: &mut Conn,
    database: &Ident,
    only: Option<&Ident>,
    tables: &mut [Table],
) -> Result<(), mysql_async::Error> {
    let mut found = foreign_keys(conn, database, &named("TABLE_NAME", only)).await?;
    for table in tables {
        table.foreign_keys = found.remove(table.name.as_str()).unwrap_or_default();
    }
    Ok(())
}

/// The further condition that a column of information_schema names that table, if any.
#[must_use]
pub fn named(column: &str, only: Option<&Ident>) -> String {
    only.map_or(String::new(), |name| {
        format!(" AND {column}={}", literal(name.as_str()))
    })
}

async fn columns(
    conn: &mut Conn,
    schema: &str,
    and: &str,
) -> Result<HashMap<String, Vec<Column>>, mysql_async::Error> {
    let rows: Vec<Row> = conn
        .query(format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, \
             COLLATION_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, NUMERIC_SCALE, \
             DATETIME_PRECISION, CHARACTER_MAXIMUM_LENGTH, GENERATION_EXPRESSION \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA={schema}{and} \
             ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ))
        .await?;
    let mut columns: HashMap<String, Vec<Column>> = HashMap::new();
    for row in rows {
        let Ok(name) = Ident::parse(&text(&row, 1)) else {
            continue;
        };
        let default = optional(&row, 7).map(|text| text.to_ascii_lowercase());
        let extra = text(&row, 8).to_ascii_lowercase();
        let nullable = text(&row, 6) == "YES";
        let scale = optional(&row, 9).or_else(|| optional(&row, 10));
        let kind = Kind::of(&text(&row, 2));
        columns.entry(text(&row, 0)).or_default().push(Column {
            name,
            column_type: text(&row, 3),
            kind,
            charset: optional(&row, 4),
            collation: optional(&row, 5),
            max_length: optional(&row, 11).and_then(|length| length.parse().ok()),
            scale: scale.and_then(|scale| scale.parse().ok()).unwrap_or(0),
            nullable,
            has_default: nullable
                || default.is_some()
                || extra.contains("auto_increment")
                || extra.contains("default_generated"),
            generated: !text(&row, 12).is_empty()
                || extra.contains("virtual generated")
                || extra.contains("stored generated"),
            initialised: default.is_some_and(|default| default.starts_with("current_timestamp")),
            on_update: extra.contains("on update current_timestamp"),
        });
    }
    Ok(columns)
}

type Indexes = HashMap<String, (Vec<Index>, Vec<Key>)>;

async fn indexes(conn: &mut Conn, schema: &str, and: &str) -> Result<Indexes, mysql_async::Error> {
    // An index the optimiser ignores cannot be named in a statement; its column says so under
    // another name on each flavour, which the other reads as a comment. CARDINALITY alone would wait on
    // MySQL for a table that is being altered.
    let rows: Vec<Row> = conn
        .query(format!(
            "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART, NON_UNIQUE, INDEX_TYPE \
             /*!80000 , IS_VISIBLE */ /*M!100600 , IGNORED */ \
             FROM information_schema.STATISTICS WHERE TABLE_SCHEMA={schema}{and} \
             ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    let mut tables: Indexes = HashMap::new();
    for row in rows {
        let named = |name: &str| {
            let at = row
                .columns_ref()
                .iter()
                .position(|column| column.name_str().eq_ignore_ascii_case(name));
            at.and_then(|at| optional(&row, at))
        };
        let table = named("TABLE_NAME").unwrap_or_default();
        let index = named("INDEX_NAME").unwrap_or_default();
        let column = named("COLUMN_NAME").and_then(|name| Ident::parse(&name).ok());
        let usable = named("IS_VISIBLE").is_none_or(|visible| visible == "YES")
            && named("IGNORED").is_none_or(|ignored| ignored == "NO")
            && named("INDEX_TYPE").is_some_and(|kind| kind == "BTREE");
        let (indexes, keys) = tables.entry(table).or_default();
        let first = named("SEQ_IN_INDEX").as_deref() == Some("1");
        if first
            && usable
            && let Ok(name) = Ident::parse(&index)
        {
            indexes.push(Index {
                name,
                first: column.clone(),
            });
        }
        if named("NON_UNIQUE").as_deref() != Some("0") {
            continue;
        }
        if first {
            keys.push(Key {
                name: index,
                columns: Vec::new(),
                prefixes: Vec::new(),
            });
        }
        if let Some(key) = keys.last_mut() {
            // An expression has no column; a key over one is kept, with no columns at all.
            match column {
                Some(column) if first || !key.columns.is_empty() => {
                    key.columns.push(column);
                    key.prefixes
                        .push(named("SUB_PART").and_then(|part| part.parse().ok()));
                }
                _ => {
                    key.columns.clear();
                    key.prefixes.clear();
                }
            }
        }
    }
    Ok(tables)
}

/// Splits the unique keys into the one that identifies a row (R6) and the rest.
#[must_use]
pub fn identity(mut unique: Vec<Key>, columns: &[Column]) -> (Option<Key>, Vec<Key>) {
    let not_null = |key: &Key| {
        !key.columns.is_empty()
            && key.columns.iter().all(|name| {
                columns
                    .iter()
                    .any(|column| column.name == *name && !column.nullable && !column.generated)
            })
    };
    let whole = |key: &Key| key.prefixes.iter().all(Option::is_none);
    let at = unique
        .iter()
        .position(|key| key.name == "PRIMARY" && not_null(key))
        .or_else(|| unique.iter().position(|key| not_null(key) && whole(key)));
    let key = at.map(|at| unique.remove(at));
    (key, unique)
}

async fn foreign_keys(
    conn: &mut Conn,
    database: &Ident,
    and: &str,
) -> Result<HashMap<String, Vec<ForeignKey>>, mysql_async::Error> {
    let schema = literal(database.as_str());
    let columns: Vec<Row> = conn
        .query(format!(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, \
             REFERENCED_TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE \
             WHERE TABLE_SCHEMA={schema}{and} AND REFERENCED_TABLE_NAME IS NOT NULL \
             ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
        ))
        .await?;
    let mut keys: HashMap<String, Vec<ForeignKey>> = HashMap::new();
    if columns.is_empty() {
        return Ok(keys);
    }
    // MariaDB shows no rules to an account that may only SELECT.
    let rows: Vec<Row> = conn
        .query(format!(
            "SELECT TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE \
             FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA={schema}{and}"
        ))
        .await?;
    let rules: HashMap<(String, String), (String, String)> = rows
        .iter()
        .map(|row| ((text(row, 0), text(row, 1)), (text(row, 2), text(row, 3))))
        .collect();
    for row in columns {
        let (table, name) = (text(&row, 0), text(&row, 1));
        let unknown = || (UNKNOWN_RULE.to_owned(), UNKNOWN_RULE.to_owned());
        let rules = rules.get(&(table.clone(), name.clone())).cloned();
        let (on_delete, on_update) = rules.unwrap_or_else(unknown);
        let of_table = keys.entry(table).or_default();
        if of_table.last().is_none_or(|key| key.name != name) {
            let same = text(&row, 3) == database.as_str();
            of_table.push(ForeignKey {
                name,
                columns: Vec::new(),
                parent: Ident::parse(&text(&row, 4)).ok().filter(|_| same),
                on_delete,
                on_update,
            });
        }
        if let Some(key) = of_table.last_mut() {
            key.columns.extend(Ident::parse(&text(&row, 2)));
        }
    }
    Ok(keys)
}

fn optional(row: &Row, at: usize) -> Option<String> {
    match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn text(row: &Row, at: usize) -> String {
    optional(row, at).unwrap_or_default()
}
