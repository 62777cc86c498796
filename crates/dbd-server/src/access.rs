//! Who is let in: basic authentication, against one user name and password or the users of a file.
//!
//! To look at a password is made to cost time and memory, so few are looked at at once.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use common::process::{Secret, chain};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::accounts::{Accounts, Digest, Login, REMEMBERED};
use crate::error::ApiError;
use crate::requests::Line;
use crate::throttle::{Attempt, Throttle};
use crate::users::{self, Users};
use crate::viewer::Viewer;

/// Passwords that are looked at at once, each with the memory that its hash asks for (19 MiB).
const AT_ONCE: usize = 2;

/// Logins that wait for that at most; further ones are told to ask again.
const WAITING: usize = 64;

/// When it is worth asking again then.
const CROWDED: Duration = Duration::from_secs(1);

/// How often the users file is looked at. What it holds counts when it is the same at two looks: the beginning of a
/// file that is being written might hide less than the whole.
const LOOK: Duration = Duration::from_secs(1);

/// What callers must know.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where a request comes from, for as long as its connection lasts. An application that mounts the router puts one
/// into the extensions of each request, so that whoever guesses passwords does not slow others down.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    /// The login that was let in here last, if none has failed since. Whoever guesses at the same address, on
    /// connections of their own, does not keep it out.
    admitted: Arc<Mutex<Option<Digest>>>,
}

impl Peer {
    /// A connection from that address.
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            admitted: Arc::default(),
        }
    }

    fn admitted(&self) -> MutexGuard<'_, Option<Digest>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets in who may come in.
#[derive(Clone, Default)]
pub(crate) struct Gate(Option<Arc<Kept>>);

struct Kept {
    accounts: RwLock<Arc<Accounts>>,
    throttle: Throttle,
    /// Places of those who wait, and of those that are looked at.
    waiting: Arc<Semaphore>,
    looked_at: Arc<Semaphore>,
}

impl Gate {
    /// For the one of these credentials, or the users of a file, which is looked at for as long as this is there;
    /// for anybody without either.
    pub(crate) fn new(credentials: Option<Credentials>, users: Option<Users>) -> Self {
        let accounts = match (&users, credentials) {
            (Some(users), _) => Accounts::of_file(users.clone()),
            (None, Some(credentials)) => Accounts::of_one(credentials),
            (None, None) => return Self(None),
        };
        let kept = Arc::new(Kept {
            accounts: RwLock::new(Arc::new(accounts)),
            throttle: Throttle::default(),
            waiting: Arc::new(Semaphore::new(WAITING)),
            looked_at: Arc::new(Semaphore::new(AT_ONCE)),
        });
        if let Some(users) = users {
            tokio::spawn(watch(Arc::downgrade(&kept), users));
        }
        Self(Some(kept))
    }

    /// Whether a login is wanted.
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Logins that failed since the program started.
    pub(crate) fn failed(&self) -> u64 {
        self.0.as_ref().map_or(0, |kept| kept.throttle.failed())
    }

