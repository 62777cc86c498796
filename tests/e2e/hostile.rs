//! Whoever sends what nobody should gets no more than a refusal, and the source is as it was.

use std::time::{Duration, Instant};

use harness::{Pair, same_flavour};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    no_sql_comes_through_a_parameter_or_a_path,
    no_odd_path_leads_anywhere,
    what_is_oversized_is_refused,
    what_is_hardly_http_is_refused,
    pipelined_requests_are_answered_in_order,
    callers_that_go_away_midway_take_no_place,
);

/// What no answer may contain: it stands in a table that is never asked for.
const SECRET: &str = "the-canary-sings";

/// Nothing takes longer, and the statements that would be sent by these take a minute.
const SOON: Duration = Duration::from_secs(20);

/// Tables `t` and `canary`; answers the path of the first.
pub(crate) async fn tables(pair: &mut Pair) -> String {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT, k VARCHAR(20), v VARCHAR(40), {STAMP}, {INDEXED}, PRIMARY KEY (id, k));
             INSERT INTO t (id, k, v) {};
             CREATE TABLE canary (id INT PRIMARY KEY, v VARCHAR(40), {STAMP});
             INSERT INTO canary VALUES (1, '{SECRET}', '2014-09-01');",
            numbers(10, "n, 'k', 'v'")
        ))
        .await;
    pair.serve().await;
    format!("/{}/t/", pair.source.database)
}

/// Everything there is at the source.
pub(crate) async fn inventory(pair: &Pair) -> Vec<String> {
    let mut all = pair.source.column("SHOW DATABASES").await;
    all.extend(pair.source.column("SHOW TABLES").await);
    for table in ["t", "canary"] {
        all.extend(pair.source.column(&format!("CHECKSUM TABLE {table}")).await);
        all.push(pair.source.count(table).await.to_string());
        let checksum = pair.source.rows(&format!("CHECKSUM TABLE {table}")).await;
        all.push(format!("{checksum:?}"));
    }
    all.extend(pair.source.column("SELECT User FROM mysql.user").await);
    all
}

