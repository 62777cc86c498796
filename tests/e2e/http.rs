//! What anybody can ask by curl, and what a puller makes of answers that break off.

use harness::{Pair, same_flavour};
use serde_json::{Value, json};

use crate::{INDEXED, STAMP};

const NDJSON: [&str; 2] = ["-H", "Accept: application/x-ndjson"];
const CSV: [&str; 2] = ["-H", "Accept: text/csv"];

same_flavour!(
    rows_come_in_the_form_that_was_asked_for,
    a_window_begins_where_since_says,
    a_limit_and_a_choice_of_columns_are_kept,
    what_cannot_be_answered_is_explained,
    system_schemas_do_not_exist,
    only_the_named_databases_exist,
    credentials_are_asked_for,
    the_list_of_tables_says_what_can_be_pulled,
    a_change_just_made_is_seen_by_curl,
);

async fn filled(pair: &mut Pair) -> String {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), w VARCHAR(10), b VARBINARY(4), n DECIMAL(20,2), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run(
            "INSERT INTO t VALUES
             (1, 'plain', NULL, NULL, NULL, '2014-09-01 01:23:45'),
             (2, 'comma, \"quote\"\nline', '', x'00ff', 12345678901234567.89, '2014-09-01 01:23:45'),
             (3, 'é日😀', 'x', x'', -0.5, '2014-09-01 01:23:45.000001'),
             (4, '', 'y', x'41', 0, '2014-09-02 00:00:00')",
        )
        .await;
    pair.serve().await;
    format!("/{}/t/", pair.source.database)
}

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn lines(body: &str) -> Vec<Value> {
    body.lines().map(json).collect()
}

async fn rows_come_in_the_form_that_was_asked_for(mut pair: Pair) {
    let path = filled(&mut pair).await;
    // JSON is the default.
    for accept in [
        "Accept: */*",
        "Accept: application/json",
        "Accept: text/html;q=0.5, application/json",
    ] {
        let (status, head, body) = pair.curl(&["-H", accept], &path).await;
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let answer = json(&body);
        assert_eq!(answer["count"], 4);
        assert_eq!(answer["more"], false);
        assert_eq!(answer["header"]["table"], "t");
        assert_eq!(
            answer["rows"][1],
            json!({"id": 2, "v": "comma, \"quote\"\nline", "w": "", "b": "AP8=",
                   "n": "12345678901234567.89", "s": "2014-09-01T01:23:45.000000Z"})
        );
        assert_eq!(answer["rows"][0]["w"], Value::Null);
    }

    let (status, head, body) = pair.curl(&NDJSON, &path).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/x-ndjson"),
        "{head}"
    );
    let frames = lines(&body);
    assert_eq!(frames[0]["frame"], "header");
    assert_eq!(frames[0]["key"], json!(["id"]));
    assert_eq!(frames[0]["precision"], 6);
    assert_eq!(frames[0]["source"]["basis"], "proven");
    assert_eq!(
        frames[3],
        json!([3, "é日😀", "x", "", "-0.50", "2014-09-01T01:23:45.000001Z"])
    );
    assert_eq!(
        frames.last().unwrap(),
        &json!({"frame": "end", "rows": 4, "more": false})
    );

    let (status, head, body) = pair.curl(&CSV, &path).await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/csv"), "{head}");
    let body = body.replace("\r\n", "\n");
    assert!(body.starts_with("id,v,w,b,n,s\n1,plain,,,,"), "{body}");
    assert!(
        body.contains("2,\"comma, \"\"quote\"\"\nline\",\"\",AP8=,12345678901234567.89,"),
        "{body}"
    );

    let (status, _, _) = pair.curl(&["-H", "Accept: image/png"], &path).await;
    assert_eq!(status, 406);
    let (status, _, _) = pair.curl(&["-X", "POST"], &path).await;
    assert_eq!(status, 405);
}

