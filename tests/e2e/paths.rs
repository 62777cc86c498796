//! What a caller that knows HTTP may expect of every path.

use harness::{Pair, quoted, same_flavour};
use serde_json::Value;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    head_tells_what_get_would_and_reads_no_row,
    a_path_without_its_slash_leads_to_the_one_with_it,
    a_method_that_a_path_does_not_take_is_told_which_it_takes,
    answers_are_encoded_as_the_caller_likes_best,
    what_is_too_much_is_refused_as_a_problem,
    an_unknown_parameter_is_refused_on_every_path,
    caches_are_told_to_ask_again,
);

/// A table of 100 rows; answers its path.
async fn table(pair: &mut Pair) -> String {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(100, "n, REPEAT('x', 40)");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
    pair.serve().await;
    format!("/{}/t/", pair.source.database)
}

/// From here on the source keeps a list of all statements.
pub(crate) async fn listen(pair: &mut Pair) {
    pair.source.server.keep_from_others();
    pair.source
        .script("SET GLOBAL log_output='TABLE';\nSET GLOBAL general_log=ON;")
        .await;
}

/// The statements since then that read the rows of the table `t`, and not only whether there are any.
pub(crate) async fn reads(pair: &Pair) -> Vec<String> {
    let statements = pair
        .source
        .column("SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log")
        .await;
    let from = format!("FROM {}.{}", quoted(&pair.source.database), quoted("t"));
    let reads = |text: &String| text.contains(&from) && !text.starts_with("SELECT 1 ");
    statements.into_iter().filter(reads).collect()
}

/// The names of the fields of a head, but for those that say how the body comes.
fn names(head: &str) -> Vec<String> {
    let names = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split(':').next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.retain(|name| name != "transfer-encoding");
    names.sort();
    names
}

/// The value of a field of a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(field, _)| *field == name)
        .map(|(_, value)| value.trim())
}

fn problem(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let name = problem["type"].as_str().unwrap_or_default();
    let name = name.strip_prefix("urn:dbd:problem:");
    name.unwrap_or_default().to_owned()
}

async fn head_tells_what_get_would_and_reads_no_row(mut pair: Pair) {
    let table = table(&mut pair).await;
    listen(&mut pair).await;
    let database = pair.source.database.clone();
    let paths = [
        "/".to_owned(),
        format!("/{database}/"),
        table.clone(),
        format!("{table}?since=2014-09-01&wait=0"),
        format!("{table}?keys=%5B%5B1%5D%5D"),
        format!("{table}?limit=200"),
        format!("{table}-/digests"),
        format!("{table}-/keys?level=full"),
        "/-/live".to_owned(),
        "/-/ready".to_owned(),
        format!("/{database}"),
        "/nothing/".to_owned(),
        format!("{table}?sinze=1"),
        format!("/{database}/-/changed"),
    ];
    for encoding in ["identity", "gzip"] {
        let encoding = format!("accept-encoding: {encoding}");
        for path in &paths {
            let (status, head, body) = pair.curl(&["-I", "-H", &encoding], path).await;
            assert_eq!(body, "", "{path}");
            assert_ne!(status, 0, "{path}");
            assert_eq!(reads(&pair).await, [""; 0], "{path}");
            pair.source.run("TRUNCATE mysql.general_log").await;
            let (got, its, body) = pair.curl(&["-H", &encoding], path).await;
            assert_eq!((status, names(&head)), (got, names(&its)), "{path} {body}");
            for name in [
                "content-type",
                "content-encoding",
                "vary",
                "allow",
                "location",
            ] {
                assert_eq!(field(&head, name), field(&its, name), "{path}: {name}");
            }
            if path.starts_with(&table) && status == 200 {
                assert_ne!(reads(&pair).await, [""; 0], "{path}");
            }
            pair.source.run("TRUNCATE mysql.general_log").await;
        }
    }
}

