//! TLS towards the dbd-server and the destination: flags, files, and what to do when it fails.

use std::error::Error;
use std::path::PathBuf;

use common::tls::{self, Files, Flags, Mode, Tls, TlsError};

/// TLS for requests to the dbd-server.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SourceTls {
    /// Speak HTTPS with the dbd-server
    #[arg(long, env = "DBD_PULLER_SOURCE_SSL")]
    pub source_ssl: bool,

    /// PEM file of the CAs that may have signed the dbd-server's certificate; the system's unless given
    #[arg(long, env = "DBD_PULLER_SOURCE_CA", value_name = "FILE")]
    pub source_ca: Option<PathBuf>,

    /// PEM file of a certificate to show to a dbd-server that wants one (--ssl-client-ca)
    #[arg(long, env = "DBD_PULLER_SOURCE_CERTIFICATE", value_name = "FILE")]
    pub source_certificate: Option<PathBuf>,

    /// PEM file of that certificate's private key
    #[arg(long, env = "DBD_PULLER_SOURCE_KEY", value_name = "FILE")]
    pub source_key: Option<PathBuf>,
}

const SOURCE: Flags = Flags {
    peer: "the dbd-server",
    on: "--source-ssl",
    off: "leave --source-ssl out",
    ca: "--source-ca",
    certificate: "--source-certificate",
    key: "--source-key",
};

impl SourceTls {
    /// The client with what the flags say; whether it speaks HTTPS.
    pub(crate) fn secure(
        &self,
        client: reqwest::ClientBuilder,
    ) -> Result<(reqwest::ClientBuilder, bool), TlsError> {
        let files = Files {
            ca: self.source_ca.clone(),
            certificate: self.source_certificate.clone(),
            key: self.source_key.clone(),
        };
        if !self.source_ssl {
            tls::refuse_without_tls(&files, &SOURCE)?;
            return Ok((client, false));
        }
        // A redirection must not lead the password out of TLS.
        let mut client = client.https_only(true);
        if let (Some(text), Some(path)) = (tls::own_roots(&files)?, &files.ca) {
            let ca = reqwest::Certificate::from_pem_bundle(&text);
            client = client.tls_certs_only(ca.map_err(|_| TlsError::NoCertificate {
                path: path.display().to_string(),
            })?);
        }
        if let (Some(own), Some(path)) = (tls::own_identity(&files, &SOURCE)?, &files.key) {
            let pem = [own.certificate, own.key].join(&b'\n');
            let identity = reqwest::Identity::from_pem(&pem);
            client = client.identity(identity.map_err(|_| TlsError::NoKey {
                path: path.display().to_string(),
            })?);
        }
        Ok((client, true))
    }
}

/// What to do where the dbd-server and this program do not speak the same.
pub(crate) fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(failure) = tls::failure(error) {
        return Some(tls::advice(failure, &SOURCE));
    }
    let mut next = Some(error);
    while let Some(error) = next {
        let of_http = error.downcast_ref::<hyper::Error>();
        if of_http.is_some_and(hyper::Error::is_parse) {
            return Some(
                "what answers there does not speak HTTP; if it is a dbd-server with --listen-ssl, give \
                 --source-ssl"
                    .to_owned(),
            );
        }
        next = error.source();
    }
    None
}

/// TLS for connections to the destination.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DestTls {
    /// Encrypt connections to the destination: `required` takes any certificate, `verify` only a trusted one
    /// of the destination's host name
    #[arg(long, env = "DBD_PULLER_DEST_SSL", value_enum, default_value_t = Mode::Off)]
    pub dest_ssl: Mode,

    /// PEM file of the CAs that may have signed the destination's certificate; the system's unless given
    #[arg(long, env = "DBD_PULLER_DEST_CA", value_name = "FILE")]
    pub dest_ca: Option<PathBuf>,

    /// PEM file of a certificate to show to the destination, for accounts that need one
    #[arg(long, env = "DBD_PULLER_DEST_CERTIFICATE", value_name = "FILE")]
    pub dest_certificate: Option<PathBuf>,

    /// PEM file of that certificate's private key
    #[arg(long, env = "DBD_PULLER_DEST_KEY", value_name = "FILE")]
    pub dest_key: Option<PathBuf>,
}

const DESTINATION: Flags = Flags {
    peer: "the destination",
    on: "--dest-ssl",
    off: "leave --dest-ssl out",
    ca: "--dest-ca",
    certificate: "--dest-certificate",
    key: "--dest-key",
};

impl DestTls {
    /// Reads the files.
    pub(crate) fn open(&self) -> Result<Tls, TlsError> {
        let files = Files {
            ca: self.dest_ca.clone(),
            certificate: self.dest_certificate.clone(),
            key: self.dest_key.clone(),
        };
        Tls::open(self.dest_ssl, &files, &DESTINATION)
    }
}
