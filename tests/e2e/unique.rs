//! R6. Unique values that move from row to row.

use harness::{Flavour, Pair, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(a_value_that_moves_to_a_new_row_takes_nothing_along);

/// R6. Nobody but the server knows the value of such a key: rows that are to get each other's
/// values make room all the same, and keep what only the destination has.
#[tokio::test]
async fn swapped_values_under_a_key_over_an_expression_arrive() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, email VARCHAR(40), v INT, UNIQUE ((LOWER(email))), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note INT DEFAULT 0")
        .await;
    pair.source
        .run("INSERT INTO t (id, email, v) VALUES (1,'One',1), (2,'Two',2), (3,'three',3)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("UPDATE t SET note=id, s=s").await;
    pair.source
        .script(
            "START TRANSACTION;
             UPDATE t SET email='aside' WHERE id=1;
             UPDATE t SET email='ONE' WHERE id=2;
             UPDATE t SET email='two' WHERE id=1;
             UPDATE t SET v=4 WHERE id=3;
             COMMIT;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest.column("SELECT note FROM t ORDER BY id").await,
        ["1", "2", "3"]
    );
}

/// R6. The new row comes first and meets the old one, which has the value still: were that one
/// to become the new row, it would take along what only the destination has.
async fn a_value_that_moves_to_a_new_row_takes_nothing_along(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), v INT, UNIQUE (u), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note VARCHAR(20) DEFAULT 'none'")
        .await;
    pair.source
        .run("INSERT INTO t (id, u, v) VALUES (1,'a',1), (2,'b',2)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest
        .run("UPDATE t SET note=CONCAT('note ',id), s=s")
        .await;
    pair.source
        .script(
            "UPDATE t SET u='elsewhere' WHERE id=1;
             INSERT INTO t (id, u, v) VALUES (30,'a',30);
             UPDATE t SET v=11 WHERE id=1;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id,' ',note) FROM t ORDER BY id")
            .await,
        ["1 note 1", "2 note 2", "30 none"]
    );
}
