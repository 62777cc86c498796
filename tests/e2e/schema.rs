//! Tables that differ between the sides, or are not there yet.

use harness::{Pair, every_direction, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(
    a_column_too_narrow_is_named_and_the_others_are_pulled,
    a_missing_column_is_named,
    a_further_column_keeps_its_values,
    a_column_that_would_change_values_is_refused_before_a_row_is_written,
    a_table_without_transactions_is_refused,
    a_missing_table_is_named,
    columns_can_be_left_out,
    a_key_or_stamp_cannot_be_left_out,
    a_refused_row_is_left_out_on_request,
    triggers_at_the_destination_are_reported,
    everything_can_be_read_again,
    tables_are_pulled_in_the_order_asked_for,
);
every_direction!(missing_tables_are_created);

/// R7. The error names table, column and key, and the row is not cut.
async fn a_column_too_narrow_is_named_and_the_others_are_pulled(mut pair: Pair) {
    let table = |name: &str, length: u32, integer: &str| {
        format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, v VARCHAR({length}), n {integer}, {STAMP}, {INDEXED})"
        )
    };
    for (side, length, integer) in [(&pair.source, 20, "BIGINT"), (&pair.dest, 5, "INT")] {
        side.run(table("a_text", length, "INT")).await;
        side.run(table("b_number", 20, integer)).await;
        side.run(table("c_well", 20, "INT")).await;
    }
    pair.source
        .run("INSERT INTO a_text (id, v, n) VALUES (41, 'short', 1), (4242, 'too long a text', 2)")
        .await;
    pair.source
        .run("INSERT INTO b_number (id, v, n) VALUES (43, 'x', 1), (4444, 'x', 3000000000)")
        .await;
    pair.source
        .run("INSERT INTO c_well (id, v, n) VALUES (45, 'x', 1)")
        .await;
    let output = pair.pull(&[]).await.fails_naming(&[
        "a_text",
        "4242",
        "b_number",
        "4444",
        "column `v`",
        "column",
    ]);
    assert!(output.pulled("c_well"), "{}", output.stderr);
    pair.assert_same_in(&["c_well"]).await;
    for (table, id) in [("a_text", 4242), ("b_number", 4444)] {
        assert_eq!(
            pair.dest
                .number(&format!("SELECT COUNT(*) FROM {table} WHERE id={id}"))
                .await,
            0
        );
    }
    pair.dest
        .run("ALTER TABLE a_text MODIFY v VARCHAR(20)")
        .await;
    pair.dest.run("ALTER TABLE b_number MODIFY n BIGINT").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

async fn a_missing_column_is_named(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, lost_one INT, lost_two INT, {STAMP})"
        ))
        .await;
    pair.dest
        .run(format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.both(&format!("CREATE TABLE u (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.source.run("INSERT INTO u (id) VALUES (1)").await;
    pair.pull(&[])
        .await
        .fails_naming(&["t", "lost_one", "lost_two"]);
    assert_eq!(pair.dest.count("t").await, 0);
    pair.assert_same_in(&["u"]).await;
    pair.pull(&["-x", "lost_one,t.lost_two"]).await.ok();
    pair.assert_same_but(&["t"], &["lost_one", "lost_two"])
        .await;
}

async fn a_further_column_keeps_its_values(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.dest.run("ALTER TABLE t ADD COLUMN note VARCHAR(20) NOT NULL DEFAULT 'none' FIRST, ADD COLUMN maybe INT").await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest
        .run("UPDATE t SET note='mine', maybe=7, s=s WHERE id=1")
        .await;
    pair.source.run("UPDATE t SET v=1").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(note, COALESCE(maybe,'')) FROM t ORDER BY id")
            .await,
        ["mine7", "none"]
    );
    // One that must have a value and has no default cannot be filled.
    pair.dest
        .run("ALTER TABLE t ADD COLUMN must INT NOT NULL")
        .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (3, 0)").await;
    pair.pull(&[]).await.fails_naming(&["t", "must"]);
}

/// R7. Strict mode lets all of these pass and changes the value.
async fn a_column_that_would_change_values_is_refused_before_a_row_is_written(mut pair: Pair) {
    let columns = [
        ("scale", "DECIMAL(20,6)", "DECIMAL(20,2)", "1.005001"),
        (
            "fraction",
            "DATETIME(6)",
            "DATETIME(3)",
            "'2024-01-01 00:00:00.123456'",
        ),
        ("fraction_time", "TIME(6)", "TIME", "'00:00:00.6'"),
        ("float", "DOUBLE", "FLOAT", "0.1"),
        ("padding", "VARBINARY(4)", "BINARY(4)", "x'01'"),
        ("longer_padding", "BINARY(2)", "BINARY(4)", "x'0102'"),
        ("whole", "DECIMAL(10,2)", "INT", "1.5"),
        ("day", "DATETIME", "DATE", "'2024-01-01 12:00:00'"),
        ("spaces", "VARCHAR(10)", "CHAR(10)", "'a  '"),
        ("rounded", "DOUBLE", "DECIMAL(10,2)", "0.125"),
    ];
    for (name, here, there, value) in columns {
        pair.source
            .run(format!(
                "CREATE TABLE t_{name} (id INT PRIMARY KEY, `the_{name}` {here}, {STAMP})"
            ))
            .await;
        pair.dest
            .run(format!(
                "CREATE TABLE t_{name} (id INT PRIMARY KEY, `the_{name}` {there}, {STAMP})"
            ))
            .await;
        pair.source
            .run(format!(
                "INSERT INTO t_{name} (id, `the_{name}`) VALUES (1, NULL), (2, {value})"
            ))
            .await;
    }
    let mut words = Vec::new();
    let names: Vec<String> = columns
        .iter()
        .map(|(name, ..)| format!("the_{name}"))
        .collect();
    words.extend(names.iter().map(String::as_str));
    pair.pull(&[]).await.fails_naming(&words);
    for (name, ..) in columns {
        assert_eq!(pair.dest.count(&format!("t_{name}")).await, 0, "{name}");
    }
    // The stamp itself too: rows of one second would all be at the position.
    pair.source
        .run(format!("CREATE TABLE stamps (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.dest.run("CREATE TABLE stamps (id INT PRIMARY KEY, s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)").await;
    pair.source.run("INSERT INTO stamps (id) VALUES (1)").await;
    pair.pull(&["-t", "stamps"])
        .await
        .fails_naming(&["stamps", "s"]);
    assert_eq!(pair.dest.count("stamps").await, 0);
}

/// R3. Half a batch would stay.
async fn a_table_without_transactions_is_refused(mut pair: Pair) {
    pair.source
        .run(format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.dest
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}) ENGINE=MyISAM"
        ))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.pull(&[])
        .await
        .fails_naming(&["t", "MyISAM", "InnoDB"]);
    assert_eq!(pair.dest.count("t").await, 0);
}

