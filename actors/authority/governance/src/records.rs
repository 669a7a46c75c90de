//! How the facts of governance are written down for ever: ids 100 to 199.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;

use kernel::{Digest, Kind, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const BOOTSTRAPPED_V1: Kind = Kind { id: 100, version: 1, name: "governance.bootstrapped" };
const PROPOSED_V1: Kind = Kind { id: 101, version: 1, name: "governance.proposed" };
const ACTIVATED_V1: Kind = Kind { id: 102, version: 1, name: "governance.activated" };
const ROLLED_BACK_V1: Kind = Kind { id: 103, version: 1, name: "governance.rolled_back" };
const STOPPED_V1: Kind = Kind { id: 104, version: 1, name: "governance.stopped" };
const RESUMED_V1: Kind = Kind { id: 105, version: 1, name: "governance.resumed" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrappedV1 {
    pub operator: String,
    pub credential: Digest,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedV1 {
    pub number: u64,
    pub text: String,
    pub digest: Digest,
    pub author: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivatedV1 {
    pub epoch: u64,
    pub replaced: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBackV1 {
    pub epoch: u64,
    pub replaced: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedV1 {
    pub number: u64,
    pub by: String,
    pub reason: String,
    pub at: Timestamp,
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedV1 {
    pub number: u64,
    pub by: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] =
        &[BOOTSTRAPPED_V1, PROPOSED_V1, ACTIVATED_V1, ROLLED_BACK_V1, STOPPED_V1, RESUMED_V1];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Bootstrapped(body) => writer.put(BOOTSTRAPPED_V1, body),
            Self::Proposed(body) => writer.put(PROPOSED_V1, body),
            Self::Activated(body) => writer.put(ACTIVATED_V1, body),
            Self::RolledBack(body) => writer.put(ROLLED_BACK_V1, body),
            Self::Stopped(body) => writer.put(STOPPED_V1, body),
            Self::Resumed(body) => writer.put(RESUMED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (100, 1) => reader.get().map(Self::Bootstrapped),
            (101, 1) => reader.get().map(Self::Proposed),
            (102, 1) => reader.get().map(Self::Activated),
            (103, 1) => reader.get().map(Self::RolledBack),
            (104, 1) => reader.get().map(Self::Stopped),
            (105, 1) => reader.get().map(Self::Resumed),
            _ => Err(reader.unknown()),
        }
    }
}
