//! What the server makes of a request, and what holds whatever it is. Called by the target of `fuzz/`
//! and by property tests; no part of the program.

#![expect(clippy::unwrap_used, reason = "a failure is what is looked for")]

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::FromRequest;
use axum::http::{HeaderMap, HeaderValue, Request, header};
use common::frame::{Basis, SourceState};
use common::ident::Ident;
use common::kind::Kind;
use common::stamp::Stamp;
use common::table::{Column, Key, Table};
use tokio::runtime::{Builder, Runtime};

use crate::accept::Format;
use crate::comparison::Comparison;
use crate::error::ApiError;
use crate::given::Given;
use crate::params::Params;
use crate::parts::{self, Asked};
use crate::reading::{Reading, Rows};

/// A request: an Accept header up to the first line feed, and then its parameters as a URL or a form has
/// them, for each kind of table.
pub fn query(data: &[u8]) {
    let (accept, form) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[][..], data),
    };
    let mut headers = HeaderMap::new();
    if let Ok(accept) = HeaderValue::from_bytes(accept) {
        headers.insert(header::ACCEPT, accept);
    }
    if let Some(format) = Format::negotiate(&headers) {
        assert!(format.is_taken(&headers));
    }
    match given(form) {
        Ok(pairs) => ask(&pairs),
        Err(error) => said(&error),
    }
}

/// What is made of these parameters.
pub(crate) fn ask(pairs: &[(String, String)]) {
    for key in [
        &[Kind::Integer][..],
        &[Kind::Text, Kind::Binary],
        &[Kind::Decimal, Kind::Enum],
        &[Kind::DateTime],
    ] {
        let table = table(key);
        if let Err(error) = rows(&table, pairs) {
            said(&error);
        }
        for asked in [Asked::Digests, Asked::Keys] {
            if let Err(error) = compared(&table, asked, pairs) {
                said(&error);
            }
        }
    }
}

fn given(form: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_current_thread().enable_time().build().unwrap());
    let request = Request::post("/d/t/-/digests")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.body(Body::from(form.to_vec())).unwrap();
    Ok(runtime.block_on(Given::from_request(request, &()))?.0)
}

fn said(error: &ApiError) {
    assert!(!error.to_string().is_empty());
}

fn rows(table: &Table, pairs: &[(String, String)]) -> Result<(), ApiError> {
    let params = Params::parse(pairs)?;
    params.patience();
    let stamp = params.choice.stamp(table, &[])?;
    let columns = params.choice.columns(table, stamp)?;
    let kept = |column: &Column| columns.iter().any(|other| other.name == column.name);
    assert!(kept(stamp) && table.key_columns().into_iter().all(kept));
    let rows = params.rows(&table.key_columns(), &source())?;
    let reading = Reading {
        database: Ident::parse("d").unwrap(),
        table: table.clone(),
        stamp: stamp.clone(),
        columns,
        rows,
        proven: true,
        limit: params.limit,
    };
    match &reading.rows {
        Rows::Keys(condition) => is_sql(&reading.select("", condition, &[])),
        Rows::Window {
            after: Some(after), ..
        } => {
            assert_eq!(after.len(), table.key_columns().len());
            is_sql(&common::scan::behind(&reading.key_order(), after));
        }
        Rows::Window { .. } => {}
    }
    Ok(())
}

fn source() -> SourceState {
    SourceState {
        identity: "mysql-1".to_owned(),
        now: Stamp::from_micros(1 << 50),
        horizon: Stamp::from_micros(1 << 50),
        basis: Basis::Proven,
        settle_seconds: None,
        held_back_by: None,
    }
}

