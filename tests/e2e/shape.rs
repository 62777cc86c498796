//! What happens when a table's shape is not what the pull began with.

use harness::{Pair, Puller, eventually, same_flavour};

use crate::crash::blocked_writer;
use crate::{INDEXED, STAMP};

same_flavour!(
    a_column_added_while_a_pull_runs_is_never_left_out_in_silence,
    a_unique_key_added_while_polling_changes_no_row_of_another_key,
    a_key_that_may_be_null_at_the_destination_is_refused,
);

/// R7, R3. A column that came after the list of tables: without its values the position would move
/// on, and no later pull would bring them.
async fn a_column_added_while_a_pull_runs_is_never_left_out_in_silence(mut pair: Pair) {
    for table in ["a", "z"] {
        pair.both(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!("INSERT INTO {table} (id, v) VALUES (1, 0), (2, 0)"))
            .await;
    }
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE a SET v=1").await;
    // One without anything new would be passed over, by what was known when the pull began.
    pair.source.run("UPDATE z SET v=1").await;
    pair.source.next_second().await;
    pair.source.next_second().await;

    // The pull of a waits for a row that somebody holds at the destination.
    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM a WHERE id=1 FOR UPDATE").await;
    let puller = Puller::start(&pair.puller_args(&["-t", "a,z"]));
    blocked_writer(&pair.dest).await;
    pair.source.run("ALTER TABLE z ADD COLUMN later INT").await;
    pair.source.run("UPDATE z SET later=5").await;
    // The changed rows are below the horizon when the pull of z begins.
    pair.source.next_second().await;
    pair.source.next_second().await;
    holder.run("ROLLBACK").await;
    puller.end().await.fails_naming(&["z", "later"]);
    pair.assert_same_in(&["a"]).await;

    pair.dest.run("ALTER TABLE z ADD COLUMN later INT").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(pair.dest.one("SELECT SUM(later) FROM z").await, "10");
}

/// R6. The puller has not seen this key when it was made, and must not trust that there is none.
async fn a_unique_key_added_while_polling_changes_no_row_of_another_key(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, email VARCHAR(40), v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, email, v) VALUES (1,'one',1), (2,'two',2)")
        .await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    puller.pulls_again("t", 1).await;
    pair.dest.run("ALTER TABLE t ADD UNIQUE (email)").await;
    pair.source
        .script(
            "START TRANSACTION;
             DELETE FROM t WHERE id=1;
             INSERT INTO t (id, email, v) VALUES (3,'one',3);
             COMMIT;",
        )
        .await;
    eventually(
        "the new row arrives and no other one has changed",
        async || {
            let rows = pair
                .dest
                .column("SELECT CONCAT_WS(' ', id, email, v) FROM t ORDER BY id")
                .await;
            assert!(
                !rows.contains(&"1 one 3".to_owned()),
                "the deleted row got the new one's values: {rows:?}"
            );
            (rows == ["2 two 2", "3 one 3"]).then_some(())
        },
    )
    .await;
    puller.terminate().await.ok();
}

/// R6. A unique key that may hold NULL takes the same row twice.
async fn a_key_that_may_be_null_at_the_destination_is_refused(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.dest
        .run(format!(
            "CREATE TABLE t (id INT NULL, v INT, UNIQUE (id), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.fails_naming(&["t", "id", "NULL"]);
    assert_eq!(
        pair.dest.count("t").await,
        0,
        "refused before a row is written"
    );
    pair.dest.run("ALTER TABLE t MODIFY id INT NOT NULL").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
