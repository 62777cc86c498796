//! What is read again: where a pull begins, and a reading of everything that stops midway.

use harness::{Pair, eventually, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    many_rows_touched_at_the_destination_hide_nothing,
    a_reading_of_everything_that_stops_midway_loses_no_row,
    a_healthy_table_is_read_again_only_once,
);

/// R12. Rows that were stamped at the destination and changed at the source later prove nothing:
/// the destination never had those stamps from the source.
async fn many_rows_touched_at_the_destination_hide_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest.run("ALTER TABLE t ADD COLUMN note INT").await;
    pair.source
        .run(format!("INSERT INTO t (id, v) {}", numbers(5_000, "n, 0")))
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET v=7 WHERE id=5000").await;
    pair.source.next_second().await;
    pair.dest.run("UPDATE t SET note=1 WHERE id<=4990").await;
    pair.source.next_second().await;
    pair.source.run("UPDATE t SET v=8 WHERE id<=4990").await;
    pair.pull(&[]).await.ok();
    assert_eq!(
        pair.dest.one("SELECT v FROM t WHERE id=5000").await,
        "7",
        "the row below the touched ones was passed by"
    );
    pair.assert_same().await;
}

/// R6, R3. A row that was deleted to make room lies at or below the position that the destination
/// already has: if the reading stops before it comes again, no plain pull would bring it.
async fn a_reading_of_everything_that_stops_midway_loses_no_row(mut pair: Pair) {
    const ROWS: u32 = 5_000;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), n INT, UNIQUE (u), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, u, n) {}",
            numbers(ROWS, "n, CONCAT('value ', n), n%100")
        ))
        .await;
    pair.source
        .run("UPDATE t SET n=300, s=s WHERE id=3500")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;

    // By hand: two rows of the ends have each other's values, and a column takes less.
    pair.dest
        .script(
            "UPDATE t SET u='aside', s=s WHERE id=1;
             UPDATE t SET u='value 1', s=s WHERE id=4990;
             UPDATE t SET u='value 4990', s=s WHERE id=1;
             UPDATE t SET n=0, s=s WHERE id=3500;
             ALTER TABLE t MODIFY n TINYINT;",
        )
        .await;
    pair.pull(&["-f"]).await.fails_naming(&["t", "3500"]);
    assert_eq!(
        pair.dest.one("SELECT u FROM t WHERE id=1").await,
        "value 1",
        "it stopped behind the batch that displaced a row"
    );
    pair.dest.run("ALTER TABLE t MODIFY n INT").await;
    pair.pull(&[]).await.ok();
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id, ' ', u) FROM t WHERE id IN (1, 4990) ORDER BY id")
            .await,
        ["1 value 1", "4990 value 4990"]
    );
    assert_eq!(pair.dest.count("t").await, u64::from(ROWS));
}

/// A table that cannot be pulled is no reason to read the others from their beginning in every
/// round.
async fn a_healthy_table_is_read_again_only_once(mut pair: Pair) {
    for table in ["a_failing", "b_healthy"] {
        pair.both(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} (id, v) {}",
                numbers(200, "n, 1000")
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
    pair.dest
        .script("DELETE FROM a_failing;\nALTER TABLE a_failing MODIFY v TINYINT;")
        .await;
    pair.dest.run("DELETE FROM b_healthy WHERE id=5").await;
    pair.source.next_second().await;
    let mut puller = pair.poll(0.1, &["-f"]).await;
    pair.becomes_same(&["b_healthy"]).await;
    puller.says("a_failing").await;
    puller.pulls_again("b_healthy", 4).await;
    let read: Vec<u64> = puller
        .pulls()
        .iter()
        .filter(|pulled| pulled.table == "b_healthy")
        .map(|pulled| pulled.rows)
        .collect();
    assert_eq!(read.iter().sum::<u64>(), 200, "{read:?}");
    // And the other one is read from its beginning once it can be.
    pair.dest.run("ALTER TABLE a_failing MODIFY v INT").await;
    eventually("the mended table arrives", async || {
        (pair.dest.count("a_failing").await == 200).then_some(())
    })
    .await;
    puller.terminate().await.ok();
}
