//! Programs, databases and clients that go away in the middle.

use std::process::Stdio;

use harness::{Pair, Puller, eventually, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    a_server_killed_midway_is_a_failed_read,
    a_polling_puller_outlives_its_server,
    a_client_that_goes_away_ends_its_query,
    a_server_without_a_source_says_so,
    a_destination_that_comes_back_with_less_gets_it_again,
);

/// R10. What arrived is kept, the pull has failed, and the next one goes on.
async fn a_server_killed_midway_is_a_failed_read(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(200_000, "n, REPEAT('x', 150)")
        ))
        .await;
    pair.serve().await;
    let puller = Puller::start(&pair.puller_args(&["--source-timeout=5"]));
    eventually("some rows arrive", async || {
        (pair.dest.count("t").await > 0).then_some(())
    })
    .await;
    pair.take_server().kill().await;
    let output = puller.end().await.fails_naming(&["t"]);
    let held = pair.dest.count("t").await;
    assert!(held < 200_000, "it was killed in the middle");
    assert!(
        !output.pulled("t"),
        "a failed pull is no pull:\n{}",
        output.stderr
    );
    let output = pair.pull(&[]).await.ok();
    assert_eq!(output.rows("t"), 200_000 - held);
    pair.assert_same().await;
}

/// The server and its source come and go; a polling puller stays.
async fn a_polling_puller_outlives_its_server(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    let mut puller = pair.poll(0.1, &["--source-timeout=5"]).await;
    puller.pulls_again("t", 1).await;
    let server = pair.take_server();
    let port = format!("--listen-port={}", server.port);
    assert_eq!(server.terminate().await, Some(0));
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    puller.says("ERROR").await;
    pair.start_server(&[&port]).await;
    pair.becomes_same(&["t"]).await;
    // The destination too: its connections are made anew.
    pair.dest.server.kill();
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    pair.dest.server.restart().await;
    pair.dest.reconnect().await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// A reader that is gone must not keep the source at work.
async fn a_client_that_goes_away_ends_its_query(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP})"
        ))
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(300_000, "n, REPEAT('x', 150)")
        ))
        .await;
    pair.serve().await;
    let path = format!("/{}/t/", pair.source.database);
    let url = pair.server().url(&path);
    let mut client = std::process::Command::new("curl")
        .args([
            "-sS",
            "--noproxy",
            "*",
            "--limit-rate",
            "10k",
            "-o",
            "/dev/null",
            &url,
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let reads = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query','Execute') \
                 AND ID<>CONNECTION_ID() AND INFO LIKE '%`t`%'";
    eventually("the query runs", async || {
        (pair.source.number(reads).await > 0).then_some(())
    })
    .await;
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the query ends", async || {
        (pair.source.number(reads).await == 0).then_some(())
    })
    .await;
    // And the server is as good as before.
    let (status, _, _) = pair
        .curl(&[], &format!("/{}/t/?limit=1", pair.source.database))
        .await;
    assert_eq!(status, 200);
}

/// It listens at once, says 503 while there is nothing to answer from, and recovers.
async fn a_server_without_a_source_says_so(mut pair: Pair) {
    pair.source
        .run(format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    let path = format!("/{}/t/", pair.source.database);
    pair.source.server.kill();
    pair.start_server(&[]).await;
    assert_eq!(pair.curl(&[], "/-/live").await.0, 200);
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    let (status, head, body) = pair.curl(&[], &path).await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after:"), "{head}");
    pair.source.server.restart().await;
    pair.source.reconnect().await;
    pair.ready().await;
    assert_eq!(pair.curl(&[], &path).await.0, 200);
}

/// R12. What a polling puller remembers is of the destination it was connected to: another one behind
/// the same address, or one restored from a backup, says itself where it stands.
async fn a_destination_that_comes_back_with_less_gets_it_again(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    for id in 1..=3 {
        pair.source
            .run(format!("INSERT INTO t (id) VALUES ({id})"))
            .await;
    }
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    puller.pulls_again("t", 1).await;
    let writers = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB=DATABASE() AND \
                   ID<>CONNECTION_ID()";
    let writers = pair.dest.column(writers).await;
    pair.dest.run("DELETE FROM t WHERE id>1").await;
    for writer in writers {
        // Another connection of the test's own may be among them, and gone already.
        let _ = pair.dest.try_run(&format!("KILL {writer}")).await;
    }
    pair.becomes_same(&["t"]).await;
    puller.terminate().await;
}
