//! R9: the digests of parts of a table, and the keys in them, as anybody can ask for them.

use std::collections::BTreeSet;
use std::process::Stdio;

use harness::{Flavour, Pair, Side, eventually, same_flavour};
use serde_json::{Value, json};

use crate::STAMP;

same_flavour!(
    r9_only_what_is_stamped_below_counts,
    r9_a_level_says_what_is_hashed,
    r9_what_cannot_be_compared_is_explained,
    a_caller_that_goes_away_ends_its_scan,
);

/// More rows than a statement reads.
const ROWS: u64 = 1 << 14;

/// Tables of every kind of key: their names, columns and key, whether servers sort such keys alike, and
/// the values of row n = 0, 1 … to insert.
const KEYS: [(&str, &str, bool, &str); 17] = [
    ("negative", "a INT, PRIMARY KEY (a)", true, "n-11000"),
    (
        "large",
        "a BIGINT UNSIGNED, PRIMARY KEY (a)",
        true,
        "18446744073709551615-n*8000000000",
    ),
    (
        "composite",
        "a SMALLINT, b BIGINT, c TINYINT UNSIGNED, PRIMARY KEY (a,b,c)",
        true,
        "n DIV 9000-1, n DIV 200, n MOD 200",
    ),
    (
        "backwards",
        "a INT, b INT, PRIMARY KEY (b,a)",
        true,
        "n MOD 100, n DIV 100",
    ),
    (
        "another",
        "a INT NOT NULL, b INT NOT NULL, UNIQUE KEY named (b,a)",
        true,
        "n MOD 100, n DIV 100",
    ),
    (
        "decimals",
        "a DECIMAL(20,6), PRIMARY KEY (a)",
        true,
        "(n-11000.0)/8",
    ),
    (
        "doubles",
        "a DOUBLE, PRIMARY KEY (a)",
        true,
        "(n-11000)*0.125e0",
    ),
    (
        "times",
        "a DATETIME(6), b TIME(2), PRIMARY KEY (a,b)",
        true,
        "TIMESTAMPADD(MICROSECOND,n*1000003 DIV 7,'1999-12-31 23:59:59'), SEC_TO_TIME((n MOD 7-3.0)/4)",
    ),
    (
        "stamped",
        "a TIMESTAMP(2) DEFAULT '2001-01-01', PRIMARY KEY (a)",
        true,
        "FROM_UNIXTIME(1000000000+n/10)",
    ),
    (
        "bytes",
        "a VARBINARY(20), PRIMARY KEY (a)",
        true,
        "CONCAT(UNHEX(LPAD(HEX(n*2654435761 MOD 4294967296),8,'0')),REPEAT(CHAR(0),n MOD 3))",
    ),
    (
        "fixed",
        "a BINARY(6), PRIMARY KEY (a)",
        true,
        "UNHEX(LPAD(HEX(n*2654435761 MOD 4294967296),8,'0'))",
    ),
    ("bits", "a BIT(40), PRIMARY KEY (a)", true, "n*40000000"),
    (
        "letters",
        "a VARCHAR(40), b INT, PRIMARY KEY (a,b)",
        false,
        "CONCAT(ELT(1+n MOD 5,'é','Z','a','''\\\\','日'),n DIV 50), n",
    ),
    (
        "latin",
        "a CHAR(20) CHARACTER SET latin1, PRIMARY KEY (a)",
        false,
        "CONCAT(CHAR(97+n MOD 26),n)",
    ),
    (
        "members",
        "a ENUM('z','it''s','b,a','m'), b INT, PRIMARY KEY (a,b)",
        false,
        "1+n MOD 4, n",
    ),
    (
        "sets",
        "a SET('z','y','x'), b INT, PRIMARY KEY (a,b)",
        false,
        "n MOD 8, n",
    ),
    (
        "floats",
        "a FLOAT, PRIMARY KEY (a)",
        false,
        "(n-11000.0)*1.25e-3",
    ),
];

