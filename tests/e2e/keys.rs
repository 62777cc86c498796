//! R6, R8. Which row a row is: its key decides, and nothing else does.

use harness::{Pair, every_direction, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(
    displaced_rows_keep_what_only_the_destination_has,
    a_displaced_row_that_the_source_deleted_stays_away,
    a_table_without_a_key_is_named_and_the_others_are_pulled,
    a_unique_key_that_is_never_null_is_a_key,
    foreign_keys_never_stop_a_pull,
    a_collation_that_folds_keys_is_refused,
);
every_direction!(
    swapped_unique_values_arrive,
    a_key_can_change_its_letter_case,
    keys_of_many_shapes_update_their_row
);

async fn unique(pair: &Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20), w INT, UNIQUE (u), UNIQUE (w), {STAMP}, {INDEXED})"
    ))
    .await;
}

/// R6. With plain updates by key the first of the two would meet the other's value, and stop the table.
async fn swapped_unique_values_arrive(mut pair: Pair) {
    unique(&pair).await;
    pair.source
        .run("INSERT INTO t (id, u, w) VALUES (1,'a',1), (2,'b',2), (3,'c',3), (4,'d',4), (5,'e',5), (6,NULL,6), (7,NULL,7)")
        .await;
    pair.pull(&[]).await.ok();
    // A swap, all of one stamp and each of its own.
    pair.source
        .script(
            "START TRANSACTION;
             UPDATE t SET u='tmp' WHERE id=1;
             UPDATE t SET u='a' WHERE id=2;
             UPDATE t SET u='b' WHERE id=1;
             COMMIT;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    // A chain that goes down, one that goes up, and a ring of three.
    pair.source
        .script(
            "UPDATE t SET u='f' WHERE id=5;
             UPDATE t SET u='e' WHERE id=4;
             UPDATE t SET u='d' WHERE id=3;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script(
            "UPDATE t SET w=10 WHERE id=1;
             UPDATE t SET w=1 WHERE id=2;
             UPDATE t SET w=2 WHERE id=3;
             UPDATE t SET w=3 WHERE id=1;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    // A row whose both values belong to two others.
    pair.source
        .script(
            "UPDATE t SET u='x', w=100 WHERE id=3;
             UPDATE t SET u='y', w=101 WHERE id=4;
             INSERT INTO t (id, u, w) SELECT 20, 'd', 4;
             UPDATE t SET u='e', w=2 WHERE id=5;
             UPDATE t SET u='f', w=5 WHERE id=6;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    // The value moves to a new row, and the old one gets another later than the pull.
    pair.source.run("UPDATE t SET u='later' WHERE id=20").await;
    pair.source
        .run("INSERT INTO t (id, u, w) VALUES (30, 'd', 30)")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .run("UPDATE t SET u=CONCAT(u,'!'), w=w+1 ORDER BY w DESC")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R6. The destination may have more columns and keeps their values.
async fn displaced_rows_keep_what_only_the_destination_has(mut pair: Pair) {
    unique(&pair).await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note VARCHAR(20) DEFAULT 'none', ADD COLUMN more BLOB")
        .await;
    pair.source
        .run("INSERT INTO t (id, u, w) VALUES (1,'a',1), (2,'b',2), (3,'c',3)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest
        .run("UPDATE t SET note=CONCAT('note ',id), more=x'00FF27', s=s")
        .await;
    pair.source
        .script(
            "START TRANSACTION;
             UPDATE t SET u='tmp' WHERE id=1;
             UPDATE t SET u='a' WHERE id=2;
             UPDATE t SET u='b' WHERE id=1;
             COMMIT;
             UPDATE t SET w=33 WHERE id=3;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id,' ',note,' ',HEX(more)) FROM t ORDER BY id")
            .await,
        ["1 note 1 00FF27", "2 note 2 00FF27", "3 note 3 00FF27"]
    );
}

/// R6. It cannot be fetched again, and the value belongs to another row now.
async fn a_displaced_row_that_the_source_deleted_stays_away(mut pair: Pair) {
    unique(&pair).await;
    pair.source
        .run("INSERT INTO t (id, u, w) VALUES (1,'a',1), (2,'b',2)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id=1").await;
    pair.source
        .run("INSERT INTO t (id, u, w) VALUES (3,'a',1)")
        .await;
    pair.source.run("UPDATE t SET w=20 WHERE id=2").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R6. 'a' becomes 'A': the same key under the collation, another text. The destination's own
/// columns stay.
async fn a_key_can_change_its_letter_case(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN note INT DEFAULT 0")
        .await;
    pair.source
        .run("INSERT INTO t (k, v) VALUES ('abc', 1), ('déjà', 2), ('x', 3)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("UPDATE t SET note=v, s=s").await;
    pair.source.run("UPDATE t SET k='ABC' WHERE k='abc'").await;
    pair.source
        .run("UPDATE t SET k='DEJA', v=4 WHERE v=2")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(k,note) FROM t ORDER BY v")
            .await,
        ["ABC1", "x3", "DEJA2"]
    );
}

/// Keys that are awkward to compare: a changed row is the same row, not another one.
async fn keys_of_many_shapes_update_their_row(mut pair: Pair) {
    let tables = [
        (
            "f",
            "k FLOAT PRIMARY KEY",
            "(0.1), (16777216), (3.4e38), (-1.5)",
        ),
        (
            "d",
            "k DOUBLE PRIMARY KEY",
            "(0.1), (1e-300), (0.30000000000000004)",
        ),
        (
            "e",
            "k ENUM('b','a') COLLATE utf8mb4_bin PRIMARY KEY",
            "('a'), ('b')",
        ),
        (
            "st",
            "k SET('b','a') COLLATE utf8mb4_bin PRIMARY KEY",
            "('a'), ('b,a'), ('')",
        ),
        (
            "c",
            "k DECIMAL(30,5) PRIMARY KEY",
            "(1.00001), (-1), (9999999999999999999999999.99999)",
        ),
        (
            "vb",
            "k VARBINARY(20) PRIMARY KEY",
            "(x'00'), (x'0000'), (x''), (x'275C'), (x'FF')",
        ),
        (
            "b",
            "k BINARY(2) PRIMARY KEY",
            "(x'00'), (x'0001'), (x'2020')",
        ),
        ("bi", "k BIT(12) PRIMARY KEY", "(0), (4095), (39)"),
        (
            "ti",
            "k TIME(6) PRIMARY KEY",
            "('-838:59:59'), ('00:00:00.000001')",
        ),
        ("da", "k DATE PRIMARY KEY", "('0000-00-00'), ('9999-12-31')"),
        ("y", "k YEAR PRIMARY KEY", "(0), (2155)"),
        (
            "ch",
            "k CHAR(5) COLLATE utf8mb4_bin PRIMARY KEY",
            "('a'), (''), ('é')",
        ),
        (
            "ts",
            "k TIMESTAMP(3) NOT NULL DEFAULT '2024-01-01' PRIMARY KEY",
            "('2024-10-27 00:30:00'), ('2024-10-27 01:30:00.001')",
        ),
        (
            "big",
            "k BIGINT UNSIGNED PRIMARY KEY",
            "(18446744073709551615), (0)",
        ),
        (
            "two",
            "k VARCHAR(5) COLLATE utf8mb4_bin, l INT NOT NULL DEFAULT 7, PRIMARY KEY (l, k)",
            "('a'), ('b')",
        ),
    ];
    for (name, key, values) in tables {
        pair.both(&format!(
            "CREATE TABLE {name} ({key}, v INT DEFAULT 0, {STAMP}, KEY (s))"
        ))
        .await;
        pair.source
            .run(format!("INSERT INTO {name} (k) VALUES {values}"))
            .await;
    }
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    for (name, ..) in tables {
        pair.source.run(format!("UPDATE {name} SET v=v+1")).await;
    }
    let output = pair.pull(&[]).await.ok();
    pair.assert_same().await;
    for (name, _, values) in tables {
        assert_eq!(
            output.rows(name),
            values.matches('(').count() as u64,
            "{name}"
        );
    }
    assert_eq!(
        pair.pull(&[])
            .await
            .ok()
            .pulls
            .iter()
            .map(|pulled| pulled.rows)
            .sum::<u64>(),
        0
    );
}

/// R6. It is listed with the reason; asking for it by name is an error.
async fn a_table_without_a_key_is_named_and_the_others_are_pulled(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE a_bare (v INT, {STAMP});
         CREATE TABLE b_nullable (v INT, UNIQUE (v), {STAMP});
         CREATE TABLE t (id INT PRIMARY KEY, {STAMP});"
    ))
    .await;
    pair.source.run("INSERT INTO a_bare (v) VALUES (1)").await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.pull(&[])
        .await
        .fails_naming(&["a_bare", "b_nullable", "key"]);
    pair.assert_same_in(&["t"]).await;
    pair.pull(&["-t", "a_bare"])
        .await
        .fails_naming(&["a_bare", "key"]);
    assert_eq!(pair.dest.count("a_bare").await, 0);
    // Whoever leaves it out knows about it.
    pair.pull(&["--exclude-tables=a_bare,b_nullable"])
        .await
        .ok();
    pair.pull(&["-t", "t"]).await.ok();
    pair.pull(&["-t", "t,nothing"])
        .await
        .fails_naming(&["nothing"]);
}

async fn a_unique_key_that_is_never_null_is_a_key(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (a INT NOT NULL, b VARCHAR(10) NOT NULL COLLATE utf8mb4_bin, v INT, maybe INT, \
         UNIQUE maybes (maybe), UNIQUE pairs (a, b), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (a, b, v) VALUES (1,'x',0), (1,'y',0), (2,'x',0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("UPDATE t SET v=1, maybe=1 WHERE a=1 AND b='x'")
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("UPDATE t SET maybe=NULL WHERE a=1 AND b='x'")
        .await;
    pair.source.run("UPDATE t SET maybe=1 WHERE a=2").await;
    pair.pull(&[]).await.ok();
    for column in ["a", "b", "v", "maybe", "s"] {
        let sql = format!("SELECT {column} FROM t ORDER BY a, b");
        assert_eq!(
            pair.source.column(&sql).await,
            pair.dest.column(&sql).await,
            "{column}"
        );
    }
    assert_eq!(pair.dest.count("t").await, 3);
}

/// R8. Neither order nor rule matters, and no cascade runs because of an upsert.
async fn foreign_keys_never_stop_a_pull(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE parent (id INT PRIMARY KEY, code VARCHAR(10) NOT NULL, UNIQUE (code), v INT, {STAMP}, {INDEXED});
         CREATE TABLE cascading (id INT PRIMARY KEY, p INT, c VARCHAR(10), {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE,
           FOREIGN KEY (c) REFERENCES parent (code) ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE nulling (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE SET NULL);
         CREATE TABLE restricted (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES parent (id) ON DELETE RESTRICT ON UPDATE RESTRICT);
         CREATE TABLE tree (id INT PRIMARY KEY, up INT, u INT, UNIQUE (u), {STAMP}, {INDEXED},
           FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE);
         CREATE TABLE ring_a (id INT PRIMARY KEY, b INT, {STAMP}, {INDEXED});
         CREATE TABLE ring_b (id INT PRIMARY KEY, a INT, {STAMP}, {INDEXED},
           FOREIGN KEY (a) REFERENCES ring_a (id) ON DELETE CASCADE);
         ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b (id) ON DELETE CASCADE;"
    ))
    .await;
    pair.source
        .script(
            "INSERT INTO parent (id, code, v) VALUES (1,'a',0), (2,'b',0);
             INSERT INTO cascading (id, p, c) VALUES (1,1,'a'), (2,2,'b'), (3,NULL,NULL);
             INSERT INTO nulling (id, p) VALUES (1,1), (2,2);
             INSERT INTO restricted (id, p) VALUES (1,1), (2,2);
             INSERT INTO tree (id, up, u) VALUES (1,NULL,1), (2,1,2), (3,2,3), (4,4,4);
             UPDATE tree SET up=3 WHERE id=1;
             INSERT INTO ring_a (id) VALUES (1), (2);
             INSERT INTO ring_b (id, a) VALUES (1,1), (2,2);
             UPDATE ring_a SET b=id;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    // The children first, then the parents: what a pull in another order would meet.
    pair.source
        .run("INSERT INTO parent (id, code, v) VALUES (3,'c',0)")
        .await;
    pair.source
        .run("INSERT INTO cascading (id, p, c) VALUES (10,3,'c')")
        .await;
    pair.source
        .run("INSERT INTO restricted (id, p) VALUES (10,3)")
        .await;
    pair.pull(&["-t", "cascading,restricted,parent"]).await.ok();
    pair.assert_same().await;
    // A parent updated after its child was pulled; unique values swapped, so that it is displaced.
    pair.source
        .script(
            "SET foreign_key_checks=0;
             UPDATE parent SET v=1 WHERE id=1;
             UPDATE parent SET code='tmp' WHERE id=1;
             UPDATE parent SET code='a' WHERE id=2;
             UPDATE parent SET code='b' WHERE id=1;
             UPDATE tree SET u=9 WHERE id=1;
             UPDATE tree SET u=1 WHERE id=2;
             UPDATE tree SET u=2 WHERE id=1;
             UPDATE ring_a SET b=3-id;
             SET foreign_key_checks=1;",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R6. Two keys of the source would be one at the destination, and one row be lost.
async fn a_collation_that_folds_keys_is_refused(mut pair: Pair) {
    let table = |collation: &str| {
        format!(
            "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {collation} PRIMARY KEY, v INT, {STAMP})"
        )
    };
    pair.both(&format!("CREATE TABLE other (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.source.run(table("utf8mb4_bin")).await;
    pair.dest.run(table("utf8mb4_general_ci")).await;
    pair.source
        .run("INSERT INTO t (k, v) VALUES ('a', 1), ('A', 2)")
        .await;
    pair.source.run("INSERT INTO other (id) VALUES (1)").await;
    pair.pull(&[]).await.fails_naming(&["t", "k", "collat"]);
    assert_eq!(
        pair.dest.count("t").await,
        0,
        "refused before a row is written"
    );
    pair.assert_same_in(&["other"]).await;
    pair.dest
        .run("ALTER TABLE t MODIFY k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
