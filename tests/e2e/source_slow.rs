//! A table at the source that says nothing for longer than any time-out: somebody locks it.

use std::time::{Duration, Instant};

use harness::{Flavour, Pair, Puller, Session, eventually, same_flavour, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{INDEXED, STAMP};

same_flavour!(
    a_locked_table_is_pulled_at_the_first_attempt,
    a_locked_table_is_compared_at_the_first_attempt,
    an_answer_about_a_locked_table_begins_at_once,
    whoever_goes_away_before_the_header_has_its_statement_ended,
);

/// How long the puller waits for a sign of life: more than the 10 s between two of them.
const PATIENCE: &str = "--source-timeout=12";

/// How long the table is locked: longer than that.
const LOCKED: Duration = Duration::from_secs(15);

/// When an answer has begun.
const AT_ONCE: Duration = Duration::from_secs(2);

const NDJSON: &str = "accept: application/x-ndjson";

async fn served(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)")
        .await;
    pair.start_server(&[]).await;
    pair.ready().await;
}

async fn locked(pair: &Pair) -> Session {
    let mut session = pair.source.session().await;
    session.run("LOCK TABLES t WRITE").await;
    session
}

/// How many statements wait for the table.
async fn waiting(pair: &Pair) -> u64 {
    let list = pair.source.server.processlist();
    pair.source
        .number(&format!(
            "SELECT COUNT(*) FROM {list} WHERE STATE LIKE 'Waiting for table%'"
        ))
        .await
}

/// Waits until a statement has waited for the table for as long as nobody would wait in silence.
async fn is_waited_for(pair: &Pair) {
    eventually("somebody waits for the table", async || {
        (waiting(pair).await > 0).then_some(())
    })
    .await;
    tokio::time::sleep(LOCKED).await;
    assert!(waiting(pair).await > 0, "somebody still waits for it");
}

/// R10. The server says all the time that it is at work, also before it knows what to put into the header.
async fn a_locked_table_is_pulled_at_the_first_attempt(mut pair: Pair) {
    served(&mut pair).await;
    let mut holder = locked(&pair).await;
    let puller = Puller::start(&pair.puller_args(&[PATIENCE]));
    is_waited_for(&pair).await;
    holder.run("UNLOCK TABLES").await;
    let output = puller.end().await.ok();
    assert_eq!(output.rows("t"), 3);
    pair.assert_same().await;
}

/// R10. The same for digests, for keys, and for rows by key.
async fn a_locked_table_is_compared_at_the_first_attempt(mut pair: Pair) {
    served(&mut pair).await;
    pair.pull(&[]).await.ok();
    pair.dest.run("UPDATE t SET v=1, s=s WHERE id=1").await;
    let mut holder = locked(&pair).await;
    let puller = Puller::start(&pair.puller_args(&[PATIENCE, "--verify=full", "--repair"]));
    is_waited_for(&pair).await;
    holder.run("UNLOCK TABLES").await;
    puller.end().await.ok();
    pair.assert_same().await;
}

/// Whatever is asked for, in every format, and its first bytes say how it went.
async fn an_answer_about_a_locked_table_begins_at_once(mut pair: Pair) {
    served(&mut pair).await;
    let table = format!("/{}/t/", pair.source.database);
    let paths = [
        format!("{table}?wait=0"),
        format!("{table}?wait=30"),
        format!("{table}?keys=%5B%5B1%5D%5D"),
        format!("{table}-/digests?level=full"),
        format!("{table}-/keys?level=full"),
    ];
    let formats = [NDJSON, "accept: application/json", "accept: text/csv"];
    for path in &paths {
        for format in formats {
            if path.contains("/-/") && format != NDJSON {
                continue;
            }
            let mut holder = locked(&pair).await;
            let began = Instant::now();
            let mut answer = asked(&mut pair, path, format).await;
            let head = read_head(&mut answer).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
            let took = began.elapsed();
            assert!(took < AT_ONCE, "{path} ({format}): {took:?}");
            holder.run("UNLOCK TABLES").await;
            let mut rest = String::new();
            answer.read_to_string(&mut rest).await.unwrap();
            assert!(
                rest.ends_with("\r\n0\r\n\r\n"),
                "{path}: it is whole: {rest}"
            );
        }
    }
    // What is known without the table keeps its status.
    let _holder = locked(&pair).await;
    for (path, status) in [
        (format!("/{}/nothing/", pair.source.database), 404),
        (format!("{table}?keys=%5B%5B1,2%5D%5D"), 400),
        (format!("{table}?since=2020-01-01&after=%5B%5D"), 400),
        (format!("{table}?stamp=v"), 422),
        (format!("/{}/", pair.source.database), 200),
        (format!("/{}/?definitions=true", pair.source.database), 200),
    ] {
        let began = Instant::now();
        let (found, _, body) = pair.curl(&[], &path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(began.elapsed() < AT_ONCE, "{path}: {:?}", began.elapsed());
    }
}

async fn whoever_goes_away_before_the_header_has_its_statement_ended(mut pair: Pair) {
    served(&mut pair).await;
    let _holder = locked(&pair).await;
    let path = format!("/{}/t/", pair.source.database);
    let mut answer = asked(&mut pair, &path, NDJSON).await;
    read_head(&mut answer).await;
    eventually("it waits for the table", async || {
        (waiting(&pair).await > 0).then_some(())
    })
    .await;
    drop(answer);
    within(AT_ONCE, "nobody waits for the table", async || {
        (waiting(&pair).await == 0).then_some(())
    })
    .await;
}

/// Not for the list of tables either, nor to be refused (MySQL; MariaDB itself waits for the table).
#[tokio::test]
async fn a_table_that_is_altered_keeps_no_list_waiting() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    served(&mut pair).await;
    pair.source
        .run(format!(
            "INSERT INTO t (id) {}",
            crate::numbers(20_000, "n+3")
        ))
        .await;
    let change = pair
        .source
        .start(
            "ALTER TABLE t ADD COLUMN w VARCHAR(128) AS \
             (SHA2(REPEAT(CONCAT(id, 'x'), 1200000), 512)) STORED, ALGORITHM=COPY, LOCK=EXCLUSIVE",
        )
        .await;
    let list = pair.source.server.processlist();
    let altering = format!("SELECT ID FROM {list} WHERE STATE LIKE 'copy to tmp table'");
    let id = eventually("the table is altered", async || {
        pair.source.column(&altering).await.pop()
    })
    .await;
    for (path, status) in [
        ("/", 200),
        ("/?definitions=false", 200),
        ("/t/?stamp=v", 422),
    ] {
        let began = Instant::now();
        let path = format!("/{}{path}", pair.source.database);
        let (found, _, body) = pair.curl(&[], &path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(began.elapsed() < AT_ONCE, "{path}: {:?}", began.elapsed());
    }
    assert!(!change.is_finished(), "it was altered all the time");
    pair.source.run(format!("KILL {id}")).await;
    let _ = change.end().await;
}

/// A request whose answer is read by hand.
async fn asked(pair: &mut Pair, path: &str, format: &str) -> TcpStream {
    let port = pair.server().port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{format}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    let in_time = tokio::time::timeout(LOCKED, read).await;
    in_time.expect("an answer begins");
    String::from_utf8_lossy(&head).into_owned()
}
