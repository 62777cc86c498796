//! What both programs say of themselves, on standard error.

use std::error::Error;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::process::chain;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log, on standard error. `RUST_LOG` narrows or widens what is shown.
pub fn start_log(debug: bool, format: LogFormat) {
    let default = if debug {
        "info,dbd_server=debug,dbd_puller=debug,common=debug"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    // A second log in one process (a program that embeds the router) keeps the first.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => {
            // Written by itself, it would be several lines and no JSON.
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
            log.json()
                .flatten_event(true)
                .with_span_list(false)
                .try_init()
        }
    };
}

/// Says why a program ends with a failure.
pub fn say_why(program: &str, error: &dyn Error, format: LogFormat) {
    match format {
        LogFormat::Text => eprintln!("{program}: {}", chain(error)),
        LogFormat::Json => tracing::error!("{program}: {}", chain(error)),
    }
}

/// A duration as lines of the log have it: seconds, to the millisecond.
#[must_use]
pub fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
