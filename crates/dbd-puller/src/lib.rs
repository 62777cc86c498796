//! The puller: asks a dbd-server for the rows that changed, and writes them to a destination.
//!
//! A pull goes table by table, in the server's order. The position from which a table goes on is
//! read from the destination's own rows; nothing else is remembered between two runs.

mod answer;
mod args;
mod batch;
mod choose;
mod client;
mod connection;
mod create;
mod ddl;
mod destination;
mod displace;
mod error;
mod known;
mod lanes;
mod literal;
mod lock;
mod pass;
mod plan;
mod position;
mod pull;
mod reconcile;
mod refusal;
mod resume;
mod round;
mod transaction;
mod upsert;
mod writer;

use std::time::Duration;

use common::process::chain;
use tokio::time::Instant;

pub use args::Args;
pub use error::PullError;
pub use reconcile::MaxDeletes;

use round::Puller;

/// Between two attempts while pulls fail, at most.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Pulls once, or again and again until `shutdown` ends.
///
/// # Errors
/// When not every table was brought to its horizon; while polling only when no attempt can succeed.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), PullError> {
    args.check()?;
    let poll_interval = args.poll_interval;
    let mut puller = Puller::new(args)?;
    let result = tokio::select! {
        result = pulls(&mut puller, poll_interval) => result,
        // Dropping a pull midway rolls its batch back.
        () = shutdown => match poll_interval {
            Some(_) => Ok(()),
            None => Err(PullError::Stopped),
        },
    };
    puller.summarise();
    result
}

async fn pulls(puller: &mut Puller, poll_interval: Option<Duration>) -> Result<(), PullError> {
    let Some(interval) = poll_interval else {
        return puller.round().await;
    };
    let mut trouble: Option<Trouble> = None;
    loop {
        let began = Instant::now();
        let pause = match puller.round().await {
            // Each table's failure was logged; the others go on as fast as ever.
            Ok(()) | Err(PullError::Incomplete { .. }) => {
                if let Some(trouble) = trouble.take() {
                    trouble.over();
                }
                interval
            }
            Err(error @ (PullError::Usage(_) | PullError::Secret(_))) => return Err(error),
            // Somebody else pulls already. Once this puller has begun it goes on trying: it may be its
            // own lost connection, or a second puller that is noticed and stopped.
            Err(error @ PullError::Locked { .. }) if !puller.has_held_lock() => return Err(error),
            Err(error) => trouble
                .get_or_insert_with(|| Trouble::begins(began))
                .again(&error, interval),
        };
        tokio::time::sleep_until(began + pause).await;
    }
}

/// Pulls that fail one after the other.
struct Trouble {
    since: Instant,
    failures: u32,
}

impl Trouble {
    fn begins(since: Instant) -> Self {
        Self { since, failures: 0 }
    }

    /// Takes note of a failure, logs the first, and answers how long to wait: longer each time, and not
    /// when everybody else does who lost the same server.
    fn again(&mut self, error: &PullError, interval: Duration) -> Duration {
        self.failures += 1;
        match self.failures {
            1 => tracing::error!("{}; trying again", chain(error)),
            _ => tracing::debug!("{}", chain(error)),
        }
        let most = interval.max(MAX_BACKOFF);
        let backoff = interval
            .saturating_mul(1 << self.failures.min(10))
            .min(most);
        backoff.mul_f64(0.5 + fastrand::f64() / 2.0).max(interval)
    }

    fn over(&self) {
        tracing::info!(
            failures = self.failures,
            seconds = format_args!("{:.1}", self.since.elapsed().as_secs_f64()),
            "pulls succeed again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_not_all_the_same() {
        let error = PullError::Stopped;
        let interval = Duration::from_millis(200);
        let mut pauses = Vec::new();
        let mut trouble = Trouble::begins(Instant::now());
        for _ in 0..40 {
            pauses.push(trouble.again(&error, interval));
        }
        assert!(
            pauses
                .iter()
                .all(|pause| (interval..=MAX_BACKOFF).contains(pause))
        );
        assert!(pauses[20..].iter().all(|pause| *pause >= MAX_BACKOFF / 2));
        assert!(pauses[20..].iter().any(|pause| *pause != pauses[20]));
        // An interval that is longer than the bound stays what it is.
        let long = Duration::from_secs(600);
        assert_eq!(trouble.again(&error, long), long);
    }
}
