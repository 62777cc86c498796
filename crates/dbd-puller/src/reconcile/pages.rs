//! SQL: the destination's rows in the order of its key, a page at a time.

use common::scan::Bound;
use mysql_async::Row;

use crate::destination::Destination;
use crate::error::PullError;
use crate::plan::Plan;
use crate::position::broken;
use crate::reconcile::shape::{Compared, Shape};
use crate::transaction::meaning;

impl Destination {
    /// The rows behind `after`, up to and with `up_to`, at most `limit`; and, where there may be
    /// more, the bound that they lie behind.
    pub(crate) async fn page(
        &mut self,
        plan: &Plan,
        shape: &mut Shape,
        after: Option<&Bound>,
        up_to: Option<&Bound>,
        limit: usize,
    ) -> Result<(Vec<Compared>, Option<Bound>), PullError> {
        let statement = shape.scan.page(&shape.select(), after, up_to, limit as u64);
        let broken = |error| broken(plan, &error);
        let mut found = Vec::new();
        let mut last: Option<Row> = None;
        // Row by row: a row may be long, and what is kept of it is not.
        let read = self.link.each_row(statement, |row| {
            found.push(shape.compared(&row));
            last = Some(row);
        });
        read.await
            .map_err(|error| meaning(plan, error).settled(plan))?;
        let next = match last {
            Some(last) if found.len() >= limit => Some(shape.bound_of(&last).map_err(broken)?),
            _ => None,
        };
        let found = found.into_iter().collect::<Result<_, _>>();
        Ok((found.map_err(broken)?, next))
    }
}
