//! Accepts connections and serves each, none for longer than it has use for it.
//!
//! Nobody needs credentials to connect: the connections are counted, and one that asks for nothing
//! is closed, be it before its handshake or after. So whoever opens many keeps others out for [`HEAD`] and the
//! time of a handshake at most.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::access::Peer;
use crate::tls::Tls;

/// How long the head of a request may take to arrive, from when the connection was made or the answer
/// before it was sent. A puller gives up an idle connection sooner, so that it never sends a request into
/// one that is being closed.
const HEAD: Duration = Duration::from_secs(30);

/// Connections at once, besides one for each answer that may be sent. Together with those to the source
/// they stay below the 1,024 files that a process usually may open.
const IDLE: usize = 512;

/// How long no connection is accepted after that failed: it fails again until a file is closed.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two lines of the log about the same.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Answers that are sent at once.
    pub(crate) answers: usize,
    /// How long a caller may take nothing of what was sent to it.
    pub(crate) stall: Duration,
}

/// Serves until `stop`, and then until the requests that have come are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let connections = IDLE + limits.answers;
    let mut door = Door {
        listener,
        places: Arc::new(Semaphore::new(connections)),
        said: None,
    };
    let stopping = watch::Sender::new(false);
    let mut stop = pin!(stop);
    loop {
        let (stream, peer, place) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = door.next() => next,
        };
        prepare(&stream, limits.stall);
        let (tls, router, stopping) = (tls.clone(), router.clone(), stopping.subscribe());
        tokio::spawn(async move {
            attend(stream, peer, tls, router, stopping).await;
            drop(place);
        });
    }
    let places = Arc::clone(&door.places);
    // From here on nobody can connect.
    drop(door);
    stopping.send_replace(true);
    // The places are never closed.
    let _ = places
        .acquire_many(u32::try_from(connections).unwrap_or(u32::MAX))
        .await;
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// When the log last said that it is shut.
    said: Option<Instant>,
}

impl Door {
    /// The next connection, as soon as there is a place for one. It may be dropped at any point.
    async fn next(&mut self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let place = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (stream, peer, place),
                Err(error) if is_its_own(&error) => {}
                Err(error) => {
                    self.say(&format!("connections cannot be accepted: {error}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn place(&mut self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        self.say("as many connections are open as may be; further ones wait until some end");
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.expect("the places are never closed")
    }

    /// There may be many: the log has a line a minute.
    fn say(&mut self, what: &str) {
        if self.said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            self.said = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }
}

/// Whether the error is of one connection, which its caller has given up already.
fn is_its_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

fn prepare(stream: &TcpStream, stall: Duration) {
    // A reader that takes nothing is gone at last, whatever its own system says.
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(stall)) {
        tracing::debug!(%error, "no TCP_USER_TIMEOUT");
    }
    // The end of an answer would wait for the caller's acknowledgement of what came before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
}

/// Serves one connection to its end, which is early when its handshake fails.
async fn attend(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    let ended = match tls {
        None => converse(stream, peer, router, stopping).await,
        Some(tls) => {
            let accepted = tokio::select! {
                biased;
                // Nobody has asked for anything yet.
                _ = stopping.wait_for(|stopping| *stopping) => return,
                accepted = tls.accept(stream) => accepted,
            };
            match accepted {
                Ok(stream) => converse(stream, peer, router, stopping).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "a TLS handshake failed");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Answers the requests of one connection; once the program stops, only the one that has come.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let (peer, router) = (Peer::new(address.ip()), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(peer.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        // An error means that nobody can say it any more.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
