//! What can be served: databases, their tables, and what the windows of each cannot see.

use std::collections::{BTreeMap, BTreeSet};

use common::ident::Ident;
use common::kind::Kind;
use common::session::{is_system_schema, literal};
use common::table::{Column, Key, Table};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::lease::{Lease, SourceError, text};
use crate::order::parents_first;
use crate::seen::tables;
use crate::viewer::Viewer;

/// A table of the list.
#[derive(Debug)]
pub(crate) struct Entry {
    table: Table,
    /// The columns that the account sees and may not read.
    hidden: Vec<String>,
    /// Its definition names nothing that is not there for the viewer.
    whole: bool,
    url: String,
    stamp: Option<StampColumn>,
    blind_spots: Vec<BlindSpot>,
    unsupported: Option<String>,
}

impl Entry {
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn hidden(&self) -> &[String] {
        &self.hidden
    }
}

/// What the list says of a table.
#[derive(Serialize, ToSchema)]
#[schema(as = Table)]
pub(crate) struct Shown<'a> {
    name: &'a Ident,
    /// The path of its rows.
    #[schema(format = "uri-reference", example = "/shop/orders/")]
    url: &'a str,
    #[schema(required = true)]
    stamp: &'a Option<StampColumn>,
    #[schema(required = true)]
    key: &'a Option<Key>,
    unique_keys: &'a [Key],
    columns: &'a [Column],
    engine: &'a str,
    blind_spots: &'a [BlindSpot],
    /// Why it cannot be served, and what to do.
    #[schema(required = true)]
    unsupported: &'a Option<String>,
    /// What would make such a table, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<&'a str>,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = Shown {
            name: &self.table.name,
            url: &self.url,
            stamp: &self.stamp,
            key: &self.table.key,
            unique_keys: &self.table.unique_keys,
            columns: &self.table.columns,
            engine: &self.table.engine,
            blind_spots: &self.blind_spots,
            unsupported: &self.unsupported,
            definition: None,
        };
        shown.serialize(serializer)
    }
}

/// The column whose windows are served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StampColumn {
    column: Ident,
    precision: u8,
    indexed: bool,
    nullable: bool,
    initialised: bool,
}

/// A kind of change that the windows of a table cannot see.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BlindSpot {
    code: &'static str,
    detail: String,
}

/// Which databases there are to serve.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    /// All but the system's own when empty.
    only: Vec<Ident>,
}

impl Served {
    pub(crate) fn new(only: Vec<Ident>) -> Self {
        Self { only }
    }

    /// Whether the database is there for the viewer, if it exists.
    pub(crate) fn contains(&self, viewer: &Viewer, database: &Ident) -> bool {
        let is_served = self.only.is_empty() || self.only.contains(database);
        !is_system_schema(database) && is_served && viewer.sees(database)
    }

    /// The databases that exist and are there for the viewer, by name.
    pub(crate) async fn databases(
        &self,
        lease: &mut Lease,
        viewer: &Viewer,
    ) -> Result<Vec<Ident>, SourceError> {
        let rows = lease
            .query("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME")
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| Ident::parse(&text(row, 0)).ok())
            .filter(|name| self.contains(viewer, name))
            .collect())
    }
}

/// The tables of a database that are there for the viewer, parents first.
pub(crate) async fn list(
    lease: &mut Lease,
    viewer: &Viewer,
    database: &Ident,
) -> Result<Vec<Entry>, SourceError> {
    let seen = tables(lease, viewer, database, None).await?;
    let whole: BTreeSet<Ident> = seen
        .iter()
        .filter(|seen| seen.whole)
        .map(|seen| seen.table.name.clone())
        .collect();
    let tables = parents_first(seen.into_iter().map(|seen| seen.table).collect());
    let mut hidden = hidden_columns(lease, database, None).await?;
    let entries = tables.into_iter().map(|table| {
        let hidden = hidden.remove(table.name.as_str()).unwrap_or_default();
        let whole = whole.contains(&table.name);
        entry(database, table, whole, hidden)
    });
    Ok(entries.collect())
}

/// The columns that the account sees and may not read, by table; or only those of the table `only`.
pub(crate) async fn hidden_columns(
    lease: &mut Lease,
    database: &Ident,
    only: Option<&Ident>,
) -> Result<BTreeMap<String, Vec<String>>, SourceError> {
    let rows = lease
        .query(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA={}{} \
             AND NOT FIND_IN_SET('select',PRIVILEGES)",
            literal(database.as_str()),
            common::catalog::named("TABLE_NAME", only)
        ))
        .await?;
    let mut hidden: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        hidden.entry(text(&row, 0)).or_default().push(text(&row, 1));
    }
    Ok(hidden)
}

