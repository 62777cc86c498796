//! Pulls that fail one after the other: how long to wait, and what the log has of it.

use std::collections::HashMap;
use std::time::Duration;

use common::logs::millis;
use common::process::chain;
use tokio::time::Instant;

use crate::error::PullError;

/// Between two attempts while pulls fail, at most.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// How often the log repeats what is wrong while polling.
pub(crate) const REPEAT: Duration = Duration::from_secs(60);

/// How long to wait after so many failures: longer each time, and not when everybody else does who
/// lost the same server.
pub(crate) fn backoff(interval: Duration, failures: u32) -> Duration {
    let most = interval.max(MAX_BACKOFF);
    let backoff = interval.saturating_mul(1 << failures.min(10)).min(most);
    backoff.mul_f64(0.5 + fastrand::f64() / 2.0).max(interval)
}

/// Pulls that fail, from the first on.
pub(crate) struct Trouble {
    since: Instant,
    failures: u32,
    /// The kind of the last line that was logged.
    last: Option<String>,
    /// When which kind was logged.
    said: HashMap<String, Instant>,
}

impl Trouble {
    pub(crate) fn begins(since: Instant) -> Self {
        Self {
            since,
            failures: 0,
            last: None,
            said: HashMap::new(),
        }
    }

    /// Takes note of a failure, and logs it when it is of another kind than the one before; answers how long to
    /// wait.
    pub(crate) fn again(&mut self, error: &PullError, interval: Duration) -> Duration {
        self.failures += 1;
        if self.is_news(error, Instant::now()) {
            tracing::error!("{}; trying again", chain(error));
        } else {
            tracing::debug!("{}", chain(error));
        }
        backoff(interval, self.failures)
    }

    /// Whether the log shows another kind of failure by now, and has not shown this one a moment ago: two
    /// that take turns must not fill it.
    fn is_news(&mut self, error: &PullError, now: Instant) -> bool {
        let kind = error.kind();
        let lately = self
            .said
            .get(&kind)
            .is_some_and(|said| now - *said < REPEAT);
        let news = self.last.as_ref() != Some(&kind) && !lately;
        if news {
            self.said.insert(kind.clone(), now);
            self.last = Some(kind);
        }
        news
    }

    pub(crate) fn over(&self) {
        tracing::info!(
            failures = self.failures,
            seconds = millis(self.since.elapsed().as_secs_f64()),
            "pulls succeed again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_not_all_the_same() {
        let interval = Duration::from_millis(200);
        let pauses: Vec<Duration> = (1..=40).map(|times| backoff(interval, times)).collect();
        assert!(
            pauses
                .iter()
                .all(|pause| (interval..=MAX_BACKOFF).contains(pause))
        );
        assert!(pauses[20..].iter().all(|pause| *pause >= MAX_BACKOFF / 2));
        assert!(pauses[20..].iter().any(|pause| *pause != pauses[20]));
        // An interval that is longer than the bound stays what it is.
        let long = Duration::from_secs(600);
        assert_eq!(backoff(long, 40), long);
    }

    #[test]
    fn the_log_shows_each_kind_of_trouble_once_a_minute() {
        let refusal = |status| PullError::Refusal {
            status,
            detail: fastrand::u64(..).to_string(),
        };
        let mut now = Instant::now();
        let mut trouble = Trouble::begins(now);
        for (after, status, news) in [
            (0, 503, true),
            (10, 503, false),
            (10, 401, true),
            // Both take turns.
            (10, 503, false),
            (10, 401, false),
            // 503 was said a minute ago, and the log has 401 for the last.
            (20, 503, true),
            (20, 401, true),
            // Nothing new for an hour.
            (3_600, 401, false),
        ] {
            now += Duration::from_secs(after);
            assert_eq!(trouble.is_news(&refusal(status), now), news, "{status}");
        }
    }
}
