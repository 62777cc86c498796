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
    /// It is a replica that has begun to apply what it has got: it does not know yet how far behind it
    /// is, and calls that 0 s.
    Starting,
    /// It is a replica that does not apply what it gets, or does not say how far behind it is.
    Stopped,
    /// It is a member of a Galera or Group Replication cluster.
    Cluster,
}

/// Asks the source. `counts` says that its lag was seen to count, or that it had applied all, since it last
/// stood still.
pub(crate) async fn look(
    conn: &mut Conn,
    flavour: Flavour,
    counts: bool,
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
        let value = |names: &[&str]| {
            let mut columns = channel.columns_ref().iter();
            let at = columns.position(|column| names.contains(&&*column.name_str()));
            at.map(|at| text(channel, at)).unwrap_or_default()
        };
        let Ok(seconds) = value(&[lag]).parse::<u64>() else {
            return Ok(Replication::Stopped);
        };
        // What waits for its delay may not count as lag yet.
        let delay: u64 = value(&["SQL_Delay"]).parse().unwrap_or(0);
        let has_all = value(&["Source_Log_File", "Master_Log_File"])
            == value(&["Relay_Source_Log_File", "Relay_Master_Log_File"])
            && value(&["Read_Source_Log_Pos", "Read_Master_Log_Pos"])
                == value(&["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"]);
        if seconds == 0 && !has_all && !counts {
            return Ok(Replication::Starting);
        }
        behind = behind.max(Some(seconds + delay));
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
