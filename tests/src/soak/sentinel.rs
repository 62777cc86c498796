//! Watches rows that nobody touches: they are never missing at the destination, and never changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::{Conn, Error, prelude::Queryable};
use tokio::time::{sleep, timeout};

use crate::server::Server;
use crate::soak::report::Log;
use crate::soak::tables::TABLES;

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// A look that takes longer is given up: the destination was killed, say.
const LIMIT: Duration = Duration::from_secs(10);

/// The number of the untouched rows of each table, and the sum over what they hold.
pub(crate) type Sentinels = Vec<(u64, u64)>;

/// What watches.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) expected: Sentinels,
    pub(crate) log: Log,
    pub(crate) stop: Arc<AtomicBool>,
}

/// What a watch has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) looks: u64,
    /// What was wrong, a line for each.
    pub(crate) wrong: Vec<String>,
}

impl Watch {
    /// Watches until it is told to stop.
    pub(crate) async fn run(self) -> Seen {
        let mut seen = Seen::default();
        let mut conn = None;
        while !self.stop.load(Ordering::SeqCst) {
            let look = async {
                let mut conn = match conn.take() {
                    Some(conn) => conn,
                    None => Server::connect_to(self.port, Some(&self.database)).await?,
                };
                let held = read(&mut conn).await?;
                Ok::<_, Error>((conn, held))
            };
            if let Ok(Ok((kept, held))) = timeout(LIMIT, look).await {
                conn = Some(kept);
                seen.looks += 1;
                self.compare(&held, &mut seen);
            }
            sleep(INTERVAL).await;
        }
        seen
    }

    fn compare(&self, held: &Sentinels, seen: &mut Seen) {
        for (table, (held, expected)) in TABLES.iter().zip(held.iter().zip(&self.expected)) {
            if held != expected {
                let line = format!(
                    "{}: {held:?} instead of {expected:?} untouched rows and their sum",
                    table.name
                );
                self.log.say(&format!("SENTINELS {line}"));
                seen.wrong.push(line);
            }
        }
    }
}

/// What the untouched rows are now.
pub(crate) async fn read(conn: &mut Conn) -> Result<Sentinels, Error> {
    let mut sentinels = Sentinels::new();
    for table in &TABLES {
        let row: Option<(u64, u64)> = conn.query_first(table.sentinels()).await?;
        sentinels.push(row.unwrap_or_default());
    }
    Ok(sentinels)
}
