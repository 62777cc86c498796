//! The paths, and what holds for all of them.

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;

use crate::access::{self, Credentials};
use crate::asked::Service;
use crate::bounds::admit;
use crate::caching;
use crate::compared::{digests, keys};
use crate::error::ApiError;
use crate::given::MAX_FORM;
use crate::lists::{changes, databases, tables};
use crate::url::{self, no_such_path, with_slash};
use crate::windows::rows;

/// The paths of a service. All but the two that only say whether it lives want the credentials.
pub(crate) fn router(service: Service, credentials: Option<Credentials>) -> Router {
    Router::new()
        .route("/", get(databases))
        .route("/{database}", get(with_slash))
        .route("/{database}/", get(tables))
        .route("/{database}/-/changed", post(changes))
        .route("/{database}/{table}", get(with_slash))
        .route("/{database}/{table}/", get(rows))
        .route("/{database}/{table}/-/digests", get(digests).post(digests))
        .route("/{database}/{table}/-/keys", get(keys).post(keys))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .fallback(async || no_such_path())
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // Who may ask is known before there is a place.
        .layer(middleware::from_fn_with_state(
            service.places.clone(),
            admit,
        ))
        .layer(middleware::from_fn_with_state(credentials, access::check))
        .route("/-/live", get(async || Json(json!({"live": true}))))
        .route("/-/ready", get(ready))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // For callers that take it. What was written is flushed whenever an answer has nothing more for now.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(middleware::from_fn(url::bounded))
        .layer(middleware::from_fn(caching::told))
        // What failed is logged where it is known why.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(service)
}

/// `GET /-/ready`: whether there is a horizon, and the source answers.
async fn ready(State(service): State<Service>) -> Response {
    let ready = service.horizon.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": ready}))).into_response()
}
