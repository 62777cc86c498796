//! What the puller knows of a table from one pull to the next. All of it can be found again.

use std::sync::Arc;
use std::time::Duration;

use common::process::chain;
use common::stamp::Stamp;
use tokio::time::Instant;

use crate::args::Args;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::plan::Plan;
use crate::position::Position;
use crate::reconcile::Mended;
use crate::trouble::{REPEAT, backoff};

/// What is known of a table.
#[derive(Default)]
pub(crate) struct Known {
    /// The horizon of the last whole pull.
    pub(crate) horizon: Option<Stamp>,
    /// The destination was connected to all the time since.
    pub(crate) checked: bool,
    /// Where a pull behind that horizon was cut short, and of which list of columns that is a position.
    pub(crate) reached: Option<(String, Position)>,
    /// How it is written, and from which list of columns that was worked out.
    pub(crate) plan: Option<(String, Arc<Plan>)>,
    pub(crate) displaced: Displaced,
    /// When everything was read again.
    pub(crate) resynced: Option<Instant>,
    /// What is wrong with its pulls, until one succeeds.
    pub(crate) failed: Option<Failed>,
    /// What was wrong with its last reconcile.
    pub(crate) unmended: Option<Failed>,
    pub(crate) totals: Totals,
}

/// A failure that may come again and again.
pub(crate) struct Failed {
    pub(crate) message: String,
    /// When the log had it.
    said: Instant,
    times: u32,
    /// Not tried again before.
    until: Option<Instant>,
}

/// The rows that were written and deleted since the puller began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) pulled: u64,
    pub(crate) deleted: u64,
    pub(crate) fetched: u64,
    pub(crate) repaired: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, mended: &Mended) {
        self.deleted += mended.deleted;
        self.fetched += mended.fetched;
        self.repaired += mended.repaired;
    }
}

impl Failed {
    /// Takes note of a failure, and logs it unless the log had it a moment ago.
    fn again(failed: Option<Self>, error: &PullError) -> Self {
        let message = chain(error);
        let (times, said) = match failed {
            Some(before) if before.message == message && before.said.elapsed() < REPEAT => {
                (before.times, Some(before.said))
            }
            before => (before.map_or(0, |before| before.times), None),
        };
        if said.is_none() {
            tracing::error!("{message}");
        }
        Self {
            message,
            said: said.unwrap_or_else(Instant::now),
            times: times + 1,
            until: None,
        }
    }
}

impl Known {
    /// Takes note that the source has nothing new below its horizon.
    pub(crate) fn nothing_new(&mut self, horizon: Stamp) {
        self.horizon = self.horizon.max(Some(horizon));
        self.checked = true;
    }

    /// Takes note that a pull failed. While polling, what only the user can mend is not tried again at
    /// once: a table that cannot be written would cost both databases a pull at every interval.
    pub(crate) fn pull_failed(&mut self, error: &PullError, interval: Option<Duration>) {
        // Its plan may be what was wrong.
        self.plan = None;
        let mut failed = Failed::again(self.failed.take(), error);
        if let Some(interval) = interval
            && matches!(error, PullError::Table { .. } | PullError::Row { .. })
        {
            // The first pause is the interval itself.
            failed.until = Some(Instant::now() + backoff(interval, failed.times - 1));
        }
        self.failed = Some(failed);
    }

    /// Takes note that rows were left out of a pull that came to its end.
    pub(crate) fn pull_left_out(&mut self, error: &PullError) {
        self.plan = None;
        self.failed = Some(Failed::again(self.failed.take(), error));
    }

    /// Takes note that a reconcile failed.
    pub(crate) fn reconcile_failed(&mut self, error: &PullError) {
        self.plan = None;
        self.unmended = Some(Failed::again(self.unmended.take(), error));
    }

    /// Whether its last pull failed in such a way that it waits.
    pub(crate) fn pauses(&self) -> bool {
        let until = self.failed.as_ref().and_then(|failed| failed.until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether everything is to be read again.
    pub(crate) fn resync_is_due(&self, args: &Args) -> bool {
        match (self.resynced, args.resync_interval) {
            (None, None) => args.force_resync,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(resynced), Some(interval)) => resynced.elapsed() >= interval,
        }
    }
}
