//! R7. Every value of every type arrives as it was, byte for byte.

use harness::{Flavour, Pair, every_direction};

use crate::STAMP;

every_direction!(
    values_of_every_type_arrive_exactly,
    special_columns_arrive_exactly,
    large_values_arrive_exactly,
    rows_longer_than_the_sources_packets_arrive_exactly,
);

/// Where a type exists.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Both,
    /// On both sides there must be a MySQL.
    MySql,
    /// On both sides there must be a MariaDB.
    MariaDb,
    /// Everywhere but from MariaDB to MySQL, which rewrites such a text.
    Kept,
}

/// A column's type and values of it, as SQL.
const TYPES: &[(On, &str, &[&str])] = &[
    (On::Both, "TINYINT", &["-128", "127", "0"]),
    (On::Both, "TINYINT(1)", &["-128", "127", "0", "1"]),
    (On::Both, "TINYINT UNSIGNED", &["0", "255"]),
    (On::Both, "BOOLEAN", &["TRUE", "FALSE", "2"]),
    (On::Both, "SMALLINT", &["-32768", "32767"]),
    (On::Both, "SMALLINT UNSIGNED ZEROFILL", &["0", "7", "65535"]),
    (On::Both, "MEDIUMINT", &["-8388608", "8388607"]),
    (On::Both, "MEDIUMINT UNSIGNED", &["16777215"]),
    (On::Both, "INT", &["-2147483648", "2147483647"]),
    (On::Both, "INT(10) ZEROFILL", &["0", "42", "4294967295"]),
    (
        On::Both,
        "BIGINT",
        &[
            "-9223372036854775808",
            "9223372036854775807",
            "9007199254740993",
        ],
    ),
    (
        On::Both,
        "BIGINT UNSIGNED",
        &["18446744073709551615", "9223372036854775808", "0"],
    ),
    (
        On::Both,
        "DECIMAL(65,30)",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-99999999999999999999999999999999999.999999999999999999999999999999",
            "0.000000000000000000000000000001",
            "-0.000000000000000000000000000001",
            "0",
        ],
    ),
    (
        On::Both,
        "DECIMAL(65,0)",
        &[
            "99999999999999999999999999999999999999999999999999999999999999999",
            "-1",
        ],
    ),
    (
        On::Both,
        "DECIMAL(10,2) UNSIGNED ZEROFILL",
        &["0.05", "99999999.99"],
    ),
    (
        On::Both,
        "FLOAT",
        &[
            "3.4028234663852886e38",
            "-3.4028234663852886e38",
            "1.401298464324817e-45",
            "1.1754943508222875e-38",
            "16777216",
            "16777217",
            "0.1",
            "3.14159274101257",
            "8388607.5",
            "0",
        ],
    ),
    (
        On::Both,
        "DOUBLE",
        &[
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "2.2250738585072014e-308",
            "4.9406564584124654e-324",
            "2.2250738585072009e-308",
            "0.1",
            "0.30000000000000004",
            "123456789012345678",
            "1e22",
            "1e-7",
            "0",
        ],
    ),
    (On::Both, "FLOAT(7,3)", &["1234.567", "-0.001"]),
    (On::Both, "DOUBLE(15,3)", &["123456789012.345", "0.001"]),
    (On::Both, "BIT(1)", &["b'0'", "b'1'"]),
    (On::Both, "BIT(7)", &["b'1111111'", "b'0'", "39"]),
    (On::Both, "BIT(9)", &["b'111111111'", "b'100000000'", "92"]),
    (On::Both, "BIT(33)", &["8589934591", "4294967296"]),
    (
        On::Both,
        "BIT(64)",
        &[
            "18446744073709551615",
            "9223372036854775808",
            "0",
            "10",
            "13",
        ],
    ),
    (On::Both, "YEAR", &["0", "'0000'", "1901", "2155"]),
    (
        On::Both,
        "DATE",
        &[
            "'0000-00-00'",
            "'1000-01-01'",
            "'9999-12-31'",
            "'2024-02-29'",
            "'2024-02-31'",
            "'2024-00-00'",
        ],
    ),
    (
        On::Both,
        "TIME",
        &[
            "'838:59:59'",
            "'-838:59:59'",
            "'00:00:00'",
            "'-00:00:01'",
            "'100:00:00'",
        ],
    ),
    (
        On::Both,
        "TIME(6)",
        &[
            "'838:59:59.000000'",
            "'-838:59:59.000000'",
            "'-00:00:00.000001'",
            "'12:34:56.999999'",
        ],
    ),
    (On::Both, "TIME(1)", &["'-12:34:56.7'", "'0:0:0.1'"]),
    (
        On::Both,
        "DATETIME",
        &[
            "'0000-00-00 00:00:00'",
            "'1000-01-01 00:00:00'",
            "'9999-12-31 23:59:59'",
        ],
    ),
    (
        On::Both,
        "DATETIME(6)",
        &[
            "'0000-00-00 00:00:00.000000'",
            "'9999-12-31 23:59:59.999999'",
            "'2024-03-31 02:30:00.000001'",
            "'2024-02-31 12:00:00.5'",
        ],
    ),
    (
        On::Both,
        "TIMESTAMP NULL",
        &[
            "'0000-00-00 00:00:00'",
            "'1970-01-01 00:00:01'",
            "'2038-01-19 03:14:07'",
        ],
    ),
    (
        On::Both,
        "TIMESTAMP(6) NULL",
        &[
            "'1970-01-01 00:00:01.000001'",
            "'2038-01-19 03:14:07.999999'",
            "'2024-10-27 00:30:00.1'",
            "'2024-10-27 01:30:00.1'",
        ],
    ),
    (
        On::Both,
        "CHAR(5)",
        &["''", "'abc'", "'日本語'", "'  a'", "'a'"],
    ),
    (On::Both, "CHAR(0)", &["''"]),
    (
        On::Both,
        "VARCHAR(60)",
        &[
            "''",
            "' '",
            "'a '",
            "'  a  '",
            "'NULL'",
            "'$$NULL$$'",
            "'\\\\N'",
            "'it''s'",
            "'\"double\"'",
            "'back\\\\slash'",
            "'\\\\'",
            "'\\0nul\\0'",
            "'line\\nfeed\\r\\n'",
            "'tab\\t'",
            "'\\Z'",
            "'é日😀'",
            "'{\"base64\":\"QQ==\"}'",
            "'[1,2]'",
            "'\\\\''; DROP TABLE t; --'",
            "CONVERT(x'EFBBBF61' USING utf8mb4)",
            "CONVERT(x'E280A8E280A9' USING utf8mb4)",
            "CONVERT(x'7F' USING utf8mb4)",
            "CONVERT(x'01021F' USING utf8mb4)",
            "CONVERT(x'C280EFBFBD' USING utf8mb4)",
            "CONVERT(x'F48FBFBF' USING utf8mb4)",
        ],
    ),
    (
        On::Both,
        "VARCHAR(20) COLLATE utf8mb4_bin",
        &["'a'", "'A '"],
    ),
    (On::Both, "TINYTEXT", &["''", "REPEAT('x',255)"]),
    (On::Both, "TEXT", &["''", "REPEAT('日',21845)", "'a\\nb'"]),
    (On::Both, "MEDIUMTEXT", &["REPEAT('ab\\n\\\\''',20000)"]),
    (On::Both, "LONGTEXT", &["''", "'x'"]),
    (
        On::Both,
        "BINARY(4)",
        &["x'00000000'", "x'61'", "x'FF00FF00'", "x'20202020'"],
    ),
    (
        On::Both,
        "VARBINARY(300)",
        &[
            "x''", "x'00'", "x'2720'", "x'5C'", "x'0000'", "x'FFFE'", "x'1A'", "x'6100'", "x'6120'",
        ],
    ),
    (On::Both, "TINYBLOB", &["x''", "x'00FF'"]),
    (On::Both, "BLOB", &["x''", "REPEAT(x'0027',1000)"]),
    (On::Both, "MEDIUMBLOB", &["REPEAT(x'5C',70000)"]),
    (On::Both, "LONGBLOB", &["x'80'"]),
    (
        On::Both,
        "ENUM('a','B','ü','日','with ''quote','with,comma','')",
        &[
            "'a'",
            "'B'",
            "'ü'",
            "'日'",
            "'with ''quote'",
            "'with,comma'",
            "''",
            "7",
        ],
    ),
    (
        On::Both,
        "SET('a','B','ü','日','q''')",
        &["''", "'a'", "'a,B,ü'", "'日'", "'q'''", "31"],
    ),
    (
        On::MySql,
        "JSON",
        &[
            "'null'",
            "'{}'",
            "'[]'",
            "'\"text\"'",
            "'1'",
            "'-0.5'",
            "'1e300'",
            "'18446744073709551615'",
            "'{\"b\":1,\"a\":[true,null,\"é😀\\\\n\"]}'",
            "'\"\\\\u0000\"'",
            "'\"it''s\"'",
            "'1.0'",
            "CAST(CAST('2024-01-01 01:02:03' AS DATETIME(6)) AS JSON)",
        ],
    ),
    (
        On::MariaDb,
        "JSON",
        &[
            "'null'",
            "'{ \"b\" : 1,\"a\":[ true ] }'",
            "'[]'",
            "'\"é😀\"'",
            "'1.50'",
            "'{\"a\":1,\"a\":2}'",
        ],
    ),
    (
        On::Kept,
        "JSON",
        &[
            "'{\"a\": [1, \"é\", null, true]}'",
            "'\"x\"'",
            "'[]'",
            "'12345678901'",
        ],
    ),
    (
        On::Both,
        "GEOMETRY",
        &[
            "ST_GeomFromText('POINT(1.5 -2.25)')",
            "ST_GeomFromText('POINT(1 2)', 4326)",
            "ST_GeomFromText('LINESTRING(0 0, 1 1, 2 3)', 0)",
            "ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0),(1 1,2 1,2 2,1 2,1 1))')",
            "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')",
            "ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((5 5,6 5,6 6,5 5)))')",
        ],
    ),
    (
        On::Both,
        "POINT",
        &["ST_GeomFromText('POINT(1e-300 1e300)')"],
    ),
    (
        On::MySql,
        "POINT SRID 4326",
        &["ST_GeomFromText('POINT(50 8)', 4326)"],
    ),
    (
        On::MySql,
        "VECTOR(3)",
        &["STRING_TO_VECTOR('[1,-2.5,3e30]')"],
    ),
    (
        On::MariaDb,
        "UUID",
        &[
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        On::MariaDb,
        "INET6",
        &["'::'", "'2001:db8::ff00:42:8329'", "'::ffff:192.0.2.1'"],
    ),
    (On::MariaDb, "INET4", &["'0.0.0.0'", "'255.255.255.255'"]),
    (
        On::MariaDb,
        "VARCHAR(100) COMPRESSED",
        &["'some text'", "''"],
    ),
];

