//! R3 with several connections that write side by side.

use std::time::Duration;

use harness::{At, Pair, Proxy, Puller, eventually, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r3_what_is_there_is_a_prefix_at_every_moment,
    r3_a_batch_that_waits_holds_those_behind_it_back,
    r3_nothing_behind_a_refused_row_is_there,
    r3_batches_that_meet_are_written_in_order,
    r5_a_lane_that_was_left_over_is_waited_for,
    rows_that_arrive_slowly_are_written_soon,
    without_connections_for_lanes_one_writes,
);

/// Several batches for each connection.
const ROWS: u32 = 40_000;

async fn filled(pair: &Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, v VARCHAR(40), {STAMP}, {INDEXED}, UNIQUE (u))"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, u, v) {}",
            numbers(ROWS, "n, n, CONCAT('row number ', n)")
        ))
        .await;
}

/// All rows share a stamp, so that their order is that of the ids.
async fn r3_what_is_there_is_a_prefix_at_every_moment(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    let mut held = 0;
    for kill in [true, true, false] {
        let mut puller = Puller::start(&pair.puller_args(&["--parallel", "4"]));
        loop {
            let ended = puller.has_ended();
            let row = &pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await[0];
            if row[1].is_some() {
                assert_eq!(row[0], row[1], "the rows there are no prefix");
            }
            let count = pair.dest.count("t").await;
            if ended || (kill && count > held + 3_000) {
                break;
            }
        }
        if kill {
            puller.kill().await;
        } else {
            puller.end().await.ok();
        }
        held = pair.dest.count("t").await;
    }
    pair.assert_same().await;
}

/// Somebody holds a row of the second batch, the first that others are written beside: nothing behind it may be seen.
async fn r3_a_batch_that_waits_holds_those_behind_it_back(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder
        .run("INSERT INTO t (id, u) VALUES (4500, 4500)")
        .await;
    let mut puller = Puller::start(&pair.puller_args(&["--parallel", "4", "-d"]));
    // It gives up after a second, and those behind it, which were written meanwhile, are rolled back.
    puller.says("writing batches again").await;
    let row = &pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await[0];
    assert_eq!(row[0], row[1], "the rows there are no prefix");
    assert!(pair.dest.count("t").await < 4_500);
    holder.run("ROLLBACK").await;
    puller.end().await.ok();
    pair.assert_same().await;
}

async fn r3_nothing_behind_a_refused_row_is_there(mut pair: Pair) {
    filled(&pair).await;
    pair.dest
        .run("ALTER TABLE t ADD CHECK (v <> 'row number 20345')")
        .await;
    pair.serve().await;
    for lanes in ["1", "4"] {
        pair.dest.run("DELETE FROM t").await;
        pair.pull(&["--parallel", lanes])
            .await
            .fails_naming(&["20345"]);
        let row = &pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await[0];
        assert_eq!(row, &[Some(b"20344".to_vec()), Some(b"20344".to_vec())]);
    }

    pair.pull(&["--parallel", "4", "--ignore-database-errors"])
        .await
        .fails_naming(&["20345"]);
    assert_eq!(pair.dest.count("t").await, u64::from(ROWS) - 1);
}

/// Unique values that wander from batch to batch, in both directions.
async fn r3_batches_that_meet_are_written_in_order(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    pair.pull(&["--parallel", "3"]).await.ok();
    pair.source
        .script(&format!(
            "UPDATE t SET u=-u;
             UPDATE t SET u={ROWS}+1+u;
             UPDATE t SET v=CONCAT(v,'!') WHERE id%2=0;"
        ))
        .await;
    pair.pull(&["--parallel", "3"]).await.ok();
    pair.assert_same().await;
}

/// The locks of lanes that were not opened are looked at all the same: somebody may still write there.
async fn r5_a_lane_that_was_left_over_is_waited_for(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    for lanes in ["1", "2"] {
        pair.dest.run("DELETE FROM t").await;
        let mut leftover = pair.dest.session().await;
        let name = format!("dbd-writer-2:{}", pair.dest.database);
        leftover.run(format!("DO GET_LOCK('{name}', 0)")).await;
        let output = pair.pull(&["--parallel", lanes]).await.ok();
        assert!(output.stderr.contains("left a writer"), "{}", output.stderr);
        pair.assert_same().await;
    }
}

/// A source that has no more for the moment holds nothing back that came before.
async fn rows_that_arrive_slowly_are_written_soon(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    let proxy = Proxy::start(pair.server().port).await;
    let mut first = proxy.stop("/t/?", 1, At::Lines(500));
    let mut second = proxy.stop("/t/?", 1, At::Lines(1_000));
    let puller = Puller::start(&pair.puller_args(&[&proxy.flag()]));
    first.reached().await;
    // Longer than a batch is gathered for.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    first.go_on();
    second.reached().await;
    eventually("what has come is there", async || {
        (pair.dest.count("t").await > 400).then_some(())
    })
    .await;
    second.go_on();
    puller.end().await.ok();
    pair.assert_same().await;
}

/// The account may have two connections only, which are enough to write.
async fn without_connections_for_lanes_one_writes(mut pair: Pair) {
    filled(&pair).await;
    pair.dest.server.keep_from_others();
    let database = harness::quoted(&pair.dest.database);
    pair.dest
        .script(&format!(
            "CREATE USER writer@'127.0.0.1' IDENTIFIED BY '' WITH MAX_USER_CONNECTIONS 2;
             GRANT ALL ON {database}.* TO writer@'127.0.0.1';"
        ))
        .await;
    pair.serve().await;
    let output = pair.pull(&["--dest-username=writer"]).await.ok();
    assert!(
        output.stderr.contains("written on one connection"),
        "{}",
        output.stderr
    );
    pair.assert_same().await;
}
