//! Serves the changed rows of a MySQL or MariaDB source over HTTP.
//!
//! [`run`] is the program. [`router`] is the same without its listener, for another axum program
//! to mount.

mod accept;
mod access;
mod accounts;
mod args;
mod asked;
mod bounds;
mod caching;
mod catalog;
mod changed;
mod choice;
mod clock;
mod compared;
mod comparison;
mod conditional;
mod cursor;
mod digests;
mod error;
mod extent;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod given;
pub mod horizon;
mod lease;
mod listen;
mod lists;
mod metrics;
mod openapi;
mod order;
mod outlet;
mod page;
mod pages;
mod params;
mod parts;
mod password;
mod pattern;
mod problem;
#[cfg(test)]
mod properties;
mod reach;
mod readers;
mod reading;
mod replication;
mod requests;
mod routes;
mod sampler;
mod seen;
mod shapes;
mod sink;
mod source;
mod statement;
mod stream;
mod throttle;
mod tls;
mod tls_args;
mod tracker;
mod unknown;
mod url;
mod users;
mod viewer;
mod watcher;
mod windows;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use common::ident::{Ident, IdentError};
use common::process::{Secret, SecretError};
use common::session::Address;
use common::tls::TlsError;
use tokio::net::TcpListener;

pub use access::{Credentials, Peer};
pub use args::{Args, Command, HorizonMode};
pub use bounds::Bounds;
pub use password::{HashPasswordError, hash_password};
pub use tls_args::{ListenTls, SourceTls};
pub use users::{Users, UsersError};

/// How long answers that are being sent may take to end once the program is asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the source may take then to end the statements of those that were broken off.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a router serves, and to whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source database.
    pub source: Address,
    /// The databases to serve; all but the system's own when there are none.
    pub databases: Vec<Ident>,
    /// Connections to the source at most, besides those of the horizon.
    pub connections: u16,
    /// What answers may take.
    pub bounds: Bounds,
    /// How the horizon is known.
    pub horizon: horizon::Settings,
    /// What callers must know; nothing when there are none, and no users.
    pub credentials: Option<Credentials>,
    /// Who may ask and what is there for each, instead of one for whom everything is. Their file is read again when
    /// it changes.
    pub users: Option<Users>,
}

