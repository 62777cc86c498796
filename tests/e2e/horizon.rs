//! The horizon under writers that do everything that defeats simple rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use harness::{Pair, Session, same_flavour, within};

use crate::{INDEXED, STAMP};

same_flavour!(no_pull_ever_passes_a_commit);

/// How long the writers write.
const WRITING: Duration = Duration::from_secs(8);
/// Rows that exist before, each for one update.
const SEED: u32 = 20_000;
/// How many writers there are of each way to write.
const WRITERS: usize = 2;

/// A way to write. `{id}` is a row that nobody else writes to: a change that a pull passed by is
/// therefore missing at the end; nothing later can hide it.
const WAYS: &[(&str, &[&str])] = &[
    (
        "autocommit",
        &["UPDATE t SET v=1 WHERE id={id}", "DO SLEEP(0.02)"],
    ),
    (
        "insert",
        &[
            "INSERT INTO t (id, v) VALUES (1000000+{id}, 1)",
            "DO SLEEP(0.02)",
        ],
    ),
    (
        "transaction",
        &[
            "START TRANSACTION",
            "UPDATE t SET v=1 WHERE id={id}",
            "DO SLEEP({pause})",
            "COMMIT",
        ],
    ),
    (
        "late first write",
        &[
            "START TRANSACTION",
            "SELECT COUNT(*) FROM elsewhere",
            "DO SLEEP({pause})",
            "UPDATE t SET v=1 WHERE id={id}",
            "DO SLEEP({pause})",
            "COMMIT",
        ],
    ),
    (
        "autocommit off",
        &[
            "SET autocommit=0",
            "INSERT INTO t (id, v) VALUES (1000000+{id}, 1)",
            "DO SLEEP({pause})",
            "UPDATE t SET v=2 WHERE id={id}",
            "COMMIT",
            "SET autocommit=1",
        ],
    ),
    (
        "slow statement",
        &["UPDATE t SET v=1+SLEEP({pause}) WHERE id={id}"],
    ),
    (
        "prepared",
        &[
            "XA START 'x{id}'",
            "UPDATE t SET v=1 WHERE id={id}",
            "XA END 'x{id}'",
            "DO SLEEP({pause})",
            "XA PREPARE 'x{id}'",
            "DO SLEEP({pause})",
            "XA COMMIT 'x{id}'",
        ],
    ),
    ("procedure", &["CALL slowly({id}, {pause})"]),
    ("function", &["SELECT tardy({id}, {pause})"]),
    (
        "trigger",
        &[
            "INSERT INTO causes (row_id) VALUES ({id})",
            "DO SLEEP(0.02)",
        ],
    ),
    (
        "trigger in a transaction",
        &[
            "START TRANSACTION",
            "INSERT INTO causes (row_id) VALUES ({id})",
            "DO SLEEP({pause})",
            "COMMIT",
        ],
    ),
    // Holds the metadata lock of the table, for which the ALTERs and everybody behind them wait.
    (
        "open read",
        &[
            "START TRANSACTION",
            "SELECT v FROM t WHERE id={id}",
            "DO SLEEP({pause}/10)",
            "SELECT v FROM t WHERE id={id} FOR UPDATE",
            "UPDATE t SET v=1 WHERE id={id}",
            "COMMIT",
        ],
    ),
    (
        "table lock",
        &[
            "LOCK TABLES t READ",
            "DO SLEEP({pause}/4)",
            "UNLOCK TABLES",
            "UPDATE t SET v=1 WHERE id={id}",
        ],
    ),
    (
        "savepoint",
        &[
            "START TRANSACTION",
            "UPDATE t SET v=9 WHERE id={id}",
            "SAVEPOINT a",
            "DO SLEEP({pause})",
            "ROLLBACK TO SAVEPOINT a",
            "COMMIT",
        ],
    ),
];

/// Shared by the writers of a test.
struct Work {
    over: AtomicBool,
    next: AtomicU32,
    done: Vec<AtomicU32>,
}