fn compared(table: &Table, asked: Asked, pairs: &[(String, String)]) -> Result<(), ApiError> {
    let params = parts::Params::parse(asked, pairs)?;
    let database = Ident::parse("d").unwrap();
    let comparison = Comparison::of(&params, &database, table, &[])?;
    comparison.hasher();
    let mut in_ranges = 0;
    for range in &comparison.ranges {
        let columns: Vec<String> = comparison.columns.iter().map(Column::select).collect();
        is_sql(
            &comparison
                .scan
                .page(&columns, range.after.as_ref(), range.up_to.as_ref(), 10),
        );
        in_ranges += range.parts_of(0).count();
    }
    let begins = params.parts.iter().filter(|part| part.value == 0).count();
    assert_eq!(in_ranges, begins, "each part is in one range");
    Ok(())
}

/// The words of the statements that are made here.
const WORDS: [&str; 28] = [
    "SELECT",
    "FROM",
    "WHERE",
    "ORDER",
    "BY",
    "LIMIT",
    "AND",
    "OR",
    "FORCE",
    "INDEX",
    "CAST",
    "CONVERT",
    "USING",
    "AS",
    "BINARY",
    "UNSIGNED",
    "COLLATE",
    "IN",
    "FALSE",
    "NULL",
    "IF",
    "utf8mb4",
    "utf8mb4_bin",
    "_utf8mb4",
    "_binary",
    "x",
    "IS",
    "DOUBLE",
];

/// Nothing that was asked for got out of its quotes: what stands outside them is words and signs of ours, and
/// numbers.
fn is_sql(statement: &str) {
    let mut rest = statement;
    let mut depth = 0_i32;
    while let Some(sign) = rest.chars().next() {
        let length = match sign {
            '\'' | '`' => quoted(rest).unwrap_or_else(|| panic!("{statement}")),
            '(' | ')' => {
                depth += if sign == '(' { 1 } else { -1 };
                assert!(depth >= 0, "{statement}");
                1
            }
            ' ' | ',' | '.' | '=' | '<' | '>' => 1,
            '-' => {
                assert!(
                    rest[1..].starts_with(|sign: char| sign.is_ascii_digit()),
                    "{statement}"
                );
                1
            }
            _ => {
                let word = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
                let length = rest.find(|sign| !word(sign)).unwrap_or(rest.len());
                let word = &rest[..length];
                let number = word.starts_with(|sign: char| sign.is_ascii_digit());
                assert!(number || WORDS.contains(&word), "{word:?} in {statement}");
                length
            }
        };
        rest = &rest[length..];
    }
    assert_eq!(depth, 0, "{statement}");
}

/// The length of what is quoted at the beginning of a text.
fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = bytes[0];
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\\' if quote == b'\'' => at += 2,
            byte if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// A table whose key is of these kinds.
fn table(key: &[Kind]) -> Table {
    let column = |name: &str, kind: Kind| {
        let text = matches!(kind, Kind::Text | Kind::Enum).then_some("utf8mb4");
        Column {
            name: Ident::parse(name).unwrap(),
            column_type: match kind {
                Kind::Enum => "enum('a','b')".to_owned(),
                Kind::Timestamp => "timestamp".to_owned(),
                _ => String::new(),
            },
            kind,
            charset: text.map(str::to_owned),
            collation: text.map(|charset| format!("{charset}_bin")),
            max_length: None,
            scale: 0,
            nullable: false,
            has_default: true,
            generated: false,
            initialised: true,
            on_update: kind == Kind::Timestamp,
        }
    };
    let mut columns: Vec<Column> = vec![column("s", Kind::Timestamp), column("v,`%", Kind::Text)];
    columns.extend(
        key.iter()
            .enumerate()
            .map(|(at, kind)| column(&format!("k{at}"), *kind)),
    );
    Table {
        name: Ident::parse("t").unwrap(),
        engine: "InnoDB".to_owned(),
        transactional: true,
        key: Some(Key {
            name: "PRIMARY".to_owned(),
            columns: columns[2..]
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            prefixes: Vec::new(),
        }),
        unique_keys: Vec::new(),
        columns,
        indexes: Vec::new(),
        partitioned: false,
        foreign_keys: Vec::new(),
        triggers: Vec::new(),
    }
}
