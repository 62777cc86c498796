//! What is there for whoever asks.
//!
//! R14. What a viewer may not see does not exist for them. It is taken out of the shapes of tables right where
//! these are read, so that whatever is done with a shape cannot know of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::ident::Ident;
use common::table::{Column, Key, Table, same_name};

use crate::pattern::Pattern;

/// Whoever asks, as what is there for them: everything that is served, unless it says otherwise.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Viewer {
    /// The databases that are there, and what of each; all of all when there is no such list.
    only: Option<Arc<BTreeMap<Ident, Part>>>,
}

/// What is there of a database.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Part {
    /// The tables that are there; all when there is no such list.
    pub(crate) tables: Option<Vec<Pattern>>,
    /// The columns that are not there, by tables.
    pub(crate) hidden: Vec<(Pattern, Vec<Pattern>)>,
}

/// A table, and whether all of it is there for the viewer.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) table: Table,
    /// Nothing was taken out of it, and its definition names nothing that is not there.
    pub(crate) whole: bool,
}

/// Engines whose tables keep their rows by themselves.
const PLAIN_ENGINES: [&str; 5] = ["InnoDB", "MyISAM", "Aria", "MEMORY", "ARCHIVE"];

/// The columns that are computed from others, or are so unless they are given, with their expressions, by table.
pub(crate) type Computed = HashMap<String, Vec<(String, String)>>;

impl Viewer {
    /// Somebody for whom only these databases are there.
    pub(crate) fn of(only: BTreeMap<Ident, Part>) -> Self {
        Self {
            only: Some(Arc::new(only)),
        }
    }

    /// Whether the database is there, if it is served.
    pub(crate) fn sees(&self, database: &Ident) -> bool {
        match &self.only {
            None => true,
            Some(only) => only.contains_key(database),
        }
    }

    /// Whether the table is there, if the database has it.
    pub(crate) fn sees_table(&self, database: &str, table: &str) -> bool {
        let names = Ident::parse(database).ok().zip(Ident::parse(table).ok());
        match (&self.only, names) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(only), Some((database, table))) => {
                only.get(&database).is_some_and(|part| part.shows(&table))
            }
        }
    }

    /// Whether columns of the table, if the database has it, are not there.
    pub(crate) fn lacks_columns_of(&self, database: &str, table: &str) -> bool {
        let names = Ident::parse(database).ok().zip(Ident::parse(table).ok());
        match (&self.only, names) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(only), Some((database, table))) => only
                .get(&database)
                .is_none_or(|part| !part.hidden_of(&table).is_empty()),
        }
    }

    /// Whether there are columns of the database that are not there.
    pub(crate) fn lacks_columns(&self, database: &Ident) -> bool {
        let part = self.only.as_ref().and_then(|only| only.get(database));
        part.is_some_and(|part| !part.hidden.is_empty())
    }

    /// What rules about columns say that are of no column of a database whose tables these are: somebody may have
    /// misspelt it, and what was to be hidden is not.
    pub(crate) fn idle_rules(&self, database: &Ident, tables: &[Table]) -> Vec<String> {
        let part = self.only.as_ref().and_then(|only| only.get(database));
        let rules = part.into_iter().flat_map(|part| &part.hidden);
        let rules = rules.flat_map(|(of, columns)| columns.iter().map(move |column| (of, column)));
        let idle = rules.filter(|(of, hidden)| {
            let mut tables = tables.iter().filter(|table| of.is_in_any_case(&table.name));
            !tables.any(|table| {
                let mut columns = table.columns.iter();
                columns.any(|column| hidden.is_in_any_case(&column.name))
            })
        });
        idle.map(|(of, hidden)| {
            format!(
                "column {hidden} of table {of} of database {:?}",
                database.as_str()
            )
        })
        .collect()
    }

    /// What is there of these tables of a database.
    pub(crate) fn narrow(
        &self,
        database: &Ident,
        tables: Vec<Table>,
        computed: &Computed,
    ) -> Vec<Seen> {
        let Some(only) = &self.only else {
            let whole = |table| Seen { table, whole: true };
            return tables.into_iter().map(whole).collect();
        };
        let Some(part) = only.get(database) else {
            return Vec::new();
        };
        let tables = tables.into_iter().filter(|table| part.shows(&table.name));
        tables.map(|table| part.narrow(table, computed)).collect()
    }
}

