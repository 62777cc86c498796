//! How a table's rows are written: which columns, and by which key; pure.

use common::ident::Ident;
use common::table::{Column, Key, Table};

use crate::client::ListedTable;
use crate::fit::{fit, folds, same_text};

/// What a pull of one table needs to know.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) table: Ident,
    /// The stamp column, as the destination has it.
    pub(crate) stamp: Column,
    /// Whether the destination has an index on it.
    pub(crate) stamp_indexed: bool,
    /// The stamp column to ask for, where it is not the one that the server would choose.
    pub(crate) asked_stamp: Option<Ident>,
    /// Fractional digits of the source's stamps.
    pub(crate) precision: u8,
    /// The key columns as the source has them, in the key's order.
    pub(crate) key: Vec<Planned>,
    /// The destination's key of these columns, which may have them in another order.
    pub(crate) destination_key: Key,
    /// Its index, where a statement may name that.
    pub(crate) destination_index: Option<Ident>,
    /// The columns that are written.
    pub(crate) columns: Vec<Planned>,
    /// The source's columns that are not asked for.
    pub(crate) excluded: Vec<Ident>,
    /// The destination's unique keys but the one that identifies a row.
    pub(crate) unique_keys: Vec<Key>,
    /// Columns that only the destination has, and that are not computed.
    pub(crate) extra: Vec<Column>,
    /// Generated columns of the destination that a unique key needs; read, never written.
    pub(crate) generated: Vec<Planned>,
}

/// A column of the source and the one of the destination that takes its values.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) source: Column,
    pub(crate) destination: Column,
    /// The destination holds at most so many characters, fewer than the source: checked here, since
    /// MySQL cuts trailing spaces without an error.
    pub(crate) limit: Option<u64>,
}

/// What the user chose for a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) stamp: Option<Ident>,
    pub(crate) exclude: Vec<Ident>,
}

/// Works out how to write a table; or says why it cannot be, and what to do.
pub(crate) fn plan(
    listed: &ListedTable,
    destination: &Table,
    choice: &Choice,
) -> Result<Plan, String> {
    let source_key = listed
        .key
        .as_ref()
        .ok_or("the source names no key for it")?;
    let stamp_name = choice
        .stamp
        .as_ref()
        .or(listed.stamp.as_ref().map(|stamp| &stamp.column))
        .ok_or("the source names no stamp column for it")?;
    let find = |name: &Ident| {
        listed
            .columns
            .iter()
            .find(|column| common::table::same_name(column.name.as_str(), name.as_str()))
    };
    let stamp_source =
        find(stamp_name).ok_or_else(|| format!("the source has no column {stamp_name}"))?;
    for name in &choice.exclude {
        if *name == stamp_source.name || source_key.columns.contains(name) {
            return Err(format!(
                "column {name} cannot be left out, since rows are found by it; take it off \
                 --exclude-columns"
            ));
        }
    }
    if !destination.transactional {
        return Err(format!(
            "the destination's table has the engine {}, without transactions, and could not be \
             trusted after a crash; ALTER TABLE {} ENGINE=InnoDB",
            destination.engine, destination.name
        ));
    }
    let key = matching_key(source_key, destination)?;

    let mut columns = Vec::new();
    let mut generated = Vec::new();
    let mut excluded = Vec::new();
    let mut missing = Vec::new();
    for column in &listed.columns {
        let target = destination.column(column.name.as_str());
        let needed = target.is_some_and(|target| {
            target.generated
                && destination
                    .unique_keys
                    .iter()
                    .any(|unique| unique.columns.contains(&target.name))
        });
        if choice.exclude.contains(&column.name) || (column.generated && !needed) {
            excluded.push(column.name.clone());
            continue;
        }
        let Some(target) = target else {
            missing.push(column.name.to_string());
            continue;
        };
        if target.generated && !column.generated {
            return Err(format!(
                "column {} is generated at the destination and not at the source; make both alike, \
                 or leave it out with --exclude-columns",
                column.name
            ));
        }
        let planned = Planned {
            limit: fit(column, target)?,
            source: column.clone(),
            destination: target.clone(),
        };
        if target.generated {
            generated.push(planned);
        } else {
            columns.push(planned);
        }
    }
    if !missing.is_empty() {
        return Err(format!(
            "the destination lacks the columns {}; add them (ALTER TABLE … ADD COLUMN), or leave \
             them out with --exclude-columns",
            missing.join(", ")
        ));
    }
    let planned = |name: &Ident| {
        columns
            .iter()
            .find(|planned: &&Planned| {
                common::table::same_name(planned.source.name.as_str(), name.as_str())
            })
            .cloned()
            .ok_or_else(|| format!("column {name} is not among those that are written"))
    };
    let key_columns = source_key
        .columns
        .iter()
        .map(planned)
        .collect::<Result<Vec<_>, _>>()?;
    for column in &key_columns {
        folds(&column.source, &column.destination)?;
        same_text(&column.source, &column.destination)?;
    }
    let extra: Vec<Column> = destination
        .columns
        .iter()
        .filter(|target| {
            !columns
                .iter()
                .any(|column| column.destination.name == target.name)
        })
        .filter(|target| !target.generated)
        .cloned()
        .collect();
    if let Some(column) = extra.iter().find(|column| !column.has_default) {
        return Err(format!(
            "column {} exists only at the destination and has no default; give it one (ALTER TABLE \
             … ALTER COLUMN … SET DEFAULT …), or make it nullable",
            column.name
        ));
    }
    let stamp = planned(&stamp_source.name)?.destination;
    Ok(Plan {
        table: destination.name.clone(),
        stamp_indexed: destination.index_on(&stamp.name).is_some(),
        stamp,
        asked_stamp: choice.stamp.clone(),
        precision: stamp_source.scale,
        key: key_columns,
        destination_key: key.clone(),
        destination_index: destination.index_of(key).cloned(),
        columns,
        excluded,
        unique_keys: destination
            .key
            .iter()
            .chain(&destination.unique_keys)
            .filter(|other| *other != key)
            .cloned()
            .collect(),
        extra,
        generated,
    })
}

impl Plan {
    /// Of how many characters of a key column only the beginning counts.
    pub(crate) fn prefix(&self, column: &Ident) -> Option<u32> {
        let key = &self.destination_key;
        let at = key.columns.iter().position(|name| name == column)?;
        key.prefixes.get(at).copied().flatten()
    }
}

/// The destination's key of the same columns as the source's.
fn matching_key<'a>(source: &Key, destination: &'a Table) -> Result<&'a Key, String> {
    let same = |key: &&Key| {
        let mut ours: Vec<String> = lower(key);
        let mut theirs = lower(source);
        ours.sort();
        theirs.sort();
        ours == theirs
            && key.columns.iter().all(|name| {
                destination
                    .column(name.as_str())
                    .is_some_and(|column| !column.nullable)
            })
            && key
                .prefixes
                .iter()
                .flatten()
                .eq(source.prefixes.iter().flatten())
    };
    destination
        .key
        .iter()
        .chain(&destination.unique_keys)
        .find(same)
        .ok_or_else(|| {
            let names: Vec<String> = source.columns.iter().map(Ident::to_string).collect();
            format!(
                "the destination has no primary key, and no unique key of NOT NULL columns, over ({}), \
                 which identifies a row at the source; ALTER TABLE {} ADD PRIMARY KEY ({})",
                names.join(", "),
                destination.name,
                names.join(", ")
            )
        })
}

fn lower(key: &Key) -> Vec<String> {
    key.columns
        .iter()
        .map(|name| name.as_str().to_lowercase())
        .collect()
}
