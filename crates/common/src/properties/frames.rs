//! Frames, and the forms in which parts and hashes travel.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::any::*;
use crate::digest::{Hex, MAX_BITS, Part, first_bits};
use crate::frame::{self, Basis, End, Frame, Header, HeaderColumn, SourceState};
use crate::kind::Kind;
use crate::sql_reader::Sql;

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
        header in header(), detail in nasty(), (rows, more, next) in (any::<u64>(), any::<bool>(), proptest::option::of(nasty())),
        values in vec(value(), 0..6),
    ) {
        let json = |header: &Header| serde_json::to_string(header).unwrap();
        let line = Frame::Header(Box::new(header.clone())).encode();
        let Ok(Frame::Header(read)) = Frame::decode(&line) else { panic!("no header") };
        prop_assert_eq!(json(&read), json(&header));

        let line = Frame::Error(detail.clone()).encode();
        prop_assert!(matches!(Frame::decode(&line), Ok(Frame::Error(read)) if read == detail));

        let end = End { rows, more, next };
        let line = Frame::End(end.clone()).encode();
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
        for line in [Frame::End(End { rows, more, next: None }).encode(), Frame::Header(Box::new(header)).encode()] {
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
