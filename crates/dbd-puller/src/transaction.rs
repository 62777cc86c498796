//! SQL: batches, each in one transaction (R3).

use std::time::Duration;

use crate::batch::{Batch, BatchRow, Layout, statements};
use crate::client::KeyValues;
use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::link::{travels, within};
use crate::plan::Plan;
use crate::refusal::{Failure, failure};
use crate::upsert::{Upsert, lengthened};

/// How long one statement may take before its connection is given up, beside its way there: longer than any
/// lock wait.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// How often a transaction is tried when deadlocks or lock waits end it.
const TRIES: u32 = 8;

/// Stands for the key of a row that an error does not name.
pub(crate) const UNKNOWN_KEY: &str = "unknown";

/// Between two tries, times the number of the try.
const RETRY_DELAY: Duration = Duration::from_millis(50);

impl Destination {
    /// Writes a batch in one transaction: all of it, or nothing.
    ///
    /// Writing a batch twice is the same as writing it once.
    ///
    /// # Errors
    /// - [`WriteError::Meets`]: rows of the batch hold unique values that other rows have (R6).
    /// - [`WriteError::Pull`]: the commit may have happened or not; trying again is safe.
    pub(crate) async fn write(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        batch: &Batch,
        displaced: &mut Displaced,
    ) -> Result<(), WriteError> {
        let mut tries = Tries::default();
        loop {
            let result = self.try_write(plan, layout, batch, displaced).await;
            if result.is_err() {
                self.roll_back().await;
            }
            if let Some(result) = tries.settle(plan, result).await {
                displaced.forget(&result?);
                return Ok(());
            }
        }
    }

    async fn try_write(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        batch: &Batch,
        displaced: &Displaced,
    ) -> Result<Vec<KeyValues>, WriteError> {
        self.begin(plan).await?;
        let restored = self
            .write_rows(plan, layout, &batch.rows, displaced)
            .await?;
        self.commit(plan).await?;
        Ok(restored)
    }

