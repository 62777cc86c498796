//! Whoever connects and asks for nothing takes nothing for long.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::{Flavour, Pair, eventually, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// When the server closes what does not ask, and the time that it has for it.
const BOUND: Duration = Duration::from_secs(30 + 5);

/// When it cannot have given up yet.
const NOT_BEFORE: Duration = Duration::from_secs(25);

async fn served() -> Pair {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    pair.start_server(&["--max-answers=1"]).await;
    pair.ready().await;
    pair
}

async fn connection(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// How long it takes until the server closes a connection.
async fn closes(mut stream: TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(2 * BOUND, stream.read_to_end(&mut rest)).await;
    // It may be reset as well: what matters is that it is gone.
    let _ = end.expect("the server closes it");
    began.elapsed()
}

#[tokio::test]
async fn whoever_asks_for_nothing_is_sent_away() {
    let mut pair = served().await;
    let port = pair.server().port;
    let silent = async { ("silent", closes(connection(port).await).await) };
    let trickles = async {
        let (mut input, mut output) = connection(port).await.into_split();
        let began = Instant::now();
        let writes = async {
            let head = format!("GET /-/live HTTP/1.1\r\nx: {}", "x".repeat(1_000));
            for byte in head.bytes() {
                if output.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            panic!("the server reads it to its end");
        };
        let mut rest = Vec::new();
        tokio::select! {
            _ = input.read_to_end(&mut rest) => {}
            () = writes => {}
        }
        ("trickling", began.elapsed())
    };
    let idle = async {
        let mut stream = connection(port).await;
        stream
            .write_all(b"GET /-/live HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 1_000];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        ("idle", closes(stream).await)
    };
    // A form that never comes would keep the one place for an answer.
    let form = async {
        let mut stream = connection(port).await;
        let head = "POST /x/t/-/digests HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                    content-type: application/x-www-form-urlencoded\r\n\r\nlevel=";
        stream.write_all(head.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = vec![0; 1_000];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        ("a form", began.elapsed())
    };
    let (silent, trickles, idle, form) = tokio::join!(silent, trickles, idle, form);
    assert_eq!(pair.curl(&[], "/").await.0, 200, "there is a place again");
    for (what, took) in [silent, trickles, idle, form] {
        assert!(took > NOT_BEFORE && took < BOUND, "{what}: {took:?}");
    }
}

/// Far more than there may be.
#[tokio::test]
async fn many_idle_connections_keep_nobody_out_for_long() {
    let mut pair = served().await;
    let port = pair.server().port;
    let mut connections = Vec::new();
    for _ in 0..700 {
        connections.push(connection(port).await);
    }
    pair.server().says("as many connections are open").await;
    let began = Instant::now();
    within(BOUND + BOUND, "somebody else gets in", async || {
        (pair.curl(&[], "/-/live").await.0 == 200).then_some(())
    })
    .await;
    // The first of them end together, and the rest had come before this one.
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    drop(connections);
    let server = pair.take_server();
    assert_eq!(server.terminate().await, Some(0));
}

/// A server that may open no more files goes on when it may, and does not spin meanwhile.
#[tokio::test]
async fn a_lack_of_files_passes() {
    let mut pair = served().await;
    let id = pair.server().id().to_string();
    let limit = Command::new("prlimit")
        .args(["--pid", &id, "--nofile=64"])
        .status();
    assert!(limit.unwrap().success());
    let port = pair.server().port;
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(connection(port).await);
    }
    pair.server().says("connections cannot be accepted").await;
    let before = pair.server().processor_time();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = pair.server().processor_time() - before;
    assert!(used < Duration::from_millis(1_500), "{used:?} of 3 s");
    drop(connections);
    eventually("it accepts again", async || {
        (pair.curl(&[], "/-/live").await.0 == 200).then_some(())
    })
    .await;
    assert!(!pair.server().has_ended());
    let said = pair.server().log();
    assert_eq!(said.matches("cannot be accepted").count(), 1, "{said}");
}

/// A stop closes what does not ask at once.
#[tokio::test]
async fn a_stop_does_not_wait_for_idle_connections() {
    let mut pair = served().await;
    let port = pair.server().port;
    let silent = connection(port).await;
    let mut idle = connection(port).await;
    idle.write_all(b"GET /-/live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 1_000];
    let _ = idle.read(&mut answer).await.unwrap();
    let server = pair.take_server();
    let began = Instant::now();
    assert_eq!(server.terminate().await, Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    drop((silent, idle));
}
