//! Keys that sign beside the key of a log: of a purpose, of a suite, and with a time (docs/crypto.md).
//!
//! Signed notes have no byte for what they sign by, so their type is 0xff with an identifier of the authority's own:
//!
//! ```text
//! vkey        <log>/<purpose>.<version>+key id+base64(0xff, "sop suites 1\n", tag of the suite [2], public key)
//! signature   1, tag of the suite [2], that of Ed25519 [64], that of ML-DSA-65 [3309], as the suite has them
//! signed      "sop signed 1\nsuite <name>\ndomain <domain>\npurpose <purpose>\n\n", and what it is about
//! ```
//!
//! A key that was in use when the next one was made has signed that it follows: who trusts one can follow to the later ones.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature as Classic, VerifyingKey};
use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa65, Signature as Lattice, VerifyingKey as LatticeKey};
use sha2::{Digest as _, Sha256};

use crate::number;

/// Of what has no byte in signed notes, and by which this is told from others of that kind.
const ALGORITHM: u8 = 0xff;
const IDENTIFIER: &[u8] = b"sop suites 1\n";
const TITLE: &str = "sop succession v1";

/// What stands before the key itself in `SubjectPublicKeyInfo` (RFC 8410, RFC 9881).
const OF_ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const OF_ML_DSA_65: &[u8] = &[
    0x30, 0x82, 0x07, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12, 0x03, 0x82,
    0x07, 0xa1, 0x00,
];

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Ed25519,
    MlDsa65,
    Both,
}

impl Suite {
    fn tagged(tag: u16) -> Option<Self> {
        match tag {
            0x0401 => Some(Self::Ed25519),
            0x0407 => Some(Self::MlDsa65),
            0x0408 => Some(Self::Both),
            _ => None,
        }
    }

    const fn tag(self) -> u16 {
        match self {
            Self::Ed25519 => 0x0401,
            Self::MlDsa65 => 0x0407,
            Self::Both => 0x0408,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::MlDsa65 => "ml-dsa-65",
            Self::Both => "ed25519+ml-dsa-65",
        }
    }
}

/// What a key is for, and the domain that it signs in.
const PURPOSES: [(&str, &str); 4] =
    [("checkpoints", "system"), ("receipts", "governance"), ("backup-manifests", "system"), ("releases", "trust")];

/// A key beside that of a log.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    id: [u8; 4],
    log: String,
    purpose: &'static str,
    domain: &'static str,
    version: u64,
    suite: Suite,
    public: Vec<u8>,
    classic: Option<VerifyingKey>,
    lattice: Option<Box<LatticeKey<MlDsa65>>>,
}

impl Key {
    /// # Errors
    /// If `vkey` is no such key, or one of a suite that is not known here.
    pub fn parse(vkey: &str) -> Result<Self, String> {
        Self::read(vkey).ok_or_else(|| {
            format!("{vkey:?} is no Ed25519 key of a log, nor a key beside one for Ed25519, ML-DSA-65 or both, as NAME+ID+KEY")
        })
    }

    fn read(vkey: &str) -> Option<Self> {
        let mut parts = vkey.splitn(3, '+');
        let (name, id, coded) = (parts.next()?, parts.next()?, Base64::decode_vec(parts.next()?).ok()?);
        let material = coded.strip_prefix(&[ALGORITHM])?.strip_prefix(IDENTIFIER)?;
        let (tag, public) = material.split_first_chunk::<2>()?;
        let suite = Suite::tagged(u16::from_be_bytes(*tag))?;
        let digest = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&coded).finalize();
        if !crate::note::is_name(name) || crate::hex(&digest[..4]) != id {
            return None;
        }
        let (log, key) = name.rsplit_once('/')?;
        let (purpose, version) = key.split_once('.')?;
        let (purpose, domain) = PURPOSES.into_iter().find(|(known, _)| *known == purpose)?;
        let (classic, lattice) = match suite {
            Suite::Ed25519 => (Some(public.strip_prefix(OF_ED25519)?), None),
            Suite::MlDsa65 => (None, Some(public.strip_prefix(OF_ML_DSA_65)?)),
            Suite::Both => {
                let (classic, lattice) = public.split_at_checked(32)?;
                (Some(classic), Some(lattice))
            }
        };
        let classic = match classic {
            Some(bytes) => Some(VerifyingKey::from_bytes(bytes.try_into().ok()?).ok().filter(|key| !key.is_weak())?),
            None => None,
        };
        let lattice = match lattice {
            Some(bytes) => Some(Box::new(LatticeKey::decode(&EncodedVerifyingKey::<MlDsa65>::try_from(bytes).ok()?))),
            None => None,
        };
        Some(Self {
            name: name.to_owned(),
            id: [digest[0], digest[1], digest[2], digest[3]],
            log: log.to_owned(),
            purpose,
            domain,
            version: number(version).filter(|version| *version != 0)?,
            suite,
            public: public.to_vec(),
            classic,
            lattice,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The log beside whose key it signs.
    pub fn log(&self) -> &str {
        &self.log
    }

    pub fn purpose(&self) -> &str {
        self.purpose
    }

    pub fn suite(&self) -> &str {
        self.suite.name()
    }

    /// Whether it signed this, for what it is for.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.checked(message, signature).is_some()
    }

    fn checked(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let (&[form, high, low], mut rest) = signature.split_first_chunk::<3>()?;
        if form != 1 || u16::from_be_bytes([high, low]) != self.suite.tag() {
            return None;
        }
        let (suite, domain, purpose) = (self.suite.name(), self.domain, self.purpose);
        let mut signed = format!("sop signed 1\nsuite {suite}\ndomain {domain}\npurpose {purpose}\n\n").into_bytes();
        signed.extend(message);
        if let Some(key) = &self.classic {
            let (own, next) = rest.split_at_checked(64)?;
            key.verify_strict(&signed, &Classic::from_slice(own).ok()?).ok()?;
            rest = next;
        }
        if let Some(key) = &self.lattice {
            let own = Lattice::<MlDsa65>::decode(&EncodedSignature::<MlDsa65>::try_from(rest).ok()?)?;
            key.verify_with_context(&signed, &[], &own).then_some(())?;
            rest = &[];
        }
        rest.is_empty().then_some(())
    }
}

/// A key, and those that are known to follow it: one of them has to sign.
#[derive(Clone, Debug)]
pub struct Chain {
    keys: Vec<(Key, Option<u64>)>,
}

/// One of them that signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    pub name: String,
    pub suite: &'static str,
    /// What it signs from that record on does not count.
    pub revoked: Option<u64>,
}

