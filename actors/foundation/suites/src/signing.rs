//! Signatures.
//!
//! What is signed is a header and the message ([`crate::bound`]): suite, domain and purpose. A signature travels as
//!
//! ```text
//! form [1] = 1, tag of the suite [2], the signature: Ed25519's before ML-DSA's, where both sign
//! ```
//!
//! Only with Ed25519 is the same message signed the same again: the others draw something each time.
//!
//! Both halves of the hybrid sign the same bytes, which name the hybrid: neither half can be taken off and shown as a signature
//! of its own. Both have to verify.
//!
//! Signed notes (C2SP) are the exception that a standard makes: with Ed25519 they sign their text and nothing else. Such a text
//! has no empty line and every header ends with one, so no note is a message of another purpose, nor the other way round.
//! With every other suite a note is signed as a message is.
//!
//! Public keys are `SubjectPublicKeyInfo` in DER (RFC 8410, 5480, 8017, 9881), in the one form that it has; that of the hybrid,
//! which no standard has in this form, is the 32 bytes of Ed25519 and the 1,952 of ML-DSA-65. Private keys are the 32 bytes of a
//! seed, two of them for the hybrid, and PKCS#8 for ECDSA and RSA.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKey as RsaPublicKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ML_DSA_65, ML_DSA_65_SIGNING,
    ParsedPublicKey, PqdsaKeyPair, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA512,
    RsaParameters, RsaSignatureEncoding, VerificationAlgorithm,
};

use crate::bound::{header, tagged, untagged};
use crate::{Accepted, Allowed, Domain, Purpose, Refusal, Secret, Signature};

/// What a seed has, of Ed25519 and of ML-DSA.
const SEED: usize = 32;
/// The purpose of notes that no standard says how to sign.
const NOTE: Purpose = Purpose::new("note");
/// 65537, as the last of a public key of RSA.
const EXPONENT: [u8; 5] = [2, 3, 1, 0, 1];

/// Who signs.
pub struct PrivateKey {
    secret: Secret,
    pairs: Vec<Pair>,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static RsaSignatureEncoding),
    MlDsa(PqdsaKeyPair),
}

/// Whose signatures can be checked.
#[derive(Clone)]
pub struct PublicKey {
    suite: Signature,
    bytes: Vec<u8>,
    /// One for each part of the suite.
    parts: Vec<ParsedPublicKey>,
}

/// A signature, and the suite that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    suite: Signature,
    signature: Vec<u8>,
}

impl Allowed<'_, Signature> {
    /// A new key.
    ///
    /// # Errors
    /// [`Refusal::Provider`].
    pub fn generate(&self) -> Result<PrivateKey, Refusal> {
        let suite = self.suite();
        let failed = |_| Refusal::Provider { suite: suite.into() };
        let rsa = |size| -> Result<Secret, aws_lc_rs::error::Unspecified> {
            let der: Pkcs8V1Der<'static> = RsaKeyPair::generate(size)?.as_der()?;
            Ok(Secret::copied(der.as_ref()))
        };
        let secret = match suite {
            Signature::Ed25519 | Signature::MlDsa65 | Signature::Ed25519MlDsa65 => {
                Secret::drawn(SEED * suite.parts().len(), suite)?
            }
            Signature::EcdsaP256 | Signature::EcdsaP384 => {
                let document = EcdsaKeyPair::generate(curve(suite)).and_then(|pair| pair.to_pkcs8v1());
                Secret::copied(document.map_err(failed)?)
            }
            Signature::RsaPss3072 => rsa(KeySize::Rsa3072).map_err(failed)?,
            Signature::RsaPss4096 => rsa(KeySize::Rsa4096).map_err(failed)?,
            Signature::RsaPss2048 => return Err(Refusal::ChecksOnly { suite: suite.into() }),
        };
        PrivateKey::read(suite, secret)
    }

    /// Signs `message`, for `purpose`.
    ///
    /// # Errors
    /// [`Refusal::OtherSuite`], [`Refusal::Provider`].
    pub fn sign(&self, key: &PrivateKey, purpose: Purpose, message: &[u8]) -> Result<Signed, Refusal> {
        self.accepted().is_of(key.suite())?;
        let signature = key.sign(&bound(key.suite(), self.domain(), purpose, message))?;
        Ok(Signed { suite: key.suite(), signature })
    }

    /// The bytes of a signature for the text of a signed note (C2SP), or of a cosignature: whole lines, none of them empty.
    ///
    /// # Errors
    /// [`Refusal::NoNote`], [`Refusal::OtherSuite`], [`Refusal::Provider`].
    pub fn sign_note(&self, key: &PrivateKey, text: &str) -> Result<Vec<u8>, Refusal> {
        self.accepted().is_of(key.suite())?;
        key.sign(&note(key.suite(), self.domain(), text)?)
    }
}

