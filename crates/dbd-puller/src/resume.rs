//! R12: from where a pull goes on, as the destination's rows say and the source confirms.

use common::stamp::Stamp;

use crate::answer::Next;
use crate::batch::Layout;
use crate::client::{Columns, KeyValues, in_parts};
use crate::destination::{Destination, KeyMap};
use crate::error::PullError;
use crate::plan::Plan;
use crate::position::Position;
use crate::pull::{Order, Start};

/// How many candidates for a position are passed over, and how many checked at the source, step by step.
/// Where all of the last rows were changed or deleted at the source since, the steps grow longer.
const CANDIDATES: [(usize, usize); 7] = [
    (0, 1),
    (0, 50),
    (0, 500),
    (0, 1_000),
    (10_000, 1_000),
    (100_000, 1_000),
    (1_000_000, 1_000),
];

impl Order<'_> {
    /// R12: where the destination's rows say that a pull must go on.
    ///
    /// A row that was written at the destination by somebody else may carry a later stamp than
    /// what has been pulled. So the greatest position counts that the source holds as well.
    pub(crate) async fn position(&self, destination: &mut Destination) -> Result<Start, PullError> {
        let plan = &self.plan;
        let horizon = self.begun.horizon.floor(plan.precision);
        let mut before: Option<Position> = None;
        let mut foreign: Option<Position> = None;
        for (skip, count) in CANDIDATES {
            let candidates = destination
                .positions(plan, horizon, before.as_ref(), skip, count)
                .await?;
            let stamps = self.stamps_at_source(&candidates).await?;
            for candidate in &candidates {
                match stamps.get(&candidate.key) {
                    Some(Some(stamp)) if *stamp == candidate.stamp => {
                        warn_of_foreign(plan, foreign.as_ref(), Some(candidate));
                        return Ok(Start::Behind(candidate.clone()));
                    }
                    // Changed at the source since: that the destination's stamp was ever the
                    // source's is not shown.
                    Some(Some(stamp)) if *stamp > candidate.stamp => {}
                    // Deleted at the source: likewise.
                    None => {}
                    Some(_) => {
                        foreign.get_or_insert_with(|| candidate.clone());
                    }
                }
            }
            if candidates.len() < count {
                warn_of_foreign(plan, foreign.as_ref(), None);
                return Ok(Start::Beginning);
            }
            before = candidates.last().cloned();
        }
        warn_of_foreign(plan, foreign.as_ref(), None);
        Ok(Start::Beginning)
    }

    /// The time below which every row of the source was pulled, by this position. Rows of its own stamp
    /// may still come: a batch need not end with the last of them. Where the source gave out stamps twice
    /// the answer begins before the position, and nothing from there on counts as pulled.
    pub(crate) async fn pulled_below(&self, position: &Position) -> Result<Stamp, PullError> {
        let plan = &self.plan;
        let behind = self.window(&Start::Behind(position.clone()));
        let stamp = std::slice::from_ref(&plan.stamp.name);
        let columns = Columns::Only(stamp);
        let first = self
            .client
            .first(self.database, &plan.table, &behind, &columns);
        let mut rows = first.await?;
        self.trust(&rows.header)?;
        let layout = Layout::of_position(plan, &rows.header.columns)?;
        let mut below = position.stamp.next(plan.precision);
        while let Next::Row(line) = rows.next().await? {
            let (_, stamp) = layout.position(plan, &line)?;
            below = stamp.map_or(below, |stamp| below.min(stamp));
        }
        Ok(below)
    }

    /// The stamps that the source has for the keys of candidates; none for a key that it has not.
    async fn stamps_at_source(
        &self,
        candidates: &[Position],
    ) -> Result<KeyMap<Option<Stamp>>, PullError> {
        let plan = &self.plan;
        let keys: Vec<KeyValues> = candidates
            .iter()
            .map(|candidate| candidate.key.clone())
            .collect();
        let stamp = std::slice::from_ref(&plan.stamp.name);
        let mut stamps = KeyMap::new();
        for part in in_parts(&keys) {
            let mut rows = self.by_key(&Columns::Only(stamp), part).await?;
            let layout = Layout::of_position(plan, &rows.header.columns)?;
            while let Next::Row(line) = rows.next().await? {
                let (key, stamp) = layout.position(plan, &line)?;
                stamps.insert(key, stamp);
            }
        }
        Ok(stamps)
    }
}

fn warn_of_foreign(plan: &Plan, foreign: Option<&Position>, holds: Option<&Position>) {
    let Some(foreign) = foreign else {
        return;
    };
    let from = holds.map_or("the beginning".to_owned(), |position| {
        position.stamp.to_string()
    });
    tracing::warn!(
        table = plan.table.as_str(),
        "something else writes to this table at the destination: the row with key {} has the stamp \
         {} there, later than at the source; pulling again from {from}. Make {} a column without ON \
         UPDATE at the destination, or stop what writes there",
        foreign.key.join(", "),
        foreign.stamp,
        plan.stamp.name,
    );
}
