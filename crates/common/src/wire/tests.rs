use super::*;

#[test]
fn a_value_travels_and_becomes_a_literal() {
    for (kind, value, wire, literal) in [
        (
            Kind::Integer,
            &b"-9223372036854775808"[..],
            "-9223372036854775808",
            "-9223372036854775808",
        ),
        (
            Kind::Integer,
            b"18446744073709551615",
            "18446744073709551615",
            "18446744073709551615",
        ),
        (Kind::Integer, b"00042", "42", "42"),
        (Kind::Integer, b"0000", "0", "0"),
        (Kind::Year, b"0000", "0", "0"),
        (Kind::Double, b"-0", "-0", "-0e0"),
        (
            Kind::Double,
            b"1.7976931348623157e308",
            "1.7976931348623157e308",
            "1.7976931348623157e308",
        ),
        (
            Kind::Float,
            b"0.10000000149011612",
            "0.10000000149011612",
            "0.10000000149011612e0",
        ),
        (
            Kind::Decimal,
            b"-0.000000000000000000000000000001",
            "\"-0.000000000000000000000000000001\"",
            "-0.000000000000000000000000000001",
        ),
        (Kind::Decimal, b"0000.50", "\"0.50\"", "0.50"),
        (
            Kind::Bit,
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            "18446744073709551615",
            "18446744073709551615",
        ),
        (Kind::Bit, b"\0\x05", "5", "5"),
        (Kind::Date, b"0000-00-00", "\"0000-00-00\"", "'0000-00-00'"),
        (
            Kind::Time,
            b"-838:59:59.000000",
            "\"-838:59:59.000000\"",
            "'-838:59:59.000000'",
        ),
        (
            Kind::Timestamp,
            b"2014-09-01 01:23:45.678912",
            "\"2014-09-01T01:23:45.678912Z\"",
            "'2014-09-01 01:23:45.678912'",
        ),
        (
            Kind::Timestamp,
            b"0000-00-00 00:00:00",
            "\"0000-00-00 00:00:00\"",
            "'0000-00-00 00:00:00'",
        ),
        (Kind::Text, b"", "\"\"", "''"),
        (
            Kind::Text,
            b"it's\\ \"q\"\n",
            "\"it's\\\\ \\\"q\\\"\\n\"",
            "'it''s\\\\ \"q\"\n'",
        ),
        (
            Kind::Binary,
            b"\0'\xff",
            "\"ACf/\"",
            "_binary'\0''\u{fffd}'",
        ),
        (
            Kind::Geometry,
            b"\0\0\0\0\x01",
            "\"AAAAAAE=\"",
            "x'0000000001'",
        ),
        (
            Kind::Text,
            b"\xed\xa0\x80",
            "{\"base64\":\"7aCA\"}",
            "_binary x'eda080'",
        ),
    ] {
        let mut sent = Vec::new();
        kind.encode(Some(value), false, &mut sent).unwrap();
        assert_eq!(String::from_utf8_lossy(&sent), wire, "{kind:?} {value:?}");
        let mut written = Vec::new();
        kind.literal(wire, true, &mut written).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&written),
            literal,
            "{kind:?} {value:?}"
        );
    }
}

#[test]
fn a_tag_tells_text_from_bytes() {
    for (value, wire) in [
        (&b"tabc"[..], "\"abc\""),
        (b"b80FE", "{\"base64\":\"gP4=\"}"),
        (b"t", "\"\""),
    ] {
        let mut sent = Vec::new();
        Kind::Text.encode(Some(value), true, &mut sent).unwrap();
        assert_eq!(String::from_utf8_lossy(&sent), wire);
    }
    assert!(
        Kind::Text
            .encode(Some(b"x"), true, &mut Vec::new())
            .is_err()
    );
}

#[test]
fn a_key_is_compared_with_text_whatever_its_bytes() {
    for (kind, wire, literal) in [
        (Kind::Integer, "-7", "-7"),
        (Kind::Binary, "\"YSdi\"", "x'612762'"),
        (Kind::FixedBinary, "\"XFyAJ1w=\"", "x'5c5c80275c'"),
        (Kind::Text, "\"a'b\"", "_binary'a''b'"),
    ] {
        assert_eq!(kind.order_literal(wire).unwrap(), literal, "{wire}");
    }
    assert!(Kind::Text.order_literal("null").is_err());
}

#[test]
fn what_is_not_of_its_kind_never_becomes_sql() {
    for (kind, wire) in [
        (Kind::Integer, "1 OR 1"),
        (Kind::Integer, "\"1\""),
        (Kind::Integer, "1.5"),
        (Kind::Integer, "-"),
        (Kind::Double, "1;drop"),
        (Kind::Decimal, "\"1)\""),
        (Kind::Decimal, "\"1-2\""),
        (Kind::Decimal, "\"1--\""),
        (Kind::Decimal, "\".5\""),
        (Kind::Double, "1e"),
        (Kind::Double, "1e5e5"),
        (Kind::Decimal, "1"),
        (Kind::Date, "\"2014'\""),
        (Kind::Timestamp, "\"2014-09-01T01:23:45'Z\""),
        (Kind::Binary, "\"not base64!\""),
        (Kind::Text, "12"),
        (Kind::Text, "{\"base64\":\"!\"}"),
        (Kind::Text, "[1]"),
    ] {
        let mut out = Vec::new();
        assert!(
            kind.literal(wire, true, &mut out).is_err(),
            "{kind:?} {wire}"
        );
    }
}
