//! A secret between two who know each other's public keys, or of whom one knows the other's.
//!
//! [`Allowed::encapsulate`] makes a secret and a capsule that carries it to the holder of a key, by X25519 (with a key that is
//! drawn for this once) or ML-KEM-768. [`Allowed::agree`] is for two X25519 keys that are kept.
//!
//! No secret comes out of here as the primitive gives it: it is derived from that, from suite, domain and purpose
//! ([`crate::bound`]), and from all that was sent. A capsule that was changed, or is for another key, gives another secret;
//! that it did shows once something sealed with it is not opened.
//!
//! Public keys are `SubjectPublicKeyInfo` in DER (RFC 8410, RFC 9935). Private keys are the 32 bytes of X25519, and the 2,400 of
//! FIPS 203 for ML-KEM, which have the public one and its digest in them.

use std::fmt;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};

use crate::bound::header;
use crate::{Accepted, Agreement, Allowed, Domain, Purpose, Refusal, Secret};

/// What is before the bare key in `SubjectPublicKeyInfo`.
const SPKI_X25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00];
const SPKI_ML_KEM_768: [u8; 22] = [
    0x30, 0x82, 0x04, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 0x02, 0x03, 0x82,
    0x04, 0xa1, 0x00,
];

/// Where the public key lies in a private one of ML-KEM-768, and after it its digest (FIPS 203, algorithm 16).
const PUBLIC_AT: usize = 1_152;
const DIGEST_AT: usize = PUBLIC_AT + Agreement::MlKem768.public_len();
/// The first number that is none of ML-KEM's.
const MODULUS: u16 = 3_329;

/// Who can be sent a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    suite: Agreement,
    /// `SubjectPublicKeyInfo`.
    bytes: Vec<u8>,
}

/// Who gets it.
pub struct PrivateKey {
    secret: Secret,
    public: PublicKey,
    key: Private,
}

enum Private {
    X25519(agreement::PrivateKey),
    MlKem768(DecapsulationKey),
}

impl Allowed<'_, Agreement> {
    /// A new key.
    ///
    /// # Errors
    /// [`Refusal::Provider`].
    pub fn generate(&self) -> Result<PrivateKey, Refusal> {
        let suite = self.suite();
        let failed = || Refusal::Provider { suite: suite.into() };
        let secret = match suite {
            Agreement::X25519 => Secret::drawn(32, suite)?,
            Agreement::MlKem768 => {
                let key = DecapsulationKey::generate(&ML_KEM_768).and_then(|key| key.key_bytes());
                Secret::copied(key.map_err(|_| failed())?.as_ref())
            }
        };
        PrivateKey::read(suite, secret).map_err(|_| failed())
    }

    /// A new secret of 32 bytes, and what carries it to the holder of `to`.
    ///
    /// # Errors
    /// [`Refusal::OtherSuite`], [`Refusal::Provider`]; [`Refusal::BadKey`] if there is no secret with such a key.
    pub fn encapsulate(&self, to: &PublicKey, purpose: Purpose) -> Result<(Vec<u8>, Secret), Refusal> {
        self.accepted().is_of(to.suite)?;
        let (capsule, shared) = match to.suite {
            Agreement::X25519 => {
                let once = self.generate()?;
                let shared = once.shared(to.bare()).ok_or(Refusal::BadKey { suite: to.suite.into() })?;
                (once.public.bare().to_vec(), shared)
            }
            Agreement::MlKem768 => {
                let key = EncapsulationKey::new(&ML_KEM_768, to.bare());
                let key = key.map_err(|_| Refusal::BadKey { suite: to.suite.into() })?;
                let made = key.encapsulate().map_err(|_| Refusal::Provider { suite: to.suite.into() })?;
                (made.0.as_ref().to_vec(), Secret::copied(made.1))
            }
        };
        let secret = derived("encapsulated", to.suite, self.domain(), purpose, &shared, [&capsule, to.bare()]);
        Ok((capsule, secret))
    }

    /// The secret of 32 bytes that `key` and the holder of `other` have, whichever of the two asks.
    ///
    /// # Errors
    /// [`Refusal::NoSuchUse`] for ML-KEM; [`Refusal::OtherSuite`]; [`Refusal::BadKey`] if there is none with such a key.
    pub fn agree(&self, key: &PrivateKey, other: &PublicKey, purpose: Purpose) -> Result<Secret, Refusal> {
        self.accepted().is_of(key.suite())?;
        self.accepted().is_of(other.suite)?;
        if key.suite() != Agreement::X25519 {
            return Err(Refusal::NoSuchUse { suite: key.suite().into() });
        }
        let shared = key.shared(other.bare()).ok_or(Refusal::BadKey { suite: other.suite.into() })?;
        let mut keys = [key.public.bare(), other.bare()];
        keys.sort_unstable();
        Ok(derived("agreed", other.suite, self.domain(), purpose, &shared, keys))
    }
}

