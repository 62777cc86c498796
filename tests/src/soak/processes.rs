//! The four processes: each is killed and started again when the plan says so, and one that ends by itself
//! is noted and started again at once.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout};

use crate::output::Output;
use crate::programs::{DbdServer, Puller};
use crate::server::Server;
use crate::soak::plan::Process;
use crate::soak::relay::Relay;
use crate::soak::report::Log;

/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How many of its lines are shown when a program has ended by itself.
const LAST_WORDS: usize = 3;

/// What a puller says that finds another one at work when it starts. Here that is one that was killed, whose
/// connections the network keeps open: it is started again, as whoever watches over it would do.
const NOT_ALONE: &str = "dbd-puller: another dbd-puller writes to";

/// Each is a kill, and how long the process stays away.
pub(crate) type Kills = UnboundedReceiver<Duration>;

/// Kills a database and starts it again, until there are no more kills.
pub(crate) async fn database(process: Process, server: &mut Server, mut kills: Kills, log: &Log) {
    while let Some(down) = kills.recv().await {
        server.kill();
        sleep(down).await;
        server.restart().await;
        log.say(&format!("{process} is back"));
    }
}

/// `dbd-server`, killed and alive.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    args: Vec<String>,
    running: Option<DbdServer>,
    /// What it wrote until it was started last.
    pub(crate) said: String,
    /// Its last lines when it ended though nobody had killed it.
    pub(crate) ended: Vec<String>,
}

/// `dbd-puller`, killed and alive.
#[derive(Debug)]
pub(crate) struct PullerProcess {
    args: Vec<String>,
    running: Option<Puller>,
    /// What it wrote until it was started last.
    pub(crate) said: String,
    /// Its last lines when it ended though nobody had killed it.
    pub(crate) ended: Vec<String>,
    pub(crate) restarts: u64,
}

impl ServerProcess {
    pub(crate) async fn start(args: Vec<String>, link: &Relay) -> Self {
        let mut process = Self {
            args,
            running: None,
            said: String::new(),
            ended: Vec::new(),
        };
        process.start_again(link).await;
        process
    }

    async fn start_again(&mut self, link: &Relay) {
        let server = DbdServer::start(&self.args).await;
        link.lead_to(server.port);
        self.running = Some(server);
    }

    /// Kills it and starts it again, until there are no more kills.
    pub(crate) async fn run(&mut self, mut kills: Kills, link: &Relay, log: &Log) {
        loop {
            match timeout(LOOK, kills.recv()).await {
                Err(_) => self.look(link, log).await,
                Ok(None) => return,
                Ok(Some(down)) => {
                    self.look(link, log).await;
                    self.kill().await;
                    sleep(down).await;
                    self.start_again(link).await;
                    log.say("dbd-server is back");
                }
            }
        }
    }

    /// Notes when it has ended, and starts it again.
    pub(crate) async fn look(&mut self, link: &Relay, log: &Log) {
        if self.running.as_mut().is_some_and(DbdServer::has_ended) {
            self.kill().await;
            note(&mut self.ended, "dbd-server", &self.said, log);
            self.start_again(link).await;
        }
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) {
        if let Some(server) = self.running.take() {
            self.said.push_str(&server.log());
            self.said.push('\n');
            server.kill().await;
        }
    }
}

impl PullerProcess {
    pub(crate) fn new() -> Self {
        Self {
            args: Vec::new(),
            running: None,
            said: String::new(),
            ended: Vec::new(),
            restarts: 0,
        }
    }

    /// Starts it with other arguments; the one before is asked to stop.
    pub(crate) async fn start(&mut self, args: Vec<String>, log: &Log) {
        self.stop(log).await;
        self.args = args;
        self.running = Some(Puller::start(&self.args));
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(&mut self, log: &Log) {
        if let Some(puller) = self.running.take() {
            let output = puller.terminate().await;
            self.hear(&output);
            if output.code.is_none() {
                note(&mut self.ended, "dbd-puller", &self.said, log);
            }
        }
    }

    /// Kills it and starts it again, until there are no more kills.
    pub(crate) async fn run(&mut self, mut kills: Kills, log: &Log) {
        loop {
            match timeout(LOOK, kills.recv()).await {
                Err(_) => self.look(log).await,
                Ok(None) => return,
                Ok(Some(down)) => {
                    self.look(log).await;
                    self.kill().await;
                    sleep(down).await;
                    self.restarts += 1;
                    self.running = Some(Puller::start(&self.args));
                    log.say("dbd-puller is back");
                }
            }
        }
    }

    /// Notes when it has ended, and starts it again.
    pub(crate) async fn look(&mut self, log: &Log) {
        if self.running.as_mut().is_some_and(Puller::has_ended) {
            self.kill().await;
            if last_line(&self.said).starts_with(NOT_ALONE) {
                log.say("dbd-puller was not alone");
            } else {
                note(&mut self.ended, "dbd-puller", &self.said, log);
            }
            self.restarts += 1;
            self.running = Some(Puller::start(&self.args));
        }
    }

    async fn kill(&mut self) {
        if let Some(puller) = self.running.take() {
            let output = puller.kill().await;
            self.hear(&output);
        }
    }

    fn hear(&mut self, output: &Output) {
        self.said.push_str(&output.stderr);
        self.said.push('\n');
    }
}

fn last_line(said: &str) -> &str {
    said.trim_end().lines().next_back().unwrap_or_default()
}

/// Notes that a program has ended by itself.
fn note(ended: &mut Vec<String>, program: &str, said: &str, log: &Log) {
    let last: Vec<&str> = said.trim_end().lines().rev().take(LAST_WORDS).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    let line = format!("{program} ENDED BY ITSELF: {}", last.join(" / "));
    log.say(&line);
    ended.push(line);
}