async fn a_missing_table_is_named(mut pair: Pair) {
    pair.source
        .run(format!("CREATE TABLE lonely (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.both(&format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.source.run("INSERT INTO lonely (id) VALUES (1)").await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.pull(&[])
        .await
        .fails_naming(&["lonely", "--create-tables"]);
    pair.assert_same_in(&["t"]).await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
}

async fn columns_can_be_left_out(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT DEFAULT 5, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.both(&format!(
        "CREATE TABLE u (id INT PRIMARY KEY, v INT, w INT DEFAULT 5, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v, w) VALUES (1, 1, 1)")
        .await;
    pair.source
        .run("INSERT INTO u (id, v, w) VALUES (1, 1, 1)")
        .await;
    pair.pull(&["-x", "w", "-x", "u.v"]).await.ok();
    assert_eq!(pair.dest.one("SELECT CONCAT(v,w) FROM t").await, "15");
    assert_eq!(
        pair.dest
            .one("SELECT CONCAT(COALESCE(v,'-'),w) FROM u")
            .await,
        "-5"
    );
    // Left out means left alone.
    pair.dest.run("UPDATE t SET w=8, s=s").await;
    pair.source.run("UPDATE t SET v=2, w=2").await;
    pair.pull(&["-x", "w"]).await.ok();
    assert_eq!(pair.dest.one("SELECT CONCAT(v,w) FROM t").await, "28");
}

async fn a_key_or_stamp_cannot_be_left_out(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP})"
    ))
    .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 1)").await;
    pair.pull(&["-x", "t.id"]).await.fails_naming(&["t", "id"]);
    pair.pull(&["-x", "t.s"]).await.fails_naming(&["t", "s"]);
    assert_eq!(pair.dest.count("t").await, 0);
}

/// Each row left out is named each time, and the code is not 0.
async fn a_refused_row_is_left_out_on_request(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.dest
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v TINYINT, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            crate::numbers(3_000, "n, n%100")
        ))
        .await;
    pair.source
        .run("UPDATE t SET v=1000 WHERE id IN (1234, 2345)")
        .await;
    // Without the flag the table stops before such a row: it is not passed by.
    pair.pull(&[]).await.fails_naming(&["t"]);
    assert_eq!(
        pair.dest
            .number("SELECT COUNT(*) FROM t WHERE id IN (1234, 2345)")
            .await,
        0
    );
    pair.pull(&["--ignore-database-errors"])
        .await
        .fails_naming(&["1234", "2345"]);
    assert_eq!(pair.dest.count("t").await, 2_998);
    pair.source
        .run("UPDATE t SET v=5 WHERE id IN (1234, 2345)")
        .await;
    pair.pull(&["--ignore-database-errors"]).await.ok();
    pair.assert_same().await;
}

/// R12. They may write what the source does not have.
async fn triggers_at_the_destination_are_reported(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP})"
    ))
    .await;
    pair.dest
        .run("CREATE TRIGGER meddler BEFORE INSERT ON t FOR EACH ROW SET @meddled = 1")
        .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 1)").await;
    pair.pull(&[]).await.ok().says(&["WARN", "meddler"]);
}