/// Sends these bytes, and takes what comes until the server closes the connection.
async fn raw(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may refuse before it has read all of it.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
    assert!(
        read.is_ok(),
        "no answer to {:.200}",
        String::from_utf8_lossy(request)
    );
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer; none without an answer.
pub(crate) fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

pub(crate) async fn get(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    raw(port, request.as_bytes()).await
}

async fn post(port: u16, path: &str, kind: &str, body: &[u8]) -> String {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    raw(port, &request).await
}

/// Everything but letters and digits as percent signs.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

pub(crate) fn is_harmless(what: &str, answer: &str) {
    let status = status(answer).unwrap_or_default();
    assert!((200..500).contains(&status), "{what}: {answer}");
    for leak in [
        SECRET,
        "You have an error",
        "information_schema",
        "panicked",
        "FORCE INDEX",
    ] {
        assert!(!answer.contains(leak), "{what}: {answer}");
    }
    if status >= 400 {
        assert!(answer.contains("\"urn:dbd:problem:"), "{what}: {answer}");
    }
}

async fn no_sql_comes_through_a_parameter_or_a_path(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let before = inventory(&pair).await;
    let port = pair.server().port;
    let database = pair.source.database.clone();
    let statements = [
        "DROP TABLE canary",
        "UPDATE canary SET v=1",
        "SELECT v FROM canary",
        "SELECT SLEEP(60)",
        "CREATE TABLE injected (a INT)",
    ];
    let mut payloads: Vec<String> = Vec::new();
    for statement in statements {
        for (open, close) in [
            ("'; ", "; -- "),
            ("\\'; ", "; #"),
            ("`; ", "; -- "),
            ("\"; ", "; /*"),
            ("*/ ", " /*!"),
            ("' UNION ", " -- "),
            ("1) UNION ", " -- "),
            ("0 OR (", ") IS NULL"),
            ("\0'; ", ";\0"),
            ("\u{ff07}; ", ";"),
        ] {
            payloads.push(format!("{open}{statement}{close}"));
        }
    }
    let began = Instant::now();
    for payload in &payloads {
        let json = serde_json::to_string(payload).unwrap();
        let p = encoded(payload);
        let mut paths = vec![
            format!("/{p}"),
            format!("/{p}/"),
            format!("/{database}/{p}"),
            format!("/{database}/{p}/"),
            format!("/{p}/t/"),
            format!("/{database}/{p}/-/digests"),
            format!("/{database}/t%60%3B{p}/-/keys"),
            format!("/{database}/?definitions={p}"),
        ];
        let names = [
            "since",
            "after",
            "cursor",
            "include_columns",
            "exclude_columns",
            "limit",
            "stamp",
            "wait",
            "begun",
            "keys",
            "match",
            "level",
            "parts",
            "below",
            "rows",
            "split",
            "definitions",
        ];
        for name in names.into_iter().chain([p.as_str()]) {
            for path in [
                &table,
                &format!("{table}-/digests"),
                &format!("{table}-/keys"),
            ] {
                paths.push(format!("{path}?{name}={p}"));
            }
        }
        // As values that are of the right form.
        let j = encoded(&json);
        paths.extend([
            format!("{table}?keys=%5B%5B1,{j}%5D%5D"),
            format!("{table}?keys=%5B%5B{j},{j}%5D%5D&match=collation"),
            format!("{table}?since=2014-09-01&after=%5B1,{j}%5D"),
            format!("{table}?since=2014-09-01{p}"),
            format!("{table}-/digests?parts=%5B%5Bnull,%5B1,{j}%5D,0,0%5D%5D"),
            format!("{table}-/keys?parts=%5B%5B%5B{j},{j}%5D,null,0,0%5D%5D"),
        ]);
        for path in paths {
            is_harmless(&path, &get(port, &path).await);
        }
        let changed = format!("/{database}/-/changed");
        for body in [
            format!("{{\"tables\":[[{json},\"s\",\"2014-09-01\",null]]}}"),
            format!("{{\"tables\":[[\"t\",{json},\"2014-09-01\",null]]}}"),
            format!("{{\"tables\":[[\"t\",\"s\",{json},null]]}}"),
            format!("{{\"tables\":[[\"t\",\"s\",\"2014-09-01\",[1,{json}]]]}}"),
            format!("{{\"tables\":[],\"version\":{json}}}"),
            payload.clone(),
        ] {
            let answer = post(port, &changed, "application/json", body.as_bytes()).await;
            is_harmless(&body, &answer);
        }
        let request = format!(
            "GET {table}?limit=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Basic {p}\r\n\
             if-none-match: {p}\r\naccept-encoding: {p}\r\naccept: */*, {p}\r\n\r\n"
        );
        is_harmless(&request, &raw(port, request.as_bytes()).await);
    }
    // No SLEEP was slept.
    let requests = payloads.len() * 70;
    let each = began.elapsed() / u32::try_from(requests).unwrap();
    assert!(each < Duration::from_millis(500), "{each:?}");
    assert_eq!(inventory(&pair).await, before);
}

async fn no_odd_path_leads_anywhere(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let port = pair.server().port;
    let database = pair.source.database.clone();
    for (path, found) in [
        (format!("/{database}%2Ft/"), 404),
        (format!("/{database}/..%2F..%2Fmysql/user/"), 404),
        (format!("/{database}/../mysql/user/"), 404),
        (format!("/{database}/%2e%2e/mysql/"), 404),
        (format!("/{database}/t%00/"), 404),
        (format!("/{database}/t%00"), 308),
        ("/%00/".to_owned(), 404),
        ("/mysql%00/user/".to_owned(), 404),
        ("/MYSQL/user/".to_owned(), 404),
        ("/mysql%20/user/".to_owned(), 404),
        (format!("/{database}/%c0%af/"), 400),
        (format!("/{database}/%ff%fe/"), 400),
        (format!("/{database}/%ed%a0%80/"), 400),
        (format!("/{database}/%zz/"), 404),
        (format!("/{database}/%/"), 404),
        (format!("/{database}/t;x=1/"), 404),
        (format!("//{database}//t//"), 404),
        (format!("/{database}/t/../canary/"), 404),
        (format!("/{}/", "%2e".repeat(300)), 404),
        (format!("{table}?since=%c0%af"), 400),
        (format!("{table}?since=%00"), 400),
        (format!("{table}?%00=1"), 400),
        (format!("{table}?stamp=s%00"), 400),
        (format!("{table}?include_columns=v%00"), 400),
        (format!("{table}?=&&=="), 400),
        (format!("{table}?%"), 400),
    ] {
        let answer = get(port, &path).await;
        assert_eq!(status(&answer), Some(found), "{path}: {answer}");
        if found >= 400 {
            is_harmless(&path, &answer);
        }
    }
}

async fn what_is_oversized_is_refused(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let before = inventory(&pair).await;
    let port = pair.server().port;
    let form = "application/x-www-form-urlencoded";
    let changed = format!("/{}/-/changed", pair.source.database);
    let keys = format!("{table}-/keys");
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for (path, kind, body, found) in [
        (&changed, "application/json", "x".repeat(5 << 20), 413),
        (&keys, form, "x".repeat(5 << 20), 413),
        (&keys, form, format!("parts={}", deep("[", "]")), 400),
        (&changed, "application/json", deep("[", "]"), 400),
        (&changed, "application/json", deep("{\"tables\":", "}"), 400),
        (
            &changed,
            "application/json",
            format!(
                "{{\"tables\":[[\"t\",\"s\",\"2014-09-01\",[1,{}]]]}}",
                deep("[", "]")
            ),
            // What is no key is looked at no further: the table counts as changed.
            200,
        ),
        (
            &changed,
            "application/json",
            format!(
                "{{\"tables\":[[\"t\",\"s\",\"2014-09-01\",[{}]]]}}",
                vec!["1"; 100_000].join(",")
            ),
            200,
        ),
        (&keys, form, "a&".repeat(1 << 20), 400),
        (&keys, form, format!("stamp={}", "é".repeat(1 << 20)), 400),
    ] {
        let answer = post(port, path, kind, body.as_bytes()).await;
        let found_status = status(&answer);
        assert_eq!(found_status, Some(found), "{body:.100}: {answer:.500}");
        is_harmless(&body[..body.len().min(100)], &answer);
    }
    for path in [
        format!("{table}?keys={}", deep("[", "]").get(..50_000).unwrap()),
        format!(
            "{table}?since=2014-09-01&after={}",
            &deep("[", "]")[..50_000]
        ),
        format!("{table}?limit={}", "9".repeat(50_000)),
        format!("{table}?wait={}", "9".repeat(50_000)),
        format!("{table}?wait=1e{}", "9".repeat(50_000)),
        format!("{table}?cursor={}", "A".repeat(50_000)),
        format!("{table}?since={}", "9".repeat(50_000)),
        format!("{table}?stamp={}", "s".repeat(50_000)),
    ] {
        let answer = get(port, &path).await;
        assert_eq!(status(&answer), Some(400), "{path:.100}: {answer:.500}");
    }
    // Heads of any size, which may be cut off rather than answered.
    for head in [
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
            "y".repeat(2 << 20)
        ),
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "x: y\r\n".repeat(10_000)
        ),
        format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(2 << 20)),
        "y".repeat(2 << 20),
    ] {
        let answer = raw(port, head.as_bytes()).await;
        let refused = matches!(status(&answer), None | Some(400 | 414 | 431));
        assert!(refused, "{head:.50}: {answer:.200}");
    }
    assert_eq!(pair.curl(&[], &table).await.0, 200);
    assert_eq!(inventory(&pair).await, before);
}

