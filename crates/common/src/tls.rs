//! TLS: certificates and keys from files, connections to databases, and what to do when one fails.
//!
//! Everything is read once, when the program starts; only what a dbd-server shows to its callers is
//! read again when it changes.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use mysql_async::{ClientIdentity, DriverError, IoError, SslOpts};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, RootCertStore};

/// The longest file of certificates or keys that is read, in bytes; a system's roots take a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// How connections to a database are encrypted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Mode {
    /// Not at all.
    #[default]
    Off,
    /// Always, whatever certificate the server shows: nobody can listen, but somebody in the
    /// server's place would not be noticed.
    Required,
    /// Always, and the certificate must be trusted and of the host's name.
    Verify,
}

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

/// The CAs that this system trusts, as far as they can be used.
fn system_roots(ca: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut usable = rustls_native_certs::load_native_certs().certs;
    usable.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    match usable.is_empty() {
        true => Err(TlsError::NoRoots(ca)),
        false => Ok(usable),
    }
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

/// How connections to one database are encrypted; not at all unless made by [`Tls::open`].
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<Opened>>);

struct Opened {
    options: SslOpts,
    flags: &'static Flags,
}

impl fmt::Debug for Tls {
    /// A private key never shows itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Tls" } else { "plain" })
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used, or do not go with the mode.
    pub fn open(mode: Mode, files: &Files, flags: &'static Flags) -> Result<Self, TlsError> {
        let options = match mode {
            Mode::Off => {
                refuse_without_tls(files, flags)?;
                return Ok(Self(None));
            }
            Mode::Required if files.ca.is_some() => {
                return Err(TlsError::Usage(format!(
                    "{}: no certificate is checked against it; give {} verify",
                    flags.ca, flags.on
                )));
            }
            // The library's roots stay in: it cannot be told to check against none.
            Mode::Required => SslOpts::default().with_danger_accept_invalid_certs(true),
            Mode::Verify => {
                let trusted = match own_roots(files)? {
                    Some(text) => vec![text.into()],
                    None => system_roots(flags.ca)?
                        .iter()
                        .map(|certificate| certificate.to_vec().into())
                        .collect(),
                };
                SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(trusted)
            }
        };
        let identity = own_identity(files, flags)?
            .map(|own| ClientIdentity::new(own.certificate.into(), own.key.into()));
        // The library takes the process's; another one may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self(Some(Arc::new(Opened {
            options: options.with_client_identity(identity),
            flags,
        }))))
    }

    pub(crate) fn options(&self) -> Option<SslOpts> {
        self.0.as_ref().map(|opened| opened.options.clone())
    }

    /// The error, with what to do where it is one of TLS.
    pub(crate) fn explained(&self, error: mysql_async::Error) -> mysql_async::Error {
        let Some(opened) = &self.0 else {
            return error;
        };
        let has_none = matches!(
            error,
            mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer)
        );
        let advice = match has_none {
            true => Some(no_tls(opened.flags)),
            false => failure(&error).map(|failure| advice(failure, opened.flags)),
        };
        let Some(advice) = advice else {
            return error;
        };
        let source = error;
        let explained = io::Error::other(Explained { advice, source });
        mysql_async::Error::Io(IoError::Io(explained))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{advice}")]
struct Explained {
    advice: String,
    source: mysql_async::Error,
}

/// The failure of TLS that an error comes from, if it does.
#[must_use]
pub fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<rustls::Error>() {
            return Some(failure);
        }
        // What an I/O error is made of is not its source: that is the source of what it is made of.
        let within = error.downcast_ref::<io::Error>();
        if let Some(within) = within.and_then(io::Error::get_ref)
            && let Some(failure) = failure(within)
        {
            return Some(failure);
        }
        next = error.source();
    }
    None
}

fn no_tls(flags: &Flags) -> String {
    format!(
        "{} does not speak TLS at this address; switch it on there, or {} here",
        flags.peer, flags.off
    )
}

