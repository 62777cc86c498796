//! Another server takes the source's place, behind the same address.

use harness::{
    Flavour, Lease, Options, Pair, Puller, Side, Way, each_flavour, eventually, same_flavour,
};

same_flavour!(
    a_server_that_has_all_rows_goes_on,
    what_the_other_server_lacks_goes_in_the_second_pass,
    what_was_written_before_anybody_noticed_arrives,
    connections_to_the_former_server_are_given_up,
);
each_flavour!(a_server_whose_clock_is_behind_loses_nothing);

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY, v INT, s TIMESTAMP(6) NOT NULL DEFAULT \
    CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (s))";

async fn tables(pair: &Pair, other: &Side) {
    pair.both(TABLE).await;
    other.run(TABLE).await;
    let insert = "INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)";
    pair.source.run(insert).await;
}

/// Another server that has no row yet.
async fn another(pair: &Pair) -> Side {
    let lease = Lease::take(pair.source.flavour()).await;
    Side::named(lease, &pair.source.database).await
}

/// Copies rows as they are, as replication does.
async fn replicate(from: &Side, to: &Side, condition: &str) {
    let rows = format!("SELECT CONCAT('(',id,',',v,',''',s,''')') FROM t WHERE {condition}");
    let rows = from.column(&rows).await;
    to.run(format!("REPLACE INTO t VALUES {}", rows.join(",")))
        .await;
}

/// Starts `dbd-server` behind a way to the source, and a puller once it is ready.
async fn poll(pair: &mut Pair, more: &[&str]) -> (Way, Puller) {
    let way = Way::to(pair.source.server.port()).await;
    pair.start_server(&[&way.flag()]).await;
    pair.ready().await;
    let puller = pair.poll(0.1, more).await;
    pair.becomes_same(&["t"]).await;
    (way, puller)
}

/// The other server takes the source's place.
fn take_over(pair: &mut Pair, way: &Way, other: Side) -> Side {
    way.leads_to(other.server.port());
    way.cut();
    std::mem::replace(&mut pair.source, other)
}

async fn a_server_that_has_all_rows_goes_on(mut pair: Pair) {
    let other = another(&pair).await;
    tables(&pair, &other).await;
    replicate(&pair.source, &other, "TRUE").await;
    let (way, mut puller) = poll(&mut pair, &[]).await;
    let _former = take_over(&mut pair, &way, other);
    pair.source.run("UPDATE t SET v=1 WHERE id=2").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    pair.becomes_same(&["t"]).await;
    pair.server()
        .says("another server answers as the source")
        .await;
    puller.says("another server answers as the source").await;
    pair.source.run("UPDATE t SET v=2 WHERE id=3").await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// R9. The end of its history was never replicated.
async fn what_the_other_server_lacks_goes_in_the_second_pass(mut pair: Pair) {
    let other = another(&pair).await;
    tables(&pair, &other).await;
    replicate(&pair.source, &other, "TRUE").await;
    pair.source.run("UPDATE t SET v=1 WHERE id=2").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    let (way, mut puller) = poll(&mut pair, &["--sync-deletes", "--delete-interval=4"]).await;
    let _former = take_over(&mut pair, &way, other);
    pair.source.run("INSERT INTO t (id, v) VALUES (5, 2)").await;
    puller.says("which answers now has not were kept").await;
    let held = pair
        .dest
        .column("SELECT CONCAT(id,':',v) FROM t ORDER BY id");
    assert_eq!(held.await, ["1:0", "2:0", "3:0", "4:1", "5:2"]);
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// R1. Those whose way led to the other server earlier wrote there, below the position.
async fn what_was_written_before_anybody_noticed_arrives(mut pair: Pair) {
    let other = another(&pair).await;
    tables(&pair, &other).await;
    replicate(&pair.source, &other, "TRUE").await;
    let (way, mut puller) = poll(&mut pair, &[]).await;
    other.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    other.run("UPDATE t SET v=1 WHERE id=2").await;
    let written = other.now().await;
    eventually("it was seconds ago", async || {
        let passed = format!("SELECT NOW(6) > '{written}' + INTERVAL 3 SECOND");
        (other.number(&passed).await == 1).then_some(())
    })
    .await;
    pair.source.run("UPDATE t SET v=7 WHERE id=3").await;
    pair.becomes_same(&["t"]).await;
    replicate(&pair.source, &other, "id=3").await;
    let _former = take_over(&mut pair, &way, other);
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// The former server lives on, and with it either the horizon's connection or the others.
async fn connections_to_the_former_server_are_given_up(mut pair: Pair) {
    let (second, third) = (another(&pair).await, another(&pair).await);
    tables(&pair, &second).await;
    third.run(TABLE).await;
    replicate(&pair.source, &second, "TRUE").await;
    let (way, mut puller) = poll(&mut pair, &[]).await;
    way.leads_to(second.server.port());
    // It was there before all others.
    let sampler = format!(
        "SELECT MIN(ID) FROM {} WHERE ID>CONNECTION_ID()",
        second.server.processlist()
    );
    let id = pair.source.number(&sampler).await;
    pair.source.run(format!("KILL {id}")).await;
    let _first = std::mem::replace(&mut pair.source, second);
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    pair.becomes_same(&["t"]).await;

    replicate(&pair.source, &third, "TRUE").await;
    way.leads_to(third.server.port());
    let others = format!(
        "SELECT ID FROM {} WHERE ID>({sampler})",
        third.server.processlist()
    );
    for id in pair.source.column(&others).await {
        // It may be gone already.
        let _ = pair.source.try_run(&format!("KILL {id}")).await;
    }
    let _second = std::mem::replace(&mut pair.source, third);
    pair.source.run("INSERT INTO t (id, v) VALUES (5, 2)").await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// R1. What it stamps at first lies below the position.
async fn a_server_whose_clock_is_behind_loses_nothing(flavour: Flavour) {
    let mut pair = Pair::start(flavour, flavour).await;
    let options = Options {
        own_clock: true,
        ..Options::default()
    };
    let other = Lease::own(flavour, &options).await;
    other.set_clock(-4.0);
    let other = Side::named(other, &pair.source.database).await;
    tables(&pair, &other).await;
    let (way, mut puller) = poll(&mut pair, &[]).await;
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    pair.becomes_same(&["t"]).await;
    replicate(&pair.source, &other, "TRUE").await;
    let _former = take_over(&mut pair, &way, other);
    pair.source.run("UPDATE t SET v=2 WHERE id=1").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (5, 2)").await;
    eventually("the answer says what it waits for", async || {
        let (status, _, body) = pair.curl(&[], "/").await;
        (status == 503 && body.contains("until it is past")).then_some(())
    })
    .await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}
