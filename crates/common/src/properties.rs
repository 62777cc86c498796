//! What holds for any value, not only for those of the examples. `PROPTEST_CASES` says how many are
//! tried.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::digest::{self, Digest, Hasher, Hex, MAX_BITS, Part, RowHash, first_bits};
use crate::frame::{self, Basis, End, Frame, Header, HeaderColumn, SourceState};
use crate::ident::{Ident, MAX_CHARS};
use crate::kind::Kind;
use crate::scan::{Scan, behind};
use crate::session;
use crate::sql_reader::{self, Sql};
use crate::stamp::Stamp;
use crate::table::Column;

const KINDS: [Kind; 19] = [
    Kind::Integer,
    Kind::Decimal,
    Kind::Float,
    Kind::Double,
    Kind::Bit,
    Kind::Year,
    Kind::Date,
    Kind::Time,
    Kind::DateTime,
    Kind::Timestamp,
    Kind::Char,
    Kind::Text,
    Kind::Enum,
    Kind::Set,
    Kind::Json,
    Kind::FixedBinary,
    Kind::Binary,
    Kind::Geometry,
    Kind::Other,
];

/// 9999-12-31 23:59:59.999999, and a TIMESTAMP of MySQL ends long before.
const LAST_MICROS: u64 = 253_402_207_200_999_999;

fn stamp() -> impl Strategy<Value = Stamp> {
    let second = 0..=LAST_MICROS / 1_000_000 - 1;
    prop_oneof![
        1 => Just(Stamp::ZERO),
        3 => (0..=LAST_MICROS).prop_map(Stamp::from_micros),
        2 => (second.clone(), 0..=999_u64).prop_map(|(s, ms)| Stamp::from_micros(s * 1_000_000 + ms * 1_000)),
        2 => second.prop_map(|second| Stamp::from_micros(second * 1_000_000)),
    ]
}

/// Signs that mean something to SQL, to JSON or to a parser, and a few others.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'"),
        Just("\\"),
        Just("\""),
        Just("`"),
        Just("--"),
        Just(" "),
        Just("\n"),
        Just("\0"),
        Just("null"),
        Just("{\"base64\":\""),
        Just("\"}"),
        Just("{"),
        Just("["),
        Just("]"),
        Just(","),
        Just("("),
        Just(")"),
        Just("0"),
        Just("17"),
        Just("-"),
        Just("+"),
        Just("."),
        Just("e"),
        Just("E"),
        Just("x'"),
        Just("_binary"),
        Just("/*"),
        Just("*/"),
        Just(";"),
        Just("T"),
        Just("Z"),
        Just(":"),
        Just("%"),
        Just("é"),
        Just("😀"),
        Just("\u{fffd}"),
        Just("\\u0027"),
        Just("\\ud83d"),
        Just("JycnJw=="),
        Just("XA=="),
        Just("2014-09-01"),
    ];
    prop_oneof![
        vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        nasty().prop_map(String::into_bytes),
        vec(
            prop_oneof![Just(b'\''), Just(b'\\'), Just(b'"'), Just(0), Just(0xff)],
            0..20
        ),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<u8>().prop_map(|number| number.to_string()),
    ]
}

fn decimal() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,34})(\\.[0-9]{1,30})?"
}

fn double() -> impl Strategy<Value = String> {
    let finite = any::<f64>().prop_filter("databases hold no others", |double| double.is_finite());
    prop_oneof![
        finite.clone().prop_map(|double| format!("{double:?}")),
        finite.prop_map(|double| format!("{double:e}")),
        any::<i32>().prop_map(|double| double.to_string()),
    ]
}

fn date() -> impl Strategy<Value = String> {
    "[0-9]{4}-[01][0-9]-[0-3][0-9]"
}

fn time() -> impl Strategy<Value = String> {
    "-?[0-9]{2,3}:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
}

fn datetime() -> impl Strategy<Value = String> {
    "[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
}