/// The header and the rows of a whole answer.
async fn ask(pair: &Pair, path: &str, form: &[(&str, &str)]) -> (Value, Vec<Value>) {
    let fields: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut args = Vec::new();
    for field in &fields {
        args.extend(["--data-urlencode", field]);
    }
    let (status, head, body) = pair.curl(&args, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    assert!(
        head.contains("content-type: application/x-ndjson"),
        "{head}"
    );
    let mut frames: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|frame: &Value| frame["frame"] != "keep-alive")
        .collect();
    let end = frames.pop().unwrap();
    let header = frames.remove(0);
    assert_eq!(header["frame"], "header", "{body}");
    let expected = json!({"frame": "end", "rows": frames.len(), "more": false});
    assert_eq!(end, expected, "{path}");
    (header, frames)
}

async fn digests(pair: &Pair, table: &str, form: &[(&str, &str)]) -> Vec<Value> {
    ask(pair, &path(pair, table, "digests"), form).await.1
}

async fn keys(pair: &Pair, table: &str, form: &[(&str, &str)]) -> Vec<Value> {
    ask(pair, &path(pair, table, "keys"), form).await.1
}

fn path(pair: &Pair, table: &str, what: &str) -> String {
    format!("/{}/{table}/-/{what}", pair.source.database)
}

fn hash(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    assert_eq!(text.len(), 16, "{text}");
    u64::from_str_radix(text, 16).unwrap()
}

/// The number of rows and the sum of all these digests, which stand at the end of each.
fn total(digests: &[Value]) -> (u64, u64) {
    let mut total = (0, 0_u64);
    for digest in digests {
        let [.., rows, sum] = digest.as_array().unwrap().as_slice() else {
            panic!("{digest}");
        };
        total.0 += rows.as_u64().unwrap();
        total.1 = total.1.wrapping_add(hash(sum));
    }
    total
}

/// A table of every kind of key, and some more columns.
async fn fill(side: &Side) {
    side.run("CREATE TABLE seed (n BIGINT PRIMARY KEY)").await;
    side.run("INSERT INTO seed VALUES (0)").await;
    for bit in 0..ROWS.ilog2() {
        side.run(format!("INSERT INTO seed SELECT n+{} FROM seed", 1 << bit))
            .await;
    }
    for (name, columns, _, values) in KEYS {
        let key: Vec<&str> = ["a", "b", "c"]
            .into_iter()
            .filter(|name| {
                let mut columns = columns.split(", ");
                columns.any(|column| column.starts_with(&format!("{name} ")))
            })
            .collect();
        side.run(format!(
            "CREATE TABLE {name} ({columns}, f FLOAT, d DOUBLE, t TEXT, {STAMP})"
        ))
        .await;
        side.run(format!(
            "INSERT INTO {name} ({}, f, d, t, s) SELECT {values}, n*1.1e0, IF(n MOD 3,-n*1e20/7e0,NULL), \
             CONCAT('日',n), TIMESTAMPADD(MICROSECOND,n*1001,'2014-09-01') FROM seed",
            key.join(",")
        ))
        .await;
    }
}

/// Parts of a table add up to the whole, whatever its key is; and both flavours have the same digests of
/// the same rows, in the same ranges where the keys sort alike.
#[tokio::test]
async fn r9_parts_add_up_whatever_the_key_is() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MariaDb).await;
    tokio::join!(fill(&pair.source), fill(&pair.dest));
    pair.serve().await;
    let mut answers = Vec::new();
    for (name, _, alike, _) in KEYS {
        answers.push(all_ways(&pair, name, alike).await);
    }
    // The same questions to the other one.
    let port = format!("--source-port={}", pair.dest.server.port());
    pair.start_server(&[&port]).await;
    pair.ready().await;
    std::mem::swap(&mut pair.source, &mut pair.dest);
    for ((name, _, alike, _), there) in KEYS.into_iter().zip(answers) {
        let here = all_ways(&pair, name, alike).await;
        assert_eq!(here.len(), there.len(), "{name}");
        for (here, there) in here.iter().zip(&there) {
            assert_eq!(here, there, "{name}");
        }
    }
}