/// What would make such a table; none where the account may not ask, or the table is gone.
pub(crate) async fn definition(
    lease: &mut Lease,
    database: &Ident,
    table: &Ident,
) -> Result<Option<String>, SourceError> {
    match lease
        .query(&format!("SHOW CREATE TABLE {database}.{table}"))
        .await
    {
        Ok(rows) => Ok(rows.first().map(|row| text(row, 1))),
        Err(error @ SourceError::Lost(_)) => Err(error),
        Err(error) => {
            tracing::debug!(%database, %table, %error, "no definition");
            Ok(None)
        }
    }
}

fn entry(database: &Ident, table: Table, whole: bool, hidden: Vec<String>) -> Entry {
    let chosen = stamp(&table, None, &hidden);
    let key = key(&table, &hidden);
    let unsupported = [chosen.as_ref().err(), key.as_ref().err()]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    let stamp = chosen.ok();
    let blind_spots = stamp.map_or(Vec::new(), |stamp| blind_spots(&table, stamp));
    Entry {
        url: url(&[database, &table.name]),
        stamp: stamp.map(|column| StampColumn {
            column: column.name.clone(),
            precision: column.scale,
            indexed: table.index_on(&column.name).is_some(),
            nullable: column.nullable,
            initialised: column.initialised,
        }),
        blind_spots,
        unsupported: (!unsupported.is_empty()).then_some(unsupported),
        hidden,
        whole,
        table,
    }
}

/// The stamp column: the one `wanted`, or of several the first that is also initialised and
/// indexed, or else the first.
///
/// # Errors
/// Why there is none, and what to do.
pub(crate) fn stamp<'a>(
    table: &'a Table,
    wanted: Option<&str>,
    hidden: &[String],
) -> Result<&'a Column, String> {
    let name = &table.name;
    let fits = |column: &&Column| column.kind == Kind::Timestamp && column.on_update;
    let readable = |column: &&Column| !hidden.iter().any(|name| name == column.name.as_str());
    if let Some(wanted) = wanted {
        return match table.column(wanted) {
            Some(column) if !fits(&column) => Err(format!(
                "column {wanted} of table {} is not a TIMESTAMP with ON UPDATE CURRENT_TIMESTAMP",
                name.as_str()
            )),
            Some(column) if readable(&column) => Ok(column),
            Some(_) | None => Err(format!(
                "table {} has no column {wanted} that the server's account may read",
                name.as_str()
            )),
        };
    }
    let all: Vec<&Column> = table.columns.iter().filter(fits).collect();
    let stamps = || all.iter().copied().filter(readable);
    let best = stamps().find(|column| column.initialised && table.index_on(&column.name).is_some());
    if let Some(column) = best.or_else(|| stamps().next()) {
        return Ok(column);
    }
    if let Some(column) = all.first() {
        return Err(format!(
            "the server's account may not read the stamp column {}; grant it SELECT",
            column.name.as_str()
        ));
    }
    let datetime = |column: &&Column| column.kind == Kind::DateTime && column.on_update;
    if let Some(column) = table.columns.iter().find(datetime) {
        let digits = match column.scale {
            0 => String::new(),
            digits => format!("({digits})"),
        };
        return Err(format!(
            "its only auto-updated column {} is a DATETIME, whose values depend on each writer's \
             time zone; ALTER TABLE {name} MODIFY {} TIMESTAMP{digits} NOT NULL DEFAULT \
             CURRENT_TIMESTAMP{digits} ON UPDATE CURRENT_TIMESTAMP{digits}",
            column.name.as_str(),
            column.name,
        ));
    }
    Err(format!(
        "it has no TIMESTAMP column with ON UPDATE CURRENT_TIMESTAMP that the server's account may \
         read; ALTER TABLE {name} ADD changed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON \
         UPDATE CURRENT_TIMESTAMP, ADD INDEX (changed)"
    ))
}

/// The key columns (R6).
///
/// # Errors
/// Why there are none, and what to do.
pub(crate) fn key<'a>(table: &'a Table, hidden: &[String]) -> Result<Vec<&'a Column>, String> {
    let name = &table.name;
    let columns = table.key_columns();
    if columns.is_empty() {
        return Err(format!(
            "it has neither a primary key nor a unique key whose columns are all NOT NULL, so its \
             rows cannot be told apart; ALTER TABLE {name} ADD PRIMARY KEY (…)"
        ));
    }
    let is_hidden = |column: &&&Column| hidden.iter().any(|name| name == column.name.as_str());
    match columns.iter().find(is_hidden) {
        None => Ok(columns),
        Some(column) => Err(format!(
            "the server's account may not read the key column {}; grant it SELECT",
            column.name.as_str()
        )),
    }
}

/// Whether the windows of a table are not known to have blind spots.
pub(crate) fn sees_all(table: &Table, stamp: &Column) -> bool {
    blind_spots(table, stamp).is_empty()
}

