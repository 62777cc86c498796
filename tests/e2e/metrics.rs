//! What a monitoring system is told by both programs.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use harness::{DEADLINE, Pair, Puller, Way, eventually, same_flavour, within};
use tokio::process::Command;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    requests_rows_bytes_and_time_are_counted_by_table,
    only_tables_that_there_are_have_a_name,
    an_open_transaction_shows_in_the_age_of_the_horizon,
    a_scrape_asks_the_source_nothing,
    metrics_want_the_credentials,
    a_puller_tells_what_it_did,
    a_lag_grows_while_the_source_cannot_be_reached,
    rows_are_counted_while_the_first_pull_still_runs,
    every_metric_of_the_dashboard_and_the_alerts_exists,
    a_status_that_cannot_be_listened_on_is_explained,
);

/// The value of a metric, by its name with all its labels.
fn value(scrape: &str, metric: &str) -> Option<f64> {
    let line = |line: &str| {
        line.strip_prefix(metric)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    scrape.lines().find_map(line)
}

fn is(scrape: &str, metric: &str, wanted: f64) {
    let found = value(scrape, metric);
    assert_eq!(found, Some(wanted), "{metric}:\n{scrape}");
}

async fn scrape(pair: &Pair) -> String {
    let (status, head, body) = pair.curl(&[], "/-/metrics").await;
    assert_eq!(status, 200, "{body}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    body
}

/// The address of a puller's status, once it listens.
pub(crate) async fn status_of(puller: &mut Puller) -> String {
    let said = "status on ";
    let line = puller.says(said).await;
    let (_, url) = line.split_once(said).unwrap();
    url.trim().trim_end_matches('/').to_owned()
}

/// Asks by curl; the status is 0 when nobody answers.
pub(crate) async fn ask(url: &str) -> (u16, String) {
    let output = Command::new("curl")
        .args(["-sS", "-w", "\n%{http_code}", "--max-time", "10"])
        .args(["--noproxy", "*", url])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap_or(0), body.to_owned())
}

async fn scrape_of(url: &str) -> String {
    let (status, body) = ask(&format!("{url}/-/metrics")).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// Waits until a metric of the puller is as wanted; the whole scrape.
async fn comes_to(url: &str, metric: &str, wanted: impl Fn(f64) -> bool) -> String {
    eventually(&format!("{metric} is as wanted"), async || {
        let scrape = scrape_of(url).await;
        value(&scrape, metric)
            .is_some_and(&wanted)
            .then_some(scrape)
    })
    .await
}

async fn filled(pair: &Pair, rows: u32) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!("INSERT INTO t (id, v) {}", numbers(rows, "n, 0")))
        .await;
}

async fn requests_rows_bytes_and_time_are_counted_by_table(mut pair: Pair) {
    filled(&pair, 3).await;
    pair.serve().await;
    let database = pair.source.database.clone();
    let path = format!("/{database}/t/");
    let (_, _, first) = pair.curl(&[], &path).await;
    let (_, _, second) = pair.curl(&["-H", "Accept: text/csv"], &path).await;
    let (status, _, digests) = pair.curl(&[], &format!("{path}-/digests?rows=2")).await;
    assert_eq!(status, 200, "{digests}");
    assert_eq!(pair.curl(&[], "/nothing/t/").await.0, 404);
    assert_eq!(pair.curl(&[], "/a/b/c/d").await.0, 404);

    let labels = format!("{{database=\"{database}\",table=\"t\"}}");
    let of_table = |name: &str| format!("dbd_server_{name}{labels}");
    // An answer has ended for its reader a moment before it has for the server.
    let scrape = eventually("all three have ended", async || {
        let scrape = scrape(&pair).await;
        (value(&scrape, &of_table("answers_total")) == Some(3.0)).then_some(scrape)
    })
    .await;
    is(&scrape, &of_table("rows_total"), 6.0);
    let bytes = first.len() + second.len() + digests.len();
    is(&scrape, &of_table("bytes_total"), bytes as f64);
    is(&scrape, &of_table("answers_broken_off_total"), 0.0);
    assert!(value(&scrape, &of_table("answer_seconds_total")).unwrap() > 0.0);
    for (path, status, count) in [
        ("/{database}/{table}/", 200, 2.0),
        ("/{database}/{table}/", 404, 1.0),
        ("/{database}/{table}/-/digests", 200, 1.0),
        ("none", 404, 1.0),
    ] {
        is(
            &scrape,
            &format!("dbd_server_requests_total{{path=\"{path}\",status=\"{status}\"}}"),
            count,
        );
    }
    let seconds = "dbd_server_request_duration_seconds_count{path=\"/{database}/{table}/\"}";
    is(&scrape, seconds, 3.0);
    is(&scrape, "dbd_server_ready", 1.0);
    is(&scrape, "dbd_server_horizon_basis{basis=\"proven\"}", 1.0);
    is(&scrape, "dbd_server_horizon_basis{basis=\"assumed\"}", 0.0);
    is(&scrape, "dbd_server_answers_in_progress", 0.0);
    is(&scrape, "dbd_server_answers_in_progress_limit", 32.0);
    is(&scrape, "dbd_server_source_connections_limit", 8.0);
    assert!(scrape.contains("dbd_build_info{version=\""), "{scrape}");

    // An assumed horizon is one, and says nothing of transactions.
    pair.start_server(&["--horizon=assumed", "--settle=1"])
        .await;
    pair.ready().await;
    let scrape = self::scrape(&pair).await;
    is(&scrape, "dbd_server_horizon_basis{basis=\"assumed\"}", 1.0);
    assert!(
        !scrape.contains("dbd_server_oldest_transaction_seconds"),
        "{scrape}"
    );
}

