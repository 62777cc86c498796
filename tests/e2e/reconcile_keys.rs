//! R9. Whatever a key is made of, and whatever the two servers think of its order.

use harness::{Pair, Side, every_direction, same_flavour};

use crate::crash::KEYS;
use crate::reconcile::{SYNC, did, printed};
use crate::{INDEXED, STAMP, numbers};

every_direction!(
    r9_keys_of_every_kind_are_told_apart,
    r9_text_keys_are_told_apart_by_their_bytes,
    r9_a_key_that_changed_its_letter_case_is_another_key,
    r9_what_was_pulled_is_no_difference,
);
same_flavour!(r9_the_order_of_key_columns_may_differ);

/// How many rows each kind of key gets. Several ranges of keys.
const ROWS: u32 = 2_500;

/// Kinds beyond those of [`KEYS`]: the table's name, the key's columns, their names, and their values
/// for n.
const MORE: &[(&str, &str, &str, &str)] = &[
    ("m_nul", "k BINARY(4)", "k", "UNHEX(LPAD(HEX(n*256),8,'0'))"),
    (
        "m_nuls",
        "k VARBINARY(12)",
        "k",
        "CONCAT(UNHEX(LPAD(HEX(n DIV 4),4,'0')), UNHEX(REPEAT('00',n%4)))",
    ),
    ("m_bit", "k BIT(16)", "k", "n*25"),
    ("m_year", "k YEAR, l INT", "k, l", "1901+n%150, -n"),
    (
        "m_zero",
        "k DATE, l INT UNSIGNED",
        "k, l",
        "ELT(1+n%3,'0000-00-00','2024-02-29','9999-12-31'), 4294967295-n",
    ),
    ("m_time", "k TIME(6)", "k", "SEC_TO_TIME((n-1200)*1000.25)"),
    (
        "m_stamp",
        "k TIMESTAMP(3) NOT NULL DEFAULT '2024-01-01'",
        "k",
        "'2024-10-27 00:30:00' + INTERVAL n*1001 SECOND",
    ),
    (
        "m_odd",
        "k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "k",
        "CONCAT(ELT(1+n%11,'a','A','é','😀','😁','\"','''','\\\\','%_','\\t','\\n'), n)",
    ),
    (
        "m_long",
        "k VARCHAR(700) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "k",
        "CONCAT(REPEAT('日本',340), n)",
    ),
    (
        "m_three",
        "a TINYINT, b DECIMAL(8,3), c VARBINARY(9)",
        "c, a, b",
        "CAST(n%7 AS BINARY), n%5-2, n*-1.125",
    ),
];

