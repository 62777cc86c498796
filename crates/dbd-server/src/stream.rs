//! Rows to frames, JSON or CSV, and those to the body of an answer. Knows no SQL.
//!
//! R10. An answer ends with its end frame (its count, its last line) or is broken off: whatever
//! fails midway makes the body an error, and no server of HTTP closes such a body properly.
//!
//! Memory is bounded: a chunk is filled, up to [`CHUNKS`] more wait for the caller, and while
//! they do nothing is read from the source.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use common::frame::{End, Frame, Header};
use common::process::chain;
use common::table::Column;
use futures_util::StreamExt;
use mysql_async::Row;
use tokio::sync::mpsc;

use crate::accept::Format;
use crate::lease::{Lease, SourceError, bytes};
use crate::reading::Reading;
use crate::source::{self, ReadError, Sink, SinkError};

/// A chunk of the body is sent when it has this many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// So many chunks wait for a slow caller at most.
const CHUNKS: usize = 4;

/// Rows wait this long for more rows to fill their chunk.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// The longest silence; callers' time-outs are longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// An answer that is broken off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the source failed midway")]
pub(crate) struct BrokenOff;

/// The body of an answer. It begins at once, before the source has said anything.
pub(crate) fn body(format: Format, header: Header, lease: Lease, reading: Reading) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let mut writer = Writer::new(format, &reading.columns, sender);
        writer.begin(header);
        if writer.flush().await.is_err() {
            return;
        }
        match source::read(lease, &reading, &mut writer).await {
            Ok(more) => writer.end(more).await,
            Err(ReadError::Gone) => tracing::debug!("the caller went away"),
            Err(ReadError::Source(error)) => writer.fail(&error).await,
        }
    });
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk: Result<Bytes, BrokenOff> = receiver.recv().await?;
        if chunk.is_err() {
            // What was written before is sent when the body has nothing more to offer for now;
            // an error would discard it, and with it the frame that says what failed.
            tokio::task::yield_now().await;
        }
        Some((chunk, receiver))
    });
    Body::from_stream(chunks.fuse())
}

struct Writer {
    format: Format,
    columns: Vec<Column>,
    /// The columns' names as JSON, each with its colon.
    names: Vec<Vec<u8>>,
    buffer: Vec<u8>,
    rows: u64,
    flushed: Instant,
    sender: mpsc::Sender<Result<Bytes, BrokenOff>>,
}

impl Writer {
    fn new(
        format: Format,
        columns: &[Column],
        sender: mpsc::Sender<Result<Bytes, BrokenOff>>,
    ) -> Self {
        let name = |column: &Column| {
            let mut name = serde_json::to_vec(&column.name).unwrap_or_default();
            name.push(b':');
            name
        };
        Self {
            format,
            columns: columns.to_vec(),
            names: columns.iter().map(name).collect(),
            buffer: Vec::with_capacity(CHUNK_BYTES),
            rows: 0,
            flushed: Instant::now(),
            sender,
        }
    }

    fn begin(&mut self, header: Header) {
        match self.format {
            Format::Ndjson => self.buffer.extend(Frame::Header(Box::new(header)).encode()),
            Format::Json => {
                self.buffer.extend_from_slice(b"{\"header\":");
                // Writing to memory cannot fail.
                let _ = serde_json::to_writer(&mut self.buffer, &header);
                self.buffer.extend_from_slice(b",\"rows\":[");
            }
            Format::Csv => {
                for (at, column) in self.columns.iter().enumerate() {
                    if at > 0 {
                        self.buffer.push(b',');
                    }
                    csv_text(column.name.as_str(), &mut self.buffer);
                }
                self.buffer.extend_from_slice(b"\r\n");
            }
        }
    }