/// A kind, a value as a server answers it, and what its literal has to stand for.
fn value() -> impl Strategy<Value = (Kind, Vec<u8>, Sql)> {
    let of_text = |kinds: [Kind; 6]| {
        (proptest::sample::select(kinds.to_vec()), bytes())
            .prop_map(|(kind, bytes)| (kind, bytes.clone(), Sql::Bytes(bytes)))
    };
    let of_number = |text: String| Sql::Number(text);
    let with_exponent = |text: &str| match text.contains(['e', 'E']) {
        true => Sql::Number(text.to_owned()),
        false => Sql::Number(format!("{text}e0")),
    };
    let of_time = |(kind, text): (Kind, String)| {
        (
            kind,
            text.clone().into_bytes(),
            Sql::Bytes(text.into_bytes()),
        )
    };
    prop_oneof![
        number().prop_map(move |text| (Kind::Integer, text.clone().into_bytes(), of_number(text))),
        (0..=9999_u16).prop_map(|year| (
            Kind::Year,
            format!("{year:04}").into_bytes(),
            Sql::Number(year.to_string())
        )),
        decimal().prop_map(move |text| (Kind::Decimal, text.clone().into_bytes(), of_number(text))),
        double().prop_map(move |text| (
            Kind::Double,
            text.clone().into_bytes(),
            with_exponent(&text)
        )),
        double().prop_map(move |text| (
            Kind::Float,
            text.clone().into_bytes(),
            with_exponent(&text)
        )),
        vec(any::<u8>(), 1..=8).prop_map(|bits| {
            let number = bits
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            (Kind::Bit, bits, Sql::Number(number.to_string()))
        }),
        date().prop_map(move |text| of_time((Kind::Date, text))),
        time().prop_map(move |text| of_time((Kind::Time, text))),
        datetime().prop_map(move |text| of_time((Kind::DateTime, text))),
        datetime().prop_map(move |text| of_time((Kind::Timestamp, text))),
        of_text([
            Kind::Char,
            Kind::Text,
            Kind::Enum,
            Kind::Set,
            Kind::Json,
            Kind::Other
        ]),
        of_text([
            Kind::FixedBinary,
            Kind::Binary,
            Kind::Geometry,
            Kind::Text,
            Kind::Char,
            Kind::Binary
        ]),
    ]
}

fn encoded(kind: Kind, value: Option<&[u8]>) -> String {
    let mut wire = Vec::new();
    kind.encode(value, false, &mut wire).unwrap();
    String::from_utf8(wire).unwrap()
}

fn literal_of(kind: Kind, wire: &str) -> Vec<u8> {
    let mut literal = Vec::new();
    kind.literal(wire, true, &mut literal).unwrap();
    literal
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.to_vec())
}

fn ident() -> impl Strategy<Value = Ident> {
    nasty().prop_filter_map("no name", |text| Ident::parse(&text).ok())
}

