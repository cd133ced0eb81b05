//! TLS between owners and agents: each shows a certificate of the fleet's own authority.
//!
//! Certificates are renewed while programs run. So with each new connection the files are looked at, which costs
//! three `stat`s, and read again where one has changed. Files that can't be used change nothing: a renewal writes
//! one after the other, and what was read before holds until all fit together.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// Why TLS can't be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds something else.
    #[error("{what} can't be read from {}: {cause} (it must be PEM)", .path.display())]
    File {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the reader says.
        cause: pem::Error,
    },
    /// No certificate in the file.
    #[error("{} holds no certificate: it must be PEM, with BEGIN CERTIFICATE", .0.display())]
    Empty(PathBuf),
    /// They don't fit together, or are of a kind that can't be used.
    #[error("certificate and key can't be used: {0}")]
    Unfit(String),
    /// What should stand in the other side's certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
}

/// Which files.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct TlsFiles {
    /// The certificate that is shown, with those between it and the authority behind it.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// The authorities that the other side's certificate must come from.
    pub ca: Option<PathBuf>,
}

impl TlsFiles {
    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key, &self.ca].into_iter().flatten()
    }

    fn identity(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let chain = certificates("the certificate", cert)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|cause| TlsError::File {
            what: "the private key",
            path: key.clone(),
            cause,
        })?;
        Ok(Some((chain, key)))
    }

    fn roots(&self) -> Result<Option<Arc<RootCertStore>>, TlsError> {
        let Some(ca) = &self.ca else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the authority's certificate", ca)? {
            roots.add(certificate).map_err(unfit)?;
        }
        Ok(Some(Arc::new(roots)))
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |cause| TlsError::File { what, path: path.to_owned(), cause };
    let all = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(unreadable)?;
    if all.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(all) }
}

fn unfit(error: impl std::fmt::Display) -> TlsError {
    TlsError::Unfit(error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// How a file is told from the one before it.
type Stamp = Vec<Option<(u64, i64, i64, u64)>>;

/// What was made of files, and is made again when they change.
#[derive(Debug)]
struct Renewed<T> {
    files: TlsFiles,
    make: fn(&TlsFiles) -> Result<T, TlsError>,
    now: Mutex<(Stamp, Arc<T>)>,
}

impl<T> Renewed<T> {
    fn new(files: TlsFiles, make: fn(&TlsFiles) -> Result<T, TlsError>) -> Result<Self, TlsError> {
        // Before they are read, so that no change goes unseen.
        let stamp = stamp(&files);
        let made = Arc::new(make(&files)?);
        Ok(Self { files, make, now: Mutex::new((stamp, made)) })
    }

    fn lock(&self) -> MutexGuard<'_, (Stamp, Arc<T>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> Arc<T> {
        let stamp = stamp(&self.files);
        let mut now = self.lock();
        if now.0 != stamp {
            now.0 = stamp;
            match (self.make)(&self.files) {
                Ok(made) => {
                    tracing::info!("the certificates have changed, and hold from now on");
                    now.1 = Arc::new(made);
                }
                Err(error) => {
                    tracing::warn!("the certificates have changed, and those before hold on: {error}");
                }
            }
        }
        Arc::clone(&now.1)
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.ctime(), file.ctime_nsec(), file.len()))
    };
    files.all().map(of).collect()
}

/// An agent's side.
#[derive(Debug)]
pub struct ServerTls(Renewed<ServerConfig>);

impl ServerTls {
    /// Shows `cert`; with `ca`, callers must show a certificate of that authority.
    ///
    /// # Errors
    /// Where the files can't be used.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        Renewed::new(files, server_config).map(Self)
    }

    /// A session with whoever has connected, by the certificates as they are now.
    ///
    /// # Errors
    /// Where there can't be one.
    pub fn session(&self) -> Result<ServerConnection, TlsError> {
        ServerConnection::new(self.0.get()).map_err(unfit)
    }

    /// Looks now whether the files have changed, instead of with the next connection.
    pub fn look(&self) {
        drop(self.0.get());
    }
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    let builder = match files.roots()? {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(unfit)?)
        }
    };
    let Some((chain, key)) = files.identity()? else {
        return Err(unfit("an agent must show a certificate"));
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unfit)?;
    // Who resumes a session shows nothing again, and a certificate may be over by then. Connections are few and long.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// An owner's side.
#[derive(Debug)]
pub struct ClientTls(Renewed<ClientConfig>);

impl ClientTls {
    /// Believes the authorities in `ca`, and shows `cert` to agents that ask for it.
    ///
    /// # Errors
    /// Where the files can't be used.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        Renewed::new(files, client_config).map(Self)
    }

    /// A session with an agent whose certificate must be for `name`: a host name, or an address as text.
    ///
    /// # Errors
    /// Where there can't be one.
    pub fn session(&self, name: &str) -> Result<ClientConnection, TlsError> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
        ClientConnection::new(self.0.get(), name).map_err(unfit)
    }
}

/// Whether a certificate can be for it: a host name, or an address as text.
#[must_use]
pub fn is_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?;
    let roots =
        files.roots()?.ok_or_else(|| unfit("no authority is named whose certificates are believed"))?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match files.identity()? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unfit)?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}
