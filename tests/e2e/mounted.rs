//! A dbd-server that is mounted under a path of another application: the example `mounted`.

use std::process::Stdio;

use harness::{Pair, eventually, same_flavour};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{INDEXED, STAMP};

same_flavour!(every_url_in_an_answer_leads_back_under_the_mount);

/// The application, until it is dropped.
struct Application {
    _process: Child,
    port: String,
}

impl Application {
    async fn start(pair: &Pair, more: &[&str]) -> Self {
        let this = std::env::current_exe().unwrap();
        let folder = this.parent().and_then(|deps| deps.parent()).unwrap();
        let program = folder.join("examples/mounted");
        assert!(
            program.exists(),
            "{} is missing; run `cargo build -p dbd-server --example mounted` first",
            program.display()
        );
        let mut process = Command::new("setpriv")
            .arg("--pdeathsig=KILL")
            .arg(program)
            .args(pair.server_args(more))
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let port = loop {
            let line = log.next_line().await.unwrap();
            let line = line.expect("it listens before it ends");
            if let Some((_, address)) = line.split_once("listening on http://127.0.0.1:") {
                break address.trim_end_matches('/').to_owned();
            }
        };
        // What nobody reads would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self {
            _process: process,
            port,
        }
    }

    /// The status and the body, where a redirection leads.
    async fn get(&self, path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args([
                "-sSL",
                "--noproxy",
                "*",
                "--max-time",
                "60",
                "-w",
                "\n%{http_code}",
            ])
            .arg(format!("http://127.0.0.1:{}{path}", self.port))
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// The `url` of that name in a list.
fn url<'a>(list: &'a Value, name: &str) -> &'a str {
    let entries = list.as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == name);
    entry.unwrap_or_else(|| panic!("no {name} in {list}"))["url"]
        .as_str()
        .unwrap()
}

async fn every_url_in_an_answer_leads_back_under_the_mount(pair: Pair) {
    let database = pair.source.database.clone();
    pair.source
        .run(format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {STAMP}, {INDEXED})"
        ))
        .await;
    pair.source.run("INSERT INTO t (id) VALUES (1)").await;
    let application = Application::start(&pair, &[]).await;
    eventually("there is a horizon", async || {
        (application.get("/sync/-/ready").await.0 == 200).then_some(())
    })
    .await;

    let (_, own) = application.get("/").await;
    assert!(own.starts_with("My own page"), "{own}");
    for path in ["/sync/", "/sync"] {
        let list = application.json(path).await;
        assert_eq!(
            url(&list["databases"], &database),
            format!("/sync/{database}/")
        );
    }
    for path in [format!("/sync/{database}/"), format!("/sync/{database}")] {
        let list = application.json(&path).await;
        assert_eq!(url(&list["tables"], "t"), format!("/sync/{database}/t/"));
    }
    let rows = application.json(&format!("/sync/{database}/t/")).await;
    assert_eq!(rows["rows"][0]["id"], 1);

    let (status, problem) = application.get(&format!("/sync/{database}/nosuch/")).await;
    assert_eq!(status, 404);
    assert!(
        problem.contains(&format!("GET /sync/{database}/ lists")),
        "{problem}"
    );
    let described = application.json("/sync/-/openapi.json").await;
    assert_eq!(described["servers"][0]["url"], "/sync");
}
