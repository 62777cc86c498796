//! What a comparison found, in bounded memory; pure.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use common::ident::Ident;

use crate::client::KeyValues;
use crate::reconcile::key;

/// The text of the keys that one list holds at most, in bytes.
const MAX_BYTES: usize = 12 << 20;

/// The text is held in blocks of so many bytes, so that it is never copied to grow.
const BLOCK: usize = 1 << 20;

/// How many differences of a table are printed.
const MAX_PRINTED: usize = 1_000;

/// Keys, in the compact form of their JSON.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// A line for each key.
    blocks: Vec<String>,
    kept: u64,
    /// How many there are, also of those that were not kept.
    pub(crate) found: u64,
    only: Option<Only>,
}

/// Keys by their hashes, so that a second look needs no copy of the first.
#[derive(Debug, Default)]
struct Only {
    hashes: HashSet<u64>,
    state: RandomState,
}

impl Keys {
    /// Adds a key; it is only counted when the list is full.
    pub(crate) fn push(&mut self, key: &str) {
        if let Some(only) = &self.only
            && !only.hashes.contains(&only.state.hash_one(key))
        {
            return;
        }
        self.found += 1;
        if self.blocks.len() * BLOCK >= MAX_BYTES {
            return;
        }
        match self.blocks.last_mut() {
            Some(block) if block.len() + key.len() < BLOCK => block.push_str(key),
            _ => {
                let mut block = String::with_capacity(BLOCK.max(key.len() + 1));
                block.push_str(key);
                self.blocks.push(block);
            }
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push('\n');
        }
        self.kept += 1;
    }

    /// Whether every key that was found is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.found == self.kept
    }

    /// An empty list that takes only the keys of this one.
    fn again(&self) -> Self {
        let mut only = Only::default();
        for key in self.texts() {
            only.hashes.insert(only.state.hash_one(key));
        }
        Self {
            only: Some(only),
            ..Self::default()
        }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        // JSON has no line feed of its own.
        self.blocks.iter().flat_map(|block| block.lines())
    }

    /// The keys, in groups of at most `size`.
    pub(crate) fn groups(&self, size: usize) -> impl Iterator<Item = Vec<KeyValues>> {
        let mut texts = self.texts();
        std::iter::from_fn(move || {
            let group: Vec<KeyValues> = texts.by_ref().take(size).map(key::values).collect();
            (!group.is_empty()).then_some(group)
        })
    }
}

/// What differs between the destination and what is due of the source.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Keys that only the destination has.
    pub(crate) only_destination: Keys,
    /// Keys that only the source has.
    pub(crate) only_source: Keys,
    /// Keys of rows that differ.
    pub(crate) differing: Keys,
    /// How many rows of the destination were compared.
    pub(crate) rows: u64,
}

impl Findings {
    fn lists(&self) -> [(&Keys, &'static str); 3] {
        [
            (&self.only_destination, "only at the destination"),
            (&self.only_source, "only at the source"),
            (&self.differing, "differs"),
        ]
    }

    /// Findings that take only what was found here, for a second look. Where there was too much to be
    /// kept, they take everything.
    pub(crate) fn again(&self) -> Self {
        if !self.is_whole() {
            return Self::default();
        }
        Self {
            only_destination: self.only_destination.again(),
            only_source: self.only_source.again(),
            differing: self.differing.again(),
            rows: 0,
        }
    }

    /// How many rows differ in any way.
    pub(crate) fn count(&self) -> u64 {
        self.lists().iter().map(|(keys, _)| keys.found).sum()
    }

    /// Whether every difference is here, and not only counted.
    pub(crate) fn is_whole(&self) -> bool {
        self.lists().iter().all(|(keys, _)| keys.is_whole())
    }

    /// A line for each difference: table, key and what differs, with tabs between.
    pub(crate) fn lines(&self, table: &Ident) -> Vec<String> {
        let lists = self.lists();
        let all = lists
            .iter()
            .flat_map(|(keys, what)| keys.texts().map(move |key| (key, *what)));
        let mut lines: Vec<String> = all
            .take(MAX_PRINTED)
            .map(|(key, what)| format!("{}\t{key}\t{what}", table.as_str()))
            .collect();
        let left = self.count() - lines.len() as u64;
        if left > 0 {
            lines.push(format!("{}\t…\tand {left} more", table.as_str()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> KeyValues {
        vec![number.to_string(), format!("\"a,{number}]\"")]
    }

    fn text(number: usize) -> key::KeyText {
        key::text(&key(number))
    }

    #[test]
    fn keys_come_back_in_groups() {
        let mut keys = Keys::default();
        for number in 0..25 {
            keys.push(&text(number));
        }
        let groups: Vec<Vec<KeyValues>> = keys.groups(10).collect();
        let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        assert_eq!(groups.concat(), (0..25).map(key).collect::<Vec<_>>());
        assert!(keys.is_whole());
    }

    #[test]
    fn a_full_list_counts_on() {
        let mut keys = Keys::default();
        let long = format!("[\"{}\"]", "x".repeat(BLOCK / 2));
        let most = MAX_BYTES / BLOCK;
        for _ in 0..most + 3 {
            keys.push(&long);
        }
        assert_eq!((keys.found, keys.is_whole()), (most as u64 + 3, false));
        assert_eq!(keys.groups(10).flatten().count(), most);
    }

    #[test]
    fn what_one_look_alone_found_does_not_count() {
        let mut first = Findings::default();
        for number in [1, 2, 3] {
            first.only_source.push(&text(number));
        }
        let mut second = first.again();
        for number in [4, 2] {
            second.only_source.push(&text(number));
        }
        second.differing.push(&text(3));
        assert_eq!(second.only_source.groups(9).next(), Some(vec![key(2)]));
        assert_eq!(second.count(), 1);
    }

    #[test]
    fn what_is_printed_is_bounded() {
        let mut findings = Findings::default();
        for number in 0..MAX_PRINTED + 5 {
            findings.only_source.push(&text(number));
        }
        findings.only_destination.push(&text(7));
        let lines = findings.lines(&Ident::parse("t").unwrap());
        assert_eq!(lines.len(), MAX_PRINTED + 1);
        assert_eq!(lines[0], "t\t[7,\"a,7]\"]\tonly at the destination");
        assert_eq!(lines[MAX_PRINTED], "t\t…\tand 6 more");
    }
}
