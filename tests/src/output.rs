//! What a puller that has ended says: its exit code, and what its log has of each table.

use std::process::ExitStatus;

/// How a `dbd-puller` ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// All that it wrote.
    pub stderr: String,
    /// The lines of its standard output: the differences that `--verify` and `--dry-run` print.
    pub stdout: Vec<String>,
    /// Its line for each table and pull.
    pub pulls: Vec<Pulled>,
    /// Its line for each table that was reconciled.
    pub reconciled: Vec<Reconciled>,
}

/// What the puller says of one table and pull.
#[derive(Clone, Debug, Default)]
pub struct Pulled {
    /// The table.
    pub table: String,
    /// How many rows came.
    pub rows: u64,
    /// The horizon.
    pub horizon: String,
    /// `proven` or `assumed`.
    pub basis: String,
}

/// What the puller says of one table that it reconciled.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    /// The table.
    pub table: String,
    /// Rows that the source has no more.
    pub deleted: u64,
    /// Rows that the source alone had.
    pub fetched: u64,
    /// Rows that differed.
    pub repaired: u64,
    /// Bytes of the bodies that were received for it.
    pub bytes: u64,
}

impl Output {
    pub(crate) fn new(status: ExitStatus, lines: &[String], stdout: Vec<String>) -> Self {
        Self {
            code: status.code(),
            stderr: lines.join("\n"),
            stdout,
            pulls: pulls(lines),
            reconciled: reconciled(lines),
        }
    }

    /// How many rows came for that table, over all pulls.
    #[must_use]
    pub fn rows(&self, table: &str) -> u64 {
        let of_table = self.pulls.iter().filter(|pulled| pulled.table == table);
        of_table.map(|pulled| pulled.rows).sum()
    }

    /// What was done to that table when it was reconciled; none when it was not, or not to its end.
    #[must_use]
    pub fn of(&self, table: &str) -> Option<(u64, u64, u64)> {
        let line = self.reconciled.iter().find(|line| line.table == table);
        line.map(|line| (line.deleted, line.fetched, line.repaired))
    }

    /// Whether that table was pulled at all.
    #[must_use]
    pub fn pulled(&self, table: &str) -> bool {
        self.pulls.iter().any(|pulled| pulled.table == table)
    }

    /// # Panics
    /// When it did not end well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// # Panics
    /// When it did not end with code 3: what was compared differs.
    #[track_caller]
    pub fn differs(self) -> Self {
        assert_eq!(self.code, Some(3), "{}", self.stderr);
        self
    }

    /// # Panics
    /// When it did not end with code 1, or left out one of those words. Letter case is no matter.
    #[track_caller]
    pub fn fails_naming(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        self.says(words)
    }

    /// # Panics
    /// When it left out one of those words. Letter case is no matter.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "nothing of {word:?}:\n{}",
                self.stderr
            );
        }
        self
    }
}

pub(crate) fn pulls(lines: &[String]) -> Vec<Pulled> {
    let pulled = lines.iter().filter_map(|line| {
        let mut pulled = Pulled::default();
        let mut field = |key: &str, value: &str| match key {
            "rows" => pulled.rows = value.parse().unwrap_or(u64::MAX),
            "horizon" => pulled.horizon = value.to_owned(),
            "basis" => pulled.basis = value.to_owned(),
            _ => {}
        };
        // While polling, what has nothing new is passed over.
        let table = fields(line, "pulled", &mut field).or_else(|| fields(line, "unchanged", field));
        pulled.table = table?;
        Some(pulled)
    });
    pulled.collect()
}

pub(crate) fn reconciled(lines: &[String]) -> Vec<Reconciled> {
    let reconciled = lines.iter().filter_map(|line| {
        let mut reconciled = Reconciled::default();
        reconciled.table = fields(line, "reconciled", |key, value| {
            let number = value.parse().unwrap_or(u64::MAX);
            match key {
                "deleted" => reconciled.deleted = number,
                "fetched" => reconciled.fetched = number,
                "repaired" => reconciled.repaired = number,
                "bytes" => reconciled.bytes = number,
                _ => {}
            }
        })?;
        Some(reconciled)
    });
    reconciled.collect()
}

/// Reads `… pulled table="orders" rows=12 bytes=345 …`: the table, and each field after it.
fn fields(line: &str, message: &str, mut field: impl FnMut(&str, &str)) -> Option<String> {
    let rest = line.split_once(&format!("{message} table="))?.1;
    let (table, rest) = match rest.strip_prefix('"') {
        Some(quoted) => {
            // The end is the first quote that no backslash stands before.
            let mut escaped = false;
            let end = quoted.find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            })?;
            let table = quoted[..end]
                .replace("\\\"", "\"")
                .replace("\\'", "'")
                .replace("\\\\", "\\");
            (table, &quoted[end + 1..])
        }
        None => {
            let (table, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            (table.to_owned(), rest)
        }
    };
    for word in rest.split_whitespace() {
        if let Some((key, value)) = word.split_once('=') {
            field(key, value.trim_matches('"'));
        }
    }
    Some(table)
}
