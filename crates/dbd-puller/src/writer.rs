//! Writes batches one after the other: plainly, or the careful way where rows are in the way (R6).

use crate::batch::{Batch, BatchRow, Layout, PART_ROWS};
use crate::client::KeyValues;
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::lanes::{Lanes, Turn};
use crate::position::Position;
use crate::pull::Order;
use crate::transaction::{Tries, UNKNOWN_KEY, WriteError};

/// How often rows that were fetched again may displace further ones, in one batch.
const ROUNDS: usize = 10;

/// The same in a reconcile, where no window brings the rest of a chain of rows that pass a unique value on.
const RECONCILE_ROUNDS: usize = 10_000;

/// Rows that were fetched again and are written in one statement, at most.
const BACK: usize = 100;

/// The writing half of a pull.
pub(crate) struct Writer<'a, 'b> {
    order: &'a Order<'b>,
    layout: &'a Layout,
    destination: &'a mut Destination,
    displaced: &'a mut Displaced,
    refused: u64,
    lanes: Lanes,
    /// Whether lanes are still to be opened, for which there are batches enough once one was taken.
    side_by_side: bool,
    taken: bool,
    /// The last row that was committed.
    reached: Option<Position>,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(crate) fn new(
        order: &'a Order<'b>,
        layout: &'a Layout,
        destination: &'a mut Destination,
        displaced: &'a mut Displaced,
    ) -> Self {
        Self {
            order,
            layout,
            destination,
            displaced,
            refused: 0,
            lanes: Lanes::new(&order.plan, layout, Vec::new()),
            side_by_side: false,
            taken: false,
            reached: None,
        }
    }

    /// Writes batches side by side from the second one on, where the destination is to have lanes for that.
    pub(crate) fn side_by_side(mut self) -> Self {
        self.side_by_side = true;
        self
    }

    /// Takes the next batch of a pull. It is committed behind all that were taken before it (R3), at the
    /// latest by [`Writer::finish`].
    pub(crate) async fn next(&mut self, batch: Batch) -> Result<(), PullError> {
        if self.side_by_side && self.taken {
            self.side_by_side = false;
            self.destination.open_lanes().await?;
            let lanes = std::mem::take(&mut self.destination.lanes);
            self.lanes = Lanes::new(&self.order.plan, self.layout, lanes);
        }
        self.taken = true;
        while self.lanes.is_open() && self.displaced.is_empty() && !batch.is_one_long_row() {
            if self.lanes.has_room() {
                self.lanes.start(batch);
                return Ok(());
            }
            self.turn().await?;
        }
        self.finish().await?;
        self.write(&batch).await
    }

