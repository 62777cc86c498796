//! What tables are compared by: digests and keys.

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::accept::Format;
use crate::asked::{Named, Service, header, named, same_server};
use crate::bounds::Term;
use crate::comparison::Comparison;
use crate::error::ApiError;
use crate::given::Given;
use crate::parts::{self, Asked};
use crate::viewer::Viewer;

/// `GET` or `POST /{db}/{table}/-/digests`: the digests of parts.
pub(crate) async fn digests(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    compared(
        (&service, &viewer),
        term,
        path?.0,
        &headers,
        &given,
        Asked::Digests,
    )
    .await
}

/// `GET` or `POST /{db}/{table}/-/keys`: the keys in parts.
pub(crate) async fn keys(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    compared(
        (&service, &viewer),
        term,
        path?.0,
        &headers,
        &given,
        Asked::Keys,
    )
    .await
}

async fn compared(
    (service, viewer): (&Service, &Viewer),
    term: Term,
    (database, table): (String, String),
    headers: &HeaderMap,
    Given(pairs): &Given,
    asked: Asked,
) -> Result<Response, ApiError> {
    let params = parts::Params::parse(asked, pairs)?;
    let format = Format::Ndjson;
    if !format.is_taken(headers) {
        return Err(ApiError::NotAcceptable(
            "digests and keys come as application/x-ndjson; accept it",
        ));
    }
    let mut lease = service.source.lease().await?;
    let Named {
        database,
        table,
        hidden,
    } = named(service, &mut lease, viewer, &database, &table).await?;
    let comparison = Comparison::of(&params, &database, &table, &hidden)?;
    drop(lease);
    let mut state = service.horizon.state()?;
    let lease = same_server(service, &state).await?;
    let Comparison { stamp, columns, .. } = &comparison;
    state.horizon = state.horizon.floor(stamp.scale);
    let header = header(&database, &table, stamp, columns, state);
    let body = crate::digests::body(header, lease, comparison, term);
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}
