//! What tables are compared by: digests and keys.

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};

use crate::accept::Format;
use crate::asked::{Named, Service, header, named, same_server};
use crate::bounds::Term;
use crate::comparison::Comparison;
use crate::error::ApiError;
use crate::given::Given;
use crate::openapi::{answers, params};
use crate::outlet::unread;
use crate::parts::{self, Asked};
use crate::viewer::Viewer;

/// `GET` or `POST /{db}/{table}/-/digests`: the digests of parts.
#[utoipa::path(
    get,
    path = "/{database}/{table}/-/digests",
    tag = "comparison",
    summary = "Digests of parts of a table",
    params(params::OfTable, params::DigestsQuery),
    responses(
        (status = 200, description = "A header, digests, an end", body = answers::Ndjson, content_type = "application/x-ndjson"),
        answers::OfTable,
    )
)]
pub(crate) async fn digests(
    method: Method,
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    let asked = (Asked::Digests, &given);
    compared((&service, &viewer), term, &method, path?.0, &headers, asked).await
}

/// `GET` or `POST /{db}/{table}/-/keys`: the keys in parts.
#[utoipa::path(
    get,
    path = "/{database}/{table}/-/keys",
    tag = "comparison",
    summary = "Keys in parts of a table",
    params(params::OfTable, params::KeysQuery),
    responses(
        (status = 200, description = "A header, keys with their stamps and hashes, an end", body = answers::Ndjson, content_type = "application/x-ndjson"),
        answers::OfTable,
    )
)]
pub(crate) async fn keys(
    method: Method,
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    let asked = (Asked::Keys, &given);
    compared((&service, &viewer), term, &method, path?.0, &headers, asked).await
}

async fn compared(
    (service, viewer): (&Service, &Viewer),
    term: Term,
    method: &Method,
    (database, table): (String, String),
    headers: &HeaderMap,
    (asked, Given(pairs)): (Asked, &Given),
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
    let body = match *method {
        Method::HEAD => unread(),
        _ => {
            let meter = service.metrics.meter(&database, &table.name);
            crate::digests::body(header, lease, comparison, term, meter)
        }
    };
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}
