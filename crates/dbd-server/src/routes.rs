//! The paths, and what holds for all of them.

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::access::{self, Gate};
use crate::asked::Service;
use crate::bounds::admit;
use crate::caching;
use crate::compared::{digests, keys};
use crate::error::ApiError;
use crate::given::MAX_FORM;
use crate::lists::{changes, databases, tables};
use crate::metrics;
use crate::openapi::{self, answers};
use crate::pages;
use crate::requests;
use crate::url::{self, no_such_path, with_slash};
use crate::windows::rows;

/// The paths of a service. All but the two that only say whether it lives want a login, where the gate wants one.
pub(crate) fn router(service: Service, gate: Gate) -> Router {
    Router::new()
        .route("/", get(databases).layer(from_fn(pages::databases)))
        .route("/{database}", get(with_slash))
        .route(
            "/{database}/",
            get(tables).layer(from_fn_with_state(service.clone(), pages::tables)),
        )
        .route("/{database}/-/changed", post(changes))
        .route("/{database}/{table}", get(with_slash))
        .route(
            "/{database}/{table}/",
            get(rows).layer(from_fn_with_state(service.clone(), pages::latest)),
        )
        .route("/{database}/{table}/-/digests", get(digests).post(digests))
        .route("/{database}/{table}/-/keys", get(keys).post(keys))
        .route("/-/openapi.json", openapi::route(gate.is_there()))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .fallback(async || no_such_path())
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        // Who may ask is known before there is a place.
        .layer(from_fn_with_state(service.places.clone(), admit))
        // There when every place is taken, too.
        .route(
            "/-/metrics",
            get(metrics::metrics).layer(Extension(gate.clone())),
        )
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(gate, access::check))
        .route("/-/live", get(live))
        .route("/-/ready", get(ready))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(service.metrics.clone(), metrics::count))
        // For callers that take it. What was written is flushed whenever an answer has nothing more for now.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn(url::bounded))
        .layer(from_fn(caching::told))
        // Outermost: it sees what is sent, and all that is logged meanwhile belongs to the request.
        .layer(from_fn(requests::log))
        .with_state(service)
}

/// `GET /-/live`: that the server answers.
#[utoipa::path(
    get,
    path = "/-/live",
    tag = "server",
    summary = "Whether the server lives",
    responses(
        (status = 200, description = "It does", body = answers::Live),
    )
)]
pub(crate) async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

/// `GET /-/ready`: whether there is a horizon, and the source answers.
#[utoipa::path(
    get,
    path = "/-/ready",
    tag = "server",
    summary = "Whether the server can answer",
    responses(
        (status = 200, description = "There is a horizon, and the source answers", body = answers::Ready),
        (status = 503, description = "There is no horizon, or no source", body = answers::Ready),
    )
)]
pub(crate) async fn ready(State(service): State<Service>) -> Response {
    let ready = service.horizon.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": ready}))).into_response()
}