fn holds(pair: &Pair, on: On) -> bool {
    match on {
        On::Both => true,
        On::MySql => pair.source.is_mysql() && pair.dest.is_mysql(),
        On::Kept => pair.source.is_mysql() || !pair.dest.is_mysql(),
        On::MariaDb => !pair.source.is_mysql() && !pair.dest.is_mysql(),
    }
}

async fn values_of_every_type_arrive_exactly(mut pair: Pair) {
    let mut rows = Vec::new();
    for (at, (on, definition, values)) in TYPES.iter().enumerate() {
        if !holds(&pair, *on) {
            continue;
        }
        let name = format!("type_{at:02}");
        let nullable = if definition.ends_with("NULL") {
            ""
        } else {
            "NULL"
        };
        pair.both(&format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, c {definition} {nullable}, {STAMP})"
        ))
        .await;
        let mut count = 1;
        pair.source
            .run(format!("INSERT INTO {name} (id, c) VALUES (0, NULL)"))
            .await;
        for (id, value) in values.iter().enumerate() {
            let id = id + 1;
            pair.source
                .run(format!("INSERT INTO {name} (id, c) VALUES ({id}, {value})"))
                .await;
            count += 1;
        }
        rows.push((name, count));
    }
    pair.source.run("CREATE TABLE bytes (id INT PRIMARY KEY, b VARBINARY(256), s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))").await;
    pair.dest.run("CREATE TABLE bytes (id INT PRIMARY KEY, b VARBINARY(256), s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6))").await;
    let every: String = (0..=255_u8).map(|byte| format!("{byte:02X}")).collect();
    pair.source
        .run(format!("INSERT INTO bytes (id, b) VALUES (1, x'{every}')"))
        .await;
    let output = pair.pull(&[]).await.ok();
    pair.assert_same().await;
    for (name, count) in rows {
        assert_eq!(output.rows(&name), count, "{name}");
    }
    // The bytes of ENUM and SET may be right by their text and wrong by their number.
    for (at, (_, definition, _)) in TYPES.iter().enumerate() {
        if definition.starts_with("ENUM") || definition.starts_with("SET") {
            let numbers =
                format!("SELECT CONCAT(id,':',COALESCE(c+0,'-')) FROM type_{at:02} ORDER BY id");
            assert_eq!(
                pair.source.column(&numbers).await,
                pair.dest.column(&numbers).await
            );
        }
    }
}