impl Accepted<'_, Signature> {
    /// That who holds `key` signed `message`, for `purpose`.
    ///
    /// # Errors
    /// [`Refusal::Forged`]; [`Refusal::Downgraded`] if that is a signature of another suite; [`Refusal::OtherSuite`].
    pub fn verify(&self, key: &PublicKey, purpose: Purpose, message: &[u8], signed: &Signed) -> Result<(), Refusal> {
        self.is_of(key.suite)?;
        if signed.suite != key.suite {
            return Err(Refusal::Downgraded { key: key.suite.into(), presented: signed.suite.into() });
        }
        key.verify(&bound(key.suite, self.domain(), purpose, message), &signed.signature)
    }

    /// That who holds `key` signed the text of a signed note.
    ///
    /// # Errors
    /// [`Refusal::Forged`], [`Refusal::HalfMissing`], [`Refusal::Malformed`], [`Refusal::NoNote`], [`Refusal::OtherSuite`].
    pub fn verify_note(&self, key: &PublicKey, text: &str, signature: &[u8]) -> Result<(), Refusal> {
        self.is_of(key.suite)?;
        key.verify(&note(key.suite, self.domain(), text)?, signature)
    }
}

impl PrivateKey {
    /// The key that a secret is.
    ///
    /// # Errors
    /// [`Refusal::BadKey`].
    pub fn read(suite: Signature, secret: Secret) -> Result<Self, Refusal> {
        let bad = || Refusal::BadKey { suite: suite.into() };
        let parts = suite.parts();
        let secrets: Vec<_> = match parts {
            [_] => vec![secret.expose()],
            _ if secret.expose().len() == SEED * parts.len() => secret.expose().chunks(SEED).collect(),
            _ => return Err(bad()),
        };
        let pairs = parts.iter().zip(secrets).map(|(part, secret)| Pair::read(*part, secret));
        let pairs: Vec<_> = pairs.collect::<Option<_>>().ok_or_else(bad)?;
        let public = pairs.iter().map(Pair::public).collect::<Option<Vec<_>>>().ok_or_else(bad)?.concat();
        Ok(Self { public: PublicKey::read(suite, &public)?, secret, pairs })
    }

    pub fn suite(&self) -> Signature {
        self.public.suite
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What has to be kept to have the key again.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let signatures = self.pairs.iter().map(|pair| pair.sign(message));
        let signature = signatures.collect::<Option<Vec<_>>>().map(|signatures| signatures.concat());
        let whole = signature.filter(|signature| signature.len() == self.suite().signature_len());
        whole.ok_or(Refusal::Provider { suite: self.suite().into() })
    }
}

