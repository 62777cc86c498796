//! R5: one puller at a time writes to a destination database.
//!
//! Two advisory locks, each on a connection of its own. The puller lock is on a connection that
//! does nothing else: when its puller dies, the server sees the connection end and frees the lock
//! at once. The writer lock is on the connection that writes: the server frees it only when that
//! connection's last statement has ended and its transaction is rolled back, however late. So
//! whoever has both is alone.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use common::ident::Ident;
use common::session::{CONNECT_TIMEOUT, literal};
use common::table::Flavour;
use mysql_async::{Conn, prelude::Queryable};

use crate::error::PullError;
use crate::link::{Link, within};
use crate::watch::processlist;

/// How long the last statement of a puller that died may take to end once it was killed.
const LEFTOVER_SECS: u32 = 120;

/// The lock's connection is asked every few seconds (`watch.rs`). When the server has heard nothing of it for
/// so long it closes it, and the lock is free: a machine that died does not keep it.
const UNHEARD_SECS: u32 = 30;

/// How long the puller lock of a puller that just died may take to be freed.
const RELEASE: Duration = Duration::from_secs(1);

/// How many of its former connections a puller remembers.
const MAX_FORMER: usize = 16;

/// The longest name of a lock, in characters.
const MAX_NAME: usize = 64;

/// The puller lock, held as long as its connection lives.
pub(crate) struct PullerLock {
    pub(crate) conn: Conn,
    name: String,
    /// The connection that holds it.
    pub(crate) holder: Holder,
}

/// Who holds a lock: the connection's id, and where it comes from. No other connection of the server has both.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    id: u32,
    who: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.who)
    }
}

/// The connections of this puller that asked a server for the puller lock, and may have it there still: the
/// network may have lost them, or only the answer.
#[derive(Debug, Default)]
pub(crate) struct Former(VecDeque<Holder>);

impl Former {
    fn add(&mut self, holder: Holder) {
        if self.0.len() == MAX_FORMER {
            self.0.pop_front();
        }
        self.0.push_back(holder);
    }

    fn contains(&self, holder: &Holder) -> bool {
        self.0.contains(holder)
    }
}

impl PullerLock {
    /// Takes the lock, or says who has it. A former connection of this very puller that still has it,
    /// since the server has not noticed its end, is ended.
    pub(crate) async fn take(
        mut conn: Conn,
        flavour: Flavour,
        database: &Ident,
        former: &mut Former,
    ) -> Result<Self, PullError> {
        let name = name("dbd-puller", database);
        let unheard = conn.query_drop(format!("SET wait_timeout={UNHEARD_SECS}"));
        within(CONNECT_TIMEOUT, unheard).await?;
        let id = conn.id();
        let own = within(CONNECT_TIMEOUT, described(&mut conn, flavour, id)).await?;
        former.add(own.clone());
        let question = format!("SELECT GET_LOCK({},{})", literal(&name), RELEASE.as_secs());
        let mut taken = try_lock(&mut conn, &question).await?;
        let mut found = None;
        if !taken {
            found = held_by(&mut conn, flavour, &name).await?;
            if let Some(own) = found.as_ref().filter(|holder| former.contains(holder)) {
                end(&mut conn, own).await?;
                taken = try_lock(&mut conn, &question).await?;
                found = held_by(&mut conn, flavour, &name).await?;
            }
        }
        if taken {
            *former = Former(VecDeque::from([own.clone()]));
            let holder = own;
            return Ok(Self { conn, name, holder });
        }
        Err(PullError::Locked {
            database: database.clone(),
            holder: found.map_or("it has just ended".to_owned(), |holder| holder.who),
        })
    }

    /// A query that answers 1 while this lock is held, on this connection or another of the same server.
    pub(crate) fn check(&self) -> String {
        format!(
            "SELECT COALESCE(IS_USED_LOCK({})={},0)",
            literal(&self.name),
            self.conn.id()
        )
    }
}

/// Who holds the puller lock at another server, if that is neither this puller's connection `current` nor a
/// former one. A former one is ended.
pub(crate) async fn stranger(
    conn: &mut Conn,
    flavour: Flavour,
    database: &Ident,
    current: &Holder,
    former: &Former,
) -> Result<Option<Holder>, mysql_async::Error> {
    let name = name("dbd-puller", database);
    // Two names of the list may mean one server: then it is this very lock that is found.
    let found = held_by(conn, flavour, &name).await?;
    let Some(found) = found.filter(|found| found != current) else {
        return Ok(None);
    };
    if former.contains(&found) {
        end(conn, &found).await?;
        return Ok(None);
    }
    Ok(Some(found))
}