    /// The error of the first row that the destination refuses, where the error of the whole batch
    /// does not say which that is.
    pub(crate) async fn first_refused(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        batch: &Batch,
        displaced: &Displaced,
    ) -> Result<Option<PullError>, WriteError> {
        for row in &batch.rows {
            self.begin(plan).await?;
            let one = std::slice::from_ref(row);
            let written = self.write_rows(plan, layout, one, displaced).await;
            self.roll_back().await;
            if let Err(WriteError::Pull(error @ PullError::Row { .. }) | WriteError::Meets(error)) =
                written
            {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    pub(crate) async fn begin(&mut self, plan: &Plan) -> Result<(), WriteError> {
        self.run(plan, b"START TRANSACTION".to_vec()).await
    }

    /// Commits, when the puller lock is still held (R5).
    pub(crate) async fn commit(&mut self, plan: &Plan) -> Result<(), WriteError> {
        let held = match &self.check {
            Some(check) => timed(plan, self.link.query_first::<u8>(check.as_str())).await?,
            None => None,
        };
        if held != Some(1) {
            return Err(WriteError::Pull(PullError::LockLost {
                table: plan.table.clone(),
            }));
        }
        self.run(plan, b"COMMIT".to_vec()).await
    }

    /// Rolls back; answers whether the connection still lives.
    pub(crate) async fn roll_back(&mut self) -> bool {
        // Where this fails the connection is gone, and the transaction with it.
        let rolled_back = within(STATEMENT_TIMEOUT, self.link.query_drop("ROLLBACK")).await;
        let lives = rolled_back.is_ok();
        if !lives {
            tracing::debug!("could not roll back; the connection is gone");
        }
        lives
    }

    /// Upserts rows within a transaction; answers the keys of those that got back the values of
    /// the destination's own columns.
    pub(crate) async fn write_rows(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        rows: &[BatchRow],
        displaced: &Displaced,
    ) -> Result<Vec<KeyValues>, WriteError> {
        let mut plain: Vec<&BatchRow> = Vec::with_capacity(rows.len());
        let mut restored = Vec::new();
        let with_extra = Upsert::with(plan, self.flavour, &plan.extra);
        for row in rows {
            let saved = if displaced.is_empty() {
                None
            } else {
                let key = layout.key(row);
                displaced.extra(&key).map(|extra| (key, extra))
            };
            let Some((key, extra)) = saved else {
                plain.push(row);
                continue;
            };
            // What came before it goes before it.
            self.upsert(plan, layout, &std::mem::take(&mut plain))
                .await?;
            let tuple = lengthened(row, extra);
            let statement = with_extra.statement(std::iter::once(tuple.as_slice()));
            self.insert(plan, layout, &[row], statement).await?;
            restored.push(key);
        }
        self.upsert(plan, layout, &plain).await?;
        Ok(restored)
    }

    async fn upsert(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        rows: &[&BatchRow],
    ) -> Result<(), WriteError> {
        let upsert = Upsert::new(plan, self.flavour);
        for rows in statements(rows, self.max_packet) {
            let tuples = rows.iter().map(|row| row.tuple.as_slice());
            self.insert(plan, layout, rows, upsert.statement(tuples))
                .await?;
        }
        Ok(())
    }

    /// Runs an INSERT of these rows. A warning is a change of a value, and refused (R7).
    async fn insert(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        rows: &[&BatchRow],
        statement: Vec<u8>,
    ) -> Result<(), WriteError> {
        // Without the row's number it is known only where there is one row.
        let key_at = |at: Option<usize>| match (at, rows) {
            (Some(at), rows) if at < rows.len() => layout.key(rows[at]).join(", "),
            (None, [row]) => layout.key(row).join(", "),
            _ => UNKNOWN_KEY.to_owned(),
        };
        if statement.len() >= self.max_packet {
            // The server would close the connection over it.
            return Err(WriteError::Pull(PullError::Row {
                table: plan.table.clone(),
                key: key_at(None),
                reason: format!(
                    "it takes a statement of {} bytes, and the destination's max_allowed_packet is {}",
                    statement.len(),
                    self.max_packet
                ),
            }));
        }
        // A row of a gigabyte is hours on a slow line.
        let limit = STATEMENT_TIMEOUT + travels(statement.len());
        match within(limit, self.link.query_drop(statement)).await {
            Ok(()) if self.link.warnings() == 0 => return Ok(()),
            Ok(()) => {}
            Err(error) => return Err(refused(plan, error, key_at)),
        }
        let warnings: Vec<(String, u16, String)> =
            timed(plan, self.link.query("SHOW WARNINGS LIMIT 1024")).await?;
        match warnings
            .iter()
            .find(|(_, code, _)| !crate::refusal::HARMLESS.contains(code))
        {
            // A statement that warned of nothing it shows may have warned of anything.
            None if warnings.is_empty() => Err(WriteError::Pull(PullError::Table {
                table: plan.table.clone(),
                reason: "the destination hides its warnings; SET GLOBAL max_error_count=64 there"
                    .to_owned(),
            })),
            None => Ok(()),
            Some((_, _, message)) => Err(WriteError::Pull(PullError::Row {
                table: plan.table.clone(),
                key: key_at(crate::refusal::row_number(message)),
                reason: message.clone(),
            })),
        }
    }

    pub(crate) async fn run(&mut self, plan: &Plan, statement: Vec<u8>) -> Result<(), WriteError> {
        timed(plan, self.link.query_drop(statement)).await
    }
}

/// The tries of a transaction.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// What came of a try, unless it is worth another one, which is due when this ends.
    pub(crate) async fn settle<T>(
        &mut self,
        plan: &Plan,
        result: Result<T, WriteError>,
    ) -> Option<Result<T, WriteError>> {
        self.0 += 1;
        match result {
            Err(WriteError::Again(error)) if self.0 < TRIES => {
                tracing::debug!(table = plan.table.as_str(), %error, "trying again");
                tokio::time::sleep(RETRY_DELAY * self.0).await;
                None
            }
            result => Some(result),
        }
    }
}

/// Why a batch was not written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// A deadlock or a lock wait: the same again may succeed.
    Again(mysql_async::Error),
    /// R6: a row holds a unique value that another row has; written plainly it stays so, and the
    /// error says what the destination said.
    Meets(PullError),
    /// Anything else.
    Pull(PullError),
}

impl WriteError {
    /// What it means where it is not tried again.
    pub(crate) fn settled(self, plan: &Plan) -> PullError {
        match self {
            Self::Pull(error) | Self::Meets(error) => error,
            Self::Again(source) => PullError::Destination {
                table: Some(plan.table.clone()),
                source,
            },
        }
    }
}

impl From<PullError> for WriteError {
    fn from(error: PullError) -> Self {
        Self::Pull(error)
    }
}

fn refused(
    plan: &Plan,
    error: mysql_async::Error,
    key_at: impl Fn(Option<usize>) -> String,
) -> WriteError {
    match failure(&error) {
        Failure::Again => WriteError::Again(error),
        Failure::Lost => WriteError::Pull(PullError::Destination {
            table: Some(plan.table.clone()),
            source: error,
        }),
        Failure::Refused {
            row,
            message,
            meets,
        } => {
            let error = PullError::Row {
                table: plan.table.clone(),
                key: key_at(row),
                reason: message,
            };
            // Without another unique key in the plan the table has changed: it is looked at again.
            if meets && !plan.unique_keys.is_empty() {
                WriteError::Meets(error)
            } else {
                WriteError::Pull(error)
            }
        }
    }
}

/// Waits for a short statement, no longer than [`STATEMENT_TIMEOUT`]. A connection that was given up
/// midway must not be used again: the next answer would be the one of the statement before.
pub(crate) async fn timed<T, F>(plan: &Plan, statement: F) -> Result<T, WriteError>
where
    F: Future<Output = Result<T, mysql_async::Error>>,
{
    let answer = within(STATEMENT_TIMEOUT, statement).await;
    answer.map_err(|error| meaning(plan, error))
}

/// What the error of a statement means that is of no row in particular.
pub(crate) fn meaning(plan: &Plan, error: mysql_async::Error) -> WriteError {
    refused(plan, error, |_| UNKNOWN_KEY.to_owned())
}
