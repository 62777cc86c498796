//! A parameter that a path does not take.

use crate::error::ApiError;

/// So many characters of a name are repeated to whoever sent it.
const SHOWN: usize = 40;

/// The answer to a parameter that is none of those `known`, with the one that may have been meant.
pub(crate) fn unknown(name: &str, known: &[&str]) -> ApiError {
    let shown: String = name.chars().take(SHOWN).collect();
    let there_are = match known {
        [] => "this path takes none".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    let meant = known
        .iter()
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min_by_key(|(distance, _)| *distance)
        .map_or(String::new(), |(_, known)| {
            format!("; did you mean {known}?")
        });
    ApiError::UnknownParameter(format!("there is no parameter {shown}; {there_are}{meant}"))
}

/// How many characters one name has to be changed by, at least, to be the other.
fn distance(a: &str, b: &str) -> usize {
    // Whoever sends a long name means none of these.
    if a.len() > 2 * SHOWN {
        return usize::MAX / 3;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, a) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = at + 1;
        for (next, b) in b.iter().enumerate() {
            let replaced = corner + usize::from(a != *b);
            corner = row[next + 1];
            row[next + 1] = replaced.min(corner + 1).min(row[next] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_where_one_is_near() {
        let known = ["since", "after", "include_columns", "exclude_columns"];
        let long = "x".repeat(100_000);
        for (name, meant) in [
            ("sinse", Some("since")),
            ("Since", Some("since")),
            ("include-columns", Some("include_columns")),
            ("", None),
            ("q", None),
            (&long, None),
        ] {
            let error = unknown(name, &known).to_string();
            let offered = error.split_once("did you mean ").map(|(_, rest)| rest);
            let meant = meant.map(|meant| format!("{meant}?"));
            assert_eq!(offered, meant.as_deref(), "{name:.60}: {error}");
            assert!(error.contains("there are since, after"), "{error}");
            assert!(error.len() < 200, "{error}");
        }
        assert!(unknown("x", &[]).to_string().contains("takes none"));
    }
}
