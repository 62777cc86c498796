//! A polling puller that loses its lock, its connections, or what its flags speak of, goes on.

use harness::{At, Pair, Proxy, eventually, same_flavour};

use crate::relay::Relay;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    a_polling_puller_waits_for_a_lock_that_somebody_took,
    a_polling_puller_ends_its_own_lost_connection,
    a_polling_puller_waits_for_a_column_that_it_leaves_out,
    a_polling_puller_goes_on_where_an_answer_was_cut_short,
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

/// A flag that speaks of nothing is misspelt when a puller starts, and was right when it has pulled.
async fn a_polling_puller_waits_for_a_column_that_it_leaves_out(mut pair: Pair) {
    small(&pair).await;
    pair.source.run("ALTER TABLE t ADD note INT").await;
    let mut puller = pair.poll(0.1, &["--exclude-columns=note"]).await;
    puller.pulls_again("t", 1).await;
    pair.source.run("ALTER TABLE t DROP note").await;
    puller.says("no table has such a column").await;
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    assert!(!puller.has_ended(), "{}", puller.log());
    pair.source.run("ALTER TABLE t ADD note INT").await;
    puller.says("pulls succeed again").await;
    eventually("the row arrives", async || {
        (pair.dest.count("t").await == 2).then_some(())
    })
    .await;
    puller.terminate().await.ok();
}

/// R12. A network that cuts every long answer must not make it read the same rows for ever.
async fn a_polling_puller_goes_on_where_an_answer_was_cut_short(mut pair: Pair) {
    small(&pair).await;
    pair.serve().await;
    let proxy = Proxy::start(pair.server().port).await;
    let mut puller = pair.poll(0.1, &[&proxy.flag()]).await;
    puller.pulls_again("t", 1).await;
    pair.becomes_same(&["t"]).await;
    let mut held = proxy.stop("/t/?", 1, At::Request);
    let mut first = proxy.stop("/t/?", 1, At::Lines(2_500));
    let mut second = proxy.stop("/t/?", 2, At::Lines(1_500));
    pair.source
        .run(format!("INSERT INTO t (id) {}", numbers(8_000, "n+2")))
        .await;
    held.reached().await;
    let two = format!("/{}/t/?limit=2", pair.source.database);
    eventually("the new rows are served", async || {
        let (_, _, body) = pair.curl(&[], &two).await;
        body.contains("\"count\":2").then_some(())
    })
    .await;
    held.go_on();
    first.reached().await;
    first.end();
    second.reached().await;
    second.end();
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
    let exchanges = proxy.exchanges();
    let long: Vec<_> = exchanges.iter().filter(|e| e.lines > 1_000).collect();
    let behind: Vec<_> = long.iter().map(|e| e.request.contains("after=")).collect();
    assert_eq!(behind, [false, true, true], "{long:?}");
}
