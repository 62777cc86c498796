//! SQL: rows of the destination by their keys: which there are, and their end.

use mysql_async::Row;

use crate::client::KeyValues;
use crate::destination::Destination;
use crate::displace::is_same_key;
use crate::error::PullError;
use crate::plan::Plan;
use crate::position::{broken, key_of};
use crate::transaction::{Tries, WriteError, timed};
use crate::upsert::is_key;

/// Rows that one statement deletes at most.
const ROWS: usize = 200;

impl Destination {
    /// The keys of the rows whose key the destination holds equal to one of these.
    pub(crate) async fn held_equal(
        &mut self,
        plan: &Plan,
        keys: &[KeyValues],
    ) -> Result<Vec<KeyValues>, PullError> {
        let select = plan.key.iter().map(|key| key.destination.select());
        let select: Vec<String> = select.collect();
        let mut found = Vec::new();
        for keys in keys.chunks(ROWS) {
            let mut statement =
                format!("SELECT {} FROM {} WHERE ", select.join(","), plan.table).into_bytes();
            for (at, key) in keys.iter().enumerate() {
                if at > 0 {
                    statement.extend_from_slice(b" OR ");
                }
                statement.extend(is_same_key(plan, key).map_err(|error| broken(plan, &error))?);
            }
            let rows: Vec<Row> = timed(plan, self.link.query(statement))
                .await
                .map_err(|error| error.settled(plan))?;
            for row in &rows {
                found.push(key_of(plan, row, 0)?);
            }
        }
        Ok(found)
    }

    /// Deletes the rows of these keys, byte for byte, in one transaction; answers how many there
    /// were. No cascade runs (R8).
    pub(crate) async fn delete(
        &mut self,
        plan: &Plan,
        keys: &[KeyValues],
    ) -> Result<u64, PullError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut tries = Tries::default();
        loop {
            let result = self.try_delete(plan, keys).await;
            if result.is_err() {
                self.roll_back().await;
            }
            if let Some(result) = tries.settle(plan, result).await {
                return result.map_err(|error| undeleted(plan, error));
            }
        }
    }

    async fn try_delete(&mut self, plan: &Plan, keys: &[KeyValues]) -> Result<u64, WriteError> {
        self.begin(plan).await?;
        let deleted = self.delete_rows(plan, keys).await?;
        self.commit(plan).await?;
        Ok(deleted)
    }

    /// Deletes the rows of these keys within a transaction; answers how many there were.
    pub(crate) async fn delete_rows(
        &mut self,
        plan: &Plan,
        keys: &[KeyValues],
    ) -> Result<u64, WriteError> {
        let mut deleted = 0;
        for keys in keys.chunks(ROWS) {
            let mut statement = format!("DELETE FROM {} WHERE ", plan.table).into_bytes();
            for (at, key) in keys.iter().enumerate() {
                if at > 0 {
                    statement.extend_from_slice(b" OR ");
                }
                statement.extend(is_key(plan, key).map_err(|error| broken(plan, &error))?);
            }
            timed(plan, self.link.query_drop(statement)).await?;
            deleted += self.link.affected_rows();
        }
        Ok(deleted)
    }
}

fn undeleted(plan: &Plan, error: WriteError) -> PullError {
    match error.settled(plan) {
        // No row was written: what was refused is the statement.
        PullError::Row { reason, .. } => PullError::Table {
            table: plan.table.clone(),
            reason: format!("the destination refused to delete rows: {reason}"),
        },
        error => error,
    }
}
