//! Digests: what two tables are compared by (R9).
//!
//! A row's values in their canonical form, each ended by a byte that no value holds, are hashed with
//! 64-bit XXH3. The digest of some rows is their number and the sum of their hashes, modulo 2^64: it
//! needs no order, and neither a changed row nor a lost one nor two that are exchanged leave it as
//! it was, but with a chance of 2^-64. The same code runs beside both databases, so nothing depends on
//! what their SQL functions think of floats, JSON or a time zone.
//!
//! The canonical form is the wire form, except that a number and a time lose the zeros at the end of
//! their fraction (the destination's column may have more digits), -0 is 0 (MariaDB stores it so), and a
//! FLOAT or DOUBLE is its bits (the servers print them differently).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::kind::Kind;
use crate::wire::KindError;

/// Ends each value of a row; no UTF-8 text holds it.
const END: u8 = 0xff;

/// How many bits of a key's hash may tell parts of a table from each other.
pub const MAX_BITS: u8 = 32;

/// What of a row is compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Its key.
    Keys,
    /// Its key, its stamp, and the columns that a foreign key's cascade can change without touching
    /// the stamp.
    Stamps,
    /// All its columns.
    Full,
}

/// Text that names no level.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("give keys, stamps or full")]
pub struct LevelError;

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        match text {
            "keys" => Ok(Self::Keys),
            "stamps" => Ok(Self::Stamps),
            "full" => Ok(Self::Full),
            _ => Err(LevelError),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys => "keys",
            Self::Stamps => "stamps",
            Self::Full => "full",
        })
    }
}

/// The hashes of one row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RowHash {
    /// Of its key: it says which part of a table the row belongs to.
    pub key: u64,
    /// Of everything that is compared.
    pub row: u64,
}

/// Hashes rows of one shape.
#[derive(Clone, Debug)]
pub struct Hasher {
    /// How each value is read: its kind, and whether it is tagged.
    columns: Vec<(Kind, bool)>,
    /// Where the key's columns stand among them.
    key: Vec<usize>,
    row: Vec<u8>,
    ends: Vec<usize>,
    of_key: Vec<u8>,
}

impl Hasher {
    /// A hasher of rows with these columns (their kind at the source, and whether the value at hand is
    /// tagged), of which those at `key` are the key, in the key's order.
    #[must_use]
    pub fn new(columns: Vec<(Kind, bool)>, key: Vec<usize>) -> Self {
        Self {
            columns,
            key,
            row: Vec::new(),
            ends: Vec::new(),
            of_key: Vec::new(),
        }
    }

    /// The hashes of a row, whose values `value` gives by their place.
    ///
    /// # Errors
    /// When a value is not of its column's kind.
    pub fn hash<'a>(
        &mut self,
        value: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<RowHash, KindError> {
        self.row.clear();
        self.ends.clear();
        self.of_key.clear();
        for (at, (kind, tagged)) in self.columns.iter().enumerate() {
            let begin = self.row.len();
            kind.encode(value(at), *tagged, &mut self.row)?;
            canonical(*kind, &mut self.row, begin);
            self.row.push(END);
            self.ends.push(self.row.len());
        }
        for at in &self.key {
            let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            self.of_key
                .extend_from_slice(&self.row[begin..self.ends[*at]]);
        }
        Ok(RowHash {
            key: xxh3_64(&self.of_key),
            row: xxh3_64(&self.row),
        })
    }
}

/// The canonical form of a key, from the wire forms of its values: equal for equal keys, whichever server
/// wrote them.
#[must_use]
pub fn canonical_key<'a>(values: impl IntoIterator<Item = (Kind, &'a str)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, wire) in values {
        let begin = out.len();
        out.extend_from_slice(wire.as_bytes());
        canonical(kind, &mut out, begin);
        out.push(END);
    }
    out
}

/// The hash of a key, from the wire forms of its values: [`RowHash::key`] of its row.
#[must_use]
pub fn key_hash<'a>(values: impl IntoIterator<Item = (Kind, &'a str)>) -> u64 {
    xxh3_64(&canonical_key(values))
}

