//! The page of a table: the rows that changed last.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::ident::Ident;
use common::stamp::Stamp;
use common::table::Column;
use maud::{Markup, html};
use mysql_async::Row;

use crate::asked::{Named, Service, named, same_server};
use crate::choice::Choice;
use crate::error::ApiError;
use crate::reach::{Reach, reach};
use crate::reading::{Reading, Rows, literal};
use crate::viewer::Viewer;

use super::{is_wanted, of_problem, page, sent, standing, unread, value};

/// How many rows are shown.
const ROWS: usize = 50;

/// How long the page waits for the horizon to pass what has just changed.
const WAIT: Duration = Duration::from_secs(2);

/// How long the source may take to find them, the wait included.
const LOOK: Duration = Duration::from_secs(5);

/// The page of `GET /{db}/{table}/`.
pub(crate) async fn latest(
    State(service): State<Service>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
    next: Next,
) -> Response {
    if !is_wanted(&request) {
        return next.run(request).await;
    }
    let Some(viewer) = request.extensions().get::<Viewer>().cloned() else {
        return next.run(request).await;
    };
    let head_only = request.method() == Method::HEAD;
    match page_of(&service, &viewer, path, head_only).await {
        Ok(None) => sent(Response::new(()).into_parts().0, unread()),
        Ok(Some(page)) => {
            let (parts, body) = page.into_string().into_response().into_parts();
            sent(parts, body)
        }
        Err(error) => of_problem(error.into_response()).await,
    }
}

/// The page; none where only its head is wanted, for which no row is read.
async fn page_of(
    service: &Service,
    viewer: &Viewer,
    path: Result<Path<(String, String)>, PathRejection>,
    head_only: bool,
) -> Result<Option<Markup>, ApiError> {
    let Path((database, table)) = path?;
    let mut lease = service.source.lease().await?;
    let Named {
        database,
        table,
        hidden,
    } = named(service, &mut lease, viewer, &database, &table).await?;
    drop(lease);
    let stamp = Choice::default().stamp(&table, &hidden)?.clone();
    let is_shown = |column: &&Column| !hidden.iter().any(|name| name == column.name.as_str());
    let reading = Reading {
        columns: table.columns.iter().filter(is_shown).cloned().collect(),
        rows: Rows::Keys("FALSE".to_owned()),
        proven: false,
        limit: None,
        database,
        table,
        stamp,
    };
    let Reading {
        database,
        table,
        stamp,
        columns,
        ..
    } = &reading;
    let mut state = service.horizon.state()?;
    if head_only {
        return Ok(None);
    }
    let found = match reading.index() {
        Some(index) => match tokio::time::timeout(LOOK, find(service, &reading, index)).await {
            Ok(found) => {
                let (reach, rows) = found?;
                state = reach.state;
                Found::Rows(rows, reach.more_above_horizon)
            }
            // The connection is ended with its statement.
            Err(_) => Found::NotInTime,
        },
        None => Found::NoIndex,
    };
    let content = html! {
        (standing(&state))
        @match &found {
            Found::NoIndex => p.notice {
                "The rows that changed last are not shown, since finding them would sort the whole table: its \
                 stamp column " code { (stamp.name.as_str()) } " has no index. "
                code { "ALTER TABLE " (table.name) " ADD INDEX (" (stamp.name) ")" }
            },
            Found::NotInTime => p.notice {
                "The rows that changed last are not shown: the source did not find them within "
                (LOOK.as_secs()) " s. Somebody may hold the table locked."
            },
            Found::Rows(rows, more) => {
                p {
                    @if rows.is_empty() {
                        "No row is stamped below the horizon."
                    } @else {
                        "The latest changes by " code { (stamp.name.as_str()) } ": "
                        (rows.len()) " rows below the horizon, the last first."
                    }
                    @if *more { " There are changes above it, which are not served yet." }
                }
                @if !rows.is_empty() { (table_of(columns, rows)) }
            },
        }
        p { a href="?limit=50" { "The first rows as JSON" } }
    };
    let path = [("Databases", "../../"), (database.as_str(), "../")];
    Ok(Some(page(table.name.as_str(), &path, &content)))
}

/// What was found of the latest rows.
enum Found {
    /// They, and whether there are changes above the horizon.
    Rows(Vec<Row>, bool),
    /// They would have to be sorted.
    NoIndex,
    NotInTime,
}

/// Finds the rows; as those of a window, they reach up to a horizon that was known before (R2), and who changes a row
/// and then looks at the page sees it (R11).
async fn find(
    service: &Service,
    reading: &Reading,
    index: &Ident,
) -> Result<(Reach, Vec<Row>), ApiError> {
    let reach = reach(&service.source, &service.horizon, reading, None, WAIT).await?;
    let mut lease = same_server(service, &reach.state).await?;
    let sql = statement(reading, index, reach.state.horizon);
    let rows = lease.query(&sql).await?;
    Ok((reach, rows))
}

/// Reads along the index, from its end. Rows of one stamp come in no order of their own: to put them into one could
/// cost a sort of many.
fn statement(reading: &Reading, index: &Ident, horizon: Stamp) -> String {
    let columns = reading.columns.iter();
    let expressions: Vec<String> = columns.map(value::expressions).collect();
    format!(
        "SELECT {} FROM {}.{} FORCE INDEX ({index}) WHERE {stamp} < {} ORDER BY {stamp} DESC LIMIT {ROWS}",
        expressions.join(","),
        reading.database,
        reading.table.name,
        literal(horizon),
        stamp = reading.stamp.name,
    )
}

fn table_of(columns: &[Column], rows: &[Row]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Rows" {
            table.rows {
                thead {
                    tr {
                        @for column in columns {
                            th scope="col" {
                                (column.name.as_str()) br; span.quiet { (value::type_of(column)) }
                            }
                        }
                    }
                }
                tbody.value {
                    @for row in rows {
                        tr {
                            @for (at, column) in columns.iter().enumerate() {
                                td { (value::shown(row, at, column)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
