//! What the writers do to the source, one transaction after the other.
//!
//! One thing is left out because no digest of stamps can see it: a row with a NULL stamp that gets
//! other values and a NULL stamp again. Whatever has no stamp holds what its key says.

use std::time::Duration;

use crate::soak::random::Random;
use crate::soak::tables::{MANY, NUMBERS};

/// The statements of a transaction, and how it goes on from there.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) statements: Vec<String>,
    pub(crate) ending: Ending,
    /// How long it idles, holding its locks, behind the first so many statements.
    pub(crate) held: Option<(usize, Duration)>,
}

/// How a transaction ends, unless a statement fails before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// Each statement is a transaction of its own.
    Autocommit,
    Commit,
    Rollback,
    /// The connection is dropped with the transaction open.
    Drop,
}

impl Transaction {
    /// The next one. Without `unstamped` it writes no row without a stamp.
    pub(crate) fn next(random: &mut Random, unstamped: bool) -> Self {
        let changes = if random.percent(60) {
            1
        } else {
            random.between(2, 4)
        };
        let mut statements = Vec::new();
        for _ in 0..changes {
            change(random, unstamped, &mut statements);
        }
        let ending = match random.below(100) {
            0..30 => Ending::Autocommit,
            30..84 => Ending::Commit,
            84..97 => Ending::Rollback,
            _ => Ending::Drop,
        };
        let held = (ending != Ending::Autocommit && random.percent(3)).then(|| {
            let behind = random.between(1, statements.len() as u64);
            let lasts = random.millis(200, 4_000);
            (usize::try_from(behind).unwrap_or(1), lasts)
        });
        Self {
            statements,
            ending,
            held,
        }
    }
}

fn change(random: &mut Random, unstamped: bool, statements: &mut Vec<String>) {
    if random.percent(1) {
        return many(random, statements);
    }
    match random.below(16) {
        0..3 => number(random, statements),
        3..5 => two(random, statements),
        5..8 => folded(random, unstamped, statements),
        8..10 => wide(random, unstamped, statements),
        10..12 => badge(random, statements),
        12..15 => family(random, statements),
        _ => tree(random, statements),
    }
}

fn one(random: &mut Random) -> u64 {
    random.between(1, NUMBERS)
}

/// A number, and one that is not far above it.
fn range(random: &mut Random) -> (u64, u64) {
    let from = one(random);
    (from, from + random.magnitude(6))
}

fn number(random: &mut Random, statements: &mut Vec<String>) {
    let (id, to) = range(random);
    let v = random.below(1_000_000);
    let statement = match random.below(8) {
        0 => format!("UPDATE number SET v={v} WHERE id={id}"),
        1 => format!("UPDATE number SET v=v+1 WHERE id BETWEEN {id} AND {to}"),
        2 => format!("DELETE FROM number WHERE id={id}"),
        3 => format!("DELETE FROM number WHERE id BETWEEN {id} AND {to} AND id%3=0"),
        // A key changes; the other may be taken, and then all of it is rolled back.
        4 => format!("UPDATE number SET id={} WHERE id={id}", one(random)),
        5 => format!("REPLACE INTO number (id, v, note) VALUES ({id}, {v}, 'replaced')"),
        6 => {
            statements.push(format!("DELETE FROM number WHERE id={id}"));
            format!("INSERT INTO number (id, v, note) VALUES ({id}, {v}, NULL)")
        }
        _ => {
            let rows: Vec<String> = (id..=to).map(|id| format!("({id}, {v}, 'new')")).collect();
            format!(
                "INSERT IGNORE INTO number (id, v, note) VALUES {}",
                rows.join(", ")
            )
        }
    };
    statements.push(statement);
}

fn two(random: &mut Random, statements: &mut Vec<String>) {
    let (a, to) = range(random);
    let v = random.below(1_000_000);
    let b = random.one_of(&["x", "X", "é", "É", ""]);
    statements.push(match random.below(6) {
        0 => format!("UPDATE two SET v={v} WHERE a={a}"),
        1 => format!("UPDATE two SET v=v+1 WHERE a BETWEEN {a} AND {to}"),
        2 => format!("DELETE FROM two WHERE a={a}"),
        3 => format!("UPDATE IGNORE two SET b='{b}' WHERE a={a}"),
        4 => format!("UPDATE IGNORE two SET a=a+{} WHERE a={a}", random.below(50)),
        _ => format!(
            "INSERT INTO two (a, b, v) VALUES ({a}, '{b}', {v}) ON DUPLICATE KEY UPDATE v={v}"
        ),
    });
}

fn folded(random: &mut Random, unstamped: bool, statements: &mut Vec<String>) {
    let n = one(random);
    let v = random.below(1_000_000);
    let key = random.one_of(&["key", "Key", "KEY", "kéy"]);
    statements.push(match random.below(7) {
        0 => format!("UPDATE folded SET v={v} WHERE k='key {n}'"),
        // Only the letter case or an accent: the same key for the table.
        1 | 2 => format!("UPDATE folded SET k='{key} {n}' WHERE k='key {n}'"),
        3 => format!("DELETE FROM folded WHERE k='key {n}'"),
        4 if unstamped => {
            format!("UPDATE folded SET k='{key} {n}', v={n}, s=NULL WHERE k='key {n}'")
        }
        5 if unstamped => {
            format!("INSERT IGNORE INTO folded (k, v, s) VALUES ('{key} {n}', {n}, NULL)")
        }
        _ => format!("REPLACE INTO folded (k, v) VALUES ('{key} {n}', {v})"),
    });
}

