//! Bounds on answers hold over TLS as they do without it: it has buffers of its own, and its own way to end.

use std::time::Duration;

use harness::{Flavour, Pair, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::certificates::{Authority, connected, texts};
use crate::{INDEXED, STAMP, numbers};

/// Rows of an answer that does not fit into what lies between a server and a reader that takes nothing.
const ROWS: u32 = 200_000;

async fn served(authority: &Authority, rows: u32, more: &[&str]) -> Pair {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v CHAR(200), {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(rows, "n, REPEAT('x', 200)");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
    let flags = authority.signs("server", &["127.0.0.1"]).listens();
    pair.start_server(&[&texts(&flags)[..], more].concat())
        .await;
    eventually("the server is ready", async || {
        (ask(&pair, authority, "/-/ready").await == 200).then_some(())
    })
    .await;
    pair
}

async fn ask(pair: &Pair, authority: &Authority, path: &str) -> u16 {
    let ca = authority.ca().display().to_string();
    pair.curl(&["--cacert", &ca], path).await.0
}

/// A connection on which the rows of `t` were asked for.
async fn asked(pair: &mut Pair, authority: &Authority) -> TlsStream<TcpStream> {
    let port = pair.server().port;
    let stream = connected(port, authority, rustls::ALL_VERSIONS).await;
    let mut stream = stream.unwrap();
    let request = format!(
        "GET /{}/t/?wait=0 HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n",
        pair.source.database
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// How many statements of the server wait for a lock.
async fn waiting(pair: &Pair) -> u64 {
    pair.source
        .number(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table%'",
        )
        .await
}

#[tokio::test]
async fn a_reader_that_takes_nothing_over_tls_gives_its_place_up() {
    let authority = Authority::new();
    let bounds = ["--max-stall-seconds=1", "--max-answers=1"];
    let mut pair = served(&authority, ROWS, &bounds).await;
    let mut reader = asked(&mut pair, &authority).await;
    reader.read_exact(&mut [0; 100]).await.unwrap();
    assert_eq!(ask(&pair, &authority, "/").await, 503);
    let limit = Duration::from_secs(10);
    within(limit, "there is a place again", async || {
        (ask(&pair, &authority, "/").await == 200).then_some(())
    })
    .await;
    let said = "took nothing for --max-stall-seconds";
    pair.server().says(said).await;
    // R10. What it may still read is not whole, nor does TLS say that it is.
    let mut rest = Vec::new();
    assert!(reader.read_to_end(&mut rest).await.is_err());
    assert!(!String::from_utf8_lossy(&rest).contains("\"frame\":\"end\""));
}

#[tokio::test]
async fn a_caller_that_goes_away_over_tls_leaves_no_statement() {
    let authority = Authority::new();
    let mut pair = served(&authority, 10, &[]).await;
    let mut held = pair.source.session().await;
    held.run("LOCK TABLES t WRITE").await;
    let caller = asked(&mut pair, &authority).await;
    eventually("the statement waits", async || {
        (waiting(&pair).await > 0).then_some(())
    })
    .await;
    drop(caller);
    let soon = Duration::from_secs(3);
    within(soon, "nothing waits any more", async || {
        (waiting(&pair).await == 0).then_some(())
    })
    .await;
}
