//! A source table's definition as a statement for the destination; pure.
//!
//! Between servers of one flavour it is the definition itself. To the other flavour the lines of
//! SHOW CREATE TABLE are rewritten: types and collations that only one flavour has, and the few
//! words that it spells differently.

use common::ident::Ident;
use common::kind::Kind;
use common::table::{Column, Flavour};

use crate::client::ListedTable;

/// Engines with transactions, in small letters. A table of another one is made with InnoDB: without
/// transactions the destination could not be trusted after a crash.
const TRANSACTIONAL: [&str; 3] = ["innodb", "rocksdb", "ndbcluster"];

/// The CREATE TABLE statement; none where the source sent no definition.
pub(crate) fn statement(listed: &ListedTable, from: Flavour, to: Flavour) -> Option<String> {
    let definition = listed.definition.as_ref()?;
    if !definition.starts_with("CREATE TABLE ") {
        return None;
    }
    let other_engine = !TRANSACTIONAL.contains(&listed.engine.to_lowercase().as_str());
    if from == to && !other_engine {
        return Some(definition.clone());
    }
    if from == to {
        let at = definition.rfind("\n)")?;
        let line = definition[at + 1..].lines().next()?;
        return Some(format!("{}\n{}", &definition[..at], options(line, None)));
    }
    let keyed = keyed_columns(definition);
    let mut body = Vec::new();
    let mut lines = definition.lines();
    let head = lines.next()?.to_owned();
    let mut tail = String::new();
    for line in lines {
        if line.starts_with(')') {
            tail = options(line, Some(to));
            break;
        }
        let line = line.trim().trim_end_matches(',');
        if line.starts_with('`') {
            let column = listed
                .columns
                .iter()
                .find(|column| line.starts_with(&format!("{} ", column.name)))?;
            body.push(column_line(
                line,
                column,
                to,
                keyed.contains(&column.name.to_string()),
            ));
        } else if let Some(line) = key_line(line) {
            body.push(line);
        }
    }
    Some(format!("{head}\n  {}\n{tail}", body.join(",\n  ")))
}

/// The quoted names of columns that stand in a primary or unique key: what these hold equal
/// decides which rows are one (R6).
fn keyed_columns(definition: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in definition.lines().map(str::trim) {
        if line.starts_with("PRIMARY KEY") || line.starts_with("UNIQUE KEY") {
            let list = line.split_once('(').map_or("", |(_, list)| list);
            let mut rest = list;
            while let Some(at) = rest.find('`') {
                let name = quoted(&rest[at..]);
                names.push(name.to_owned());
                rest = &rest[at + name.len()..];
            }
        }
    }
    names
}

/// The quoted name that a text begins with.
fn quoted(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == b'`' {
            if bytes.get(at + 1) != Some(&b'`') {
                return &text[..=at];
            }
            at += 1;
        }
        at += 1;
    }
    text
}

fn column_line(line: &str, column: &Column, to: Flavour, keyed: bool) -> String {
    let name = column.name.to_string();
    let rest = &line[name.len() + 1..];
    // The type ends where its name and the parenthesis behind it end.
    let type_length = type_length(rest);
    let (old_type, rest) = rest.split_at(type_length);
    let mut attributes = attributes(rest);
    let mut new_type = new_type(old_type, column, to);
    if let (Some(charset), Some(collation)) = (&column.charset, &column.collation)
        && !matches!(column.kind, Kind::Json | Kind::Other)
    {
        remove_pair(&mut attributes, "CHARACTER SET");
        remove_pair(&mut attributes, "COLLATE");
        let collation = self::collation(charset, collation, to, keyed);
        new_type = format!("{new_type} CHARACTER SET {charset} COLLATE {collation}");
    }
    if to == Flavour::MariaDb {
        // A generated column takes no NOT NULL there.
        if column.generated
            && let Some(at) = attributes.find(" NOT NULL")
        {
            attributes.replace_range(at..at + " NOT NULL".len(), "");
        }
    } else {
        attributes = attributes.replace(" PERSISTENT", " STORED");
        attributes = parenthesised_default(&attributes);
    }
    format!("{name} {new_type}{attributes}")
}

/// What stands behind the type, with what is only a name of the other flavour's left out.
fn attributes(rest: &str) -> String {
    rest.replace(" /*!100301 COMPRESSED*/", "")
}

