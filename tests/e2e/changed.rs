//! What has nothing new is passed over, and nothing else is.

use harness::{Pair, same_flavour};
use serde_json::{Value, json};

use crate::{INDEXED, STAMP};

same_flavour!(
    what_has_nothing_new_is_passed_over,
    the_server_names_whatever_may_have_changed,
    a_transaction_that_is_still_open_is_seen_when_it_ends,
    a_row_of_the_positions_stamp_with_a_greater_key_comes,
    a_row_written_at_the_destination_hides_nothing,
    a_deleted_row_proves_nothing,
    rows_without_a_stamp_come_with_the_first_pull_of_many,
    a_row_in_the_future_is_reported_by_every_pull,
    a_table_altered_between_polls_loses_nothing,
    a_table_made_between_polls_comes,
);

/// Whether a table was asked for by itself.
fn was_asked_for(log: &str, table: &str) -> bool {
    log.lines()
        .any(|line| line.contains(&format!("pulling table=\"{table}\"")))
}

/// What of these the server names as changed.
async fn changed(pair: &Pair, tables: Value) -> Vec<String> {
    let body = json!({ "tables": tables }).to_string();
    let path = format!("/{}/-/changed", pair.source.database);
    let (status, _, answer) = pair.curl(&["--data", &body], &path).await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["source"]["horizon"].is_string(), "{answer}");
    let names = answer["changed"].as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

async fn what_has_nothing_new_is_passed_over(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE quiet (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE lively (id VARCHAR(20) PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE pairs (a INT, b VARBINARY(9), v INT, PRIMARY KEY (a, b), {STAMP}, {INDEXED});"
    ))
    .await;
    pair.source
        .script(
            "INSERT INTO quiet (id, v) VALUES (1, 0), (2, 0);
             INSERT INTO lively (id, v) VALUES ('a', 0), ('é', 0);
             INSERT INTO pairs (a, b, v) VALUES (1, x'00ff', 0), (1, 'b', 0);",
        )
        .await;
    pair.pull(&[]).await.ok();
    let idle = pair.pull(&["-d"]).await.ok();
    for table in ["quiet", "lively", "pairs"] {
        assert!(!was_asked_for(&idle.stderr, table), "{}", idle.stderr);
        assert!(idle.pulled(table), "{}", idle.stderr);
    }
    pair.source.run("UPDATE lively SET v=1 WHERE id='a'").await;
    let busy = pair.pull(&["-d"]).await.ok();
    assert!(!was_asked_for(&busy.stderr, "quiet"), "{}", busy.stderr);
    assert_eq!(busy.rows("lively"), 1, "{}", busy.stderr);
    pair.assert_same().await;
    // While polling: one line for all, and what changes comes.
    let mut puller = pair.poll(0.1, &["-d"]).await;
    puller.says("unchanged tables=3").await;
    pair.source.run("UPDATE pairs SET v=1 WHERE b='b'").await;
    pair.becomes_same(&["pairs"]).await;
    puller.says("unchanged tables=2").await;
    let output = puller.terminate().await.ok();
    assert!(!was_asked_for(&output.stderr, "quiet"), "{}", output.stderr);
    pair.assert_same().await;
}

