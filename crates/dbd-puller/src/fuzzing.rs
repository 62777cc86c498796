//! What the puller makes of bytes from the network, and what holds whatever they are. Called by the
//! targets of `fuzz/` and by property tests; no part of the program.

#![expect(clippy::unwrap_used, reason = "a failure is what is looked for")]

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use common::frame::{End, Header};
use common::ident::Ident;
use common::kind::Kind;
use common::table::{Column, Flavour, Key, Table};
use futures_util::stream;
use tokio::runtime::{Builder, Runtime};

use crate::answer::{Next, Rows};
use crate::args::Args;
use crate::arrival::Arrival;
use crate::batch::Layout;
use crate::choose::choose;
use crate::client::{ListedTable, Listing};
use crate::create;
use crate::ddl;
use crate::error::PullError;
use crate::plan::{Plan, Planned, plan};
use crate::sql_reader;

pub use crate::reconcile::fuzzing::{digests, keys};

/// An answer with rows, in chunks of as many bytes as the first one says.
pub fn answer(data: &[u8]) {
    let Some((size, body)) = data.split_first() else {
        return;
    };
    let read = read(body, usize::from(*size) + 1);
    assert_eq!(read.shown(), self::read(body, body.len().max(1)).shown());
    if read.end.is_ok() {
        assert!(ends(body), "taken for whole");
    }
    let Some(header) = &read.header else {
        return;
    };
    let Some(plan) = plan_of(header) else {
        return;
    };
    let Ok(layout) = Layout::new(&plan, &header.columns) else {
        return;
    };
    for line in read.rows {
        let position = layout.position(&plan, &line);
        match layout.row(&plan, line) {
            Ok(row) => {
                let literals = sql_reader::tuple(&row.tuple);
                let text = String::from_utf8_lossy(&row.tuple);
                assert_eq!(
                    literals.map(|list| list.len()),
                    Some(plan.columns.len()),
                    "{text}"
                );
                assert_eq!(layout.key(&row), position.unwrap().0);
                layout.stamp(&row);
                layout.value(&plan, &row, header.stamp.as_str());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// What arrived.
struct Arrived {
    header: Option<Box<Header>>,
    rows: Vec<Bytes>,
    end: Result<End, PullError>,
}

impl Arrived {
    fn shown(&self) -> String {
        let Self { header, rows, end } = self;
        format!("{header:?} {rows:?} {end:?}")
    }
}

fn read(body: &[u8], size: usize) -> Arrived {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_current_thread().enable_time().build().unwrap());
    let chunks: Vec<Result<Bytes, std::io::Error>> = body
        .chunks(size)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    runtime.block_on(async {
        let body = reqwest::Body::wrap_stream(stream::iter(chunks));
        let arrival = Arrival::new(http::Response::new(body).into(), Duration::from_secs(600));
        let table = Ident::parse("t").unwrap();
        let mut rows = Vec::new();
        let mut answer = match Rows::open(&table, arrival, 1 << 20, &Arc::default()).await {
            Ok(answer) => answer,
            Err(error) => {
                return Arrived {
                    header: None,
                    rows,
                    end: Err(error),
                };
            }
        };
        let end = loop {
            match answer.next().await {
                Ok(Next::Row(line)) => rows.push(line),
                Ok(Next::End(end)) => break Ok(end),
                Err(error) => break Err(error),
            }
        };
        Arrived {
            header: Some(answer.header),
            rows,
            end,
        }
    })
}

/// R10: whether a whole line says that this is the end.
fn ends(body: &[u8]) -> bool {
    let mut lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
    lines.pop();
    lines.into_iter().any(|line| {
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        value.is_some_and(|value| value["frame"] == "end" && value["rows"].is_u64())
    })
}

pub(crate) fn column(name: &Ident, column_type: &str, kind: Kind) -> Column {
    let utf8 = matches!(kind, Kind::Char | Kind::Text | Kind::Enum | Kind::Set);
    Column {
        name: name.clone(),
        column_type: column_type.to_owned(),
        kind,
        charset: utf8.then(|| "utf8mb4".to_owned()),
        collation: utf8.then(|| "utf8mb4_bin".to_owned()),
        max_length: None,
        scale: 0,
        nullable: false,
        has_default: true,
        generated: false,
        initialised: true,
        on_update: kind == Kind::Timestamp,
    }
}

/// How a table of the header's own columns is written.
fn plan_of(header: &Header) -> Option<Plan> {
    let columns = header.columns.iter();
    let columns: Vec<Planned> = columns
        .map(|of| {
            let column = column(&of.name, &of.column_type, of.kind);
            Planned {
                source: column.clone(),
                destination: column,
                limit: None,
            }
        })
        .collect();
    let find = |name: &Ident| {
        columns
            .iter()
            .find(|planned| planned.source.name == *name)
            .cloned()
    };
    let key: Option<Vec<Planned>> = header.key.iter().map(find).collect();
    Some(Plan {
        table: header.table.clone(),
        stamp: find(&header.stamp)?.destination,
        asked_stamp: None,
        precision: header.precision,
        stamp_indexed: true,
        key: key?,
        destination_key: Key {
            name: "PRIMARY".to_owned(),
            columns: header.key.clone(),
            prefixes: Vec::new(),
        },
        destination_index: None,
        columns,
        excluded: Vec::new(),
        unique_keys: Vec::new(),
        extra: Vec::new(),
        generated: Vec::new(),
    })
}

/// The list of tables, and what is planned for them.
pub fn listing(data: &[u8]) {
    let Ok(listing) = serde_json::from_slice::<Listing>(data) else {
        return;
    };
    static ARGS: OnceLock<Args> = OnceLock::new();
    let args = ARGS
        .get_or_init(|| Args::try_parse_from(["dbd-puller", "--source-database", "d"]).unwrap());
    let chosen = match choose(args, &listing) {
        Ok(chosen) => chosen,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(chosen.len(), listing.tables.len());
    for chosen in chosen {
        let Ok(listed) = chosen.listed() else {
            continue;
        };
        for to in [Flavour::MySql, Flavour::MariaDb] {
            created(listed, listing.flavour, to);
        }
        if let Ok(plan) = plan(listed, &destination(listed), &chosen.choice) {
            let names: HashSet<&Ident> =
                plan.columns.iter().map(|of| &of.destination.name).collect();
            assert!(
                plan.key
                    .iter()
                    .all(|planned| names.contains(&planned.destination.name))
            );
            assert!(names.contains(&plan.stamp.name));
        }
    }
}

/// A table that is the same at the destination.
fn destination(listed: &ListedTable) -> Table {
    Table {
        name: listed.name.clone(),
        engine: listed.engine.clone(),
        transactional: true,
        key: listed.key.clone(),
        unique_keys: Vec::new(),
        columns: listed.columns.clone(),
        indexes: Vec::new(),
        partitioned: false,
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
    }
}

/// What is made of a definition is one statement that makes this table, and nothing else.
fn created(listed: &ListedTable, from: Flavour, to: Flavour) {
    if let Some(statement) = create::statement(listed, from, to) {
        assert!(create::names_table(&statement, &listed.name), "{statement}");
    }
}

/// A CREATE TABLE statement from the source.
pub fn definition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(tokens) = ddl::split(text) {
        assert_eq!(ddl::join(&tokens), text.trim());
        tokens.iter().for_each(|token| {
            token.inner();
            token.holds("SELECT");
        });
        let without = ddl::join(&ddl::without_introducer(&tokens, "_utf8mb4"));
        assert!(ddl::split(&without).is_some(), "{without}");
    }
    let name = Ident::parse("t").unwrap();
    let columns = [
        ("a", "int", Kind::Integer),
        ("b", "text", Kind::Text),
        ("c", "json", Kind::Json),
    ];
    let columns = columns.map(|(name, of, kind)| column(&Ident::parse(name).unwrap(), of, kind));
    for definition in [
        text.to_owned(),
        format!("CREATE TABLE `t` ({text}) ENGINE=InnoDB"),
    ] {
        for (engine, to) in [
            ("InnoDB", Flavour::MariaDb),
            ("InnoDB", Flavour::MySql),
            ("Aria", Flavour::MySql),
        ] {
            let listed = ListedTable {
                name: name.clone(),
                stamp: None,
                key: None,
                columns: columns.to_vec(),
                engine: engine.to_owned(),
                unsupported: None,
                definition: Some(definition.clone()),
            };
            let from = [Flavour::MySql, Flavour::MariaDb];
            from.into_iter().for_each(|from| created(&listed, from, to));
        }
    }
}
