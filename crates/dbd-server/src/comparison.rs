//! What is read of a table for digests or keys: which columns, and which rows in which parts.

use std::collections::HashMap;

use common::digest::{Hasher, Level, Part, first_bits};
use common::ident::Ident;
use common::kind::Kind;
use common::scan::{Bound, Scan};
use common::stamp::Stamp;
use common::table::{Column, Table};
use serde_json::value::RawValue;

use crate::choice::readable;
use crate::error::ApiError;
use crate::params::count;
use crate::parts::{Asked, Params};

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

impl Comparison {
    /// What is to be read of a table.
    ///
    /// # Errors
    /// When the parameters do not fit the table.
    pub(crate) fn of(
        params: &Params,
        database: &Ident,
        table: &Table,
        hidden: &[String],
    ) -> Result<Comparison, ApiError> {
        let stamp = params.choice.stamp(table, hidden)?;
        let key: Vec<Column> = table.key_columns().into_iter().cloned().collect();
        let columns = hashed(
            params.level,
            table,
            stamp,
            params.choice.columns(table, stamp)?,
        );
        let columns = readable(table, columns, hidden)?;
        let from = format!("{database}.{}", table.name);
        let Some(identity) = &table.key else {
            return Err(ApiError::Unsupported(format!(
                "table {} has no key",
                table.name.as_str()
            )));
        };
        let scan = Scan::new(&from, table.index_of(identity), key.clone());
        let ranged = |part: &Part| part.after.is_some() || part.up_to.is_some();
        let shared = scan.sorts_alike() && identity.prefixes.iter().all(Option::is_none);
        if !shared && (params.rows.is_some() || params.parts.iter().any(ranged)) {
            return Err(ApiError::Unsupported(format!(
                "the keys of table {} have another order on another server; ask for parts by their \
                 bits, such as parts=[[null,null,1,0],[null,null,1,1]], without ranges and rows",
                table.name.as_str()
            )));
        }
        let answer = match (params.asked, params.rows) {
            (Asked::Keys, _) => Answer::Keys,
            (Asked::Digests, None) => Answer::Split {
                parts: params.parts.len(),
                split: params.split,
            },
            (Asked::Digests, Some(rows)) => {
                let up_to = params.parts.first().and_then(|part| part.up_to.as_ref());
                let up_to = up_to.map(|key| format!("[{}]", texts(key).join(",")));
                Answer::Cut {
                    rows,
                    up_to: up_to.unwrap_or_else(|| "null".to_owned()),
                }
            }
        };
        Ok(Self {
            stamp: stamp.clone(),
            columns,
            key: key.len(),
            ranges: ranges(&scan, &key, &params.parts)?,
            scan,
            answer,
            below: params.below,
        })
    }

    /// The columns of the key.
    pub(crate) fn key_columns(&self) -> &[Column] {
        &self.columns[..self.key]
    }

