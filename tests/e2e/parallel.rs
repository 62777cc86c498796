//! R3 with several connections that write side by side.

use harness::{Pair, Puller, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r3_what_is_there_is_a_prefix_at_every_moment,
    r3_a_batch_that_waits_holds_those_behind_it_back,
    r3_nothing_behind_a_refused_row_is_there,
    r3_batches_that_meet_are_written_in_order,
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

/// Somebody holds a row of the first batch: nothing of the batches behind it may be seen.
async fn r3_a_batch_that_waits_holds_those_behind_it_back(mut pair: Pair) {
    filled(&pair).await;
    pair.serve().await;
    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("INSERT INTO t (id, u) VALUES (500, 500)").await;
    let mut puller = Puller::start(&pair.puller_args(&["--parallel", "4", "-d"]));
    // It gives up after a second, and those behind it, which were written meanwhile, are rolled back.
    puller.says("writing batches again").await;
    assert_eq!(pair.dest.count("t").await, 0);
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
    pair.pull(&["--parallel", "4"])
        .await
        .fails_naming(&["20345"]);
    let row = &pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await[0];
    assert_eq!(row, &[Some(b"20344".to_vec()), Some(b"20344".to_vec())]);

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
