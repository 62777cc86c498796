//! The dbd-server: requests, time-outs, and answers as frames. Knows no SQL.

mod changed;
mod listing;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use common::ident::Ident;
use common::process::Secret;
use common::stamp::Stamp;
use serde::Deserialize;
use tokio::time::Instant;

use crate::answer::{Rows, longest_line};
use crate::arrival::Arrival;
use crate::error::PullError;
use crate::tls::{SourceTls, advice};

pub(crate) use changed::{Begin, Changes};
pub(crate) use listing::{ListedTable, Listing};
pub(crate) use request::{encoded, in_parts, pairs};
use request::{is_this_machine, was_not_sent};

/// How long a connection to the server may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the server says that it is still at work.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request: less than the server keeps it, which would otherwise
/// close it while that is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a request about a table is sent again while the server has no place for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts at least, whatever the answer says.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// The longest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// A row's key: the wire forms of its values, in the key's order.
pub(crate) type KeyValues = Vec<String>;

/// What to ask of a table.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) stamp: Option<Ident>,
    pub(crate) since: Option<Stamp>,
    pub(crate) after: Option<KeyValues>,
    pub(crate) exclude: Vec<Ident>,
    pub(crate) wait: Duration,
    pub(crate) begun: Option<Stamp>,
}

/// Which columns to send; those of the key and the stamp always are.
pub(crate) enum Columns<'a> {
    /// All but these.
    Without(&'a [Ident]),
    /// These alone.
    Only(&'a [Ident]),
}

impl Columns<'_> {
    fn parameter(&self) -> Option<(&'static str, String)> {
        let (parameter, names) = match self {
            Self::Without(names) => ("exclude_columns", *names),
            Self::Only(names) => ("include_columns", *names),
        };
        let encoded: Vec<String> = names.iter().map(|name| encoded(name.as_str())).collect();
        (!names.is_empty()).then(|| (parameter, encoded.join(",")))
    }
}

/// How keys that are asked for are compared with those of the source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Match {
    Bytes,
    Collation,
}

impl Window {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("wait", self.wait.as_secs_f64().to_string())];
        if let Some(stamp) = &self.stamp {
            query.push(("stamp", stamp.as_str().to_owned()));
        }
        if let Some(since) = self.since {
            query.push(("since", since.to_string()));
        }
        if let Some(after) = &self.after {
            query.push(("after", format!("[{}]", after.join(","))));
        }
        if let Some(begun) = self.begun {
            query.push(("begun", begun.to_string()));
        }
        query
    }
}

/// What can be asked of parts of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compared {
    Digests,
    Keys,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

/// A dbd-server, by its address.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    credentials: Option<(String, Secret)>,
    timeout: Duration,
    received: Arc<AtomicU64>,
    /// The longest line of an answer, in bytes.
    longest: Arc<AtomicUsize>,
}

