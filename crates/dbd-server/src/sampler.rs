//! SQL: one look at the source's clock, statements and transactions.
//!
//! The order of the looks carries the proof (`tracker.rs`): first the clock, then the statements,
//! then what they hold, then the transactions. Two things make a look useless, and both are
//! noticed: InnoDB shows a table of transactions that may be old when something else reads it
//! often (so the sampler looks for its own transaction in it), and a process list may be switched
//! off (so the sampler looks for its own connection in it).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::session::Address;
use common::stamp::Stamp;
use common::table::Flavour;
use mysql_async::{Conn, Row, prelude::Queryable};

use crate::clock::Reading;
use crate::lease;
use crate::readers::Readers;
use crate::tracker::{Sample, Statement, Transaction};

/// InnoDB renews its table of transactions only when nobody has read it for this long.
const REFRESH: Duration = Duration::from_millis(110);

/// How often a fresh table of transactions is asked for before the look is given up.
const FRESH_TRIES: u32 = 5;

/// Access denied: the account lacks the PROCESS privilege.
const ER_SPECIFIC_ACCESS_DENIED: u16 = 1227;

/// MySQL cannot show the text of a statement that runs: it holds raw bytes, or characters beyond the
/// basic plane.
const ER_CANNOT_CONVERT_STRING: u16 = 3854;

/// A statement that runs, as the process list shows it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) connection: u64,
    pub(crate) started: Stamp,
    pub(crate) state: String,
    /// Distinguishes the statements of one connection; MariaDB only.
    pub(crate) query: u64,
    /// The text of the statement, or of the one that a routine runs just now; MariaDB only.
    pub(crate) text: String,
    /// The default database; MariaDB only.
    pub(crate) database: String,
}

/// A transaction, as InnoDB shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) id: u64,
    pub(crate) connection: u64,
    pub(crate) rows_modified: u64,
    pub(crate) tables_in_use: u64,
    pub(crate) tables_locked: u64,
    /// A plain SELECT outside of any transaction: InnoDB itself has seen that it writes nothing.
    pub(crate) autocommit_read: bool,
}

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    /// The account may not see other connections' transactions.
    #[error("the account lacks the PROCESS privilege")]
    Denied,
    /// The list of transactions or of statements cannot be relied on.
    #[error("{0}")]
    Unreliable(&'static str),
    /// The source did not answer.
    #[error(transparent)]
    Source(#[from] mysql_async::Error),
}

/// The sampler's connection.
pub(crate) struct Sampler {
    conn: Conn,
    flavour: Flavour,
    /// MySQL: performance_schema is switched off, so the older, slower list is read.
    old_list: bool,
    nonce: u64,
    readers: Readers,
    /// When the connection was begun.
    connected: Instant,
}

/// MariaDB: the starts of running statements as they were first seen, whatever connection saw them. It
/// counts a statement's time by another clock than the one that is set.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    known: HashMap<(u64, u64), Stamp>,
    /// How far the clock was set forward since the last look.
    forward: Duration,
}

impl Starts {
    /// What runs now may have started before the clock was set forward, by so much.
    pub(crate) fn clock_went_forward(&mut self, by: Duration) {
        self.forward += by;
    }

    /// Has statements start when they were first seen to, or before.
    fn keep(&mut self, listed: &mut [Listed]) {
        let forward = u64::try_from(self.forward.as_micros()).unwrap_or(u64::MAX);
        self.forward = Duration::ZERO;
        let mut starts = HashMap::new();
        for statement in listed {
            let name = (statement.connection, statement.query);
            let known = self.known.get(&name).copied();
            statement.started = match known {
                Some(known) => known.min(statement.started),
                None => statement.started.minus_micros(forward),
            };
            starts.insert(name, statement.started);
        }
        self.known = starts;
    }
}

impl Sampler {
    /// Connects to the source.
    pub(crate) async fn connect(source: &Address) -> Result<Self, mysql_async::Error> {
        let connected = Instant::now();
        let mut conn = source
            .connect(&["SET SESSION TRANSACTION READ ONLY"])
            .await?;
        let (flavour, _) = common::session::flavour(&mut conn).await?;
        let readers = Readers::prepare(&mut conn, flavour).await?;
        Ok(Self {
            conn,
            flavour,
            old_list: false,
            nonce: 0,
            readers,
            connected,
        })
    }

