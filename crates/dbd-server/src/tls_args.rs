//! The flags of TLS: towards callers, and towards the source.

use std::path::PathBuf;

use common::tls::{Files, Flags, Mode, Tls, TlsError};

use crate::tls;

/// TLS for callers.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListenTls {
    /// Speak HTTPS and nothing else, with the certificate of --ssl-public-key
    #[arg(short = 's', long, env = "DBD_SERVER_LISTEN_SSL")]
    pub listen_ssl: bool,

    /// PEM file of the certificate that callers see, with its chain; it is read again when it changes
    #[arg(long, env = "DBD_SERVER_SSL_PUBLIC_KEY", value_name = "FILE")]
    pub ssl_public_key: Option<PathBuf>,

    /// PEM file of that certificate's private key (PKCS#8, PKCS#1 or SEC1); it is read again when it changes
    #[arg(long, env = "DBD_SERVER_SSL_PRIVATE_KEY", value_name = "FILE")]
    pub ssl_private_key: Option<PathBuf>,

    /// PEM file of CAs: callers must then show a certificate that one of these has signed; it is read
    /// again when it changes
    #[arg(long, env = "DBD_SERVER_SSL_CLIENT_CA", value_name = "FILE")]
    pub ssl_client_ca: Option<PathBuf>,
}

impl ListenTls {
    /// The files that callers' connections begin with; none when those are plain.
    pub(crate) fn files(&self) -> Result<Option<tls::Files>, TlsError> {
        let wrong = |what: &str| Err(TlsError::Usage(what.to_owned()));
        let given = [
            (&self.ssl_public_key, "--ssl-public-key"),
            (&self.ssl_private_key, "--ssl-private-key"),
            (&self.ssl_client_ca, "--ssl-client-ca"),
        ];
        if !self.listen_ssl {
            return match given.iter().find(|(file, _)| file.is_some()) {
                Some((_, flag)) => wrong(&format!("{flag} is for HTTPS; give --listen-ssl too")),
                None => Ok(None),
            };
        }
        match (&self.ssl_public_key, &self.ssl_private_key) {
            (Some(chain), Some(key)) => Ok(Some(tls::Files {
                chain: chain.clone(),
                key: key.clone(),
                client_ca: self.ssl_client_ca.clone(),
            })),
            _ => wrong(
                "--listen-ssl: give a certificate with --ssl-public-key and its key with --ssl-private-key",
            ),
        }
    }
}

/// TLS for connections to the source.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SourceTls {
    /// Encrypt connections to the source: `required` takes any certificate, `verify` only a trusted one
    /// of the source's host name
    #[arg(long, env = "DBD_SERVER_SOURCE_DB_SSL", value_enum, default_value_t = Mode::Off)]
    pub source_db_ssl: Mode,

    /// PEM file of the CAs that may have signed the source's certificate; the system's unless given
    #[arg(long, env = "DBD_SERVER_SOURCE_DB_CA", value_name = "FILE")]
    pub source_db_ca: Option<PathBuf>,

    /// PEM file of a certificate to show to the source, for accounts that need one
    #[arg(long, env = "DBD_SERVER_SOURCE_DB_CERTIFICATE", value_name = "FILE")]
    pub source_db_certificate: Option<PathBuf>,

    /// PEM file of that certificate's private key
    #[arg(long, env = "DBD_SERVER_SOURCE_DB_KEY", value_name = "FILE")]
    pub source_db_key: Option<PathBuf>,
}

const SOURCE: Flags = Flags {
    peer: "the source database",
    on: "--source-db-ssl",
    off: "leave --source-db-ssl out",
    ca: "--source-db-ca",
    certificate: "--source-db-certificate",
    key: "--source-db-key",
};

impl SourceTls {
    /// Reads the files.
    pub(crate) fn open(&self) -> Result<Tls, TlsError> {
        let files = Files {
            ca: self.source_db_ca.clone(),
            certificate: self.source_db_certificate.clone(),
            key: self.source_db_key.clone(),
        };
        Tls::open(self.source_db_ssl, &files, &SOURCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_lack_others_say_which() {
        let file = || Some(PathBuf::from("file.pem"));
        for (listen_ssl, chain, key, ca, said) in [
            (false, file(), file(), None, "give --listen-ssl"),
            (false, None, None, file(), "give --listen-ssl"),
            (true, None, None, None, "--ssl-public-key"),
            (true, file(), None, None, "--ssl-private-key"),
            (true, None, file(), file(), "--ssl-public-key"),
        ] {
            let flags = ListenTls {
                listen_ssl,
                ssl_public_key: chain,
                ssl_private_key: key,
                ssl_client_ca: ca,
            };
            let error = flags.files().err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.contains(said)),
                "{flags:?}: {error:?}"
            );
        }
        assert!(
            ListenTls::default()
                .files()
                .is_ok_and(|files| files.is_none())
        );
    }
}