/// `since` is a time in UTC unless it says otherwise, and the rows of that very time are in it.
async fn a_window_begins_where_since_says(mut pair: Pair) {
    let path = filled(&mut pair).await;
    for (since, wanted) in [
        ("2014-09-01", "1 2 3 4"),
        ("2014-09-01%2001:23:45", "1 2 3 4"),
        ("2014-09-01T01:23:45.000001", "3 4"),
        ("2014-09-01+01:23:45.000002", "4"),
        ("2014-09-02", "4"),
        ("2014-09-01T03:23:45.000001%2B02:00", "3 4"),
        ("2014-09-01T03:23:45.000001+02:00", "3 4"),
        ("2014-09-02T00:00:00Z", "4"),
        ("2014-09-03", ""),
    ] {
        let (status, _, body) = pair.curl(&[], &format!("{path}?since={since}")).await;
        assert_eq!(status, 200, "{since}: {body}");
        let answer = json(&body);
        let ids: Vec<String> = answer["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].to_string())
            .collect();
        assert_eq!(ids.join(" "), wanted, "{since}");
    }
    // Of the rows of that very time, those behind a key.
    let (_, _, body) = pair
        .curl(
            &["-g"],
            &format!("{path}?since=2014-09-01T01:23:45Z&after=[1]"),
        )
        .await;
    assert_eq!(json(&body)["count"], 3, "{body}");
}

async fn a_limit_and_a_choice_of_columns_are_kept(mut pair: Pair) {
    let path = filled(&mut pair).await;
    let (_, _, body) = pair.curl(&NDJSON, &format!("{path}?limit=2")).await;
    let frames = lines(&body);
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[3]["rows"], 2);
    assert_eq!(frames[3]["more"], true);
    let (_, _, body) = pair.curl(&NDJSON, &format!("{path}?limit=4")).await;
    assert_eq!(
        lines(&body)[5],
        json!({"frame": "end", "rows": 4, "more": false})
    );

    for (query, wanted) in [
        ("include_columns=v,w", json!(["id", "v", "w", "s"])),
        ("exclude_columns=v,b,n", json!(["id", "w", "s"])),
        (
            "include_columns=v,w&exclude_columns=v",
            json!(["id", "w", "s"]),
        ),
    ] {
        let (_, _, body) = pair.curl(&NDJSON, &format!("{path}?{query}")).await;
        let frames = lines(&body);
        let names: Vec<&Value> = frames[0]["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["name"])
            .collect();
        let mut sorted: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        sorted.sort();
        let mut wanted: Vec<String> = wanted
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.to_string())
            .collect();
        wanted.sort();
        assert_eq!(sorted, wanted, "{query}");
        assert_eq!(frames[1].as_array().unwrap().len(), names.len());
    }
}

/// The caller's mistakes are explained to the caller, without SQL, paths or traces.
async fn what_cannot_be_answered_is_explained(mut pair: Pair) {
    let path = filled(&mut pair).await;
    let database = pair.source.database.clone();
    pair.source
        .run("CREATE TABLE plain (id INT PRIMARY KEY)")
        .await;
    pair.source.run("CREATE VIEW seen AS SELECT * FROM t").await;
    for (path, status, word) in [
        (format!("{path}?sinze=2014-09-01"), 400, "since"),
        (format!("{path}?since=yesterday"), 400, "yesterday"),
        (format!("{path}?limit=many"), 400, "limit"),
        (format!("{path}?include_columns=nothing"), 400, "nothing"),
        (format!("{path}?stamp=v"), 422, "v"),
        (format!("{path}?wait=-1"), 400, "wait"),
        (format!("/{database}/missing/"), 404, "missing"),
        (format!("/{database}/seen/"), 404, "seen"),
        (format!("/{database}/plain/"), 422, "TIMESTAMP"),
        ("/missing/".to_owned(), 404, "missing"),
        ("/missing/t/".to_owned(), 404, "missing"),
        ("/a/b/c/d".to_owned(), 404, ""),
        (format!("/{database}/t%27%20OR%201/"), 404, ""),
        (format!("/{database}/%ff/"), 404, ""),
    ] {
        let (answered, head, body) = pair.curl(&[], &path).await;
        // What is no UTF-8 may be called a bad request as well.
        let expected = answered == status || (path.contains("%ff") && answered == 400);
        assert!(expected, "{path}: {answered}\n{body}");
        assert!(head.contains("application/problem+json"), "{path}: {head}");
        let problem = json(&body);
        assert_eq!(problem["status"], answered, "{path}");
        for field in ["type", "title", "detail"] {
            assert!(problem[field].is_string(), "{path}: {body}");
        }
        assert!(body.contains(word), "{path}: {body}");
        for leak in ["SELECT", "information_schema", "/src/", "panicked"] {
            assert!(!body.contains(leak), "{path}: {body}");
        }
    }
}

