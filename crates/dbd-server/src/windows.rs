//! The rows of a table.

use std::future;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use common::frame::{Basis, Header, SourceState};
use common::stamp::Stamp;
use tokio::time::Instant;

use crate::accept::Format;
use crate::asked::{Named, Pairs, Service, header, named, same_server};
use crate::bounds::Term;
use crate::choice::readable;
use crate::conditional::Question;
use crate::error::ApiError;
use crate::openapi::{answers, params};
use crate::outlet::unread;
use crate::page::{Page, link};
use crate::params::Params;
use crate::reach::{Unready, reach};
use crate::reading::{Reading, Rows};
use crate::stream::{self, Begun};
use crate::viewer::Viewer;

/// When the head of an answer is sent at the latest, whatever its table waits for. What fails sooner has a
/// status of its own; what fails later breaks the answer off.
const HEAD_WITHIN: Duration = Duration::from_millis(500);

/// `GET /{db}/{table}/`: the rows of a window, or those of some keys.
#[utoipa::path(
    get,
    path = "/{database}/{table}/",
    tag = "rows",
    summary = "Rows of a table",
    params(params::OfTable, params::RowsQuery),
    responses(
        (status = 200, description = "The rows of a window, or of some keys", content(
            (answers::Rows = "application/json"),
            (answers::Ndjson = "application/x-ndjson"),
            (answers::Csv = "text/csv"),
            (answers::Html = "text/html"),
        ), headers(
            ("ETag" = String, description = "Names the answer, where it can be asked whether anything is new"),
            ("Link" = String, description = "The next page, where `limit` left rows out and it is known in time"),
        )),
        (status = 304, description = "No row of the window was stamped since the answer that `If-None-Match` names"),
        answers::OfTable,
    )
)]
pub(crate) async fn rows(
    method: Method,
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((database, table)) = path?;
    let Query(pairs) = pairs?;
    let params = Params::parse(&pairs)?;
    let format = Format::negotiate(&headers).ok_or(ApiError::NotAcceptable(
        "rows come as application/json, application/x-ndjson or text/csv; accept one of them",
    ))?;
    let mut reading = shape(&service, &viewer, &database, &table, &params).await?;
    let state = service.horizon.state()?;
    reading.rows = params.rows(&reading.table.key_columns(), &state)?;
    let question = Question::of(&reading, format, &state);
    let mut head = HeaderMap::new();
    if let Some(question) = &question
        && let Some(tag) = question
            .unchanged(&service, &headers, &reading, &state)
            .await
    {
        head.insert(header::ETAG, tag);
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let content_type = HeaderValue::from_static(format.content_type());
    head.insert(header::CONTENT_TYPE, content_type);
    let tag = |state: &SourceState| question.as_ref().and_then(|question| question.tag(state));
    if method == Method::HEAD {
        same_server(&service, &state).await?;
        head.extend(tag(&state).map(|tag| (header::ETAG, tag)));
        return Ok((head, unread()).into_response());
    }
    let meter = service
        .metrics
        .meter(&reading.database, &reading.table.name);
    let (page, next) = Page::of(&reading, &pairs, format).unzip();
    let until = match &page {
        Some(page) if page.whole => None,
        _ => Some(Instant::now() + HEAD_WITHIN),
    };
    let mut begun = Box::pin(begin(service, reading, params.begun, params.patience()));
    let body = match by(until, &mut begun).await {
        Some(begun) => {
            let begun = begun?;
            let tag = tag(&begun.header.source);
            head.extend(tag.map(|tag| (header::ETAG, tag)));
            stream::body(format, future::ready(Ok(begun)), page, term, meter)
        }
        None => stream::body(format, begun, page, term, meter),
    };
    if let Some(next) = next.flatten()
        && let Some(Ok(Some(next))) = by(until, next).await
    {
        let link = link(&next, format).and_then(|link| HeaderValue::try_from(link).ok());
        head.extend(link.map(|link| (header::LINK, link)));
    }
    Ok((head, body).into_response())
}

/// What comes until then, however late without a time.
async fn by<T>(until: Option<Instant>, what: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => tokio::time::timeout_at(until, what).await.ok(),
        None => Some(what.await),
    }
}

/// What an answer needs before its header can be written.
async fn begin(
    service: Service,
    mut reading: Reading,
    begun: Option<Stamp>,
    wait: Duration,
) -> Result<Begun, Unready> {
    let reach = reach(&service.source, &service.horizon, &reading, begun, wait).await?;
    if let Rows::Window { horizon, .. } = &mut reading.rows {
        *horizon = reach.state.horizon;
    }
    reading.proven = reach.state.basis == Basis::Proven;
    service.horizon.begin(&mut reading);
    let lease = same_server(&service, &reach.state).await?;
    let header = Header {
        more_above_horizon: reach.more_above_horizon,
        rows_in_future: reach.rows_in_future,
        ..header(
            &reading.database,
            &reading.table,
            &reading.stamp,
            &reading.columns,
            reach.state,
        )
    };
    Ok(Begun {
        header,
        lease,
        reading,
    })
}

/// What the request reads of which table.
async fn shape(
    service: &Service,
    viewer: &Viewer,
    database: &str,
    table: &str,
    params: &Params,
) -> Result<Reading, ApiError> {
    let mut lease = service.source.lease().await?;
    let Named {
        database,
        table,
        hidden,
    } = named(service, &mut lease, viewer, database, table).await?;
    let stamp = params.choice.stamp(&table, &hidden)?.clone();
    let columns = readable(&table, params.choice.columns(&table, &stamp)?, &hidden)?;
    let reading = Reading {
        database,
        stamp,
        columns,
        rows: Rows::Keys("FALSE".to_owned()),
        proven: false,
        limit: params.limit,
        table,
    };
    if let Some(cursor) = &params.cursor {
        cursor.fits(&reading)?;
    }
    Ok(reading)
}