/// R4, R11, R12: each line is what a laxer answer would pass over.
async fn the_server_names_whatever_may_have_changed(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED});
             CREATE TABLE words (id VARCHAR(9) PRIMARY KEY, {STAMP}, {INDEXED});
             CREATE TABLE future (id INT PRIMARY KEY, {STAMP}, {INDEXED});
             CREATE TABLE bare (id INT PRIMARY KEY, {STAMP});
             CREATE TABLE unset (id INT PRIMARY KEY, s TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP, KEY (s));
             INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-02'), (4, '2024-01-01');
             INSERT INTO words VALUES ('A', '2024-01-01'), ('b', '2024-01-02');
             INSERT INTO future VALUES (1, '2024-01-01'), (2, '2037-01-01');
             INSERT INTO bare VALUES (1, '2024-01-01');
             INSERT INTO unset VALUES (1, NULL), (2, '2024-01-01');"
        ))
        .await;
    pair.serve().await;
    let (first, second) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
    let later = "2024-01-02T00:00:00.000001Z";
    for (begin, is_changed, what) in [
        (json!(["t", "s", second, [3]]), false, "the last row"),
        (json!(["t", "S", later, null]), false, "behind all rows"),
        (
            json!(["t", "s", second, null]),
            true,
            "a row at exactly since",
        ),
        (
            json!(["t", "s", second, [2]]),
            true,
            "a greater key of that stamp",
        ),
        (json!(["t", "s", first, [4]]), true, "a later stamp"),
        (
            json!(["t", "s", second, [4]]),
            true,
            "a row of another stamp",
        ),
        (
            json!(["t", "s", second, [9]]),
            true,
            "a row that is not there",
        ),
        (
            json!(["t", "s", second, [3, 3]]),
            true,
            "a key of two columns",
        ),
        (json!(["t", "s", second, ["x"]]), true, "no number"),
        (json!(["t", "id", later, null]), true, "no stamp column"),
        (json!(["words", "s", second, ["b"]]), false, "the last word"),
        (
            json!(["words", "s", second, ["B"]]),
            true,
            "a word in other letters",
        ),
        (
            json!(["future", "s", later, null]),
            true,
            "a row in the future",
        ),
        (json!(["bare", "s", later, null]), true, "no index"),
        (
            json!(["unset", "s", first, [2]]),
            false,
            "NULL has no window",
        ),
        (json!(["gone", "s", later, null]), true, "no such table"),
    ] {
        let name = begin[0].as_str().unwrap().to_owned();
        let named = changed(&pair, json!([begin])).await;
        let expected: Vec<String> = is_changed.then_some(name).into_iter().collect();
        assert_eq!(named, expected, "{what}");
    }
    // One that cannot be looked at does not stand for the others.
    pair.source.run("ALTER TABLE t DROP KEY s").await;
    let all = json!([["t", "s", later, null], ["words", "s", later, null]]);
    assert_eq!(changed(&pair, all).await, ["t"]);
    let path = format!("/{}/-/changed", pair.source.database);
    for (args, path, status) in [
        (&["--data", "{"][..], path.as_str(), 400),
        (&["--data", "{\"tables\": [[\"t\"]]}"], &path, 400),
        (&["--data", "{\"tables\": []}"], "/none/-/changed", 404),
        (&["--data", "{\"tables\": []}"], "/mysql/-/changed", 404),
        (&[], &path, 405),
    ] {
        let (found, _, answer) = pair.curl(args, path).await;
        assert_eq!(found, status, "{args:?}: {answer}");
    }
}

/// R1. What is not visible yet lies above the horizon, and a table that is passed over counts up to there only.
async fn a_transaction_that_is_still_open_is_seen_when_it_ends(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE whole (id INT PRIMARY KEY, v INT,
           s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s));"
    ))
    .await;
    for table in ["t", "whole"] {
        pair.source
            .run(format!("INSERT INTO {table} (id, v) VALUES (1, 0)"))
            .await;
    }
    pair.pull(&[]).await.ok();
    let mut puller = pair.poll(0.05, &[]).await;
    puller.pulls_again("whole", 2).await;
    let mut late = pair.source.session().await;
    late.run("BEGIN").await;
    for table in ["t", "whole"] {
        late.run(format!("INSERT INTO {table} (id, v) VALUES (2, 0)"))
            .await;
    }
    pair.source.next_second().await;
    puller.pulls_again("whole", 20).await;
    late.run("COMMIT").await;
    pair.becomes_same(&["t", "whole"]).await;
    puller.terminate().await.ok();
}

/// R3. A batch need not end with the last row of its stamp.
async fn a_row_of_the_positions_stamp_with_a_greater_key_comes(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE words (a INT, b VARCHAR(20), v INT, PRIMARY KEY (a, b), {STAMP}, {INDEXED});"
    ))
    .await;
    let at = "2024-01-01 00:00:00";
    pair.both(&format!(
        "INSERT INTO t VALUES (1, 0, '{at}'), (2, 0, '{at}');
         INSERT INTO words VALUES (1, 'b', 0, '{at}'), (2, 'a', 0, '{at}');"
    ))
    .await;
    pair.source
        .script(&format!(
            "INSERT INTO t VALUES (3, 0, '{at}');
             INSERT INTO words VALUES (2, 'c', 0, '{at}');"
        ))
        .await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R12.
