//! A value as a page shows it: its beginning, and how long it is. Pure.
//!
//! The source itself cuts what is long, so that a page of huge values costs nobody more than one of short ones.

use base64::{Engine, engine::general_purpose::STANDARD};
use common::kind::Kind;
use common::table::Column;
use maud::{Markup, html};
use mysql_async::Row;

use crate::lease::bytes;

/// Characters of a text that are shown.
const CHARACTERS: usize = 120;

/// Bytes of a binary value that are shown.
const BYTES: usize = 48;

/// Characters of a type that are shown: an ENUM may have thousands of members.
const OF_TYPE: usize = 40;

/// How a value is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Text,
    Binary,
}

fn form(column: &Column) -> Form {
    match column.kind {
        Kind::FixedBinary | Kind::Binary => Form::Binary,
        _ => Form::Text,
    }
}

/// The beginning of a column's type.
pub(super) fn type_of(column: &Column) -> String {
    let whole = &column.column_type;
    match whole.char_indices().nth(OF_TYPE) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole.clone(),
    }
}

/// The expressions that read the beginning of a column's value and its whole length.
pub(super) fn expressions(column: &Column) -> String {
    let name = &column.name;
    let text = match column.kind {
        Kind::FixedBinary | Kind::Binary => {
            let value = match column.column_type.starts_with("vector") {
                // A vector is no string, but can be made one.
                true => format!("CAST({name} AS BINARY)"),
                false => name.to_string(),
            };
            return format!("LEFT({value},{BYTES}),LENGTH({name})");
        }
        Kind::Geometry => format!("ST_AsText({name})"),
        Kind::Bit => format!("({name}+0)"),
        Kind::Float | Kind::Double => format!("CAST({name} AS DOUBLE)"),
        _ => name.to_string(),
    };
    // Cut before it is converted: what is longer than max_allowed_packet would come out as NULL.
    format!("CONVERT(LEFT({text},{CHARACTERS}) USING utf8mb4),CHAR_LENGTH({text})")
}

/// The value of the column at that place of the list of columns.
pub(super) fn shown(row: &Row, at: usize, column: &Column) -> Markup {
    let Some(value) = bytes(row, 2 * at) else {
        return html! { span.quiet { "NULL" } };
    };
    let whole =
        bytes(row, 2 * at + 1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let (text, rest) = match form(column) {
        Form::Text => text(value, whole),
        Form::Binary => binary(value, whole),
    };
    html! { (text) @if let Some(rest) = rest { span.quiet { (rest) } } }
}

fn text(value: &[u8], whole: Option<usize>) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(value).into_owned();
    let shown = text.chars().count();
    let rest = whole.filter(|whole| *whole > shown);
    (text, rest.map(|whole| format!("… ({whole} characters)")))
}

fn binary(value: &[u8], whole: Option<usize>) -> (String, Option<String>) {
    let whole = whole.unwrap_or(value.len());
    let mut rest = match whole {
        0 => return (String::new(), Some("0 bytes".to_owned())),
        whole => format!(" (base64, {whole} bytes)"),
    };
    if whole > value.len() {
        rest.insert(0, '…');
    }
    (STANDARD.encode(value), Some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_how_long_it_is() {
        for (value, whole, expected) in [
            ("é日😀".as_bytes(), Some(3), ("é日😀", None)),
            (
                "é日".as_bytes(),
                Some(500),
                ("é日", Some("… (500 characters)")),
            ),
            (b"\xff", Some(1), ("\u{fffd}", None)),
            (b"x", None, ("x", None)),
        ] {
            let (text, rest) = text(value, whole);
            assert_eq!((text.as_str(), rest.as_deref()), expected);
        }
        for (value, whole, expected) in [
            (
                &b"\0\xff"[..],
                Some(2),
                ("AP8=", Some(" (base64, 2 bytes)")),
            ),
            (b"\0\xff", Some(9), ("AP8=", Some("… (base64, 9 bytes)"))),
            (b"", Some(0), ("", Some("0 bytes"))),
        ] {
            let (text, rest) = binary(value, whole);
            assert_eq!((text.as_str(), rest.as_deref()), expected);
        }
    }
}
