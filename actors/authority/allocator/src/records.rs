//! How the facts of the allocator are written down for ever: ids 600 to 699.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version. A [`LeaseId`] is a bare
//! `u128` on disk.

use alloc::string::String;

use kernel::{Kind, Millis, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::{Event, LeaseId};

const DEFINED_V1: Kind = Kind { id: 600, version: 1, name: "allocator.defined" };
const RESIZED_V1: Kind = Kind { id: 601, version: 1, name: "allocator.resized" };
const QUEUED_V1: Kind = Kind { id: 602, version: 1, name: "allocator.queued" };
const GRANTED_V1: Kind = Kind { id: 603, version: 1, name: "allocator.granted" };
const RENEWED_V1: Kind = Kind { id: 604, version: 1, name: "allocator.renewed" };
const RELEASED_V1: Kind = Kind { id: 605, version: 1, name: "allocator.released" };
const WITHDRAWN_V1: Kind = Kind { id: 606, version: 1, name: "allocator.withdrawn" };
const EXPIRED_V1: Kind = Kind { id: 607, version: 1, name: "allocator.expired" };
const OWNER_REVOKED_V1: Kind = Kind { id: 608, version: 1, name: "allocator.owner_revoked" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinedV1 {
    pub pool: String,
    pub capacity: u64,
    pub unit: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizedV1 {
    pub pool: String,
    pub capacity: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedV1 {
    pub lease: LeaseId,
    pub pool: String,
    pub owner: String,
    pub amount: u64,
    pub priority: u8,
    pub lifetime: Millis,
    pub at: Timestamp,
    /// The instant by which it is ordered in the queue.
    pub stands: Timestamp,
    /// Counts the requests that were queued in this pool, from 1: the order among those that stand at one instant.
    pub ticket: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedV1 {
    pub lease: LeaseId,
    pub pool: String,
    pub owner: String,
    pub amount: u64,
    pub priority: u8,
    pub lifetime: Millis,
    pub asked_at: Timestamp,
    pub fencing: u64,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewedV1 {
    pub lease: LeaseId,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub lease: LeaseId,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnV1 {
    pub lease: LeaseId,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredV1 {
    pub pool: String,
    /// Every lease of the pool that was good until then, or not so long, has ended.
    pub at: Timestamp,
    /// How many these were.
    pub leases: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRevokedV1 {
    /// Every lease of this owner ended, and every request was taken back.
    pub owner: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        DEFINED_V1,
        RESIZED_V1,
        QUEUED_V1,
        GRANTED_V1,
        RENEWED_V1,
        RELEASED_V1,
        WITHDRAWN_V1,
        EXPIRED_V1,
        OWNER_REVOKED_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Defined(body) => writer.put(DEFINED_V1, body),
            Self::Resized(body) => writer.put(RESIZED_V1, body),
            Self::Queued(body) => writer.put(QUEUED_V1, body),
            Self::Granted(body) => writer.put(GRANTED_V1, body),
            Self::Renewed(body) => writer.put(RENEWED_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::Withdrawn(body) => writer.put(WITHDRAWN_V1, body),
            Self::Expired(body) => writer.put(EXPIRED_V1, body),
            Self::OwnerRevoked(body) => writer.put(OWNER_REVOKED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (600, 1) => reader.get().map(Self::Defined),
            (601, 1) => reader.get().map(Self::Resized),
            (602, 1) => reader.get().map(Self::Queued),
            (603, 1) => reader.get().map(Self::Granted),
            (604, 1) => reader.get().map(Self::Renewed),
            (605, 1) => reader.get().map(Self::Released),
            (606, 1) => reader.get().map(Self::Withdrawn),
            (607, 1) => reader.get().map(Self::Expired),
            (608, 1) => reader.get().map(Self::OwnerRevoked),
            _ => Err(reader.unknown()),
        }
    }
}
