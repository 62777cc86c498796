//! SQL: whether a server takes writes.

use mysql_async::{Conn, prelude::Queryable};

/// Why a server must not be written to, if so. The questions are such that a member of a cluster that is
/// not ready answers them too, and every flavour in the same words.
pub(crate) async fn unfit(conn: &mut Conn) -> Result<Option<String>, mysql_async::Error> {
    let settings: Vec<(String, String)> = conn
        .query(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
             ('super_read_only','read_only','innodb_read_only','wsrep_on')",
        )
        .await?;
    let is_on = |value: &str| !matches!(value.to_ascii_uppercase().as_str(), "OFF" | "0" | "");
    let (cluster, read_only): (Vec<_>, Vec<_>) = settings
        .into_iter()
        .filter(|(_, value)| is_on(value))
        .map(|(name, _)| name)
        .partition(|name| name == "wsrep_on");
    if let Some(name) = read_only.first() {
        return Ok(Some(format!("it is read-only ({name})")));
    }
    if cluster.is_empty() {
        return Ok(None);
    }
    let ready: Option<(String, String)> = conn
        .query_first("SHOW GLOBAL STATUS WHERE Variable_name='wsrep_ready'")
        .await?;
    let is_ready = ready.is_none_or(|(_, value)| is_on(&value));
    Ok((!is_ready).then(|| "it is not ready as a member of its cluster (wsrep_ready)".to_owned()))
}
