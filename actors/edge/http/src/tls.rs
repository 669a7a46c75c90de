//! TLS 1.3 for both ends: what the server shows, and whom the client trusts.
//!
//! Both ends are ours or of this decade, so there is one version, and nothing of the older ones to get wrong.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use kernel::Digest;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WantsServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, Error, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::peer::{Authority, fingerprint};

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

/// More would be a trust store for everybody's certificates, and not the few that are meant.
const AUTHORITIES_MAX: usize = 16;

/// Certificate and key of a server, found to belong together, and who may vouch for its clients.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) authorities: Arc<[Authority]>,
}

/// A certificate that others make, and change while the server runs. Clones are the same one. As long as there is none, nobody is
/// greeted.
#[derive(Clone, Default)]
pub struct Shown(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

/// The certificate by which a client is known, and its key.
#[derive(Clone, Copy, Debug)]
pub struct Papers<'a> {
    pub certificate: &'a Path,
    pub key: &'a Path,
}

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
    #[error("the authorities of clients in {} cannot be used: {why}", .path.display())]
    ClientAuthority { path: PathBuf, why: String },
    #[error("others than its owner can change who vouches for clients, in {} (mode {mode:04o})", .path.display())]
    ClientAuthorityMode { path: PathBuf, mode: u32 },
    #[error("others than its owner may use the private key {} (mode {mode:04o})", .path.display())]
    KeyMode { path: PathBuf, mode: u32 },
}

impl TlsError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "http.tls_certificate",
            Self::Key { .. } => "http.tls_key",
            Self::KeyMode { .. } => "http.tls_key_mode",
            Self::ClientAuthority { .. } => "http.tls_client_ca",
            Self::ClientAuthorityMode { .. } => "http.tls_client_ca_mode",
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::Certificate { .. } => {
                "name a PEM file with the certificate first, and those that lead to its authority after it".into()
            }
            Self::Key { .. } => "name the PEM file with the private key of this certificate, without a password".into(),
            Self::KeyMode { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::ClientAuthority { .. } => {
                format!(
                    "name a PEM file with the certificates of at most {AUTHORITIES_MAX} authorities, and nothing else"
                )
            }
            Self::ClientAuthorityMode { path, .. } => format!("run `chmod go-w {}`", path.display()),
        }
    }
}

impl Tls {
    /// Reads certificate, key and, if such a file is named, the authorities whose word on clients is believed, once.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let papers = Papers { certificate, key };
        let roots = client_ca.map(client_authorities).transpose()?;
        let (chain, secret) = papers.read()?;
        let built = Self::built(client_ca, roots.as_deref())?;
        let config = built.with_single_cert(chain, secret).map_err(|error| papers.unfit(error))?;
        Self::of(config, client_ca, roots)
    }

    /// As [`Tls::load`], with the certificate that is shown then.
    ///
    /// # Errors
    /// As [`Tls::load`], of the authorities.
    pub fn showing(shown: &Shown, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let roots = client_ca.map(client_authorities).transpose()?;
        let built = Self::built(client_ca, roots.as_deref())?;
        Self::of(built.with_cert_resolver(Arc::new(shown.clone())), client_ca, roots)
    }

    fn built(
        client_ca: Option<&Path>,
        roots: Option<&[CertificateDer<'static>]>,
    ) -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has the suites of TLS 1.3");
        Ok(match client_ca.zip(roots) {
            None => config.with_no_client_auth(),
            // Who shows none is known by what he says in his requests.
            Some((path, roots)) => config.with_client_cert_verifier(verifier(path, roots, true)?),
        })
    }

    fn of(
        mut config: ServerConfig,
        client_ca: Option<&Path>,
        roots: Option<Vec<CertificateDer<'static>>>,
    ) -> Result<Self, TlsError> {
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut authorities = Vec::new();
        if let Some((path, roots)) = client_ca.zip(roots) {
            // A session that is taken up again would be one whose certificate nobody has looked at since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            for root in roots {
                let verifier = verifier(path, std::slice::from_ref(&root), false)?;
                authorities.push(Authority { fingerprint: fingerprint(&root), verifier });
            }
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), authorities: authorities.into() })
    }
}

