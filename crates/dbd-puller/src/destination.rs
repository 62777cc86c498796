//! SQL: the destination. Knows no HTTP.

use std::collections::{HashMap, HashSet};

use common::ident::Ident;
use common::session::{Address, literal};
use common::table::{Flavour, Table};
use mysql_async::{Conn, prelude::Queryable};

use crate::client::KeyValues;
use crate::error::PullError;
use crate::lock::{Holder, PullerLock, take_writer};

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

/// The destination database, with both locks (R5) unless it is only read.
pub(crate) struct Destination {
    pub(crate) conn: Conn,
    pub(crate) database: Ident,
    pub(crate) flavour: Flavour,
    /// The server's max_allowed_packet, in bytes.
    pub(crate) max_packet: usize,
    lock: Option<PullerLock>,
    /// A query that answers 1 while the puller lock is held; none where nothing is written.
    pub(crate) check: Option<String>,
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

/// Keys that are looked up often.
pub(crate) type KeySet = HashSet<KeyValues>;

/// What is kept for a key.
pub(crate) type KeyMap<T> = HashMap<KeyValues, T>;
