//! Every flag of the puller.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use common::digest::Level;
use common::ident::Ident;
use common::logs::LogFormat;
use common::process::{Secret, SecretError};
use common::session::Address;

use crate::destination::MAX_LANES;
use crate::error::PullError;
use crate::hosts::Place;
use crate::reconcile::MaxDeletes;
use crate::status::Place as StatusPlace;
use crate::tls::{DestTls, SourceTls};

/// Brings the tables of a destination MySQL or MariaDB up to what a dbd-server serves.
///
/// Exit code 0 means that every table asked for, or listed by the server, was brought to its
/// horizon. Otherwise a message names each table that was not, and why; the others were pulled all
/// the same.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Host of the dbd-server
    #[arg(long, env = "DBD_PULLER_SOURCE_HOST", default_value = "127.0.0.1")]
    pub source_host: String,

    /// Port of the dbd-server
    #[arg(long, env = "DBD_PULLER_SOURCE_PORT", default_value_t = 8888)]
    pub source_port: u16,

    /// User name for the dbd-server
    #[arg(long, env = "DBD_PULLER_SOURCE_USERNAME")]
    pub source_username: Option<String>,

    /// Password for the dbd-server; a file or the environment keeps it out of the process list
    #[arg(long, env = "DBD_PULLER_SOURCE_PASSWORD", hide_env_values = true)]
    pub source_password: Option<Secret>,

    /// File that holds the password for the dbd-server
    #[arg(long, env = "DBD_PULLER_SOURCE_PASSWORD_FILE", value_name = "FILE")]
    pub source_password_file: Option<PathBuf>,

    /// TLS for requests to the dbd-server.
    #[command(flatten)]
    pub source_tls: SourceTls,

    /// Database of the source to pull
    #[arg(long, env = "DBD_PULLER_SOURCE_DATABASE", value_name = "NAME")]
    pub source_database: Ident,

    /// Seconds that the dbd-server may be silent before an answer counts as failed; 15 or more, since one
    /// that is still at work says so every 10 s
    #[arg(long, env = "DBD_PULLER_SOURCE_TIMEOUT", value_name = "SECONDS", default_value = "60",
          value_parser = seconds)]
    pub source_timeout: Duration,

    /// Host of the destination, or several (`host`, `host:port`, `[IPv6]:port`): the first that can be
    /// written to is, until it fails. Every puller must be given the same ones
    #[arg(
        long,
        env = "DBD_PULLER_DEST_HOST",
        value_name = "HOSTS",
        default_value = "127.0.0.1",
        value_delimiter = ','
    )]
    pub dest_host: Vec<Place>,

    /// Port of the destination, for each host without one
    #[arg(long, env = "DBD_PULLER_DEST_PORT", default_value_t = 3306)]
    pub dest_port: u16,

    /// Account at the destination
    #[arg(long, env = "DBD_PULLER_DEST_USERNAME", default_value = "root")]
    pub dest_username: String,

    /// Password of that account; a file or the environment keeps it out of the process list
    #[arg(long, env = "DBD_PULLER_DEST_PASSWORD", hide_env_values = true)]
    pub dest_password: Option<Secret>,

    /// File that holds the password of that account
    #[arg(long, env = "DBD_PULLER_DEST_PASSWORD_FILE", value_name = "FILE")]
    pub dest_password_file: Option<PathBuf>,

    /// TLS for connections to the destination.
    #[command(flatten)]
    pub dest_tls: DestTls,

    /// Database of the destination; the name of the source database unless given
    #[arg(long, env = "DBD_PULLER_DEST_DATABASE", value_name = "NAME")]
    pub dest_database: Option<Ident>,

    /// Tables to pull, in this order: `table` or `table.stamp_column`; all unless given
    #[arg(
        short,
        long,
        env = "DBD_PULLER_TABLES",
        value_name = "TABLES",
        value_delimiter = ','
    )]
    pub tables: Vec<String>,

    /// Tables to leave out
    #[arg(
        long,
        env = "DBD_PULLER_EXCLUDE_TABLES",
        value_name = "TABLES",
        value_delimiter = ','
    )]
    pub exclude_tables: Vec<Ident>,

    /// Columns to leave out: `column` in every table, or `table.column`
    #[arg(
        short = 'x',
        long,
        env = "DBD_PULLER_EXCLUDE_COLUMNS",
        value_name = "COLUMNS",
        value_delimiter = ','
    )]
    pub exclude_columns: Vec<String>,

    /// Pull again and again, with so many seconds (0.05 or more) between two pulls
    #[arg(long, env = "DBD_PULLER_POLL_INTERVAL", value_name = "SECONDS", value_parser = interval)]
    pub poll_interval: Option<Duration>,

    /// Read every row again from the start, once; nothing is emptied
    #[arg(short, long, env = "DBD_PULLER_FORCE_RESYNC")]
    pub force_resync: bool,

    /// While polling, read every row again from the start every so many seconds
    #[arg(long, env = "DBD_PULLER_RESYNC_INTERVAL", value_name = "SECONDS", value_parser = interval,
          requires = "poll_interval")]
    pub resync_interval: Option<Duration>,

    /// Leave out a row that the destination refuses, name its key, and go on; the exit code is not 0
    #[arg(long, env = "DBD_PULLER_IGNORE_DATABASE_ERRORS")]
    pub ignore_database_errors: bool,

    /// Make missing tables from the source's definitions
    #[arg(long, env = "DBD_PULLER_CREATE_TABLES")]
    pub create_tables: bool,

    /// Connections that write to the destination side by side (1 to 8); commits stay in order
    #[arg(long, env = "DBD_PULLER_PARALLEL", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=MAX_LANES as i64))]
    pub parallel: u8,

    /// Propagate deletes: after a single pull, and while polling every --delete-interval, compare
    /// the keys and stamps of all rows, delete what the source no longer has, and fetch what differs
    #[arg(long, env = "DBD_PULLER_SYNC_DELETES")]
    pub sync_deletes: bool,

    /// While polling, seconds between the beginnings of two passes of --sync-deletes or --repair;
    /// 300 unless given
    #[arg(long, env = "DBD_PULLER_DELETE_INTERVAL", value_name = "SECONDS", value_parser = interval,
          requires = "poll_interval")]
    pub delete_interval: Option<Duration>,

    /// Compare keys, stamps or full rows with the source, and print what differs; without --repair
    /// nothing is pulled or written, and the exit code is 3 when something differs
    #[arg(long, env = "DBD_PULLER_VERIFY", value_name = "keys|stamps|full")]
    pub verify: Option<Level>,

    /// With --verify: pull first, then mend what differs
    #[arg(long, env = "DBD_PULLER_REPAIR", requires = "verify")]
    pub repair: bool,

    /// Delete at most so many rows of a table in one pass, or so many percent (5%); otherwise
    /// nothing of it. Unless given: half of the table, or 10,000 rows where that is more
    #[arg(long, env = "DBD_PULLER_MAX_DELETES", value_name = "N|P%")]
    pub max_deletes: Option<MaxDeletes>,

    /// Pull and write nothing; print what --sync-deletes or --verify --repair would mend. The exit
    /// code is 3 when there is anything
    #[arg(long, env = "DBD_PULLER_DRY_RUN")]
    pub dry_run: bool,

    /// Seconds that a single pull waits at most for changes that were committed just before it;
    /// 10 unless given, and with an assumed horizon the server's --settle and 2 more
    #[arg(long, env = "DBD_PULLER_WAIT", value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,

    /// How the log is written, on standard error: `text` for people, or `json`, one object a line
    #[arg(long, env = "DBD_PULLER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Show how far each table is, with metrics for Prometheus, on this port of 127.0.0.1, or on ADDRESS:PORT.
    /// Nobody needs a password there
    #[arg(long, env = "DBD_PULLER_STATUS_LISTEN", value_name = "[ADDRESS:]PORT")]
    pub status_listen: Option<StatusPlace>,

    /// Log more
    #[arg(short, long, env = "DBD_PULLER_DEBUG")]
    pub debug: bool,
}

