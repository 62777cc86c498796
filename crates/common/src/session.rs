//! How both programs connect to a database.
//!
//! Every session speaks utf8mb4 and UTC and is strict, yet takes zero dates: what does not fit is
//! refused, and what the other server holds is accepted as it is (R7).

use std::fmt;
use std::time::Duration;

use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, prelude::Queryable};

use crate::ident::Ident;
use crate::process::Secret;
use crate::table::Flavour;
use crate::tls::Tls;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many connections of a pool are kept while nobody needs them.
const KEPT: usize = 4;

/// How long a TCP connection may be silent before the kernel asks whether the peer still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The longest packet that is taken, in bytes: the protocol's bound. Rows may be longer than the server's
/// max_allowed_packet, which holds for what it receives.
const MAX_PACKET: usize = 1 << 30;

/// What every session of both programs starts with. One SET, since its order matters and
/// several statements would run in no promised order.
///
/// - No `NO_BACKSLASH_ESCAPES`, which would make literals simpler: MySQL reads the expressions that
///   are stored with a table in the sql_mode of the session that opens it.
/// - `NO_AUTO_VALUE_ON_ZERO`: an AUTO_INCREMENT of 0 stays 0.
/// - `max_sort_length`: ORDER BY looks at whole keys, of at most 3,072 bytes, not at the first
///   1,024 bytes.
/// - `net_write_timeout`: a slow reader may make the server wait this long, in seconds.
const SESSION: &str = "SET character_set_client=utf8mb4, character_set_results=utf8mb4, \
     collation_connection=utf8mb4_bin, time_zone='+00:00', \
     sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,\
NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', \
     max_sort_length=4096, net_write_timeout=600";

/// The account and the address of a database.
#[derive(Clone, Debug)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// How connections are encrypted.
    pub tls: Tls,
}

impl Address {
    /// The options of a connection; `setup` holds further statements that every session starts
    /// with, in no promised order.
    #[must_use]
    pub fn options(&self, setup: &[&str]) -> OptsBuilder {
        let mut statements = vec![SESSION.to_owned()];
        statements.extend(setup.iter().map(|&statement| statement.to_owned()));
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.username.clone()))
            .pass(Some(self.password.expose().to_owned()))
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .max_allowed_packet(Some(MAX_PACKET))
            .ssl_opts(self.tls.options())
            .setup(statements)
    }

    /// One connection of its own.
    ///
    /// # Errors
    /// When none could be made within [`CONNECT_TIMEOUT`].
    pub async fn connect(&self, setup: &[&str]) -> Result<Conn, mysql_async::Error> {
        self.connect_within(setup, CONNECT_TIMEOUT).await
    }

    /// The same within another time.
    ///
    /// # Errors
    /// When none could be made within `limit`.
    pub async fn connect_within(
        &self,
        setup: &[&str],
        limit: Duration,
    ) -> Result<Conn, mysql_async::Error> {
        let connecting = Conn::new(Opts::from(self.options(setup)));
        let connected = timed(limit, connecting).await;
        connected.map_err(|error| self.tls.explained(error))
    }

    /// A pool of at most `size` connections, made when they are needed; a few are kept. What a session is set
    /// to after its beginning stays so for whoever gets it next.
    #[must_use]
    pub fn pool(&self, setup: &[&str], size: usize) -> Pool {
        let size = size.max(1);
        let constraints = PoolConstraints::new(size.min(KEPT), size).unwrap_or_default();
        let options = PoolOpts::new()
            .with_constraints(constraints)
            .with_reset_connection(false);
        Pool::new(self.options(setup).pool_opts(options))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A connection of the pool, within [`CONNECT_TIMEOUT`].
///
/// # Errors
/// When none could be had in time.
pub async fn checkout(pool: &Pool) -> Result<Conn, mysql_async::Error> {
    timed(CONNECT_TIMEOUT, pool.get_conn()).await
}

async fn timed<F>(limit: Duration, connecting: F) -> Result<Conn, mysql_async::Error>
where
    F: Future<Output = Result<Conn, mysql_async::Error>>,
{
    match tokio::time::timeout(limit, connecting).await {
        Ok(result) => result,
        Err(_) => Err(mysql_async::Error::Io(mysql_async::IoError::Io(
            std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time"),
        ))),
    }
}

/// Whose server this is, and the version it names.
///
/// # Errors
/// When the server did not answer.
pub async fn flavour(conn: &mut Conn) -> Result<(Flavour, String), mysql_async::Error> {
    let version: String = conn
        .query_first("SELECT VERSION()")
        .await?
        .unwrap_or_default();
    let flavour = if version.contains("MariaDB") {
        Flavour::MariaDb
    } else {
        Flavour::MySql
    };
    Ok((flavour, version))
}

/// A text as an SQL literal, for the sessions made here.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The names of schemas that belong to the server itself; they are never served or written to.
#[must_use]
pub fn is_system_schema(name: &Ident) -> bool {
    ["mysql", "information_schema", "performance_schema", "sys"]
        .iter()
        .any(|system| system.eq_ignore_ascii_case(name.as_str()))
}
