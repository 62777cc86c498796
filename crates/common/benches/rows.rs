//! A row's way: from the database's text to the wire, split again, to literals, and into a digest.
//!
//!     cargo bench -p dbd-common
//!
//! Not run by `./check`, which only compiles it.

use std::hint::black_box;

use common::digest::Hasher;
use common::frame::values;
use common::kind::Kind;
use divan::{Bencher, counter::BytesCount};

fn main() {
    divan::main();
}

/// A value of each kind, as a server writes it.
const VALUES: [(Kind, &[u8]); 14] = [
    (Kind::Integer, b"1234567890123"),
    (Kind::Decimal, b"285714.14"),
    (Kind::Float, b"0.10000000149011612"),
    (Kind::Double, b"1.7976931348623157e308"),
    (Kind::Bit, b"\x01\x02\x03"),
    (Kind::Year, b"2024"),
    (Kind::Date, b"2024-02-29"),
    (Kind::Time, b"-12:34:56.789"),
    (Kind::DateTime, b"2024-02-29 12:34:56.789012"),
    (Kind::Timestamp, b"2024-02-29 12:34:56"),
    (
        Kind::Text,
        b"a line of text, as people write it, and \"another\"\n",
    ),
    (Kind::Json, b"{\"a\": [1, 2.5, \"x\"]}"),
    (Kind::Binary, b"\0\x01\x02'\\\xff0123456789"),
    (
        Kind::Geometry,
        b"\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\0@",
    ),
];

/// The row of benches/workloads/rows: about 190 bytes.
fn row() -> [(Kind, Vec<u8>); 5] {
    [
        (Kind::Integer, b"1234567".to_vec()),
        (Kind::Integer, b"54321".to_vec()),
        (Kind::Decimal, b"176366.71".to_vec()),
        (
            Kind::Text,
            [b"0123456789abcdef".repeat(4), b"x".repeat(86)].concat(),
        ),
        (Kind::Timestamp, b"2024-01-01 03:25:45".to_vec()),
    ]
}

fn encode(row: &[(Kind, Vec<u8>)], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, (kind, value)) in row.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        kind.encode(Some(value), false, out)
            .expect("the value is of its kind");
    }
    out.push(b']');
}

fn line() -> Vec<u8> {
    let mut line = Vec::new();
    encode(&row(), &mut line);
    line
}

#[divan::bench(args = VALUES.iter().map(|(kind, _)| *kind))]
fn encode_value(bencher: Bencher, kind: Kind) {
    let (kind, value) = VALUES[VALUES.iter().position(|(k, _)| *k == kind).unwrap_or(0)];
    let mut out = Vec::new();
    bencher.bench_local(move || {
        out.clear();
        kind.encode(Some(black_box(value)), false, &mut out)
            .expect("the value is of its kind");
    });
}

#[divan::bench(args = VALUES.iter().map(|(kind, _)| *kind))]
fn literal_of_value(bencher: Bencher, kind: Kind) {
    let (kind, value) = VALUES[VALUES.iter().position(|(k, _)| *k == kind).unwrap_or(0)];
    let mut wire = Vec::new();
    kind.encode(Some(value), false, &mut wire)
        .expect("the value is of its kind");
    let wire = String::from_utf8(wire).expect("JSON is UTF-8");
    let mut out = Vec::new();
    bencher.bench_local(move || {
        out.clear();
        kind.literal(black_box(&wire), false, &mut out)
            .expect("the wire form is of its kind");
    });
}

#[divan::bench]
fn encode_row(bencher: Bencher) {
    let (row, mut out) = (row(), Vec::new());
    bencher
        .counter(BytesCount::new(line().len()))
        .bench_local(move || {
            out.clear();
            encode(black_box(&row), &mut out);
        });
}

#[divan::bench]
fn split_row(bencher: Bencher) {
    let line = line();
    bencher
        .counter(BytesCount::new(line.len()))
        .bench_local(|| values(black_box(&line)).expect("it is a row").len());
}

#[divan::bench]
fn literals_of_row(bencher: Bencher) {
    let (line, row, mut out) = (line(), row(), Vec::new());
    bencher
        .counter(BytesCount::new(line.len()))
        .bench_local(move || {
            out.clear();
            let values = values(black_box(&line)).expect("it is a row");
            for ((kind, _), wire) in row.iter().zip(values) {
                kind.literal(wire, false, &mut out)
                    .expect("the wire form is of its kind");
            }
        });
}

#[divan::bench]
fn digest_of_row(bencher: Bencher) {
    let row = row();
    let columns = row.iter().map(|(kind, _)| (*kind, false)).collect();
    let mut hasher = Hasher::new(columns, vec![0]);
    bencher
        .counter(BytesCount::new(line().len()))
        .bench_local(move || {
            let row = black_box(&row);
            hasher
                .hash(|at| Some(row[at].1.as_slice()))
                .expect("the values are of their kinds")
                .row
        });
}
