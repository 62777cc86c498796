//! A round: everything works, then everything goes wrong, then it is calm and both sides become equal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::output::{pulls, reconciled};
use crate::pair::Pair;
use crate::server::Server;
use crate::soak::plan::{Fault, Link, Plan, Process, plan};
use crate::soak::processes::{PullerProcess, ServerProcess, database};
use crate::soak::random::Random;
use crate::soak::relay::Relay;
use crate::soak::report::{Log, Report};
use crate::soak::sentinel::{Seen, Watch, read};
use crate::soak::tables::{CASCADED, TABLES};
use crate::soak::writer::{Writer, Written};
use crate::soak::{Settings, failure};

/// How long both sides may take to be equal when it is calm.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);

/// How long the first pull of all may take.
const FIRST: Duration = Duration::from_secs(60);

/// How often they are compared meanwhile.
const COMPARE: Duration = Duration::from_millis(250);

/// Writers side by side.
const WRITERS: u64 = 6;

/// Milliseconds that a writer waits at most between two transactions.
const PAUSE: u64 = 40;

/// A stream of each writer of a round.
const OF_WRITERS: u64 = 1;

/// What a round has to be true of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The puller reconciles all the time: everything becomes equal.
    Reconciling,
    /// It never does: whatever has a stamp arrives by the windows alone. What nobody but a reconcile can see
    /// is left out: deletes, cascades and NULL stamps.
    WindowsAlone,
}

/// Both sides, and everything between them.
#[derive(Debug)]
pub(crate) struct Soak {
    // The programs end before their relays and databases.
    server: ServerProcess,
    puller: PullerProcess,
    to_source: Relay,
    to_server: Relay,
    to_dest: Relay,
    pair: Pair,
    settings: Settings,
    log: Log,
    report: Report,
}

/// Where the faults of each process go.
struct Targets {
    source: UnboundedSender<Duration>,
    server: UnboundedSender<Duration>,
    puller: UnboundedSender<Duration>,
    dest: UnboundedSender<Duration>,
}

impl Soak {
    /// Starts the programs, and waits until the destination has everything.
    pub(crate) async fn start(pair: Pair, settings: Settings, log: Log) -> Self {
        let source_port = pair.source.server.port();
        let to_source = Relay::start(source_port).await;
        let to_dest = Relay::start(pair.dest.server.port()).await;
        // It leads nowhere until there is a server.
        let to_server = Relay::start(0).await;
        let args = pair.server_args(&Self::debug(
            &settings,
            &[&format!("--source-port={}", to_source.port)],
        ));
        let server = ServerProcess::start(args, &to_server).await;
        Self {
            server,
            puller: PullerProcess::new(),
            to_source,
            to_server,
            to_dest,
            pair,
            settings,
            log,
            report: Report::default(),
        }
    }

