//! The parameters of a request: those of its URL and, with POST, those of its form.

use std::time::Duration;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::{Method, StatusCode, header};
use bytes::Bytes;

use crate::error::ApiError;
use crate::url::so_many;

/// Bytes of a form at most. Ten thousand parts whose keys are of some hundred bytes fit.
pub(crate) const MAX_FORM: usize = 4 << 20;

/// How long a form may take to arrive: its request holds a place meanwhile.
const FORM_TIMEOUT: Duration = Duration::from_secs(30);

/// Names and values, in their order.
type Pairs = Vec<(String, String)>;

/// The parameters of a request, in their order.
pub(crate) struct Given(pub(crate) Pairs);

impl<S: Send + Sync> FromRequest<S> for Given {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Query(mut pairs) = Query::<Pairs>::from_request_parts(&mut parts, state).await?;
        if parts.method == Method::POST {
            // What says how long it is need not be read to be refused.
            let length = parts.headers.get(header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
            if length.is_some_and(|length| length > MAX_FORM) {
                return Err(too_long());
            }
            let request = Request::from_parts(parts, body);
            let form = Form::<Pairs>::from_request(request, state);
            let form = tokio::time::timeout(FORM_TIMEOUT, form).await;
            pairs.extend(form.map_err(|_| ApiError::Late)??.0);
            so_many(pairs.len())?;
        }
        Ok(Self(pairs))
    }
}

fn too_long() -> ApiError {
    ApiError::TooLong(format!(
        "the form is longer than {MAX_FORM} bytes; ask for fewer parts at once"
    ))
}

/// The body of a request, of [`MAX_FORM`] bytes at most.
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state);
        let body = tokio::time::timeout(FORM_TIMEOUT, body).await;
        body.map_err(|_| ApiError::Late)?
            .map(Self)
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_long(),
                _ => ApiError::BadRequest("the body did not arrive".to_owned()),
            })
    }
}

impl From<QueryRejection> for ApiError {
    fn from(_: QueryRejection) -> Self {
        Self::BadRequest("the parameters cannot be read; percent-encode them".to_owned())
    }
}

impl From<FormRejection> for ApiError {
    fn from(rejection: FormRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_long(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::NotAForm,
            _ => Self::BadRequest("the form cannot be read; percent-encode its values".to_owned()),
        }
    }
}
