//! Batches that are written side by side, each on a connection of its own, and committed in their order (R3).
//!
//! A batch is sent as soon as a lane is free, and commits only after the batch before it has. Whatever
//! goes wrong in a lane, every batch in flight is rolled back and written again one after the other, the
//! careful way: nothing is decided here.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::batch::{Batch, Layout};
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::plan::Plan;
use crate::transaction::WriteError;

/// After so many times that batches in flight had to be written again, a pull goes on with one connection:
/// its rows are in each other's way.
const MAX_SETBACKS: usize = 3;

/// The lanes of one pull of a table.
pub(crate) struct Lanes {
    plan: Arc<Plan>,
    layout: Arc<Layout>,
    free: Vec<Destination>,
    /// The oldest first.
    in_flight: VecDeque<InFlight>,
    setbacks: usize,
}

/// A batch whose rows are being written, and are not committed.
struct InFlight {
    batch: Arc<Batch>,
    task: Task,
}

/// Ends with whoever waits for it; its connection ends with it, and the transaction.
struct Task(JoinHandle<(Destination, Result<(), WriteError>)>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What became of the oldest batch in flight.
pub(crate) enum Turn {
    /// It is committed.
    Committed(Arc<Batch>),
    /// It is to be written again, and so are those behind it: none of them is.
    Again(Vec<Arc<Batch>>),
}

impl Lanes {
    pub(crate) fn new(plan: &Arc<Plan>, layout: &Layout, lanes: Vec<Destination>) -> Self {
        Self {
            plan: Arc::clone(plan),
            layout: Arc::new(layout.clone()),
            free: lanes,
            in_flight: VecDeque::new(),
            setbacks: 0,
        }
    }

    /// Whether batches can be written side by side.
    pub(crate) fn is_open(&self) -> bool {
        self.setbacks < MAX_SETBACKS && self.free.len() + self.in_flight.len() > 1
    }

    /// Whether a batch is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether a batch can start at once.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Starts to write a batch; only where there is room.
    pub(crate) fn start(&mut self, batch: Batch) {
        let Some(mut lane) = self.free.pop() else {
            return;
        };
        let batch = Arc::new(batch);
        let (plan, layout) = (Arc::clone(&self.plan), Arc::clone(&self.layout));
        let rows = Arc::clone(&batch);
        let task = tokio::spawn(async move {
            let nothing = Displaced::default();
            let written = async {
                lane.begin(&plan).await?;
                lane.write_rows(&plan, &layout, &rows.rows, &nothing).await
            };
            let written = written.await.map(|_| ());
            (lane, written)
        });
        self.in_flight.push_back(InFlight {
            batch,
            task: Task(task),
        });
    }

    /// Commits the oldest batch in flight when it is written.
    ///
    /// # Errors
    /// When trying again is of no use: the lock is lost.
    pub(crate) async fn turn(&mut self) -> Result<Turn, WriteError> {
        let Some(mut oldest) = self.in_flight.pop_front() else {
            return Ok(Turn::Again(Vec::new()));
        };
        let failed = match (&mut oldest.task.0).await {
            Ok((mut lane, Ok(()))) => match lane.commit(&self.plan).await {
                Ok(()) => {
                    self.free.push(lane);
                    return Ok(Turn::Committed(Arc::clone(&oldest.batch)));
                }
                Err(error) => Some((lane, error)),
            },
            Ok((lane, Err(error))) => Some((lane, error)),
            // The task was ended, and its connection with it.
            Err(_) => None,
        };
        self.setbacks += 1;
        if let Some((lane, error)) = failed {
            tracing::debug!(
                table = self.plan.table.as_str(),
                ?error,
                "writing batches again"
            );
            if let WriteError::Pull(error @ crate::error::PullError::LockLost { .. }) = error {
                return Err(WriteError::Pull(error));
            }
            self.give_back(lane).await;
        }
        let mut again = vec![Arc::clone(&oldest.batch)];
        while let Some(mut later) = self.in_flight.pop_front() {
            // Its locks are in the way of the batches before it.
            if let Ok((lane, _)) = (&mut later.task.0).await {
                self.give_back(lane).await;
            }
            again.push(Arc::clone(&later.batch));
        }
        Ok(Turn::Again(again))
    }

    /// Rolls a lane back. One whose connection is gone is not used again.
    async fn give_back(&mut self, mut lane: Destination) {
        if lane.roll_back().await {
            self.free.push(lane);
        }
    }

    /// The lanes, when nothing is in flight.
    pub(crate) fn into_free(self) -> Vec<Destination> {
        self.free
    }
}
