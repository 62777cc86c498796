//! Writes batches one after the other: plainly, or the careful way where rows are in the way (R6).

use crate::batch::{Batch, BatchRow, Layout};
use crate::client::KeyValues;
use crate::destination::{Destination, WriteError};
use crate::displace::{Displaced, joined};
use crate::error::PullError;
use crate::pull::Order;

/// How often rows that were fetched again may displace further ones, in one batch.
const ROUNDS: usize = 10;

/// How often a batch that displaces rows is tried after a deadlock or a lock wait.
const TRIES: u32 = 8;

/// The writing half of a pull.
pub(crate) struct Writer<'a, 'b> {
    order: &'a Order<'b>,
    layout: &'a Layout,
    destination: &'a mut Destination,
    displaced: &'a mut Displaced,
    refused: u64,
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
        }
    }

    /// How many rows were left out.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) async fn write(&mut self, batch: &Batch) -> Result<(), PullError> {
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

    pub(crate) fn left_out(&mut self, error: &PullError) {
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
