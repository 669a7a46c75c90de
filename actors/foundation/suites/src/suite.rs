//! The suites there are: one value each, with its name, its tag for records, and how strong it is.
//!
//! A name is what people write and what is signed, a tag is what records hold. Neither ever changes, and no tag is used again.
//!
//! Strength is in bits against a classical attacker: NIST SP 800-57 part 1 revision 5, table 2 for keys and table 3 for
//! hashes (by their collisions). What those tables do not have: Ed25519 by SP 800-186, X25519 by RFC 7748, ChaCha20-Poly1305
//! by its key, BLAKE3 by its specification. ML-DSA-65 and ML-KEM-768 are of category 3 (FIPS 204, FIPS 203), which is as hard
//! as AES-192. RSA-4096 has the strength of the row that it reaches, which is that of 3072. Both halves of the hybrid have
//! to be broken, so it is as strong as its stronger one.
//!
//! XChaCha20-Poly1305 is not here: none of the libraries that the authority is made of has it. What it is wanted for, nonces
//! that can be drawn, is had by a count: no key seals more than [`crate::sealing::TEXTS_MAX`] texts.

use std::fmt;
use std::str::FromStr;

use kernel::{Millis, Refuse, Timestamp};

/// Digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
    Sha3_256,
    Blake3,
}

/// Authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cipher {
    Aes256Gcm,
    ChaCha20Poly1305,
}

/// Keys sealed under keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrap {
    /// RFC 3394: of whole groups of eight bytes, sixteen at least.
    Aes256Kw,
    /// RFC 5649: of any length.
    Aes256Kwp,
}

/// Signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signature {
    Ed25519,
    /// With SHA-256. The two numbers in a row, as IEEE P1363 has them.
    EcdsaP256,
    /// With SHA-384, likewise.
    EcdsaP384,
    /// With SHA-256. What others signed, to be checked only. All three: salt as long as the digest, exponent 65537.
    RsaPss2048,
    /// With SHA-256.
    RsaPss3072,
    /// With SHA-512.
    RsaPss4096,
    MlDsa65,
    /// Both, over the same bytes: forged by who breaks both.
    Ed25519MlDsa65,
}

/// A secret between two, over what everybody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    X25519,
    MlKem768,
}

/// Any suite of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    Hash(Hash),
    Cipher(Cipher),
    Wrap(Wrap),
    Signature(Signature),
    Agreement(Agreement),
}

/// What a suite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Hash,
    Cipher,
    Wrap,
    Signature,
    Agreement,
}

/// The suites of one kind: what an operation is written for.
pub trait Family: Copy + Eq + fmt::Debug + fmt::Display + Into<Suite> + sealed::Family {
    const KIND: Kind;

    /// `None` if `suite` is of another kind.
    fn of(suite: Suite) -> Option<Self>;
}

mod sealed {
    pub trait Family {}
}

/// When a suite ends, and what to take instead. Nothing is made with a suite that has one, and nothing is refused by date
/// alone: what was signed long ago stays checkable for whoever says so in his policy, and is warned of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sunset {
    /// First instant at which it should not be relied on any more.
    pub at: Timestamp,
    date: &'static str,
    pub instead: &'static str,
}

/// A suite, and how it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub suite: Suite,
    /// If that was not its own name.
    pub alias: Option<&'static str>,
}

/// A name that is no suite's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {} called {name:?}", kind.map_or("suite", Kind::name))]
pub struct Unknown {
    pub name: String,
    /// If one of a certain kind was asked for.
    pub kind: Option<Kind>,
}

struct Facts {
    name: &'static str,
    tag: u16,
    bits: u16,
    withstands_quantum: bool,
}

impl Suite {
    pub const ALL: [Self; 19] = [
        Self::Hash(Hash::Sha256),
        Self::Hash(Hash::Sha384),
        Self::Hash(Hash::Sha512),
        Self::Hash(Hash::Sha3_256),
        Self::Hash(Hash::Blake3),
        Self::Cipher(Cipher::Aes256Gcm),
        Self::Cipher(Cipher::ChaCha20Poly1305),
        Self::Wrap(Wrap::Aes256Kw),
        Self::Wrap(Wrap::Aes256Kwp),
        Self::Signature(Signature::Ed25519),
        Self::Signature(Signature::EcdsaP256),
        Self::Signature(Signature::EcdsaP384),
        Self::Signature(Signature::RsaPss2048),
        Self::Signature(Signature::RsaPss3072),
        Self::Signature(Signature::RsaPss4096),
        Self::Signature(Signature::MlDsa65),
        Self::Signature(Signature::Ed25519MlDsa65),
        Self::Agreement(Agreement::X25519),
        Self::Agreement(Agreement::MlKem768),
    ];

