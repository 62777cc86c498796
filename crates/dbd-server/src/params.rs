//! The parameters of a request for rows.

use std::time::Duration;

use common::frame::SourceState;
use common::stamp::Stamp;
use common::table::Column;
use serde_json::value::RawValue;

use crate::choice::{Choice, once};
use crate::cursor::Cursor;
use crate::error::ApiError;
use crate::reading::{Match, Rows, one_of};
use crate::unknown::unknown;

/// The names, for whoever misspells one.
const KNOWN: [&str; 11] = [
    "since",
    "after",
    "cursor",
    "include_columns",
    "exclude_columns",
    "limit",
    "stamp",
    "wait",
    "begun",
    "keys",
    "match",
];

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
    /// Instead of both.
    pub(crate) cursor: Option<Cursor>,
    keys: Option<String>,
    matching: Match,
    /// The columns to read.
    pub(crate) choice: Choice,
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
            once(pairs, at)?;
            let time = || Stamp::parse(value).map_err(|error| wrong(error.to_string()));
            match name.as_str() {
                "since" => params.since = Some(time()?),
                "begun" => params.begun = Some(time()?),
                "after" => params.after = Some(value.clone()),
                "cursor" => params.cursor = Some(Cursor::decode(value)?),
                "keys" => params.keys = Some(value.clone()),
                "match" => {
                    params.matching = match value.as_str() {
                        "bytes" => Match::Bytes,
                        "collation" => Match::Collation,
                        _ => return Err(wrong("give bytes or collation".to_owned())),
                    };
                }
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
                _ if params.choice.take(name, value) => {}
                name => return Err(unknown(name, &KNOWN)),
            }
        }
        if let Some(cursor) = &params.cursor {
            let begins = |(name, _): &(String, String)| {
                matches!(name.as_str(), "since" | "after" | "keys" | "match")
            };
            if pairs.iter().any(begins) {
                return Err(ApiError::BadRequest(
                    "cursor: it says where to go on; leave out since, after, keys and match"
                        .to_owned(),
                ));
            }
            // The stamp column that would be chosen may be another by now.
            if !pairs.iter().any(|(name, _)| name == "stamp") {
                params.choice.take("stamp", cursor.stamp.as_str());
            }
        }
        if params.after.is_some() && params.since.is_none() {
            return Err(ApiError::BadRequest(
                "after: it needs since, the stamp that the key's row has".to_owned(),
            ));
        }
        if params.matching == Match::Collation && params.keys.is_none() {
            return Err(ApiError::BadRequest(
                "match: it says how keys are compared, and needs keys".to_owned(),
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

    /// The rows to read, up to the horizon.
    pub(crate) fn rows(&self, key: &[&Column], source: &SourceState) -> Result<Rows, ApiError> {
        let horizon = source.horizon;
        if let Some(cursor) = &self.cursor {
            let after = after(key, cursor.key.get());
            let after = after.map_err(|_| ApiError::BadCursor("the table's key is another now"))?;
            return Ok(Rows::Window {
                since: cursor.at,
                after: Some(after),
                reached: cursor.reached(&source.identity),
                horizon,
            });
        }
        let Some(keys) = &self.keys else {
            let after = self.after.as_deref().map(|text| after(key, text));
            return Ok(Rows::Window {
                since: self.since,
                after: after.transpose()?,
                reached: None,
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
            count("keys", key, values.len())?;
        }
        let condition = one_of(key, &keys, self.matching)
            .map_err(|error| ApiError::BadRequest(format!("keys: {error}")))?;
        Ok(Rows::Keys(condition))
    }
}

fn after(key: &[&Column], text: &str) -> Result<Vec<String>, ApiError> {
    let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| {
        ApiError::BadRequest(
            "after: give a key as a JSON array of its values, such as [42]".to_owned(),
        )
    })?;
    count("after", key, values.len())?;
    key.iter()
        .zip(values)
        .map(|(column, wire)| column.kind.order_literal(wire.get()))
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::BadRequest(format!("after: {error}")))
}

/// Whether a key has as many values as it must.
pub(crate) fn count(name: &str, key: &[&Column], values: usize) -> Result<(), ApiError> {
    if values == key.len() {
        return Ok(());
    }
    let names: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
    Err(ApiError::BadRequest(format!(
        "{name}: a key has {} values here: {}",
        key.len(),
        names.join(", ")
    )))
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
            (&[("stamp", "a"), ("stamp", "a")], "stamp: give it once"),
            (&[("wait", "601")], "wait: give seconds, 0 to 600"),
            (&[("wait", "NaN")], "wait: give seconds"),
            (&[("after", "[1]")], "after: it needs since"),
            (&[("match", "collation")], "match: it says how keys"),
            (
                &[("keys", "[]"), ("match", "case")],
                "give bytes or collation",
            ),
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
    fn a_request_waits_as_long_as_it_says() {
        let params = parse(&[("wait", "0.5"), ("include_columns", "a"), ("stamp", "s")]).unwrap();
        assert_eq!(params.patience(), Duration::from_millis(500));
        assert_eq!(parse(&[]).unwrap().patience(), WAIT);
        let by_key = parse(&[("wait", "0.5"), ("keys", "[]")]).unwrap();
        assert_eq!(by_key.patience(), Duration::ZERO);
    }
}
