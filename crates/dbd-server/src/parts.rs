//! The parameters of a request for digests or keys.

use common::digest::{Level, Part};
use common::stamp::Stamp;

use crate::choice::{Choice, once};
use crate::error::ApiError;
use crate::unknown::unknown;

/// How many parts a request may name.
const MAX_PARTS: usize = 10_000;

/// How many digests are held at once: 16 MB.
const MAX_DIGESTS: usize = 1 << 20;

/// How many rows a digest may be cut after.
const MAX_ROWS: u64 = 1_000_000;

/// How many further bits a part may be split by.
const MAX_SPLIT: u8 = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    Digests,
    Keys,
}

impl Asked {
    /// The names, for whoever misspells one.
    fn known(self) -> &'static [&'static str] {
        match self {
            Self::Digests => &[
                "level",
                "parts",
                "below",
                "rows",
                "split",
                "include_columns",
                "exclude_columns",
                "stamp",
            ],
            Self::Keys => &[
                "level",
                "parts",
                "include_columns",
                "exclude_columns",
                "stamp",
            ],
        }
    }
}

/// The parameters as they came.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) asked: Asked,
    pub(crate) level: Level,
    pub(crate) parts: Vec<Part>,
    pub(crate) below: Option<Stamp>,
    pub(crate) rows: Option<u64>,
    pub(crate) split: u8,
    pub(crate) choice: Choice,
}

impl Params {
    /// Takes the pairs of a query and of a form.
    ///
    /// # Errors
    /// The first one that is wrong, and what would be right.
    pub(crate) fn parse(asked: Asked, pairs: &[(String, String)]) -> Result<Self, ApiError> {
        let mut params = Self {
            asked,
            level: Level::Stamps,
            parts: vec![Part::default()],
            below: None,
            rows: None,
            split: 0,
            choice: Choice::default(),
        };
        let digests = asked == Asked::Digests;
        for (at, (name, value)) in pairs.iter().enumerate() {
            let wrong = |why: String| ApiError::BadRequest(format!("{name}: {why}"));
            let number = |least: u64, most: u64| {
                let number = value.parse().ok();
                let number = number.filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| wrong(format!("give a number, {least} to {most}")))
            };
            once(pairs, at)?;
            match name.as_str() {
                "level" => {
                    params.level = value.parse().map_err(|error| wrong(format!("{error}")))?;
                }
                "parts" => params.parts = parts(value)?,
                "below" if digests => {
                    let below = Stamp::parse(value);
                    params.below = Some(below.map_err(|error| wrong(error.to_string()))?);
                }
                "rows" if digests => params.rows = Some(number(1, MAX_ROWS)?),
                "split" if digests => {
                    params.split = number(0, MAX_SPLIT.into())? as u8;
                }
                _ if params.choice.take(name, value) => {}
                name => return Err(unknown(name, asked.known())),
            }
        }
        let one = matches!(params.parts.as_slice(), [part] if part.bits == 0);
        if params.rows.is_some() && (!one || params.split > 0) {
            return Err(ApiError::BadRequest(
                "rows: it cuts one part of no bits, without split".to_owned(),
            ));
        }
        if params.parts.len() << params.split > MAX_DIGESTS {
            return Err(ApiError::BadRequest(format!(
                "split: {} parts split by {} bits are more than {MAX_DIGESTS} digests; split by \
                 less, or ask for fewer parts at once",
                params.parts.len(),
                params.split
            )));
        }
        Ok(params)
    }
}

fn parts(value: &str) -> Result<Vec<Part>, ApiError> {
    let parts: Vec<Part> = serde_json::from_str(value).map_err(|error| {
        ApiError::BadRequest(format!(
            "parts: give a JSON array of parts, each [after, up_to, bits, value], such as \
             [[null,[42],0,0],[[42],null,0,0]]: {error}"
        ))
    })?;
    if parts.len() > MAX_PARTS {
        return Err(ApiError::BadRequest(format!(
            "parts: give at most {MAX_PARTS}"
        )));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(asked: Asked, query: &[(&str, &str)]) -> Result<Params, ApiError> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Params::parse(asked, &query.iter().map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn a_wrong_parameter_is_explained() {
        let many = format!("[{}]", vec!["[null,null,0,0]"; MAX_PARTS + 1].join(","));
        let enough = format!("[{}]", vec!["[null,null,0,0]"; 17].join(","));
        for (asked, query, part) in [
            (
                Asked::Digests,
                &[("since", "2014-09-01")][..],
                "there are level, parts, below",
            ),
            (
                Asked::Keys,
                &[("split", "1")],
                "there are level, parts, include_columns",
            ),
            (
                Asked::Keys,
                &[("level", "Full")],
                "level: give keys, stamps or full",
            ),
            (
                Asked::Keys,
                &[("parts", &many)],
                "parts: give at most 10000",
            ),
            (
                Asked::Keys,
                &[("parts", "[[1,null,0,0]]")],
                "parts: give a JSON array",
            ),
            (
                Asked::Keys,
                &[("parts", "[]"), ("parts", "[]")],
                "parts: give it once",
            ),
            (
                Asked::Digests,
                &[("rows", "1000001")],
                "rows: give a number, 1 to 1000000",
            ),
            (
                Asked::Digests,
                &[("rows", "1"), ("split", "1")],
                "rows: it cuts one part",
            ),
            (
                Asked::Digests,
                &[("rows", "1"), ("parts", "[]")],
                "rows: it cuts one part",
            ),
            (
                Asked::Digests,
                &[("split", "-1")],
                "split: give a number, 0 to 16",
            ),
            (
                Asked::Digests,
                &[("split", "16"), ("parts", &enough)],
                "17 parts split by 16 bits are more than 1048576 digests",
            ),
        ] {
            let error = parse(asked, query).unwrap_err().to_string();
            assert!(error.contains(part), "{query:.60?}: {error}");
        }
        let enough = enough.replacen("[null,null,0,0],", "", 1);
        assert!(parse(Asked::Digests, &[("split", "16"), ("parts", &enough)]).is_ok());
    }
}
