//! Which of many tables have anything new, in few statements.
//!
//! A table has nothing new when a window of it that begins there would be empty whatever its horizon: no
//! committed row is stamped at or after `since`, be it above the horizon (R11) or in the future (R4); and,
//! where the window begins behind a row, that row is there with this very stamp (R12). The horizon was known
//! before the first statement here opens its view (R2), so nothing below it can appear afterwards. What
//! cannot be told cheaply counts as changed.

use std::collections::HashSet;
use std::time::Duration;

use common::ident::Ident;
use common::scan::behind;
use common::stamp::Stamp;
use common::table::Column;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog;
use crate::error::ApiError;
use crate::lease::{Lease, SourceError, text};
use crate::reading::{Match, literal, one_of};
use crate::shapes::Shapes;

/// Tables that one statement looks at.
const AT_ONCE: usize = 100;

/// How long all looks may take: a locked table, or one without the right index, must not keep the others waiting.
const LOOKS: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked<'a> {
    #[serde(borrow)]
    pub(crate) tables: Vec<Begin<'a>>,
    /// The version of the list of tables that the caller has.
    #[serde(default)]
    pub(crate) version: Option<String>,
}

/// Where a window of a table would begin: its name, the stamp column, `since`, and the key `after`.
#[derive(Debug, Deserialize)]
pub(crate) struct Begin<'a>(
    Ident,
    String,
    Stamp,
    #[serde(borrow)] Option<Vec<&'a RawValue>>,
);

impl<'a> Asked<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(text).map_err(|error| {
            ApiError::BadRequest(format!(
                "give {{\"tables\": [[table, stamp column, since, after or null] …]}}: {error}"
            ))
        })
    }
}

/// Those of the tables that have anything new, or may have; `ambiguous` says of a time whether stamps around it
/// were given out twice.
pub(crate) async fn changed<'a>(
    lease: Lease,
    database: &Ident,
    shapes: &Shapes,
    asked: &'a Asked<'_>,
    ambiguous: impl Fn(Stamp) -> bool,
) -> Result<Vec<&'a Ident>, SourceError> {
    let mut looks = Vec::new();
    for (at, begin) in asked.tables.iter().enumerate() {
        if !ambiguous(begin.2)
            && let Some(condition) = begin.condition(database, shapes)
        {
            looks.push((at, format!("SELECT {at} FROM DUAL WHERE {condition}")));
        }
    }
    let mut unchanged: HashSet<usize> = HashSet::new();
    match tokio::time::timeout(LOOKS, look(lease, &looks, &mut unchanged)).await {
        Ok(result) => result?,
        // The connection is ended with its statement. What was not looked at counts as changed.
        Err(_) => tracing::debug!(%database, "tables could not be looked at in time"),
    }
    let names = asked.tables.iter().map(|begin| &begin.0).enumerate();
    let changed = names.filter(|(at, _)| !unchanged.contains(at));
    Ok(changed.map(|(_, name)| name).collect())
}

async fn look(
    mut lease: Lease,
    looks: &[(usize, String)],
    unchanged: &mut HashSet<usize>,
) -> Result<(), SourceError> {
    for some in looks.chunks(AT_ONCE) {
        match without_news(&mut lease, some).await {
            Ok(found) => unchanged.extend(found),
            Err(error @ (SourceError::Lost(_) | SourceError::TooLong)) => return Err(error),
            // A table or an index may be gone by now: which one shows when each is asked.
            Err(error) => {
                tracing::debug!(%error, "looking at each table by itself");
                for one in some {
                    match without_news(&mut lease, std::slice::from_ref(one)).await {
                        Ok(found) => unchanged.extend(found),
                        Err(error @ (SourceError::Lost(_) | SourceError::TooLong)) => {
                            return Err(error);
                        }
                        Err(error) => tracing::debug!(%error, "one cannot be looked at"),
                    }
                }
            }
        }
    }
    Ok(())
}

/// Those that a statement over these finds nothing new in.
async fn without_news(
    lease: &mut Lease,
    looks: &[(usize, String)],
) -> Result<Vec<usize>, SourceError> {
    let selects: Vec<&str> = looks.iter().map(|(_, select)| select.as_str()).collect();
    let rows = lease.query(&selects.join(" UNION ALL ")).await?;
    let changed: HashSet<String> = rows.iter().map(|row| text(row, 0)).collect();
    let numbers = looks.iter().map(|(at, _)| *at);
    Ok(numbers
        .filter(|at| !changed.contains(&at.to_string()))
        .collect())
}

impl Begin<'_> {
    /// The condition that there is anything new; none where that could cost a look at the whole table.
    fn condition(&self, database: &Ident, shapes: &Shapes) -> Option<String> {
        let Self(name, stamp, since, after) = self;
        let entry = shapes.table(name)?;
        let table = entry.table();
        let stamp = catalog::stamp(table, Some(stamp), entry.hidden()).ok()?;
        let key = catalog::key(table, entry.hidden()).ok()?;
        let index = table.index_on(&stamp.name)?;
        let (stamp, since) = (&stamp.name, literal(*since));
        let found = |condition: &str| {
            format!(
                "(SELECT 1 FROM {database}.{name} FORCE INDEX ({}) WHERE {condition} LIMIT 1) IS NOT NULL",
                index.name
            )
        };
        let Some(after) = after else {
            return Some(found(&format!("{stamp} >= {since}")));
        };
        if after.len() != key.len() {
            return None;
        }
        let literals = key.iter().zip(after);
        let literals = literals.map(|(column, wire)| column.kind.order_literal(wire.get()));
        let literals: Vec<String> = literals.collect::<Result<_, _>>().ok()?;
        let order: Vec<String> = key.iter().map(|column| Column::order(column)).collect();
        let held = one_of(&key, std::slice::from_ref(after), Match::Bytes).ok()?;
        Some(format!(
            "{} OR {} OR (SELECT 1 FROM {database}.{name} WHERE {held} AND {stamp} = {since} LIMIT 1) IS NULL",
            found(&format!("{stamp} > {since}")),
            found(&format!(
                "{stamp} = {since} AND {}",
                behind(&order, &literals)
            )),
        ))
    }
}
