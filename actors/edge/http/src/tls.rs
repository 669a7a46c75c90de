//! TLS 1.3 for both ends: what the server shows, and whom the client trusts.
//!
//! Both ends are ours or of this decade, so there is one version, and nothing of the older ones to get wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longer files hold something else.
const FILE_MAX: u64 = 1 << 20;

/// Where distributions keep the certificates of the authorities that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const PROTOCOL: &[u8] = b"http/1.1";

/// Certificate and key of a server, found to belong together.
#[derive(Clone)]
pub struct Tls(pub(crate) TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(a certificate and its key)")
    }
}

/// Whom a client believes.
#[derive(Clone)]
pub(crate) struct Trust(pub TlsConnector);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust(certificates)")
    }
}

/// Why a file is of no use for TLS. Worded for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate {} cannot be used: {why}", .path.display())]
    Certificate { path: PathBuf, why: String },
    #[error("the private key {} cannot be used: {why}", .path.display())]
    Key { path: PathBuf, why: String },
    #[error("others than its owner may use the private key {} (mode {mode:04o})", .path.display())]
    KeyMode { path: PathBuf, mode: u32 },
}

impl TlsError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "http.tls_certificate",
            Self::Key { .. } => "http.tls_key",
            Self::KeyMode { .. } => "http.tls_key_mode",
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::Certificate { .. } => {
                "name a PEM file with the certificate first, and those that lead to its authority after it".into()
            }
            Self::Key { .. } => "name the PEM file with the private key of this certificate, without a password".into(),
            Self::KeyMode { path, .. } => format!("run `chmod 600 {}`", path.display()),
        }
    }
}

impl Tls {
    /// Reads certificate and key, once.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Key { path: key.to_owned(), why };
        let chain = certificates(certificate)?;
        let file = File::open(key).map_err(|error| unusable(error.to_string()))?;
        // Of the file that is read, whatever the name leads to by then.
        let mode = file.metadata().map_err(|error| unusable(error.to_string()))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TlsError::KeyMode { path: key.to_owned(), mode });
        }
        let text = read(file).map_err(|error| unusable(error.to_string()))?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable(error.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, secret);
        let mut config = config.map_err(|error| match error {
            Error::InvalidCertificate(_) => {
                TlsError::Certificate { path: certificate.to_owned(), why: error.to_string() }
            }
            error => unusable(error.to_string()),
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

impl Trust {
    /// In the authorities whose certificates are in `file`, and nobody else.
    pub fn in_authorities(file: &Path) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Certificate { path: file.to_owned(), why };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        Self::in_roots(roots, file)
    }

    /// In whom the programs of this machine trust: the file that its distribution keeps for that.
    pub fn of_this_machine() -> Result<Self, TlsError> {
        let file = Path::new(BUNDLES.into_iter().find(|file| Path::new(file).exists()).unwrap_or(BUNDLES[0]));
        let mut roots = RootCertStore::empty();
        // Among so many there are some that are of no use to anybody.
        roots.add_parsable_certificates(certificates(file)?);
        Self::in_roots(roots, file)
    }

    fn in_roots(roots: RootCertStore, file: &Path) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Certificate { path: file.to_owned(), why };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// The one place that says whose cryptography it is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::Certificate { path: path.to_owned(), why };
    let text = File::open(path).and_then(read).map_err(|error| unusable(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found.map_err(|error| unusable(error.to_string()))? {
        none if none.is_empty() => Err(unusable("there is none in it".into())),
        chain => Ok(chain),
    }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}
