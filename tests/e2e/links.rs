//! Whoever follows `next` from page to page sees every row of a window once.

use std::collections::{HashMap, HashSet};

use harness::{Flavour, Options, Pair, each_flavour, eventually, same_flavour};
use serde_json::Value;

use crate::paths::field;
use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    r3_the_pages_of_a_window_are_its_rows_in_their_order,
    r3_rows_that_change_meanwhile_come_again_and_none_is_passed,
    a_page_of_csv_that_is_long_ends_early_and_leads_on,
    a_cursor_that_is_not_whole_or_of_something_else_is_refused,
    a_key_of_any_length_is_gone_on_behind,
);

each_flavour!(r1_pages_lead_back_where_the_clock_went_and_have_an_end);

const NDJSON: [&str; 2] = ["-H", "Accept: application/x-ndjson"];
const CSV: [&str; 2] = ["-H", "Accept: text/csv"];

/// How many pages are followed at most.
const PAGES: usize = 300;

/// One page: its rows as they came, and what leads on by its head and by its end.
struct Page {
    rows: Vec<String>,
    link: Option<String>,
    next: Option<String>,
}

async fn page(pair: &Pair, accept: &[&str], url: &str) -> Page {
    let (status, head, body) = pair.curl(accept, url).await;
    assert_eq!(status, 200, "{url}: {body}");
    // The head is in lower case, which a cursor is not.
    let link = field(&head, "link").map(|link| {
        let link = link.strip_prefix('<').unwrap();
        link.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
    });
    let of = |value: &Value| value["next"].as_str().map(str::to_owned);
    let (rows, next) = if accept == NDJSON {
        let mut lines: Vec<String> = body.lines().map(str::to_owned).collect();
        let end: Value = serde_json::from_str(&lines.pop().unwrap()).unwrap();
        assert_eq!(end["frame"], "end", "{body}");
        assert_eq!(end["more"], of(&end).is_some(), "{end}");
        (lines.split_off(1), of(&end))
    } else if accept == CSV {
        let lines = body.split("\r\n").filter(|line| !line.is_empty());
        (lines.skip(1).map(str::to_owned).collect(), None)
    } else {
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["more"], of(&answer).is_some(), "{body}");
        let rows = answer["rows"].as_array().unwrap();
        (rows.iter().map(Value::to_string).collect(), of(&answer))
    };
    if let (Some(link), Some(next)) = (&link, &next) {
        assert_eq!(link, &next.to_lowercase());
    }
    Page { rows, link, next }
}

/// The reference that leads on from a page of CSV, as it came.
async fn linked(pair: &Pair, url: &str) -> Option<String> {
    let args = ["-H", "Accept: text/csv", "-w", "\n%header{link}"];
    let (_, _, body) = pair.curl(&args, url).await;
    let link = body.rsplit('\n').next().unwrap();
    let (reference, _) = link.strip_prefix('<')?.split_once('>')?;
    Some(reference.to_owned())
}

/// The rows of all pages, one after the other.
async fn followed(pair: &Pair, accept: &[&str], path: &str, query: &str) -> Vec<String> {
    followed_from(pair, accept, path, format!("?{query}")).await
}

async fn followed_from(
    pair: &Pair,
    accept: &[&str],
    path: &str,
    mut reference: String,
) -> Vec<String> {
    let mut rows = Vec::new();
    for _ in 0..PAGES {
        let url = format!("{path}{reference}");
        let page = page(pair, accept, &url).await;
        rows.extend(page.rows);
        let next = match accept == CSV {
            true => linked(pair, &url).await,
            false => page.next,
        };
        match next {
            Some(next) => reference = next,
            None => return rows,
        }
    }
    panic!("{path} has no end after {} rows", rows.len());
}

/// Rows without a stamp, with the same one, and with keys that are sorted byte by byte.
async fn tables(pair: &mut Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40), {STAMP}, {INDEXED});
             INSERT INTO t (id, s) {};
             CREATE TABLE plain (k VARCHAR(20) CHARACTER SET utf8mb4, n DECIMAL(5,1), s TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP,
               PRIMARY KEY (k, n));
             INSERT INTO plain {};",
            numbers(40, "n, CONCAT('2014-09-01 00:00:0', n DIV 15, '.00000', n MOD 3)"),
            numbers(
                30,
                "CONCAT(CHAR(97 + n MOD 5), IF(n MOD 2, '\"é,', 'E')), n / 2, IF(n < 12, NULL, FROM_UNIXTIME(1409534625 + n DIV 7))"
            ),
        ))
        .await;
    pair.serve().await;
}

