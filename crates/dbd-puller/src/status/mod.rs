//! What a puller tells of itself: pages for people, metrics, and whether it lives and is ready.
//!
//! The puller takes note of what it does as it does it; whoever asks is given what was noted last, so that nothing
//! is asked of either database and no pull waits. Without `--status-listen` nothing is noted.

mod lag;
mod listen;
mod metrics;
mod page;
mod plot;

pub use listen::Place;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use common::frame::SourceState;
use common::ident::Ident;
use common::process::chain;
use common::stamp::Stamp;
use prometheus::Histogram;
use tokio::time::Instant;

use crate::error::PullError;
use crate::known::Known;
use crate::summary::failures;

use lag::{Lags, Ring};

/// A puller is ready as long as a round has come to its end within three intervals and this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of so many tables the last hour's lag is kept, besides the greatest of all.
const WITH_HISTORY: usize = 500;

/// Where a puller takes note of what it does. A handle, cheap to clone; one that nobody reads keeps nothing.
#[derive(Clone, Default)]
pub(crate) struct Status(Option<Arc<Noted>>);

/// What never changes, and what was noted.
struct Noted {
    what: What,
    began: SystemTime,
    started: Instant,
    /// Bytes of the answers of the dbd-server.
    received: Arc<AtomicU64>,
    round_seconds: Histogram,
    /// The last sign that a round goes on, in milliseconds since the start.
    moved: AtomicU64,
    now: Mutex<Now>,
}

/// What is pulled from where.
struct What {
    server: String,
    source: Ident,
    destination: Ident,
    poll_interval: Option<Duration>,
}

#[derive(Default)]
struct Now {
    tables: BTreeMap<String, Table>,
    /// Where the source stood when that was heard.
    source: Option<(SourceState, Instant)>,
    /// The destination that is written to.
    host: Option<String>,
    /// The table that is being pulled or compared.
    at_work_on: Option<String>,
    in_round: bool,
    /// When a round last came to its end.
    ended: Option<Instant>,
    /// When the last round ended in which no table failed.
    succeeded: Option<SystemTime>,
    /// Since when every round has failed, and why the last one did.
    trouble: Option<(SystemTime, String)>,
    /// Failed rounds, by the kind of failure.
    errors: BTreeMap<&'static str, u64>,
    /// The greatest lag of all tables.
    lags: Ring,
}

/// What was noted of a table.
#[derive(Default)]
struct Table {
    applied: Arc<AtomicU64>,
    deleted: u64,
    fetched: u64,
    repaired: u64,
    /// Up to which the source's changes are here.
    horizon: Option<Stamp>,
    succeeded: Option<SystemTime>,
    errors: u64,
    /// What went wrong last, and when.
    error: Option<(SystemTime, String)>,
    /// Whether that is still wrong.
    fails: bool,
    lags: Ring,
}

/// Counts the rows of a pull as they are committed.
#[derive(Clone, Default)]
pub(crate) struct Progress(Option<(Arc<Noted>, Arc<AtomicU64>)>);

/// What came of a table in a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Came {
    /// It was pulled or compared to the end.
    ToItsEnd,
    /// It was reconciled.
    Reconciled,
    /// It failed.
    Failed,
}

impl Came {
    /// What came of a pull that left so many rows out, or of a comparison.
    pub(crate) fn of(result: &Result<u64, PullError>) -> Self {
        match result {
            Ok(0) => Self::ToItsEnd,
            _ => Self::Failed,
        }
    }
}

impl Progress {
    /// Takes note of rows that were committed.
    pub(crate) fn applied(&self, rows: u64) {
        if let Some((noted, applied)) = &self.0 {
            applied.fetch_add(rows, Ordering::Relaxed);
            noted.moves();
        }
    }
}

impl Status {
    /// A round begins.
    pub(crate) fn begins(&self) {
        self.note(|now| now.in_round = true);
    }

    /// The destination is connected to.
    pub(crate) fn writes_to(&self, host: impl FnOnce() -> Option<String>) {
        self.note(|now| now.host = host());
    }

