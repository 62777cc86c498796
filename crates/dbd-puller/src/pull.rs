//! One pull of one table, as a story. Alone sees both ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::frame::{Header, SourceState};
use common::ident::Ident;
use common::stamp::Stamp;
use tokio::sync::mpsc;

use crate::answer::{Next, Rows};
use crate::batch::{Batch, BatchRow, Gather, Layout};
use crate::client::{Client, Columns, KeyValues, Match, Window, in_parts};
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::plan::Plan;
use crate::position::Position;
use crate::status::Progress;
use crate::writer::Writer;

/// Full batches that wait for the destination while the next is gathered.
const BATCHES_AHEAD: usize = 1;

/// A batch whose rows arrive slowly is not gathered for longer.
const GATHERED_WITHIN: Duration = Duration::from_secs(1);

/// What a pull of a table is asked to do.
pub(crate) struct Order<'a> {
    pub(crate) client: &'a Client,
    pub(crate) database: &'a Ident,
    pub(crate) plan: Arc<Plan>,
    /// Where the source stood when the pull of all tables began (R11).
    pub(crate) begun: &'a SourceState,
    pub(crate) wait: Duration,
    pub(crate) ignore_refusals: bool,
    /// When everything is read again: the position that was reached before.
    pub(crate) held: Option<Position>,
    /// Where the rows that are committed are counted.
    pub(crate) progress: Progress,
    /// In a reconcile: rows stamped below this time are due, whatever order they come in (R9).
    pub(crate) due: Option<Stamp>,
}

/// Where a pull of a table begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Start {
    /// With every row.
    Beginning,
    /// With rows stamped at or after a horizon that was reached before.
    Horizon(Stamp),
    /// Right behind a position.
    Behind(Position),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) source: SourceState,
    pub(crate) more_above_horizon: bool,
    pub(crate) rows_in_future: bool,
    /// Rows that the destination refused and that were left out.
    pub(crate) refused: u64,
}

/// Brings one table up to the horizon. A pull that stops part way is simply pulled again, from the last row
/// that was committed: `reached` tells.
pub(crate) async fn pull(
    order: &Order<'_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    start: &Start,
    reached: &mut Option<Position>,
) -> Result<Pulled, PullError> {
    let began = Instant::now();
    displaced.next_pull();
    let rows = order
        .client
        .window(order.database, &order.plan.table, &order.window(start))
        .await?;
    let header = (*rows.header).clone();
    order.trust(&header)?;
    let layout = Layout::new(&order.plan, &header.columns)?;
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let reader = Reader(tokio::spawn(read(
        rows,
        Arc::clone(&order.plan),
        layout.clone(),
        order.ignore_refusals,
        sender,
    )));
    let mut writer = Writer::new(order, &layout, destination, displaced).side_by_side();
    let came = arrives(&mut writer, &mut batches, &order.plan).await;
    if let Some(position) = writer.reached() {
        *reached = Some(position.clone());
    }
    let (rows, bytes, written) = came?;
    drop(reader);
    if rows != written {
        // Nobody knows which are missing.
        *reached = None;
        return Err(PullError::CutShort {
            table: order.plan.table.clone(),
            why: format!("{written} rows arrived of {rows}"),
        });
    }
    let refused = writer.refused();
    writer.close();
    Ok(Pulled {
        rows,
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        source: header.source,
        more_above_horizon: header.more_above_horizon,
        rows_in_future: header.rows_in_future,
        refused,
    })
}

/// Writes what is read, to the end; answers the rows and bytes of the answer, and how many rows were taken.
async fn arrives(
    writer: &mut Writer<'_, '_>,
    batches: &mut mpsc::Receiver<Read>,
    plan: &Plan,
) -> Result<(u64, u64, u64), PullError> {
    let mut written = 0;
    loop {
        match batches.recv().await {
            Some(Read::Batch(batch)) => {
                written += batch.rows.len() as u64;
                writer.next(batch).await?;
            }
            Some(Read::End { rows, bytes }) => {
                writer.finish().await?;
                return Ok((rows, bytes, written));
            }
            Some(Read::LeftOut(error)) => {
                written += 1;
                writer.left_out(&error);
            }
            Some(Read::Failed(error)) => {
                // What came before is right, and a prefix (R3).
                writer.finish().await?;
                return Err(error);
            }
            None => {
                return Err(PullError::CutShort {
                    table: plan.table.clone(),
                    why: "it was read no further".to_owned(),
                });
            }
        }
    }
}

