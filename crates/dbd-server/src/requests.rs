//! One line of the log for each request, and the id that it is found by.
//!
//! Everything that is logged while a request is answered carries that id, and a problem names it.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, OriginalUri, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use common::digest::Hex;
use common::logs::millis;
use hyper::body::{Frame, SizeHint};
use tracing::Instrument;

/// Where a request may bring its id, and an answer has it.
const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a request.
const MAX_ID: usize = 64;

/// So much of a path is logged.
const MAX_PATH: usize = 1024;

tokio::task_local! {
    static CURRENT: Current;
}

/// The request that is being answered.
struct Current {
    id: String,
    /// The path that the router is mounted under in another program; empty unless it is.
    mount: String,
}

/// What only those know who answer: it goes into the request's line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Rows and one more; 0 where no rows are sent.
    rows: AtomicU64,
    user: OnceLock<String>,
}

impl Line {
    /// So many rows have been sent.
    pub(crate) fn rows(&self, rows: u64) {
        self.0.rows.store(rows + 1, Ordering::Relaxed);
    }

    /// Who asks, once the password is checked.
    pub(crate) fn user(&self, name: &str) {
        // A request has one.
        let _ = self.0.user.set(name.to_owned());
    }
}

/// The `instance` of a problem: the request that it arose in.
pub(crate) fn instance() -> Option<String> {
    let instance = CURRENT.try_with(|current| format!("urn:dbd:request:{}", current.id));
    instance.ok()
}

/// A path of this router as the caller has to ask for it, wherever the router is mounted.
pub(crate) fn mounted(path: &str) -> String {
    let mounted = CURRENT.try_with(|current| format!("{}{path}", current.mount));
    mounted.unwrap_or_else(|_| path.to_owned())
}

/// Gives a request its id, and logs it when its answer has ended.
pub(crate) async fn log(mut request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(|| Hex(fastrand::u64(..)).to_string());
    let span = tracing::error_span!("request", %id);
    let mut end = End::new(&request, span.clone());
    span.in_scope(|| tracing::debug!(method = %end.method, path = end.path, "asked"));
    request.extensions_mut().insert(end.line.clone());
    let header = HeaderValue::from_str(&id).ok();
    let mount = mount(&request);
    let answer = CURRENT.scope(Current { id, mount }, next.run(request));
    let mut response = answer.instrument(span).await;
    if let Some(header) = header {
        response.headers_mut().insert(HEADER, header);
    }
    end.status = Some(response.status());
    // Nobody sends or reads the body of such an answer.
    end.is_whole = end.method == Method::HEAD;
    response.map(|body| Body::new(Watched { body, end }))
}

/// The id that the request brings, if it can stand in a log.
fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(HEADER)?.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let sane = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(fits);
    sane.then(|| id.to_owned())
}

/// The path that the router is mounted under, without a slash at its end.
fn mount(request: &Request) -> String {
    let Some(OriginalUri(whole)) = request.extensions().get() else {
        return String::new();
    };
    let (whole, inner) = (whole.path(), request.uri().path());
    // Asked for without a slash, the mount's own path has none, and what is inside has.
    let mount = whole.strip_suffix(inner).unwrap_or(whole);
    mount.trim_end_matches('/').to_owned()
}

/// Logs a request when it is dropped.
struct End {
    began: Instant,
    span: tracing::Span,
    method: Method,
    path: String,
    peer: Option<String>,
    line: Line,
    status: Option<StatusCode>,
    /// Bytes of the body, as they were sent.
    bytes: u64,
    is_whole: bool,
}

impl End {
    fn new(request: &Request, span: tracing::Span) -> Self {
        let peer = request
            .extensions()
            .get::<ConnectInfo<std::net::SocketAddr>>();
        // Parameters may hold values of rows.
        let path = request.uri().path();
        Self {
            began: Instant::now(),
            span,
            method: request.method().clone(),
            path: path.chars().take(MAX_PATH).collect(),
            peer: peer.map(|ConnectInfo(peer)| peer.to_string()),
            line: Line::default(),
            status: None,
            bytes: 0,
            is_whole: false,
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let said = match (self.status, self.is_whole) {
            (Some(_), true) => "answered",
            (Some(_), false) => "the answer was broken off",
            (None, _) => "the caller went away before the answer",
        };
        let is_well = self.is_whole && self.status.is_some_and(|status| status.as_u16() < 400);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    parent: &self.span,
                    method = %self.method,
                    path = self.path,
                    status = self.status.map(|status| status.as_u16()),
                    seconds = millis(self.began.elapsed().as_secs_f64()),
                    rows = self.line.0.rows.load(Ordering::Relaxed).checked_sub(1),
                    bytes = self.bytes,
                    user = self.line.0.user.get(),
                    peer = self.peer,
                    "{said}"
                )
            };
        }
        // Those who watch a server ask for its own pages all the time.
        if is_well && self.path.starts_with("/-/") {
            line!(debug);
        } else {
            line!(info);
        }
    }
}

/// A body that tells when it has ended.
struct Watched {
    body: Body,
    end: End,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.end.bytes += bytes as u64;
            }
            Poll::Ready(None) => self.end.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // What is known to have no more is not asked for more.
        self.end.is_whole |= self.body.is_end_stream();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_mislead_whoever_reads_the_log_is_not_taken() {
        let long = "a".repeat(MAX_ID + 1);
        for (value, taken) in [
            ("5f0e-A.b_9", true),
            (&long[1..], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("é", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            let expected = taken.then(|| value.to_owned());
            assert_eq!(given(&headers), expected, "{value:?}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }

    #[test]
    fn the_mount_is_what_the_router_does_not_see_of_a_path() {
        for (whole, inner, mount_) in [
            ("/", "/", ""),
            ("/shop/", "/shop/", ""),
            ("/sync", "/", "/sync"),
            ("/sync/", "/", "/sync"),
            ("/sync/shop/", "/shop/", "/sync"),
            ("/a/sync/-/x", "/-/x", "/a/sync"),
        ] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = inner.parse().unwrap();
            let original = OriginalUri(whole.parse().unwrap());
            request.extensions_mut().insert(original);
            assert_eq!(mount(&request), mount_, "{whole}");
        }
    }
}
