//! TLS between the programs and both databases.

use std::path::Path;

use harness::{Flavour, Options, Output, Pair, Puller, each_flavour, eventually};

use crate::certificates::{Authority, Signed, flag, texts};
use crate::{INDEXED, STAMP};

each_flavour!(
    sessions_are_encrypted_where_that_is_asked_for,
    a_database_that_cannot_be_trusted_is_refused,
    a_database_without_tls_is_never_spoken_to_in_plain,
    a_database_that_wants_a_certificate_is_shown_one,
);

/// The flags of a database that shows this certificate, and knows the CA of its clients.
fn database(signed: &Signed, authority: &Authority) -> Options {
    Options {
        flags: vec![
            flag("--ssl-ca", &authority.ca()),
            flag("--ssl-cert", &signed.certificate),
            flag("--ssl-key", &signed.key),
        ],
        ..Options::default()
    }
}

/// A pair whose databases are like that, with a row in `t`, and an account on both sides that needs `what`.
async fn pair(flavour: Flavour, options: &Options, what: &str) -> Pair {
    let pair = Pair::with((flavour, options), (flavour, options)).await;
    account_and_row(&pair, what).await;
    pair
}

async fn account_and_row(pair: &Pair, what: &str) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    pair.both(&format!(
        "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret' {what};
         GRANT ALL ON *.* TO app@'127.0.0.1'"
    ))
    .await;
}

/// The flags of the account and of TLS, for one side.
fn account(side: &str, tls: &[String]) -> Vec<String> {
    let account = match side {
        "source" => ["--source-username=app", "--source-password=secret"],
        _ => ["--dest-username=app", "--dest-password=secret"],
    };
    let flags = account.map(str::to_owned).into_iter();
    flags.chain(tls.iter().cloned()).collect()
}

fn mode(side: &str, mode: &str) -> String {
    match side {
        "source" => format!("--source-db-ssl={mode}"),
        _ => format!("--dest-ssl={mode}"),
    }
}

fn verified(side: &str, authority: &Authority) -> Vec<String> {
    let ca = match side {
        "source" => flag("--source-db-ca", &authority.ca()),
        _ => flag("--dest-ca", &authority.ca()),
    };
    vec![mode(side, "verify"), ca]
}

async fn serve(pair: &mut Pair, tls: &[String]) {
    let flags = account("source", tls);
    pair.start_server(&texts(&flags)).await;
}

async fn pull(pair: &Pair, tls: &[String]) -> Output {
    let flags = account("dest", tls);
    Puller::start(&pair.puller_args(&texts(&flags))).end().await
}

/// The account of both may not connect in any other way, so that each of their sessions is encrypted.
async fn sessions_are_encrypted_where_that_is_asked_for(flavour: Flavour) {
    let authority = Authority::new();
    let signed = authority.signs("database", &["127.0.0.1"]);
    let mut pair = pair(flavour, &database(&signed, &authority), "REQUIRE SSL").await;
    for ways in [["required"; 2], ["verify"; 2]] {
        let [source, dest] = match ways[0] {
            "verify" => ["source", "dest"].map(|side| verified(side, &authority)),
            way => ["source", "dest"].map(|side| vec![mode(side, way)]),
        };
        pair.source
            .run("INSERT INTO t (id) SELECT MAX(id)+1 FROM t")
            .await;
        serve(&mut pair, &source).await;
        pair.ready().await;
        // Several connections are made, and statements ended on others.
        let more = ["--sync-deletes".to_owned(), "--parallel=4".to_owned()];
        pull(&pair, &[&dest[..], &more].concat()).await.ok();
        pair.assert_same().await;
    }

    pull(&pair, &[]).await.fails_naming(&["Access denied"]);
    serve(&mut pair, &[]).await;
    pair.server().says("Access denied").await;
}

