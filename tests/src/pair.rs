//! A source, a destination, and the programs between them.

use tokio::process::Command;

use crate::lease::Lease;
use crate::output::Output;
use crate::programs::{DbdServer, Puller};
use crate::server::{Flavour, Options};
use crate::side::Side;
use crate::wait::eventually;

/// Two databases on two servers that no other test uses meanwhile.
#[derive(Debug)]
pub struct Pair {
    // The programs end before the databases go back.
    server: Option<DbdServer>,
    /// The database that is read from.
    pub source: Side,
    /// The database that is written to.
    pub dest: Side,
}

impl Pair {
    /// Two empty databases of names of their own.
    pub async fn start(source: Flavour, dest: Flavour) -> Self {
        Self::of(Lease::take(source).await, Lease::take(dest).await).await
    }

    /// Two empty databases on servers that differ from the usual ones.
    pub async fn with(
        (source, source_options): (Flavour, &Options),
        (dest, dest_options): (Flavour, &Options),
    ) -> Self {
        let source = Lease::own(source, source_options).await;
        Self::of(source, Lease::own(dest, dest_options).await).await
    }

    /// Two empty databases of the same given name.
    pub async fn named(source: Flavour, dest: Flavour, database: &str) -> Self {
        Self {
            server: None,
            source: Side::named(Lease::take(source).await, database).await,
            dest: Side::named(Lease::take(dest).await, database).await,
        }
    }

    async fn of(source: Lease, dest: Lease) -> Self {
        Self {
            server: None,
            source: Side::new(source, "source").await,
            dest: Side::new(dest, "dest").await,
        }
    }

    /// Runs statements on both sides; a statement ends with `;` at the end of a line.
    pub async fn both(&self, sql: &str) {
        self.source.script(sql).await;
        self.dest.script(sql).await;
    }

    /// The arguments `dbd-server` runs with.
    #[must_use]
    pub fn server_args(&self, more: &[&str]) -> Vec<String> {
        let usual = vec![
            "--listen-port=0".to_owned(),
            format!("--source-port={}", self.source.server.port()),
        ];
        unless_given(usual, more)
    }

    /// Starts `dbd-server`, in place of the one before, and waits until it listens.
    pub async fn start_server(&mut self, more: &[&str]) {
        self.server = None;
        self.server = Some(DbdServer::start(&self.server_args(more)).await);
    }

    /// Starts `dbd-server` unless one runs, and waits until it knows its horizon.
    pub async fn serve(&mut self) -> &mut DbdServer {
        if self.server.is_none() {
            self.start_server(&[]).await;
            self.ready().await;
        }
        self.server.as_mut().expect("it was just started")
    }

    /// Waits until the running server knows its horizon.
    pub async fn ready(&self) {
        eventually("the server is ready", async || {
            (self.curl(&["-f"], "/-/ready").await.0 == 200).then_some(())
        })
        .await;
    }

    /// The running server.
    ///
    /// # Panics
    /// When none was started.
    pub fn server(&mut self) -> &mut DbdServer {
        self.server.as_mut().expect("a server was started")
    }

    /// Takes the running server out, to end it.
    ///
    /// # Panics
    /// When none was started.
    pub fn take_server(&mut self) -> DbdServer {
        self.server.take().expect("a server was started")
    }

    /// Asks the running server by curl: the status (0 when the answer broke off or none came),
    /// the headers in lower case, and the body.
    ///
    /// # Panics
    /// When curl cannot be run.
    pub async fn curl(&self, args: &[&str], path: &str) -> (u16, String, String) {
        let server = self.server.as_ref().expect("a server was started");
        let output = Command::new("curl")
            .args([
                "-sS",
                "-i",
                "--max-time",
                "60",
                "--noproxy",
                "*",
                "--path-as-is",
            ])
            .args(args)
            .arg(server.url(path))
            .kill_on_drop(true)
            .output()
            .await
            .expect("curl is installed; run `apt-get install curl`");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok())
            .filter(|_| output.status.success() || args.contains(&"-f"))
            .unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    /// The arguments `dbd-puller` runs with.
    #[must_use]
    pub fn puller_args(&self, more: &[&str]) -> Vec<String> {
        let port = self.server.as_ref().map_or(0, |server| server.port);
        let usual = vec![
            format!("--source-port={port}"),
            format!("--source-database={}", self.source.database),
            format!("--dest-port={}", self.dest.server.port()),
            format!("--dest-database={}", self.dest.database),
        ];
        unless_given(usual, more)
    }

    /// One pull, to its end, with a server that is started when there is none.
    pub async fn pull(&mut self, more: &[&str]) -> Output {
        self.serve().await;
        Puller::start(&self.puller_args(more)).end().await
    }

    /// A puller that polls every `seconds`.
    pub async fn poll(&mut self, seconds: f64, more: &[&str]) -> Puller {
        self.serve().await;
        let mut args = self.puller_args(more);
        args.push(format!("--poll-interval={seconds}"));
        Puller::start(&args)
    }

    /// Waits until the destination holds what the source holds in that table.
    ///
    /// # Panics
    /// When it does not in time; the message shows the differences.
    pub async fn becomes_same(&self, tables: &[&str]) {
        let start = std::time::Instant::now();
        while !self.differences(tables, &[]).await.is_empty() {
            if start.elapsed() > crate::DEADLINE {
                self.assert_same_in(tables).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// The usual arguments, but for those that a test gives otherwise, and the test's own.
fn unless_given(mut usual: Vec<String>, more: &[&str]) -> Vec<String> {
    let flag = |arg: &str| arg.split('=').next().unwrap_or_default().to_owned();
    usual.retain(|arg| !more.iter().any(|given| flag(given) == flag(arg)));
    usual.extend(more.iter().map(|&arg| arg.to_owned()));
    usual
}