fn wide(random: &mut Random, unstamped: bool, statements: &mut Vec<String>) {
    let n = one(random);
    let length = random.magnitude(18);
    let letter = random.one_of(&["a", "\\0", "é", "😀"]);
    statements.push(match random.below(6) {
        0 => format!("DELETE FROM wide WHERE k='key {n}'"),
        1 if unstamped => {
            format!("UPDATE wide SET body=REPEAT('n', {n}), s=NULL WHERE k='key {n}'")
        }
        2 if unstamped => {
            format!(
                "INSERT IGNORE INTO wide (k, body, s) VALUES ('key {n}', REPEAT('n', {n}), NULL)"
            )
        }
        3 => format!("UPDATE wide SET body=REPEAT('{letter}', {length}) WHERE k='key {n}'"),
        _ => {
            format!("REPLACE INTO wide (k, body) VALUES ('key {n}', REPEAT('{letter}', {length}))")
        }
    });
}

fn badge(random: &mut Random, statements: &mut Vec<String>) {
    let (id, other) = (one(random), one(random));
    let v = random.below(1_000_000);
    match random.below(6) {
        // Two rows swap a value that only one row may hold.
        0 | 1 => statements.extend([
            format!("SELECT slot INTO @mine FROM badge WHERE id={id}"),
            format!("SELECT slot INTO @other FROM badge WHERE id={other}"),
            format!("UPDATE badge SET slot=NULL WHERE id={id}"),
            format!("UPDATE badge SET slot=@mine WHERE id={other}"),
            format!("UPDATE badge SET slot=@other WHERE id={id}"),
        ]),
        2 => statements.extend([
            format!("UPDATE badge SET code='between' WHERE id={id}"),
            format!("UPDATE badge SET code='code {id}' WHERE id={other}"),
            format!("UPDATE badge SET code='CODE {other}' WHERE id={id}"),
        ]),
        // Whoever holds one of these values goes.
        3 => statements.push(format!(
            "REPLACE INTO badge (id, code, slot, v) VALUES ({id}, 'Code {other}', {other}, {v})"
        )),
        4 => statements.push(format!("DELETE FROM badge WHERE id={id}")),
        _ => statements.push(format!(
            "UPDATE badge SET v={v} WHERE id={id} OR slot={other}"
        )),
    }
}

fn family(random: &mut Random, statements: &mut Vec<String>) {
    let (id, to) = range(random);
    let other = one(random);
    let v = random.below(1_000_000);
    let parent =
        |from: u64| format!("(SELECT id FROM parent WHERE id>={from} ORDER BY id LIMIT 1)");
    statements.push(match random.below(9) {
        0 => format!("DELETE FROM parent WHERE id={id}"),
        1 => format!("UPDATE parent SET id={other} WHERE id={id}"),
        2 | 3 => {
            let rows: Vec<String> = (id..=to).map(|id| format!("({id}, {v})")).collect();
            format!(
                "INSERT IGNORE INTO parent (id, v) VALUES {}",
                rows.join(", ")
            )
        }
        4 => format!("UPDATE child SET parent={} WHERE id={id}", parent(other)),
        5 => format!("DELETE FROM child WHERE id={id}"),
        6 => format!("UPDATE child SET v={v} WHERE boss BETWEEN {id} AND {to}"),
        _ => format!(
            "INSERT IGNORE INTO child (id, parent, boss, v) SELECT {id}, p.id, b.id, {v} \
             FROM {} AS p, {} AS b",
            parent(other),
            parent(id)
        ),
    });
}

fn tree(random: &mut Random, statements: &mut Vec<String>) {
    let id = one(random).max(2);
    let v = random.below(1_000_000);
    // Half the number at most, so that no branch is deeper than a cascade may go.
    let up = format!(
        "(SELECT id FROM (SELECT id FROM tree WHERE id BETWEEN 1 AND {} ORDER BY id DESC LIMIT 1) AS t)",
        id / 2
    );
    statements.push(match random.below(4) {
        0 => format!("DELETE FROM tree WHERE id={id}"),
        1 => format!("UPDATE tree SET up={up}, v={v} WHERE id={id}"),
        _ => format!("INSERT IGNORE INTO tree (id, up, v) VALUES ({id}, {up}, {v})"),
    });
}

/// Rows of one stamp, more than a batch holds.
fn many(random: &mut Random, statements: &mut Vec<String>) {
    let from = random.between(1, MANY);
    let to = from + random.magnitude(13);
    let v = random.below(1_000_000);
    statements.push(match random.below(8) {
        0..3 => {
            let further = random.one_of(&[500, 1_000, 2_000, 4_000]);
            format!(
                "INSERT IGNORE INTO many (id, v) SELECT id+{further}, {v} FROM many \
                 WHERE id BETWEEN 1 AND {}",
                MANY - further
            )
        }
        3..7 => format!("UPDATE many SET v=v+{v} WHERE id BETWEEN {from} AND {to}"),
        _ => format!("DELETE FROM many WHERE id BETWEEN {from} AND {to} AND id%2=0"),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_transaction_touches_a_sentinel_or_writes_an_unstamped_row_unasked() {
        let mut random = Random::new(1, 1);
        for _ in 0..10_000 {
            for statement in Transaction::next(&mut random, false).statements {
                assert!(!statement.contains("sentinel"), "{statement}");
                assert!(!statement.contains("s=NULL"), "{statement}");
                assert!(!statement.contains(", s)"), "{statement}");
            }
        }
    }
}