async fn r3_the_pages_of_a_window_are_its_rows_in_their_order(mut pair: Pair) {
    tables(&mut pair).await;
    for (table, all) in [("t", 40), ("plain", 30)] {
        let path = format!("/{}/{table}/", pair.source.database);
        for accept in [&[][..], &NDJSON, &CSV] {
            let whole = page(&pair, accept, &path).await;
            assert_eq!(whole.rows.len(), all);
            assert_eq!((whole.next, whole.link), (None, None));
            for limit in [1, 7, all, all + 1, 2_000] {
                if limit == 1 && accept != NDJSON {
                    continue;
                }
                let query = format!("limit={limit}&wait=0");
                let rows = followed(&pair, accept, &path, &query).await;
                assert_eq!(rows, whole.rows, "{table} {accept:?} {limit}");
            }
        }
        // A window that begins somewhere, and of some columns.
        let query = "since=2014-09-01T00%3A00:01&exclude_columns=s&limit=4";
        let whole = page(
            &pair,
            &[],
            &format!("{path}?{}", query.replace("&limit=4", "")),
        )
        .await;
        assert!(whole.rows.len() > 9, "{}", whole.rows.len());
        assert_eq!(followed(&pair, &[], &path, query).await, whole.rows);
    }
    // Without rows there is nothing to go on behind.
    let path = format!("/{}/t/?limit=0", pair.source.database);
    assert_eq!(pair.curl(&[], &path).await.0, 200);
}

/// A row that changes moves behind, and comes as it is then.
async fn r3_rows_that_change_meanwhile_come_again_and_none_is_passed(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(300, "n, 0");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
    pair.serve().await;
    let path = format!("/{}/t/", pair.source.database);
    let (mut reference, mut seen) = ("?limit=50".to_owned(), HashSet::new());
    let mut last = HashMap::new();
    for number in 1..=PAGES {
        let page = page(&pair, &NDJSON, &format!("{path}{reference}")).await;
        for row in page.rows {
            let row: Value = serde_json::from_str(&row).unwrap();
            let (id, stamp) = (row[0].as_u64().unwrap(), row[2].to_string());
            assert!(seen.insert((id, stamp)), "{row} came twice");
            last.insert(id, row[1].as_u64().unwrap());
        }
        let Some(next) = page.next else {
            break;
        };
        reference = next;
        if number <= 6 {
            // Behind and before where it is, some of them in one transaction that ends later.
            let mut writer = pair.source.session().await;
            writer.run("BEGIN").await;
            for id in [number * 7, 300 - number, 1] {
                writer
                    .run(format!("UPDATE t SET v={number} WHERE id={id}"))
                    .await;
            }
            let other = format!(
                "INSERT INTO t (id, v) VALUES ({}, {number})",
                1_000 + number
            );
            pair.source.run(other).await;
            writer.run("COMMIT").await;
        }
    }
    let now = pair.source.rows("SELECT id, v FROM t").await;
    let number = |value: &Option<Vec<u8>>| -> u64 {
        let text = String::from_utf8(value.clone().unwrap()).unwrap();
        text.parse().unwrap()
    };
    let now: HashMap<u64, u64> = now
        .iter()
        .map(|row| (number(&row[0]), number(&row[1])))
        .collect();
    assert_eq!(now.len(), 306);
    assert_eq!(last, now);
    assert!(seen.len() > now.len(), "no row came again");
}