    async fn admit(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Viewer, ApiError> {
        let Some(kept) = &self.0 else {
            return Ok(Viewer::default());
        };
        // Whoever gives no password has not guessed.
        let login = Login::of(headers).ok_or(ApiError::Unauthorized)?;
        let accounts = kept.accounts();
        let digest = accounts.digest(&login);
        // Whatever else comes over the connection ends that it was let in, also what is not looked at.
        let admitted = peer.and_then(|peer| peer.admitted().take());
        let is_right = admitted.is_some_and(|admitted| admitted.ct_eq(&digest).into())
            || kept.is_right(&accounts, &login, &digest, peer).await?;
        if let Some(peer) = peer {
            *peer.admitted() = is_right.then_some(digest);
        }
        let viewer = accounts.viewer(&login).filter(|_| is_right);
        viewer.ok_or(ApiError::Unauthorized)
    }
}

impl Kept {
    fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a login is right, if it may be looked at now.
    async fn is_right(
        self: &Arc<Self>,
        accounts: &Arc<Accounts>,
        login: &Login,
        digest: &Digest,
        peer: Option<&Peer>,
    ) -> Result<bool, ApiError> {
        let address = peer.map(|peer| peer.address);
        let attempt = Attempt {
            address,
            user: &login.username,
        };
        // Also what is remembered is not told to whoever guesses too often.
        self.throttle
            .look(attempt)
            .map_err(ApiError::TooManyLogins)?;
        if accounts.remembers(login, digest) {
            self.throttle.let_in(attempt);
            return Ok(true);
        }
        let crowded = |_| ApiError::TooManyLogins(CROWDED);
        let _waits = self.waiting.try_acquire().map_err(crowded)?;
        let looked_at = Arc::clone(&self.looked_at).acquire_owned().await;
        // Another request of the same user may have been looked at meanwhile.
        if accounts.remembers(login, digest) {
            self.throttle.let_in(attempt);
            return Ok(true);
        }
        self.throttle
            .charge(attempt)
            .map_err(ApiError::TooManyLogins)?;
        let (kept, accounts, digest) = (Arc::clone(self), Arc::clone(accounts), *digest);
        let login = Login {
            username: login.username.clone(),
            password: login.password.clone(),
        };
        // It goes on, and counts, also when the caller goes away; its place is taken until then.
        let looked_at = tokio::task::spawn_blocking(move || {
            let is_right = accounts.is_right(&login);
            let attempt = Attempt {
                address,
                user: &login.username,
            };
            if is_right {
                accounts.remember(&login, digest, Some(Instant::now() + REMEMBERED));
                kept.throttle.succeeded(attempt);
            } else {
                kept.throttle.failed_login(attempt);
            }
            drop(looked_at);
            is_right
        });
        // It fails only when the program ends.
        Ok(looked_at.await.unwrap_or(false))
    }
}

/// Takes what the users file says each time that it changes. A file that cannot be used leaves all as it was.
async fn watch(kept: Weak<Kept>, users: Users) {
    let Users { path, text, .. } = users;
    let mut taken = Ok(text);
    let mut last = taken.clone();
    loop {
        tokio::time::sleep(LOOK).await;
        let seen = look(&path).await;
        let Some(kept) = kept.upgrade() else {
            return;
        };
        let settled = seen == last;
        last = seen.clone();
        if !settled || seen == taken {
            continue;
        }
        taken = seen.clone();
        let users = seen.and_then(|text| Users::parse(&path, text).map_err(|error| chain(&error)));
        match users {
            Ok(users) => {
                tracing::info!("the users file has changed; {} users now", users.all.len());
                let accounts = Arc::new(Accounts::of_file(users));
                *kept
                    .accounts
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = accounts;
            }
            Err(why) => tracing::warn!("{why}; what it said before still holds"),
        }
    }
}

async fn look(path: &Path) -> Result<String, String> {
    let path = path.to_owned();
    let text = tokio::task::spawn_blocking(move || users::text(&path)).await;
    match text {
        Ok(text) => text.map_err(|error| chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// Lets a request through whose login is right, or any when none is wanted. Who it is goes with it.
pub(crate) async fn check(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let extensions = request.extensions();
    let connected = extensions.get::<ConnectInfo<SocketAddr>>();
    let peer = extensions.get::<Peer>().cloned();
    let peer = peer.or_else(|| connected.map(|from| Peer::new(from.ip())));
    let viewer = gate.admit(request.headers(), peer.as_ref()).await?;
    if let Some(line) = request.extensions().get::<Line>()
        && gate.is_there()
        && let Some(login) = Login::of(request.headers())
    {
        line.user(&login.username);
    }
    request.extensions_mut().insert(viewer);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::password;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn only_the_credentials_themselves_are_admitted() {
        // What is no login is refused, and is no guess.
        for (value, admitted, failed) in [
            (format!("Basic {}", STANDARD.encode("ann:a:b é")), true, 0),
            (format!("basic  {}", STANDARD.encode("ann:a:b é")), true, 0),
            (format!("Basic {}", STANDARD.encode("ann:a:b")), false, 1),
            (format!("Basic {}", STANDARD.encode("bob:a:b é")), false, 1),
            (format!("Basic {}", STANDARD.encode("ann")), false, 0),
            (format!("Bearer {}", STANDARD.encode("ann:a:b é")), false, 0),
            ("Basic".to_owned(), false, 0),
            ("Basic ???".to_owned(), false, 0),
            (String::new(), false, 0),
        ] {
            let gate = Gate::new(
                Some(Credentials {
                    username: "ann".to_owned(),
                    password: Secret::from("a:b é"),
                }),
                None,
            );
            let found = gate.admit(&headers(&value), None).await;
            assert_eq!(found.is_ok(), admitted, "{value:?}");
            assert!(gate.admit(&HeaderMap::new(), None).await.is_err());
            assert_eq!(gate.failed(), failed, "{value:?}");
        }
    }

    fn users(text: &str) -> Users {
        Users::parse(Path::new("users"), text.to_owned()).unwrap()
    }

    fn ann(hash: &str) -> Users {
        users(&format!("[users.ann]\npassword = '{hash}'\n"))
    }

    #[tokio::test]
    async fn many_wrong_passwords_at_once_are_looked_at_no_more_than_one_after_the_other() {
        let gate = Gate::new(
            None,
            Some(ann(&password::hash_password(&b"right"[..]).unwrap())),
        );
        let guesses = (0..40).map(|n| {
            let gate = gate.clone();
            let peer = Peer::new([192, 0, 2, 1].into());
            let headers = headers(&format!("Basic {}", STANDARD.encode(format!("ann:{n}"))));
            tokio::spawn(async move { gate.admit(&headers, Some(&peer)).await })
        });
        let mut unlooked = 0;
        for guess in guesses.collect::<Vec<_>>() {
            unlooked += u64::from(matches!(
                guess.await.unwrap(),
                Err(ApiError::TooManyLogins(_))
            ));
        }
        assert_eq!(gate.failed() + unlooked, 40);
        assert_eq!(gate.failed(), 5);
    }

    #[tokio::test]
    async fn a_connection_that_was_let_in_stays_so_until_a_guess_comes_over_it() {
        let hash = password::hash_password(&b"right"[..]).unwrap();
        let gate = Gate::new(None, Some(ann(&hash)));
        let right = headers(&format!("Basic {}", STANDARD.encode("ann:right")));
        let wrong = headers(&format!("Basic {}", STANDARD.encode("ann:wrong")));
        let connect = || Peer::new([192, 0, 2, 1].into());
        let (user, shared) = (connect(), connect());
        for peer in [&user, &shared] {
            assert!(gate.admit(&right, Some(peer)).await.is_ok());
        }
        assert!(gate.admit(&wrong, Some(&shared)).await.is_err());
        while !matches!(
            gate.admit(&wrong, Some(&connect())).await,
            Err(ApiError::TooManyLogins(_))
        ) {}
        assert!(gate.admit(&right, Some(&user)).await.is_ok());
        // The guesser's own address and connections tell right from wrong no more than before.
        for peer in [&shared, &connect()] {
            let found = gate.admit(&right, Some(peer)).await;
            assert!(matches!(found, Err(ApiError::TooManyLogins(_))));
        }
        // Elsewhere the right password is let in at once.
        let elsewhere = Peer::new([192, 0, 2, 2].into());
        assert!(gate.admit(&right, Some(&elsewhere)).await.is_ok());
    }
}
