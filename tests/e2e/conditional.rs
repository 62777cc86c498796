//! An answer that the caller has already is not sent again, and one that has changed always is.

use harness::{Flavour, Options, Pair, each_flavour, eventually, same_flavour};

use crate::paths::{field, listen, reads};
use crate::{INDEXED, STAMP, numbers, reader_account};

same_flavour!(
    an_unchanged_window_is_told_by_one_look,
    r1_whatever_changes_is_sent_again,
    r1_a_transaction_that_was_open_is_not_passed,
    another_question_has_another_tag,
    what_cannot_be_told_surely_has_no_tag,
);

each_flavour!(r1_a_tag_from_before_the_clock_went_back_is_not_taken);

async fn table(pair: &Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(50, "n, 0");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
}

async fn served(pair: &mut Pair) -> String {
    table(pair).await;
    pair.serve().await;
    format!("/{}/t/", pair.source.database)
}

/// The tag of an answer, with the request's.
async fn ask(pair: &Pair, path: &str, tag: &str) -> (u16, String, String) {
    let condition = format!("if-none-match: {tag}");
    let (status, head, body) = pair.curl(&["-H", &condition], path).await;
    let tag = field(&head, "etag").unwrap_or_default();
    (status, tag.replace("w/", "W/"), body)
}

/// The tag of an answer behind which there is nothing yet: a row of this moment lies above the horizon.
async fn settled(pair: &Pair, path: &str) -> String {
    eventually("an answer that stays as it is", async || {
        let (_, tag, _) = ask(pair, path, "").await;
        assert_ne!(tag, "");
        (ask(pair, path, &tag).await.0 == 304).then_some(tag)
    })
    .await
}

async fn an_unchanged_window_is_told_by_one_look(mut pair: Pair) {
    let path = served(&mut pair).await;
    let tag = settled(&pair, &path).await;
    listen(&mut pair).await;
    for header in [
        tag.clone(),
        format!("\"x\", {tag}"),
        tag.replace("W/", ""),
        format!("{tag},{tag}"),
    ] {
        let (status, its, body) = ask(&pair, &path, &header).await;
        assert_eq!(
            (status, its.as_str(), body.as_str()),
            (304, tag.as_str(), "")
        );
    }
    let condition = format!("if-none-match: {tag}");
    let (status, head, _) = pair.curl(&["-I", "-H", &condition], &path).await;
    assert_eq!(status, 304);
    assert_eq!(field(&head, "cache-control"), Some("no-cache"));
    assert!(field(&head, "vary").is_some());
    assert_eq!(reads(&pair).await, [""; 0]);
    // What is no tag of this is not taken.
    for header in [
        "*",
        "W/\"x\"",
        "",
        &tag.replace('-', "-f"),
        &tag.replacen('"', "\"0", 1),
    ] {
        assert_eq!(ask(&pair, &path, header).await.0, 200, "{header}");
    }
    assert_ne!(reads(&pair).await, [""; 0]);
}

/// After each change, at once.
async fn r1_whatever_changes_is_sent_again(mut pair: Pair) {
    let path = served(&mut pair).await;
    let window = format!("{path}?since=2014-09-01&limit=1000");
    for number in 1..=15 {
        let tag = settled(&pair, &window).await;
        let (change, shows) = match number % 3 {
            0 => (
                format!("INSERT INTO t (id, v) VALUES ({}, {number})", 100 + number),
                true,
            ),
            1 => (
                format!("UPDATE t SET v={} WHERE id={number}", 1_000 + number),
                true,
            ),
            // Not due yet, so the answer stays the same; nothing tells that as cheaply.
            _ => (
                "INSERT INTO t VALUES (99, 1, NOW(6) + INTERVAL 1 HOUR)".to_owned(),
                false,
            ),
        };
        pair.source.run(&change).await;
        let (status, newer, body) = ask(&pair, &window, &tag).await;
        assert_eq!(status, 200, "{change}");
        if shows {
            let value = if number % 3 == 0 {
                number
            } else {
                1_000 + number
            };
            assert!(
                body.contains(&format!("\"v\":{value},")),
                "{change}: {body}"
            );
        } else {
            assert_eq!(ask(&pair, &window, &newer).await.0, 200);
            pair.source.run("DELETE FROM t WHERE id=99").await;
        }
    }
}

