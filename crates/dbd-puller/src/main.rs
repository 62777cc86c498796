//! `dbd-puller`: brings a destination up to what a dbd-server serves.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::logs::{say_why, start_log};
use common::process::run_until_asked;
use dbd_puller::{Args, PullError};

/// The exit code when a comparison found differences.
const DIFFERS: u8 = 3;

/// How long the program may take to end once it is asked to. It waits for nothing then, so that this is long.
const GRACE: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let args = Args::parse();
    let format = args.log_format;
    start_log(args.debug, format);
    match run_until_asked(GRACE, |asked| dbd_puller::run(args, asked)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_why("dbd-puller", &error, format);
            match error {
                PullError::Differs { .. } => ExitCode::from(DIFFERS),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
