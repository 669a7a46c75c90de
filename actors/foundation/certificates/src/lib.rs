//! Certificates (X.509, RFC 5280) of an authority of one's own: what the API shows, and what its clients believe.
//!
//! The authority is a key for `tls-authority`, ECDSA over P-256 or P-384: older clients of TLS take nothing else. What is made
//! here is public but for the key of a server, which is drawn for each certificate and never on disk.
//!
//! ```text
//! root      the authority's own certificate, signed by itself: what a client is given to believe
//! vouched   the same, signed by the authority before it: who believes that one is led to this one
//! server    of the API, for some names and a short time
//! ```
//!
//! # Invariants
//! 1. Name and key of an authority are the same in all of its certificates, however often they are made: to who verifies they are
//!    one authority.
//! 2. An authority signs certificates and nothing else; a server's certificate signs none.
//! 3. No certificate of a server outlives its authority's.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use kernel::{Millis, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use suites::{Secret, Signature};
use time::OffsetDateTime;

/// How long an authority's certificate is good: its key is rotated long before.
pub const ROOT_LIFE: Millis = Millis::hours(10 * 365 * 24);
/// How a point begins that is written with both of its coordinates.
const UNCOMPRESSED: u8 = 4;
/// Clocks of clients may be so far behind.
const BEHIND: Millis = Millis::hours(1);

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("an authority of certificates is a key of ecdsa-p256 or ecdsa-p384, and this one is of {0}")]
    Suite(Signature),
    #[error("the key of the authority is not the one that is on record")]
    OtherKey,
    #[error("{0:?} is no name of a server")]
    Name(String),
    #[error("the authority's own certificate has ended")]
    Ended,
    #[error("the certificate cannot be made: {0}")]
    Provider(String),
}

/// An authority, as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Which of the keys for this.
    pub version: u32,
    pub suite: Signature,
    /// Its `SubjectPublicKeyInfo` in DER.
    pub public: Vec<u8>,
    /// When the key was made.
    pub since: Timestamp,
}

/// What a server shows, and the key that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// In PEM.
    pub certificate: String,
    /// PKCS#8 in DER.
    pub key: Secret,
    /// The first instant at which it is no longer good, to the second.
    pub until: Timestamp,
}

/// Whether certificates can be signed with keys of this suite.
pub const fn signs(suite: Signature) -> bool {
    matches!(suite, Signature::EcdsaP256 | Signature::EcdsaP384)
}

impl Authority {
    /// Its own certificate, in PEM. `key` is its private part, in PKCS#8.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn root(&self, key: &Secret) -> Result<String, CertificateError> {
        let signer = self.signer(key)?;
        let certificate = self.params()?.self_signed(&signer).map_err(failed)?;
        Ok(certificate.pem())
    }

    /// Its certificate as the authority `before` it signs it, in PEM. `key` is the private part of that one.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn vouched(&self, before: &Self, key: &Secret) -> Result<String, CertificateError> {
        let signer = before.signer(key)?;
        let mut params = self.params()?;
        // Who believes the one before believes nothing of it after its end.
        params.not_after = params.not_after.min(at(before.until())?);
        params.use_authority_key_identifier_extension = true;
        before.sign(&params, &self.public()?, &signer).map(|certificate| certificate.pem())
    }

    /// A certificate for a server by all of these names (of the DNS, or addresses), good from `now` for `life`, and its new key.
    /// `key` is the private part of the authority.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn server(
        &self,
        key: &Secret,
        names: &[String],
        now: Timestamp,
        life: Millis,
    ) -> Result<Issued, CertificateError> {
        let signer = self.signer(key)?;
        let until = Timestamp(now.0.saturating_add(life.0).min(self.until().0) / 1_000 * 1_000);
        if until <= now {
            return Err(CertificateError::Ended);
        }
        let own = Signer::drawn()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called(names.first().map_or("sop", String::as_str));
        params.subject_alt_names = names.iter().map(|name| named(name)).collect::<Result<_, _>>()?;
        params.serial_number = Some(serial()?);
        params.not_before = at(earlier(now))?;
        params.not_after = at(until)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = self.sign(&params, &own, &signer)?;
        let key = own.pair.to_pkcs8v1().map_err(failed)?;
        Ok(Issued { certificate: certificate.pem(), key: Secret::new(key.as_ref().to_vec()), until })
    }

    /// The first instant at which its own certificate is no longer good.
    pub fn until(&self) -> Timestamp {
        self.since + ROOT_LIFE
    }

    /// What it is called in certificates.
    pub fn name(&self) -> String {
        let digest = digest(&SHA256, &self.public);
        let beginning = digest.as_ref().first_chunk().expect("a digest of SHA-256 has 32 bytes");
        format!("SOP tls-authority.{} {:016x}", self.version, u64::from_be_bytes(*beginning))
    }

    /// What is the same in all of its certificates.
    fn params(&self) -> Result<CertificateParams, CertificateError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = called(&self.name());
        params.serial_number = Some(serial()?);
        params.not_before = at(earlier(self.since))?;
        params.not_after = at(self.until())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        public: &impl PublicKeyData,
        signer: &Signer,
    ) -> Result<Certificate, CertificateError> {
        let own = self.params()?;
        params.signed_by(public, &Issuer::from_params(&own, signer)).map_err(failed)
    }

    fn public(&self) -> Result<Point<'_>, CertificateError> {
        let (_, name, length) = curve(self.suite)?;
        // It is the last thing in it, whole (RFC 5480, 2.2).
        let point = self.public.len().checked_sub(length).map(|from| &self.public[from..]);
        let point = point.filter(|point| point[0] == UNCOMPRESSED).ok_or(CertificateError::OtherKey)?;
        Ok(Point { point, name })
    }

    fn signer(&self, key: &Secret) -> Result<Signer, CertificateError> {
        let (algorithm, name, _) = curve(self.suite)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.expose()).map_err(|_| CertificateError::OtherKey)?;
        let public: PublicKeyX509Der<'static> = pair.public_key().as_der().map_err(failed)?;
        if public.as_ref() != self.public {
            return Err(CertificateError::OtherKey);
        }
        Ok(Signer { pair, name })
    }
}