    fn encode(&mut self, row: &Row) -> Result<(), common::wire::KindError> {
        let out = &mut self.buffer;
        match self.format {
            Format::Ndjson => out.push(b'['),
            Format::Json if self.rows == 0 => out.extend_from_slice(b"\n{"),
            Format::Json => out.extend_from_slice(b",\n{"),
            Format::Csv => {}
        }
        let mut wire = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let value = bytes(row, at);
            match self.format {
                Format::Ndjson => column.kind.encode(value, column.is_tagged(), out)?,
                Format::Json => {
                    out.extend_from_slice(&self.names[at]);
                    column.kind.encode(value, column.is_tagged(), out)?;
                }
                Format::Csv => {
                    wire.clear();
                    column.kind.encode(value, column.is_tagged(), &mut wire)?;
                    csv_value(&wire, out);
                }
            }
        }
        out.extend_from_slice(match self.format {
            Format::Ndjson => b"]\n",
            Format::Json => b"}",
            Format::Csv => b"\r\n",
        });
        self.rows += 1;
        Ok(())
    }

    /// Sends what there is. Dropped before its end, nothing is sent and nothing is lost.
    async fn flush(&mut self) -> Result<(), SinkError> {
        if !self.buffer.is_empty() {
            let permit = self.sender.reserve().await.map_err(|_| SinkError::Gone)?;
            let next = Vec::with_capacity(CHUNK_BYTES);
            permit.send(Ok(std::mem::replace(&mut self.buffer, next).into()));
        }
        self.flushed = Instant::now();
        Ok(())
    }

    async fn end(&mut self, more: bool) {
        match self.format {
            Format::Ndjson => {
                let end = End {
                    rows: self.rows,
                    more,
                };
                self.buffer.extend(Frame::End(end).encode());
            }
            Format::Json => {
                let end = format!("\n],\"count\":{},\"more\":{more}}}\n", self.rows);
                self.buffer.extend_from_slice(end.as_bytes());
            }
            Format::Csv => {}
        }
        // Nobody is left to tell when this fails.
        let _ = self.flush().await;
    }

    async fn fail(&mut self, error: &SourceError) {
        tracing::error!("an answer was broken off: {}", chain(error));
        if self.format == Format::Ndjson {
            self.buffer.extend(Frame::Error(error.to_string()).encode());
        }
        let _ = self.flush().await;
        let _ = self.sender.send(Err(BrokenOff)).await;
    }
}

impl Sink for Writer {
    async fn row(&mut self, row: &Row) -> Result<(), SinkError> {
        let whole = self.buffer.len();
        if let Err(error) = self.encode(row) {
            self.buffer.truncate(whole);
            return Err(SinkError::Value(error));
        }
        if self.buffer.len() >= CHUNK_BYTES || self.flushed.elapsed() >= FLUSH_AFTER {
            self.flush().await?;
        }
        Ok(())
    }

    async fn silence(&mut self) {
        let mut patience = if self.buffer.is_empty() {
            KEEP_ALIVE
        } else {
            FLUSH_AFTER
        };
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                () = tokio::time::sleep(patience) => {}
            }
            if self.buffer.is_empty() {
                match self.format {
                    Format::Ndjson => self.buffer.extend(Frame::KeepAlive.encode()),
                    // Space between two values means nothing.
                    Format::Json => self.buffer.push(b'\n'),
                    Format::Csv => {}
                }
            }
            if self.flush().await.is_err() {
                return;
            }
            patience = KEEP_ALIVE;
        }
    }
}

/// A wire value as a field: NULL is empty, and an empty text is two quotes.
fn csv_value(wire: &[u8], out: &mut Vec<u8>) {
    match wire {
        b"null" => {}
        [b'"', ..] => match serde_json::from_slice::<String>(wire) {
            Ok(text) => csv_text(&text, out),
            Err(_) => out.extend_from_slice(wire),
        },
        // Text that has no Unicode form: the object that holds its bytes.
        [b'{', ..] => csv_text(&String::from_utf8_lossy(wire), out),
        _ => out.extend_from_slice(wire),
    }
}

fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\r', '\n']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_csv_is_quoted_when_it_must_be() {
        for (wire, field) in [
            ("null", ""),
            ("\"\"", "\"\""),
            ("12", "12"),
            ("\"a b\"", "a b"),
            ("\"a,b\"", "\"a,b\""),
            ("\"a\\\"b\"", "\"a\"\"b\""),
            ("\"a\\nb\"", "\"a\nb\""),
            ("{\"base64\":\"gA==\"}", "\"{\"\"base64\"\":\"\"gA==\"\"}\""),
        ] {
            let mut out = Vec::new();
            csv_value(wire.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), field, "{wire}");
        }
    }
}
