//! The tables: one for each kind of key and relation, and in each some rows that nobody touches.

use crate::pair::Pair;
use crate::side::Side;

/// Untouched rows of each table: numbers -1 … -`SENTINELS`, and texts `sentinel 1` ….
const SENTINELS: u32 = 20;

/// The writers' rows have numbers from 1 to this, so that they meet.
pub(crate) const NUMBERS: u64 = 1_000;

/// The same for the table of many rows.
pub(crate) const MANY: u64 = 8_000;

/// How many of them there are at the beginning.
const FIRST: u32 = 500;

/// A table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    definition: &'static str,
    /// All columns but the stamp.
    columns: &'static str,
    /// What all rows hold that nobody touches, and no others.
    sentinel: &'static str,
    /// The values of the row of number `n`, for `columns`.
    values: &'static str,
}

pub(crate) const TABLES: [Table; 9] = [
    Table {
        name: "number",
        definition: "id BIGINT PRIMARY KEY, v INT NOT NULL, note VARCHAR(100), \
                  s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "id, v, note",
        sentinel: "id<0",
        values: "n, 0, CONCAT('note ', n)",
    },
    Table {
        name: "many",
        definition: "id BIGINT PRIMARY KEY, v BIGINT NOT NULL, \
                  s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
        columns: "id, v",
        sentinel: "id<0",
        values: "n, 0",
    },
    Table {
        name: "two",
        definition: "a INT, b VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, v INT, \
                  PRIMARY KEY (a, b), \
                  s TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
        columns: "a, b, v",
        sentinel: "a<0",
        values: "n, ELT(1+ABS(n)%3, 'x', 'X', 'é'), 0",
    },
    Table {
        name: "folded",
        definition: "k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY, v INT, \
                  s TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "k, v",
        sentinel: "k LIKE 'sentinel%'",
        values: "CONCAT(IF(n<0, 'sentinel ', 'key '), ABS(n)), n",
    },
    Table {
        name: "wide",
        definition: "k VARBINARY(20) PRIMARY KEY, body MEDIUMBLOB, \
                  s TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "k, body",
        sentinel: "k LIKE 'sentinel%'",
        values: "CONCAT(IF(n<0, 'sentinel ', 'key '), ABS(n)), REPEAT('b', ABS(n))",
    },
    Table {
        name: "badge",
        definition: "id INT PRIMARY KEY, \
                  code VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL UNIQUE, \
                  slot INT UNIQUE, v INT, \
                  s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "id, code, slot, v",
        sentinel: "id<0",
        values: "n, CONCAT('code ', n), n, 0",
    },
    Table {
        name: "parent",
        definition: "id INT PRIMARY KEY, v INT, \
                  s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "id, v",
        sentinel: "id<0",
        values: "n, 0",
    },
    Table {
        name: "child",
        definition: "id INT PRIMARY KEY, parent INT, boss INT NOT NULL, v INT, \
                  FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE CASCADE, \
                  FOREIGN KEY (boss) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE, \
                  s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "id, parent, boss, v",
        sentinel: "id<0",
        values: "n, n, n, 0",
    },
    Table {
        name: "tree",
        definition: "id INT PRIMARY KEY, up INT, v INT, \
                  FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE, \
                  s TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        columns: "id, up, v",
        sentinel: "id<0",
        values: "n, IF(n IN (1, -1), NULL, IF(n<0, -1, 1)), 0",
    },
];

/// What a foreign key's cascade changes: no window can see it, since the stamp stays.
pub(crate) const CASCADED: [&str; 3] = ["parent", "boss", "up"];

impl Table {
    /// A query for the number of the rows that nobody touches, and a sum over what they hold.
    pub(crate) fn sentinels(&self) -> String {
        format!(
            "SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', {}, s))), 0) FROM {} WHERE {}",
            self.columns, self.name, self.sentinel
        )
    }

    /// Rows of the numbers `numbers`, in one statement.
    fn insert(&self, numbers: impl Iterator<Item = i64>) -> String {
        let numbers: Vec<String> = numbers.map(|n| format!("SELECT {n} AS n")).collect();
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM ({}) AS numbers ORDER BY ABS(n)",
            self.name,
            self.columns,
            self.values,
            numbers.join(" UNION ALL ")
        )
    }
}

/// Makes the tables on both sides, and their first rows at the source.
pub(crate) async fn make(pair: &Pair) {
    for table in &TABLES {
        pair.both(&format!(
            "CREATE TABLE {} ({}, KEY (s))",
            table.name, table.definition
        ))
        .await;
        fill(&pair.source, table).await;
    }
}

async fn fill(source: &Side, table: &Table) {
    // A row refers to another of its own table only behind that one.
    source
        .run(table.insert((1..=i64::from(SENTINELS)).map(|n| -n)))
        .await;
    source.run(table.insert(1..=i64::from(FIRST))).await;
}
