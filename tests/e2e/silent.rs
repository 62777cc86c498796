//! R13. A destination that says nothing any more, and closes nothing, is noticed whatever it was asked.

use std::time::{Duration, Instant};

use harness::{Pair, Puller, Session, same_flavour, within};

use crate::crash::blocked_writer;
use crate::relay::Relay;
use crate::{INDEXED, STAMP};

same_flavour!(
    every_connection_is_silent_while_a_batch_is_written,
    the_writing_connection_is_silent_while_a_batch_is_written,
    the_writing_connection_is_silent_while_the_position_is_read,
    the_writing_connection_is_silent_during_a_reconcile,
    a_comparison_does_not_wait_for_ever,
    a_slow_statement_is_waited_for,
    an_answer_that_arrives_slowly_is_waited_for,
);

/// A look every 5 s that takes 15 s at most, or two of them behind the 10 s that an answer may be on its way.
const BOUND: Duration = Duration::from_secs(22);

/// Behind that, connecting again, on a busy machine.
const AGAIN: Duration = Duration::from_secs(10);

async fn two_rows(pair: &Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO t (id) VALUES (1), (2)").await;
}

fn through(relay: &Relay) -> String {
    format!("--dest-port={}", relay.port)
}

/// A session that keeps everybody else from the table.
async fn locked(pair: &Pair) -> Session {
    let mut session = pair.dest.session().await;
    session.run("LOCK TABLES t WRITE").await;
    session
}

/// Where the writing connection comes from.
async fn writer(pair: &Pair) -> String {
    pair.dest
        .one(&format!(
            "SELECT HOST FROM {} WHERE ID=IS_USED_LOCK('dbd-writer:{}')",
            pair.dest.server.processlist(),
            pair.dest.database
        ))
        .await
}

/// Waits until the puller's statement waits for the table.
async fn waits_for_the_table(pair: &Pair) {
    let waiting = format!(
        "SELECT COUNT(*) FROM {} WHERE STATE LIKE 'Waiting for table%'",
        pair.dest.server.processlist()
    );
    harness::eventually("the puller waits for the table", async || {
        (pair.dest.number(&waiting).await > 0).then_some(())
    })
    .await;
}

/// Waits until the puller has noticed, not later than that after the silence began.
async fn notices(puller: &Puller, silent: Instant) {
    within(BOUND + AGAIN, "the puller notices", async || {
        puller
            .log()
            .contains("the destination failed")
            .then_some(())
    })
    .await;
    let after = silent.elapsed();
    assert!(after < BOUND, "{after:?}:\n{}", puller.log());
}

async fn goes_on(pair: &Pair, mut puller: Puller) {
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.says("pulls succeed again").await;
    puller.terminate().await.ok();
}

async fn every_connection_is_silent_while_a_batch_is_written(mut pair: Pair) {
    two_rows(&pair).await;
    let relay = Relay::to(pair.dest.server.port()).await;
    let puller = pair.poll(0.1, &[&through(&relay)]).await;
    pair.becomes_same(&["t"]).await;
    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM t WHERE id=2 FOR UPDATE").await;
    pair.source.run("UPDATE t SET v=1").await;
    blocked_writer(&pair.dest).await;
    relay.freeze();
    let silent = Instant::now();
    holder.run("ROLLBACK").await;
    notices(&puller, silent).await;
    goes_on(&pair, puller).await;
}

async fn the_writing_connection_is_silent_while_a_batch_is_written(mut pair: Pair) {
    two_rows(&pair).await;
    let relay = Relay::to(pair.dest.server.port()).await;
    let puller = pair.poll(0.1, &[&through(&relay)]).await;
    pair.becomes_same(&["t"]).await;
    let mut holder = pair.dest.session().await;
    holder.run("START TRANSACTION").await;
    holder.run("SELECT * FROM t WHERE id=2 FOR UPDATE").await;
    pair.source.run("UPDATE t SET v=1").await;
    blocked_writer(&pair.dest).await;
    relay.freeze_one(&writer(&pair).await);
    let silent = Instant::now();
    holder.run("ROLLBACK").await;
    notices(&puller, silent).await;
    goes_on(&pair, puller).await;
}