impl Args {
    /// Whether tables are mended after they were pulled.
    #[must_use]
    pub fn reconciles(&self) -> bool {
        self.sync_deletes || self.repair
    }

    /// Whether tables are only compared, and nothing is written.
    #[must_use]
    pub fn only_compares(&self) -> bool {
        self.dry_run || (self.verify.is_some() && !self.repair)
    }

    /// Refuses flags that contradict each other.
    ///
    /// # Errors
    /// What to change.
    pub fn check(&self) -> Result<(), PullError> {
        let wrong = |what: &str| Err(PullError::Usage(what.to_owned()));
        if self.dry_run && !self.sync_deletes && self.verify.is_none() {
            return wrong("--dry-run: say of what, with --sync-deletes or --verify");
        }
        if self.verify.is_some() && self.sync_deletes && !self.repair {
            return wrong(
                "--verify alone writes nothing, and --sync-deletes does; add --repair, or leave one \
                 of them out",
            );
        }
        if self.only_compares() && self.poll_interval.is_some() {
            return wrong(
                "--poll-interval: a comparison that writes nothing is done once; add --repair, or \
                 leave --poll-interval and --dry-run out",
            );
        }
        if self.only_compares() && (self.force_resync || self.create_tables) {
            return wrong(
                "--force-resync and --create-tables: nothing is pulled by --verify without --repair, \
                 nor with --dry-run; leave them out",
            );
        }
        if self.max_deletes.is_some() && !self.reconciles() {
            return wrong("--max-deletes: nothing is deleted without --sync-deletes or --repair");
        }
        Ok(())
    }