/// All that can be asked of a table.
async fn all_ways(pair: &Pair, name: &str, alike: bool) -> Vec<Value> {
    let mut answers = Vec::new();
    for level in ["keys", "full"] {
        let level = ("level", level);
        let whole = digests(pair, name, &[level]).await;
        assert_eq!(whole.len(), 1, "{name}");
        assert_eq!(whole[0][0], 0, "{name}");
        let whole = total(&whole);
        assert_eq!(whole.0, ROWS, "{name}");
        answers.push(json!(whole));

        let split = digests(pair, name, &[level, ("split", "3")]).await;
        assert_eq!(split.len(), 8, "{name}");
        assert_eq!(total(&split), whole, "{name}");
        // The same as parts of their own, and one of them split once more.
        let parts: Vec<Value> = (0..8).map(|value| json!([null, null, 3, value])).collect();
        let parts = json!(parts).to_string();
        let eighths = digests(pair, name, &[level, ("parts", &parts)]).await;
        for (split, eighth) in split.iter().zip(&eighths) {
            assert_eq!(split[1], eighth[0], "{name}");
            assert_eq!([&split[2], &split[3]], [&eighth[2], &eighth[3]], "{name}");
        }
        let form = [level, ("parts", "[[null,null,3,5]]"), ("split", "4")];
        let finer = digests(pair, name, &form).await;
        assert_eq!(total(&finer), total(&split[5..6]), "{name}");
        let parts: Vec<Value> = (0..16)
            .map(|more| json!([null, null, 7, 80 + more]))
            .collect();
        let parts = json!(parts).to_string();
        let alone = digests(pair, name, &[level, ("parts", &parts)]).await;
        assert_eq!((finer.len(), alone.len()), (16, 16), "{name}");
        for (finer, alone) in finer.iter().zip(&alone) {
            assert_eq!([&finer[2], &finer[3]], [&alone[2], &alone[3]], "{name}");
        }
        answers.extend(finer);

        // A row's hash is what it adds to the digest.
        let listed = keys(pair, name, &[level, ("parts", "[[null,null,3,5]]")]).await;
        let sum = listed.iter().fold(0, |sum: u64, row| {
            sum.wrapping_add(hash(row.as_array().unwrap().last().unwrap()))
        });
        assert_eq!((listed.len() as u64, sum), total(&split[5..6]), "{name}");
        let mut sorted: Vec<String> = listed.iter().map(Value::to_string).collect();
        sorted.sort();
        let distinct: BTreeSet<&String> = sorted.iter().collect();
        assert_eq!(distinct.len(), sorted.len(), "{name}");
        answers.push(json!(sorted));
        answers.extend(split);
    }
    if alike {
        answers.extend(ranges(pair, name).await);
    }
    answers
}

/// A table cut into ranges, and the same ranges asked for.
async fn ranges(pair: &Pair, name: &str) -> Vec<Value> {
    let whole = total(&digests(pair, name, &[]).await);
    // Longer and shorter than a statement's rows.
    let mut answers = Vec::new();
    for rows in ["4000", "10500"] {
        let cut = digests(pair, name, &[("rows", rows)]).await;
        let every: u64 = rows.parse().unwrap();
        assert_eq!(cut.len() as u64, ROWS / every + 1, "{name}");
        assert_eq!(total(&cut), whole, "{name}");
        assert_eq!(cut.last().unwrap()[0], Value::Null);
        let mut after = Value::Null;
        let mut parts = Vec::new();
        for digest in &cut {
            parts.push(json!([after, digest[0], 0, 0]));
            after = digest[0].clone();
        }
        let form = json!(parts).to_string();
        let again = digests(pair, name, &[("parts", &form)]).await;
        let held = cut.iter().filter(|digest| digest[1] != 0);
        for (cut, part) in held.zip(&again) {
            assert_eq!([&cut[1], &cut[2]], [&part[2], &part[3]], "{name} {cut}");
        }
        // A range is cut as well, and so are its keys found.
        let range = json!([parts[1]]).to_string();
        let form = [("parts", range.as_str()), ("rows", "1500")];
        let pieces = digests(pair, name, &form).await;
        assert_eq!(total(&pieces), total(&cut[1..2]), "{name}");
        assert_eq!(pieces.last().unwrap()[0], parts[1][1], "{name}");
        let listed = keys(pair, name, &[("parts", &range)]).await;
        assert_eq!(listed.len() as u64, cut[1][1].as_u64().unwrap(), "{name}");
        answers.extend(cut);
        answers.extend(pieces);
        answers.extend(listed);
    }
    answers
}

