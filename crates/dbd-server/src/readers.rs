//! Which running statements provably cannot write, so that they do not hold the horizon back.
//!
//! A SELECT can write: through a stored function, called from its text or from a view, with the
//! SELECT's own stamp. So its text alone proves nothing, and inside a routine or a trigger the
//! process list shows the text of the inner statement. What proves something is what the server
//! has opened: all that a statement may write, through whatever it calls, is opened and locked
//! before its first row is read.
//!
//! - MySQL: `performance_schema.metadata_locks` shows every lock that a connection holds or waits
//!   for. A statement that is past opening its tables and has no lock to write cannot write.
//! - MariaDB has no such table. There the text and InnoDB's count of tables in use prove it in two
//!   cases:
//!   - one at most is in use, and it is the only table of a SELECT that calls nothing but functions
//!     of the server's own (the shape of a dump): so no other one is open. No function and no
//!     trigger mentions that table, so that the SELECT is not inside one that goes on to write to it;
//!   - none is in use, and the text is a SELECT or DO of nothing but GET_LOCK, SLEEP and the like, when
//!     no function and no trigger mentions such a call, so that it is not inside one.
//!
//! What cannot be proven holds the horizon back. That is late, never wrong.

use std::collections::{HashMap, HashSet};

use common::session::literal;
use common::stamp::Stamp;
use common::table::Flavour;
use mysql_async::{Conn, Row, prelude::Queryable};

use crate::sampler::{Listed, Shown, number};
use crate::statement;

/// Statements younger than this, in seconds, are not worth a question.
const YOUNG: f64 = 1.0;

/// States that a statement has only once all its tables are open and locked.
const PAST_OPENING: [&str; 12] = [
    "executing",
    "Executing",
    "Sending data",
    "Sending to client",
    "Writing to net",
    "Creating sort index",
    "Sorting result",
    "Sorting for group",
    "Sorting for order",
    "Copying to tmp table",
    "User sleep",
    "User lock",
];

/// States of a statement that sleeps or waits for a GET_LOCK.
const WAITS: [&str; 2] = ["User sleep", "User lock"];

/// What is remembered of the source's long statements.
pub(crate) struct Readers {
    /// MySQL: the locks of other connections can be seen.
    sees_locks: bool,
    /// MariaDB: every trigger and function of the server can be seen.
    sees_routines: bool,
    /// MariaDB: what was found of a statement, by connection and query.
    known: HashMap<(u64, u64), bool>,
}

/// The connections whose running statement cannot write, as MySQL's locks show.
pub(crate) struct Locks(HashSet<u64>);

impl Locks {
    pub(crate) fn cannot_write(&self, connection: u64) -> bool {
        self.0.contains(&connection)
    }
}

impl Readers {
    /// Finds out what this account can see.
    pub(crate) async fn prepare(
        conn: &mut Conn,
        flavour: Flavour,
    ) -> Result<Self, mysql_async::Error> {
        let mut readers = Self {
            sees_locks: false,
            sees_routines: false,
            known: HashMap::new(),
        };
        match flavour {
            Flavour::MySql => {
                // A lock of our own, to look for: it shows that locks are recorded at all.
                conn.query_drop("DO GET_LOCK(CONCAT('dbd-server-',CONNECTION_ID()),0)")
                    .await?;
                readers.sees_locks = conn
                    .query_drop("SELECT 1 FROM performance_schema.metadata_locks LIMIT 0")
                    .await
                    .is_ok();
            }
            Flavour::MariaDb => {
                let grants: Vec<String> = conn.query("SHOW GRANTS").await?;
                let sees_triggers = grants.iter().any(|grant| {
                    grant.split_once(" ON *.* ").is_some_and(|(privileges, _)| {
                        privileges.contains("ALL PRIVILEGES") || privileges.contains("TRIGGER")
                    })
                });
                readers.sees_routines = sees_triggers
                    && conn
                        .query_drop("SELECT 1 FROM mysql.proc LIMIT 0")
                        .await
                        .is_ok();
            }
        }
        Ok(readers)
    }

