//! TLS for callers: handshakes, and certificates that change while the program runs.
//!
//! The files are looked at every [`LOOK`]. What fits together is used from the next connection on; what
//! does not (a certificate without its key yet, a file that is half written) changes nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::process::chain;
use common::tls::{self, TlsError};
use rustls::ServerConfig;
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take: a few journeys of a slow network, and no secret has been shown by then.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// How long a caller whose handshake failed may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many bytes it may send meanwhile.
const FAREWELL_BYTES: usize = 64 << 10;

/// Where the certificate of a listener is.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// The certificate, and those between it and its CA.
    pub(crate) chain: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// CAs that must have signed the certificates of callers.
    pub(crate) client_ca: Option<PathBuf>,
}

/// A file, or why there is none.
type Content = Result<Vec<u8>, io::ErrorKind>;

/// What the files held at one look.
#[derive(Eq, PartialEq)]
struct Contents {
    chain: Content,
    key: Content,
    client_ca: Option<Content>,
}

/// Begins connections with the certificate of the moment.
#[derive(Clone)]
pub(crate) struct Tls(watch::Receiver<Arc<ServerConfig>>);

impl Tls {
    /// Reads the files, and again whenever they change, until the last clone of this is dropped.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(crate) fn open(files: Files) -> Result<Self, TlsError> {
        let contents = files.read();
        let (sender, receiver) = watch::channel(Arc::new(contents.config(&files)?));
        tokio::spawn(follow(files, contents, sender));
        Ok(Self(receiver))
    }

    /// The connection that a caller's handshake makes, within [`HANDSHAKE`].
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.0.borrow());
        let handshake = TlsAcceptor::from(config).accept(stream).into_fallible();
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err((error, stream))) => {
                // Whatever becomes of it, the caller has had its time.
                let _ = tokio::time::timeout(FAREWELL, farewell(stream)).await;
                Err(error)
            }
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Closes a connection so that the caller can read the alert that it was sent: closed with bytes unread, the
/// system would take back what is on its way.
async fn farewell(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = stream.take(FAREWELL_BYTES as u64);
    let mut unread = [0; 4096];
    while rest.read(&mut unread).await? > 0 {}
    Ok(())
}

impl Files {
    fn read(&self) -> Contents {
        let content = |path: &Path| tls::read(path).map_err(|error| error.kind());
        Contents {
            chain: content(&self.chain),
            key: content(&self.key),
            client_ca: self.client_ca.as_deref().map(content),
        }
    }
}

impl Contents {
    fn config(&self, files: &Files) -> Result<ServerConfig, TlsError> {
        let chain = text(&self.chain, &files.chain)?;
        let key = text(&self.key, &files.key)?;
        let pair = tls::pair((chain, &files.chain), (key, &files.key))?;
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has both versions")
            .with_client_cert_verifier(self.callers(files)?)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn callers(&self, files: &Files) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (Some(content), Some(path)) = (&self.client_ca, &files.client_ca) else {
            return Ok(Arc::new(NoClientAuth));
        };
        let roots = Arc::new(tls::roots(text(content, path)?, path)?);
        WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
            .build()
            .map_err(|error| TlsError::NotACa {
                path: path.display().to_string(),
                source: error.into(),
            })
    }
}

fn text<'a>(content: &'a Content, path: &Path) -> Result<&'a [u8], TlsError> {
    content.as_deref().map_err(|&kind| TlsError::Unreadable {
        path: path.display().to_string(),
        source: kind.into(),
    })
}

/// Files that cannot be used, as they were at the last look.
struct Broken {
    contents: Contents,
    said: bool,
}

/// Uses what the files hold whenever that changes, as long as anybody wants it.
async fn follow(files: Files, mut used: Contents, sender: watch::Sender<Arc<ServerConfig>>) {
    let mut broken: Option<Broken> = None;
    loop {
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let reading = files.clone();
        // A file may be on a disk that does not answer.
        let Ok(found) = tokio::task::spawn_blocking(move || reading.read()).await else {
            continue;
        };
        if found == used {
            broken = None;
            continue;
        }
        match found.config(&files) {
            Ok(config) => {
                sender.send_replace(Arc::new(config));
                let chain = files.chain.display();
                tracing::info!("further connections get the certificate that {chain} holds now");
                (used, broken) = (found, None);
            }
            Err(error) => broken = Some(seen_broken(broken, found, &error)),
        }
    }
}

/// Warns once of what is still as broken as at the look before: one file may just have been written, and the
/// next one is to follow.
fn seen_broken(before: Option<Broken>, contents: Contents, error: &TlsError) -> Broken {
    match before {
        Some(before) if before.contents == contents => {
            if !before.said {
                tracing::warn!(
                    "the files of --listen-ssl have changed and cannot be used, the certificate from before \
                     stays: {}",
                    chain(error)
                );
            }
            Broken {
                contents,
                said: true,
            }
        }
        _ => Broken {
            contents,
            said: false,
        },
    }
}
