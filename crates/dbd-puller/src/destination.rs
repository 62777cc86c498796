//! SQL: the destination. Knows no HTTP.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::ident::Ident;
use common::session::{Address, CONNECT_TIMEOUT, flavour, literal};
use common::table::{Flavour, Table};
use mysql_async::Conn;

use crate::client::KeyValues;
use crate::error::PullError;
use crate::link::{Asked, Link, within};
use crate::lock::{Former, Holder, PullerLock, release_writer, take_writer};
use crate::refusal::{Failure, failure};
use crate::watch::{Watch, Watched};

/// What every session here starts with, beside what all sessions have. R8: no foreign key is
/// checked, and no cascade runs. R3: READ COMMITTED.
pub(crate) const SETUP: [&str; 3] = [
    "SET foreign_key_checks=0, innodb_lock_wait_timeout=10",
    LOCK_WAIT,
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// How long a statement waits for a table that somebody has locked, usually.
pub(crate) const LOCK_WAIT: &str = "SET lock_wait_timeout=60";

/// Connections that write side by side, at most, beside the one that writes alone.
pub(crate) const MAX_LANES: usize = 8;

/// What the lanes' sessions have otherwise: two batches in flight that share a row wait for each other,
/// one for the row and one for its turn to commit, and the server cannot see that.
const LANE_SETUP: &str = "SET innodb_lock_wait_timeout=1";

/// The destination database, with both locks (R5) unless it is only read.
pub(crate) struct Destination {
    pub(crate) link: Link,
    pub(crate) database: Ident,
    pub(crate) flavour: Flavour,
    /// The server's max_allowed_packet, in bytes.
    pub(crate) max_packet: usize,
    address: Address,
    asked: Asked,
    /// On the connection that holds the puller lock; none for a lane.
    watch: Option<Watch>,
    holder: Option<Holder>,
    /// A query that answers 1 while the puller lock is held; none where nothing is written.
    pub(crate) check: Option<String>,
    /// Further connections that write side by side.
    pub(crate) lanes: Vec<Self>,
    /// How many there are to be; none before their locks were taken.
    wanted_lanes: Option<usize>,
    /// How many have been opened, be they given up since.
    opened_lanes: usize,
    /// The shapes of all tables, as long as they were read only now.
    tables: HashMap<Ident, Table>,
}

impl Destination {
    /// Takes both locks, the puller lock on that connection. With `may_move` a server that must not be
    /// written to any more counts as lost.
    pub(crate) async fn connect(
        mut conn: Conn,
        address: &Address,
        database: &Ident,
        former: &mut Former,
        may_move: bool,
    ) -> Result<Self, PullError> {
        let (flavour, _) = within(CONNECT_TIMEOUT, flavour(&mut conn)).await?;
        let lock = PullerLock::take(conn, flavour, database, former).await?;
        let (check, holder) = (lock.check(), lock.holder);
        let watched = Watched {
            flavour,
            place: address.to_string(),
            held: Some(check.clone()),
            may_move,
        };
        let asked = Asked::default();
        let watch = Watch::begin(lock.conn, watched, asked.clone());
        let lost = watch.lost();
        let rest = async {
            let mut link = Link::new(address.connect(&SETUP).await?, &asked);
            take_writer(&mut link, flavour, database, 0).await?;
            Self::open(link, address, database, &asked).await
        };
        let mut destination = tokio::select! {
            opened = rest => opened?,
            error = lost => return Err(error),
        };
        destination.check = Some(check);
        destination.holder = Some(holder);
        destination.watch = Some(watch);
        Ok(destination)
    }

    /// There are to be so many lanes, when they are needed.
    ///
    /// Until then this connection has their locks, of those too that are not wanted: a puller that died may have
    /// had more. Those of a lane that was given up in the middle are taken back.
    pub(crate) async fn want_lanes(&mut self, lanes: usize) -> Result<(), PullError> {
        let given_up = match self.wanted_lanes {
            Some(_) if self.lanes.len() == self.opened_lanes => 0,
            Some(_) => self.opened_lanes,
            None => MAX_LANES,
        };
        self.wanted_lanes = Some(lanes);
        if given_up > 0 {
            self.lanes.clear();
        }
        for lane in 1..=given_up {
            take_writer(&mut self.link, self.flavour, &self.database, lane).await?;
        }
        if given_up > 0 {
            self.opened_lanes = 0;
        }
        Ok(())
    }

    /// Opens the lanes, unless some were opened and given up since [`Destination::want_lanes`]. Where the server
    /// has no connection left there are none.
    pub(crate) async fn open_lanes(&mut self) -> Result<(), PullError> {
        if self.opened_lanes > 0 {
            return Ok(());
        }
        for lane in 1..=self.wanted_lanes.unwrap_or_default() {
            self.opened_lanes = lane;
            release_writer(&mut self.link, &self.database, lane).await?;
            match self.open_lane(lane).await {
                Ok(opened) => self.lanes.push(opened),
                Err(error) => {
                    tracing::info!("batches are written on one connection: {error}");
                    self.lanes.clear();
                    break;
                }
            }
        }
        Ok(())
    }

    async fn open_lane(&self, lane: usize) -> Result<Self, PullError> {
        let mut link = Link::new(self.address.connect(&SETUP).await?, &self.asked);
        link.query_drop(LANE_SETUP).await?;
        take_writer(&mut link, self.flavour, &self.database, lane).await?;
        let mut opened = Self::open(link, &self.address, &self.database, &self.asked).await?;
        opened.check.clone_from(&self.check);
        Ok(opened)
    }

    /// The connection that has the puller lock.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Connects to read only, also beside a puller at work.
    pub(crate) async fn connect_to_read(
        address: &Address,
        database: &Ident,
        limit: Duration,
    ) -> Result<Self, PullError> {
        const READ_ONLY: [&str; 1] = ["SET SESSION TRANSACTION READ ONLY"];
        let mut conn = address.connect_within(&READ_ONLY, limit).await?;
        let (flavour, _) = within(CONNECT_TIMEOUT, flavour(&mut conn)).await?;
        let watched = Watched {
            flavour,
            place: address.to_string(),
            held: None,
            may_move: false,
        };
        let asked = Asked::default();
        let watch = Watch::begin(conn, watched, asked.clone());
        let lost = watch.lost();
        let rest = async {
            let link = Link::new(address.connect(&READ_ONLY).await?, &asked);
            Self::open(link, address, database, &asked).await
        };
        let mut destination = tokio::select! {
            opened = rest => opened?,
            error = lost => return Err(error),
        };
        destination.watch = Some(watch);
        Ok(destination)
    }

    /// Ends when the destination is lost: whatever is asked of it then is asked in vain.
    pub(crate) fn lost(&self) -> impl Future<Output = PullError> + use<> {
        let lost = self.watch.as_ref().map(Watch::lost);
        async move {
            match lost {
                Some(lost) => lost.await,
                None => std::future::pending().await,
            }
        }
    }

    async fn open(
        mut link: Link,
        address: &Address,
        database: &Ident,
        asked: &Asked,
    ) -> Result<Self, PullError> {
        let (flavour, version) = flavour(link.ask(0)?).await?;
        link.answered();
        tracing::debug!(version, "connected to the destination");
        let row: Option<(usize, Option<String>)> = link
            .query_first(format!(
                "SELECT @@max_allowed_packet, (SELECT SCHEMA_NAME FROM information_schema.SCHEMATA \
                 WHERE SCHEMA_NAME={} LIMIT 1)",
                literal(database.as_str())
            ))
            .await?;
        let (max_packet, schema) = row.unwrap_or((1 << 20, None));
        if schema.is_none() {
            return Err(PullError::Usage(format!(
                "the destination has no database {database}, or this account may not see it; \
                 CREATE DATABASE {database}"
            )));
        }
        link.query_drop(format!("USE {database}")).await?;
        keep_nulls(&mut link).await?;
        Ok(Self {
            link,
            database: database.clone(),
            flavour,
            max_packet,
            address: address.clone(),
            asked: asked.clone(),
            watch: None,
            holder: None,
            check: None,
            lanes: Vec::new(),
            wanted_lanes: None,
            opened_lanes: 0,
            tables: HashMap::new(),
        })
    }

    /// Whether both connections still answer, and hold their locks.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let question = self.check.as_deref().unwrap_or("SELECT 1");
        let held = self.link.query_first::<u8>(question);
        let held = within(CONNECT_TIMEOUT, held).await;
        matches!(held, Ok(Some(1))) && self.watch.as_ref().is_none_or(Watch::is_fine)
    }

    /// Reads the shapes of all tables at once: each by itself costs nearly as much.
    pub(crate) async fn read_tables(&mut self) -> Result<(), PullError> {
        let database = self.database.clone();
        let conn = self.link.ask(0)?;
        let tables = common::catalog::tables(conn, &database, None).await;
        self.link.answered();
        let tables = tables?.into_iter();
        self.tables = tables.map(|table| (table.name.clone(), table)).collect();
        Ok(())
    }

    /// Whether a table was among them.
    pub(crate) fn has_read(&self, name: &Ident) -> bool {
        self.tables.contains_key(name)
    }

    /// They may be others from here on.
    pub(crate) fn forget_tables(&mut self) {
        self.tables = HashMap::new();
    }

    /// The shape of a table, if there is one of that name.
    pub(crate) async fn table(&mut self, name: &Ident) -> Result<Option<Table>, PullError> {
        if let Some(table) = self.tables.get(name) {
            return Ok(Some(table.clone()));
        }
        let database = self.database.clone();
        let conn = self.link.ask(0)?;
        let tables = common::catalog::tables(conn, &database, Some(name)).await;
        self.link.answered();
        Ok(tables?.into_iter().next())
    }

    /// Makes a table. A prepared statement cannot be two.
    pub(crate) async fn create(&mut self, table: &Ident, statement: &str) -> Result<(), PullError> {
        let created = self.link.exec_drop(statement).await;
        created.map_err(|error| match error {
            error if failure(&error) == Failure::Lost => error.into(),
            mysql_async::Error::Server(error) => PullError::Table {
                table: table.clone(),
                reason: format!(
                    "the destination cannot make it from the source's definition ({}); create \
                     it by hand",
                    error.message
                ),
            },
            error => error.into(),
        })
    }
}

/// Sees to it that a NULL is a NULL, also in a TIMESTAMP column, where it could become the current time.
async fn keep_nulls(link: &mut Link) -> Result<(), PullError> {
    let kept: Option<u8> = link
        .query_first("SELECT @@explicit_defaults_for_timestamp")
        .await?;
    if kept == Some(0)
        && link
            .query_drop("SET explicit_defaults_for_timestamp=1")
            .await
            .is_err()
    {
        return Err(PullError::Usage(
            "the destination runs with explicit_defaults_for_timestamp=OFF, under which a NULL can \
             become the current time; SET GLOBAL explicit_defaults_for_timestamp=ON there"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Keys that are looked up often.
pub(crate) type KeySet = HashSet<KeyValues>;

/// What is kept for a key.
pub(crate) type KeyMap<T> = HashMap<KeyValues, T>;
