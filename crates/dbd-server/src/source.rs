//! Changed rows and rows by key, as statements.
//!
//! R2. Only rows with `stamp < horizon` are read, in the order (stamp, key). The horizon was known
//! before the first statement here opens its view, so every row below it is visible to all of
//! them, or has been changed again and comes later with a new stamp. That is why an answer may be
//! read by many short statements: none holds a view open for long, and with an index on the
//! stamp none sorts more than a chunk, or the rows of one stamp.

use common::scan::behind;
use common::stamp::Stamp;
use common::wire::KindError;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use crate::lease::{Lease, SourceError, bytes};
use crate::reading::{Reading, Rows, literal};

/// Rows of one statement, about. The optimiser of MySQL prefers to sort a whole table to
/// following an index; it is given pieces that are cheap to sort.
const CHUNK: u64 = 10_000;

/// Where rows go as they are read.
pub(crate) trait Sink: Send {
    /// Takes a row, and waits while the reader is slow.
    fn row(&mut self, row: &Row) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Passes the time while the database says nothing. It may be dropped at any point; it ends
    /// when the reader is gone.
    fn silence(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a sink takes no row.
#[derive(Debug)]
pub(crate) enum SinkError {
    /// The reader is gone.
    Gone,
    /// The source answered something that is not of its column's kind.
    Value(KindError),
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The reader is gone.
    Gone,
    /// The source failed.
    Source(SourceError),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<SinkError> for ReadError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Gone => Self::Gone,
            SinkError::Value(error) => Self::Source(SourceError::Odd(error.into())),
        }
    }
}

/// Reads rows into the sink; answers whether `limit` left some out.
///
/// # Errors
/// When the source failed or the reader went away; the connection is ended then.
pub(crate) async fn read(
    lease: Lease,
    reading: &Reading,
    sink: &mut impl Sink,
) -> Result<bool, ReadError> {
    let mut reader = Reader {
        lease,
        reading,
        sink,
        left: reading.limit,
        more: false,
    };
    match &reading.rows {
        Rows::Keys(condition) => {
            reader
                .statement(&reading.select("", condition, &[]))
                .await?;
        }
        Rows::Window {
            since,
            after,
            horizon,
        } => reader.window(*since, after.as_deref(), *horizon).await?,
    }
    Ok(reader.more)
}

struct Reader<'a, S> {
    lease: Lease,
    reading: &'a Reading,
    sink: &'a mut S,
    /// How many more rows may be sent.
    left: Option<u64>,
    /// A row was left out.
    more: bool,
}

