//! Connections to a database.

use std::fmt;
use std::io;
use std::sync::Arc;

use clap::ValueEnum;
use mysql_async::{ClientIdentity, DriverError, IoError, SslOpts};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::advice::no_tls;
use super::{Files, Flags, TlsError, advice, failure, own_identity, own_roots, refuse_without_tls};

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

/// The CAs that this system trusts, as far as they can be used.
fn system_roots(ca: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut usable = rustls_native_certs::load_native_certs().certs;
    usable.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    match usable.is_empty() {
        true => Err(TlsError::NoRoots(ca)),
        false => Ok(usable),
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::advice::tests::FLAGS;
    use super::*;

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
}