async fn r9_only_what_is_stamped_below_counts(mut pair: Pair) {
    pair.source
        .run(
            "CREATE TABLE t (id INT PRIMARY KEY, s TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) \
             ON UPDATE CURRENT_TIMESTAMP(3))",
        )
        .await;
    pair.source
        .run(
            "INSERT INTO t VALUES (1, '2014-09-01 00:00:01'), (2, '2014-09-01 00:00:02'),
             (3, '2014-09-01 00:00:02.001'), (4, NULL), (5, '2037-01-01 00:00:00')",
        )
        .await;
    pair.serve().await;
    for (below, wanted) in [
        ("2014-09-01T00:00:01Z", 1),
        ("2014-09-01T00:00:01.0005Z", 2),
        ("2014-09-01T00:00:02Z", 2),
        ("2014-09-01T00:00:02.001Z", 3),
        ("2014-09-01T00:00:02.0011Z", 4),
        // Never above the horizon.
        ("2037-01-02", 4),
    ] {
        let form = [("below", below), ("split", "16"), ("level", "keys")];
        let found = digests(&pair, "t", &form).await;
        assert_eq!(total(&found).0, wanted, "{below}");
        let form = [("below", below), ("rows", "1")];
        let cut = digests(&pair, "t", &form).await;
        assert_eq!(cut.len() as u64, wanted + 1, "{below}");
        assert_eq!(
            cut.last().unwrap(),
            &json!([null, 0, "0000000000000000"]),
            "{below}"
        );
    }
    let found = digests(&pair, "t", &[]).await;
    assert_eq!(total(&found).0, 4);
    // Keys come whatever their stamps.
    let (header, rows) = ask(&pair, &path(&pair, "t", "keys"), &[]).await;
    assert_eq!(header["key"], json!(["id"]));
    let stamps: Vec<&Value> = rows.iter().map(|row| &row[1]).collect();
    assert_eq!(
        json!(stamps),
        json!([
            "2014-09-01T00:00:01.000Z",
            "2014-09-01T00:00:02.000Z",
            "2014-09-01T00:00:02.001Z",
            null,
            "2037-01-01T00:00:00.000Z"
        ])
    );
    // Nothing is something too.
    pair.source.run("DELETE FROM t").await;
    let cut = digests(&pair, "t", &[("rows", "10")]).await;
    assert_eq!(cut, [json!([null, 0, "0000000000000000"])]);
    assert!(digests(&pair, "t", &[]).await.is_empty());
    let part = [("parts", "[[[2],[7],0,0]]"), ("rows", "10")];
    let cut = digests(&pair, "t", &part).await;
    assert_eq!(cut, [json!([[7], 0, "0000000000000000"])]);
}

