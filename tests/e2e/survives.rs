//! A polling puller that loses its lock, or its connections, goes on.

use harness::{Pair, same_flavour};

use crate::relay::Relay;
use crate::{INDEXED, STAMP};

same_flavour!(
    a_polling_puller_waits_for_a_lock_that_somebody_took,
    a_polling_puller_ends_its_own_lost_connection,
);

async fn small(pair: &Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
}

/// R5.
async fn a_polling_puller_waits_for_a_lock_that_somebody_took(mut pair: Pair) {
    small(&pair).await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    let name = format!("dbd-puller:{}", pair.dest.database);
    let id = pair
        .dest
        .number(&format!("SELECT IS_USED_LOCK('{name}')"))
        .await;
    let mut other = pair.dest.session().await;
    // It asks for the lock before the puller's connection ends.
    let taking = pair
        .dest
        .start_on(other, &format!("DO GET_LOCK('{name}', 60)"))
        .await;
    pair.dest.run(format!("KILL {id}")).await;
    other = taking.finish().await;
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    puller.says("another dbd-puller writes to").await;
    assert!(!puller.has_ended(), "{}", puller.log());
    assert_eq!(pair.dest.count("t").await, 1);

    other.run("DO RELEASE_ALL_LOCKS()").await;
    pair.becomes_same(&["t"]).await;
    puller.says("pulls succeed again").await;
    puller.terminate().await.ok();
}

/// The network swallows what the puller's connections carry: nobody tells the server that they are gone,
/// and it keeps the puller's lock for them.
async fn a_polling_puller_ends_its_own_lost_connection(mut pair: Pair) {
    small(&pair).await;
    let relay = Relay::to(pair.dest.server.port()).await;
    let mut puller = pair
        .poll(0.1, &[&format!("--dest-port={}", relay.port)])
        .await;
    pair.becomes_same(&["t"]).await;
    relay.freeze();
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    puller.says("a lost connection of this puller").await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}