/// Whoever makes names up makes no labels; and a name that exists is quoted, whatever it is.
async fn only_tables_that_there_are_have_a_name(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE `a\"b\\\\c` (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.serve().await;
    let database = pair.source.database.clone();
    for path in ["/made/up/", "/made%22up/", "/-/made"] {
        assert_eq!(pair.curl(&[], path).await.0, 404, "{path}");
    }
    let path = format!("/{database}/made_up/");
    assert_eq!(pair.curl(&[], &path).await.0, 404);
    let before = scrape(&pair).await;
    assert!(!before.contains("made"), "{before}");
    assert!(!before.contains("dbd_server_rows_total{"), "{before}");
    let path = format!("/{database}/a%22b%5C%5Cc/");
    let (status, _, body) = pair.curl(&[], &path).await;
    assert_eq!(status, 200, "{body}");
    let after = scrape(&pair).await;
    let quoted = format!("{{database=\"{database}\",table=\"a\\\"b\\\\\\\\c\"}}");
    is(&after, &format!("dbd_server_rows_total{quoted}"), 0.0);
}

async fn an_open_transaction_shows_in_the_age_of_the_horizon(mut pair: Pair) {
    filled(&pair, 1).await;
    pair.serve().await;
    is(
        &scrape(&pair).await,
        "dbd_server_oldest_transaction_seconds",
        0.0,
    );
    let mut open = pair.source.session().await;
    open.run("START TRANSACTION").await;
    open.run("UPDATE t SET v=1").await;
    eventually("the transaction shows", async || {
        let scrape = scrape(&pair).await;
        let oldest = value(&scrape, "dbd_server_oldest_transaction_seconds")?;
        let age = value(&scrape, "dbd_server_horizon_age_seconds")?;
        (oldest > 1.0 && age > 1.0).then_some(())
    })
    .await;
    // What holds it is a matter of the page and of GET /, not of a label.
    assert!(!scrape(&pair).await.contains(&format!("\"{}\"", open.id())));
    open.run("COMMIT").await;
    eventually("the transaction is over", async || {
        let scrape = scrape(&pair).await;
        let oldest = value(&scrape, "dbd_server_oldest_transaction_seconds")?;
        let age = value(&scrape, "dbd_server_horizon_age_seconds")?;
        (oldest == 0.0 && age < 1.0).then_some(())
    })
    .await;
}

/// It answers at once while nothing at all comes through to the source, and says that it is not ready.
async fn a_scrape_asks_the_source_nothing(mut pair: Pair) {
    filled(&pair, 1).await;
    let way = Way::to(pair.source.server.port()).await;
    pair.start_server(&[&way.flag(), "--max-answers=1"]).await;
    pair.ready().await;
    way.freeze_all();
    within(Duration::from_secs(10), "it is not ready", async || {
        let scrape = scrape(&pair).await;
        (value(&scrape, "dbd_server_ready") == Some(0.0)).then_some(())
    })
    .await;
    // Nor does it need the place of an answer.
    let path = format!("/{}/", pair.source.database);
    let waiting = pair.curl(&[], &path);
    let scraping = eventually("the only place is taken", async || {
        let scrape = scrape(&pair).await;
        (value(&scrape, "dbd_server_answers_in_progress") == Some(1.0)).then_some(scrape)
    });
    tokio::select! {
        _ = waiting => panic!("a frozen source has answered"),
        scrape = scraping => is(&scrape, "dbd_server_source_connections", 1.0),
    }
}

async fn metrics_want_the_credentials(mut pair: Pair) {
    let flags = [
        "--listen-username=ann",
        "--listen-password=secret",
        "--listen-address=127.0.0.1",
    ];
    pair.start_server(&flags).await;
    assert_eq!(pair.curl(&[], "/-/metrics").await.0, 401);
    assert_eq!(pair.curl(&["-u", "ann:secret"], "/-/metrics").await.0, 200);
    assert_eq!(pair.curl(&[], "/-/live").await.0, 200);
}

async fn a_puller_tells_what_it_did(mut pair: Pair) {
    filled(&pair, 3).await;
    // Nobody was asked, so nothing listens.
    let quiet = pair.pull(&[]).await;
    assert!(!quiet.stderr.contains("status on"), "{}", quiet.stderr);

    pair.source.run("UPDATE t SET v=1 WHERE id=1").await;
    let flags = [
        "--status-listen=0",
        "--sync-deletes",
        "--delete-interval=0.2",
    ];
    let mut puller = pair.poll(0.1, &flags).await;
    let url = status_of(&mut puller).await;
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(
        ask(&format!("{url}/-/live")).await,
        (200, "{\"live\":true}".to_owned())
    );
    eventually("it is ready", async || {
        (ask(&format!("{url}/-/ready")).await.0 == 200).then_some(())
    })
    .await;
    comes_to(&url, "dbd_puller_rows_applied_total{table=\"t\"}", |n| {
        n == 1.0
    })
    .await;

    pair.source.run("DELETE FROM t WHERE id=2").await;
    comes_to(&url, "dbd_puller_rows_deleted_total{table=\"t\"}", |n| {
        n == 1.0
    })
    .await;
    pair.dest.run("DELETE FROM t WHERE id=1").await;
    comes_to(&url, "dbd_puller_rows_fetched_total{table=\"t\"}", |n| {
        n == 1.0
    })
    .await;
    // A stamp that the source has not.
    pair.dest
        .run("UPDATE t SET s='2014-09-01 01:23:45' WHERE id=1")
        .await;
    let scrape = comes_to(&url, "dbd_puller_rows_repaired_total{table=\"t\"}", |n| {
        n == 1.0
    })
    .await;
    let lag = value(&scrape, "dbd_puller_lag_seconds{table=\"t\"}").unwrap();
    assert!((0.0..5.0).contains(&lag), "{scrape}");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for metric in [
        "dbd_puller_last_success_timestamp_seconds",
        "dbd_puller_table_last_success_timestamp_seconds{table=\"t\"}",
    ] {
        let then = value(&scrape, metric).unwrap();
        assert!((now - 60.0..now + 1.0).contains(&then), "{metric} {scrape}");
    }
    assert!(value(&scrape, "dbd_puller_received_bytes_total").unwrap() > 0.0);
    assert!(value(&scrape, "dbd_puller_round_duration_seconds_count").unwrap() > 3.0);
    is(&scrape, "dbd_puller_table_failing{table=\"t\"}", 0.0);
    is(&scrape, "dbd_puller_table_errors_total{table=\"t\"}", 0.0);

    // A table that fails says so, and is well again when it is mended.
    pair.dest.run("ALTER TABLE t MODIFY v TINYINT").await;
    pair.source.run("UPDATE t SET v=1000 WHERE id=3").await;
    comes_to(&url, "dbd_puller_table_failing{table=\"t\"}", |n| n == 1.0).await;
    let scrape = comes_to(&url, "dbd_puller_errors_total{kind=\"incomplete\"}", |n| {
        n > 0.0
    })
    .await;
    assert!(value(&scrape, "dbd_puller_table_errors_total{table=\"t\"}").unwrap() > 0.0);
    let (_, page) = ask(&url).await;
    assert!(page.contains("class=\"bad\""), "{page}");
    pair.dest.run("ALTER TABLE t MODIFY v INT").await;
    comes_to(&url, "dbd_puller_table_failing{table=\"t\"}", |n| n == 0.0).await;

    // A table that is gone has no lag that grows.
    pair.source.run("DROP TABLE t").await;
    eventually("the table is forgotten", async || {
        (!scrape_of(&url).await.contains("table=\"t\"")).then_some(())
    })
    .await;
    assert_eq!(ask(&format!("{url}/else")).await.0, 404);
    puller.terminate().await;
    assert_eq!(ask(&url).await.0, 0);
}

async fn a_lag_grows_while_the_source_cannot_be_reached(mut pair: Pair) {
    filled(&pair, 3).await;
    pair.serve().await;
    let port = pair.server().port;
    let gone = pair.take_server();
    gone.kill().await;
    let mut args = pair.puller_args(&["--status-listen=0", "--poll-interval=0.1"]);
    args.push(format!("--source-port={port}"));
    args.remove(0);
    let mut puller = Puller::start(&args);
    let url = status_of(&mut puller).await;
    let scrape = comes_to(&url, "dbd_puller_errors_total{kind=\"unreachable\"}", |n| {
        n > 0.0
    })
    .await;
    is(&scrape, "dbd_puller_ready", 0.0);
    assert!(!scrape.contains("dbd_puller_lag_seconds"), "{scrape}");
    assert_eq!(
        ask(&format!("{url}/-/ready")).await,
        (503, "{\"ready\":false}".to_owned())
    );
    assert_eq!(ask(&format!("{url}/-/live")).await.0, 200);
    let (_, page) = ask(&url).await;
    assert!(page.contains("Trouble since"), "{page}");
    assert!(page.contains("cannot reach the dbd-server"), "{page}");

    pair.start_server(&[&format!("--listen-port={port}")]).await;
    comes_to(&url, "dbd_puller_lag_seconds{table=\"t\"}", |lag| lag < 2.0).await;
    assert_eq!(ask(&format!("{url}/-/ready")).await.0, 200);
    let (_, page) = ask(&url).await;
    assert!(!page.contains("Trouble since"), "{page}");

    pair.take_server().kill().await;
    comes_to(&url, "dbd_puller_lag_seconds{table=\"t\"}", |lag| lag > 3.0).await;
    let (_, page) = ask(&url).await;
    assert!(page.contains("Trouble since"), "{page}");
    puller.terminate().await;
}

/// A row that somebody else inserts at the destination, and does not commit, keeps the pull waiting midway.
async fn rows_are_counted_while_the_first_pull_still_runs(mut pair: Pair) {
    const ROWS: u32 = 30_000;
    filled(&pair, ROWS).await;
    let mut other = pair.dest.session().await;
    other.run("START TRANSACTION").await;
    other
        .run(format!("INSERT INTO t (id, v) VALUES ({ROWS}, 7)"))
        .await;
    pair.serve().await;
    let mut args = pair.puller_args(&["--status-listen=0"]);
    args.push("--parallel=1".to_owned());
    let mut puller = Puller::start(&args);
    let url = status_of(&mut puller).await;
    let applied = "dbd_puller_rows_applied_total{table=\"t\"}";
    let scrape = comes_to(&url, applied, |rows| rows > 0.0).await;
    assert!(
        value(&scrape, applied).unwrap() < f64::from(ROWS),
        "{scrape}"
    );
    is(&scrape, "dbd_puller_ready", 0.0);
    let (_, page) = ask(&url).await;
    assert!(page.contains("at work on t"), "{page}");
    other.run("ROLLBACK").await;
    let output = puller.end().await;
    output.ok();
    pair.assert_same().await;
}

/// Nothing is pulled then: whoever asked for it would look for it in vain.
async fn a_status_that_cannot_be_listened_on_is_explained(mut pair: Pair) {
    filled(&pair, 3).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let flag = format!("--status-listen={port}");
    let output = pair.pull(&[&flag]).await;
    output.fails_naming(&[
        "--status-listen: cannot listen on 127.0.0.1:",
        "choose another",
    ]);
    assert_eq!(pair.dest.count("t").await, 0);
    drop(taken);
    pair.pull(&[&flag]).await.ok();
    pair.assert_same().await;
}

/// The names that begin with `dbd_` in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_';
    text.split(|sign| !is_name(sign))
        .filter(|word| word.starts_with("dbd_"))
        .map(str::to_owned)
        .collect()
}

