//! The columns and the stamp that a request chooses.

use common::table::{Column, Table, same_name};

use crate::catalog;
use crate::error::ApiError;

/// What a request says of columns.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    include: Vec<String>,
    exclude: Vec<String>,
    stamp: Option<String>,
}

impl Choice {
    /// Takes a parameter; answers whether it is one of these.
    pub(crate) fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "include_columns" => self.include.extend(names(value)),
            "exclude_columns" => self.exclude.extend(names(value)),
            "stamp" => self.stamp = Some(value.to_owned()),
            _ => return false,
        }
        true
    }

    /// The stamp column.
    pub(crate) fn stamp<'a>(
        &self,
        table: &'a Table,
        hidden: &[String],
    ) -> Result<&'a Column, ApiError> {
        let wanted = self.stamp.as_deref();
        if let Some(wanted) = wanted.filter(|wanted| table.column(wanted).is_none()) {
            return Err(no_column("stamp", table, wanted));
        }
        catalog::stamp(table, wanted, hidden).map_err(|why| unsupported(table, &why))
    }

    /// The columns to read: of the included, without the excluded, and always key and stamp.
    pub(crate) fn columns(&self, table: &Table, stamp: &Column) -> Result<Vec<Column>, ApiError> {
        let include = resolve("include_columns", table, &self.include)?;
        let exclude = resolve("exclude_columns", table, &self.exclude)?;
        let key = table.key_columns();
        let chosen = table.columns.iter().filter(|column| {
            let named = |list: &[&Column]| list.iter().any(|other| other.name == column.name);
            column.name == stamp.name
                || named(&key)
                || ((self.include.is_empty() || named(&include)) && !named(&exclude))
        });
        Ok(chosen.cloned().collect())
    }
}

/// Refuses a parameter that was given before, unless it is a list.
pub(crate) fn once(pairs: &[(String, String)], at: usize) -> Result<(), ApiError> {
    let (name, _) = &pairs[at];
    let list = matches!(name.as_str(), "include_columns" | "exclude_columns");
    if !list && pairs[..at].iter().any(|(before, _)| before == name) {
        return Err(ApiError::BadRequest(format!("{name}: give it once")));
    }
    Ok(())
}

/// The columns, if the server's account may read all of them.
pub(crate) fn readable(
    table: &Table,
    columns: Vec<Column>,
    hidden: &[String],
) -> Result<Vec<Column>, ApiError> {
    let unread = |column: &&Column| hidden.iter().any(|name| name == column.name.as_str());
    match columns.iter().find(unread) {
        None => Ok(columns),
        Some(column) => Err(ApiError::Unsupported(format!(
            "the server's account may not read column {0} of table {1}; grant it SELECT, or \
             leave the column out with exclude_columns={0}",
            column.name.as_str(),
            table.name.as_str()
        ))),
    }
}

/// The answer to a request for rows of a table that has no windows.
pub(crate) fn unsupported(table: &Table, why: &str) -> ApiError {
    ApiError::Unsupported(format!(
        "table {} cannot be served: {why}",
        table.name.as_str()
    ))
}

/// The names of a list; none of them is empty.
fn names(list: &str) -> impl Iterator<Item = String> {
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

fn resolve<'a>(
    parameter: &str,
    table: &'a Table,
    names: &[String],
) -> Result<Vec<&'a Column>, ApiError> {
    let find = |name: &String| {
        // The name as it stands goes before what it is when it was encoded twice.
        table
            .column(name)
            .or_else(|| {
                let decoded = decode(name);
                let mut columns = table.columns.iter();
                columns.find(|column| same_name(column.name.as_str(), &decoded))
            })
            .ok_or_else(|| no_column(parameter, table, name))
    };
    names.iter().map(find).collect()
}

fn no_column(parameter: &str, table: &Table, name: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "{parameter}: table {} has no column {name} that the server's account may read",
        table.name.as_str()
    ))
}

/// Takes the percent escapes out of a text; what is none stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escape = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            u8::from_str_radix(digits, 16).ok().filter(|_| hex)
        };
        match (byte, tail) {
            (b'%', [a, b, tail @ ..]) if let Some(escaped) = escape(&[*a, *b]) => {
                bytes.push(escaped);
                rest = tail;
            }
            _ => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_columns_add_up() {
        let mut choice = Choice::default();
        for (name, value) in [
            ("include_columns", "a,b,"),
            ("include_columns", "c"),
            ("exclude_columns", ""),
        ] {
            assert!(choice.take(name, value), "{name}");
        }
        assert!(!choice.take("since", "2014-09-01"));
        assert_eq!(choice.include, ["a", "b", "c"]);
        assert!(choice.exclude.is_empty());
    }

    #[test]
    fn escapes_are_taken_out_and_what_is_none_stays() {
        for (text, decoded) in [
            ("a%2Cb", "a,b"),
            ("100%", "100%"),
            ("%zz%+1", "%zz%+1"),
            ("%C3%A9", "é"),
            ("%FF", "%FF"),
        ] {
            assert_eq!(decode(text), decoded, "{text}");
        }
    }
}
