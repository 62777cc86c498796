//! Any value, name or time.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::ident::Ident;
use crate::kind::Kind;
use crate::sql_reader::Sql;
use crate::stamp::Stamp;

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

pub(super) fn stamp() -> impl Strategy<Value = Stamp> {
    let second = 0..=LAST_MICROS / 1_000_000 - 1;
    prop_oneof![
        1 => Just(Stamp::ZERO),
        3 => (0..=LAST_MICROS).prop_map(Stamp::from_micros),
        2 => (second.clone(), 0..=999_u64).prop_map(|(s, ms)| Stamp::from_micros(s * 1_000_000 + ms * 1_000)),
        2 => second.prop_map(|second| Stamp::from_micros(second * 1_000_000)),
    ]
}

/// Signs that mean something to SQL, to JSON or to a parser, and a few others.
pub(super) fn nasty() -> impl Strategy<Value = String> {
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

pub(super) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        nasty().prop_map(String::into_bytes),
        vec(
            prop_oneof![Just(b'\''), Just(b'\\'), Just(b'"'), Just(0), Just(0xff)],
            0..20
        ),
    ]
}

pub(super) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<u8>().prop_map(|number| number.to_string()),
    ]
}

pub(super) fn decimal() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,34})(\\.[0-9]{1,30})?"
}

pub(super) fn double() -> impl Strategy<Value = String> {
    let finite = any::<f64>().prop_filter("databases hold no others", |double| double.is_finite());
    prop_oneof![
        finite.clone().prop_map(|double| format!("{double:?}")),
        finite.prop_map(|double| format!("{double:e}")),
        any::<i32>().prop_map(|double| double.to_string()),
    ]
}

pub(super) fn date() -> impl Strategy<Value = String> {
    "[0-9]{4}-[01][0-9]-[0-3][0-9]"
}

pub(super) fn time() -> impl Strategy<Value = String> {
    "-?[0-9]{2,3}:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
}

pub(super) fn datetime() -> impl Strategy<Value = String> {
    "[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
}

/// A kind, a value as a server answers it, and what its literal has to stand for.
pub(super) fn value() -> impl Strategy<Value = (Kind, Vec<u8>, Sql)> {
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

pub(super) fn encoded(kind: Kind, value: Option<&[u8]>) -> String {
    let mut wire = Vec::new();
    kind.encode(value, false, &mut wire).unwrap();
    String::from_utf8(wire).unwrap()
}

pub(super) fn literal_of(kind: Kind, wire: &str) -> Vec<u8> {
    let mut literal = Vec::new();
    kind.literal(wire, true, &mut literal).unwrap();
    literal
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.to_vec())
}

pub(super) fn ident() -> impl Strategy<Value = Ident> {
    nasty().prop_filter_map("no name", |text| Ident::parse(&text).ok())
}
