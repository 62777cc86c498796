//! The pages that people see, as a browser gets them.

use harness::{Flavour, Pair, each_flavour, same_flavour};

use crate::metrics::{ask, status_of};
use crate::{INDEXED, STAMP, numbers, reader_account};

same_flavour!(
    a_browser_gets_pages_and_all_others_what_they_got,
    a_page_says_what_is_wrong_with_a_table,
    the_latest_rows_are_shown_up_to_the_horizon,
    long_values_are_cut_at_the_source,
    every_type_can_be_shown,
    columns_that_may_not_be_read_are_not_there,
    a_locked_table_keeps_no_page_waiting,
    the_page_of_a_puller_escapes_what_it_shows,
);
each_flavour!(nothing_of_the_source_is_markup);

/// What Chromium sends.
const BROWSER: [&str; 2] = [
    "-H",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
];

async fn page(pair: &Pair, path: &str) -> String {
    let (status, head, body) = pair.curl(&BROWSER, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; ",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "vary: accept",
    ] {
        assert!(head.contains(header), "{path} {header}: {head}");
    }
    body
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in\n{page}");
    }
}

async fn a_browser_gets_pages_and_all_others_what_they_got(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED});\nINSERT INTO t (id) VALUES (1), (2)"
        ))
        .await;
    pair.serve().await;
    let database = pair.source.database.clone();
    let list = page(&pair, "/").await;
    has(
        &list,
        &[
            &format!("<a href=\"{database}/\">{database}</a>"),
            "Horizon",
            "proven",
        ],
    );
    let tables = page(&pair, &format!("/{database}/")).await;
    has(
        &tables,
        &["<a href=\"t/\">t</a>", "only deletes (InnoDB)", "just now"],
    );
    let rows = page(&pair, &format!("/{database}/t/")).await;
    has(&rows, &["<td>1</td>", "<td>2</td>", "timestamp(6)"]);

    for path in [
        "/".to_owned(),
        format!("/{database}/"),
        format!("/{database}/t/"),
    ] {
        for args in [
            &[][..],
            &["-H", "Accept: */*"],
            &["-H", "Accept: application/json"],
            &["-H", "Accept: text/html;q=0.5, application/json"],
        ] {
            let (status, head, body) = pair.curl(args, &path).await;
            assert_eq!(status, 200, "{body}");
            assert!(
                head.contains("content-type: application/json"),
                "{args:?} {head}"
            );
        }
        let (status, head, _) = pair.curl(&[&["-I"], &BROWSER[..]].concat(), &path).await;
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("content-type: text/html"), "{head}");
        // The length of nothing would be wrong.
        assert!(!head.contains("content-length"), "{head}");
    }
    // Whoever gives parameters wants what they speak of.
    let (status, head, body) = pair
        .curl(&BROWSER, &format!("/{database}/t/?limit=1"))
        .await;
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: application/json"), "{head}");

    // What is not there is explained on a page too, with the same status.
    for path in [
        "/nothing/".to_owned(),
        format!("/{database}/nothing/"),
        "/nothing/t/".to_owned(),
    ] {
        let (status, head, body) = pair.curl(&BROWSER, &path).await;
        let (same, _, json) = pair.curl(&[], &path).await;
        assert_eq!((status, same), (404, 404), "{body}");
        assert!(head.contains("content-type: text/html"), "{head}");
        let detail = json.split("\"detail\":\"").nth(1).unwrap();
        has(&body, &[detail.split('"').next().unwrap()]);
    }
    pair.start_server(&[
        "--listen-username=ann",
        "--listen-password=x",
        "--listen-address=127.0.0.1",
    ])
    .await;
    let (status, head, body) = pair.curl(&BROWSER, "/").await;
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: basic"), "{head}");
    assert!(!body.contains(&database), "{body}");
}

