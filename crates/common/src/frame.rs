//! Frames: the lines of an `application/x-ndjson` answer.
//!
//! First a [`Header`], then rows as JSON arrays in the order of the header's columns, then an
//! [`End`]. A keep-alive may stand before any of them. R10: an answer without its end frame is a
//! failed read, however it ended and whatever its status said.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ident::Ident;
use crate::kind::Kind;
use crate::stamp::Stamp;
use crate::wire::{find, is_number};

/// How the horizon is known (R2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The source's transactions are seen; nothing below the horizon can appear any more.
    Proven,
    /// They are not: the horizon is the source's time less a delay that somebody chose.
    Assumed,
}

impl std::fmt::Display for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Proven => "proven",
            Self::Assumed => "assumed",
        })
    }
}

/// Where the source stands; it travels with every answer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceState {
    /// Which server it is: another one has another identity.
    pub identity: String,
    /// The source's time when it was last looked at.
    pub now: Stamp,
    /// The horizon (R1): no row stamped below it can appear any more.
    pub horizon: Stamp,
    /// How that is known.
    pub basis: Basis,
    /// With an assumed horizon, how many seconds it lies behind the source's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_seconds: Option<f64>,
    /// What holds the horizon back, for people; nothing does when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back_by: Option<String>,
}

/// The first frame of an answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Header {
    /// The database.
    pub database: Ident,
    /// The table.
    pub table: Ident,
    /// The stamp column.
    pub stamp: Ident,
    /// Fractional digits of the stamp column, 0 to 6.
    pub precision: u8,
    /// The key columns, in their order.
    pub key: Vec<Ident>,
    /// The columns of each row, in the order of its values.
    pub columns: Vec<HeaderColumn>,
    /// Where the source stands. Its horizon is floored to the stamp column's precision.
    pub source: SourceState,
    /// Committed rows above the horizon existed when the answer began; a later pull brings them.
    pub more_above_horizon: bool,
    /// Rows are stamped later than the source's time; they are not yet due (R4).
    pub rows_in_future: bool,
}

/// A column of an answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeaderColumn {
    /// Its name.
    pub name: Ident,
    /// Its type as the source writes it.
    #[serde(rename = "type")]
    pub column_type: String,
    /// How its values travel.
    pub kind: Kind,
}

/// The last frame of an answer that is whole.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct End {
    /// How many rows were sent.
    pub rows: u64,
    /// Whether rows below the horizon were left out because of `limit`.
    pub more: bool,
    /// Where the rows that were left out are, as a reference relative to the URL that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One line of an answer.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The first one.
    Header(Box<Header>),
    /// A row: the wire forms of its values.
    Row(Vec<&'a RawValue>),
    /// Nothing new; the server is still at work.
    KeepAlive,
    /// The server failed midway; the text says why.
    Error(String),
    /// The last one.
    End(End),
}

/// A line that is no frame.
#[derive(Debug, thiserror::Error)]
#[error("the server sent a line that is no frame: {0}")]
pub struct FrameError(#[from] serde_json::Error);

#[derive(Deserialize, Serialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
enum Tagged {
    Header(Box<Header>),
    KeepAlive,
    Error { detail: String },
    End(End),
}

impl<'a> Frame<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// When it is not a frame.
    pub fn decode(line: &'a [u8]) -> Result<Self, FrameError> {
        if line.first() == Some(&b'[') {
            return Ok(Self::Row(serde_json::from_slice(line)?));
        }
        Ok(match serde_json::from_slice(line)? {
            Tagged::Header(header) => Self::Header(header),
            Tagged::KeepAlive => Self::KeepAlive,
            Tagged::Error { detail } => Self::Error(detail),
            Tagged::End(end) => Self::End(end),
        })
    }

    /// The line of this frame, with its line feed.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let tagged = match self {
            Self::Header(header) => Tagged::Header(header),
            Self::KeepAlive => Tagged::KeepAlive,
            Self::Error(detail) => Tagged::Error { detail },
            Self::End(end) => Tagged::End(end),
            Self::Row(values) => {
                let texts: Vec<&str> = values.iter().map(|value| value.get()).collect();
                return format!("[{}]\n", texts.join(",")).into_bytes();
            }
        };
        let mut line = serde_json::to_vec(&tagged).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The wire forms of the values of a row's line.
