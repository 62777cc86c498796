//! A program that is told to stop does, in time and whatever it waits for.

use std::fs;
use std::time::{Duration, Instant};

use harness::{At, DEADLINE, Output, Pair, Proxy, Puller, eventually, same_flavour};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    a_batch_that_waits_for_a_row_is_given_up,
    a_first_copy_stops_and_goes_on,
    a_reconcile_stops_and_goes_on,
    a_source_that_says_nothing_holds_nobody,
    a_destination_that_says_nothing_holds_nobody,
    a_pause_ends,
    a_reader_of_differences_that_takes_none_holds_nobody,
    a_reader_of_the_log_that_takes_nothing_holds_nobody,
    a_second_signal_ends_a_server_at_once,
);

/// From the signal to the end of the process.
const BOUND: Duration = Duration::from_secs(5);

/// Nothing is waited for.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A single puller, and one that polls.
const POLLING: [&[&str]; 2] = [&[], &["--poll-interval=0.1"]];

async fn ends_within(bound: Duration, puller: Puller, signal: &str) -> Output {
    let began = Instant::now();
    puller.signal(signal);
    let output = puller.end().await;
    let took = began.elapsed();
    assert!(took < bound, "{took:?} after {signal}:\n{}", output.stderr);
    output
}

/// Stops a puller, which has no time-out of its own to hide behind.
async fn stops(puller: Puller, signal: &str, polling: &[&str]) {
    let output = ends_within(BOUND, puller, signal).await;
    if polling.is_empty() {
        output.fails_naming(&["stopped before the pull was done"]);
    } else {
        output.ok();
    }
}

fn with<'a>(more: &[&'a str], polling: &[&'a str]) -> Vec<&'a str> {
    more.iter().chain(polling).copied().collect()
}

/// How many statements of other connections run at the destination that begin so.
async fn runs_at_destination(pair: &Pair, begins: &str) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID<>CONNECTION_ID() AND \
         DB=DATABASE() AND INFO LIKE '{begins}%'"
    );
    eventually(begins, async || {
        (pair.dest.number(&sql).await > 0).then_some(())
    })
    .await;
}

async fn a_batch_that_waits_for_a_row_is_given_up(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    for (signal, parallel) in [("-TERM", "--parallel=1"), ("-INT", "--parallel=4")] {
        for polling in POLLING {
            let mut holder = pair.dest.session().await;
            holder.run("START TRANSACTION").await;
            holder.run("UPDATE t SET v=-1 WHERE id=2").await;
            pair.source.run("UPDATE t SET v=v+1").await;
            let puller = Puller::start(&pair.puller_args(&with(&[parallel], polling)));
            runs_at_destination(&pair, "INSERT INTO").await;
            stops(puller, signal, polling).await;
            holder.run("ROLLBACK").await;
            pair.pull(&[]).await.ok();
            pair.assert_same().await;
        }
    }
}

/// R3. Whatever was committed is a prefix.
async fn a_first_copy_stops_and_goes_on(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP}, {INDEXED})"
    ))
    .await;
    let rows = 200_000;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(rows, "n, REPEAT('x', 150)")
        ))
        .await;
    pair.serve().await;
    for (signal, parallel) in [("-TERM", "--parallel=1"), ("-INT", "--parallel=4")] {
        for polling in POLLING {
            pair.dest.run("TRUNCATE TABLE t").await;
            let puller = Puller::start(&pair.puller_args(&with(&[parallel], polling)));
            eventually("some rows arrive", async || {
                (pair.dest.count("t").await > 0).then_some(())
            })
            .await;
            stops(puller, signal, polling).await;
            let held = pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await;
            assert_eq!(held[0][0], held[0][1], "all rows have one stamp");
        }
    }
    let held = pair.dest.count("t").await;
    assert!(held < u64::from(rows), "it stopped in the middle");
    let output = pair.pull(&[]).await.ok();
    assert!(output.rows("t") <= u64::from(rows) - held);
    pair.assert_same().await;
}

async fn a_reconcile_stops_and_goes_on(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id) {}", numbers(50_000, "n")))
        .await;
    pair.pull(&[]).await.ok();
    let proxy = Proxy::start(pair.server().port).await;
    for (signal, polling, gone) in [("-TERM", POLLING[0], 7), ("-INT", POLLING[1], 8)] {
        // The source's digests are on their way.
        let flag = proxy.flag();
        let args = pair.puller_args(&with(&[&flag, "--sync-deletes"], polling));
        let mut stop = proxy.stop("/-/digests", 1, At::Lines(1));
        let puller = Puller::start(&args);
        stop.reached().await;
        stops(puller, signal, polling).await;

        // A delete waits for a row that somebody holds.
        let gone = format!("id%1000={gone}");
        pair.source.run(format!("DELETE FROM t WHERE {gone}")).await;
        let mut holder = pair.dest.session().await;
        holder.run("START TRANSACTION").await;
        holder
            .run(format!("SELECT id FROM t WHERE {gone} FOR UPDATE"))
            .await;
        let puller = Puller::start(&args);
        runs_at_destination(&pair, "DELETE FROM").await;
        stops(puller, signal, polling).await;
        holder.run("ROLLBACK").await;
        pair.pull(&["--sync-deletes"]).await.ok();
        pair.assert_same().await;
    }
}

