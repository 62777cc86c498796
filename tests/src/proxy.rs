//! Stands between the puller and its server: counts what passes, changes the server, and stops an
//! answer wherever a test wants something to happen.
//!
//! It reads HTTP/1.1 as far as it must to know where a request and an answer end, so that a rule can
//! speak of the third request for keys and of the fifth line of its answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::relay::relay;
use crate::wait::DEADLINE;

/// A proxy on a port of its own; its connections end when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// A request that was passed on, and what came back.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its first line, and its body if it has one, without percent signs.
    pub request: String,
    /// The status; 0 when no answer came.
    pub status: u16,
    /// How many bytes of the answer's body were passed on.
    pub bytes: u64,
    /// How many whole lines these are.
    pub lines: u64,
}

/// Where a [`Stop`] takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum At {
    /// Before the server is asked.
    Request,
    /// When so many bytes of the answer's body have been passed on.
    Bytes(u64),
    /// When so many lines of the answer's body have been passed on.
    Lines(u64),
}

/// A place where an exchange stops until the test says how it goes on. When this is dropped, it goes on.
#[derive(Debug)]
pub struct Stop {
    what: String,
    reached: oneshot::Receiver<()>,
    order: oneshot::Sender<Order>,
}

/// How an exchange goes on that has stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    GoOn,
    Cut,
    End,
}

/// The proxy's end of a [`Stop`].
#[derive(Debug)]
struct Rule {
    text: String,
    /// How many requests with that text pass before.
    skip: usize,
    at: At,
    reached: oneshot::Sender<()>,
    order: oneshot::Receiver<Order>,
}

/// What lets an exchange pass up to a rule's place.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The rules that are left; the first is the next.
    rules: VecDeque<Rule>,
    /// How much has passed.
    bytes: u64,
    lines: u64,
}

/// What the connections of a proxy share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) backend: AtomicU16,
    pub(crate) from_puller: AtomicU64,
    pub(crate) from_server: AtomicU64,
    rules: Mutex<Vec<Rule>>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Proxy {
    /// Listens, and passes everything on to that port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(backend: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the kernel has a port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        shared.backend.store(backend, Ordering::SeqCst);
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Dropped with the task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, Arc::clone(&of_task)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, shared, task }
    }

    /// The puller's flag that leads here.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--source-port={}", self.port)
    }

    /// From the next request on, asks another server.
    pub fn lead_to(&self, backend: u16) {
        self.shared.backend.store(backend, Ordering::SeqCst);
    }

    /// Stops at the `nth` request from now on (counted from 1) that holds `text` in its first line or
    /// in its body. An exchange can stop at several places: give them in the order they come in.
    #[must_use]
    pub fn stop(&self, text: &str, nth: usize, at: At) -> Stop {
        let (reached, when_reached) = oneshot::channel();
        let (order, when_ordered) = oneshot::channel();
        self.shared.rules().push(Rule {
            text: text.to_owned(),
            skip: nth.saturating_sub(1),
            at,
            reached,
            order: when_ordered,
        });
        Stop {
            what: format!("request {nth} of {text:?}, {at:?}"),
            reached: when_reached,
            order,
        }
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges().clone()
    }

    /// Forgets what was asked so far, and how much passed.
    pub fn forget(&self) {
        self.shared.exchanges().clear();
        self.shared.from_puller.store(0, Ordering::SeqCst);
        self.shared.from_server.store(0, Ordering::SeqCst);
    }

    /// How many bytes came from the puller, with everything that HTTP adds.
    #[must_use]
    pub fn bytes_from_puller(&self) -> u64 {
        self.shared.from_puller.load(Ordering::SeqCst)
    }

    /// How many bytes came from the server, with everything that HTTP adds.
    #[must_use]
    pub fn bytes_from_server(&self) -> u64 {
        self.shared.from_server.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stop {
    /// Waits until the exchange stands there.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn reached(&mut self) {
        let reached = tokio::time::timeout(DEADLINE, &mut self.reached).await;
        assert!(
            matches!(reached, Ok(Ok(()))),
            "it never came to {}",
            self.what
        );
    }

    /// Whether the exchange has come there; it need not stand there any more.
    #[must_use]
    pub fn was_reached(&mut self) -> bool {
        self.reached.try_recv().is_ok()
    }

    /// Lets it go on as if nothing had been.
    pub fn go_on(self) {
        // The exchange may be over already, because the puller has gone.
        let _ = self.order.send(Order::GoOn);
    }

    /// Breaks the connections off.
    pub fn cut(self) {
        let _ = self.order.send(Order::Cut);
    }

    /// Ends the answer there, as HTTP says that an answer is whole. An answer with a length cannot be
    /// ended early: its connection is broken off.
    pub fn end(self) {
        let _ = self.order.send(Order::End);
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("nobody panics holding it")
    }

    fn exchanges(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().expect("nobody panics holding it")
    }

    /// Notes a request, and says which number it has and what stops its answer.
    pub(crate) fn begin(&self, request: String) -> (usize, Gate) {
        let rules = self.rules_for(&request);
        let mut exchanges = self.exchanges();
        exchanges.push(Exchange {
            request,
            status: 0,
            bytes: 0,
            lines: 0,
        });
        let gate = Gate {
            rules,
            bytes: 0,
            lines: 0,
        };
        (exchanges.len() - 1, gate)
    }

    /// Notes what came of the request of that number, unless it is forgotten.
    pub(crate) fn note(&self, number: usize, change: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.exchanges().get_mut(number) {
            change(exchange);
        }
    }

    /// The rules that are due for this request.
    fn rules_for(&self, request: &str) -> VecDeque<Rule> {
        let mut rules = self.rules();
        let is_due = |rule: &mut Rule| {
            if !request.contains(&rule.text) {
                return false;
            }
            let skipped = rule.skip.checked_sub(1);
            rule.skip = skipped.unwrap_or(0);
            skipped.is_none()
        };
        rules.extract_if(.., is_due).collect()
    }
}

