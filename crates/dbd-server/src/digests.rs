//! The rows of parts of a table: their digests, and their keys (R9).
//!
//! A table is read in the order of its key, in pages of bounded statements, so no view of it is held
//! open for long and nothing is sorted. A row that is there all the time is read, whatever else is
//! written meanwhile.

use axum::body::Body;
use common::digest::{Digest, Hasher, Hex, RowHash, first_bits};
use common::frame::{End, Frame, Header};
use common::stamp::Stamp;
use common::table::Column;
use common::wire::KindError;
use mysql_async::Row;
use tracing::Instrument;

use crate::accept::Format;
use crate::bounds::Term;
use crate::comparison::{Answer, Comparison, Range};
use crate::lease::{Lease, bytes};
use crate::metrics::Meter;
use crate::outlet::Outlet;
use crate::requests::Line;
use crate::sink::{self, ReadError, Sink, SinkError};

/// Rows of one statement.
const PAGE: u64 = 10_000;

/// The body of an answer. It begins at once, before the source has said anything.
pub(crate) fn body(
    header: Header,
    lease: Lease,
    comparison: Comparison,
    term: Term,
    meter: Meter,
) -> Body {
    let (mut outlet, body) = Outlet::open(Format::Ndjson, term.stall, meter);
    let sent = async move {
        let written = term.hold(write(header, lease, &comparison, &term.line, &mut outlet));
        let result = written.await.unwrap_or_else(|ended| Err(ended.into()));
        outlet.close(result).await;
    };
    tokio::spawn(sent.in_current_span());
    body
}

async fn write(
    header: Header,
    mut lease: Lease,
    comparison: &Comparison,
    line: &Line,
    outlet: &mut Outlet,
) -> Result<(), ReadError> {
    line.rows(0);
    let horizon = header.source.horizon;
    let frame = Frame::Header(Box::new(header)).encode();
    outlet.buffer.extend(frame);
    outlet.flush().await?;
    let mut folding = Folding::new(comparison, horizon, line, outlet);
    for range in &comparison.ranges {
        let sink = &mut OfRange {
            range,
            folding: &mut folding,
        };
        scan(&mut lease, comparison, range, sink).await?;
    }
    // The rest is the caller's to wait for.
    drop(lease);
    let rows = folding.end().await?;
    let end = End {
        rows,
        more: false,
        next: None,
    };
    outlet.buffer.extend(Frame::End(end).encode());
    Ok(())
}

/// Reads the rows of a range, page by page.
async fn scan(
    lease: &mut Lease,
    comparison: &Comparison,
    range: &Range,
    sink: &mut impl Sink,
) -> Result<(), ReadError> {
    let Comparison { scan, key, .. } = comparison;
    let mut columns: Vec<String> = comparison.columns.iter().map(Column::select).collect();
    if comparison.stamp_at() == columns.len() {
        columns.push(comparison.stamp.select());
    }
    let cursor = columns.len();
    columns.extend(scan.cursor());
    let mut after = range.after.clone();
    loop {
        let sql = scan.page(&columns, after.as_ref(), range.up_to.as_ref(), PAGE);
        let found = sink::read(lease, &sql, sink).await?;
        let Some(last) = found.last.filter(|_| found.count >= PAGE) else {
            return Ok(());
        };
        let values = |places: std::ops::Range<usize>| places.map(|at| bytes(&last, at));
        after = Some(scan.bound_of(values(0..*key), values(cursor..columns.len()))?);
    }
}

/// Makes the answer of rows.
struct Folding<'a> {
    comparison: &'a Comparison,
    /// What the text of a stamp is compared with: rows that are stamped later are in no digest.
    below: Vec<u8>,
    /// Where the stamp stands in a row.
    stamp: usize,
    hasher: Hasher,
    /// The digests so far: of all parts, or of the rows since the last cut.
    digests: Vec<Digest>,
    line: &'a Line,
    outlet: &'a mut Outlet,
    sent: u64,
}

impl<'a> Folding<'a> {
    fn new(
        comparison: &'a Comparison,
        horizon: Stamp,
        line: &'a Line,
        outlet: &'a mut Outlet,
    ) -> Self {
        let digests = match comparison.answer {
            Answer::Cut { .. } => 1,
            Answer::Split { parts, split } => parts << split,
            Answer::Keys => 0,
        };
        Self {
            comparison,
            below: below(comparison.below, horizon, comparison.stamp.scale),
            stamp: comparison.stamp_at(),
            hasher: comparison.hasher(),
            digests: vec![Digest::default(); digests],
            line,
            outlet,
            sent: 0,
        }
    }

    async fn row(&mut self, range: &Range, row: &Row) -> Result<(), SinkError> {
        let keys = matches!(self.comparison.answer, Answer::Keys);
        if keys || self.is_below(row) {
            let hash = self.hasher.hash(|at| bytes(row, at));
            let hash = hash.map_err(SinkError::Value)?;
            match &self.comparison.answer {
                Answer::Cut { rows, .. } => {
                    self.digests[0].add(hash);
                    if self.digests[0].rows >= *rows {
                        let up_to = self.key(row).map_err(SinkError::Value)?;
                        self.cut(&format!("[{up_to}]"));
                    }
                }
                Answer::Split { split, .. } => {
                    for (part, bits) in range.parts_of(hash.key) {
                        let further = first_bits(hash.key, bits + split) as usize;
                        let at = (part << split) | (further & ((1 << split) - 1));
                        self.digests[at].add(hash);
                    }
                }
                Answer::Keys => {
                    let line = self.line(row, hash).map_err(SinkError::Value)?;
                    for _ in range.parts_of(hash.key) {
                        self.send(&line);
                        self.outlet.offer().await?;
                    }
                }
            }
        }
        self.outlet.offer().await
    }

