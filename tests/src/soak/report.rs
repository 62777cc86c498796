//! What happened, as it happens and in sum.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::soak::writer::Written;

/// How many differences, and kinds of errors, a report shows.
const SHOWN: usize = 20;

/// Says every event with its time, and keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    begun: Instant,
    events: Arc<Mutex<Vec<String>>>,
}

/// What a run has survived, and whether it has.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub(crate) rounds: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) connections_cut: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    pub(crate) unknown: u64,
    pub(crate) rows: u64,
    pub(crate) deletes: u64,
    pub(crate) pulls: u64,
    pub(crate) reconciled: u64,
    pub(crate) mended: u64,
    pub(crate) deleted: u64,
    pub(crate) puller_restarts: u64,
    /// Programs that ended though nobody had killed them, with their last line.
    pub(crate) ended: Vec<String>,
    pub(crate) sentinel_looks: u64,
    pub(crate) sentinels: Vec<String>,
    pub(crate) differing: usize,
    pub(crate) differences: Vec<String>,
    /// For each round, the time until both sides were equal.
    pub(crate) equal_after: Vec<Duration>,
    /// The programs' warnings and errors, without what differs from one to the next.
    pub(crate) complaints: BTreeMap<String, u64>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: Arc::default(),
        }
    }

    /// Says it, with the time since the run's beginning.
    pub(crate) fn say(&self, event: &str) {
        let line = format!("{:9.3} {event}", self.begun.elapsed().as_secs_f64());
        println!("{line}");
        if let Ok(mut events) = self.events.lock() {
            events.push(line);
        }
    }

    /// Everything that was said.
    pub(crate) fn text(&self) -> String {
        let events = self.events.lock().expect("nobody panics holding it");
        events.join("\n")
    }
}

impl Report {
    /// Whether both sides were equal in time after each round, no untouched row was ever missing, and no
    /// program ended by itself.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differing == 0 && self.sentinels.is_empty() && self.ended.is_empty()
    }

    /// How many faults there were.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Counts what the writers of a round have done.
    pub(crate) fn add(&mut self, written: &Written) {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        self.commits += of(&written.commits);
        self.rollbacks += of(&written.rollbacks);
        self.unknown += of(&written.unknown);
        self.rows += of(&written.rows);
        self.deletes += of(&written.deletes);
    }

    /// Counts what the log of a program complains of.
    pub(crate) fn complaints_of(&mut self, lines: &str) {
        for line in lines.lines() {
            let Some((_, complaint)) = line.split_once(" WARN ").or(line.split_once("ERROR "))
            else {
                if line.contains("panicked") {
                    self.ended.push(line.to_owned());
                }
                continue;
            };
            *self.complaints.entry(kind(complaint)).or_default() += 1;
        }
    }
}

/// The text without its numbers and values.
fn kind(complaint: &str) -> String {
    let mut kind = String::new();
    let mut quoted = false;
    for c in complaint.chars() {
        if c == '"' {
            quoted = !quoted;
            kind.push(c);
        } else if c.is_ascii_digit() {
            if !kind.ends_with('#') {
                kind.push('#');
            }
        } else if !quoted || !kind.ends_with('#') {
            kind.push(c);
        }
    }
    kind.chars().take(300).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |durations: &[Duration]| {
            let all: Vec<String> = durations
                .iter()
                .map(|duration| format!("{:.1}", duration.as_secs_f64()))
                .collect();
            all.join(" ")
        };
        writeln!(f, "rounds               {}", self.rounds)?;
        writeln!(f, "faults               {}", self.faults())?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {kind:<26} {count}")?;
        }
        writeln!(f, "connections cut      {}", self.connections_cut)?;
        writeln!(f, "bytes relayed        {}", self.bytes)?;
        writeln!(
            f,
            "transactions         {} committed, {} rolled back, {} nobody knows",
            self.commits, self.rollbacks, self.unknown
        )?;
        writeln!(f, "rows written         {}", self.rows)?;
        writeln!(f, "  of these deleted   {}", self.deletes)?;
        writeln!(f, "tables pulled        {}", self.pulls)?;
        writeln!(
            f,
            "tables reconciled    {}, {} rows deleted, {} mended",
            self.reconciled, self.deleted, self.mended
        )?;
        writeln!(f, "puller restarts      {}", self.puller_restarts)?;
        writeln!(f, "ended by themselves  {}", self.ended.len())?;
        for line in &self.ended {
            writeln!(f, "  {line}")?;
        }
        writeln!(
            f,
            "untouched rows       {} looks, {} of them wrong",
            self.sentinel_looks,
            self.sentinels.len()
        )?;
        for line in self.sentinels.iter().take(SHOWN) {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "complaints")?;
        let mut complaints: Vec<(&String, &u64)> = self.complaints.iter().collect();
        complaints.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (kind, count) in complaints.iter().take(SHOWN) {
            writeln!(f, "  {count:>6} {kind}")?;
        }
        writeln!(f, "equal after (s)      {}", seconds(&self.equal_after))?;
        writeln!(f, "differences          {}", self.differing)?;
        for line in self.differences.iter().take(SHOWN) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
