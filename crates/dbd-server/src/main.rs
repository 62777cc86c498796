//! `dbd-server`: serves the changed rows of a MySQL or MariaDB source over HTTP.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::logs::{LogFormat, say_why, start_log};
use common::process::run_until_asked;
use dbd_server::{Args, Command, HashPasswordError, hash_password};

/// How long the program may take to end once it is asked to: longer than answers may take to end then, and
/// their statements at the source.
const GRACE: Duration = Duration::from_secs(9);

fn main() -> ExitCode {
    let args = Args::parse();
    let format = args.log_format;
    if let Some(Command::HashPassword) = args.command {
        return done(print_hash(), format);
    }
    start_log(args.debug, format);
    done(
        run_until_asked(GRACE, |asked| dbd_server::run(args, asked)),
        format,
    )
}

fn done<E: std::error::Error>(result: Result<(), E>, format: LogFormat) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_why("dbd-server", &error, format);
            ExitCode::FAILURE
        }
    }
}

fn print_hash() -> Result<(), HashPasswordError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("password: ");
    }
    let hash = hash_password(input.lock())?;
    writeln!(std::io::stdout(), "{hash}").map_err(HashPasswordError::Print)
}