async fn a_path_without_its_slash_leads_to_the_one_with_it(mut pair: Pair) {
    let table = table(&mut pair).await;
    let database = pair.source.database.clone();
    let odd = "a%2Fb%20%C3%A9:c";
    for (path, location) in [
        (format!("/{database}"), format!("./{database}/")),
        (format!("/{database}/t"), "./t/".to_owned()),
        (
            format!("/{database}/t?since=2014-09-01T00%3a00:00%2B02:00&limit=2"),
            "./t/?since=2014-09-01t00%3a00:00%2b02:00&limit=2".to_owned(),
        ),
        (
            format!("/{database}/{odd}"),
            format!("./{}/", odd.to_lowercase()),
        ),
        ("//elsewhere.example".to_owned(), String::new()),
    ] {
        for method in ["-XGET", "-I"] {
            let (status, head, body) = pair.curl(&[method], &path).await;
            let found = field(&head, "location").unwrap_or_default();
            assert_eq!(found, location, "{path}: {head}{body}");
            let expected = if location.is_empty() { 404 } else { 308 };
            assert_eq!(status, expected, "{path}");
        }
    }
    for path in ["/-", "/-/nothing", "/-/live/x"] {
        assert_eq!(pair.curl(&[], path).await.0, 404, "{path}");
    }
    // Whoever follows it gets the rows.
    let path = format!("{}?limit=2&include_columns=v", table.trim_end_matches('/'));
    let (_, _, body) = pair.curl(&["-L"], &path).await;
    assert!(body.contains("\"count\":2"), "{body}");
}

async fn a_method_that_a_path_does_not_take_is_told_which_it_takes(mut pair: Pair) {
    let table = table(&mut pair).await;
    let database = pair.source.database.clone();
    for (path, allowed) in [
        ("/".to_owned(), "get,head"),
        (format!("/{database}"), "get,head"),
        (format!("/{database}/"), "get,head"),
        (table.clone(), "get,head"),
        (format!("{table}-/digests"), "get,head,post"),
        (format!("{table}-/keys"), "get,head,post"),
        (format!("/{database}/-/changed"), "post"),
        ("/-/live".to_owned(), "get,head"),
    ] {
        for method in ["-XDELETE", "-XPUT", "-XOPTIONS", "-XTRACE", "-XBREW"] {
            let (status, head, body) = pair.curl(&[method], &path).await;
            assert_eq!(status, 405, "{method} {path}: {body}");
            assert_eq!(field(&head, "allow"), Some(allowed), "{method} {path}");
            assert_eq!(problem(&body), "method-not-allowed", "{path}: {body}");
        }
    }
}

async fn answers_are_encoded_as_the_caller_likes_best(mut pair: Pair) {
    let table = table(&mut pair).await;
    let list = format!("/{}/", pair.source.database);
    for (wanted, encoding) in [
        ("gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("gzip, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("gzip")),
        ("zstd;q=0.1, gzip;q=0.9", Some("gzip")),
        ("br", None),
        ("gzip;q=0", None),
        ("", None),
    ] {
        let wanted = format!("accept-encoding: {wanted}");
        for path in [&table, &list] {
            // Decoded by curl where that can.
            let args = ["-H", &wanted, "--compressed"];
            let (status, head, body) = pair.curl(&args, path).await;
            assert_eq!(status, 200, "{wanted}");
            assert_eq!(field(&head, "content-encoding"), encoding, "{wanted}");
            assert!(
                serde_json::from_str::<Value>(&body).is_ok(),
                "{wanted}: {body}"
            );
        }
    }
    let none = "accept-encoding: br, identity;q=0";
    let (status, head, body) = pair.curl(&["-H", none], &table).await;
    assert_eq!(status, 406, "{body}");
    assert_eq!(problem(&body), "not-acceptable", "{head}{body}");
}