    fn is_below(&self, row: &Row) -> bool {
        let stamp = bytes(row, self.stamp);
        stamp.is_none_or(|stamp| stamp < self.below.as_slice())
    }

    /// The wire forms of a row's key.
    fn key(&self, row: &Row) -> Result<String, KindError> {
        let mut wire = Vec::new();
        for (at, column) in self.comparison.key_columns().iter().enumerate() {
            if at > 0 {
                wire.push(b',');
            }
            let value = bytes(row, at);
            column.kind.encode(value, column.is_tagged(), &mut wire)?;
        }
        Ok(String::from_utf8_lossy(&wire).into_owned())
    }

    fn line(&self, row: &Row, hash: RowHash) -> Result<String, KindError> {
        let key = self.key(row)?;
        let mut stamp = Vec::new();
        let value = bytes(row, self.stamp);
        let kind = self.comparison.stamp.kind;
        kind.encode(value, false, &mut stamp)?;
        let stamp = String::from_utf8_lossy(&stamp);
        Ok(format!("[{key},{stamp},\"{}\"]\n", Hex(hash.row)))
    }

    /// Sends the digest of the rows since the last cut, up to and with the row of that key.
    fn cut(&mut self, up_to: &str) {
        let digest = std::mem::take(&mut self.digests[0]);
        self.send(&format!(
            "[{up_to},{},\"{}\"]\n",
            digest.rows,
            Hex(digest.sum)
        ));
    }

    fn send(&mut self, line: &str) {
        self.outlet.buffer.extend_from_slice(line.as_bytes());
        self.sent += 1;
        self.line.rows(self.sent);
    }

    /// Sends what is known when all rows were read; answers how many lines there were.
    async fn end(mut self) -> Result<u64, SinkError> {
        match &self.comparison.answer {
            Answer::Cut { up_to, .. } => self.cut(up_to),
            Answer::Split { split, .. } => {
                for (at, digest) in std::mem::take(&mut self.digests).into_iter().enumerate() {
                    if digest.rows > 0 {
                        let (part, value) = (at >> split, at & ((1 << split) - 1));
                        self.send(&format!(
                            "[{part},{value},{},\"{}\"]\n",
                            digest.rows,
                            Hex(digest.sum)
                        ));
                        self.outlet.offer().await?;
                    }
                }
            }
            Answer::Keys => {}
        }
        Ok(self.sent)
    }
}

/// The rows of one range.
struct OfRange<'a, 'b> {
    range: &'a Range,
    folding: &'a mut Folding<'b>,
}

impl Sink for OfRange<'_, '_> {
    async fn row(&mut self, row: &Row) -> Result<(), SinkError> {
        self.folding.row(self.range, row).await
    }

    async fn silence(&mut self) -> SinkError {
        self.folding.outlet.silence().await
    }
}

/// The text that stamps below both times are less than, byte by byte, as the source writes them.
fn below(wanted: Option<Stamp>, horizon: Stamp, precision: u8) -> Vec<u8> {
    let bound = wanted.map_or(horizon, |wanted| {
        // No stamp lies between a time and the next one that the column can hold.
        let floor = wanted.floor(precision);
        let least = match floor == wanted {
            true => floor,
            false => floor.next(precision),
        };
        least.min(horizon)
    });
    let digits = match precision {
        0 => 0,
        precision => usize::from(precision) + 1,
    };
    let mut text = bound.sql().into_bytes();
    text.truncate(b"2014-09-01 01:23:45".len() + digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_compared_as_text() {
        let horizon = Stamp::parse("2014-09-01 01:23:45.678").unwrap();
        let wanted = |text: &str| Stamp::parse(text).unwrap();
        for (below_, precision, less, not_less) in [
            (
                None,
                3,
                "2014-09-01 01:23:45.677",
                "2014-09-01 01:23:45.678",
            ),
            (
                Some("2014-09-02"),
                3,
                "2014-09-01 01:23:45.677",
                "2014-09-01 01:23:45.678",
            ),
            (
                Some("2014-09-01 01:23:45"),
                0,
                "2014-09-01 01:23:44",
                "2014-09-01 01:23:45",
            ),
            (
                Some("2014-09-01 01:23:40.5"),
                0,
                "2014-09-01 01:23:40",
                "2014-09-01 01:23:41",
            ),
            (
                Some("2014-09-01 01:23:40.0005"),
                3,
                "2014-09-01 01:23:40.000",
                "2014-09-01 01:23:40.001",
            ),
            (
                Some("1970-01-01 00:00:01"),
                6,
                "0000-00-00 00:00:00.000000",
                "1970-01-01 00:00:01.000000",
            ),
        ] {
            let bound = below(below_.map(wanted), horizon, precision);
            let is_below = |stamp: &str| stamp.as_bytes() < bound.as_slice();
            assert!(is_below(less), "{below_:?} {less}");
            assert!(!is_below(not_less), "{below_:?} {not_less}");
        }
        assert!(
            b"0000-00-00 00:00:00.000".as_slice()
                >= below(Some(Stamp::ZERO), horizon, 3).as_slice()
        );
    }
}
