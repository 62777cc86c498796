//! R9. Which tables and columns are reconciled, and which stay as they are.

use harness::{Pair, same_flavour};

use crate::reconcile::{SYNC, did, table};
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_excluded_columns_are_not_compared,
    r9_generated_columns_are_not_compared,
    r9_a_stamp_that_was_chosen_is_the_one_that_counts,
    r9_names_of_every_kind_are_reconciled,
    r9_an_assumed_horizon_is_enough,
    r9_a_destination_that_was_never_pulled_is_not_equal,
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

/// R9, R7. They are not written either.
async fn r9_generated_columns_are_not_compared(mut pair: Pair) {
    for (side, expression) in [(&pair.source, "v+1"), (&pair.dest, "v+2")] {
        side.run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED}, \
             g INT GENERATED ALWAYS AS ({expression}) STORED, h INT GENERATED ALWAYS AS (v*2) VIRTUAL)"
        ))
        .await;
    }
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 1), (2, 2)")
        .await;
    pair.pull(&[]).await.ok();
    pair.pull(&["--verify=full"]).await.ok();
    pair.source.run("UPDATE t SET v=5, s=s WHERE id=1").await;
    let output = pair.pull(&["--verify=full", "--repair"]).await.ok();
    did(&output, 0, 0, 1);
    pair.assert_same_but(&["t"], &["g"]).await;
}

/// The first stamp is useless here: it lies in the future, and differs.
async fn r9_a_stamp_that_was_chosen_is_the_one_that_counts(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
         a TIMESTAMP(6) NOT NULL DEFAULT '2037-01-01' ON UPDATE CURRENT_TIMESTAMP(6),
         b TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
         KEY (a), KEY (b))",
    )
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 1), (2, 2), (3, 3), (4, 4), (9, 9)")
        .await;
    pair.pull(&["-t", "t.b"]).await.ok();
    pair.source.run("DELETE FROM t WHERE id=1").await;
    pair.dest
        .script(
            "DELETE FROM t WHERE id=2;
             UPDATE t SET b='2020-01-01', a=a WHERE id=3;
             UPDATE t SET a='2020-01-01', b=b WHERE id=4;",
        )
        .await;
    let output = pair.pull(&["-t", "t.b", "--verify=stamps"]).await.differs();
    assert_eq!(output.stdout.len(), 3, "{:?}", output.stdout);
    did(&pair.pull(&["-t", "t.b", SYNC]).await.ok(), 1, 1, 1);
    let flags = ["-t", "t.b", "--verify=full", "--repair"];
    did(&pair.pull(&flags).await.ok(), 0, 0, 1);
    pair.assert_same().await;
}

/// A key that is no primary key, one over the beginning of a column, and names that need quotes.
async fn r9_names_of_every_kind_are_reconciled(mut pair: Pair) {
    let odd = "a b\"c/d?e%f&g+h";
    pair.source
        .run(format!(
            "CREATE TABLE unique_key (a INT NOT NULL, b INT NOT NULL, n INT, UNIQUE `k ``1` (b, a), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.dest
        .run(format!(
            "CREATE TABLE unique_key (a INT, b INT, n INT, PRIMARY KEY (b, a), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.both(&format!(
        "CREATE TABLE beginning (k VARCHAR(30) COLLATE utf8mb4_bin, n INT, PRIMARY KEY (k(6)), {STAMP}, {INDEXED});
         CREATE TABLE `{odd}` (`k,1` INT, `ü``&=` INT, n INT, PRIMARY KEY (`k,1`, `ü``&=`), {STAMP}, {INDEXED});"
    ))
    .await;
    let quoted = format!("`{odd}`");
    let tables = [
        ("unique_key", "(a, b, n)", "n, n%7, n"),
        ("beginning", "(k, n)", "CONCAT(100000+n, ' and more'), n"),
        (quoted.as_str(), "", "n%7, n, n, '2024-01-01'"),
    ];
    for (table, columns, values) in tables {
        pair.source
            .run(format!(
                "INSERT INTO {table} {columns} {}",
                numbers(2_500, values)
            ))
            .await;
        pair.source
            .run(format!("UPDATE {table} SET n=0 WHERE n=2500"))
            .await;
    }
    pair.pull(&[]).await.ok();
    for (table, ..) in tables {
        pair.source
            .run(format!("DELETE FROM {table} WHERE n%100=1"))
            .await;
        pair.dest
            .script(&format!(
                "DELETE FROM {table} WHERE n%100=2;
                 UPDATE {table} SET s='2020-01-01' WHERE n%100=3;"
            ))
            .await;
    }
    let output = pair.pull(&[SYNC]).await.ok();
    for table in ["unique_key", "beginning", odd] {
        assert_eq!(output.of(table), Some((25, 25, 25)), "{table}");
    }
    pair.assert_same().await;
}

/// R2. Whatever is known of the horizon, deletes go up to it.
async fn r9_an_assumed_horizon_is_enough(mut pair: Pair) {
    table(&pair, 100).await;
    pair.start_server(&["--horizon=assumed", "--settle=0.2"])
        .await;
    pair.ready().await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id=5").await;
    pair.dest.run("DELETE FROM t WHERE id=6").await;
    did(&pair.pull(&[SYNC]).await.ok(), 1, 1, 0);
    pair.assert_same().await;
}

/// R9. Nothing was pulled, so there is no position up to which something were due: all of it is.
async fn r9_a_destination_that_was_never_pulled_is_not_equal(mut pair: Pair) {
    table(&pair, 100).await;
    // A comparison does not wait for what lies above the horizon.
    pair.source.next_second().await;
    for flags in [&["--verify=keys"][..], &[SYNC, "--dry-run"]] {
        let output = pair.pull(flags).await.differs();
        assert_eq!(output.stdout.len(), 100, "{flags:?}");
    }
    assert_eq!(pair.dest.count("t").await, 0);
    pair.source.run("DELETE FROM t").await;
    pair.pull(&["--verify=full"]).await.ok();
}
