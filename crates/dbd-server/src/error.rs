//! What went wrong, and its one mapping to an answer (RFC 9457).
//!
//! The caller's mistakes are explained to the caller. The source's go to the log, and the caller
//! is told what can be done: never SQL, a path or a stack trace.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use common::process::chain;
use serde_json::json;

use crate::bounds::Ended;
use crate::horizon::NotKnown;
use crate::lease::SourceError;
use crate::problem::Problem;
use crate::requests;

/// What every problem comes as.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

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

    /// The request has a parameter that its path does not take.
    #[error("{0}")]
    UnknownParameter(String),

    /// The cursor is none that leads on from here.
    #[error("cursor: {0}; take it as it came, or begin anew with since")]
    BadCursor(&'static str),

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
    #[error("this path does not take that method; its Allow header lists those that it takes")]
    MethodNotAllowed,

    /// No format that the caller accepts.
    #[error("{0}")]
    NotAcceptable(&'static str),

    /// The body of the request is longer than this server reads.
    #[error("{0}")]
    TooLong(String),

    /// The URL is longer than this server reads.
    #[error("the URL is longer than {0} bytes; ask for fewer keys or columns at once")]
    UrlTooLong(usize),

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

impl ApiError {
    /// What kind of problem it is.
    fn problem(&self) -> Problem {
        match self {
            Self::BadRequest(_) => Problem::InvalidRequest,
            Self::UnknownParameter(_) => Problem::UnknownParameter,
            Self::BadCursor(_) => Problem::InvalidCursor,
            Self::Unauthorized => Problem::Unauthorized,
            Self::TooManyLogins(_) => Problem::TooManyLogins,
            Self::NotFound(_) => Problem::NotFound,
            Self::MethodNotAllowed => Problem::MethodNotAllowed,
            Self::NotAcceptable(_) => Problem::NotAcceptable,
            Self::TooLong(_) => Problem::BodyTooLong,
            Self::UrlTooLong(_) => Problem::UrlTooLong,
            Self::NotAForm => Problem::NotAForm,
            Self::Unsupported(_) => Problem::UnsupportedTable,
            Self::Busy(_) => Problem::Busy,
            Self::Ended(Ended::Stopping) => Problem::Stopping,
            Self::Ended(_) => Problem::AnswerTooLong,
            Self::Late => Problem::RequestTimeout,
            Self::NotKnown(_) => Problem::HorizonNotKnown,
            Self::Source(error) => match error {
                SourceError::Unreachable(_) | SourceError::Lost(_) => Problem::SourceUnreachable,
                SourceError::Busy => Problem::SourceBusy,
                SourceError::TooLong => Problem::QueryTooLong,
                SourceError::Denied(_) => Problem::SourceRefused,
                SourceError::Failed(_) | SourceError::Odd(_) => Problem::SourceFailed,
            },
        }
    }

    /// What the answer's head says besides.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"dbd-server\", charset=\"UTF-8\""),
            )),
            Self::NotKnown(error) => Some(retry_after(error.retry_after)),
            Self::TooManyLogins(wait) => Some(retry_after(*wait)),
            error => match error.problem() {
                Problem::Busy | Problem::SourceBusy => Some(retry_after(BUSY_RETRY)),
                Problem::Stopping | Problem::SourceUnreachable => {
                    Some(retry_after(UNREACHABLE_RETRY))
                }
                _ => None,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Source(error) = &self {
            tracing::error!("{}", chain(error));
        }
        let problem = self.problem();
        let mut response = (
            problem.status(),
            Json(json!({
                "type": problem.uri(),
                "title": problem.title(),
                "status": problem.status().as_u16(),
                "detail": self.to_string(),
                "instance": requests::instance(),
            })),
        )
            .into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some((name, value)) = self.header() {
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
