//! What the server takes of the source is bounded, however its callers behave.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{At, Pair, Proxy, Puller, Session, eventually, same_flavour, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{INDEXED, STAMP, numbers};

same_flavour!(
    answers_beyond_the_bound_are_refused_at_once,
    an_answer_waits_for_a_connection,
    pullers_wait_while_the_server_is_busy,
    a_statement_that_takes_too_long_is_ended,
    the_source_ends_a_statement_by_itself,
    a_source_that_says_nothing_ends_an_answer,
    whoever_goes_away_has_its_statement_ended,
    a_reader_that_stalls_is_cut_off,
    a_reader_that_pauses_gets_everything,
    an_answer_that_lasts_too_long_is_cut_and_the_puller_goes_on,
    a_stop_lets_answers_end,
    a_stop_ends_statements_at_the_source,
    connections_are_made_anew,
    ready_says_only_whether_it_is,
    the_source_is_never_written_to,
);

/// A column that takes some milliseconds to read.
const SLOW: &str = "v VARCHAR(128) AS (SHA2(REPEAT(CONCAT(id, 'x'), 1200000), 512)) VIRTUAL";

/// As many rows of it take more than a minute.
const MANY: u32 = 20_000;

/// How soon nothing may run at the source for a caller that has gone.
const SOON: Duration = Duration::from_secs(2);

const NDJSON: &str = "accept: application/x-ndjson";

/// Every kind of answer about the table `t`, by its path.
fn answers(pair: &Pair) -> [(&'static str, String); 4] {
    let table = format!("/{}/t/", pair.source.database);
    [
        ("rows, sorted", format!("{table}?wait=0")),
        ("rows by key", format!("{table}?keys={}", keys())),
        ("digests", format!("{table}-/digests?level=full")),
        ("keys", format!("{table}-/keys?level=full")),
    ]
}

fn keys() -> String {
    let keys: Vec<String> = (1..=1_000).map(|id| format!("%5B{id}%5D")).collect();
    format!("%5B{}%5D", keys.join(","))
}

async fn slow_table(pair: &Pair, rows: u32) {
    slow_table_named(pair, "t", rows).await;
}

async fn slow_table_named(pair: &Pair, table: &str, rows: u32) {
    pair.source
        .run(format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, {STAMP})"
        ))
        .await;
    let sql = format!("INSERT INTO {table} (id) {}", numbers(rows, "n"));
    pair.source.run(sql).await;
    // MySQL would compute it for every row that is inserted.
    pair.source
        .run(format!("ALTER TABLE {table} ADD COLUMN {SLOW}"))
        .await;
}

/// Holds the table, so that digests and keys, which do not look at the slow column, say nothing.
async fn hold(pair: &Pair, what: &str) -> Option<Session> {
    if what.starts_with("rows") {
        return None;
    }
    let mut session = pair.source.session().await;
    session.run("LOCK TABLES t WRITE").await;
    Some(session)
}

async fn wide_table(pair: &Pair, rows: u32) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(200), {STAMP}, {INDEXED})"
    ))
    .await;
    let sql = format!(
        "INSERT INTO t (id, v) {}",
        numbers(rows, "n, REPEAT('x', 150)")
    );
    pair.source.run(sql).await;
}

async fn serve(pair: &mut Pair, more: &[&str]) {
    pair.start_server(more).await;
    pair.ready().await;
}

/// A caller that can be made to go away.
struct Caller(Child);

