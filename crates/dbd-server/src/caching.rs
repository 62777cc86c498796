//! What every answer says to caches, and what an answer that nobody takes becomes.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, MEDIA_TYPE};

/// What answers depend on besides their URL.
const VARY: &str = "accept, accept-encoding, authorization";

/// Has every answer say that it is to be asked for again, and by whose request it was made.
pub(crate) async fn told(request: Request, next: Next) -> Response {
    let known = request.headers().contains_key(header::AUTHORIZATION);
    let mut response = next.run(request).await;
    // Where the caller takes no encoding at all, the answer would come with its rows nevertheless.
    let is_problem = |value: &HeaderValue| value == MEDIA_TYPE;
    let headers = response.headers();
    if response.status() == StatusCode::NOT_ACCEPTABLE
        && !headers.get(header::CONTENT_TYPE).is_some_and(is_problem)
    {
        let error = ApiError::NotAcceptable(
            "answers come as they are, or encoded with gzip or zstd; accept one of these",
        );
        response = error.into_response();
    }
    let cache = match known {
        true => "private, no-cache",
        false => "no-cache",
    };
    let headers = response.headers_mut();
    // A page says it by itself.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    response
}