impl<S: Sink> Reader<'_, S> {
    async fn window(
        &mut self,
        since: Option<Stamp>,
        after: Option<&[String]>,
        horizon: Stamp,
    ) -> Result<(), ReadError> {
        let stamp = &self.reading.stamp.name;
        // What the rows still to be read have in common.
        let mut low = "TRUE".to_owned();
        match since {
            None if self.reading.stamp.nullable => {
                self.tie(&format!("{stamp} IS NULL"), None).await?;
                low = format!("{stamp} IS NOT NULL");
            }
            None => {}
            Some(since) if since >= horizon => return Ok(()),
            Some(since) => {
                low = format!("{stamp} >= {}", literal(since));
                if let Some(after) = after {
                    self.tie(
                        &format!("{stamp} = {}", literal(since)),
                        Some(after.to_vec()),
                    )
                    .await?;
                    low = format!("{stamp} > {}", literal(since));
                }
            }
        }
        let mut start = None;
        while !self.more {
            match self.boundary(&low, horizon).await? {
                Some(boundary) if Some(boundary) == start => {
                    // More rows of one stamp than a chunk has.
                    let boundary = literal(boundary);
                    self.tie(&format!("{stamp} = {boundary}"), None).await?;
                    low = format!("{stamp} > {boundary}");
                    start = None;
                }
                Some(boundary) => {
                    self.range(&low, boundary).await?;
                    low = format!("{stamp} >= {}", literal(boundary));
                    start = Some(boundary);
                }
                None => {
                    self.range(&low, horizon).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// The stamp a chunk further on; none when less than a chunk is left, or when there is no
    /// index to find it by.
    async fn boundary(&mut self, low: &str, horizon: Stamp) -> Result<Option<Stamp>, ReadError> {
        if self.reading.index().is_none() {
            return Ok(None);
        }
        let stamp = &self.reading.stamp.name;
        let sql = format!(
            "SELECT {stamp} FROM {} WHERE {low} AND {stamp} < {} ORDER BY {stamp} LIMIT 1 OFFSET {}",
            self.reading.from(),
            literal(horizon),
            self.chunk()
        );
        let found = self.rows(&sql, false).await?;
        let Some(text) = found.last.as_ref().and_then(|row| bytes(row, 0)) else {
            return Ok(None);
        };
        let boundary = Stamp::from_sql(text).map_err(|error| SourceError::Odd(error.into()))?;
        Ok(Some(boundary))
    }

    /// Rows that `low` holds for, stamped before `high`.
    async fn range(&mut self, low: &str, high: Stamp) -> Result<(), ReadError> {
        let stamp = &self.reading.stamp.name;
        let mut order = vec![stamp.to_string()];
        order.extend(self.reading.key_order());
        let condition = format!("{low} AND {stamp} < {}", literal(high));
        let sql = self
            .reading
            .select(&self.reading.from(), &condition, &order);
        self.statement(&sql).await
    }

    /// Rows of one stamp, those behind the key `after` if there is one.
    async fn tie(&mut self, stamp: &str, mut after: Option<Vec<String>>) -> Result<(), ReadError> {
        let order = self.reading.key_order();
        let paged = self.reading.tie_in_order();
        while !self.more {
            let condition = match &after {
                Some(key) => format!("{stamp} AND {}", behind(&order, key)),
                None => stamp.to_owned(),
            };
            let mut sql = self
                .reading
                .select(&self.reading.from(), &condition, &order);
            if !paged {
                return self.statement(&sql).await;
            }
            let page = self.chunk();
            sql.push_str(&format!(" LIMIT {page}"));
            let found = self.rows(&sql, true).await?;
            match found.last {
                Some(row) if found.count >= page => after = Some(self.key_of(&row)?),
                _ => break,
            }
        }
        Ok(())
    }

    /// How many rows the next statement is to find.
    fn chunk(&self) -> u64 {
        self.left
            .map_or(CHUNK, |left| CHUNK.min(left.saturating_add(1)))
    }

    fn key_of(&self, row: &Row) -> Result<Vec<String>, ReadError> {
        let odd = |error: KindError| SourceError::Odd(error.into());
        let mut key = Vec::new();
        for column in self.reading.table.key_columns() {
            let at = self
                .reading
                .columns
                .iter()
                .position(|c| c.name == column.name);
            let mut wire = Vec::new();
            column
                .kind
                .encode(
                    at.and_then(|at| bytes(row, at)),
                    column.is_tagged(),
                    &mut wire,
                )
                .map_err(odd)?;
            let wire = String::from_utf8_lossy(&wire);
            key.push(column.kind.order_literal(&wire).map_err(odd)?);
        }
        Ok(key)
    }

    /// Sends all rows of a statement.
    async fn statement(&mut self, sql: &str) -> Result<(), ReadError> {
        // One row beyond the limit tells whether there are more.
        let limit = self.left.map_or(String::new(), |left| {
            format!(" LIMIT {}", left.saturating_add(1))
        });
        self.rows(&format!("{sql}{limit}"), true).await?;
        Ok(())
    }

    async fn rows(&mut self, sql: &str, send: bool) -> Result<Found, ReadError> {
        let mut found = Found::default();
        let result = self.run(sql, send, &mut found).await;
        // An error of the server is a whole answer too.
        if matches!(
            result,
            Ok(()) | Err(Stopped::Mysql(mysql_async::Error::Server(_)))
        ) {
            self.lease.done();
        }
        match result {
            Ok(()) => Ok(found),
            Err(Stopped::Read(error)) => Err(error),
            Err(Stopped::Mysql(error)) => Err(ReadError::Source(error.into())),
        }
    }

    async fn run(&mut self, sql: &str, send: bool, found: &mut Found) -> Result<(), Stopped> {
        let gone = Stopped::Read(ReadError::Gone);
        tracing::trace!(sql, "reading");
        let conn = self.lease.begin();
        let mut result = tokio::select! {
            biased;
            result = conn.query_iter(sql) => result?,
            () = self.sink.silence() => return Err(gone),
        };
        loop {
            let row = tokio::select! {
                biased;
                row = result.next() => row?,
                () = self.sink.silence() => return Err(gone),
            };
            let Some(row) = row else {
                return Ok(());
            };
            if send {
                match &mut self.left {
                    // The statement's own LIMIT lets only this one row through.
                    Some(0) => {
                        self.more = true;
                        continue;
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                let sent = self.sink.row(&row).await;
                sent.map_err(|error| Stopped::Read(error.into()))?;
            }
            found.count += 1;
            found.last = Some(row);
        }
    }
}

/// What a statement answered.
#[derive(Default)]
struct Found {
    count: u64,
    last: Option<Row>,
}

enum Stopped {
    Read(ReadError),
    Mysql(mysql_async::Error),
}

impl From<mysql_async::Error> for Stopped {
    fn from(error: mysql_async::Error) -> Self {
        Self::Mysql(error)
    }
}