/// `-f` and `--resync-interval` read every row again, without emptying anything.
async fn everything_can_be_read_again(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            crate::numbers(100, "n, n")
        ))
        .await;
    pair.pull(&[]).await.ok();
    // Rows that no window would ever bring.
    pair.dest.run("DELETE FROM t WHERE id=5").await;
    pair.dest.run("UPDATE t SET v=0, s=s WHERE id=6").await;
    assert_eq!(pair.pull(&[]).await.ok().rows("t"), 0);
    assert_eq!(pair.pull(&["-f"]).await.ok().rows("t"), 100);
    pair.assert_same().await;
    pair.dest.run("DELETE FROM t WHERE id=7").await;
    let puller = pair.poll(0.1, &["--resync-interval=1"]).await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

async fn tables_are_pulled_in_the_order_asked_for(mut pair: Pair) {
    for name in ["a", "b", "c", "d"] {
        pair.both(&format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, {STAMP})"
        ))
        .await;
        pair.source
            .run(format!("INSERT INTO {name} (id) VALUES (1)"))
            .await;
    }
    let output = pair.pull(&["-t", "c,a", "-t", "d"]).await.ok();
    let order: Vec<&str> = output
        .pulls
        .iter()
        .map(|pulled| pulled.table.as_str())
        .collect();
    assert_eq!(order, ["c", "a", "d"]);
    assert_eq!(pair.dest.count("b").await, 0);
}

/// From the source's own definitions, also where the other flavour does not know them.
async fn missing_tables_are_created(mut pair: Pair) {
    let native = if pair.source.is_mysql() {
        "utf8mb4_0900_ai_ci"
    } else {
        "utf8mb4_uca1400_ai_ci"
    };
    pair.source
        .script(&format!(
            "CREATE TABLE z_parent (id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL, UNIQUE (name),
               {STAMP}, {INDEXED}) COLLATE={native} COMMENT='it''s a `comment` COLLATE utf8mb4_0900_ai_ci';
             CREATE TABLE a_child (id BIGINT PRIMARY KEY, p INT UNSIGNED, code CHAR(3) CHARACTER SET latin1 DEFAULT 'x''y',
               j JSON, e ENUM('a','b;\\\\','c''d') DEFAULT 'a', g GEOMETRY, d DOUBLE DEFAULT 0.5, b BIT(3) DEFAULT b'101',
               t TEXT COLLATE utf8mb4_bin, made INT GENERATED ALWAYS AS (id*2) STORED,
               at DATETIME(3) DEFAULT CURRENT_TIMESTAMP(3), amount DECIMAL(10,2) NOT NULL DEFAULT 0,
               {STAMP}, {INDEXED}, KEY (code), CHECK (amount>=0),
               FOREIGN KEY (p) REFERENCES z_parent (id) ON DELETE CASCADE ON UPDATE SET NULL);
             CREATE TABLE keyed (k VARCHAR(40) COLLATE {native} PRIMARY KEY, v INT, {STAMP}, {INDEXED});
             CREATE TABLE cased (k VARCHAR(40) COLLATE utf8mb4_bin PRIMARY KEY, v INT, {STAMP}, {INDEXED});
             CREATE TABLE parted (id INT, {STAMP}, PRIMARY KEY (id)) PARTITION BY HASH (id) PARTITIONS 3;
             CREATE TABLE odd_engine (id INT PRIMARY KEY, {STAMP}) ENGINE=MyISAM;
             INSERT INTO z_parent (id, name) VALUES (1, 'one'), (2, 'zwölf'), (3, '😀'), (4, '😎');
             INSERT INTO a_child (id, p, j, g, t) VALUES (1, 1, '{{\"a\": 1}}', ST_GeomFromText('POINT(1 2)'), 'T'), (2, NULL, NULL, NULL, NULL);
             INSERT INTO keyed (k, v) VALUES ('a', 1), ('b ', 2), ('ß', 3), ('😀', 4), ('😎', 5);
             INSERT INTO cased (k, v) VALUES ('a', 1), ('A', 2), ('ab', 3), ('é', 4), ('e', 5);
             INSERT INTO parted (id) VALUES (1), (2), (3);
             INSERT INTO odd_engine (id) VALUES (1);"
        ))
        .await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
    assert_eq!(
        pair.dest.one("SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME='odd_engine'").await,
        "InnoDB"
    );
    // What matters of the definitions came along.
    for sql in [
        "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=DATABASE()",
        "SELECT COUNT(DISTINCT TABLE_NAME, INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE()",
        "SELECT GROUP_CONCAT(TABLE_NAME,COLUMN_NAME ORDER BY 1) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA=DATABASE() AND EXTRA LIKE '%on update%'",
        "SELECT CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE() AND COLUMN_NAME='code'",
    ] {
        assert_eq!(
            pair.source.one(sql).await,
            pair.dest.one(sql).await,
            "{sql}"
        );
    }
    // And they take what comes.
    pair.source
        .script(
            "UPDATE z_parent SET name=CONCAT(name,'!');
             UPDATE keyed SET v=v+1;
             INSERT INTO keyed (k, v) VALUES ('c', 7);
             UPDATE a_child SET amount=3;
             DROP TABLE odd_engine;",
        )
        .await;
    pair.dest.run("DROP TABLE odd_engine").await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
}
