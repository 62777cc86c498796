//! Pullers that are killed, and what they leave behind.

use harness::{Pair, Puller, Side, eventually, every_direction, rarely, same_flavour};

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    one_stamp_of_300_000_rows_survives_kills,
    a_row_touched_at_the_destination_hides_nothing,
    a_row_added_at_the_destination_hides_nothing,
    a_dead_pullers_batch_never_wins,
    a_second_puller_is_refused_by_name,
    a_puller_that_is_asked_to_stop_stops_well,
);
every_direction!(every_kind_of_key_goes_on_within_one_stamp);

/// R3. Whatever instant a kill picks, the destination holds a prefix, and the next pull goes on
/// right behind it. The ancestor lost 15,966 of 20,000 rows here.
async fn one_stamp_of_300_000_rows_survives_kills(mut pair: Pair) {
    const ROWS: u64 = 300_000;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(300_000, "n, CONCAT('row number ', n)")
        ))
        .await;
    assert_eq!(
        pair.source.number("SELECT COUNT(DISTINCT s) FROM t").await,
        1
    );
    pair.serve().await;
    let mut held = 0;
    for _ in 0..3 {
        let puller = Puller::start(&pair.puller_args(&[]));
        eventually("some more rows arrive", async || {
            (pair.dest.count("t").await > held + 5_000).then_some(())
        })
        .await;
        puller.kill().await;
        // Its last batch may commit still; count and maximum are of one instant.
        let row = &pair.dest.rows("SELECT COUNT(*), MAX(id) FROM t").await[0];
        assert_eq!(row[0], row[1], "the rows there are no prefix");
        held = pair.dest.count("t").await;
        assert!(held < ROWS, "it was killed in the middle");
    }
    let output = pair.pull(&[]).await.ok();
    assert!(
        output.rows("t") <= ROWS - held,
        "{} rows came again",
        output.rows("t") + held - ROWS
    );
    pair.assert_same().await;
    assert_eq!(pair.pull(&[]).await.ok().rows("t"), 0);
}

/// How many rows each kind of key gets. Several batches.
const KEYED: u32 = 10_000;

/// A kind of key: the table's name, the key's columns, their names, and their values for n.
pub(crate) const KEYS: &[(&str, &str, &str, &str)] = &[
    ("k_int", "k INT", "k", "n-2000"),
    (
        "k_bigint",
        "k BIGINT UNSIGNED",
        "k",
        "18446744073709551615-n*7",
    ),
    // Not in the order of its text.
    (
        "k_enum",
        "k ENUM('z','m','A','b','é') COLLATE utf8mb4_bin, l SMALLINT",
        "k, l",
        "ELT(1+n%5,'z','m','A','b','é'), n",
    ),
    (
        "k_set",
        "k SET('z','m','A','b') COLLATE utf8mb4_bin, l SMALLINT",
        "k, l",
        "MAKE_SET(n%16,'z','m','A','b'), n",
    ),
    ("k_float", "k FLOAT", "k", "(n-2000)*0.1e0"),
    ("k_double", "k DOUBLE", "k", "(n-2000)/7.0e0"),
    (
        "k_decimal",
        "k DECIMAL(30,10)",
        "k",
        "(n-2000)*1.0000000007",
    ),
    (
        "k_ci",
        "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "k",
        "CONCAT(ELT(1+n%6,'a','B','é','_','Z','日'), n)",
    ),
    (
        "k_bin",
        "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "k",
        "CONCAT(ELT(1+n%6,'a','B','é','_','Z','😀'), n)",
    ),
    (
        "k_char",
        "k CHAR(12) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
        "k",
        "CONCAT(ELT(1+n%4,'ö','B','ß','_'), n)",
    ),
    (
        "k_binary",
        "k VARBINARY(12)",
        "k",
        "UNHEX(LPAD(HEX(n*2654435761%4294967296),8,'0'))",
    ),
    (
        "k_time",
        "k DATETIME(6)",
        "k",
        "'2024-01-01' + INTERVAL n*1000003 MICROSECOND",
    ),
    (
        "k_two",
        "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, l INT",
        "k, l",
        "ELT(1+n%3,'x','Y','é'), -n",
    ),
    (
        "k_date",
        "k DATE, l TIME(3)",
        "k, l",
        "'2024-01-01' + INTERVAL n%50 DAY, SEC_TO_TIME(n-3000)",
    ),
];