async fn every_metric_of_the_dashboard_and_the_alerts_exists(mut pair: Pair) {
    filled(&pair, 3).await;
    pair.serve().await;
    pair.dest.run("ALTER TABLE t DROP COLUMN v").await;
    let mut puller = pair.poll(0.1, &["--status-listen=0"]).await;
    let url = status_of(&mut puller).await;
    comes_to(&url, "dbd_puller_table_errors_total{table=\"t\"}", |n| {
        n > 0.0
    })
    .await;
    pair.dest
        .run("ALTER TABLE t ADD COLUMN v INT AFTER id")
        .await;
    comes_to(&url, "dbd_puller_lag_seconds{table=\"t\"}", |lag| {
        lag < 60.0
    })
    .await;
    let scraped = within(DEADLINE, "both have said all", async || {
        let all = scrape(&pair).await + &scrape_of(&url).await;
        all.contains("dbd_puller_last_success_timestamp_seconds")
            .then_some(all)
    })
    .await;
    let exist = names(&scraped);
    for file in ["dashboard.json", "alerts.yaml"] {
        let path = format!("{}/../monitoring/{file}", env!("CARGO_MANIFEST_DIR"));
        let wanted = names(&fs::read_to_string(path).unwrap());
        assert!(wanted.len() > 5, "{file}: {wanted:?}");
        let missing: Vec<&String> = wanted.difference(&exist).collect();
        assert!(missing.is_empty(), "{file}: {missing:?}:\n{scraped}");
    }
    puller.terminate().await;
}
