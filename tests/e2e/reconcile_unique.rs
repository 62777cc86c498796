//! R9, R6, R3. Unique values that rows pass on to each other, and no stamp shows it.

use harness::{Pair, same_flavour};

use crate::reconcile::did;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_a_row_that_is_not_due_is_not_displaced,
    r9_a_row_that_is_due_makes_room,
    r9_a_long_chain_of_unique_values_is_mended,
);

/// Compares every column, and mends what differs.
const REPAIR: [&str; 2] = ["--verify=full", "--repair"];

async fn table(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, v INT, UNIQUE (u), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, u, v) VALUES (1,1,1), (2,2,2), (3,3,3)")
        .await;
    pair.pull(&[]).await.ok();
}

async fn rows(pair: &Pair) -> Vec<String> {
    let rows = "SELECT CONCAT_WS(' ', id, u, v) FROM t ORDER BY id";
    pair.dest.column(rows).await
}

/// R9, R3. Its change is stamped above the horizon and must not come yet, and without the change its
/// value is not free: the row that wants the value waits, and no other does.
async fn r9_a_row_that_is_not_due_is_not_displaced(mut pair: Pair) {
    table(&mut pair).await;
    pair.source
        .script(
            "UPDATE t SET u=10, s='2037-01-01' WHERE id=1;
             UPDATE t SET u=1, s=s WHERE id=2;
             UPDATE t SET v=30, s=s WHERE id=3;",
        )
        .await;
    let output = pair.pull(&REPAIR).await;
    let output = output.fails_naming(&["t", "unique values", "until the next pull"]);
    did(&output, 0, 0, 1);
    assert_eq!(rows(&pair).await, ["1 1 1", "2 2 2", "3 3 30"]);
    // Now it is due.
    pair.source
        .run("UPDATE t SET s=DEFAULT, v=11 WHERE id=1")
        .await;
    pair.pull(&REPAIR).await.ok();
    pair.assert_same().await;
}

/// R9, R6. The same where the first row's change kept its stamp.
async fn r9_a_row_that_is_due_makes_room(mut pair: Pair) {
    table(&mut pair).await;
    pair.dest
        .script("ALTER TABLE t ADD COLUMN note INT DEFAULT 0;\nUPDATE t SET note=id, s=s;")
        .await;
    pair.source
        .script(
            "UPDATE t SET u=10, s=s WHERE id=1;
             UPDATE t SET u=1, s=s WHERE id=2;",
        )
        .await;
    did(&pair.pull(&REPAIR).await.ok(), 0, 0, 2);
    pair.assert_same().await;
    assert_eq!(
        pair.dest.column("SELECT note FROM t ORDER BY id").await,
        ["1", "2", "3"]
    );
}

/// R9, R6. Each row wants what the next one holds, further than one request or one batch reaches.
async fn r9_a_long_chain_of_unique_values_is_mended(mut pair: Pair) {
    const ROWS: u32 = 5_000;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT, UNIQUE (u), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id, u) {}", numbers(ROWS, "n, n")))
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("UPDATE t SET u=u+1, s=s ORDER BY u DESC")
        .await;
    did(&pair.pull(&REPAIR).await.ok(), 0, 0, ROWS.into());
    pair.assert_same().await;
}