/// A key as it signs certificates. The library that makes these would keep a copy of the private part otherwise.
struct Signer {
    pair: EcdsaKeyPair,
    name: &'static SignatureAlgorithm,
}

/// A key whose private part is elsewhere.
struct Point<'a> {
    point: &'a [u8],
    name: &'static SignatureAlgorithm,
}

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.name
    }
}

/// How a suite signs certificates, what that is called in them, and how long a point of it is.
fn curve(
    suite: Signature,
) -> Result<(&'static EcdsaSigningAlgorithm, &'static SignatureAlgorithm, usize), CertificateError> {
    match suite {
        Signature::EcdsaP256 => Ok((&ECDSA_P256_SHA256_ASN1_SIGNING, &PKCS_ECDSA_P256_SHA256, 65)),
        Signature::EcdsaP384 => Ok((&ECDSA_P384_SHA384_ASN1_SIGNING, &PKCS_ECDSA_P384_SHA384, 97)),
        other => Err(CertificateError::Suite(other)),
    }
}

impl Signer {
    fn drawn() -> Result<Self, CertificateError> {
        const ALGORITHM: &EcdsaSigningAlgorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        Ok(Self { pair: EcdsaKeyPair::generate(ALGORITHM).map_err(failed)?, name: &PKCS_ECDSA_P256_SHA256 })
    }
}

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.name
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// Whether a server can be known by this: a name of the DNS, perhaps of all in one domain (`*.example.org`), or an address.
pub fn is_name(name: &str) -> bool {
    named(name).is_ok()
}

fn named(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let label = |label: &str| {
        let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && fits && !label.starts_with('-') && !label.ends_with('-')
    };
    let (rest, is_wide) = name.strip_prefix("*.").map_or((name, false), |rest| (rest, true));
    // No client takes a name for all in a domain of the top.
    if name.len() <= 253 && rest.split('.').all(label) && (!is_wide || rest.contains('.')) {
        return Ia5String::try_from(name).map(SanType::DnsName).map_err(failed);
    }
    Err(CertificateError::Name(name.to_owned()))
}

/// Which nobody can tell beforehand (CA/Browser Forum, 7.1): 16 bytes, positive.
fn serial() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0; 16];
    fill(&mut bytes).map_err(failed)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn earlier(time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_sub(BEHIND.0))
}

fn at(time: Timestamp) -> Result<OffsetDateTime, CertificateError> {
    let seconds = i64::try_from(time.0 / 1_000).map_err(failed)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(failed)
}

fn failed(why: impl std::fmt::Display) -> CertificateError {
    CertificateError::Provider(why.to_string())
}
