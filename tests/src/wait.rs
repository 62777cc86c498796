//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. Generous: a busy machine is slow, and
/// a test that works never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// The same for [`rarely`].
const RARELY: Duration = Duration::from_millis(150);

/// Waits until `condition` answers something, at most [`DEADLINE`].
///
/// # Panics
/// When it does not in time; the message says what was waited for.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, condition).await
}

/// Waits until `condition` answers something, at most `limit`.
///
/// # Panics
/// When it does not in time; the message says what was waited for.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    poll(INTERVAL, limit, what, condition).await
}

/// Waits for something that must not be looked at often: InnoDB's lists of transactions and
/// locks are made anew only when nobody has read them for a tenth of a second.
///
/// # Panics
/// When it does not come in time; the message says what was waited for.
pub async fn rarely<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    poll(RARELY, DEADLINE, what, condition).await
}

async fn poll<T>(
    interval: Duration,
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(interval).await;
    }
}
