//! R9, R10. Nothing is deleted because of an answer that is not whole, or not of the server that was
//! pulled from, or of an earlier time.

use std::collections::BTreeSet;

use harness::{
    At, DbdServer, Exchange, Lease, Output, Pair, Proxy, Puller, Side, Stop, same_flavour,
};

use crate::reconcile::{SYNC, did};
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_an_answer_that_breaks_off_anywhere_deletes_nothing_wrong,
    r9_a_server_killed_during_any_answer_deletes_nothing_wrong,
    r9_a_last_look_that_is_not_whole_deletes_nothing,
    r9_another_server_deletes_nothing,
    r9_a_horizon_below_the_pulled_one_deletes_nothing,
);

/// How many rows each table has.
const ROWS: u32 = 4_000;

/// The key that only the destination has.
const EXTRA: &str = "900001";

/// Where an answer ends, and how.
type Break = (At, fn(Stop));

/// Two tables, of a key that sorts alike everywhere and of one that does not.
async fn tables(pair: &mut Pair) {
    for (table, key, value) in [
        ("number", "k INT", "n"),
        (
            "text",
            "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "CAST(n AS CHAR)",
        ),
    ] {
        pair.both(&format!(
            "CREATE TABLE {table} ({key} PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} (k, v) {}",
                numbers(ROWS, &format!("{value}, n"))
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// A row that is only there, some that are only here, and some that differ.
async fn diverge(pair: &Pair, table: &str) {
    pair.dest
        .script(&format!(
            "REPLACE INTO {table} (k, v, s) VALUES ('{EXTRA}', 1, '2020-01-01');
             DELETE FROM {table} WHERE k IN ('17', '1700', '3900');
             UPDATE {table} SET s='2020-01-01' WHERE k IN ('18', '2500');"
        ))
        .await;
}

async fn differences(pair: &Pair, table: &str) -> BTreeSet<String> {
    let lines = pair.differences(&[table], &[]).await;
    lines.into_iter().collect()
}

/// What the questions look like that deletes are decided by.
fn looks_before_delete(exchange: &Exchange) -> bool {
    exchange.request.contains("keys=") && exchange.request.contains(EXTRA)
}

/// Every answer of a run is broken off: behind its head, in its middle, and where only its end frame is
/// missing, also in such a way that HTTP says that it is whole. What was right stays right, and
/// before the last look was answered nothing is deleted at all.
async fn r9_an_answer_that_breaks_off_anywhere_deletes_nothing_wrong(mut pair: Pair) {
    tables(&mut pair).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    for table in ["number", "text"] {
        let args = pair.puller_args(&[SYNC, "-t", table, &proxy.flag()]);
        diverge(&pair, table).await;
        let diverged = differences(&pair, table).await;
        proxy.forget();
        Puller::start(&args).end().await.ok();
        assert!(differences(&pair, table).await.is_empty());
        let exchanges = proxy.exchanges();
        let decided = exchanges.iter().rposition(looks_before_delete).unwrap();
        for (at, exchange) in exchanges.iter().enumerate() {
            let (half, last) = (exchange.lines / 2, exchange.lines.saturating_sub(1));
            let frames: &[Break] = &[
                (At::Lines(0), Stop::cut),
                (At::Lines(half), Stop::end),
                (At::Lines(last), Stop::cut),
                (At::Lines(last), Stop::end),
            ];
            // The list of tables is no stream.
            let list: &[Break] = &[(At::Bytes(exchange.bytes / 2), Stop::cut)];
            for (place, then) in if exchange.lines > 1 { frames } else { list } {
                diverge(&pair, table).await;
                let mut stop = proxy.stop("", at + 1, *place);
                let puller = Puller::start(&args);
                stop.reached().await;
                then(stop);
                let output = puller.end().await.fails_naming(&[]);
                let case = format!("{table}, {place:?} of {}", exchange.request);
                let left = differences(&pair, table).await;
                assert!(left.is_subset(&diverged), "{case}: {left:#?}");
                if at <= decided {
                    assert_eq!(left, diverged, "{case}");
                    assert_eq!(output.of(table), None, "{case}");
                }
            }
        }
        diverge(&pair, table).await;
        Puller::start(&args).end().await.ok();
        assert!(differences(&pair, table).await.is_empty());
    }
}

/// As the death of the server does it.
async fn r9_a_server_killed_during_any_answer_deletes_nothing_wrong(mut pair: Pair) {
    tables(&mut pair).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let args = pair.puller_args(&[SYNC, "-t", "number", &proxy.flag()]);
    let fetch = "[17]";
    for request in ["/-/digests", "/-/keys", EXTRA, fetch] {
        diverge(&pair, "number").await;
        let diverged = differences(&pair, "number").await;
        let mut stop = proxy.stop(request, 1, At::Lines(1));
        let puller = Puller::start(&args);
        stop.reached().await;
        pair.take_server().kill().await;
        stop.cut();
        puller.end().await.fails_naming(&["number"]);
        let left = differences(&pair, "number").await;
        assert!(left.is_subset(&diverged), "{request}: {left:#?}");
        proxy.lead_to(pair.serve().await.port);
        let output = Puller::start(&args).end().await.ok();
        let deletes = u64::from(request != fetch);
        assert_eq!(output.of("number"), Some((deletes, 3, 2)), "{request}");
        pair.assert_same().await;
    }
}

/// A table from which the source deletes a row that comes back before the last look.
async fn single(pair: &mut Pair) {
    crate::reconcile::table(pair, ROWS).await;
    pair.pull(&[]).await.ok();
}

/// Inserts that row, with the stamp that it had.
const AGAIN: &str = "INSERT INTO t (id, v, s) SELECT 5, 5, s FROM t WHERE id=6";

/// Runs a reconcile whose answers come from somewhere else from `request` on. Nothing may be deleted.
async fn led_away(
    pair: &mut Pair,
    proxy: &Proxy,
    (request, nth): (&str, usize),
    to: u16,
) -> Output {
    let home = pair.serve().await.port;
    pair.source.run("DELETE FROM t WHERE id=5").await;
    let mut stop = proxy.stop(request, nth, At::Request);
    let puller = Puller::start(&pair.puller_args(&[SYNC, &proxy.flag()]));
    stop.reached().await;
    // The row is there again, so that whoever deletes it deletes what the source has.
    pair.source.run(AGAIN).await;
    proxy.lead_to(to);
    stop.go_on();
    let output = puller.end().await;
    proxy.lead_to(home);
    assert_eq!(pair.dest.count("t").await, u64::from(ROWS), "{request}");
    assert_eq!(output.of("t"), None, "{request}");
    output
}

/// The key is there again, but the answer that would say so ends before it does, as HTTP says that it is
/// whole.
async fn r9_a_last_look_that_is_not_whole_deletes_nothing(mut pair: Pair) {
    single(&mut pair).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let questions = questions(&mut pair, &proxy).await;
    for (nth, then) in
        (1..=questions).flat_map(|nth| [(nth, Stop::cut as fn(Stop)), (nth, Stop::end)])
    {
        pair.source.run("DELETE FROM t WHERE id=5").await;
        let mut asked = proxy.stop("[5]", nth, At::Request);
        let mut answered = proxy.stop("[5]", nth, At::Lines(1));
        let puller = Puller::start(&pair.puller_args(&[SYNC, &proxy.flag()]));
        asked.reached().await;
        pair.source.run(AGAIN).await;
        asked.go_on();
        answered.reached().await;
        then(answered);
        puller.end().await.fails_naming(&["t"]);
        assert_eq!(pair.dest.count("t").await, u64::from(ROWS), "{nth}");
    }
}

/// How often the source is asked about the row 5 before it is deleted. It is there again then.
async fn questions(pair: &mut Pair, proxy: &Proxy) -> usize {
    pair.source.run("DELETE FROM t WHERE id=5").await;
    proxy.forget();
    let args = pair.puller_args(&[SYNC, &proxy.flag()]);
    did(&Puller::start(&args).end().await.ok(), 1, 0, 0);
    pair.source.run(AGAIN).await;
    did(&pair.pull(&[SYNC]).await.ok(), 0, 1, 0);
    let asked = proxy.exchanges();
    let questions = asked.iter().filter(|asked| asked.request.contains("[5]"));
    questions.count()
}

/// The requests of a reconcile that lead to the delete of one row.
async fn requests(pair: &mut Pair, proxy: &Proxy) -> Vec<(&'static str, usize)> {
    let questions = questions(pair, proxy).await;
    let digests = proxy.exchanges();
    let digests = digests
        .iter()
        .filter(|asked| asked.request.contains("/t/-/"));
    let of = |text, count| (1..=count).map(move |nth| (text, nth));
    of("/t/-/", digests.count())
        .chain(of("[5]", questions))
        .collect()
}

/// Another server answers in its place, and its table of that name is empty.
async fn r9_another_server_deletes_nothing(mut pair: Pair) {
    single(&mut pair).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let flavour = pair.source.flavour();
    let other = Side::named(Lease::take(flavour).await, &pair.source.database).await;
    other
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    let port = format!("--source-port={}", other.server.port());
    let beside = DbdServer::start(&pair.server_args(&[&port])).await;
    horizon_is_known(&proxy, &beside).await;
    proxy.lead_to(pair.serve().await.port);
    for request in requests(&mut pair, &proxy).await {
        led_away(&mut pair, &proxy, request, beside.port)
            .await
            .fails_naming(&["t", "another server"]);
    }
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
    pair.assert_same().await;
}

/// Waits until a server that no pair has in its hands knows its horizon.
async fn horizon_is_known(proxy: &Proxy, server: &DbdServer) {
    proxy.lead_to(server.port);
    let url = format!("http://127.0.0.1:{}/-/ready", proxy.port);
    harness::eventually("the other server is ready", async || {
        let ready = tokio::process::Command::new("curl")
            .args(["-sf", "--noproxy", "*", "-o", "/dev/null", &url])
            .status()
            .await;
        ready.unwrap().success().then_some(())
    })
    .await;
}

/// The same source, as it was an hour ago: rows that are younger seem to be missing.
async fn r9_a_horizon_below_the_pulled_one_deletes_nothing(mut pair: Pair) {
    single(&mut pair).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let lagging = ["--horizon=assumed", "--settle=3600"];
    let lagging = DbdServer::start(&pair.server_args(&lagging)).await;
    horizon_is_known(&proxy, &lagging).await;
    proxy.lead_to(pair.serve().await.port);
    for request in requests(&mut pair, &proxy).await {
        led_away(&mut pair, &proxy, request, lagging.port)
            .await
            .fails_naming(&["t", "horizon"]);
    }
    did(&pair.pull(&[SYNC]).await.ok(), 0, 0, 0);
    pair.assert_same().await;
}
