//! The destination of a pull: the connections of the pull before, or new ones.

use crate::destination::Destination;
use crate::error::PullError;
use crate::round::Puller;

impl Puller {
    /// The destination, connected, with its locks.
    pub(crate) async fn connected(&mut self) -> Result<Destination, PullError> {
        let mut kept = self.destination.take();
        if let Some(destination) = &mut kept
            && !destination.is_alive().await
        {
            // The old connections go first: their locks are wanted again.
            kept = None;
        }
        let mut destination = match kept {
            Some(destination) => destination,
            None => {
                let database = self.args.destination_database();
                let connected = if self.args.only_compares() {
                    Destination::connect_to_read(&self.address, database).await?
                } else {
                    let former = self.former.as_ref();
                    Destination::connect(&self.address, database, former).await?
                };
                self.former = connected.holder().cloned().or(self.former.take());
                // It may be another server by now, or hold less than it did.
                for known in self.tables.values_mut() {
                    known.checked = false;
                    known.plan = None;
                }
                connected
            }
        };
        if !self.args.only_compares() {
            let lanes = match self.args.parallel {
                1 => 0,
                lanes => usize::from(lanes),
            };
            destination.open_lanes(&self.address, lanes).await?;
        }
        Ok(destination)
    }
}
