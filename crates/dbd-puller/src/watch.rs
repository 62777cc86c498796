//! The watch over a destination: whether it still answers, and whether the puller may still write there.
//!
//! It has a connection of its own, the one that holds the puller lock (R5), which asks every few seconds. So
//! nothing else that is asked of the destination needs a bound of its own: a statement may run for hours, and
//! the watch sees that the server is at work on it.

use std::collections::HashMap;
use std::time::Duration;

use common::process::chain;
use common::table::Flavour;
use mysql_async::{Conn, prelude::Queryable};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::PullError;
use crate::fitness::unfit;
use crate::link::{Asked, abandon, silent};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// How long a look may take. Together with the time in between this is how late a destination that went
/// silent is noticed.
const ANSWER: Duration = Duration::from_secs(15);

/// What is watched.
pub(crate) struct Watched {
    pub(crate) flavour: Flavour,
    /// The address, for messages.
    pub(crate) place: String,
    /// A query that answers 1 as long as the watch's connection holds the puller lock; none for who only reads.
    pub(crate) held: Option<String>,
    /// Whether a server that must not be written to is given up: there may be another.
    pub(crate) may_move: bool,
}

/// A watch, as long as it is not dropped; the connection ends with it, and the lock.
pub(crate) struct Watch {
    task: JoinHandle<()>,
    lost: watch::Receiver<Option<String>>,
}

impl Watch {
    /// Begins to watch over those connections whose questions are in `asked`.
    pub(crate) fn begin(conn: Conn, watched: Watched, asked: Asked) -> Self {
        let (tell, lost) = watch::channel(None);
        let task = tokio::spawn(async move {
            let why = Watcher {
                conn: Some(conn),
                watched,
                asked,
                is_looking: false,
                suspects: HashMap::new(),
            }
            .until_lost()
            .await;
            tell.send_replace(Some(why));
        });
        Self { task, lost }
    }

    /// Whether the destination was not lost so far.
    pub(crate) fn is_fine(&self) -> bool {
        if let Some(why) = &*self.lost.borrow() {
            tracing::info!("connecting to the destination again: {why}");
            return false;
        }
        !self.task.is_finished()
    }

    /// Ends when the destination is lost, and says how.
    pub(crate) fn lost(&self) -> impl Future<Output = PullError> + use<> {
        let mut lost = self.lost.clone();
        async move {
            // The sender goes without a word only when the program ends.
            let why = match lost.wait_for(Option::is_some).await {
                Ok(why) => why.clone().unwrap_or_default(),
                Err(_) => std::future::pending().await,
            };
            silent(why).into()
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watcher {
    /// None when this ends.
    conn: Option<Conn>,
    is_looking: bool,
    watched: Watched,
    asked: Asked,
    /// Connections that had nothing to do for the server at the last look, and when they were asked what
    /// is still not answered.
    suspects: HashMap<u32, Instant>,
}

impl Watcher {
    async fn until_lost(mut self) -> String {
        let place = self.watched.place.clone();
        loop {
            tokio::time::sleep(EVERY).await;
            self.is_looking = true;
            let Ok(looked) = tokio::time::timeout(ANSWER, self.look()).await else {
                return format!("{place}: no answer within {} s", ANSWER.as_secs());
            };
            self.is_looking = false;
            match looked {
                Ok(None) => {}
                Ok(Some(why)) => return format!("{place}: {why}"),
                Err(error) => {
                    let which = match self.watched.held {
                        Some(_) => "the connection of the puller lock",
                        None => "the connection that watches over it",
                    };
                    return format!("{place}: {which} failed: {}", chain(&error));
                }
            }
        }
    }

    /// Why the destination is lost, if it is.
    async fn look(&mut self) -> Result<Option<String>, mysql_async::Error> {
        let Some(conn) = &mut self.conn else {
            return Ok(None);
        };
        let question = self.watched.held.as_deref().unwrap_or("SELECT 1");
        if conn.query_first::<Option<u8>, _>(question).await?.flatten() != Some(1) {
            return Ok(Some("the puller lock was lost".to_owned()));
        }
        if self.watched.may_move
            && let Some(why) = unfit(conn).await?
        {
            return Ok(Some(why));
        }
        let overdue = self.asked.overdue();
        let idle = match overdue.is_empty() {
            true => Vec::new(),
            false => idle(conn, self.watched.flavour, overdue.keys().copied()).await,
        };
        let still = self.asked.overdue();
        let idle = overdue
            .into_iter()
            .filter(|(id, asked)| idle.contains(id) && still.get(id) == Some(asked));
        let before = std::mem::replace(&mut self.suspects, idle.collect());
        // An answer may have been on its way at one look, and not at two.
        let mut suspects = self.suspects.iter();
        let lost = suspects.find(|(id, asked)| before.get(id) == Some(asked));
        Ok(lost.map(|(id, asked)| {
            format!(
                "no answer on connection {id} for {} s, where the server has nothing to do",
                asked.elapsed().as_secs()
            )
        }))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take().filter(|_| self.is_looking) {
            abandon(conn);
        }
    }
}

/// Those of the connections that the server is not at work for, or does not have; none where it cannot tell.
async fn idle(conn: &mut Conn, flavour: Flavour, ids: impl Iterator<Item = u32>) -> Vec<u32> {
    let own = conn.id();
    let ids: Vec<u32> = ids.collect();
    let list: Vec<String> = ids.iter().map(u32::to_string).collect();
    let listed: Result<Vec<(u32, String)>, _> = conn
        .query(format!(
            "SELECT ID, COALESCE(COMMAND,'') FROM {} WHERE CONNECTION_ID()={own} AND ID IN ({own},{})",
            processlist(flavour),
            list.join(",")
        ))
        .await;
    let listed: HashMap<u32, String> = match listed {
        Ok(listed) => listed.into_iter().collect(),
        Err(error) => {
            tracing::debug!(%error, "cannot see whether the destination is at work");
            return Vec::new();
        }
    };
    // A list without this connection is none: the performance schema is off, or a proxy in between has ids
    // of its own.
    if !listed.contains_key(&own) {
        return Vec::new();
    }
    let busy = |id: &u32| listed.get(id).is_some_and(|command| command != "Sleep");
    ids.into_iter().filter(|id| !busy(id)).collect()
}

/// The list of connections. MySQL's older one fails while a statement runs that holds raw bytes.
pub(crate) fn processlist(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "performance_schema.processlist",
        Flavour::MariaDb => "information_schema.PROCESSLIST",
    }
}