impl Gate {
    /// Whether the exchange stops before its request is passed on.
    pub(crate) fn stops_request(&self) -> bool {
        self.rules
            .front()
            .is_some_and(|rule| rule.at == At::Request)
    }

    /// Whether the answer stops right here.
    pub(crate) fn stops_here(&self) -> bool {
        self.rules.front().is_some_and(|rule| match rule.at {
            At::Request => false,
            At::Bytes(bytes) => self.bytes >= bytes,
            At::Lines(lines) => self.lines >= lines,
        })
    }

    /// Tells the test, and waits for what it says.
    pub(crate) async fn stop(&mut self) -> Order {
        let Some(rule) = self.rules.pop_front() else {
            return Order::GoOn;
        };
        let _ = rule.reached.send(());
        rule.order.await.unwrap_or(Order::GoOn)
    }

    /// How many of these bytes may pass before the answer stops; they count as passed.
    pub(crate) fn pass(&mut self, piece: &[u8]) -> usize {
        let length = match self.rules.front().map(|rule| rule.at) {
            Some(At::Bytes(bytes)) => piece
                .len()
                .min(usize::try_from(bytes - self.bytes).unwrap_or(usize::MAX)),
            Some(At::Lines(lines)) => {
                let ends = piece.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                let wanted = usize::try_from(lines - self.lines).unwrap_or(usize::MAX);
                let last = ends.map(|(at, _)| at + 1).nth(wanted.saturating_sub(1));
                last.unwrap_or(piece.len())
            }
            Some(At::Request) | None => piece.len(),
        };
        self.bytes += length as u64;
        self.lines += lines(&piece[..length]);
        length
    }
}

/// How many lines end in these bytes.
pub(crate) fn lines(piece: &[u8]) -> u64 {
    piece.iter().filter(|byte| **byte == b'\n').count() as u64
}
