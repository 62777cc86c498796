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
use crate::reconcile::Mended;

/// How often the log repeats what is wrong with a table while polling.
const REPEAT: Duration = Duration::from_secs(60);

/// What is known of a table.
#[derive(Default)]
pub(crate) struct Known {
    /// The horizon of the last whole pull.
    pub(crate) horizon: Option<Stamp>,
    /// The destination was connected to all the time since.
    pub(crate) checked: bool,
    /// How it is written, and from which list of columns that was worked out.
    pub(crate) plan: Option<(String, Arc<Plan>)>,
    pub(crate) displaced: Displaced,
    /// When everything was read again.
    pub(crate) resynced: Option<Instant>,
    /// What the log said is wrong with it, and when.
    pub(crate) failed: Option<(String, Instant)>,
    pub(crate) totals: Totals,
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

impl Known {
    /// Takes note of a failure, and logs it unless the log said so a moment ago.
    pub(crate) fn fail(&mut self, error: &PullError) {
        // Its plan may be what was wrong.
        self.plan = None;
        let message = chain(error);
        let said = self
            .failed
            .as_ref()
            .is_some_and(|(said, when)| *said == message && when.elapsed() < REPEAT);
        if !said {
            tracing::error!("{message}");
            self.failed = Some((message, Instant::now()));
        }
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
