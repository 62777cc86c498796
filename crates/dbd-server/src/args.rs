//! Every flag, its unit and its environment variable.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use common::logs::LogFormat;
use common::process::Secret;

use crate::tls_args::{ListenTls, SourceTls};

/// Serves the changed rows of a MySQL or MariaDB source over HTTP
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address to listen on; without it 127.0.0.1, or with credentials every address of this machine
    #[arg(short = 'a', long, env = "DBD_SERVER_LISTEN_ADDRESS")]
    pub listen_address: Option<String>,

    /// TCP port to listen on; 0 lets the system choose
    #[arg(
        short = 'P',
        long,
        env = "DBD_SERVER_LISTEN_PORT",
        default_value_t = 8888
    )]
    pub listen_port: u16,

    /// User name that callers must give
    #[arg(short = 'u', long, env = "DBD_SERVER_LISTEN_USERNAME")]
    pub listen_username: Option<String>,

    /// Password that callers must give; the environment or a file hides it from the process list
    #[arg(
        short = 'p',
        long,
        env = "DBD_SERVER_LISTEN_PASSWORD",
        hide_env_values = true
    )]
    pub listen_password: Option<Secret>,

    /// File that holds the password that callers must give
    #[arg(long, env = "DBD_SERVER_LISTEN_PASSWORD_FILE")]
    pub listen_password_file: Option<PathBuf>,

    /// TOML file of users: hashed passwords, and the databases, tables and columns that are there for
    /// each. Instead of --listen-username; read again when it changes
    #[arg(long, env = "DBD_SERVER_USERS", value_name = "FILE")]
    pub users: Option<PathBuf>,

    /// TLS for callers.
    #[command(flatten)]
    pub listen_tls: ListenTls,

    /// Host of the source database
    #[arg(long, env = "DBD_SERVER_SOURCE_HOST", default_value = "127.0.0.1")]
    pub source_host: String,

    /// TCP port of the source database
    #[arg(long, env = "DBD_SERVER_SOURCE_PORT", default_value_t = 3306)]
    pub source_port: u16,

    /// Account at the source; it needs SELECT, and PROCESS for a proven horizon
    #[arg(long, env = "DBD_SERVER_SOURCE_USERNAME", default_value = "root")]
    pub source_username: String,

    /// Password of that account; the environment or a file hides it from the process list
    #[arg(long, env = "DBD_SERVER_SOURCE_PASSWORD", hide_env_values = true)]
    pub source_password: Option<Secret>,

    /// File that holds the password of that account
    #[arg(long, env = "DBD_SERVER_SOURCE_PASSWORD_FILE")]
    pub source_password_file: Option<PathBuf>,

    /// TLS for connections to the source.
    #[command(flatten)]
    pub source_tls: SourceTls,

    /// Databases to serve, separated by commas or one a flag; without it all but the system's own
    #[arg(
        long,
        alias = "source-database",
        env = "DBD_SERVER_SOURCE_DATABASES",
        value_delimiter = ','
    )]
    pub source_databases: Vec<String>,

    /// Connections to the source at most; each answer that is being read holds one
    #[arg(
        long,
        env = "DBD_SERVER_SOURCE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub source_connections: u16,

    /// Answers at once at most; further callers get 503 and a time to ask again. Those that find no
    /// connection free wait for one
    #[arg(
        long,
        env = "DBD_SERVER_MAX_ANSWERS",
        default_value_t = 32,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_answers: u16,

    /// Seconds that one statement may run at the source before it is ended there. Without an index on
    /// the stamp one statement sorts and sends a whole table
    #[arg(
        long,
        env = "DBD_SERVER_MAX_QUERY_SECONDS",
        default_value = "3600",
        value_name = "SECONDS",
        value_parser = bound
    )]
    pub max_query_seconds: Duration,

    /// Seconds that one answer may last in all before it is broken off; a puller goes on where it was
    #[arg(
        long,
        env = "DBD_SERVER_MAX_STREAM_SECONDS",
        default_value = "86400",
        value_name = "SECONDS",
        value_parser = bound
    )]
    pub max_stream_seconds: Duration,

    /// Seconds that a reader may take nothing of an answer before it is broken off
    #[arg(
        long,
        env = "DBD_SERVER_MAX_STALL_SECONDS",
        default_value = "600",
        value_name = "SECONDS",
        value_parser = bound
    )]
    pub max_stall_seconds: Duration,

    /// Seconds that an assumed horizon lies behind the source's time; longer than any transaction
    /// lasts is safe
    #[arg(
        long,
        env = "DBD_SERVER_SETTLE",
        default_value = "10",
        value_name = "SECONDS",
        value_parser = seconds
    )]
    pub settle: Duration,

    /// How the horizon is known: `auto` proves it where the account has the PROCESS privilege,
    /// `assumed` never asks
    #[arg(long, env = "DBD_SERVER_HORIZON", value_enum, default_value_t = HorizonMode::Auto)]
    pub horizon: HorizonMode,

    /// How the log is written, on standard error: `text` for people, or `json`, one object a line
    #[arg(long, env = "DBD_SERVER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log what the server does too, and requests when they begin
    #[arg(short = 'd', long, env = "DBD_SERVER_DEBUG")]
    pub debug: bool,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read a password from standard input, one line, and print its hash for the file of --users
    HashPassword,
}

/// How the horizon is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum HorizonMode {
    /// Proven where the account may see transactions, else assumed.
    Auto,
    /// The source's time less `--settle`, always.
    Assumed,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "give a number of seconds, such as 10 or 2.5".to_owned())
}

/// A bound on time. The longest one is what MySQL's max_execution_time can hold.
fn bound(text: &str) -> Result<Duration, String> {
    let bound = seconds(text)?;
    match bound.as_secs_f64() {
        0.1..=4_000_000.0 => Ok(bound),
        _ => Err("give a number of seconds, 0.1 to 4000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_hold_together() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn databases_come_by_comma_or_by_flag() {
        for line in [
            &["x", "--source-databases", "a,b"][..],
            &["x", "--source-database", "a", "--source-databases", "b"],
        ] {
            let args = Args::try_parse_from(line).unwrap();
            assert_eq!(args.source_databases, ["a", "b"], "{line:?}");
        }
    }

    #[test]
    fn a_bound_is_a_time_that_the_source_knows() {
        let parse = |text: &str| Args::try_parse_from(["x", "--max-query-seconds", text]);
        assert_eq!(
            parse("0.5").unwrap().max_query_seconds,
            Duration::from_millis(500)
        );
        for text in ["0", "-1", "5000000", "NaN", "soon"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let args = Args::try_parse_from(["x", "-p", "hunter2"]).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