async fn a_page_of_csv_that_is_long_ends_early_and_leads_on(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v MEDIUMTEXT, {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(30, "n, REPEAT(CHAR(97 + n MOD 26), 100000)");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
    pair.serve().await;
    let path = format!("/{}/t/", pair.source.database);
    let first = page(&pair, &CSV, &format!("{path}?limit=30")).await;
    assert!((5..20).contains(&first.rows.len()), "{}", first.rows.len());
    let whole = page(&pair, &CSV, &path).await;
    assert_eq!(followed(&pair, &CSV, &path, "limit=30").await, whole.rows);
    // The end of the others says it, however long they are.
    let first = page(&pair, &NDJSON, &format!("{path}?limit=29")).await;
    assert_eq!((first.rows.len(), first.link), (29, None));
    assert_eq!(followed(&pair, &NDJSON, &path, "limit=29").await.len(), 30);
}

async fn a_cursor_that_is_not_whole_or_of_something_else_is_refused(mut pair: Pair) {
    tables(&mut pair).await;
    pair.source
        .script(&format!(
            "CREATE TABLE two (id INT PRIMARY KEY, {STAMP}, {INDEXED}, z TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP);
             INSERT INTO two (id) VALUES (1), (2);"
        ))
        .await;
    let path = format!("/{}/two/", pair.source.database);
    let next = page(&pair, &[], &format!("{path}?limit=1"))
        .await
        .next
        .unwrap();
    let cursor = next.split_once("cursor=").unwrap().1.to_owned();
    let other = format!("/{}/t/", pair.source.database);
    for (url, kind) in [
        (format!("{path}?cursor={}", &cursor[1..]), "invalid-cursor"),
        (
            format!("{path}?cursor={}", cursor.to_lowercase()),
            "invalid-cursor",
        ),
        (format!("{path}?cursor="), "invalid-cursor"),
        (format!("{path}?cursor=%00"), "invalid-cursor"),
        (format!("{other}?cursor={cursor}"), "invalid-cursor"),
        (format!("{path}?cursor={cursor}&stamp=z"), "invalid-cursor"),
        (
            format!("{path}?cursor={cursor}&since=2014-09-01"),
            "invalid-request",
        ),
        (
            format!("{path}?cursor={cursor}&keys=[[1]]"),
            "invalid-request",
        ),
        (
            format!("{path}?cursor={cursor}&cursor={cursor}"),
            "invalid-request",
        ),
        (format!("{path}?cursor={cursor}&limit=5"), ""),
    ] {
        let (status, _, body) = pair.curl(&["-g"], &url).await;
        let expected = if kind.is_empty() { 200 } else { 400 };
        assert_eq!(status, expected, "{url}: {body}");
        assert!(body.contains(kind), "{url}: {body}");
    }
    // The stamp stays what it was, whatever column would be chosen now.
    pair.source
        .run("ALTER TABLE two DROP INDEX s, ADD INDEX (z), MODIFY z TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP")
        .await;
    let rest = page(&pair, &[], &format!("{path}{next}")).await;
    assert_eq!(rest.rows.len(), 1, "{:?}", rest.rows);
    pair.source
        .run("ALTER TABLE two DROP PRIMARY KEY, ADD PRIMARY KEY (id, s)")
        .await;
    let (status, _, body) = pair.curl(&[], &format!("{path}{next}")).await;
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("invalid-cursor"), "{body}");
}

async fn a_key_of_any_length_is_gone_on_behind(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (k VARBINARY(3000), {STAMP}, {INDEXED}, PRIMARY KEY (k));
             INSERT INTO t (k) {};",
            numbers(5, "CONCAT(REPEAT(x'00', 2900), n)")
        ))
        .await;
    pair.serve().await;
    let path = format!("/{}/t/", pair.source.database);
    let whole = page(&pair, &NDJSON, &path).await;
    let first = page(&pair, &NDJSON, &format!("{path}?limit=1")).await;
    // Longer than what stands between takes.
    assert_eq!(first.link, None);
    assert_eq!(followed(&pair, &NDJSON, &path, "limit=1").await, whole.rows);
    // CSV has nothing else that could say it.
    let whole = page(&pair, &CSV, &path).await;
    assert_eq!(followed(&pair, &CSV, &path, "limit=2").await, whole.rows);
}

/// What was written after the clock was set back is stamped before the row that a cursor names, which had been served.
async fn r1_pages_lead_back_where_the_clock_went_and_have_an_end(flavour: Flavour) {
    let own = Options {
        own_clock: true,
        ..Options::default()
    };
    let mut pair = Pair::with((flavour, &own), (flavour, &Options::default())).await;
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.serve().await;
    pair.source
        .run(format!("INSERT INTO t (id) {}", numbers(10, "n")))
        .await;
    let path = format!("/{}/t/", pair.source.database);
    let first = page(&pair, &NDJSON, &format!("{path}?limit=5")).await;
    let next = first.next.unwrap();
    assert_eq!(page(&pair, &NDJSON, &path).await.rows.len(), 10);
    pair.source.server.set_clock(-3.0);
    pair.source.run("INSERT INTO t (id) VALUES (777)").await;
    pair.server().says("the source's clock was set back").await;
    let url = format!("{path}{next}");
    eventually("an answer", async || {
        (pair.curl(&[], &url).await.0 == 200).then_some(())
    })
    .await;
    let rows = followed_from(&pair, &NDJSON, &path, next).await;
    let of = |id: u32| {
        rows.iter()
            .filter(|row| row.starts_with(&format!("[{id},")))
            .count()
    };
    assert!(of(777) >= 1, "{rows:?}");
    assert!((6..=10).all(|id| of(id) >= 1), "{rows:?}");
    // Among those stamps some come again, once.
    assert!(rows.len() <= 16, "{rows:?}");
}
