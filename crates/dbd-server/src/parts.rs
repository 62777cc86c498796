//! The parameters of a request for digests or keys, and what is read for it.

use std::collections::HashMap;

use common::digest::{Hasher, Level, Part, first_bits};
use common::ident::Ident;
use common::kind::Kind;
use common::scan::{Bound, Scan};
use common::stamp::Stamp;
use common::table::{Column, Table};
use serde_json::value::RawValue;

use crate::choice::{Choice, once, readable};
use crate::error::ApiError;
use crate::params::count;

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
    fn known(self) -> &'static str {
        match self {
            Self::Digests => {
                "level, parts, below, rows, split, include_columns, exclude_columns, stamp"
            }
            Self::Keys => "level, parts, include_columns, exclude_columns, stamp",
        }
    }
}

/// The parameters as they came.
#[derive(Debug)]
pub(crate) struct Params {
    asked: Asked,
    level: Level,
    parts: Vec<Part>,
    below: Option<Stamp>,
    rows: Option<u64>,
    split: u8,
    choice: Choice,
}

/// What is read of a table.
pub(crate) struct Comparison {
    pub(crate) stamp: Column,
    /// The columns that are hashed, first those of the key.
    pub(crate) columns: Vec<Column>,
    /// How many of them are the key.
    pub(crate) key: usize,
    pub(crate) scan: Scan,
    pub(crate) ranges: Vec<Range>,
    pub(crate) answer: Answer,
    /// Digests only: rows stamped before this.
    pub(crate) below: Option<Stamp>,
}

/// What is answered of the rows.
pub(crate) enum Answer {
    /// A digest of every so many rows of the one range.
    Cut {
        rows: u64,
        /// The end of the range, as the last digest has it.
        up_to: String,
    },
    /// Digests of so many parts, each split by so many bits.
    Split { parts: usize, split: u8 },
    /// The keys of the rows.
    Keys,
}

/// Some rows, in the order of their keys, and the parts that they may be in.
pub(crate) struct Range {
    pub(crate) after: Option<Bound>,
    pub(crate) up_to: Option<Bound>,
    /// The numbers of parts, by how many bits count and what these are.
    parts: HashMap<u8, HashMap<u64, Vec<usize>>>,
}

impl Range {
    /// The parts that a row is in, by the hash of its key: their numbers and how many bits count.
    pub(crate) fn parts_of(&self, key: u64) -> impl Iterator<Item = (usize, u8)> {
        self.parts.iter().flat_map(move |(bits, parts)| {
            let numbers = parts.get(&first_bits(key, *bits));
            let numbers = numbers.into_iter().flatten();
            numbers.map(|number| (*number, *bits))
        })
    }
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
                _ => {
                    return Err(ApiError::BadRequest(format!(
                        "there is no parameter {name}; there are {}",
                        asked.known()
                    )));
                }
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

