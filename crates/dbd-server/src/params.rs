//! The parameters of a request for rows.

use std::time::Duration;

use common::stamp::Stamp;
use common::table::{Column, Table, same_name};
use serde_json::value::RawValue;

use crate::catalog;
use crate::error::ApiError;
use crate::reading::{Rows, one_of};

/// The names, for whoever misspells one.
const KNOWN: &str =
    "since, after, include_columns, exclude_columns, limit, stamp, wait, begun, keys";

/// How long a request waits for the horizon, unless it says otherwise: someone who changes a row
/// and then asks for it sees it.
const WAIT: Duration = Duration::from_secs(2);

/// How long a request may wait.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// How many keys a request may name.
const MAX_KEYS: usize = 1000;

/// The parameters as they came.
#[derive(Debug, Default)]
pub(crate) struct Params {
    since: Option<Stamp>,
    after: Option<String>,
    include: Vec<String>,
    exclude: Vec<String>,
    stamp: Option<String>,
    keys: Option<String>,
    /// At most so many rows.
    pub(crate) limit: Option<u64>,
    /// R11: how long to wait at most.
    pub(crate) wait: Option<Duration>,
    /// R11: the time to wait for.
    pub(crate) begun: Option<Stamp>,
}

impl Params {
    /// Takes the pairs of a query.
    ///
    /// # Errors
    /// The first one that is wrong, and what would be right.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, ApiError> {
        let mut params = Self::default();
        for (at, (name, value)) in pairs.iter().enumerate() {
            let wrong = |why: String| ApiError::BadRequest(format!("{name}: {why}"));
            let time = || Stamp::parse(value).map_err(|error| wrong(error.to_string()));
            match name.as_str() {
                "include_columns" => params.include.extend(names(value)),
                "exclude_columns" => params.exclude.extend(names(value)),
                _ if pairs[..at].iter().any(|(before, _)| before == name) => {
                    return Err(wrong("give it once".to_owned()));
                }
                "since" => params.since = Some(time()?),
                "begun" => params.begun = Some(time()?),
                "after" => params.after = Some(value.clone()),
                "keys" => params.keys = Some(value.clone()),
                "stamp" => params.stamp = Some(value.clone()),
                "limit" => {
                    let limit = value.parse();
                    params.limit =
                        Some(limit.map_err(|_| wrong("give a number of rows".to_owned()))?);
                }
                "wait" => {
                    let wait = value.parse::<f64>().ok();
                    let wait = wait.and_then(|wait| Duration::try_from_secs_f64(wait).ok());
                    params.wait = Some(wait.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
                        wrong(format!("give seconds, 0 to {}", MAX_WAIT.as_secs()))
                    })?);
                }
                _ => {
                    return Err(ApiError::BadRequest(format!(
                        "there is no parameter {name}; there are {KNOWN}"
                    )));
                }
            }
        }
        if params.after.is_some() && params.since.is_none() {
            return Err(ApiError::BadRequest(
                "after: it needs since, the stamp that the key's row has".to_owned(),
            ));
        }
        if params.keys.is_some() && params.since.is_some() {
            return Err(ApiError::BadRequest(
                "keys: give either keys or a window (since, after)".to_owned(),
            ));
        }
        Ok(params)
    }

    /// How long to wait for the horizon; not at all when rows are asked for by key.
    pub(crate) fn patience(&self) -> Duration {
        match self.keys {
            Some(_) => Duration::ZERO,
            None => self.wait.unwrap_or(WAIT),
        }
    }

    /// The stamp column.
    pub(crate) fn stamp<'a>(
        &self,
        table: &'a Table,
        hidden: &[String],
    ) -> Result<&'a Column, ApiError> {
        let wanted = self.stamp.as_deref();
        if let Some(wanted) = wanted.filter(|wanted| table.column(wanted).is_none()) {
            return Err(no_column("stamp", table, wanted));
        }
        catalog::stamp(table, wanted, hidden).map_err(|why| unsupported(table, &why))
    }

    /// The columns to read: of the included, without the excluded, and always key and stamp.
    pub(crate) fn columns(
        &self,
        table: &Table,
        stamp: &Column,
        hidden: &[String],
    ) -> Result<Vec<Column>, ApiError> {
        let include = resolve("include_columns", table, &self.include)?;
        let exclude = resolve("exclude_columns", table, &self.exclude)?;
        let key = table.key_columns();
        let chosen = table.columns.iter().filter(|column| {
            let named = |list: &[&Column]| list.iter().any(|other| other.name == column.name);
            column.name == stamp.name
                || named(&key)
                || ((self.include.is_empty() || named(&include)) && !named(&exclude))
        });
        let chosen: Vec<Column> = chosen.cloned().collect();
        let unread = |column: &&Column| hidden.iter().any(|name| name == column.name.as_str());
        match chosen.iter().find(unread) {
            None => Ok(chosen),
            Some(column) => Err(ApiError::Unsupported(format!(
                "the server's account may not read column {0} of table {1}; grant it SELECT, or \
                 leave the column out with exclude_columns={0}",
                column.name.as_str(),
                table.name.as_str()
            ))),
        }
    }

    /// The rows to read, up to the horizon.
    pub(crate) fn rows(&self, key: &[&Column], horizon: Stamp) -> Result<Rows, ApiError> {
        let Some(keys) = &self.keys else {
            let after = self.after.as_deref().map(|text| after(key, text));
            return Ok(Rows::Window {
                since: self.since,
                after: after.transpose()?,
                horizon,
            });
        };
        let keys: Vec<Vec<&RawValue>> = serde_json::from_str(keys).map_err(|_| {
            ApiError::BadRequest(
                "keys: give a JSON array of keys, each an array of values, such as [[1],[2]]"
                    .to_owned(),
            )
        })?;
        if keys.len() > MAX_KEYS {
            return Err(ApiError::BadRequest(format!(
                "keys: give at most {MAX_KEYS}"
            )));
        }
        for values in &keys {
            count("keys", key, values)?;
        }
        let condition =
            one_of(key, &keys).map_err(|error| ApiError::BadRequest(format!("keys: {error}")))?;
        Ok(Rows::Keys(condition))
    }
}