impl Shown {
    /// From now on this is shown: PEM with the certificate and those that lead from an authority to it, and its key in PKCS#8.
    /// Who was greeted before keeps his connection.
    ///
    /// # Errors
    /// What is wrong with them, in words; what was shown before still is.
    pub fn put(&self, chain: &str, key: &[u8]) -> Result<(), String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let (chain, key) = (chain.map_err(|error| error.to_string())?, PrivatePkcs8KeyDer::from(key.to_vec()));
        let certified = CertifiedKey::from_der(chain, key.into(), &provider()).map_err(|error| error.to_string())?;
        self.set(Some(Arc::new(certified)));
        Ok(())
    }

    /// From now on nothing is shown.
    pub fn withdraw(&self) {
        self.set(None);
    }

    fn set(&self, certified: Option<Arc<CertifiedKey>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(a certificate and its key)")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Papers<'_> {
    fn unusable(&self, why: impl fmt::Display) -> TlsError {
        TlsError::Key { path: self.key.to_owned(), why: why.to_string() }
    }

    fn unfit(&self, error: Error) -> TlsError {
        match error {
            Error::InvalidCertificate(_) => {
                TlsError::Certificate { path: self.certificate.to_owned(), why: error.to_string() }
            }
            error => self.unusable(error),
        }
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(self.certificate)?;
        let file = File::open(self.key).map_err(|error| self.unusable(error))?;
        // Of the file that is read, whatever the name leads to by then.
        let mode = file.metadata().map_err(|error| self.unusable(error))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TlsError::KeyMode { path: self.key.to_owned(), mode });
        }
        let text = read(file).map_err(|error| self.unusable(error))?;
        Ok((chain, PrivateKeyDer::from_pem_slice(&text).map_err(|error| self.unusable(error))?))
    }
}

/// Who may vouch for clients. Who can write to that file can let in anybody.
fn client_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: &dyn fmt::Display| TlsError::ClientAuthority { path: path.to_owned(), why: why.to_string() };
    let file = File::open(path).map_err(|error| unusable(&error))?;
    let mode = file.metadata().map_err(|error| unusable(&error))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TlsError::ClientAuthorityMode { path: path.to_owned(), mode });
    }
    let text = read(file).map_err(|error| unusable(&error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found.map_err(|error| unusable(&error))? {
        none if none.is_empty() => Err(unusable(&"there is none in it")),
        many if AUTHORITIES_MAX < many.len() => Err(unusable(&format!("there are {} in it", many.len()))),
        authorities => Ok(authorities),
    }
}

fn verifier(
    path: &Path,
    roots: &[CertificateDer<'static>],
    also_none: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |why: &dyn fmt::Display| TlsError::ClientAuthority { path: path.to_owned(), why: why.to_string() };
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|error| unusable(&error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
    let builder = if also_none { builder.allow_unauthenticated() } else { builder };
    builder.build().map_err(|error| unusable(&error))
}

impl Trust {
    /// In the authorities whose certificates are in `file`, and nobody else; known to them by `papers`, if there are any.
    pub fn in_authorities(file: &Path, papers: Option<Papers<'_>>) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Certificate { path: file.to_owned(), why };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        Self::in_roots(roots, file, papers)
    }

    /// In whom the programs of this machine trust: the file that its distribution keeps for that.
    pub fn of_this_machine() -> Result<Self, TlsError> {
        let file = Path::new(BUNDLES.into_iter().find(|file| Path::new(file).exists()).unwrap_or(BUNDLES[0]));
        let mut roots = RootCertStore::empty();
        // Among so many there are some that are of no use to anybody.
        roots.add_parsable_certificates(certificates(file)?);
        Self::in_roots(roots, file, None)
    }

    fn in_roots(roots: RootCertStore, file: &Path, papers: Option<Papers<'_>>) -> Result<Self, TlsError> {
        let unusable = |why: String| TlsError::Certificate { path: file.to_owned(), why };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match papers {
            None => config.with_no_client_auth(),
            Some(papers) => {
                let (chain, secret) = papers.read()?;
                config.with_client_auth_cert(chain, secret).map_err(|error| papers.unfit(error))?
            }
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// The one place that says whose cryptography it is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The SHA-256 of the first certificate in a file.
///
/// # Errors
/// [`TlsError::Certificate`].
pub fn fingerprint_in(path: &Path) -> Result<Digest, TlsError> {
    certificates(path).map(|chain| fingerprint(&chain[0]))
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