impl Part {
    fn shows(&self, table: &Ident) -> bool {
        let Some(tables) = &self.tables else {
            return true;
        };
        tables.iter().any(|pattern| pattern.is(table))
    }

    /// What the columns that are not there are called. Names of tables count in any letter case here: a rule that
    /// is written otherwise than the server stores the name must not leave a column in.
    fn hidden_of(&self, table: &Ident) -> Vec<&Pattern> {
        let rules = self.hidden.iter();
        let rules = rules.filter(|(pattern, _)| pattern.is_in_any_case(table));
        rules.flat_map(|(_, columns)| columns).collect()
    }

    fn narrow(&self, mut table: Table, computed: &Computed) -> Seen {
        let gone = self.gone(&table, computed);
        // The definition of another engine's table may name tables that its rows are in, or a server and its password.
        let is_plain = |engine: &&str| table.engine.eq_ignore_ascii_case(engine);
        let mut whole = gone.is_empty() && PLAIN_ENGINES.iter().any(is_plain);
        if !gone.is_empty() {
            take_out(&gone, &mut table);
        }
        for key in &mut table.foreign_keys {
            let columns = key.columns.len();
            key.columns.retain(|column| !is_among(&gone, column));
            let parent = key.parent.take().filter(|parent| self.shows(parent));
            // The columns that it refers to may be among those.
            whole &= matches!(&parent, Some(parent) if self.hidden_of(parent).is_empty());
            // What it does to the columns that are left is to be known; a name may tell what it is about.
            if parent.is_none() || key.columns.len() < columns {
                key.name.clear();
            }
            key.parent = parent;
        }
        table.foreign_keys.retain(|key| !key.columns.is_empty());
        table.triggers.iter_mut().for_each(String::clear);
        Seen { table, whole }
    }

    /// The columns of a table that are not there, with those that are computed from them.
    fn gone(&self, table: &Table, computed: &Computed) -> Vec<Ident> {
        let hidden = self.hidden_of(&table.name);
        let is_hidden = |name: &Ident| hidden.iter().any(|hidden| hidden.is_in_any_case(name));
        let names = table.columns.iter().map(|column| &column.name);
        let mut gone: Vec<Ident> = names.filter(|name| is_hidden(name)).cloned().collect();
        let computed = computed.get(table.name.as_str()).into_iter().flatten();
        let computed: Vec<_> = computed.collect();
        loop {
            let more = table.columns.iter().filter(|column| {
                let mut expressions = computed
                    .iter()
                    .filter(|(name, _)| name == column.name.as_str());
                !is_among(&gone, &column.name)
                    && expressions.any(|(_, expression)| names_one_of(expression, &gone))
            });
            let more: Vec<Ident> = more.map(|column| column.name.clone()).collect();
            if more.is_empty() {
                return gone;
            }
            gone.extend(more);
        }
    }
}

/// Whether an expression names one of the columns: whether it has its name as a word, in quotes or not, since servers
/// show expressions as some session wrote them. A text that has it too hides more, never less.
fn names_one_of(expression: &str, columns: &[Ident]) -> bool {
    let expression = expression.to_lowercase();
    let is_of_name = |character: char| character.is_alphanumeric() || "_$".contains(character);
    let mut columns = columns.iter();
    columns.any(|column| {
        let name = column.as_str().to_lowercase();
        // Quoted, or within a text, some signs are written otherwise.
        if !name.chars().all(is_of_name) {
            return true;
        }
        expression.match_indices(&name).any(|(at, _)| {
            let before = expression[..at].chars().next_back();
            let behind = expression[at + name.len()..].chars().next();
            ![before, behind].into_iter().flatten().any(is_of_name)
        })
    })
}