fn type_length(text: &str) -> usize {
    let mut in_quotes = false;
    let mut depth = 0_u32;
    for (at, sign) in text.char_indices() {
        match sign {
            '\'' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            ')' if !in_quotes => depth -= 1,
            ' ' if !in_quotes && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn new_type(old: &str, column: &Column, to: Flavour) -> String {
    let lower = old.to_ascii_lowercase();
    match to {
        Flavour::MariaDb if lower.starts_with("vector") => "longblob".to_owned(),
        Flavour::MariaDb if lower == "geomcollection" => "geometrycollection".to_owned(),
        Flavour::MySql if column.kind == Kind::Other => match lower.as_str() {
            "uuid" => "char(36) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
            "inet6" => "varchar(45) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
            "inet4" => "varchar(15) CHARACTER SET ascii COLLATE ascii_bin".to_owned(),
            _ => old.to_owned(),
        },
        _ => old.to_owned(),
    }
}

/// A collation of the other flavour. In a key it compares bytes, so that it tells apart whatever
/// the source's does; elsewhere it is the flavour's nearest, which decides only how a reader sorts.
fn collation(charset: &str, collation: &str, to: Flavour, keyed: bool) -> String {
    let only_mysql = collation.contains("_0900_")
        || collation.starts_with("utf8mb4_ja_0900")
        || collation.starts_with("gb18030");
    let only_mariadb = collation.contains("nopad")
        || collation.contains("uca1400")
        || collation.ends_with("_mysql500_ci") && to == Flavour::MySql;
    let known = match to {
        Flavour::MariaDb => !only_mysql,
        Flavour::MySql => !only_mariadb,
    };
    if known {
        return collation.to_owned();
    }
    let case_sensitive = collation.contains("_as_cs") || collation.ends_with("_bin");
    match (to, keyed || case_sensitive) {
        (Flavour::MariaDb, true) => format!("{charset}_nopad_bin"),
        (Flavour::MariaDb, false) => format!("{charset}_unicode_520_nopad_ci"),
        (Flavour::MySql, true) if charset == "utf8mb4" => "utf8mb4_0900_bin".to_owned(),
        (Flavour::MySql, false) if charset == "utf8mb4" => "utf8mb4_0900_ai_ci".to_owned(),
        (Flavour::MySql, _) => format!("{charset}_bin"),
    }
}

/// Takes `word value` out of the attributes.
fn remove_pair(attributes: &mut String, word: &str) {
    let pattern = format!(" {word} ");
    if let Some(at) = attributes.find(&pattern) {
        let value = at + pattern.len();
        let end = attributes[value..]
            .find(' ')
            .map_or(attributes.len(), |length| value + length);
        attributes.replace_range(at..end, "");
    }
}

/// MySQL wants an expression as a default in parentheses; MariaDB writes it without.
fn parenthesised_default(attributes: &str) -> String {
    const WORD: &str = " DEFAULT ";
    let Some(at) = attributes.find(WORD) else {
        return attributes.to_owned();
    };
    let from = at + WORD.len();
    let value = &attributes[from..];
    let literal = value.starts_with(['\'', '-', '(', '+'])
        || value.starts_with(|sign: char| sign.is_ascii_digit())
        || [
            "NULL",
            "current_timestamp",
            "CURRENT_TIMESTAMP",
            "b'",
            "x'",
            "_",
        ]
        .iter()
        .any(|start| value.starts_with(start));
    if literal {
        return attributes.to_owned();
    }
    let length = type_length(value);
    format!(
        "{}{WORD}({}){}",
        &attributes[..at],
        &value[..length],
        &value[length..]
    )
}

/// A key or constraint of the table; none for what the other flavour has no word for.
fn key_line(line: &str) -> Option<String> {
    // An index over an expression serves the source's readers; a unique one is not needed, since
    // what it forbids cannot come from the source.
    if line.contains("KEY ") && line.contains("((") {
        return None;
    }
    let line = line
        .replace(" /*!80000 INVISIBLE */", "")
        .replace(" IGNORED", "");
    Some(line)
}

/// The options behind the columns: the engine, where it has transactions, and what decides how
/// values compare. Partitions and the like are the source's own affair.
fn options(line: &str, other_flavour: Option<Flavour>) -> String {
    let mut kept = ")".to_owned();
    for word in line.trim_start_matches(')').split(' ') {
        if let Some(engine) = word.strip_prefix("ENGINE=") {
            let transactional = TRANSACTIONAL.contains(&engine.to_lowercase().as_str());
            kept.push_str(" ENGINE=");
            kept.push_str(if transactional { engine } else { "InnoDB" });
        } else if word.starts_with("AUTO_INCREMENT=") {
            kept.push(' ');
            kept.push_str(word);
        } else if let Some(charset) = word.strip_prefix("CHARSET=") {
            kept.push_str(" DEFAULT CHARSET=");
            kept.push_str(charset);
        } else if let Some(found) = word.strip_prefix("COLLATE=") {
            let charset = found.split('_').next().unwrap_or(found);
            kept.push_str(" COLLATE=");
            match other_flavour {
                Some(to) => kept.push_str(&collation(charset, found, to, false)),
                None => kept.push_str(found),
            }
        }
    }
    if let Some(at) = line.find(" COMMENT='") {
        kept.push_str(&line[at..]);
    }
    kept
}

/// A statement that may hold the source's words for a table of another name.
pub(crate) fn names_table(statement: &str, table: &Ident) -> bool {
    statement.starts_with(&format!("CREATE TABLE {table} ("))
}
