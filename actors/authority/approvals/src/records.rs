//! How the facts of the approvals are written down for ever: ids 1050 to 1069.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::boxed::Box;
use alloc::string::String;

use kernel::{CommandId, Digest, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const REQUESTED: Kind = Kind { id: 1050, version: 1, name: "approvals.requested" };
const APPROVED: Kind = Kind { id: 1051, version: 1, name: "approvals.approved" };
const DENIED: Kind = Kind { id: 1052, version: 1, name: "approvals.denied" };
const WITHDRAWN: Kind = Kind { id: 1053, version: 1, name: "approvals.withdrawn" };
const USED: Kind = Kind { id: 1054, version: 1, name: "approvals.used" };
const RELEASED: Kind = Kind { id: 1055, version: 1, name: "approvals.released" };
const STALE: Kind = Kind { id: 1056, version: 1, name: "approvals.stale" };
const EXPIRED: Kind = Kind { id: 1057, version: 1, name: "approvals.expired" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedV1 {
    pub number: u64,
    pub asker: String,
    /// Who issued the token by which it was asked, if it was by one.
    pub issuer: Option<String>,
    pub action: String,
    pub resource: String,
    pub content: Digest,
    pub target: Option<Digest>,
    pub arguments: Personal,
    pub reason: Personal,
    pub needed: u32,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedV1 {
    pub number: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedV1 {
    pub number: u64,
    pub by: String,
    pub reason: Personal,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnV1 {
    pub number: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedV1 {
    pub number: u64,
    pub command: CommandId,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub number: u64,
    pub command: CommandId,
}

/// What it was asked for is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleV1 {
    pub number: u64,
    pub found: Option<Digest>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredV1 {
    pub number: u64,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[REQUESTED, APPROVED, DENIED, WITHDRAWN, USED, RELEASED, STALE, EXPIRED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Requested(body) => writer.put(REQUESTED, &**body),
            Self::Approved(body) => writer.put(APPROVED, body),
            Self::Denied(body) => writer.put(DENIED, body),
            Self::Withdrawn(body) => writer.put(WITHDRAWN, body),
            Self::Used(body) => writer.put(USED, body),
            Self::Released(body) => writer.put(RELEASED, body),
            Self::Stale(body) => writer.put(STALE, body),
            Self::Expired(body) => writer.put(EXPIRED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (1050, 1) => reader.get().map(Box::new).map(Self::Requested),
            (1051, 1) => reader.get().map(Self::Approved),
            (1052, 1) => reader.get().map(Self::Denied),
            (1053, 1) => reader.get().map(Self::Withdrawn),
            (1054, 1) => reader.get().map(Self::Used),
            (1055, 1) => reader.get().map(Self::Released),
            (1056, 1) => reader.get().map(Self::Stale),
            (1057, 1) => reader.get().map(Self::Expired),
            _ => Err(reader.unknown()),
        }
    }
}
