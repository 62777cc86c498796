//! Cursors that nobody gave out grant nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::{Pair, same_flavour};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::hostile::{get, inventory, is_harmless, status, tables};

same_flavour!(
    a_cursor_with_any_byte_changed_leads_nowhere,
    a_cursor_that_was_forged_grants_nothing,
);

/// The cursor in an answer.
fn cursor_of(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap();
    let next = answer["next"].as_str();
    let next = next.unwrap_or_else(|| panic!("{body}"));
    next.split_once("cursor=").unwrap().1.to_owned()
}

/// Made by somebody who knows how: its checksum is right.
async fn a_cursor_that_was_forged_grants_nothing(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let before = inventory(&pair).await;
    let port = pair.server().port;
    let (_, _, body) = pair.curl(&[], &format!("{table}?limit=3")).await;
    let bytes = URL_SAFE_NO_PAD.decode(cursor_of(&body)).unwrap();
    let honest: Value = serde_json::from_slice(&bytes[..bytes.len() - 8]).unwrap();
    let sealed = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend(xxh3_64(text.as_bytes()).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let union = "s` UNION SELECT v FROM canary; -- ";
    let beyond = "9".repeat(400);
    let values = [
        json!(null),
        json!(-1),
        json!(2),
        json!("canary"),
        json!("mysql"),
        json!("v"),
        json!(union),
        json!("'; DROP TABLE canary; -- "),
        json!("2014-09-01' OR '1"),
        json!("9999-12-31 23:59:59"),
        json!("0000-00-00 00:00:00"),
        json!([]),
        json!([1]),
        json!([0, "k"]),
        json!([1, "k' OR 1=1 -- "]),
        json!(["1 OR 1=1", "k"]),
        json!([[[1]], {"base64": "JyBPUiAx"}]),
        json!([1, {"base64": "JyBPUiAx"}]),
        json!({"a": [1, 2]}),
        json!(beyond),
    ];
    for name in [
        "version", "database", "table", "stamp", "at", "key", "horizon", "by", "another",
    ] {
        for value in &values {
            let mut forged = honest.clone();
            forged[name] = value.clone();
            let what = forged.to_string();
            let path = format!("{table}?wait=0&cursor={}", sealed(&what));
            let answer = get(port, &path).await;
            is_harmless(&what, &answer);
            // Whatever it says, it leads on in this table, as since and after would.
            if status(&answer) == Some(200) {
                assert!(answer.contains("\"table\":\"t\""), "{what}: {answer}");
                assert_ne!((name, value), ("database", &json!("mysql")), "{answer}");
            }
        }
    }
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "{\"version\":1}",
        "\0",
        &"[".repeat(20_000),
    ] {
        let answer = get(port, &format!("{table}?cursor={}", sealed(text))).await;
        assert!(answer.contains(":invalid-cursor\""), "{text:.50}: {answer}");
    }
    assert_eq!(inventory(&pair).await, before);
}

async fn a_cursor_with_any_byte_changed_leads_nowhere(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let port = pair.server().port;
    let (_, _, body) = pair.curl(&[], &format!("{table}?limit=3")).await;
    let cursor = cursor_of(&body);
    let cursor = cursor.as_str();
    let ask = async |cursor: &str| get(port, &format!("{table}?wait=0&cursor={cursor}")).await;
    assert_eq!(status(&ask(cursor).await), Some(200));
    for at in 0..cursor.len() {
        for other in [
            b'A',
            b'z',
            b'0',
            b'-',
            b'=',
            b'%',
            cursor.as_bytes()[at] ^ 1,
        ] {
            let mut changed = cursor.as_bytes().to_vec();
            changed[at] = other;
            let changed = String::from_utf8(changed).unwrap();
            if changed == cursor || !changed.bytes().all(|byte| byte.is_ascii_graphic()) {
                continue;
            }
            let answer = ask(&changed).await;
            assert_eq!(status(&answer), Some(400), "{at} {other}: {answer}");
            assert!(!answer.contains("\"rows\""), "{at} {other}: {answer}");
            is_harmless(&changed, &answer);
        }
        let answer = ask(&cursor[..at]).await;
        assert!(answer.contains(":invalid-cursor\""), "{at}: {answer}");
    }
    // It leads nowhere but where it is from.
    let elsewhere = table.replace("/t/", "/canary/");
    let answer = get(port, &format!("{elsewhere}?cursor={cursor}")).await;
    assert_eq!(status(&answer), Some(400), "{answer}");
    is_harmless("elsewhere", &answer);
}
