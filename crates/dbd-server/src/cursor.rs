//! Where an answer goes on that `limit` has cut.
//!
//! A cursor names the last row that was sent: its stamp and its key, in which order rows are served (R2). It
//! grants nothing, since what it holds is taken as if it were given by hand, for whoever gives it; its checksum
//! only tells one that is not whole.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::digest::Hex;
use common::frame::SourceState;
use common::ident::Ident;
use common::kind::Kind;
use common::stamp::Stamp;
use common::table::Column;
use common::wire::KindError;
use mysql_async::Row;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::ApiError;
use crate::lease::bytes;
use crate::reading::Reading;

/// The form of what is in a cursor.
const VERSION: u8 = 1;

/// Bytes of the checksum behind it.
const CHECKSUM: usize = 8;

/// The row that a window goes on behind.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    version: u8,
    database: Ident,
    table: Ident,
    /// The stamp column.
    pub(crate) stamp: Ident,
    /// The row's stamp; none where it is NULL.
    pub(crate) at: Option<Stamp>,
    /// The wire forms of its key's values, as an array.
    pub(crate) key: Box<RawValue>,
    /// The horizon of the answer that it was sent in.
    horizon: Stamp,
    /// Who sent it: [`run`].
    by: String,
}

impl Cursor {
    /// The cursor of a row that was just sent.
    ///
    /// # Errors
    /// When the source answered what is not of its column's kind.
    pub(crate) fn behind(
        reading: &Reading,
        row: &Row,
        source: &SourceState,
    ) -> Result<Self, KindError> {
        let value = |column: &Column| {
            let mut columns = reading.columns.iter();
            let at = columns.position(|other| other.name == column.name);
            at.and_then(|at| bytes(row, at))
        };
        let stamp = |text: &[u8]| {
            Stamp::from_sql(text)
                .map_err(|_| KindError::new(Kind::Timestamp, &String::from_utf8_lossy(text)))
        };
        let mut key = Vec::new();
        for column in reading.table.key_columns() {
            key.push(if key.is_empty() { b'[' } else { b',' });
            let tagged = column.is_tagged();
            column.kind.encode(value(column), tagged, &mut key)?;
        }
        key.push(b']');
        let key = String::from_utf8_lossy(&key).into_owned();
        Ok(Self {
            version: VERSION,
            database: reading.database.clone(),
            table: reading.table.name.clone(),
            stamp: reading.stamp.name.clone(),
            at: value(&reading.stamp).map(stamp).transpose()?,
            key: RawValue::from_string(key.clone())
                .map_err(|_| KindError::new(Kind::Other, &key))?,
            horizon: source.horizon,
            by: run(&source.identity),
        })
    }

    /// As a parameter has it.
    pub(crate) fn encode(&self) -> String {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.extend(xxh3_64(&text).to_be_bytes());
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When it is not whole, or of another version of this program.
    pub(crate) fn decode(text: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        let whole = bytes
            .split_last_chunk::<CHECKSUM>()
            .filter(|(text, checksum)| xxh3_64(text).to_be_bytes() == **checksum)
            .ok_or(ApiError::BadCursor("it is not whole"))?;
        serde_json::from_slice(whole.0)
            .ok()
            .filter(|cursor: &Self| cursor.version == VERSION)
            .ok_or(ApiError::BadCursor(
                "it is of another version of dbd-server",
            ))
    }

    /// Whether it leads on in what is read now.
    pub(crate) fn fits(&self, reading: &Reading) -> Result<(), ApiError> {
        let of = (&self.database, &self.table, &self.stamp);
        if of != (&reading.database, &reading.table.name, &reading.stamp.name) {
            return Err(ApiError::BadCursor(
                "it is of another table or stamp column",
            ));
        }
        if self.at.is_none() && !reading.stamp.nullable {
            return Err(ApiError::BadCursor(
                "the stamp column was another when it was sent",
            ));
        }
        Ok(())
    }

    /// The horizon up to which everything was served when this row was, as far as this program knows: stamps that were
    /// given out twice before then need not be served again.
    pub(crate) fn reached(&self, identity: &str) -> Option<Stamp> {
        (self.by == run(identity)).then_some(self.horizon)
    }
}

/// What this run of the program calls itself when it answers for that source. What another one knew of the source's clock
/// it does not know.
pub(crate) fn run(identity: &str) -> String {
    static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    Hex(xxh3_64(format!("{} {identity}", *RUN).as_bytes())).to_string()
}

/// The reference of the page behind a cursor, relative to the URL that was asked: its parameters but for those that said where
/// to begin.
pub(crate) fn next_page(pairs: &[(String, String)]) -> String {
    let mut page = "?".to_owned();
    for (name, value) in pairs {
        if !matches!(name.as_str(), "since" | "after" | "cursor") {
            page.push_str(&format!("{name}={}&", encoded(value)));
        }
    }
    page.push_str("cursor=");
    page
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b',' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor {
            version: VERSION,
            database: Ident::parse("shop").unwrap(),
            table: Ident::parse("a`b").unwrap(),
            stamp: Ident::parse("changed").unwrap(),
            at: Some(Stamp::from_micros(1_409_534_625_000_001)),
            key: RawValue::from_string("[18446744073709551615,\"é\"]".to_owned()).unwrap(),
            horizon: Stamp::from_micros(1_409_534_626_000_000),
            by: run("mysql-1"),
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let read = Cursor::decode(&cursor().encode()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", cursor()));
        assert_eq!(read.reached("mysql-1"), Some(read.horizon));
        assert_eq!(read.reached("mysql-2"), None);
    }

    #[test]
    fn a_cursor_with_any_byte_changed_is_refused() {
        let whole = cursor().encode();
        for at in 0..whole.len() {
            for byte in (1..128).map(char::from) {
                let changed = format!("{}{byte}{}", &whole[..at], &whole[at + 1..]);
                if changed != whole {
                    assert!(Cursor::decode(&changed).is_err(), "{at} {byte:?}");
                }
            }
            assert!(Cursor::decode(&whole[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn the_next_page_is_asked_for_as_this_one_was() {
        let pairs = [
            ("since", "2014-09-01"),
            ("limit", "2"),
            ("after", "[1]"),
            ("include_columns", "a,b%2Cc é&"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let page = "?limit=2&include_columns=a,b%252Cc%20%C3%A9%26&cursor=";
        assert_eq!(next_page(&pairs), page);
    }
}