///
/// # Errors
/// When it is no JSON array.
pub fn values(line: &[u8]) -> Result<Vec<&str>, FrameError> {
    if let Some(values) = as_written(line) {
        return Ok(values);
    }
    let values: Vec<&RawValue> = serde_json::from_slice(line)?;
    Ok(values.into_iter().map(RawValue::get).collect())
}

/// The same of a line without space and objects, as nearly all are; of any other, none.
fn as_written(line: &[u8]) -> Option<Vec<&str>> {
    let line = std::str::from_utf8(line).ok()?;
    let mut rest = line.strip_prefix('[')?.strip_suffix(']')?;
    let mut values = Vec::with_capacity(8);
    loop {
        let end = end_of_value(rest.as_bytes())?;
        values.push(rest.get(..end)?);
        match rest.as_bytes().get(end) {
            None => return Some(values),
            Some(b',') => rest = &rest[end + 1..],
            Some(_) => return None,
        }
    }
}

/// How long the JSON value is that the text begins with.
fn end_of_value(text: &[u8]) -> Option<usize> {
    match text {
        [b'"', ..] => end_of_string(text),
        [b'n', b'u', b'l', b'l', ..] => Some(4),
        // SQL's numbers may begin with zeros, JSON's may not.
        [b'0', b'0'..=b'9', ..] => None,
        [b'-' | b'0'..=b'9', ..] => {
            let end = text.iter().position(|byte| *byte == b',');
            let end = end.unwrap_or(text.len());
            is_number(&text[..end]).then_some(end)
        }
        _ => None,
    }
}

fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += find(&text[at..], |byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        at += match &text[at..] {
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'u', digits @ ..] => {
                let digits = digits.first_chunk::<4>()?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(6)?
            }
            [
                b'\\',
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => 2,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            database: Ident::parse("shop").unwrap(),
            table: Ident::parse("orders").unwrap(),
            stamp: Ident::parse("changed").unwrap(),
            precision: 3,
            key: vec![Ident::parse("id").unwrap()],
            columns: vec![HeaderColumn {
                name: Ident::parse("id").unwrap(),
                column_type: "int".to_owned(),
                kind: Kind::Integer,
            }],
            source: SourceState {
                identity: "mysql-1".to_owned(),
                now: Stamp::parse("2014-09-01 01:23:46.5").unwrap(),
                horizon: Stamp::parse("2014-09-01 01:23:45").unwrap(),
                basis: Basis::Proven,
                settle_seconds: None,
                held_back_by: Some("connection 7".to_owned()),
            },
            more_above_horizon: true,
            rows_in_future: false,
        }
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let line = Frame::Header(Box::new(header())).encode();
        let Frame::Header(read) = Frame::decode(&line).unwrap() else {
            panic!("{}", String::from_utf8_lossy(&line));
        };
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            serde_json::to_string(&header()).unwrap()
        );

        let end = End {
            rows: 3,
            more: false,
            next: Some("?cursor=a".to_owned()),
        };
        assert!(
            matches!(Frame::decode(&Frame::End(end.clone()).encode()), Ok(Frame::End(read)) if read == end)
        );
        assert!(matches!(
            Frame::decode(&Frame::KeepAlive.encode()),
            Ok(Frame::KeepAlive)
        ));
        assert!(matches!(
            Frame::decode(&Frame::Error("x".to_owned()).encode()),
            Ok(Frame::Error(detail)) if detail == "x"
        ));
    }

    #[test]
    fn a_row_keeps_every_digit() {
        let line =
            b"[18446744073709551615,1.7976931348623157e308,null,\"a,\\\"]\",{\"base64\":\"gA==\"}]";
        let Frame::Row(values) = Frame::decode(line).unwrap() else {
            panic!("no row");
        };
        let texts: Vec<_> = values.iter().map(|value| value.get()).collect();
        assert_eq!(
            texts,
            [
                "18446744073709551615",
                "1.7976931348623157e308",
                "null",
                "\"a,\\\"]\"",
                "{\"base64\":\"gA==\"}"
            ]
        );
    }

    #[test]
    fn a_cut_line_is_no_frame() {
        for line in [
            "",
            "[1,2",
            "{\"frame\":\"end\",\"rows\":3",
            "{\"frame\":\"end\"}",
            "{}",
            "[1,2]x",
            "null",
        ] {
            assert!(Frame::decode(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