async fn a_page_says_what_is_wrong_with_a_table(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE slow (id INT PRIMARY KEY, {STAMP});\n\
             CREATE TABLE unstamped (id INT PRIMARY KEY);\n\
             CREATE TABLE keyless (id INT, {STAMP}, {INDEXED});\n\
             CREATE TABLE empty_one (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n\
             CREATE TABLE child (id INT PRIMARY KEY, p INT, {STAMP}, {INDEXED},
               CONSTRAINT of_parent FOREIGN KEY (p) REFERENCES empty_one (id) ON DELETE SET NULL)"
        ))
        .await;
    pair.serve().await;
    let database = pair.source.database.clone();
    let list = page(&pair, &format!("/{database}/")).await;
    has(
        &list,
        &[
            "no: every pull reads the whole table",
            "Cannot be pulled: it has no TIMESTAMP column",
            "Cannot be pulled: it has neither a primary key",
            "no row with a stamp",
            "foreign key of_parent changes rows when their parent changes",
        ],
    );
    let slow = page(&pair, &format!("/{database}/slow/")).await;
    has(
        &slow,
        &[
            "would sort the whole table",
            "ALTER TABLE `slow` ADD INDEX (`s`)",
        ],
    );
    let (status, _, body) = pair
        .curl(&BROWSER, &format!("/{database}/unstamped/"))
        .await;
    assert_eq!(status, 422);
    has(
        &body,
        &[
            "<h1>The table or column cannot be served",
            "ALTER TABLE `unstamped` ADD changed TIMESTAMP",
        ],
    );
    let empty = page(&pair, &format!("/{database}/empty_one/")).await;
    has(&empty, &["No row is stamped below the horizon."]);
}

/// R2. A row that is stamped behind an open transaction's is not shown before that has ended.
async fn the_latest_rows_are_shown_up_to_the_horizon(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run(format!(
            "INSERT INTO t {}",
            numbers(
                200,
                "n, CONCAT('row ', n), '2014-09-01 01:00:00' + INTERVAL n SECOND"
            )
        ))
        .await;
    pair.serve().await;
    let path = format!("/{}/t/", pair.source.database);
    let shown = page(&pair, &path).await;
    assert_eq!(shown.matches("<tr>").count(), 51, "{shown}");
    has(
        &shown,
        &[
            "<td>row 200</td>",
            "<td>row 151</td>",
            "50 rows below the horizon",
        ],
    );
    assert!(!shown.contains("<td>row 150</td>"), "{shown}");
    assert!(shown.find("row 200").unwrap() < shown.find("row 199").unwrap());

    let mut open = pair.source.session().await;
    open.run("START TRANSACTION").await;
    open.run("UPDATE t SET v='open' WHERE id=1").await;
    pair.source.run("UPDATE t SET v='late' WHERE id=2").await;
    let shown = page(&pair, &path).await;
    assert!(!shown.contains("<td>late</td>"), "{shown}");
    has(
        &shown,
        &["There are changes above it, which are not served yet."],
    );
    open.run("COMMIT").await;
    harness::eventually("both are shown", async || {
        let shown = page(&pair, &path).await;
        (shown.contains("<td>late</td>") && shown.contains("<td>open</td>")).then_some(())
    })
    .await;
}

/// A page of rows of megabytes is short, and so is what the source sends for it.
async fn long_values_are_cut_at_the_source(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB, c VARCHAR(200), {STAMP}, {INDEXED})"
        ))
        .await;
    for id in 1..=5 {
        pair.source
            .run(format!(
                "INSERT INTO t (id, a, b, c) VALUES ({id}, REPEAT('é', 4000000), REPEAT(x'00ff10', 1000000), \
                 REPEAT('x', 120))"
            ))
            .await;
    }
    pair.serve().await;
    let sent = async |pair: &Pair| {
        pair.source
            .rows("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")
            .await[0][1]
            .clone()
            .map(|bytes| String::from_utf8(bytes).unwrap().parse::<u64>().unwrap())
            .unwrap()
    };
    let before = sent(&pair).await;
    let shown = page(&pair, &format!("/{}/t/", pair.source.database)).await;
    let bytes = sent(&pair).await - before;
    assert!(bytes < 1_000_000, "the source sent {bytes} bytes");
    assert!(shown.len() < 30_000, "{}", shown.len());
    let cut = format!(
        "{}<span class=\"quiet\">… (4000000 characters)</span>",
        "é".repeat(120)
    );
    has(&shown, &[&cut, "AP8QAP8Q", "… (base64, 3000000 bytes)"]);
    has(&shown, &[&format!("<td>{}</td>", "x".repeat(120))]);
}

