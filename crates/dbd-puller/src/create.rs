//! A source table's definition as a statement for the destination; pure.
//!
//! Between servers of one flavour it is the definition itself. To the other flavour it is
//! rewritten, token by token: types and collations that only one flavour has, and the few words
//! that it spells differently.

use common::ident::Ident;
use common::kind::Kind;
use common::table::{Column, Flavour};

use crate::client::ListedTable;
use crate::ddl::{Form, Token, join, parts, split, without_introducer};

/// Engines with transactions, in small letters. A table of another one is made with InnoDB: without
/// transactions the destination could not be trusted after a crash.
const TRANSACTIONAL: [&str; 3] = ["innodb", "rocksdb", "ndbcluster"];

/// The CREATE TABLE statement; none where the source sent no definition of that table.
pub(crate) fn statement(listed: &ListedTable, from: Flavour, to: Flavour) -> Option<String> {
    let definition = listed.definition.as_ref()?;
    let (body, tail) = body_and_tail(definition, &listed.name)?;
    let transactional = TRANSACTIONAL.contains(&listed.engine.to_lowercase().as_str());
    let name = &listed.name;
    let rewritten = match (from == to, transactional) {
        (true, true) => return Some(definition.clone()),
        (true, false) => format!("CREATE TABLE {name} {}{}", body.text, options(&tail, None)),
        (false, _) => {
            let mut inner = body.inner();
            if to == Flavour::MariaDb {
                // MariaDB 10.11 stores an expression such as _utf8mb4'\\'' so that it cannot read it.
                inner = without_introducer(&inner, "_utf8mb4");
            }
            let elements = elements(&inner, &listed.columns, to)?;
            format!(
                "CREATE TABLE {name} (\n  {}\n){}",
                elements.join(",\n  "),
                options(&tail, Some(to))
            )
        }
    };
    // What stands next to each other now may have become a comment.
    names_table(&rewritten, name).then_some(rewritten)
}

/// Whether it is one statement that makes that table, and fills it with nothing.
pub(crate) fn names_table(statement: &str, table: &Ident) -> bool {
    body_and_tail(statement, table).is_some()
}

/// The parentheses of a definition of that table, and what stands behind them.
fn body_and_tail(definition: &str, table: &Ident) -> Option<(Token, Vec<Token>)> {
    let tokens = split(definition)?;
    let [create, word, name, body, tail @ ..] = tokens.as_slice() else {
        return None;
    };
    // `CREATE TABLE … SELECT` and `CREATE TABLE … TABLE` read other tables.
    let reads = tokens.iter().any(|token| token.holds("SELECT"))
        || tail.iter().any(|token| token.holds("TABLE"));
    let is_definition = create.is("CREATE")
        && word.is("TABLE")
        && name.form == Form::Name
        && name.text == table.to_string()
        && body.form == Form::Group
        && !reads;
    is_definition.then(|| (body.clone(), tail.to_vec()))
}

/// The columns, keys and constraints for the other flavour.
fn elements(body: &[Token], columns: &[Column], to: Flavour) -> Option<Vec<String>> {
    let keyed = keyed_columns(body);
    let mut elements = Vec::new();
    let mut checks = Vec::new();
    for element in parts(body) {
        let [name, attributes @ ..] = element else {
            return None;
        };
        if name.form == Form::Name {
            let column = columns
                .iter()
                .find(|column| column.name.to_string() == name.text)?;
            let mut attributes = attributes.to_vec();
            if to == Flavour::MySql {
                // There a column's own CHECK may name no other column; a table's may.
                while let Some(at) = find(&attributes, &["CHECK"]) {
                    let check = attributes.drain(at..(at + 2).min(attributes.len()));
                    checks.push(join(&check.collect::<Vec<_>>()));
                }
            }
            let keyed = keyed.contains(&name.text);
            elements.push(column_element(column, attributes, to, keyed)?);
        } else {
            elements.extend(key_element(element, to));
        }
    }
    elements.extend(checks);
    Some(elements)
}

/// The quoted names of columns in a primary, unique or foreign key: what the first two hold
/// equal decides which rows are one (R6), and a foreign key is of its parent's collation.
fn keyed_columns(body: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for element in parts(body).filter(|element| element[..].first().is_some_and(is_not_name)) {
        let is_key = ["PRIMARY", "UNIQUE", "FOREIGN"]
            .iter()
            .any(|word| find(element, &[word]).is_some());
        let list = element.iter().find(|token| token.form == Form::Group);
        if let (true, Some(list)) = (is_key, list) {
            let list = list.inner();
            let quoted = list.into_iter().filter(|token| token.form == Form::Name);
            names.extend(quoted.map(|token| token.text));
        }
    }
    names
}

fn is_not_name(token: &Token) -> bool {
    token.form != Form::Name
}