    const fn facts(self) -> Facts {
        let (name, tag, bits, withstands_quantum) = match self {
            Self::Hash(Hash::Sha256) => ("sha256", 0x0101, 128, true),
            Self::Hash(Hash::Sha384) => ("sha384", 0x0102, 192, true),
            Self::Hash(Hash::Sha512) => ("sha512", 0x0103, 256, true),
            Self::Hash(Hash::Sha3_256) => ("sha3-256", 0x0104, 128, true),
            Self::Hash(Hash::Blake3) => ("blake3", 0x0105, 128, true),
            Self::Cipher(Cipher::Aes256Gcm) => ("aes-256-gcm", 0x0201, 256, true),
            Self::Cipher(Cipher::ChaCha20Poly1305) => ("chacha20-poly1305", 0x0202, 256, true),
            Self::Wrap(Wrap::Aes256Kw) => ("aes-256-kw", 0x0301, 256, true),
            Self::Wrap(Wrap::Aes256Kwp) => ("aes-256-kwp", 0x0302, 256, true),
            Self::Signature(Signature::Ed25519) => ("ed25519", 0x0401, 128, false),
            Self::Signature(Signature::EcdsaP256) => ("ecdsa-p256", 0x0402, 128, false),
            Self::Signature(Signature::EcdsaP384) => ("ecdsa-p384", 0x0403, 192, false),
            Self::Signature(Signature::RsaPss2048) => ("rsa-pss-2048", 0x0404, 112, false),
            Self::Signature(Signature::RsaPss3072) => ("rsa-pss-3072", 0x0405, 128, false),
            Self::Signature(Signature::RsaPss4096) => ("rsa-pss-4096", 0x0406, 128, false),
            Self::Signature(Signature::MlDsa65) => ("ml-dsa-65", 0x0407, 192, true),
            Self::Signature(Signature::Ed25519MlDsa65) => ("ed25519+ml-dsa-65", 0x0408, 192, true),
            Self::Agreement(Agreement::X25519) => ("x25519", 0x0501, 128, false),
            Self::Agreement(Agreement::MlKem768) => ("ml-kem-768", 0x0502, 192, true),
        };
        Facts { name, tag, bits, withstands_quantum }
    }

    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    pub const fn tag(self) -> u16 {
        self.facts().tag
    }

    /// Of its strength.
    pub const fn bits(self) -> u16 {
        self.facts().bits
    }

    /// Whether no quantum computer that anybody expects breaks it.
    pub const fn withstands_quantum(self) -> bool {
        self.facts().withstands_quantum
    }

    pub const fn kind(self) -> Kind {
        match self {
            Self::Hash(_) => Kind::Hash,
            Self::Cipher(_) => Kind::Cipher,
            Self::Wrap(_) => Kind::Wrap,
            Self::Signature(_) => Kind::Signature,
            Self::Agreement(_) => Kind::Agreement,
        }
    }

    /// Whether anything new may be made with it, in any policy.
    pub const fn makes(self) -> bool {
        self.sunset().is_none()
    }

    pub const fn sunset(self) -> Option<Sunset> {
        match self {
            // SP 800-57 part 1, table 4: 112 bits are for what is there already, and from 2031 on not relied on.
            Self::Signature(Signature::RsaPss2048) => Some(Sunset {
                at: Timestamp(1_924_992_000_000),
                date: "2031-01-01",
                instead: "ed25519, or rsa-pss-3072 where RSA is demanded",
            }),
            _ => None,
        }
    }

    /// The suite of a record.
    pub fn tagged(tag: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.tag() == tag)
    }

    /// The suite that is called so, by its own name or by one that people use for it. Case does not matter.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn named(name: &str) -> Result<Named, Unknown> {
        let own = Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name));
        let alias = || ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        match own {
            Some(suite) => Ok(Named { suite, alias: None }),
            None => alias()
                .map(|&(alias, suite)| Named { suite, alias: Some(alias) })
                .ok_or_else(|| Unknown { name: name.to_owned(), kind: None }),
        }
    }
}

/// What runbooks and people say, and which suite they get.
pub const ALIASES: [(&str, Suite); 20] = [
    ("sha-256", Suite::Hash(Hash::Sha256)),
    ("sha-384", Suite::Hash(Hash::Sha384)),
    ("sha-512", Suite::Hash(Hash::Sha512)),
    ("sha3", Suite::Hash(Hash::Sha3_256)),
    ("aes256", Suite::Cipher(Cipher::Aes256Gcm)),
    ("aes-256", Suite::Cipher(Cipher::Aes256Gcm)),
    ("chacha20", Suite::Cipher(Cipher::ChaCha20Poly1305)),
    ("aes-kw", Suite::Wrap(Wrap::Aes256Kw)),
    ("aes-kwp", Suite::Wrap(Wrap::Aes256Kwp)),
    ("eddsa", Suite::Signature(Signature::Ed25519)),
    ("ecdsa", Suite::Signature(Signature::EcdsaP256)),
    ("p256", Suite::Signature(Signature::EcdsaP256)),
    ("p384", Suite::Signature(Signature::EcdsaP384)),
    ("rsa2048", Suite::Signature(Signature::RsaPss2048)),
    ("rsa", Suite::Signature(Signature::RsaPss3072)),
    ("rsa3072", Suite::Signature(Signature::RsaPss3072)),
    ("rsa4096", Suite::Signature(Signature::RsaPss4096)),
    ("mldsa65", Suite::Signature(Signature::MlDsa65)),
    ("hybrid", Suite::Signature(Signature::Ed25519MlDsa65)),
    ("mlkem768", Suite::Agreement(Agreement::MlKem768)),
];