async fn r9_a_level_says_what_is_hashed(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE parent (id INT PRIMARY KEY, {STAMP});
             CREATE TABLE t (w INT, v VARCHAR(20), moved INT, stays INT, b INT, a INT,
               twice INT AS (w*2) STORED, {STAMP}, PRIMARY KEY (a,b),
               FOREIGN KEY (moved) REFERENCES parent (id) ON DELETE SET NULL,
               FOREIGN KEY (stays) REFERENCES parent (id));
             INSERT INTO parent VALUES (1,'2014-09-01');
             INSERT INTO t (w,v,moved,stays,b,a,s) VALUES (1,'one',1,1,1,1,'2014-09-01'), (2,'two',1,1,2,1,'2014-09-01')"
        ))
        .await;
    pair.serve().await;
    let without = ("exclude_columns", "v,a");
    for (form, wanted) in [
        (&[("level", "keys")][..], "a b"),
        (&[], "a b s moved"),
        (&[("level", "full")], "a b w v moved stays s"),
        (&[("level", "full"), without], "a b w moved stays s"),
        (&[("exclude_columns", "moved")], "a b s"),
        (&[("level", "full"), ("include_columns", "v")], "a b v s"),
    ] {
        for what in ["digests", "keys"] {
            let (header, _) = ask(&pair, &path(&pair, "t", what), form).await;
            let columns = header["columns"].as_array().unwrap().iter();
            let names: Vec<&str> = columns.map(|c| c["name"].as_str().unwrap()).collect();
            assert_eq!(names.join(" "), wanted, "{form:?}");
        }
    }
    let forms: [&[(&str, &str)]; 4] = [
        &[("level", "keys")],
        &[],
        &[("level", "full"), without],
        &[("level", "full")],
    ];
    // What differs after a change, from here on.
    for (change, seen) in [
        (
            "UPDATE t SET v='other', s=s WHERE b=1",
            &[false, false, false, true][..],
        ),
        (
            "UPDATE t SET stays=NULL, s=s WHERE b=1",
            &[false, false, true, true],
        ),
        ("DELETE FROM parent WHERE 0", &[false; 4]),
        ("UPDATE t SET stays=NULL, s=s", &[false, false, true, true]),
        ("DELETE FROM parent", &[false, true, true, true]),
        ("UPDATE t SET s='2014-09-02'", &[false, true, true, true]),
        ("UPDATE t SET b=b+5, s=s", &[true; 4]),
    ] {
        let mut before = Vec::new();
        for form in forms {
            before.push(digests(&pair, "t", form).await);
        }
        pair.source.run(change).await;
        for ((form, before), seen) in forms.iter().zip(before).zip(seen) {
            let after = digests(&pair, "t", form).await;
            assert_eq!(after != before, *seen, "{change} {form:?}");
        }
    }
}

