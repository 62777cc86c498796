//! HTTPS between both programs: who is let in, who is not, and what is said then.

use std::fs;
use std::time::{Duration, Instant};

use harness::{DbdServer, Flavour, Output, Pair, Puller, eventually, same_flavour};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, Signed, connected, flag, texts};
use crate::{INDEXED, STAMP};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that a server takes beside those of its answers.
const IDLE: usize = 512;

same_flavour!(a_pull_over_tls_brings_everything);

/// A pair with three rows in `t`, and a server with that certificate and those flags.
async fn served(mut pair: Pair, signed: &Signed, more: &[String]) -> Pair {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source
        .run("INSERT INTO t (id) VALUES (1), (2), (3)")
        .await;
    let flags = [signed.listens(), more.to_vec()].concat();
    pair.start_server(&texts(&flags)).await;
    pair
}

async fn some_pair() -> Pair {
    Pair::start(Flavour::MariaDb, Flavour::MariaDb).await
}

async fn pull(pair: &Pair, more: &[String]) -> Output {
    Puller::start(&pair.puller_args(&texts(more))).end().await
}

fn trusting(authority: &Authority) -> Vec<String> {
    vec![
        "--source-ssl".to_owned(),
        flag("--source-ca", &authority.ca()),
    ]
}

/// A server without a source: enough for a handshake.
async fn alone(flags: &[String]) -> DbdServer {
    let usual = ["--listen-port=0", "--source-port=1"].map(str::to_owned);
    DbdServer::start(&[&usual[..], flags].concat()).await
}

async fn a_pull_over_tls_brings_everything(pair: Pair) {
    let authority = Authority::new();
    let signed = authority.signs("server", &["127.0.0.1"]);
    let credentials = ["-a=127.0.0.1", "-u=reader", "-p=secret"].map(str::to_owned);
    let mut pair = served(pair, &signed, &credentials).await;
    pair.server().says("listening on https://127.0.0.1:").await;
    let flags = [
        trusting(&authority),
        vec![
            "--source-username=reader".to_owned(),
            "--source-password=secret".to_owned(),
            "--sync-deletes".to_owned(),
        ],
    ]
    .concat();
    pull(&pair, &flags).await.ok();
    pair.assert_same().await;
    pair.source.run("DELETE FROM t WHERE id=2").await;
    pull(&pair, &flags).await.ok();
    pair.assert_same().await;
    // By its name as well, where the certificate has it.
    let other = authority.signs("localhost", &["localhost"]);
    pair.start_server(&texts(&other.listens())).await;
    let by_name = [
        trusting(&authority),
        vec!["--source-host=localhost".to_owned()],
    ]
    .concat();
    pull(&pair, &by_name).await.ok();
}

