//! What keys are for, and how one of them is named.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a key signs, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Checkpoints of the tile log.
    Checkpoints,
    /// Receipts of what was asked, proven or consumed.
    Receipts,
    /// The roots of tokens that are verified offline.
    TokenRoot,
    /// What backups say of themselves.
    BackupManifests,
    /// Releases of the program.
    Releases,
    /// Certificates of an authority of one's own.
    TlsAuthority,
}

/// One version of the key for a purpose, for ever: `backup-manifests.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId {
    pub purpose: Purpose,
    /// From 1 on.
    pub version: u32,
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error("a key is for checkpoints, receipts, token-root, backup-manifests, releases or tls-authority")]
    Purpose,
    #[error("a key is named by its purpose and version, such as backup-manifests.3")]
    Id,
}

impl Purpose {
    pub const ALL: [Self; 6] =
        [Self::Checkpoints, Self::Receipts, Self::TokenRoot, Self::BackupManifests, Self::Releases, Self::TlsAuthority];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkpoints => "checkpoints",
            Self::Receipts => "receipts",
            Self::TokenRoot => "token-root",
            Self::BackupManifests => "backup-manifests",
            Self::Releases => "releases",
            Self::TlsAuthority => "tls-authority",
        }
    }

    /// As it stands in records.
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Checkpoints => 1,
            Self::Receipts => 2,
            Self::TokenRoot => 3,
            Self::BackupManifests => 4,
            Self::Releases => 5,
            Self::TlsAuthority => 6,
        }
    }

    pub(crate) fn tagged(tag: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.tag() == tag)
            .expect("a recorded purpose was one when it was recorded")
    }

    pub const fn key(self, version: u32) -> KeyId {
        KeyId { purpose: self, version }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Purpose {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == text).ok_or(NoKey::Purpose)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.purpose, self.version)
    }
}

impl FromStr for KeyId {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (purpose, digits) = text.split_once('.').ok_or(NoKey::Id)?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit()) && !digits.starts_with('0');
        let version = digits.parse().ok().filter(|_| is_number).ok_or(NoKey::Id)?;
        Ok(Self { purpose: purpose.parse()?, version })
    }
}

/// As text, so that it is the same wherever it is shown.
impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::string::String as Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