    /// The source stands there.
    pub(crate) fn source(&self, source: &SourceState) {
        self.note(|now| now.source = Some((source.clone(), Instant::now())));
    }

    /// These tables are pulled, and no others any more.
    pub(crate) fn chosen<'a>(&self, names: impl Iterator<Item = &'a Ident>) {
        self.note(|now| {
            let mut before = std::mem::take(&mut now.tables);
            for name in names {
                let name = name.as_str().to_owned();
                let table = before.remove(&name).unwrap_or_default();
                now.tables.insert(name, table);
            }
        });
    }

    /// A table is being pulled or compared.
    pub(crate) fn works_on(&self, name: &Ident) {
        self.note(|now| now.at_work_on = Some(name.as_str().to_owned()));
    }

    /// Where the rows of a table's pull are counted.
    pub(crate) fn progress(&self, name: &Ident) -> Progress {
        Progress(self.0.as_ref().map(|noted| {
            let mut now = noted.now();
            let table = now.tables.entry(name.as_str().to_owned()).or_default();
            (Arc::clone(noted), Arc::clone(&table.applied))
        }))
    }

    /// A table was pulled, compared or reconciled, or failed.
    pub(crate) fn table(&self, name: &Ident, known: &Known, came: Came) {
        self.note(|now| {
            let table = now.tables.entry(name.as_str().to_owned()).or_default();
            table.horizon = known.horizon;
            table.deleted = known.totals.deleted;
            table.fetched = known.totals.fetched;
            table.repaired = known.totals.repaired;
            let problem = failures(known);
            table.fails = problem.is_some();
            match came {
                Came::ToItsEnd => table.succeeded = Some(SystemTime::now()),
                Came::Reconciled => {}
                Came::Failed => {
                    table.errors += 1;
                    table.error = problem.map(|problem| (SystemTime::now(), problem));
                }
            }
            now.at_work_on = None;
        });
        if let Some(noted) = &self.0 {
            noted.moves();
        }
    }

    /// A round has ended.
    pub(crate) fn ends(&self, began: Instant, result: &Result<(), PullError>) {
        if let Some(noted) = &self.0 {
            noted.round_seconds.observe(began.elapsed().as_secs_f64());
        }
        self.note(|now| now.ends(result));
    }

    fn note(&self, note: impl FnOnce(&mut Now)) {
        if let Some(noted) = &self.0 {
            note(&mut noted.now());
        }
    }
}