impl Kind {
    pub const ALL: [Self; 5] = [Self::Hash, Self::Cipher, Self::Wrap, Self::Signature, Self::Agreement];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Cipher => "cipher",
            Self::Wrap => "key wrap",
            Self::Signature => "signature",
            Self::Agreement => "key agreement",
        }
    }
}

impl Sunset {
    /// How long it still has; `None` once it is over.
    pub fn left(&self, now: Timestamp) -> Option<Millis> {
        (now < self.at).then(|| self.at - now)
    }
}

impl Named {
    /// What who used this name should know: what it means, and until when it does.
    pub fn advice(&self) -> Option<String> {
        let means = self.alias.map(|alias| format!("{alias:?} means {}", self.suite));
        let Some(Sunset { date, instead, .. }) = self.suite.sunset() else { return means };
        let subject = means.map_or_else(|| self.suite.to_string(), |means| means + ", which");
        Some(format!("{subject} checks what others made, until {date}, and makes nothing new: use {instead}"))
    }
}

impl Refuse for Unknown {
    fn code(&self) -> &'static str {
        "suites.unknown"
    }

    fn remedy(&self) -> String {
        let fits = |suite: &Suite| self.kind.is_none_or(|kind| suite.kind() == kind);
        let names: Vec<_> = Suite::ALL.into_iter().filter(fits).map(Suite::name).collect();
        format!("use one of: {}", names.join(", "))
    }
}

impl Signature {
    /// What it is made of: itself, or both halves.
    pub(crate) const fn parts(self) -> &'static [Self] {
        match self {
            Self::Ed25519 => &[Self::Ed25519],
            Self::EcdsaP256 => &[Self::EcdsaP256],
            Self::EcdsaP384 => &[Self::EcdsaP384],
            Self::RsaPss2048 => &[Self::RsaPss2048],
            Self::RsaPss3072 => &[Self::RsaPss3072],
            Self::RsaPss4096 => &[Self::RsaPss4096],
            Self::MlDsa65 => &[Self::MlDsa65],
            Self::Ed25519MlDsa65 => &[Self::Ed25519, Self::MlDsa65],
        }
    }

    /// Bytes of a signature.
    pub const fn signature_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => 64,
            Self::EcdsaP384 => 96,
            Self::RsaPss2048 => 256,
            Self::RsaPss3072 => 384,
            Self::RsaPss4096 => 512,
            Self::MlDsa65 => 3_309,
            Self::Ed25519MlDsa65 => Self::Ed25519.signature_len() + Self::MlDsa65.signature_len(),
        }
    }
}

impl Hash {
    /// Bytes of a digest.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Sha3_256 | Self::Blake3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Agreement {
    /// Bytes of a public key.
    pub const fn public_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::MlKem768 => 1_184,
        }
    }

    /// Bytes of what carries a secret to the holder of a key.
    pub const fn capsule_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::MlKem768 => 1_088,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        Self::named(name).map(|named| named.suite)
    }
}

/// The same of each kind, said once.
macro_rules! family {
    ($($kind:ident)*) => { $(
        impl sealed::Family for $kind {}

        impl Family for $kind {
            const KIND: Kind = Kind::$kind;

            fn of(suite: Suite) -> Option<Self> {
                if let Suite::$kind(suite) = suite { Some(suite) } else { None }
            }
        }

        impl From<$kind> for Suite {
            fn from(suite: $kind) -> Self {
                Self::$kind(suite)
            }
        }

        impl $kind {
            pub fn all() -> impl Iterator<Item = Self> {
                Suite::ALL.into_iter().filter_map(Self::of)
            }

            pub const fn name(self) -> &'static str {
                Suite::$kind(self).name()
            }

            pub const fn tag(self) -> u16 {
                Suite::$kind(self).tag()
            }

            /// Of its strength.
            pub const fn bits(self) -> u16 {
                Suite::$kind(self).bits()
            }

            /// The suite of a record.
            pub fn tagged(tag: u16) -> Option<Self> {
                Suite::tagged(tag).and_then(Self::of)
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = Unknown;

            fn from_str(name: &str) -> Result<Self, Unknown> {
                let unknown = || Unknown { name: name.to_owned(), kind: Some(Self::KIND) };
                name.parse().ok().and_then(Self::of).ok_or_else(unknown)
            }
        }
    )* };
}

family!(Hash Cipher Wrap Signature Agreement);
