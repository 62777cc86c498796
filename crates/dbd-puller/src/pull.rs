//! One pull of one table, as a story. Alone sees both ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::frame::{Header, SourceState};
use common::ident::Ident;
use common::stamp::Stamp;
use tokio::sync::mpsc;

use crate::batch::{Batch, BatchRow, Gather, Layout};
use crate::client::{Client, Columns, KeyValues, Next, Rows, Window, in_parts};
use crate::destination::{Destination, KeyMap, Position, WriteError};
use crate::displace::{Displaced, joined};
use crate::error::PullError;
use crate::plan::Plan;

/// Full batches that wait for the destination while the next is gathered.
const BATCHES_AHEAD: usize = 1;

/// How many candidates for a position are checked at the source, step by step (R12).
const CANDIDATES: [usize; 6] = [1, 50, 500, 1_000, 1_000, 1_000];

/// How often rows that were fetched again may displace further ones, in one batch.
const ROUNDS: usize = 10;

/// How often a batch that displaces rows is tried after a deadlock or a lock wait.
const TRIES: u32 = 8;

/// What a pull of a table is asked to do.
pub(crate) struct Order<'a> {
    pub(crate) client: &'a Client,
    pub(crate) database: &'a Ident,
    pub(crate) plan: Arc<Plan>,
    /// Where the source stood when the pull of all tables began (R11).
    pub(crate) begun: &'a SourceState,
    pub(crate) wait: Duration,
    pub(crate) ignore_refusals: bool,
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
    /// Rows that the destination refused and that were left out.
    pub(crate) refused: u64,
}

/// Brings one table up to the horizon. A pull that stops part way is simply pulled again.
pub(crate) async fn pull(
    order: &Order<'_>,
    destination: &mut Destination,
    displaced: &mut Displaced,
    start: &Start,
) -> Result<Pulled, PullError> {
    let began = Instant::now();
    displaced.next_pull();
    let rows = order
        .client
        .window(order.database, &order.plan.table, &order.window(start))
        .await?;
    let header = (*rows.header).clone();
    order.same_source(&header)?;
    let layout = Layout::new(&order.plan, &header.columns)?;
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let reader = Reader(tokio::spawn(read(
        rows,
        Arc::clone(&order.plan),
        layout.clone(),
        destination.max_packet,
        order.ignore_refusals,
        sender,
    )));
    let mut writer = Writer {
        order,
        layout: &layout,
        destination,
        displaced,
        refused: 0,
    };
    let mut written = 0;
    let (rows, bytes) = loop {
        match batches.recv().await {
            Some(Read::Batch(batch)) => {
                written += batch.rows.len() as u64;
                writer.write(&batch).await?;
            }
            Some(Read::End { rows, bytes }) => break (rows, bytes),
            Some(Read::LeftOut(error)) => {
                written += 1;
                writer.left_out(&error);
            }
            Some(Read::Failed(error)) => return Err(error),
            None => {
                return Err(PullError::CutShort {
                    table: order.plan.table.clone(),
                    why: "it was read no further".to_owned(),
                });
            }
        }
    };
    drop(reader);
    if rows != written {
        return Err(PullError::CutShort {
            table: order.plan.table.clone(),
            why: format!("{written} rows arrived of {rows}"),
        });
    }
    Ok(Pulled {
        rows,
        bytes,
        seconds: began.elapsed().as_secs_f64(),
        source: header.source,
        more_above_horizon: header.more_above_horizon,
        refused: writer.refused,
    })
}

