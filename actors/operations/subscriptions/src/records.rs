//! How the facts of subscriptions are written down for ever: ids 970 to 979.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Kind, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

pub const CREATED: Kind = Kind { id: 970, version: 1, name: "subscriptions.created" };
pub const ACKNOWLEDGED: Kind = Kind { id: 971, version: 1, name: "subscriptions.acknowledged" };
pub const DELETED: Kind = Kind { id: 972, version: 1, name: "subscriptions.deleted" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedV1 {
    pub name: String,
    pub owner: String,
    /// Names of streams; none means all.
    pub streams: Vec<String>,
    /// Ids of kinds; none means all.
    pub kinds: Vec<u32>,
    /// The record after which it begins.
    pub after: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedV1 {
    pub name: String,
    /// All up to this record is done with.
    pub position: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedV1 {
    pub name: String,
    pub at: Timestamp,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Created(CreatedV1),
    Acknowledged(AcknowledgedV1),
    Deleted(DeletedV1),
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[CREATED, ACKNOWLEDGED, DELETED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Created(body) => writer.put(CREATED, body),
            Self::Acknowledged(body) => writer.put(ACKNOWLEDGED, body),
            Self::Deleted(body) => writer.put(DELETED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (970, 1) => reader.get().map(Self::Created),
            (971, 1) => reader.get().map(Self::Acknowledged),
            (972, 1) => reader.get().map(Self::Deleted),
            _ => Err(reader.unknown()),
        }
    }
}
