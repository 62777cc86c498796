//! Why a pull, or a table of it, failed.

use common::ident::Ident;

/// Why a pull failed. The variants tell what the reader does next.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A flag or its file has to be mended.
    #[error("{0}")]
    Usage(String),

    /// A password file has to be mended.
    #[error(transparent)]
    Secret(#[from] common::process::SecretError),

    /// A certificate, its key or their flags have to be mended.
    #[error(transparent)]
    Tls(#[from] common::tls::TlsError),

    /// Wait, or start the server.
    #[error("cannot reach the dbd-server at {url}; see that it runs and can be reached from here")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },

    /// Flags or certificates have to be mended, here or there: one side speaks TLS as the other does not.
    #[error("cannot speak with the dbd-server at {url}: {advice}")]
    Speech {
        /// Its address.
        url: String,
        /// What to do.
        advice: String,
        /// What the network said.
        source: reqwest::Error,
    },

    /// Wait, or see what keeps the server.
    #[error(
        "the dbd-server at {url} was silent for {seconds} s; see what keeps it or the network, or give it longer with --source-timeout"
    )]
    Silent {
        /// Its address.
        url: String,
        /// For how long.
        seconds: f64,
    },

    /// The server said no, and why.
    #[error("the dbd-server answered {status}: {detail}")]
    Refusal {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },

    /// R10: the answer ended before its end frame.
    #[error("{table}: the answer was cut short ({why}); nothing is lost, the next pull goes on")]
    CutShort {
        /// The table.
        table: Ident,
        /// How it ended.
        why: String,
    },

    /// Somebody else pulls into this destination.
    #[error("another dbd-puller writes to {database}: {holder}; stop it, or wait until it is done")]
    Locked {
        /// The destination database.
        database: Ident,
        /// Who it is.
        holder: String,
    },

    /// Wait, or see what happened to each of the hosts.
    #[error("no host of --dest-host can be written to now: {reasons}")]
    NoDestination {
        /// Each host, and why it cannot be.
        reasons: String,
    },

    /// Wait, or see what happened to the destination.
    #[error("the destination failed{}; nothing is lost, the next pull goes on", at(.table.as_ref()))]
    Destination {
        /// The table that was written, if one was.
        table: Option<Ident>,
        /// What the database said.
        source: mysql_async::Error,
    },

    /// The puller lock went away: another puller may be at work.
    #[error(
        "{table}: the puller lock was lost while a batch was written, which was rolled back; the next pull takes it again"
    )]
    LockLost {
        /// The table that was written.
        table: Ident,
    },

    /// The table's definition has to be mended.
    #[error("{table}: {reason}")]
    Table {
        /// The table.
        table: Ident,
        /// What is wrong, and what to do.
        reason: String,
    },

    /// A row or a column has to be mended.
    #[error(
        "{table}: the destination refused the row with key {key}: {reason}; make the column fit, or leave such rows out with --ignore-database-errors"
    )]
    Row {
        /// The table.
        table: Ident,
        /// The row's key.
        key: String,
        /// What the database said.
        reason: String,
    },

    /// In a reconcile: a unique value is not free before the next pull.
    #[error(
        "{table}: a unique value is still held by the row with key {key}, whose change the next pull brings"
    )]
    Waits {
        /// The table.
        table: Ident,
        /// The key of the row that holds the value.
        key: String,
    },

    /// Some tables were not brought to their horizon; each was named when it failed.
    #[error("{failed} of {all} tables were not brought up to date: {names}")]
    Incomplete {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
        /// Which.
        names: String,
    },

    /// `--verify` or `--dry-run` found differences; each was printed.
    #[error("{rows} rows of {tables} tables differ from the source")]
    Differs {
        /// How many rows.
        rows: u64,
        /// Of how many tables.
        tables: usize,
    },

    /// The puller was told to stop before it was done.
    #[error("stopped before the pull was done; nothing is lost, the next pull goes on")]
    Stopped,
}

fn at(table: Option<&Ident>) -> String {
    table.map_or(String::new(), |table| format!(" while {table} was written"))
}

impl PullError {
    /// What kind of failure it is, for telling one from another: the same words whatever the table, the row and
    /// the moment.
    pub(crate) fn kind(&self) -> String {
        let kind = std::mem::discriminant(self);
        match self {
            Self::Refusal { status, .. } => format!("{kind:?} {status}"),
            Self::Destination {
                source: mysql_async::Error::Server(said),
                ..
            } => format!("{kind:?} {}", said.code),
            Self::Destination { source, .. } => {
                format!("{kind:?} {:?}", std::mem::discriminant(source))
            }
            _ => format!("{kind:?}"),
        }
    }

    /// Whether the failure is of one table alone, so that the others can still be pulled.
    #[must_use]
    pub fn is_of_one_table(&self) -> bool {
        matches!(
            self,
            Self::Table { .. }
                | Self::Row { .. }
                | Self::Waits { .. }
                | Self::CutShort { .. }
                | Self::Refusal { .. }
        )
    }
}

impl From<mysql_async::Error> for PullError {
    fn from(source: mysql_async::Error) -> Self {
        Self::Destination {
            table: None,
            source,
        }
    }
}