impl Client {
    pub(crate) fn new(
        host: &str,
        port: u16,
        credentials: Option<(String, Secret)>,
        tls: &SourceTls,
        timeout: Duration,
    ) -> Result<Self, PullError> {
        // reqwest wants a provider even for plain HTTP; another one may be installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if timeout <= SIGN_OF_LIFE {
            tracing::warn!(
                "--source-timeout is {} s: a dbd-server that is still at work says so every {} s only; give it \
                 15 s or more, or slow answers fail",
                timeout.as_secs_f64(),
                SIGN_OF_LIFE.as_secs()
            );
        }
        let name = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // On this machine bytes cost less than their compression.
            .zstd(!is_this_machine(host))
            .read_timeout(timeout);
        if is_this_machine(host) {
            // A proxy of the environment would be another machine, and see the password.
            builder = builder.no_proxy();
        }
        let (builder, https) = tls.secure(builder)?;
        if credentials.is_some() && !https && !is_this_machine(host) {
            tracing::warn!(
                "THE PASSWORD TRAVELS TO {host} UNENCRYPTED: start dbd-server with --listen-ssl and give \
                 --source-ssl"
            );
        }
        let http = builder
            .build()
            .map_err(|error| PullError::Usage(format!("no HTTP client: {error}")))?;
        Ok(Self {
            http,
            base: format!("{}://{name}:{port}/", if https { "https" } else { "http" }),
            credentials,
            timeout,
            received: Arc::default(),
            longest: Arc::new(AtomicUsize::new(longest_line(usize::MAX))),
        })
    }

    /// Takes no rows that a destination with that max_allowed_packet could not take.
    pub(crate) fn rows_are_for(&self, max_packet: usize) {
        let longest = longest_line(max_packet);
        self.longest.store(longest, Ordering::Relaxed);
    }

    /// The counter of the bytes of all answers about tables.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// The bytes of all answers about tables so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The rows of a window.
    pub(crate) async fn window(
        &self,
        database: &Ident,
        table: &Ident,
        window: &Window,
    ) -> Result<Rows, PullError> {
        let columns = Columns::Without(&window.exclude);
        self.rows(database, table, window.query(), &columns).await
    }

    /// The first row of a window.
    pub(crate) async fn first(
        &self,
        database: &Ident,
        table: &Ident,
        window: &Window,
        columns: &Columns<'_>,
    ) -> Result<Rows, PullError> {
        let mut query = window.query();
        query.push(("limit", "1".to_owned()));
        self.rows(database, table, query, columns).await
    }

    /// The rows that have one of the keys, whatever their stamps; no more than one part of [`in_parts`].
    pub(crate) async fn by_key(
        &self,
        database: &Ident,
        table: &Ident,
        stamp: Option<&Ident>,
        columns: &Columns<'_>,
        (keys, matching): (&[KeyValues], Match),
    ) -> Result<Rows, PullError> {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| format!("[{}]", key.join(",")))
            .collect();
        let mut query = vec![("keys", format!("[{}]", keys.join(",")))];
        if matching == Match::Collation {
            query.push(("match", "collation".to_owned()));
        }
        if let Some(stamp) = stamp {
            query.push(("stamp", stamp.as_str().to_owned()));
        }
        self.rows(database, table, query, columns).await
    }

    /// Digests or keys of a table (R9), whichever `what` says.
    pub(crate) async fn compared(
        &self,
        database: &Ident,
        table: &Ident,
        what: Compared,
        mut form: Vec<(&str, String)>,
        columns: &Columns<'_>,
    ) -> Result<Rows, PullError> {
        let path = format!(
            "{}/{}/-/{}",
            encoded(database.as_str()),
            encoded(table.as_str()),
            match what {
                Compared::Digests => "digests",
                Compared::Keys => "keys",
            }
        );
        form.extend(columns.parameter());
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(pairs(form));
        let answer = self.send(request, "application/x-ndjson").await?;
        self.open(table, answer).await
    }

    async fn rows(
        &self,
        database: &Ident,
        table: &Ident,
        mut query: Vec<(&str, String)>,
        columns: &Columns<'_>,
    ) -> Result<Rows, PullError> {
        query.extend(columns.parameter());
        let url = format!(
            "{}/{}/?{}",
            encoded(database.as_str()),
            encoded(table.as_str()),
            pairs(query)
        );
        let answer = self.get(&url, "application/x-ndjson").await?;
        self.open(table, answer).await
    }

    async fn open(&self, table: &Ident, answer: reqwest::Response) -> Result<Rows, PullError> {
        let arrival = Arrival::new(answer, self.timeout);
        let longest = self.longest.load(Ordering::Relaxed);
        Rows::open(table, arrival, longest, &self.received).await
    }

    async fn get(&self, path: &str, accept: &str) -> Result<reqwest::Response, PullError> {
        self.send(self.http.get(format!("{}{path}", self.base)), accept)
            .await
    }

    /// Sends a request, and again while the server says that it is worth it: it has no place or no
    /// horizon at the moment.
    async fn send(
        &self,
        request: reqwest::RequestBuilder,
        accept: &str,
    ) -> Result<reqwest::Response, PullError> {
        let until = Instant::now() + PATIENCE;
        loop {
            // A body of text can be sent as often as wanted.
            let Some(again) = request.try_clone() else {
                let answer = self.attempt(request, accept).await;
                return answer.map_err(|(error, _)| error);
            };
            match self.attempt(again, accept).await {
                Ok(answer) => return Ok(answer),
                Err((error, Some(pause))) if pause < until.duration_since(Instant::now()) => {
                    tracing::debug!("{error}; asking again");
                    tokio::time::sleep(pause.max(LEAST_PAUSE)).await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Sends a request; an error comes with the time after which the server may have what it lacks.
    async fn attempt(
        &self,
        request: reqwest::RequestBuilder,
        accept: &str,
    ) -> Result<reqwest::Response, (PullError, Option<Duration>)> {
        let mut request = request.header("accept", accept);
        if let Some((username, password)) = &self.credentials {
            request = request.basic_auth(username, Some(password.expose()));
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            let pause = was_not_sent(&error).then_some(Duration::ZERO);
            (self.unreachable(error), pause)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let pause = answer.headers().get("retry-after");
        let pause = pause.and_then(|pause| pause.to_str().ok()?.parse().ok());
        let text = Arrival::new(answer, self.timeout).whole(MAX_REFUSAL).await;
        let text = text.unwrap_or_default();
        let detail = match serde_json::from_slice::<Problem>(&text) {
            Ok(problem) if !problem.detail.is_empty() => problem.detail,
            Ok(problem) if !problem.title.is_empty() => problem.title,
            _ => "no reason given; is this a dbd-server?".to_owned(),
        };
        let refusal = PullError::Refusal {
            status: status.as_u16(),
            detail,
        };
        Err((refusal, pause.map(Duration::from_secs)))
    }

    fn unreachable(&self, source: reqwest::Error) -> PullError {
        if source.is_timeout() && !source.is_connect() {
            return self.silent();
        }
        let (url, source) = (self.base.clone(), source.without_url());
        match advice(&source) {
            Some(advice) => PullError::Speech {
                url,
                advice,
                source,
            },
            None => PullError::Unreachable { url, source },
        }
    }

    fn silent(&self) -> PullError {
        PullError::Silent {
            url: self.base.clone(),
            seconds: self.timeout.as_secs_f64(),
        }
    }
}
