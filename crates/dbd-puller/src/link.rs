//! Connections to the destination, and since when each is asked something.
//!
//! A network can lose an answer, or a question, without a word. Whoever sees from outside that a question
//! is long unanswered while the server has nothing to do (see `watch.rs`) gives the destination up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::{Conn, Row, Value, prelude::FromRow, prelude::Queryable};
use tokio::time::Instant;

/// How long a question may be on its way, there and back, while the server knows of none.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// A long question takes longer to get there: so many bytes in a second at least.
const BYTES_PER_SECOND: u64 = 64 * 1024;

/// How long so many bytes may be on their way.
pub(crate) fn travels(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / BYTES_PER_SECOND)
}

/// So many bytes of rows are the sign that an answer goes on arriving: less than the slowest way brings in a second.
const SIGN: usize = 16 * 1024;

/// The questions that are not answered, by the id of their connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<Mutex<HashMap<u32, Question>>>);

#[derive(Clone, Copy, Debug)]
struct Question {
    /// Or since when nothing more of the answer came.
    asked: Instant,
    /// Until then it may still be on its way.
    until: Instant,
}

impl Asked {
    /// The connections whose question should have reached the server by now, and when they were asked.
    pub(crate) fn overdue(&self) -> HashMap<u32, Instant> {
        let now = Instant::now();
        let questions = self.lock();
        let overdue = questions.iter().filter(|(_, asked)| asked.until < now);
        overdue.map(|(id, asked)| (*id, asked.asked)).collect()
    }

    /// A part of the answer has come.
    fn goes_on(&self, id: u32) {
        if let Some(question) = self.lock().get_mut(&id) {
            let now = Instant::now();
            question.asked = now;
            question.until = question.until.max(now + ON_ITS_WAY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Question>> {
        // Each change of the map is one step: it is never half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection. Once it was not waited for to its answer it is of no use: the next answer would be that one.
pub(crate) struct Link {
    conn: Option<Conn>,
    asked: Asked,
    is_asked: bool,
}

impl Link {
    pub(crate) fn new(conn: Conn, asked: &Asked) -> Self {
        Self {
            conn: Some(conn),
            asked: asked.clone(),
            is_asked: false,
        }
    }

    /// The connection, for a question of so many bytes; [`Link::answered`] says that it was answered.
    pub(crate) fn ask(&mut self, bytes: usize) -> Result<&mut Conn, mysql_async::Error> {
        let conn = self.conn.as_mut().filter(|_| !self.is_asked);
        let Some(conn) = conn else {
            return Err(silent("the connection was given up"));
        };
        let asked = Instant::now();
        let until = asked + ON_ITS_WAY + travels(bytes);
        self.is_asked = true;
        let question = Question { asked, until };
        self.asked.lock().insert(conn.id(), question);
        Ok(conn)
    }

    /// The question was answered, be it by an error.
    pub(crate) fn answered(&mut self) {
        self.is_asked = false;
        if let Some(conn) = &self.conn {
            self.asked.lock().remove(&conn.id());
        }
    }

    pub(crate) async fn query<T>(
        &mut self,
        statement: impl Into<Vec<u8>>,
    ) -> Result<Vec<T>, mysql_async::Error>
    where
        T: FromRow + Send + 'static,
    {
        let statement = statement.into();
        let answer = self.ask(statement.len())?.query(statement).await;
        self.answered();
        answer
    }

    /// Hands the rows of an answer on as they arrive. The server may have sent all of them, and have nothing to
    /// do, long before a slow network has brought them: what comes of them shows that the rest is not lost.
    pub(crate) async fn each_row(
        &mut self,
        statement: impl Into<Vec<u8>>,
        mut take: impl FnMut(Row),
    ) -> Result<(), mysql_async::Error> {
        let statement = statement.into();
        let asked = self.asked.clone();
        let conn = self.ask(statement.len())?;
        let id = conn.id();
        let read = async {
            let mut answer = conn.query_iter(statement).await?;
            let mut bytes = 0;
            while let Some(row) = answer.next().await? {
                bytes += length(&row);
                if bytes >= SIGN {
                    asked.goes_on(id);
                    bytes = 0;
                }
                take(row);
            }
            Ok(())
        };
        let read = read.await;
        self.answered();
        read
    }

    pub(crate) async fn query_first<T>(
        &mut self,
        statement: impl Into<Vec<u8>>,
    ) -> Result<Option<T>, mysql_async::Error>
    where
        T: FromRow + Send + 'static,
    {
        let statement = statement.into();
        let answer = self.ask(statement.len())?.query_first(statement).await;
        self.answered();
        answer
    }

    pub(crate) async fn query_drop(
        &mut self,
        statement: impl Into<Vec<u8>>,
    ) -> Result<(), mysql_async::Error> {
        let statement = statement.into();
        let answer = self.ask(statement.len())?.query_drop(statement).await;
        self.answered();
        answer
    }

    /// The rows of each of some statements, up to the first that fails; and how that failed.
    pub(crate) async fn query_each(
        &mut self,
        statements: &[String],
    ) -> Result<(Vec<Vec<Row>>, Option<mysql_async::Error>), mysql_async::Error> {
        let text = statements.join(";");
        let conn = self.ask(text.len())?;
        let mut all = Vec::with_capacity(statements.len());
        let read = async {
            let mut answer = conn.query_iter(text).await?;
            while !answer.is_empty() {
                all.push(answer.collect().await?);
            }
            Ok(())
        };
        let read: Result<(), mysql_async::Error> = read.await;
        self.answered();
        Ok((all, read.err()))
    }

    /// The same as a prepared statement, which cannot be two.
    pub(crate) async fn exec_drop(&mut self, statement: &str) -> Result<(), mysql_async::Error> {
        let answer = self.ask(statement.len())?.exec_drop(statement, ()).await;
        self.answered();
        answer
    }

    /// How many warnings the last statement raised.
    pub(crate) fn warnings(&self) -> u16 {
        self.conn.as_ref().map_or(0, Conn::get_warnings)
    }

    /// How many rows the last statement changed.
    pub(crate) fn affected_rows(&self) -> u64 {
        self.conn.as_ref().map_or(0, Conn::affected_rows)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if !self.is_asked {
            return;
        }
        self.answered();
        if let Some(conn) = self.conn.take() {
            abandon(conn);
        }
    }
}

/// What a row takes on its way, in bytes, about.
fn length(row: &Row) -> usize {
    let values = (0..row.len()).filter_map(|at| match row.as_ref(at) {
        Some(Value::Bytes(bytes)) => Some(bytes.len()),
        _ => None,
    });
    row.len() + values.sum::<usize>()
}

/// Closes a connection that is waited for in vain. Within the runtime its drop would first read the answer.
pub(crate) fn abandon(conn: Conn) {
    let closing = std::thread::Builder::new().spawn(move || drop(conn));
    if let Err(error) = closing {
        tracing::debug!(%error, "a connection is left to itself");
    }
}

/// The error of a server that says nothing.
pub(crate) fn silent(why: impl Into<String>) -> mysql_async::Error {
    mysql_async::Error::Io(mysql_async::IoError::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        why.into(),
    )))
}

/// Waits for an answer no longer than that. The connection is of no use afterwards.
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, mysql_async::Error> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(silent(format!("no answer within {} s", limit.as_secs()))),
    }
}