/// Why the program ends with a failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}; choose a free one with --listen-address and --listen-port"
    )]
    Listen {
        /// It.
        address: String,
        /// Why.
        source: std::io::Error,
    },

    /// One of user name and password is missing.
    #[error("credentials are a user name and a password; give {0} too")]
    Credentials(&'static str),

    /// Users are in the file or on the command line, not both.
    #[error(
        "give --users or --listen-username; move that user into the file, with a hash by `dbd-server hash-password`"
    )]
    TwiceUsers,

    /// The users file cannot be used.
    #[error(transparent)]
    Users(#[from] UsersError),

    /// A database that cannot exist.
    #[error("--source-databases: {name:?} is not a name")]
    Database {
        /// What was given.
        name: String,
        /// Why.
        source: IdentError,
    },

    /// A password file cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),

    /// A certificate, its key or their flags have to be mended.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The routes. They begin to watch the source at once, so this is called inside a tokio runtime.
pub fn router(settings: Settings) -> Router {
    routed(settings).0
}

fn routed(settings: Settings) -> (Router, asked::Service) {
    let Settings {
        source,
        databases,
        connections,
        bounds,
        horizon,
        credentials,
        users,
    } = settings;
    let service = asked::Service {
        horizon: horizon::Horizon::start(source.clone(), horizon),
        source: lease::Source::new(source, connections, bounds.query),
        served: catalog::Served::new(databases),
        recent: shapes::Recent::default(),
        places: bounds::Places::new(bounds),
        metrics: metrics::Metrics::new(),
    };
    let gate = access::Gate::new(credentials, users);
    (routes::router(service.clone(), gate), service)
}

/// Serves until `shutdown`. What is being sent then may come to its end for 5 s; the rest is broken
/// off, and its statements are ended at the source.
///
/// It listens at once, whatever the source does: until that is there, answers say so.
///
/// # Errors
/// When a flag is wrong or the address cannot be listened on.
pub async fn run(args: Args, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let settings = settings(&args)?;
    let credentials = settings.credentials.is_some() || settings.users.is_some();
    let tls = args.listen_tls.files()?.map(tls::Tls::open).transpose()?;
    let host = match &args.listen_address {
        Some(host) => host.as_str(),
        None if credentials => "0.0.0.0",
        None => "127.0.0.1",
    };
    let (listener, address) =
        listen(host, args.listen_port)
            .await
            .map_err(|source| RunError::Listen {
                address: format!("{host}:{}", args.listen_port),
                source,
            })?;
    if !credentials && !address.ip().is_loopback() {
        tracing::warn!(
            "ANYONE WHO REACHES {address} CAN READ THE SOURCE: give --users, or --listen-username and \
             --listen-password, or listen on 127.0.0.1"
        );
    }
    if credentials && tls.is_none() && !address.ip().is_loopback() {
        tracing::warn!(
            "PASSWORDS AND ROWS TRAVEL TO {address} UNENCRYPTED: give --listen-ssl with a certificate, or \
             listen on 127.0.0.1 behind something that speaks HTTPS"
        );
    }
    let limits = listen::Limits {
        answers: settings.bounds.answers,
        stall: settings.bounds.stall,
    };
    let (router, service) = routed(settings);
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}/");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = listen::serve(listener, tls, router, limits, async {
        // An error means that the sender is gone, which is a stop as well.
        let _ = stopped.await;
    });
    let mut serving = std::pin::pin!(serving);
    let drained = async {
        shutdown.await;
        tracing::info!("stopping");
        drop(stop);
        tokio::time::sleep(DRAIN).await;
    };
    let served = tokio::select! {
        () = &mut serving => true,
        () = drained => false,
    };
    // What still runs at the source would run on without anybody who waits for it.
    service.places.stop();
    let farewell = async {
        if !served {
            tracing::warn!("breaking off the answers that are still being sent");
            serving.await;
        }
        service.source.idle().await;
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("stopped before all answers and their statements had ended");
    }
    Ok(())
}

async fn listen(host: &str, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    // An IPv6 address may come in the brackets that URLs put around it.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// What the flags say of a router; those of the listener are not looked at.
///
/// # Errors
/// When a flag is wrong, or a password file cannot be read.
pub fn settings(args: &Args) -> Result<Settings, RunError> {
    let username = args.listen_username.clone().filter(|name| !name.is_empty());
    let password = Secret::resolve(
        args.listen_password.as_ref(),
        args.listen_password_file.as_deref(),
    )?;
    // A variable that is set and empty names no file.
    let users = args.users.as_deref();
    let users = users.filter(|path| !path.as_os_str().is_empty());
    if users.is_some() && (username.is_some() || !password.expose().is_empty()) {
        return Err(RunError::TwiceUsers);
    }
    let users = users.map(Users::read).transpose()?;
    let credentials = match (username, password.expose().is_empty()) {
        (Some(username), false) => Some(Credentials { username, password }),
        (Some(_), true) => return Err(RunError::Credentials("--listen-password")),
        (None, false) => return Err(RunError::Credentials("--listen-username")),
        (None, true) => None,
    };
    // A variable that is set and empty names no database.
    let names = args.source_databases.iter().filter(|name| !name.is_empty());
    let databases = names
        .map(|name| {
            Ident::parse(name).map_err(|source| RunError::Database {
                name: name.clone(),
                source,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Settings {
        source: Address {
            host: args.source_host.clone(),
            port: args.source_port,
            username: args.source_username.clone(),
            password: Secret::resolve(
                args.source_password.as_ref(),
                args.source_password_file.as_deref(),
            )?,
            tls: args.source_tls.open()?,
        },
        databases,
        connections: args.source_connections,
        bounds: Bounds {
            answers: usize::from(args.max_answers),
            query: args.max_query_seconds,
            answer: args.max_stream_seconds,
            stall: args.max_stall_seconds,
        },
        horizon: horizon::Settings {
            settle: args.settle,
            assumed: args.horizon == HorizonMode::Assumed,
        },
        credentials,
        users,
    })
}