/// What to do about a failure of TLS.
#[must_use]
pub fn advice(failure: &rustls::Error, flags: &Flags) -> String {
    use AlertDescription as Alert;
    use rustls::Error as Tls;
    let peer = flags.peer;
    match failure {
        Tls::InvalidCertificate(wrong) => wrong_certificate(wrong, flags),
        Tls::InvalidMessage(_) => no_tls(flags),
        // OpenSSL says only that the handshake failed when it misses a certificate in TLS 1.2.
        Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => format!(
            "{peer} wants a certificate from this program; give {} and {}",
            flags.certificate, flags.key
        ),
        Tls::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::DecryptError
            | Alert::AccessDenied,
        ) => format!(
            "{peer} does not accept the certificate of {}; give one that its CA has signed and that \
             has not expired",
            flags.certificate
        ),
        Tls::AlertReceived(Alert::ProtocolVersion) | Tls::PeerIncompatible(_) => {
            format!(
                "{peer} speaks neither TLS 1.2 nor 1.3 as this program does; switch them on there"
            )
        }
        _ => format!("the TLS connection to {peer} failed"),
    }
}

fn wrong_certificate(wrong: &CertificateError, flags: &Flags) -> String {
    let peer = flags.peer;
    match wrong {
        CertificateError::UnknownIssuer => format!(
            "the certificate of {peer} is signed by nobody who is trusted here; give the certificate \
             of its CA with {}",
            flags.ca
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "the certificate of {peer} is not for this host name; use a name that it has, or give \
                 {peer} a certificate for this one"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "the certificate of {peer} has expired; renew it there, or set this machine's clock"
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "the certificate of {peer} is not valid yet; set this machine's clock, or make another \
             certificate"
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            format!(
                "{peer} shows a certificate that is a CA's own; give it one that this CA has signed"
            )
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            format!("{peer} shows a certificate of an old form; give it one of X.509 version 3")
        }
        _ => format!("the certificate of {peer} cannot be trusted; give it another one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: Flags = Flags {
        peer: "the source",
        on: "--source-db-ssl",
        off: "leave --source-db-ssl out",
        ca: "--source-db-ca",
        certificate: "--source-db-certificate",
        key: "--source-db-key",
    };

    #[test]
    fn files_that_would_not_be_used_are_refused() {
        let file = || Some(PathBuf::from("/nonexistent/file.pem"));
        for (mode, ca, certificate, key, said) in [
            (Mode::Off, file(), None, None, "give --source-db-ssl too"),
            (Mode::Off, None, None, file(), "give --source-db-ssl too"),
            (Mode::Required, file(), None, None, "--source-db-ssl verify"),
            (Mode::Required, None, file(), None, "give --source-db-key"),
            (Mode::Required, None, None, file(), "give --source-db-cert"),
            (Mode::Required, None, file(), file(), "cannot read /nonex"),
            (Mode::Verify, file(), None, None, "cannot read /nonex"),
        ] {
            let files = Files {
                ca,
                certificate,
                key,
            };
            let error = Tls::open(mode, &files, &FLAGS).unwrap_err();
            assert!(
                error.to_string().contains(said),
                "{mode:?} {files:?}: {error}"
            );
        }
        assert!(Tls::open(Mode::Off, &Files::default(), &FLAGS).is_ok());
    }

    #[test]
    fn a_failure_is_found_within_whatever_it_comes_in() {
        let failure_of_tls = rustls::Error::InvalidCertificate(CertificateError::Expired);
        let inner = io::Error::new(io::ErrorKind::InvalidData, failure_of_tls.clone());
        let outer = mysql_async::Error::Io(IoError::Io(io::Error::other(inner)));
        assert_eq!(failure(&outer), Some(&failure_of_tls));
        let library = mysql_async::Error::from(mysql_async::TlsError::Tls(failure_of_tls.clone()));
        assert_eq!(failure(&library), Some(&failure_of_tls));
        assert_eq!(failure(&io::Error::other("something else")), None);
    }

    #[test]
    fn what_fails_says_what_to_do() {
        use rustls::Error as Tls;
        for (failure, said) in [
            (
                Tls::InvalidCertificate(CertificateError::UnknownIssuer),
                "--source-db-ca",
            ),
            (
                Tls::InvalidCertificate(CertificateError::NotValidForName),
                "name",
            ),
            (Tls::InvalidCertificate(CertificateError::Expired), "renew"),
            (
                Tls::InvalidCertificate(CertificateError::NotValidYet),
                "clock",
            ),
            (
                Tls::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "leave --source",
            ),
            (
                Tls::AlertReceived(AlertDescription::CertificateRequired),
                "--source-db-key",
            ),
            (
                Tls::AlertReceived(AlertDescription::UnknownCA),
                "--source-db-certificate",
            ),
            (
                Tls::AlertReceived(AlertDescription::ProtocolVersion),
                "TLS 1.2",
            ),
        ] {
            let advice = advice(&failure, &FLAGS);
            assert!(advice.contains(said), "{failure:?}: {advice}");
        }
    }
}
