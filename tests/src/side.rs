//! One side of a pair: a database on a server.

use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::{Conn, Row as SqlRow, Value, prelude::Queryable};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::lease::Lease;
use crate::server::Flavour;
use crate::wait::eventually;

/// A row of values as the server writes them; `None` is NULL.
pub type Row = Vec<Option<Vec<u8>>>;

static NAMES: AtomicU32 = AtomicU32::new(0);

/// The source, or the destination.
#[derive(Debug)]
pub struct Side {
    /// Its server.
    pub server: Lease,
    /// The name of its database.
    pub database: String,
    conn: Mutex<Conn>,
}

/// A statement that runs on a connection of its own, and the connection's id.
#[derive(Debug)]
pub struct Busy {
    /// CONNECTION_ID().
    pub id: u64,
    task: JoinHandle<(Session, Result<(), mysql_async::Error>)>,
}

/// A connection that keeps its transaction, locks and settings from one statement to the next.
#[derive(Debug)]
pub struct Session {
    conn: Conn,
}

/// A name in back quotes.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Side {
    /// A new, empty database; its name begins with `prefix`.
    pub(crate) async fn new(server: Lease, prefix: &str) -> Self {
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        Self::named(server, &format!("{prefix}{number}")).await
    }

    /// A new, empty database of that name.
    pub async fn named(server: Lease, database: &str) -> Self {
        let mut conn = server.connect(None).await.expect("root may connect");
        let name = quoted(database);
        for sql in [
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"),
            format!("USE {name}"),
        ] {
            conn.query_drop(&sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        Self {
            server,
            database: database.to_owned(),
            conn: Mutex::new(conn),
        }
    }

    /// Whose server it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.server.flavour()
    }

    /// Whether it is a MySQL.
    #[must_use]
    pub fn is_mysql(&self) -> bool {
        self.flavour() == Flavour::MySql
    }

    /// Runs a statement.
    ///
    /// # Panics
    /// When it fails; the message has the statement.
    pub async fn run(&self, sql: impl AsRef<str>) {
        if let Err(error) = self.try_run(sql.as_ref()).await {
            panic!("{:?}: {}: {error}", self.flavour(), sql.as_ref());
        }
    }

    /// Runs a statement that may fail.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_run(&self, sql: &str) -> Result<(), mysql_async::Error> {
        self.conn.lock().await.query_drop(sql).await
    }

    /// Runs statements one after the other; a statement ends with `;` at the end of a line.
    pub async fn script(&self, sql: &str) {
        for statement in sql.split(";\n").map(str::trim) {
            let statement = statement.trim_end_matches(';');
            if !statement.is_empty() {
                self.run(statement).await;
            }
        }
    }

    /// The rows of a query.
    ///
    /// # Panics
    /// When it fails; the message has the query.
    pub async fn rows(&self, sql: &str) -> Vec<Row> {
        let rows: Vec<SqlRow> = match self.conn.lock().await.query(sql).await {
            Ok(rows) => rows,
            Err(error) => panic!("{:?}: {sql}: {error}", self.flavour()),
        };
        rows.into_iter()
            .map(|row| row.unwrap().into_iter().map(bytes).collect())
            .collect()
    }

    /// The first column of the rows of a query, as text; NULL as `NULL`.
    pub async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.rows(sql).await;
        rows.into_iter()
            .map(|row| match row.into_iter().next().flatten() {
                Some(value) => String::from_utf8_lossy(&value).into_owned(),
                None => "NULL".to_owned(),
            })
            .collect()
    }

    /// The first value of a query, as text; NULL as `NULL`, no row as an empty text.
    pub async fn one(&self, sql: &str) -> String {
        self.column(sql)
            .await
            .into_iter()
            .next()
            .unwrap_or_default()
    }

    /// The first value of a query as a number; 0 without one.
    pub async fn number(&self, sql: &str) -> u64 {
        self.one(sql).await.parse().unwrap_or(0)
    }

    /// The number of rows in a table.
    pub async fn count(&self, table: &str) -> u64 {
        self.number(&format!("SELECT COUNT(*) FROM {}", quoted(table)))
            .await
    }

    /// A further connection to this database.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn session(&self) -> Session {
        let conn = self.server.connect(Some(&self.database)).await;
        Session {
            conn: conn.expect("root may connect"),
        }
    }

    /// Starts a statement on a connection of its own, and waits until the server works on it.
    ///
    /// # Panics
    /// When it never starts.
    pub async fn start(&self, sql: &str) -> Busy {
        self.start_on(self.session().await, sql).await
    }

    /// Starts a statement on that connection, and waits until the server works on it.
    ///
    /// # Panics
    /// When it never starts.
    pub async fn start_on(&self, mut session: Session, sql: &str) -> Busy {
        let id = session.id();
        let text = sql.to_owned();
        let task = tokio::spawn(async move {
            let result = session.try_run(&text).await;
            (session, result)
        });
        let seen = format!(
            "SELECT COUNT(*) FROM {} WHERE ID={id} AND COMMAND='Query'",
            self.server.processlist()
        );
        eventually(sql, async || {
            (task.is_finished() || self.number(&seen).await > 0).then_some(())
        })
        .await;
        Busy { id, task }
    }

    /// Opens the database again after the server was restarted.
    pub async fn reconnect(&self) {
        *self.conn.lock().await = self.session().await.conn;
    }

    /// The horizon's clock: the server's time, in UTC, with microseconds.
    pub async fn now(&self) -> String {
        self.one("SELECT NOW(6)").await
    }

    /// Waits until a second of the server's clock has begun that comes after this moment.
    pub async fn next_second(&self) {
        let now = self.one("SELECT NOW()").await;
        eventually("the next second", async || {
            (self.one("SELECT NOW()").await != now).then_some(())
        })
        .await;
    }

    /// Waits until the running second has at least half a second left, so that a few statements
    /// fit in it.
    pub async fn early_in_a_second(&self) {
        eventually("the first half of a second", async || {
            (self.number("SELECT MICROSECOND(NOW(6))").await < 400_000).then_some(())
        })
        .await;
    }
}

impl Session {
    /// CONNECTION_ID().
    #[must_use]
    pub fn id(&self) -> u64 {
        u64::from(self.conn.id())
    }

    /// Runs a statement.
    ///
    /// # Panics
    /// When it fails; the message has the statement.
    pub async fn run(&mut self, sql: impl AsRef<str>) {
        if let Err(error) = self.try_run(sql.as_ref()).await {
            panic!("{}: {error}", sql.as_ref());
        }
    }

    /// Runs a statement that may fail.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_run(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        self.conn.query_drop(sql).await
    }
}

impl Busy {
    /// Whether the statement has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the end of the statement; the connection is open still.
    ///
    /// # Panics
    /// When the statement failed.
    pub async fn finish(self) -> Session {
        let (session, result) = self.end().await;
        result.expect("the statement succeeds");
        session
    }

    /// Waits for the end of the statement, however it ends.
    ///
    /// # Panics
    /// When it takes longer than a minute.
    pub async fn end(self) -> (Session, Result<(), mysql_async::Error>) {
        tokio::time::timeout(crate::DEADLINE * 2, self.task)
            .await
            .expect("the statement ends")
            .expect("the task does not panic")
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        // The text protocol has bytes alone.
        other => Some(format!("{other:?}").into_bytes()),
    }
}
