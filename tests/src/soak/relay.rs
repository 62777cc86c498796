//! Stands between two of the processes, passes on what they send, and harms it. It knows nothing
//! of what it passes on.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::soak::plan::Harm;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// The same on a throttled connection: a piece takes a short time even then.
const SMALL_PIECE: usize = LONG;

/// A piece of this length is of an answer with rows.
const LONG: usize = 1024;

/// How often a connection that may not go on looks whether it may again.
const LOOK: Duration = Duration::from_millis(20);

/// A relay on a port of its own; its connections end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the connections of a relay share.
#[derive(Debug)]
struct Shared {
    backend: AtomicU16,
    conditions: Mutex<Conditions>,
    /// Changes when all connections are to be cut.
    severed: watch::Sender<()>,
    /// Connections that were cut while both sides wanted them.
    cut: AtomicU64,
    /// Bytes that were passed on.
    passed: AtomicU64,
}

#[derive(Debug, Default)]
struct Conditions {
    /// Behind so many more bytes the connection that carries them is cut.
    cut_after: Option<u64>,
    /// The same for bytes of long pieces.
    cut_rows_after: Option<u64>,
    refuse: Option<Instant>,
    delay: Option<(Duration, Instant)>,
    throttle: Option<(u64, Instant)>,
    stall: Option<Instant>,
    /// Connections from before the first of these times are silent until the second and cut then.
    freeze: Option<(Instant, Instant)>,
}

/// What a connection finds when it wants to go on.
enum Way {
    Open,
    Closed,
    Ends,
}

impl Relay {
    /// Listens, and passes everything on to that port of 127.0.0.1.
    pub(crate) async fn start(backend: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("the kernel has a port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            backend: AtomicU16::new(backend),
            conditions: Mutex::default(),
            severed: watch::Sender::new(()),
            cut: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            // Dropped with the task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if !of_task.conditions().is_refusing() {
                    connections.spawn(connection(client, Arc::clone(&of_task)));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, shared, task }
    }

    /// From the next connection on, leads to another port.
    pub(crate) fn lead_to(&self, backend: u16) {
        self.shared.backend.store(backend, Ordering::SeqCst);
    }

    /// Begins to harm what passes.
    pub(crate) fn harm(&self, harm: Harm) {
        let now = Instant::now();
        let mut conditions = self.shared.conditions();
        match harm {
            Harm::Cut { after } => conditions.cut_after = Some(after),
            Harm::CutRows { after } => conditions.cut_rows_after = Some(after),
            Harm::Sever => self.shared.severed.send_replace(()),
            Harm::Refuse { lasts } => conditions.refuse = Some(now + lasts),
            Harm::Delay { by, lasts } => conditions.delay = Some((by, now + lasts)),
            Harm::Throttle { rate, lasts } => conditions.throttle = Some((rate, now + lasts)),
            Harm::Stall { lasts } => conditions.stall = Some(now + lasts),
            Harm::Freeze { lasts } => conditions.freeze = Some((now, now + lasts)),
        }
    }

    /// Harms nothing any more. What is frozen is cut.
    pub(crate) fn calm(&self) {
        let mut conditions = self.shared.conditions();
        let now = Instant::now();
        let freeze = conditions.freeze.map(|(before, _)| (before, now));
        *conditions = Conditions {
            freeze,
            ..Conditions::default()
        };
    }

    /// How many connections it has cut.
    pub(crate) fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// How many bytes it has passed on.
    pub(crate) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn conditions(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().expect("nobody panics holding it")
    }

    /// Counts so many bytes, and says how many of them may pass before the connection is cut.
    fn pass(&self, length: usize) -> (usize, bool) {
        let mut conditions = self.conditions();
        let all = reaches(&mut conditions.cut_after, length);
        let rows = match length {
            LONG.. => reaches(&mut conditions.cut_rows_after, length),
            _ => None,
        };
        let cut = all.into_iter().chain(rows).min();
        let now = cut.unwrap_or(length);
        self.passed.fetch_add(now as u64, Ordering::SeqCst);
        (now, cut.is_some())
    }
}

/// Where in a piece of that length the count ends; it goes on counting when it does not.
fn reaches(left: &mut Option<u64>, length: usize) -> Option<usize> {
    let count = (*left)?;
    match usize::try_from(count) {
        Ok(count) if count <= length => {
            *left = None;
            Some(count)
        }
        _ => {
            *left = Some(count - length as u64);
            None
        }
    }
}

impl Conditions {
    fn is_refusing(&self) -> bool {
        self.refuse.is_some_and(|until| Instant::now() < until)
    }

    fn way(&self, born: Instant) -> Way {
        let now = Instant::now();
        match self.freeze {
            Some((before, until)) if born <= before => {
                return if now < until { Way::Closed } else { Way::Ends };
            }
            _ => {}
        }
        match self.stall {
            Some(until) if now < until => Way::Closed,
            _ => Way::Open,
        }
    }

    /// How long a piece of that length takes.
    fn takes(&self, length: usize) -> Duration {
        let now = Instant::now();
        let delay = self.delay.filter(|(_, until)| now < *until);
        let delay = delay.map_or(Duration::ZERO, |(by, _)| by);
        delay
            + self.rate().map_or(Duration::ZERO, |rate| {
                Duration::from_micros(length as u64 * 1_000_000 / rate.max(1))
            })
    }

    fn rate(&self) -> Option<u64> {
        let throttle = self.throttle.filter(|(_, until)| Instant::now() < *until);
        throttle.map(|(rate, _)| rate)
    }
}

/// Both ways of one connection. However it ends, both sides are told no more than that.
async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let born = Instant::now();
    let mut severed = shared.severed.subscribe();
    let backend = shared.backend.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", backend)).await else {
        return;
    };
    // Kernel's own waiting would only add to what the plan says.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let was_cut = tokio::select! {
        cut = pump(&mut from_client, &mut to_server, &shared, born) => cut.unwrap_or(false),
        cut = pump(&mut from_server, &mut to_client, &shared, born) => cut.unwrap_or(false),
        _ = severed.changed() => true,
    };
    if was_cut {
        shared.cut.fetch_add(1, Ordering::SeqCst);
    }
}

/// Passes on what comes from one side; true when it was cut rather than ended by that side.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    shared: &Shared,
    born: Instant,
) -> io::Result<bool> {
    let mut buffer = vec![0; PIECE];
    loop {
        let size = match shared.conditions().rate() {
            Some(_) => SMALL_PIECE,
            None => PIECE,
        };
        let length = tokio::select! {
            length = from.read(&mut buffer[..size]) => length?,
            () = ended(shared, born) => return Ok(true),
        };
        if length == 0 {
            return Ok(false);
        }
        let takes = shared.conditions().takes(length);
        if !takes.is_zero() {
            sleep(takes).await;
        }
        loop {
            // In a statement of its own: the lock must not outlive it.
            let way = shared.conditions().way(born);
            match way {
                Way::Open => break,
                Way::Closed => sleep(LOOK).await,
                Way::Ends => return Ok(true),
            }
        }
        let (now, ends) = shared.pass(length);
        to.write_all(&buffer[..now]).await?;
        if ends {
            return Ok(true);
        }
    }
}

/// Waits until a frozen connection's time is over.
async fn ended(shared: &Shared, born: Instant) {
    loop {
        sleep(LOOK * 5).await;
        let way = shared.conditions().way(born);
        if matches!(way, Way::Ends) {
            return;
        }
    }
}
