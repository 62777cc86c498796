//! Servers that tests take and give back.
//!
//! A test has its servers for itself, since an open transaction anywhere on a server holds back
//! the horizon of everything on it. Starting one takes seconds, so a server that a test left in
//! order is cleaned and used again.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::time::Duration;

use mysql_async::{Row, prelude::Queryable};
use tokio::time::timeout;

use crate::server::{Flavour, Options, Server};

static IDLE: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// A server that cannot be cleaned in this time is thrown away.
const CLEANING: Duration = Duration::from_secs(20);

/// A server in the hands of one test.
#[derive(Debug)]
pub struct Lease {
    server: Option<Server>,
    usual: bool,
}

impl Lease {
    /// Takes an idle server, or starts one.
    pub async fn take(flavour: Flavour) -> Self {
        let idle = {
            let mut idle = IDLE.lock().expect("nothing panics while it holds the lock");
            let at = idle.iter().position(|server| server.flavour() == flavour);
            at.map(|at| idle.swap_remove(at))
        };
        let server = match idle {
            Some(server) => server,
            None => Server::start(flavour, &Options::default()).await,
        };
        Self {
            server: Some(server),
            usual: true,
        }
    }

    /// A server of its own that nobody gets afterwards: it is not like the others.
    pub async fn own(flavour: Flavour, options: &Options) -> Self {
        Self {
            server: Some(Server::start(flavour, options).await),
            usual: false,
        }
    }

    /// From here on the server is not like the others: global settings were changed, say.
    pub fn keep_from_others(&mut self) {
        self.usual = false;
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_ref().expect("it is there until the drop")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        if std::thread::panicking() {
            eprintln!("--- {:?} says\n{}", server.flavour(), server.last_words());
            return;
        }
        if !self.usual {
            return;
        }
        // The test's own runtime is about to end: cleaning gets one of its own.
        let cleaned = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .ok()?;
            let clean = runtime.block_on(async { timeout(CLEANING, clean(&server)).await });
            matches!(clean, Ok(Ok(true))).then_some(server)
        });
        if let Ok(Some(server)) = cleaned.join()
            && let Ok(mut idle) = IDLE.lock()
        {
            idle.push(server);
        }
    }
}

/// Brings a server back to what it was; false when that cannot be done.
async fn clean(server: &Server) -> Result<bool, mysql_async::Error> {
    let mut conn = server.connect(None).await?;
    conn.query_drop("SET SESSION lock_wait_timeout=10, foreign_key_checks=0")
        .await?;
    // Ended through SQL first, they would still hold locks while their connection lives.
    let leftover: Vec<u64> = conn
        .query(format!(
            "SELECT ID FROM {} WHERE ID<>CONNECTION_ID() \
             AND USER NOT IN ('event_scheduler','system user')",
            server.processlist()
        ))
        .await?;
    for id in leftover {
        // It may be gone already.
        let _ = conn.query_drop(format!("KILL {id}")).await;
    }
    let prepared: Vec<Row> = conn.query("XA RECOVER").await?;
    if !prepared.is_empty() {
        return Ok(false);
    }
    let databases: Vec<String> = conn
        .query(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN \
             ('mysql','information_schema','performance_schema','sys')",
        )
        .await?;
    for database in databases {
        let name = database.replace('`', "``");
        conn.query_drop(format!("DROP DATABASE `{name}`")).await?;
    }
    let accounts: Vec<(String, String)> = conn
        .query(
            "SELECT User,Host FROM mysql.user WHERE User NOT IN ('root','mariadb.sys','') \
             AND User NOT LIKE 'mysql.%'",
        )
        .await?;
    for (user, host) in accounts {
        conn.query_drop(format!("DROP USER '{user}'@'{host}'"))
            .await?;
    }
    Ok(true)
}