    /// MySQL: which of the statements hold no lock to write. To be called between the look at the
    /// statements and the look at the transactions: a statement that has ended since then shows
    /// among these if it wrote.
    pub(crate) async fn locks(
        &mut self,
        conn: &mut Conn,
        listed: &[Listed],
        now: Stamp,
    ) -> Result<Locks, mysql_async::Error> {
        let mut reads: HashSet<u64> = listed
            .iter()
            .filter(|statement| is_old(statement, now))
            .filter(|statement| PAST_OPENING.contains(&statement.state.as_str()))
            .map(|statement| statement.connection)
            .collect();
        if !self.sees_locks || reads.is_empty() {
            return Ok(Locks(HashSet::new()));
        }
        let ids: Vec<String> = reads.iter().map(u64::to_string).collect();
        let rows: Vec<Row> = conn
            .query(format!(
                "SELECT t.PROCESSLIST_ID, t.PROCESSLIST_ID=CONNECTION_ID(), \
                 m.LOCK_TYPE NOT IN ('SHARED','SHARED_READ','SHARED_HIGH_PRIO') \
                 OR m.LOCK_STATUS<>'GRANTED', m.OBJECT_TYPE='USER LEVEL LOCK' \
                 FROM performance_schema.threads t JOIN performance_schema.metadata_locks m \
                 ON m.OWNER_THREAD_ID=t.THREAD_ID \
                 WHERE t.PROCESSLIST_ID=CONNECTION_ID() OR t.PROCESSLIST_ID IN ({})",
                ids.join(",")
            ))
            .await?;
        let lost: Option<(String, String)> = conn
            .query_first("SHOW GLOBAL STATUS LIKE 'Performance_schema_metadata_lock_lost'")
            .await?;
        let own = rows
            .iter()
            .any(|row| number(row, 1) == 1 && number(row, 3) == 1);
        if !own || lost.is_none_or(|(_, lost)| lost != "0") {
            return Ok(Locks(HashSet::new()));
        }
        for row in &rows {
            if number(row, 2) == 1 && number(row, 3) == 0 {
                reads.remove(&number(row, 0));
            }
        }
        Ok(Locks(reads))
    }

    /// MariaDB: whether a statement cannot write.
    pub(crate) async fn cannot_write(
        &mut self,
        conn: &mut Conn,
        listed: &Listed,
        transaction: Option<&Shown>,
        now: Stamp,
    ) -> Result<bool, mysql_async::Error> {
        if !is_old(listed, now) || !PAST_OPENING.contains(&listed.state.as_str()) {
            return Ok(false);
        }
        match self.question(listed, transaction) {
            // The answer comes after the statement's start: a function that it is inside of exists
            // by now, and cannot be dropped while it runs.
            Some(question) => self.remember(conn, listed, question).await,
            None => Ok(false),
        }
    }

    /// What to ask MariaDB, so that a row in its answer proves that a statement cannot write; none
    /// where nothing would.
    fn question(&self, listed: &Listed, transaction: Option<&Shown>) -> Option<String> {
        let in_use = transaction.map_or(0, |shown| shown.tables_in_use);
        let writes =
            transaction.is_some_and(|shown| shown.rows_modified > 0 || shown.tables_locked > 0);
        if !self.sees_routines || writes {
            return None;
        }
        if in_use == 0
            && WAITS.contains(&listed.state.as_str())
            && let Some(calls) = statement::only_calls(&listed.text)
        {
            return Some(format!(
                "SELECT 1 FROM DUAL WHERE {}",
                none_mentions(&calls)
            ));
        }
        if transaction.is_none() || in_use > 1 {
            return None;
        }
        let (database, table) = statement::only_table(&listed.text)?;
        if table.contains(['`', '\\']) {
            return None;
        }
        let database = database.unwrap_or_else(|| listed.database.clone());
        Some(format!(
            "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA={} AND TABLE_NAME={} AND \
             ENGINE='InnoDB' AND TABLE_TYPE='BASE TABLE' AND {}",
            literal(&database),
            literal(&table),
            none_mentions(std::slice::from_ref(&table))
        ))
    }

    /// Asks the source once for each statement.
    async fn remember(
        &mut self,
        conn: &mut Conn,
        listed: &Listed,
        question: String,
    ) -> Result<bool, mysql_async::Error> {
        /// More statements than run at once at any server.
        const MOST: usize = 10_000;
        let statement = (listed.connection, listed.query);
        if let Some(known) = self.known.get(&statement) {
            return Ok(*known);
        }
        let answer: Option<Row> = conn.query_first(question).await?;
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(statement, answer.is_some());
        Ok(answer.is_some())
    }
}

/// The condition that no function and no trigger of the server mentions any of these words, which
/// hold no quote and no backslash.
fn none_mentions(words: &[String]) -> String {
    let mentions = |column: &str| {
        let conditions: Vec<String> = words
            .iter()
            .map(|word| {
                let pattern = format!(r"(?i)(?<![\w$])\Q{word}\E(?![\w$])");
                format!(
                    "CONVERT({column} USING utf8mb4) REGEXP {}",
                    literal(&pattern)
                )
            })
            .collect();
        conditions.join(" OR ")
    };
    format!(
        "NOT EXISTS (SELECT 1 FROM mysql.proc WHERE type<>'PROCEDURE' AND ({})) AND NOT EXISTS \
         (SELECT 1 FROM information_schema.TRIGGERS WHERE {})",
        mentions("body"),
        mentions("ACTION_STATEMENT")
    )
}

fn is_old(listed: &Listed, now: Stamp) -> bool {
    now.seconds_since(listed.started) > YOUNG
}