impl Chain {
    pub fn of(key: Key) -> Self {
        Self { keys: vec![(key, None)] }
    }

    /// With the keys that follow by what a file of `sop audit key --succession` says. What it says of a revocation counts
    /// against a key; a key that is revoked vouches for no other.
    ///
    /// # Errors
    /// If `text` is no such file, a signature in it is not right, or the key is another one there.
    pub fn followed(mut self, text: &str) -> Result<Self, String> {
        let mut lines = text.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
        if lines.next().flatten() != Some(TITLE) {
            return Err(format!("the succession is none: it does not begin with {TITLE:?}"));
        }
        for (at, line) in lines.enumerate() {
            let bad = |what: &str| format!("line {} of the succession {what}", at + 2);
            let Link { key, revoked, voucher } = line.and_then(Link::read).ok_or_else(|| bad("is none of a key"))?;
            let (first, _) = self.keys.first().ok_or_else(|| bad("follows nothing"))?;
            if (&key.log, key.purpose) != (&first.log, first.purpose) {
                continue;
            }
            if let Some((known, since)) = self.keys.iter_mut().find(|(known, _)| known.version == key.version) {
                if known.public != key.public || known.suite != key.suite {
                    return Err(bad(&format!("has another key under the name of {}", known.name)));
                }
                *since = revoked;
                continue;
            }
            let Some((by, signature)) = voucher else { continue };
            let Some((before, None)) = self.keys.iter().find(|(known, _)| known.version == by) else { continue };
            let (purpose, version, tag) = (key.purpose, key.version, key.suite.tag());
            let mut said = format!("sop key succession 1\n{purpose}.{version}\n{tag:#06x}\n").into_bytes();
            said.extend(&key.public);
            if !before.has_signed(&said, &signature) {
                return Err(bad(&format!("says that {} follows {}, which did not sign that", key.name, before.name)));
            }
            self.keys.push((key, revoked));
        }
        Ok(self)
    }

    /// The first of them, which was given.
    pub fn name(&self) -> &str {
        self.keys.first().map_or("", |(key, _)| key.name())
    }

    pub fn log(&self) -> &str {
        self.keys.first().map_or("", |(key, _)| key.log())
    }

    pub fn purpose(&self) -> &str {
        self.keys.first().map_or("", |(key, _)| key.purpose())
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Those who signed a text, by the lines of its note.
    ///
    /// # Errors
    /// Whose signature is not right: it spoils the note.
    pub(crate) fn signers(&self, text: &str, lines: &[(&str, Vec<u8>)]) -> Result<Vec<Signer>, String> {
        let mut signers: Vec<Signer> = Vec::new();
        for (name, line) in lines {
            let Some((id, signature)) = line.split_first_chunk::<4>() else { continue };
            let Some((key, revoked)) = self.keys.iter().find(|(key, _)| key.name == *name && key.id == *id) else {
                continue;
            };
            if !key.has_signed(text.as_bytes(), signature) {
                return Err(key.name.clone());
            }
            if !signers.iter().any(|signer| signer.name == key.name) {
                signers.push(Signer { name: key.name.clone(), suite: key.suite.name(), revoked: *revoked });
            }
        }
        Ok(signers)
    }
}

/// A line of a succession: `key VKEY[ revoked RECORD][ by VERSION SIGNATURE]`.
struct Link {
    key: Key,
    revoked: Option<u64>,
    voucher: Option<(u64, Vec<u8>)>,
}

impl Link {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("key ")?.split(' ').peekable();
        let key = Key::read(words.next()?)?;
        let revoked = match words.next_if_eq(&"revoked") {
            Some(_) => Some(number(words.next()?)?),
            None => None,
        };
        let voucher = match words.next_if_eq(&"by") {
            Some(_) => Some((number(words.next()?)?, Base64::decode_vec(words.next()?).ok()?)),
            None => None,
        };
        words.next().is_none().then_some(Self { key, revoked, voucher })
    }
}
