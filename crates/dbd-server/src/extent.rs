//! Where the keys of a chunk of rows lie. Knows no SQL.

use mysql_async::Row;

use crate::lease::bytes;
use crate::sink::{Sink, SinkError};

/// Rows of a chunk are read along their key when at least one in so many keys between its ends is theirs: a row
/// that is looked up by an entry of another index costs several of those that lie next to each other.
const DENSE: i128 = 2;

/// Whether so many keys lie together between these two.
pub(crate) fn are_dense(first: i128, last: i128, rows: i128) -> bool {
    last - first < DENSE * rows
}

/// The whole-number keys of some rows.
pub(crate) struct Extent {
    pub(crate) first: i128,
    pub(crate) last: i128,
    rows: i128,
    /// Whether the order of keys is that of (stamp, key).
    pub(crate) in_order: bool,
}

impl Extent {
    pub(crate) fn is_dense(&self) -> bool {
        are_dense(self.first, self.last, self.rows)
    }
}

/// Takes the least key, the greatest and the number of rows of one stamp after the other.
pub(crate) struct Extents<'a, S> {
    sink: &'a mut S,
    /// That of all together; none where there are no rows.
    pub(crate) whole: Option<Extent>,
}

impl<'a, S> Extents<'a, S> {
    pub(crate) fn new(sink: &'a mut S) -> Self {
        Self { sink, whole: None }
    }
}

impl<S: Sink> Sink for Extents<'_, S> {
    async fn row(&mut self, row: &Row) -> Result<(), SinkError> {
        let number = |at| std::str::from_utf8(bytes(row, at)?).ok()?.parse().ok();
        // Of no rows there is no key.
        let (Some(first), Some(last), Some(rows)) = (number(0), number(1), number(2)) else {
            return Ok(());
        };
        self.whole = Some(match self.whole.take() {
            None => Extent {
                first,
                last,
                rows,
                in_order: true,
            },
            Some(before) => Extent {
                first: before.first.min(first),
                last: before.last.max(last),
                rows: before.rows + rows,
                in_order: before.in_order && before.last < first,
            },
        });
        Ok(())
    }

    async fn silence(&mut self) -> SinkError {
        self.sink.silence().await
    }
}
