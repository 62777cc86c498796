//! `dbd-puller`: brings a destination up to what a dbd-server serves.

use std::process::ExitCode;

use clap::Parser;
use common::process::{chain, shutdown_signal, start_log};
use dbd_puller::{Args, PullError};

/// The exit code when a comparison found differences.
const DIFFERS: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    start_log(args.debug);
    match dbd_puller::run(args, shutdown_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbd-puller: {}", chain(&error));
            match error {
                PullError::Differs { .. } => ExitCode::from(DIFFERS),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