async fn what_is_too_much_is_refused_as_a_problem(mut pair: Pair) {
    let table = table(&mut pair).await;
    // As many keys as a puller asks for at once fit.
    let keys = format!("{table}?keys=%5B%5B%22{}%22%5D%5D", "%22".repeat(10_000));
    assert_eq!(pair.curl(&[], &keys).await.0, 400);
    let many = |count| vec!["include_columns=v"; count].join("&");
    for (path, status, kind) in [
        (format!("{table}?{}", many(256)), 200, ""),
        (format!("{table}?{}", many(257)), 400, "invalid-request"),
        (
            format!("{table}-/keys?{}", many(257)),
            400,
            "invalid-request",
        ),
        (
            format!("{table}?{}", "&".repeat(300)),
            400,
            "invalid-request",
        ),
        (
            format!("{table}?x={}", "x".repeat(60_000)),
            414,
            "url-too-long",
        ),
        (format!("/{}/", "x".repeat(60_000)), 414, "url-too-long"),
        (
            format!("/-/live?{}", "x".repeat(60_000)),
            414,
            "url-too-long",
        ),
        // What is no URL any more never gets as far as that.
        (format!("{table}?x={}", "x".repeat(70_000)), 414, ""),
        (format!("{table}?limit=1&limit=1"), 400, "invalid-request"),
        (
            format!("{table}?since=2014-09-01&sin%63e=2014"),
            400,
            "invalid-request",
        ),
    ] {
        let (answered, head, body) = pair.curl(&[], &path).await;
        assert_eq!(answered, status, "{path:.100}: {head}{body}");
        assert_eq!(problem(&body), kind, "{path:.100}: {body}");
    }
    let headers: Vec<String> = (0..120).map(|n| format!("-Hx{n}: y")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    assert_eq!(pair.curl(&headers, &table).await.0, 431);
    let form = format!("-d{}", many(257));
    let (status, _, body) = pair.curl(&[&form], &format!("{table}-/keys")).await;
    assert_eq!((status, problem(&body).as_str()), (400, "invalid-request"));
    let json = ["-Hcontent-type: application/json", "-d{}"];
    let (status, _, body) = pair.curl(&json, &format!("{table}-/keys")).await;
    assert_eq!((status, problem(&body).as_str()), (415, "not-a-form"));
}

async fn an_unknown_parameter_is_refused_on_every_path(mut pair: Pair) {
    let table = table(&mut pair).await;
    let database = pair.source.database.clone();
    let changed = format!("/{database}/-/changed");
    for (args, path, says) in [
        (&[][..], "/?sinse=1".to_owned(), "this path takes none"),
        (
            &[],
            format!("/{database}/?definition=1"),
            "did you mean definitions?",
        ),
        (&[], format!("{table}?limits=1"), "did you mean limit?"),
        (
            &[],
            format!("{table}?q=1"),
            "there are since, after, cursor",
        ),
        (&[], format!("{table}-/digests?row=1"), "did you mean rows?"),
        (
            &["-dpart=1"],
            format!("{table}-/keys"),
            "did you mean parts?",
        ),
        (
            &["-d{\"tables\":[]}"],
            format!("{changed}?x=1"),
            "this path takes none",
        ),
    ] {
        let (status, _, body) = pair.curl(args, &path).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert_eq!(problem(&body), "unknown-parameter", "{path}: {body}");
        assert!(body.contains(says), "{path}: {body}");
    }
    let (status, _, body) = pair.curl(&["-d{\"tables\":[]}"], &changed).await;
    assert_eq!(status, 200, "{body}");
}

async fn caches_are_told_to_ask_again(mut pair: Pair) {
    table(&mut pair).await;
    let database = pair.source.database.clone();
    let args = ["-u", "ann", "-p", "hunter2"];
    let flags = [args[0], args[1], args[2], args[3], "-a", "127.0.0.1"];
    pair.start_server(&flags).await;
    pair.ready().await;
    for path in [
        "/",
        &format!("/{database}/t/"),
        &format!("/{database}"),
        "/nothing/",
    ] {
        for (caller, cache, unknown) in [
            (&["-u", "ann:hunter2"][..], "private, no-cache", false),
            (&[], "no-cache", true),
        ] {
            let (status, head, _) = pair.curl(caller, path).await;
            assert_eq!(status == 401, unknown, "{path}");
            assert_eq!(field(&head, "cache-control"), Some(cache), "{path}");
            let vary = Some("accept, accept-encoding, authorization");
            assert_eq!(field(&head, "vary"), vary, "{path}");
        }
    }
}