#[tokio::test]
async fn callers_speak_tls_1_2_or_1_3_and_nothing_older() {
    let authority = Authority::new();
    let server = alone(&authority.signs("server", &["127.0.0.1"]).listens()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut stream = connected(server.port, &authority, &[version])
            .await
            .unwrap();
        let spoken = stream.get_ref().1;
        assert_eq!(spoken.protocol_version(), Some(version.version));
        // Of h2 and http/1.1 it takes what it speaks.
        assert_eq!(spoken.alpn_protocol(), Some(&b"http/1.1"[..]));
        let request = b"GET /-/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    stream.write_all(&hello_of_tls_1_1()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // A fatal alert: protocol_version.
    assert_eq!((answer.first(), &answer[5..]), (Some(&21), &[2, 70][..]));
}

/// The first message of a client that speaks nothing newer, with the cipher suites of its time.
fn hello_of_tls_1_1() -> Vec<u8> {
    let suites: [u16; 4] = [0xc013, 0xc014, 0x002f, 0x0035];
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.push(0);
    body.extend((2 * suites.len() as u16).to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // supported_groups, ec_point_formats and signature_algorithms.
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 4, 1,
    ];
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut hello = vec![22, 3, 1];
    hello.extend((body.len() as u16 + 4).to_be_bytes());
    hello.extend([1, 0]);
    hello.extend((body.len() as u16).to_be_bytes());
    hello.extend(body);
    hello
}

#[tokio::test]
async fn a_certificate_that_cannot_be_trusted_stops_the_pull() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let signed = authority.signs("server", &["127.0.0.1"]);
    let mut pair = served(some_pair().await, &signed, &[]).await;

    // The system knows neither of them.
    let untrusted = pull(&pair, &["--source-ssl".to_owned()]).await;
    untrusted.fails_naming(&["signed by nobody who is trusted here", "--source-ca"]);
    let untrusted = pull(&pair, &trusting(&stranger)).await;
    untrusted.fails_naming(&["signed by nobody who is trusted here", "--source-ca"]);

    let other_name = authority.signs("other", &["db.example"]);
    pair.start_server(&texts(&other_name.listens())).await;
    let refused = pull(&pair, &trusting(&authority)).await;
    refused.fails_naming(&["is not for this host name", "db.example"]);

    let expired = authority.signs_with("expired", &["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    pair.start_server(&texts(&expired.listens())).await;
    let refused = pull(&pair, &trusting(&authority)).await;
    refused.fails_naming(&["has expired", "renew it"]);

    let early = authority.signs_with("early", &["127.0.0.1"], |params| {
        params.not_before = rcgen::date_time_ymd(2200, 1, 1);
        params.not_after = rcgen::date_time_ymd(2201, 1, 1);
    });
    pair.start_server(&texts(&early.listens())).await;
    let refused = pull(&pair, &trusting(&authority)).await;
    refused.fails_naming(&["is not valid yet", "clock"]);
    assert_eq!(pair.dest.count("t").await, 0);
}

#[tokio::test]
async fn callers_show_a_certificate_where_one_is_wanted() {
    let (authority, callers, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let signed = authority.signs("server", &["127.0.0.1"]);
    let wanted = [flag("--ssl-client-ca", &callers.ca())];
    let pair = served(some_pair().await, &signed, &wanted).await;
    let shows = |signed: &Signed| {
        let own = vec![
            flag("--source-certificate", &signed.certificate),
            flag("--source-key", &signed.key),
        ];
        [trusting(&authority), own].concat()
    };

    let missing = pull(&pair, &trusting(&authority)).await;
    missing.fails_naming(&[
        "wants a certificate",
        "--source-certificate",
        "--source-key",
    ]);
    let strange = pull(&pair, &shows(&stranger.signs("puller", &[]))).await;
    strange.fails_naming(&["does not accept the certificate of --source-certificate"]);
    let expired = callers.signs_with("expired", &[], |params| {
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    });
    pull(&pair, &shows(&expired))
        .await
        .fails_naming(&["does not accept the certificate of --source-certificate"]);
    assert_eq!(pair.dest.count("t").await, 0);

    pull(&pair, &shows(&callers.signs("puller", &[])))
        .await
        .ok();
    pair.assert_same().await;
}

#[tokio::test]
async fn who_speaks_plain_http_to_tls_is_told_and_the_other_way_round() {
    let authority = Authority::new();
    let signed = authority.signs("server", &["127.0.0.1"]);
    let mut pair = served(some_pair().await, &signed, &["-d".to_owned()]).await;
    let plain = pull(&pair, &[]).await;
    plain.fails_naming(&["does not speak HTTP", "--source-ssl"]);
    pair.server().says("a TLS handshake failed").await;
    pair.start_server(&[]).await;
    let tls = pull(&pair, &trusting(&authority)).await;
    tls.fails_naming(&["does not speak TLS", "leave --source-ssl out"]);
    assert_eq!(pair.dest.count("t").await, 0);
}

/// Files that would not be used are named before anything is asked.
#[tokio::test]
async fn files_without_tls_are_refused() {
    let pair = some_pair().await;
    let authority = Authority::new();
    let client = authority.signs("puller", &[]);
    for (flags, said) in [
        (vec![flag("--source-ca", &authority.ca())], "--source-ssl"),
        (
            vec!["--source-ssl".to_owned(), flag("--source-key", &client.key)],
            "give --source-certificate too",
        ),
        (
            vec!["--source-ssl".to_owned(), flag("--source-ca", &client.key)],
            "holds no certificate",
        ),
        (
            vec![
                "--source-ssl".to_owned(),
                flag("--source-certificate", &authority.ca()),
                flag("--source-key", &client.key),
            ],
            "do not go together",
        ),
        (vec![flag("--dest-ca", &authority.ca())], "--dest-ssl"),
    ] {
        pull(&pair, &flags).await.fails_naming(&[said]);
    }
}

/// The last of the callers waits no longer than the first ones may take for nothing.
#[tokio::test]
async fn handshakes_that_never_end_keep_others_out_for_ten_seconds_at_most() {
    let authority = Authority::new();
    let mut flags = authority.signs("server", &["127.0.0.1"]).listens();
    flags.push("--max-answers=1".to_owned());
    let mut server = alone(&flags).await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for at in 0..=IDLE {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port))
            .await
            .unwrap();
        if at % 2 == 0 {
            // The rest of the message never comes.
            stream.write_all(&hello_of_tls_1_1()[..20]).await.unwrap();
        }
        silent.push(stream);
    }
    let next = connected(server.port, &authority, rustls::ALL_VERSIONS);
    tokio::time::timeout(HANDSHAKE * 2, next)
        .await
        .unwrap()
        .unwrap();
    assert!(begun.elapsed() >= HANDSHAKE - Duration::from_secs(1));
    assert!(begun.elapsed() < HANDSHAKE + Duration::from_secs(5));
    server.says("as many connections are open as may be").await;

    // Nor do they keep the program from ending.
    let _silent = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let stopped = Instant::now();
    assert_eq!(server.terminate().await, Some(0));
    assert!(stopped.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_password_does_not_leave_this_machine_in_plain_without_a_warning() {
    let pair = some_pair().await;
    let known = "UNENCRYPTED";
    let credentials = ["--source-username=reader", "--source-password=secret"];
    let with = |more: &[&str]| {
        let flags: Vec<&str> = credentials.iter().chain(more).copied().collect();
        pair.puller_args(&flags)
    };
    let elsewhere = "--source-host=no-such-host.invalid";
    for (flags, warned) in [
        (with(&[elsewhere]), true),
        (with(&[elsewhere, "--source-ssl"]), false),
        (with(&[]), false),
        (pair.puller_args(&[elsewhere]), false),
    ] {
        let output = Puller::start(&flags).end().await;
        let warnings = output.stderr.matches(known).count();
        assert_eq!(
            warnings,
            usize::from(warned),
            "{flags:?}\n{}",
            output.stderr
        );
        assert!(!output.stderr.contains("secret"));
    }

    let authority = Authority::new();
    let tls = authority.signs("server", &["127.0.0.1"]).listens();
    let everywhere = ["-u=reader", "-p=secret"].map(str::to_owned);
    let here = [&everywhere[..], &["-a=127.0.0.1".to_owned()]].concat();
    let encrypted = [&everywhere[..], &tls].concat();
    for (flags, warned) in [(&everywhere[..], true), (&here, false), (&encrypted, false)] {
        let server = alone(flags).await;
        assert_eq!(
            server.log().matches(known).count(),
            usize::from(warned),
            "{flags:?}"
        );
    }
}

/// Keys come as PKCS#8, or as OpenSSL has written them before.
#[tokio::test]
async fn keys_of_each_form_are_read() {
    let authority = Authority::new();
    for (form, make, marker) in [
        ("pkcs1", "genrsa -traditional", "BEGIN RSA PRIVATE KEY"),
        (
            "sec1",
            "ecparam -genkey -noout -name prime256v1",
            "BEGIN EC PRIVATE KEY",
        ),
        ("pkcs8", "genpkey -algorithm ed25519", "BEGIN PRIVATE KEY"),
    ] {
        let key = authority.path(&format!("{form}.key"));
        let made = openssl(&format!("{make} -out {}", key.display()));
        assert!(
            made && fs::read_to_string(&key).unwrap().contains(marker),
            "{form}"
        );
        let certificate = authority.path(&format!("{form}.pem"));
        let certified = openssl(&format!(
            "req -x509 -new -key {} -subj /CN=x -addext subjectAltName=IP:127.0.0.1 -out {}",
            key.display(),
            certificate.display()
        ));
        assert!(certified, "{form}");
        let server = alone(&Signed { certificate, key }.listens()).await;
        let url = server.url("/-/live");
        let curl = eventually("it answers", async || {
            let curl = std::process::Command::new("curl")
                .args(["-sSk", "--noproxy", "*", "--max-time", "20", &url])
                .output();
            curl.ok()
        })
        .await;
        assert_eq!(
            String::from_utf8_lossy(&curl.stdout),
            r#"{"live":true}"#,
            "{form}"
        );
    }
}

fn openssl(arguments: &str) -> bool {
    let output = std::process::Command::new("openssl")
        .args(arguments.split_whitespace())
        .output();
    let output = output.expect("openssl is installed; run `apt-get install openssl`");
    output.status.success()
}
