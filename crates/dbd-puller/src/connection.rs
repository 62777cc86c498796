//! The destination of a pull: the connections of the pull before, or new ones.

use crate::destination::Destination;
use crate::displace::Displaced;
use crate::error::PullError;
use crate::round::Puller;

impl Puller {
    /// Whether this puller has held the lock: what holds it then is only for a moment.
    pub(crate) fn has_held_lock(&self) -> bool {
        self.hosts.were_written_to()
    }

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
            None => self.connect().await?,
        };
        if !self.args.only_compares() {
            let lanes = match self.args.parallel {
                1 => 0,
                lanes => usize::from(lanes),
            };
            let lost = destination.lost();
            tokio::select! {
                wanted = destination.want_lanes(lanes) => wanted?,
                error = lost => return Err(error),
            }
        }
        Ok(destination)
    }

    async fn connect(&mut self) -> Result<Destination, PullError> {
        let database = self.args.destination_database();
        let to_write = !self.args.only_compares();
        let (destination, moved) = self.hosts.connect(database, to_write).await?;
        // It may be another server by now, or hold less than it did.
        for known in self.tables.values_mut() {
            known.checked = false;
            known.plan = None;
            if moved {
                // These values were those of the former host's rows.
                known.displaced = Displaced::default();
            }
        }
        if moved {
            self.pass.of_another_destination();
        }
        Ok(destination)
    }
}
