//! Stands before a destination and loses what its connections carry, without a word, or takes its time over it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
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
        Self::carrying(backend, None).await
    }

    /// As slow as a line that brings so many bytes of answers in a second.
    pub(crate) async fn slow(backend: u16, bytes: u32) -> Self {
        Self::carrying(backend, Some(bytes)).await
    }

    async fn carrying(backend: u16, bytes: Option<u32>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let frozen = Arc::new(watch::Sender::new(Frozen::None));
        let freezes = Arc::clone(&frozen);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(pass(near, backend, bytes, freezes.subscribe()));
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

async fn pass(
    mut near: TcpStream,
    backend: u16,
    bytes: Option<u32>,
    mut frozen: watch::Receiver<Frozen>,
) {
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
    let carries = async {
        let _ = match bytes {
            Some(bytes) => slowly(&mut near, &mut far, bytes).await,
            None => copy_bidirectional(&mut near, &mut far).await.map(|_| ()),
        };
    };
    tokio::select! {
        biased;
        // Both sockets stay open, and nobody reads them.
        () = freezes => std::future::pending().await,
        () = carries => {}
    }
}

/// Takes all of an answer that the kernel has room for, and hands on so many bytes a second.
async fn slowly(near: &mut TcpStream, far: &mut TcpStream, bytes: u32) -> std::io::Result<()> {
    let (mut asks, mut hears) = near.split();
    let (mut answers, mut is_asked) = far.split();
    let answering = async {
        let mut chunk = [0; 4096];
        loop {
            let length = answers.read(&mut chunk).await?;
            if length == 0 {
                return hears.shutdown().await;
            }
            hears.write_all(&chunk[..length]).await?;
            tokio::time::sleep(Duration::from_secs(length as u64) / bytes).await;
        }
    };
    tokio::try_join!(copy(&mut asks, &mut is_asked), answering).map(|_| ())
}
