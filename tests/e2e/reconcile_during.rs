//! R9. What changes at the source while it is compared.

use harness::{At, Pair, Proxy, Puller, same_flavour};

use crate::reconcile::{SYNC, did};
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_a_key_that_is_inserted_again_during_the_pass_is_never_deleted,
    r9_what_changes_during_the_pass_is_left_to_the_window,
    r9_what_changes_before_it_is_fetched_is_left_to_the_window,
);

/// A kind of key.
#[derive(Clone, Copy)]
struct Kind(&'static str);

/// One that sorts alike everywhere, and one that does not: they are compared in different ways.
const KINDS: [Kind; 2] = [Kind("INT"), Kind("VARCHAR(20)")];

impl Kind {
    /// A key as a request has it.
    fn wire(self, key: &str) -> String {
        match self.0 {
            "INT" => format!("[{key}]"),
            _ => format!("[\"{key}\"]"),
        }
    }
}

async fn table_of(pair: &Pair, kind: Kind, rows: u32) {
    pair.both(&format!(
        "CREATE TABLE t (id {} PRIMARY KEY, v INT, {STAMP}, {INDEXED})",
        kind.0
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id, v) {}", numbers(rows, "n, n%7")))
        .await;
}

/// R9. Whatever was found before, the source is asked for the key once more right before the delete;
/// at whichever of the questions about it the key is there again, it stays.
async fn r9_a_key_that_is_inserted_again_during_the_pass_is_never_deleted(mut pair: Pair) {
    for kind in KINDS {
        inserted_again(&mut pair, kind).await;
        pair.both("DROP TABLE t").await;
    }
}

async fn inserted_again(pair: &mut Pair, kind: Kind) {
    table_of(pair, kind, 100).await;
    pair.pull(&[]).await.ok();
    let proxy = Proxy::start(pair.serve().await.port).await;
    let args = pair.puller_args(&[SYNC, &proxy.flag()]);
    let delete = "DELETE FROM t WHERE id IN ('5', '6')";
    pair.source.run(delete).await;
    did(&Puller::start(&args).end().await.ok(), 2, 0, 0);
    let asked = proxy.exchanges();
    let questions = asked
        .iter()
        .filter(|asked| asked.request.contains(&kind.wire("5")));
    for nth in 1..=questions.count() {
        // The row 100 has the position, so that no question is asked about the others for its sake.
        pair.source
            .script(
                "INSERT INTO t (id, v, s) VALUES (5, 5, '2020-01-01'), (6, 6, '2020-01-01');
                 UPDATE t SET v=v+1 WHERE id='100';",
            )
            .await;
        pair.pull(&[SYNC]).await.ok();
        pair.source.run(delete).await;
        let mut stop = proxy.stop(&kind.wire("5"), nth, At::Request);
        let puller = Puller::start(&args);
        stop.reached().await;
        pair.source
            .run("INSERT INTO t (id, v) VALUES (5, 500)")
            .await;
        stop.go_on();
        let output = puller.end().await.ok();
        did(&output, 1, 0, 0);
        let left = pair.dest.column("SELECT id FROM t WHERE id IN ('5', '6')");
        assert_eq!(left.await, ["5"], "only what is not there is deleted");
        pair.pull(&[]).await.ok();
        pair.assert_same().await;
        pair.source.run("DELETE FROM t WHERE id='5'").await;
    }
}

/// R9, R3. What the source has above the pulled horizon is neither deleted nor fetched nor repaired:
/// written now, it would move the position above rows that are not yet pulled.
async fn r9_what_changes_during_the_pass_is_left_to_the_window(mut pair: Pair) {
    for kind in KINDS {
        changed(&mut pair, kind).await;
        pair.both("DROP TABLE t").await;
    }
}

async fn changed(pair: &mut Pair, kind: Kind) {
    table_of(pair, kind, 3_000).await;
    pair.pull(&[]).await.ok();
    pair.dest
        .script("DELETE FROM t WHERE id='500';\nUPDATE t SET s='2020-01-01' WHERE id='600';")
        .await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let mut stop = proxy.stop("/-/digests", 1, At::Request);
    let puller = Puller::start(&pair.puller_args(&[SYNC, &proxy.flag()]));
    stop.reached().await;
    // The row 0 is not committed yet, and stamped below the others. Keys stand in quotes, so that
    // no statement waits for it.
    let mut late = pair.source.session().await;
    late.run("START TRANSACTION").await;
    late.run("INSERT INTO t (id, v) VALUES (0, 0)").await;
    pair.source
        .script(
            "UPDATE t SET v=100 WHERE id='100';
             UPDATE t SET v=500 WHERE id='500';
             UPDATE t SET v=600 WHERE id='600';
             DELETE FROM t WHERE id='700';
             INSERT INTO t (id, v) VALUES (5000, 0);
             UPDATE t SET s='2037-01-01' WHERE id='800';
             UPDATE t SET v=1100 WHERE id='1100';
             DELETE FROM t WHERE id='1200';
             UPDATE t SET v=1600 WHERE id='1600';",
        )
        .await;
    stop.go_on();
    let output = puller.end().await.ok();
    did(&output, 2, 0, 0);
    assert_eq!(
        pair.dest
            .column(
                "SELECT CONCAT_WS(' ', id, v) FROM t WHERE id IN (0,100,500,600,700,800,1100,1200,1600,5000) ORDER BY id+0"
            )
            .await,
        ["100 2", "600 5", "800 2", "1100 1", "1600 4"]
    );
    late.run("COMMIT").await;
    pair.pull(&[SYNC]).await.ok();
    pair.source
        .run("UPDATE t SET v=v+1, s=DEFAULT WHERE id='800'")
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R9, R3. The same between the list of keys and the fetch.
async fn r9_what_changes_before_it_is_fetched_is_left_to_the_window(mut pair: Pair) {
    for kind in KINDS {
        changed_before_the_fetch(&mut pair, kind).await;
        pair.both("DROP TABLE t").await;
    }
}

async fn changed_before_the_fetch(pair: &mut Pair, kind: Kind) {
    table_of(pair, kind, 3_000).await;
    pair.pull(&[]).await.ok();
    pair.dest
        .script("DELETE FROM t WHERE id IN ('500', '501');\nUPDATE t SET s='2020-01-01' WHERE id='600';")
        .await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let mut stop = proxy.stop(&kind.wire("500"), 1, At::Request);
    let puller = Puller::start(&pair.puller_args(&[SYNC, &proxy.flag()]));
    stop.reached().await;
    let mut late = pair.source.session().await;
    late.run("START TRANSACTION").await;
    late.run("INSERT INTO t (id, v) VALUES (0, 0)").await;
    pair.source
        .run("UPDATE t SET v=99 WHERE id IN ('500', '600')")
        .await;
    stop.go_on();
    did(&puller.end().await.ok(), 0, 1, 0);
    late.run("COMMIT").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}