fn blind_spots(table: &Table, stamp: &Column) -> Vec<BlindSpot> {
    let column = stamp.name.as_str();
    let mut spots = Vec::new();
    let mut add = |code, detail| spots.push(BlindSpot { code, detail });
    if !stamp.initialised {
        add(
            "not_initialised",
            format!(
                "INSERT does not set {column}: rows that are inserted and never updated are not seen; \
                 give it DEFAULT CURRENT_TIMESTAMP"
            ),
        );
    }
    if stamp.nullable {
        add(
            "nullable",
            format!("rows whose {column} is NULL are served only without since; make it NOT NULL"),
        );
    }
    for key in &table.foreign_keys {
        if key.reaches_children() {
            add(
                "cascades",
                format!(
                    "{} changes rows when their parent changes (ON DELETE {}, ON UPDATE {}), and leaves \
                     {column} as it was",
                    match key.name.as_str() {
                        // Its name is not there for the viewer.
                        "" => "a foreign key".to_owned(),
                        name => format!("foreign key {name}"),
                    },
                    key.on_delete,
                    key.on_update
                ),
            );
        }
    }
    if !table.transactional {
        add(
            "not_transactional",
            format!(
                "engine {} has no transactions, so statements that still write are not known; \
                 use InnoDB",
                table.engine
            ),
        );
    }
    if table.partitioned {
        add(
            "partitioned",
            format!("EXCHANGE PARTITION brings rows in with the {column} they had"),
        );
    }
    if !table.triggers.is_empty() {
        // Those that are not there for the viewer have no name.
        let names = table.triggers.iter().filter(|name| !name.is_empty());
        let names: Vec<&str> = names.map(String::as_str).collect();
        let names = match names.as_slice() {
            [] => String::new(),
            names => format!(": {}", names.join(", ")),
        };
        add(
            "triggers",
            format!("triggers may set {column} to another time{names}"),
        );
    }
    spots
}

/// The path of a database or a table.
pub(crate) fn url(names: &[&Ident]) -> String {
    let mut url = "/".to_owned();
    for name in names {
        for byte in name.as_str().bytes() {
            // A name that is only a hyphen would be the path of the server's own pages.
            if byte.is_ascii_alphanumeric()
                || b"_.~".contains(&byte)
                || (byte == b'-' && name.as_str() != "-")
            {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
        url.push('/');
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::table::Index;

    fn ident(name: &str) -> Ident {
        Ident::parse(name).unwrap()
    }

    fn table(name: &str) -> Table {
        Table {
            name: ident(name),
            engine: "InnoDB".to_owned(),
            transactional: true,
            key: None,
            unique_keys: Vec::new(),
            columns: Vec::new(),
            indexes: Vec::new(),
            partitioned: false,
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
        }
    }

    fn column(name: &str, kind: Kind, initialised: bool, on_update: bool) -> Column {
        Column {
            name: ident(name),
            column_type: String::new(),
            kind,
            charset: None,
            collation: None,
            max_length: None,
            scale: 3,
            nullable: false,
            has_default: true,
            generated: false,
            initialised,
            on_update,
        }
    }

    #[test]
    fn of_several_stamps_the_initialised_and_indexed_one_is_chosen() {
        let mut table = table("t");
        table.columns = vec![
            column("plain", Kind::Timestamp, true, false),
            column("first", Kind::Timestamp, false, true),
            column("best", Kind::Timestamp, true, true),
            column("other", Kind::DateTime, true, true),
        ];
        assert_eq!(stamp(&table, None, &[]).unwrap().name, ident("first"));
        table.indexes = vec![Index {
            name: ident("i"),
            first: Some(ident("best")),
        }];
        assert_eq!(stamp(&table, None, &[]).unwrap().name, ident("best"));
        let hidden = ["best".to_owned()];
        assert_eq!(stamp(&table, None, &hidden).unwrap().name, ident("first"));
        for (wanted, fits) in [
            ("FIRST", true),
            ("other", false),
            ("plain", false),
            ("x", false),
        ] {
            assert_eq!(stamp(&table, Some(wanted), &[]).is_ok(), fits, "{wanted}");
        }
    }

    #[test]
    fn a_table_without_a_stamp_is_told_what_would_help() {
        let mut table = table("t");
        assert!(
            stamp(&table, None, &[])
                .unwrap_err()
                .contains("ADD changed TIMESTAMP")
        );
        table.columns = vec![column("d", Kind::DateTime, true, true)];
        let error = stamp(&table, None, &[]).unwrap_err();
        assert!(
            error.contains("ALTER TABLE `t` MODIFY `d` TIMESTAMP(3)"),
            "{error}"
        );
    }

    #[test]
    fn a_path_holds_any_name() {
        for (names, path) in [
            (vec!["shop", "orders"], "/shop/orders/"),
            (vec!["a/b %", "é'?#"], "/a%2Fb%20%25/%C3%A9%27%3F%23/"),
            (vec!["-", "a-b"], "/%2D/a-b/"),
        ] {
            let names: Vec<Ident> = names.iter().map(|name| ident(name)).collect();
            let names: Vec<&Ident> = names.iter().collect();
            assert_eq!(url(&names), path);
        }
    }
}