async fn what_is_hardly_http_is_refused(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let port = pair.server().port;
    let smuggled = format!("GET {table} HTTP/1.1\r\nhost: x\r\n\r\n");
    for (what, request) in [
        ("two lengths", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab".to_owned()),
        ("a length that is none", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned()),
        ("a length beyond all", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n".to_owned()),
        ("a folded field", "GET / HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\nconnection: close\r\n\r\n".to_owned()),
        ("a NUL in a field", "GET / HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n".to_owned()),
        ("a NUL in the path", "GET /\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        ("a space before the colon", "GET / HTTP/1.1\r\nhost : x\r\nconnection: close\r\n\r\n".to_owned()),
        ("no version", "GET /\r\n\r\n".to_owned()),
        ("another version", "GET / HTTP/3.0\r\nhost: x\r\n\r\n".to_owned()),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n".to_owned()),
        ("all of the server", "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()),
        ("a tunnel", "CONNECT mysql:3306 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()),
        ("chunks that are none", format!("POST {table}-/keys HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\nlevel=full\r\n0\r\n\r\n")),
        ("a chunk beyond all", format!("POST {table}-/keys HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nffffffffffffffffff\r\n")),
        ("another coding", format!("POST {table}-/keys HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\nconnection: close\r\n\r\n")),
        ("both a length and chunks", format!("POST /x/-/changed HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n{smuggled}")),
    ] {
        let answer = raw(port, request.as_bytes()).await;
        let found = status(&answer);
        let refused = found.is_none_or(|found| (400..500).contains(&found) || found == 200 && what == "a folded field");
        assert!(refused, "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(found.is_some()), "{what}: {answer}");
        assert!(!answer.contains("\"rows\""), "{what}: {answer}");
        // Its neighbours notice nothing.
        assert_eq!(pair.curl(&[], &format!("{table}?limit=1&wait=0")).await.0, 200, "{what}");
    }
    // A whole URL is a form of HTTP, whatever host it names.
    let whole = format!(
        "GET http://elsewhere.example{table}?limit=1&wait=0 HTTP/1.1\r\nhost: y\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(status(&raw(port, whole.as_bytes()).await), Some(200));
}

async fn pipelined_requests_are_answered_in_order(mut pair: Pair) {
    let table = tables(&mut pair).await;
    let port = pair.server().port;
    let mut requests = String::new();
    for id in 1..=100 {
        let path = match id % 4 {
            0 => format!("/nothing/{id}/"),
            1 => format!("{table}?limits={id}"),
            _ => format!("{table}?wait=0&keys=%5B%5B{},%22k%22%5D%5D", id % 10 + 1),
        };
        let close = if id == 100 {
            "connection: close\r\n"
        } else {
            ""
        };
        requests.push_str(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n{close}\r\n"));
    }
    let answers = raw(port, requests.as_bytes()).await;
    let answers: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 100);
    for (answer, id) in answers.iter().zip(1..) {
        let (status, holds) = match id % 4 {
            0 => ("404", "not-found".to_owned()),
            1 => ("400", "unknown-parameter".to_owned()),
            _ => ("200", format!("\"id\":{},", id % 10 + 1)),
        };
        assert!(
            answer.starts_with(status) && answer.contains(&holds),
            "{id}: {answer}"
        );
    }
}

/// More than there may be answers, one after the other.
async fn callers_that_go_away_midway_take_no_place(mut pair: Pair) {
    let table = tables(&mut pair).await;
    pair.start_server(&["--max-answers=4"]).await;
    pair.ready().await;
    let port = pair.server().port;
    let one = format!("GET {table}?wait=0 HTTP/1.1\r\nhost: x\r\n\r\n");
    for cut in 0..60 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let many = one.repeat(20);
        let until = one.len() * cut / 3 % many.len() + 1;
        stream.write_all(&many.as_bytes()[..until]).await.unwrap();
        if cut % 2 == 0 {
            let mut some = [0; 100];
            let _ = timeout(Duration::from_millis(20), stream.read(&mut some)).await;
        }
        // Closed with answers unread, which resets the connection.
        drop(stream);
    }
    harness::eventually("four places are free", async || {
        let ask = || async { pair.curl(&[], &table).await.0 };
        let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
        ([a, b, c, d] == [200; 4]).then_some(())
    })
    .await;
}
