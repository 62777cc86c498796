//! An answer of the dbd-server, frame by frame as it arrives (R10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use common::frame::{End, Frame, Header};
use common::ident::Ident;
use futures_util::StreamExt;
use serde_json::value::RawValue;

use crate::error::PullError;

/// The longest line that is taken for a frame, in bytes: a row of the largest packet (1 GiB), in base64.
const MAX_LINE: usize = 2 << 30;

/// An answer with rows, read as it arrives.
pub(crate) struct Rows {
    pub(crate) header: Box<Header>,
    lines: Lines,
}

/// What comes next in an answer.
pub(crate) enum Next {
    /// The line of a row; [`values`] reads it.
    Row(Bytes),
    /// The end frame: the answer is whole.
    End(End),
}

impl Rows {
    /// Reads the header of an answer about a table.
    pub(crate) async fn open(
        table: &Ident,
        answer: reqwest::Response,
        received: &Arc<AtomicU64>,
    ) -> Result<Self, PullError> {
        let mut lines = Lines {
            table: table.clone(),
            chunks: Box::pin(answer.bytes_stream()),
            buffer: BytesMut::new(),
            searched: 0,
            bytes: 0,
            received: Arc::clone(received),
        };
        loop {
            let line = lines.next().await?;
            match Frame::decode(&line) {
                Ok(Frame::Header(header)) => return Ok(Self { header, lines }),
                Ok(Frame::KeepAlive) => {}
                Ok(Frame::Error(detail)) => return Err(lines.cut(&detail)),
                _ => return Err(lines.cut("it did not begin with a header")),
            }
        }
    }

    /// The next row, or the end.
    ///
    /// # Errors
    /// R10: when the answer ends in any other way than with its end frame.
    pub(crate) async fn next(&mut self) -> Result<Next, PullError> {
        loop {
            let line = self.lines.next().await?;
            if line.first() == Some(&b'[') {
                return Ok(Next::Row(line));
            }
            match Frame::decode(&line) {
                Ok(Frame::End(end)) => return Ok(Next::End(end)),
                Ok(Frame::KeepAlive) => {}
                Ok(Frame::Error(detail)) => return Err(self.lines.cut(&detail)),
                Ok(_) => return Err(self.lines.cut("a second header")),
                Err(error) => return Err(self.lines.cut(&error.to_string())),
            }
        }
    }

    /// The error of an answer that is not what it should be.
    pub(crate) fn broken(&self, why: &str) -> PullError {
        self.lines.cut(why)
    }

    /// The bytes that have arrived so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.lines.bytes
    }
}

/// The wire forms of a row's values.
pub(crate) fn values(line: &[u8]) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_slice(line)
}

struct Lines {
    table: Ident,
    chunks:
        std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, reqwest::Error>> + Send>>,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    bytes: u64,
    /// The bytes of all answers.
    received: Arc<AtomicU64>,
}

impl Lines {
    async fn next(&mut self) -> Result<Bytes, PullError> {
        loop {
            let unseen = &self.buffer[self.searched..];
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(self.cut("a line without an end"));
            }
            match self.chunks.next().await {
                Some(Ok(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    self.received
                        .fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    self.buffer.extend_from_slice(&chunk);
                }
                Some(Err(error)) if error.is_timeout() => {
                    return Err(self.cut("the server was silent for --source-timeout"));
                }
                Some(Err(_)) => return Err(self.cut("the connection broke")),
                None => return Err(self.cut("no end frame")),
            }
        }
    }

    fn cut(&self, why: &str) -> PullError {
        PullError::CutShort {
            table: self.table.clone(),
            why: why.to_owned(),
        }
    }
}
