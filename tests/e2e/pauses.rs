//! What fails for long is tried less and less, holds nothing else up, and is seen in the log.

use std::time::{Duration, Instant};

use harness::{Output, Pair, Proxy, Puller, eventually, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(
    a_table_that_cannot_be_written_is_tried_less_and_less,
    rows_that_are_left_out_hold_up_no_others,
    the_log_has_the_present_trouble,
);

/// The lines at the end of a puller that speak of this table.
fn summary<'a>(output: &'a Output, table: &str) -> Vec<&'a str> {
    let begins = format!("summary table=\"{table}\"");
    let lines = output.stderr.lines();
    lines.filter(|line| line.contains(&begins)).collect()
}

async fn a_table_that_cannot_be_written_is_tried_less_and_less(mut pair: Pair) {
    let table =
        |name, v| format!("CREATE TABLE {name} (id INT PRIMARY KEY, v {v}, {STAMP}, {INDEXED})");
    for name in ["fits", "narrow", "missing"] {
        pair.source.run(table(name, "VARCHAR(20)")).await;
        pair.source
            .run(format!("INSERT INTO {name} (id, v) VALUES (1, 'short')"))
            .await;
    }
    pair.dest.run(table("fits", "VARCHAR(20)")).await;
    pair.dest.run(table("narrow", "VARCHAR(5)")).await;
    pair.serve().await;
    let proxy = Proxy::start(pair.server().port).await;
    let args = pair.puller_args(&[
        &proxy.flag(),
        "--poll-interval=0.05",
        "--sync-deletes",
        "--delete-interval=0.1",
    ]);
    let mut puller = Puller::start(&args);
    pair.becomes_same(&["fits", "narrow"]).await;
    puller.reconciles_again("narrow", 1).await;
    pair.source.run("UPDATE narrow SET v='a long one'").await;
    puller
        .says("`narrow`: the destination refused the row")
        .await;
    puller
        .says("`missing`: the destination has no such table")
        .await;
    // What a reconcile would delete.
    pair.dest
        .run("INSERT INTO narrow (id, v, s) VALUES (99, 'x', '2020-01-01')")
        .await;
    proxy.forget();
    let fits = 60;
    puller.pulls_again("fits", fits).await;
    let asked = |name: &str| {
        let text = format!("/{name}/?");
        let exchanges = proxy.exchanges();
        exchanges
            .iter()
            .filter(|e| e.request.contains(&text))
            .count()
    };
    let narrow = asked("narrow");
    assert!(
        narrow >= 2 && narrow * 3 < fits,
        "{narrow} times, and {fits}"
    );
    let errors = |log: &str, name: &str| {
        let text = format!("ERROR `{name}`: ");
        log.lines().filter(|line| line.contains(&text)).count()
    };
    for name in ["narrow", "missing"] {
        assert_eq!(errors(&puller.log(), name), 1, "{}", puller.log());
    }
    // The others stay fresh, and nothing is mended of what was not pulled.
    pair.source.run("INSERT INTO fits (id) VALUES (2)").await;
    pair.becomes_same(&["fits"]).await;
    puller.reconciles_again("fits", 3).await;
    let left = pair.dest.column("SELECT v FROM narrow ORDER BY id").await;
    assert_eq!(left, ["short", "x"]);

    let output = puller.terminate().await.ok();
    for (name, why) in [("narrow", "refused the row"), ("missing", "no such table")] {
        let lines = summary(&output, name);
        assert!(lines.len() == 1 && lines[0].contains(why), "{lines:?}");
    }
    assert!(!summary(&output, "fits")[0].contains("failed"));

    let mut puller = Puller::start(&args);
    puller
        .says("`narrow`: the destination refused the row")
        .await;
    puller.pulls_again("fits", 60).await;
    pair.dest.run(table("missing", "VARCHAR(20)")).await;
    pair.dest
        .run("ALTER TABLE narrow MODIFY v VARCHAR(20)")
        .await;
    let mended = Instant::now();
    pair.becomes_same(&["fits", "narrow", "missing"]).await;
    assert!(mended.elapsed() < Duration::from_secs(15));
    // And from then on it is as fresh as any other.
    pair.source.run("INSERT INTO narrow (id) VALUES (2)").await;
    let written = Instant::now();
    pair.becomes_same(&["narrow"]).await;
    assert!(written.elapsed() < Duration::from_secs(5));
    let output = puller.terminate().await.ok();
    assert!(!summary(&output, "narrow")[0].contains("failed"));
}

/// A pull that left rows out has come to its end.
async fn rows_that_are_left_out_hold_up_no_others(mut pair: Pair) {
    let table = |v| format!("CREATE TABLE t (id INT PRIMARY KEY, v {v}, {STAMP}, {INDEXED})");
    pair.source.run(table("VARCHAR(20)")).await;
    pair.dest.run(table("VARCHAR(5)")).await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (0, 'a long one')")
        .await;
    let puller = pair.poll(0.4, &["--ignore-database-errors"]).await;
    let began = Instant::now();
    for id in 1..=12 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 'a')"))
            .await;
        eventually("the row that fits arrives", async || {
            // No pull is without one that does not.
            pair.source
                .run("INSERT INTO t (id, v) SELECT GREATEST(MAX(id), 100)+1, 'a long one' FROM t")
                .await;
            (pair.dest.count("t").await == id).then_some(())
        })
        .await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    puller.terminate().await.ok();
}

/// First nobody answers, then somebody who wants credentials.
async fn the_log_has_the_present_trouble(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.serve().await;
    let proxy = Proxy::start(pair.server().port).await;
    let mut puller = pair.poll(0.05, &[&proxy.flag()]).await;
    puller.pulls_again("t", 1).await;
    let tries_again = async |times| {
        proxy.forget();
        eventually("it tries again", async || {
            (proxy.exchanges().len() >= times).then_some(())
        })
        .await;
    };
    pair.take_server().kill().await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    puller.says("cannot reach the dbd-server").await;
    tries_again(4).await;
    pair.start_server(&[
        "--listen-address=127.0.0.1",
        "--listen-username=reader",
        "--listen-password=secret",
    ])
    .await;
    proxy.lead_to(pair.server().port);
    puller.says("the dbd-server answered 401").await;
    tries_again(2).await;
    pair.take_server().kill().await;
    tries_again(2).await;
    let log = puller.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("trying again"))
        .collect();
    assert_eq!(told.len(), 2, "{log}");
    pair.start_server(&[]).await;
    pair.ready().await;
    proxy.lead_to(pair.server().port);
    puller.says("pulls succeed again").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}
