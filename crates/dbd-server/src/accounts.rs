//! Those who are let in, and whose password was right a moment ago.
//!
//! A right login is remembered for a while, so that who asks often costs no more than once: as a keyed hash of user
//! and password, whose key never leaves the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use blake2::Blake2sMac256;
use blake2::digest::{Mac, Update};
use subtle::ConstantTimeEq;

use crate::access::Credentials;
use crate::password;
use crate::users::{User, Users};
use crate::viewer::Viewer;

/// How long a right password is remembered after it was last given.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// What a login is remembered as.
pub(crate) type Digest = [u8; 32];

/// Those who are let in.
pub(crate) struct Accounts {
    /// What the digests are keyed with: those of former accounts are worth nothing.
    key: Digest,
    users: HashMap<String, Account>,
    /// What an unknown user's password is compared with, so that it takes as long as any other.
    decoy: Option<String>,
}

struct Account {
    /// The password's hash; none where its digest was remembered from the start.
    hash: Option<String>,
    viewer: Viewer,
    /// The digest of the right password, and when it is forgotten.
    known: Mutex<Option<(Digest, Option<Instant>)>>,
}

/// A user name and a password that came.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Vec<u8>,
}

impl Login {
    /// None where the request has no credentials that could be meant.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let (scheme, encoded) = headers
            .get(header::AUTHORIZATION)?
            .to_str()
            .ok()?
            .split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let given = STANDARD.decode(encoded.trim()).ok()?;
        let colon = given.iter().position(|byte| *byte == b':')?;
        Some(Self {
            // What is no UTF-8 is nobody's name.
            username: String::from_utf8_lossy(&given[..colon]).into_owned(),
            password: given[colon + 1..].to_vec(),
        })
    }
}

impl Accounts {
    fn new(users: impl IntoIterator<Item = (String, Account)>) -> Self {
        let users: HashMap<String, Account> = users.into_iter().collect();
        Self {
            key: password::random_key(),
            decoy: users.values().find_map(|account| account.hash.clone()),
            users,
        }
    }

    pub(crate) fn of_file(users: Users) -> Self {
        let account = |User { hash, viewer }| Account {
            hash: Some(hash),
            viewer,
            known: Mutex::default(),
        };
        let users = users.all.into_iter();
        Self::new(users.map(|(name, user)| (name, account(user))))
    }

    pub(crate) fn of_one(credentials: Credentials) -> Self {
        let login = Login {
            username: credentials.username.clone(),
            password: credentials.password.expose().as_bytes().to_vec(),
        };
        let account = Account {
            hash: None,
            viewer: Viewer::default(),
            known: Mutex::default(),
        };
        let accounts = Self::new([(credentials.username, account)]);
        accounts.remember(&login, accounts.digest(&login), None);
        accounts
    }

    pub(crate) fn digest(&self, login: &Login) -> Digest {
        // The key is as long as that of the function may be.
        let mac = Blake2sMac256::new_from_slice(&self.key).expect("the key has 32 bytes");
        let length = (login.username.len() as u64).to_be_bytes();
        let mac = mac.chain(length).chain(&login.username);
        mac.chain(&login.password).finalize().into_bytes().into()
    }

    pub(crate) fn viewer(&self, login: &Login) -> Option<Viewer> {
        let account = self.users.get(&login.username)?;
        Some(account.viewer.clone())
    }

    pub(crate) fn remember(&self, login: &Login, digest: Digest, until: Option<Instant>) {
        if let Some(account) = self.users.get(&login.username) {
            *account.known() = Some((digest, until));
        }
    }

    /// Whether this very login is remembered as right; it is for a while longer then.
    pub(crate) fn remembers(&self, login: &Login, digest: &Digest) -> bool {
        let Some(account) = self.users.get(&login.username) else {
            return false;
        };
        let mut known = account.known();
        let now = Instant::now();
        match &mut *known {
            Some((right, until)) if until.is_none_or(|until| now < until) => {
                let same = right.ct_eq(digest).into();
                if same && until.is_some() {
                    *until = Some(now + REMEMBERED);
                }
                same
            }
            _ => false,
        }
    }

    /// Whether the password is right. It takes its time, for an unknown user as well.
    pub(crate) fn is_right(&self, login: &Login) -> bool {
        let account = self.users.get(&login.username);
        let hash = match account {
            Some(account) => account.hash.as_ref(),
            None => self.decoy.as_ref(),
        };
        // Without a hash the right password is remembered, and this is another.
        let is_of = hash.is_some_and(|hash| password::is_of(&login.password, hash));
        is_of && account.is_some()
    }
}

impl Account {
    fn known(&self) -> MutexGuard<'_, Option<(Digest, Option<Instant>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
