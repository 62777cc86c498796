//! R9. Where a reconcile once went wrong: what was promised of it, and stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{At, DbdServer, Lease, Pair, Proxy, Puller, Side, eventually, same_flavour};

use crate::reconcile::{SYNC, did, table};
use crate::{INDEXED, STAMP, numbers, reader_account};

same_flavour!(
    r9_another_database_behind_the_same_address_deletes_nothing_at_first,
    r9_another_database_that_stays_is_the_source,
    r9_cascades_arrive_for_an_account_that_sees_no_rules,
    r9_a_row_that_is_refused_leaves_the_others_to_be_mended,
    r9_what_was_done_before_a_failure_is_said,
    r9_a_comparison_pulls_nothing_and_takes_no_flag_for_it,
    r9_a_trial_beyond_the_guard_warns,
    r9_a_key_whose_index_no_statement_may_name,
    r9_a_comparison_between_two_batches_of_one_stamp_finds_nothing,
    r9_a_comparison_beside_deletes_finds_nothing_else,
);

/// Compares every column, and mends what differs.
const REPAIR: [&str; 2] = ["--verify=full", "--repair"];

/// The rows of the server that was pulled from, and of the one in its place.
const ROWS: [u32; 2] = [8_000, 100];

/// A server over another database server with few of the rows.
struct Elsewhere {
    server: DbdServer,
    _side: Side,
}

impl Elsewhere {
    async fn start(pair: &Pair) -> Self {
        let flavour = pair.source.flavour();
        let side = Side::named(Lease::take(flavour).await, &pair.source.database).await;
        side.script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
             INSERT INTO t (id, v) {};",
            numbers(ROWS[1], "n, n%7")
        ))
        .await;
        let port = format!("--source-port={}", side.server.port());
        let server = DbdServer::start(&pair.server_args(&[&port])).await;
        Self {
            server,
            _side: side,
        }
    }
}

/// A polling puller that has reconciled once and finds another database behind the same port, and has
/// said what it kept.
async fn exchanged(pair: &mut Pair, interval: &str) -> (Puller, Proxy, Elsewhere) {
    table(pair, ROWS[0]).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let elsewhere = Elsewhere::start(pair).await;
    let flags = [
        SYNC,
        "--poll-interval=0.1",
        &format!("--delete-interval={interval}"),
        &proxy.flag(),
    ];
    let mut puller = Puller::start(&pair.puller_args(&flags));
    puller.reconciles_again("t", 1).await;
    pair.assert_same().await;
    proxy.lead_to(elsewhere.server.port);
    let said = puller.says("were kept").await;
    let kept = ROWS[0] - ROWS[1];
    assert!(said.contains(&format!("{kept} rows")), "{said}");
    // The first pass after the exchange has deleted nothing.
    let log = puller.log();
    let after = log.split("another server answers").nth(1).unwrap();
    let first = after
        .lines()
        .find(|line| line.contains("reconciled table="));
    let first = first.unwrap_or_else(|| panic!("no pass:\n{log}"));
    assert!(first.contains("deleted=0 "), "{first}");
    (puller, proxy, elsewhere)
}

/// R9. A wrong address must not empty the destination, however soon the next pass would be.
async fn r9_another_database_behind_the_same_address_deletes_nothing_at_first(mut pair: Pair) {
    let (mut puller, proxy, _elsewhere) = exchanged(&mut pair, "3600").await;
    puller.pulls_again("t", 5).await;
    assert_eq!(pair.dest.count("t").await, u64::from(ROWS[0]));
    // The mistake is seen, and undone.
    proxy.lead_to(pair.serve().await.port);
    pair.becomes_same(&["t"]).await;
    let deleted: u64 = puller.reconciled().iter().map(|pass| pass.deleted).sum();
    assert_eq!(deleted, 0, "{}", puller.log());
    puller.terminate().await.ok();
}

