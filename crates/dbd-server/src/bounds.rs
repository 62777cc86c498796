//! What answers may take: how many at once, and how long each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::error::ApiError;
use crate::requests::Line;

/// Between two lines of the log about callers that were sent away.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What answers may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Answers at once.
    pub answers: usize,
    /// How long one statement may run at the source.
    pub query: Duration,
    /// How long one answer may last in all.
    pub answer: Duration,
    /// How long a reader may take nothing of what there is for it.
    pub stall: Duration,
}

/// Why an answer ends before its end although nothing failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(
        "the answer lasted longer than --max-stream-seconds of the dbd-server; go on from its last row"
    )]
    TooLong,

    #[error("the reader took nothing for --max-stall-seconds")]
    Stalled,

    #[error("the dbd-server stops; ask again when it is back")]
    Stopping,
}

/// The places for answers, and what ends them all.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    bounds: Bounds,
    free: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    said: Arc<Mutex<Option<Instant>>>,
}

/// The place of one answer, and when it has to be done.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    until: Instant,
    stop: watch::Sender<bool>,
    /// How long the reader may take nothing.
    pub(crate) stall: Duration,
    /// What the log will say of the request.
    pub(crate) line: Line,
    /// It is free again when the last clone is dropped.
    _place: Arc<OwnedSemaphorePermit>,
}

impl Places {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bounds.answers)),
            bounds,
            stop: watch::Sender::new(false),
            said: Arc::default(),
        }
    }

    /// How many answers are being sent, and how many may be at most.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let most = self.bounds.answers;
        (most.saturating_sub(self.free.available_permits()), most)
    }

    /// Ends every answer.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn take(&self) -> Result<Term, ApiError> {
        let Ok(place) = Arc::clone(&self.free).try_acquire_owned() else {
            self.say();
            return Err(ApiError::Busy(self.bounds.answers));
        };
        Ok(Term {
            until: Instant::now() + self.bounds.answer,
            stop: self.stop.clone(),
            stall: self.bounds.stall,
            line: Line::default(),
            _place: Arc::new(place),
        })
    }

    /// Many callers may be sent away: the log has a line a minute.
    fn say(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(
                "callers are sent away: {} answers are being sent already; raise --max-answers if \
                 the source can bear more",
                self.bounds.answers
            );
        }
    }
}

impl Term {
    /// Goes on with `work` for as long as the answer may last.
    ///
    /// # Errors
    /// When its time is over; `work` is dropped then.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            biased;
            done = work => Ok(done),
            // The sender lives as long as this does, so this ends only when it is told to.
            _ = stop.wait_for(|stop| *stop) => Err(Ended::Stopping),
            () = tokio::time::sleep_until(self.until) => Err(Ended::TooLong),
        }
    }
}

/// Gives the request a place, or sends its caller away at once.
pub(crate) async fn admit(
    State(places): State<Places>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let mut term = places.take()?;
    if let Some(line) = request.extensions().get::<Line>() {
        term.line = line.clone();
    }
    request.extensions_mut().insert(term.clone());
    Ok(term.hold(next.run(request)).await?)
}
