//! R9. What is not reconciled stays as it is.

use harness::{Pair, same_flavour};

use crate::reconcile::{SYNC, did, table};
use crate::{INDEXED, STAMP};

same_flavour!(
    r9_excluded_columns_are_not_compared,
    r9_tables_that_are_not_pulled_are_not_reconciled,
    r9_without_the_flag_nothing_is_deleted,
);

/// R9. They may differ, or be missing at the destination.
async fn r9_excluded_columns_are_not_compared(mut pair: Pair) {
    table(&pair, 100).await;
    pair.source
        .script("ALTER TABLE t ADD COLUMN secret INT DEFAULT 1, ADD COLUMN w INT DEFAULT 1;")
        .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN w INT DEFAULT 2")
        .await;
    let excluded = "-x=secret,t.w";
    pair.pull(&[excluded]).await.ok();
    pair.pull(&[excluded, "--verify=full"]).await.ok();
    pair.source
        .script(
            "UPDATE t SET secret=3, s=s WHERE id=5;
             UPDATE t SET v=3, s=s WHERE id=6;
             DELETE FROM t WHERE id=7;",
        )
        .await;
    let output = pair
        .pull(&[excluded, "--verify=full", "--repair"])
        .await
        .ok();
    did(&output, 1, 0, 1);
    pair.assert_same_but(&["t"], &["secret", "w"]).await;
    assert_eq!(pair.dest.one("SELECT SUM(w) FROM t").await, "198");
    pair.pull(&[excluded, "--verify=full"]).await.ok();
}

/// R9. What cannot be pulled, or was not asked for, keeps every row; the others are reconciled.
async fn r9_tables_that_are_not_pulled_are_not_reconciled(mut pair: Pair) {
    table(&pair, 10).await;
    pair.both(&format!(
        "CREATE TABLE a_refused (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE b_keyless (v INT, {STAMP}, {INDEXED});
         CREATE TABLE c_stampless (id INT PRIMARY KEY);
         CREATE TABLE d_left_out (id INT PRIMARY KEY, {STAMP}, {INDEXED});"
    ))
    .await;
    pair.dest
        .script(
            "ALTER TABLE a_refused MODIFY v TINYINT;
             INSERT INTO a_refused (id, v) VALUES (1, 1), (2, 2);
             INSERT INTO b_keyless (v) VALUES (1);
             INSERT INTO c_stampless VALUES (1);
             INSERT INTO d_left_out (id) VALUES (1);
             INSERT INTO t (id) VALUES (100);",
        )
        .await;
    pair.source
        .run("INSERT INTO a_refused (id, v) VALUES (2, 2), (3, 1000)")
        .await;
    let output = pair
        .pull(&[SYNC, "--exclude-tables=d_left_out"])
        .await
        .fails_naming(&["a_refused", "b_keyless", "c_stampless"]);
    did(&output, 1, 0, 0);
    pair.assert_same_in(&["t"]).await;
    for (table, rows) in [
        ("a_refused", 2),
        ("b_keyless", 1),
        ("c_stampless", 1),
        ("d_left_out", 1),
    ] {
        assert_eq!(pair.dest.count(table).await, rows, "{table}");
        assert_eq!(output.of(table), None, "{table}");
    }
    pair.dest.run("INSERT INTO t (id) VALUES (100)").await;
    pair.pull(&[SYNC, "-t", "d_left_out"]).await.ok();
    assert_eq!(pair.dest.count("d_left_out").await, 0);
    assert_eq!(pair.dest.count("t").await, 11, "it was not asked for");
}

/// R9. Deletes are propagated only for who asks.
async fn r9_without_the_flag_nothing_is_deleted(mut pair: Pair) {
    table(&pair, 10).await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id>5").await;
    let output = pair
        .pull(&[])
        .await
        .ok()
        .says(&["deletes", "--sync-deletes"]);
    assert!(output.reconciled.is_empty(), "{}", output.stderr);
    assert_eq!(pair.dest.count("t").await, 10);
}
