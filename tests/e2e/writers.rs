//! What holds the horizon back, and what does not.

use std::time::Duration;

use harness::{Flavour, Pair, each_flavour, eventually, same_flavour, within};

use crate::{INDEXED, STAMP};

same_flavour!(
    a_fired_event_does_not_freeze_the_horizon,
    long_reads_and_waits_do_not_freeze_the_horizon,
    text_in_a_statement_does_not_freeze_the_horizon,
    a_function_that_writes_late_holds_the_horizon,
    a_prepared_transaction_holds_the_horizon,
    a_server_started_amid_writers_waits_for_them_by_name,
    a_server_started_amid_a_prepared_transaction_waits_for_it_by_name,
);
each_flavour!(a_source_restarted_amid_writers_loses_nothing);

async fn table(pair: &Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
}

/// Changes a row and waits until it was pulled, while whatever blocks goes on.
async fn the_horizon_passes(pair: &mut Pair, id: u32, despite: &str) {
    // What began in this very second may be older than the row, as far as anybody can see.
    pair.source.next_second().await;
    pair.source.next_second().await;
    pair.source
        .run(format!("INSERT INTO t (id, v) VALUES ({id}, 0)"))
        .await;
    let output = pair.pull(&["--wait=15", "-t", "t"]).await.ok();
    let arrived = pair
        .dest
        .number(&format!("SELECT COUNT(*) FROM t WHERE id={id}"))
        .await;
    if arrived == 0 {
        let list = pair.source.server.processlist();
        let running = format!("SELECT CONCAT_WS(' ',ID,COMMAND,TIME,STATE,INFO) FROM {list}");
        println!("{}", pair.source.column(&running).await.join("\n"));
    }
    assert_eq!(
        arrived, 1,
        "the horizon stands still despite {despite}:\n{}",
        output.stderr
    );
}

/// R1. After one fired event MySQL shows the scheduler's own thread as busy for ever.
async fn a_fired_event_does_not_freeze_the_horizon(mut pair: Pair) {
    table(&pair).await;
    pair.serve().await;
    pair.source
        .run("CREATE EVENT e ON SCHEDULE AT CURRENT_TIMESTAMP DO INSERT INTO t (id, v) VALUES (1, 0)")
        .await;
    eventually("the event fires", async || {
        (pair.source.count("t").await == 1).then_some(())
    })
    .await;
    the_horizon_passes(&mut pair, 2, "an event that has fired").await;
    pair.assert_same().await;
}

/// R1. A nightly dump must not stop the day's pulls.
async fn long_reads_and_waits_do_not_freeze_the_horizon(mut pair: Pair) {
    table(&pair).await;
    pair.source
        .run("CREATE TABLE long_list (n INT PRIMARY KEY)")
        .await;
    pair.source
        .run(format!(
            "INSERT INTO long_list {}",
            crate::numbers(1_000, "n")
        ))
        .await;
    pair.serve().await;

    let mut holder = pair.source.session().await;
    holder.run("SELECT GET_LOCK('dbd test', 0)").await;
    let mut running = vec![pair.source.start("SELECT GET_LOCK('dbd test', 600)").await];
    running.push(pair.source.start("SELECT SLEEP(600)").await);
    for (open, read) in [
        (
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "SELECT SQL_NO_CACHE n, SLEEP(1) FROM long_list",
        ),
        (
            "SET autocommit=1",
            "SELECT n, SLEEP(1) FROM long_list WHERE n IN (SELECT n FROM long_list)",
        ),
    ] {
        let mut reader = pair.source.session().await;
        reader.run(open).await;
        running.push(pair.source.start_on(reader, read).await);
    }
    // Transactions that have read, and one that has written what it rolled back to nothing.
    let mut idle = pair.source.session().await;
    idle.run("START TRANSACTION").await;
    idle.run("SELECT * FROM t").await;
    the_horizon_passes(&mut pair, 1, "long reads and waits").await;
    the_horizon_passes(&mut pair, 2, "long reads and waits").await;
    for busy in &running {
        assert!(!busy.is_finished(), "the reads were still running");
    }
    pair.assert_same_in(&["t"]).await;
    for busy in running {
        pair.source.run(format!("KILL {}", busy.id)).await;
    }
}

