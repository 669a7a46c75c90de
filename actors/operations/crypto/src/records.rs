//! How the facts of keys are written down for ever: ids 1150 to 1163.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version. Purposes are written by their
//! tags, suites by those of `suites`.

use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const ORDERED_V1: Kind = Kind { id: 1150, version: 1, name: "crypto.ordered" };
const HASTENED_V1: Kind = Kind { id: 1151, version: 1, name: "crypto.hastened" };
const MADE_V1: Kind = Kind { id: 1152, version: 1, name: "crypto.made" };
const ABANDONED_V1: Kind = Kind { id: 1153, version: 1, name: "crypto.abandoned" };
const ACTIVATED_V1: Kind = Kind { id: 1154, version: 1, name: "crypto.activated" };
const REVOKED_V1: Kind = Kind { id: 1155, version: 1, name: "crypto.revoked" };
const DESTROYING_V1: Kind = Kind { id: 1156, version: 1, name: "crypto.destroying" };
const DESTROYED_V1: Kind = Kind { id: 1157, version: 1, name: "crypto.destroyed" };
const VERIFYING_V1: Kind = Kind { id: 1158, version: 1, name: "crypto.verifying" };
const VERIFIED_V1: Kind = Kind { id: 1159, version: 1, name: "crypto.verified" };
const UPDATING_V1: Kind = Kind { id: 1160, version: 1, name: "crypto.updating" };
const MOVED_V1: Kind = Kind { id: 1161, version: 1, name: "crypto.moved" };
const UPDATED_V1: Kind = Kind { id: 1162, version: 1, name: "crypto.updated" };
const ROOTED_V1: Kind = Kind { id: 1163, version: 1, name: "crypto.rooted" };

/// A key is to be made, under a name that nobody had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedV1 {
    pub purpose: u8,
    pub version: u32,
    pub id: CommandId,
    pub suite: u16,
    /// It is in use as soon as it is made.
    pub activates: bool,
    pub by: String,
    pub at: Timestamp,
}

/// One that is being made is in use as soon as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HastenedV1 {
    pub purpose: u8,
    pub version: u32,
    pub by: String,
    pub at: Timestamp,
}

/// The keystore has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeV1 {
    pub purpose: u8,
    pub version: u32,
    pub public: Vec<u8>,
    /// The version that was in use then, or 0; and what that one signed of this one ([`crate::succession`]).
    pub vouched_by: u32,
    pub voucher: Vec<u8>,
    pub at: Timestamp,
}

/// It is not made after all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbandonedV1 {
    pub purpose: u8,
    pub version: u32,
    pub why: String,
    pub at: Timestamp,
}

/// From now on this one signs, and the one before it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivatedV1 {
    pub purpose: u8,
    pub version: u32,
    pub at: Timestamp,
}

/// What it signed from a record on does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedV1 {
    pub purpose: u8,
    pub version: u32,
    pub since: u64,
    pub reason: Personal,
    pub id: CommandId,
    pub by: String,
    pub at: Timestamp,
}

/// Its private part is to be destroyed, and nobody uses it any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyingV1 {
    pub purpose: u8,
    pub version: u32,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestroyedV1 {
    pub purpose: u8,
    pub version: u32,
    pub at: Timestamp,
}

/// Each key is to be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingV1 {
    pub id: CommandId,
    pub by: String,
    pub at: Timestamp,
}

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectV1 {
    /// As it is named, or as the keystore names one that nobody asked for.
    pub key: String,
    pub code: String,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedV1 {
    pub id: CommandId,
    /// So many were tried.
    pub tried: u64,
    /// The first of them, if there are too many for a record.
    pub suspects: Vec<SuspectV1>,
    pub suspected: u64,
    pub at: Timestamp,
}

/// The keys are to be wrapped under the root key in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatingV1 {
    pub id: CommandId,
    pub by: String,
    pub at: Timestamp,
}

/// A batch of them is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedV1 {
    pub id: CommandId,
    pub moved: u64,
    pub left: u64,
    pub at: Timestamp,
}

/// All are, but those that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatedV1 {
    pub id: CommandId,
    /// The first of them, if there are too many for a record.
    pub stuck: Vec<String>,
    pub stuck_in_all: u64,
    pub at: Timestamp,
}

/// A root key came into use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootedV1 {
    /// As the keystore names it; nothing of the key itself.
    pub root: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        ORDERED_V1,
        HASTENED_V1,
        MADE_V1,
        ABANDONED_V1,
        ACTIVATED_V1,
        REVOKED_V1,
        DESTROYING_V1,
        DESTROYED_V1,
        VERIFYING_V1,
        VERIFIED_V1,
        UPDATING_V1,
        MOVED_V1,
        UPDATED_V1,
        ROOTED_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Ordered(body) => writer.put(ORDERED_V1, body),
            Self::Hastened(body) => writer.put(HASTENED_V1, body),
            Self::Made(body) => writer.put(MADE_V1, body),
            Self::Abandoned(body) => writer.put(ABANDONED_V1, body),
            Self::Activated(body) => writer.put(ACTIVATED_V1, body),
            Self::Revoked(body) => writer.put(REVOKED_V1, body),
            Self::Destroying(body) => writer.put(DESTROYING_V1, body),
            Self::Destroyed(body) => writer.put(DESTROYED_V1, body),
            Self::Verifying(body) => writer.put(VERIFYING_V1, body),
            Self::Verified(body) => writer.put(VERIFIED_V1, body),
            Self::Updating(body) => writer.put(UPDATING_V1, body),
            Self::Moved(body) => writer.put(MOVED_V1, body),
            Self::Updated(body) => writer.put(UPDATED_V1, body),
            Self::Rooted(body) => writer.put(ROOTED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (1150, 1) => reader.get().map(Self::Ordered),
            (1151, 1) => reader.get().map(Self::Hastened),
            (1152, 1) => reader.get().map(Self::Made),
            (1153, 1) => reader.get().map(Self::Abandoned),
            (1154, 1) => reader.get().map(Self::Activated),
            (1155, 1) => reader.get().map(Self::Revoked),
            (1156, 1) => reader.get().map(Self::Destroying),
            (1157, 1) => reader.get().map(Self::Destroyed),
            (1158, 1) => reader.get().map(Self::Verifying),
            (1159, 1) => reader.get().map(Self::Verified),
            (1160, 1) => reader.get().map(Self::Updating),
            (1161, 1) => reader.get().map(Self::Moved),
            (1162, 1) => reader.get().map(Self::Updated),
            (1163, 1) => reader.get().map(Self::Rooted),
            _ => Err(reader.unknown()),
        }
    }
}
