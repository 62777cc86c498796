//! TLS: certificates and keys from files, connections to databases, and what to do when one fails.
//!
//! Everything is read once, when the program starts; only what a dbd-server shows to its callers is
//! read again when it changes.

mod advice;
mod database;

use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use advice::{advice, failure};
pub use database::{Mode, Tls};

/// The longest file of certificates or keys that is read, in bytes; a system's roots take a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// What a flag's user calls the peer, and the flags themselves, for messages.
#[derive(Debug)]
pub struct Flags {
    /// Who it is that the program connects to.
    pub peer: &'static str,
    /// What switches TLS on.
    pub on: &'static str,
    /// What switches it off.
    pub off: &'static str,
    /// The file of CAs.
    pub ca: &'static str,
    /// The program's own certificate.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
}

/// The files that those flags name.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// CAs that are trusted, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The program's own certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Flags or files that have to be mended.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Flags that do not go together.
    #[error("{0}")]
    Usage(String),

    /// A file that cannot be read.
    #[error("cannot read {path}; give a PEM file that this account may read")]
    Unreadable {
        /// It.
        path: String,
        /// Why.
        source: io::Error,
    },

    /// A file without a certificate, or with one that is broken.
    #[error("{path} holds no certificate that can be read; give a PEM file, with every line of it")]
    NoCertificate {
        /// It.
        path: String,
    },

    /// A file without a key, or with one that is broken.
    #[error(
        "{path} holds no private key that can be read; give a PEM file (PKCS#8, PKCS#1 or SEC1) that \
         no password protects"
    )]
    NoKey {
        /// It.
        path: String,
    },

    /// A certificate and a key that cannot be used together.
    #[error(
        "{certificate} and {key} do not go together; give a certificate and its own private key"
    )]
    Pair {
        /// The certificate's file.
        certificate: String,
        /// The key's.
        key: String,
        /// What is wrong.
        source: rustls::Error,
    },

    /// A CA's certificate that cannot be used.
    #[error("{path} holds what is no certificate of a CA; give the CA's own certificate")]
    NotACa {
        /// Its file.
        path: String,
        /// What is wrong.
        source: Box<dyn Error + Send + Sync>,
    },

    /// Nothing is trusted.
    #[error(
        "this system has no CA certificates, so that nothing can be verified; install its package \
         ca-certificates, or give {0}"
    )]
    NoRoots(&'static str),
}

/// The cryptography that all TLS here is made of.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a file holds.
///
/// # Errors
/// When it cannot be read, or is longer than 1 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

fn content(path: &Path) -> Result<Vec<u8>, TlsError> {
    read(path).map_err(|source| TlsError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

/// The certificates in a text of PEM; `path` is for messages.
///
/// # Errors
/// When there is none, or one is broken.
pub fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TlsError::NoCertificate {
            path: path.display().to_string(),
        }),
    }
}

/// A certificate with its chain, and its key, from texts of PEM; they belong together.
///
/// # Errors
/// When one of them is missing or broken, or they do not belong together.
pub fn pair(
    (chain, chain_path): (&[u8], &Path),
    (key, key_path): (&[u8], &Path),
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(chain, chain_path)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey {
        path: key_path.display().to_string(),
    })?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
        certificate: chain_path.display().to_string(),
        key: key_path.display().to_string(),
        source,
    })
}

/// The CAs in a text of PEM; `path` is for messages.
///
/// # Errors
/// When there is none, or one is broken.
pub fn roots(pem: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, path)? {
        roots.add(certificate).map_err(|error| TlsError::NotACa {
            path: path.display().to_string(),
            source: error.into(),
        })?;
    }
    Ok(roots)
}

/// The texts of a program's own certificate and key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

/// A program's own certificate and key, where there are any; they belong together.
///
/// # Errors
/// When only one of them was given, or they do not belong together.
pub fn own_identity(files: &Files, flags: &Flags) -> Result<Option<Identity>, TlsError> {
    let one = |given, missing| {
        let say = format!("{given}: a certificate is shown with its key; give {missing} too");
        Err(TlsError::Usage(say))
    };
    match (&files.certificate, &files.key) {
        (None, None) => Ok(None),
        (Some(_), None) => one(flags.certificate, flags.key),
        (None, Some(_)) => one(flags.key, flags.certificate),
        (Some(certificate_path), Some(key_path)) => {
            let (certificate, key) = (content(certificate_path)?, content(key_path)?);
            pair((&certificate, certificate_path), (&key, key_path))?;
            Ok(Some(Identity { certificate, key }))
        }
    }
}

/// The text of the file of CAs, where there is one.
///
/// # Errors
/// When it holds no CA.
pub fn own_roots(files: &Files) -> Result<Option<Vec<u8>>, TlsError> {
    let Some(path) = &files.ca else {
        return Ok(None);
    };
    let text = content(path)?;
    roots(&text, path)?;
    Ok(Some(text))
}

/// Refuses files that nothing will use: who gives one believes that TLS is on.
///
/// # Errors
/// What to give as well.
pub fn refuse_without_tls(files: &Files, flags: &Flags) -> Result<(), TlsError> {
    let given = [
        (&files.ca, flags.ca),
        (&files.certificate, flags.certificate),
        (&files.key, flags.key),
    ];
    match given.into_iter().find(|(file, _)| file.is_some()) {
        Some((_, flag)) => Err(TlsError::Usage(format!(
            "{flag} is for connections with TLS; give {} too",
            flags.on
        ))),
        None => Ok(()),
    }
}
