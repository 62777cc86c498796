//! `dbd-server`: serves the changed rows of a MySQL or MariaDB source over HTTP.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::process::{chain, run_until_asked, start_log};
use dbd_server::Args;

/// How long the program may take to end once it is asked to: longer than answers may take to end then, and
/// their statements at the source.
const GRACE: Duration = Duration::from_secs(9);

fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.debug);
    match run_until_asked(GRACE, |asked| dbd_server::run(args, asked)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbd-server: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
