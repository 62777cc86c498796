//! What a puller says at its end.

use crate::known::{Known, Totals};
use crate::round::Puller;

impl Puller {
    /// One line for each table of which rows were written or deleted, or which failed last.
    pub(crate) fn summarise(&self) {
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by_key(|(name, _)| name.as_str());
        for (name, known) in tables {
            let failures = failures(known);
            let totals = &known.totals;
            if *totals == Totals::default() && failures.is_none() {
                continue;
            }
            tracing::info!(
                table = name.as_str(),
                pulled = totals.pulled,
                deleted = totals.deleted,
                fetched = totals.fetched,
                repaired = totals.repaired,
                failed = failures,
                "summary"
            );
        }
    }
}

/// What is still wrong with a table.
pub(crate) fn failures(known: &Known) -> Option<String> {
    let failures = [&known.failed, &known.unmended].into_iter().flatten();
    let failures: Vec<&str> = failures.map(|failed| failed.message.as_str()).collect();
    (!failures.is_empty()).then(|| failures.join("; "))
}