proptest! {
    #[test]
    fn a_stamp_keeps_its_value_as_text(stamp in stamp()) {
        prop_assert_eq!(Stamp::parse(&stamp.to_string()), Ok(stamp));
        prop_assert_eq!(Stamp::parse(&stamp.sql()), Ok(stamp));
        prop_assert_eq!(Stamp::from_sql(stamp.sql().as_bytes()), Ok(stamp));
        let json = serde_json::to_string(&stamp).unwrap();
        prop_assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
    }

    #[test]
    fn stamps_are_ordered_as_their_sql_text(one in stamp(), other in stamp()) {
        prop_assert_eq!(one.cmp(&other), one.sql().cmp(&other.sql()));
    }

    #[test]
    fn a_floor_is_below_and_the_next_above(stamp in stamp(), precision in 0..=6_u8) {
        let (floor, next) = (stamp.floor(precision), stamp.next(precision));
        prop_assert!(floor <= stamp && stamp < next);
        prop_assert_eq!(next.floor(precision), next);
        prop_assert_eq!(floor.next(precision), next);
    }

    /// Whoever asks with any text as `since` gets an answer, and the same one for the time's own text.
    #[test]
    fn any_text_is_a_time_or_none(text in nasty(), tail in "[-0-9T: .Z+]{0,12}") {
        for text in [text.clone(), format!("2014-09-01{tail}"), format!("0000-00-00{tail}{text}")] {
            if let Ok(stamp) = Stamp::parse(&text) {
                prop_assert_eq!(Stamp::parse(&stamp.to_string()), Ok(stamp));
                prop_assert!(!text.contains(['\'', '\\', '"', '(']), "{:?}", text);
            }
            let _ = Stamp::from_sql(text.as_bytes());
        }
    }

    #[test]
    fn r7_a_value_travels_and_its_literal_is_the_same_value((kind, value, sql) in value()) {
        let wire = encoded(kind, Some(&value));
        let json: &RawValue = serde_json::from_str(&wire).unwrap();
        prop_assert_eq!(json.get(), &wire);
        prop_assert_eq!(sql_reader::literal(&literal_of(kind, &wire)), Some(sql));
    }

    #[test]
    fn r7_a_tagged_value_too(value in bytes()) {
        let tagged = match std::str::from_utf8(&value) {
            Ok(text) => format!("t{text}"),
            Err(_) => format!("b{}", value.iter().map(|byte| format!("{byte:02X}")).collect::<String>()),
        };
        let mut wire = Vec::new();
        Kind::Text.encode(Some(tagged.as_bytes()), true, &mut wire).unwrap();
        let wire = String::from_utf8(wire).unwrap();
        prop_assert_eq!(sql_reader::literal(&literal_of(Kind::Text, &wire)), Some(Sql::Bytes(value)));
    }

    /// Whatever a server answers is one JSON value on the wire, or an error.
    #[test]
    fn any_bytes_are_one_value_or_none(kind in kind(), value in bytes(), tagged in any::<bool>()) {
        let mut wire = Vec::new();
        if kind.encode(Some(&value), tagged, &mut wire).is_ok() {
            let json: Result<&RawValue, _> = serde_json::from_slice(&wire);
            prop_assert!(json.is_ok_and(|json| json.get().len() == wire.len()), "{:?}", String::from_utf8_lossy(&wire));
        }
    }

    /// A literal never ends its own quotes, whatever came over the network.
    #[test]
    fn r7_any_text_is_one_literal_or_none(kind in kind(), text in nasty(), takes_bytes in any::<bool>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        for wire in [text.clone(), quoted, format!("\"{text}\""), format!("{{\"base64\":\"{text}\"}}")] {
            let mut literal = Vec::new();
            if kind.literal(&wire, takes_bytes, &mut literal).is_ok() {
                prop_assert!(sql_reader::literal(&literal).is_some(), "{} {}", wire, String::from_utf8_lossy(&literal));
            }
            if let Ok(literal) = kind.order_literal(&wire) {
                let read = sql_reader::literal(literal.as_bytes());
                prop_assert!(read.is_some_and(|sql| sql != Sql::Null), "{} {}", wire, literal);
            }
        }
    }

    #[test]
    fn a_keys_literal_is_the_value((kind, value, sql) in value()) {
        let wire = encoded(kind, Some(&value));
        match kind.order_literal(&wire) {
            Ok(literal) => prop_assert_eq!(sql_reader::literal(literal.as_bytes()), Some(sql)),
            // Text without a Unicode form, and a point: no key is ordered by them.
            Err(_) => prop_assert!(wire.starts_with('{') || kind == Kind::Geometry, "{}", wire),
        }
    }

    #[test]
    fn a_text_is_one_literal(text in nasty()) {
        let literal = session::literal(&text);
        prop_assert_eq!(sql_reader::literal(literal.as_bytes()), Some(Sql::Bytes(text.into_bytes())));
    }

    #[test]
    fn a_name_never_ends_its_own_quotes(text in nasty()) {
        match Ident::parse(&text) {
            Ok(ident) => {
                let quoted = ident.to_string();
                let inner = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap();
                let pairs = inner.replace("``", "");
                prop_assert!(!pairs.contains('`'));
                prop_assert_eq!(inner.replace("``", "`"), text.as_str());
                let json = serde_json::to_string(&ident).unwrap();
                prop_assert_eq!(serde_json::from_str::<Ident>(&json).unwrap(), ident);
            }
            Err(_) => {
                let is_odd = |character| character == '\0' || character > '\u{ffff}';
                prop_assert!(text.is_empty() || text.chars().any(is_odd) || text.chars().count() > MAX_CHARS);
            }
        }
    }
}