/// R1. The same for a read of several tables, which on MariaDB nothing proves to be one.
#[tokio::test]
async fn a_long_join_in_a_transaction_does_not_freeze_the_horizon() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    table(&pair).await;
    pair.source
        .run("CREATE TABLE long_list (n INT PRIMARY KEY)")
        .await;
    pair.source
        .run(format!(
            "INSERT INTO long_list {}",
            crate::numbers(1_000, "n")
        ))
        .await;
    pair.serve().await;
    let mut reader = pair.source.session().await;
    reader
        .run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await;
    let join = "SELECT SUM(a.n*b.n*c.n) FROM long_list a, long_list b, long_list c";
    let reading = pair.source.start_on(reader, join).await;
    the_horizon_passes(&mut pair, 1, "a long join").await;
    assert!(!reading.is_finished(), "the read was still running");
    pair.source.run(format!("KILL {}", reading.id)).await;
}

/// R1. MySQL's list of transactions cannot be read at all while a statement runs that holds a
/// character of four bytes, or bytes that are none.
async fn text_in_a_statement_does_not_freeze_the_horizon(mut pair: Pair) {
    table(&pair).await;
    pair.source
        .run("CREATE TABLE long_list (n INT PRIMARY KEY)")
        .await;
    pair.source
        .run(format!(
            "INSERT INTO long_list {}",
            crate::numbers(1_000, "n")
        ))
        .await;
    pair.serve().await;
    let mut reader = pair.source.session().await;
    reader.run("START TRANSACTION").await;
    let reading = pair
        .source
        .start_on(reader, "SELECT n, SLEEP(1), '😀' FROM long_list")
        .await;
    the_horizon_passes(&mut pair, 1, "an emoji in a statement").await;
    assert!(!reading.is_finished(), "the read was still running");
    pair.source.run(format!("KILL {}", reading.id)).await;
}

/// R1. What looks like a read can write: a function, also behind a view, inside and outside of a
/// transaction. Its row has the stamp of the statement's start.
async fn a_function_that_writes_late_holds_the_horizon(mut pair: Pair) {
    table(&pair).await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            crate::numbers(100, "n, 0")
        ))
        .await;
    pair.source.run("CREATE TABLE u (id INT PRIMARY KEY)").await;
    pair.source.run("INSERT INTO u SELECT id FROM t").await;
    pair.source
        .script(
            "CREATE FUNCTION late(which INT) RETURNS INT MODIFIES SQL DATA
             BEGIN DO SLEEP(3); UPDATE t SET v=which WHERE id=which; RETURN which; END;
             CREATE VIEW late_view AS SELECT late(3) AS which;
             CREATE VIEW late_rows AS SELECT id, late(4) AS which FROM u WHERE id=4;
             CREATE PROCEDURE late_procedure() BEGIN DO SLEEP(3); UPDATE t SET v=8 WHERE id=8; END;",
        )
        .await;
    let mut puller = pair.poll(0.1, &["-t", "t"]).await;
    pair.becomes_same(&["t"]).await;

    let mut autocommitted = Vec::new();
    for statement in [
        "SELECT late(1)",
        "SELECT late(2) FROM u WHERE id=2",
        "SELECT * FROM late_view",
        "SELECT * FROM late_rows",
        "SET @x = late(5)",
        "CALL late_procedure()",
        "DO late(9)",
    ] {
        autocommitted.push(pair.source.start(statement).await);
    }
    let mut opened = Vec::new();
    for (open, statement) in [
        ("START TRANSACTION", "SELECT late(6)"),
        (
            "START TRANSACTION WITH CONSISTENT SNAPSHOT",
            "SELECT late(7) FROM u WHERE id=7",
        ),
    ] {
        let mut session = pair.source.session().await;
        session.run(open).await;
        opened.push(pair.source.start_on(session, statement).await);
    }
    let running = |all: &[harness::Busy]| all.iter().any(|busy| !busy.is_finished());
    let mut value = 1_000;
    while running(&autocommitted) || running(&opened) {
        value += 1;
        pair.source
            .run(format!("UPDATE t SET v={value} WHERE id=100"))
            .await;
        puller.pulls_again("t", 1).await;
    }
    for busy in autocommitted {
        busy.finish().await;
    }
    for busy in opened {
        let mut session = busy.finish().await;
        puller.pulls_again("t", 2).await;
        session.run("COMMIT").await;
    }
    assert_eq!(
        pair.source
            .number("SELECT COUNT(*) FROM t WHERE v=id")
            .await,
        9
    );
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// R1. A prepared transaction belongs to no connection any more and can still commit.
async fn a_prepared_transaction_holds_the_horizon(mut pair: Pair) {
    table(&pair).await;
    let mut puller = pair.poll(0.1, &[]).await;
    prepare(&pair).await;
    for id in 20..25 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        puller.pulls_again("t", 2).await;
    }
    pair.source.run("XA COMMIT 'dbd-test'").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// Prepares a transaction and closes its connection.
