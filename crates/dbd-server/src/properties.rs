//! What holds for any request, and for any statement in a process list.

use axum::http::{HeaderMap, HeaderValue, header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::accept::Format;
use crate::fuzzing;
use crate::statement;

fn value() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "[1]",
        "[[1]]",
        "[[\"a\",\"AA==\"]]",
        "[\"a'\\\\\",\"AA==\"]",
        "[\"1-2\",\"a\"]",
        "[[\"1.5\",\"b\"],[\"2\",\"a'\"]]",
        "[]",
        "[[]]",
        "[null]",
        "[[null]]",
        "2014-09-01",
        "0000-00-00 OR 1",
        "2014-09-01T01:23:45 02:00",
        "0",
        "1",
        "-1",
        "600",
        "1e400",
        "NaN",
        "bytes",
        "collation",
        "keys",
        "stamps",
        "full",
        "s",
        "k0",
        "k1",
        "v,`%",
        "v%2C`%25",
        "[[null,null,0,0]]",
        "[[null,[5],1,1],[[5],null,1,0],[[5],null,1,0]]",
        "[[[\"2014-09-01 00:00:00\"],null,0,0]]",
        "[[null,null,33,0]]",
        "[[[1,2],null,0,0]]",
        "[{\"base64\":\"gA==\"}]",
        "[\"2014-09-01' OR '1\"]",
        "17",
        "%",
    ]);
    prop_oneof![4 => odd.prop_map(str::to_owned), 1 => any::<String>()]
}

fn pair() -> impl Strategy<Value = (String, String)> {
    let name = select(vec![
        "since",
        "after",
        "keys",
        "match",
        "limit",
        "stamp",
        "wait",
        "begun",
        "include_columns",
        "exclude_columns",
        "level",
        "parts",
        "below",
        "rows",
        "split",
        "x",
    ]);
    (name.prop_map(str::to_owned), value())
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn any_parameters_are_taken_or_explained(pairs in vec(pair(), 0..4)) {
        fuzzing::ask(&pairs);
        let form: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
        fuzzing::query(form.join("&").as_bytes());
    }

    #[test]
    fn any_bytes_are_a_query_or_none(accept in "[a-zA-Z/*;=q0-9., ]{0,30}", form in vec(any::<u8>(), 0..40)) {
        let mut data = accept.into_bytes();
        data.push(b'\n');
        data.extend(form);
        fuzzing::query(&data);
    }

    /// What is chosen is wanted, and nothing is wanted more.
    #[test]
    fn the_format_is_one_that_is_wanted(ranges in vec((select(vec!["application/json", "application/x-ndjson", "text/csv"]), 0..=1000_u32), 0..4)) {
        let accept: Vec<String> = ranges.iter().map(|(name, q)| format!("{name};q={:.3}", f64::from(*q) / 1000.0)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(&accept.join(", ")).unwrap());
        let wanted = |format: Format| {
            let name = format.content_type().split(';').next().unwrap();
            ranges.iter().find(|(range, _)| *range == name).map_or(0, |(_, q)| *q)
        };
        let best = [Format::Json, Format::Ndjson, Format::Csv].map(wanted).into_iter().max().unwrap();
        match Format::negotiate(&headers) {
            None => prop_assert!(best == 0 && !ranges.is_empty()),
            Some(Format::Json) if ranges.is_empty() => {}
            // A fraction of f32 may be one thousandth less.
            Some(format) => prop_assert!(wanted(format) + 1 >= best && wanted(format) > 0),
        }
    }

    /// R1: a statement that calls anything else is never taken for harmless, wherever the call hides.
    #[test]
    fn r1_a_call_does_not_hide(
        pieces in vec(select(vec![
            "sleep(1)", "'a'", "'it''s'", "\"a\"", "`a`", "1", "1.5", "coalesce(1, 2)", "/* a ' b */ 1", "0x1F", "1 -- '\n", "1 #\"\n",
            "a", "/*!40001 SQL_NO_CACHE */ 1", "'\\'", "'\\''", "\"\\\"",
        ]), 0..6),
        hidden in select(vec![
            "f()", "f ()", "f/**/()", "`f`()", "\"f\"()", "d.f()", "`d`.f()", "d . sleep(1)", "1f()", "1sleep(1)", "f#'\n()", "f-- '\n()",
            "f--\t'\n()", "1 /*!, f() */", "1 /*!50000 , f()*/", "1 /*M! , f()*/", "1 /*M!100100,f()*/", "sleep\u{a0}(1)", "f\u{3000}()",
            "é()", "sleep_(1)",
            "sum (1)",
            "count/**/(1)", "$(1)", "@a", "(select 1 from t)", "1; f()",
        ]),
        at in any::<prop::sample::Index>(), tail in select(vec!["", " from t", " from `t` where a", "/*!, f() */"]),
    ) {
        let mut pieces = pieces;
        // A backslash hides what follows from whoever takes it for an escape.
        pieces.insert(at.index(pieces.len() + 1), hidden);
        let text = format!("select {}{tail}", pieces.join(", "));
        prop_assert_eq!(statement::only_calls(&text), None, "{}", text);
        prop_assert_eq!(statement::only_table(&text), None, "{}", text);
    }

    #[test]
    fn any_text_is_a_statement_or_none(text in "[-a-z '\"`\\\\/*!#();.,@0-9\n\té]{0,40}") {
        for text in [text.clone(), format!("select {text}"), format!("select {text} from t")] {
            let _ = statement::only_calls(&text);
            let _ = statement::only_table(&text);
        }
    }
}