    /// What is to be read of a table for this.
    ///
    /// # Errors
    /// When the parameters do not fit the table.
    pub(crate) fn comparison(
        &self,
        database: &Ident,
        table: &Table,
        hidden: &[String],
    ) -> Result<Comparison, ApiError> {
        let stamp = self.choice.stamp(table, hidden)?;
        let key: Vec<Column> = table.key_columns().into_iter().cloned().collect();
        let columns = hashed(self.level, table, stamp, self.choice.columns(table, stamp)?);
        let columns = readable(table, columns, hidden)?;
        let from = format!("{database}.{}", table.name);
        let Some(index) = &table.key else {
            return Err(ApiError::Unsupported(format!(
                "table {} has no key",
                table.name.as_str()
            )));
        };
        let scan = Scan::new(&from, index, key.clone());
        let ranged = |part: &Part| part.after.is_some() || part.up_to.is_some();
        let shared = scan.sorts_alike() && index.prefixes.iter().all(Option::is_none);
        if !shared && (self.rows.is_some() || self.parts.iter().any(ranged)) {
            return Err(ApiError::Unsupported(format!(
                "the keys of table {} have another order on another server; ask for parts by their \
                 bits, such as parts=[[null,null,1,0],[null,null,1,1]], without ranges and rows",
                table.name.as_str()
            )));
        }
        let answer = match (self.asked, self.rows) {
            (Asked::Keys, _) => Answer::Keys,
            (Asked::Digests, None) => Answer::Split {
                parts: self.parts.len(),
                split: self.split,
            },
            (Asked::Digests, Some(rows)) => {
                let up_to = self.parts.first().and_then(|part| part.up_to.as_ref());
                let up_to = up_to.map(|key| format!("[{}]", texts(key).join(",")));
                Answer::Cut {
                    rows,
                    up_to: up_to.unwrap_or_else(|| "null".to_owned()),
                }
            }
        };
        Ok(Comparison {
            stamp: stamp.clone(),
            columns,
            key: key.len(),
            ranges: ranges(&scan, &key, &self.parts)?,
            scan,
            answer,
            below: self.below,
        })
    }
}

impl Comparison {
    /// The columns of the key.
    pub(crate) fn key_columns(&self) -> &[Column] {
        &self.columns[..self.key]
    }

    /// What hashes its rows.
    pub(crate) fn hasher(&self) -> Hasher {
        let columns = self.columns.iter();
        let columns: Vec<(Kind, bool)> = columns
            .map(|column| (column.kind, column.is_tagged()))
            .collect();
        Hasher::new(columns, (0..self.key).collect())
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

/// The columns that are hashed, in the order in which they are: first those of the key, then the
/// stamp where only it and some more are, then the rest as the table has them.
fn hashed(level: Level, table: &Table, stamp: &Column, chosen: Vec<Column>) -> Vec<Column> {
    let mut columns: Vec<Column> = table.key_columns().into_iter().cloned().collect();
    let mut add = |column: Column| {
        if columns.iter().all(|other| other.name != column.name) {
            columns.push(column);
        }
    };
    if level == Level::Stamps {
        add(stamp.clone());
    }
    let keys = table.foreign_keys.iter().filter(|key| key.cascades());
    let changed: Vec<&Ident> = keys.flat_map(|key| &key.columns).collect();
    for column in chosen {
        // The destination computes its own.
        let wanted = match level {
            Level::Keys => false,
            Level::Stamps => changed.contains(&&column.name),
            Level::Full => true,
        };
        if wanted && !column.generated {
            add(column);
        }
    }
    columns
}

/// The ranges that the parts are in, so that each is read once.
fn ranges(scan: &Scan, key: &[Column], parts: &[Part]) -> Result<Vec<Range>, ApiError> {
    let columns: Vec<&Column> = key.iter().collect();
    let bound = |values: &Option<Vec<Box<RawValue>>>| {
        let Some(values) = values else {
            return Ok(None);
        };
        let texts = texts(values);
        count("parts", &columns, texts.len())?;
        let bound = scan.bound(&texts);
        bound
            .map(Some)
            .map_err(|error| ApiError::BadRequest(format!("parts: {error}")))
    };
    let mut ranges: Vec<Range> = Vec::new();
    let mut known = HashMap::new();
    for (number, part) in parts.iter().enumerate() {
        let ends = (bound(&part.after)?, bound(&part.up_to)?);
        let at = *known.entry(ends.clone()).or_insert_with(|| {
            ranges.push(Range {
                after: ends.0,
                up_to: ends.1,
                parts: HashMap::new(),
            });
            ranges.len() - 1
        });
        let of_bits = ranges[at].parts.entry(part.bits).or_default();
        of_bits.entry(part.value).or_default().push(number);
    }
    Ok(ranges)
}

fn texts(key: &[Box<RawValue>]) -> Vec<&str> {
    key.iter().map(|value| value.get()).collect()
}
