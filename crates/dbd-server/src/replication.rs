//! SQL: whether the source gets its rows from another server.
//!
//! A replica, and a member of a cluster, shows rows later than they were stamped: no look at its
//! own transactions tells which are still to come.

use std::time::Duration;

use common::table::Flavour;
use mysql_async::{Conn, Row, prelude::Queryable};

use crate::sampler::text;

/// How the source stands to other servers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Replication {
    /// It gets no rows from anywhere.
    None,
    /// It may be a replica; the account may not ask.
    Unknown,
    /// It is a replica that applies what it gets, so far behind.
    Lags(Duration),
    /// It is a replica that does not apply what it gets, or does not say how far behind it is.
    Stopped,
    /// It is a member of a Galera or Group Replication cluster.
    Cluster,
}

/// Asks the source.
pub(crate) async fn look(
    conn: &mut Conn,
    flavour: Flavour,
) -> Result<Replication, mysql_async::Error> {
    let (cluster, statement, lag) = match flavour {
        Flavour::MySql => (
            "SELECT COUNT(*)>1 FROM performance_schema.replication_group_members",
            "SHOW REPLICA STATUS",
            "Seconds_Behind_Source",
        ),
        Flavour::MariaDb => (
            "SELECT @@wsrep_on AND @@wsrep_cluster_address<>''",
            "SHOW ALL SLAVES STATUS",
            "Seconds_Behind_Master",
        ),
    };
    let member = answered(conn.query_first::<Option<u8>, _>(cluster).await)?;
    let channels = answered(conn.query::<Row, _>(statement).await)?;
    if member.flatten().flatten() == Some(1) {
        return Ok(Replication::Cluster);
    }
    let (Some(_), Some(channels)) = (member, channels) else {
        return Ok(Replication::Unknown);
    };
    let mut behind = None;
    for channel in &channels {
        let at = channel
            .columns_ref()
            .iter()
            .position(|column| column.name_str() == lag);
        let Some(seconds) = at.and_then(|at| text(channel, at).parse().ok()) else {
            return Ok(Replication::Stopped);
        };
        behind = behind.max(Some(seconds));
    }
    Ok(behind.map_or(Replication::None, |seconds| {
        Replication::Lags(Duration::from_secs(seconds))
    }))
}

/// What the source answered; none when it refused to.
fn answered<T>(result: Result<T, mysql_async::Error>) -> Result<Option<T>, mysql_async::Error> {
    match result {
        Err(mysql_async::Error::Server(_)) => Ok(None),
        result => result.map(Some),
    }
}
