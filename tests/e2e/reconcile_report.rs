//! R9. What the puller says and what it does not do: comparing alone, trying out, and the guard.

use harness::{Pair, same_flavour};

use crate::reconcile::{SYNC, contents, did, printed, table};
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_a_comparison_prints_every_difference_and_writes_nothing,
    r9_a_comparison_takes_only_what_is_due,
    r9_a_trial_prints_what_would_be_done_and_writes_nothing,
    r9_a_source_that_was_emptied_stops_at_the_guard,
    r9_the_number_of_deletes_can_be_limited,
    r9_a_single_run_sums_up,
    r9_a_polling_puller_reconciles_at_its_start_and_in_intervals,
    r9_flags_that_contradict_each_other_are_refused,
);

/// A table whose key can hold what a line must not, and one of two columns; each has a row that is
/// only here, one that is only there, one whose stamp differs and one whose value does.
async fn differing(pair: &mut Pair) {
    pair.both(&format!(
        "CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, v INT, {STAMP}, {INDEXED});
         CREATE TABLE two (a INT, b DECIMAL(5,2), v INT, PRIMARY KEY (b, a), {STAMP}, {INDEXED});"
    ))
    .await;
    pair.source
        .script(
            "INSERT INTO t (k, v) VALUES ('a\\tb', 1), ('new\\nline', 1), ('\"', 1), ('same', 1), ('😀', 1), ('z', 1);
             INSERT INTO two (a, b, v) VALUES (1, 1.5, 1), (2, 1.5, 1), (3, 1.5, 1), (4, 1.5, 1), (5, 1.5, 1);",
        )
        .await;
    pair.pull(&[]).await.ok();
    pair.source
        .script(
            "DELETE FROM t WHERE k='a\\tb';
             UPDATE t SET v=2, s='2020-01-01' WHERE k='\"';
             UPDATE t SET v=2, s=s WHERE k='😀';
             DELETE FROM two WHERE a=1;
             UPDATE two SET s='2020-01-01' WHERE a=3;
             UPDATE two SET v=2, s=s WHERE a=4;",
        )
        .await;
    pair.dest
        .script("DELETE FROM t WHERE k='new\\nline';\nDELETE FROM two WHERE a=2;")
        .await;
}

const BY_KEYS: [&str; 4] = [
    "t\t[\"a\\tb\"]\tonly at the destination",
    "t\t[\"new\\nline\"]\tonly at the source",
    "two\t[\"1.50\",1]\tonly at the destination",
    "two\t[\"1.50\",2]\tonly at the source",
];
const BY_STAMPS: [&str; 2] = ["t\t[\"\\\"\"]\tdiffers", "two\t[\"1.50\",3]\tdiffers"];
const BY_VALUES: [&str; 2] = ["t\t[\"😀\"]\tdiffers", "two\t[\"1.50\",4]\tdiffers"];

fn sorted(lines: &[&[&str]]) -> Vec<String> {
    let mut lines: Vec<String> = lines.concat().iter().map(|&line| line.to_owned()).collect();
    lines.sort();
    lines
}

/// R9. One line for each, at the level that was asked for; exit codes 3 and 0, and 1 when the
/// comparison failed.
async fn r9_a_comparison_prints_every_difference_and_writes_nothing(mut pair: Pair) {
    differing(&mut pair).await;
    let before = contents(&pair.dest).await;
    for (level, expected) in [
        ("--verify=keys", sorted(&[&BY_KEYS])),
        ("--verify=stamps", sorted(&[&BY_KEYS, &BY_STAMPS])),
        ("--verify=full", sorted(&[&BY_KEYS, &BY_STAMPS, &BY_VALUES])),
    ] {
        let output = pair.pull(&[level]).await.differs();
        assert_eq!(printed(&output), expected, "{level}");
        assert!(output.pulls.is_empty(), "{}", output.stderr);
    }
    assert_eq!(contents(&pair.dest).await, before);
    // Mending is a pull, and a comparison after it.
    pair.pull(&["--verify=keys", "--repair"]).await.ok();
    let output = pair.pull(&["--verify=full"]).await.differs();
    assert_eq!(printed(&output), sorted(&[&BY_STAMPS, &BY_VALUES]));
    pair.pull(&["--verify=full", "--repair"]).await.ok();
    pair.assert_same().await;
    let output = pair.pull(&["--verify=full"]).await.ok();
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);

    // What could not be compared is not equal, whatever the others are.
    pair.dest.run("DROP TABLE two").await;
    pair.pull(&["--verify=full"]).await.fails_naming(&["two"]);
    pair.source.run("DELETE FROM t WHERE k='z'").await;
    let output = pair.pull(&["--verify=keys"]).await.fails_naming(&["two"]);
    assert_eq!(output.stdout, ["t\t[\"z\"]\tonly at the destination"]);
    pair.take_server().kill().await;
    let nobody = harness::Puller::start(&pair.puller_args(&["--verify=full", "--source-port=1"]));
    nobody.end().await.fails_naming(&["127.0.0.1"]);
}

