//! `dbd-server`: serves the changed rows of a MySQL or MariaDB source over HTTP.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::process::{chain, run_until_asked, start_log};
use dbd_server::{Args, Command, HashPasswordError, hash_password};

/// How long the program may take to end once it is asked to: longer than answers may take to end then, and
/// their statements at the source.
const GRACE: Duration = Duration::from_secs(9);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::HashPassword) = args.command {
        return done(print_hash());
    }
    start_log(args.debug);
    done(run_until_asked(GRACE, |asked| dbd_server::run(args, asked)))
}

fn done<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbd-server: {}", chain(&error));
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