    /// Where the stamp stands in a row that is read: behind the columns, unless it is one of them.
    pub(crate) fn stamp_at(&self) -> usize {
        let mut columns = self.columns.iter();
        let at = columns.position(|column| column.name == self.stamp.name);
        at.unwrap_or(self.columns.len())
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

#[cfg(test)]
mod tests {
    use common::table::{ForeignKey, Key};

    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column {
            name: Ident::parse(name).unwrap(),
            column_type: String::new(),
            kind,
            charset: None,
            collation: None,
            max_length: None,
            scale: 0,
            nullable: false,
            has_default: true,
            generated: name == "generated",
            initialised: true,
            on_update: kind == Kind::Timestamp,
        }
    }

    fn table(key: Kind) -> Table {
        let idents = |names: &[&str]| {
            names
                .iter()
                .map(|name| Ident::parse(name).unwrap())
                .collect()
        };
        let foreign = |column: &str, on_delete: &str| ForeignKey {
            name: column.to_owned(),
            columns: idents(&[column, "a"]),
            parent: None,
            on_delete: on_delete.to_owned(),
            on_update: "RESTRICT".to_owned(),
        };
        Table {
            name: Ident::parse("t").unwrap(),
            engine: "InnoDB".to_owned(),
            transactional: true,
            key: Some(Key {
                name: "PRIMARY".to_owned(),
                columns: idents(&["b", "a"]),
                prefixes: Vec::new(),
            }),
            unique_keys: Vec::new(),
            columns: vec![
                column("v", Kind::Text),
                column("moved", Kind::Integer),
                column("a", Kind::Integer),
                column("kept", Kind::Integer),
                column("s", Kind::Timestamp),
                column("generated", Kind::Integer),
                column("b", key),
            ],
            indexes: Vec::new(),
            partitioned: false,
            foreign_keys: vec![foreign("moved", "SET NULL"), foreign("kept", "CASCADE")],
            triggers: Vec::new(),
        }
    }

    fn comparison(query: &[(&str, &str)], table: &Table) -> Result<Comparison, ApiError> {
        let database = Ident::parse("shop").unwrap();
        let hidden = ["kept".to_owned()];
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let pairs: Vec<_> = query.iter().map(pair).collect();
        let params = Params::parse(Asked::Digests, &pairs).unwrap();
        Comparison::of(&params, &database, table, &hidden)
    }

    #[test]
    fn r9_a_level_says_what_is_hashed() {
        let table = table(Kind::Integer);
        for (query, wanted) in [
            (&[("level", "keys")][..], "b a"),
            (&[], "b a s moved"),
            (&[("exclude_columns", "moved,s,a")], "b a s"),
            (&[("include_columns", "v")], "b a s"),
            (
                &[("level", "full"), ("exclude_columns", "kept")],
                "b a v moved s",
            ),
            (
                &[("level", "full"), ("include_columns", "v,generated")],
                "b a v s",
            ),
        ] {
            let found = comparison(query, &table).unwrap_or_else(|error| panic!("{error}"));
            let names: Vec<&str> = found.columns.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names.join(" "), wanted, "{query:?}");
            assert_eq!(found.key_columns().len(), 2);
        }
        // What is not hashed need not be readable.
        let error = comparison(&[("level", "full")], &table).err().unwrap();
        assert!(
            error.to_string().contains("exclude_columns=kept"),
            "{error}"
        );
    }

    #[test]
    fn r9_each_range_is_read_once() {
        let parts = "[[null,[5,1],0,0],[[5,1],null,1,1],[[5, 1],null,1,1],[[5,1],null,2,2],[null,null,0,0]]";
        let found = comparison(&[("parts", parts)], &table(Kind::Integer));
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.ranges.len(), 3);
        let parts_of = |range: usize, hash: u64| {
            let mut parts: Vec<_> = found.ranges[range].parts_of(hash).collect();
            parts.sort_unstable();
            parts
        };
        assert_eq!(parts_of(0, u64::MAX), [(0, 0)]);
        assert_eq!(parts_of(1, 1 << 63), [(1, 1), (2, 1), (3, 2)]);
        assert_eq!(parts_of(1, u64::MAX), [(1, 1), (2, 1)]);
        assert_eq!(parts_of(1, 1), []);
        assert_eq!(parts_of(2, 1), [(4, 0)]);
    }

    #[test]
    fn r9_ranges_need_keys_that_sort_alike() {
        let range = ("parts", "[[[\"x\",1],null,0,0]]");
        let mut begins = table(Kind::Binary);
        begins.key.as_mut().unwrap().prefixes = vec![Some(10), None];
        for table in [table(Kind::Text), begins] {
            for query in [&[range][..], &[("rows", "5")]] {
                let error = comparison(query, &table).err().unwrap();
                assert!(
                    matches!(error, ApiError::Unsupported(_)),
                    "{query:?}: {error}"
                );
            }
            assert!(comparison(&[("split", "5")], &table).is_ok());
        }
    }
}