impl Caller {
    fn start(pair: &mut Pair, path: &str, more: &[&str]) -> Self {
        let url = pair.server().url(path);
        let child = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-H", NDJSON, "-o", "/dev/null"])
            .args(more)
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn goes_away(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many statements read the table.
async fn reads(pair: &Pair) -> u64 {
    pair.source
        .number(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND IN \
             ('Query','Execute') AND ID<>CONNECTION_ID() AND INFO LIKE 'SELECT%`t`%'",
        )
        .await
}

async fn runs(pair: &Pair) {
    eventually("the statement runs", async || {
        (reads(pair).await > 0).then_some(())
    })
    .await;
}

async fn ends(pair: &Pair, limit: Duration) {
    within(limit, "the statement ends", async || {
        (reads(pair).await == 0).then_some(())
    })
    .await;
}

async fn answers_beyond_the_bound_are_refused_at_once(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &["--max-answers=1"]).await;
    let path = format!(
        "/{}/t/?limit=1&include_columns=id&wait=0",
        pair.source.database
    );
    let slow = answers(&pair)[0].1.clone();
    let caller = Caller::start(&mut pair, &slow, &[]);
    runs(&pair).await;
    for path in ["/", &path] {
        let began = Instant::now();
        let (status, head, body) = pair.curl(&[], path).await;
        assert_eq!(status, 503, "{body}");
        assert!(head.contains("retry-after: 1"), "{head}");
        assert!(body.contains("--max-answers"), "{body}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    assert_eq!(pair.curl(&[], "/-/live").await.0, 200);
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 200);
    let said = pair.server().log().matches("callers are sent away").count();
    assert_eq!(said, 1, "however many they are");
    caller.goes_away();
    within(SOON, "there is a place again", async || {
        (pair.curl(&[], &path).await.0 == 200).then_some(())
    })
    .await;
}

/// Credentials come before a place: who has none takes none.
async fn an_answer_waits_for_a_connection(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    let credentials = ["--listen-username=ann", "--listen-password=secret"];
    let bound = ["--source-connections=1", "--listen-address=127.0.0.1"];
    serve(&mut pair, &[bound, credentials].concat()).await;
    let path = format!(
        "/{}/t/?limit=1&include_columns=id&wait=0",
        pair.source.database
    );
    let slow = answers(&pair)[0].1.clone();
    let caller = Caller::start(&mut pair, &slow, &["-u", "ann:secret"]);
    runs(&pair).await;
    assert_eq!(pair.curl(&["-u", "ann:wrong"], &path).await.0, 401);
    let (status, head, body) = pair.curl(&["-u", "ann:secret"], &path).await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: 1"), "{head}");
    assert!(body.contains("--source-connections"), "{body}");
    let waits = pair.curl(&["-u", "ann:secret"], &path);
    let goes = async {
        tokio::task::yield_now().await;
        caller.goes_away();
    };
    let ((status, _, body), ()) = tokio::join!(waits, goes);
    assert_eq!(status, 200, "{body}");
}

async fn pullers_wait_while_the_server_is_busy(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    pair.both(&format!(
        "CREATE TABLE u (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO u (id) VALUES (1)").await;
    serve(&mut pair, &["--max-answers=1"]).await;
    let slow = answers(&pair)[0].1.clone();
    // The place of an answer may be free a moment later than that has arrived.
    let patient = ["--retry", "100", "--retry-delay", "1"];
    let caller = Caller::start(&mut pair, &slow, &patient);
    runs(&pair).await;
    // Once, it waits a little.
    let once = Puller::start(&pair.puller_args(&["--tables=u"]));
    pair.server().says("callers are sent away").await;
    caller.goes_away();
    assert_eq!(once.end().await.ok().rows("u"), 1);
    // The same when there is no place for one of its tables any more.
    pair.source.run("INSERT INTO u (id) VALUES (3)").await;
    let proxy = Proxy::start(pair.server().port).await;
    let mut stop = proxy.stop("/u/?", 1, At::Request);
    let once = Puller::start(&pair.puller_args(&["--tables=u", &proxy.flag()]));
    stop.reached().await;
    let caller = Caller::start(&mut pair, &slow, &patient);
    runs(&pair).await;
    stop.go_on();
    eventually("the table is refused", async || {
        let exchanges = proxy.exchanges();
        exchanges.iter().any(|e| e.status == 503).then_some(())
    })
    .await;
    caller.goes_away();
    assert_eq!(once.end().await.ok().rows("u"), 1);
    // While it polls, as long as it takes.
    let mut puller = pair.poll(1.0, &["--tables=u"]).await;
    puller.pulls_again("u", 1).await;
    // The puller may have the only place at that moment.
    let caller = Caller::start(&mut pair, &slow, &patient);
    runs(&pair).await;
    pair.source.run("INSERT INTO u (id) VALUES (2)").await;
    puller.says("503").await;
    caller.goes_away();
    pair.becomes_same(&["u"]).await;
    puller.terminate().await.ok();
}

/// In every format, and what was answered is not taken for whole.
async fn a_statement_that_takes_too_long_is_ended(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &["--max-query-seconds=1"]).await;
    for (what, path) in answers(&pair) {
        let _held = hold(&pair, what).await;
        let began = Instant::now();
        let (status, _, body) = pair.curl(&["-H", NDJSON], &path).await;
        ends(&pair, SOON).await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(6), "{what} took {took:?}");
        assert_eq!(status, 0, "{what} is broken off: {body}");
        let last = body.lines().rfind(|line| !line.is_empty()).unwrap_or("");
        assert!(
            last.contains("\"error\"") && last.contains("--max-query-seconds"),
            "{what}: {last}"
        );
    }
    let path = &answers(&pair)[0].1;
    for format in ["application/json", "text/csv"] {
        let accept = format!("accept: {format}");
        let (status, _, body) = pair.curl(&["-H", &accept], path).await;
        assert_eq!(status, 0, "{format}: {body}");
    }
    // Short statements are answered as ever.
    let path = format!(
        "/{}/t/?limit=1&include_columns=id&wait=0",
        pair.source.database
    );
    assert_eq!(pair.curl(&[], &path).await.0, 200);
}

/// Whatever happens to this program, nothing runs on for ever.
async fn the_source_ends_a_statement_by_itself(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &["--max-query-seconds=4"]).await;
    let path = answers(&pair)[0].1.clone();
    let _caller = Caller::start(&mut pair, &path, &[]);
    runs(&pair).await;
    pair.take_server().kill().await;
    assert_eq!(reads(&pair).await, 1, "it outlives the server");
    ends(&pair, Duration::from_secs(12)).await;
}

/// A source that is there and does not move, as behind a broken network.
async fn a_source_that_says_nothing_ends_an_answer(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &["--max-query-seconds=1"]).await;
    let path = answers(&pair)[0].1.clone();
    let file = pair.source.one("SELECT @@pid_file").await;
    let pid = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let stopped = async {
        runs(&pair).await;
        Stopped::stop(pid)
    };
    let (stopped, (status, _, body)) = tokio::join!(stopped, pair.curl(&["-H", NDJSON], &path));
    assert_eq!(status, 0, "{body}");
    assert!(body.contains("--max-query-seconds"), "{body}");
    drop(stopped);
    ends(&pair, DEADLINE_OF_KILL).await;
}

