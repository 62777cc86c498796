//! The body of an answer while it is written. Knows neither SQL nor what is in it.
//!
//! R10. An answer ends as its format ends or is broken off: whatever fails midway makes the body
//! an error, and no server of HTTP closes such a body properly. So does whoever writes it and
//! stops, for whatever reason, before it said that this was the end.
//!
//! Memory is bounded: a chunk is filled, up to [`CHUNKS`] more wait for the caller, and while
//! they do nothing is read from the source.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::frame::Frame;
use common::process::chain;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept::Format;
use crate::bounds::Ended;
use crate::metrics::Meter;
use crate::sink::{ReadError, SinkError};

/// A chunk of the body is sent when it has this many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// So many chunks wait for a slow caller at most.
const CHUNKS: usize = 4;

/// What was written waits this long for more to fill its chunk.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// The clock is looked at once in so many offers, each of which costs less than a look.
const OFFERS: u8 = 16;

/// The longest silence; callers' time-outs are longer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How often a body that is broken off has nothing to offer before.
const PAUSES: usize = 2;

/// An answer that is broken off.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the source failed midway")]
pub(crate) struct BrokenOff;

enum Piece {
    Chunk(Bytes),
    End,
}

/// Where the body of one answer is written.
pub(crate) struct Outlet {
    format: Format,
    /// What is written next goes to its end.
    pub(crate) buffer: Vec<u8>,
    /// What is counted of it.
    pub(crate) meter: Meter,
    flushed: Instant,
    /// Since the clock was looked at.
    offers: u8,
    /// Nothing is sent before the end.
    pub(crate) held: bool,
    queue: Queue,
}

/// What waits for the caller.
struct Queue {
    sender: mpsc::Sender<Piece>,
    /// How long the caller may take nothing.
    stall: Duration,
    /// Since when it has.
    stalled: Option<Instant>,
}

/// The body of an answer whose head alone was asked for: as little is known of its length as of that of others.
pub(crate) fn unread() -> Body {
    Body::from_stream(futures_util::stream::empty::<Result<Bytes, BrokenOff>>())
}

impl Queue {
    /// Waits until the caller has taken enough, for as long as it may take nothing.
    async fn room(&mut self, pieces: usize) -> Result<mpsc::PermitIterator<'_, Piece>, SinkError> {
        // What waits here may be dropped and begin anew: the caller has not moved meanwhile.
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let room = self.sender.reserve_many(pieces);
        match tokio::time::timeout_at(since + self.stall, room).await {
            Ok(room) => {
                self.stalled = None;
                room.map_err(|_| SinkError::Gone)
            }
            Err(_) => Err(SinkError::Ended(Ended::Stalled)),
        }
    }

    async fn send(&mut self, piece: Piece) -> Result<(), SinkError> {
        let mut room = self.room(1).await?;
        room.next().ok_or(SinkError::Gone)?.send(piece);
        Ok(())
    }
}

impl Outlet {
    /// A body, and where it is written.
    pub(crate) fn open(format: Format, stall: Duration, meter: Meter) -> (Self, Body) {
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let chunks = futures_util::stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver: mpsc::Receiver<Piece> = receiver?;
            match receiver.recv().await {
                Some(Piece::Chunk(chunk)) => Some((Ok(chunk), Some(receiver))),
                Some(Piece::End) => None,
                None => {
                    // What was written before is sent when the body has nothing more to offer for
                    // now; an error would discard it, and with it the frame that says what failed.
                    // Where it is compressed, the first time only makes the encoder flush.
                    for _ in 0..PAUSES {
                        tokio::task::yield_now().await;
                    }
                    Some((Err(BrokenOff), None))
                }
            }
        });
        let outlet = Self {
            format,
            buffer: Vec::with_capacity(CHUNK_BYTES),
            meter,
            flushed: Instant::now(),
            offers: 0,
            held: false,
            queue: Queue {
                sender,
                stall,
                stalled: None,
            },
        };
        (outlet, Body::from_stream(chunks.fuse()))
    }

    /// Sends what there is, or that there is nothing, when it is time.
    pub(crate) async fn offer(&mut self) -> Result<(), SinkError> {
        self.offers += 1;
        if self.held || self.offers < OFFERS && self.buffer.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.offers = 0;
        let waited = self.flushed.elapsed();
        if self.buffer.is_empty() {
            // Nobody is told of by a chunk that could not be sent.
            if self.queue.sender.is_closed() {
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
        if !self.buffer.is_empty() && !self.held {
            let mut room = self.queue.room(1).await?;
            let permit = room.next().ok_or(SinkError::Gone)?;
            let next = Vec::with_capacity(CHUNK_BYTES);
            let chunk = std::mem::replace(&mut self.buffer, next);
            self.meter.bytes.inc_by(chunk.len() as u64);
            permit.send(Piece::Chunk(chunk.into()));
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Passes the time while there is nothing to write; ends when the caller takes no more.
    pub(crate) async fn silence(&mut self) -> SinkError {
        if self.held {
            self.queue.sender.closed().await;
            return SinkError::Gone;
        }
        let mut patience = if self.buffer.is_empty() {
            KEEP_ALIVE.saturating_sub(self.flushed.elapsed())
        } else {
            FLUSH_AFTER
        };
        loop {
            tokio::select! {
                () = self.queue.sender.closed() => return SinkError::Gone,
                () = tokio::time::sleep(patience) => {}
            }
            if self.buffer.is_empty() {
                self.keep_alive();
            }
            if let Err(ended) = self.flush().await {
                return ended;
            }
            patience = KEEP_ALIVE;
        }
    }

    /// Ends the body: as what was written last says, or broken off. It takes as long as the caller
    /// takes to read.
    pub(crate) async fn close(mut self, result: Result<(), ReadError>) {
        self.held = false;
        let result = match result {
            Ok(()) => self.end().await.map_err(ReadError::from),
            error => error,
        };
        let why = match result {
            Ok(()) => return,
            Err(ReadError::Gone) => {
                tracing::debug!("the caller went away");
                return;
            }
            Err(ReadError::Ended(ended)) => {
                tracing::warn!("an answer was broken off: {ended}");
                ended.to_string()
            }
            Err(ReadError::NotKnown(error)) => {
                tracing::warn!("an answer was broken off: {error}");
                error.to_string()
            }
            Err(ReadError::Source(error)) => {
                tracing::error!("an answer was broken off: {}", chain(&error));
                error.to_string()
            }
        };
        self.meter.broken_off.inc();
        if self.format == Format::Ndjson {
            self.buffer.extend(Frame::Error(why).encode());
        }
        // Nobody is left to tell when this fails; dropped without its end, the body is broken off.
        let _ = self.flush().await;
        let _ = self.queue.room(CHUNKS).await;
    }

    async fn end(&mut self) -> Result<(), SinkError> {
        self.flush().await?;
        self.queue.send(Piece::End).await?;
        // The caller is gone when it has taken the end.
        match self.queue.room(CHUNKS).await {
            Ok(_) | Err(SinkError::Gone) => Ok(()),
            Err(ended) => Err(ended),
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
