//! The time before which nothing new can appear at the source (R1, R2).
//!
//! A task looks at the source all the time, on a connection of its own; answers take what it found
//! last. `watcher.rs` has that task, `tracker.rs` the rule, `sampler.rs` the queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::frame::SourceState;
use common::session::Address;
use common::stamp::Stamp;
use tokio::sync::{Notify, watch};

use crate::clock::Overlaps;
use crate::reading::{Reading, Rows};
use crate::watcher::watch_source;

/// A horizon that was not renewed for this long is not served: the source is not there, or another
/// server may answer in its place by now.
const STALE: Duration = Duration::from_secs(30);

/// A source that has said nothing for this long is not ready.
const READY: Duration = Duration::from_secs(5);

/// How the horizon is to be known.
#[derive(Clone, Debug)]
pub struct Settings {
    /// With an assumed horizon, how far it lies behind the source's time.
    pub settle: Duration,
    /// Assume a horizon even where one could be proven.
    pub assumed: bool,
}

/// The horizon of one source. A handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Horizon {
    found: watch::Receiver<Found>,
    doubt: Arc<Notify>,
}

/// Why there is no horizon now.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct NotKnown {
    /// What it waits for, and what to do.
    pub detail: String,
    /// When it is worth asking again.
    pub retry_after: Duration,
}

impl NotKnown {
    pub(crate) fn new(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            retry_after: Duration::from_secs(1),
        }
    }
}

/// What the last look found, and when that was.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) at: Instant,
    pub(crate) state: Result<SourceState, NotKnown>,
    /// The stamps that were given out twice.
    pub(crate) overlaps: Overlaps,
    /// For how long the oldest transaction that has written can have been open, in seconds; none where
    /// transactions are not seen.
    pub(crate) oldest_transaction: Option<f64>,
}

impl Horizon {
    /// Starts to look at the source, until every handle is dropped.
    #[must_use]
    pub fn start(source: Address, settings: Settings) -> Self {
        let (sender, found) = watch::channel(Found {
            at: Instant::now(),
            state: Err(NotKnown::new(
                "the source has not been looked at yet; ask again in a second",
            )),
            overlaps: Overlaps::default(),
            oldest_transaction: None,
        });
        let doubt = Arc::new(Notify::new());
        tokio::spawn(watch_source(source, settings, sender, Arc::clone(&doubt)));
        Self { found, doubt }
    }

    /// Whether the horizon is known and the source answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state().is_ok() && self.found.borrow().at.elapsed() <= READY
    }

    /// Other connections lead to another server than the one that is looked at: it is connected to anew.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Has a window begin where no row is left out: not among stamps that were given out twice. To be
    /// asked when the window's horizon is known.
    pub(crate) fn begin(&self, reading: &mut Reading) {
        let precision = reading.stamp.scale;
        if let Rows::Window {
            since,
            after,
            reached,
            ..
        } = &mut reading.rows
            && let Some(begin) =
                since.and_then(|since| self.found.borrow().overlaps.begin_after(since, *reached))
        {
            *since = Some(begin.floor(precision));
            *after = None;
        }
    }

    /// Whether a window that would begin at `since` has to begin before it. To be asked as [`Horizon::begin`] is.
    pub(crate) fn is_given_out_twice(&self, since: Stamp) -> bool {
        self.found.borrow().overlaps.begin(since).is_some()
    }

    /// For how long the oldest transaction that has written can have been open, in seconds; none where that is
    /// not known.
    pub(crate) fn oldest_transaction(&self) -> Option<f64> {
        self.state().ok()?;
        self.found.borrow().oldest_transaction
    }

    /// How long ago the last look was.
    pub(crate) fn age_of_look(&self) -> Duration {
        self.found.borrow().at.elapsed()
    }

    /// Where the source stands, as of the last look.
    ///
    /// # Errors
    /// When the horizon is not known.
    pub fn state(&self) -> Result<SourceState, NotKnown> {
        let found = self.found.borrow();
        let age = found.at.elapsed();
        match &found.state {
            Ok(_) if age > STALE => Err(NotKnown::new(format!(
                "the source has not answered for {} s; see that it runs and can be reached",
                age.as_secs()
            ))),
            state => state.clone(),
        }
    }

    /// Waits until the horizon lies above `target`, at most `limit`; answers the state that was
    /// reached, whether or not it got there.
    ///
    /// # Errors
    /// When the horizon is not known at the end.
    pub async fn wait_above(
        &self,
        target: Stamp,
        limit: Duration,
    ) -> Result<SourceState, NotKnown> {
        let mut found = self.found.clone();
        let reached =
            found.wait_for(|found| matches!(&found.state, Ok(state) if state.horizon > target));
        // Too late or never: the state says how far it came.
        let _ = tokio::time::timeout(limit, reached).await;
        self.state()
    }
}