impl Noted {
    fn new(what: What, received: Arc<AtomicU64>) -> Self {
        Self {
            what,
            began: SystemTime::now(),
            started: Instant::now(),
            received,
            round_seconds: metrics::round_seconds(),
            moved: AtomicU64::new(0),
            now: Mutex::default(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        // Each note is a few assignments: it is never half done.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moves(&self) {
        let since = self.started.elapsed().as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }

    /// Whether rounds come to their end, or one that takes long goes on.
    fn is_ready(&self) -> bool {
        let patience = self
            .what
            .poll_interval
            .unwrap_or_default()
            .saturating_mul(3)
            .saturating_add(PATIENCE);
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let moved = self.started.elapsed().saturating_sub(moved);
        let now = self.now();
        is_ready(
            now.ended.map(|ended| ended.elapsed()),
            now.in_round.then_some(moved),
            patience,
        )
    }

    /// Takes note of how far each table is behind at this moment.
    fn sample(&self) {
        let mut now = self.now();
        let lags = now.lags_now();
        now.lags.push(lags.greatest());
        for (table, lag) in now.tables.values_mut().zip(lags.0).take(WITH_HISTORY) {
            table.lags.push(lag);
        }
    }
}

/// Whether a round came to its end so long ago, or one is under way that has moved so long ago, that it is no
/// longer than `patience`. Before the first has ended nothing is ready.
fn is_ready(ended: Option<Duration>, moved: Option<Duration>, patience: Duration) -> bool {
    let lately = |ago: Duration| ago <= patience;
    ended.is_some_and(|ended| lately(ended) || moved.is_some_and(lately))
}

impl Now {
    fn ends(&mut self, result: &Result<(), PullError>) {
        self.in_round = false;
        self.at_work_on = None;
        let came_to_its_end = match result {
            Ok(()) | Err(PullError::Differs { .. }) => true,
            Err(PullError::Incomplete { failed, all, .. }) => failed < all,
            Err(_) => false,
        };
        if came_to_its_end {
            self.ended = Some(Instant::now());
        }
        match result {
            Ok(()) => self.succeeded = Some(SystemTime::now()),
            Err(error) => *self.errors.entry(metrics::label(error)).or_default() += 1,
        }
        self.trouble = match result {
            Ok(()) | Err(PullError::Incomplete { .. } | PullError::Differs { .. }) => None,
            Err(error) => {
                let since = self.trouble.take().map(|(since, _)| since);
                Some((since.unwrap_or_else(SystemTime::now), chain(error)))
            }
        };
    }

    /// How far each table is behind at this moment, in the order of the tables. It grows while nothing is heard of
    /// the source.
    fn lags_now(&self) -> Lags {
        let lag = |table: &Table| {
            let (source, heard) = self.source.as_ref()?;
            let behind = source.now.seconds_since(table.horizon?).max(0.0);
            Some(behind + heard.elapsed().as_secs_f64())
        };
        Lags(self.tables.values().map(lag).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_puller_is_ready_while_rounds_end_or_one_goes_on() {
        let ago = |seconds: u64| Some(Duration::from_secs(seconds));
        for (ended, moved, ready) in [
            (None, None, false),
            // The first round.
            (None, ago(0), false),
            (ago(0), None, true),
            (ago(75), None, true),
            (ago(76), None, false),
            (ago(3_600), ago(10), true),
            (ago(3_600), ago(100), false),
        ] {
            let patience = Duration::from_secs(75);
            assert_eq!(
                is_ready(ended, moved, patience),
                ready,
                "{ended:?} {moved:?}"
            );
        }
    }

    fn incomplete(failed: usize) -> Result<(), PullError> {
        Err(PullError::Incomplete {
            failed,
            all: 2,
            names: String::new(),
        })
    }

    #[test]
    fn a_round_that_brought_no_table_up_to_date_is_no_end() {
        let mut now = Now::default();
        now.ends(&incomplete(2));
        assert!(now.ended.is_none());
        now.ends(&incomplete(1));
        assert!(now.ended.is_some() && now.succeeded.is_none() && now.trouble.is_none());
        now.ends(&Err(PullError::Stopped));
        let since = now.trouble.clone().unwrap().0;
        now.ends(&Err(PullError::Usage("x".to_owned())));
        assert_eq!(now.trouble.clone().unwrap(), (since, "x".to_owned()));
        now.ends(&Ok(()));
        assert!(now.trouble.is_none() && now.succeeded.is_some());
        let errors: Vec<_> = now.errors.into_iter().collect();
        assert_eq!(errors, [("incomplete", 2), ("stopped", 1), ("usage", 1)]);
    }

    #[test]
    fn the_lag_is_of_what_was_heard_of_the_source() {
        let at = |seconds: u64| Stamp::from_micros(seconds * 1_000_000);
        let source = SourceState {
            identity: String::new(),
            now: at(100),
            horizon: at(99),
            basis: common::frame::Basis::Proven,
            settle_seconds: None,
            held_back_by: None,
        };
        let mut now = Now::default();
        for (name, horizon) in [("a", None), ("b", Some(at(40)))] {
            let table = Table {
                horizon,
                ..Table::default()
            };
            now.tables.insert(name.to_owned(), table);
        }
        assert_eq!(now.lags_now().greatest(), None);
        now.source = Some((source, Instant::now() - Duration::from_secs(7)));
        let lags = now.lags_now();
        assert_eq!(lags.0[0], None);
        assert!((67.0..68.0).contains(&lags.0[1].unwrap()), "{:?}", lags.0);
    }
}