/// AUTO_INCREMENT 0, generated and invisible columns, defaults.
async fn special_columns_arrive_exactly(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE zero (id INT AUTO_INCREMENT PRIMARY KEY, v INT, {STAMP});
         CREATE TABLE negative (id INT AUTO_INCREMENT PRIMARY KEY, v INT, {STAMP});
         CREATE TABLE made (id INT PRIMARY KEY, a INT, b INT GENERATED ALWAYS AS (a*2) VIRTUAL,
           c VARCHAR(20) GENERATED ALWAYS AS (CONCAT('x',a)) STORED, KEY (c), {STAMP});
         CREATE TABLE defaulted (id INT PRIMARY KEY, v VARCHAR(10) DEFAULT 'd', w INT NOT NULL DEFAULT 5,
           x DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6), {STAMP});
         CREATE TABLE `many` (id INT PRIMARY KEY, {}, {STAMP});",
        (0..300).map(|at| format!("c{at} INT")).collect::<Vec<_>>().join(", ")
    ))
    .await;
    for side in [&pair.source, &pair.dest] {
        side.run(format!(
            "CREATE TABLE hidden (id INT PRIMARY KEY, v INT, w INT DEFAULT 3 INVISIBLE, {STAMP})"
        ))
        .await;
    }
    pair.source
        .script(
            "INSERT INTO zero (id, v) VALUES (0, 1), (1, 2), (2147483647, 3);
             INSERT INTO negative (id, v) VALUES (-5, 1), (-2147483648, 2);
             INSERT INTO made (id, a) VALUES (1, 5), (2, NULL), (3, -1);
             INSERT INTO defaulted (id, v, w, x) VALUES (1, NULL, 0, NULL), (2, '', 5, '2024-01-01');
             INSERT INTO hidden (id, v, w) VALUES (1, 1, 7), (2, 2, NULL);
             INSERT INTO `many` (id, c0, c299) VALUES (1, 1, 2), (2, NULL, -1);",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script("UPDATE zero SET v=v+1;\nUPDATE made SET a=9;\nUPDATE hidden SET w=8;\n")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R7. MariaDB keeps the text as it was written; MySQL would store another one.
#[tokio::test]
async fn json_that_would_be_rewritten_is_refused() {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MySql).await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON, {STAMP})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, j) VALUES (1, '{ \"b\":1, \"a\":1.50 }')")
        .await;
    pair.pull(&[]).await.fails_naming(&["t", "j", "ALTER"]);
    assert_eq!(pair.dest.count("t").await, 0);
    pair.dest
        .run("ALTER TABLE t MODIFY j LONGTEXT COLLATE utf8mb4_bin")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R7. A JSON document can hold a DECIMAL, which its text does not tell from a DOUBLE: it arrives
