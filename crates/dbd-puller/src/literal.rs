//! The literal of a value for one column of the destination; pure.

use std::collections::BTreeMap;

use common::kind::Kind;
use common::session;
use common::table::Column;
use common::wire::KindError;
use serde_json::value::RawValue;

/// Appends the literal of a wire value of the source's column for the destination's column.
pub(crate) fn literal(
    source: &Column,
    destination: &Column,
    wire: &str,
    out: &mut Vec<u8>,
) -> Result<(), KindError> {
    if destination.kind == Kind::Json && wire.contains(|sign: char| sign.is_ascii_digit()) {
        let text = serde_json::from_str::<String>(wire).unwrap_or_default();
        let decimals = decimals(&text);
        if !decimals.is_empty() {
            json_with(&text, &decimals, out);
            return Ok(());
        }
    }
    // Only such a value is text without a Unicode form.
    let takes_bytes = wire.starts_with('{') && same_charset(source, destination);
    source.kind.literal(wire, takes_bytes, out)
}

/// Whether both columns have the same character set: text that has no Unicode form can be written
/// only then. The forms of UTF-8 have the same bytes.
fn same_charset(source: &Column, destination: &Column) -> bool {
    let utf8 = |name: &str| name.starts_with("utf8");
    match (&source.charset, &destination.charset) {
        (Some(source), Some(destination)) => {
            source == destination || (utf8(source) && utf8(destination))
        }
        _ => false,
    }
}

/// How deep MySQL's JSON is nested at most.
const MAX_DEPTH: usize = 100;

/// A number in a JSON text that MySQL holds as a DECIMAL, and the path that leads to it.
#[derive(Debug, PartialEq)]
struct Decimal {
    path: String,
    number: String,
}

/// The numbers of a JSON text that would not come back as they are: read from text MySQL makes a
/// DOUBLE of every number with a point, but what was built from a column can be a DECIMAL.
fn decimals(text: &str) -> Vec<Decimal> {
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_str::<&RawValue>(text) {
        search(value, "$", MAX_DEPTH, &mut found);
    }
    found
}

fn search(value: &RawValue, path: &str, depth: usize, found: &mut Vec<Decimal>) {
    let text = value.get();
    // What is deeper MySQL refuses.
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).unwrap_or_default();
            for (name, value) in members {
                let name = serde_json::to_string(&name).unwrap_or_default();
                search(value, &format!("{path}.{name}"), depth, found);
            }
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            for (at, value) in items.into_iter().enumerate() {
                search(value, &format!("{path}[{at}]"), depth, found);
            }
        }
        Some(b'-' | b'0'..=b'9') if is_decimal(text) => found.push(Decimal {
            path: path.to_owned(),
            number: text.to_owned(),
        }),
        _ => {}
    }
}

/// Whether a number must be written as a DECIMAL to be shown with the same digits again. It may be
/// a DOUBLE that would do as well: its digits are the same either way.
fn is_decimal(number: &str) -> bool {
    if number.contains(['e', 'E']) {
        return false;
    }
    if !number.contains('.') {
        return number.parse::<i64>().is_err() && number.parse::<u64>().is_err();
    }
    let Ok(double) = number.parse::<f64>() else {
        return true;
    };
    // Beyond these bounds MySQL shows a DOUBLE with an exponent.
    let plain = double == 0.0 || (1e-3..1e15).contains(&double.abs());
    !plain || format!("{double:?}") != number
}

/// The JSON text with its DECIMALs put in place.
fn json_with(text: &str, decimals: &[Decimal], out: &mut Vec<u8>) {
    if let [Decimal { path, number }] = decimals
        && path == "$"
    {
        out.extend_from_slice(format!("CAST({number} AS JSON)").as_bytes());
        return;
    }
    out.extend_from_slice(b"JSON_REPLACE(");
    out.extend_from_slice(session::literal(text).as_bytes());
    for Decimal { path, number } in decimals {
        out.extend_from_slice(format!(",{},{number}", session::literal(path)).as_bytes());
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_a_decimal_in_json_keeps_its_digits() {
        for (text, found) in [
            (
                r#"{"a": 1, "b": "1.50", "c": 1.5, "d": 1e30, "e": null}"#,
                "",
            ),
            (r#"{"price": 19.90}"#, r#"$."price"=19.90"#),
            (
                r#"[1, [{"a.b'": 12345678901234567890.120}]]"#,
                r#"$[1][0]."a.b'"=12345678901234567890.120"#,
            ),
            ("1.50", "$=1.50"),
            ("18446744073709551615", ""),
            ("18446744073709551616", "$=18446744073709551616"),
            ("-0.00001", "$=-0.00001"),
            ("0.0", ""),
            ("{}", ""),
        ] {
            let shown: Vec<String> = decimals(text)
                .into_iter()
                .map(|decimal| format!("{}={}", decimal.path, decimal.number))
                .collect();
            assert_eq!(shown.join(" "), found, "{text}");
        }
    }

    #[test]
    fn json_that_is_deeper_than_mysqls_is_not_followed() {
        let nested = |depth: usize| format!("{}1.50{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(decimals(&nested(MAX_DEPTH - 1)).len(), 1);
        assert_eq!(decimals(&nested(100_000)), []);
    }
}
