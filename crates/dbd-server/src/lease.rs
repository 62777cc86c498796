//! Connections to the source, and the end of those whose answer nobody reads to its end.

use std::sync::Arc;
use std::time::Duration;

use common::ident::Ident;
use common::session::{self, Address};
use common::stamp::Stamp;
use common::table::{Flavour, Table};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Pool, Row, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;

use crate::sampler::identity_sql;

/// What the sessions that read rows start with: whatever happens, they cannot write.
const READ_ONLY: &str = "SET SESSION TRANSACTION READ ONLY";

/// What a chunk of rows is sorted in takes so much of the source's memory at most, in bytes: the 256 KiB that MySQL
/// gives would have it sort in files.
const SORT_BUFFER: &str = "SET sort_buffer_size=4194304";

/// How much longer than the source itself this program waits until it ends a statement.
const BEYOND: Duration = Duration::from_secs(2);

/// How long the source may take over ending an abandoned statement.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an abandoned connection may take over its farewell before its socket is closed.
const FAREWELL: Duration = Duration::from_millis(200);

/// Why the source did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// Trying again may help.
    #[error(
        "no connection to the source; check that it runs and that --source-host, --source-port \
         and the account are right"
    )]
    Unreachable(#[source] Box<mysql_async::Error>),

    /// All connections are in use.
    #[error(
        "every connection to the source has been in use for {} s; ask again, or raise \
         --source-connections of the dbd-server",
        session::CONNECT_TIMEOUT.as_secs()
    )]
    Busy,

    /// A statement was ended.
    #[error(
        "a statement ran longer at the source than --max-query-seconds of the dbd-server; raise \
         it, or give the table an index on its stamp"
    )]
    TooLong,

    /// There was a connection, and it broke.
    #[error("the connection to the source was lost; ask again")]
    Lost(#[source] Box<mysql_async::Error>),

    /// A privilege is missing.
    #[error("the source does not let this server's account read that; grant it SELECT")]
    Denied(#[source] Box<mysql_async::Error>),

    /// Anything else; trying again is safe.
    #[error("the source refused or broke off the request; the log of dbd-server says why")]
    Failed(#[source] Box<mysql_async::Error>),

    /// It answered what it cannot have meant.
    #[error(
        "the source answered with a value that is not of its column's type; \
             the log of dbd-server names it"
    )]
    Odd(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<mysql_async::Error> for SourceError {
    fn from(error: mysql_async::Error) -> Self {
        match &error {
            mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => {
                Self::Lost(Box::new(error))
            }
            mysql_async::Error::Server(server) => match server.code {
                // Shutdown, or somebody ended the connection.
                1053 | 1077 | 1927 | 3032 | 4031 => Self::Lost(Box::new(error)),
                // MySQL's max_execution_time, MariaDB's max_statement_time.
                3024 | 1969 => Self::TooLong,
                1142 | 1143 | 1227 | 1370 => Self::Denied(Box::new(error)),
                _ => Self::Failed(Box::new(error)),
            },
            _ => Self::Failed(Box::new(error)),
        }
    }
}

/// The source database.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    address: Address,
    pool: Pool,
    /// How long a statement may run.
    limit: Duration,
    /// One for each connection.
    places: Arc<Semaphore>,
    connections: u32,
}

impl Source {
    /// A source of at most `connections` connections, whose statements run at most so long; none is
    /// made yet.
    pub(crate) fn new(address: Address, connections: u16, limit: Duration) -> Self {
        let connections = connections.max(1);
        // Each flavour reads its own part, and the other's as a comment.
        let bound = format!(
            "SET /*!50708 max_execution_time={} */ /*M!100100 max_statement_time={} */",
            limit.as_millis(),
            limit.as_secs_f64()
        );
        let pool = address.pool(&[READ_ONLY, SORT_BUFFER, &bound], usize::from(connections));
        Self {
            address,
            pool,
            limit: limit + BEYOND,
            places: Arc::new(Semaphore::new(usize::from(connections))),
            connections: u32::from(connections),
        }
    }

    /// How many connections are in use, and how many may be at most.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        let most = self.connections as usize;
        (most.saturating_sub(self.places.available_permits()), most)
    }

    /// Waits until no connection is in use, and no statement is being ended.
    pub(crate) async fn idle(&self) {
        // The places are never closed.
        let _ = self.places.acquire_many(self.connections).await;
    }

    /// A connection to the server of that identity; none where all lead to another one. Those that do
    /// are not used again: behind one address another server may have come to stand.
    pub(crate) async fn lease_of(&self, identity: &str) -> Result<Option<Lease>, SourceError> {
        // All that there are, and one that was made anew.
        for _ in 0..=self.connections {
            let mut lease = self.lease().await?;
            if lease.is_of(identity).await? {
                return Ok(Some(lease));
            }
            lease.discard().await;
        }
        Ok(None)
    }

    /// A connection.
    pub(crate) async fn lease(&self) -> Result<Lease, SourceError> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = match tokio::time::timeout(session::CONNECT_TIMEOUT, place).await {
            Ok(Ok(place)) => place,
            _ => return Err(SourceError::Busy),
        };
        // Whatever stops a connection from being made, trying again is what helps.
        let conn = session::checkout(&self.pool)
            .await
            .map_err(|error| SourceError::Unreachable(Box::new(error)))?;
        Ok(Lease {
            conn: Some(conn),
            busy: false,
            limit: self.limit,
            place: Some(place),
            address: self.address.clone(),
        })
    }
}