/// R9. What a next pull would bring is no difference.
async fn r9_a_comparison_takes_only_what_is_due(mut pair: Pair) {
    table(&pair, 3_000).await;
    pair.pull(&[]).await.ok();
    pair.source
        .script(
            "INSERT INTO t (id, v) VALUES (0, 0), (5000, 0);
             UPDATE t SET v=100 WHERE id IN (7, 3000);",
        )
        .await;
    for level in ["--verify=keys", "--verify=stamps", "--verify=full"] {
        let output = pair.pull(&[level]).await.ok();
        assert!(output.stdout.is_empty(), "{level}: {:?}", output.stdout);
    }
    pair.source.run("DELETE FROM t WHERE id=8").await;
    let output = pair.pull(&["--verify=full"]).await.differs();
    assert_eq!(output.stdout, ["t\t[8]\tonly at the destination"]);
    assert_eq!(pair.dest.count("t").await, 3_000);
}

/// R9. No pull, no delete, no repair.
async fn r9_a_trial_prints_what_would_be_done_and_writes_nothing(mut pair: Pair) {
    differing(&mut pair).await;
    pair.source
        .script("INSERT INTO t (k, v) VALUES ('later', 1);\nUPDATE two SET v=9 WHERE a=5;")
        .await;
    let before = contents(&pair.dest).await;
    let output = pair.pull(&[SYNC, "--dry-run"]).await.differs();
    assert_eq!(printed(&output), sorted(&[&BY_KEYS, &BY_STAMPS]));
    assert!(output.pulls.is_empty(), "{}", output.stderr);
    for flags in [
        &["--verify=full", "--dry-run"][..],
        &["--verify=full", "--repair", "--dry-run"],
    ] {
        let output = pair.pull(flags).await.differs();
        assert_eq!(
            printed(&output),
            sorted(&[&BY_KEYS, &BY_STAMPS, &BY_VALUES]),
            "{flags:?}"
        );
    }
    assert_eq!(contents(&pair.dest).await, before);
    pair.pull(&["--verify=full", "--repair"]).await.ok();
    pair.assert_same().await;
    let output = pair.pull(&[SYNC, "--dry-run"]).await.ok();
    assert!(output.stdout.is_empty(), "{:?}", output.stdout);
}

/// R9. More than half of a table and more than 10,000 rows: both, or it is no reason to stop.
async fn r9_a_source_that_was_emptied_stops_at_the_guard(mut pair: Pair) {
    table(&pair, 20_100).await;
    pair.both(&format!(
        "CREATE TABLE a_small (id INT PRIMARY KEY, {STAMP}, {INDEXED});
         CREATE TABLE z_small (id INT PRIMARY KEY, {STAMP}, {INDEXED});"
    ))
    .await;
    for small in ["a_small", "z_small"] {
        pair.source
            .run(format!("INSERT INTO {small} (id) {}", numbers(9, "n")))
            .await;
    }
    pair.pull(&[]).await.ok();
    // Not more than half.
    pair.source.run("DELETE FROM t WHERE id<=10030").await;
    did(&pair.pull(&[SYNC]).await.ok(), 10_030, 0, 0);
    // Not more than 10,000.
    pair.source
        .run("DELETE FROM t WHERE id BETWEEN 10031 AND 20000")
        .await;
    did(&pair.pull(&[SYNC]).await.ok(), 9_970, 0, 0);
    pair.source
        .run(format!("INSERT INTO t (id) {}", numbers(10_000, "n")))
        .await;
    pair.pull(&[]).await.ok();
    assert_eq!(pair.dest.count("t").await, 10_100);
    pair.source
        .script("DELETE FROM t;\nDELETE FROM a_small;\nDELETE FROM z_small;")
        .await;
    let output = pair
        .pull(&[SYNC])
        .await
        .fails_naming(&["t", "10100", "--max-deletes"]);
    assert_eq!(output.of("t"), None);
    assert_eq!(pair.dest.count("t").await, 10_100, "nothing is deleted");
    // The guard is of one table.
    assert_eq!(pair.dest.count("a_small").await, 0);
    assert_eq!(pair.dest.count("z_small").await, 0);
    did(
        &pair.pull(&[SYNC, "--max-deletes=100%"]).await.ok(),
        10_100,
        0,
        0,
    );
    pair.assert_same().await;
}