/// R9. What answers for a whole interval is the source.
async fn r9_another_database_that_stays_is_the_source(mut pair: Pair) {
    let (puller, _proxy, _elsewhere) = exchanged(&mut pair, "0.3").await;
    eventually("the pass after that deletes", async || {
        (pair.dest.count("t").await == u64::from(ROWS[1])).then_some(())
    })
    .await;
    let output = puller.terminate().await.ok();
    let deletes = output.reconciled.iter().filter(|pass| pass.deleted > 0);
    let deletes: Vec<u64> = deletes.map(|pass| pass.deleted).collect();
    assert_eq!(deletes, [u64::from(ROWS[0] - ROWS[1])]);
}

/// The tables of the source, as its server lists them.
async fn listed(pair: &Pair) -> Vec<serde_json::Value> {
    let path = format!("/{}/", pair.source.database);
    let (_, _, body) = pair.curl(&[], &path).await;
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    list["tables"].as_array().unwrap().clone()
}

/// R9. MariaDB shows the rules of a foreign key only to an account with more than SELECT.
async fn r9_cascades_arrive_for_an_account_that_sees_no_rules(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE z_parent (id INT PRIMARY KEY, {STAMP}, {INDEXED});
         CREATE TABLE a_nulling (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES z_parent (id) ON DELETE SET NULL);
         CREATE TABLE b_renumbered (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
           FOREIGN KEY (p) REFERENCES z_parent (id) ON UPDATE CASCADE);"
    ))
    .await;
    pair.source
        .script(
            "INSERT INTO z_parent (id) VALUES (1), (2), (3);
             INSERT INTO a_nulling (id, p) VALUES (1, 1), (2, 2);
             INSERT INTO b_renumbered (id, p) VALUES (2, 2), (3, 3);",
        )
        .await;
    reader_account(&pair, "PROCESS ON *.*").await;
    pair.start_server(&["--source-username=reader", "--source-password=secret"])
        .await;
    pair.ready().await;
    let tables = listed(&pair).await;
    let names: Vec<&str> = tables
        .iter()
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "z_parent", "parents first: {names:?}");
    for table in &tables[1..] {
        let spots = table["blind_spots"].as_array().unwrap();
        let cascades = spots.iter().any(|spot| spot["code"] == "cascades");
        assert!(cascades, "{table}");
    }

    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script("DELETE FROM z_parent WHERE id=1;\nUPDATE z_parent SET id=30 WHERE id=3;")
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    pair.assert_same().await;
    assert_eq!(output.of("a_nulling"), Some((0, 0, 1)));
    assert_eq!(output.of("b_renumbered"), Some((0, 0, 1)));
    assert_eq!(output.of("z_parent"), Some((2, 0, 0)));
    let order: Vec<&str> = output
        .reconciled
        .iter()
        .map(|line| line.table.as_str())
        .collect();
    assert_eq!(order.last(), Some(&"z_parent"), "children first");
}

/// A table whose row 2 does not fit the destination any more; the rows 1 and 3 differ, and the row 4 is
/// gone at the source. No stamp shows any of it.
async fn refused(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, w VARCHAR(20), {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id, w) VALUES (1,'a'), (2,'b'), (3,'c'), (4,'d'), (5,'e')")
        .await;
    pair.pull(&[]).await.ok();
    pair.dest.run("ALTER TABLE t MODIFY w VARCHAR(5)").await;
    pair.source
        .script(
            "UPDATE t SET w='far too long', s=s WHERE id=2;
             UPDATE t SET w='new', s=s WHERE id IN (1, 3);
             DELETE FROM t WHERE id=4;",
        )
        .await;
}

/// R9. It is named and left out, and what can be mended is.
async fn r9_a_row_that_is_refused_leaves_the_others_to_be_mended(mut pair: Pair) {
    refused(&mut pair).await;
    let flags = [&REPAIR[..], &["--ignore-database-errors"]].concat();
    let output = pair.pull(&flags).await;
    let output = output.fails_naming(&["t", "left out", "key 2:", "1 rows"]);
    did(&output, 1, 0, 2);
    assert_eq!(
        pair.dest
            .column("SELECT CONCAT(id, w) FROM t ORDER BY id")
            .await,
        ["1new", "2b", "3new", "5e"]
    );
    pair.dest.run("ALTER TABLE t MODIFY w VARCHAR(20)").await;
    did(&pair.pull(&REPAIR).await.ok(), 0, 0, 1);
    pair.assert_same().await;
}

