//! Answers that a caller has already (`ETag`, `If-None-Match`).
//!
//! A tag names what was asked of which table, by whose horizon, and that horizon. R1: no row stamped below it can appear any more,
//! so whatever has changed since is stamped at or above it; where no such row is there, the answer is what it was. What a window of
//! the table cannot see (`blind_spots`, and rows that are deleted) this cannot see either: a table that is known to have blind
//! spots has no tags.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use common::frame::{Basis, SourceState};
use common::stamp::Stamp;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::accept::Format;
use crate::asked::{Service, same_server};
use crate::catalog;
use crate::cursor::run;
use crate::reading::{Reading, Rows};

/// How long a look at the table may take, which somebody may have locked.
const LOOK: Duration = Duration::from_millis(500);

/// What was asked, as a tag has it.
pub(crate) struct Question {
    hash: u64,
    identity: String,
    precision: u8,
}

impl Question {
    /// What is asked of a source; none where nothing tells cheaply and surely whether its answer has changed.
    pub(crate) fn of(reading: &Reading, format: Format, source: &SourceState) -> Option<Self> {
        let Rows::Window { since, after, .. } = &reading.rows else {
            return None;
        };
        reading.index()?;
        if source.basis != Basis::Proven || !catalog::sees_all(&reading.table, &reading.stamp) {
            return None;
        }
        // An overlap (R1) is known to the run of this program that found it.
        let text = json!([
            run(&source.identity),
            reading.database,
            reading.table,
            reading.stamp,
            reading.columns,
            since,
            after,
            reading.limit,
            format.content_type(),
        ]);
        Some(Self {
            hash: xxh3_64(text.to_string().as_bytes()),
            identity: source.identity.clone(),
            precision: reading.stamp.scale,
        })
    }

    /// The tag of an answer up to that horizon; none where rows may yet come below it, or it is of another server.
    pub(crate) fn tag(&self, source: &SourceState) -> Option<HeaderValue> {
        let same = source.identity == self.identity && source.basis == Basis::Proven;
        let horizon = source.horizon.floor(self.precision);
        same.then(|| self.tag_of(horizon)).flatten()
    }

    fn tag_of(&self, horizon: Stamp) -> Option<HeaderValue> {
        let tag = format!("W/\"{:016x}-{:x}\"", self.hash, horizon.micros());
        HeaderValue::try_from(tag).ok()
    }

    /// The tag of the answer that the caller has, if it would be given again now.
    pub(crate) async fn unchanged(
        &self,
        service: &Service,
        headers: &HeaderMap,
        reading: &Reading,
        source: &SourceState,
    ) -> Option<HeaderValue> {
        // A horizon that lies above what is known now is of nobody's answer.
        let had = self.horizons(headers);
        let had = had.into_iter().filter(|had| *had <= source.horizon).max()?;
        let lookup = reading.lookup(had.floor(self.precision), None, false)?;
        // The horizon was known before this opens its view (R2).
        let look = async {
            let mut lease = same_server(service, source).await.ok()?;
            lease.query(&lookup).await.ok()
        };
        // Whatever keeps it, the answer itself shows it.
        let found = tokio::time::timeout(LOOK, look).await.ok()??;
        if !found.is_empty() || service.horizon.is_given_out_twice(had) {
            return None;
        }
        self.tag_of(had)
    }

    /// The horizons of the answers to this question that the caller has.
    fn horizons(&self, headers: &HeaderMap) -> Vec<Stamp> {
        let lists = headers.get_all(header::IF_NONE_MATCH).iter();
        let tags = lists.filter_map(|list| list.to_str().ok());
        let tags = tags.flat_map(|list| list.split(',')).map(str::trim);
        let prefix = format!("{:016x}-", self.hash);
        tags.filter_map(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            let horizon = tag.strip_prefix('"')?.strip_suffix('"')?;
            let micros = horizon.strip_prefix(&prefix)?;
            u64::from_str_radix(micros, 16).ok()
        })
        .map(Stamp::from_micros)
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_of_the_question_are_found_among_others() {
        let question = Question {
            hash: 0xab,
            identity: "mysql-1".to_owned(),
            precision: 0,
        };
        for (lists, horizons) in [
            (&["W/\"00000000000000ab-1f\""][..], &[31][..]),
            (&["\"00000000000000ab-1f\""], &[31]),
            (&["W/\"00000000000000ac-1f\""], &[]),
            (
                &["\"a,b\", W/\"00000000000000ab-1\",W/\"00000000000000ab-2\""],
                &[1, 2],
            ),
            (&["*", "W/\"x\"", "W/\"00000000000000ab-3\""], &[3]),
            (
                &[
                    "W/\"00000000000000ab-\"",
                    "W/\"00000000000000ab--1\"",
                    "W/\"00000000000000ab-g",
                ],
                &[],
            ),
            (&["W/\"00000000000000ab-fffffffffffffffff\""], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for list in lists {
                headers.append(header::IF_NONE_MATCH, list.parse().unwrap());
            }
            let found = question.horizons(&headers);
            let found: Vec<u64> = found.into_iter().map(Stamp::micros).collect();
            assert_eq!(found, horizons, "{lists:?}");
        }
    }
}
