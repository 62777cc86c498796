//! Hashes of passwords, in the PHC string format.

use std::io::{self, BufRead};

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};

/// Bytes of a password that is read, at most.
const LONGEST: u64 = 4096;

/// The memory that a hash of a file may ask for, in KiB: two may be looked at at once.
const MAX_MEMORY: u32 = 256 * 1024;

/// The passes that a hash of a file may ask for.
const MAX_PASSES: u32 = 100;

/// The memory of new hashes, in KiB, and their passes: what OWASP recommends.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashPasswordError {
    /// Nothing was given.
    #[error("give a password on standard input, in one line")]
    Empty,

    /// More than this program takes.
    #[error("give a password of at most {LONGEST} bytes")]
    TooLong,

    /// It cannot be read.
    #[error("cannot read a password from standard input; give it as one line of UTF-8")]
    Read(#[source] io::Error),

    /// Nobody takes the hash.
    #[error("cannot print the hash")]
    Print(#[source] io::Error),

    /// The machine has no memory or no random numbers.
    #[error("cannot make the hash: {0}")]
    Failed(argon2::password_hash::Error),
}

/// The hash of the password in the first line of `input`, for a users file: argon2id with a salt of its own.
///
/// # Errors
/// When there is no password, or it cannot be read.
pub fn hash_password(input: impl BufRead) -> Result<String, HashPasswordError> {
    let mut line = String::new();
    // One byte more than may be tells that there is one more; so do the two that may end the line.
    let mut input = input.take(LONGEST + 2);
    input
        .read_line(&mut line)
        .map_err(HashPasswordError::Read)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(HashPasswordError::Empty);
    }
    if password.len() as u64 > LONGEST {
        return Err(HashPasswordError::TooLong);
    }
    let hash = || {
        let params = Params::new(MEMORY, PASSES, 1, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let salt = SaltString::generate(&mut OsRng);
        Ok(argon2
            .hash_password(password.as_bytes(), &salt)?
            .to_string())
    };
    hash().map_err(HashPasswordError::Failed)
}

/// Whether a text is a hash that this program looks at.
///
/// # Errors
/// What would be right.
pub(crate) fn check(hash: &str) -> Result<(), String> {
    let wrong = || "give the hash that `dbd-server hash-password` prints ($argon2id$…)".to_owned();
    let hash = PasswordHash::new(hash).map_err(|_| wrong())?;
    let params = Params::try_from(&hash).map_err(|_| wrong())?;
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    if hash.algorithm != ARGON2ID_IDENT || !is_whole {
        return Err(wrong());
    }
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES {
        return Err(format!(
            "a hash of at most m={MAX_MEMORY} and t={MAX_PASSES} is looked at; make one with \
             `dbd-server hash-password`"
        ));
    }
    Ok(())
}

/// Whether the password is the one of the hash. It takes the time and memory that the hash asks for.
pub(crate) fn is_of(password: &[u8], hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    Argon2::default().verify_password(password, &hash).is_ok()
}

/// A key for hashes that nobody else can compute.
pub(crate) fn random_key() -> [u8; 32] {
    use argon2::password_hash::rand_core::RngCore;
    let mut key = [0; 32];
    OsRng.fill_bytes(&mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_alone_and_never_the_same_twice() {
        let hash = |text: &str| hash_password(text.as_bytes()).unwrap();
        let (one, two) = (hash("pass wörd:\n"), hash("pass wörd:\r\nmore\n"));
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two);
        for hash in [&one, &two] {
            assert_eq!(check(hash), Ok(()));
            assert!(is_of("pass wörd:".as_bytes(), hash));
            assert!(!is_of(b"pass word:", hash) && !is_of(b"", hash));
        }
    }

    #[test]
    fn a_password_is_one_line() {
        let long = "x".repeat(4096);
        assert!(hash_password(format!("{long}\n").as_bytes()).is_ok());
        for (input, part) in [
            (&b""[..], "give a password on"),
            (b"\nx", "give a password on"),
            (format!("{long}x").as_bytes(), "at most 4096"),
            (b"\xff\n", "UTF-8"),
        ] {
            let error = hash_password(input).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused() {
        let good = hash_password(&b"x"[..]).unwrap();
        for wrong in [
            String::new(),
            "secret".to_owned(),
            good.replace("argon2id", "argon2i"),
            good.replace("$argon2id", "$scrypt"),
            good.rsplit_once('$').unwrap().0.to_owned(),
            good.replace("m=19456", "m=4194304"),
            good.replace("t=2", "t=1000"),
        ] {
            assert!(check(&wrong).is_err(), "{wrong}");
        }
    }
}