/// R9. By a number, or by a share of what the destination has.
async fn r9_the_number_of_deletes_can_be_limited(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id<=6").await;
    for limit in ["--max-deletes=5", "--max-deletes=0", "--max-deletes=5%"] {
        pair.pull(&[SYNC, limit])
            .await
            .fails_naming(&["t", "6", "100", "--max-deletes"]);
        assert_eq!(pair.dest.count("t").await, 100, "{limit}");
        // A repair deletes too.
        pair.pull(&["--verify=full", "--repair", limit])
            .await
            .fails_naming(&["t", "6", "100", "--max-deletes"]);
        assert_eq!(pair.dest.count("t").await, 100, "{limit}");
    }
    did(&pair.pull(&[SYNC, "--max-deletes=6"]).await.ok(), 6, 0, 0);
    pair.source.run("DELETE FROM t WHERE id<=15").await;
    did(&pair.pull(&[SYNC, "--max-deletes=10%"]).await.ok(), 9, 0, 0);
    pair.assert_same().await;
}

/// What was done, at the end and in one line for each table.
async fn r9_a_single_run_sums_up(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source
        .script(
            "DELETE FROM t WHERE id<=3;
             INSERT INTO t (id, v, s) VALUES (200, 0, '2020-01-01'), (201, 0, '2020-01-01');
             UPDATE t SET s='2020-01-01' WHERE id=50;
             UPDATE t SET v=9 WHERE id BETWEEN 96 AND 100;",
        )
        .await;
    let output = pair.pull(&[SYNC]).await.ok();
    did(&output, 3, 2, 1);
    let line = output
        .stderr
        .lines()
        .find(|line| line.contains("summary") && line.contains("table=\"t\""))
        .unwrap_or_else(|| panic!("no summary:\n{}", output.stderr));
    for field in ["pulled=5", "deleted=3", "fetched=2", "repaired=1"] {
        assert!(line.contains(field), "no {field}: {line}");
    }
}

/// R9. At its start, whatever the interval is; then as often as the interval says.
async fn r9_a_polling_puller_reconciles_at_its_start_and_in_intervals(mut pair: Pair) {
    table(&pair, 100).await;
    pair.pull(&[]).await.ok();
    pair.source.run("DELETE FROM t WHERE id=1").await;
    let mut puller = pair.poll(0.1, &[SYNC, "--delete-interval=3600"]).await;
    pair.becomes_same(&["t"]).await;
    pair.source.run("DELETE FROM t WHERE id=2").await;
    puller.pulls_again("t", 5).await;
    assert_eq!(pair.dest.count("t").await, 99, "it is not yet time");
    assert_eq!(puller.reconciled().len(), 1);
    puller.terminate().await.ok();

    let puller = pair.poll(0.1, &[SYNC, "--delete-interval=0.3"]).await;
    pair.becomes_same(&["t"]).await;
    pair.source.run("DELETE FROM t WHERE id=3").await;
    pair.becomes_same(&["t"]).await;
    // The source goes, and the puller stays.
    pair.source.run("DELETE FROM t WHERE id=4").await;
    let server = pair.take_server();
    let port = format!("--listen-port={}", server.port);
    server.kill().await;
    pair.start_server(&[&port]).await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();

    let flags = ["--verify=full", "--repair", "--delete-interval=0.3"];
    let puller = pair.poll(0.1, &flags).await;
    pair.source
        .script("DELETE FROM t WHERE id=5;\nUPDATE t SET v=99, s=s WHERE id=6;")
        .await;
    pair.becomes_same(&["t"]).await;
    puller.terminate().await.ok();
}

/// A flag that does nothing is a mistake that nobody would see.
async fn r9_flags_that_contradict_each_other_are_refused(mut pair: Pair) {
    table(&pair, 1).await;
    for flags in [
        &["--repair"][..],
        &["--dry-run"],
        &["--verify=some"],
        &["--sync-deletes", "--max-deletes=some"],
        &["--sync-deletes", "--max-deletes=101%"],
        &["--sync-deletes", "--max-deletes=-1"],
        &["--verify=keys", "--max-deletes=5"],
        &["--verify=full", "--sync-deletes"],
        &["--verify=full", "--poll-interval=1"],
        &["--sync-deletes", "--dry-run", "--poll-interval=1"],
    ] {
        let output = pair.pull(flags).await;
        assert!(
            matches!(output.code, Some(1 | 2)),
            "{flags:?}: {:?} {}",
            output.code,
            output.stderr
        );
        assert!(output.pulls.is_empty(), "{flags:?}");
        assert!(output.stderr.contains("--"), "{}", output.stderr);
    }
    assert_eq!(pair.dest.count("t").await, 0);
}