    /// The database to write to.
    #[must_use]
    pub fn destination_database(&self) -> &Ident {
        self.dest_database.as_ref().unwrap_or(&self.source_database)
    }

    /// The servers to write to, the first that can be.
    ///
    /// # Errors
    /// When the password file cannot be read, or those of TLS cannot be used.
    pub fn destinations(&self) -> Result<Vec<Address>, PullError> {
        let password = Secret::resolve(
            self.dest_password.as_ref(),
            self.dest_password_file.as_deref(),
        )?;
        let tls = self.dest_tls.open()?;
        let address = |place: &Place| Address {
            host: place.host().to_owned(),
            port: place.port().unwrap_or(self.dest_port),
            username: self.dest_username.clone(),
            password: password.clone(),
            tls: tls.clone(),
        };
        Ok(self.dest_host.iter().map(address).collect())
    }

    /// The password for the dbd-server.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn source_secret(&self) -> Result<Secret, SecretError> {
        Secret::resolve(
            self.source_password.as_ref(),
            self.source_password_file.as_deref(),
        )
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number of seconds, such as 10 or 0.5, is wanted".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = seconds(text)?;
    if interval < Duration::from_millis(50) {
        return Err("at least 0.05 seconds, so that the source gets some rest".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for (flags, fine) in [
            ("--sync-deletes", true),
            ("--sync-deletes --poll-interval 5", true),
            ("--sync-deletes --dry-run --max-deletes 5%", true),
            ("--verify full", true),
            ("--verify full --repair --poll-interval 5", true),
            ("--verify stamps --repair --sync-deletes", true),
            ("--dry-run", false),
            ("--verify full --sync-deletes", false),
            ("--verify full --poll-interval 5", false),
            ("--sync-deletes --dry-run --poll-interval 5", false),
            ("--verify full --create-tables", false),
            ("--sync-deletes --dry-run -f", false),
            ("--max-deletes 5", false),
            ("--verify full --max-deletes 5", false),
        ] {
            let given = "dbd-puller --source-database shop "
                .split_whitespace()
                .chain(flags.split_whitespace());
            let args = Args::try_parse_from(given).unwrap();
            assert_eq!(args.check().is_ok(), fine, "{flags}");
        }
    }

    #[test]
    fn seconds_are_not_negative_and_intervals_not_nothing() {
        for (text, valid, valid_interval) in [
            ("10", true, true),
            ("0.25", true, true),
            ("0", true, false),
            ("-1", false, false),
            ("NaN", false, false),
            ("1e999", false, false),
            ("soon", false, false),
        ] {
            assert_eq!(seconds(text).is_ok(), valid, "{text}");
            assert_eq!(interval(text).is_ok(), valid_interval, "{text}");
        }
    }
}
