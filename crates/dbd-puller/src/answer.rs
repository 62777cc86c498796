//! An answer of the dbd-server, frame by frame as it arrives (R10).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use common::frame::{End, Frame, Header};
use common::ident::Ident;

use crate::arrival::{Arrival, Broken};
use crate::error::PullError;

/// The longest line that is taken for a frame, in bytes: a row of the largest packet (1 GiB), in base64.
const MAX_LINE: usize = 2 << 30;

/// How much longer a line can be than the literals of its row: a control character of one byte takes six.
const LINE_PER_PACKET: usize = 6;

/// What the line of a header needs, in bytes.
const MAX_HEADER: usize = 16 << 20;

/// The longest line that can be a row which a destination with that max_allowed_packet can take; what is longer
/// need not be held in memory to be refused.
pub(crate) fn longest_line(max_packet: usize) -> usize {
    max_packet
        .saturating_mul(LINE_PER_PACKET)
        .saturating_add(MAX_HEADER)
        .min(MAX_LINE)
}

/// An answer with rows, read as it arrives.
pub(crate) struct Rows {
    pub(crate) header: Box<Header>,
    lines: Lines,
}

/// What comes next in an answer.
pub(crate) enum Next {
    /// The line of a row; [`values`](common::frame::values) reads it.
    Row(Bytes),
    /// The end frame: the answer is whole.
    End(End),
}

impl Rows {
    /// Reads the header of an answer about a table.
    pub(crate) async fn open(
        table: &Ident,
        arrival: Arrival,
        longest: usize,
        received: &Arc<AtomicU64>,
    ) -> Result<Self, PullError> {
        let mut lines = Lines {
            table: table.clone(),
            arrival,
            longest,
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

struct Lines {
    table: Ident,
    arrival: Arrival,
    /// The longest line that is taken, in bytes.
    longest: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    bytes: u64,
    /// The bytes of all answers.
    received: Arc<AtomicU64>,
}

impl Lines {
    async fn next(&mut self) -> Result<Bytes, PullError> {
        // What was read before this waited for the destination, not for the server.
        self.arrival.anew();
        loop {
            let unseen = &self.buffer[self.searched..];
            if let Some(at) = memchr::memchr(b'\n', unseen) {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.longest {
                return Err(self.too_long());
            }
            match self.arrival.chunk().await {
                Ok(Some(chunk)) => {
                    self.bytes += chunk.len() as u64;
                    self.received
                        .fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    self.buffer.extend_from_slice(&chunk);
                }
                Ok(None) => return Err(self.cut("no end frame")),
                Err(Broken::Silent) => {
                    return Err(self
                        .cut("the server was silent, or as good as silent, for --source-timeout"));
                }
                Err(_) => return Err(self.cut("the connection broke")),
            }
        }
    }

    fn too_long(&self) -> PullError {
        PullError::Table {
            table: self.table.clone(),
            reason: format!(
                "a row came that is longer than {} bytes, which the destination's max_allowed_packet \
                 cannot take; raise it there, or leave the column out with --exclude-columns",
                self.longest
            ),
        }
    }

    fn cut(&self, why: &str) -> PullError {
        PullError::CutShort {
            table: self.table.clone(),
            why: why.to_owned(),
        }
    }
}