async fn system_schemas_do_not_exist(mut pair: Pair) {
    filled(&mut pair).await;
    let (_, _, body) = pair.curl(&[], "/").await;
    let names: Vec<String> = json(&body)["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, [pair.source.database.clone()]);
    for path in [
        "/mysql/",
        "/MySQL/",
        "/mysql/user/",
        "/information_schema/",
        "/sys/",
        "/performance_schema/",
    ] {
        let (status, _, body) = pair.curl(&[], path).await;
        assert_eq!(status, 404, "{path}: {body}");
    }
}

async fn only_the_named_databases_exist(mut pair: Pair) {
    pair.source.run("CREATE DATABASE hidden").await;
    pair.source.run("CREATE DATABASE other").await;
    pair.source
        .run(format!(
            "CREATE TABLE hidden.t (id INT PRIMARY KEY, {STAMP})"
        ))
        .await;
    let named = format!("--source-databases={},other", pair.source.database);
    pair.start_server(&[&named]).await;
    pair.ready().await;
    let (_, _, body) = pair.curl(&[], "/").await;
    assert_eq!(
        json(&body)["databases"].as_array().unwrap().len(),
        2,
        "{body}"
    );
    for path in ["/hidden/", "/hidden/t/"] {
        assert_eq!(pair.curl(&[], path).await.0, 404, "{path}");
    }
    assert_eq!(pair.curl(&[], "/other/").await.0, 200);
}

async fn credentials_are_asked_for(mut pair: Pair) {
    pair.both(&format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.start_server(&["-a", "127.0.0.1", "-u", "ann", "-p", "hunter2:x"])
        .await;
    // These two alone are open, and say nothing but yes or no.
    pair.ready().await;
    assert_eq!(pair.curl(&[], "/-/live").await.0, 200);
    let table = format!("/{}/t/", pair.source.database);
    let list = format!("/{}/", pair.source.database);
    for (number, path) in ["/", "/nothing", &list, &table].into_iter().enumerate() {
        // Nobody of one address is wrong as often.
        let from = format!("127.0.0.{}", 2 + number);
        for wrong in [
            &[][..],
            &["-u", "ann:hunter2"],
            &["-u", "ann:hunter2:xy"],
            &["-u", "ANN:hunter2:x"],
            &["-u", ":"],
            &["-H", "Authorization: Basic !!!"],
            &["-H", "Authorization: Bearer x"],
        ] {
            let args = [&["--interface", &from][..], wrong].concat();
            let (status, head, _) = pair.curl(&args, path).await;
            assert_eq!(status, 401, "{path} {wrong:?}");
            assert!(head.contains("www-authenticate: basic"), "{head}");
        }
    }
    for path in ["/", &list, &table] {
        assert_eq!(
            pair.curl(&["-u", "ann:hunter2:x"], path).await.0,
            200,
            "{path}"
        );
    }
    assert!(!pair.server().log().contains("hunter2"));

    pair.pull(&[]).await.fails_naming(&["401", "password"]);
    let wrong = pair
        .pull(&["--source-username=ann", "--source-password=nonsense"])
        .await;
    assert!(
        !wrong
            .fails_naming(&["401", "password"])
            .stderr
            .contains("nonsense")
    );
    let file = std::env::temp_dir().join(format!(
        "dbd.{}.{}.password",
        std::process::id(),
        pair.source.database
    ));
    std::fs::write(&file, "hunter2:x\n").unwrap();
    let password = format!("--source-password-file={}", file.display());
    let output = pair.pull(&["--source-username=ann", &password]).await;
    std::fs::remove_file(&file).unwrap();
    assert!(!output.ok().stderr.contains("hunter2"));
    pair.assert_same().await;
}

async fn the_list_of_tables_says_what_can_be_pulled(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE z_parent (id INT PRIMARY KEY, {STAMP}, {INDEXED});
             CREATE TABLE a_child (id INT PRIMARY KEY, p INT, {STAMP},
               FOREIGN KEY (p) REFERENCES z_parent (id) ON DELETE CASCADE);
             CREATE TABLE no_key (id INT, {STAMP});
             CREATE TABLE no_stamp (id INT PRIMARY KEY);
             CREATE TABLE zoned (id INT PRIMARY KEY, d DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
             CREATE TABLE null_stamp (id INT PRIMARY KEY, s TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP);
             CREATE TABLE old_engine (id INT PRIMARY KEY, {STAMP}) ENGINE=MyISAM;
             CREATE TABLE two (a TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
               b TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
               u INT NOT NULL, UNIQUE (u), KEY (b));"
        ))
        .await;
    pair.serve().await;
    let (status, _, body) = pair.curl(&[], &format!("/{}/", pair.source.database)).await;
    assert_eq!(status, 200, "{body}");
    let answer = json(&body);
    let tables = answer["tables"].as_array().unwrap();
    let at = |name: &str| {
        tables
            .iter()
            .position(|table| table["name"] == name)
            .unwrap()
    };
    let table = |name: &str| &tables[at(name)];
    let codes = |name: &str| -> Vec<String> {
        let spots = table(name)["blind_spots"].as_array().unwrap();
        spots
            .iter()
            .map(|spot| spot["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(at("z_parent") < at("a_child"), "parents come first");
    assert_eq!(table("z_parent")["unsupported"], Value::Null);
    assert_eq!(
        table("z_parent")["stamp"],
        json!({"column": "s", "precision": 6, "indexed": true, "nullable": false, "initialised": true})
    );
    assert_eq!(table("a_child")["stamp"]["indexed"], false);
    assert!(
        codes("a_child").contains(&"cascades".to_owned()),
        "{:?}",
        codes("a_child")
    );
    for (name, word) in [
        ("no_key", "key"),
        ("no_stamp", "TIMESTAMP"),
        ("zoned", "ALTER TABLE"),
    ] {
        let reason = table(name)["unsupported"].as_str().unwrap_or_default();
        assert!(reason.contains(word), "{name}: {reason}");
    }
    for code in ["not_initialised", "nullable"] {
        assert!(
            codes("null_stamp").contains(&code.to_owned()),
            "{:?}",
            codes("null_stamp")
        );
    }
    assert!(codes("old_engine").contains(&"not_transactional".to_owned()));
    assert_eq!(table("two")["stamp"]["column"], "b");
    assert_eq!(table("two")["stamp"]["precision"], 3);
    assert_eq!(table("two")["key"]["columns"], json!(["u"]));
}

/// R11. Who changes a row and then asks by curl wants to see the change.
async fn a_change_just_made_is_seen_by_curl(mut pair: Pair) {
    let path = filled(&mut pair).await;
    for id in 10..13 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 'new')"))
            .await;
        let (status, _, body) = pair.curl(&[], &format!("{path}?since=2020-01-01")).await;
        assert_eq!(status, 200);
        assert!(body.contains(&format!("\"id\":{id}")), "{body}");
    }
}
