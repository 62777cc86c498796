//! How far an answer reaches.
//!
//! R11. A pull brings every change that was committed before it began. A row stamped in the second
//! that still runs lies above the horizon, so the answer waits until the horizon has passed the
//! time at which the pull began; but only when such a row is there.

use std::time::Duration;

use common::frame::SourceState;
use common::stamp::Stamp;

use crate::error::ApiError;
use crate::horizon::Horizon;
use crate::lease::Source;
use crate::reading::Reading;

/// Where the source stands, with a horizon floored to the stamp column's precision, and whether
/// committed rows lie above it.
///
/// # Errors
/// When there is no horizon, or the source failed.
pub(crate) async fn reach(
    source: &Source,
    horizon: &Horizon,
    reading: &Reading,
    begun: Option<Stamp>,
    wait: Duration,
) -> Result<(SourceState, bool), ApiError> {
    let precision = reading.stamp.scale;
    let floored = |mut state: SourceState| {
        state.horizon = state.horizon.floor(precision);
        state
    };
    let mut lease = source.lease().await?;
    let now = lease.now().await?;
    let mut state = floored(horizon.state()?);
    // The last sample is a moment old, and changes are committed by the moment.
    state.now = state.now.max(now);
    let target = begun.unwrap_or(state.now);
    // An answer that does not wait looks for rows above it only where that costs nothing.
    let Some(lookup) = reading.lookup(state.horizon, target, !wait.is_zero()) else {
        return Ok((state, false));
    };
    if state.horizon > target || lease.query(&lookup).await?.is_empty() {
        return Ok((state, false));
    }
    if wait.is_zero() {
        return Ok((state, true));
    }
    // Others may use the connection meanwhile.
    drop(lease);
    let passed = target.next(precision).minus_micros(1);
    let mut state = floored(horizon.wait_above(passed, wait).await?);
    state.now = state.now.max(now);
    if state.horizon > target {
        return Ok((state, false));
    }
    let Some(lookup) = reading.lookup(state.horizon, target, true) else {
        return Ok((state, false));
    };
    let mut lease = source.lease().await?;
    let left = !lease.query(&lookup).await?.is_empty();
    Ok((state, left))
}