/// with all its digits, or is refused.
#[tokio::test]
async fn a_decimal_inside_json_is_not_rounded() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON, {STAMP})"
    ))
    .await;
    pair.source
        .run(
            "INSERT INTO t (id, j) VALUES (1, JSON_OBJECT('price', \
             CAST('12345678901234567890.120' AS DECIMAL(30,3))))",
        )
        .await;
    let output = pair.pull(&[]).await;
    if output.code == Some(0) {
        pair.assert_same().await;
    } else {
        output.fails_naming(&["t", "j", "1"]);
        assert_eq!(pair.dest.count("t").await, 0);
    }
}

/// R7. MySQL's metadata shows such members as `?`; MariaDB cannot have them.
#[tokio::test]
async fn enum_members_of_four_bytes_arrive_exactly() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    pair.both(&format!(
        "CREATE TABLE emoji (id INT PRIMARY KEY, e ENUM('😀','😎','x') CHARACTER SET utf8mb4,
         t SET('😀','b') CHARACTER SET utf8mb4, {STAMP})"
    ))
    .await;
    pair.source
        .run("INSERT INTO emoji (id, e, t) VALUES (1,'😀','😀'), (2,'😎','😀,b'), (3,'x',''), (4,NULL,NULL)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE emoji SET e='😎'").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// Values larger than any buffer in between, and batches of them.
async fn large_values_arrive_exactly(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, c LONGTEXT, {STAMP}, KEY (s))"
    ))
    .await;
    for id in 1..30 {
        pair.source
            .run(format!(
                "INSERT INTO t (id, b, c) VALUES ({id}, REPEAT(UNHEX(SHA2('{id}',256)), 32768), \
                 REPEAT('é''\\\\\"\\n', {}))",
                id * 1000
            ))
            .await;
    }
    pair.source
        .run("INSERT INTO t (id, b, c) VALUES (100, REPEAT('x', 3500000), REPEAT('\\n', 1500000))")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// A server sends rows that are longer than the max_allowed_packet it was given meanwhile.
async fn rows_longer_than_the_sources_packets_arrive_exactly(mut pair: Pair) {
    pair.source.server.keep_from_others();
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, c LONGTEXT, {STAMP}, KEY (s))"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, b, c) VALUES (1, REPEAT('x', 900000), REPEAT('y', 900000))")
        .await;
    pair.source
        .run("SET GLOBAL max_allowed_packet=1048576")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
