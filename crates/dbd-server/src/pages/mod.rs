//! What a browser gets of the paths that answer JSON to everybody else.
//!
//! The lists are made of the very answer that others get, and the latest rows are found by the same steps as the
//! rows of a window, so that nothing stands in a page that its reader could not ask for otherwise. There are no
//! scripts; links are relative, so that they hold wherever the router is mounted.

mod latest;
mod lists;
mod value;

pub(crate) use latest::latest;
pub(crate) use lists::{databases, tables};

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use common::frame::SourceState;
use common::ident::Ident;
use futures_util::stream;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::accept::wants_page;
use crate::catalog;

/// The style of every page; the puller has the same.
const STYLE: &str = include_str!("../../../common/src/page.css");

/// What a page may load: nothing. The empty icon keeps browsers from asking for one.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The longest answer that a page is made of, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// From so many seconds on a page says what holds the horizon back.
const HELD_LONG: f64 = 1.0;

/// Whether the request wants a page. Whoever gives parameters wants what these speak of.
fn is_wanted(request: &Request) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    reads && request.uri().query().is_none_or(str::is_empty) && wants_page(request.headers())
}

/// An answer of this server that is not what was asked for.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

/// Makes a page of an answer in JSON.
async fn of_answer<T: DeserializeOwned>(
    head_only: bool,
    answer: Response,
    page: impl AsyncFnOnce(T) -> Markup,
) -> Response {
    let (parts, body) = answer.into_parts();
    if head_only {
        return sent(parts, unread());
    }
    if !parts.status.is_success() {
        return explained(parts, body).await;
    }
    match read(body).await {
        Some(answer) => {
            let page = page(answer).await;
            sent(parts, page.into_string().into())
        }
        None => failed(parts),
    }
}

/// Makes a page of an answer that says why there is nothing else.
async fn of_problem(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    explained(parts, body).await
}

async fn explained(parts: Parts, body: Body) -> Response {
    let Some(Problem { title, detail }) = read(body).await else {
        return failed(parts);
    };
    let page = page(
        &title,
        &[],
        &html! {
            p.notice { (detail) }
            p { a href="./" { "Try again" } " or go " a href="../" { "up" } }
        },
    );
    sent(parts, page.into_string().into())
}

async fn read<T: DeserializeOwned>(body: Body) -> Option<T> {
    let body = to_bytes(body, MAX_ANSWER).await.ok()?;
    serde_json::from_slice(&body)
        .inspect_err(|error| tracing::error!(%error, "no page can be made of an answer"))
        .ok()
}

fn failed(mut parts: Parts) -> Response {
    parts.status = StatusCode::INTERNAL_SERVER_ERROR;
    let page = page(
        "Internal Server Error",
        &[],
        &html! { p.notice { "this page cannot be made; the log of dbd-server says why" } },
    );
    sent(parts, page.into_string().into())
}

/// The body of a page of which only the head is wanted: how long it would be is not known.
fn unread() -> Body {
    Body::from_stream(stream::empty::<Result<Bytes, Infallible>>())
}

/// A page in the answer's place; what else its head says stays.
fn sent(mut parts: Parts, body: Body) -> Response {
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
    ] {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, body)
}

/// A whole page. The path is that of the pages above it, each with its relative address.
fn page(title: &str, path: &[(&str, &str)], content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · dbd-server" }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                @if !path.is_empty() {
                    nav aria-label="Path" {
                        ol {
                            @for (name, address) in path {
                                li { a href=(address) { (name) } }
                            }
                            li aria-current="page" { (title) }
                        }
                    }
                }
                main { h1 { (title) } (content) }
                footer { "dbd-server " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}

/// Where the source stands, in words.
fn standing(source: &SourceState) -> Markup {
    let behind = source.now.seconds_since(source.horizon).max(0.0);
    html! {
        dl.facts {
            dt { "Source's time" }
            dd { (moment(&source.now.sql())) }
            dt { "Horizon" }
            dd {
                (moment(&source.horizon.sql())) ", " (source.basis) ", "
                (format!("{behind:.1}")) " s behind the source's time"
            }
        }
        // What runs for a moment holds it back for that moment.
        @if let Some(holder) = source.held_back_by.as_ref().filter(|_| behind >= HELD_LONG) {
            p.notice { "The horizon is held back by " (holder) ". Later changes wait until it has ended." }
        }
    }
}

/// A time as SQL has it, which is in UTC everywhere here.
fn moment(text: &str) -> Markup {
    html! { span.time { (text) " UTC" } }
}

/// The address of a database or a table, from the page that lists it.
fn address(name: &Ident) -> String {
    catalog::url(&[name]).trim_start_matches('/').to_owned()
}