async fn r9_what_cannot_be_compared_is_explained(mut pair: Pair) {
    pair.source
        .script(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP});
             CREATE TABLE words (word VARCHAR(20) PRIMARY KEY, {STAMP});
             CREATE TABLE begins (word VARBINARY(20), PRIMARY KEY (word(10)), {STAMP});
             CREATE TABLE plain (id INT PRIMARY KEY)"
        ))
        .await;
    pair.serve().await;
    let file = std::env::temp_dir().join(format!("dbd-form-{}", pair.source.server.port()));
    std::fs::write(&file, format!("parts={}", "x".repeat(4 << 20))).unwrap();
    let long = format!("@{}", file.display());
    let range = "parts=[[[\"a\"],null,0,0]]";
    for (path, args, status, word) in [
        (
            "t/-/digests?levels=full",
            &[][..],
            400,
            "there are level, parts",
        ),
        (
            "t/-/digests?level=all",
            &[],
            400,
            "level: give keys, stamps or full",
        ),
        (
            "t/-/digests",
            &["-d", "rows=5&rows=6"],
            400,
            "rows: give it once",
        ),
        (
            "t/-/digests?rows=5",
            &["-d", "rows=5"],
            400,
            "rows: give it once",
        ),
        (
            "t/-/digests",
            &["-d", "rows=0"],
            400,
            "rows: give a number, 1 to 1000000",
        ),
        (
            "t/-/digests",
            &["-d", "rows=5&split=1"],
            400,
            "without split",
        ),
        (
            "t/-/digests",
            &["-d", "rows=5&parts=[[null,null,1,0]]"],
            400,
            "one part of no bits",
        ),
        (
            "t/-/digests",
            &["-d", "split=17"],
            400,
            "split: give a number, 0 to 16",
        ),
        (
            "t/-/digests",
            &["-d", "below=soon"],
            400,
            "below: \\\"soon\\\" is not a time",
        ),
        (
            "t/-/digests",
            &["-d", "parts=[[null,null,2,4]]"],
            400,
            "parts: give a JSON array",
        ),
        (
            "t/-/digests",
            &["-d", "parts=[[[1,2],null,0,0]]"],
            400,
            "a key has 1 values",
        ),
        (
            "t/-/digests",
            &["-d", "parts=[[[\"1 OR 1\"],null,0,0]]"],
            400,
            "parts:",
        ),
        (
            "t/-/digests",
            &["-d", "exclude_columns=x"],
            400,
            "no column x",
        ),
        ("t/-/digests", &["-d", "stamp=id"], 422, "id"),
        (
            "t/-/keys",
            &["-d", "below=2014-09-01"],
            400,
            "no parameter below",
        ),
        ("t/-/keys", &["-d", "rows=5"], 400, "no parameter rows"),
        ("missing/-/keys", &[], 404, "missing"),
        ("t/-/keys", &["-X", "PUT"], 405, "Allow"),
        (
            "t/-/keys",
            &["-H", "Accept: application/json"],
            406,
            "application/x-ndjson",
        ),
        ("t/-/digests", &["-d", &long], 413, "fewer parts"),
        (
            "t/-/digests",
            &["-H", "Content-Type: application/json", "-d", "{}"],
            415,
            "form",
        ),
        ("plain/-/digests", &[], 422, "TIMESTAMP"),
        ("words/-/digests", &["-d", range], 422, "bits"),
        ("words/-/keys", &["-d", range], 422, "bits"),
        ("words/-/digests", &["-d", "rows=5"], 422, "bits"),
        ("begins/-/digests", &["-d", "rows=5"], 422, "bits"),
    ] {
        let full = format!("/{}/{path}", pair.source.database);
        let (answered, head, body) = pair.curl(args, &full).await;
        assert_eq!(answered, status, "{path} {args:.3?}: {body}");
        assert!(head.contains("application/problem+json"), "{path}: {head}");
        assert!(body.contains(word), "{path} {args:.3?}: {body}");
        assert!(!body.contains("SELECT"), "{path}: {body}");
    }
    std::fs::remove_file(&file).unwrap();
    for accept in ["Accept: */*", "Accept: application/x-ndjson", "Accept:"] {
        let full = path(&pair, "t", "digests");
        let (status, _, body) = pair.curl(&["-H", accept], &full).await;
        assert_eq!(status, 200, "{accept}: {body}");
    }
}

/// A scan says nothing for long: its caller is told that it is still at work, and when it goes away the
/// source is as well.
async fn a_caller_that_goes_away_ends_its_scan(mut pair: Pair) {
    pair.source
        .run(format!("CREATE TABLE t (id INT PRIMARY KEY, {STAMP})"))
        .await;
    pair.serve().await;
    let mut holder = pair.source.session().await;
    holder.run("LOCK TABLES t WRITE").await;
    let path = path(&pair, "t", "digests");
    let url = pair.server().url(&path);
    let file = std::env::temp_dir().join(format!("dbd-digests-{}", holder.id()));
    let mut client = std::process::Command::new("curl")
        .args(["-sS", "-N", "--noproxy", "*", "-o"])
        .arg(&file)
        .arg(&url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the caller is kept waiting", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.contains("\"keep-alive\"").then_some(())
    })
    .await;
    let scans = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID<>CONNECTION_ID() AND \
                 INFO LIKE 'SELECT `id`%'";
    assert_eq!(pair.source.number(scans).await, 1);
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the scan ends", async || {
        (pair.source.number(scans).await == 0).then_some(())
    })
    .await;
    std::fs::remove_file(&file).unwrap();
}
