//! What a comparison asks the source: digests of parts, and the keys in parts.

use std::collections::HashMap;

use common::digest::{Digest, Hex, Level, Part, canonical_key, key_hash};
use common::frame::End;
use common::kind::Kind;
use common::stamp::Stamp;
use serde_json::value::RawValue;

use crate::answer::{Next, Rows};
use crate::batch::Layout;
use crate::client::{Columns, Compared, KeyValues, in_parts};
use crate::error::PullError;
use crate::pull::Order;

/// The source's side of the comparison of one table.
pub(crate) struct Source<'a, 'b> {
    pub(crate) order: &'a Order<'b>,
    pub(crate) level: Level,
    /// Rows stamped below this time count, and those without a stamp.
    pub(crate) due: Stamp,
}

/// Digests of the source, by the number of the part and the further bits of the hash.
pub(crate) type Cells = HashMap<(usize, u64), Digest>;

/// A range of keys and its digest.
pub(crate) struct Range {
    /// The last key in it; none where it ends with the last row.
    pub(crate) up_to: Option<KeyValues>,
    pub(crate) digest: Digest,
}

/// The digests of successive ranges of keys, as they arrive.
pub(crate) struct Ranges {
    pub(crate) answer: Rows,
    /// The range that ends with the last row has come.
    ended: bool,
    /// The end frame has come.
    whole: bool,
}

/// A row that the source has.
pub(crate) struct There {
    pub(crate) key: KeyValues,
    pub(crate) stamp: Option<Stamp>,
}

/// A row as the source lists it.
pub(crate) struct Listed {
    pub(crate) key: KeyValues,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) hash: u64,
}

impl Source<'_, '_> {
    /// Cuts the table into ranges of so many rows.
    pub(crate) async fn ranges(&self, rows: usize) -> Result<Ranges, PullError> {
        let mut form = self.form();
        form.push(("below", self.due.to_string()));
        form.push(("rows", rows.to_string()));
        Ok(Ranges {
            answer: self.ask(Compared::Digests, form).await?,
            ended: false,
            whole: false,
        })
    }

    /// The digests of parts, each split by `split` further bits.
    pub(crate) async fn digests(
        &self,
        parts: &[Part],
        split: u8,
    ) -> Result<(Rows, Cells), PullError> {
        let mut form = self.form();
        form.push(("below", self.due.to_string()));
        form.push(("parts", list(parts)));
        form.push(("split", split.to_string()));
        let mut answer = self.ask(Compared::Digests, form).await?;
        let mut cells = Cells::new();
        loop {
            let line = match answer.next().await? {
                Next::Row(line) => line,
                Next::End(end) => {
                    whole(&answer, end, cells.len())?;
                    return Ok((answer, cells));
                }
            };
            let (at, digest) =
                cell(&line, parts.len(), split).map_err(|why| answer.broken(&why))?;
            cells.insert(at, digest);
        }
    }

    /// The keys in parts, whatever their stamps.
    pub(crate) async fn keys(&self, parts: &[Part]) -> Result<Keys, PullError> {
        let mut form = self.form();
        form.push(("parts", list(parts)));
        Ok(Keys {
            answer: self.ask(Compared::Keys, form).await?,
            width: self.order.plan.key.len(),
            rows: 0,
        })
    }

    /// Whether a row of that stamp counts.
    pub(crate) fn is_due(&self, stamp: Option<Stamp>) -> bool {
        stamp < Some(self.due)
    }

    /// The rows that the source has at this moment for these keys, by what their keys are known by; also
    /// those whose keys its collation holds equal to one of these.
    pub(crate) async fn there(
        &self,
        keys: &[KeyValues],
    ) -> Result<HashMap<Vec<u8>, There>, PullError> {
        let (order, plan) = (self.order, &self.order.plan);
        let stamp = std::slice::from_ref(&plan.stamp.name);
        let mut found = HashMap::with_capacity(keys.len());
        for keys in in_parts(keys) {
            let mut rows = order.matching(&Columns::Only(stamp), keys).await?;
            let layout = Layout::of_position(plan, &rows.header.columns)?;
            let mut count = 0;
            let end = loop {
                match rows.next().await? {
                    Next::Row(line) => {
                        count += 1;
                        let (key, stamp) = layout.position(plan, &line)?;
                        found.insert(self.canonical(&key), There { key, stamp });
                    }
                    Next::End(end) => break end,
                }
            };
            whole(&rows, end, count)?;
        }
        Ok(found)
    }

    /// What a key is known by, whichever server wrote it.
    pub(crate) fn canonical(&self, key: &KeyValues) -> Vec<u8> {
        canonical_key(self.with_kinds(key))
    }

    /// The hash that a key's row has for its key.
    pub(crate) fn key_hash(&self, key: &KeyValues) -> u64 {
        key_hash(self.with_kinds(key))
    }

