//! The paths, and a handler of a few lines for each.

use std::future;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use common::frame::{Basis, Header, HeaderColumn, SourceState};
use common::ident::Ident;
use common::stamp::Stamp;
use common::table::{Column, Table};
use serde_json::{Value, json};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;

use crate::accept::Format;
use crate::access::{self, Credentials};
use crate::bounds::{Places, Term, admit};
use crate::catalog::{self, Served};
use crate::changed::{self, changed};
use crate::choice::{readable, unsupported};
use crate::comparison::Comparison;
use crate::error::ApiError;
use crate::given::{Body, Given, MAX_FORM};
use crate::horizon::{Horizon, NotKnown};
use crate::lease::{Lease, Source};
use crate::params::Params;
use crate::parts::{self, Asked};
use crate::reach::{Unready, reach};
use crate::reading::{Reading, Rows};
use crate::shapes::Recent;
use crate::stream::{self, Begun};

/// When the head of an answer is sent at the latest, whatever its table waits for. What fails sooner has a
/// status of its own; what fails later breaks the answer off.
const HEAD_WITHIN: Duration = Duration::from_millis(500);

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) source: Source,
    pub(crate) horizon: Horizon,
    pub(crate) served: Served,
    pub(crate) recent: Recent,
    pub(crate) places: Places,
}

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The paths of a service. All but the two that only say whether it lives want the credentials.
pub(crate) fn router(service: Service, credentials: Option<Credentials>) -> Router {
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
        .layer(middleware::from_fn_with_state(credentials, access::check))
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

/// `GET /`: the databases.
async fn databases(State(service): State<Service>, pairs: Pairs) -> Result<Json<Value>, ApiError> {
    no_parameters(&pairs?.0)?;
    let mut lease = service.source.lease().await?;
    let state = standing(&service, &mut lease).await?;
    let (flavour, version) = lease.flavour().await?;
    let databases: Vec<Value> = service
        .served
        .databases(&mut lease)
        .await?
        .iter()
        .map(|name| json!({"name": name, "url": catalog::url(&[name])}))
        .collect();
    Ok(Json(json!({
        "source": state,
        "version": version,
        "flavour": flavour,
        "databases": databases,
    })))
}

/// `GET /{db}/`: the tables of a database, parents first.
async fn tables(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
    pairs: Pairs,
) -> Result<Json<Value>, ApiError> {
    let Path(database) = path?;
    let definitions = definitions(&pairs?.0)?;
    let mut lease = service.source.lease().await?;
    let database = existing(&service, &mut lease, &database).await?;
    let state = standing(&service, &mut lease).await?;
    let (flavour, _) = lease.flavour().await?;
    let shapes = service.recent.read(&mut lease, &database, &state.identity);
    let shapes = shapes.await?;
    let mut tables = json!(shapes.entries);
    if definitions {
        let listed = tables.as_array_mut().into_iter().flatten();
        for (listed, entry) in listed.zip(&shapes.entries) {
            let name = &entry.table().name;
            if let Some(text) = catalog::definition(&mut lease, &database, name).await? {
                listed["definition"] = text.into();
            }
        }
    }
    Ok(Json(json!({
        "source": state,
        "database": database,
        "flavour": flavour,
        "version": shapes.version,
        "tables": tables,
    })))
}

/// `POST /{db}/-/changed`: which of some tables have anything new.
async fn changes(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = path?;
    let asked = changed::Asked::parse(&body)?;
    // R2: the horizon comes first, then what is looked at.
    let state = service.horizon.state()?;
    let mut lease = same_server(&service, &state).await?;
    let recent = Ident::parse(&name)
        .ok()
        .filter(|database| service.served.contains(database))
        .and_then(|database| {
            let shapes = service.recent.of(&database, &state.identity)?;
            Some((database, shapes))
        });
    let is_recent = recent.is_some();
    let (database, mut shapes) = match recent {
        Some(recent) => recent,
        None => {
            let database = existing(&service, &mut lease, &name).await?;
            let shapes = service.recent.read(&mut lease, &database, &state.identity);
            let shapes = shapes.await?;
            (database, shapes)
        }
    };
    let twice = |since| service.horizon.is_given_out_twice(since);
    let changed = changed(lease, &database, &shapes, &asked, twice).await?;
    // Whoever goes on to read rows reads them by shapes that are no older than what was seen of these rows.
    if is_recent && asked.version.is_some() && !changed.is_empty() {
        let mut lease = same_server(&service, &state).await?;
        shapes = service
            .recent
            .read(&mut lease, &database, &state.identity)
            .await?;
    }
    Ok(Json(json!({
        "source": state,
        "version": shapes.version,
        "changed": changed,
    })))
}

/// `GET /{db}/{table}/`: the rows of a window, or those of some keys.
async fn rows(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    path: Result<Path<(String, String)>, PathRejection>,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path((database, table)) = path?;
    let params = Params::parse(&pairs?.0)?;
    let format = Format::negotiate(&headers).ok_or(ApiError::NotAcceptable(
        "rows come as application/json, application/x-ndjson or text/csv; accept one of them",
    ))?;
    let mut reading = shape(&service, &database, &table, &params).await?;
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

/// `GET` or `POST /{db}/{table}/-/digests`: the digests of parts.
async fn digests(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    compared(&service, term, path?.0, &headers, &given, Asked::Digests).await
}

/// `GET` or `POST /{db}/{table}/-/keys`: the keys in parts.
async fn keys(
    State(service): State<Service>,
    Extension(term): Extension<Term>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    given: Given,
) -> Result<Response, ApiError> {
    compared(&service, term, path?.0, &headers, &given, Asked::Keys).await
}

async fn compared(
    service: &Service,
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
    } = named(service, &mut lease, &database, &table).await?;
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

/// A table that was asked for.
struct Named {
    database: Ident,
    table: Table,
    /// The columns that the account may not read.
    hidden: Vec<String>,
}

/// What the request reads of which table.
async fn shape(
    service: &Service,
    database: &str,
    table: &str,
    params: &Params,
) -> Result<Reading, ApiError> {
    let mut lease = service.source.lease().await?;
    let Named {
        database,
        table,
        hidden,
    } = named(service, &mut lease, database, table).await?;
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

/// The table of that name, when it exists, is served and has a key.
async fn named(
    service: &Service,
    lease: &mut Lease,
    database: &str,
    table: &str,
) -> Result<Named, ApiError> {
    let no_table = || {
        ApiError::NotFound(format!(
            "there is no table {table} here; GET {} lists them",
            Ident::parse(database).map_or("/".to_owned(), |name| catalog::url(&[&name]))
        ))
    };
    let found = match (Ident::parse(database), Ident::parse(table)) {
        (Ok(database), Ok(table)) if service.served.contains(&database) => {
            let mut tables = lease.tables(&database, Some(&table)).await?;
            tables.pop().map(|table| (database, table))
        }
        _ => None,
    };
    let Some((database, table)) = found else {
        existing(service, lease, database).await?;
        return Err(no_table());
    };
    let hidden = catalog::hidden_columns(lease, &database)
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

/// A connection to the server that the horizon is of.
async fn same_server(service: &Service, state: &SourceState) -> Result<Lease, Unready> {
    if let Some(lease) = service.source.lease_of(&state.identity).await? {
        return Ok(lease);
    }
    service.horizon.doubt();
    Err(Unready::NotKnown(NotKnown {
        detail: "another server answers as the source now; ask again in a second".to_owned(),
        retry_after: Duration::from_secs(1),
    }))
}

fn header(
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

/// The database of that name, when it exists and is served.
async fn existing(service: &Service, lease: &mut Lease, name: &str) -> Result<Ident, ApiError> {
    let databases = service.served.databases(lease).await?;
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
async fn standing(service: &Service, lease: &mut Lease) -> Result<SourceState, ApiError> {
    let now = lease.now().await?;
    let mut state = service.horizon.state()?;
    state.now = state.now.max(now);
    Ok(state)
}

fn no_parameters(pairs: &[(String, String)]) -> Result<(), ApiError> {
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::BadRequest(format!(
            "there is no parameter {name}; this path takes none"
        ))),
    }
}

fn definitions(pairs: &[(String, String)]) -> Result<bool, ApiError> {
    match pairs {
        [] => Ok(false),
        [(name, value)] if name == "definitions" => value
            .parse()
            .map_err(|_| ApiError::BadRequest("definitions: give true or false".to_owned())),
        _ => Err(ApiError::BadRequest(
            "this path takes one parameter, once: definitions".to_owned(),
        )),
    }
}

impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::BadRequest(
            "a name in the path is not UTF-8; percent-encode its UTF-8 bytes".to_owned(),
        )
    }
}
