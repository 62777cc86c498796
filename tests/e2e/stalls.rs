//! A dbd-server that stalls, or never ends: what the puller makes of it.

use std::fs;
use std::time::{Duration, Instant};

use harness::{At, Pair, Proxy, Puller, same_flavour};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    a_silent_server_is_given_up_and_asked_again,
    a_server_that_sends_signs_of_life_has_time,
    a_server_that_trickles_is_given_up,
    what_a_server_sends_without_an_end_is_not_kept,
    a_server_that_cannot_say_what_has_changed_is_asked_for_each_table,
);

/// Rows of one answer that fit in no buffer by chance.
const ROWS: u32 = 5_000;

async fn table(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(ROWS, "n, REPEAT('x', 100)")
        ))
        .await;
    pair.serve().await;
}

/// R10. Wherever it falls silent.
async fn a_silent_server_is_given_up_and_asked_again(mut pair: Pair) {
    table(&mut pair).await;
    let proxy = Proxy::start(pair.server().port).await;
    let flags = [&proxy.flag(), "--source-timeout=1"];
    let list = format!("GET /{}/ ", pair.source.database);
    for (request, at, says) in [
        (list.as_str(), At::Request, "was silent for 1 s"),
        (list.as_str(), At::Bytes(10), "was silent for 1 s"),
        ("/t/?", At::Request, "was silent for 1 s"),
        ("/t/?", At::Lines(1), "silent, or as good as silent"),
        ("/t/?", At::Bytes(400_001), "silent, or as good as silent"),
    ] {
        pair.dest.run("TRUNCATE TABLE t").await;
        let stop = proxy.stop(request, 1, at);
        let began = Instant::now();
        let output = pair.pull(&flags).await;
        output.fails_naming(&[says, "--source-timeout"]);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{request} {at:?}"
        );
        drop(stop);

        pair.dest.run("TRUNCATE TABLE t").await;
        let stop = proxy.stop(request, 1, at);
        let mut puller = pair.poll(0.1, &flags).await;
        let error = puller.says("ERROR").await;
        assert!(error.contains(says), "{error}");
        pair.becomes_same(&["t"]).await;
        let output = puller.terminate().await.ok();
        drop(stop);
        let count = |text| {
            output
                .stderr
                .lines()
                .filter(|line| line.contains(text))
                .count()
        };
        assert_eq!(count("ERROR"), 1, "{}", output.stderr);
        // The failure of a table is not one of the pull of all.
        let of_all = usize::from(!says.contains("as good as"));
        assert_eq!(count("pulls succeed again"), of_all, "{}", output.stderr);
    }
}

/// What a server does that is none of ours with an answer of one that is.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Sends keep-alive frames after the header, for longer than the puller waits, and then the rest.
    KeepsAlive,
    /// Sends the header, and then byte after byte.
    Trickles,
    /// Sends a list of tables that never ends.
    EndlessList,
    /// Refuses, and never ends to say why.
    EndlessRefusal,
    /// Sends a row that never ends.
    EndlessRow,
    /// Knows no path that tells what has changed.
    LacksChanged,
}

/// Passes requests on to that port and does something with the answer; ends when it is dropped.
async fn server(real: u16, does: Does) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // A puller that has heard enough hangs up.
            connections.spawn(async move {
                let _ = answer(stream, real, does).await;
            });
        }
    });
    (port, task)
}

