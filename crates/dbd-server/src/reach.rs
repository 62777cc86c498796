//! How far an answer reaches.
//!
//! R11. A pull brings every change that was committed before it began. A row stamped in the second
//! that still runs lies above the horizon, so the answer waits until the horizon has passed the
//! time at which the pull began; but only when such a row is there.

use std::time::Duration;

use common::frame::SourceState;
use common::stamp::Stamp;

use crate::error::ApiError;
use crate::horizon::{Horizon, NotKnown};
use crate::lease::{Source, SourceError};
use crate::reading::Reading;
use crate::sink::ReadError;

/// Why an answer about a table cannot begin.
#[derive(Debug)]
pub(crate) enum Unready {
    /// There is no horizon.
    NotKnown(NotKnown),
    /// The source failed.
    Source(SourceError),
}

impl From<NotKnown> for Unready {
    fn from(error: NotKnown) -> Self {
        Self::NotKnown(error)
    }
}

impl From<SourceError> for Unready {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<Unready> for ApiError {
    fn from(error: Unready) -> Self {
        match error {
            Unready::NotKnown(error) => Self::NotKnown(error),
            Unready::Source(error) => Self::Source(error),
        }
    }
}

impl From<Unready> for ReadError {
    fn from(error: Unready) -> Self {
        match error {
            Unready::NotKnown(error) => Self::NotKnown(error),
            Unready::Source(error) => Self::Source(error),
        }
    }
}

/// How far an answer reaches, and what it leaves.
pub(crate) struct Reach {
    /// Where the source stands, with a horizon floored to the stamp column's precision.
    pub(crate) state: SourceState,
    /// Committed rows lie above the horizon, and not above the time to wait for.
    pub(crate) more_above_horizon: bool,
    /// Rows are stamped later than the source's time (R4). Looked for only by an answer that may
    /// wait, and where an index tells.
    pub(crate) rows_in_future: bool,
}

/// Finds out how far an answer reaches, and waits for what was committed before `begun`. It looks at the
/// table, so it takes as long as somebody keeps that locked.
///
/// # Errors
/// When there is no horizon, or the source failed.
pub(crate) async fn reach(
    source: &Source,
    horizon: &Horizon,
    reading: &Reading,
    begun: Option<Stamp>,
    wait: Duration,
) -> Result<Reach, Unready> {
    let precision = reading.stamp.scale;
    let mut lease = source.lease().await?;
    let now = lease.now().await?;
    let look = |horizon: &Horizon| -> Result<Reach, Unready> {
        let mut state = horizon.state()?;
        state.horizon = state.horizon.floor(precision);
        // The last sample is a moment old, and changes are committed by the moment.
        state.now = state.now.max(now);
        Ok(Reach {
            state,
            more_above_horizon: false,
            rows_in_future: false,
        })
    };
    let mut reach = look(horizon)?;
    let target = begun.unwrap_or(reach.state.now);
    if !wait.is_zero()
        && let Some(lookup) = reading.lookup(reach.state.now.next(precision), None, false)
    {
        reach.rows_in_future = !lease.query(&lookup).await?.is_empty();
    }
    // An answer that does not wait looks for rows above it only where that costs nothing.
    let Some(lookup) = reading.lookup(reach.state.horizon, Some(target), !wait.is_zero()) else {
        return Ok(reach);
    };
    if reach.state.horizon > target || lease.query(&lookup).await?.is_empty() {
        return Ok(reach);
    }
    if wait.is_zero() {
        reach.more_above_horizon = true;
        return Ok(reach);
    }
    // Others may use the connection meanwhile.
    drop(lease);
    let passed = target.next(precision).minus_micros(1);
    // What it came to is looked at below.
    let _ = horizon.wait_above(passed, wait).await;
    let rows_in_future = reach.rows_in_future;
    reach = Reach {
        rows_in_future,
        ..look(horizon)?
    };
    if reach.state.horizon <= target
        && let Some(lookup) = reading.lookup(reach.state.horizon, Some(target), true)
    {
        let mut lease = source.lease().await?;
        reach.more_above_horizon = !lease.query(&lookup).await?.is_empty();
    }
    Ok(reach)
}
