//! No committed change is skipped: transactions, locks and pulls in every order.

use std::time::{Duration, Instant};

use harness::{Pair, eventually, same_flavour};

use crate::{INDEXED, STAMP, reader_account};

same_flavour!(
    a_pull_brings_what_was_committed_before_it_began,
    a_row_changed_again_in_the_second_of_the_last_pull_comes_again,
    a_row_changed_again_in_the_second_of_the_last_poll_comes_again,
    a_future_dated_row_never_moves_the_position,
    rows_without_a_stamp_come_with_the_first_pull,
    an_idle_pull_neither_waits_nor_transfers,
    a_pull_held_back_goes_up_to_the_horizon_and_warns,
    without_the_process_privilege_the_horizon_is_assumed_and_said_so,
    an_unindexed_stamp_is_pulled_in_order_and_reported,
    a_stamp_column_can_be_chosen,
);

/// R11. A row of the running second lies above the horizon until that second is over.
async fn a_pull_brings_what_was_committed_before_it_began(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE fine (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE whole (id INT PRIMARY KEY, v INT,
           s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s));
         CREATE TABLE bare (id INT PRIMARY KEY, v INT,
           s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);"
    ))
    .await;
    pair.serve().await;
    for id in 1..4 {
        pair.source.early_in_a_second().await;
        for table in ["fine", "whole", "bare"] {
            pair.source
                .run(format!("INSERT INTO {table} (id, v) VALUES ({id}, 1)"))
                .await;
            pair.source
                .run(format!("UPDATE {table} SET v=v+1 WHERE id=1"))
                .await;
        }
        pair.pull(&[]).await.ok();
        pair.assert_same().await;
    }
}

/// R2. A row that changes twice in one second has the same stamp both times.
async fn a_row_changed_again_in_the_second_of_the_last_pull_comes_again(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s))",
    )
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    let mut value = 0;
    for round in 0..3 {
        pair.source.early_in_a_second().await;
        for _ in 0..3 {
            value += 1;
            pair.source
                .run(format!("UPDATE t SET v={value} WHERE id=1"))
                .await;
            pair.pull(&["--wait=0"]).await.ok();
        }
        value += 1;
        pair.source.run(format!("UPDATE t SET v={value}")).await;
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({}, 0)", 10 + round))
            .await;
        pair.pull(&[]).await.ok();
        pair.assert_same().await;
    }
}

/// R2. The same while polling: the horizon must not stand within a second that is not over, since a
/// stamp of that second may still be given, and is the same.
async fn a_row_changed_again_in_the_second_of_the_last_poll_comes_again(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s))",
    )
    .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    let puller = pair.poll(0.05, &[]).await;
    pair.becomes_same(&["t"]).await;
    for _ in 0..3 {
        pair.source.early_in_a_second().await;
        pair.source.run("UPDATE t SET v=v+1 WHERE id=1").await;
        eventually("the end of the second", async || {
            (pair.source.number("SELECT MICROSECOND(NOW(6))").await > 850_000).then_some(())
        })
        .await;
        pair.source.run("UPDATE t SET v=v+1 WHERE id=1").await;
        pair.becomes_same(&["t"]).await;
    }
    puller.terminate().await.ok();
}

/// R4. max(stamp) would put the position into the year 2037. R11: nobody waits until then.
async fn a_future_dated_row_never_moves_the_position(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v, s) VALUES (1, 0, DEFAULT), (2, 0, '2037-12-31 00:00:00')")
        .await;
    // Another future row, put into the destination by somebody.
    pair.dest
        .run("INSERT INTO t (id, v, s) VALUES (3, 0, '2036-12-31 00:00:00')")
        .await;
    let start = Instant::now();
    let output = pair.pull(&["--wait=60"]).await.ok();
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "waited for the future"
    );
    // It is left for long: somebody should know.
    output.says(&["WARN", "not yet due"]);
    assert_eq!(pair.dest.count("t").await, 2, "rows 1 and 3");

    pair.source.run("UPDATE t SET v=1 WHERE id=1").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 0)").await;
    pair.pull(&[]).await.ok();
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id,':',v) FROM t ORDER BY id")
            .await,
        ["1:1", "3:0", "4:0"]
    );
    // Its time comes, as it were: it is an ordinary row then.
    pair.source.run("UPDATE t SET s=NOW(6) WHERE id=2").await;
    pair.pull(&[]).await.ok();
    pair.dest.run("DELETE FROM t WHERE id=3").await;
    pair.assert_same().await;
}

/// R3. A window never holds them, so they come with a pull that has no position; more of them
/// than are read at once.
async fn rows_without_a_stamp_come_with_the_first_pull(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         s TIMESTAMP(6) NULL ON UPDATE CURRENT_TIMESTAMP(6), KEY (s))",
    )
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            crate::numbers(25_000, "n, n")
        ))
        .await;
    pair.source.run("UPDATE t SET v=0 WHERE id%1000=0").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source.run("UPDATE t SET v=-1 WHERE id%1000=1").await;
    let output = pair.pull(&[]).await.ok();
    assert_eq!(output.rows("t"), 25);
    pair.assert_same().await;
}

