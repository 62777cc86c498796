//! The puller: asks a dbd-server for the rows that changed, and writes them to a destination.
//!
//! A pull goes table by table, in the server's order. The position from which a table goes on is
//! read from the destination's own rows; nothing else is remembered between two runs.

mod answer;
mod args;
mod arrival;
mod batch;
mod choose;
mod client;
mod connection;
mod create;
mod ddl;
mod destination;
mod displace;
mod error;
mod fit;
mod fitness;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hosts;
mod known;
mod lanes;
mod link;
mod literal;
mod lock;
mod look;
mod pass;
mod plan;
mod position;
mod prepare;
#[cfg(test)]
mod properties;
mod pull;
mod reconcile;
mod refusal;
mod report;
mod resume;
mod round;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../../common/src/sql_reader.rs"]
mod sql_reader;
mod status;
mod summary;
mod tls;
mod transaction;
mod trouble;
mod upsert;
mod watch;
mod writer;

use std::time::Duration;

use tokio::time::Instant;

pub use args::Args;
pub use error::PullError;
pub use hosts::Place;
pub use reconcile::MaxDeletes;
pub use status::Place as StatusPlace;
pub use tls::{DestTls, SourceTls};

use round::Puller;
use trouble::Trouble;

/// Pulls once, or again and again until `shutdown` ends.
///
/// # Errors
/// When not every table was brought to its horizon; while polling only when no attempt can succeed, as the
/// first ones show.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), PullError> {
    args.check()?;
    let poll_interval = args.poll_interval;
    let mut puller = Puller::new(args)?;
    let _listening = puller.listen().await?;
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
    let mut has_pulled = false;
    loop {
        let began = Instant::now();
        let pause = match puller.round().await {
            // Each table's failure was logged; the others go on as fast as ever.
            Ok(()) | Err(PullError::Incomplete { .. }) => {
                has_pulled = true;
                if let Some(trouble) = trouble.take() {
                    trouble.over();
                }
                interval
            }
            // Flags that were right once are right again when the database is back that they speak of.
            Err(error @ (PullError::Usage(_) | PullError::Secret(_))) if !has_pulled => {
                return Err(error);
            }
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
