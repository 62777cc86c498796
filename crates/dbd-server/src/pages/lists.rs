//! The pages of the lists: databases, and the tables of one.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use common::frame::SourceState;
use common::ident::Ident;
use common::stamp::Stamp;
use maud::{Markup, html};
use serde::Deserialize;

use crate::asked::{Service, same_server};
use crate::lease::{Lease, SourceError, bytes, text};

use super::{address, is_wanted, moment, of_answer, page, standing};

/// Of so many tables of a page it is said when they changed last.
const LOOKED_AT: usize = 1_000;

/// Tables that one statement looks at.
const AT_ONCE: usize = 100;

/// How long all looks may take: a locked table must not keep the page waiting.
const LOOKS: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Databases {
    source: SourceState,
    version: String,
    flavour: String,
    databases: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Ident,
}

#[derive(Deserialize)]
struct Tables {
    source: SourceState,
    database: Ident,
    tables: Vec<Table>,
}

#[derive(Deserialize)]
struct Table {
    name: Ident,
    stamp: Option<StampColumn>,
    key: Option<Key>,
    engine: String,
    blind_spots: Vec<BlindSpot>,
    unsupported: Option<String>,
}

#[derive(Deserialize)]
struct StampColumn {
    column: Ident,
    indexed: bool,
}

#[derive(Deserialize)]
struct Key {
    columns: Vec<Ident>,
}

#[derive(Deserialize)]
struct BlindSpot {
    detail: String,
}

/// The page of `GET /`.
pub(crate) async fn databases(request: Request, next: Next) -> Response {
    if !is_wanted(&request) {
        return next.run(request).await;
    }
    let head_only = request.method() == Method::HEAD;
    let answer = next.run(request).await;
    of_answer(head_only, answer, async |answer: Databases| {
        let content = html! {
            p { (server_name(&answer.flavour)) " " (answer.version) }
            (standing(&answer.source))
            @if answer.databases.is_empty() {
                p.notice { "There is no database here that may be read." }
            } @else {
                ul {
                    @for database in &answer.databases {
                        li { a href=(address(&database.name)) { (database.name.as_str()) } }
                    }
                }
            }
        };
        page("Databases", &[], &content)
    })
    .await
}

fn server_name(flavour: &str) -> &str {
    match flavour {
        "mysql" => "MySQL",
        "mariadb" => "MariaDB",
        other => other,
    }
}

/// The page of `GET /{db}/`.
pub(crate) async fn tables(
    State(service): State<Service>,
    request: Request,
    next: Next,
) -> Response {
    if !is_wanted(&request) {
        return next.run(request).await;
    }
    let head_only = request.method() == Method::HEAD;
    let answer = next.run(request).await;
    of_answer(head_only, answer, async |answer: Tables| {
        let changes = last_changes(&service, &answer).await;
        let content = html! {
            (standing(&answer.source))
            @if answer.tables.is_empty() {
                p.notice { "There is no table here that may be read." }
            } @else {
                (table_of(&answer, &changes))
            }
        };
        page(answer.database.as_str(), &[("Databases", "../")], &content)
    })
    .await
}

fn table_of(answer: &Tables, changes: &HashMap<usize, Change>) -> Markup {
    html! {
        div.scroll.cards {
            table {
                thead {
                    tr {
                        @for name in ["Table", "Stamp", "Index", "Key", "Last change", "What windows cannot see"] {
                            th scope="col" { (name) }
                        }
                    }
                }
                tbody {
                    @for (at, table) in answer.tables.iter().enumerate() {
                        tr {
                            th scope="row" { a href=(address(&table.name)) { (table.name.as_str()) } }
                            td data-label="Stamp" { (column(table)) }
                            td data-label="Index" { (index(table)) }
                            td data-label="Key" { (key(table)) }
                            td data-label="Last change" { (change(changes.get(&at), &answer.source)) }
                            td data-label="What windows cannot see" { (unseen(table)) }
                        }
                    }
                }
            }
        }
    }
}

fn column(table: &Table) -> Markup {
    html! {
        @match &table.stamp {
            Some(stamp) => { (stamp.column.as_str()) },
            None => { span.bad { "none" } },
        }
    }
}

