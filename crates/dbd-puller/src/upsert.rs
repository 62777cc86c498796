//! The statements that write rows; pure.

use common::ident::Ident;
use common::table::{Column, Flavour};
use common::wire::KindError;

use crate::batch::BatchRow;
use crate::client::KeyValues;
use crate::plan::{Plan, Planned};

/// INSERT … ON DUPLICATE KEY UPDATE, around the rows' literals.
#[derive(Debug)]
pub(crate) struct Upsert {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Upsert {
    /// The upsert of a plan.
    ///
    /// R6: where the table has other unique keys, also one that was made a moment ago, a row may meet
    /// one of another key, which must not be changed. The key is then set to NULL, which no key column
    /// takes: the statement fails (error 1048), and nothing is written.
    pub(crate) fn new(plan: &Plan, flavour: Flavour) -> Self {
        Self::with(plan, flavour, &[])
    }

    /// The same for rows that bring values for the destination's own columns too.
    pub(crate) fn with(plan: &Plan, flavour: Flavour, extra: &[Column]) -> Self {
        let written = plan.columns.iter().map(|planned| &planned.destination.name);
        let names: Vec<&Ident> = written
            .chain(extra.iter().map(|column| &column.name))
            .collect();
        let list: Vec<String> = names.iter().map(ToString::to_string).collect();
        let head = format!("INSERT INTO {} ({}) VALUES ", plan.table, list.join(","));
        // MySQL calls VALUES() old, and warns; MariaDB does not know the alias. It must not be the
        // table's own name.
        let table = plan.table.to_string();
        let name_of_new = match plan.table.as_str() {
            "dbd_new" => "dbd_newer",
            _ => "dbd_new",
        };
        let (alias, before, after) = match flavour {
            Flavour::MySql => (format!(" AS {name_of_new}"), format!("{name_of_new}."), ""),
            Flavour::MariaDb => (String::new(), "VALUES(".to_owned(), ")"),
        };
        let new = |name: &str| format!("{before}{name}{after}");
        let same: Vec<String> = plan
            .key
            .iter()
            .map(|planned| {
                let name = planned.destination.name.to_string();
                let (old, new) = (format!("{table}.{name}"), new(&name));
                match plan.prefix(&planned.destination.name) {
                    Some(prefix) => format!("LEFT({old},{prefix})<=>LEFT({new},{prefix})"),
                    None => format!("{old}<=>{new}"),
                }
            })
            .collect();
        let first = plan.key[0].destination.name.to_string();
        let mut sets = vec![format!(
            "{first}=IF({},{},NULL)",
            same.join(" AND "),
            new(&first)
        )];
        for name in &names {
            let key = plan
                .key
                .iter()
                .position(|key| key.destination.name == **name);
            // A key that is text can change its letter case; any other is the same already.
            let written = match key {
                Some(0) => false,
                Some(at) => has_case(&plan.key[at]),
                None => true,
            };
            if written {
                let name = name.to_string();
                sets.push(format!("{name}={}", new(&name)));
            }
        }
        let tail = format!("{alias} ON DUPLICATE KEY UPDATE {}", sets.join(","));
        Self {
            head: head.into_bytes(),
            tail: tail.into_bytes(),
        }
    }

    /// The statement that writes the rows.
    pub(crate) fn statement<'a>(&self, tuples: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut statement = self.head.clone();
        for (at, tuple) in tuples.enumerate() {
            if at > 0 {
                statement.push(b',');
            }
            statement.extend_from_slice(tuple);
        }
        statement.extend_from_slice(&self.tail);
        statement
    }
}

fn has_case(planned: &Planned) -> bool {
    !planned.destination.orders_by_index()
}

/// A row's literals with further ones behind them.
pub(crate) fn lengthened(row: &BatchRow, extra: &[Vec<u8>]) -> Vec<u8> {
    let mut tuple = row.tuple.clone();
    tuple.pop();
    for literal in extra {
        tuple.push(b',');
        tuple.extend_from_slice(literal);
    }
    tuple.push(b')');
    tuple
}

/// A condition that only the row with this key meets, byte for byte, and that finds it by index.
pub(crate) fn is_key(plan: &Plan, key: &KeyValues) -> Result<Vec<u8>, KindError> {
    let mut condition = b"(".to_vec();
    for (at, (planned, value)) in plan.key.iter().zip(key).enumerate() {
        if at > 0 {
            condition.extend_from_slice(b" AND ");
        }
        let (column, kind) = (&planned.destination, planned.source.kind);
        if !column.orders_by_index() {
            condition.extend_from_slice(format!("{}=", column.name).as_bytes());
            kind.literal(value, false, &mut condition)?;
            condition.extend_from_slice(b" AND ");
        }
        condition.extend_from_slice(format!("{}=", column.order()).as_bytes());
        condition.extend_from_slice(kind.order_literal(value)?.as_bytes());
    }
    condition.push(b')');
    Ok(condition)
}

/// A condition that rows meet whose key comes after this one (`>`), or before it (`<`).
pub(crate) fn compares(plan: &Plan, key: &KeyValues, sign: char) -> Result<Vec<u8>, KindError> {
    let mut condition = b"(".to_vec();
    for last in 0..plan.key.len() {
        if last > 0 {
            condition.extend_from_slice(b" OR ");
        }
        condition.push(b'(');
        for (at, (planned, value)) in plan.key.iter().zip(key).take(last + 1).enumerate() {
            let sign = if at == last { sign } else { '=' };
            if at > 0 {
                condition.extend_from_slice(b" AND ");
            }
            condition
                .extend_from_slice(format!("{}{sign}", planned.destination.order()).as_bytes());
            let literal = planned.source.kind.order_literal(value)?;
            condition.extend_from_slice(literal.as_bytes());
        }
        condition.push(b')');
    }
    condition.push(b')');
    Ok(condition)
}
