//! A replica is the source, and takes the place of its primary.

use harness::{
    DEADLINE, Flavour, Lease, Options, Pair, Puller, Side, Way, each_flavour, eventually,
};

use crate::{INDEXED, STAMP};

each_flavour!(
    a_replica_is_behind_its_lag,
    a_delayed_replica_loses_nothing,
    a_replica_that_stands_still_is_not_served,
    a_replica_takes_the_place_of_its_dead_primary,
);

fn options(flavour: Flavour, id: u32) -> Options {
    let mut flags = vec!["--log-bin=bin".to_owned(), format!("--server-id={id}")];
    if flavour == Flavour::MySql {
        flags.push("--gtid-mode=ON".to_owned());
        flags.push("--enforce-gtid-consistency=ON".to_owned());
    } else {
        flags.push("--log-slave-updates".to_owned());
    }
    Options {
        flags,
        ..Options::default()
    }
}

/// A primary with some rows, its replica, and a destination.
async fn replicated(flavour: Flavour, delay: u32) -> (Pair, Side) {
    let primary = options(flavour, 1);
    let pair = Pair::with((flavour, &primary), (flavour, &Options::default())).await;
    let replica = Lease::own(flavour, &options(flavour, 2)).await;
    let replica = Side::named(replica, &pair.source.database).await;
    let database = harness::quoted(&pair.source.database);
    replica.run(format!("DROP DATABASE {database}")).await;
    let port = pair.source.server.port();
    replica
        .script(&match flavour {
            Flavour::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                 SOURCE_USER='root', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, \
                 SOURCE_DELAY={delay};\nSTART REPLICA"
            ),
            Flavour::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', \
                 MASTER_USE_GTID=slave_pos, MASTER_DELAY={delay};\nSTART SLAVE"
            ),
        })
        .await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)")
        .await;
    eventually("the replica has the rows", async || {
        let count = format!("SELECT COUNT(*) FROM {database}.t");
        (replica.try_run(&count).await.is_ok() && replica.number(&count).await == 3).then_some(())
    })
    .await;
    replica.reconnect().await;
    (pair, replica)
}

async fn poll(pair: &mut Pair, port: u16) -> Puller {
    let flag = format!("--source-port={port}");
    pair.start_server(&[&flag, "--settle=1"]).await;
    pair.ready().await;
    let puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    puller
}

/// Writes to the primary for as long as a row takes to arrive, five times.
async fn write(pair: &Pair) {
    for id in 10..15 {
        let began = std::time::Instant::now();
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 0)"))
            .await;
        let arrived = format!("SELECT COUNT(*) FROM t WHERE id={id}");
        while pair.dest.number(&arrived).await == 0 {
            assert!(began.elapsed() < DEADLINE, "row {id} does not arrive");
            pair.source.run("UPDATE t SET v=v+1 WHERE id=2").await;
            pair.source
                .run("REPLACE INTO t (id, v) SELECT MAX(id)+100, 1 FROM t WHERE id<1000")
                .await;
        }
    }
}

async fn a_replica_is_behind_its_lag(flavour: Flavour) {
    let (mut pair, replica) = replicated(flavour, 0).await;
    let mut puller = poll(&mut pair, replica.server.port()).await;
    let (_, _, body) = pair.curl(&[], "/").await;
    assert!(body.contains("\"basis\":\"assumed\""), "{body}");
    pair.server().says("the source is a replica").await;
    puller.says("the source's horizon is assumed").await;
    write(&pair).await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

async fn a_delayed_replica_loses_nothing(flavour: Flavour) {
    let (mut pair, replica) = replicated(flavour, 3).await;
    let puller = poll(&mut pair, replica.server.port()).await;
    write(&pair).await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// What it applies when it goes on is stamped long before.
async fn a_replica_that_stands_still_is_not_served(flavour: Flavour) {
    let (mut pair, replica) = replicated(flavour, 0).await;
    let puller = poll(&mut pair, replica.server.port()).await;
    let word = match flavour {
        Flavour::MySql => "REPLICA",
        Flavour::MariaDb => "SLAVE",
    };
    for thread in ["SQL_THREAD", "IO_THREAD", ""] {
        replica.run(format!("STOP {word} {thread}")).await;
        eventually("the answer says why", async || {
            let (status, _, body) = pair.curl(&[], "/").await;
            (status == 503 && body.contains("applies no changes now")).then_some(())
        })
        .await;
        pair.source.run("UPDATE t SET v=v+1 WHERE id=1").await;
        // What comes after it must not take its place.
        let written = pair.source.now().await;
        eventually("more than --settle has passed", async || {
            let passed = format!("SELECT NOW(6) > '{written}' + INTERVAL 3 SECOND");
            (pair.source.number(&passed).await == 1).then_some(())
        })
        .await;
        pair.source.run("UPDATE t SET v=v+1 WHERE id=2").await;
        // It cannot apply the first of what it missed at once.
        let mut busy = replica.session().await;
        busy.run("START TRANSACTION").await;
        busy.run("SELECT v FROM t WHERE id=1 FOR UPDATE").await;
        replica.run(format!("START {word}")).await;
        let started = pair.source.now().await;
        eventually("--settle has passed once more", async || {
            let passed = format!("SELECT NOW(6) > '{started}' + INTERVAL 2 SECOND");
            (pair.source.number(&passed).await == 1).then_some(())
        })
        .await;
        busy.run("ROLLBACK").await;
        pair.becomes_same(&["t"]).await;
    }
    puller.terminate().await.ok();
}

/// R1, R9.
async fn a_replica_takes_the_place_of_its_dead_primary(flavour: Flavour) {
    let (mut pair, replica) = replicated(flavour, 0).await;
    let way = Way::to(pair.source.server.port()).await;
    let mut puller = poll(&mut pair, way.port).await;
    pair.source.run("UPDATE t SET v=7 WHERE id=3").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (4, 7)").await;
    pair.becomes_same(&["t"]).await;
    eventually("the replica has all", async || {
        let all = "SELECT COUNT(*) FROM t WHERE v=7";
        (replica.number(all).await == 2).then_some(())
    })
    .await;
    pair.source.server.kill();
    replica
        .script(match flavour {
            Flavour::MySql => "STOP REPLICA;\nRESET REPLICA ALL",
            Flavour::MariaDb => "STOP SLAVE;\nRESET SLAVE ALL",
        })
        .await;
    way.leads_to(replica.server.port());
    let _dead = std::mem::replace(&mut pair.source, replica);
    pair.source.run("UPDATE t SET v=8 WHERE id=1").await;
    pair.source.run("INSERT INTO t (id, v) VALUES (5, 8)").await;
    pair.becomes_same(&["t"]).await;
    pair.server()
        .says("another server answers as the source")
        .await;
    let (_, _, body) = pair.curl(&[], "/").await;
    assert!(body.contains("\"basis\":\"proven\""), "{body}");
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}
