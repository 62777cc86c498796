//! What both programs log: a line for each request, found by its id, and JSON for whoever wants it.

use harness::{DbdServer, Flavour, Pair, eventually, same_flavour};
use serde_json::Value;

use crate::{INDEXED, STAMP};

same_flavour!(
    a_request_is_one_line_with_an_id_that_its_answer_names,
    an_answer_that_is_broken_off_is_logged_as_that,
);

async fn filled(pair: &Pair) -> String {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), {STAMP}, {INDEXED})"
    ))
    .await;
    let rows = "INSERT INTO t (id, v) VALUES (1, 'one'), (2, 'two'), (3, 'three')";
    pair.source.run(rows).await;
    format!("/{}/t/", pair.source.database)
}

/// The line that the server has of the request of that id, once it is there.
async fn line_of(server: &DbdServer, id: &str) -> String {
    let of_request = |line: &&str| line.contains(id) && line.contains(" seconds=");
    let lines = eventually(&format!("there is a line of {id}"), async || {
        let log = server.log();
        let lines: Vec<String> = log.lines().filter(of_request).map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

/// What the head of an answer says the request's id is.
fn id(head: &str) -> &str {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    line.unwrap_or_else(|| panic!("no id in {head}"))
}

async fn a_request_is_one_line_with_an_id_that_its_answer_names(mut pair: Pair) {
    let path = filled(&pair).await;
    pair.start_server(&[
        "--listen-address=127.0.0.1",
        "--listen-username=ann",
        "--listen-password=hunter2",
    ])
    .await;
    pair.ready().await;
    let ann = ["-u", "ann:hunter2"];

    let secret = format!("{path}?keys=[[1234567]]");
    let (status, head, _) = pair.curl(&["-g", ann[0], ann[1]], &secret).await;
    assert_eq!(status, 200, "{head}");
    let made = id(&head).to_owned();
    assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()));
    line_of(pair.server(), &made).await;

    let (status, head, body) = pair
        .curl(&["-H", "X-Request-Id: mine-1.a_B", ann[0], ann[1]], &path)
        .await;
    assert_eq!((status, id(&head)), (200, "mine-1.a_b"), "{head}");
    let line = line_of(pair.server(), "mine-1.a_B").await;
    for part in [
        " INFO ",
        "answered method=GET ",
        &format!("path=\"{path}\""),
        " status=200 ",
        " rows=3 ",
        &format!(" bytes={} ", body.len()),
        " user=\"ann\"",
        " peer=\"127.0.0.1:",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }

    // What is refused: the problem names its request, and nobody is said to have asked who did not prove it.
    let (status, head, body) = pair.curl(&["-u", "eve:guess"], "/").await;
    assert_eq!(status, 401, "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    let instance = format!("urn:dbd:request:{}", id(&head));
    assert_eq!(problem["instance"], instance, "{body}");
    let line = line_of(pair.server(), id(&head)).await;
    assert!(line.contains(" status=401 "), "{line}");
    assert!(!line.contains("eve") && !line.contains("user="), "{line}");

    // An id that would mislead whoever reads the log is not taken.
    let (_, head, _) = pair
        .curl(&["-H", "X-Request-Id: a b status=200"], "/-/live")
        .await;
    assert_eq!(id(&head).len(), 16, "{head}");

    let log = pair.server().log();
    for hidden in ["1234567", "hunter2", "status=200 \"", "/-/live", "guess"] {
        assert!(!log.contains(hidden), "{hidden:?} is in {log}");
    }
}

async fn an_answer_that_is_broken_off_is_logged_as_that(mut pair: Pair) {
    let path = filled(&pair).await;
    pair.start_server(&["--max-stream-seconds=2"]).await;
    pair.ready().await;
    let mut holder = pair.source.session().await;
    holder.run("LOCK TABLES t WRITE").await;

    // By its time: what the log says of the reason belongs to the same request.
    let (status, _, _) = pair.curl(&["-H", "X-Request-Id: too-long"], &path).await;
    assert_eq!(status, 0);
    let line = line_of(pair.server(), "too-long").await;
    assert!(
        line.contains("the answer was broken off method=GET"),
        "{line}"
    );
    assert!(line.contains(" status=200 "), "{line}");
    let log = pair.server().log();
    let why = log
        .lines()
        .find(|line| line.contains("--max-stream-seconds"));
    assert!(
        why.is_some_and(|why| why.contains("request{id=too-long}")),
        "{log}"
    );

    // By whoever asked.
    let impatient = ["-H", "X-Request-Id: impatient", "--max-time", "1"];
    assert_eq!(pair.curl(&impatient, &path).await.0, 0);
    let line = line_of(pair.server(), "impatient").await;
    assert!(
        line.contains("the answer was broken off method=GET"),
        "{line}"
    );
    holder.run("UNLOCK TABLES").await;

    // Whole answers whose bodies nobody asks for to the end are whole.
    for (args, status) in [
        (vec!["-I", "-H", "X-Request-Id: head-1"], 200),
        (vec!["-X", "POST", "-H", "X-Request-Id: head-2"], 405),
        (vec!["--compressed", "-H", "X-Request-Id: head-3"], 200),
    ] {
        let (answered, head, _) = pair.curl(&args, &path).await;
        assert_eq!(answered, status, "{args:?}");
        let line = line_of(pair.server(), id(&head)).await;
        assert!(line.contains("answered method="), "{line}");
    }
}

/// One object for each line, whatever a message holds, from the first line to why it ended.
#[tokio::test]
async fn a_json_log_is_one_object_a_line() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MariaDb).await;
    let path = filled(&pair).await;
    pair.start_server(&[
        "--log-format=json",
        "-d",
        "--listen-address=127.0.0.1",
        "--listen-username=ann",
        "--listen-password=hunter2",
    ])
    .await;
    pair.ready().await;
    let (_, head, _) = pair.curl(&["-u", "ann:hunter2"], &path).await;
    let id = id(&head).to_owned();
    pair.dest
        .run(
            "CREATE TRIGGER refuses BEFORE INSERT ON t FOR EACH ROW
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'one\ntwo \"three\"'",
        )
        .await;
    let credentials = ["--source-username=ann", "--source-password=hunter2"];
    let json = [credentials[0], credentials[1], "--log-format=json", "-d"];
    let output = pair.pull(&json).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);

    let pulled = objects(&output.stderr);
    let multi_line = |entry: &Value| text(entry, "message").contains("one\ntwo \"three\"");
    assert!(pulled.iter().any(multi_line), "{}", output.stderr);
    let last = pulled.last().unwrap();
    assert_eq!(last["level"], "ERROR", "{last}");
    assert!(text(last, "message").starts_with("dbd-puller: "), "{last}");

    eventually("the request is logged", async || {
        let served = objects(&pair.server().log());
        let line = served
            .iter()
            .find(|entry| entry["span"]["id"] == id.as_str() && entry["seconds"].is_f64())?;
        assert_eq!(line["message"], "answered");
        assert_eq!(line["method"], "GET");
        assert_eq!(line["path"], path.as_str());
        assert_eq!(line["status"], 200);
        assert_eq!(line["rows"], 3);
        assert_eq!(line["user"], "ann");
        Some(())
    })
    .await;

    // Why a program ends before it has done anything.
    let output = pair
        .pull(&["--dest-database=nowhere", "--log-format=json"])
        .await;
    assert_eq!(output.code, Some(1));
    assert!(!objects(&output.stderr).is_empty());
    for log in [&pair.server().log(), &output.stderr] {
        // ann:hunter2
        for secret in ["hunter2", "YW5uOmh1bnRlcjI"] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

fn objects(log: &str) -> Vec<Value> {
    let object = |line: &str| {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "message"] {
            assert!(object[member].is_string(), "no {member} in {line}");
        }
        object
    };
    log.lines().map(object).collect()
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry[member].as_str().unwrap_or_default()
}