/// R9. Deletes come first, and are done whatever becomes of the rest.
async fn r9_what_was_done_before_a_failure_is_said(mut pair: Pair) {
    refused(&mut pair).await;
    let output = pair.pull(&REPAIR).await.fails_naming(&["t", "key 2:"]);
    assert_eq!(output.of("t").unwrap().0, 1, "{}", output.stderr);
    assert_eq!(pair.dest.count("t").await, 4);

    // The answer of what is fetched breaks off.
    pair.dest.run("ALTER TABLE t MODIFY w VARCHAR(20)").await;
    pair.source.run("DELETE FROM t WHERE id=5").await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let args = pair.puller_args(&[REPAIR[0], REPAIR[1], &proxy.flag()]);
    let mut stop = proxy.stop("keys=[[2]", 1, At::Lines(1));
    let mut all = proxy.stop("keys=[[1]", 1, At::Lines(1));
    let puller = Puller::start(&args);
    // Whichever key comes first in the list of those that differ.
    eventually("the fetch", async || {
        (stop.was_reached() || all.was_reached()).then_some(())
    })
    .await;
    stop.cut();
    all.cut();
    let output = puller.end().await.fails_naming(&["t", "cut short"]);
    did(&output, 1, 0, 0);
    let summary = output.stderr.lines().find(|line| line.contains("summary"));
    assert!(
        summary.is_some_and(|line| line.contains("deleted=1")),
        "{}",
        output.stderr
    );
    pair.pull(&REPAIR).await.ok();
    pair.assert_same().await;
}

/// A flag that does nothing is a mistake that nobody would see.
async fn r9_a_comparison_pulls_nothing_and_takes_no_flag_for_it(mut pair: Pair) {
    table(&pair, 10).await;
    pair.dest.run("DROP TABLE t").await;
    for flags in [
        &["--verify=full", "-f"][..],
        &["--verify=full", "--create-tables"],
        &["--sync-deletes", "--dry-run", "--create-tables"],
        &["--verify=full", "--repair", "--dry-run", "-f"],
    ] {
        let output = pair.pull(flags).await;
        let output = output.fails_naming(&["--force-resync", "--create-tables", "leave them out"]);
        assert!(output.pulls.is_empty(), "{flags:?}");
    }
    let tables = pair.dest.column("SHOW TABLES").await;
    assert!(tables.is_empty(), "{tables:?}");
    let flags = [&REPAIR[..], &["--create-tables", "-f"]].concat();
    pair.pull(&flags).await.ok();
    pair.assert_same().await;
}

/// R9. Who tries out what would be done is told that it would not be.
async fn r9_a_trial_beyond_the_guard_warns(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id<=6").await;
    for flags in [
        &[SYNC, "--dry-run", "--max-deletes=5"][..],
        &["--verify=keys", "--repair", "--dry-run", "--max-deletes=5%"],
    ] {
        let output = pair.pull(flags).await.differs();
        assert_eq!(output.stdout.len(), 6, "{flags:?}");
        output.says(&["6 of its 100 rows", "--max-deletes allows 5"]);
    }
    let output = pair.pull(&[SYNC, "--dry-run", "--max-deletes=6"]).await;
    let output = output.differs();
    assert!(!output.stderr.contains("allows"), "{}", output.stderr);
    assert_eq!(pair.dest.count("t").await, 100);
}

