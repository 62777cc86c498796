//! What a URL may be, and the one that each path has.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// Bytes of a path and its parameters. A thousand keys of a puller fit, which are 30,000 bytes at most, and the
/// names of many columns.
const MAX_URL: usize = 56 << 10;

/// Parameters of a request.
const MAX_PARAMETERS: usize = 256;

/// Sends away whoever asks with too long a URL, or with too many parameters in it.
pub(crate) async fn bounded(request: Request, next: Next) -> Result<Response, ApiError> {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    if uri.path().len() + query.len() >= MAX_URL {
        return Err(ApiError::UrlTooLong(MAX_URL));
    }
    so_many(query.split('&').count())?;
    Ok(next.run(request).await)
}

/// Refuses more parameters than a request may have.
pub(crate) fn so_many(parameters: usize) -> Result<(), ApiError> {
    if parameters > MAX_PARAMETERS {
        return Err(ApiError::BadRequest(format!(
            "there are more than {MAX_PARAMETERS} parameters; give lists of names in one, with commas"
        )));
    }
    Ok(())
}

/// There is no such path.
pub(crate) fn no_such_path() -> ApiError {
    ApiError::NotFound("there is no such path; GET / lists databases".to_owned())
}

/// `GET /{db}`, `GET /{db}/{table}`: leads to the same with its final slash.
///
/// The reference is relative, so that it holds wherever the routes are mounted.
pub(crate) async fn with_slash(uri: Uri) -> Result<Response, ApiError> {
    let path = uri.path();
    // The server's own pages have none, and no name is empty.
    if path == "/-" || path.starts_with("/-/") || path.contains("//") {
        return Err(no_such_path());
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    let location = format!("./{last}/{query}");
    let location = HeaderValue::from_bytes(location.as_bytes()).map_err(|_| no_such_path())?;
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::PERMANENT_REDIRECT, headers).into_response())
}
