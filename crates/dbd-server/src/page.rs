//! The next page of an answer with `limit`: who is told of it, and when.
//!
//! The end of an answer names it, in JSON and NDJSON. Its head does too (`Link`), where the page is read before the head has
//! to be sent. CSV has no end that could: a page of it up to [`LINKED`] rows is read before its head is sent, however
//! long that takes, and is cut at [`WHOLE_BYTES`].

use common::frame::SourceState;
use common::wire::KindError;
use mysql_async::Row;
use tokio::sync::oneshot;

use crate::accept::Format;
use crate::cursor::{Cursor, next_page};
use crate::reading::{Reading, Rows};

/// The head of an answer tells of the next page up to this limit, in rows.
const LINKED: u64 = 1_000;

/// An answer of more bytes is not waited for before its head is sent, since its reader has to take some before the rest is
/// written.
const LINKED_BYTES: usize = 128 << 10;

/// A page that is read before its head is sent ends with the row that makes it this long, in bytes.
const WHOLE_BYTES: usize = 1 << 20;

/// A longer header field, in bytes, is more than what stands between server and caller may take. Only a page of CSV has one:
/// nothing else says that rows are left.
const MAX_LINK: usize = 4 << 10;

/// One page of a window.
pub(crate) struct Page {
    limit: u64,
    /// All of it is read before any of it is sent.
    pub(crate) whole: bool,
    /// The reference of the next one, but for its cursor.
    reference: String,
    /// Behind the last row of this one.
    cursor: Option<Cursor>,
    told: Option<oneshot::Sender<Option<String>>>,
}

/// What will be known of the next page when this one is read; nothing where the head is sent before.
pub(crate) type Next = Option<oneshot::Receiver<Option<String>>>;

impl Page {
    /// The page that is asked for; none where all rows are.
    pub(crate) fn of(
        reading: &Reading,
        pairs: &[(String, String)],
        format: Format,
    ) -> Option<(Self, Next)> {
        let limit = reading.limit?;
        if let Rows::Keys(_) = reading.rows {
            return None;
        }
        let (told, next) = oneshot::channel();
        let linked = limit <= LINKED;
        let page = Self {
            limit,
            whole: linked && format == Format::Csv,
            reference: next_page(pairs),
            cursor: None,
            told: linked.then_some(told),
        };
        Some((page, linked.then_some(next)))
    }

    /// Takes note of a row that was written: how many there are by now, and of how many bytes.
    pub(crate) fn wrote(
        &mut self,
        (reading, source): (&Reading, &SourceState),
        row: &Row,
        rows: u64,
        bytes: usize,
    ) -> Result<(), KindError> {
        if rows >= self.limit || self.is_full(bytes) {
            self.cursor = Some(Cursor::behind(reading, row, source)?);
        }
        if !self.whole && bytes > LINKED_BYTES {
            self.told = None;
        }
        Ok(())
    }

    /// Whether a page of so many bytes has to end.
    pub(crate) fn is_full(&self, bytes: usize) -> bool {
        self.whole && bytes >= WHOLE_BYTES
    }

    /// All rows were written, or there are `more`: answers the reference of the page with those.
    pub(crate) fn end(&mut self, more: bool) -> Option<String> {
        let cursor = self.cursor.take().filter(|_| more)?;
        Some(format!("{}{}", self.reference, cursor.encode()))
    }

    /// Tells whoever waits to send the head.
    pub(crate) fn tell(&mut self, next: Option<&str>) {
        if let Some(told) = self.told.take() {
            // Nobody waits any more when the head was sent meanwhile.
            let _ = told.send(next.map(str::to_owned));
        }
    }
}

/// The header field that names the next page, where its end does not or the field is short enough.
pub(crate) fn link(next: &str, format: Format) -> Option<String> {
    let link = format!("<{next}>; rel=\"next\"");
    (format == Format::Csv || link.len() <= MAX_LINK).then_some(link)
}
