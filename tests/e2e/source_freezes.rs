//! The source is there and says nothing, on one connection or on all.

use std::time::{Duration, Instant};

use harness::{Flavour, Pair, Way, same_flavour, within};

use crate::{INDEXED, STAMP};

same_flavour!(
    the_horizons_connection_is_made_anew,
    a_frozen_source_is_waited_for,
);

/// How soon `/-/ready` tells.
const TOLD: Duration = Duration::from_secs(8);

/// How old a horizon may become.
const STALE: Duration = Duration::from_secs(30);

async fn served(pair: &mut Pair) -> Way {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0)")
        .await;
    let way = Way::to(pair.source.server.port()).await;
    pair.start_server(&[&way.flag()]).await;
    pair.ready().await;
    way
}

async fn is_not_ready(pair: &Pair) {
    within(TOLD, "it is not ready", async || {
        (pair.curl(&[], "/-/ready").await.0 == 503).then_some(())
    })
    .await;
}

/// Each thing is said once.
async fn said_once(pair: &mut Pair) {
    let log = {
        pair.server().says("the source answers again").await;
        pair.server().log()
    };
    for line in ["cannot look at the source", "the source answers again"] {
        assert_eq!(log.matches(line).count(), 1, "{line}:\n{log}");
    }
}

/// R1. The others work, and what they read is below a horizon that stays true.
async fn the_horizons_connection_is_made_anew(mut pair: Pair) {
    let way = served(&mut pair).await;
    // There is no other one yet.
    way.freeze();
    let mut open = pair.source.session().await;
    open.run("START TRANSACTION").await;
    open.run("UPDATE t SET v=1 WHERE id=1").await;
    let puller = pair.poll(0.1, &[]).await;
    is_not_ready(&pair).await;
    pair.source.run("INSERT INTO t (id, v) VALUES (3, 1)").await;
    said_once(&mut pair).await;
    pair.ready().await;
    pair.source.run("UPDATE t SET v=2 WHERE id=2").await;
    open.run("COMMIT").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// R1.
async fn a_frozen_source_is_waited_for(mut pair: Pair) {
    let way = served(&mut pair).await;
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    let mut open = pair.source.session().await;
    open.run("START TRANSACTION").await;
    open.run("UPDATE t SET v=1 WHERE id=1").await;
    way.freeze_all();
    is_not_ready(&pair).await;
    pair.source.run("INSERT INTO t (id, v) VALUES (3, 1)").await;
    pair.server().says("cannot look at the source").await;
    open.run("COMMIT").await;
    way.thaw();
    said_once(&mut pair).await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// R1. Whoever reads rows gets them, but nobody who asks what may still appear: so they would be read below a
/// horizon that gets older and older.
#[tokio::test]
async fn a_horizon_that_is_not_renewed_is_not_served_for_long() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    let way = served(&mut pair).await;
    let path = format!("/{}/t/?wait=0", pair.source.database);
    way.leave_unanswered("innodb_trx");
    let asked = Instant::now();
    let (status, body) = within(STALE + TOLD, "it is too old", async || {
        let (status, _, body) = pair.curl(&[], &path).await;
        (status != 200).then_some((status, body))
    })
    .await;
    let took = asked.elapsed();
    assert!(took > STALE - TOLD, "{took:?}: {body}");
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("the source has not answered for 3"), "{body}");
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    // It stays so, and a puller waits.
    let mut puller = pair.poll(0.1, &[]).await;
    puller.says("503").await;
    tokio::time::sleep(STALE).await;
    assert_eq!(pair.curl(&[], &path).await.0, 503);
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    assert_eq!(pair.dest.count("t").await, 0);
    way.thaw();
    pair.ready().await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}