/// A port of which connections are made and never answered.
async fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port of which no connection is ever made, and what makes it so.
async fn black_hole() -> (TcpListener, Vec<TcpStream>, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // The kernel answers nobody any more once nobody takes what waits already.
    let full = async {
        loop {
            let connected = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(500), connected).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(DEADLINE, full).await.unwrap();
    (listener, waiting, address.port())
}

/// The states of a connection in the kernel's table.
const MADE: &str = "01";
const BEGUN: &str = "02";

/// Waits until somebody has a connection to that port in that state.
async fn asks(puller: &Puller, port: u16, state: &str) {
    let path = format!("/proc/{}/net/tcp", puller.id());
    let wanted = (format!("0100007F:{port:04X}"), state);
    eventually("the puller asks", async || {
        let table = fs::read_to_string(&path).unwrap();
        let asks = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[2] == wanted.0 && fields[3] == wanted.1
        };
        table.lines().skip(1).any(asks).then_some(())
    })
    .await;
}

async fn a_source_that_says_nothing_holds_nobody(pair: Pair) {
    let (_listener, silent) = silent().await;
    for (signal, polling) in [("-INT", POLLING[0]), ("-TERM", POLLING[1])] {
        let flag = format!("--source-port={silent}");
        let puller = Puller::start(&pair.puller_args(&with(&[&flag], polling)));
        asks(&puller, silent, MADE).await;
        stops(puller, signal, polling).await;
    }
    let (_listener, _waiting, hole) = black_hole().await;
    for polling in POLLING {
        let flag = format!("--source-port={hole}");
        let puller = Puller::start(&pair.puller_args(&with(&[&flag], polling)));
        asks(&puller, hole, BEGUN).await;
        stops(puller, "-TERM", polling).await;
    }
}

async fn a_destination_that_says_nothing_holds_nobody(mut pair: Pair) {
    pair.serve().await;
    let (_listener, silent) = silent().await;
    for polling in POLLING {
        let flag = format!("--dest-port={silent}");
        let puller = Puller::start(&pair.puller_args(&with(&[&flag], polling)));
        asks(&puller, silent, MADE).await;
        stops(puller, "-TERM", polling).await;
    }
    let (_listener, _waiting, hole) = black_hole().await;
    for polling in POLLING {
        let flag = format!("--dest-port={hole}");
        let puller = Puller::start(&pair.puller_args(&with(&[&flag], polling)));
        asks(&puller, hole, BEGUN).await;
        stops(puller, "-INT", polling).await;
    }
}

/// Nothing listens, and the pause grows.
async fn a_pause_ends(pair: Pair) {
    let (listener, port) = silent().await;
    drop(listener);
    let flag = format!("--source-port={port}");
    let mut puller = Puller::start(&pair.puller_args(&[&flag, "--poll-interval=600"]));
    puller.says("trying again").await;
    stops(puller, "-TERM", POLLING[1]).await;
}

/// Waits until a thread of the process cannot write to that file, since nobody reads it.
async fn cannot_write(puller: &Puller, file: &str) {
    let tasks = format!("/proc/{}/task", puller.id());
    let waits = format!("1 0x{file} ");
    let mut before = false;
    eventually("nobody takes what it writes", async || {
        let tasks = fs::read_dir(&tasks).unwrap();
        let now = tasks.flatten().any(|task| {
            fs::read_to_string(task.path().join("syscall"))
                .is_ok_and(|syscall| syscall.starts_with(&waits))
        });
        // A write that is just under way is not there for long.
        let both = before && now;
        before = now;
        both.then_some(())
    })
    .await;
}

async fn a_reader_of_differences_that_takes_none_holds_nobody(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id) {}",
            numbers(1_000, "LPAD(n, 200, 'x')")
        ))
        .await;
    pair.serve().await;
    for signal in ["-TERM", "-INT"] {
        let puller = Puller::start_unread(&pair.puller_args(&["--verify=keys"]));
        cannot_write(&puller, "1").await;
        stops(puller, signal, &[]).await;
    }
}

async fn a_reader_of_the_log_that_takes_nothing_holds_nobody(mut pair: Pair) {
    for table in 0..20 {
        pair.both(&format!(
            "CREATE TABLE a_name_that_fills_the_log_soon_{table} (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    }
    pair.serve().await;
    let args = pair.puller_args(&["--debug", "--poll-interval=0.05"]);
    let puller = Puller::start_unread(&args);
    cannot_write(&puller, "2").await;
    // Nothing was under way: that it was to be told so is all that is wrong.
    let output = ends_within(BOUND, puller, "-TERM").await;
    assert!([Some(0), Some(143)].contains(&output.code), "{output:?}");

    let puller = Puller::start_unread(&args);
    cannot_write(&puller, "2").await;
    puller.signal("-TERM");
    let output = ends_within(AT_ONCE, puller, "-INT").await;
    // Of two signals that wait the one of the lower number comes first.
    let codes = [Some(0), Some(130), Some(143)];
    assert!(codes.contains(&output.code), "{output:?}");
}

/// It lets an answer end that nobody reads; whoever cannot wait for that says so once more.
async fn a_second_signal_ends_a_server_at_once(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(200_000, "n, REPEAT('x', 200)")
        ))
        .await;
    pair.serve().await;
    let mut server = pair.take_server();
    let mut reader = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let request = format!(
        "GET /{}/t/ HTTP/1.1\r\nhost: a\r\naccept: application/x-ndjson\r\n\r\n",
        pair.source.database
    );
    reader.write_all(request.as_bytes()).await.unwrap();
    reader.readable().await.unwrap();
    server.signal("-TERM");
    server.says("stopping").await;
    let began = Instant::now();
    assert_eq!(server.terminate().await, Some(143));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}
