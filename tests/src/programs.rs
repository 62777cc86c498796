//! The two programs, as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait::{eventually, within};

/// How long one run of the puller may take before a test gives up on it.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A running `dbd-server`; it is killed when this is dropped.
#[derive(Debug)]
pub struct DbdServer {
    process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// A running `dbd-puller`; it is killed when this is dropped.
#[derive(Debug)]
pub struct Puller {
    process: Process,
}

/// How a `dbd-puller` ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote.
    pub stderr: String,
    /// Its line for each table and pull.
    pub pulls: Vec<Pulled>,
}

/// What the puller says of one table and pull.
#[derive(Clone, Debug, Default)]
pub struct Pulled {
    /// The table.
    pub table: String,
    /// How many rows came.
    pub rows: u64,
    /// The horizon.
    pub horizon: String,
    /// `proven` or `assumed`.
    pub basis: String,
}

#[derive(Debug)]
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// The path of a program, beside the test's own.
///
/// # Panics
/// When it is not built.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this program has a path");
    let path = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("tests run in target/<profile>/deps")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing; run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

impl Process {
    fn start(name: &str, args: &[String]) -> Self {
        // The kernel ends it together with the thread that started it, so that nothing of a
        // killed test lives on.
        let mut command = Command::new("setpriv");
        command
            .arg("--pdeathsig=KILL")
            .arg(program(name))
            .args(args)
            .env_remove("RUST_LOG")
            .env("NO_PROXY", "127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("DBD_") {
                command.env_remove(key);
            }
        }
        let mut child = command.spawn().expect("setpriv can be started");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = vec![collect(stdout, &lines), collect(stderr, &lines)];
        Self {
            child,
            lines,
            readers,
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .expect("nothing panics while it holds the lock")
            .clone()
    }

    async fn line(&mut self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        eventually(&format!("the log says {what:?}"), async || {
            let ended = self.child.try_wait().ok().flatten();
            let found = self.lines().into_iter().find(|line| matches(line));
            assert!(
                found.is_some() || ended.is_none(),
                "it ended with {ended:?} before it said {what:?}:\n{}",
                self.lines().join("\n")
            );
            found
        })
        .await
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Waits for its end, and for the last line it wrote.
    async fn end(&mut self, limit: Duration) -> ExitStatus {
        let status = within(limit, "the program ends", async || {
            self.child.try_wait().expect("it can be waited for")
        });
        let status = match tokio::time::timeout(limit, status).await {
            Ok(status) => status,
            Err(_) => {
                // Nothing may be locked while this panics: the drop shows the lines once more.
                let said = self.lines().join("\n");
                panic!("it does not end:\n{said}")
            }
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?}\n{}", self.child.id(), self.lines().join("\n"));
        }
    }
}

fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            if let Ok(mut lines) = lines.lock() {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
    })
}

impl DbdServer {
    /// Starts it and waits until it listens.
    pub async fn start(args: &[String]) -> Self {
        let mut process = Process::start("dbd-server", args);
        let said = "listening on http://127.0.0.1:";
        let line = process.line(said, |line| line.contains(said)).await;
        let port = line
            .split(said)
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .and_then(|port| port.trim().parse().ok())
            .unwrap_or_else(|| panic!("no port in {line:?}"));
        Self { process, port }
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.lines().join("\n")
    }

    /// Waits until a line of the log contains that text.
    pub async fn says(&mut self, text: &str) -> String {
        self.process.line(text, |line| line.contains(text)).await
    }

    /// Ends it as kill -9 does.
    pub async fn kill(mut self) {
        self.process.signal("-KILL");
        self.process.end(crate::DEADLINE).await;
    }

    /// Asks it to stop and waits until it has; its exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        self.process.signal("-TERM");
        self.process.end(crate::DEADLINE).await.code()
    }

    /// Resident memory now, in kilobytes.
    #[must_use]
    pub fn resident_kilobytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id()))
            .unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        line.and_then(|line| line.split_whitespace().nth(1))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    }
}

impl Puller {
    /// Starts it.
    #[must_use]
    pub fn start(args: &[String]) -> Self {
        Self {
            process: Process::start("dbd-puller", args),
        }
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Output {
        let status = self.process.end(RUN_LIMIT).await;
        Output::new(status, &self.process.lines())
    }

    /// Ends it as kill -9 does.
    pub async fn kill(self) -> Output {
        self.process.signal("-KILL");
        self.end().await
    }

    /// Asks it to stop and waits until it has.
    pub async fn terminate(self) -> Output {
        self.process.signal("-TERM");
        self.end().await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.process.child.try_wait(), Ok(None))
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.lines().join("\n")
    }

    /// Waits until a line of the log contains that text.
    pub async fn says(&mut self, text: &str) -> String {
        self.process.line(text, |line| line.contains(text)).await
    }

    /// What it said of each table and pull so far.
    #[must_use]
    pub fn pulls(&self) -> Vec<Pulled> {
        pulls(&self.process.lines())
    }

    /// Waits until it has pulled that table `times` more times from here on. The first of them
    /// may have begun before this call.
    pub async fn pulls_again(&mut self, table: &str, times: usize) {
        let count = |lines: &[String]| pulls(lines).iter().filter(|p| p.table == table).count();
        let wanted = count(&self.process.lines()) + times;
        eventually(&format!("{table} is pulled {times} times"), async || {
            assert!(
                self.process.child.try_wait().ok().flatten().is_none(),
                "the puller ended:\n{}",
                self.process.lines().join("\n")
            );
            (count(&self.process.lines()) >= wanted).then_some(())
        })
        .await;
    }
}

impl Output {
    fn new(status: ExitStatus, lines: &[String]) -> Self {
        Self {
            code: status.code(),
            stderr: lines.join("\n"),
            pulls: pulls(lines),
        }
    }

    /// How many rows came for that table, over all pulls.
    #[must_use]
    pub fn rows(&self, table: &str) -> u64 {
        let of_table = self.pulls.iter().filter(|pulled| pulled.table == table);
        of_table.map(|pulled| pulled.rows).sum()
    }

    /// Whether that table was pulled at all.
    #[must_use]
    pub fn pulled(&self, table: &str) -> bool {
        self.pulls.iter().any(|pulled| pulled.table == table)
    }

    /// # Panics
    /// When it did not end well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// # Panics
    /// When it did not end with code 1, or left out one of those words. Letter case is no matter.
    #[track_caller]
    pub fn fails_naming(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        self.says(words)
    }

    /// # Panics
    /// When it left out one of those words. Letter case is no matter.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "nothing of {word:?}:\n{}",
                self.stderr
            );
        }
        self
    }
}

fn pulls(lines: &[String]) -> Vec<Pulled> {
    lines.iter().filter_map(|line| pulled(line)).collect()
}

/// Reads `… pulled table="orders" rows=12 bytes=345 … horizon=… basis=proven …`.
fn pulled(line: &str) -> Option<Pulled> {
    let rest = line.split_once("pulled table=")?.1;
    let (table, rest) = rest.split_once(" rows=")?;
    let table = match table.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner
            .replace("\\\"", "\"")
            .replace("\\'", "'")
            .replace("\\\\", "\\"),
        None => table.to_owned(),
    };
    let mut pulled = Pulled {
        table,
        ..Pulled::default()
    };
    for word in format!("rows={rest}").split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            continue;
        };
        match key {
            "rows" => pulled.rows = value.parse().ok()?,
            "horizon" => pulled.horizon = value.trim_matches('"').to_owned(),
            "basis" => pulled.basis = value.trim_matches('"').to_owned(),
            _ => {}
        }
    }
    Some(pulled)
}