async fn every_type_can_be_shown(mut pair: Pair) {
    let own = match pair.source.is_mysql() {
        true => "ve VECTOR(2), j JSON",
        false => "u UUID, i6 INET6, j JSON",
    };
    let own_values = match pair.source.is_mysql() {
        true => "STRING_TO_VECTOR('[1,2]'), '{\"a\": [1, null]}'",
        false => "'123e4567-e89b-12d3-a456-426655440000', '::1', '{\"a\": [1, null]}'",
    };
    pair.source
        .script(&format!(
            "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, d DECIMAL(20,4), f FLOAT, g DOUBLE, bi BIT(40), y YEAR, da DATE,
               ti TIME(3), dt DATETIME(2), c CHAR(5), l TEXT CHARACTER SET latin1, w VARCHAR(9) CHARACTER SET utf16,
               e ENUM('a','😀'), st SET('x','y'), fb BINARY(4), vb VARBINARY(9), p POINT, {own}, {STAMP}, {INDEXED});\n\
             INSERT INTO t VALUES (18446744073709551615, -1.5, 16777216, 0.1, b'1000000001', 2014, '2014-09-01',
               '-12:00:00.5', '2014-09-01 01:23:45.67', 'é', 'ü', 'ß', '😀', 'x,y', x'00', x'', POINT(1, 2), {own_values},
               '2014-09-01 01:23:45');\n\
             INSERT INTO t (id, s) VALUES (1, '2014-09-01 01:23:46')"
        ))
        .await;
    pair.serve().await;
    let shown = page(&pair, &format!("/{}/t/", pair.source.database)).await;
    has(
        &shown,
        &[
            "<td>18446744073709551615</td><td>-1.5000</td><td>16777216</td><td>0.1</td><td>513</td><td>2014</td>",
            "<td>2014-09-01</td><td>-12:00:00.500</td><td>2014-09-01 01:23:45.67</td><td>é</td><td>ü</td><td>ß</td>",
            "<td>😀</td><td>x,y</td><td>AAAAAA==<span class=\"quiet\"> (base64, 4 bytes)</span></td>",
            "<span class=\"quiet\">0 bytes</span>",
            "<td>POINT(1 2)</td>",
            "<td>{&quot;a&quot;: [1, null]}</td>",
            "<td>2014-09-01 01:23:45.000000</td>",
            "<span class=\"quiet\">NULL</span>",
        ],
    );
}

/// Names and values are text whatever is in them.
async fn nothing_of_the_source_is_markup(flavour: Flavour) {
    let hostile = "<script>alert(1)<!--\"'&";
    let mut pair = Pair::named(flavour, flavour, hostile).await;
    pair.source
        .script(&format!(
            "CREATE TABLE `\"><img src=x>'&` (`<b>id` INT PRIMARY KEY, `javascript:v` VARCHAR(80), {STAMP}, {INDEXED});\n\
             CREATE TABLE `javascript:alert(1)` (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n\
             INSERT INTO `\"><img src=x>'&` (`<b>id`, `javascript:v`) VALUES (1, '</td><script>alert(2)</script>')"
        ))
        .await;
    pair.serve().await;
    let database = "/%3Cscript%3Ealert%281%29%3C%21--%22%27%26/";
    let table = "%22%3E%3Cimg%20src%3Dx%3E%27%26/";
    let list = page(&pair, "/").await;
    has(
        &list,
        &[
            &format!("href=\"{}\"", &database[1..]),
            "&lt;script&gt;alert(1)",
        ],
    );
    let tables = page(&pair, database).await;
    has(
        &tables,
        &[
            &format!("href=\"{table}\""),
            "href=\"javascript%3Aalert%281%29/\"",
            "&lt;b&gt;id",
        ],
    );
    let rows = page(&pair, &format!("{database}{table}")).await;
    has(&rows, &["&lt;/td&gt;&lt;script&gt;alert(2)"]);
    let (_, _, missing) = pair
        .curl(&BROWSER, &format!("{database}%3Cscript%3E/"))
        .await;
    for page in [list, tables, rows, missing] {
        for markup in [
            "<script",
            "<img",
            "<b>",
            "<!--",
            "javascript:alert(1)\"",
            "\">'",
        ] {
            assert!(!page.contains(markup), "{markup}: {page}");
        }
    }
}

