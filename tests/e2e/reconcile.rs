//! R9. What is not the same becomes the same, and nothing else changes.

use harness::{Output, Pair, Side, quoted, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_rows_that_the_source_deleted_go,
    r9_rows_at_the_ends_of_ranges_are_compared,
    r9_a_key_that_changed_is_another_row,
    r9_a_key_that_was_inserted_again_stays,
    r9_a_change_that_kept_its_stamp_is_found_by_full_alone,
    r9_a_row_without_a_stamp_is_fetched_and_deleted,
    r9_a_stamp_of_whole_seconds_is_enough,
    r9_what_was_done_at_the_destination_is_undone,
    r9_columns_of_the_destination_alone_keep_their_values,
);

/// A one-shot pull that reconciles.
pub(crate) const SYNC: &str = "--sync-deletes";

/// The table that most tests here use.
pub(crate) async fn table(pair: &Pair, rows: u32) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id, v) {}", numbers(rows, "n, n%7")))
        .await;
}

/// So much was deleted, fetched and repaired in the table `t`.
#[track_caller]
pub(crate) fn did(output: &Output, deleted: u64, fetched: u64, repaired: u64) {
    assert_eq!(
        output.of("t"),
        Some((deleted, fetched, repaired)),
        "deleted, fetched, repaired:\n{}",
        output.stderr
    );
}

/// The differences that were printed, in an order of their own.
pub(crate) fn printed(output: &Output) -> Vec<String> {
    let mut lines = output.stdout.clone();
    lines.sort();
    lines
}

/// Everything that a database holds, to see whether anything was written.
pub(crate) async fn contents(side: &Side) -> Vec<String> {
    let tables = side
        .column("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE() ORDER BY 1")
        .await;
    let mut lines = Vec::new();
    for table in tables {
        for row in side
            .rows(&format!("SELECT * FROM {}", quoted(&table)))
            .await
        {
            lines.push(format!("{table} {row:?}"));
        }
    }
    lines.sort();
    lines
}

/// R9. Wherever they are: scattered, at either end, all but one, all.
async fn r9_rows_that_the_source_deleted_go(mut pair: Pair) {
    table(&pair, 25_000).await;
    pair.pull(&[]).await.ok();
    for what in [
        "DELETE FROM t WHERE id%101=3",
        "DELETE FROM t WHERE id<=6000",
        "DELETE FROM t WHERE id>18500",
        "DELETE FROM t WHERE id BETWEEN 9000 AND 9100",
        "DELETE FROM t WHERE id<>12345",
    ] {
        let before = pair.source.count("t").await;
        pair.source.run(what).await;
        let count = before - pair.source.count("t").await;
        let output = pair.pull(&[SYNC, "--max-deletes=100%"]).await.ok();
        pair.assert_same().await;
        assert_eq!(output.of("t"), Some((count, 0, 0)), "{what}");
    }
    pair.source.run("INSERT INTO t (id) VALUES (1), (2)").await;
    pair.pull(&[]).await.ok();
    pair.source.run("TRUNCATE t").await;
    did(&pair.pull(&[SYNC]).await.ok(), 3, 0, 0);
    assert_eq!(pair.dest.count("t").await, 0);
    // And an empty table is the same as an empty table.
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
}

/// R9. Ranges are some hundred rows long; their last and first rows are missing on this side and on
/// that, alone and in rows, and more rows than a range has stand between two keys of the source.
async fn r9_rows_at_the_ends_of_ranges_are_compared(mut pair: Pair) {
    table(&pair, 5_000).await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (9000000, 0)")
        .await;
    pair.pull(&[]).await.ok();
    for (at_the_source, at_the_destination, expected) in [
        (
            "DO 0",
            "DELETE FROM t WHERE id%100=0 AND id<9000",
            (0, 50, 0),
        ),
        (
            "DO 0",
            "DELETE FROM t WHERE id%100 IN (99, 0, 1) AND id<9000",
            (0, 150, 0),
        ),
        (
            "DO 0",
            "DELETE FROM t WHERE id BETWEEN 900 AND 2600",
            (0, 1_701, 0),
        ),
        (
            "DO 0",
            "UPDATE t SET s='2020-01-01' WHERE id%500 IN (0, 1) AND id<9000",
            (0, 0, 20),
        ),
        ("DELETE FROM t WHERE id=500", "DO 0", (1, 0, 0)),
        ("DELETE FROM t WHERE id IN (1001, 1002)", "DO 0", (2, 0, 0)),
        (
            "DELETE FROM t WHERE id IN (1, 5000)",
            "DELETE FROM t WHERE id IN (2, 4999)",
            (2, 2, 0),
        ),
        (
            "DELETE FROM t WHERE id%250 IN (0, 1) AND id<9000",
            "DO 0",
            (36, 0, 0),
        ),
        (
            "DELETE FROM t WHERE id BETWEEN 100 AND 4700",
            "INSERT INTO t (id, v, s) SELECT 1000000+id, v, '2020-01-01' FROM t WHERE id<9000",
            (0, 0, 0),
        ),
    ] {
        let (before, extra) = (pair.source.count("t").await, pair.dest.count("t").await);
        pair.source.run(at_the_source).await;
        pair.dest.run(at_the_destination).await;
        let output = pair.pull(&[SYNC]).await.ok();
        pair.assert_same().await;
        if expected == (0, 0, 0) {
            let gone = before - pair.source.count("t").await + extra - 1;
            did(&output, gone, 0, 0);
        } else {
            assert_eq!(
                output.of("t"),
                Some(expected),
                "{at_the_source}, {at_the_destination}"
            );
        }
    }
}

