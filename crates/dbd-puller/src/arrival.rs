//! The bytes of an answer as they arrive: neither endlessly slow nor endlessly many.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

/// What must arrive of a frame within the time-out unless the frame ends, in bytes. A single byte now and
/// then is no sign of life, and a long row on a slow line is one.
const LEAST: usize = 16 << 10;

/// The body of an answer.
pub(crate) struct Arrival {
    chunks: Pin<Box<dyn Stream<Item = Result<Bytes, reqwest::Error>> + Send>>,
    timeout: Duration,
    until: Instant,
    /// The bytes that arrived since the time was set anew.
    since: usize,
}

/// Why nothing more arrives.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Nothing came for the whole time-out, or too little.
    Silent,
    /// The network said it.
    Connection(reqwest::Error),
    /// More came than is taken.
    Endless,
}

impl Arrival {
    pub(crate) fn new(answer: reqwest::Response, timeout: Duration) -> Self {
        Self {
            chunks: Box::pin(answer.bytes_stream()),
            timeout,
            until: Instant::now() + timeout,
            since: 0,
        }
    }

    /// From here on the server has all the time again.
    pub(crate) fn anew(&mut self) {
        self.until = Instant::now() + self.timeout;
        self.since = 0;
    }

    /// What arrives next; none at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match timeout_at(self.until, self.chunks.next()).await {
            Ok(Some(Ok(chunk))) => {
                self.since += chunk.len();
                if self.since >= LEAST {
                    self.anew();
                }
                Ok(Some(chunk))
            }
            Ok(Some(Err(error))) if error.is_timeout() => Err(Broken::Silent),
            Ok(Some(Err(error))) => Err(Broken::Connection(error)),
            Ok(None) => Ok(None),
            Err(_) => Err(Broken::Silent),
        }
    }

    /// All of it, of at most so many bytes.
    pub(crate) async fn whole(mut self, most: usize) -> Result<Vec<u8>, Broken> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > most {
                return Err(Broken::Endless);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }
}