    fn debug<'a>(settings: &Settings, args: &[&'a str]) -> Vec<&'a str> {
        let mut args = args.to_vec();
        args.extend(settings.debug.then_some("--debug"));
        args
    }

    /// One round; false when something was wrong.
    pub(crate) async fn round(&mut self, number: u64, mut random: Random, kind: Kind) -> bool {
        let lanes = random.one_of(&[1, 4]);
        let log = &self.log;
        log.say(&format!("round {number}: {kind:?}, --parallel {lanes}"));
        let args = self.puller_args(kind, lanes);
        self.puller.start(args, &self.log).await;
        if number == 0 && !self.becomes_equal(Kind::Reconciling, FIRST).await {
            return false;
        }
        let plan = plan(&mut random, self.settings.round);
        let seen = self.bad_days(&mut random, plan, kind).await;
        self.report.rounds += 1;
        self.report.sentinel_looks += seen.looks;
        self.report.sentinels.extend(seen.wrong);
        self.pair.source.reconnect().await;
        self.pair.dest.reconnect().await;
        let begun = Instant::now();
        let equal = self.becomes_equal(kind, EQUAL_WITHIN).await;
        let after = begun.elapsed();
        if equal {
            self.report.equal_after.push(after);
            self.log.say(&format!("equal after {after:.1?}"));
        }
        equal && self.report.sentinels.is_empty()
    }

    /// Ends everything; what was wrong is kept.
    pub(crate) async fn finish(mut self) -> Report {
        self.puller.stop(&self.log).await;
        self.server.kill().await;
        let report = &mut self.report;
        report.puller_restarts = self.puller.restarts;
        report.ended.append(&mut self.puller.ended);
        report.ended.append(&mut self.server.ended);
        report.complaints_of(&self.puller.said);
        report.complaints_of(&self.server.said);
        let lines: Vec<String> = self.puller.said.lines().map(str::to_owned).collect();
        report.pulls = pulls(&lines).len() as u64;
        for table in reconciled(&lines) {
            report.reconciled += 1;
            report.deleted += table.deleted;
            report.mended += table.fetched + table.repaired;
        }
        for relay in [&self.to_source, &self.to_server, &self.to_dest] {
            report.connections_cut += relay.cut();
            report.bytes += relay.passed();
        }
        for line in report.to_string().lines() {
            self.log.say(line);
        }
        let clean = self.report.is_clean();
        if !clean || self.settings.keep {
            let said = [
                ("events.log", self.log.text()),
                ("dbd-puller.log", self.puller.said.clone()),
                ("dbd-server.log", self.server.said.clone()),
                ("differences", self.report.differences.join("\n")),
            ];
            let kept = failure::Kept::new(&self.settings, &self.log);
            kept.texts(&said);
            if !clean {
                kept.data(&mut self.pair);
                kept.say_how_to_run_again();
            }
        }
        self.report
    }

    fn puller_args(&self, kind: Kind, lanes: u32) -> Vec<String> {
        let reconcile: &[&str] = match kind {
            Kind::Reconciling => &["--sync-deletes", "--delete-interval=3"],
            Kind::WindowsAlone => &[],
        };
        let source = format!("--source-port={}", self.to_server.port);
        let dest = format!("--dest-port={}", self.to_dest.port);
        // More than dbd-server's longest silence, less than a freeze of a bad day may seem.
        let usual = [&source, &dest, "--poll-interval=0.2", "--source-timeout=12"];
        let lanes = format!("--parallel={lanes}");
        let args = [&usual, reconcile, &[&lanes]].concat();
        self.pair.puller_args(&Self::debug(&self.settings, &args))
    }

    /// Writers and faults, until the plan is done and everything runs again.
    async fn bad_days(&mut self, random: &mut Random, plan: Plan, kind: Kind) -> Seen {
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(Written::default());
        let seed = random.below(u64::MAX);
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                port: self.pair.source.server.port(),
                database: self.pair.source.database.clone(),
                random: Random::new(seed, OF_WRITERS + number),
                unstamped: kind == Kind::Reconciling,
                pause: PAUSE,
                written: Arc::clone(&written),
                stop: Arc::clone(&stop),
            };
            writers.spawn(writer.run());
        }
        let watch = Watch {
            port: self.pair.dest.server.port(),
            database: self.pair.dest.database.clone(),
            expected: self.sentinels().await,
            log: self.log.clone(),
            stop: Arc::clone(&stop),
        };
        let watch = tokio::spawn(watch.run());

        let (source, source_kills) = unbounded_channel();
        let (server, server_kills) = unbounded_channel();
        let (puller, puller_kills) = unbounded_channel();
        let (dest, dest_kills) = unbounded_channel();
        let targets = Targets {
            source,
            server,
            puller,
            dest,
        };
        let links = [&self.to_source, &self.to_server, &self.to_dest];
        let log = &self.log;
        tokio::join!(
            harm(plan, targets, links, &stop, log, &mut self.report),
            database(
                Process::Source,
                &mut self.pair.source.server,
                source_kills,
                log
            ),
            database(Process::Dest, &mut self.pair.dest.server, dest_kills, log),
            self.server.run(server_kills, &self.to_server, log),
            self.puller.run(puller_kills, log),
        );
        let mut seen = watch.await.expect("it does not panic");
        while let Some(writer) = writers.join_next().await {
            writer.expect("no writer panics");
        }
        self.log
            .say("calm: the writers have stopped and everything runs");
        self.report.add(&written);
        seen.wrong.truncate(WRONG);
        seen
    }

    /// What the untouched rows are, as the source has them.
    async fn sentinels(&self) -> Vec<(u64, u64)> {
        // What the destination may forget is what comes from here on.
        self.pair.dest.run("FLUSH ENGINE LOGS").await;
        let port = self.pair.source.server.port();
        let conn = Server::connect_to(port, Some(&self.pair.source.database)).await;
        let mut conn = conn.expect("root may connect");
        read(&mut conn).await.expect("the source answers")
    }

    /// Waits until both sides are equal; false when they are not in time.
    async fn becomes_equal(&mut self, kind: Kind, within: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let differences = self.differences(kind).await;
            if differences.is_empty() {
                return true;
            }
            if begun.elapsed() > within {
                self.log.say(&format!(
                    "{} DIFFERENCES after {within:?}",
                    differences.len()
                ));
                self.report.differing = differences.len();
                self.report.differences = differences;
                return false;
            }
            sleep(COMPARE).await;
            self.server.look(&self.to_server, &self.log).await;
            self.puller.look(&self.log).await;
        }
    }

    async fn differences(&self, kind: Kind) -> Vec<String> {
        let tables = TABLES.map(|table| table.name);
        match kind {
            Kind::Reconciling => self.pair.differences(&tables, &[]).await,
            Kind::WindowsAlone => {
                let mut differences = self.pair.differences(&tables, &CASCADED).await;
                differences.retain(|line| !line.ends_with("only at the destination"));
                differences
            }
        }
    }
}

/// So many wrong looks at the untouched rows are kept.
const WRONG: usize = 20;

/// Does everything that the plan says, and leaves nothing harmed.
async fn harm(
    plan: Plan,
    targets: Targets,
    links: [&Relay; 3],
    stop: &AtomicBool,
    log: &Log,
    report: &mut Report,
) {
    let begun = Instant::now();
    for (at, fault) in plan {
        sleep(at.saturating_sub(begun.elapsed())).await;
        log.say(&fault.to_string());
        *report.faults.entry(fault.kind()).or_default() += 1;
        match fault {
            Fault::Kill { process, down } => {
                let target = match process {
                    Process::Source => &targets.source,
                    Process::Server => &targets.server,
                    Process::Puller => &targets.puller,
                    Process::Dest => &targets.dest,
                };
                target.send(down).expect("it listens until this ends");
            }
            Fault::Harm { link, harm } => {
                let relay = match link {
                    Link::Source => links[0],
                    Link::Server => links[1],
                    Link::Dest => links[2],
                };
                relay.harm(harm);
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    for link in links {
        link.calm();
    }
}