fn header() -> impl Strategy<Value = Header> {
    let state = (
        nasty(),
        stamp(),
        stamp(),
        any::<bool>(),
        proptest::option::of((0..4_000_u32).prop_map(|quarters| f64::from(quarters) / 4.0)),
        proptest::option::of(nasty()),
    )
        .prop_map(
            |(identity, now, horizon, proven, settle_seconds, held_back_by)| SourceState {
                identity,
                now,
                horizon,
                basis: if proven {
                    Basis::Proven
                } else {
                    Basis::Assumed
                },
                settle_seconds,
                held_back_by,
            },
        );
    let column = (ident(), nasty(), kind()).prop_map(|(name, column_type, kind)| HeaderColumn {
        name,
        column_type,
        kind,
    });
    let names = (ident(), ident(), ident(), vec(ident(), 0..4));
    (
        names,
        vec(column, 0..6),
        state,
        0..=6_u8,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |((database, table, stamp, key), columns, source, precision, more, future)| Header {
                database,
                table,
                stamp,
                precision,
                key,
                columns,
                source,
                more_above_horizon: more,
                rows_in_future: future,
            },
        )
}

/// A value as JSON has it, or what is nearly one.
fn json_piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,3}(\\.[0-9]{0,3})?([eE][-+]?[0-9]{0,2})?",
        "\"([ -~]|é|\\\\u[0-9a-fA-F]{3,4}|\\\\[a-z\"/\\\\]|\n){0,20}\"",
        nasty().prop_map(|text| serde_json::to_string(&text).unwrap()),
        value().prop_map(|(kind, value, _)| encoded(kind, Some(&value))),
        prop::sample::select(vec![
            "null",
            "nul",
            "nulll",
            "true",
            "{}",
            "{\"base64\":\"gA==\"}",
            "[1]",
            " 1",
            "1 ",
            "",
            "\"",
            "\u{7f}"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn r10_any_frame_is_read_as_it_was_written(
        header in header(), detail in nasty(), (rows, more) in (any::<u64>(), any::<bool>()),
        values in vec(value(), 0..6),
    ) {
        let json = |header: &Header| serde_json::to_string(header).unwrap();
        let line = Frame::Header(Box::new(header.clone())).encode();
        let Ok(Frame::Header(read)) = Frame::decode(&line) else { panic!("no header") };
        prop_assert_eq!(json(&read), json(&header));

        let line = Frame::Error(detail.clone()).encode();
        prop_assert!(matches!(Frame::decode(&line), Ok(Frame::Error(read)) if read == detail));

        let end = End { rows, more };
        let line = Frame::End(end).encode();
        prop_assert!(matches!(Frame::decode(&line), Ok(Frame::End(read)) if read == end));

        let wires: Vec<String> = values.iter().map(|(kind, value, _)| encoded(*kind, Some(value))).collect();
        let raw: Vec<&RawValue> = wires.iter().map(|wire| serde_json::from_str(wire).unwrap()).collect();
        let line = Frame::Row(raw).encode();
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let Ok(Frame::Row(read)) = Frame::decode(&line) else { panic!("no row") };
        prop_assert_eq!(read.iter().map(|value| value.get()).collect::<Vec<_>>(), wires);
    }

    #[test]
    fn r10_a_frame_that_is_cut_is_no_end((rows, more) in (any::<u64>(), any::<bool>()), header in header(), cut in any::<proptest::sample::Index>()) {
        for line in [Frame::End(End { rows, more }).encode(), Frame::Header(Box::new(header)).encode()] {
            // Without its line feed it is whole.
            let cut = &line[..cut.index(line.len() - 1)];
            prop_assert!(Frame::decode(cut).is_err(), "{}", String::from_utf8_lossy(cut));
        }
    }

    /// Whatever the pieces make of it: valid, nearly valid, or cut.
    #[test]
    fn r10_a_row_is_split_as_a_reader_of_json_does(
        values in vec(json_piece(), 0..6), cut in any::<prop::sample::Index>(), tail in nasty(), text in nasty(),
    ) {
        let same = |line: &[u8]| {
            let split = frame::values(line).ok();
            let read = serde_json::from_slice::<Vec<&RawValue>>(line).ok();
            let read = read.map(|values| values.into_iter().map(RawValue::get).collect::<Vec<_>>());
            prop_assert_eq!(split, read, "{}", String::from_utf8_lossy(line));
            Ok(())
        };
        let line = format!("[{}]", values.join(","));
        same(line.as_bytes())?;
        same(&line.as_bytes()[..cut.index(line.len())])?;
        same(format!("{line}{tail}").as_bytes())?;
        same(format!("[{text}]").as_bytes())?;
        same(format!("[\"{text}\",1]").as_bytes())?;
        same(&[line.as_bytes(), b"\xff]"].concat())?;
        same(&[b"[\"", &[0xc3][..], b"\"]"].concat())?;
    }

    #[test]
    fn r7_text_is_a_json_string_as_others_write_it(pieces in vec(prop_oneof![nasty(), "[ -~]{0,40}", "\\PC{0,20}", "[\0-\x1f\x7f]"], 0..6)) {
        let text = pieces.concat();
        prop_assert_eq!(encoded(Kind::Text, Some(text.as_bytes())), serde_json::to_string(&text).unwrap());
    }

    #[test]
    fn any_bytes_are_a_frame_or_none(line in bytes()) {
        if let Ok(Frame::End(_)) = Frame::decode(&line) {
            prop_assert!(line.windows(5).any(|window| window == b"\"end\""));
        }
    }

    #[test]
    fn a_part_and_a_hash_travel(bits in 0..=MAX_BITS, hash in any::<u64>(), keys in vec(proptest::option::of(vec(value(), 1..3)), 2..=2)) {
        let key = |key: &Option<Vec<(Kind, Vec<u8>, Sql)>>| {
            let values = key.as_ref()?.iter();
            Some(values.map(|(kind, value, _)| RawValue::from_string(encoded(*kind, Some(value))).unwrap()).collect())
        };
        let part = Part { after: key(&keys[0]), up_to: key(&keys[1]), bits, value: first_bits(hash, bits) };
        let json = serde_json::to_string(&part).unwrap();
        let read: Part = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), json);
        prop_assert_eq!(read.value, part.value);

        let json = serde_json::to_string(&Hex(hash)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Hex>(&json).unwrap(), Hex(hash));
    }

    #[test]
    fn a_hash_is_sixteen_digits(text in "[-+0-9a-fA-F ]{15,17}") {
        let json = serde_json::to_string(&text).unwrap();
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        prop_assert_eq!(serde_json::from_str::<Hex>(&json).is_ok(), digits, "{}", text);
    }

    /// The bits that tell parts of a part apart are those behind its own.
    #[test]
    fn bits_are_taken_from_the_front(hash in any::<u64>(), bits in 0..=MAX_BITS, split in 0..=16_u8) {
        prop_assert!(bits == 64 || first_bits(hash, bits) < 1 << bits);
        prop_assert_eq!(
            first_bits(hash, bits + split),
            first_bits(hash, bits) << split | first_bits(hash << bits, split)
        );
    }
}

