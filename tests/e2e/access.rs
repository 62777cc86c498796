//! R14: what a user may not see does not exist for them, however they ask.

use harness::{Pair, UsersFile, eventually, hash_password, same_flavour};
use serde_json::{Value, json};

use crate::{INDEXED, STAMP};

same_flavour!(
    r14_what_is_hidden_is_answered_like_what_never_was,
    r14_no_answer_holds_what_is_hidden,
    r14_a_cursor_leads_to_nothing_hidden,
    r14_a_digest_holds_nothing_of_a_hidden_column,
    r14_shapes_that_another_user_asked_for_are_not_seen,
    r14_a_limited_user_pulls_what_is_there,
    r14_a_hidden_key_leaves_a_table_without_one,
);

/// A server with three users, whose password is `secret`: `all` sees everything, `some` what the test leaves,
/// `other` another database.
async fn serve(pair: &mut Pair, some: &str) -> UsersFile {
    let hash = hash_password("secret\n").await;
    let database = &pair.source.database;
    let file = UsersFile::new(&format!(
        "[users.all]\npassword = '{hash}'\n\
         [users.other]\npassword = '{hash}'\n[users.other.databases.elsewhere]\n\
         [users.some]\npassword = '{hash}'\n[users.some.databases.{database}]\n{some}\n"
    ));
    pair.start_server(&["-a", "127.0.0.1", &file.flag()]).await;
    pair.ready().await;
    file
}

/// What the user `some` may see of [`tables`].
const SOME: &str = "tables = ['orders', 'p*']\nhidden = { 'Order*' = ['CARD', 'card_at'] }";

/// Tables whose parts that `some` may not see have names and values with `card`, `vault` or `4111`.
async fn tables(pair: &Pair) {
    let database = &pair.source.database;
    pair.source
        .script(&format!(
            "CREATE TABLE vault (id INT PRIMARY KEY, {STAMP}, {INDEXED});
             CREATE TABLE plain (id INT PRIMARY KEY, v VARCHAR(20), {STAMP}, {INDEXED});
             CREATE TABLE parts (id INT PRIMARY KEY, p INT, {STAMP}, FOREIGN KEY (p) REFERENCES plain (id));
             CREATE TABLE pledges (id INT PRIMARY KEY, v INT, {STAMP},
               CONSTRAINT in_vault FOREIGN KEY (v) REFERENCES vault (id) ON DELETE SET NULL);
             CREATE TABLE orders (id INT PRIMARY KEY, no INT NOT NULL, card VARCHAR(20) NOT NULL, v INT,
               copied VARCHAR(20) DEFAULT (card), digits VARCHAR(20) AS (RIGHT(card, 4)), masked VARCHAR(30) AS (CONCAT('*', digits)) STORED,
               card_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
               {STAMP}, UNIQUE u_card (card), UNIQUE u_no (no), KEY (card_at), {INDEXED},
               CONSTRAINT of_card CHECK (card <> ''),
               CONSTRAINT vault_v FOREIGN KEY (v) REFERENCES vault (id) ON DELETE CASCADE ON UPDATE CASCADE);
             CREATE TRIGGER after_card BEFORE UPDATE ON orders FOR EACH ROW SET NEW.v = NEW.v;
             INSERT INTO vault (id) VALUES (7);
             INSERT INTO plain (id, v) VALUES (1, 'one'), (2, 'two');
             INSERT INTO orders (id, no, card, v) VALUES (1, 11, '4111-1234', 7), (2, 12, '4111-5678', NULL);
             CREATE DATABASE vaulted;
             CREATE TABLE vaulted.t (id INT PRIMARY KEY, {STAMP});
             INSERT INTO {database}.pledges (id, v) VALUES (1, 7);"
        ))
        .await;
}

async fn ask(pair: &Pair, user: &str, args: &[&str], path: &str) -> (u16, String) {
    let login = format!("{user}:secret");
    // Answers tell the request's id.
    let usual = ["-g", "-u", &login, "-H", "x-request-id: one"];
    let args = [&usual[..], args].concat();
    let (status, _, body) = pair.curl(&args, path).await;
    (status, body)
}

