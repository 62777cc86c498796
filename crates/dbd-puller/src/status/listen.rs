//! Where a puller can be asked how it is.
//!
//! Nobody needs credentials there, so it is this machine alone that reaches it unless `--status-listen` names
//! another address; connections are few and none is kept for long.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::TEXT_FORMAT;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::error::PullError;
use crate::round::Puller;

use super::{Noted, Status, What, lag, metrics, page};

/// The address unless one is named.
const THIS_MACHINE: &str = "127.0.0.1";

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 32;

/// How long a connection is kept in all: a page or a scrape takes a moment.
const LIFE: Duration = Duration::from_secs(30);

/// How long no connection is accepted after that failed: it fails again until a file is closed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a page may load: nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// An address to listen on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    host: String,
    port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no address; give a port, or ADDRESS:PORT such as 127.0.0.1:9188")
        };
        let (host, port) = text.rsplit_once(':').unwrap_or((THIS_MACHINE, text));
        let is_v6 = host.starts_with('[') && host.ends_with(']');
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(char::is_whitespace) || host.contains(':') != is_v6 {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Answers as long as it is not dropped.
pub(crate) struct Listening(JoinHandle<Infallible>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Puller {
    /// Begins to answer whoever asks how it is, if anybody is to.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn listen(&mut self) -> Result<Option<Listening>, PullError> {
        let Some(place) = &self.args.status_listen else {
            return Ok(None);
        };
        let what = What {
            server: format!("{}:{}", self.args.source_host, self.args.source_port),
            source: self.args.source_database.clone(),
            destination: self.args.destination_database().clone(),
            poll_interval: self.args.poll_interval,
        };
        let noted = Arc::new(Noted::new(what, self.client.counter()));
        let listening = listen(place, Arc::clone(&noted)).await?;
        self.status = Status(Some(noted));
        Ok(Some(listening))
    }
}

async fn listen(place: &Place, noted: Arc<Noted>) -> Result<Listening, PullError> {
    let cannot = |error| {
        PullError::Usage(format!(
            "--status-listen: cannot listen on {place}: {error}; choose another address"
        ))
    };
    let listener = TcpListener::bind((place.host.as_str(), place.port));
    let listener = listener.await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    tracing::info!("status on http://{address}/");
    if !address.ip().is_loopback() {
        tracing::warn!(
            "ANYONE WHO REACHES {address} CAN READ THE STATUS, with the names of tables and the keys in error \
             messages: listen on 127.0.0.1, or let only whom you trust reach it"
        );
    }
    Ok(Listening(tokio::spawn(answer(listener, noted))))
}

async fn answer(listener: TcpListener, noted: Arc<Noted>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = router(Arc::clone(&noted));
    let mut samples = tokio::time::interval(lag::EVERY);
    samples.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let next = async || {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("the places are never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(error) => {
                    tracing::debug!(%error, "a connection to the status cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    loop {
        let (stream, place) = tokio::select! {
            _ = samples.tick() => {
                noted.sample();
                continue;
            }
            next = next() => next,
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LIFE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Whoever goes away or takes too long is not missed.
            let _ = tokio::time::timeout(LIFE, connection).await;
            drop(place);
        });
    }
}

fn router(noted: Arc<Noted>) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/-/live", get(async || json(StatusCode::OK, "live", true)))
        .route("/-/ready", get(ready))
        .route("/-/metrics", get(scraped))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "there is no such path; there are /, /-/live, /-/ready and /-/metrics\n",
            )
        })
        .with_state(noted)
}

fn json(status: StatusCode, what: &str, is: bool) -> Response {
    let body = format!("{{\"{what}\":{is}}}");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// `GET /-/ready`: whether rounds come to their end.
async fn ready(State(noted): State<Arc<Noted>>) -> Response {
    match noted.is_ready() {
        true => json(StatusCode::OK, "ready", true),
        false => json(StatusCode::SERVICE_UNAVAILABLE, "ready", false),
    }
}

/// `GET /-/metrics`.
async fn scraped(State(noted): State<Arc<Noted>>) -> Response {
    match metrics::text(&noted) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// `GET /`: the page.
async fn show(State(noted): State<Arc<Noted>>) -> Response {
    let mut response = page::page(&noted).into_string().into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_unless_an_address_is_named() {
        for (text, place) in [
            ("9188", Some("127.0.0.1:9188")),
            ("0", Some("127.0.0.1:0")),
            ("0.0.0.0:9188", Some("0.0.0.0:9188")),
            ("localhost:9188", Some("localhost:9188")),
            ("[::1]:9188", Some("[::1]:9188")),
            ("::1:9188", None),
            (":9188", None),
            ("[]:9188", None),
            ("[db1]:9188", None),
            ("localhost", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("", None),
        ] {
            let found = text.parse::<Place>().ok().map(|place| place.to_string());
            assert_eq!(found.as_deref(), place, "{text:?}");
        }
    }
}
