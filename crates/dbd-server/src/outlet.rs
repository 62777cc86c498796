//! The body of an answer while it is written. Knows neither SQL nor what is in it.
//!
//! R10. An answer ends as its format ends or is broken off: whatever fails midway makes the body
//! an error, and no server of HTTP closes such a body properly.
//!
//! Memory is bounded: a chunk is filled, up to [`CHUNKS`] more wait for the caller, and while
//! they do nothing is read from the source.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use common::frame::Frame;
use common::process::chain;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::accept::Format;
use crate::sink::{ReadError, SinkError};

/// A chunk of the body is sent when it has this many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// So many chunks wait for a slow caller at most.
const CHUNKS: usize = 4;

/// What was written waits this long for more to fill its chunk.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// The longest silence; callers' time-outs are longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// An answer that is broken off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the source failed midway")]
pub(crate) struct BrokenOff;

/// Where the body of one answer is written.
pub(crate) struct Outlet {
    format: Format,
    /// What is written next goes to its end.
    pub(crate) buffer: Vec<u8>,
    flushed: Instant,
    sender: mpsc::Sender<Result<Bytes, BrokenOff>>,
}

impl Outlet {
    /// A body, and where it is written.
    pub(crate) fn open(format: Format) -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let chunk: Result<Bytes, BrokenOff> = receiver.recv().await?;
            if chunk.is_err() {
                // What was written before is sent when the body has nothing more to offer for now;
                // an error would discard it, and with it the frame that says what failed.
                tokio::task::yield_now().await;
            }
            Some((chunk, receiver))
        });
        let outlet = Self {
            format,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            flushed: Instant::now(),
            sender,
        };
        (outlet, Body::from_stream(chunks.fuse()))
    }

    /// Sends what there is, or that there is nothing, when it is time.
    pub(crate) async fn offer(&mut self) -> Result<(), SinkError> {
        let waited = self.flushed.elapsed();
        if self.buffer.is_empty() {
            // Nobody is told of by a chunk that could not be sent.
            if self.sender.is_closed() {
                return Err(SinkError::Gone);
            }
            if waited >= KEEP_ALIVE {
                self.keep_alive();
            }
        }
        if self.buffer.len() >= CHUNK_BYTES || waited >= FLUSH_AFTER {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what there is. Dropped before its end, nothing is sent and nothing is lost.
    pub(crate) async fn flush(&mut self) -> Result<(), SinkError> {
        if !self.buffer.is_empty() {
            let permit = self.sender.reserve().await.map_err(|_| SinkError::Gone)?;
            let next = Vec::with_capacity(CHUNK_BYTES);
            permit.send(Ok(std::mem::replace(&mut self.buffer, next).into()));
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Passes the time while there is nothing to write; ends when the caller is gone.
    pub(crate) async fn silence(&mut self) {
        let mut patience = if self.buffer.is_empty() {
            KEEP_ALIVE.saturating_sub(self.flushed.elapsed())
        } else {
            FLUSH_AFTER
        };
        loop {
            tokio::select! {
                () = self.sender.closed() => return,
                () = tokio::time::sleep(patience) => {}
            }
            if self.buffer.is_empty() {
                self.keep_alive();
            }
            if self.flush().await.is_err() {
                return;
            }
            patience = KEEP_ALIVE;
        }
    }

    /// Ends the body: as what was written last says, or broken off.
    pub(crate) async fn close(mut self, result: Result<(), ReadError>) {
        match result {
            Ok(()) => {
                // Nobody is left to tell when this fails.
                let _ = self.flush().await;
            }
            Err(ReadError::Gone) => tracing::debug!("the caller went away"),
            Err(ReadError::Source(error)) => {
                tracing::error!("an answer was broken off: {}", chain(&error));
                if self.format == Format::Ndjson {
                    self.buffer.extend(Frame::Error(error.to_string()).encode());
                }
                let _ = self.flush().await;
                let _ = self.sender.send(Err(BrokenOff)).await;
            }
        }
    }

    fn keep_alive(&mut self) {
        match self.format {
            Format::Ndjson => self.buffer.extend(Frame::KeepAlive.encode()),
            // Space between two values means nothing.
            Format::Json => self.buffer.push(b'\n'),
            Format::Csv => {}
        }
    }
}
