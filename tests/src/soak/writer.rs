//! One of those who write to the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::{Conn, Error, prelude::Queryable};
use tokio::time::{sleep, timeout};

use crate::server::Server;
use crate::soak::random::Random;
use crate::soak::workload::{Ending, Transaction};

/// A writer's waits for a source that is away.
const AWAY: Duration = Duration::from_millis(100);

/// A statement that takes longer is given up together with its connection.
const LIMIT: Duration = Duration::from_secs(20);

/// What the writers have done.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) commits: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    /// Transactions of which nobody knows whether they were committed.
    pub(crate) unknown: AtomicU64,
    /// Rows of the committed ones, without those that cascades changed.
    pub(crate) rows: AtomicU64,
    pub(crate) deletes: AtomicU64,
}

/// What a writer needs.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) random: Random,
    pub(crate) unstamped: bool,
    /// Milliseconds between two transactions at most.
    pub(crate) pause: u64,
    pub(crate) written: Arc<Written>,
    pub(crate) stop: Arc<AtomicBool>,
}

/// How many rows a transaction has written, and how many of them it deleted.
#[derive(Debug, Default)]
struct Rows {
    written: u64,
    deleted: u64,
}

impl Writer {
    /// Writes until it is told to stop, whatever becomes of the source.
    pub(crate) async fn run(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            if let Ok(Ok(conn)) = timeout(LIMIT, self.connect()).await {
                self.write(conn).await;
            } else {
                sleep(AWAY).await;
            }
        }
    }

    async fn connect(&self) -> Result<Conn, Error> {
        let mut conn = Server::connect_to(self.port, Some(&self.database)).await?;
        conn.query_drop("SET innodb_lock_wait_timeout=2").await?;
        Ok(conn)
    }

    /// Writes until the connection is of no use.
    async fn write(&mut self, mut conn: Conn) {
        while !self.stop.load(Ordering::SeqCst) {
            let transaction = Transaction::next(&mut self.random, self.unstamped);
            let pause = self.random.millis(0, self.pause);
            if !self.transact(&mut conn, &transaction).await {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Runs one transaction; false when the connection is of no use any more.
    async fn transact(&self, conn: &mut Conn, transaction: &Transaction) -> bool {
        let ending = transaction.ending;
        if ending != Ending::Autocommit && query(conn, "START TRANSACTION").await.is_err() {
            return false;
        }
        let mut rows = Rows::default();
        for (at, statement) in transaction.statements.iter().enumerate() {
            match query(conn, statement).await {
                Ok(written) => {
                    rows.written += written;
                    if statement.starts_with("DELETE") {
                        rows.deleted += written;
                    }
                    if ending == Ending::Autocommit {
                        self.committed(&std::mem::take(&mut rows));
                    }
                }
                // A deadlock, a value that is taken: somebody else was faster.
                Err(Some(_)) if ending == Ending::Autocommit => {
                    add(&self.written.rollbacks, 1);
                }
                Err(Some(_)) => return self.roll_back(conn).await,
                Err(None) => {
                    add(&self.written.unknown, 1);
                    return false;
                }
            }
            if let Some((behind, lasts)) = transaction.held
                && behind == at + 1
            {
                sleep(lasts).await;
            }
        }
        match ending {
            Ending::Autocommit => true,
            Ending::Commit => match query(conn, "COMMIT").await {
                Ok(_) => {
                    self.committed(&rows);
                    true
                }
                Err(_) => {
                    add(&self.written.unknown, 1);
                    false
                }
            },
            Ending::Rollback => self.roll_back(conn).await,
            Ending::Drop => {
                add(&self.written.rollbacks, 1);
                false
            }
        }
    }

    fn committed(&self, rows: &Rows) {
        add(&self.written.commits, 1);
        add(&self.written.rows, rows.written);
        add(&self.written.deletes, rows.deleted);
    }

    async fn roll_back(&self, conn: &mut Conn) -> bool {
        add(&self.written.rollbacks, 1);
        query(conn, "ROLLBACK").await.is_ok()
    }
}

/// The number of rows that a statement has changed. The error is the server's number of it, and none
/// when the connection is of no use any more.
async fn query(conn: &mut Conn, statement: &str) -> Result<u64, Option<u16>> {
    match timeout(LIMIT, conn.query_drop(statement)).await {
        Ok(Ok(())) => Ok(conn.affected_rows()),
        // 1927, 1053: killed, shutting down.
        Ok(Err(Error::Server(error))) if ![1927, 1053].contains(&error.code) => {
            Err(Some(error.code))
        }
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::SeqCst);
}