async fn a_database_that_cannot_be_trusted_is_refused(flavour: Flavour) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let signed = authority.signs("database", &["127.0.0.1"]);
    let mut pair = pair(flavour, &database(&signed, &authority), "").await;
    serve(&mut pair, &[]).await;
    pair.ready().await;
    let untrusted = pull(&pair, &verified("dest", &stranger)).await;
    untrusted.fails_naming(&["signed by nobody who is trusted here", "--dest-ca"]);
    let system = pull(&pair, &[mode("dest", "verify")]).await;
    system.fails_naming(&["--dest-ca"]);
    let mut by_name = verified("dest", &authority);
    by_name.push("--dest-host=localhost".to_owned());
    let other_name = pull(&pair, &by_name).await;
    other_name.fails_naming(&["is not for this host name", "localhost"]);
    assert_eq!(pair.dest.count("t").await, 0);

    serve(&mut pair, &verified("source", &stranger)).await;
    pair.server().says("--source-db-ca").await;
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    let mut by_name = verified("source", &authority);
    by_name.push("--source-host=localhost".to_owned());
    serve(&mut pair, &by_name).await;
    pair.server().says("is not for this host name").await;
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
}

async fn a_database_without_tls_is_never_spoken_to_in_plain(flavour: Flavour) {
    let without = match flavour {
        Flavour::MySql => "--tls-version=",
        Flavour::MariaDb => "--skip-ssl",
    };
    let options = Options {
        flags: vec![without.to_owned()],
        ..Options::default()
    };
    let mut pair = pair(flavour, &options, "").await;
    serve(&mut pair, &[mode("source", "required")]).await;
    pair.server().says("does not speak TLS").await;
    assert_eq!(pair.curl(&[], "/-/ready").await.0, 503);
    // Passwords go by the other way as before.
    serve(&mut pair, &[]).await;
    pair.ready().await;
    let refused = pull(&pair, &[mode("dest", "required")]).await;
    refused.fails_naming(&["does not speak TLS", "leave --dest-ssl out"]);
    assert_eq!(pair.dest.count("t").await, 0);
    pull(&pair, &[]).await.ok();
    pair.assert_same().await;
}

async fn a_database_that_wants_a_certificate_is_shown_one(flavour: Flavour) {
    let authority = Authority::new();
    let signed = authority.signs("database", &["127.0.0.1"]);
    let mut pair = pair(flavour, &database(&signed, &authority), "REQUIRE X509").await;
    let client = authority.signs("client", &[]);
    let shown = |side: &str| {
        let [certificate, key] = match side {
            "source" => ["--source-db-certificate", "--source-db-key"],
            _ => ["--dest-certificate", "--dest-key"],
        };
        let own = vec![
            flag(certificate, &client.certificate),
            flag(key, &client.key),
        ];
        [verified(side, &authority), own].concat()
    };
    serve(&mut pair, &shown("source")).await;
    eventually("the server is ready", async || {
        (pair.curl(&[], "/-/ready").await.0 == 200).then_some(())
    })
    .await;
    pull(&pair, &shown("dest")).await.ok();
    pair.assert_same().await;
    let without = pull(&pair, &verified("dest", &authority)).await;
    without.fails_naming(&["Access denied"]);
}

#[tokio::test]
async fn what_mysql_makes_for_itself_encrypts_and_names_nobody() {
    let mut pair = Pair::start(Flavour::MySql, Flavour::MySql).await;
    account_and_row(&pair, "REQUIRE SSL").await;
    serve(&mut pair, &[mode("source", "required")]).await;
    pair.ready().await;
    pull(&pair, &[mode("dest", "required")]).await.ok();
    pair.assert_same().await;
    let made = pair.dest.one("SELECT @@datadir").await;
    let ca = flag("--dest-ca", &Path::new(&made).join("ca.pem"));
    let refused = pull(&pair, &[mode("dest", "verify"), ca]).await;
    refused.fails_naming(&["is not for this host name"]);
    pair.both("DROP USER app@'127.0.0.1'").await;
}
