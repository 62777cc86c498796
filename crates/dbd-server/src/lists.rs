//! What there is to read: databases, tables, and which of them have changed.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use common::ident::Ident;
use serde_json::{Value, json};

use crate::asked::{Pairs, Service, existing, same_server, standing};
use crate::catalog;
use crate::changed::{self, changed};
use crate::choice::once;
use crate::error::ApiError;
use crate::given::Body;
use crate::openapi::{answers, params};
use crate::requests::mounted;
use crate::unknown::unknown;
use crate::viewer::Viewer;

/// `GET /`: the databases.
#[utoipa::path(
    get,
    path = "/",
    tag = "source",
    summary = "Databases",
    responses(
        (status = 200, description = "What is served", content(
            (answers::Databases = "application/json"),
            (answers::Html = "text/html"),
        )),
        answers::OfServer,
    )
)]
pub(crate) async fn databases(
    State(service): State<Service>,
    Extension(viewer): Extension<Viewer>,
    pairs: Pairs,
) -> Result<Json<Value>, ApiError> {
    no_parameters(&pairs?.0)?;
    let mut lease = service.source.lease().await?;
    let state = standing(&service, &mut lease).await?;
    let (flavour, version) = lease.flavour().await?;
    let databases: Vec<Value> = service
        .served
        .databases(&mut lease, &viewer)
        .await?
        .iter()
        .map(|name| json!({"name": name, "url": mounted(&catalog::url(&[name]))}))
        .collect();
    Ok(Json(json!({
        "source": state,
        "version": version,
        "flavour": flavour,
        "databases": databases,
    })))
}

/// `GET /{db}/`: the tables of a database, parents first.
#[utoipa::path(
    get,
    path = "/{database}/",
    tag = "source",
    summary = "Tables of a database",
    params(params::InDatabase, params::TablesQuery),
    responses(
        (status = 200, description = "Its tables, parents first", content(
            (answers::Tables = "application/json"),
            (answers::Html = "text/html"),
        )),
        answers::OfDatabase,
    )
)]
pub(crate) async fn tables(
    State(service): State<Service>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<String>, PathRejection>,
    pairs: Pairs,
) -> Result<Json<Value>, ApiError> {
    let Path(database) = path?;
    let definitions = definitions(&pairs?.0)?;
    let mut lease = service.source.lease().await?;
    let database = existing(&service, &mut lease, &viewer, &database).await?;
    let state = standing(&service, &mut lease).await?;
    let (flavour, _) = lease.flavour().await?;
    let shapes = service
        .recent
        .read(&mut lease, &viewer, &database, &state.identity)
        .await?;
    let mut tables = json!(shapes.entries);
    let listed = tables.as_array_mut().into_iter().flatten();
    for (listed, entry) in listed.zip(&shapes.entries) {
        let name = &entry.table().name;
        listed["url"] = mounted(&catalog::url(&[&database, name])).into();
        if definitions
            && entry.is_whole()
            && let Some(text) = catalog::definition(&mut lease, &database, name).await?
        {
            listed["definition"] = text.into();
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
#[utoipa::path(
    post,
    path = "/{database}/-/changed",
    tag = "source",
    summary = "Which tables have anything new",
    params(params::InDatabase),
    request_body = params::WhichChanged,
    responses(
        (status = 200, description = "Those that have, or may have", body = answers::Changed),
        answers::OfDatabase,
        answers::OfBody,
    )
)]
pub(crate) async fn changes(
    State(service): State<Service>,
    Extension(viewer): Extension<Viewer>,
    path: Result<Path<String>, PathRejection>,
    pairs: Pairs,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let Path(name) = path?;
    no_parameters(&pairs?.0)?;
    let asked = changed::Asked::parse(&body)?;
    // R2: the horizon comes first, then what is looked at.
    let state = service.horizon.state()?;
    let mut lease = same_server(&service, &state).await?;
    let recent = Ident::parse(&name)
        .ok()
        .filter(|database| service.served.contains(&viewer, database))
        .and_then(|database| {
            let shapes = service.recent.of(&viewer, &database, &state.identity)?;
            Some((database, shapes))
        });
    let is_recent = recent.is_some();
    let (database, mut shapes) = match recent {
        Some(recent) => recent,
        None => {
            let database = existing(&service, &mut lease, &viewer, &name).await?;
            let shapes = service
                .recent
                .read(&mut lease, &viewer, &database, &state.identity)
                .await?;
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
            .read(&mut lease, &viewer, &database, &state.identity)
            .await?;
    }
    Ok(Json(json!({
        "source": state,
        "version": shapes.version,
        "changed": changed,
    })))
}

fn no_parameters(pairs: &[(String, String)]) -> Result<(), ApiError> {
    match pairs.first() {
        None => Ok(()),
        Some((name, _)) => Err(unknown(name, &[])),
    }
}

fn definitions(pairs: &[(String, String)]) -> Result<bool, ApiError> {
    let mut definitions = false;
    for (at, (name, value)) in pairs.iter().enumerate() {
        once(pairs, at)?;
        definitions = match name.as_str() {
            "definitions" => value
                .parse()
                .map_err(|_| ApiError::BadRequest("definitions: give true or false".to_owned()))?,
            name => return Err(unknown(name, &["definitions"])),
        };
    }
    Ok(definitions)
}
