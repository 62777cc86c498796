//! The order in which tables are listed (R8).

use std::collections::{BTreeMap, BTreeSet};

use common::ident::Ident;
use common::table::Table;

/// Parents before the tables that refer to them, else by name. A cycle is entered at the first
/// name in it.
pub(crate) fn parents_first(tables: Vec<Table>) -> Vec<Table> {
    let mut left: BTreeMap<Ident, Table> = tables
        .into_iter()
        .map(|table| (table.name.clone(), table))
        .collect();
    let mut waits: BTreeMap<Ident, BTreeSet<Ident>> = BTreeMap::new();
    for table in left.values() {
        let parents = table.foreign_keys.iter().filter_map(|key| {
            let parent = key.parent.clone()?;
            (parent != table.name && left.contains_key(&parent)).then_some(parent)
        });
        waits.insert(table.name.clone(), parents.collect());
    }
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(next) = waits
        .iter()
        .find(|(_, parents)| parents.is_empty())
        .map(|(name, _)| name.clone())
        .or_else(|| entrance(&waits))
    {
        waits.remove(&next);
        for parents in waits.values_mut() {
            parents.remove(&next);
        }
        ordered.extend(left.remove(&next));
    }
    ordered
}

/// The first name in a cycle, where everything waits for something.
fn entrance(waits: &BTreeMap<Ident, BTreeSet<Ident>>) -> Option<Ident> {
    let mut path: Vec<&Ident> = Vec::new();
    let mut at = waits.keys().next()?;
    // From parent to parent, until a name comes again.
    let begin = loop {
        if let Some(begin) = path.iter().position(|name| *name == at) {
            break begin;
        }
        path.push(at);
        at = waits.get(at)?.first()?;
    };
    path[begin..].iter().min().map(|name| (*name).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::table::ForeignKey;

    fn ident(name: &str) -> Ident {
        Ident::parse(name).unwrap()
    }

    fn table(name: &str, parents: &[&str]) -> Table {
        Table {
            name: ident(name),
            engine: "InnoDB".to_owned(),
            transactional: true,
            key: None,
            unique_keys: Vec::new(),
            columns: Vec::new(),
            indexes: Vec::new(),
            partitioned: false,
            foreign_keys: parents
                .iter()
                .map(|parent| ForeignKey {
                    columns: Vec::new(),
                    name: format!("{name}_{parent}"),
                    parent: Some(ident(parent)),
                    on_delete: "RESTRICT".to_owned(),
                    on_update: "RESTRICT".to_owned(),
                })
                .collect(),
            triggers: Vec::new(),
        }
    }

    #[test]
    fn parents_come_first_and_a_cycle_is_broken_by_name() {
        for (tables, ordered) in [
            (vec![("a", vec!["b"]), ("b", vec![])], "b a"),
            (vec![("c", vec![]), ("b", vec![]), ("a", vec![])], "a b c"),
            (vec![("a", vec!["a", "elsewhere"])], "a"),
            (
                vec![("b", vec!["a"]), ("a", vec!["b"]), ("c", vec!["a"])],
                "a b c",
            ),
            (
                vec![
                    ("a", vec!["b"]),
                    ("b", vec!["c"]),
                    ("c", vec!["d"]),
                    ("d", vec!["c"]),
                ],
                "c b a d",
            ),
        ] {
            let given = tables.iter().map(|(name, parents)| table(name, parents));
            let names: Vec<String> = parents_first(given.collect())
                .into_iter()
                .map(|table| table.name.as_str().to_owned())
                .collect();
            assert_eq!(names.join(" "), ordered, "{tables:?}");
        }
    }
}
