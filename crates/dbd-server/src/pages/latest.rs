//! The page of a table: the rows that changed last.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use common::ident::Ident;
use common::stamp::Stamp;
use common::table::{Column, Table};
use maud::{Markup, html};
use mysql_async::Row;

use crate::asked::{Named, Service, named, same_server};
use crate::choice::Choice;
use crate::error::ApiError;
use crate::lease::{Lease, SourceError};
use crate::reading::literal;

use super::{is_wanted, of_problem, page, sent, standing, value};

/// How many rows are shown.
const ROWS: usize = 50;

/// How long the source may take to find them.
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
    match page_of(&service, path).await {
        Ok(page) => {
            let (parts, body) = page.into_string().into_response().into_parts();
            sent(parts, body)
        }
        Err(error) => of_problem(error.into_response()).await,
    }
}

async fn page_of(
    service: &Service,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Markup, ApiError> {
    let Path((database, table)) = path?;
    let mut lease = service.source.lease().await?;
    let Named {
        database,
        table,
        hidden,
    } = named(service, &mut lease, &database, &table).await?;
    drop(lease);
    let stamp = Choice::default().stamp(&table, &hidden)?;
    let is_shown = |column: &&Column| !hidden.iter().any(|name| name == column.name.as_str());
    let columns: Vec<&Column> = table.columns.iter().filter(is_shown).collect();
    // R2: the horizon comes first, then the rows.
    let state = service.horizon.state()?;
    let found = match table.index_on(&stamp.name) {
        Some(index) => {
            let lease = same_server(service, &state).await?;
            let sql = statement(
                &database,
                &table,
                &index.name,
                stamp,
                &columns,
                state.horizon.floor(stamp.scale),
            );
            read(lease, &sql).await?
        }
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
            Found::Rows(rows) if rows.is_empty() => p { "No row is stamped below the horizon." },
            Found::Rows(rows) => {
                p {
                    "The latest changes by " code { (stamp.name.as_str()) } ": "
                    (rows.len()) " rows below the horizon, the last first."
                }
                (table_of(&columns, rows))
            },
        }
        p { a href="?limit=50" { "The first rows as JSON" } }
    };
    let path = [("Databases", "../../"), (database.as_str(), "../")];
    Ok(page(table.name.as_str(), &path, &content))
}

/// Finds the rows along the index, from its end. Rows of one stamp come in no order of their own: to put them
/// into one could cost a sort of many.
fn statement(
    database: &Ident,
    table: &Table,
    index: &Ident,
    stamp: &Column,
    columns: &[&Column],
    horizon: Stamp,
) -> String {
    let expressions: Vec<String> = columns.iter().map(|column| value::expressions(column)).collect();
    format!(
        "SELECT {} FROM {database}.{} FORCE INDEX ({index}) WHERE {stamp} < {} ORDER BY {stamp} DESC \
         LIMIT {ROWS}",
        expressions.join(","),
        table.name,
        literal(horizon),
        stamp = stamp.name,
    )
}

/// What was found of the latest rows.
enum Found {
    Rows(Vec<Row>),
    /// They would have to be sorted.
    NoIndex,
    NotInTime,
}

async fn read(mut lease: Lease, sql: &str) -> Result<Found, SourceError> {
    match tokio::time::timeout(LOOK, lease.query(sql)).await {
        Ok(rows) => Ok(Found::Rows(rows?)),
        // The connection is ended with its statement.
        Err(_) => Ok(Found::NotInTime),
    }
}

fn table_of(columns: &[&Column], rows: &[Row]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Rows" {
            table.rows {
                thead {
                    tr {
                        @for column in columns {
                            th scope="col" {
                                (column.name.as_str()) br; span.quiet { (column.column_type) }
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