/// R9. A deleted row, a lost one and one that differs, in tables with every kind of key.
async fn r9_keys_of_every_kind_are_told_apart(mut pair: Pair) {
    let kinds: Vec<_> = KEYS.iter().chain(MORE).collect();
    for (table, definition, columns, values) in &kinds {
        pair.both(&format!(
            "CREATE TABLE {table} ({definition}, n INT, {STAMP}, PRIMARY KEY ({columns}), {INDEXED})"
        ))
        .await;
        pair.source
            .script(&format!(
                "INSERT INTO {table} ({columns}, n) {};
                 UPDATE {table} SET n=0 WHERE n={ROWS};",
                numbers(ROWS, &format!("{values}, n"))
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.pull(&["--verify=full"]).await.ok();
    for (table, ..) in &kinds {
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
    pair.assert_same().await;
    for (table, ..) in &kinds {
        assert_eq!(output.of(table), Some((25, 25, 25)), "{table}");
    }
}

/// A collation that tells everything apart, at its end too.
fn exact(side: &Side) -> &'static str {
    match side.is_mysql() {
        true => "utf8mb4_0900_bin",
        false => "utf8mb4_nopad_bin",
    }
}

/// R9. Case, accents, ligatures, spaces at the end, and emoji that older collations hold equal.
async fn r9_text_keys_are_told_apart_by_their_bytes(mut pair: Pair) {
    for side in [&pair.source, &pair.dest] {
        side.run(format!(
            "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {} PRIMARY KEY, v INT, {STAMP}, {INDEXED})",
            exact(side)
        ))
        .await;
    }
    let keys = [
        "a", "A", "a ", "a  ", "á", "a\u{301}", "ß", "ss", "SS", "😀", "😁", "", " ", "fi", "ﬁ",
        "K", "\u{212a}", "z",
    ];
    // Each alone goes and stays, so that none is taken for another.
    let rows: Vec<String> = keys.iter().map(|key| format!("('{key}', 0)")).collect();
    let rows = format!("INSERT INTO t (k, v) VALUES {}", rows.join(", "));
    pair.source.run(rows).await;
    pair.source
        .run("INSERT INTO t (k, v) VALUES ('last', 0)")
        .await;
    pair.pull(&[]).await.ok();
    let is_odd = |at: &usize| at % 2 == 1;
    for parity in [0, 1] {
        let chosen: Vec<String> = (0..keys.len())
            .filter(|at| usize::from(is_odd(at)) == parity)
            .map(|at| format!("'{}'", keys[at]))
            .collect();
        let count = chosen.len() as u64;
        let chosen = chosen.join(", ");
        pair.source
            .run(format!("DELETE FROM t WHERE k IN ({chosen})"))
            .await;
        let output = pair.pull(&["--verify=keys"]).await.differs();
        assert_eq!(printed(&output).len() as u64, count);
        did(&pair.pull(&[SYNC]).await.ok(), count, 0, 0);
        pair.assert_same().await;
        if parity == 0 {
            pair.dest.run("DELETE FROM t WHERE k<>'last'").await;
            let rest = keys.len() as u64 - count;
            did(&pair.pull(&[SYNC]).await.ok(), 0, rest, 0);
            pair.assert_same().await;
        }
    }
    assert_eq!(pair.dest.count("t").await, 1);
}

/// R9, R6. Under a collation that folds case the old and the new key are in each other's way, and a
/// delete of one must not take the other.
async fn r9_a_key_that_changed_its_letter_case_is_another_key(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .script(&format!(
            "INSERT INTO t (k, v) {};
             INSERT INTO t (k, v) VALUES ('a', 1), ('été', 2), ('b', 3), ('c', 4), ('moved', 5), ('gone', 6);
             INSERT INTO t (k, v) VALUES ('last', 0);",
            numbers(500, "CONCAT('row ', n), n")
        ))
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .script(
            "UPDATE t SET k='A', s=s WHERE k='a';
             UPDATE t SET k='ETE', s=s WHERE k='été';
             UPDATE t SET k='MOVED' WHERE k='moved';
             DELETE FROM t WHERE k='gone';",
        )
        .await;
    pair.dest
        .script("UPDATE t SET k='B', s=s WHERE k='b';\nUPDATE t SET k='ROW 7' WHERE k='row 7';")
        .await;
    pair.dest
        .script(
            "ALTER TABLE t ADD COLUMN note INT DEFAULT 0;
             UPDATE t SET note=7, s=s WHERE k IN ('a', 'été', 'b');",
        )
        .await;
    let output = pair.pull(&["--verify=keys"]).await.differs();
    let lines = printed(&output);
    for line in [
        "t\t[\"a\"]\tonly at the destination",
        "t\t[\"A\"]\tonly at the source",
        "t\t[\"été\"]\tonly at the destination",
        "t\t[\"ETE\"]\tonly at the source",
        "t\t[\"B\"]\tonly at the destination",
        "t\t[\"b\"]\tonly at the source",
        "t\t[\"gone\"]\tonly at the destination",
    ] {
        assert!(
            lines.iter().any(|found| found == line),
            "no {line:?}: {lines:#?}"
        );
    }
    pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT k FROM t WHERE note=7 ORDER BY v")
            .await,
        ["A", "ETE", "b"],
        "what only the destination has stays with the row"
    );
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
}

/// R9, R7. Both servers write a value in their own way, and columns may be wider at the destination;
/// the values are the same all the same.
async fn r9_what_was_pulled_is_no_difference(mut pair: Pair) {
    // MySQL's JSON is not the text that MariaDB has, and is refused for it.
    let json = match pair.source.is_mysql() {
        true => "JSON",
        false => "LONGTEXT",
    };
    let table = |wider: bool| {
        let pick = |usual: &'static str, wide: &'static str| if wider { wide } else { usual };
        format!(
            "CREATE TABLE t (id {}, f FLOAT, d DOUBLE, ff {}, n {}, i {}, z INT(5) ZEROFILL, ts {} NULL, dt {}, \
             ti {}, y YEAR, b BIT(9), c CHAR(5), l {} CHARACTER SET {}, e {}, st SET('x','y'), bl BLOB, \
             vb VARBINARY(20), bin BINARY(3), g GEOMETRY, j {json}, txt TEXT, {STAMP}, {INDEXED})",
            "INT PRIMARY KEY",
            pick("FLOAT", "DOUBLE"),
            pick("DECIMAL(20,2)", "DECIMAL(30,6)"),
            pick("SMALLINT", "BIGINT"),
            pick("TIMESTAMP", "TIMESTAMP(6)"),
            pick("DATETIME(2)", "DATETIME(5)"),
            pick("TIME", "TIME(3)"),
            pick("VARCHAR(20)", "TEXT"),
            pick("latin1", "utf8mb4"),
            pick("ENUM('b','a')", "VARCHAR(9)"),
        )
    };
    pair.source.run(table(false)).await;
    pair.dest.run(table(true)).await;
    pair.source
        .script(
            "INSERT INTO t VALUES (1, 0.1, 0.1, 16777216, 1.5, -5, 42, '2024-01-01', '2024-01-01 00:00:00.5', '-12:00:00', 2024, \
               b'101', 'a', 'é', 'a', 'x,y', x'00ff', x'00', x'61', ST_GeomFromText('POINT(1 2)',4326), '{\"a\": [1, 2.5, \"é\"]}', 'x\\0y', '2024-01-01');
             INSERT INTO t VALUES (2, -0e0, 1e-310, 3.4e38, -0.00, 0, 0, '1970-01-01 00:00:01', '0000-00-00', '838:59:59', 0, \
               b'0', '', '', 'b', '', '', '', '', ST_GeomFromText('LINESTRING(0 0,1 1)'), '[]', '', '2024-01-02');
             INSERT INTO t (id, s) VALUES (3, '2024-01-03');
             INSERT INTO t (id, f, d, ff, n) VALUES (4, 1e-40, 1.7976931348623157e308, 1e-40, 99999999999999999.99);
             INSERT INTO t (id, d, txt) VALUES (5, 1e22, '😀  ');"
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.pull(&["--verify=full"]).await.ok();
    did(
        &pair.pull(&["--verify=full", "--repair"]).await.ok(),
        0,
        0,
        0,
    );
    for (change, id) in [
        ("f=0.10000001", 1),
        ("d=0.10000000000000002", 1),
        ("ff=1", 1),
        ("n=1.500001", 1),
        ("i=-6", 1),
        ("z=43", 1),
        ("ts='2024-01-01 00:00:00.000001'", 1),
        ("dt='2024-01-01 00:00:00.50001'", 1),
        ("ti='-12:00:00.001'", 1),
        ("y=2025", 1),
        ("b=b'100'", 1),
        ("c='A'", 1),
        ("l='É'", 1),
        ("e='A'", 1),
        ("st='x'", 1),
        ("bl=x'00fe'", 1),
        ("vb=x'0000'", 1),
        ("bin=x'62'", 1),
        ("g=ST_GeomFromText('POINT(1 2)')", 1),
        ("j='{\"a\": [1, 2.6, \"é\"]}'", 1),
        ("txt='x'", 1),
        ("txt=NULL", 2),
        ("txt=''", 3),
        ("txt='😀 '", 5),
    ] {
        pair.dest
            .run(format!("UPDATE t SET {change}, s=s WHERE id={id}"))
            .await;
        let output = pair.pull(&["--verify=full"]).await.differs();
        assert_eq!(output.stdout, [format!("t\t[{id}]\tdiffers")], "{change}");
        let output = pair.pull(&["--verify=full", "--repair"]).await.ok();
        assert_eq!(output.of("t"), Some((0, 0, 1)), "{change}");
    }
    // What is of another type or cannot be there (MariaDB's -0) is compared by the puller alone.
    pair.assert_same_but(&["t"], &["f", "n", "ts", "dt", "ti", "l", "e"])
        .await;
}

/// R9. `PRIMARY KEY (a, b)` here and `(b, a)` there.
async fn r9_the_order_of_key_columns_may_differ(mut pair: Pair) {
    for (side, key) in [(&pair.source, "a, b"), (&pair.dest, "b, a")] {
        side.run(format!(
            "CREATE TABLE t (a INT, b INT, v INT, PRIMARY KEY ({key}), {STAMP}, {INDEXED})"
        ))
        .await;
    }
    pair.source
        .script(&format!(
            "INSERT INTO t (a, b, v) {};
             INSERT INTO t (a, b, v) VALUES (1000, 1000, 0);",
            numbers(3_000, "n%50, n, n")
        ))
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run("DELETE FROM t WHERE a=7 OR b BETWEEN 1 AND 10")
        .await;
    pair.dest
        .script(
            "DELETE FROM t WHERE a=8 AND b>500;
             INSERT INTO t (a, b, v, s) SELECT b, a, v, '2020-01-01' FROM t WHERE a=9 AND b<>9;",
        )
        .await;
    let output = pair.pull(&["--verify=keys"]).await.differs();
    assert!(
        output
            .stdout
            .contains(&"t\t[7,7]\tonly at the destination".to_owned())
    );
    assert!(
        output
            .stdout
            .contains(&"t\t[8,508]\tonly at the source".to_owned())
    );
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    did(&output, 60 + 9 + 59, 50, 0);
}
