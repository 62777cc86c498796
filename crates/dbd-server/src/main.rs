//! `dbd-server`: serves the changed rows of a MySQL or MariaDB source over HTTP.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::logs::{say_why, start_log};
use common::process::run_until_asked;
use dbd_server::Args;

/// How long the program may take to end once it is asked to: longer than answers may take to end then, and
/// their statements at the source.
const GRACE: Duration = Duration::from_secs(9);

fn main() -> ExitCode {
    let args = Args::parse();
    let format = args.log_format;
    start_log(args.debug, format);
    match run_until_asked(GRACE, |asked| dbd_server::run(args, asked)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_why("dbd-server", &error, format);
            ExitCode::FAILURE
        }
    }
}