/// Brings the wire form that begins at `begin` into its canonical form.
fn canonical(kind: Kind, out: &mut Vec<u8>, begin: usize) {
    match kind {
        Kind::Float | Kind::Double => {
            let number = std::str::from_utf8(&out[begin..])
                .ok()
                .and_then(|text| text.parse::<f64>().ok());
            if let Some(number) = number {
                // -0 + 0 is 0.
                let bits = (number + 0.0).to_bits();
                out.truncate(begin);
                out.extend_from_slice(format!("{bits:016x}").as_bytes());
            }
        }
        Kind::Integer | Kind::Decimal => {
            // A number is the same as a DECIMAL of it, which the wire has in quotes.
            if out.get(begin) == Some(&b'"') {
                out.remove(begin);
                out.pop();
            }
            without_zeros(out, begin);
            if &out[begin..] == b"-0" {
                out.remove(begin);
            }
        }
        Kind::Time | Kind::DateTime | Kind::Timestamp if out[begin..].contains(&b'.') => {
            let tail = out[begin..]
                .iter()
                .rposition(u8::is_ascii_digit)
                .map_or(out.len(), |at| begin + at + 1);
            let rest = out.split_off(tail);
            without_zeros(out, begin);
            out.extend_from_slice(&rest);
        }
        _ => {}
    }
}

/// Drops the zeros at the end of a fraction, and a point that nothing follows.
fn without_zeros(out: &mut Vec<u8>, begin: usize) {
    if !out[begin..].contains(&b'.') {
        return;
    }
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
}

/// The digest of some rows.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Digest {
    /// How many they are.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: u64,
}

impl Digest {
    /// Adds a row.
    pub fn add(&mut self, row: RowHash) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row.row);
    }
}

/// A hash on the wire: 16 hexadecimal digits, since JSON's numbers are not safe for 64 bits everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A sign is no digit, although it could be parsed.
        let digits = text.len() == 16 && !text.starts_with('+');
        match u64::from_str_radix(&text, 16) {
            Ok(hash) if digits => Ok(Self(hash)),
            _ => Err(serde::de::Error::custom("16 hexadecimal digits are wanted")),
        }
    }
}

/// A part of a table: the rows whose key is greater than `after`, not greater than `up_to`, and whose
/// key's hash begins with the `bits` bits that `value` has.
///
/// On the wire it is `[after, up_to, bits, value]`, with the wire forms of a key's values, or null.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The key before its range; none where it begins with the first row.
    pub after: Option<Vec<Box<RawValue>>>,
    /// The last key of its range; none where it ends with the last row.
    pub up_to: Option<Vec<Box<RawValue>>>,
    /// How many bits of the hash count, at most [`MAX_BITS`].
    pub bits: u8,
    /// Those bits.
    pub value: u64,
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.after, &self.up_to, self.bits, self.value).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (after, up_to, bits, value) = Deserialize::deserialize(deserializer)?;
        if bits > MAX_BITS || value >= 1_u64 << bits {
            return Err(serde::de::Error::custom(format!(
                "a part has at most {MAX_BITS} bits, and a value of so many bits"
            )));
        }
        Ok(Self {
            after,
            up_to,
            bits,
            value,
        })
    }
}

