//! What both programs do at the edge: signals, secrets, the chain of an error.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

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

/// Runs a program that is to end when it is asked to: `program` is given a future that ends at the first
/// SIGTERM or SIGINT.
///
/// The process ends within `grace` of that, whatever the program waits for: a thread of its own listens, so that
/// neither a name that nobody resolves nor a log that nobody reads keeps it from hearing. A second signal
/// ends the process at once. Both times the exit code says which signal it was, as that of a killed process
/// in a shell: 143 or 130.
///
/// # Panics
/// When the process cannot start threads or listen for signals, which happens only at its start.
pub fn run_until_asked<P, F>(grace: Duration, program: P) -> F::Output
where
    P: FnOnce(BoxFuture) -> F,
    F: Future,
{
    let (asked, when_asked) = oneshot::channel();
    let (listens, when_it_listens) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || listen(grace, &listens, asked))
        .expect("a process can start a thread");
    when_it_listens
        .recv()
        .expect("signals can be listened for, or the thread said why not");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a process can start its runtime");
    let result = runtime.block_on(program(Box::pin(async {
        if when_asked.await.is_err() {
            // Nobody listens any more, and nobody has asked.
            std::future::pending::<()>().await;
        }
    })));
    // A thread that resolves a name, or prints, cannot be stopped: the process does not wait for it.
    runtime.shutdown_background();
    result
}

/// A future that a program can hold and hand on.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Passes the first signal on, and ends the process at the second or when its time is over.
fn listen(grace: Duration, listens: &mpsc::Sender<()>, asked: oneshot::Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a process can start a runtime");
    let exit_code = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
        let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
        // The program waits for this word.
        let _ = listens.send(());
        let mut next = async || {
            let signal = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            128 + signal.as_raw_value()
        };
        let first = next().await;
        // A program that has ended already needs no word.
        let _ = asked.send(());
        tokio::time::timeout(grace, next()).await.unwrap_or(first)
    });
    std::process::exit(exit_code);
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
    fn a_thread_that_never_ends_keeps_no_program_from_ending() {
        let (hold, held) = mpsc::channel::<()>();
        let began = std::time::Instant::now();
        let result = run_until_asked(Duration::from_secs(60), async |_| {
            // As getaddrinfo does when no name server answers.
            tokio::task::spawn_blocking(move || held.recv_timeout(Duration::from_secs(30)));
            7
        });
        assert_eq!(result, 7);
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(hold);
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "***");
    }
}
