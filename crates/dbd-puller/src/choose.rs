//! Which tables are pulled, and with which columns; pure.

use common::ident::Ident;

use crate::args::Args;
use crate::client::{ListedTable, Listing};
use crate::error::PullError;
use crate::plan::Choice;

/// A table to pull, or the reason why it cannot be.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    pub(crate) name: Ident,
    pub(crate) choice: Choice,
    pub(crate) listed: Result<&'a ListedTable, String>,
}

impl<'a> Chosen<'a> {
    /// What the server says of it.
    ///
    /// # Errors
    /// Why it cannot be pulled.
    pub(crate) fn listed(&self) -> Result<&'a ListedTable, PullError> {
        match &self.listed {
            Ok(listed) => Ok(listed),
            Err(reason) => Err(PullError::Table {
                table: self.name.clone(),
                reason: reason.clone(),
            }),
        }
    }
}

/// The tables asked for, in the order asked for; or all that are listed.
pub(crate) fn choose<'a>(args: &Args, listing: &'a Listing) -> Result<Vec<Chosen<'a>>, PullError> {
    let mut chosen = Vec::new();
    if args.tables.is_empty() {
        for listed in &listing.tables {
            chosen.push((listed.name.clone(), None, Some(listed)));
        }
    }
    for text in &args.tables {
        let table = asked(text, listing)?;
        if chosen.iter().any(|(name, ..)| *name == table.0) {
            return Err(PullError::Usage(format!(
                "--tables names {} twice; a table is pulled by one stamp column",
                table.0
            )));
        }
        chosen.push(table);
    }
    chosen.retain(|(name, ..)| !args.exclude_tables.contains(name));
    unknown_columns(args, listing)?;
    Ok(chosen
        .into_iter()
        .map(|(name, stamp, listed)| {
            let exclude = listed.map_or_else(Vec::new, |listed| excluded(args, listed));
            let listed = match listed {
                None => Err(format!(
                    "the source does not list it; see that it is a table of {} and that the \
                     server's account may read it",
                    args.source_database
                )),
                // A stamp column of the user's choice may be one that the server would not choose.
                Some(listed) => match &listed.unsupported {
                    Some(reason) if stamp.is_none() => Err(reason.clone()),
                    _ => Ok(listed),
                },
            };
            Chosen {
                name,
                choice: Choice { stamp, exclude },
                listed,
            }
        })
        .collect())
}

/// Takes `table` or `table.stamp_column`. Both names may hold dots: a listed table of the whole
/// name comes first, then the longest one that is listed.
fn asked<'a>(
    text: &str,
    listing: &'a Listing,
) -> Result<(Ident, Option<Ident>, Option<&'a ListedTable>), PullError> {
    let find = |name: &str| {
        listing
            .tables
            .iter()
            .find(|listed| listed.name.as_str() == name)
    };
    let usage = |error| PullError::Usage(format!("--tables {text:?}: {error}"));
    if find(text).is_none() {
        for (at, _) in text.rmatch_indices('.') {
            if let Some(listed) = find(&text[..at]) {
                let stamp = Ident::parse(&text[at + 1..]).map_err(usage)?;
                return Ok((listed.name.clone(), Some(stamp), Some(listed)));
            }
        }
    }
    Ok((Ident::parse(text).map_err(usage)?, None, find(text)))
}

fn excluded(args: &Args, listed: &ListedTable) -> Vec<Ident> {
    let names = listed.columns.iter().map(|column| &column.name);
    names
        .filter(|name| {
            let full = format!("{}.{}", listed.name.as_str(), name.as_str());
            args.exclude_columns
                .iter()
                .any(|text| text == name.as_str() || *text == full)
        })
        .cloned()
        .collect()
}

/// A column that no table has was misspelt, and would be pulled after all.
fn unknown_columns(args: &Args, listing: &Listing) -> Result<(), PullError> {
    for text in &args.exclude_columns {
        let known = listing.tables.iter().any(|listed| {
            listed.columns.iter().any(|column| {
                let name = column.name.as_str();
                text == name || *text == format!("{}.{name}", listed.name.as_str())
            })
        });
        if !known {
            return Err(PullError::Usage(format!(
                "--exclude-columns {text:?}: no table has such a column"
            )));
        }
    }
    Ok(())
}