    /// Ends the connection, also one that is dead or has an unread answer.
    pub(crate) async fn leave(self) {
        lease::leave(self.conn).await;
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub(crate) fn connection(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The source's time and which server it is: all that an account without PROCESS can see.
    pub(crate) async fn clock(&mut self) -> Result<Reading, mysql_async::Error> {
        let asked = Instant::now();
        let row: Option<(String, String)> = self
            .conn
            .query_first(format!("SELECT NOW(6), {}", identity_sql(self.flavour)))
            .await?;
        let (now, identity) = row.unwrap_or_default();
        Ok(Reading {
            now: Stamp::from_sql(now.as_bytes()).unwrap_or_default(),
            identity,
            asked,
            answered: Instant::now(),
            connected: self.connected,
        })
    }

    /// One whole look, which begins with one at the clock: nothing is stamped below `now` after that.
    pub(crate) async fn look(
        &mut self,
        now: Stamp,
        starts: &mut Starts,
    ) -> Result<Sample, LookError> {
        let mut listed = self.statements().await?;
        if self.flavour == Flavour::MariaDb {
            starts.keep(&mut listed);
        }
        let locks = self.readers.locks(&mut self.conn, &listed, now).await?;
        let shown = self.transactions().await?;
        let by_connection: HashMap<u64, &Shown> = shown
            .iter()
            .map(|shown| (shown.connection, shown))
            .collect();
        let mut statements = Vec::new();
        for statement in &listed {
            let transaction = by_connection.get(&statement.connection).copied();
            let reads = transaction.is_some_and(|shown| shown.autocommit_read)
                || locks.cannot_write(statement.connection)
                || (self.flavour == Flavour::MariaDb
                    && self
                        .readers
                        .cannot_write(&mut self.conn, statement, transaction, now)
                        .await?);
            if !reads {
                statements.push(Statement {
                    connection: statement.connection,
                    started: statement.started,
                });
            }
        }
        let dirty = shown
            .iter()
            .filter(|shown| shown.rows_modified > 0)
            .map(|shown| Transaction {
                id: shown.id,
                connection: shown.connection,
            });
        Ok(Sample {
            now,
            statements,
            dirty: dirty.collect(),
        })
    }

    /// The XIDs of prepared transactions; none where the account may not ask.
    pub(crate) async fn prepared(&mut self) -> Result<Option<String>, mysql_async::Error> {
        let rows: Vec<Row> = match self.conn.query("XA RECOVER").await {
            Err(mysql_async::Error::Server(_)) => return Ok(None),
            rows => rows?,
        };
        let names: Vec<String> = rows
            .iter()
            .map(|row| {
                let data = bytes(row, 3);
                let (gtrid, bqual) = data.split_at(data.len().min(number(row, 1) as usize));
                let shown = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
                match bqual {
                    [] => format!("'{}'", shown(gtrid)),
                    bqual => format!("'{}','{}'", shown(gtrid), shown(bqual)),
                }
            })
            .collect();
        Ok((!names.is_empty()).then(|| names.join("; ")))
    }

    async fn statements(&mut self) -> Result<Vec<Listed>, LookError> {
        if self.flavour == Flavour::MySql && !self.old_list {
            let listed = self.list("performance_schema.processlist").await?;
            if let Some(listed) = listed
                && self.lost_threads().await? == 0
            {
                return Ok(listed);
            }
            self.old_list = true;
        }
        self.list("information_schema.processlist")
            .await?
            .ok_or(LookError::Unreliable(
                "the process list does not show this very connection",
            ))
    }

    /// The running statements of a list; none where the list does not show this connection.
    async fn list(&mut self, list: &str) -> Result<Option<Vec<Listed>>, LookError> {
        // A TIME counts whole seconds, and may be one off on MySQL: a second is taken off. MariaDB's
        // other clock may have run slower by as much as `clock.rs` lets pass for none. The
        // event scheduler shows as a statement for ever; what it starts shows by itself.
        let columns = match self.flavour {
            Flavour::MySql => {
                "NOW() - INTERVAL COALESCE(TIME,86400)+1 SECOND, COALESCE(STATE,''), 0, '', ''"
            }
            Flavour::MariaDb => {
                "NOW(6) - INTERVAL TIME_MS*1001+22000 MICROSECOND, COALESCE(STATE,''), QUERY_ID, \
                 LEFT(COALESCE(INFO,''),4096), COALESCE(DB,'')"
            }
        };
        let rows: Vec<Row> = self
            .conn
            .query(format!(
                "SELECT ID=CONNECTION_ID(), ID, {columns} FROM {list} WHERE ID=CONNECTION_ID() \
                 OR (USER<>'event_scheduler' AND COMMAND NOT IN \
                 ('Sleep','Daemon','Binlog Dump','Binlog Dump GTID'))"
            ))
            .await?;
        let mut own = false;
        let mut listed = Vec::new();
        for row in rows {
            if number(&row, 0) == 1 {
                own = true;
                continue;
            }
            listed.push(Listed {
                connection: number(&row, 1),
                // A start that cannot be read is before every horizon.
                started: Stamp::from_sql(bytes(&row, 2)).unwrap_or_default(),
                state: text(&row, 3),
                query: number(&row, 4),
                text: text(&row, 5),
                database: text(&row, 6),
            });
        }
        Ok(own.then_some(listed))
    }

    async fn lost_threads(&mut self) -> Result<u64, mysql_async::Error> {
        let row: Option<(String, String)> = self
            .conn
            .query_first("SHOW GLOBAL STATUS LIKE 'Performance_schema_thread_instances_lost'")
            .await?;
        Ok(row.and_then(|(_, lost)| lost.parse().ok()).unwrap_or(0))
    }

    /// The transactions, from a list that is not older than this call.
    async fn transactions(&mut self) -> Result<Vec<Shown>, LookError> {
        for _ in 0..FRESH_TRIES {
            self.nonce += 1;
            let nonce = format!("dbd-sample-{}", self.nonce);
            // This connection's own transaction is in the list only if the list was made after it
            // began.
            self.conn
                .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                .await?;
            let rows: Result<Vec<Row>, _> = self
                .conn
                .query(format!(
                    "SELECT /* {nonce} */ trx_id, trx_mysql_thread_id, trx_rows_modified, \
                     trx_tables_in_use, trx_tables_locked, trx_autocommit_non_locking, \
                     COALESCE(LOCATE('{nonce}',trx_query),0)>0 FROM information_schema.innodb_trx"
                ))
                .await;
            self.conn.query_drop("COMMIT").await?;
            let rows = match rows {
                Err(mysql_async::Error::Server(error))
                    if error.code == ER_SPECIFIC_ACCESS_DENIED =>
                {
                    return Err(LookError::Denied);
                }
                Err(mysql_async::Error::Server(error))
                    if error.code == ER_CANNOT_CONVERT_STRING =>
                {
                    return self.lockers().await;
                }
                rows => rows?,
            };
            if rows.iter().any(|row| number(row, 6) == 1) {
                let others = rows.iter().filter(|row| number(row, 6) != 1);
                return Ok(others
                    .map(|row| Shown {
                        id: number(row, 0),
                        connection: number(row, 1),
                        rows_modified: number(row, 2),
                        tables_in_use: number(row, 3),
                        tables_locked: number(row, 4),
                        autocommit_read: number(row, 5) == 1,
                    })
                    .collect());
            }
            tokio::time::sleep(REFRESH).await;
        }
        Err(LookError::Unreliable(
            "InnoDB keeps showing an old list of transactions; something else at the source reads \
             information_schema.innodb_trx more than ten times a second",
        ))
    }
}

impl Sampler {
    /// MySQL: the transactions that hold a lock to write on a table, in place of those that have
    /// written: more of them, and never fewer. It costs the source as much as it has row locks,
    /// and is asked only while the list of transactions cannot be had.
    async fn lockers(&mut self) -> Result<Vec<Shown>, LookError> {
        let rows: Result<Vec<Row>, _> = self
            .conn
            .query(
                "SELECT l.ENGINE_TRANSACTION_ID, COALESCE(MAX(t.PROCESSLIST_ID),0) \
                 FROM performance_schema.data_locks l LEFT JOIN performance_schema.threads t \
                 ON t.THREAD_ID=l.THREAD_ID WHERE l.LOCK_TYPE='TABLE' \
                 AND l.LOCK_MODE NOT IN ('IS','S') GROUP BY l.ENGINE_TRANSACTION_ID",
            )
            .await;
        let rows = match rows {
            Err(mysql_async::Error::Server(_)) => {
                return Err(LookError::Unreliable(
                    "MySQL cannot list transactions while a statement with raw bytes or emoji runs; \
                     GRANT SELECT ON performance_schema.* to the server's account",
                ));
            }
            rows => rows?,
        };
        Ok(rows
            .iter()
            .map(|row| Shown {
                id: number(row, 0),
                connection: number(row, 1),
                rows_modified: 1,
                tables_in_use: 1,
                tables_locked: 1,
                autocommit_read: false,
            })
            .collect())
    }
}

/// The expression that tells which server this is. A MariaDB has no id of its own that survives
/// nothing else: its start time, to the second, and its server_id stand for it.
pub(crate) fn identity_sql(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "CONCAT('mysql-',@@server_uuid)",
        Flavour::MariaDb => {
            // Two servers of the usual server_id may have been started in the same second.
            "CONCAT('mariadb-',@@server_id,'-',(SELECT CAST(UNIX_TIMESTAMP()-VARIABLE_VALUE AS \
             SIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='UPTIME'),'-',\
             LOWER(HEX(CRC32(CONCAT_WS(' ',@@hostname,@@port,@@datadir)))))"
        }
    }
}

pub(crate) fn bytes(row: &Row, at: usize) -> &[u8] {
    match row.as_ref(at) {
        Some(mysql_async::Value::Bytes(bytes)) => bytes,
        _ => b"",
    }
}

pub(crate) fn text(row: &Row, at: usize) -> String {
    String::from_utf8_lossy(bytes(row, at)).into_owned()
}

pub(crate) fn number(row: &Row, at: usize) -> u64 {
    std::str::from_utf8(bytes(row, at))
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
