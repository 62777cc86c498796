//! The source's clock is set, back and forward, while a puller polls.

use harness::{Flavour, Options, Pair, Puller, each_flavour, eventually};

use crate::{INDEXED, STAMP};

each_flavour!(
    a_small_step_back_loses_nothing,
    an_hour_back_waits_and_loses_nothing,
    a_statement_keeps_its_start_when_the_clock_goes_forward,
    a_statement_keeps_its_start_for_the_next_connection,
);

/// An hour, in seconds.
const HOUR: f64 = 3_600.0;

async fn polled(flavour: Flavour, more: &[&str]) -> (Pair, Puller) {
    let own = Options {
        own_clock: true,
        ..Options::default()
    };
    let mut pair = Pair::with((flavour, &own), (flavour, &Options::default())).await;
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, v) VALUES (1, 0), (2, 0), (3, 0)")
        .await;
    let puller = pair.poll(0.1, more).await;
    pair.becomes_same(&["t"]).await;
    (pair, puller)
}

/// R1. What is written after the step is stamped below the position.
async fn a_small_step_back_loses_nothing(flavour: Flavour) {
    let (mut pair, mut puller) = polled(flavour, &[]).await;
    for (id, step) in [(4, -2.0), (5, -2.5)] {
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}, 1)"))
            .await;
        pair.becomes_same(&["t"]).await;
        pair.source.server.set_clock(step);
        pair.source
            .run(format!("INSERT INTO t (id, v) VALUES ({id}0, 2)"))
            .await;
        pair.source
            .run(format!("UPDATE t SET v={id} WHERE id=2"))
            .await;
        pair.becomes_same(&["t"]).await;
    }
    pair.server().says("the source's clock was set back").await;
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// R1. A clock that was an hour ahead is put right.
async fn an_hour_back_waits_and_loses_nothing(flavour: Flavour) {
    let (mut pair, mut puller) = polled(flavour, &[]).await;
    pair.source.server.set_clock(HOUR);
    pair.source
        .run("INSERT INTO t (id, v) VALUES (4, 1), (5, 1)")
        .await;
    pair.becomes_same(&["t"]).await;
    puller.pulls_again("t", 2).await;
    pair.source.server.set_clock(0.0);
    pair.source.run("INSERT INTO t (id, v) VALUES (6, 2)").await;
    pair.source.run("UPDATE t SET v=2 WHERE id=4").await;
    pair.server()
        .says("nothing is served until it is past")
        .await;
    let (status, head, body) = pair.curl(&[], "/").await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: 60"), "{head}");
    assert!(body.contains("until it is past"), "{body}");
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    puller.says("until it is past").await;
    assert_eq!(pair.dest.count("t").await, 5);
    // The hour is over.
    pair.source.server.set_clock(HOUR + 20.0);
    pair.becomes_same(&["t"]).await;
    // A single pull begins where the stamps began to be given out twice, whenever it comes.
    puller.terminate().await.ok();
    pair.dest.run("DELETE FROM t WHERE id=6").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source.run("INSERT INTO t (id, v) VALUES (7, 3)").await;
    let output = pair.pull(&[]).await.ok();
    assert!(output.rows("t") > 0, "{}", output.stderr);
    let output = pair.pull(&[]).await.ok();
    assert_eq!(output.rows("t"), 0, "{}", output.stderr);
}

/// R1. It has stamped with the time of its start, an hour before what the clock shows.
async fn a_statement_keeps_its_start_when_the_clock_goes_forward(flavour: Flavour) {
    statement_keeps_its_start(flavour, false).await;
}

/// R1. The horizon's connection is lost meanwhile.
async fn a_statement_keeps_its_start_for_the_next_connection(flavour: Flavour) {
    statement_keeps_its_start(flavour, true).await;
}

async fn statement_keeps_its_start(flavour: Flavour, lost: bool) {
    let (mut pair, mut puller) = polled(flavour, &[]).await;
    let slow = pair
        .source
        .start("UPDATE t SET v=1+SLEEP(8) WHERE id=2")
        .await;
    eventually("the statement is seen", async || {
        let (_, _, body) = pair.curl(&[], "/").await;
        body.contains("a statement of connection").then_some(())
    })
    .await;
    pair.source.server.set_clock(HOUR);
    pair.server()
        .says("the source's clock was set forward")
        .await;
    if lost {
        // It was there before all others.
        let sampler = format!(
            "SELECT MIN(ID) FROM {} WHERE ID>CONNECTION_ID()",
            pair.source.server.processlist()
        );
        let id = pair.source.number(&sampler).await;
        pair.source.run(format!("KILL {id}")).await;
        pair.server().says("the source answers again").await;
    }
    let mut other = pair.source.session().await;
    other.run("INSERT INTO t (id, v) VALUES (4, 1)").await;
    if lost {
        // What is held back would have come by now.
        puller.pulls_again("t", 5).await;
    }
    slow.finish().await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}