/// The answer to a request for rows of a table that has no windows.
pub(crate) fn unsupported(table: &Table, why: &str) -> ApiError {
    ApiError::Unsupported(format!(
        "table {} cannot be served: {why}",
        table.name.as_str()
    ))
}

fn after(key: &[&Column], text: &str) -> Result<Vec<String>, ApiError> {
    let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| {
        ApiError::BadRequest(
            "after: give a key as a JSON array of its values, such as [42]".to_owned(),
        )
    })?;
    count("after", key, &values)?;
    key.iter()
        .zip(values)
        .map(|(column, wire)| column.kind.order_literal(wire.get()))
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::BadRequest(format!("after: {error}")))
}

fn count(name: &str, key: &[&Column], values: &[&RawValue]) -> Result<(), ApiError> {
    if values.len() == key.len() {
        return Ok(());
    }
    let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
    Err(ApiError::BadRequest(format!(
        "{name}: a key has {} values here: {}",
        key.len(),
        names.join(", ")
    )))
}

/// The names of a list; none of them is empty.
fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

fn resolve<'a>(
    parameter: &str,
    table: &'a Table,
    names: &[String],
) -> Result<Vec<&'a Column>, ApiError> {
    let find = |name: &String| {
        // The name as it stands goes before what it is when it was encoded twice.
        table
            .column(name)
            .or_else(|| {
                let decoded = decode(name);
                let mut columns = table.columns.iter();
                columns.find(|column| same_name(column.name.as_str(), &decoded))
            })
            .ok_or_else(|| no_column(parameter, table, name))
    };
    names.iter().map(find).collect()
}

fn no_column(parameter: &str, table: &Table, name: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "{parameter}: table {} has no column {name} that the server's account may read",
        table.name.as_str()
    ))
}

/// Takes the percent escapes out of a text; what is none stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escape = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        match (byte, tail) {
            (b'%', [a, b, tail @ ..]) if let Some(escaped) = escape(&[*a, *b]) => {
                bytes.push(escaped);
                rest = tail;
            }
            _ => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<Params, ApiError> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Params::parse(&query.iter().map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn a_wrong_parameter_is_explained() {
        for (query, part) in [
            (&[("sinse", "2014-09-01")][..], "there are since, after"),
            (
                &[("since", "yesterday")],
                "since: \"yesterday\" is not a time",
            ),
            (&[("limit", "-1")], "limit: give a number"),
            (&[("limit", "1"), ("limit", "2")], "limit: give it once"),
            (&[("wait", "601")], "wait: give seconds, 0 to 600"),
            (&[("wait", "NaN")], "wait: give seconds"),
            (&[("after", "[1]")], "after: it needs since"),
            (
                &[("keys", "[[1]]"), ("since", "2014-09-01")],
                "keys: give either",
            ),
        ] {
            let error = parse(query).unwrap_err().to_string();
            assert!(error.contains(part), "{query:?}: {error}");
        }
    }

    #[test]
    fn lists_of_columns_add_up() {
        let params = parse(&[
            ("include_columns", "a,b,"),
            ("include_columns", "c"),
            ("exclude_columns", ""),
            ("wait", "0.5"),
        ])
        .unwrap();
        assert_eq!(params.include, ["a", "b", "c"]);
        assert!(params.exclude.is_empty());
        assert_eq!(params.patience(), Duration::from_millis(500));
    }

    #[test]
    fn escapes_are_taken_out_and_what_is_none_stays() {
        for (text, decoded) in [
            ("a%2Cb", "a,b"),
            ("100%", "100%"),
            ("%zz%+1", "%zz%+1"),
            ("%C3%A9", "é"),
            ("%FF", "%FF"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }
}