/// The server gives up ending a statement after 10 s, and the source has its own bound.
const DEADLINE_OF_KILL: Duration = Duration::from_secs(12);

/// A process that is held.
struct Stopped(String);

impl Stopped {
    fn stop(pid: String) -> Self {
        let status = Command::new("kill").args(["-STOP", &pid]).status().unwrap();
        assert!(status.success());
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0]).status();
    }
}

async fn whoever_goes_away_has_its_statement_ended(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &[]).await;
    for (what, path) in answers(&pair) {
        let _held = hold(&pair, what).await;
        let caller = Caller::start(&mut pair, &path, &[]);
        runs(&pair).await;
        caller.goes_away();
        ends(&pair, SOON).await;
    }
    // One of them in a form.
    let _held = hold(&pair, "digests").await;
    let path = format!("/{}/t/-/digests", pair.source.database);
    let caller = Caller::start(&mut pair, &path, &["-d", "level=full"]);
    runs(&pair).await;
    caller.goes_away();
    ends(&pair, SOON).await;
}

/// A request whose answer is read by hand.
async fn asks(pair: &mut Pair, path: &str) -> TcpStream {
    let port = pair.server().port;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{NDJSON}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn a_reader_that_stalls_is_cut_off(mut pair: Pair) {
    wide_table(&pair, 300_000).await;
    serve(&mut pair, &["--max-stall-seconds=1", "--max-answers=1"]).await;
    let path = format!("/{}/t/", pair.source.database);
    for kind in ["", "-/keys"] {
        let mut stream = asks(&mut pair, &format!("{path}{kind}")).await;
        let mut first = [0; 100];
        stream.read_exact(&mut first).await.unwrap();
        within(
            Duration::from_secs(10),
            "there is a place again",
            async || (pair.curl(&[], "/").await.0 == 200).then_some(()),
        )
        .await;
        ends(&pair, SOON).await;
        pair.server()
            .says("took nothing for --max-stall-seconds")
            .await;
        // R10. What it may still read is not whole.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let rest = String::from_utf8_lossy(&rest);
        assert!(!rest.contains("\"frame\":\"end\""), "{kind}");
        assert!(!rest.ends_with("\r\n0\r\n\r\n"), "{kind}");
    }
}

/// Pauses that are shorter than the bound do not add up.
async fn a_reader_that_pauses_gets_everything(mut pair: Pair) {
    wide_table(&pair, 100_000).await;
    serve(&mut pair, &["--max-stall-seconds=2"]).await;
    let path = format!("/{}/t/", pair.source.database);
    let mut stream = asks(&mut pair, &path).await;
    let mut whole = Vec::new();
    let mut piece = vec![0; 4 << 20];
    for pause in [1_000, 1_000, 1_000, 0] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        stream.read_exact(&mut piece).await.unwrap();
        whole.extend_from_slice(&piece);
    }
    stream.read_to_end(&mut whole).await.unwrap();
    let text = String::from_utf8_lossy(&whole);
    assert!(text.contains("{\"frame\":\"end\",\"rows\":100000,"));
}

