//! R9, R8, R6. Rows that hang together: foreign keys whose cascades touch no stamp, and unique values.

use harness::{Pair, same_flavour};

use crate::reconcile::{SYNC, did};
use crate::{INDEXED, STAMP};

same_flavour!(
    r9_what_a_cascade_did_arrives,
    r9_restricted_rings_and_trees_are_deleted,
    r9_a_unique_value_of_a_deleted_row_is_free,
    r9_swapped_unique_values_are_mended,
);

/// R9. A parent deleted or renumbered at the source changes its children without their stamps; the
/// destination runs no cascade (R8), and need not even have the foreign key.
async fn r9_what_a_cascade_did_arrives(mut pair: Pair) {
    let child = |table: &str, rule: &str| {
        format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, p INT, v INT, {STAMP}, {INDEXED}, KEY (p){rule});\n"
        )
    };
    let rule = |rule: &str| format!(", FOREIGN KEY (p) REFERENCES parent (id) {rule}");
    let parent = format!("CREATE TABLE parent (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n");
    let cascading = child("a_cascading", &rule("ON DELETE CASCADE ON UPDATE CASCADE"));
    let nulling = child("b_nulling", &rule("ON DELETE SET NULL ON UPDATE SET NULL"));
    let renumbered = child(
        "c_renumbered",
        &rule("ON DELETE RESTRICT ON UPDATE CASCADE"),
    );
    pair.both(&format!("{parent}{cascading}{renumbered}")).await;
    pair.source.script(&nulling).await;
    pair.dest.script(&child("b_nulling", "")).await;
    pair.source
        .script(
            "INSERT INTO parent (id) VALUES (1), (2), (3), (4);
             INSERT INTO a_cascading (id, p, v) VALUES (1,1,1), (2,2,2), (3,3,3), (4,4,4);
             INSERT INTO b_nulling (id, p, v) VALUES (1,1,1), (2,2,2), (3,3,3), (4,4,4);
             INSERT INTO c_renumbered (id, p, v) VALUES (3,3,3), (4,4,4);",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script("DELETE FROM parent WHERE id=1;\nUPDATE parent SET id=30 WHERE id=3;")
        .await;
    assert_eq!(
        pair.source
            .one("SELECT COUNT(DISTINCT s) FROM b_nulling")
            .await,
        "1",
        "a cascade moved a stamp, which this test wants to be without"
    );
    let before = pair.dest.rows("SELECT * FROM b_nulling").await;
    pair.pull(&[]).await.ok();
    assert_eq!(
        pair.dest.rows("SELECT * FROM b_nulling").await,
        before,
        "a window cannot see a cascade"
    );
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    assert_eq!(output.of("parent"), Some((2, 0, 0)));
    assert_eq!(output.of("a_cascading"), Some((1, 0, 1)));
    assert_eq!(output.of("b_nulling"), Some((0, 0, 2)));
    assert_eq!(output.of("c_renumbered"), Some((0, 0, 1)));
    // Children first.
    let order: Vec<&str> = output
        .reconciled
        .iter()
        .map(|line| line.table.as_str())
        .collect();
    assert_eq!(order.last(), Some(&"parent"), "{order:?}");
    // An excluded column is not compared, whatever a cascade does to it.
    pair.source.run("DELETE FROM parent WHERE id=2").await;
    let output = pair.pull(&[SYNC, "-x=b_nulling.p"]).await.ok();
    assert_eq!(output.of("b_nulling"), Some((0, 0, 0)));
    assert_eq!(output.of("a_cascading"), Some((1, 0, 0)));
}

