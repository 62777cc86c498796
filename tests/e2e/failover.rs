//! Several servers that can stand in for each other as the destination.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::{Lease, Pair, Puller, Side, eventually, same_flavour, within};

use crate::relay::Relay;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    the_first_host_that_can_be_written_to_is,
    a_host_that_dies_midway_is_left_for_one_that_is_empty,
    a_host_that_becomes_read_only_is_left,
    a_destination_that_becomes_read_only_refuses_no_row,
    two_pullers_with_the_same_hosts_never_both_write,
    all_hosts_are_down_for_a_while,
    its_own_lost_connection_at_another_host_is_ended,
);

/// A black hole is given up, and not only by the system's own time.
const QUICK: Duration = Duration::from_secs(20);

/// A second server with an empty copy of the destination.
async fn second(pair: &Pair) -> Side {
    let lease = Lease::take(pair.dest.flavour()).await;
    let side = Side::named(lease, &pair.dest.database).await;
    side.run(table()).await;
    side
}

fn table() -> String {
    format!("CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL DEFAULT 0, {STAMP}, {INDEXED})")
}

async fn start(pair: &Pair) -> Side {
    pair.both(&table()).await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    second(pair).await
}

fn hosts(ports: &[u16]) -> String {
    let places: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    format!("--dest-host={}", places.join(","))
}

fn port(side: &Side) -> u16 {
    side.server.port()
}

/// From here on the pair compares with that side; the other one is answered.
fn now_at(pair: &mut Pair, side: Side) -> Side {
    std::mem::replace(&mut pair.dest, side)
}

async fn the_first_host_that_can_be_written_to_is(mut pair: Pair) {
    let other = start(&pair).await;
    let closed = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let hole = Relay::to(port(&other)).await;
    hole.freeze_all();
    let mut lacking = Lease::take(pair.dest.flavour()).await;
    lacking.keep_from_others();
    let mut refusing = second(&pair).await;
    refusing.server.keep_from_others();
    refusing.run("SET GLOBAL read_only=1").await;

    let given = hosts(&[
        closed,
        hole.port,
        lacking.port(),
        port(&refusing),
        port(&pair.dest),
    ]);
    pair.serve().await;
    let began = Instant::now();
    let said = format!("writing to 127.0.0.1:{}", port(&pair.dest));
    pair.pull(&[&given, "-d"])
        .await
        .ok()
        .says(&[&said, "read-only"]);
    assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
    pair.assert_same().await;
    assert_eq!(refusing.count("t").await, 0);

    let none = hosts(&[closed, hole.port, lacking.port(), port(&refusing)]);
    let words = [
        "no host",
        "no answer",
        "refused",
        "no database",
        "read-only",
    ];
    pair.pull(&[&none])
        .await
        .fails_naming(&["no host", "no connection in time"])
        .says(&words[2..]);
}

/// R12. What the dead host had is not what the other one has.
async fn a_host_that_dies_midway_is_left_for_one_that_is_empty(mut pair: Pair) {
    let other = start(&pair).await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            numbers(200_000, "n+10, n")
        ))
        .await;
    let given = hosts(&[port(&pair.dest), port(&other)]);
    let mut puller = pair.poll(0.1, &[&given]).await;
    eventually("some rows are written", async || {
        (pair.dest.count("t").await > 0).then_some(())
    })
    .await;
    pair.dest.server.kill();
    let said = format!("writing to 127.0.0.1:{}", port(&other));
    let mut dead = now_at(&mut pair, other);
    puller.says(&said).await;
    pair.becomes_same(&["t"]).await;
    assert!(!puller.has_ended(), "{}", puller.log());

    // Back again, it is not written to while the other one is there.
    dead.server.restart().await;
    dead.reconnect().await;
    let held = dead.count("t").await;
    assert!(held < 200_001, "it was killed too late");
    pair.source.run("UPDATE t SET v=-1 WHERE id=1").await;
    pair.becomes_same(&["t"]).await;
    assert_eq!(dead.count("t").await, held);
    // Until that one dies: what it lacks is read again.
    pair.dest.server.kill();
    pair.source.run("INSERT INTO t (id, v) VALUES (2, 2)").await;
    let gone = now_at(&mut pair, dead);
    pair.becomes_same(&["t"]).await;
    drop(gone);
    puller.terminate().await.ok();
}

/// Without a word of it: a switchover is planned, and an account that may write all the same must not.
async fn a_host_that_becomes_read_only_is_left(mut pair: Pair) {
    let mut other = start(&pair).await;
    pair.dest.server.keep_from_others();
    other.server.keep_from_others();
    let given = hosts(&[port(&pair.dest), port(&other)]);
    let mut puller = pair.poll(0.1, &[&given]).await;
    pair.becomes_same(&["t"]).await;
    pair.dest.run("SET GLOBAL read_only=1").await;
    puller
        .says(&format!("writing to 127.0.0.1:{}", port(&other)))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    let former = now_at(&mut pair, other);
    pair.becomes_same(&["t"]).await;
    assert_eq!(former.count("t").await, 1);
    puller.terminate().await.ok();
}

