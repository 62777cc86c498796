//! Answers that are compressed on their way, as between two machines: they arrive as they are written, and what is
//! cut is not taken for whole (R10).

use std::process::Stdio;
use std::time::{Duration, Instant};

use harness::{At, Pair, Proxy, same_flavour};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r10_compressed_rows_arrive_or_are_asked_for_again,
    a_compressed_keep_alive_arrives_in_time,
    r10_a_compressed_answer_says_why_it_is_broken_off,
);

/// This machine by an address that is not called local.
const AWAY: &str = "--source-host=0.0.0.0";

const ROWS: u32 = 20_000;

async fn table(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(ROWS, "n, REPEAT(CHAR(97 + n MOD 26), 100)")
        ))
        .await;
    pair.serve().await;
}

async fn r10_compressed_rows_arrive_or_are_asked_for_again(mut pair: Pair) {
    table(&mut pair).await;
    let proxy = Proxy::start(pair.server().port).await;
    let plain = pair.pull(&[&proxy.flag()]).await.ok().rows("t");
    assert_eq!(plain, u64::from(ROWS));
    let bytes = proxy.bytes_from_server();

    pair.dest.run("TRUNCATE TABLE t").await;
    let flags = [&proxy.flag(), AWAY];
    let small = pair.pull(&flags).await.ok().rows("t");
    assert_eq!(small, u64::from(ROWS));
    pair.assert_same().await;
    let compressed = proxy.bytes_from_server() - bytes;
    assert!(compressed < bytes / 4, "{compressed} of {bytes}");

    pair.dest.run("TRUNCATE TABLE t").await;
    let mut stop = proxy.stop("/t/?", 1, At::Bytes(compressed / 3));
    let mut puller = pair.poll(0.1, &flags).await;
    stop.reached().await;
    stop.cut();
    puller.says("cut short").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// A caller that takes answers of that encoding, and what arrives of one, line by line.
fn caller(pair: &mut Pair, encoding: &str) -> tokio::process::Child {
    let path = format!("/{}/t/", pair.source.database);
    Command::new("curl")
        .args(["-sS", "-N", "--compressed", "--noproxy", "*"])
        .args(["-H", "accept: application/x-ndjson"])
        .args(["-H", &format!("accept-encoding: {encoding}")])
        .arg(pair.server().url(&path))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("curl is installed; run `apt-get install curl`")
}

/// The encoder keeps nothing back while the table is locked.
async fn a_compressed_keep_alive_arrives_in_time(mut pair: Pair) {
    table(&mut pair).await;
    let mut holder = pair.source.session().await;
    holder.run("LOCK TABLES t WRITE").await;
    let began = Instant::now();
    let mut callers = ["zstd", "gzip"].map(|encoding| {
        let mut caller = caller(&mut pair, encoding);
        let lines = BufReader::new(caller.stdout.take().unwrap()).lines();
        (encoding, lines, caller)
    });
    for _ in 0..2 {
        for (encoding, lines, _) in &mut callers {
            let line = lines.next_line().await.unwrap().unwrap();
            assert_eq!(line, "{\"frame\":\"keep-alive\"}", "{encoding}");
        }
    }
    // One is due every 10 s.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(24), "{took:?}");
    holder.run("UNLOCK TABLES").await;
    for (encoding, mut lines, _caller) in callers {
        let mut last = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            last = line;
        }
        let end = format!("\"end\",\"rows\":{ROWS}");
        assert!(last.contains(&end), "{encoding}: {last}");
    }
}

async fn r10_a_compressed_answer_says_why_it_is_broken_off(mut pair: Pair) {
    table(&mut pair).await;
    pair.take_server().terminate().await;
    pair.start_server(&["--max-query-seconds=1"]).await;
    pair.ready().await;
    let mut holder = pair.source.session().await;
    holder.run("LOCK TABLES t WRITE").await;
    for encoding in ["zstd", "gzip"] {
        let mut caller = caller(&mut pair, encoding);
        let mut lines = BufReader::new(caller.stdout.take().unwrap()).lines();
        let mut last = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            last = line;
        }
        assert!(
            last.contains("\"error\"") && last.contains("--max-query-seconds"),
            "{encoding}: {last}"
        );
        assert!(!caller.wait().await.unwrap().success(), "{encoding}");
    }
}
