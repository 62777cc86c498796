//! `--create-tables`: a definition arrives as it is, whatever stands in its quotes.

use harness::{Flavour, Pair, every_direction};

use crate::{INDEXED, STAMP};

every_direction!(
    quoted_texts_arrive_as_they_are,
    a_comment_cannot_become_a_statement,
    keys_constraints_and_expressions_arrive,
    a_definition_that_cannot_be_held_is_named,
    backslashes_in_expressions_arrive,
);

/// Backslashes, quotes, and words of SQL within quotes.
async fn quoted_texts_arrive_as_they_are(mut pair: Pair) {
    let comment = r#"x COLLATE y, it''s ENGINE=MyISAM) \\ \\'' "q" `b`\nline DEFAULT 1 NOT NULL -- /* z */ # ; CHARSET=ascii"#;
    pair.source
        .script(&format!(
            r#"CREATE TABLE t (id INT PRIMARY KEY COMMENT '{comment}',
                 path VARCHAR(40) NOT NULL DEFAULT 'c:\\x\\' COMMENT 'x COLLATE y',
                 quoted VARCHAR(40) DEFAULT 'a''b\\''c"`' COMMENT 'a DEFAULT b NOT NULL, c',
                 named VARCHAR(40) DEFAULT 'it\'s :id ?',
                 e ENUM('a\\b','c''d','(e)','f, g','h\ni','\\''') NOT NULL DEFAULT 'a\\b',
                 st SET('x y','(','\\') DEFAULT '\\',
                 `odd ``(',\ name` INT DEFAULT -5,
                 {STAMP}, KEY `s (\` (s) COMMENT 'KEY x (( \\ IGNORED') COMMENT='{comment}';
             INSERT INTO t (id, e, st) VALUES (1, 'h\ni', 'x y,\\'), (2, '\\''', '(');
             INSERT INTO t (id) VALUES (3);"#
        ))
        .await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
    // The defaults are the same too.
    for side in [&pair.source, &pair.dest] {
        side.run("INSERT INTO t (id) VALUES (4)").await;
    }
    pair.assert_same_but(&["t"], &["s"]).await;
    for sql in [
        "SELECT GROUP_CONCAT(COLUMN_COMMENT ORDER BY ORDINAL_POSITION) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE()",
        "SELECT TABLE_COMMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE()",
        "SELECT GROUP_CONCAT(INDEX_NAME,INDEX_COMMENT ORDER BY INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE()",
        "SELECT GROUP_CONCAT(COLUMN_TYPE) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE() AND DATA_TYPE IN ('enum','set')",
    ] {
        assert_eq!(
            pair.source.one(sql).await,
            pair.dest.one(sql).await,
            "{sql}"
        );
    }
}

async fn a_comment_cannot_become_a_statement(mut pair: Pair) {
    pair.dest.run("CREATE TABLE victim (id INT)").await;
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(5) COMMENT 'x COLLATE y',
               b VARCHAR(5) COMMENT ', z INT); DROP TABLE victim; -- ',
               c VARCHAR(5) COMMENT '\\\\'' COLLATE z', d INT COMMENT ' ''); DROP TABLE victim; -- ', {STAMP}, {INDEXED})
             COMMENT ' COMMENT=''x''; DROP TABLE victim; -- '"
        ))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
    assert_eq!(pair.dest.count("victim").await, 0);
}

async fn keys_constraints_and_expressions_arrive(mut pair: Pair) {
    let native = if pair.source.is_mysql() {
        "utf8mb4_0900_as_ci"
    } else {
        "utf8mb4_uca1400_as_ci"
    };
    pair.source
        .script(&format!(
            "CREATE TABLE parent (k VARCHAR(20) COLLATE {native} PRIMARY KEY, n INT CHECK (n>0), other VARCHAR(9) COLLATE {native},
               {STAMP}, {INDEXED}, CHECK (n<>7)) COLLATE={native};
             CREATE TABLE child (id INT PRIMARY KEY, k VARCHAR(20) COLLATE {native}, up INT, {STAMP}, {INDEXED}, CHECK (up<>id),
               CONSTRAINT `f (k` FOREIGN KEY (k) REFERENCES parent (k) ON DELETE CASCADE ON UPDATE SET NULL,
               FOREIGN KEY (up) REFERENCES child (id));
             CREATE TABLE t (id INT, n INT DEFAULT (1+2), u VARCHAR(36) DEFAULT (UUID()), t TEXT DEFAULT ('its'),
               day DATE DEFAULT (CURRENT_DATE), at VARCHAR(30) DEFAULT (CURRENT_TIMESTAMP), neg INT DEFAULT -5,
               bits BIT(4) DEFAULT b'11', y YEAR DEFAULT 2000, amount DECIMAL(10,3) DEFAULT 1.500,
               summed INT GENERATED ALWAYS AS (id+n) STORED COMMENT 'NOT NULL', length INT GENERATED ALWAYS AS (CHAR_LENGTH(t)) VIRTUAL,
               hidden INT INVISIBLE DEFAULT 4, j JSON, point POINT NOT NULL, shapes GEOMETRYCOLLECTION,
               {STAMP}, {INDEXED}, PRIMARY KEY (id DESC), FULLTEXT KEY (t), SPATIAL KEY (point), KEY (t(10)), CHECK (n<>7 AND t<>'(') );
             CREATE TABLE parted (id INT PRIMARY KEY, {STAMP}) PARTITION BY RANGE (id)
               (PARTITION a VALUES LESS THAN (10) COMMENT='x) y', PARTITION b VALUES LESS THAN MAXVALUE);
             INSERT INTO parent (k, n) VALUES ('a', 1), ('é', 2);
             INSERT INTO child (id, k, up) VALUES (1, 'a', NULL), (2, 'é', 1);
             INSERT INTO t (id, j, point, shapes) VALUES (1, '{{\"a\": 1}}', ST_GeomFromText('POINT(1 2)'), NULL);
             INSERT INTO parted (id) VALUES (1), (20);"
        ))
        .await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
    pair.dest
        .run("INSERT INTO t (id, point) VALUES (2, ST_GeomFromText('POINT(1 2)'))")
        .await;
    assert_eq!(
        pair.dest
            .one("SELECT CONCAT_WS('|',n,CHAR_LENGTH(u),t,day IS NULL,neg,bits+0,y,amount,summed,length,hidden) FROM t WHERE id=2")
            .await,
        "3|36|its|0|-5|3|2000|1.500|5|3|4"
    );
    for sql in [
        "SELECT REPLACE(CONCAT_WS(' ',CONSTRAINT_NAME,TABLE_NAME,DELETE_RULE,UPDATE_RULE),'RESTRICT','NO ACTION') AS rule FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=DATABASE() ORDER BY rule",
        "SELECT CONCAT_WS(' ',TABLE_NAME,INDEX_NAME,INDEX_TYPE,SEQ_IN_INDEX) AS part FROM information_schema.STATISTICS WHERE TABLE_SCHEMA=DATABASE() ORDER BY part",
        "SELECT COUNT(*) FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA=DATABASE() AND CHECK_CLAUSE NOT LIKE '%json_valid%'",
        "SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=DATABASE() AND EXTRA LIKE '%INVISIBLE%'",
    ] {
        assert_eq!(
            pair.source.column(sql).await,
            pair.dest.column(sql).await,
            "{sql}"
        );
    }
}

/// What only the source's flavour has stops its own table, and no other.
async fn a_definition_that_cannot_be_held_is_named(mut pair: Pair) {
    let same_flavour = pair.source.flavour() == pair.dest.flavour();
    if pair.source.is_mysql() {
        pair.source
            .run(format!(
                "CREATE TABLE a_peculiar (id INT PRIMARY KEY, v VARCHAR(5), {STAMP}, {INDEXED}, CHECK (REGEXP_LIKE(v, 'a')))"
            ))
            .await;
    } else {
        pair.source
            .script(&format!(
                "CREATE SEQUENCE numbers;
                 CREATE TABLE a_peculiar (id INT PRIMARY KEY, v INT DEFAULT NEXTVAL(numbers), {STAMP}, {INDEXED});"
            ))
            .await;
    }
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    let output = pair.pull(&["--create-tables"]).await;
    if same_flavour && pair.source.is_mysql() {
        output.ok();
    } else if !same_flavour {
        output.fails_naming(&["a_peculiar", "definition", "create it by hand"]);
    }
    pair.assert_same_in(&["t"]).await;
    // The session that made them, or did not, still takes a backslash for a backslash.
    pair.source
        .run("ALTER TABLE t ADD COLUMN v VARCHAR(9)")
        .await;
    pair.dest.run("ALTER TABLE t ADD COLUMN v VARCHAR(9)").await;
    pair.source
        .run(r"INSERT INTO t (id, v) VALUES (2, 'a\\''b\\')")
        .await;
    pair.pull(&["--create-tables", "--exclude-tables=a_peculiar"])
        .await
        .ok();
    pair.assert_same_in(&["t"]).await;
}

/// R7. A CHECK that the source does not enforce would refuse rows that it holds.
#[tokio::test]
async fn a_check_that_is_not_enforced_never_refuses_a_row() {
    for dest in [Flavour::MySql, Flavour::MariaDb] {
        let mut pair = Pair::start(Flavour::MySql, dest).await;
        pair.source
            .script(&format!(
                "CREATE TABLE t (id INT PRIMARY KEY, v INT CHECK (v>0) NOT ENFORCED, {STAMP}, {INDEXED},
                   CONSTRAINT `NOT (` CHECK (v>1) NOT ENFORCED, CHECK (v<>7));
                 INSERT INTO t (id, v) VALUES (1, -1);"
            ))
            .await;
        pair.pull(&["--create-tables"]).await.ok();
        pair.assert_same().await;
        assert!(
            pair.dest
                .try_run("INSERT INTO t (id, v) VALUES (2, 7)")
                .await
                .is_err()
        );
    }
}

/// In expressions too: MySQL reads the stored expressions of a table anew in the sql_mode of the
/// session that opens it.
async fn backslashes_in_expressions_arrive(mut pair: Pair) {
    pair.source
        .script(&format!(
            r#"CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20), g VARCHAR(20) GENERATED ALWAYS AS (REPLACE(a,'\\','/')) STORED,
                 v VARCHAR(20) GENERATED ALWAYS AS (CONCAT(a,'\'',"\"",'\n')) VIRTUAL, d VARCHAR(9) DEFAULT (CONCAT('\\','\'')),
                 {STAMP}, {INDEXED}, CHECK (a<>'\\' AND a<>''''));
             INSERT INTO t (id, a) VALUES (1, 'a\\b');"#
        ))
        .await;
    pair.pull(&["--create-tables"]).await.ok();
    pair.assert_same().await;
    assert_eq!(pair.dest.one("SELECT g FROM t").await, "a/b");
    assert!(
        pair.dest
            .try_run(r"INSERT INTO t (id, a) VALUES (2, '\\')")
            .await
            .is_err()
    );
}
