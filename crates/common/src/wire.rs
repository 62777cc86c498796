//! How each kind of value is sent and written (R7).
//!
//! A value is read as the text that the server makes of it, becomes one JSON value on the wire,
//! and one literal in a statement. Both sides use this code, so what it does not change on the
//! way there it does not change on the way back.
//!
//! | kind | on the wire |
//! |---|---|
//! | integers, YEAR, BIT, FLOAT, DOUBLE | a number, digit for digit |
//! | DECIMAL | a string |
//! | DATE, TIME, DATETIME | a string, as MySQL writes it, zero dates too |
//! | TIMESTAMP | RFC 3339 in UTC; a zero date as it is |
//! | text, ENUM, SET, JSON | a string |
//! | text that has no Unicode form | an object: `{"base64": …}`, its bytes |
//! | binary, geometry (SRID and WKB) | a string of base64 |
//!
//! Literals are made for the sessions of [`session`](crate::session): a quote and a backslash are
//! doubled, every other byte stands for itself.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::kind::Kind;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A wire value that is not of its column's kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{value} is not a value of kind {kind:?}")]
pub struct KindError {
    kind: Kind,
    value: String,
}

/// The escape for text that has no Unicode form.
#[derive(Deserialize)]
struct Escaped<'a> {
    #[serde(borrow)]
    base64: Cow<'a, str>,
}

impl KindError {
    /// The error of a value that is not of that kind.
    #[must_use]
    pub fn new(kind: Kind, value: &str) -> Self {
        Self {
            kind,
            value: value.to_owned(),
        }
    }
}

impl Kind {
    /// Appends the wire form of a value, as read by [`Column::select`](crate::table::Column::select), to `out`.
    ///
    /// # Errors
    /// When the server answered something that is not of this kind; nothing is guessed.
    pub fn encode(
        self,
        value: Option<&[u8]>,
        tagged: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), KindError> {
        let Some(value) = value else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let error = || KindError {
            kind: self,
            value: String::from_utf8_lossy(value).into_owned(),
        };
        match self {
            Self::Integer | Self::Year => {
                if !is_integer(value) {
                    return Err(error());
                }
                out.extend_from_slice(without_zerofill(value));
            }
            Self::Float | Self::Double => {
                if !is_number(value) {
                    return Err(error());
                }
                out.extend_from_slice(without_zerofill(value));
            }
            Self::Bit => {
                let mut number = 0_u64;
                for byte in value {
                    number = number.checked_shl(8).unwrap_or(0) | u64::from(*byte);
                }
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Self::Decimal => {
                if !is_number(value) || value.iter().any(|sign| b"eE".contains(sign)) {
                    return Err(error());
                }
                out.push(b'"');
                out.extend_from_slice(without_zerofill(value));
                out.push(b'"');
            }
            Self::Date | Self::Time | Self::DateTime => {
                if !is_time(value) {
                    return Err(error());
                }
                out.push(b'"');
                out.extend_from_slice(value);
                out.push(b'"');
            }
            Self::Timestamp => {
                if !is_time(value) || value.len() < b"2014-09-01 01:23:45".len() {
                    return Err(error());
                }
                out.push(b'"');
                if value.starts_with(b"0000-00-00") {
                    out.extend_from_slice(value);
                } else {
                    out.extend_from_slice(&value[..10]);
                    out.push(b'T');
                    out.extend_from_slice(&value[11..]);
                    out.push(b'Z');
                }
                out.push(b'"');
            }
            Self::FixedBinary | Self::Binary | Self::Geometry => base64_string(value, out),
            Self::Char | Self::Text | Self::Enum | Self::Set | Self::Json | Self::Other => {
                if tagged {
                    match value.split_first() {
                        Some((b't', text)) => text_string(text, out),
                        Some((b'b', hex)) => {
                            escaped(&from_hex(hex).ok_or_else(error)?, out);
                        }
                        _ => return Err(error()),
                    }
                } else {
                    text_string(value, out);
                }
            }
        }
        Ok(())
    }

    /// Appends the SQL literal of a wire value to `out`. `takes_bytes` says that the column written to
    /// has the source's character set: only then can it take text that has no Unicode form.
    ///
    /// # Errors
    /// When the wire value is not of this kind.
    pub fn literal(
        self,
        wire: &str,
        takes_bytes: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), KindError> {
        let error = || KindError {
            kind: self,
            value: wire.chars().take(80).collect(),
        };
        if wire == "null" {
            out.extend_from_slice(b"NULL");
            return Ok(());
        }
        match self {
            Self::Integer | Self::Year | Self::Bit => {
                if !is_integer(wire.as_bytes()) {
                    return Err(error());
                }
                out.extend_from_slice(wire.as_bytes());
            }
            Self::Float | Self::Double => {
                if !is_number(wire.as_bytes()) {
                    return Err(error());
                }
                out.extend_from_slice(wire.as_bytes());
                // With an exponent it is a DOUBLE literal, which the server rounds correctly.
                if !wire.contains(['e', 'E']) {
                    out.extend_from_slice(b"e0");
                }
            }
            Self::Decimal => {
                let text = unescape(wire).ok_or_else(error)?;
                if !is_number(text.as_bytes()) || text.contains(['e', 'E']) {
                    return Err(error());
                }
                out.extend_from_slice(text.as_bytes());
            }
            Self::Date | Self::Time | Self::DateTime => {
                let text = unescape(wire).ok_or_else(error)?;
                if !is_time(text.as_bytes()) {
                    return Err(error());
                }
                quoted(text.as_bytes(), out);
            }
            Self::Timestamp => {
                let text = unescape(wire).ok_or_else(error)?;
                let text = text.strip_suffix('Z').unwrap_or(&text).as_bytes();
                let (date, time) = match text.iter().position(|byte| *byte == b'T') {
                    Some(at) => (&text[..at], Some(&text[at + 1..])),
                    None => (text, None),
                };
                if !is_time(date) || !time.is_none_or(is_time) {
                    return Err(error());
                }
                out.push(b'\'');
                out.extend_from_slice(date);
                if let Some(time) = time {
                    out.push(b' ');
                    out.extend_from_slice(time);
                }
                out.push(b'\'');
            }
            Self::FixedBinary | Self::Binary => {
                let text = unescape(wire).ok_or_else(error)?;
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| error())?;
                out.extend_from_slice(b"_binary");
                quoted(&bytes, out);
            }
            Self::Geometry => {
                let text = unescape(wire).ok_or_else(error)?;
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| error())?;
                hexadecimal(&bytes, out);
            }
            Self::Char | Self::Text | Self::Enum | Self::Set | Self::Json | Self::Other => {
                if wire.starts_with('{') {
                    if !takes_bytes {
                        return Err(error());
                    }
                    let escaped: Escaped<'_> = serde_json::from_str(wire).map_err(|_| error())?;
                    let bytes = STANDARD
                        .decode(escaped.base64.as_bytes())
                        .map_err(|_| error())?;
                    // As bytes, since the server would warn of them as text.
                    out.extend_from_slice(b"_binary ");
                    hexadecimal(&bytes, out);
                } else {
                    let text = unescape(wire).ok_or_else(error)?;
                    quoted(text.as_bytes(), out);
                }
            }
        }
        Ok(())
    }

    /// The literal that [`Column::order`](crate::table::Column::order) is compared with.
    ///
    /// # Errors
    /// When the wire value is not of this kind, or is NULL, which no key can be.
    pub fn order_literal(self, wire: &str) -> Result<String, KindError> {
        let error = || KindError {
            kind: self,
            value: wire.chars().take(80).collect(),
        };
        if wire == "null" || wire.starts_with('{') {
            return Err(error());
        }
        let mut out = Vec::new();
        if matches!(self, Self::FixedBinary | Self::Binary) {
            // In hexadecimal, so that the literal is text whatever the bytes are.
            let text = unescape(wire).ok_or_else(error)?;
            let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| error())?;
            hexadecimal(&bytes, &mut out);
        } else {
            if !self.orders_alike() && self != Self::Float {
                out.extend_from_slice(b"_binary");
            }
            self.literal(wire, false, &mut out)?;
        }
        String::from_utf8(out).map_err(|_| error())
    }
}

