//! The rows of a table.

use std::future;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use common::frame::{Basis, Header};
use common::stamp::Stamp;

use crate::accept::Format;
use crate::asked::{Named, Pairs, Service, header, named, same_server};
use crate::bounds::Term;
use crate::choice::readable;
use crate::error::ApiError;
use crate::params::Params;
use crate::reach::{Unready, reach};
use crate::reading::{Reading, Rows};
use crate::stream::{self, Begun};
use crate::viewer::Viewer;

/// When the head of an answer is sent at the latest, whatever its table waits for. What fails sooner has a
/// status of its own; what fails later breaks the answer off.
const HEAD_WITHIN: Duration = Duration::from_millis(500);

/// `GET /{db}/{table}/`: the rows of a window, or those of some keys.
pub(crate) async fn rows(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<(String, String)>, PathRejection>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((database, table)) = path?;
    let params = Params::parse(&pairs?.0)?;
    let format = Format::negotiate(&headers).ok_or(ApiError::NotAcceptable(
        "rows come as application/json, application/x-ndjson or text/csv; accept one of them",
    ))?;
    let mut reading = shape(&service, &viewer, &database, &table, &params).await?;
    let state = service.horizon.state()?;
    reading.rows = params.rows(&reading.table.key_columns(), state.horizon)?;
    let mut begun = Box::pin(begin(service, reading, params.begun, params.patience()));
    let body = match tokio::time::timeout(HEAD_WITHIN, &mut begun).await {
        Ok(begun) => stream::body(format, future::ready(Ok(begun?)), term),
        Err(_) => stream::body(format, begun, term),
    };
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
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
    Ok(Reading {
        database,
        stamp,
        columns,
        rows: Rows::Keys("FALSE".to_owned()),
        proven: false,
        limit: params.limit,
        table,
    })
}