/// R6, R9. An index that the optimiser must not use still makes a key, but a statement that names it
/// fails.
async fn r9_a_key_whose_index_no_statement_may_name(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT NOT NULL, k INT NOT NULL, v INT, UNIQUE z_first (id), UNIQUE a_key (k), {STAMP}, {INDEXED})"
    ))
    .await;
    for side in [&pair.source, &pair.dest] {
        // The first such key of a table is the one that InnoDB stores rows by, which must be seen.
        side.run(match side.is_mysql() {
            true => "ALTER TABLE t ALTER INDEX a_key INVISIBLE",
            false => "ALTER TABLE t ALTER INDEX a_key IGNORED",
        })
        .await;
    }
    pair.source
        .run(format!(
            "INSERT INTO t (id, k, v) {}",
            numbers(3_000, "n, 5000-n, 0")
        ))
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    let list = listed(&pair).await;
    assert_eq!(list[0]["key"]["name"], "a_key", "{list:?}");
    pair.source
        .script(
            "DELETE FROM t WHERE id%100=1;
             UPDATE t SET v=1, s=s WHERE id%100=2;
             UPDATE t SET v=2 WHERE id%100=3;",
        )
        .await;
    pair.dest.run("DELETE FROM t WHERE id%100=4").await;
    let output = pair.pull(&REPAIR).await.ok();
    did(&output, 30, 30, 30);
    assert_eq!(output.rows("t"), 30);
    pair.assert_same().await;
    pair.pull(&["--verify=full"]).await.ok();
}

/// R9, R3. One statement has stamped more rows than a batch holds, and a puller is at work on them:
/// what the rest of the pull brings is no difference.
async fn r9_a_comparison_between_two_batches_of_one_stamp_finds_nothing(mut pair: Pair) {
    const ROWS: u32 = 8_000;
    table(&pair, ROWS).await;
    pair.pull(&[]).await.ok();
    let proxy = Proxy::start(pair.serve().await.port).await;
    pair.source.run("UPDATE t SET v=v+1 WHERE id<=7000").await;
    let mut stop = proxy.stop("since=", 1, At::Lines(5_000));
    let puller = Puller::start(&pair.puller_args(&[&proxy.flag()]));
    stop.reached().await;
    eventually("a batch of them is written", async || {
        (pair.dest.number("SELECT COUNT(DISTINCT s) FROM t").await == 2).then_some(())
    })
    .await;
    for level in ["--verify=keys", "--verify=stamps", "--verify=full"] {
        let output = pair.pull(&[level]).await.ok();
        assert!(output.stdout.is_empty(), "{level}: {:?}", output.stdout);
    }
    stop.go_on();
    puller.end().await.ok();
    pair.assert_same().await;
    // What was pulled is compared, up to the last of the rows of one stamp.
    pair.source
        .run("UPDATE t SET v=v+1, s=s WHERE id IN (1, 6999, 7000, 7001)")
        .await;
    let output = pair.pull(&["--verify=full"]).await.differs();
    assert_eq!(output.stdout.len(), 4, "{:?}", output.stdout);
}

/// R9. While rows are deleted and the puller propagates it, nothing but a row that is still to be
/// deleted may be named.
async fn r9_a_comparison_beside_deletes_finds_nothing_else(mut pair: Pair) {
    const ROWS: u32 = 4_000;
    const COMPARISONS: usize = 12;
    table(&pair, ROWS).await;
    let flags = [SYNC, "--delete-interval=0.05"];
    let mut puller = pair.poll(0.05, &flags).await;
    puller.reconciles_again("t", 1).await;
    let mut session = pair.source.session().await;
    let stop = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&stop);
    let writer = tokio::spawn(async move {
        let mut at = 0;
        while !ends.load(Ordering::SeqCst) {
            at = (at + 37) % ROWS;
            let going = 10_000 + at % 50;
            for statement in [
                format!("UPDATE t SET v=v+1 WHERE id IN ({at}, {ROWS})"),
                format!("REPLACE INTO t (id, v) VALUES ({going}, 0)"),
                format!("UPDATE t SET v=v+1 WHERE id BETWEEN {at} AND {at}+1500"),
                format!("DELETE FROM t WHERE id={going}"),
            ] {
                session.run(statement).await;
            }
        }
    });
    for level in ["keys", "stamps", "full"].iter().cycle().take(COMPARISONS) {
        let output = pair.pull(&[&format!("--verify={level}")]).await;
        assert!(matches!(output.code, Some(0 | 3)), "{}", output.stderr);
        for line in &output.stdout {
            let deleted = line.starts_with("t\t[100") && line.ends_with("only at the destination");
            assert!(deleted, "{level}: {line}\n{}", output.stderr);
        }
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    pair.becomes_same(&["t"]).await;
    pair.pull(&["--verify=full"]).await.ok();
    puller.terminate().await.ok();
}
