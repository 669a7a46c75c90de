//! The language of keys: all that its callers need to know of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{CommandId, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{KeyId, Purpose, records};

/// Most versions that a purpose ever has.
pub const VERSIONS_MAX: u32 = 100_000;
/// Longest reason of a revocation, in characters.
pub const REASON_MAX: usize = 300;
/// Longest public key, in bytes.
pub const PUBLIC_MAX: usize = 8_192;
/// Longest signature, in bytes.
pub const SIGNATURE_MAX: usize = 8_192;
/// Longest text of a worker, in bytes. The caller shortens its own.
pub const TEXT_MAX: usize = 300;
/// A record names so many suspects, and keys that cannot be moved; how many there are, it says.
pub const NAMED_MAX: usize = 50;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Have keys made, each of the suite beside its purpose: the first one for a purpose is in use at once, a later one when it is
    /// rotated to. With `missing`, those only that are the first.
    Generate {
        keys: Vec<(Purpose, u16)>,
        missing: bool,
    },
    /// Use another key from now on, for one purpose or for each that has one: the one that was made for it, or a new one.
    Rotate {
        purpose: Option<Purpose>,
        suite: Option<u16>,
    },
    /// What a key signed from a record on does not count, and it signs no more.
    Revoke {
        key: KeyId,
        since: u64,
        reason: Personal,
    },
    /// End the private part of a key that is not in use.
    Destroy {
        key: KeyId,
    },
    /// Have each key tried.
    Verify,
    /// Have the keys wrapped under the root key in use.
    UpdateRefs,
    /// What the keystore did. For the worker only, as all that follow. The voucher is of the version in use.
    Made {
        key: KeyId,
        public: Vec<u8>,
        voucher: Option<Voucher>,
    },
    Abandon {
        key: KeyId,
        why: String,
    },
    Destroyed {
        key: KeyId,
    },
    Verified {
        id: CommandId,
        tried: u64,
        suspects: Vec<Suspect>,
        suspected: u64,
    },
    Moved {
        id: CommandId,
        moved: u64,
        left: u64,
    },
    Updated {
        id: CommandId,
        stuck: Vec<String>,
        stuck_in_all: u64,
    },
    Rooted {
        root: String,
    },
}