/// One connection for the time it is needed.
///
/// Dropped while a statement runs (the caller went away), it has the source end the statement; a
/// connection with an unread answer never goes back to the pool, where the next one to use it
/// would be given that answer.
pub(crate) struct Lease {
    conn: Option<Conn>,
    busy: bool,
    /// How long a statement may take, what it sends included.
    pub(crate) limit: Duration,
    place: Option<OwnedSemaphorePermit>,
    address: Address,
}

impl Lease {
    /// The connection, for a statement. Until [`Lease::done`] it counts as one with an unread answer.
    pub(crate) fn begin(&mut self) -> &mut Conn {
        self.busy = true;
        self.conn.as_mut().expect("only drop takes the connection")
    }

    /// The statement's answer has been read to its end.
    pub(crate) fn done(&mut self) {
        self.busy = false;
    }

    /// Takes note of how a statement ended: an error of the server is a whole answer too.
    fn ended<T>(
        &mut self,
        result: Result<Result<T, mysql_async::Error>, Elapsed>,
    ) -> Result<T, SourceError> {
        let result = result.map_err(|_| SourceError::TooLong)?;
        if matches!(result, Ok(_) | Err(mysql_async::Error::Server(_))) {
            self.done();
        }
        Ok(result?)
    }

    /// All rows of a short answer.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<Row>, SourceError> {
        let result = tokio::time::timeout(self.limit, self.begin().query(sql)).await;
        self.ended(result)
    }

    /// The shapes of a database's tables, or of the one named.
    pub(crate) async fn tables(
        &mut self,
        database: &Ident,
        only: Option<&Ident>,
    ) -> Result<Vec<Table>, SourceError> {
        let limit = self.limit;
        let conn = self.begin();
        let tables = async {
            let mut tables = common::catalog::tables(conn, database, only).await?;
            common::catalog::add_foreign_keys(conn, database, only, &mut tables).await?;
            Ok(tables)
        };
        let result = tokio::time::timeout(limit, tables).await;
        self.ended(result)
    }

    /// Whose server it is, and its version.
    pub(crate) async fn flavour(&mut self) -> Result<(Flavour, String), SourceError> {
        let result = tokio::time::timeout(self.limit, session::flavour(self.begin())).await;
        self.ended(result)
    }

    /// Whether this connection is to the server of that identity. Behind one address another one may
    /// answer at any time, of which the horizon says nothing.
    async fn is_of(&mut self, identity: &str) -> Result<bool, SourceError> {
        let flavour = if identity.starts_with("mariadb-") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        let rows = self
            .query(&format!("SELECT {}", identity_sql(flavour)))
            .await?;
        let found = rows.first().and_then(|row| bytes(row, 0));
        Ok(found == Some(identity.as_bytes()))
    }

    /// Ends the connection, so that nobody gets it again.
    pub(crate) async fn discard(mut self) {
        if let Some(conn) = self.conn.take() {
            leave(conn).await;
        }
    }

    /// The source's time.
    pub(crate) async fn now(&mut self) -> Result<Stamp, SourceError> {
        let rows = self.query("SELECT NOW(6)").await?;
        let now = rows.first().and_then(|row| bytes(row, 0));
        Stamp::from_sql(now.unwrap_or_default()).map_err(|error| SourceError::Odd(error.into()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take().filter(|_| self.busy) else {
            return;
        };
        let (address, place) = (self.address.clone(), self.place.take());
        // Without a runtime the process is about to end, and its sockets with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                end(address, conn).await;
                drop(place);
            });
        }
    }
}

/// Ends a connection together with the statement that it runs. Reading the answer to its end
/// instead could take as long as the table is large.
async fn end(address: Address, conn: Conn) {
    let id = conn.id();
    let kill = async {
        let mut killer = address.connect(&[]).await?;
        killer.query_drop(format!("KILL {id}")).await?;
        killer.disconnect().await
    };
    match tokio::time::timeout(KILL_TIMEOUT, kill).await {
        Ok(Ok(())) => tracing::debug!(connection = id, "ended a statement nobody waits for"),
        // No such thread: it had ended by itself.
        Ok(Err(mysql_async::Error::Server(error))) if error.code == 1094 => {}
        Ok(Err(error)) => {
            tracing::warn!(connection = id, %error, "could not end a statement nobody waits for");
        }
        Err(_) => tracing::warn!(connection = id, "could not end a statement in time"),
    }
    leave(conn).await;
}

/// Ends a connection, whatever state it is in.
pub(crate) async fn leave(conn: Conn) {
    // It counts as disconnected from here on, also when the farewell fails or takes too long.
    let _ = tokio::time::timeout(FAREWELL, conn.disconnect()).await;
}

/// A value of a row; none where it is NULL.
pub(crate) fn bytes(row: &Row, at: usize) -> Option<&[u8]> {
    match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// A value of a row as text; empty where it is NULL.
pub(crate) fn text(row: &Row, at: usize) -> String {
    String::from_utf8_lossy(bytes(row, at).unwrap_or_default()).into_owned()
}