/// Spells a value as another server may.
fn respelled(kind: Kind, value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(value.to_vec()).unwrap_or_default();
    let fraction = |text: &str| match text.contains('.') {
        true => format!("{text}00"),
        false => format!("{text}.00"),
    };
    match kind {
        Kind::Integer if !text.starts_with('-') => format!("00{text}").into_bytes(),
        Kind::Decimal => fraction(&text).into_bytes(),
        Kind::Time | Kind::DateTime | Kind::Timestamp => fraction(&text).into_bytes(),
        Kind::Float | Kind::Double => {
            let double: f64 = text.parse().unwrap();
            format!("{double:e}").into_bytes()
        }
        _ => value.to_vec(),
    }
}

/// Whether two values of a kind are the same to the databases.
fn same(kind: Kind, one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return one == other;
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    match kind {
        Kind::Integer | Kind::Year => text(one).parse::<i128>() == text(other).parse::<i128>(),
        Kind::Float | Kind::Double => text(one).parse::<f64>() == text(other).parse::<f64>(),
        Kind::Bit => one
            .iter()
            .skip_while(|byte| **byte == 0)
            .eq(other.iter().skip_while(|byte| **byte == 0)),
        Kind::Decimal | Kind::Time | Kind::DateTime | Kind::Timestamp => {
            let cut = |value: &[u8]| {
                let text = text(value);
                let text = match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text,
                };
                if kind != Kind::Decimal {
                    return text;
                }
                let digits = text.trim_start_matches('-');
                let significant = digits.trim_start_matches('0');
                match (significant, text.starts_with('-')) {
                    ("", _) => String::new(),
                    (_, true) => format!("-{significant}"),
                    (_, false) => significant.to_owned(),
                }
            };
            cut(one) == cut(other)
        }
        _ => one == other,
    }
}

