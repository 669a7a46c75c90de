//! Why something cannot be done with a key.

use std::io;
use std::path::PathBuf;

use kernel::Refuse;
use suites::Suite;

use crate::{Name, RootId, SHARES_MAX};

/// A no, worded for who reads it. None of them says anything of a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error("the keystore cannot be used: {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("this file of the keystore is damaged: {}", path.display())]
    Damaged { path: PathBuf },
    #[error("the keystore is sealed")]
    Sealed,
    #[error("the keystore has no root key yet")]
    NoRoot,
    #[error("the keystore has keys, and nothing says which root key opens them")]
    RootLost,
    #[error("the keystore has a root key already")]
    RootThere,
    #[error("this is not the root key{}", if *rotated { ", which was rotated; some keys are still to be moved" } else { "" })]
    WrongRoot { rotated: bool },
    #[error("this is the root key that is in use")]
    SameRoot,
    #[error("the keys are still moving to the root key in use")]
    Rotating,
    #[error("the root key is asked for as {asked}")]
    OtherKind { asked: &'static str },
    #[error("a root key is of 32 bytes: 64 hexadecimal digits in small letters")]
    BadRoot,
    #[error("a passphrase has from 12 to 1024 bytes")]
    BadPassphrase,
    #[error("this program was built without root keys from passphrases")]
    NoPassphrases,
    #[error("a passphrase takes {kib} KiB of memory, and these are not there")]
    NoMemory { kib: u32 },
    #[error("this is no share, or not as it was handed out")]
    Mistyped,
    #[error("share {number} is not of this root key")]
    WrongShare { number: u8 },
    #[error("{given} shares are too few: {needed} are needed")]
    TooFewShares { given: u8, needed: u8 },
    #[error("a root key is not shared so that {needed} of {of} give it")]
    NoSuchSharing { needed: u8, of: u8 },
    #[error("others may read this file, which has mode {mode:o}: {}", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("others may use the keystore's directory, which has mode {mode:o}: {}", path.display())]
    OpenDirectory { path: PathBuf, mode: u32 },
    #[error("this belongs to user {owner}: {}", path.display())]
    NotOurs { path: PathBuf, owner: u32 },
    #[error("this is no plain file: {}", path.display())]
    NoPlainFile { path: PathBuf },
    #[error("there is no key {name}")]
    NoKey { name: Name },
    #[error("the key {name} is another one already")]
    Taken { name: Name },
    #[error("the key {name} was destroyed")]
    Destroyed { name: Name },
    #[error("the key {name} is not what the root key sealed")]
    Unusable { name: Name },
    #[error("the key {name} is under the root key {root}, which is not here any more")]
    OtherRoot { name: Name, root: RootId },
    #[error("the key {name} is for another purpose")]
    OtherPurpose { name: Name },
    #[error("the key {name} of {suite} cannot do this")]
    OtherUse { name: Name, suite: Suite },
    #[error("the key {name} signs nothing in a way of others")]
    NotLent { name: Name },
    #[error("{suite} has no keys that are kept")]
    NoKeys { suite: Suite },
    #[error(transparent)]
    Suites(#[from] suites::Refusal),
    /// By whoever watches the steps.
    #[error("it was not carried on")]
    Left,
}

impl Refuse for KeystoreError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "keystore.io",
            Self::Damaged { .. } => "keystore.damaged",
            Self::Sealed => "keystore.sealed",
            Self::NoRoot => "keystore.no_root",
            Self::RootLost => "keystore.root_lost",
            Self::RootThere => "keystore.root_there",
            Self::WrongRoot { .. } => "keystore.wrong_root",
            Self::SameRoot => "keystore.same_root",
            Self::Rotating => "keystore.rotating",
            Self::OtherKind { .. } => "keystore.other_kind",
            Self::BadRoot => "keystore.bad_root",
            Self::BadPassphrase => "keystore.bad_passphrase",
            Self::NoPassphrases => "keystore.no_passphrases",
            Self::NoMemory { .. } => "keystore.no_memory",
            Self::Mistyped => "keystore.mistyped",
            Self::WrongShare { .. } => "keystore.wrong_share",
            Self::TooFewShares { .. } => "keystore.too_few_shares",
            Self::NoSuchSharing { .. } => "keystore.no_such_sharing",
            Self::Exposed { .. } => "keystore.exposed",
            Self::OpenDirectory { .. } => "keystore.open_directory",
            Self::NotOurs { .. } => "keystore.not_ours",
            Self::NoPlainFile { .. } => "keystore.no_plain_file",
            Self::NoKey { .. } => "keystore.no_key",
            Self::Taken { .. } => "keystore.taken",
            Self::Destroyed { .. } => "keystore.destroyed",
            Self::Unusable { .. } => "keystore.unusable",
            Self::OtherRoot { .. } => "keystore.other_root",
            Self::OtherPurpose { .. } => "keystore.other_purpose",
            Self::OtherUse { .. } => "keystore.other_use",
            Self::NotLent { .. } => "keystore.not_lent",
            Self::NoKeys { .. } => "keystore.no_keys",
            Self::Suites(refusal) => refusal.code(),
            Self::Left => "keystore.left",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Io { .. } => "see that the data directory can be written, and repeat it",
            Self::Damaged { .. } | Self::RootLost => "put the file back from a copy of the keystore",
            Self::Sealed => "unseal it with the root key",
            Self::NoRoot => "give it a root key",
            Self::RootThere => "unseal it; to have another root key, rotate it",
            Self::WrongRoot { rotated: true } => "give the root key to which it was rotated",
            Self::WrongRoot { rotated: false } => "give the root key that is in use",
            Self::SameRoot => "give another one",
            Self::Rotating => "have the rest of the keys moved first",
            Self::OtherKind { .. } => "give it in that form",
            Self::BadRoot => "draw one with: openssl rand -hex 32",
            Self::BadPassphrase => "take one of several drawn words",
            Self::NoPassphrases => "build it with the feature passphrase of the keystore, or take another source",
            Self::NoMemory { .. } => "give the service more memory, or take another source of the root key",
            Self::Mistyped => "copy the share again, whole",
            Self::WrongShare { .. } => "leave it out, and ask its holder for the one that was handed out last",
            Self::TooFewShares { .. } => "give more of them",
            Self::NoSuchSharing { .. } => {
                return format!("need at least 2, and hand out at most {SHARES_MAX}");
            }
            Self::Exposed { .. } => {
                "take the file from others (chmod 600); who could read it may have the key: rotate it"
            }
            Self::OpenDirectory { .. } => {
                "keep others out of it (chmod 700), and see that its files are what they were"
            }
            Self::NotOurs { .. } => "give it to the user of the authority (chown)",
            Self::NoPlainFile { .. } => "name the file itself, not a link to it",
            Self::NoKey { .. } => "name a key that the keystore lists",
            Self::Taken { .. } => "generate it under a name of its own",
            Self::Destroyed { .. } => "use the version in use",
            Self::Unusable { .. } => "put its file back from a copy of the keystore, or rotate the key",
            Self::OtherRoot { .. } => "put its file back from a copy of the same age as the root's",
            Self::OtherPurpose { .. } => "use the key of this purpose",
            Self::OtherUse { .. } => "use a key whose suite does it",
            Self::NotLent { .. } => "have the keystore sign with it",
            Self::NoKeys { .. } => "name a signature, a key agreement or a cipher",
            Self::Suites(refusal) => return refusal.remedy(),
            Self::Left => "repeat it",
        }
        .to_owned()
    }
}
