//! R5: one puller at a time writes to a destination database.
//!
//! Two advisory locks, each on a connection of its own. The puller lock is on a connection that
//! does nothing else: when its puller dies, the server sees the connection end and frees the lock
//! at once. The writer lock is on the connection that writes: the server frees it only when that
//! connection's last statement has ended and its transaction is rolled back, however late. So
//! whoever has both is alone.

use std::time::Duration;

use common::ident::Ident;
use common::session::literal;
use mysql_async::{Conn, prelude::Queryable};

use crate::error::PullError;

/// How long the last statement of a puller that died may take to end once it was killed.
const LEFTOVER_SECS: u32 = 120;

/// How long the puller lock of a puller that just died may take to be freed.
const RELEASE: Duration = Duration::from_secs(1);

/// The longest name of a lock, in characters.
const MAX_NAME: usize = 64;

/// The puller lock, held as long as its connection lives.
pub(crate) struct PullerLock {
    conn: Conn,
    name: String,
    /// The connection's id, and where it comes from: no other connection of the server has both.
    pub(crate) holder: Holder,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    id: u32,
    who: String,
}

impl PullerLock {
    /// Takes the lock, or says who has it. A former connection of this very puller that still has it,
    /// since the server has not noticed its end, is ended.
    pub(crate) async fn take(
        mut conn: Conn,
        database: &Ident,
        former: Option<&Holder>,
    ) -> Result<Self, PullError> {
        let name = name("dbd-puller", database);
        // A connection that idles for long must not be closed by the server.
        conn.query_drop("SET wait_timeout=31536000").await?;
        let question = format!("SELECT GET_LOCK({},{})", literal(&name), RELEASE.as_secs());
        let mut taken: Option<Option<u8>> = conn.query_first(&question).await?;
        let mut found = holder(&mut conn, &name).await?;
        if taken.flatten() != Some(1)
            && let Some(own) = found.as_ref().filter(|holder| Some(*holder) == former)
        {
            tracing::info!("ending {}, a lost connection of this puller", own.who);
            // It may end by itself in this moment.
            if let Err(error) = conn.query_drop(format!("KILL {}", own.id)).await {
                tracing::debug!(%error, "could not end it");
            }
            taken = conn.query_first(&question).await?;
            found = holder(&mut conn, &name).await?;
        }
        match (taken.flatten(), found) {
            (Some(1), Some(holder)) => Ok(Self { conn, name, holder }),
            (_, found) => Err(PullError::Locked {
                database: database.clone(),
                holder: found.map_or("it has just ended".to_owned(), |holder| holder.who),
            }),
        }
    }

    /// Whether the connection still answers. A server that closed it has freed the lock.
    pub(crate) async fn is_held(&mut self) -> bool {
        let question = format!(
            "SELECT IS_USED_LOCK({})=CONNECTION_ID()",
            literal(&self.name)
        );
        let held = self.conn.query_first::<Option<u8>, _>(question).await;
        matches!(held, Ok(Some(Some(1))))
    }

    /// A query for another connection of the same server: 1 while this lock is held.
    pub(crate) fn check(&self) -> String {
        format!(
            "SELECT COALESCE(IS_USED_LOCK({})={},0)",
            literal(&self.name),
            self.conn.id()
        )
    }
}

/// Takes the writer lock of a lane on the connection that is to write there. A puller that died may
/// have left a writer: it is ended, and waited for.
pub(crate) async fn take_writer(
    conn: &mut Conn,
    database: &Ident,
    lane: usize,
) -> Result<(), PullError> {
    let name = match lane {
        0 => name("dbd-writer", database),
        lane => name(&format!("dbd-writer-{lane}"), database),
    };
    let try_for = |seconds: u32| format!("SELECT GET_LOCK({},{seconds})", literal(&name));
    let taken: Option<Option<u8>> = conn.query_first(try_for(0)).await?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    if let Some(Holder { id, who }) = holder(conn, &name).await? {
        tracing::warn!(
            "a puller that died has left a writer, {who}; ending it and waiting until it is gone"
        );
        // It may have ended by itself meanwhile, or belong to another account: then it is only
        // waited for.
        if let Err(error) = conn.query_drop(format!("KILL {id}")).await {
            tracing::debug!(%error, "could not end the leftover writer");
        }
    }
    let taken: Option<Option<u8>> = conn.query_first(try_for(LEFTOVER_SECS)).await?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    let holder = holder(conn, &name).await?;
    Err(PullError::Locked {
        database: database.clone(),
        holder: format!(
            "the last statement of a puller that died still runs ({})",
            holder.map_or("it has just ended".to_owned(), |holder| holder.who)
        ),
    })
}

/// The connection that holds a lock, and how to tell it from others.
async fn holder(conn: &mut Conn, name: &str) -> Result<Option<Holder>, mysql_async::Error> {
    let id: Option<Option<u32>> = conn
        .query_first(format!("SELECT IS_USED_LOCK({})", literal(name)))
        .await?;
    let Some(id) = id.flatten() else {
        return Ok(None);
    };
    let row: Option<(String, String)> = conn
        .query_first(format!(
            "SELECT USER, HOST FROM information_schema.PROCESSLIST WHERE ID={id}"
        ))
        .await?;
    Ok(Some(Holder {
        id,
        who: match row {
            Some((user, host)) => format!("connection {id} of {user} from {host}"),
            None => format!("connection {id}"),
        },
    }))
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