/// R3. Source and destination agree on what comes next, whatever the key is made of, also across
/// flavours. A row locked at the destination stops the puller where it can be killed for sure.
async fn every_kind_of_key_goes_on_within_one_stamp(mut pair: Pair) {
    pair.serve().await;
    for (table, definition, columns, values) in KEYS {
        pair.both(&format!(
            "CREATE TABLE {table} ({definition}, n INT, {STAMP}, PRIMARY KEY ({columns}), {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} ({columns}, n) {}",
                numbers(KEYED, &format!("{values}, n"))
            ))
            .await;
        assert_eq!(
            pair.source
                .number(&format!("SELECT COUNT(DISTINCT s) FROM {table}"))
                .await,
            1
        );
        pair.source.next_second().await;
        let text = ![
            "k_int",
            "k_bigint",
            "k_float",
            "k_double",
            "k_decimal",
            "k_binary",
            "k_time",
            "k_date",
        ]
        .contains(table);
        let order = if text {
            "CAST(CONVERT(k USING utf8mb4) AS BINARY)"
        } else {
            "k"
        };
        let tie = if columns.contains(',') { ", l" } else { "" };
        let nth = pair
            .source
            .number(&format!(
                "SELECT n FROM {table} ORDER BY {order}{tie} LIMIT 1 OFFSET {}",
                KEYED * 4 / 5
            ))
            .await;

        // Somebody holds the place of a row of the last fifth.
        let mut holder = pair.dest.session().await;
        holder.run("START TRANSACTION").await;
        holder
            .run(format!(
                "INSERT INTO {table} ({columns}, n) SELECT {values}, n FROM (SELECT {nth} AS n) AS one"
            ))
            .await;
        let puller = Puller::start(&pair.puller_args(&["-t", table]));
        let writer = blocked_writer(&pair.dest).await;
        puller.kill().await;
        holder.run("ROLLBACK").await;
        connection_ends(&pair.dest, writer).await;
        let held = pair.dest.count(table).await;
        assert!(
            0 < held && held < u64::from(KEYED),
            "{table}: {held} rows are there, it was not killed in the middle"
        );
        let output = pair.pull(&["-t", table]).await.ok();
        pair.assert_same_in(&[table]).await;
        assert_eq!(
            output.rows(table),
            u64::from(KEYED) - held,
            "{table}: rows came again"
        );
    }
}

/// Waits until a statement that writes waits for a row lock; the id of its connection.
pub(crate) async fn blocked_writer(side: &Side) -> u64 {
    rarely("a write waits for a lock", async || {
        blocked_writers(side).await.first().copied()
    })
    .await
}

/// Connections whose INSERT waits for a row lock. Neither flavour has one view for it: MySQL's
/// INNODB_TRX fails while a statement holds what utf8mb3 does not, MariaDB has no data_locks.
async fn blocked_writers(side: &Side) -> Vec<u64> {
    let sql = if side.is_mysql() {
        "SELECT DISTINCT PROCESSLIST_ID FROM performance_schema.data_lock_waits \
         JOIN performance_schema.threads ON THREAD_ID=REQUESTING_THREAD_ID"
    } else {
        "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX WHERE trx_state='LOCK WAIT'"
    };
    let found = side.column(sql).await;
    found.iter().map(|id| id.parse().unwrap()).collect()
}

async fn connection_ends(side: &Side, id: u64) {
    let there = format!(
        "SELECT COUNT(*) FROM {} WHERE ID={id}",
        side.server.processlist()
    );
    eventually("the dead puller's connection ends", async || {
        (side.number(&there).await == 0).then_some(())
    })
    .await;
}