    /// Commits what is still in flight.
    pub(crate) async fn finish(&mut self) -> Result<(), PullError> {
        while self.lanes.is_busy() {
            self.turn().await?;
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), PullError> {
        let turn = self.lanes.turn().await;
        match self.settled(turn)? {
            Turn::Committed(batch) => self.reaches(&batch, 0),
            Turn::Again(batches) => {
                for batch in batches {
                    self.write(&batch).await?;
                }
            }
        }
        Ok(())
    }

    fn reaches(&mut self, batch: &Batch, left_out: u64) {
        let rows = batch.rows.len() as u64;
        self.order.progress.applied(rows - left_out);
        if let Some(last) = batch.rows.last()
            && let Some(stamp) = self.layout.stamp(last)
        {
            let key = self.layout.key(last);
            self.reached = Some(Position { stamp, key });
        }
    }

    /// R3: everything up to this row, in the order of the answer, is committed.
    pub(crate) fn reached(&self) -> Option<&Position> {
        self.reached.as_ref()
    }

    /// Gives the lanes back when everything is written.
    pub(crate) fn close(self) {
        self.destination.lanes.extend(self.lanes.into_free());
    }

    /// How many rows were left out.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Writes a batch; one that is too long for the careful way in parts, when there is something wrong with it.
    pub(crate) async fn write(&mut self, batch: &Batch) -> Result<(), PullError> {
        if batch.rows.len() > PART_ROWS {
            match self.write_plainly(batch).await {
                Err(WriteError::Pull(PullError::Row { .. }) | WriteError::Meets(_)) => {}
                result => {
                    self.settled(result)?;
                    self.reaches(batch, 0);
                    return Ok(());
                }
            }
        }
        for rows in batch.rows.chunks(PART_ROWS) {
            let rows = rows.to_vec();
            self.write_part(&Batch { rows }).await?;
        }
        Ok(())
    }

    async fn write_part(&mut self, batch: &Batch) -> Result<(), PullError> {
        let Some(mut refusal) = self.take(batch).await? else {
            self.reaches(batch, 0);
            return Ok(());
        };
        if self.order.ignore_refusals {
            let before = self.refused;
            self.write_ignoring(batch).await?;
            self.reaches(batch, self.refused - before);
            return Ok(());
        }
        if matches!(&refusal, PullError::Row { key, .. } if key == UNKNOWN_KEY) {
            let found = self
                .destination
                .first_refused(&self.order.plan, self.layout, batch, self.displaced)
                .await;
            refusal = self.settled(found)?.unwrap_or(refusal);
        }
        self.write_before(batch, &refusal).await;
        Err(refusal)
    }

    async fn write_plainly(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.destination
            .write(&self.order.plan, self.layout, batch, self.displaced)
            .await
    }

    /// Writes a batch, plainly or the careful way; answers why a row of it was refused.
    async fn take(&mut self, batch: &Batch) -> Result<Option<PullError>, PullError> {
        let result = match self.write_plainly(batch).await {
            Err(WriteError::Meets(_)) => self.write_displacing(batch).await,
            result => result,
        };
        match result {
            Err(
                WriteError::Pull(error @ (PullError::Row { .. } | PullError::Waits { .. }))
                | WriteError::Meets(error),
            ) => Ok(Some(error)),
            result => self.settled(result).map(|()| None),
        }
    }

    /// What cannot be tried again here is an error of the pull.
    fn settled<T>(&self, result: Result<T, WriteError>) -> Result<T, PullError> {
        result.map_err(|error| error.settled(&self.order.plan))
    }

    /// R6: writes a batch whose rows are to get unique values that other rows have.
    async fn write_displacing(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut tries = Tries::default();
        loop {
            let result = self.try_displacing(batch).await;
            if result.is_err() {
                self.destination.roll_back().await;
            }
            if let Some(result) = tries.settle(&self.order.plan, result).await {
                return result;
            }
        }
    }

    async fn try_displacing(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let plan = &self.order.plan;
        let Some(last) = batch.rows.last() else {
            return Ok(());
        };
        let mut bounds = vec![(self.layout.stamp(last), self.layout.key(last))];
        if let Some(held) = &self.order.held {
            bounds.push((Some(held.stamp), held.key.clone()));
        }
        let mut brought: Vec<KeyValues> =
            batch.rows.iter().map(|row| self.layout.key(row)).collect();
        let mut back: Vec<BatchRow> = Vec::new();
        let mut trial = self.displaced.clone();
        self.destination.begin(plan).await?;
        let mut rows = batch.rows.clone();
        let rounds = match self.order.due {
            Some(_) => RECONCILE_ROUNDS,
            None => ROUNDS,
        };
        for _ in 0..rounds {
            let in_the_way = self
                .destination
                .in_the_way(plan, self.layout, &rows, &bounds)
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
                let displaced = in_the_way.iter().find(|displaced| displaced.key == key);
                // R3: what comes behind this batch comes by the window; but in a pull that reads
                // again, what is at or below the position would not come again after a crash.
                let due = match self.order.due {
                    Some(due) if stamp < Some(due) => true,
                    // The next pull brings that row; without its change the value is not free.
                    Some(_) => {
                        return Err(WriteError::Pull(PullError::Waits {
                            table: plan.table.clone(),
                            key: key.join(", "),
                        }));
                    }
                    None => displaced.is_some_and(|displaced| {
                        bounds
                            .iter()
                            .zip(&displaced.after)
                            .any(|(bound, after)| stamp < bound.0 || (stamp == bound.0 && !after))
                    }),
                };
                if due {
                    brought.push(key);
                    rows.push(row);
                }
            }
            back.extend(rows.iter().cloned());
        }
        let mut restored = Vec::new();
        for rows in std::iter::once(batch.rows.as_slice()).chain(back.chunks(BACK)) {
            let rows = self.destination.write_rows(plan, self.layout, rows, &trial);
            restored.extend(rows.await?);
        }
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
        if self.write_plainly(&before).await.is_err() {
            // They come again with the next pull, and the refusal is what the user has to mend.
            tracing::debug!("could not write the rows before the refused one");
        }
    }

    pub(crate) fn left_out(&mut self, error: &PullError) {
        tracing::error!("left out: {error}");
        self.refused += 1;
    }

    /// Writes a batch of a reconcile, which needs no order; answers how many of its rows wait for another
    /// row's change.
    pub(crate) async fn mend(&mut self, batch: &Batch) -> Result<u64, PullError> {
        if batch.rows.is_empty() || self.take(batch).await?.is_none() {
            return Ok(0);
        }
        let mut waiting = 0;
        for row in &batch.rows {
            let one = Batch {
                rows: vec![row.clone()],
            };
            match self.take(&one).await? {
                None => {}
                Some(error @ PullError::Waits { .. }) => {
                    tracing::debug!("{error}");
                    waiting += 1;
                }
                Some(error) if self.order.ignore_refusals => self.left_out(&error),
                Some(error) => return Err(error),
            }
        }
        Ok(waiting)
    }

    /// Writes the rows of a batch one by one, in their order, without those that are refused.
    async fn write_ignoring(&mut self, batch: &Batch) -> Result<(), PullError> {
        for row in &batch.rows {
            let one = Batch {
                rows: vec![row.clone()],
            };
            if let Some(error) = self.take(&one).await? {
                self.left_out(&error);
            }
        }
        Ok(())
    }
}