async fn prepare(pair: &Pair) {
    let mut writer = pair.source.session().await;
    let id = writer.id();
    for statement in [
        "XA START 'dbd-test'",
        "INSERT INTO t (id, v) VALUES (1, 0)",
        "XA END 'dbd-test'",
        "XA PREPARE 'dbd-test'",
    ] {
        writer.run(statement).await;
    }
    drop(writer);
    let there = format!(
        "SELECT COUNT(*) FROM {} WHERE ID={id}",
        pair.source.server.processlist()
    );
    eventually("the connection is closed", async || {
        (pair.source.number(&there).await == 0).then_some(())
    })
    .await;
}

/// R1. What had written before the sampler's first look cannot be bounded.
async fn a_server_started_amid_writers_waits_for_them_by_name(mut pair: Pair) {
    table(&pair).await;
    let mut writer = pair.source.session().await;
    writer.run("START TRANSACTION").await;
    writer.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    let mut other = pair.source.session().await;
    other.run("START TRANSACTION").await;
    other.run("INSERT INTO t (id, v) VALUES (2, 0)").await;
    pair.start_server(&[]).await;
    for (session, name) in [(&mut writer, "the first"), (&mut other, "the second")] {
        refuses_naming(&pair, &session.id().to_string()).await;
        pair.source
            .run(format!(
                "INSERT INTO t (id, v) VALUES ({}, 1)",
                session.id() + 100
            ))
            .await;
        session.run("COMMIT").await;
        println!("{name} has committed");
    }
    pair.ready().await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R1. The same for a transaction that has no connection.
async fn a_server_started_amid_a_prepared_transaction_waits_for_it_by_name(mut pair: Pair) {
    table(&pair).await;
    prepare(&pair).await;
    pair.start_server(&[]).await;
    // Its XID may be seen by few; where to look for it is said to all.
    refuses_naming(&pair, "XA RECOVER").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (2, 0)").await;
    pair.source.run("XA COMMIT 'dbd-test'").await;
    pair.ready().await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// Waits until an answer is 503, says when to come again and names what is waited for.
async fn refuses_naming(pair: &Pair, name: &str) {
    let path = format!("/{}/t/", pair.source.database);
    within(
        Duration::from_secs(10),
        &format!("503 that names {name}"),
        async || {
            let (status, head, body) = pair.curl(&[], &path).await;
            println!("{body}");
            assert_eq!(status, 503, "{body}");
            assert!(head.contains("retry-after:"), "{head}");
            assert!(head.contains("application/problem+json"), "{head}");
            body.contains(name).then_some(())
        },
    )
    .await;
}

/// R1, R10. The source is killed while it is being written to and pulled, and comes back.
async fn a_source_restarted_amid_writers_loses_nothing(flavour: Flavour) {
    let mut pair = Pair::start(flavour, flavour).await;
    table(&pair).await;
    let mut puller = pair.poll(0.1, &[]).await;
    for round in 1..3 {
        let mut writer = pair.source.session().await;
        writer.run("START TRANSACTION").await;
        writer
            .run(format!("INSERT INTO t (id, v) VALUES ({round}, 0)"))
            .await;
        for id in 0..10 {
            pair.source
                .run(format!("INSERT INTO t (id, v) VALUES ({round}0{id}, 0)"))
                .await;
        }
        pair.source.server.kill();
        pair.source.server.restart().await;
        pair.source.reconnect().await;
        let mut writer = pair.source.session().await;
        writer.run("START TRANSACTION").await;
        writer
            .run(format!("INSERT INTO t (id, v) VALUES ({round}50, 0)"))
            .await;
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({round}99, 0)"))
            .await;
        puller.pulls_again("t", 0).await;
        writer.run("COMMIT").await;
        pair.becomes_same(&["t"]).await;
    }
    puller.terminate().await.ok();
}