/// R1. Every row is the last thing its writer did to it. The puller never reads anything twice:
/// what is not at the destination in the end was passed by a horizon.
async fn no_pull_ever_passes_a_commit(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .script(
            "CREATE TABLE elsewhere (id INT PRIMARY KEY);
             CREATE TABLE causes (row_id INT PRIMARY KEY);
             CREATE TRIGGER cause AFTER INSERT ON causes FOR EACH ROW UPDATE t SET v=3 WHERE id=NEW.row_id;
             CREATE PROCEDURE slowly(which INT, pause DOUBLE)
               BEGIN DO SLEEP(pause); UPDATE t SET v=4 WHERE id=which; DO SLEEP(pause); END;
             CREATE FUNCTION tardy(which INT, pause DOUBLE) RETURNS INT MODIFIES SQL DATA
               BEGIN DO SLEEP(pause); UPDATE t SET v=5 WHERE id=which; RETURN 1; END;
             CREATE TABLE ticks (tick INT AUTO_INCREMENT PRIMARY KEY);
             CREATE EVENT beat ON SCHEDULE EVERY 1 SECOND DO BEGIN
               INSERT INTO ticks VALUES (NULL); DO SLEEP(0.4); INSERT INTO t (id, v) VALUES (2000000+LAST_INSERT_ID(), 6); END;",
        )
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t (id, v) {}",
            crate::numbers(SEED, "n, 0")
        ))
        .await;
    let mut puller = pair.poll(0.1, &["-t", "t"]).await;
    pair.becomes_same(&["t"]).await;

    let work = Arc::new(Work {
        over: AtomicBool::new(false),
        next: AtomicU32::new(1),
        done: WAYS.iter().map(|_| AtomicU32::new(0)).collect(),
    });
    let mut writers = Vec::new();
    for way in 0..WAYS.len() {
        for _ in 0..WRITERS {
            let session = pair.source.session().await;
            writers.push(tokio::spawn(write(session, way, work.clone())));
        }
    }
    writers.push(tokio::spawn(alter(
        pair.source.session().await,
        work.clone(),
    )));
    tokio::time::sleep(WRITING).await;
    work.over.store(true, Ordering::Relaxed);
    let mut committed = Vec::new();
    for writer in writers {
        committed.extend(writer.await.expect("no writer panics"));
    }
    pair.source.run("DROP EVENT beat").await;
    let ticks = pair
        .source
        .number("SELECT COUNT(*) FROM t WHERE id>2000000")
        .await;
    assert!(ticks > 0, "no event has written");
    for (at, (name, _)) in WAYS.iter().enumerate() {
        let done = work.done[at].load(Ordering::Relaxed);
        assert!(done > 0, "nothing was written by {name}");
    }

    let start = std::time::Instant::now();
    let missing = within(Duration::from_secs(40), "an answer", async || {
        let missing = pair.differences(&["t"], &[]).await;
        (missing.is_empty() || start.elapsed() > Duration::from_secs(20)).then_some(missing)
    })
    .await;
    assert!(
        missing.is_empty(),
        "the horizon passed {} of {} commits: {missing:?}\n{}",
        missing.len(),
        committed.len(),
        committed
            .iter()
            .filter(|(id, _)| missing
                .iter()
                .any(|line| line.contains(&format!("('{id}')"))))
            .map(|(id, way)| format!("{id} by {way}"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert!(!puller.has_ended(), "{}", puller.log());
    puller.terminate().await.ok();
}

/// Writes in one way until it is over; the rows whose change was committed.
async fn write(mut session: Session, way: usize, work: Arc<Work>) -> Vec<(u32, &'static str)> {
    let (name, statements) = WAYS[way];
    let mut committed = Vec::new();
    while !work.over.load(Ordering::Relaxed) {
        let id = work.next.fetch_add(1, Ordering::Relaxed);
        assert!(id < SEED, "more rows are needed");
        // From a tenth of a second to more than two, different for each row.
        let pause = f64::from(id * 37 % 97) / 45.0 + 0.1;
        let mut well = true;
        for statement in statements {
            let statement = statement
                .replace("{id}", &id.to_string())
                .replace("{pause}", &pause.to_string());
            if let Err(error) = session.try_run(&statement).await {
                // A deadlock, say: it is rolled back, and nothing was committed.
                well = false;
                println!("{name}: {statement}: {error}");
                for undo in ["UNLOCK TABLES", "ROLLBACK", "SET autocommit=1"] {
                    let _ = session.try_run(undo).await;
                }
                for undo in ["XA END", "XA ROLLBACK"] {
                    let _ = session.try_run(&format!("{undo} 'x{id}'")).await;
                }
                break;
            }
        }
        if well {
            work.done[way].fetch_add(1, Ordering::Relaxed);
            committed.push((id, name));
        }
    }
    committed
}

/// Changes the table's definition over and over, so that writers wait for its metadata lock.
async fn alter(mut session: Session, work: Arc<Work>) -> Vec<(u32, &'static str)> {
    session.run("SET lock_wait_timeout=2").await;
    let mut comment = 0;
    while !work.over.load(Ordering::Relaxed) {
        comment += 1;
        for statement in [
            format!("ALTER TABLE t COMMENT='{comment}'"),
            "ALTER TABLE t ADD INDEX extra (v)".to_owned(),
            "DO SLEEP(0.3)".to_owned(),
            "ALTER TABLE t DROP INDEX extra".to_owned(),
            "DO SLEEP(0.3)".to_owned(),
        ] {
            // It may not get the lock in time.
            let _ = session.try_run(&statement).await;
        }
    }
    Vec::new()
}