impl Pair {
    fn read(part: Signature, secret: &[u8]) -> Option<Self> {
        let is_seed = secret.len() == SEED;
        match part {
            Signature::Ed25519 => is_seed.then(|| Ed25519KeyPair::from_seed_unchecked(secret).ok())?.map(Self::Ed25519),
            Signature::MlDsa65 => {
                is_seed.then(|| PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, secret).ok())?.map(Self::MlDsa)
            }
            Signature::EcdsaP256 | Signature::EcdsaP384 => {
                let pair = EcdsaKeyPair::from_pkcs8(curve(part), secret).ok()?;
                let written = pair.to_pkcs8v1().ok()?;
                (written.as_ref() == secret).then_some(Self::Ecdsa(pair))
            }
            Signature::RsaPss3072 | Signature::RsaPss4096 => {
                let pair = RsaKeyPair::from_pkcs8(secret).ok()?;
                let written: Pkcs8V1Der<'static> = pair.as_der().ok()?;
                let encoding = if part == Signature::RsaPss3072 { &RSA_PSS_SHA256 } else { &RSA_PSS_SHA512 };
                (written.as_ref() == secret).then_some(Self::Rsa(pair, encoding))
            }
            Signature::RsaPss2048 | Signature::Ed25519MlDsa65 => None,
        }
    }

    /// As [`PublicKey::read`] takes it, or a half of it.
    fn public(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'static> = match self {
            Self::Ed25519(pair) => return Some(pair.public_key().as_ref().to_vec()),
            Self::MlDsa(pair) => return Some(pair.public_key().as_ref().to_vec()),
            Self::Ecdsa(pair) => pair.public_key().as_der().ok()?,
            Self::Rsa(pair, _) => pair.public_key().as_der().ok()?,
        };
        Some(der.as_ref().to_vec())
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => pair.try_sign(message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(signature.as_ref().to_vec())
            }
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            Self::MlDsa(pair) => {
                let mut signature = vec![0; ML_DSA_65_SIGNING.signature_len()];
                let length = pair.sign(message, &mut signature).ok()?;
                signature.truncate(length);
                Some(signature)
            }
        }
    }
}

impl PublicKey {
    /// The key that these bytes are: `SubjectPublicKeyInfo`, or the bare bytes of Ed25519, ML-DSA-65 or both.
    ///
    /// # Errors
    /// [`Refusal::BadKey`], also for keys under which anybody can sign, and for those of another strength.
    pub fn read(suite: Signature, bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = || Refusal::BadKey { suite: suite.into() };
        if suite.parts().len() == 1 {
            let (bytes, part) = part(suite, bytes).ok_or_else(bad)?;
            return Ok(Self { suite, bytes, parts: vec![part] });
        }
        let split =
            bytes.split_at_checked(SEED).filter(|(_, second)| second.len() == ML_DSA_65_SIGNING.public_key_len());
        let halves = split.and_then(|(first, second)| {
            let (_, first) = part(Signature::Ed25519, first)?;
            let (_, second) = part(Signature::MlDsa65, second)?;
            Some(vec![first, second])
        });
        Ok(Self { suite, bytes: bytes.to_vec(), parts: halves.ok_or_else(bad)? })
    }

    pub fn suite(&self) -> Signature {
        self.suite
    }

    /// `SubjectPublicKeyInfo` in DER; of the hybrid its own form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bare bytes, as signed notes and other formats have them; `None` for ECDSA and RSA.
    pub fn bare(&self) -> Option<&[u8]> {
        let length = match self.suite {
            Signature::Ed25519 => SEED,
            Signature::MlDsa65 => ML_DSA_65_SIGNING.public_key_len(),
            Signature::Ed25519MlDsa65 => self.bytes.len(),
            _ => return None,
        };
        self.bytes.get(self.bytes.len() - length..)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Refusal> {
        has_length(self.suite, signature)?;
        let mut rest = signature;
        let mut right = true;
        for (suite, part) in self.suite.parts().iter().zip(&self.parts) {
            let (own, next) = rest.split_at(suite.signature_len());
            right &= part.verify_sig(message, own).is_ok();
            rest = next;
        }
        if right { Ok(()) } else { Err(Refusal::Forged) }
    }
}

impl Signed {
    /// As it travels.
    pub fn to_bytes(&self) -> Vec<u8> {
        tagged(self.suite, &[&self.signature])
    }

    /// # Errors
    /// [`Refusal::Unreadable`], [`Refusal::Malformed`], [`Refusal::HalfMissing`].
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (suite, signature) = untagged(bytes).ok_or(Refusal::Unreadable)?;
        let crate::Suite::Signature(suite) = suite else { return Err(Refusal::Unreadable) };
        has_length(suite, signature)?;
        Ok(Self { suite, signature: signature.to_vec() })
    }

    pub fn suite(&self) -> Signature {
        self.suite
    }

    /// The bare signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn bound(suite: Signature, domain: Domain, purpose: Purpose, message: &[u8]) -> Vec<u8> {
    let mut bytes = header("signed", suite, domain, purpose);
    bytes.extend(message);
    bytes
}

