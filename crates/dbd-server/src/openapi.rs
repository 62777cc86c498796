//! The description of the HTTP interface (OpenAPI 3.1), at `/-/openapi.json`.
//!
//! It is made of what stands at the handlers: each says its path, its parameters, and what it answers. What
//! holds for many of them is added here.

#[expect(dead_code, reason = "these types are there for their schemas")]
pub(crate) mod answers;
#[expect(dead_code, reason = "these types are there for their schemas")]
pub(crate) mod params;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Json;
use axum::extract::Extension;
use axum::routing::{MethodRouter, get};
use utoipa::IntoResponses;
use utoipa::OpenApi as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr, Required};

use crate::requests::mounted;

/// What every answer but that of a probe may be instead.
const EVERYWHERE: [u16; 3] = [500, 503, 504];

/// What every answer may be instead.
const ANYWHERE: [u16; 2] = [400, 414];

/// The name of the way in.
const BASIC: &str = "basic";

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        crate::lists::databases,
        crate::lists::tables,
        crate::lists::changes,
        crate::windows::rows,
        crate::compared::digests,
        crate::compared::keys,
        crate::routes::live,
        crate::routes::ready,
        crate::metrics::metrics,
        description,
    ),
    components(schemas(answers::Line, answers::Problem)),
    tags(
        (name = "source", description = "What there is to read"),
        (name = "rows", description = "The rows that changed since a time"),
        (name = "comparison", description = "What tables are compared by"),
        (name = "server", description = "The server itself"),
    )
)]
struct Described;

/// The route of the description; `credentials` says whether callers need any.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(credentials: bool) -> MethodRouter<S> {
    get(description).layer(Extension(Arc::new(describe(credentials))))
}

/// `GET /-/openapi.json`: this description.
#[utoipa::path(
    get,
    path = "/-/openapi.json",
    tag = "server",
    summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
async fn description(Extension(described): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    let mut described = OpenApi::clone(&described);
    let mount = mounted("");
    if !mount.is_empty() {
        described.servers = Some(vec![Server::new(mount)]);
    }
    Json(described)
}

fn describe(credentials: bool) -> OpenApi {
    let mut described = Described::openapi();
    if credentials {
        let basic = SecurityScheme::Http(Http::new(HttpAuthScheme::Basic));
        let components = described.components.get_or_insert_default();
        components.add_security_scheme(BASIC, basic);
    }
    for (path, item) in &mut described.paths.paths {
        if path.ends_with("/-/digests") || path.ends_with("/-/keys") {
            item.post = item.get.clone().map(by_form);
        }
        let is_probe = matches!(path.as_str(), "/-/live" | "/-/ready");
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            add(operation, &ANYWHERE);
            if !is_probe {
                add(operation, &EVERYWHERE);
            }
            if !is_probe && credentials {
                add(operation, &[401, 429]);
                let basic = SecurityRequirement::new(BASIC, [""; 0]);
                operation.security = Some(vec![basic]);
            }
            with_id(operation);
        }
    }
    described
}

/// The same with its parameters in a form.
fn by_form(mut operation: Operation) -> Operation {
    let parameters = operation.parameters.take().unwrap_or_default();
    let (query, path) = parameters
        .into_iter()
        .partition(|parameter| parameter.parameter_in == ParameterIn::Query);
    operation.parameters = Some(path);
    operation.operation_id = operation.operation_id.map(|id| format!("{id}_by_form"));
    let form = ContentBuilder::new().schema(Some(params::form(query)));
    let body = RequestBodyBuilder::new()
        .content("application/x-www-form-urlencoded", form.build())
        .required(Some(Required::True));
    operation.request_body = Some(body.build());
    operation
        .responses
        .responses
        .extend(answers::OfForm::responses());
    operation
}

fn add(operation: &mut Operation, statuses: &[u16]) {
    operation
        .responses
        .responses
        .extend(answers::problems(statuses));
}

/// Every request may bring an id, and every answer has it.
fn with_id(operation: &mut Operation) {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let id = ParameterBuilder::new()
        .name("X-Request-Id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The request's id in the log and in its answer: up to 64 letters, digits, '.', '_' and '-'; any \
             other is not taken",
        ))
        .schema(Some(text()));
    operation
        .parameters
        .get_or_insert_default()
        .push(id.build());
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let id = HeaderBuilder::new()
                .description(Some("The request's id"))
                .schema(text().pattern(Some("^[A-Za-z0-9._-]{1,64}$")));
            response
                .headers
                .insert("X-Request-Id".to_owned(), id.build());
        }
    }
}