async fn the_writing_connection_is_silent_while_the_position_is_read(mut pair: Pair) {
    two_rows(&pair).await;
    pair.pull(&[]).await.ok();
    let relay = Relay::to(pair.dest.server.port()).await;
    let mut holder = locked(&pair).await;
    let puller = pair.poll(0.1, &[&through(&relay)]).await;
    waits_for_the_table(&pair).await;
    relay.freeze_one(&writer(&pair).await);
    let silent = Instant::now();
    holder.run("UNLOCK TABLES").await;
    notices(&puller, silent).await;
    pair.source.run("UPDATE t SET v=1").await;
    goes_on(&pair, puller).await;
}

async fn the_writing_connection_is_silent_during_a_reconcile(mut pair: Pair) {
    two_rows(&pair).await;
    let relay = Relay::to(pair.dest.server.port()).await;
    let more = [&through(&relay), "--sync-deletes", "--delete-interval=1"];
    let mut puller = pair.poll(0.1, &more).await;
    puller.reconciles_again("t", 1).await;
    // An idle pull asks for nothing of the table at the destination: only a pass does.
    pair.source.run("DELETE FROM t WHERE id=1").await;
    let mut holder = locked(&pair).await;
    waits_for_the_table(&pair).await;
    relay.freeze_one(&writer(&pair).await);
    let silent = Instant::now();
    holder.run("UNLOCK TABLES").await;
    notices(&puller, silent).await;
    goes_on(&pair, puller).await;
}

async fn a_comparison_does_not_wait_for_ever(mut pair: Pair) {
    two_rows(&pair).await;
    pair.pull(&[]).await.ok();
    let relay = Relay::to(pair.dest.server.port()).await;
    let _holder = locked(&pair).await;
    let puller = Puller::start(&pair.puller_args(&[&through(&relay), "--verify=full"]));
    waits_for_the_table(&pair).await;
    relay.freeze();
    let silent = Instant::now();
    puller
        .end()
        .await
        .fails_naming(&["the destination failed", "no answer"]);
    assert!(silent.elapsed() < BOUND, "{:?}", silent.elapsed());
}

/// What the server is at work on is not lost.
async fn a_slow_statement_is_waited_for(mut pair: Pair) {
    two_rows(&pair).await;
    pair.pull(&[]).await.ok();
    pair.source.run("UPDATE t SET v=1").await;
    let mut holder = locked(&pair).await;
    let mut puller = pair.poll(0.1, &[]).await;
    waits_for_the_table(&pair).await;
    holder.run("DO SLEEP(25)").await;
    assert!(!puller.has_ended(), "{}", puller.log());
    holder.run("UNLOCK TABLES").await;
    pair.becomes_same(&["t"]).await;
    let log = puller.terminate().await.ok().stderr;
    assert!(!log.contains("failed"), "{log}");
}

/// The server has sent all it has to the kernel, and has nothing to do, long before a slow line has brought it.
async fn an_answer_that_arrives_slowly_is_waited_for(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v MEDIUMTEXT, {STAMP}, {INDEXED})"
    ))
    .await;
    for id in 1..=30 {
        let row = format!("INSERT INTO t (id, v) VALUES ({id}, REPEAT('x', 100000))");
        pair.source.run(row).await;
    }
    pair.pull(&[]).await.ok();
    let relay = Relay::slow(pair.dest.server.port(), 100_000).await;
    let began = Instant::now();
    let compared = pair.pull(&[&through(&relay), "--verify=full"]).await;
    compared.ok();
    assert!(began.elapsed() > BOUND, "it was not slow enough to tell");
}