impl Accepted<'_, Agreement> {
    /// The secret that `capsule` carries to the holder of `key`.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::OtherSuite`]; [`Refusal::NotOpened`] if no secret is in it.
    pub fn decapsulate(&self, key: &PrivateKey, purpose: Purpose, capsule: &[u8]) -> Result<Secret, Refusal> {
        let suite = key.suite();
        self.is_of(suite)?;
        if capsule.len() != suite.capsule_len() {
            return Err(Refusal::Malformed { suite: suite.into() });
        }
        let shared = key.shared(capsule).ok_or(Refusal::NotOpened)?;
        Ok(derived("encapsulated", suite, self.domain(), purpose, &shared, [capsule, key.public.bare()]))
    }
}

impl PrivateKey {
    /// The key that a secret is.
    ///
    /// # Errors
    /// [`Refusal::BadKey`].
    pub fn read(suite: Agreement, secret: Secret) -> Result<Self, Refusal> {
        let read = || match suite {
            Agreement::X25519 => {
                let key = agreement::PrivateKey::from_private_key(&X25519, secret.expose()).ok()?;
                let public = key.compute_public_key().ok()?;
                Some((public.as_ref().to_vec(), Private::X25519(key)))
            }
            Agreement::MlKem768 => {
                let key = DecapsulationKey::new(&ML_KEM_768, secret.expose()).ok()?;
                let public = secret.expose().get(PUBLIC_AT..DIGEST_AT)?;
                let written = secret.expose().get(DIGEST_AT..DIGEST_AT + 32)?;
                verify_slices_are_equal(digest(&SHA3_256, public).as_ref(), written).ok()?;
                Some((public.to_vec(), Private::MlKem768(key)))
            }
        };
        let (public, key) = read().ok_or(Refusal::BadKey { suite: suite.into() })?;
        Ok(Self { public: PublicKey::read(suite, &public)?, secret, key })
    }

    pub fn suite(&self) -> Agreement {
        self.public.suite
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What has to be kept to have the key again.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// As RFC 7748 and FIPS 203 have it, of what the other one sent; `None` where there is none, such as with a key of small
    /// order.
    pub(crate) fn shared(&self, sent: &[u8]) -> Option<Secret> {
        match &self.key {
            Private::X25519(key) => {
                let other = UnparsedPublicKey::new(&X25519, sent);
                agreement::agree(key, other, (), |shared| Ok(Secret::copied(shared))).ok()
            }
            Private::MlKem768(key) => key.decapsulate(Ciphertext::from(sent)).ok().map(Secret::copied),
        }
    }
}

impl PublicKey {
    /// The key that these bytes are: `SubjectPublicKeyInfo`, or bare.
    ///
    /// # Errors
    /// [`Refusal::BadKey`].
    pub fn read(suite: Agreement, bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = || Refusal::BadKey { suite: suite.into() };
        let prefix = prefix(suite);
        let bare =
            if bytes.len() == suite.public_len() { bytes } else { bytes.strip_prefix(prefix).ok_or_else(bad)? };
        if bare.len() != suite.public_len() || (suite == Agreement::MlKem768 && !is_reduced(bare)) {
            return Err(bad());
        }
        Ok(Self { suite, bytes: [prefix, bare].concat() })
    }

    pub fn suite(&self) -> Agreement {
        self.suite
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn bare(&self) -> &[u8] {
        &self.bytes[prefix(self.suite).len()..]
    }
}

const fn prefix(suite: Agreement) -> &'static [u8] {
    match suite {
        Agreement::X25519 => &SPKI_X25519,
        Agreement::MlKem768 => &SPKI_ML_KEM_768,
    }
}

/// Whether each number of a public key is written in the one way that it has (FIPS 203, 7.2): two in three bytes, and a seed
/// after them.
fn is_reduced(bare: &[u8]) -> bool {
    let numbers = &bare[..bare.len() - 32];
    numbers.chunks_exact(3).all(|three| {
        let [low, middle, high] = [three[0], three[1], three[2]].map(u16::from);
        (low | (middle & 0x0f) << 8) < MODULUS && (middle >> 4 | high << 4) < MODULUS
    })
}

fn derived(
    done: &str,
    suite: Agreement,
    domain: Domain,
    purpose: Purpose,
    shared: &Secret,
    sent: [&[u8]; 2],
) -> Secret {
    // Both have the one length that the suite gives them.
    let [first, second] = sent;
    shared.derived(&[&header(done, suite, domain, purpose), first, second])
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.suite)?;
        self.bare().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.suite())
    }
}
