//! R9. Large tables: few differences cost little, and many are not held in memory.

use harness::{Pair, Proxy, Puller, same_flavour};

use crate::reconcile::SYNC;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_few_differences_cost_few_bytes,
    r9_more_differences_than_are_held_at_once_are_mended,
);

/// Two tables, of so many rows each: one of a key that sorts alike everywhere, and another.
async fn tables(pair: &Pair, numbered: u32, texts: u32) {
    for (table, rows, key, value) in [
        ("number", numbered, "k INT", "n"),
        (
            "text",
            texts,
            "k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "CONCAT('key ', n)",
        ),
    ] {
        pair.both(&format!(
            "CREATE TABLE {table} ({key} PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
        pair.source
            .run(format!(
                "INSERT INTO {table} (k, v) {}",
                numbers(rows, &format!("{value}, n"))
            ))
            .await;
    }
}

/// R9. The bytes grow with the differences, not with the table.
async fn r9_few_differences_cost_few_bytes(mut pair: Pair) {
    tables(&pair, 200_000, 80_000).await;
    let proxy = Proxy::start(pair.serve().await.port).await;
    let args = pair.puller_args(&[SYNC, &proxy.flag()]);
    Puller::start(&args).end().await.ok();
    for table in ["number", "text"] {
        pair.source
            .run(format!("DELETE FROM {table} WHERE v IN (1, 77777, 79999)"))
            .await;
    }
    for table in ["number", "text"] {
        proxy.forget();
        let args = [args.as_slice(), &["-t".to_owned(), table.to_owned()]].concat();
        let output = Puller::start(&args).end().await.ok();
        assert_eq!(output.of(table), Some((3, 0, 0)), "{table}");
        let wire = proxy.bytes_from_server() + proxy.bytes_from_puller();
        assert!(wire < 200_000, "{table}: {wire} bytes");
        let said = output.reconciled[0].bytes;
        let received: u64 = proxy
            .exchanges()
            .iter()
            .map(|exchange| exchange.bytes)
            .sum();
        assert!(
            0 < said && said <= received,
            "{table}: it says {said} bytes of {received}"
        );
    }
    pair.assert_same().await;
}

/// R9. Rows are compared one by one in groups of some 50,000; each is mended once.
async fn r9_more_differences_than_are_held_at_once_are_mended(mut pair: Pair) {
    const ROWS: u32 = 80_000;
    tables(&pair, ROWS, ROWS).await;
    for table in ["number", "text"] {
        // The last one has the position.
        pair.source
            .run(format!(
                "UPDATE {table} SET s=NOW(6)+INTERVAL 1 MICROSECOND WHERE v={ROWS}"
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
    for table in ["number", "text"] {
        pair.dest
            .script(&format!(
                "UPDATE {table} SET s='2020-01-01' WHERE v<=27000;
                 DELETE FROM {table} WHERE v BETWEEN 27001 AND 30000;"
            ))
            .await;
        pair.source
            .run(format!(
                "DELETE FROM {table} WHERE v BETWEEN 30001 AND 57000"
            ))
            .await;
    }
    let output = pair.pull(&[SYNC]).await.ok();
    for table in ["number", "text"] {
        assert_eq!(output.of(table), Some((27_000, 3_000, 27_000)), "{table}");
        assert_eq!(output.rows(table), 0, "{table}");
    }
    pair.assert_same().await;
}