async fn a_row_written_at_the_destination_hides_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE touched (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE added (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});"
    ))
    .await;
    for table in ["touched", "added"] {
        pair.source
            .run(format!(
                "INSERT INTO {table} VALUES (1, 0, '2024-01-01'), (2, 0, '2024-01-02')"
            ))
            .await;
    }
    pair.pull(&[]).await.ok();
    for table in ["touched", "added"] {
        pair.source
            .run(format!("INSERT INTO {table} VALUES (3, 0, '2024-01-03')"))
            .await;
    }
    pair.dest
        .script(
            "UPDATE touched SET s='2024-01-05' WHERE id=1;
             INSERT INTO added VALUES (9, 0, '2024-01-05');",
        )
        .await;
    pair.pull(&[])
        .await
        .ok()
        .says(&["something else writes to this table"]);
    assert_eq!(pair.dest.count("touched").await, 3);
    assert_eq!(pair.dest.count("added").await, 4);
}

/// R12. The row of the position is gone: what the source had before it, it may have had before this puller.
async fn a_deleted_row_proves_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t VALUES (1, 0, '2024-01-01'), (2, 0, '2024-01-03')")
        .await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id=2").await;
    pair.source
        .run("INSERT INTO t VALUES (3, 0, '2024-01-02')")
        .await;
    let output = pair.pull(&["-d"]).await.ok();
    assert!(was_asked_for(&output.stderr, "t"), "{}", output.stderr);
    assert_eq!(
        pair.dest.number("SELECT COUNT(*) FROM t WHERE id=3").await,
        1
    );
}

async fn rows_without_a_stamp_come_with_the_first_pull_of_many(mut pair: Pair) {
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT,
           s TIMESTAMP(3) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(3), KEY (s));
         CREATE TABLE u LIKE t;",
    )
    .await;
    pair.both("INSERT INTO t (id, v) VALUES (1, 0); INSERT INTO u VALUES (1, 0, NULL), (2, 0, '2024-01-01');")
        .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (2, 0)").await;
    pair.source.run("UPDATE u SET v=1 WHERE id=1").await;
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
}

/// R4.
async fn a_row_in_the_future_is_reported_by_every_pull(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t VALUES (1, 0, '2024-01-01'), (2, 0, '2037-01-01')")
        .await;
    for _ in 0..2 {
        pair.pull(&[]).await.ok().says(&["not yet due"]);
    }
}

/// R7. Shapes of a moment ago serve only where nothing has changed.
async fn a_table_altered_between_polls_loses_nothing(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE quiet (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED});"
    ))
    .await;
    pair.source.run("INSERT INTO t (id, v) VALUES (1, 0)").await;
    pair.source
        .run("INSERT INTO quiet (id, v) VALUES (1, 0)")
        .await;
    let mut puller = pair.poll(0.05, &[]).await;
    pair.becomes_same(&["t", "quiet"]).await;
    for column in ["a", "b", "c", "d"] {
        puller.pulls_again("quiet", 2).await;
        pair.dest
            .run(format!("ALTER TABLE t ADD {column} INT"))
            .await;
        pair.source
            .run(format!("ALTER TABLE t ADD {column} INT"))
            .await;
        pair.source
            .run(format!("UPDATE t SET {column}=id, v=v+1"))
            .await;
        pair.becomes_same(&["t"]).await;
    }
    pair.source.run("ALTER TABLE t DROP KEY s").await;
    pair.source.run("UPDATE t SET v=v+1").await;
    pair.becomes_same(&["t"]).await;
    pair.source.run("RENAME TABLE t TO old").await;
    pair.source.run("CREATE TABLE t LIKE old").await;
    pair.source.run("INSERT INTO t SELECT * FROM old").await;
    pair.source.run("DROP TABLE old").await;
    pair.source.run("UPDATE t SET v=v+1").await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await;
}

/// The list of tables of the pull before serves only while it is the same.
async fn a_table_made_between_polls_comes(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE quiet (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO quiet (id) VALUES (1)").await;
    let mut puller = pair.poll(0.05, &["-d", "--create-tables"]).await;
    puller.says("unchanged tables=1").await;
    let made = format!("CREATE TABLE made (id INT PRIMARY KEY, {STAMP}, {INDEXED})");
    pair.source.run(made).await;
    pair.source.run("INSERT INTO made (id) VALUES (1)").await;
    puller.pulls_again("made", 1).await;
    pair.becomes_same(&["made"]).await;
    puller.terminate().await;
}