fn is_among(columns: &[Ident], name: &Ident) -> bool {
    let mut columns = columns.iter();
    columns.any(|column| same_name(column.as_str(), name.as_str()))
}

/// Takes columns out of a table, and the keys and indexes that need them. Another key may identify its rows then.
fn take_out(gone: &[Ident], table: &mut Table) {
    let is_left = |column: &Column| !is_among(gone, &column.name);
    table.columns.retain(is_left);
    let keys = table.key.take().into_iter();
    let mut keys: Vec<Key> = keys.chain(table.unique_keys.drain(..)).collect();
    // A key over an expression, which has no columns here, may need any.
    keys.retain(|key| {
        !key.columns.is_empty() && !key.columns.iter().any(|column| is_among(gone, column))
    });
    (table.key, table.unique_keys) = common::catalog::identity(keys, &table.columns);
    table.indexes.retain(|index| {
        let first = index.first.as_ref();
        first.is_some_and(|first| !is_among(gone, first))
    });
}

#[cfg(test)]
mod tests {
    use common::kind::Kind;
    use common::table::{ForeignKey, Index};

    use super::*;

    fn ident(name: &str) -> Ident {
        Ident::parse(name).unwrap()
    }

    fn idents(names: &[&str]) -> Vec<Ident> {
        names.iter().map(|name| ident(name)).collect()
    }

    fn column(name: &str) -> Column {
        Column {
            name: ident(name),
            column_type: String::new(),
            kind: Kind::Integer,
            charset: None,
            collation: None,
            max_length: None,
            scale: 0,
            nullable: false,
            has_default: true,
            generated: false,
            initialised: true,
            on_update: false,
        }
    }

    fn key(name: &str, columns: &[&str]) -> Key {
        Key {
            name: name.to_owned(),
            columns: idents(columns),
            prefixes: vec![None; columns.len()],
        }
    }

    fn foreign_key(columns: &[&str], parent: Option<&str>) -> ForeignKey {
        ForeignKey {
            name: format!("fk_{}", columns[0]),
            columns: idents(columns),
            parent: parent.map(ident),
            on_delete: "SET NULL".to_owned(),
            on_update: "CASCADE".to_owned(),
        }
    }

    fn orders() -> Table {
        Table {
            name: ident("orders"),
            engine: "InnoDB".to_owned(),
            transactional: true,
            key: Some(key("PRIMARY", &["id"])),
            unique_keys: vec![
                key("u_card", &["Card"]),
                key("u_e", &[]),
                key("u_no", &["no"]),
            ],
            columns: ["id", "no", "Card", "digits", "last", "customer"]
                .map(column)
                .into(),
            indexes: [("PRIMARY", "id"), ("u_card", "Card"), ("u_no", "no")]
                .map(|(name, first)| Index {
                    name: ident(name),
                    first: Some(ident(first)),
                })
                .into(),
            partitioned: false,
            foreign_keys: vec![
                foreign_key(&["customer"], Some("customers")),
                foreign_key(&["customer", "card"], Some("wallets")),
                foreign_key(&["Card"], Some("wallets")),
            ],
            triggers: vec!["log_card".to_owned()],
        }
    }

    fn computed() -> Computed {
        let pair = |name: &str, expression: &str| (name.to_owned(), expression.to_owned());
        let of_orders = vec![
            pair("last", "right(`digits`,4)"),
            pair("digits", "lcase(`card`)"),
        ];
        HashMap::from([("orders".to_owned(), of_orders)])
    }

