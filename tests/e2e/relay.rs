//! Stands before a destination and loses what its connections carry, without a word.

use std::sync::Arc;
use std::time::Instant;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes connections on; those that are frozen carry nothing any more and stay open.
pub(crate) struct Relay {
    pub(crate) port: u16,
    frozen: Arc<watch::Sender<Frozen>>,
    _task: JoinSet<()>,
}

/// Which connections are frozen.
#[derive(Clone, Copy)]
enum Frozen {
    None,
    /// Those that were made before.
    Before(Instant),
    /// The one that the destination sees coming from this port.
    From(u16),
    /// Those to come as well.
    All,
}

impl Relay {
    pub(crate) async fn to(backend: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let frozen = Arc::new(watch::Sender::new(Frozen::None));
        let freezes = Arc::clone(&frozen);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(pass(near, backend, freezes.subscribe()));
            }
        });
        Self {
            port,
            frozen,
            _task: task,
        }
    }

    /// Freezes the connections that there are.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(Frozen::Before(Instant::now()));
    }

    /// Freezes one of them: `host` is what the destination's list of connections says of it.
    pub(crate) fn freeze_one(&self, host: &str) {
        let (_, port) = host.rsplit_once(':').unwrap();
        let port = port.parse().unwrap();
        self.frozen.send_replace(Frozen::From(port));
    }

    /// Freezes all connections, those to come too.
    pub(crate) fn freeze_all(&self) {
        self.frozen.send_replace(Frozen::All);
    }
}

async fn pass(mut near: TcpStream, backend: u16, mut frozen: watch::Receiver<Frozen>) {
    let made = Instant::now();
    let mut far = TcpStream::connect(("127.0.0.1", backend)).await.unwrap();
    let from = far.local_addr().unwrap().port();
    let is_frozen = |frozen: &Frozen| match frozen {
        Frozen::None => false,
        Frozen::Before(time) => made < *time,
        Frozen::From(port) => from == *port,
        Frozen::All => true,
    };
    let freezes = async {
        let _ = frozen.wait_for(is_frozen).await;
    };
    tokio::select! {
        biased;
        // Both sockets stay open, and nobody reads them.
        () = freezes => std::future::pending().await,
        _ = copy_bidirectional(&mut near, &mut far) => {}
    }
}
