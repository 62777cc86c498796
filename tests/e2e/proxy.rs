//! The proxy between puller and server does what it is told, and otherwise nothing.

use harness::{At, Pair, Proxy, Stop, same_flavour};
use tokio::process::Command;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(what_passes_is_counted_and_can_be_stopped);

/// What curl gets from that port: its exit code, and the body.
async fn fetch(port: u16, path: &str) -> (Option<i32>, String) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "60"])
        .args(["-H", "Accept: application/x-ndjson", &url])
        .output()
        .await
        .unwrap();
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), body)
}

/// What a rows answer says but for its header, which has the time in it.
fn rows(body: &str) -> Vec<&str> {
    body.lines().skip(1).collect()
}

async fn what_passes_is_counted_and_can_be_stopped(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP}, {INDEXED});
             INSERT INTO t (id, v) {};",
            numbers(3_000, "n, REPEAT('x', 150)")
        ))
        .await;
    let port = pair.serve().await.port;
    let path = format!("/{}/t/?include_columns=v%2Cs", pair.source.database);
    let (_, direct) = fetch(port, &path).await;
    assert_eq!(rows(&direct).len(), 3_001);

    let proxy = Proxy::start(port).await;
    let (code, whole) = fetch(proxy.port, &path).await;
    assert_eq!(code, Some(0));
    assert_eq!(rows(&whole), rows(&direct));
    let exchange = proxy.exchanges().pop().unwrap();
    assert!(exchange.request.contains("t/?include_columns=v,s"));
    assert_eq!(
        (exchange.status, exchange.bytes, exchange.lines),
        (200, whole.len() as u64, 3_002)
    );
    assert!(proxy.bytes_from_server() > exchange.bytes);
    assert!(proxy.bytes_from_puller() > 0);
    proxy.forget();
    assert_eq!(proxy.bytes_from_server(), 0);

    // The second one with that text stops, right where it was said.
    let mut stop = proxy.stop("include_columns=v,s", 2, At::Lines(100));
    assert_eq!(fetch(proxy.port, &path).await.0, Some(0));
    assert!(!stop.was_reached());
    let (code, body) = fetch_until(&proxy, &path, stop, Stop::cut).await;
    assert_eq!(code, Some(18), "a broken answer is seen as one");
    assert_eq!(body.lines().count(), 100);
    assert!(body.ends_with('\n'));

    // An answer that goes on is as good as one that never stopped.
    let stop = proxy.stop("GET", 1, At::Bytes(77_777));
    let (code, body) = fetch_until(&proxy, &path, stop, Stop::go_on).await;
    assert_eq!((code, rows(&body)), (Some(0), rows(&direct)));

    // One that is ended looks whole to HTTP.
    let stop = proxy.stop("GET", 1, At::Lines(5));
    let (code, body) = fetch_until(&proxy, &path, stop, Stop::end).await;
    assert_eq!((code, body.lines().count()), (Some(0), 5));

    // Before anybody sees a request, another server can take the place of the first.
    let mut stop = proxy.stop("GET", 1, At::Request);
    let ((code, body), ()) = tokio::join!(fetch(proxy.port, &path), async {
        stop.reached().await;
        pair.take_server().kill().await;
        proxy.lead_to(pair.serve().await.port);
        stop.go_on();
    });
    assert_eq!((code, rows(&body)), (Some(0), rows(&direct)));

    // Nobody there: nothing comes.
    pair.take_server().kill().await;
    assert_eq!(fetch(proxy.port, "/").await.0, Some(52));
}

async fn fetch_until(
    proxy: &Proxy,
    path: &str,
    mut stop: Stop,
    then: impl FnOnce(Stop),
) -> (Option<i32>, String) {
    let stopped = async {
        stop.reached().await;
        then(stop);
    };
    tokio::join!(fetch(proxy.port, path), stopped).0
}