/// Single, and with the account that the README has, which may not write then: it is waited for.
async fn a_destination_that_becomes_read_only_refuses_no_row(mut pair: Pair) {
    start(&pair).await;
    pair.dest.server.keep_from_others();
    let database = harness::quoted(&pair.dest.database);
    pair.dest
        .run("CREATE USER writer@'127.0.0.1' IDENTIFIED BY ''")
        .await;
    pair.dest
        .run(format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO writer@'127.0.0.1'"
        ))
        .await;
    let more = ["--dest-username=writer", "--ignore-database-errors"];
    let mut puller = pair.poll(0.1, &more).await;
    pair.becomes_same(&["t"]).await;
    pair.dest.run("SET GLOBAL read_only=1").await;
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    puller.says("the destination failed").await;
    pair.dest.run("SET GLOBAL read_only=0").await;
    pair.becomes_same(&["t"]).await;
    puller.says("pulls succeed again").await;
    let log = puller.terminate().await.ok().stderr;
    assert!(!log.contains("refused the row"), "{log}");
}

/// R5.
async fn two_pullers_with_the_same_hosts_never_both_write(mut pair: Pair) {
    let other = start(&pair).await;
    let one = hosts(&[port(&pair.dest), port(&other)]);
    let two = hosts(&[port(&other), port(&pair.dest)]);
    let puller = pair.poll(0.1, &[&one]).await;
    pair.becomes_same(&["t"]).await;
    let at = format!("at 127.0.0.1:{}", port(&pair.dest));
    pair.pull(&[&two])
        .await
        .fails_naming(&["another dbd-puller writes to", &at]);
    assert_eq!(other.count("t").await, 0);
    puller.terminate().await.ok();

    // At once: one of them at most goes on.
    for _ in 0..3 {
        let mut pullers = [pair.poll(0.1, &[&one]).await, pair.poll(0.1, &[&two]).await];
        eventually("each has begun, or seen the other", async || {
            let decided = |puller: &mut Puller| puller.has_ended() || !puller.pulls().is_empty();
            pullers.iter_mut().all(decided).then_some(())
        })
        .await;
        let [first, second] = pullers;
        let wrote = [&first, &second].map(|puller| !puller.pulls().is_empty());
        assert!(wrote != [true, true], "{}\n{}", first.log(), second.log());
        first.kill().await;
        second.kill().await;
    }
}

async fn all_hosts_are_down_for_a_while(mut pair: Pair) {
    let mut other = start(&pair).await;
    let given = hosts(&[port(&pair.dest), port(&other)]);
    let mut puller = pair.poll(0.1, &[&given]).await;
    pair.becomes_same(&["t"]).await;
    other.server.kill();
    pair.dest.server.kill();
    let line = puller.says("no host of --dest-host").await;
    for side in [&pair.dest, &other] {
        let place = format!("127.0.0.1:{}", port(side));
        assert!(line.contains(&place), "{line}");
    }
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    other.server.restart().await;
    other.reconnect().await;
    let dead = now_at(&mut pair, other);
    pair.becomes_same(&["t"]).await;
    puller.says("pulls succeed again").await;
    drop(dead);
    let log = puller.terminate().await.ok().stderr;
    let lines = log.lines().filter(|line| line.contains("ERROR")).count();
    // What failed first, and that nothing is left: the log follows the kind of trouble.
    assert!(lines <= 2, "{log}");
}

/// R5. A host that was lost without a word holds the puller lock still when it can be reached again.
async fn its_own_lost_connection_at_another_host_is_ended(mut pair: Pair) {
    let other = start(&pair).await;
    let lossy = Relay::to(port(&pair.dest)).await;
    let given = hosts(&[lossy.port, port(&other)]);
    let mut puller = pair.poll(0.1, &[&given]).await;
    pair.becomes_same(&["t"]).await;
    let lock = format!("SELECT IS_USED_LOCK('dbd-puller:{}')", pair.dest.database);
    let former = pair.dest.number(&lock).await;
    lossy.freeze_all();
    let said = format!("writing to 127.0.0.1:{}", port(&other));
    within(Duration::from_secs(45), &said, async || {
        puller.log().contains(&said).then_some(())
    })
    .await;
    assert_eq!(pair.dest.number(&lock).await, former);
    // New connections get there again. It looks at all hosts whenever it connects.
    lossy.freeze();
    other
        .run(format!("KILL {}", other.number(&lock).await))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (2)").await;
    let former = now_at(&mut pair, other);
    pair.becomes_same(&["t"]).await;
    eventually("the lost connection has ended", async || {
        (former.one(&lock).await == "NULL").then_some(())
    })
    .await;
    let log = puller.log();
    assert!(!log.contains("another dbd-puller writes to"), "{log}");
    assert!(!puller.has_ended(), "{log}");
    puller.terminate().await.ok();
}
