//! What cannot be written, or asked for, is said; and nothing else suffers from it.

use std::time::{Duration, Instant};

use harness::{Flavour, Pair, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    only_the_refused_row_is_left_out_of_a_batch_that_swaps_values,
    a_refusal_without_a_row_number_names_the_row,
    a_table_asked_for_twice_is_refused,
);

/// R6. The other rows of the batch are written the careful way all the same.
async fn only_the_refused_row_is_left_out_of_a_batch_that_swaps_values(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), n INT, UNIQUE (u), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, u, n) VALUES (11,'a',1), (12,'b',1), (4711,'c',1), (4712,'d',1)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("ALTER TABLE t MODIFY n TINYINT").await;
    pair.source
        .script(
            "START TRANSACTION;
             UPDATE t SET u='aside' WHERE id=11;
             UPDATE t SET n=1000 WHERE id=4711;
             UPDATE t SET u='a' WHERE id=12;
             UPDATE t SET u='b' WHERE id=11;
             UPDATE t SET n=2 WHERE id=4712;
             COMMIT;",
        )
        .await;
    let output = pair
        .pull(&["--ignore-database-errors"])
        .await
        .fails_naming(&["left out", "4711"]);
    let left_out: Vec<&str> = output
        .stderr
        .lines()
        .filter(|line| line.contains("left out:"))
        .collect();
    assert_eq!(left_out.len(), 1, "{}", output.stderr);
    assert!(left_out[0].contains("key 4711"), "{}", left_out[0]);
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT_WS(' ', id, u, n) FROM t ORDER BY id")
            .await,
        ["11 b 1", "12 a 1", "4711 c 1", "4712 d 2"]
    );
}

/// R3. A violated CHECK is reported without the number of the row: it is found all the same, and
/// the table stops right before it.
async fn a_refusal_without_a_row_number_names_the_row(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest
        .run("ALTER TABLE t ADD CONSTRAINT small CHECK (v<1000)")
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(500, "n, IF(n=300, 1000, 1)")
        ))
        .await;
    pair.pull(&[])
        .await
        .fails_naming(&["row with key 300", "small"]);
    assert_eq!(
        pair.dest
            .one("SELECT CONCAT(COUNT(*), ' ', MAX(id)) FROM t")
            .await,
        "299 299"
    );
    pair.dest.run("ALTER TABLE t DROP CONSTRAINT small").await;
    assert_eq!(pair.pull(&[]).await.ok().rows("t"), 201);
    pair.assert_same().await;
}

/// Two stamp columns of one table would each have a position of their own.
async fn a_table_asked_for_twice_is_refused(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED},
           s2 TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (s2))"
    ))
    .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.pull(&["-t", "t.s", "-t", "t.s2"])
        .await
        .fails_naming(&["t", "twice"]);
    assert_eq!(pair.dest.count("t").await, 0);
    pair.pull(&["-t", "t.s2"]).await.ok();
    pair.assert_same().await;
}

/// Somebody who holds the whole table makes the pull fail in time, with what to look for. This
/// takes the minute that the puller waits.
#[tokio::test]
async fn a_table_locked_at_the_destination_ends_the_pull_in_time() {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    pair.serve().await;
    let mut holder = pair.dest.session().await;
    holder.run("LOCK TABLES t WRITE").await;
    let start = Instant::now();
    pair.pull(&[]).await.fails_naming(&["lock", "t"]);
    assert!(
        start.elapsed() < Duration::from_secs(80),
        "it took {:?}",
        start.elapsed()
    );
    holder.run("UNLOCK TABLES").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
