//! R9. Writers at work while a polling puller reconciles all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{Pair, Session, eventually, same_flavour};

use crate::reconcile::SYNC;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_a_row_that_stays_at_the_source_is_never_missing,
    r9_a_comparison_beside_a_polling_puller_finds_nothing,
);

/// All rows; those whose number can be divided by [`GOING`] come and go, the others stay.
const ROWS: u32 = 3_000;

/// See [`ROWS`].
const GOING: u32 = 50;

/// Passes over the table while the writers write.
const PASSES: usize = 12;

/// Rows that the puller has deleted before the writers stop.
const DELETED: u64 = 20;

/// A table of a key that sorts alike everywhere, and one of a key that does not.
const TABLES: [&str; 2] = ["number", "text"];

/// One writer's changes: rows that stay change, others come and go, in statements of their own and in
/// transactions that end late or not at all.
async fn write(mut session: Session, seed: u64, stop: Arc<AtomicBool>) {
    let mut state = seed;
    let mut random = |below: u64| {
        // Numerical Recipes' generator; its high bits are good enough.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    while !stop.load(Ordering::SeqCst) {
        let going = u64::from(GOING);
        let goes = going * (1 + random(u64::from(ROWS) / going));
        let stays = goes - 1 - random(going - 1);
        let t = TABLES[usize::from(random(2) == 1)];
        let statements = match random(6) {
            0 => vec![format!("UPDATE {t} SET v=v+1 WHERE id='{stays}'")],
            1 => vec![format!("DELETE FROM {t} WHERE id='{goes}'")],
            2 => vec![format!(
                "REPLACE INTO {t} (id, v) VALUES ('{goes}', {stays})"
            )],
            3 => vec![
                "START TRANSACTION".to_owned(),
                format!("DELETE FROM {t} WHERE id='{goes}'"),
                format!("INSERT INTO {t} (id, v) VALUES ('{goes}', 0)"),
                "COMMIT".to_owned(),
            ],
            4 => vec![
                "START TRANSACTION".to_owned(),
                format!("UPDATE {t} SET v=v+1 WHERE id='{stays}'"),
                "DO SLEEP(0.1)".to_owned(),
                format!("DELETE FROM {t} WHERE id='{goes}'"),
                "COMMIT".to_owned(),
            ],
            _ => vec![
                "START TRANSACTION".to_owned(),
                format!("DELETE FROM {t} WHERE id='{stays}'"),
                "DO SLEEP(0.05)".to_owned(),
                "ROLLBACK".to_owned(),
            ],
        };
        for statement in statements {
            // Writers may meet in a deadlock: one of them has done nothing then.
            if session.try_run(&statement).await.is_err() {
                session.run("ROLLBACK").await;
                break;
            }
        }
    }
}

async fn tables(pair: &mut Pair) {
    for (table, key) in [("number", "INT"), ("text", "VARCHAR(20)")] {
        pair.both(&format!(
            "CREATE TABLE {table} (id {key} PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} (id, v) {}",
                numbers(ROWS, "CAST(n AS CHAR), 0")
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
}

/// R9. At no moment, and at the end nothing is missing, wrong or too much.
async fn r9_a_row_that_stays_at_the_source_is_never_missing(mut pair: Pair) {
    tables(&mut pair).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for seed in 1..=3 {
        let session = pair.source.session().await;
        writers.push(tokio::spawn(write(session, seed, Arc::clone(&stop))));
    }
    let mut puller = pair.poll(0.05, &[SYNC, "--delete-interval=0.05"]).await;
    let staying = TABLES.map(|table| format!("SELECT COUNT(*) FROM {table} WHERE id%{GOING}<>0"));
    let all = u64::from(ROWS - ROWS / GOING);
    let watch = async {
        while !stop.load(Ordering::SeqCst) {
            for count in &staying {
                assert_eq!(pair.dest.number(count).await, all, "{count}");
            }
            tokio::task::yield_now().await;
        }
    };
    let passes = async {
        for table in TABLES {
            puller.reconciles_again(table, PASSES).await;
            eventually("the writers' deletes arrive", async || {
                let passes = puller.reconciled();
                let of_table = passes.iter().filter(|pass| pass.table == table);
                let deleted: u64 = of_table.map(|pass| pass.deleted).sum();
                (deleted >= DELETED).then_some(())
            })
            .await;
        }
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(watch, passes);
    for writer in writers {
        writer.await.unwrap();
    }
    pair.becomes_same(&TABLES).await;
    pair.pull(&["--verify=full"]).await.ok();
    puller.terminate().await.ok();
}

/// R9. What is due has come, whatever the writers and the puller do meanwhile.
async fn r9_a_comparison_beside_a_polling_puller_finds_nothing(mut pair: Pair) {
    tables(&mut pair).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut session, ends) = (pair.source.session().await, Arc::clone(&stop));
    let writer = tokio::spawn(async move {
        let mut at = 0;
        while !ends.load(Ordering::SeqCst) {
            at = (at + 37) % ROWS;
            for table in TABLES {
                session
                    .run(format!(
                        "UPDATE {table} SET v=v+1 WHERE id IN ('{at}', '{ROWS}')"
                    ))
                    .await;
                session
                    .run(format!(
                        "REPLACE INTO {table} (id, v) VALUES ('{}', 0)",
                        ROWS + at
                    ))
                    .await;
            }
        }
    });
    let puller = pair.poll(0.05, &[]).await;
    for level in ["keys", "stamps", "full", "full"] {
        let output = pair.pull(&[&format!("--verify={level}")]).await.ok();
        assert!(output.stdout.is_empty(), "{level}: {:?}", output.stdout);
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    puller.terminate().await.ok();
}
