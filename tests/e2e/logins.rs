//! Who is let in: users of a file, and what becomes of those who guess.

use std::time::{Duration, Instant};

use harness::{Pair, UsersFile, eventually, hash_password, refuses_to_start, same_flavour};

use crate::{INDEXED, STAMP};

same_flavour!(guessing_is_slowed_down_and_keeps_no_user_out);

async fn pair() -> Pair {
    Pair::start(harness::Flavour::MariaDb, harness::Flavour::MariaDb).await
}

fn user(name: &str, hash: &str) -> String {
    format!("[users.{name}]\npassword = '{hash}'\n")
}

async fn serve(pair: &mut Pair, more: &[&str]) {
    pair.start_server(&[&["-a", "127.0.0.1"], more].concat())
        .await;
    pair.ready().await;
}

/// The status, and how long to wait.
async fn ask(pair: &Pair, from: &str, login: &str) -> (u16, Option<u64>) {
    let (status, head, body) = pair.curl(&["--interface", from, "-u", login], "/").await;
    let wait = head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "));
    assert_eq!(
        status == 401,
        head.contains("www-authenticate: basic"),
        "{head}"
    );
    if status != 200 {
        assert!(head.contains("application/problem+json"), "{head}");
        assert!(!body.contains("sesame") && !body.contains("ann"), "{body}");
    }
    (status, wait.map(|wait| wait.trim().parse().unwrap()))
}

async fn guessing_is_slowed_down_and_keeps_no_user_out(mut pair: Pair) {
    pair.both(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
    ))
    .await;
    let hash = hash_password("sesame\n").await;
    let file = UsersFile::new(&[user("ann", &hash), user("bob", &hash)].concat());
    for args in [
        vec![file.flag()],
        vec!["-u=ann".to_owned(), "-p=sesame".to_owned()],
    ] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        serve(&mut pair, &args).await;
        pair.source.run("DELETE FROM t").await;
        pair.dest.run("DELETE FROM t").await;
        let login = ["--source-username=ann", "--source-password=sesame"];
        let mut puller = pair.poll(0.2, &login).await;
        puller.pulls_again("t", 2).await;

        // One guesser at the address of the puller, and one who tries a user that there is not.
        for name in ["ann", "eve"] {
            let from = if name == "ann" {
                "127.0.0.1"
            } else {
                "127.0.0.3"
            };
            for n in 0..5 {
                assert_eq!(
                    ask(&pair, from, &format!("{name}:wrong {n}")).await.0,
                    401,
                    "{name} {n}"
                );
            }
            let (status, wait) = ask(&pair, from, &format!("{name}:wrong")).await;
            assert_eq!((status, wait), (429, Some(1)), "{name}");
        }
        // What is right is not told to a guesser either; elsewhere it is let in at once.
        let guessed = Instant::now();
        let (status, _) = ask(&pair, "127.0.0.1", "ann:sesame").await;
        if guessed.elapsed() < Duration::from_millis(300) {
            assert_eq!(status, 429);
        }
        assert_eq!(ask(&pair, "127.0.0.2", "ann:sesame").await.0, 200);

        // The puller's connection was let in before, so it goes on.
        let begun = Instant::now();
        let mut refused = 0;
        pair.source.run("INSERT INTO t (id) VALUES (1)").await;
        while begun.elapsed() < Duration::from_secs(4) {
            refused += u32::from(ask(&pair, "127.0.0.1", "ann:wrong").await.0 == 429);
        }
        assert!(refused > 10, "{refused}");
        pair.becomes_same(&["t"]).await;
        assert!(!puller.log().contains("answered 429"), "{}", puller.log());
        puller.terminate().await;

        // Nobody is kept out for ever.
        eventually("the right password is let in", async || {
            (ask(&pair, "127.0.0.1", "ann:sesame").await.0 == 200).then_some(())
        })
        .await;
        let log = pair.server().log();
        assert!(
            log.contains("failed login as \"ann\" from 127.0.0.1"),
            "{log}"
        );
        assert!(!log.contains("wrong") && !log.contains("sesame"), "{log}");
    }
}

