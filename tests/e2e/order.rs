//! Rows come in the order of stamp and key (R3), however they are read.

use harness::{Pair, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(
    more_rows_than_a_chunk_come_in_order,
    rows_come_in_order_however_their_keys_lie,
    below_an_assumed_horizon_no_index_stands_in_for_the_order,
);

/// R2. Where a chunk ends within a stamp, right behind one, or holds one stamp only, no row is
/// left out and none comes twice.
async fn more_rows_than_a_chunk_come_in_order(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    // Stamps of 10,000 rows each, then of 30,000, then of 1.
    pair.source
        .run(format!(
            "INSERT INTO t (id, v, s) {}",
            crate::numbers(
                80_000,
                "n, n, '2024-01-01' + INTERVAL IF(n<=30000, (n-1) DIV 10000, IF(n<=60000, 10, n)) SECOND"
            )
        ))
        .await;
    let output = pair.pull(&[]).await.ok();
    assert_eq!(output.rows("t"), 80_000);
    pair.assert_same().await;
}

/// R2. Rows whose keys lie together are read along the key: the order is that of stamp and key all the same, and
/// nothing is left out, whether the keys go the stamps' way or not, and lie together or far from each other.
async fn rows_come_in_order_however_their_keys_lie(mut pair: Pair) {
    let kinds: [&[(&str, &str)]; 4] = [
        // Many stamps.
        &[
            ("n-40000", "n DIV 3"),
            ("50000-n", "10000 + n DIV 3"),
            ("50000+n*7919", "20000 + n"),
        ],
        // Few stamps, whose keys lie apart, among each other, and the other way round.
        &[
            ("n", "n DIV 100"),
            ("100000+n", "10000 + n % 250"),
            ("300000-n", "20000 + n DIV 100"),
        ],
        // Few stamps, and the last of a chunk has the least key.
        &[
            ("n + 20000", "n DIV 100"),
            ("IF(n<25000, -n, 19999)", "1000"),
        ],
        // One stamp each, of keys that lie together, with holes, and far from each other.
        &[
            ("n - 5000", "1"),
            ("100000 + n + n DIV 2", "2"),
            ("200000 + n*7", "3"),
        ],
    ];
    for (at, kind) in kinds.iter().enumerate() {
        let table = format!("CREATE TABLE t{at} (id BIGINT PRIMARY KEY, {STAMP}, {INDEXED})");
        pair.source.run(table).await;
        for (id, second) in *kind {
            let rows = format!("{id}, '2024-01-01' + INTERVAL {second} SECOND");
            let rows = crate::numbers(25_000, &rows);
            pair.source
                .run(format!("INSERT INTO t{at} (id, s) {rows}"))
                .await;
        }
    }
    pair.serve().await;
    for (at, kind) in kinds.iter().enumerate() {
        let path = format!("/{}/t{at}/", pair.source.database);
        let accept = "accept: application/x-ndjson";
        let (_, _, body) = pair.curl(&["-H", accept], &path).await;
        let rows: Vec<(i64, String)> = body
            .lines()
            .filter(|line| line.starts_with('['))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows.len(), 25_000 * kind.len(), "t{at}");
        let in_order = |pair: &[(i64, String)]| (&pair[0].1, pair[0].0) < (&pair[1].1, pair[1].0);
        assert!(rows.windows(2).all(in_order), "t{at}");
    }
}

/// R3. A look at an index proves the order of the rows that are read afterwards only where none can come in between.
async fn below_an_assumed_horizon_no_index_stands_in_for_the_order(mut pair: Pair) {
    pair.source.server.keep_from_others();
    let rows = crate::numbers(25_000, "n, '2024-01-01' + INTERVAL n DIV 100 SECOND");
    for statement in [
        format!("CREATE TABLE t (id BIGINT PRIMARY KEY, {STAMP}, {INDEXED})"),
        format!("INSERT INTO t (id, s) {rows}"),
        "SET GLOBAL log_output='TABLE'".to_owned(),
    ] {
        pair.source.run(statement).await;
    }
    for (horizon, sorted) in [("auto", false), ("assumed", true)] {
        pair.source.run("TRUNCATE TABLE mysql.general_log").await;
        pair.start_server(&["--settle=0.5", &format!("--horizon={horizon}")])
            .await;
        pair.ready().await;
        pair.source.run("SET GLOBAL general_log=ON").await;
        let (status, _, _) = pair
            .curl(&[], &format!("/{}/t/", pair.source.database))
            .await;
        pair.source.run("SET GLOBAL general_log=OFF").await;
        assert_eq!(status, 200);
        let chunks = pair
            .source
            .column(
                "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log \
                 WHERE command_type='Query' AND argument LIKE 'SELECT `id`%BETWEEN%'",
            )
            .await;
        assert!(chunks.len() >= 2, "{horizon}: {chunks:?}");
        let by_stamp = |chunk: &String| chunk.contains("ORDER BY `s`, `id`");
        assert!(
            chunks.iter().all(|chunk| by_stamp(chunk) == sorted),
            "{horizon}: {chunks:?}"
        );
    }
}
