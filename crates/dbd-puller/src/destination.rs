//! SQL: the destination. Knows no HTTP.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::ident::Ident;
use common::session::{Address, literal};
use common::table::{Flavour, Table};
use mysql_async::{Conn, prelude::Queryable};

use crate::batch::{Batch, BatchRow, Layout};
use crate::client::KeyValues;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::lock::{Holder, PullerLock, take_writer};
use crate::plan::Plan;
use crate::refusal::{Failure, failure};
use crate::upsert::{Upsert, lengthened};

/// What every session here starts with, beside what all sessions have. R8: no foreign key is
/// checked, and no cascade runs. R3: READ COMMITTED.
const SETUP: [&str; 2] = [
    "SET foreign_key_checks=0, innodb_lock_wait_timeout=10, lock_wait_timeout=60, max_error_count=64",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// Connections that write side by side, at most, beside the one that writes alone.
pub(crate) const MAX_LANES: usize = 8;

/// What the lanes' sessions have otherwise: two batches in flight that share a row wait for each other,
/// one for the row and one for its turn to commit, and the server cannot see that.
const LANE_SETUP: &str = "SET innodb_lock_wait_timeout=1";

/// How long one statement may take before its connection is given up: longer than any lock wait.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// How often a batch is tried again after a deadlock or a lock wait.
const TRIES: u32 = 8;

/// Stands for the key of a row that an error does not name.
pub(crate) const UNKNOWN_KEY: &str = "unknown";

/// Between two tries of a batch, times the number of the try.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The destination database, with both locks (R5) unless it is only read.
pub(crate) struct Destination {
    pub(crate) conn: Conn,
    pub(crate) database: Ident,
    pub(crate) flavour: Flavour,
    /// The server's max_allowed_packet, in bytes.
    pub(crate) max_packet: usize,
    lock: Option<PullerLock>,
    /// A query that answers 1 while the puller lock is held; none where nothing is written.
    check: Option<String>,
    /// Further connections that write side by side.
    pub(crate) lanes: Vec<Self>,
    /// How many there are to be; none before they were opened.
    wanted_lanes: Option<usize>,
}

impl Destination {
    /// Connects, and takes both locks; `former` is the connection that had the puller lock before.
    pub(crate) async fn connect(
        address: &Address,
        database: &Ident,
        former: Option<&Holder>,
    ) -> Result<Self, PullError> {
        let lock = PullerLock::take(address.connect(&SETUP).await?, database, former).await?;
        let mut conn = address.connect(&SETUP).await?;
        take_writer(&mut conn, database, 0).await?;
        let mut destination = Self::open(conn, database).await?;
        destination.check = Some(lock.check());
        destination.lock = Some(lock);
        Ok(destination)
    }

    /// Sees to it that there are so many lanes. A lane that failed was given up.
    ///
    /// The locks of those that are not wanted are taken too: a puller that died may have had more.
    pub(crate) async fn open_lanes(
        &mut self,
        address: &Address,
        lanes: usize,
    ) -> Result<(), PullError> {
        if self.wanted_lanes == Some(lanes) && self.lanes.len() == lanes {
            return Ok(());
        }
        self.wanted_lanes = Some(lanes);
        self.lanes.clear();
        for lane in 1..=MAX_LANES {
            if lane > lanes {
                take_writer(&mut self.conn, &self.database, lane).await?;
                continue;
            }
            let mut conn = address.connect(&SETUP).await?;
            conn.query_drop(LANE_SETUP).await?;
            take_writer(&mut conn, &self.database, lane).await?;
            let mut opened = Self::open(conn, &self.database).await?;
            opened.check.clone_from(&self.check);
            self.lanes.push(opened);
        }
        Ok(())
    }

    /// The connection that has the puller lock.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.lock.as_ref().map(|lock| &lock.holder)
    }

    /// Connects to read only, also beside a puller at work.
    pub(crate) async fn connect_to_read(
        address: &Address,
        database: &Ident,
    ) -> Result<Self, PullError> {
        let conn = address
            .connect(&["SET SESSION TRANSACTION READ ONLY"])
            .await?;
        Self::open(conn, database).await
    }

    async fn open(mut conn: Conn, database: &Ident) -> Result<Self, PullError> {
        let (flavour, version) = common::session::flavour(&mut conn).await?;
        tracing::debug!(version, "connected to the destination");
        let row: Option<(usize, Option<String>)> = conn
            .query_first(format!(
                "SELECT @@max_allowed_packet, (SELECT SCHEMA_NAME FROM information_schema.SCHEMATA \
                 WHERE SCHEMA_NAME={} LIMIT 1)",
                literal(database.as_str())
            ))
            .await?;
        let (max_packet, schema) = row.unwrap_or((1 << 20, None));
        if schema.is_none() {
            return Err(PullError::Usage(format!(
                "the destination has no database {database}, or this account may not see it; \
                 CREATE DATABASE {database}"
            )));
        }
        conn.query_drop(format!("USE {database}")).await?;
        keep_nulls(&mut conn).await?;
        Ok(Self {
            conn,
            database: database.clone(),
            flavour,
            max_packet,
            lock: None,
            check: None,
            lanes: Vec::new(),
            wanted_lanes: None,
        })
    }

    /// Whether both connections still answer and hold their locks.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let alive = async {
            let held = match &mut self.lock {
                Some(lock) => lock.is_held().await,
                None => true,
            };
            held && self.conn.query_drop("DO 1").await.is_ok()
        };
        matches!(
            tokio::time::timeout(common::session::CONNECT_TIMEOUT, alive).await,
            Ok(true)
        )
    }

    /// The shape of a table, if there is one of that name.
    pub(crate) async fn table(&mut self, name: &Ident) -> Result<Option<Table>, PullError> {
        let database = self.database.clone();
        let tables = common::catalog::tables(&mut self.conn, &database, Some(name)).await?;
        Ok(tables.into_iter().next())
    }

    /// Makes a table. A prepared statement cannot be two.
    pub(crate) async fn create(&mut self, table: &Ident, statement: &str) -> Result<(), PullError> {
        let created = self.conn.exec_drop(statement, ()).await;
        created.map_err(|error| match error {
            mysql_async::Error::Server(error) => PullError::Table {
                table: table.clone(),
                reason: format!(
                    "the destination cannot make it from the source's definition ({}); create \
                     it by hand",
                    error.message
                ),
            },
            error => error.into(),
        })
    }

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
        let mut try_number = 0;
        loop {
            try_number += 1;
            self.begin(plan).await?;
            let written = self.write_rows(plan, layout, &batch.rows, displaced).await;
            let result = match written {
                Ok(restored) => match self.commit(plan).await {
                    Ok(()) => {
                        displaced.forget(&restored);
                        return Ok(());
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            self.roll_back().await;
            match result {
                Err(WriteError::Again(error)) if try_number < TRIES => {
                    tracing::debug!(table = %plan.table.as_str(), %error, "trying the batch again");
                    tokio::time::sleep(RETRY_DELAY * try_number).await;
                }
                Err(WriteError::Again(source)) => {
                    return Err(WriteError::Pull(PullError::Destination {
                        table: Some(plan.table.clone()),
                        source,
                    }));
                }
                result => return result,
            }
        }
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
            Some(check) => timed(plan, self.conn.query_first::<u8, _>(check.as_str())).await?,
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
        let rolled_back =
            tokio::time::timeout(STATEMENT_TIMEOUT, self.conn.query_drop("ROLLBACK")).await;
        let lives = matches!(rolled_back, Ok(Ok(())));
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
        if rows.is_empty() {
            return Ok(());
        }
        let tuples = rows.iter().map(|row| row.tuple.as_slice());
        let statement = Upsert::new(plan, self.flavour).statement(tuples);
        self.insert(plan, layout, rows, statement).await
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
        let result = tokio::time::timeout(STATEMENT_TIMEOUT, self.conn.query_drop(statement)).await;
        match result {
            Err(_) => return Err(timed_out(plan)),
            Ok(Ok(())) if self.conn.get_warnings() == 0 => return Ok(()),
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(refused(plan, error, key_at)),
        }
        let warnings: Vec<(String, u16, String)> =
            timed(plan, self.conn.query("SHOW WARNINGS LIMIT 100")).await?;
        match warnings
            .iter()
            .find(|(_, code, _)| !crate::refusal::HARMLESS.contains(code))
        {
            None => Ok(()),
            Some((_, _, message)) => Err(WriteError::Pull(PullError::Row {
                table: plan.table.clone(),
                key: key_at(crate::refusal::row_number(message)),
                reason: message.clone(),
            })),
        }
    }

    pub(crate) async fn run(&mut self, plan: &Plan, statement: Vec<u8>) -> Result<(), WriteError> {
        timed(plan, self.conn.query_drop(statement)).await
    }
}

/// Sees to it that a NULL is a NULL, also in a TIMESTAMP column, where it could become the current time.
async fn keep_nulls(conn: &mut Conn) -> Result<(), PullError> {
    let kept: Option<u8> = conn
        .query_first("SELECT @@explicit_defaults_for_timestamp")
        .await?;
    if kept == Some(0)
        && conn
            .query_drop("SET explicit_defaults_for_timestamp=1")
            .await
            .is_err()
    {
        return Err(PullError::Usage(
            "the destination runs with explicit_defaults_for_timestamp=OFF, under which a NULL can \
             become the current time; SET GLOBAL explicit_defaults_for_timestamp=ON there"
                .to_owned(),
        ));
    }
    Ok(())
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

/// Waits for a statement, no longer than [`STATEMENT_TIMEOUT`]. A connection that was given up
/// midway must not be used again: the next answer would be the one of the statement before.
pub(crate) async fn timed<T, F>(plan: &Plan, statement: F) -> Result<T, WriteError>
where
    F: Future<Output = Result<T, mysql_async::Error>>,
{
    match tokio::time::timeout(STATEMENT_TIMEOUT, statement).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(refused(plan, error, |_| UNKNOWN_KEY.to_owned())),
        Err(_) => Err(timed_out(plan)),
    }
}

fn timed_out(plan: &Plan) -> WriteError {
    let why = format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs());
    WriteError::Pull(PullError::Destination {
        table: Some(plan.table.clone()),
        source: mysql_async::Error::Io(mysql_async::IoError::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            why,
        ))),
    })
}

/// Keys that are looked up often.
pub(crate) type KeySet = HashSet<KeyValues>;

/// What is kept for a key.
pub(crate) type KeyMap<T> = HashMap<KeyValues, T>;