async fn r14_what_is_hidden_is_answered_like_what_never_was(mut pair: Pair) {
    tables(&pair).await;
    let _file = serve(&mut pair, SOME).await;
    let database = pair.source.database.clone();
    let rows = format!("/{database}/orders/");
    let mut asked = 0;
    for (hidden, never) in [
        ("card", "carp"),
        ("digits", "digest"),
        ("CARD", "CARP"),
        ("card_at", "carp_at"),
    ] {
        for path in [&rows, &format!("{rows}-/digests"), &format!("{rows}-/keys")] {
            for query in [
                "include_columns=NAME",
                "include_columns=no,%2563NAME",
                "exclude_columns=NAME",
                "stamp=NAME",
                "stamp=NAME&since=2014-09-01&after=[1]",
                "include_columns=NAME&stamp=NAME&level=full",
                "NAME=1",
                "since=2014-09-01&after=[%22NAME%22]",
                "keys=[[%22NAME%22]]",
                "parts=[[[%22NAME%22],null,0,0]]",
            ] {
                let asking = |name: &str| format!("{path}?{}", query.replace("NAME", name));
                let first = ask(&pair, "some", &[], &asking(hidden)).await;
                let second = ask(&pair, "some", &[], &asking(never)).await;
                let plain = |body: &str, name: &str| body.replace(name, "NAME");
                assert!(
                    first.0 >= 400 && first.1.contains("detail"),
                    "{path} {query}: {}",
                    first.1
                );
                assert_eq!(
                    (first.0, plain(&first.1, hidden)),
                    (second.0, plain(&second.1, never)),
                    "{path} {query}"
                );
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 120);

    for (hidden, never) in [
        (format!("/{database}/vault/"), format!("/{database}/vaulu/")),
        (format!("/{database}/VAULT/"), format!("/{database}/VAULU/")),
        (
            format!("/{database}/vault/?stamp=s"),
            format!("/{database}/vaulu/?stamp=s"),
        ),
        (
            format!("/{database}/vault/?limit=x"),
            format!("/{database}/vaulu/?limit=x"),
        ),
        (
            format!("/{database}/vault/-/digests"),
            format!("/{database}/vaulu/-/digests"),
        ),
        (
            format!("/{database}/vault/-/keys"),
            format!("/{database}/vaulu/-/keys"),
        ),
        ("/vaulted/".to_owned(), "/vauluee/".to_owned()),
        (
            "/vaulted/?definitions=true".to_owned(),
            "/vauluee/?definitions=true".to_owned(),
        ),
        ("/vaulted/t/".to_owned(), "/vauluee/t/".to_owned()),
        (
            "/vaulted/t/-/keys".to_owned(),
            "/vauluee/t/-/keys".to_owned(),
        ),
        ("/mysql/user/".to_owned(), "/mysqm/user/".to_owned()),
    ] {
        let first = ask(&pair, "some", &[], &hidden).await;
        let second = ask(&pair, "some", &[], &never).await;
        let plain = |body: &str| {
            let names = [
                "vaulted", "vauluee", "vault", "vaulu", "VAULT", "VAULU", "mysqm", "mysql",
            ];
            names
                .iter()
                .fold(body.to_owned(), |body, name| body.replace(name, "NAME"))
        };
        assert!(
            first.0 == 404 || hidden.contains("limit=x"),
            "{hidden}: {}",
            first.1
        );
        assert_eq!(
            (first.0, plain(&first.1)),
            (second.0, plain(&second.1)),
            "{hidden}"
        );
    }

    // What cannot be looked at counts as changed, and so does what does not exist.
    let changed = async |database: &str, tables: Value| {
        let body = json!({ "tables": tables }).to_string();
        let path = format!("/{database}/-/changed");
        let (status, body) = ask(&pair, "some", &["--data", &body], &path).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        (status, answer["changed"].clone(), answer["detail"].clone())
    };
    let far = "2099-01-01T00:00:00Z";
    let of = |table: &str, stamp: &str| json!([[table, stamp, far, null]]);
    for (hidden, never) in [
        (("orders", "card_at"), ("orders", "carp_at")),
        (("vault", "s"), ("vaulu", "s")),
    ] {
        let first = changed(&database, of(hidden.0, hidden.1)).await;
        let second = changed(&database, of(never.0, never.1)).await;
        assert_eq!((first.0, first.1), (200, json!([hidden.0])));
        assert_eq!((second.0, second.1), (200, json!([never.0])));
    }
    assert_eq!(changed(&database, of("orders", "s")).await.1, json!([]));
    let (first, second) = (
        changed("vaulted", of("t", "s")).await,
        changed("vauluee", of("t", "s")).await,
    );
    assert_eq!((first.0, second.0), (404, 404));
    assert_eq!(
        first.2.to_string().replace("vaulted", "vauluee"),
        second.2.to_string()
    );
}

async fn r14_no_answer_holds_what_is_hidden(mut pair: Pair) {
    tables(&pair).await;
    let _file = serve(&mut pair, SOME).await;
    let database = pair.source.database.clone();
    let ndjson = ["-H", "Accept: application/x-ndjson"];
    let csv = ["-H", "Accept: text/csv"];
    let html = ["-H", "Accept: text/html"];
    let list = format!("/{database}/?definitions=true");
    let rows = format!("/{database}/orders/");
    // What is counted by table knows of it from here on.
    ask(&pair, "all", &[], &format!("/{database}/vault/")).await;
    for (args, path) in [
        (&[][..], "/".to_owned()),
        (&[], "/-/metrics".to_owned()),
        (&html, "/".to_owned()),
        (&html, format!("/{database}/")),
        (&html, rows.clone()),
        (&[], format!("/{database}/")),
        (&[], list.clone()),
        (&[], rows.clone()),
        (&ndjson, rows.clone()),
        (&csv, rows.clone()),
        (&ndjson, format!("{rows}?since=2014-09-01&limit=1")),
        (&ndjson, format!("{rows}?keys=[[1],[2]]&match=collation")),
        (&ndjson, format!("{rows}-/digests?level=full")),
        (
            &ndjson,
            format!("{rows}-/keys?level=full&parts=[[null,null,0,0]]"),
        ),
        (&[], format!("/{database}/pledges/")),
    ] {
        let (status, body) = ask(&pair, "some", args, &path).await;
        assert_eq!(status, 200, "{path}: {body}");
        // A page's own words are of no table.
        let body = match body.split_once("</head>") {
            Some((_, page)) => page.replace("scroll cards", ""),
            None => body,
        };
        let low = body.to_lowercase();
        for hidden in ["card", "4111", "1234", "digits", "masked", "vault"] {
            assert!(!low.contains(hidden), "{path} holds {hidden}: {body}");
        }
        if !path.contains("pledges") && path != "/" {
            let (_, body) = ask(&pair, "all", args, &path).await;
            let known = match path.as_str() {
                "/-/metrics" => "vault",
                _ => "card",
            };
            let is_told = body.to_lowercase().contains(known);
            assert!(is_told || path.contains("orders/-/"), "{path}: {body}");
        }
    }
    // The bytes that others got of it would tell the size of what is hidden.
    for (user, told) in [("all", true), ("some", false)] {
        let (_, body) = ask(&pair, user, &[], "/-/metrics").await;
        assert_eq!(body.contains("table=\"orders\""), told, "{user}: {body}");
        assert!(body.contains("table=\"pledges\""), "{user}: {body}");
    }
    // What is said of the rest is what is so.
    let (_, body) = ask(&pair, "some", &[], &list).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let table = |name: &str| {
        let tables = answer["tables"].as_array().unwrap();
        tables
            .iter()
            .find(|table| table["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(answer["tables"].as_array().unwrap().len(), 4);
    let orders = table("orders");
    let names: Vec<&Value> = orders["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["id", "no", "v", "s"]);
    assert_eq!(orders["stamp"]["column"], "s");
    assert_eq!(orders["unique_keys"].as_array().unwrap().len(), 1);
    let codes: Vec<&Value> = orders["blind_spots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["code"])
        .collect();
    assert_eq!(codes, ["cascades", "triggers"]);
    for (name, is_defined) in [
        ("plain", true),
        ("parts", true),
        ("orders", false),
        ("pledges", false),
    ] {
        assert_eq!(table(name)["definition"].is_string(), is_defined, "{name}");
    }
    // Databases are there for whom they are.
    for (user, wanted) in [
        ("some", vec![database.as_str()]),
        ("other", vec![]),
        ("all", vec![&database, "vaulted"]),
    ] {
        let (_, body) = ask(&pair, user, &[], "/").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let names: Vec<&str> = answer["databases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|database| database["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, wanted, "{user}");
    }
    assert!(!pair.server().log().contains("secret"));
}

/// The cursor of somebody who sees all: of a hidden table, by a hidden stamp, and of a table that both see.
async fn r14_a_cursor_leads_to_nothing_hidden(mut pair: Pair) {
    tables(&pair).await;
    let _file = serve(&mut pair, SOME).await;
    let database = pair.source.database.clone();
    pair.source.run("INSERT INTO vault (id) VALUES (8)").await;
    let next = async |table: &str, more: &str| {
        let path = format!("/{database}/{table}/?limit=1{more}");
        eventually("there is a next page", async || {
            let (_, body) = ask(&pair, "all", &[], &path).await;
            let answer: Value = serde_json::from_str(&body).ok()?;
            Some(format!("/{database}/{table}/{}", answer["next"].as_str()?))
        })
        .await
    };
    let vault = next("vault", "").await;
    let vaulu = vault.replace("vault", "vaulu");
    let (_, never) = ask(&pair, "some", &[], &vaulu).await;
    let (status, body) = ask(&pair, "some", &[], &vault).await;
    assert_eq!((status, body.replace("vault", "vaulu")), (404, never));
    // Of the same rows as before, what is there for them.
    for (more, hidden) in [("&stamp=card_at", true), ("&stamp=s", false)] {
        let orders = next("orders", more).await;
        let (status, body) = ask(&pair, "all", &[], &orders).await;
        assert!(status == 200 && body.contains("4111-5678"), "{body}");
        let (status, body) = ask(&pair, "some", &[], &orders).await;
        assert!(!body.contains("4111"), "{body}");
        assert_eq!(status == 200, !hidden, "{orders}: {body}");
    }
}

async fn r14_a_digest_holds_nothing_of_a_hidden_column(mut pair: Pair) {
    tables(&pair).await;
    let _file = serve(&mut pair, SOME).await;
    let path = format!("/{}/orders/-/digests?level=full", pair.source.database);
    let digest = async |user: &str| {
        let (status, body) = ask(&pair, user, &[], &path).await;
        assert_eq!(status, 200, "{body}");
        let rows = body.lines().filter(|line| line.starts_with('['));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = (digest("some").await, digest("all").await);
    assert!(!before.0.is_empty() && before.0 != before.1);
    pair.source
        .run("UPDATE orders SET card = '4111-9999', s = s, card_at = card_at WHERE id = 1")
        .await;
    assert_eq!(digest("some").await, before.0);
    assert_ne!(digest("all").await, before.1);
    pair.source
        .run("UPDATE orders SET no = 99, s = s, card_at = card_at WHERE id = 1")
        .await;
    assert_ne!(digest("some").await, before.0);
}

async fn r14_shapes_that_another_user_asked_for_are_not_seen(mut pair: Pair) {
    tables(&pair).await;
    let _file = serve(&mut pair, SOME).await;
    let path = format!("/{}/-/changed", pair.source.database);
    let asked = json!([
        ["orders", "card_at", "2099-01-01T00:00:00Z", null],
        ["vault", "s", "2099-01-01T00:00:00Z", null]
    ]);
    let body = json!({ "tables": asked, "version": null }).to_string();
    let mut versions = Vec::new();
    for user in ["all", "some", "all", "some"] {
        let (_, body) = ask(&pair, user, &["--data", &body], &path).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let wanted = match user {
            "all" => json!([]),
            _ => json!(["orders", "vault"]),
        };
        assert_eq!(answer["changed"], wanted, "{user}: {body}");
        versions.push(answer["version"].clone());
    }
    assert_ne!(versions[0], versions[1]);
    // A change that `some` may not see is none for them.
    pair.source
        .run("ALTER TABLE orders MODIFY card VARCHAR(30) NOT NULL")
        .await;
    pair.source
        .run("CREATE TABLE vault_2 (id INT PRIMARY KEY)")
        .await;
    let list = format!("/{}/", pair.source.database);
    for (user, same) in [("all", false), ("some", true)] {
        let (_, body) = ask(&pair, user, &[], &list).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(versions.contains(&answer["version"]), same, "{user}");
    }
}

async fn r14_a_limited_user_pulls_what_is_there(mut pair: Pair) {
    tables(&pair).await;
    pair.dest
        .script(&format!(
            "CREATE TABLE orders (id INT PRIMARY KEY, no INT NOT NULL, v INT, card VARCHAR(20) NOT NULL DEFAULT 'none',
               {STAMP}, {INDEXED}, UNIQUE u_no (no));"
        ))
        .await;
    let _file = serve(&mut pair, SOME).await;
    let login = ["--source-username=some", "--source-password=secret"];
    let args = |more: &[&'static str]| [&login[..], more].concat();
    // The definition of what refers to a hidden table does not come: such a table is made by hand.
    pair.dest
        .run(format!(
            "CREATE TABLE pledges (id INT PRIMARY KEY, v INT, {STAMP})"
        ))
        .await;
    let output = pair
        .pull(&args(&["--create-tables", "--sync-deletes"]))
        .await
        .ok();
    for table in ["plain", "parts", "orders", "pledges"] {
        assert!(output.pulled(table), "{}", output.stderr);
    }
    let visible = "SELECT id, no, v, s FROM orders ORDER BY id";
    let same = async |pair: &Pair| {
        assert_eq!(
            pair.source.rows(visible).await,
            pair.dest.rows(visible).await
        );
        pair.assert_same_in(&["plain", "parts", "pledges"]).await;
    };
    same(&pair).await;
    let tables = pair.dest.rows("SHOW TABLES").await;
    assert_eq!(tables.len(), 4, "{tables:?}");

    pair.source
        .script(
            "UPDATE orders SET no = 13, card = '4111-0000' WHERE id = 1;
             DELETE FROM orders WHERE id = 2;
             INSERT INTO orders (id, no, card) VALUES (3, 12, '4111-3333');
             DELETE FROM plain WHERE id = 1;",
        )
        .await;
    pair.pull(&args(&["--sync-deletes"])).await.ok();
    same(&pair).await;
    // What a cascade changed behind the stamp is found, although its parent is hidden.
    pair.source.run("INSERT INTO vault (id) VALUES (9)").await;
    pair.source
        .run("UPDATE orders SET v = 9 WHERE id = 3")
        .await;
    pair.pull(&args(&[])).await.ok();
    pair.source
        .run("UPDATE vault SET id = 10 WHERE id = 9")
        .await;
    pair.pull(&args(&["--sync-deletes"])).await.ok();
    same(&pair).await;
    pair.pull(&args(&["--verify=full"])).await.ok();
    let cards = pair.dest.rows("SELECT DISTINCT card FROM orders").await;
    assert_eq!(cards, [[Some(b"none".to_vec())]]);
}

async fn r14_a_hidden_key_leaves_a_table_without_one(mut pair: Pair) {
    tables(&pair).await;
    pair.source
        .script(&format!(
            "CREATE TABLE bare (id INT PRIMARY KEY, v INT, {STAMP});
             CREATE TABLE keyless (v INT, {STAMP});"
        ))
        .await;
    let _file = serve(&mut pair, "hidden = { '*' = ['id'], bare = ['s', 'sss'] }").await;
    let database = pair.source.database.clone();
    let (_, body) = ask(&pair, "some", &[], &format!("/{database}/")).await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let tables = answer["tables"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap();
    for (name, key) in [
        ("bare", Value::Null),
        (
            "orders",
            json!({"name": "u_card", "columns": ["card"], "prefixes": [null]}),
        ),
    ] {
        let found = &of(name)["key"];
        assert_eq!(found["name"], key["name"], "{body}");
    }
    // A rule that is misspelt hides nothing, and should not do so in silence.
    pair.server()
        .says("hides column \"sss\" of table \"bare\"")
        .await;
    // It says what a table says that has neither.
    let (status, hidden) = ask(&pair, "some", &[], &format!("/{database}/bare/")).await;
    let (_, never) = ask(&pair, "all", &[], &format!("/{database}/keyless/")).await;
    assert_eq!(status, 422, "{hidden}");
    assert_eq!(hidden.replace("bare", "keyless"), never);
    let text = of("bare")["unsupported"].as_str().unwrap();
    assert!(
        text.contains("ADD changed TIMESTAMP") && text.contains("ADD PRIMARY KEY"),
        "{text}"
    );
    // Another key serves, and nothing more is known of the hidden one.
    let (status, body) = ask(
        &pair,
        "some",
        &[],
        &format!("/{database}/orders/?keys=[[%224111-1234%22]]"),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["count"], 1);
    assert!(answer["rows"][0]["id"].is_null(), "{body}");
}