    fn with_kinds<'k>(&'k self, key: &'k KeyValues) -> impl Iterator<Item = (Kind, &'k str)> {
        let columns = self.order.plan.key.iter();
        let kinds = columns.map(|planned| planned.source.kind);
        kinds.zip(key.iter().map(String::as_str))
    }

    fn form(&self) -> Vec<(&'static str, String)> {
        let mut form = vec![("level", self.level.to_string())];
        if let Some(stamp) = &self.order.plan.asked_stamp {
            form.push(("stamp", stamp.as_str().to_owned()));
        }
        form
    }

    async fn ask(&self, what: Compared, form: Vec<(&str, String)>) -> Result<Rows, PullError> {
        let (order, plan) = (self.order, &self.order.plan);
        let columns = Columns::Without(&plan.excluded);
        let answer = order
            .client
            .compared(order.database, &plan.table, what, form, &columns)
            .await?;
        order.trust(&answer.header)?;
        Ok(answer)
    }
}

impl Ranges {
    /// The next range; none behind the one that ends with the last row.
    ///
    /// # Errors
    /// R10: when the answer ends before that.
    pub(crate) async fn next(&mut self) -> Result<Option<Range>, PullError> {
        if self.whole {
            return Ok(None);
        }
        let line = match self.answer.next().await? {
            Next::Row(line) if !self.ended => line,
            Next::End(_) if self.ended => {
                self.whole = true;
                return Ok(None);
            }
            _ => return Err(self.answer.broken("it did not end with the last row")),
        };
        let range = range(&line).map_err(|why| self.answer.broken(&why))?;
        self.ended = range.up_to.is_none();
        Ok(Some(range))
    }
}

/// Keys of the source, as they arrive.
pub(crate) struct Keys {
    answer: Rows,
    width: usize,
    rows: usize,
}

impl Keys {
    /// The next row; none when the answer is whole (R10).
    pub(crate) async fn next(&mut self) -> Result<Option<Listed>, PullError> {
        let line = match self.answer.next().await? {
            Next::Row(line) => line,
            Next::End(end) => {
                whole(&self.answer, end, self.rows)?;
                return Ok(None);
            }
        };
        self.rows += 1;
        let listed = listed(&line, self.width).map_err(|why| self.answer.broken(&why))?;
        Ok(Some(listed))
    }
}

/// The digest in a line, and the cell that it is of: one of those that were asked for.
pub(super) fn cell(line: &[u8], parts: usize, split: u8) -> Result<((usize, u64), Digest), String> {
    let (part, value, rows, Hex(sum)): (usize, u64, u64, Hex) =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if part >= parts || value >= 1 << split {
        return Err("a digest of a part that was not asked for".to_owned());
    }
    Ok(((part, value), Digest { rows, sum }))
}

/// The range of keys in a line.
pub(super) fn range(line: &[u8]) -> Result<Range, String> {
    let (up_to, rows, Hex(sum)): (Option<Vec<&RawValue>>, u64, Hex) =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok(Range {
        up_to: up_to.map(|key| key.iter().map(|value| value.get().to_owned()).collect()),
        digest: Digest { rows, sum },
    })
}

/// The row in a line, with a key of so many values.
pub(super) fn listed(line: &[u8], width: usize) -> Result<Listed, String> {
    let values: Vec<&RawValue> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let (key, rest) = values.split_at(width.min(values.len()));
    let [stamp, hash] = rest else {
        return Err("a key of another width than the table's".to_owned());
    };
    let stamp = serde_json::from_str(stamp.get());
    let hash = serde_json::from_str(hash.get());
    let (Ok(stamp), Ok(Hex(hash))) = (stamp, hash) else {
        return Err("a stamp or a hash that is none".to_owned());
    };
    Ok(Listed {
        key: key.iter().map(|value| value.get().to_owned()).collect(),
        stamp,
        hash,
    })
}

/// R10: an end frame names the number of rows that were sent.
fn whole(answer: &Rows, end: End, rows: usize) -> Result<(), PullError> {
    match end.rows == rows as u64 {
        true => Ok(()),
        false => Err(answer.broken(&format!("{rows} rows arrived of {}", end.rows))),
    }
}

fn list(parts: &[Part]) -> String {
    // Serialising to memory cannot fail.
    serde_json::to_string(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r9_a_digest_is_of_a_part_that_was_asked_for() {
        for (line, expected) in [
            ("[0,0,3,\"000000000000000a\"]", true),
            ("[1,3,3,\"000000000000000a\"]", true),
            ("[2,0,3,\"000000000000000a\"]", false),
            ("[0,4,3,\"000000000000000a\"]", false),
            ("[-1,0,3,\"000000000000000a\"]", false),
            ("[0,0,3]", false),
        ] {
            assert_eq!(cell(line.as_bytes(), 2, 2).is_ok(), expected, "{line}");
        }
    }
}
