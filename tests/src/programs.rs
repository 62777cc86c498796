//! The two programs, as processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::output::{Output, Pulled, Reconciled, pulls, reconciled};
use crate::wait::{eventually, within};

/// How long one run of the puller may take before a test gives up on it.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A running `dbd-server`; it is killed when this is dropped.
#[derive(Debug)]
pub struct DbdServer {
    process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    scheme: &'static str,
}

/// A running `dbd-puller`; it is killed when this is dropped.
#[derive(Debug)]
pub struct Puller {
    process: Process,
}

/// Lines as they are written.
type Lines = Arc<Mutex<Vec<String>>>;

#[derive(Debug)]
struct Process {
    child: Child,
    /// All that it wrote.
    lines: Lines,
    /// What it wrote to its standard output.
    stdout: Lines,
    /// What nobody reads yet.
    unread: Option<(ChildStdout, ChildStderr)>,
    readers: Vec<JoinHandle<()>>,
}

/// The path of a program, beside this one or, for a test, in the folder above.
///
/// # Panics
/// When it is not built.
pub(crate) fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this program has a path");
    let folder = this.parent().expect("a program is in a folder");
    // Cargo runs tests in target/<profile>/deps, programs in target/<profile>.
    let path = match folder.parent() {
        Some(profile) if folder.ends_with("deps") => profile.join(name),
        _ => folder.join(name),
    };
    assert!(
        path.exists(),
        "{} is missing; run `cargo build --workspace --bins` first, with the same profile",
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
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !args.iter().any(|arg| arg.starts_with("--source-host")) {
            // What is on this machine is reached without one.
            command.env("ALL_PROXY", "http://127.0.0.1:1");
        }
        if name == "dbd-puller" && !args.iter().any(|arg| arg == "-d") {
            // A line for each table and pull, also when it has nothing new.
            command.env("RUST_LOG", "info,dbd_puller::look=debug");
        }
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("DBD_") {
                command.env_remove(key);
            }
        }
        let mut child = command.spawn().expect("setpriv can be started");
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        Self {
            child,
            lines: Lines::default(),
            stdout: Lines::default(),
            unread: Some((out, err)),
            readers: Vec::new(),
        }
    }

    fn reads(mut self) -> Self {
        self.read();
        self
    }

    fn read(&mut self) {
        if let Some((out, err)) = self.unread.take() {
            self.readers
                .push(collect(out, &[&self.lines, &self.stdout]));
            self.readers.push(collect(err, &[&self.lines]));
        }
    }

    fn lines(&self) -> Vec<String> {
        copy(&self.lines)
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
        self.read();
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

fn copy(lines: &Lines) -> Vec<String> {
    let lines = lines.lock();
    lines
        .expect("nothing panics while it holds the lock")
        .clone()
}

fn collect(from: impl Read + Send + 'static, into: &[&Lines]) -> JoinHandle<()> {
    let into: Vec<Lines> = into.iter().map(|lines| Arc::clone(lines)).collect();
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            for lines in &into {
                if let Ok(mut lines) = lines.lock() {
                    lines.push(line.clone());
                }
            }
        }
    })
}

impl DbdServer {
    /// Starts it and waits until it listens.
    pub async fn start(args: &[String]) -> Self {
        let mut process = Process::start("dbd-server", args).reads();
        let said = "listening on http";
        let line = process.line(said, |line| line.contains(said)).await;
        let url = line.split(said).nth(1).unwrap_or_default();
        // In a log of JSON the line goes on behind the address.
        let address = url
            .split_once("//")
            .and_then(|(_, rest)| rest.split('/').next());
        let port = address
            .and_then(|address| address.rsplit(':').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no port in {line:?}"));
        let scheme = if url.starts_with('s') {
            "https"
        } else {
            "http"
        };
        Self {
            process,
            port,
            scheme,
        }
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
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

    /// Sends it a signal, such as `-INT`.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Ends it as kill -9 does, unless it has ended.
    pub async fn kill(mut self) {
        if !self.has_ended() {
            self.process.signal("-KILL");
        }
        self.process.end(crate::DEADLINE).await;
    }

    /// Asks it to stop and waits until it has; its exit code.
    pub async fn terminate(mut self) -> Option<i32> {
        self.process.signal("-TERM");
        self.process.end(crate::DEADLINE).await.code()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.process.child.try_wait(), Ok(None))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// The time that it has computed so far.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // Behind the name, which may hold anything: the state, and eleven numbers further on both times, in
        // hundredths of a second.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let times = behind.split_whitespace().skip(11).take(2);
        let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
        Duration::from_millis(10 * ticks)
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
            process: Process::start("dbd-puller", args).reads(),
        }
    }

    /// Starts it, and reads nothing of what it writes before it has ended.
    #[must_use]
    pub fn start_unread(args: &[String]) -> Self {
        Self {
            process: Process::start("dbd-puller", args),
        }
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends it a signal, such as `-INT`.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Waits until it ends by itself.
    pub async fn end(mut self) -> Output {
        let status = self.process.end(RUN_LIMIT).await;
        Output::new(status, &self.process.lines(), copy(&self.process.stdout))
    }

    /// Ends it as kill -9 does, unless it has ended.
    pub async fn kill(mut self) -> Output {
        if !self.has_ended() {
            self.process.signal("-KILL");
        }
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

    /// What it said of each table that it reconciled so far.
    #[must_use]
    pub fn reconciled(&self) -> Vec<Reconciled> {
        reconciled(&self.process.lines())
    }

    /// Waits until it has reconciled that table `times` more times from here on. The first of them
    /// may have begun before this call.
    pub async fn reconciles_again(&mut self, table: &str, times: usize) {
        let wanted = self
            .reconciled()
            .iter()
            .filter(|r| r.table == table)
            .count()
            + times;
        self.comes_to(&format!("{table} is reconciled {times} times"), |lines| {
            reconciled(lines)
                .iter()
                .filter(|r| r.table == table)
                .count()
                >= wanted
        })
        .await;
    }

    /// Waits until it has pulled that table `times` more times from here on. The first of them
    /// may have begun before this call.
    pub async fn pulls_again(&mut self, table: &str, times: usize) {
        let wanted = self.pulls().iter().filter(|p| p.table == table).count() + times;
        self.comes_to(&format!("{table} is pulled {times} times"), |lines| {
            pulls(lines).iter().filter(|p| p.table == table).count() >= wanted
        })
        .await;
    }

    async fn comes_to(&mut self, what: &str, condition: impl Fn(&[String]) -> bool) {
        eventually(what, async || {
            assert!(
                self.process.child.try_wait().ok().flatten().is_none(),
                "the puller ended:\n{}",
                self.process.lines().join("\n")
            );
            condition(&self.process.lines()).then_some(())
        })
        .await;
    }
}