/// Ends a former connection of this puller.
async fn end(conn: &mut Conn, own: &Holder) -> Result<(), mysql_async::Error> {
    tracing::info!("ending {own}, a lost connection of this puller");
    let ended = within(CONNECT_TIMEOUT, conn.query_drop(format!("KILL {}", own.id))).await;
    match ended {
        // It may end by itself in this moment.
        Err(error @ mysql_async::Error::Server(_)) => {
            tracing::debug!(%error, "could not end it");
            Ok(())
        }
        ended => ended,
    }
}

async fn try_lock(conn: &mut Conn, question: &str) -> Result<bool, mysql_async::Error> {
    let answer = conn.query_first::<Option<u8>, _>(question);
    Ok(within(CONNECT_TIMEOUT, answer).await?.flatten() == Some(1))
}

async fn held_by(
    conn: &mut Conn,
    flavour: Flavour,
    name: &str,
) -> Result<Option<Holder>, mysql_async::Error> {
    within(CONNECT_TIMEOUT, holder(conn, flavour, name)).await
}

/// Takes the writer lock of a lane on the connection that is to write there. A puller that died may
/// have left a writer: it is ended, and waited for.
pub(crate) async fn take_writer(
    link: &mut Link,
    flavour: Flavour,
    database: &Ident,
    lane: usize,
) -> Result<(), PullError> {
    let name = writer_name(database, lane);
    let try_for = |seconds: u32| format!("SELECT GET_LOCK({},{seconds})", literal(&name));
    let taken: Option<Option<u8>> = link.query_first(try_for(0)).await?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    let leftover = holder(link.ask(0)?, flavour, &name).await;
    link.answered();
    if let Some(Holder { id, who }) = leftover? {
        tracing::warn!(
            "a puller that died has left a writer, {who}; ending it and waiting until it is gone"
        );
        // It may have ended by itself meanwhile, or belong to another account: then it is only
        // waited for.
        if let Err(error) = link.query_drop(format!("KILL {id}")).await {
            tracing::debug!(%error, "could not end the leftover writer");
        }
    }
    let taken: Option<Option<u8>> = link.query_first(try_for(LEFTOVER_SECS)).await?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    let holder = holder(link.ask(0)?, flavour, &name).await;
    link.answered();
    Err(PullError::Locked {
        database: database.clone(),
        holder: format!(
            "the last statement of a puller that died still runs ({})",
            holder?.map_or("it has just ended".to_owned(), |holder| holder.who)
        ),
    })
}

/// Leaves a lane's lock to another connection of this puller.
pub(crate) async fn release_writer(
    link: &mut Link,
    database: &Ident,
    lane: usize,
) -> Result<(), PullError> {
    let name = literal(&writer_name(database, lane));
    link.query_drop(format!("DO RELEASE_LOCK({name})")).await?;
    Ok(())
}

fn writer_name(database: &Ident, lane: usize) -> String {
    match lane {
        0 => name("dbd-writer", database),
        lane => name(&format!("dbd-writer-{lane}"), database),
    }
}

/// The connection that holds a lock, and how to tell it from others.
async fn holder(
    conn: &mut Conn,
    flavour: Flavour,
    name: &str,
) -> Result<Option<Holder>, mysql_async::Error> {
    let id: Option<Option<u32>> = conn
        .query_first(format!("SELECT IS_USED_LOCK({})", literal(name)))
        .await?;
    match id.flatten() {
        Some(id) => described(conn, flavour, id).await.map(Some),
        None => Ok(None),
    }
}

async fn described(
    conn: &mut Conn,
    flavour: Flavour,
    id: u32,
) -> Result<Holder, mysql_async::Error> {
    let row: Option<(String, String)> = conn
        .query_first(format!(
            "SELECT COALESCE(USER,''), COALESCE(HOST,'') FROM {} WHERE ID={id}",
            processlist(flavour)
        ))
        .await?;
    Ok(Holder {
        id,
        who: match row {
            Some((user, host)) => format!("connection {id} of {user} from {host}"),
            None => format!("connection {id}"),
        },
    })
}

/// The name of a lock. A database's name may be too long for it; then a hash stands for its end.
fn name(prefix: &str, database: &Ident) -> String {
    let plain = format!("{prefix}:{}", database.as_str());
    if plain.chars().count() <= MAX_NAME {
        return plain;
    }
    // FNV-1a: it must be the same in every version of this program, which std's hasher is not.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in database.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let kept: String = plain.chars().take(MAX_NAME - 17).collect();
    format!("{kept}:{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_a_name_of_its_own_for_every_database() {
        let long = |end: &str| Ident::parse(&format!("{}{end}", "d".repeat(63))).unwrap();
        let names = [
            name("dbd-puller", &Ident::parse("shop").unwrap()),
            name("dbd-writer", &Ident::parse("shop").unwrap()),
            name("dbd-puller", &long("a")),
            name("dbd-puller", &long("b")),
        ];
        for (at, one) in names.iter().enumerate() {
            assert!(one.chars().count() <= MAX_NAME, "{one}");
            assert!(names[at + 1..].iter().all(|other| other != one), "{one}");
        }
    }
}
