//! R5. Nobody else writes to the destination database while a puller does.

use std::time::Duration;

use harness::{Pair, Puller, same_flavour, within};

use crate::crash::blocked_writer;
use crate::relay::Relay;
use crate::{INDEXED, STAMP};

same_flavour!(
    a_batch_is_rolled_back_when_the_puller_lock_was_lost,
    a_machine_that_died_does_not_keep_the_locks,
);

/// R5. Another puller may have begun since: the last look before the commit sees it.
async fn a_batch_is_rolled_back_when_the_puller_lock_was_lost(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET v=1").await;
    pair.source.next_second().await;

    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM t WHERE id=2 FOR UPDATE").await;
    let puller = Puller::start(&pair.puller_args(&[]));
    blocked_writer(&pair.dest).await;
    let lock = format!("SELECT IS_USED_LOCK('dbd-puller:{}')", pair.dest.database);
    let idle = pair.dest.number(&lock).await;
    assert_ne!(idle, 0, "a connection holds the puller lock");
    pair.dest.run(format!("KILL {idle}")).await;
    harness::eventually("the puller lock is free", async || {
        (pair.dest.number(&lock).await == 0).then_some(())
    })
    .await;
    holder.run("ROLLBACK").await;
    puller.end().await.fails_naming(&["puller lock", "t"]);
    assert_eq!(pair.dest.one("SELECT SUM(v) FROM t").await, "0");
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R5. Nobody tells the destination that the puller's machine is gone. It waits for it to be heard of for 30 s.
async fn a_machine_that_died_does_not_keep_the_locks(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    let relay = Relay::to(pair.dest.server.port()).await;
    let through = format!("--dest-port={}", relay.port);
    let puller = pair.poll(0.1, &[&through]).await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.becomes_same(&["t"]).await;
    relay.freeze();
    puller.kill().await;
    pair.pull(&[]).await.fails_naming(&["another dbd-puller"]);

    let limit = Duration::from_secs(45);
    within(limit, "another machine's puller may begin", async || {
        // Each waits for a second itself.
        let output = Puller::start(&pair.puller_args(&[])).end().await;
        (output.code == Some(0)).then_some(())
    })
    .await;
    pair.assert_same().await;
}
