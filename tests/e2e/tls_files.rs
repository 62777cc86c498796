//! The server's certificate changes while it runs.

use std::fs;
use std::time::Duration;

use harness::{DbdServer, Flavour, Pair, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{Authority, Signed, connected, flag, shown, texts};
use crate::{INDEXED, STAMP, numbers};

/// Rows of an answer that does not fit into what lies between a server and a reader that takes nothing.
const ROWS: u32 = 100_000;

/// So long a file that cannot be used has been looked at more than twice.
const LOOKS: Duration = Duration::from_secs(7);

/// Puts one certificate in another one's place, its key first.
fn replace(used: &Signed, by: &Signed) {
    fs::copy(&by.key, &used.key).unwrap();
    fs::copy(&by.certificate, &used.certificate).unwrap();
}

async fn becomes(server: &DbdServer, authority: &Authority, expected: &Signed) {
    eventually("new connections see the other certificate", async || {
        (shown(server.port, authority).await == expected.der()).then_some(())
    })
    .await;
}

async fn alone(flags: &[String]) -> DbdServer {
    let usual = ["--listen-port=0", "--source-port=1"].map(str::to_owned);
    DbdServer::start(&[&usual[..], flags].concat()).await
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_running_answers_go_on() {
    let authority = Authority::new();
    let used = authority.signs("used", &["127.0.0.1"]);
    let first = used.der();
    let mut pair = Pair::start(Flavour::MariaDb, Flavour::MariaDb).await;
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v CHAR(200), {STAMP}, {INDEXED})"
        ))
        .await;
    let rows = numbers(ROWS, "n, REPEAT('x', 200)");
    pair.source
        .run(format!("INSERT INTO t (id, v) {rows}"))
        .await;
    pair.start_server(&texts(&used.listens())).await;
    let ready = authority.ca().display().to_string();
    eventually("the server is ready", async || {
        (pair.curl(&["--cacert", &ready], "/-/ready").await.0 == 200).then_some(())
    })
    .await;

    let port = pair.server().port;
    let mut reader = connected(port, &authority, rustls::ALL_VERSIONS)
        .await
        .unwrap();
    assert_eq!(reader.get_ref().1.peer_certificates().unwrap()[0], first);
    let path = format!("/{}/t/?wait=0", pair.source.database);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n"
    );
    reader.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1000];
    reader.read_exact(&mut answer).await.unwrap();

    let other = authority.signs("other", &["127.0.0.1"]);
    replace(&used, &other);
    becomes(pair.server(), &authority, &other).await;
    pair.server()
        .says("further connections get the certificate")
        .await;

    reader.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let end = format!(r#"{{"frame":"end","rows":{ROWS},"more":false}}"#);
    assert!(answer.contains(&end), "{}", &answer[answer.len() - 300..]);
}

#[tokio::test]
async fn files_that_do_not_fit_together_change_nothing_and_are_named_once() {
    let authority = Authority::new();
    let used = authority.signs("used", &["127.0.0.1"]);
    let first = used.der();
    let server = &mut alone(&used.listens()).await;
    let other = authority.signs("other", &["127.0.0.1"]);
    let whole = fs::read(&other.certificate).unwrap();
    let warnings = |server: &DbdServer| {
        server
            .log()
            .matches("the certificate from before stays")
            .count()
    };

    // Half of a file, a certificate without its key, no file at all.
    fs::write(&used.certificate, &whole[..whole.len() / 2]).unwrap();
    server.says("holds no certificate").await;
    assert_eq!(shown(server.port, &authority).await, first);
    fs::write(&used.certificate, &whole).unwrap();
    server.says("do not go together").await;
    assert_eq!(shown(server.port, &authority).await, first);
    fs::remove_file(&used.key).unwrap();
    server.says("cannot read").await;
    tokio::time::sleep(LOOKS).await;
    assert_eq!(shown(server.port, &authority).await, first);
    // One for each state, however long it lasts.
    assert_eq!(warnings(server), 3, "{}", server.log());

    fs::copy(&other.key, &used.key).unwrap();
    becomes(server, &authority, &other).await;
    assert_eq!(warnings(server), 3);
}

#[tokio::test]
async fn callers_that_a_new_ca_has_not_signed_are_refused_from_then_on() {
    let (authority, callers) = (Authority::new(), Authority::new());
    let ca = authority.path("callers.pem");
    fs::copy(authority.ca(), &ca).unwrap();
    let mut flags = authority.signs("server", &["127.0.0.1"]).listens();
    flags.push(flag("--ssl-client-ca", &ca));
    let server = alone(&flags).await;
    let caller = callers.signs("caller", &[]);
    let url = server.url("/-/live");
    let answers = || {
        std::process::Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--max-time", "20", "--cacert"])
            .arg(authority.ca())
            .arg("--cert")
            .arg(&caller.certificate)
            .arg("--key")
            .arg(&caller.key)
            .arg(&url)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    assert!(!answers());
    fs::copy(callers.ca(), &ca).unwrap();
    eventually("the caller is let in", async || answers().then_some(())).await;
    fs::copy(authority.ca(), &ca).unwrap();
    eventually("the caller is refused", async || (!answers()).then_some(())).await;
}