/// The first `bits` bits of a hash.
#[must_use]
pub fn first_bits(hash: u64, bits: u8) -> u64 {
    match bits {
        0 => 0,
        bits => hash >> (64 - u32::from(bits.min(64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Kind, value: &str) -> String {
        let mut out = b"x\"".to_vec();
        kind.encode(Some(value.as_bytes()), false, &mut out)
            .unwrap();
        canonical(kind, &mut out, 2);
        String::from_utf8(out.split_off(2)).unwrap()
    }

    #[test]
    fn r9_the_same_value_has_one_canonical_form() {
        for (kind, values, canonical) in [
            (Kind::Integer, &["7", "007"][..], "7"),
            (Kind::Integer, &["-100"], "-100"),
            (Kind::Decimal, &["7", "7.0", "7.00"], "7"),
            (Kind::Decimal, &["-0.50", "-0.5"], "-0.5"),
            (Kind::Decimal, &["0.00", "-0.00", "0"], "0"),
            (Kind::Decimal, &["100"], "100"),
            (Kind::Double, &["0", "-0", "0e0"], "0000000000000000"),
            (
                Kind::Double,
                &["1e22", "10000000000000000000000", "1.0e22"],
                "4480f0cf064dd592",
            ),
            (Kind::Time, &["-12:00:00", "-12:00:00.000"], "\"-12:00:00\""),
            (Kind::Time, &["10:00:00.10"], "\"10:00:00.1\""),
            (
                Kind::Timestamp,
                &["2014-09-01 01:23:40", "2014-09-01 01:23:40.000000"],
                "\"2014-09-01T01:23:40Z\"",
            ),
            (
                Kind::DateTime,
                &["0000-00-00 00:00:00.00", "0000-00-00 00:00:00"],
                "\"0000-00-00 00:00:00\"",
            ),
            (Kind::Text, &["7.00"], "\"7.00\""),
        ] {
            for value in values {
                assert_eq!(text(kind, value), canonical, "{kind:?} {value}");
            }
        }
    }

    fn hash(values: &[Option<&str>]) -> RowHash {
        let columns = values.iter().map(|_| (Kind::Text, false)).collect();
        let mut hasher = Hasher::new(columns, vec![1, 0]);
        let values: Vec<_> = values
            .iter()
            .map(|value| value.map(str::as_bytes))
            .collect();
        hasher.hash(|at| values[at]).unwrap()
    }

    #[test]
    fn r9_different_rows_have_different_hashes() {
        let rows = [
            [Some("a"), Some("b"), Some("c")],
            [Some("b"), Some("a"), Some("c")],
            [Some("a"), Some("b"), Some("")],
            [Some("a"), Some("b"), None],
            [Some("a"), Some("b"), Some("null")],
            [Some("ab"), Some(""), Some("c")],
            [Some("a\",\"b"), Some("b"), Some("c")],
        ];
        for (at, one) in rows.iter().enumerate() {
            for other in &rows[..at] {
                assert_ne!(hash(one).row, hash(other).row, "{one:?} {other:?}");
            }
        }
        // The key alone, in the key's order.
        assert_eq!(hash(&rows[0]).key, hash(&rows[3]).key);
        assert_ne!(hash(&rows[0]).key, hash(&rows[1]).key);
    }

    #[test]
    fn r9_rows_that_are_exchanged_change_a_digest() {
        let digest = |rows: &[&str]| {
            let mut digest = Digest::default();
            for row in rows {
                digest.add(hash(&[Some(row), Some("k")]));
            }
            digest
        };
        assert_eq!(digest(&["10", "11"]), digest(&["11", "10"]));
        // Where the XOR of their CRC32 is the same.
        assert_ne!(digest(&["10", "11"]), digest(&["12", "13"]));
        assert_ne!(digest(&["1", "1"]), digest(&[]));
    }

    #[test]
    fn the_hash_is_the_one_that_is_documented() {
        // XXH3 of `"a"`, 0xff, `"b"`, 0xff: a change of it makes two versions of the programs disagree.
        let row = hash(&[Some("a"), Some("b")]).row;
        let key = [(Kind::Text, "\"b\""), (Kind::Text, "\"a\"")];
        assert_eq!(key_hash(key), hash(&[Some("a"), Some("b")]).key);
        assert_eq!(row, xxh3_64(b"\"a\"\xff\"b\"\xff"));
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(first_bits(0xf000_0000_0000_0001, 3), 7);
        assert_eq!(first_bits(u64::MAX, 0), 0);
    }

    #[test]
    fn a_part_travels() {
        let text = "[[1,\"a\"],null,5,31]";
        let part: Part = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&part).unwrap(), text);
        for wrong in ["[null,null,5,32]", "[null,null,33,0]", "[1,null,0,0]", "[]"] {
            assert!(serde_json::from_str::<Part>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            serde_json::to_string(&Hex(10)).unwrap(),
            "\"000000000000000a\""
        );
        for wrong in ["\"a\"", "\"+00000000000000a\""] {
            assert!(serde_json::from_str::<Hex>(wrong).is_err(), "{wrong}");
        }
    }
}
