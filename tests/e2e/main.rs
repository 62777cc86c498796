//! Both programs between two real databases: one file for each promise.
#![expect(clippy::unwrap_used, reason = "a test that unwraps in vain has failed")]

use harness::Pair;

mod access;
mod alone;
mod bounds;
mod certificates;
mod changed;
mod charsets;
mod compressed;
mod conditional;
mod crash;
mod create;
mod digests;
mod failover;
mod faults;
mod forged;
mod harness_itself;
mod horizon;
mod hostile;
mod http;
mod idle;
mod keys;
mod links;
mod literals;
mod locks;
mod logins;
mod logs;
mod metrics;
mod mounted;
mod names;
mod nosuch;
mod order;
mod pages;
mod parallel;
mod paths;
mod pauses;
mod proxy;
mod readers;
mod reconcile;
mod reconcile_during;
mod reconcile_faults;
mod reconcile_key_cost;
mod reconcile_keys;
mod reconcile_regressions;
mod reconcile_relations;
mod reconcile_report;
mod reconcile_scope;
mod reconcile_size;
mod reconcile_spelling;
mod reconcile_unique;
mod reconcile_writers;
mod refusal;
mod relay;
mod resync;
mod sakila;
mod schema;
mod shape;
mod silent;
mod soak;
mod source_clock;
mod source_fails_over;
mod source_freezes;
mod source_replica;
mod source_slow;
mod stalls;
mod stops;
mod survives;
mod tls;
mod tls_answers;
mod tls_databases;
mod tls_files;
mod unique;
mod values;
mod window;
mod writers;
mod zones;

/// The usual stamp column.
const STAMP: &str =
    "s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)";

/// The usual index on it.
const INDEXED: &str = "KEY (s)";

/// A query whose rows are `select`, computed from n = 1 … `count` (at most 1,000,000).
fn numbers(count: u32, select: &str) -> String {
    let digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
                  UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 \
                  UNION ALL SELECT 8 UNION ALL SELECT 9)";
    // No more digits than the greatest n has: each makes ten times as many rows to choose from.
    let places = (count.max(2) - 1).ilog10() + 1;
    let sum: Vec<String> = (0..places)
        .map(|place| format!("{}*d{place}.d", 10_u32.pow(place)))
        .collect();
    let from: Vec<String> = (0..places)
        .map(|place| format!("{digits} d{place}"))
        .collect();
    format!(
        "SELECT {select} FROM (SELECT 1+{} AS n FROM {} HAVING n<={count}) AS numbers",
        sum.join("+"),
        from.join(", ")
    )
}

/// An account `reader` at the source that may read its database, and what `more` grants.
async fn reader_account(pair: &Pair, more: &str) {
    let database = harness::quoted(&pair.source.database);
    pair.source
        .run("CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'secret'")
        .await;
    pair.source
        .run(format!(
            "GRANT SELECT ON {database}.* TO reader@'127.0.0.1'"
        ))
        .await;
    if !more.is_empty() {
        pair.source
            .run(format!("GRANT {more} TO reader@'127.0.0.1'"))
            .await;
    }
}
