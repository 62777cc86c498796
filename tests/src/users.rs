//! The users that a `dbd-server` lets in.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::programs::program;

static FILES: AtomicU32 = AtomicU32::new(0);

/// A users file; it is gone when this is dropped.
#[derive(Debug)]
pub struct UsersFile {
    /// Where it is.
    pub path: PathBuf,
}

impl UsersFile {
    /// A file of that text.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("dbd.{}.{number}.users.toml", std::process::id());
        let file = Self {
            path: std::env::temp_dir().join(name),
        };
        file.write(text);
        file
    }

    /// Puts another text in its place.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("the temporary folder can be written to");
    }

    /// The flag that names it.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--users={}", self.path.display())
    }
}

impl Drop for UsersFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What `dbd-server hash-password` prints for that input.
///
/// # Panics
/// When it fails.
pub async fn hash_password(input: &str) -> String {
    let mut command = Command::new(program("dbd-server"));
    let child = command
        .arg("hash-password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("it can be started");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin
        .write_all(input.as_bytes())
        .await
        .expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{:?}", output.status);
    let text = String::from_utf8(output.stdout).expect("a hash is text");
    text.trim_end().to_owned()
}

/// What a `dbd-server` says that does not start.
///
/// # Panics
/// When it does, or ends without an error.
pub async fn refuses_to_start(args: &[String]) -> String {
    let mut command = Command::new(program("dbd-server"));
    let output = command.args(args).kill_on_drop(true).output();
    let output = tokio::time::timeout(crate::DEADLINE, output).await;
    let output = output.expect("it ends").expect("it can be started");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