/// Whether the text is a number as both JSON and SQL write it, but for leading zeros.
pub(crate) fn is_number(text: &[u8]) -> bool {
    let fraction = |rest| match <[u8]>::strip_prefix(rest, b".") {
        Some(fraction) => behind_digits(fraction),
        None => Some(rest),
    };
    match behind_whole(text).and_then(fraction) {
        Some([]) => true,
        Some([b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..]) => {
            behind_digits(exponent) == Some(b"")
        }
        _ => false,
    }
}

fn is_integer(text: &[u8]) -> bool {
    behind_whole(text) == Some(b"")
}

/// What stands behind the sign and the digits of a whole number. Only what has no sign can be shown
/// with leading zeros.
fn behind_whole(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'-', b'0', b'0'..=b'9', ..] => None,
        [b'-', rest @ ..] => behind_digits(rest),
        _ => behind_digits(text),
    }
}

/// What stands behind one digit or more.
fn behind_digits(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| &text[digits..])
}

fn is_time(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b':' | b' ' | b'.'))
}

/// A number without the leading zeros that ZEROFILL and YEAR show.
fn without_zerofill(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b'0', next, ..] = rest {
        if !next.is_ascii_digit() {
            break;
        }
        rest = &rest[1..];
    }
    rest
}

fn unescape(wire: &str) -> Option<Cow<'_, str>> {
    // The common case: a string without an escape is its own text.
    if let Some(inner) = wire
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        && find(inner.as_bytes(), |byte| matches!(byte, b'\\' | b'"')).is_none()
    {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(wire).ok().map(Cow::Owned)
}

fn text_string(text: &[u8], out: &mut Vec<u8>) {
    if std::str::from_utf8(text).is_err() {
        escaped(text, out);
        return;
    }
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = find(rest, |byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Where the first byte stands that is wanted.
pub(crate) fn find(text: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    // Without a branch for each byte the compiler looks at all of a block at once.
    let (blocks, _) = text.as_chunks::<16>();
    let is_in = |block: &[u8; 16]| block.iter().fold(false, |any, byte| any | wanted(*byte));
    let behind = 16 * blocks.iter().take_while(|block| !is_in(block)).count();
    let at = text[behind..].iter().position(|byte| wanted(*byte));
    at.map(|at| behind + at)
}

fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"base64\":");
    base64_string(bytes, out);
    out.push(b'}');
}

fn base64_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = text;
    while let Some(at) = find(rest, |byte| matches!(byte, b'\'' | b'\\')) {
        out.extend_from_slice(&rest[..=at]);
        out.push(rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"x'");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\'');
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests;
