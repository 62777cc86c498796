//! What both programs do at the edge: logs, signals, secrets, the chain of an error.

use std::fmt;
use std::path::Path;

use tracing_subscriber::EnvFilter;

/// A password. It never shows itself.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The password from a file, or else the one given, or else an empty one. A line feed at the
    /// file's end is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read as text; the message names it.
    pub fn resolve(given: Option<&Self>, file: Option<&Path>) -> Result<Self, SecretError> {
        let Some(path) = file else {
            return Ok(given.cloned().unwrap_or_default());
        };
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(source) => Err(SecretError {
                path: path.display().to_string(),
                source,
            }),
        }
    }
}

/// A password file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the password file {path}; give a file that this account may read")]
pub struct SecretError {
    path: String,
    source: std::io::Error,
}

impl From<String> for Secret {
    fn from(password: String) -> Self {
        Self(password)
    }
}

impl From<&str> for Secret {
    fn from(password: &str) -> Self {
        Self(password.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Starts the log, on standard error. `RUST_LOG` narrows or widens what is shown.
pub fn start_log(debug: bool) {
    let default = if debug {
        "info,dbd_server=debug,dbd_puller=debug,common=debug,tower_http=debug"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A second log in one process (a program that embeds the router) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .try_init();
}

/// Ends when the process is asked to stop, by SIGTERM or SIGINT.
///
/// # Panics
/// When the process cannot listen for signals, which happens only at its start.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// An error and its causes in one line, each once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // Some libraries repeat their cause in their own text.
        for part in error.to_string().split(": ") {
            if !parts.iter().any(|known| known == part) {
                parts.push(part.to_owned());
            }
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_thing_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("I/O error: I/O error: refused")]
        struct Inner;
        assert_eq!(chain(&Outer(Inner)), "cannot connect: I/O error: refused");
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "***");
    }
}