/// R12. The destination's own ON UPDATE stamps the row: a position taken from it would lie above
/// rows that were never pulled.
async fn a_row_touched_at_the_destination_hides_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(100, "n+100, n")
        ))
        .await;
    pair.source.run("UPDATE t SET v=7 WHERE id=2").await;
    pair.source.next_second().await;
    pair.dest.run("UPDATE t SET v=99 WHERE id=1").await;
    pair.pull(&[]).await.ok().says(&["WARN", "t"]);
    assert_eq!(
        pair.dest
            .number("SELECT COUNT(*) FROM t WHERE id>100")
            .await,
        100
    );
    assert_eq!(pair.dest.one("SELECT v FROM t WHERE id=2").await, "7");

    // While polling, the position is the last pull's horizon.
    let mut puller = pair.poll(0.1, &[]).await;
    puller.pulls_again("t", 2).await;
    let mut writer = pair.source.session().await;
    writer.run("START TRANSACTION").await;
    writer.run("INSERT INTO t (id, v) VALUES (300, 0)").await;
    pair.dest.run("UPDATE t SET v=98 WHERE id=2").await;
    puller.pulls_again("t", 2).await;
    writer.run("COMMIT").await;
    eventually("the row arrives", async || {
        (pair
            .dest
            .number("SELECT COUNT(*) FROM t WHERE id=300")
            .await
            == 1)
            .then_some(())
    })
    .await;
    puller.terminate().await.ok();
    // What was touched is mended by the next change of the row at the source.
    pair.source.run("UPDATE t SET v=v+1").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R12. A row that the source never had proves nothing about the position.
async fn a_row_added_at_the_destination_hides_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("INSERT INTO t (id, v) VALUES (3, 0)").await;
    pair.source.next_second().await;
    pair.dest.run("INSERT INTO t (id, v) VALUES (500, 0)").await;
    pair.dest.run("UPDATE t SET v=v+1 WHERE id=1").await;
    pair.pull(&[]).await.ok();
    assert_eq!(
        pair.dest.number("SELECT COUNT(*) FROM t WHERE id=3").await,
        1
    );
    // Also when it is the only row: the source has none at its position.
    pair.dest.run("DELETE FROM t WHERE id<>500").await;
    pair.pull(&[]).await.ok();
    assert_eq!(pair.dest.count("t").await, 4);
}

/// R5. The dead puller's statement is still at work when its successor begins: were it to commit
/// after the successor's, an old version would stand for good.
async fn a_dead_pullers_batch_never_wins(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id, v) {}", numbers(10, "n, 0")))
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET v=1").await;
    pair.source.next_second().await;

    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM t WHERE id=5 FOR UPDATE").await;
    let dead = Puller::start(&pair.puller_args(&[]));
    let writer = blocked_writer(&pair.dest).await;
    dead.kill().await;
    pair.source.run("UPDATE t SET v=2").await;
    let successor = Puller::start(&pair.puller_args(&[]));
    // The successor makes an end of it before it writes itself: both never wait together.
    rarely("the successor waits instead", async || {
        let now = blocked_writers(&pair.dest).await;
        assert!(now.len() < 2, "two writers wait: {now:?}");
        (!now.is_empty() && now[0] != writer).then_some(())
    })
    .await;
    holder.run("ROLLBACK").await;
    successor.end().await.ok();
    connection_ends(&pair.dest, writer).await;
    pair.assert_same().await;
    assert_eq!(pair.dest.one("SELECT MIN(v) FROM t").await, "2");
}

/// R5. The message leads to the first one.
async fn a_second_puller_is_refused_by_name(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    let mut first = pair.poll(0.1, &[]).await;
    first.pulls_again("t", 1).await;
    let others = pair
        .dest
        .column(&format!(
            "SELECT ID FROM {} WHERE ID<>CONNECTION_ID() AND USER='root'",
            pair.dest.server.processlist()
        ))
        .await;
    let second = pair
        .pull(&[])
        .await
        .fails_naming(&["puller", &pair.dest.database]);
    assert!(
        others.iter().any(|id| second.stderr.contains(id.as_str())),
        "none of the connections {others:?} is named:\n{}",
        second.stderr
    );
    // The first one does not mind, and another destination database has a lock of its own.
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    pair.becomes_same(&["t"]).await;
    pair.dest.run("CREATE DATABASE another").await;
    pair.dest.run("CREATE TABLE another.t LIKE t").await;
    pair.pull(&["--dest-database=another"]).await.ok();
    first.kill().await;
    // And after a kill the lock is free at once.
    pair.pull(&[]).await.ok();
}

/// A stop in the middle is no failure of the data: the next pull goes on.
async fn a_puller_that_is_asked_to_stop_stops_well(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(100_000, "n, CONCAT('row ', n)")
        ))
        .await;
    pair.serve().await;
    let puller = Puller::start(&pair.puller_args(&["--poll-interval=0.1"]));
    eventually("some rows arrive", async || {
        (pair.dest.count("t").await > 0).then_some(())
    })
    .await;
    puller.terminate().await.ok();
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
