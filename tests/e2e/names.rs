//! Names may hold any character.

use harness::{Flavour, Pair, every_direction, quoted};

use crate::STAMP;

every_direction!(any_name_is_pulled_and_created);

const NAMES: &[&str] = &[
    "with space",
    "q'uo\"te",
    "back`tick",
    "dot.ted",
    "sla/sh",
    "per%cent %41 %2F",
    "que?ry&a=b#c+d",
    "ünï 日本",
    "comma,semi;colon",
    "back\\slash",
    "select",
    "{brace} [bracket] <angle>",
    "..dots",
];

/// R7. A name ends no quotes, no path and no query.
async fn any_name_is_pulled_and_created(pair: Pair) {
    let (source, dest) = (pair.source.flavour(), pair.dest.flavour());
    drop(pair);
    pull_between(source, dest).await;
}

async fn pull_between(source: Flavour, dest: Flavour) {
    let mut pair = Pair::named(source, dest, "a `b`.c/d%41?e&f'g\"h 日").await;
    for (at, name) in NAMES.iter().enumerate() {
        let table = quoted(name);
        // Names of columns may not end in a space; neither may those of tables.
        let key = quoted(&format!("{name} key"));
        let sql =
            format!("CREATE TABLE {table} ({key} INT PRIMARY KEY, {table} VARCHAR(20), {STAMP})");
        pair.source.run(&sql).await;
        // Every other one is left to --create-tables.
        if at % 2 == 0 {
            pair.dest.run(&sql).await;
        }
        pair.source
            .run(format!(
                "INSERT INTO {table} ({key}, {table}) VALUES (1, 'one'), (2, 'two')"
            ))
            .await;
    }
    let output = pair.pull(&["--create-tables"]).await.ok();
    for name in NAMES {
        assert_eq!(output.rows(name), 2, "{name}:\n{}", output.stderr);
    }
    pair.assert_same().await;
    for name in NAMES {
        let table = quoted(name);
        pair.source
            .run(format!(
                "UPDATE {table} SET {table}='uno' WHERE {}=1",
                quoted(&format!("{name} key"))
            ))
            .await;
    }
    let output = pair.pull(&[]).await.ok();
    for name in NAMES {
        assert_eq!(output.rows(name), 1, "{name}");
    }
    pair.assert_same().await;
}
