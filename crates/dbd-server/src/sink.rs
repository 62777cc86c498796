//! Rows on their way from a statement to whoever takes them. Knows neither SQL nor HTTP.

use common::wire::KindError;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

use crate::bounds::Ended;
use crate::horizon::NotKnown;
use crate::lease::{Lease, SourceError};

/// Where rows go as they are read.
pub(crate) trait Sink: Send {
    /// Takes a row, and waits while the reader is slow.
    fn row(&mut self, row: &Row) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Whether it takes no further row.
    fn is_full(&self) -> bool {
        false
    }

    /// Passes the time while the database says nothing. It may be dropped at any point; it ends
    /// when the reader takes no more, and says why.
    fn silence(&mut self) -> impl Future<Output = SinkError> + Send;
}

/// Why a sink takes no row.
#[derive(Debug)]
pub(crate) enum SinkError {
    /// The reader is gone.
    Gone,
    /// The reader has had its time.
    Ended(Ended),
    /// The source answered something that is not of its column's kind.
    Value(KindError),
}

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The reader is gone.
    Gone,
    /// The answer has had its time.
    Ended(Ended),
    /// There is no horizon to read up to.
    NotKnown(NotKnown),
    /// The source failed.
    Source(SourceError),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<KindError> for ReadError {
    fn from(error: KindError) -> Self {
        Self::Source(SourceError::Odd(error.into()))
    }
}

impl From<Ended> for ReadError {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<SinkError> for ReadError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Gone => Self::Gone,
            SinkError::Ended(ended) => Self::Ended(ended),
            SinkError::Value(error) => error.into(),
        }
    }
}

/// What a statement answered.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) count: u64,
    pub(crate) last: Option<Row>,
}

/// Reads all rows of a statement into the sink.
///
/// # Errors
/// When the source failed or the reader went away.
pub(crate) async fn read(
    lease: &mut Lease,
    sql: &str,
    sink: &mut impl Sink,
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    let limit = lease.limit;
    let result = match tokio::time::timeout(limit, run(lease, sql, sink, &mut found)).await {
        Ok(result) => result,
        Err(_) => return Err(SourceError::TooLong.into()),
    };
    // An error of the server is a whole answer too.
    if matches!(
        result,
        Ok(()) | Err(Stopped::Mysql(mysql_async::Error::Server(_)))
    ) {
        lease.done();
    }
    match result {
        Ok(()) => Ok(found),
        Err(Stopped::Read(error)) => Err(error),
        Err(Stopped::Mysql(error)) => Err(ReadError::Source(error.into())),
    }
}

async fn run(
    lease: &mut Lease,
    sql: &str,
    sink: &mut impl Sink,
    found: &mut Found,
) -> Result<(), Stopped> {
    tracing::trace!(sql, "reading");
    let conn = lease.begin();
    let mut result = tokio::select! {
        biased;
        result = conn.query_iter(sql) => result?,
        ended = sink.silence() => return Err(Stopped::Read(ended.into())),
    };
    loop {
        let row = tokio::select! {
            biased;
            row = result.next() => row?,
            ended = sink.silence() => return Err(Stopped::Read(ended.into())),
        };
        let Some(row) = row else {
            return Ok(());
        };
        let taken = sink.row(&row).await;
        taken.map_err(|error| Stopped::Read(error.into()))?;
        found.count += 1;
        found.last = Some(row);
    }
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