async fn columns_that_may_not_be_read_are_not_there(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, open_one VARCHAR(20), hidden_one VARCHAR(20), {STAMP}, {INDEXED});\n\
             CREATE TABLE away (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n\
             INSERT INTO t (id, open_one, hidden_one) VALUES (1, 'anybody', 'nobody')"
        ))
        .await;
    reader_account(&pair, "PROCESS ON *.*").await;
    let database = harness::quoted(&pair.source.database);
    pair.source
        .script(&format!(
            "REVOKE SELECT ON {database}.* FROM reader@'127.0.0.1';\n\
             GRANT SELECT (id, open_one, s) ON {database}.t TO reader@'127.0.0.1';\n\
             GRANT INSERT (hidden_one) ON {database}.t TO reader@'127.0.0.1'"
        ))
        .await;
    pair.start_server(&["--source-username=reader", "--source-password=secret"])
        .await;
    pair.ready().await;
    let name = pair.source.database.clone();
    let rows = page(&pair, &format!("/{name}/t/")).await;
    has(&rows, &["<td>anybody</td>"]);
    let tables = page(&pair, &format!("/{name}/")).await;
    for page in [rows, tables] {
        assert!(!page.contains("nobody"), "{page}");
        assert!(!page.contains("hidden_one"), "{page}");
        assert!(!page.contains("away"), "{page}");
    }
}

async fn a_locked_table_keeps_no_page_waiting(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE free_one (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n\
         CREATE TABLE held (id INT PRIMARY KEY, {STAMP}, {INDEXED});\n\
         INSERT INTO free_one (id) VALUES (1);\nINSERT INTO held (id) VALUES (1)"
    ))
    .await;
    pair.serve().await;
    let mut other = pair.source.session().await;
    other.run("LOCK TABLES held WRITE").await;
    let path = format!("/{}/", pair.source.database);
    let began = std::time::Instant::now();
    let list = page(&pair, &path).await;
    has(&list, &["href=\"held/\"", "not looked at"]);
    let held = page(&pair, &format!("{path}held/")).await;
    has(&held, &["the source did not find them within 5 s"]);
    assert!(began.elapsed().as_secs() < 9, "{:?}", began.elapsed());
    other.run("UNLOCK TABLES").await;
    // Nothing that was waited for in vain runs on, nor is its answer taken for another's.
    has(&page(&pair, &path).await, &[" ago"]);
    has(&page(&pair, &format!("{path}held/")).await, &["<td>1</td>"]);
}

async fn the_page_of_a_puller_escapes_what_it_shows(mut pair: Pair) {
    pair.source
        .run(format!(
            "CREATE TABLE `<b>\"&` (id INT PRIMARY KEY, v INT, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run(format!(
            "CREATE TABLE fine (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.dest
        .run(format!(
            "CREATE TABLE fine (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source
        .run("INSERT INTO fine (id) VALUES (1), (2)")
        .await;
    let mut puller = pair.poll(0.1, &["--status-listen=127.0.0.1:0"]).await;
    let url = status_of(&mut puller).await;
    let shown = harness::eventually("the failure is shown", async || {
        let (_, page) = ask(&url).await;
        page.contains("class=\"bad\"").then_some(page)
    })
    .await;
    has(
        &shown,
        &[
            "<th scope=\"row\">&lt;b&gt;&quot;&amp;</th>",
            "<th scope=\"row\">fine</th>",
            "http-equiv=\"refresh\"",
            "<svg",
        ],
    );
    has(
        &shown,
        &[&format!(
            "<h1>{} → {}</h1>",
            pair.source.database, pair.dest.database
        )],
    );
    assert!(!shown.contains("<b>"), "{shown}");
    puller.terminate().await;
}