async fn answer(mut stream: TcpStream, real: u16, does: Does) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let accept = head
        .lines()
        .find(|line| line.starts_with("accept:"))
        .unwrap();
    let url = format!("http://127.0.0.1:{real}{path}");
    let answer = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-H", accept, &url])
        .output()
        .await?;
    let body = answer.stdout;
    let of_rows = path.contains("/t/?");
    let begin = |status: &str| format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
    let header = body.iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
    match does {
        Does::EndlessList if !of_rows => {
            stream.write_all(begin("200 OK").as_bytes()).await?;
            stream.write_all(b"{\"tables\":[").await?;
            endlessly(stream, b" ").await
        }
        Does::LacksChanged if path.ends_with("/-/changed") => {
            stream.write_all(begin("404 Not Found").as_bytes()).await
        }
        Does::EndlessRefusal if !of_rows => {
            stream.write_all(begin("500 Oh").as_bytes()).await?;
            endlessly(stream, b" ").await
        }
        Does::KeepsAlive | Does::Trickles | Does::EndlessRow if of_rows => {
            stream.write_all(begin("200 OK").as_bytes()).await?;
            stream.write_all(&body[..header]).await?;
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            match does {
                Does::KeepsAlive => {
                    for _ in 0..20 {
                        tick.tick().await;
                        stream.write_all(b"{\"frame\":\"keep-alive\"}\n").await?;
                    }
                    stream.write_all(&body[header..]).await
                }
                Does::Trickles => {
                    for byte in &body[header..] {
                        tick.tick().await;
                        stream.write_all(&[*byte]).await?;
                    }
                    Ok(())
                }
                _ => {
                    stream.write_all(b"[\"").await?;
                    endlessly(stream, b"x").await
                }
            }
        }
        _ => {
            stream.write_all(begin("200 OK").as_bytes()).await?;
            stream.write_all(&body).await
        }
    }
}

async fn endlessly(mut stream: TcpStream, byte: &[u8; 1]) -> std::io::Result<()> {
    let piece = byte.repeat(1 << 20);
    loop {
        stream.write_all(&piece).await?;
    }
}

/// A first row may take longer than any time-out: it is the server that bounds its statements.
async fn a_server_that_sends_signs_of_life_has_time(mut pair: Pair) {
    table(&mut pair).await;
    let (port, _server) = server(pair.server().port, Does::KeepsAlive).await;
    let port = format!("--source-port={port}");
    pair.pull(&[&port, "--source-timeout=1"]).await.ok();
    pair.assert_same().await;
}

/// A byte now and then is no sign of life.
async fn a_server_that_trickles_is_given_up(mut pair: Pair) {
    table(&mut pair).await;
    let (port, _server) = server(pair.server().port, Does::Trickles).await;
    let port = format!("--source-port={port}");
    let began = Instant::now();
    let output = pair.pull(&[&port, "--source-timeout=1"]).await;
    output.fails_naming(&["`t`: the answer was cut short", "--source-timeout"]);
    assert!(began.elapsed() < Duration::from_secs(10));
}

async fn what_a_server_sends_without_an_end_is_not_kept(mut pair: Pair) {
    table(&mut pair).await;
    pair.dest.server.keep_from_others();
    pair.dest.run("SET GLOBAL max_allowed_packet=4194304").await;
    for (does, says, megabytes) in [
        (Does::EndlessList, "it is longer than", 700),
        (Does::EndlessRefusal, "answered 500", 100),
        (Does::EndlessRow, "max_allowed_packet", 200),
    ] {
        let (port, _server) = server(pair.server().port, does).await;
        let port = format!("--source-port={port}");
        let mut puller = Puller::start(&pair.puller_args(&[&port, "--poll-interval=600"]));
        let error = puller.says("ERROR").await;
        assert!(error.contains(says), "{error}");
        let status = fs::read_to_string(format!("/proc/{}/status", puller.id())).unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(peak < megabytes << 10, "{does:?}: {peak} kB");
        puller.terminate().await.ok();
    }
}

/// As one of a former version is.
async fn a_server_that_cannot_say_what_has_changed_is_asked_for_each_table(mut pair: Pair) {
    table(&mut pair).await;
    let (port, _server) = server(pair.server().port, Does::LacksChanged).await;
    let port = format!("--source-port={port}");
    pair.pull(&[&port]).await.ok();
    pair.assert_same().await;
    let idle = pair.pull(&[&port, "-d"]).await.ok();
    assert!(
        idle.stderr.contains("asking for each table"),
        "{}",
        idle.stderr
    );
    pair.source.run("UPDATE t SET v='a' WHERE id=1").await;
    assert_eq!(pair.pull(&[&port]).await.ok().rows("t"), 1);
    let mut puller = pair.poll(0.1, &[&port]).await;
    puller.pulls_again("t", 2).await;
    pair.source.run("UPDATE t SET v='b' WHERE id=2").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await;
}
