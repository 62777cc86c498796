//! R9. Long keys and keys that servers write in forms of their own: what they ask of memory, of
//! requests and of the statements by key.

use harness::{Flavour, Pair, Side, same_flavour};

use crate::reconcile::did;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r9_long_keys_that_all_differ_are_mended,
    r9_a_trigger_that_changes_what_is_written_ends_the_pass,
    r9_float_keys_are_found_by_index,
);

/// Compares every column, and mends what differs.
const REPAIR: [&str; 2] = ["--verify=full", "--repair"];

/// A table of binary keys that are `length` bytes long.
async fn long_keys(pair: &mut Pair, rows: u32, length: u32) {
    pair.both(&format!(
        "CREATE TABLE t (k VARBINARY(700) PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
    ))
    .await;
    let key = format!("CONCAT(UNHEX(LPAD(HEX(n*7),8,'0')), REPEAT(x'FF', {length}-4)), n");
    pair.source
        .run(format!("INSERT INTO t (k, v) {}", numbers(rows, &key)))
        .await;
    pair.pull(&[]).await.ok();
}

/// R9. The keys of as many ranges or rows as are asked for at once would be more than a request holds.
async fn r9_long_keys_that_all_differ_are_mended(mut pair: Pair) {
    const ROWS: u32 = 30_000;
    long_keys(&mut pair, ROWS, 650).await;
    pair.source.run("UPDATE t SET v=v+1, s=s").await;
    did(&pair.pull(&REPAIR).await.ok(), 0, 0, ROWS.into());
    pair.assert_same().await;
    // Far from each other, so that each range differs by itself.
    pair.source
        .run("UPDATE t SET v=v+1, s=s WHERE v%300=7")
        .await;
    pair.source.run("DELETE FROM t WHERE v%300=150").await;
    pair.dest.run("DELETE FROM t WHERE v%300=200").await;
    did(&pair.pull(&REPAIR).await.ok(), 100, 100, 100);
    pair.assert_same().await;
}

/// R9. More keys than one look holds are looked for again; what differs however often it is written
/// must not be written for ever.
async fn r9_a_trigger_that_changes_what_is_written_ends_the_pass(mut pair: Pair) {
    const ROWS: u32 = 20_000;
    long_keys(&mut pair, ROWS, 650).await;
    pair.dest
        .run("CREATE TRIGGER spoils BEFORE UPDATE ON t FOR EACH ROW SET NEW.v=-1")
        .await;
    pair.source.run("UPDATE t SET v=v+1, s=s").await;
    pair.pull(&REPAIR)
        .await
        .fails_naming(&["t", "differ again", "triggers"]);
}

/// How many rows the tables of [`by_index`] have.
const ROWS: u32 = 20_000;

/// The rows that a server has read without an index since it was started.
async fn scanned(side: &Side) -> u64 {
    let status = "SHOW GLOBAL STATUS LIKE 'Handler_read_rnd_next'";
    let rows = side.rows(status).await;
    let value = rows[0][1].as_deref().unwrap();
    String::from_utf8_lossy(value).parse().unwrap()
}

/// Deletes and changes some rows of a table whose keys are of that type and of these values.
async fn by_index(pair: &mut Pair, key: &str, value: &str) {
    pair.both(&format!(
        "CREATE TABLE t (k {key} PRIMARY KEY, v INT, w INT, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run(format!(
            "INSERT INTO t (k, v) {}",
            numbers(ROWS, &format!("{value}, n"))
        ))
        .await;
    assert_eq!(pair.source.count("t").await, u64::from(ROWS), "{key}");
    pair.pull(&[]).await.ok();
    pair.assert_same().await;
    pair.source
        .script(
            "DELETE FROM t WHERE v%64=5 AND v<=64*300;
             UPDATE t SET w=1, s=s WHERE v%400=2;",
        )
        .await;
    let sides = [&pair.source, &pair.dest];
    let before = [scanned(sides[0]).await, scanned(sides[1]).await];
    let args = pair.puller_args(&REPAIR);
    let output = harness::Puller::start(&args).end().await.ok();
    for (side, before) in sides.into_iter().zip(before) {
        let read = scanned(side).await - before;
        // The process list and other lists are read so; the table is larger than all of them.
        assert!(
            read < u64::from(ROWS) / 2,
            "{key}: {read} rows were read without an index of {}",
            side.database
        );
    }
    did(&output, 300, 0, 50);
    pair.assert_same().await;
    did(&pair.pull(&REPAIR).await.ok(), 0, 0, 0);

    // One statement for some rows, in both ways to compare.
    let keys = format!("/{}/t/?limit=20&include_columns=v", pair.source.database);
    let (_, _, body) = pair
        .curl(&["-H", "Accept: application/x-ndjson"], &keys)
        .await;
    let keys: Vec<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split(',').next())
        .collect();
    assert_eq!(keys.len(), 20, "{body}");
    let list: Vec<String> = keys.iter().map(|key| format!("[{key}]")).collect();
    for matching in ["bytes", "collation"] {
        let form = format!("keys=[{}]", list.join(","));
        let before = read_by_handlers(&pair.source).await;
        let (status, _, body) = pair
            .curl(
                &["-G", "--data-urlencode", &form],
                &format!("/{}/t/?match={matching}", pair.source.database),
            )
            .await;
        let read = read_by_handlers(&pair.source).await - before;
        assert_eq!(status, 200, "{key}: {body}");
        assert!(body.contains("\"count\":20"), "{key}: {body}");
        assert!(
            read < u64::from(ROWS) / 4,
            "{key}, {matching}: {read} rows were read for 20"
        );
    }
    pair.both("DROP TABLE t").await;
}

/// The rows that a server has read one behind the other, along an index or without one.
async fn read_by_handlers(side: &Side) -> u64 {
    let status = "SHOW GLOBAL STATUS WHERE Variable_name IN \
                  ('Handler_read_rnd_next', 'Handler_read_next', 'Handler_read_rnd')";
    let mut sum = 0;
    for row in side.rows(status).await {
        let value = String::from_utf8_lossy(row[1].as_deref().unwrap()).into_owned();
        sum += value.parse::<u64>().unwrap();
    }
    sum
}

/// R9. A FLOAT is not what its text says, and an index is entered by what it is.
async fn r9_float_keys_are_found_by_index(mut pair: Pair) {
    by_index(&mut pair, "FLOAT", "(n-7000)*0.1e0").await;
    by_index(&mut pair, "DOUBLE", "(n-7000)/7.0e0").await;
}

/// R9. Types that MariaDB alone has, and whose values are text to a client.
#[tokio::test]
async fn r9_uuids_and_addresses_are_found_by_index() {
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    by_index(
        &mut pair,
        "UUID",
        "CONCAT(LPAD(HEX(n*7919),8,'0'), '-0000-1000-8000-', LPAD(HEX(n),12,'0'))",
    )
    .await;
    by_index(
        &mut pair,
        "INET6",
        "CONCAT('2001:db8::', HEX(n DIV 256), ':', HEX(n%256))",
    )
    .await;
}