impl Order<'_> {
    pub(crate) fn window(&self, start: &Start) -> Window {
        let (since, after) = match start {
            Start::Beginning => (None, None),
            Start::Horizon(horizon) => (Some(*horizon), None),
            Start::Behind(position) => (Some(position.stamp), Some(position.key.clone())),
        };
        Window {
            stamp: self.plan.asked_stamp.clone(),
            since,
            after,
            exclude: self.plan.excluded.clone(),
            wait: self.wait,
            begun: (!self.wait.is_zero()).then_some(self.begun.now),
        }
    }

    /// Refuses an answer of another server, which belongs to another history; and in a reconcile one
    /// of a server that knows less than what has been pulled.
    pub(crate) fn trust(&self, header: &Header) -> Result<(), PullError> {
        let source = &header.source;
        let refuse = |why: String| {
            Err(PullError::CutShort {
                table: self.plan.table.clone(),
                why,
            })
        };
        if source.identity != self.begun.identity {
            return refuse(
                "another server answered than the one that the pull began with".to_owned(),
            );
        }
        match self.due {
            Some(due) if source.horizon < due => refuse(format!(
                "its horizon {} lies before {due}, up to which the table has been pulled: that \
                 dbd-server lags",
                source.horizon
            )),
            _ => Ok(()),
        }
    }

    /// The source's rows of these keys, byte for byte.
    pub(crate) async fn by_key(
        &self,
        columns: &Columns<'_>,
        keys: &[KeyValues],
    ) -> Result<Rows, PullError> {
        self.ask(columns, keys, Match::Bytes).await
    }

    /// The source's rows of these keys, and of those that its collations hold equal to one of them.
    pub(crate) async fn matching(
        &self,
        columns: &Columns<'_>,
        keys: &[KeyValues],
    ) -> Result<Rows, PullError> {
        self.ask(columns, keys, Match::Collation).await
    }

    async fn ask(
        &self,
        columns: &Columns<'_>,
        keys: &[KeyValues],
        matching: Match,
    ) -> Result<Rows, PullError> {
        let (table, stamp) = (&self.plan.table, self.plan.asked_stamp.as_ref());
        let rows = self
            .client
            .by_key(self.database, table, stamp, columns, (keys, matching))
            .await?;
        self.trust(&rows.header)?;
        Ok(rows)
    }

    /// The rows of these keys as the source has them now.
    pub(crate) async fn fetch(
        &self,
        keys: &[KeyValues],
    ) -> Result<Vec<(Arc<Layout>, BatchRow)>, PullError> {
        let plan = &self.plan;
        let mut found = Vec::new();
        for part in in_parts(keys) {
            let mut rows = self.by_key(&Columns::Without(&plan.excluded), part).await?;
            let layout = Arc::new(Layout::new(plan, &rows.header.columns)?);
            while let Next::Row(line) = rows.next().await? {
                found.push((Arc::clone(&layout), layout.row(plan, line)?));
            }
        }
        Ok(found)
    }
}

/// What the reader hands to the writer.
enum Read {
    Batch(Batch),
    End { rows: u64, bytes: u64 },
    LeftOut(PullError),
    Failed(PullError),
}

/// The reading half, which ends with the pull.
struct Reader(tokio::task::JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Gathers batches while the one before is written.
async fn read(
    mut rows: Rows,
    plan: Arc<Plan>,
    layout: Layout,
    ignore_refusals: bool,
    batches: mpsc::Sender<Read>,
) {
    let mut gather = Gather::default();
    let mut since = Instant::now();
    loop {
        let row = match rows.next().await {
            Ok(Next::Row(line)) => layout.row(&plan, line),
            Ok(Next::End(end)) => {
                let last = gather.take();
                if !last.rows.is_empty() && batches.send(Read::Batch(last)).await.is_err() {
                    return;
                }
                let bytes = rows.bytes();
                // A receiver that is gone wants no end either.
                let _ = batches
                    .send(Read::End {
                        rows: end.rows,
                        bytes,
                    })
                    .await;
                return;
            }
            Err(error) => Err(error),
        };
        let read = match row {
            Ok(row) => match gather.push(row) {
                Some(batch) => Read::Batch(batch),
                None if since.elapsed() > GATHERED_WITHIN => Read::Batch(gather.take()),
                None => continue,
            },
            Err(error @ PullError::Row { .. }) if ignore_refusals => Read::LeftOut(error),
            Err(error) => {
                // What came before the failure is right, and a prefix (R3).
                let before = gather.take();
                if !before.rows.is_empty() && batches.send(Read::Batch(before)).await.is_err() {
                    return;
                }
                Read::Failed(error)
            }
        };
        let failed = matches!(read, Read::Failed(_));
        if batches.send(read).await.is_err() || failed {
            return;
        }
        // Not the time for which the writer was waited for.
        since = Instant::now();
    }
}
