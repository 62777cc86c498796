//! R9, R6. A key that the source spells otherwise by now, under a collation that holds both equal.

use harness::{Pair, same_flavour};

use crate::reconcile::{SYNC, did};
use crate::{INDEXED, STAMP};

same_flavour!(
    r9_a_key_that_is_spelled_otherwise_is_the_same_row,
    r9_a_spelling_that_is_not_due_leaves_the_row,
    r9_where_spellings_are_told_apart_the_old_one_goes,
);

/// A table whose keys the source compares without letter case; the destination has a column more.
async fn table(pair: &mut Pair, collation_of_dest: &str) {
    for (side, collation) in [
        (&pair.source, "utf8mb4_general_ci"),
        (&pair.dest, collation_of_dest),
    ] {
        side.run(format!(
            "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {collation} PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    }
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note INT DEFAULT 0")
        .await;
    pair.source
        .run("INSERT INTO t (k, v) VALUES ('abc', 1), ('other', 2)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("UPDATE t SET note=7, s=s").await;
}

async fn rows(pair: &Pair) -> Vec<String> {
    let rows = "SELECT CONCAT_WS(' ', k, v, note) FROM t ORDER BY v";
    pair.dest.column(rows).await
}

/// R9. It is written over, not deleted and made anew.
async fn r9_a_key_that_is_spelled_otherwise_is_the_same_row(mut pair: Pair) {
    table(&mut pair, "utf8mb4_general_ci").await;
    pair.source
        .run("UPDATE t SET k='ABC', s=s WHERE k='abc'")
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    assert_eq!(output.of("t").unwrap().0, 0, "{}", output.stderr);
    assert_eq!(rows(&pair).await, ["ABC 1 7", "other 2 7"]);
    pair.assert_same().await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
}

/// R9, R3. The new spelling must not come yet; were the old one deleted, the row would be missing.
async fn r9_a_spelling_that_is_not_due_leaves_the_row(mut pair: Pair) {
    table(&mut pair, "utf8mb4_general_ci").await;
    pair.source
        .run("UPDATE t SET k='ABC', s='2037-01-01' WHERE k='abc'")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
    assert_eq!(rows(&pair).await, ["abc 1 7", "other 2 7"]);
    pair.source
        .run("UPDATE t SET v=1, s=DEFAULT WHERE k='abc'")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
    assert_eq!(rows(&pair).await, ["ABC 1 7", "other 2 7"]);
    pair.assert_same().await;
}

/// R9. A collation that folds less than the source's is allowed at the destination: there both
/// spellings are rows of their own.
async fn r9_where_spellings_are_told_apart_the_old_one_goes(mut pair: Pair) {
    table(&mut pair, "utf8mb4_bin").await;
    pair.source
        .run("UPDATE t SET k='ABC', s=s WHERE k='abc'")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 1, 1, 0);
    assert_eq!(rows(&pair).await, ["ABC 1 0", "other 2 7"]);
    // By the window.
    pair.source.run("UPDATE t SET k='Abc' WHERE k='abc'").await;
    did(&pair.pull(&[SYNC]).await.ok(), 1, 0, 0);
    assert_eq!(rows(&pair).await, ["Abc 1 0", "other 2 7"]);
    pair.assert_same().await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
}