/// It was written before the answer, below whose horizon it is not.
async fn r1_a_transaction_that_was_open_is_not_passed(mut pair: Pair) {
    let path = served(&mut pair).await;
    settled(&pair, &path).await;
    for value in 1..=3 {
        let mut writer = pair.source.session().await;
        writer.run("BEGIN").await;
        writer
            .run(format!("UPDATE t SET v={value} WHERE id=1"))
            .await;
        pair.source.next_second().await;
        let tag = settled(&pair, &path).await;
        pair.source.next_second().await;
        assert_eq!(ask(&pair, &path, &tag).await.0, 304);
        writer.run("COMMIT").await;
        let (status, _, body) = ask(&pair, &path, &tag).await;
        assert_eq!(status, 200);
        assert!(body.contains(&format!("\"id\":1,\"v\":{value},")), "{body}");
    }
}

async fn another_question_has_another_tag(mut pair: Pair) {
    let path = served(&mut pair).await;
    let tag = settled(&pair, &path).await;
    for other in [
        "?since=2014-09-01",
        "?limit=1",
        "?exclude_columns=v",
        "?since=2014-09-01&after=%5B1%5D",
    ] {
        let (status, its, _) = ask(&pair, &format!("{path}{other}"), &tag).await;
        assert_eq!(status, 200, "{other}");
        assert_ne!(its.split('-').next(), tag.split('-').next(), "{other}");
    }
    let condition = format!("if-none-match: {tag}");
    let csv = ["-H", "accept: text/csv", "-H", &condition];
    assert_eq!(pair.curl(&csv, &path).await.0, 200);
    // How it is sent is no other question.
    let gzip = ["-H", "accept-encoding: gzip", "-H", &condition];
    assert_eq!(pair.curl(&gzip, &path).await.0, 304);
    assert_eq!(ask(&pair, &format!("{path}?wait=0"), &tag).await.0, 304);
    pair.source.run("ALTER TABLE t MODIFY v BIGINT").await;
    assert_eq!(ask(&pair, &path, &tag).await.0, 200);
    // Another run of the program does not know what this one knew of the source's clock.
    let tag = settled(&pair, &path).await;
    pair.take_server().terminate().await;
    pair.serve().await;
    assert_eq!(ask(&pair, &path, &tag).await.0, 200);
}

async fn what_cannot_be_told_surely_has_no_tag(mut pair: Pair) {
    let path = served(&mut pair).await;
    pair.source
        .script(&format!(
            "CREATE TABLE no_index (id INT PRIMARY KEY, {STAMP});
             CREATE TABLE nullable (id INT PRIMARY KEY, s TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY (s));
             CREATE TABLE child (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
               FOREIGN KEY (p) REFERENCES t (id) ON DELETE SET NULL);
             CREATE TABLE old_engine (id INT PRIMARY KEY, {STAMP}, {INDEXED}) ENGINE=MyISAM;"
        ))
        .await;
    assert_ne!(ask(&pair, &path, "").await.1, "");
    for other in [
        "no_index/",
        "nullable/",
        "child/",
        "old_engine/",
        "t/?keys=%5B%5B1%5D%5D",
        "t/-/digests",
        "",
    ] {
        let url = format!("/{}/{other}", pair.source.database);
        let (status, tag, body) = ask(&pair, &url, "").await;
        assert_eq!((status, tag.as_str()), (200, ""), "{other}: {body}");
    }
    // An assumed horizon.
    reader_account(&pair, "").await;
    let account = ["--source-username=reader", "--source-password=secret"];
    pair.start_server(&account).await;
    pair.ready().await;
    let (status, tag, body) = ask(&pair, &path, "").await;
    assert_eq!((status, tag.as_str()), (200, ""), "{body}");
    assert!(body.contains("\"assumed\""), "{body}");
}

/// What is written then is stamped below the tag's horizon.
async fn r1_a_tag_from_before_the_clock_went_back_is_not_taken(flavour: Flavour) {
    let own = Options {
        own_clock: true,
        ..Options::default()
    };
    let mut pair = Pair::with((flavour, &own), (flavour, &Options::default())).await;
    let path = served(&mut pair).await;
    let tag = settled(&pair, &path).await;
    pair.source.server.set_clock(-3.0);
    pair.source
        .run("INSERT INTO t (id, v) VALUES (777, 1)")
        .await;
    pair.server().says("the source's clock was set back").await;
    // Nothing is told until the clock has passed the horizon of the answer that the caller has.
    let body = eventually("an answer", async || {
        let (status, _, body) = ask(&pair, &path, &tag).await;
        assert_ne!(status, 304);
        (status == 200).then_some(body)
    })
    .await;
    assert!(body.contains("\"id\":777"), "{body}");
}
