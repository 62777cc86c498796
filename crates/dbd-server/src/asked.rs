//! What a request names: a database, a table, the server that the horizon is of.

use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::{PathRejection, QueryRejection};
use common::frame::{Header, HeaderColumn, SourceState};
use common::ident::Ident;
use common::table::{Column, Table};

use crate::bounds::Places;
use crate::catalog::{self, Served};
use crate::choice::unsupported;
use crate::error::ApiError;
use crate::horizon::{Horizon, NotKnown};
use crate::lease::{Lease, Source};
use crate::metrics::Metrics;
use crate::reach::Unready;
use crate::requests::mounted;
use crate::seen::tables;
use crate::shapes::Recent;
use crate::viewer::Viewer;

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) source: Source,
    pub(crate) horizon: Horizon,
    pub(crate) served: Served,
    pub(crate) recent: Recent,
    pub(crate) places: Places,
    pub(crate) metrics: Metrics,
}

pub(crate) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// A table that was asked for.
pub(crate) struct Named {
    pub(crate) database: Ident,
    pub(crate) table: Table,
    /// The columns that the account may not read.
    pub(crate) hidden: Vec<String>,
}

/// The table of that name, when it is there for the viewer and has a key.
pub(crate) async fn named(
    service: &Service,
    lease: &mut Lease,
    viewer: &Viewer,
    database: &str,
    table: &str,
) -> Result<Named, ApiError> {
    let no_table = || {
        ApiError::NotFound(format!(
            "there is no table {table} here; GET {} lists them",
            mounted(&Ident::parse(database).map_or("/".to_owned(), |name| catalog::url(&[&name])))
        ))
    };
    let found = match (Ident::parse(database), Ident::parse(table)) {
        (Ok(database), Ok(table))
            // Of a table that is not there for them nothing is asked either.
            if service.served.contains(viewer, &database)
                && viewer.sees_table(database.as_str(), table.as_str())
                && can_exist(&database)
                && can_exist(&table) =>
        {
            let mut found = tables(lease, viewer, &database, Some(&table)).await?;
            found.pop().map(|seen| (database, seen.table))
        }
        _ => None,
    };
    let Some((database, table)) = found else {
        existing(service, lease, viewer, database).await?;
        return Err(no_table());
    };
    let hidden = catalog::hidden_columns(lease, &database, Some(&table.name))
        .await?
        .remove(table.name.as_str())
        .unwrap_or_default();
    catalog::key(&table, &hidden).map_err(|why| unsupported(&table, &why))?;
    Ok(Named {
        database,
        table,
        hidden,
    })
}

/// Whether a database or a table may have that name: MariaDB answers with an error when it is asked for one that
/// ends in a space, as none does.
fn can_exist(name: &Ident) -> bool {
    !name.as_str().ends_with(' ')
}

/// A connection to the server that the horizon is of.
pub(crate) async fn same_server(service: &Service, state: &SourceState) -> Result<Lease, Unready> {
    if let Some(lease) = service.source.lease_of(&state.identity).await? {
        return Ok(lease);
    }
    service.horizon.doubt();
    Err(Unready::NotKnown(NotKnown {
        detail: "another server answers as the source now; ask again in a second".to_owned(),
        retry_after: Duration::from_secs(1),
    }))
}

/// The database of that name, when it is there for the viewer.
pub(crate) async fn existing(
    service: &Service,
    lease: &mut Lease,
    viewer: &Viewer,
    name: &str,
) -> Result<Ident, ApiError> {
    let databases = service.served.databases(lease, viewer).await?;
    databases
        .into_iter()
        .find(|database| database.as_str() == name)
        .ok_or_else(|| {
            ApiError::NotFound(format!(
                "there is no database {name} here; GET / lists them"
            ))
        })
}

/// Where the source stands at this moment: a pull begins at the time its first answer names.
pub(crate) async fn standing(
    service: &Service,
    lease: &mut Lease,
) -> Result<SourceState, ApiError> {
    let now = lease.now().await?;
    let mut state = service.horizon.state()?;
    state.now = state.now.max(now);
    Ok(state)
}

pub(crate) fn header(
    database: &Ident,
    table: &Table,
    stamp: &Column,
    columns: &[Column],
    source: SourceState,
) -> Header {
    let column = |column: &Column| HeaderColumn {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        kind: column.kind,
    };
    let key = table.key_columns().into_iter();
    Header {
        database: database.clone(),
        table: table.name.clone(),
        stamp: stamp.name.clone(),
        precision: stamp.scale,
        key: key.map(|column| column.name.clone()).collect(),
        columns: columns.iter().map(column).collect(),
        source,
        more_above_horizon: false,
        rows_in_future: false,
    }
}

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::BadRequest(
            "a name in the path is not UTF-8; percent-encode its UTF-8 bytes".to_owned(),
        )
    }
}