/// R9. The old key goes and the new one comes, whether or not the stamp moved.
async fn r9_a_key_that_changed_is_another_row(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET id=1000 WHERE id=50").await;
    pair.source.run("UPDATE t SET id=-7, s=s WHERE id=60").await;
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    did(&output, 2, 1, 0);
}

/// R9. It is the same key: a row like others if the stamp moved, a difference if it did not.
async fn r9_a_key_that_was_inserted_again_stays(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source
        .script(
            "DELETE FROM t WHERE id IN (5, 6, 7);
             INSERT INTO t (id, v) VALUES (5, 500);
             INSERT INTO t (id, v, s) VALUES (6, 600, '2020-01-01');",
        )
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    did(&output, 1, 0, 1);
}

/// R9. `SET s=s`: no stamp shows it.
async fn r9_a_change_that_kept_its_stamp_is_found_by_full_alone(mut pair: Pair) {
    table(&pair, 3_000).await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("UPDATE t SET v=99, s=s WHERE id IN (3, 2999)")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
    assert_eq!(pair.differences(&["t"], &[]).await.len(), 2);
    pair.pull(&["--verify=stamps"]).await.ok();
    let output = pair.pull(&["--verify=full"]).await.differs();
    assert_eq!(printed(&output), ["t\t[2999]\tdiffers", "t\t[3]\tdiffers"]);
    let output = pair.pull(&["--verify=full", "--repair"]).await.ok();
    did(&output, 0, 0, 2);
    pair.assert_same().await;
    pair.pull(&["--verify=full"]).await.ok();
}

/// R9, R3. A row whose writer left the stamp NULL is below every window; behind a position none
/// brings it.
async fn r9_a_row_without_a_stamp_is_fetched_and_deleted(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         s TIMESTAMP(6) NULL ON UPDATE CURRENT_TIMESTAMP(6), KEY (s))",
    )
    .await;
    pair.source
        .script(&format!(
            "INSERT INTO t (id, v) {};
             UPDATE t SET v=1 WHERE id IN (50, 51);",
            numbers(100, "n, n")
        ))
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script(
            "INSERT INTO t (id, v) VALUES (200, 0), (201, 0);
             UPDATE t SET s=NULL WHERE id=50;
             DELETE FROM t WHERE id=7;",
        )
        .await;
    pair.pull(&[]).await.ok();
    assert_eq!(pair.differences(&["t"], &[]).await.len(), 4, "the windows");
    did(&pair.pull(&[SYNC]).await.ok(), 1, 2, 1);
    pair.assert_same().await;
}

/// R9. The horizon lies within a second; rows of that second are left to the window.
async fn r9_a_stamp_of_whole_seconds_is_enough(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s))",
    )
    .await;
    for id in 1..=3 {
        pair.source.early_in_a_second().await;
        pair.source
            .run(format!(
                "INSERT INTO t (id, v) VALUES ({id}, 0), ({id}0, 0)"
            ))
            .await;
        pair.pull(&[SYNC]).await.ok();
        pair.assert_same().await;
        pair.source
            .script(&format!(
                "UPDATE t SET v=v+1;
                 DELETE FROM t WHERE id={id}0;"
            ))
            .await;
        did(&pair.pull(&[SYNC]).await.ok(), 1, 0, 0);
        pair.assert_same().await;
    }
}

/// R9, R12. Rows that somebody added, changed or deleted there.
async fn r9_what_was_done_at_the_destination_is_undone(mut pair: Pair) {
    table(&pair, 3_000).await;
    pair.pull(&[]).await.ok();
    pair.source.next_second().await;
    pair.dest
        .script(
            "INSERT INTO t (id, v) VALUES (0, 0), (10000, 0);
             INSERT INTO t (id, v, s) VALUES (10001, 0, '2037-01-01'), (10002, 0, '2001-01-01');
             DELETE FROM t WHERE id BETWEEN 1000 AND 1004;
             UPDATE t SET v=-1 WHERE id IN (1, 2990);
             UPDATE t SET s='2037-01-01' WHERE id=2000;",
        )
        .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (4000, 0)")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 4, 5, 3);
    pair.assert_same().await;
}

/// R9. A repaired row is updated, not made anew.
async fn r9_columns_of_the_destination_alone_keep_their_values(mut pair: Pair) {
    table(&pair, 100).await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'none' FIRST")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest
        .script(
            "UPDATE t SET note=CONCAT('note ', id), s=s;
             DELETE FROM t WHERE id=10;",
        )
        .await;
    pair.source
        .script(
            "UPDATE t SET v=99, s='2020-01-01' WHERE id=20;
             UPDATE t SET v=99, s=s WHERE id=30;",
        )
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 1, 1);
    did(
        &pair.pull(&["--verify=full", "--repair"]).await.ok(),
        0,
        0,
        1,
    );
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT note FROM t WHERE id IN (10, 20, 30, 40) ORDER BY id")
            .await,
        ["none", "note 20", "note 30", "note 40"]
    );
}
