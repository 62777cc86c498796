//! The harness would see a difference, and leaves nothing behind.

use harness::{Pair, every_direction};

every_direction!(a_difference_is_seen);

/// A comparison that sees nothing would let every other test pass.
async fn a_difference_is_seen(pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, d DOUBLE, v VARCHAR(10), l VARCHAR(10) CHARACTER SET latin1,
         b VARBINARY(10), e ENUM('a','b'), j JSON, g GEOMETRY, n DECIMAL(10,2), s TIMESTAMP(6) NULL);
         INSERT INTO t VALUES (1, 0.1, 0.1, 'a', 'é', x'00ff', 'a', '[1]', ST_GeomFromText('POINT(1 2)'), 1, '2024-01-01');
         INSERT INTO t (id) VALUES (2);",
    )
    .await;
    pair.assert_same().await;
    for (change, column) in [
        ("f=0.10000001", "f"),
        ("d=0.10000000000000002", "d"),
        ("v='A'", "v"),
        ("v='a '", "v"),
        ("v=NULL", "v"),
        ("l='e'", "l"),
        ("b=x'00'", "b"),
        ("e='b'", "e"),
        ("j='[2]'", "j"),
        ("g=ST_GeomFromText('POINT(2 1)')", "g"),
        ("g=ST_GeomFromText('POINT(1 2)',4326)", "g"),
        ("n=1.01", "n"),
        ("s='2024-01-01 00:00:00.000001'", "s"),
    ] {
        pair.dest.run("START TRANSACTION").await;
        pair.dest
            .run(format!("UPDATE t SET {change} WHERE id=1"))
            .await;
        let differences = pair.differences(&["t"], &[]).await;
        assert_eq!(differences.len(), 1, "{change}: {differences:?}");
        assert!(
            differences[0].contains(&format!(": {column} is ")),
            "{differences:?}"
        );
        assert!(pair.differences(&["t"], &[column]).await.is_empty());
        pair.dest.run("ROLLBACK").await;
    }
    pair.dest.run("INSERT INTO t (id) VALUES (3)").await;
    pair.dest.run("DELETE FROM t WHERE id=2").await;
    assert_eq!(pair.differences(&["t"], &[]).await.len(), 2);
}