impl Order<'_> {
    fn window(&self, start: &Start) -> Window {
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

    /// An answer of another server belongs to another history.
    fn same_source(&self, header: &Header) -> Result<(), PullError> {
        if header.source.identity == self.begun.identity {
            return Ok(());
        }
        Err(PullError::CutShort {
            table: self.plan.table.clone(),
            why: "another server answered than the one that the pull began with".to_owned(),
        })
    }

    /// R12: where the destination's rows say that a pull must go on.
    ///
    /// A row that was written at the destination by somebody else may carry a later stamp than
    /// what has been pulled. So the greatest position counts that the source holds as well.
    pub(crate) async fn position(&self, destination: &mut Destination) -> Result<Start, PullError> {
        let plan = &self.plan;
        let horizon = self.begun.horizon.floor(plan.precision);
        let mut before: Option<Position> = None;
        let mut foreign: Option<Position> = None;
        for count in CANDIDATES {
            let candidates = destination
                .positions(plan, horizon, before.as_ref(), count)
                .await?;
            let stamps = self.stamps_at_source(&candidates).await?;
            for candidate in &candidates {
                match stamps.get(&candidate.key) {
                    Some(Some(stamp)) if *stamp == candidate.stamp => {
                        warn_of_foreign(plan, foreign.as_ref(), Some(candidate));
                        return Ok(Start::Behind(candidate.clone()));
                    }
                    // Changed at the source since: that the destination's stamp was ever the
                    // source's is not shown.
                    Some(Some(stamp)) if *stamp > candidate.stamp => {}
                    // Deleted at the source: likewise.
                    None => {}
                    Some(_) => {
                        foreign.get_or_insert_with(|| candidate.clone());
                    }
                }
            }
            if candidates.len() < count {
                warn_of_foreign(plan, foreign.as_ref(), None);
                return Ok(Start::Beginning);
            }
            before = candidates.last().cloned();
        }
        if foreign.is_none()
            && let Some(lowest) = before
        {
            return Ok(Start::Behind(lowest));
        }
        warn_of_foreign(plan, foreign.as_ref(), None);
        Ok(Start::Beginning)
    }

    /// The stamps that the source has for the keys of candidates; none for a key that it has not.
    async fn stamps_at_source(
        &self,
        candidates: &[Position],
    ) -> Result<KeyMap<Option<Stamp>>, PullError> {
        let plan = &self.plan;
        let keys: Vec<KeyValues> = candidates
            .iter()
            .map(|candidate| candidate.key.clone())
            .collect();
        let stamp = std::slice::from_ref(&plan.stamp.name);
        let mut stamps = KeyMap::new();
        for part in in_parts(&keys) {
            let mut rows = self.by_key(&Columns::Only(stamp), part).await?;
            let layout = Layout::of_position(plan, &rows.header.columns)?;
            while let Next::Row(line) = rows.next().await? {
                let (key, stamp) = layout.position(plan, &line)?;
                stamps.insert(key, stamp);
            }
        }
        Ok(stamps)
    }

    async fn by_key(&self, columns: &Columns<'_>, keys: &[KeyValues]) -> Result<Rows, PullError> {
        let (table, stamp) = (&self.plan.table, self.plan.asked_stamp.as_ref());
        let rows = self
            .client
            .by_key(self.database, table, stamp, columns, keys)
            .await?;
        self.same_source(&rows.header)?;
        Ok(rows)
    }

    /// The rows of these keys as the source has them now.
    async fn fetch(&self, keys: &[KeyValues]) -> Result<Vec<(Arc<Layout>, BatchRow)>, PullError> {
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

fn warn_of_foreign(plan: &Plan, foreign: Option<&Position>, holds: Option<&Position>) {
    let Some(foreign) = foreign else {
        return;
    };
    let from = holds.map_or("the beginning".to_owned(), |position| {
        position.stamp.to_string()
    });
    tracing::warn!(
        table = plan.table.as_str(),
        "something else writes to this table at the destination: the row with key {} has the stamp \
         {} there, later than at the source; pulling again from {from}. Make {} a column without ON \
         UPDATE at the destination, or stop what writes there",
        foreign.key.join(", "),
        foreign.stamp,
        plan.stamp.name,
    );
}

struct Writer<'a, 'b> {
    order: &'a Order<'b>,
    layout: &'a Layout,
    destination: &'a mut Destination,
    displaced: &'a mut Displaced,
    refused: u64,
}

impl Writer<'_, '_> {
    async fn write(&mut self, batch: &Batch) -> Result<(), PullError> {
        let plan = &self.order.plan;
        let plain = self
            .destination
            .write(plan, self.layout, batch, self.displaced)
            .await;
        let result = match plain {
            Err(WriteError::Meets(_)) => self.write_displacing(batch).await,
            result => result,
        };
        match result {
            Ok(()) => Ok(()),
            Err(WriteError::Pull(error @ PullError::Row { .. }) | WriteError::Meets(error)) => {
                if self.order.ignore_refusals {
                    return self.write_ignoring(batch).await;
                }
                self.write_before(batch, &error).await;
                Err(error)
            }
            Err(WriteError::Pull(error)) => Err(error),
            Err(WriteError::Again(source)) => Err(PullError::Destination {
                table: Some(plan.table.clone()),
                source,
            }),
        }
    }

    /// R6: writes a batch whose rows are to get unique values that other rows have.
    async fn write_displacing(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut try_number = 0;
        loop {
            try_number += 1;
            let result = self.try_displacing(batch).await;
            if result.is_err() {
                self.destination.roll_back().await;
            }
            match result {
                Err(WriteError::Again(error)) if try_number < TRIES => {
                    tracing::debug!(%error, "trying the batch again");
                }
                result => return result,
            }
        }
    }

    async fn try_displacing(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let plan = &self.order.plan;
        let Some(last) = batch.rows.last() else {
            return Ok(());
        };
        let (last_stamp, last_key) = (self.layout.stamp(last), self.layout.key(last));
        let mut brought: Vec<KeyValues> =
            batch.rows.iter().map(|row| self.layout.key(row)).collect();
        let mut back: Vec<BatchRow> = Vec::new();
        let mut trial = self.displaced.clone();
        self.destination.begin(plan).await?;
        let mut rows = batch.rows.clone();
        for _ in 0..ROUNDS {
            let in_the_way = self
                .destination
                .in_the_way(plan, self.layout, &rows, &last_key)
                .await?;
            if in_the_way.is_empty() {
                break;
            }
            trial.remember(plan, &in_the_way)?;
            self.destination.displace(plan, &in_the_way).await?;
            let missing: Vec<KeyValues> = in_the_way
                .iter()
                .filter(|row| !brought.contains(&row.key))
                .map(|row| row.key.clone())
                .collect();
            rows.clear();
            for (layout, row) in self.order.fetch(&missing).await? {
                let (stamp, key) = (layout.stamp(&row), layout.key(&row));
                let after_last = in_the_way
                    .iter()
                    .any(|displaced| displaced.key == key && displaced.after_last);
                // R3: what comes behind this batch comes by the window.
                if stamp < last_stamp || (stamp == last_stamp && !after_last) {
                    brought.push(key);
                    rows.push(row);
                }
            }
            back.extend(rows.iter().cloned());
        }
        let restored = self
            .destination
            .write_rows(plan, self.layout, &joined(batch, &back), &trial)
            .await?;
        self.destination.commit(plan).await?;
        trial.forget(&restored);
        *self.displaced = trial;
        Ok(())
    }

    /// Writes what stands before the row that was refused: the table stops right before it.
    async fn write_before(&mut self, batch: &Batch, refused: &PullError) {
        let PullError::Row { key, .. } = refused else {
            return;
        };
        let is_refused = |row: &BatchRow| self.layout.key(row).join(", ") == *key;
        let before = Batch {
            rows: batch
                .rows
                .iter()
                .take_while(|row| !is_refused(row))
                .cloned()
                .collect(),
        };
        if before.rows.is_empty() || before.rows.len() == batch.rows.len() {
            return;
        }
        let written = self
            .destination
            .write(&self.order.plan, self.layout, &before, self.displaced)
            .await;
        if written.is_err() {
            // They come again with the next pull, and the refusal is what the user has to mend.
            tracing::debug!("could not write the rows before the refused one");
        }
    }

    fn left_out(&mut self, error: &PullError) {
        tracing::error!("left out: {error}");
        self.refused += 1;
    }

    async fn write_ignoring(&mut self, batch: &Batch) -> Result<(), PullError> {
        let plan = &self.order.plan;
        let refused = self
            .destination
            .write_some(plan, self.layout, batch, self.displaced)
            .await;
        match refused {
            Ok(refused) => {
                for error in &refused {
                    self.left_out(error);
                }
                Ok(())
            }
            Err(WriteError::Pull(error) | WriteError::Meets(error)) => Err(error),
            Err(WriteError::Again(source)) => Err(PullError::Destination {
                table: Some(plan.table.clone()),
                source,
            }),
        }
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
    max_packet: usize,
    ignore_refusals: bool,
    batches: mpsc::Sender<Read>,
) {
    let mut gather = Gather::new(max_packet);
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
    }
}