fn index(table: &Table) -> Markup {
    html! {
        @match &table.stamp {
            Some(stamp) if stamp.indexed => { span.good { "yes" } },
            Some(_) => { span.bad { "no: every pull reads the whole table" } },
            None => { "–" },
        }
    }
}

fn key(table: &Table) -> Markup {
    html! {
        @match &table.key {
            Some(key) => { (names(&key.columns)) },
            None => { span.bad { "none" } },
        }
    }
}

fn names(names: &[Ident]) -> String {
    let names: Vec<&str> = names.iter().map(Ident::as_str).collect();
    names.join(", ")
}

fn change(change: Option<&Change>, source: &SourceState) -> Markup {
    html! {
        @match change {
            Some(Change::At(text)) => {
                (moment(text))
                @if let Ok(stamp) = Stamp::from_sql(text.as_bytes()) {
                    br; span.quiet { (ago(source.now.seconds_since(stamp))) }
                }
            },
            Some(Change::Never) => { span.quiet { "no row with a stamp" } },
            None => { span.quiet { "not looked at" } },
        }
    }
}

fn unseen(table: &Table) -> Markup {
    html! {
        @if let Some(why) = &table.unsupported {
            span.bad { "Cannot be pulled: " (why) }
        }
        @if !table.blind_spots.is_empty() {
            ul {
                @for spot in &table.blind_spots { li { (spot.detail) } }
            }
        }
        @if table.unsupported.is_none() && table.blind_spots.is_empty() {
            span.quiet { "only deletes (" (table.engine) ")" }
        }
    }
}

/// How long ago something was, in words.
fn ago(seconds: f64) -> String {
    let (amount, unit) = match seconds {
        ..0.0 => return "in the future".to_owned(),
        ..1.0 => return "just now".to_owned(),
        ..120.0 => (seconds, "s"),
        ..7_200.0 => (seconds / 60.0, "min"),
        ..172_800.0 => (seconds / 3_600.0, "h"),
        _ => (seconds / 86_400.0, "days"),
    };
    format!("{amount:.0} {unit} ago")
}

/// When a table changed last.
enum Change {
    /// The greatest stamp, as SQL has it.
    At(String),
    /// It has no rows, or none with a stamp.
    Never,
}

/// The greatest stamps of the tables where an index tells, by their place in the list; those that could be
/// looked at in time.
async fn last_changes(service: &Service, answer: &Tables) -> HashMap<usize, Change> {
    let mut looks = Vec::new();
    for (at, table) in answer.tables.iter().enumerate().take(LOOKED_AT) {
        if let Some(stamp) = table.stamp.as_ref().filter(|stamp| stamp.indexed) {
            looks.push(format!(
                "SELECT {at}, (SELECT MAX({}) FROM {}.{})",
                stamp.column, answer.database, table.name
            ));
        }
    }
    let mut changes = HashMap::new();
    if looks.is_empty() {
        return changes;
    }
    let looking = async {
        // The lists that the page is made of were of this server.
        let Ok(lease) = same_server(service, &answer.source).await else {
            return;
        };
        if let Err(error) = look(lease, &looks, &mut changes).await {
            tracing::debug!(%error, "cannot see when tables changed last");
        }
    };
    if tokio::time::timeout(LOOKS, looking).await.is_err() {
        tracing::debug!(database = %answer.database, "tables could not be looked at in time");
    }
    changes
}

async fn look(
    mut lease: Lease,
    looks: &[String],
    changes: &mut HashMap<usize, Change>,
) -> Result<(), SourceError> {
    for some in looks.chunks(AT_ONCE) {
        for row in lease.query(&some.join(" UNION ALL ")).await? {
            let change = match bytes(&row, 1) {
                Some(_) => Change::At(text(&row, 1)),
                None => Change::Never,
            };
            if let Ok(at) = text(&row, 0).parse() {
                changes.insert(at, change);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_has_passed_has_words() {
        for (seconds, words) in [
            (-1.0, "in the future"),
            (0.0, "just now"),
            (90.4, "90 s ago"),
            (600.0, "10 min ago"),
            (90_000.0, "25 h ago"),
            (864_000.0, "10 days ago"),
        ] {
            assert_eq!(ago(seconds), words, "{seconds}");
        }
    }
}