/// R3. Each pull gets a part, and the next one goes on behind it.
async fn an_answer_that_lasts_too_long_is_cut_and_the_puller_goes_on(mut pair: Pair) {
    wide_table(&pair, 200_000).await;
    slow_table_named(&pair, "slow", MANY).await;
    serve(&mut pair, &["--max-stream-seconds=0.3"]).await;
    let slow = format!("/{}/slow/?wait=0", pair.source.database);
    let (_, _, body) = pair.curl(&["-H", NDJSON], &slow).await;
    assert!(body.contains("--max-stream-seconds"), "{body:.500}");
    pair.source.run("DROP TABLE slow").await;
    // Whoever is behind with reading may see no more than that it was cut.
    let output = pair.pull(&[]).await;
    output.fails_naming(&["`t`: the answer was cut short"]);
    let held = pair.dest.count("t").await;
    assert!(held < 200_000, "it was cut");
    let mut puller = pair.poll(0.1, &[]).await;
    pair.becomes_same(&["t"]).await;
    puller.pulls_again("t", 1).await;
    puller.terminate().await;
}

async fn a_stop_lets_answers_end(mut pair: Pair) {
    wide_table(&pair, 1_000).await;
    serve(&mut pair, &[]).await;
    let path = answers(&pair)[0].1.clone();
    eventually("the horizon has passed the rows", async || {
        let (_, _, body) = pair.curl(&[], &path).await;
        body.contains("\"count\":1000,").then_some(())
    })
    .await;
    let mut held = pair.source.session().await;
    held.run("LOCK TABLES t WRITE").await;
    let mut stream = asks(&mut pair, &path).await;
    runs(&pair).await;
    let server = pair.take_server();
    let address = ("127.0.0.1", server.port);
    let whole = async {
        eventually("nobody listens any more", async || {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        held.run("UNLOCK TABLES").await;
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).await.unwrap();
        String::from_utf8_lossy(&whole).into_owned()
    };
    let (code, text) = tokio::join!(server.terminate(), whole);
    assert_eq!(code, Some(0));
    assert!(text.contains("{\"frame\":\"end\",\"rows\":1000,"), "{text}");
}

async fn a_stop_ends_statements_at_the_source(mut pair: Pair) {
    slow_table(&pair, MANY).await;
    serve(&mut pair, &[]).await;
    for (what, path) in answers(&pair) {
        let held = hold(&pair, what).await;
        let mut stream = asks(&mut pair, &path).await;
        runs(&pair).await;
        let began = Instant::now();
        let server = pair.take_server();
        let whole = async {
            let mut whole = Vec::new();
            let _ = stream.read_to_end(&mut whole).await;
            String::from_utf8_lossy(&whole).into_owned()
        };
        let (code, text) = tokio::join!(server.terminate(), whole);
        let took = began.elapsed();
        assert_eq!(code, Some(0), "{what}");
        assert!(took < Duration::from_secs(9), "{what}: {took:?}");
        assert_eq!(reads(&pair).await, 0, "{what}");
        assert!(text.contains("the dbd-server stops"), "{what}: {text}");
        drop(held);
        serve(&mut pair, &[]).await;
    }
}

/// The source is restarted while the server has connections to it.
async fn connections_are_made_anew(mut pair: Pair) {
    slow_table(&pair, 10).await;
    serve(&mut pair, &[]).await;
    let path = format!("/{}/t/?wait=0", pair.source.database);
    assert_eq!(pair.curl(&[], &path).await.0, 200);
    for _ in 0..2 {
        pair.source.server.kill();
        let (status, head, body) = pair.curl(&[], &path).await;
        assert_eq!(status, 503, "{body}");
        assert!(head.contains("retry-after:"), "{head}");
        pair.source.server.restart().await;
        pair.source.reconnect().await;
        eventually("rows are served again", async || {
            (pair.curl(&[], &path).await.0 == 200).then_some(())
        })
        .await;
    }
}

/// Nothing about the source reaches those without credentials.
async fn ready_says_only_whether_it_is(mut pair: Pair) {
    let credentials = ["--listen-username=ann", "--listen-password=secret"];
    pair.source.server.kill();
    pair.start_server(&[&["--listen-address=127.0.0.1"][..], &credentials].concat())
        .await;
    let (status, _, body) = pair.curl(&[], "/-/ready").await;
    assert_eq!((status, body.as_str()), (503, "{\"ready\":false}"));
    assert_eq!(pair.curl(&[], "/").await.0, 401);
    let (status, _, body) = pair.curl(&["-u", "ann:secret"], "/").await;
    assert_eq!(status, 503);
    assert!(body.contains("source"), "{body}");
    pair.source.server.restart().await;
    pair.source.reconnect().await;
    pair.ready().await;
    let (status, _, body) = pair.curl(&[], "/-/ready").await;
    assert_eq!((status, body.as_str()), (200, "{\"ready\":true}"));
}

/// No view is served; one that takes the place of a table in the moment before that is read writes nothing.
async fn the_source_is_never_written_to(mut pair: Pair) {
    let function = "CREATE FUNCTION writes(n INT) RETURNS INT MODIFIES SQL DATA";
    for sql in [
        &format!("CREATE TABLE t (id INT PRIMARY KEY, v INT, {STAMP})"),
        "INSERT INTO t (id, v) VALUES (1, 1), (2, 2)",
        "CREATE TABLE written (n INT)",
        "SET GLOBAL log_bin_trust_function_creators=1",
        &format!("{function} BEGIN INSERT INTO written VALUES (n); RETURN n; END"),
        "CREATE TABLE former LIKE t",
        "INSERT INTO former SELECT * FROM t",
        "CREATE VIEW w AS SELECT id, writes(v) AS v, s FROM former",
    ] {
        pair.source.run(sql).await;
    }
    serve(&mut pair, &[]).await;
    let path = format!("/{}/w/?wait=0", pair.source.database);
    assert_eq!(pair.curl(&[], &path).await.0, 404);
    for what in [
        "?wait=0",
        "?keys=%5B%5B1%5D%5D",
        "-/digests?level=full",
        "-/keys?level=full",
    ] {
        let mut holder = pair.source.session().await;
        holder.run("LOCK TABLES t WRITE").await;
        let change = pair.source.start("RENAME TABLE t TO u, w TO t").await;
        waits(&pair, 1).await;
        let path = format!("/{}/t/{what}", pair.source.database);
        let answer = pair.curl(&["-H", NDJSON], &path);
        let change = async {
            waits(&pair, 2).await;
            holder.run("UNLOCK TABLES").await;
            change.finish().await;
        };
        let ((status, _, body), ()) = tokio::join!(answer, change);
        assert_eq!(status, 0, "{what}: {body}");
        assert!(body.contains("\"frame\":\"error\""), "{what}: {body}");
        assert_eq!(pair.source.count("written").await, 0, "{what}: {body}");
        pair.server().says("READ ONLY transaction").await;
        pair.source.run("RENAME TABLE t TO w, u TO t").await;
    }
    // It would have been written.
    pair.source.run("DO (SELECT SUM(v) FROM w)").await;
    assert_eq!(pair.source.count("written").await, 2);
}

/// Waits until so many statements wait for a table.
async fn waits(pair: &Pair, statements: u64) {
    let list = pair.source.server.processlist();
    let sql = format!("SELECT COUNT(*) FROM {list} WHERE STATE LIKE 'Waiting for table%'");
    eventually("statements wait for a table", async || {
        (pair.source.number(&sql).await == statements).then_some(())
    })
    .await;
}
