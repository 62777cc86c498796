//! `dbd-server`: serves the changed rows of a MySQL or MariaDB source over HTTP.

use std::process::ExitCode;

use clap::Parser;
use common::process::{chain, shutdown_signal, start_log};
use dbd_server::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.debug);
    match dbd_server::run(args, shutdown_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbd-server: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
