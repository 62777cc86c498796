//! What answers look like.

use std::collections::{BTreeMap, HashMap};

use common::frame::{End, Header, SourceState};
use common::ident::Ident;
use common::table::Flavour;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::catalog::Shown;

/// The databases that are served.
#[derive(ToSchema)]
pub(crate) struct Databases {
    source: SourceState,
    /// The version of the source's server.
    #[schema(example = "9.7.4")]
    version: String,
    flavour: Flavour,
    databases: Vec<Database>,
}

/// A database.
#[derive(ToSchema)]
struct Database {
    name: Ident,
    /// The path that lists its tables.
    #[schema(format = "uri-reference", example = "/shop/")]
    url: String,
}

/// The tables of a database, parents first.
#[derive(ToSchema)]
pub(crate) struct Tables {
    source: SourceState,
    database: Ident,
    flavour: Flavour,
    /// Names this list: another list has another version.
    version: String,
    tables: Vec<Shown<'static>>,
}

/// Which tables have anything new.
#[derive(ToSchema)]
pub(crate) struct Changed {
    source: SourceState,
    /// Names the list of tables that this was seen with.
    version: String,
    changed: Vec<Ident>,
}

/// Rows, as one object. An answer without `count` and `more` is not whole.
#[derive(ToSchema)]
pub(crate) struct Rows {
    header: Header,
    rows: Vec<HashMap<String, Value>>,
    /// How many rows there are.
    count: u64,
    /// Whether rows below the horizon were left out because of `limit`.
    more: bool,
    /// Then the reference of the page with them.
    #[schema(required = false, format = "uri-reference")]
    next: String,
}

/// One line of `application/x-ndjson`. A row is an array of values, in the order of the header's columns. An
/// answer without its end frame is not whole.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Line {
    Frame(Frame),
    Row(Vec<Value>),
}

/// A line that is no row.
#[derive(Serialize, ToSchema)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub(crate) enum Frame {
    /// The first one.
    Header(Header),
    /// Nothing new; the server is still at work.
    KeepAlive,
    /// The server failed midway.
    Error {
        /// Why.
        detail: String,
    },
    /// The last one.
    End(End),
}

/// Metrics in Prometheus' text format.
#[derive(ToSchema)]
pub(crate) struct Metrics(String);

/// A page for people, for who likes `text/html` better than any other format.
#[derive(ToSchema)]
pub(crate) struct Html(String);

/// Lines, each of which is a `Line`.
#[derive(ToSchema)]
pub(crate) struct Ndjson(String);

/// A line of names, and one for each row (RFC 4180). NULL is an empty field, an empty text is `""`.
#[derive(ToSchema)]
pub(crate) struct Csv(String);

/// Why there is no answer (RFC 9457), and what to do.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is.
    #[schema(format = "uri-reference")]
    r#type: String,
    title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, and what would be right.
    detail: String,
    /// The request, by its id.
    #[schema(format = "uri-reference", example = "urn:dbd:request:1f0c6b0a7e5d3c42")]
    instance: String,
}

/// Whether the server lives.
#[derive(ToSchema)]
pub(crate) struct Live {
    live: bool,
}

/// Whether there is a horizon, and the source answers.
#[derive(ToSchema)]
pub(crate) struct Ready {
    ready: bool,
}

/// The answers of some statuses, each a problem.
pub(crate) fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |status: &u16| {
        let schema = utoipa::openapi::Ref::from_schema_name(Problem::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new()
            .description(meaning(*status))
            .content("application/problem+json", content);
        (status.to_string(), response.build().into())
    };
    statuses.iter().map(problem).collect()
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is wrong; the detail says what would be right",
        401 => "The credentials are missing or wrong",
        414 => "The URL is longer than 56 KiB",
        429 => "Too many logins have failed; Retry-After says when to ask again",
        404 => "There is no such database or table here",
        406 => "No media type that the caller accepts",
        408 => "The body did not arrive within 30 s",
        413 => "The body is longer than 4 MiB",
        415 => "The body is no form",
        422 => "The table has no windows, or its keys no order that servers share",
        500 => "The source refused or answered oddly; the server's log has the reason",
        503 => "No horizon, no source or no place now; Retry-After says when to ask again",
        504 => "A bound on time was met before the answer began",
        _ => "See DESIGN.md",
    }
}

/// Makes a set of problems out of each name.
macro_rules! problem_sets {
    ($($(#[$doc:meta])* $name:ident: [$($status:literal),+];)+) => { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                problems(&[$($status),+])
            }
        }
    )+ };
}

problem_sets! {
    /// Of a path that names nothing.
    OfServer: [400];
    /// Of a path that names a database.
    OfDatabase: [400, 404];
    /// Of a path that names a table.
    OfTable: [400, 404, 406, 422];
    /// Of a body that is sent to the server.
    OfBody: [408, 413];
    /// Of a form.
    OfForm: [408, 413, 415];
}