    fn viewer(tables: Option<&[&str]>, hidden: &[(&str, &[&str])]) -> Viewer {
        let patterns = |names: &[&str]| -> Vec<Pattern> {
            let names = names.iter();
            names.map(|name| Pattern::new((*name).to_owned())).collect()
        };
        let hidden = hidden.iter();
        let part = Part {
            tables: tables.map(patterns),
            hidden: hidden
                .map(|(table, columns)| (Pattern::new((*table).to_owned()), patterns(columns)))
                .collect(),
        };
        Viewer::of(BTreeMap::from([(ident("shop"), part)]))
    }

    fn names(table: &Table) -> String {
        let names = table.columns.iter().map(|column| column.name.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn r14_nothing_of_a_table_names_a_hidden_column() {
        let seen = viewer(None, &[("ORDERS", &["CARD"])]).narrow(
            &ident("shop"),
            vec![orders()],
            &computed(),
        );
        let [Seen { table, whole }] = &seen[..] else {
            panic!("{seen:?}");
        };
        assert!(!whole);
        assert_eq!(names(table), "id no customer");
        assert_eq!(table.key, Some(key("PRIMARY", &["id"])));
        assert_eq!(table.unique_keys, [key("u_no", &["no"])]);
        assert!(table.index_on(&ident("Card")).is_none());
        assert!(table.index_on(&ident("no")).is_some());
        // What still changes a column is known, and no more of it than that.
        let shown = format!("{table:?}").to_lowercase();
        assert_eq!(table.foreign_keys.len(), 2);
        assert!(!shown.contains("card") && !shown.contains("u_e"), "{shown}");
    }

    #[test]
    fn r14_rows_whose_key_is_hidden_are_told_apart_by_another_or_not_at_all() {
        for (hidden, wanted) in [
            (&["id"][..], Some(key("u_card", &["Card"]))),
            (&["id", "card"], Some(key("u_no", &["no"]))),
            (&["id", "card", "no"], None),
        ] {
            let seen = viewer(None, &[("*", hidden)]).narrow(
                &ident("shop"),
                vec![orders()],
                &Computed::new(),
            );
            assert_eq!(seen[0].table.key, wanted, "{hidden:?}");
        }
    }

    #[test]
    fn r14_an_expression_names_a_column_in_quotes_or_without() {
        for (expression, name, named) in [
            ("right(`card`,4)", "Card", true),
            ("right(card,4)", "Card", true),
            ("CARD", "card", true),
            ("'card'", "card", true),
            ("card_no + discard", "card", false),
            ("`card_no`", "card", false),
            ("'4111'", "card", false),
            ("upper('x')", "a'b", true),
        ] {
            let found = names_one_of(expression, &[ident(name)]);
            assert_eq!(found, named, "{expression} {name}");
        }
    }

    #[test]
    fn r14_what_is_not_listed_is_not_there() {
        let shop = ident("shop");
        let look = |viewer: &Viewer, database: &Ident| {
            let tables = viewer.narrow(database, vec![orders()], &Computed::new());
            tables.into_iter().next()
        };
        assert!(look(&Viewer::default(), &ident("other")).unwrap().whole);
        assert_eq!(
            names(&look(&Viewer::default(), &shop).unwrap().table).len(),
            names(&orders()).len()
        );
        for (tables, there, whole) in [
            (None, true, true),
            (Some(&["orders"][..]), true, false),
            (Some(&["orders", "c*", "w*"]), true, true),
            (Some(&["orders", "c*"]), true, false),
            (Some(&["orders", "customers"]), true, false),
            (Some(&["ORDERS"]), false, false),
            (Some(&[]), false, false),
        ] {
            let viewer = viewer(tables, &[]);
            assert!(viewer.sees(&shop) && !viewer.sees(&ident("Shop")));
            let seen = look(&viewer, &shop);
            assert_eq!(seen.is_some(), there, "{tables:?}");
            assert_eq!(seen.is_some_and(|seen| seen.whole), whole, "{tables:?}");
            assert!(look(&viewer, &ident("other")).is_none());
        }
    }
}
