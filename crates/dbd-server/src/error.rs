//! What went wrong, and its one mapping to an answer (RFC 9457).
//!
//! The caller's mistakes are explained to the caller. The source's go to the log, and the caller
//! is told what can be done: never SQL, a path or a stack trace.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::process::chain;
use serde_json::json;

use crate::bounds::Ended;
use crate::horizon::NotKnown;
use crate::lease::SourceError;

/// How long a caller should leave a source alone that could not be reached.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(5);

/// When it is worth asking again where there was no place.
const BUSY_RETRY: Duration = Duration::from_secs(1);

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(String),

    /// There are credentials, and the request has none or others.
    #[error("this server wants a user name and a password (basic authentication)")]
    Unauthorized,

    /// Too many logins failed, or there are too many at once.
    #[error("too many logins have failed; give the right password, and ask again in {} s", seconds(*.0))]
    TooManyLogins(Duration),

    /// There is no such thing, or this server does not serve it.
    #[error("{0}")]
    NotFound(String),

    /// The path exists, the method does not.
    #[error("only GET is answered here, and POST for digests, keys and changed tables")]
    MethodNotAllowed,

    /// No format that the caller accepts.
    #[error("{0}")]
    NotAcceptable(&'static str),

    /// The body of the request is longer than this server reads.
    #[error("{0}")]
    TooLong(String),

    /// The body of the request is no form.
    #[error("send the parameters as application/x-www-form-urlencoded, or in the URL of a GET")]
    NotAForm,

    /// The table has no windows.
    #[error("{0}")]
    Unsupported(String),

    /// There are as many answers as there may be.
    #[error(
        "{0} answers are being sent already; ask again, or raise --max-answers of the dbd-server"
    )]
    Busy(usize),

    /// The answer's time was over before it began.
    #[error(transparent)]
    Ended(#[from] Ended),

    /// The form did not arrive.
    #[error("the form did not arrive in time; send it again")]
    Late,

    /// The horizon is not known yet.
    #[error("{}", .0.detail)]
    NotKnown(NotKnown),

    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<NotKnown> for ApiError {
    fn from(error: NotKnown) -> Self {
        Self::NotKnown(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = self.to_string();
        let (status, header) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, None),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                Some((
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"dbd-server\", charset=\"UTF-8\""),
                )),
            ),
            Self::TooManyLogins(wait) => (StatusCode::TOO_MANY_REQUESTS, Some(retry_after(wait))),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, None),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, None),
            Self::TooLong(_) => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::NotAForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, None),
            Self::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, None),
            Self::Busy(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(retry_after(BUSY_RETRY)),
            ),
            Self::Ended(Ended::Stopping) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(retry_after(UNREACHABLE_RETRY)),
            ),
            Self::Ended(_) => (StatusCode::GATEWAY_TIMEOUT, None),
            Self::Late => (StatusCode::REQUEST_TIMEOUT, None),
            Self::NotKnown(error) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(retry_after(error.retry_after)),
            ),
            Self::Source(error) => {
                tracing::error!("{}", chain(&error));
                match error {
                    SourceError::Unreachable(_) | SourceError::Lost(_) => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        Some(retry_after(UNREACHABLE_RETRY)),
                    ),
                    SourceError::Busy => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        Some(retry_after(BUSY_RETRY)),
                    ),
                    SourceError::TooLong => (StatusCode::GATEWAY_TIMEOUT, None),
                    SourceError::Denied(_) | SourceError::Failed(_) | SourceError::Odd(_) => {
                        (StatusCode::INTERNAL_SERVER_ERROR, None)
                    }
                }
            }
        };
        let mut response = (
            status,
            Json(json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or("error"),
                "status": status.as_u16(),
                "detail": detail,
            })),
        )
            .into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// `Retry-After` takes whole seconds, and 0 would be no wait at all.
fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, HeaderValue::from(seconds(wait)))
}

fn seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}