/// What is signed of a note.
fn note(suite: Signature, domain: Domain, text: &str) -> Result<Vec<u8>, Refusal> {
    let is_lines = text.ends_with('\n') && !text.starts_with('\n') && !text.contains("\n\n");
    if !is_lines || text.contains(|c: char| c.is_control() && c != '\n') {
        return Err(Refusal::NoNote);
    }
    match suite {
        Signature::Ed25519 => Ok(text.as_bytes().to_vec()),
        _ => Ok(bound(suite, domain, NOTE, text.as_bytes())),
    }
}

fn has_length(suite: Signature, signature: &[u8]) -> Result<(), Refusal> {
    let (parts, length) = (suite.parts(), signature.len());
    if length == suite.signature_len() {
        return Ok(());
    }
    if 1 < parts.len() && parts.iter().any(|part| part.signature_len() == length) {
        return Err(Refusal::HalfMissing { suite: suite.into() });
    }
    Err(Refusal::Malformed { suite: suite.into() })
}

fn curve(suite: Signature) -> &'static EcdsaSigningAlgorithm {
    match suite {
        Signature::EcdsaP256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
    }
}

/// One key of a suite that is no hybrid, as it is written, and as it verifies.
fn part(suite: Signature, bytes: &[u8]) -> Option<(Vec<u8>, ParsedPublicKey)> {
    let rsa = |parameters: &'static RsaParameters, bits: u32| {
        let key = RsaPublicKey::from_der(bytes).ok()?;
        let is_asked_for =
            RsaParameters::public_modulus_len(key.as_ref()) == Ok(bits) && key.as_ref().ends_with(&EXPONENT);
        is_asked_for.then_some(parameters as &'static dyn VerificationAlgorithm)
    };
    let (algorithm, bare): (&'static dyn VerificationAlgorithm, _) = match suite {
        Signature::Ed25519 => (&ED25519, Some(SEED)),
        Signature::MlDsa65 => (&ML_DSA_65, Some(ML_DSA_65_SIGNING.public_key_len())),
        Signature::EcdsaP256 => (&ECDSA_P256_SHA256_FIXED, None),
        Signature::EcdsaP384 => (&ECDSA_P384_SHA384_FIXED, None),
        Signature::RsaPss2048 => (rsa(&RSA_PSS_2048_8192_SHA256, 2_048)?, None),
        Signature::RsaPss3072 => (rsa(&RSA_PSS_2048_8192_SHA256, 3_072)?, None),
        Signature::RsaPss4096 => (rsa(&RSA_PSS_2048_8192_SHA512, 4_096)?, None),
        Signature::Ed25519MlDsa65 => return None,
    };
    let parsed = ParsedPublicKey::new(algorithm, bytes).ok()?;
    let der: PublicKeyX509Der<'static> = parsed.as_der().ok()?;
    let der = der.as_ref().to_vec();
    let is_usable = suite != Signature::Ed25519 || der.last_chunk().is_some_and(is_of_full_order);
    // A compressed point, for one, is another form of the same key.
    let is_the_form = bytes == der || bare == Some(bytes.len());
    (is_usable && is_the_form).then_some((der, parsed))
}

/// Whether a key of Ed25519 is written in the one way that it has, and is none of the eight points under which a signature
/// verifies whatever was signed.
fn is_of_full_order(key: &[u8; 32]) -> bool {
    /// The five heights of those points, lowest byte first.
    const SMALL: [[u8; 32]; 5] = {
        let (zero, mut one, mut minus_one) = ([0; 32], [0; 32], [0xff; 32]);
        one[0] = 1;
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        [
            zero,
            one,
            minus_one,
            [
                0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
                0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
            ],
            [
                0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
                0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
            ],
        ]
    };
    let mut height = *key;
    // The highest bit is the side, not the height.
    height[31] &= 0x7f;
    // At least 2^255 - 19: the same height is written lower, too.
    let is_over = 0xed <= height[0] && height[1..31].iter().all(|byte| *byte == 0xff) && height[31] == 0x7f;
    !is_over && !SMALL.contains(&height)
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite && self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.suite)?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.suite())
    }
}
