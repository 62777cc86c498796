//! The shapes of the tables that are there for a viewer.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use common::ident::Ident;
use common::session::literal;

use crate::lease::{Lease, SourceError, text};
use crate::viewer::{Computed, Seen, Viewer};

/// The tables of a database that are there for the viewer, or only the one of the name `only`.
///
/// R14. This is where shapes come from: what it leaves out, nobody knows of.
pub(crate) async fn tables(
    lease: &mut Lease,
    viewer: &Viewer,
    database: &Ident,
    only: Option<&Ident>,
) -> Result<Vec<Seen>, SourceError> {
    let tables = lease.tables(database, only).await?;
    if only.is_none() {
        say_once(viewer.idle_rules(database, &tables));
    }
    // Asked whatever was found: how long the answer takes is not to tell whether there is a table.
    let computed = match viewer.lacks_columns(database) {
        true => computed_columns(lease, database, only).await?,
        false => Computed::new(),
    };
    Ok(viewer.narrow(database, tables, &computed))
}

/// Warns of rules that hide nothing, of each once.
fn say_once(idle: Vec<String>) {
    // As many as users files have had.
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    for rule in idle {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(rule.clone()) {
            tracing::warn!(
                "the users file hides {rule}, and there is none; mend it if it is misspelt"
            );
        }
    }
}

/// The columns that are computed from others, or have a default, which may be.
async fn computed_columns(
    lease: &mut Lease,
    database: &Ident,
    only: Option<&Ident>,
) -> Result<Computed, SourceError> {
    let rows = lease
        .query(&format!(
            "SELECT TABLE_NAME, COLUMN_NAME, CONCAT_WS(' ',GENERATION_EXPRESSION,COLUMN_DEFAULT) \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA={}{} \
             AND (GENERATION_EXPRESSION<>'' OR COLUMN_DEFAULT IS NOT NULL)",
            literal(database.as_str()),
            common::catalog::named("TABLE_NAME", only)
        ))
        .await?;
    let mut computed = Computed::new();
    for row in rows {
        let column = (text(&row, 1), text(&row, 2));
        computed.entry(text(&row, 0)).or_default().push(column);
    }
    Ok(computed)
}
