//! What holds for anything that arrives: the targets of `fuzz/`, tried with what looks like an answer.

use common::ident::Ident;
use common::kind::Kind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::client::{KeyValues, encoded, in_parts, pairs};
use crate::fuzzing;
use crate::literal::literal;
use crate::sql_reader::{self, Sql};

/// A value as it may stand in a row, right or wrong.
fn value() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "null",
        "\"\"",
        "{\"base64\":\"gA==\"}",
        "{\"base64\":\"!\"}",
        "[]",
        "{}",
        "\"2014-09-01T01:23:45Z\"",
        "\"it's\\\\\"",
        "1e5",
        "-0",
        "\"1-2\"",
        "\"\\u0000'\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "true",
        "\"gA==\"",
        "\"000000000000000a\"",
        "\"{\\\"a\\\":1.50}\"",
        "18446744073709551616",
    ]);
    prop_oneof![
        odd.prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => vec(value(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
        1 => Just("{\"frame\":\"keep-alive\"}".to_owned()),
        1 => (0..4_u64).prop_map(|rows| format!("{{\"frame\":\"end\",\"rows\":{rows},\"more\":false}}")),
        1 => any::<String>().prop_map(|text| format!("{{\"frame\":\"error\",\"detail\":{text:?}}}")),
        1 => "\\PC{0,20}",
    ]
}

fn header() -> impl Strategy<Value = String> {
    let kind = select(vec![
        "integer",
        "decimal",
        "double",
        "float",
        "bit",
        "year",
        "date",
        "time",
        "datetime",
        "timestamp",
        "char",
        "text",
        "enum",
        "json",
        "fixedbinary",
        "binary",
        "geometry",
        "other",
    ]);
    vec((select(vec!["a", "b", "s", "`"]), kind), 0..4).prop_map(|columns| {
        let columns = columns.into_iter().chain([("s", "timestamp")]);
        let columns: Vec<String> = columns
            .map(|(name, kind)| format!("{{\"name\":\"{name}\",\"type\":\"x\",\"kind\":\"{kind}\"}}"))
            .collect();
        format!(
            "{{\"frame\":\"header\",\"database\":\"d\",\"table\":\"t\",\"stamp\":\"s\",\"precision\":0,\"key\":[\"s\"],\
             \"columns\":[{}],\"source\":{{\"identity\":\"i\",\"now\":\"2014-09-01\",\"horizon\":\"2014-09-01\",\
             \"basis\":\"proven\"}},\"more_above_horizon\":false,\"rows_in_future\":false}}",
            columns.join(",")
        )
    })
}

fn sql() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "`a`",
        "`b` ",
        "'",
        "\"",
        "`",
        "\\",
        "(",
        ")",
        "/*",
        "*/",
        "/*!80000 ",
        "/*M!100301 ",
        "--",
        "-- ",
        "#",
        ";",
        ",",
        " ",
        "\n",
        "int",
        " text ",
        " DEFAULT ",
        " CHECK ",
        "_utf8mb4",
        "'x'",
        "PRIMARY KEY (`a`)",
        "UNIQUE KEY `k` ",
        " GENERATED ALWAYS AS ",
        " COLLATE utf8mb4_0900_ai_ci",
        "select",
        "é",
        "1.5",
        " COMMENT ",
        "CONSTRAINT `c` ",
        "NULL",
        "(10)",
        " AUTO_INCREMENT=5",
        " json ",
        "`c`",
    ]);
    vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn r10_an_answer_is_whole_or_it_is_not(size in any::<u8>(), header in header(), lines in vec(line(), 0..8), cut in any::<prop::sample::Index>()) {
        let mut data = vec![size];
        data.extend(header.bytes().chain([b'\n']));
        lines.iter().for_each(|line| data.extend(line.bytes().chain([b'\n'])));
        fuzzing::answer(&data);
        fuzzing::answer(&data[..cut.index(data.len())]);
    }

    #[test]
    fn r9_any_lines_of_a_comparison_are_taken_or_refused(lines in vec(line(), 0..8), first in any::<[u8; 2]>(), cells in vec((0..6_u8, 0..6_u8), 0..4)) {
        let mut data = first.to_vec();
        lines.iter().for_each(|line| data.extend(line.bytes().chain([b'\n'])));
        for (part, value) in cells {
            data.extend(format!("[{part},{value},7,\"000000000000000a\"]\n[[{part},\"AA==\"],{value},\"00000000000000ff\"]\n").bytes());
            data.extend(format!("[{part},\"2014-09-01T00:00:00Z\",\"00000000000000ff\"]\n").bytes());
        }
        fuzzing::digests(&data);
        fuzzing::keys(&data);
    }

    #[test]
    fn any_definition_is_taken_apart_and_put_together(text in sql()) {
        fuzzing::definition(text.as_bytes());
    }

    #[test]
    fn any_text_is_a_definition_or_none(text in any::<String>()) {
        fuzzing::definition(text.as_bytes());
    }

    #[test]
    fn a_list_of_tables_is_understood_or_not(definition in sql(), name in "[a-z`'.]{1,4}", kind in "text|json|integer|timestamp|nothing") {
        let column = |name: &str, kind: &str| serde_json::json!({
            "name": name, "type": "int", "kind": kind, "scale": 0, "nullable": false, "has_default": true,
            "generated": false, "initialised": true, "on_update": true, "charset": "utf8mb4", "collation": "utf8mb4_bin",
        });
        let listing = serde_json::json!({
            "source": {"identity": "i", "now": "2014-09-01", "horizon": "2014-09-01", "basis": "proven"},
            "flavour": "mysql",
            "tables": [{
                "name": name, "stamp": {"column": "s", "indexed": true}, "engine": "InnoDB", "unsupported": null,
                "key": {"name": "PRIMARY", "columns": ["a"]}, "columns": [column("a", &kind), column("s", "timestamp")],
                "definition": format!("CREATE TABLE `{}` ({definition})", name.replace('`', "``")),
            }],
        });
        fuzzing::listing(listing.to_string().as_bytes());
    }

    /// What stands for itself in a URL is no sign of a URL, and nothing is lost.
    #[test]
    fn any_text_is_one_part_of_a_url(text in any::<String>()) {
        let url = encoded(&text);
        prop_assert!(url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%".contains(&byte)));
        let mut bytes = Vec::new();
        let mut rest = url.as_bytes();
        while let [byte, tail @ ..] = rest {
            if *byte == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(*byte);
                rest = tail;
            }
        }
        prop_assert_eq!(bytes, text.as_bytes());
        let pairs = pairs(vec![("a", text.clone()), ("b", text)]);
        prop_assert_eq!(pairs, format!("a={url}&b={url}"));
    }

    #[test]
    fn keys_are_asked_for_once_and_in_order(lengths in vec(vec(1..20_000_usize, 1..3), 0..20), many in 0..3_000_usize) {
        let key = |lengths: &Vec<usize>| -> KeyValues { lengths.iter().map(|length| "x".repeat(*length)).collect() };
        let keys: Vec<KeyValues> = lengths.iter().map(key).chain((0..many).map(|_| vec!["1".to_owned()])).collect();
        let parts = in_parts(&keys);
        prop_assert_eq!(parts.concat(), keys.clone());
        for part in parts {
            let bytes: usize = part.iter().flatten().map(|value| 3 * value.len() + 3).sum();
            prop_assert!(part.len() == 1 || (!part.is_empty() && part.len() <= 1_000 && bytes <= 30_000));
        }
    }

    /// R7: the JSON text is what it was, and each number with a point is named by its own path.
    #[test]
    fn r7_json_with_decimals_is_one_literal(json in json()) {
        let text = json.to_string();
        let wire = serde_json::to_string(&text).unwrap();
        let column = fuzzing::column(&Ident::parse("j").unwrap(), "json", Kind::Json);
        let mut out = Vec::new();
        literal(&column, &column, &wire, &mut out).unwrap();
        let Some(Sql::Call(name, list)) = sql_reader::literal(&out) else {
            return Err(TestCaseError::fail(text));
        };
        prop_assert_eq!(name, "JSON_REPLACE");
        prop_assert_eq!(&list[0], &Sql::Bytes(text.clone().into_bytes()));
        prop_assert_eq!(list.len(), 1 + 2 * text.matches("0.10").count());
        for pair in list[1..].chunks(2) {
            prop_assert!(matches!(&pair[0], Sql::Bytes(path) if path.starts_with(b"$")));
            prop_assert_eq!(&pair[1], &Sql::Number("0.10".to_owned()));
        }
    }
}

/// JSON with numbers that MySQL holds as DECIMAL, as it writes it.
#[derive(Clone, Debug)]
enum Json {
    Decimal,
    Text(String),
    Array(Vec<Json>),
    Object(std::collections::BTreeMap<String, Json>),
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        match self {
            Self::Decimal => f.write_str("0.10"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("{}: {value}", quoted(name)));
                write!(f, "{{{}}}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn json() -> impl Strategy<Value = Json> {
    let name = "[a'\"\\\\`.$ é]{0,4}";
    let leaf = prop_oneof![Just(Json::Decimal), name.prop_map(Json::Text)];
    let any = leaf.prop_recursive(5, 20, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::btree_map(name, inner, 0..4).prop_map(Json::Object),
        ]
    });
    // A number that stands alone is cast instead.
    any.prop_map(|json| Json::Array(vec![Json::Decimal, json]))
}

/// What was found once.
#[test]
fn a_definition_that_becomes_a_comment_is_none() {
    for body in ["(10)--", "`a` int, k --", "`a` int DEFAULT -/**/-"] {
        fuzzing::definition(body.as_bytes());
    }
}
