//! The way to a database server: an address behind which another server can come to stand.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes TCP connections on. Those that were made before an order are told from those made after.
#[derive(Debug)]
pub struct Way {
    /// Its port on 127.0.0.1.
    pub port: u16,
    orders: Arc<watch::Sender<Orders>>,
    _task: JoinSet<()>,
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    /// Where new connections lead.
    backend: u16,
    /// How many connections there have been.
    made: u64,
    /// Connections below this number are closed.
    cut: u64,
    /// Connections below this number carry nothing, and stay open.
    frozen: u64,
    /// A connection that asks this is carried no further.
    unanswered: Option<&'static str>,
}

impl Way {
    /// A way to that port of 127.0.0.1.
    ///
    /// # Panics
    /// When nothing can be listened on.
    pub async fn to(backend: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("the kernel has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let orders = Arc::new(watch::Sender::new(Orders {
            backend,
            made: 0,
            cut: 0,
            frozen: 0,
            unanswered: None,
        }));
        let given = Arc::clone(&orders);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let number = given.borrow().made;
                given.send_modify(|orders| orders.made += 1);
                connections.spawn(pass(near, number, given.subscribe()));
            }
        });
        Self {
            port,
            orders,
            _task: task,
        }
    }

    /// The flag that leads a `dbd-server` along it.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--source-port={}", self.port)
    }

    /// New connections lead to that port from here on; those that there are stay where they are.
    pub fn leads_to(&self, backend: u16) {
        self.orders.send_modify(|orders| orders.backend = backend);
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.orders.send_modify(|orders| orders.cut = orders.made);
    }

    /// The connections that there are carry nothing any more. New ones do.
    pub fn freeze(&self) {
        self.orders
            .send_modify(|orders| orders.frozen = orders.made);
    }

    /// No connection carries anything, a new one neither.
    pub fn freeze_all(&self) {
        self.orders.send_modify(|orders| orders.frozen = u64::MAX);
    }

    /// A connection that asks something with this text in it carries nothing from there on, and stays open.
    pub fn leave_unanswered(&self, text: &'static str) {
        self.orders
            .send_modify(|orders| orders.unanswered = Some(text));
    }

    /// What was frozen goes on where it was.
    pub fn thaw(&self) {
        self.orders.send_modify(|orders| {
            orders.frozen = 0;
            orders.unanswered = None;
        });
    }
}

async fn pass(near: TcpStream, number: u64, mut orders: watch::Receiver<Orders>) {
    let flow = orders.clone();
    let carried = async {
        thawed(number, flow.clone()).await;
        let backend = flow.borrow().backend;
        let far = TcpStream::connect(("127.0.0.1", backend)).await?;
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::try_join!(
            carry(near_in, far_out, number, flow.clone()),
            carry(far_in, near_out, number, flow.clone()),
        )
    };
    // However it ends, both sides are closed.
    tokio::select! {
        _ = carried => {}
        _ = orders.wait_for(|orders| number < orders.cut) => {}
    }
}

async fn thawed(number: u64, mut orders: watch::Receiver<Orders>) {
    // Without anybody who gives orders all ends at once.
    let _ = orders.wait_for(|orders| number >= orders.frozen).await;
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        thawed(number, orders.clone()).await;
        let unanswered = |orders: &Orders| {
            let text = orders.unanswered.map(str::as_bytes);
            text.is_some_and(|text| piece[..length].windows(text.len()).any(|some| some == text))
        };
        let _ = orders.clone().wait_for(|orders| !unanswered(orders)).await;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece[..length]).await?;
    }
}
