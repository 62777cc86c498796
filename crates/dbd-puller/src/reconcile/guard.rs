//! How many rows may be deleted; pure.

use std::str::FromStr;

use common::ident::Ident;

use crate::error::PullError;

/// Unless `--max-deletes` is given: so many rows may always go, and of larger tables one half.
const ALWAYS: u64 = 10_000;

/// `--max-deletes`: how many rows of one table may be deleted in one pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDeletes {
    /// So many.
    Rows(u64),
    /// So many of a hundred.
    Percent(f64),
}

impl FromStr for MaxDeletes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent
                .trim()
                .parse()
                .ok()
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(Self::Percent),
            None => text.parse().ok().map(Self::Rows),
        };
        parsed.ok_or_else(|| "a number of rows, or a share from 0% to 100%, is wanted".to_owned())
    }
}

/// How many of the `rows` of a table may be deleted.
pub(crate) fn limit(max: Option<MaxDeletes>, rows: u64) -> u64 {
    match max {
        None => ALWAYS.max(rows / 2),
        Some(MaxDeletes::Rows(most)) => most,
        Some(MaxDeletes::Percent(percent)) if percent >= 100.0 => rows,
        // Exact up to 2^53 rows.
        Some(MaxDeletes::Percent(percent)) => (rows as f64 * percent / 100.0) as u64,
    }
}

/// Refuses more deletes than are allowed.
pub(crate) fn check(
    table: &Ident,
    max: Option<MaxDeletes>,
    deletes: u64,
    rows: u64,
) -> Result<(), PullError> {
    let limit = limit(max, rows);
    if deletes <= limit {
        return Ok(());
    }
    let why = match max {
        None => format!("more than half of the table and more than {ALWAYS} rows"),
        Some(_) => format!("and --max-deletes allows {limit}"),
    };
    Err(PullError::Table {
        table: table.clone(),
        reason: format!(
            "{deletes} of its {rows} rows at the destination are gone at the source, {why}; they are \
             kept. See that the source is the right one and whole; if it is, allow it once with \
             --max-deletes {deletes} or --max-deletes 100%"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r9_more_than_half_and_more_than_ten_thousand_is_too_much() {
        for (max, rows, most) in [
            (None, 10_000, 10_000),
            (None, 15_000, 10_000),
            (None, 20_001, 10_000),
            (None, 30_000, 15_000),
            (Some("5"), 30_000, 5),
            (Some("0"), 30_000, 0),
            (Some("10%"), 30_000, 3_000),
            (Some("0.5%"), 1_000, 5),
            (Some("100%"), 30_000, 30_000),
        ] {
            let max: Option<MaxDeletes> = max.map(|text| text.parse().unwrap());
            assert_eq!(limit(max, rows), most, "{max:?} {rows}");
            let table = Ident::parse("t").unwrap();
            assert!(check(&table, max, most, rows).is_ok());
            let error = check(&table, max, most + 1, rows).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{} of its {rows}", most + 1)),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for text in ["", "-1", "half", "101%", "-1%", "NaN%", "1.5"] {
            assert!(text.parse::<MaxDeletes>().is_err(), "{text}");
        }
    }
}