#[tokio::test]
async fn a_polling_user_costs_no_hash_each_time() {
    let mut pair = pair().await;
    let hash = hash_password("sesame\n").await;
    let file = UsersFile::new(&user("ann", &hash));
    serve(&mut pair, &[&file.flag()]).await;
    assert_eq!(ask(&pair, "127.0.0.1", "ann:sesame").await.0, 200);
    let first = pair.server().processor_time();
    for _ in 0..100 {
        assert_eq!(ask(&pair, "127.0.0.2", "ann:sesame").await.0, 200);
    }
    // A hash takes 20 ms at the least.
    let took = pair.server().processor_time() - first;
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn the_file_counts_as_it_is_now_and_a_broken_one_changes_nothing() {
    let mut pair = pair().await;
    let (one, two) = (hash_password("one").await, hash_password("two\r\n").await);
    assert_ne!(one, hash_password("one").await);
    let file = UsersFile::new(&user("ann", &one));
    serve(&mut pair, &[&file.flag()]).await;
    let lets_in = async |pair: &Pair, login: &str| ask(pair, "127.0.0.1", login).await.0 == 200;
    assert!(lets_in(&pair, "ann:one").await);

    // Another password for one, another user.
    file.write(&[user("ann", &two), user("bob", &one)].concat());
    pair.server()
        .says("the users file has changed; 2 users now")
        .await;
    assert!(!lets_in(&pair, "ann:one").await);
    assert!(lets_in(&pair, "ann:two").await && lets_in(&pair, "bob:one").await);

    let broken = format!("{}passwort = 'x'\n", user("ann", &one));
    file.write(&broken);
    pair.server().says("mend line 3 of the users file").await;
    assert!(lets_in(&pair, "ann:two").await && !lets_in(&pair, "ann:one").await);
    std::fs::remove_file(&file.path).unwrap();
    pair.server().says("cannot read the users file").await;
    assert!(lets_in(&pair, "bob:one").await);
    // It was said once.
    let log = pair.server().log();
    assert_eq!(
        log.matches("what it said before still holds").count(),
        2,
        "{log}"
    );
    assert!(!log.contains("$argon2id"), "{log}");

    // Who is no user any more is refused.
    file.write(&user("ann", &one));
    pair.server()
        .says("the users file has changed; 1 users now")
        .await;
    assert!(!lets_in(&pair, "bob:one").await && lets_in(&pair, "ann:one").await);
}

#[tokio::test]
async fn a_users_file_that_cannot_be_meant_is_an_error_at_the_start() {
    let hash = hash_password("one").await;
    let file = UsersFile::new("");
    let flag = file.flag();
    for (text, more, part) in [
        (
            String::new(),
            &[][..],
            "has no user; add a table [users.NAME] with a password",
        ),
        ("[users.ann]\n".to_owned(), &[], "mend line 1"),
        (user("ann", "plain"), &[], "dbd-server hash-password"),
        (
            format!("{}color = 1\n", user("ann", &hash)),
            &[],
            "unknown field `color`",
        ),
        (
            user("ann", &hash),
            &["-u=bob", "-p=x"],
            "move that user into the file",
        ),
        (
            user("ann", &hash),
            &["-p=x"],
            "move that user into the file",
        ),
    ] {
        file.write(&text);
        let mut args = vec!["--listen-port=0".to_owned(), flag.clone()];
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        let said = refuses_to_start(&args).await;
        assert!(said.contains(part), "{text}: {said}");
        assert!(!said.contains("argon2id$v"), "{said}");
    }
    let missing = [
        "--listen-port=0".to_owned(),
        "--users=/nowhere/users.toml".to_owned(),
    ];
    let said = refuses_to_start(&missing).await;
    assert!(
        said.contains("cannot read the users file /nowhere/users.toml"),
        "{said}"
    );
}