fn row_hash(row: &[(Kind, Option<Vec<u8>>)], key: &[usize]) -> RowHash {
    let mut hasher = Hasher::new(
        row.iter().map(|(kind, _)| (*kind, false)).collect(),
        key.to_vec(),
    );
    hasher.hash(|at| row[at].1.as_deref()).unwrap()
}

proptest! {
    #[test]
    fn r9_equal_rows_have_equal_hashes(values in vec((value(), any::<bool>()), 1..6)) {
        let row: Vec<(Kind, Option<Vec<u8>>)> =
            values.iter().map(|((kind, value, _), null)| (*kind, (!null).then(|| value.clone()))).collect();
        let other: Vec<_> = row
            .iter()
            .map(|(kind, value)| (*kind, value.as_ref().map(|value| respelled(*kind, value))))
            .collect();
        let key: Vec<usize> = (0..row.len()).rev().collect();
        prop_assert_eq!(row_hash(&row, &key), row_hash(&other, &key));
        let wires: Vec<(Kind, String)> = key.iter().map(|at| (row[*at].0, encoded(row[*at].0, row[*at].1.as_deref()))).collect();
        let of_key = digest::key_hash(wires.iter().map(|(kind, wire)| (*kind, wire.as_str())));
        prop_assert_eq!(of_key, row_hash(&row, &key).key);
    }

    #[test]
    fn r9_rows_have_equal_hashes_only_when_they_are_equal(
        (kind, one) in value().prop_map(|(kind, value, _)| (kind, value)), others in vec(value(), 1..8), tail in bytes(),
    ) {
        let mut others: Vec<Vec<u8>> = others.into_iter().filter(|(other, ..)| *other == kind).map(|(_, value, _)| value).collect();
        let mut longer = one.clone();
        longer.push(b'0');
        others.push(longer);
        for other in others.iter().map(|other| Some(other.as_slice())).chain([None]) {
            let row = |value: Option<&[u8]>| vec![(kind, value.map(<[u8]>::to_vec)), (Kind::Text, Some(tail.clone()))];
            let (Some(_), true) = (other, kind.encode(other, false, &mut Vec::new()).is_ok()) else { continue };
            let equal = row_hash(&row(Some(&one)), &[0]) == row_hash(&row(other), &[0]);
            prop_assert_eq!(equal, same(kind, Some(&one), other), "{:?} {:?} {:?}", kind, one, other);
        }
        prop_assert_ne!(row_hash(&[(kind, Some(one))], &[]), row_hash(&[(kind, None)], &[]));
    }

    #[test]
    fn r9_a_digest_has_no_order_and_parts_add_up(hashes in vec((any::<u64>(), any::<u64>()), 0..40), bits in 0..=8_u8, turn in any::<prop::sample::Index>()) {
        let digest = |rows: &[RowHash]| {
            let mut digest = Digest::default();
            rows.iter().for_each(|row| digest.add(*row));
            digest
        };
        let mut rows: Vec<RowHash> = hashes.into_iter().map(|(key, row)| RowHash { key, row }).collect();
        let whole = digest(&rows);
        let mut sum = Digest::default();
        for value in 0..1_u64 << bits {
            let part: Vec<RowHash> = rows.iter().filter(|row| first_bits(row.key, bits) == value).copied().collect();
            let part = digest(&part);
            sum = Digest { rows: sum.rows + part.rows, sum: sum.sum.wrapping_add(part.sum) };
        }
        prop_assert_eq!(sum, whole);
        if !rows.is_empty() {
            let at = turn.index(rows.len());
            rows.rotate_left(at);
            prop_assert_eq!(digest(&rows), whole);
        }
    }

    /// Rows of keys, read page by page: each is in exactly one page.
    #[test]
    fn r9_every_key_is_in_exactly_one_page(
        mut keys in vec(vec(-3..4_i64, 3), 0..40), columns in 1..=3_usize, limit in 1..7_usize,
    ) {
        keys.iter_mut().for_each(|key| key.truncate(columns));
        keys.sort();
        keys.dedup();
        let scan = scan(columns);
        let mut read: Vec<Vec<i64>> = Vec::new();
        let mut after: Option<Vec<String>> = None;
        loop {
            let sql = scan.page(&["x".to_owned()], after.as_ref(), None, limit as u64);
            let page: Vec<Vec<i64>> = keys.iter().filter(|key| holds(&sql, key)).take(limit).cloned().collect();
            read.extend(page.iter().cloned());
            let Some(last) = page.last().filter(|_| page.len() == limit) else { break };
            let texts: Vec<String> = last.iter().map(i64::to_string).collect();
            after = Some(scan.bound(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap());
        }
        prop_assert_eq!(read, keys);
    }

    /// Ranges that meet at a key: each key is in exactly one.
    #[test]
    fn r9_every_key_is_in_exactly_one_range(
        key in vec(-3..4_i64, 3), mut cuts in vec(vec(-3..4_i64, 3), 0..5), columns in 1..=3_usize,
    ) {
        cuts.iter_mut().for_each(|cut| cut.truncate(columns));
        cuts.sort();
        cuts.dedup();
        let key = &key[..columns];
        let scan = scan(columns);
        let bounds: Vec<Vec<String>> = cuts
            .iter()
            .map(|cut| {
                let texts: Vec<String> = cut.iter().map(i64::to_string).collect();
                scan.bound(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
            })
            .collect();
        let ends = bounds.iter().map(Some).chain([None]);
        let begins = [None].into_iter().chain(bounds.iter().map(Some));
        let found = begins.zip(ends).filter(|(after, up_to)| holds(&scan.page(&["x".to_owned()], *after, *up_to, 1), key));
        prop_assert_eq!(found.count(), 1);
        for cut in &cuts {
            let names: Vec<String> = (0..columns).map(|at| format!("`c{at}`")).collect();
            let literals: Vec<String> = cut.iter().map(i64::to_string).collect();
            let sql = format!("SELECT x FROM t WHERE {} ORDER BY", behind(&names, &literals));
            prop_assert_eq!(holds(&sql, key), key > cut.as_slice());
        }
    }

    #[test]
    fn a_key_of_another_width_is_no_bound(columns in 1..=3_usize, values in 0..5_usize) {
        let bound = scan(columns).bound(&vec!["1"; values]);
        prop_assert_eq!(bound.is_ok(), columns == values);
    }
}

fn scan(columns: usize) -> Scan {
    let column = |at: usize| Column {
        name: Ident::parse(&format!("c{at}")).unwrap(),
        column_type: "int".to_owned(),
        kind: Kind::Integer,
        charset: None,
        collation: None,
        max_length: None,
        scale: 0,
        nullable: false,
        has_default: false,
        generated: false,
        initialised: false,
        on_update: false,
    };
    Scan::new("`t`", None, (0..columns).map(column).collect())
}

/// Whether the condition of a statement holds for a key: as much of SQL as these statements are made of.
fn holds(sql: &str, key: &[i64]) -> bool {
    let Some((_, condition)) = sql.split_once(" WHERE ") else {
        return true;
    };
    let condition = condition.split(" ORDER BY").next().unwrap();
    let mut tokens: Vec<String> = condition
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .rev()
        .map(str::to_owned)
        .collect();
    let value = any_of(&mut tokens, key);
    assert!(tokens.is_empty(), "{condition}");
    value
}

fn any_of(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let mut value = all_of(tokens, key);
    while tokens.last().is_some_and(|token| token == "OR") {
        tokens.pop();
        value |= all_of(tokens, key);
    }
    value
}

fn all_of(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let mut value = term(tokens, key);
    while tokens.last().is_some_and(|token| token == "AND") {
        tokens.pop();
        value &= term(tokens, key);
    }
    value
}

fn term(tokens: &mut Vec<String>, key: &[i64]) -> bool {
    let name = tokens.pop().unwrap();
    if name == "(" {
        let value = any_of(tokens, key);
        assert_eq!(tokens.pop().as_deref(), Some(")"));
        return value;
    }
    let column: usize = name.trim_matches(['`', 'c']).parse().unwrap();
    let (sign, number) = (tokens.pop().unwrap(), tokens.pop().unwrap());
    let number: i64 = number.parse().unwrap();
    let ordering = key[column].cmp(&number);
    match sign.as_str() {
        "=" => ordering.is_eq(),
        ">" => ordering.is_gt(),
        ">=" => ordering.is_ge(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        _ => panic!("{sign}"),
    }
}
