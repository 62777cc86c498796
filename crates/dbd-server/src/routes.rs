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

use crate::access::{self, Gate};
use crate::asked::Service;
use crate::bounds::admit;
use crate::compared::{digests, keys};
use crate::error::ApiError;
use crate::given::MAX_FORM;
use crate::lists::{changes, databases, tables};
use crate::windows::rows;

/// The paths of a service. All but the two that only say whether it lives want a login, where the gate wants one.
pub(crate) fn router(service: Service, gate: Gate) -> Router {
    Router::new()
        .route("/", get(databases))
        .route("/{database}", get(tables))
        .route("/{database}/", get(tables))
        .route("/{database}/-/changed", post(changes))
        .route("/{database}/{table}", get(rows))
        .route("/{database}/{table}/", get(rows))
        .route("/{database}/{table}/-/digests", get(digests).post(digests))
        .route("/{database}/{table}/-/keys", get(keys).post(keys))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .fallback(async || {
            ApiError::NotFound("there is no such path; GET / lists databases".to_owned())
        })
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // Who may ask is known before there is a place.
        .layer(middleware::from_fn_with_state(
            service.places.clone(),
            admit,
        ))
        .layer(middleware::from_fn_with_state(gate, access::check))
        .route("/-/live", get(async || Json(json!({"live": true}))))
        .route("/-/ready", get(ready))
        // For callers that take it. What was written is flushed whenever an answer has nothing more for now.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
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
