//! Runs both programs between two databases while everything around them fails, for as long as one likes.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use harness::Flavour;
use harness::soak::{Settings, run};

/// Kills, cuts, delays and silences everything between a source that is written to and its copy, and
/// compares both again and again.
///
/// Exit code 1 means that they were not equal in time, that a row was missing meanwhile, or that a
/// program ended by itself. Build both programs first: `cargo build --workspace --bins --release`.
#[derive(Debug, Parser)]
struct Args {
    /// Minutes that it lasts, at least one round
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,

    /// Decides what goes wrong and when, and what is written; a new one unless given
    #[arg(long)]
    seed: Option<u64>,

    /// Seconds of faults in a round; both sides are compared after each
    #[arg(long, default_value_t = 90)]
    round: u64,

    /// Whose server the source is
    #[arg(long, value_enum, default_value_t = Whose::Mysql)]
    source: Whose,

    /// Whose server the destination is
    #[arg(long, value_enum, default_value_t = Whose::Mysql)]
    dest: Whose,

    /// Both programs log more
    #[arg(long)]
    debug: bool,

    /// Keep what both programs said even when nothing was wrong
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Whose {
    Mysql,
    Mariadb,
}

impl From<Whose> for Flavour {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Mysql => Self::MySql,
            Whose::Mariadb => Self::MariaDb,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = args
        .seed
        .unwrap_or_else(|| now.map_or(0, |now| now.as_secs()));
    let report = run(&Settings {
        seed,
        lasts: Duration::from_secs_f64(args.minutes.max(0.0) * 60.0),
        round: Duration::from_secs(args.round.max(1)),
        source: args.source.into(),
        dest: args.dest.into(),
        debug: args.debug,
        keep: args.keep,
    })
    .await;
    if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