/// A key that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    pub key: String,
    pub code: String,
    pub why: String,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Ordered(records::OrderedV1),
    Hastened(records::HastenedV1),
    Made(records::MadeV1),
    Abandoned(records::AbandonedV1),
    Activated(records::ActivatedV1),
    Revoked(records::RevokedV1),
    Destroying(records::DestroyingV1),
    Destroyed(records::DestroyedV1),
    Verifying(records::VerifyingV1),
    Verified(records::VerifiedV1),
    Updating(records::UpdatingV1),
    Moved(records::MovedV1),
    Updated(records::UpdatedV1),
    Rooted(records::RootedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// These are being made, or are in use already; what becomes of each is seen by its name.
    Keys {
        keys: Vec<KeyId>,
    },
    /// It no longer counts; `next` is in use in its place, or will be once it is made.
    Revoked {
        next: Option<KeyId>,
    },
    Destroying,
    Verifying {
        id: CommandId,
    },
    Updating {
        id: CommandId,
    },
    Noted,
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("{key} was made to be the next one already")]
    Staged { key: KeyId },
    #[error("{key} is the next one, and of another suite")]
    OtherSuite { key: KeyId },
    #[error("there is no key for {purpose} that could be rotated")]
    NoKeyFor { purpose: Purpose },
    #[error("there is no key yet")]
    NoKeys,
    #[error("each of these has its key")]
    NoneMissing,
    #[error("{purpose} had {VERSIONS_MAX} keys, and may have no more")]
    TooMany { purpose: Purpose },
    #[error("there is no key {key}")]
    NoKey { key: KeyId },
    #[error("{key} is not made yet")]
    NotMade { key: KeyId },
    #[error("{key} is in use")]
    InUse { key: KeyId },
    #[error("what {key} signed does not count since record {since} already")]
    RevokedBefore { key: KeyId, since: u64 },
    #[error("a key is revoked since a record, and they begin with 1")]
    NoRecord,
    #[error("a reason is up to {REASON_MAX} characters long")]
    ReasonTooLong,
    #[error("what the worker says is too long")]
    TooLong,
    #[error("only the worker that keeps the keys says what became of them")]
    WorkersOnly,
    #[error("nobody is waiting to hear of this")]
    NotAwaited,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Staged { .. } => "crypto.staged",
            Self::OtherSuite { .. } => "crypto.other_suite",
            Self::NoKeyFor { .. } => "crypto.no_key_for",
            Self::NoKeys => "crypto.no_keys",
            Self::NoneMissing => "crypto.none_missing",
            Self::TooMany { .. } => "crypto.too_many",
            Self::NoKey { .. } => "crypto.no_key",
            Self::NotMade { .. } => "crypto.not_made",
            Self::InUse { .. } => "crypto.in_use",
            Self::RevokedBefore { .. } => "crypto.revoked_before",
            Self::NoRecord => "crypto.no_record",
            Self::ReasonTooLong => "crypto.reason_too_long",
            Self::TooLong => "crypto.too_long",
            Self::WorkersOnly => "crypto.workers_only",
            Self::NotAwaited => "crypto.not_awaited",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Staged { .. } => "Rotate to it, or destroy it.",
            Self::OtherSuite { .. } => "Rotate to it, or destroy it first.",
            Self::NoKeyFor { .. } | Self::NoKeys => "Generate one: `sop crypto keys --generate PURPOSE`.",
            Self::NoneMissing => "Name the purpose that another one is to be made for.",
            Self::TooMany { .. } => "Rotate less often: see crypto.rotate_every.",
            Self::NoKey { .. } => "See the keys with `sop crypto keys --list`.",
            Self::NotMade { .. } => "Wait until it is: see `sop crypto keys --list`.",
            Self::InUse { .. } => "Rotate first, or revoke it.",
            Self::RevokedBefore { .. } => "Nothing is to be done; an earlier record would be taken.",
            Self::NoRecord => "Name a record as `sop audit list` does.",
            Self::ReasonTooLong => "Shorten the reason.",
            Self::TooLong | Self::WorkersOnly => "Wait: it is told by itself.",
            Self::NotAwaited => "Nothing is to be done.",
        }
        .to_string()
    }
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Being made, or made to be the next one.
    PreActive,
    /// Signs.
    Active,
    /// Signed once; that still counts.
    VerifyOnly,
    /// What it signed since a record does not count.
    Revoked,
    /// Its private part is gone, or goes. What it signed is judged as before.
    Destroyed,
}

/// One version of the key for a purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The command that asked for it, and so its name in the keystore.
    pub id: CommandId,
    pub suite: u16,
    pub state: State,
    pub by: Principal,
    pub asked_at: Timestamp,
    /// In use as soon as it is made.
    pub activates: bool,
    pub made: Option<Made>,
    pub activated_at: Option<Timestamp>,
    /// Since when it signs no more.
    pub ended_at: Option<Timestamp>,
    pub revoked: Option<Revoked>,
    /// Why it was not made.
    pub abandoned: Option<String>,
    pub destroyed_at: Option<Timestamp>,
}

/// What the key in use said of the one that was made to follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// The version that was in use.
    pub by: u32,
    /// Its signature of [`crate::succession`].
    pub signed: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What its signatures are checked with.
    pub public: Vec<u8>,
    /// None of the first, nor of one that takes the place of a key that was revoked.
    pub voucher: Option<Voucher>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The first record that what it signed does not count in.
    pub since: u64,
    pub reason: Personal,
    /// The command that revoked it.
    pub id: CommandId,
    pub by: Principal,
    pub at: Timestamp,
}

/// What a keystore has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Make { key: KeyId, id: CommandId, suite: u16 },
    Destroy { key: KeyId, id: CommandId },
    UpdateRefs { id: CommandId },
    Verify { id: CommandId },
}

/// A round over all keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    pub id: CommandId,
    pub by: Principal,
    pub asked_at: Timestamp,
    pub done_at: Option<Timestamp>,
    /// Tried, or moved so far.
    pub done: u64,
    /// Not moved yet.
    pub left: u64,
    /// What is wrong, or cannot be moved; the first of them.
    pub found: Vec<Suspect>,
    pub found_in_all: u64,
}

/// What a signature of a key comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Counts,
    /// The key is revoked since this record.
    RevokedSince(u64),
    /// There is no such key, or it was never in use.
    NeverSigned,
}