/// A column, of its type and attributes.
fn column_element(
    column: &Column,
    mut tokens: Vec<Token>,
    to: Flavour,
    keyed: bool,
) -> Option<String> {
    // The type ends where its name and the parentheses behind it end.
    let type_length = match tokens.as_slice() {
        [] => return None,
        [_, length, ..] if length.form == Form::Group => 2,
        _ => 1,
    };
    let mut attributes = tokens.split_off(type_length);
    let mut new_type = new_type(&join(&tokens), column, to);
    if let (Some(charset), Some(collation)) = (&column.charset, &column.collation)
        && !matches!(column.kind, Kind::Json | Kind::Other)
    {
        remove(&mut attributes, &["CHARACTER", "SET"], 1);
        remove(&mut attributes, &["COLLATE"], 1);
        let collation = self::collation(charset, collation, to, keyed);
        new_type = format!("{new_type} CHARACTER SET {charset} COLLATE {collation}");
    }
    // What is in comments is for the other flavour, or for none.
    let invisible = attributes
        .iter()
        .any(|token| token.form == Form::Comment && token.holds("INVISIBLE"));
    attributes.retain(|token| token.form != Form::Comment);
    remove(&mut attributes, &["WITHOUT", "SYSTEM", "VERSIONING"], 0);
    if to == Flavour::MariaDb {
        if column.generated {
            // A generated column takes no NOT NULL there.
            remove(&mut attributes, &["NOT", "NULL"], 0);
        }
        if invisible && (column.nullable || column.has_default) {
            attributes.push(Token::word("INVISIBLE"));
        }
    } else {
        if let Some(at) = find(&attributes, &["PERSISTENT"]) {
            attributes[at] = Token::word("STORED");
        }
        parenthesise_default(&mut attributes, column);
    }
    let attributes = join(&attributes);
    let gap = if attributes.is_empty() { "" } else { " " };
    Some(format!("{} {new_type}{gap}{attributes}", column.name))
}

/// Where these keywords stand one after the other.
fn find(tokens: &[Token], words: &[&str]) -> Option<usize> {
    tokens
        .windows(words.len())
        .position(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))
}

/// Takes these keywords out, and so many tokens behind them.
fn remove(tokens: &mut Vec<Token>, words: &[&str], values: usize) {
    if let Some(at) = find(tokens, words) {
        tokens.drain(at..(at + words.len() + values).min(tokens.len()));
    }
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

/// MySQL wants an expression as a default in parentheses, and for a long type a literal too;
/// MariaDB writes them without.
fn parenthesise_default(attributes: &mut Vec<Token>, column: &Column) {
    let Some(at) = find(attributes, &["DEFAULT"]) else {
        return;
    };
    let from = at + 1;
    let Some(value) = attributes.get(from) else {
        return;
    };
    // `-1`, `b'1'`, `curdate()` and `a.b` are several tokens that touch.
    let length = 1 + attributes[from + 1..]
        .iter()
        .take_while(|token| token.touches())
        .count();
    let end = &attributes[from + length - 1];
    let literal = match value.form {
        Form::Group => return,
        Form::Word if value.is("NULL") => return,
        Form::Word if value.is("current_timestamp") => {
            matches!(column.kind, Kind::DateTime | Kind::Timestamp)
        }
        Form::Text | Form::Sign => true,
        Form::Word => {
            end.form == Form::Text || value.text.starts_with(|sign: char| sign.is_ascii_digit())
        }
        _ => false,
    };
    let long = ["text", "blob", "json"]
        .iter()
        .any(|name| column.column_type.to_ascii_lowercase().contains(name))
        && !matches!(column.kind, Kind::Enum | Kind::Set)
        || column.kind == Kind::Geometry;
    if !literal || long {
        let value = Token::grouped(&attributes[from..from + length]);
        attributes.splice(from..from + length, [value]);
    }
}

/// A key or constraint of the table; none for what the other flavour has no word for.
fn key_element(element: &[Token], to: Flavour) -> Option<String> {
    let is_key = find(element, &["KEY"]).is_some();
    let list = element.iter().find(|token| token.form == Form::Group)?;
    // An index over an expression serves the source's readers; a unique one is not needed, since
    // what it forbids cannot come from the source.
    let over_expression = parts(&list.inner())
        .any(|part| part.first().is_some_and(|token| token.form == Form::Group));
    if is_key && over_expression {
        return None;
    }
    let mut kept = element.to_vec();
    if find(element, &["CHECK"]).is_some() {
        // MariaDB enforces every CHECK.
        if to == Flavour::MariaDb && element.iter().any(|token| token.holds("ENFORCED")) {
            return None;
        }
        // MySQL wants the names of a whole database to differ, and MariaDB's are
        // `CONSTRAINT_1` in every table.
        if to == Flavour::MySql {
            remove(&mut kept, &["CONSTRAINT"], 1);
        }
    }
    kept.retain(|token| token.form != Form::Comment);
    if is_key {
        remove(&mut kept, &["IGNORED"], 0);
    }
    Some(join(&kept))
}

/// The options behind the columns: the engine, where it has transactions, and what decides how
/// values compare. Partitions and the like are the source's own affair.
fn options(tail: &[Token], other_flavour: Option<Flavour>) -> String {
    let mut kept = String::new();
    for option in tail.windows(3) {
        let [word, equals, value] = option else {
            continue;
        };
        if word.is("PARTITION") {
            break;
        }
        if equals.text != "=" {
            continue;
        }
        let text = value.text.as_str();
        if word.is("ENGINE") {
            let transactional = TRANSACTIONAL.contains(&text.to_lowercase().as_str());
            kept.push_str(" ENGINE=");
            kept.push_str(if transactional { text } else { "InnoDB" });
        } else if word.is("AUTO_INCREMENT") {
            kept.push_str(&format!(" AUTO_INCREMENT={text}"));
        } else if word.is("CHARSET") {
            kept.push_str(&format!(" DEFAULT CHARSET={text}"));
        } else if word.is("COLLATE") {
            let charset = text.split('_').next().unwrap_or(text);
            let collation = match other_flavour {
                Some(to) => collation(charset, text, to, false),
                None => text.to_owned(),
            };
            kept.push_str(&format!(" COLLATE={collation}"));
        } else if word.is("COMMENT") && value.form == Form::Text {
            kept.push_str(&format!(" COMMENT={text}"));
        }
    }
    kept
}