/// R8. No order of deletes satisfies rings and trees, and a RESTRICT stops nothing.
async fn r9_restricted_rings_and_trees_are_deleted(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE a_parent (id INT PRIMARY KEY, {STAMP}, {INDEXED});
         CREATE TABLE b_child (id INT PRIMARY KEY, p INT NOT NULL, {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES a_parent (id) ON DELETE RESTRICT);
         CREATE TABLE tree (id INT PRIMARY KEY, up INT, {STAMP}, {INDEXED},
           FOREIGN KEY (up) REFERENCES tree (id) ON DELETE RESTRICT);
         CREATE TABLE cascading_tree (id INT PRIMARY KEY, up INT, {STAMP}, {INDEXED},
           FOREIGN KEY (up) REFERENCES cascading_tree (id) ON DELETE CASCADE);
         CREATE TABLE ring_a (id INT PRIMARY KEY, b INT, {STAMP}, {INDEXED});
         CREATE TABLE ring_b (id INT PRIMARY KEY, a INT, {STAMP}, {INDEXED},
           FOREIGN KEY (a) REFERENCES ring_a (id));
         ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b (id);"
    ))
    .await;
    pair.source
        .script(
            "INSERT INTO a_parent (id) VALUES (1), (2);
             INSERT INTO b_child (id, p) VALUES (1,1), (2,2);
             INSERT INTO tree (id, up) VALUES (1,NULL), (2,1), (3,2), (4,4), (5,NULL);
             INSERT INTO cascading_tree (id, up) VALUES (1,NULL), (2,1), (3,2), (4,NULL);
             INSERT INTO ring_a (id) VALUES (1), (2);
             INSERT INTO ring_b (id, a) VALUES (1,1), (2,2);
             UPDATE ring_a SET b=id;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script(
            "SET foreign_key_checks=0;
             DELETE FROM b_child WHERE id=1;
             DELETE FROM a_parent WHERE id=1;
             DELETE FROM tree WHERE id<=4;
             DELETE FROM ring_a WHERE id=1;
             DELETE FROM ring_b WHERE id=1;
             SET foreign_key_checks=1;
             DELETE FROM cascading_tree WHERE id=1;",
        )
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    for (table, deleted) in [
        ("a_parent", 1),
        ("b_child", 1),
        ("tree", 4),
        ("cascading_tree", 3),
        ("ring_a", 1),
        ("ring_b", 1),
    ] {
        assert_eq!(output.of(table), Some((deleted, 0, 0)), "{table}");
    }
}

async fn unique(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), UNIQUE (u), v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note INT DEFAULT 0")
        .await;
    pair.source
        .script(
            "INSERT INTO t (id, u, v) VALUES (1,'a',1), (2,'b',2), (3,'c',3), (4,'d',4), (5,'e',5);
             INSERT INTO t (id, u, v) VALUES (9,'last',9);",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("UPDATE t SET note=id, s=s").await;
}

/// R9, R6. Another row has it now: one that a window brings, and one that only this finds.
async fn r9_a_unique_value_of_a_deleted_row_is_free(mut pair: Pair) {
    unique(&mut pair).await;
    pair.source
        .script(
            "DELETE FROM t WHERE id IN (1, 2, 3);
             UPDATE t SET u='a' WHERE id=4;
             INSERT INTO t (id, u, v, s) VALUES (20,'b',20,'2020-01-01');
             UPDATE t SET u='c', s='2020-01-02' WHERE id=5;",
        )
        .await;
    // Somebody has put another value in the way.
    pair.source
        .run("INSERT INTO t (id, u, v, s) VALUES (21,'taken',21,'2020-01-03')")
        .await;
    pair.dest
        .run("INSERT INTO t (id, u, v, s) VALUES (900,'taken',900,'2020-01-03')")
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    let (deleted, fetched, repaired) = output.of("t").unwrap();
    // The window's row displaces the first one by itself.
    assert!((3..=4).contains(&deleted), "{}", output.stderr);
    assert_eq!((fetched, repaired), (2, 1), "{}", output.stderr);
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id,' ',note) FROM t ORDER BY id")
            .await,
        ["4 4", "5 5", "9 9", "20 0", "21 0"]
    );
}

/// R9, R6. No order of updates does it, and no stamp has moved; nor did the stamp of the row that
/// somebody gave a wanted value at the destination.
async fn r9_swapped_unique_values_are_mended(mut pair: Pair) {
    unique(&mut pair).await;
    pair.source
        .script(
            "UPDATE t SET u='aside', s=s WHERE id=1;
             UPDATE t SET u='a', s=s WHERE id=2;
             UPDATE t SET u='b', s=s WHERE id=1;
             UPDATE t SET u='wanted', s='2020-01-01' WHERE id=4;",
        )
        .await;
    pair.dest
        .script("UPDATE t SET u='wanted', s=s WHERE id=5;")
        .await;
    // By stamps only the row 4 differs, and the row 5 is in its way.
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 1);
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id,' ',u) FROM t WHERE id>=4 ORDER BY id")
            .await,
        ["4 wanted", "5 e", "9 last"],
        "what makes room comes back"
    );
    pair.pull(&["--verify=full", "--repair"]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest.column("SELECT note FROM t ORDER BY id").await,
        ["1", "2", "3", "4", "5", "9"]
    );
}