/// R11. Nothing committed lies above the horizon of this table, so there is nothing to wait for,
/// however long the horizon is held back. R3: nothing is fetched twice, also by a new process.
async fn an_idle_pull_neither_waits_nor_transfers(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("CREATE TABLE elsewhere (id INT PRIMARY KEY)")
        .await;
    let mut writer = pair.source.session().await;
    writer.run("START TRANSACTION").await;
    writer.run("INSERT INTO elsewhere VALUES (1)").await;
    for _ in 0..2 {
        let start = Instant::now();
        let output = pair.pull(&["--wait=60", "-t", "t"]).await.ok();
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "an idle pull waited"
        );
        assert_eq!(output.rows("t"), 0);
        assert!(output.pulled("t"), "{}", output.stderr);
    }
    drop(writer);
    pair.assert_same_in(&["t"]).await;
}

/// R11. What is below the horizon comes, what is above is left with a warning, the code is 0.
async fn a_pull_held_back_goes_up_to_the_horizon_and_warns(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.serve().await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    // The second of the statement's start may be all that the server can see of it.
    pair.source.next_second().await;
    pair.source.next_second().await;
    pair.source.next_second().await;
    let mut writer = pair.source.session().await;
    let id = writer.id();
    writer.run("START TRANSACTION").await;
    writer.run("INSERT INTO t (id, v) VALUES (2, 0)").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (3, 0)").await;
    let output = pair.pull(&["--wait=1"]).await.ok();
    assert_eq!(
        pair.dest.column("SELECT id FROM t").await,
        ["1"],
        "{}",
        output.stderr
    );
    output.says(&["WARN", &id.to_string()]);
    writer.run("COMMIT").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R2. Said at the server's start, in its answers, and by the puller.
async fn without_the_process_privilege_the_horizon_is_assumed_and_said_so(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    reader_account(&pair, "").await;
    let arguments = [
        "--source-username=reader",
        "--source-password=secret",
        "--settle=2",
    ];
    pair.start_server(&arguments).await;
    pair.server().says("assumed").await;
    pair.ready().await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    let output = pair.pull(&[]).await.ok();
    assert!(
        output.pulls.iter().all(|pulled| pulled.basis == "assumed"),
        "{}",
        output.stderr
    );
    output.says(&["WARN", "assumed"]);
    pair.assert_same().await;
    let path = format!("/{}/t/", pair.source.database);
    let (status, _, body) = pair
        .curl(&["-H", "Accept: application/x-ndjson"], &path)
        .await;
    assert_eq!(status, 200);
    assert!(body.contains("\"basis\":\"assumed\""), "{body}");
    assert!(body.contains("\"settle_seconds\":2"), "{body}");

    // With it, it is proven.
    pair.source
        .run("GRANT PROCESS ON *.* TO reader@'127.0.0.1'")
        .await;
    pair.start_server(&arguments).await;
    pair.ready().await;
    let (_, _, body) = pair
        .curl(&["-H", "Accept: application/x-ndjson"], &path)
        .await;
    assert!(body.contains("\"basis\":\"proven\""), "{body}");
}

/// R2. Right without an index too, but somebody should know.
async fn an_unindexed_stamp_is_pulled_in_order_and_reported(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v, s) {}",
            crate::numbers(25_000, "n, n, '2024-01-01' + INTERVAL (n*7919)%5000 SECOND")
        ))
        .await;
    pair.pull(&[]).await.ok().says(&["CREATE INDEX"]);
    pair.assert_same().await;
    pair.source.run("UPDATE t SET v=-1 WHERE id%5000=0").await;
    let output = pair.pull(&[]).await.ok();
    assert_eq!(output.rows("t"), 5);
    pair.assert_same().await;
    let (_, _, body) = pair.curl(&[], &format!("/{}/", pair.source.database)).await;
    assert!(body.contains("\"indexed\":false"), "{body}");
}

/// The first stamp column is useless here: it always lies in the future.
async fn a_stamp_column_can_be_chosen(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         a TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
         b TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
         KEY (a), KEY (b))",
    )
    .await;
    pair.source
        .run("INSERT INTO t (id, v, a) VALUES (1, 0, '2037-01-01'), (2, 0, '2037-01-01')")
        .await;
    pair.pull(&["-t", "t.b"]).await.ok();
    pair.assert_same().await;
    pair.source
        .run("UPDATE t SET v=1, a='2037-01-01' WHERE id=1")
        .await;
    let output = pair.pull(&["-t", "t.b"]).await.ok();
    assert_eq!(output.rows("t"), 1);
    pair.assert_same().await;
    // A column that is no stamp is refused by name.
    pair.pull(&["-t", "t.v"]).await.fails_naming(&["t", "v"]);
    eventually("the chosen stamp is named in the answer", async || {
        let path = format!("/{}/t/?stamp=b", pair.source.database);
        let (status, _, body) = pair
            .curl(&["-H", "Accept: application/x-ndjson"], &path)
            .await;
        (status == 200 && body.contains("\"stamp\":\"b\"")).then_some(())
    })
    .await;
}
