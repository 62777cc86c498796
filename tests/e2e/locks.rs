//! Changes that are stamped early and committed late.

use harness::{Pair, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(
    a_transaction_open_across_pulls_loses_nothing,
    a_transaction_open_across_polls_loses_nothing,
    a_statement_that_waits_for_a_row_lock_loses_nothing,
    a_statement_that_waits_for_a_metadata_lock_loses_nothing,
);

/// R1. A row stamped early and committed late lies below later rows that were pulled already.
async fn a_transaction_open_across_pulls_loses_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;

    let mut writer = pair.source.session().await;
    writer.run("START TRANSACTION").await;
    writer.run("UPDATE t SET v=1 WHERE id=1").await;
    writer.run("INSERT INTO t (id, v) VALUES (10, 1)").await;
    for id in 20..23 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        pair.source
            .run(format!("UPDATE t SET v={id} WHERE id=2"))
            .await;
        pair.pull(&["--wait=1"]).await.ok();
    }
    writer.run("COMMIT").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R1, R12. The same while polling, where the position is the last pull's horizon.
async fn a_transaction_open_across_polls_loses_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;

    // A transaction that has only read when the others commit, and one that has written.
    let mut idle = pair.source.session().await;
    idle.run("START TRANSACTION").await;
    idle.run("SELECT * FROM t").await;
    let mut writer = pair.source.session().await;
    writer.run("SET autocommit=0").await;
    writer.run("UPDATE t SET v=1 WHERE id=1").await;
    for id in 20..25 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        puller.pulls_again("t", 2).await;
    }
    idle.run("INSERT INTO t (id, v) VALUES (30, 1)").await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (40, 1)")
        .await;
    puller.pulls_again("t", 3).await;
    writer.run("COMMIT").await;
    puller.pulls_again("t", 3).await;
    idle.run("COMMIT").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// R1. The stamp is that of the statement's start, before it had to wait. The row lock is held by
/// a transaction that writes nothing, so that it does not hold the horizon back itself.
async fn a_statement_that_waits_for_a_row_lock_loses_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)")
        .await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;

    let mut holder = pair.source.session().await;
    holder.run("START TRANSACTION").await;
    holder
        .run("SELECT * FROM t WHERE id IN (1,2) FOR UPDATE")
        .await;
    let autocommit = pair.source.start("UPDATE t SET v=7 WHERE id=1").await;
    let mut opened = pair.source.session().await;
    opened.run("START TRANSACTION").await;
    let opened = pair
        .source
        .start_on(opened, "UPDATE t SET v=7 WHERE id=2")
        .await;
    for id in 20..25 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        puller.pulls_again("t", 2).await;
    }
    assert!(!autocommit.is_finished() && !opened.is_finished());
    holder.run("COMMIT").await;
    autocommit.finish().await;
    let mut opened = opened.finish().await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (30, 1)")
        .await;
    puller.pulls_again("t", 3).await;
    opened.run("COMMIT").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// R1. While it waits for a metadata lock, a statement's transaction is in no list of
/// transactions; afterwards it shows a start that is later than the stamp.
async fn a_statement_that_waits_for_a_metadata_lock_loses_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.both(&format!(
        "CREATE TABLE u (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)")
        .await;
    pair.source.run("INSERT INTO u (id, v) VALUES (1, 0)").await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t", "u"]).await;

    let mut holder = pair.source.session().await;
    holder.run("LOCK TABLES t READ").await;
    let autocommit = pair.source.start("UPDATE t SET v=7 WHERE id=1").await;
    let mut opened = pair.source.session().await;
    opened.run("START TRANSACTION").await;
    let opened = pair
        .source
        .start_on(opened, "UPDATE t SET v=7 WHERE id=2")
        .await;
    for id in 20..25 {
        pair.source
            .run(format!("INSERT INTO u (id, v) VALUES ({id}, 1)"))
            .await;
        puller.pulls_again("t", 2).await;
    }
    assert!(!autocommit.is_finished() && !opened.is_finished());
    holder.run("UNLOCK TABLES").await;
    autocommit.finish().await;
    let mut opened = opened.finish().await;
    // Later stamps that can be seen while the older one cannot.
    for id in 30..33 {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        puller.pulls_again("t", 2).await;
    }
    opened.run("COMMIT").await;
    pair.becomes_same(&["t", "u"]).await;
    puller.terminate().await.ok();
}
