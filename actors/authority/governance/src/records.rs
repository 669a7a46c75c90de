//! How the facts of governance are written down for ever: ids 100 to 199.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Digest, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const BOOTSTRAPPED_V1: Kind = Kind { id: 100, version: 1, name: "governance.bootstrapped" };
const PROPOSED_V1: Kind = Kind { id: 101, version: 1, name: "governance.proposed" };
const ACTIVATED_V1: Kind = Kind { id: 102, version: 1, name: "governance.activated" };
const ROLLED_BACK_V1: Kind = Kind { id: 103, version: 1, name: "governance.rolled_back" };
const STOPPED_V1: Kind = Kind { id: 104, version: 1, name: "governance.stopped" };
const STOPPED_V2: Kind = Kind { id: 104, version: 2, name: "governance.stopped" };
const RESUMED_V1: Kind = Kind { id: 105, version: 1, name: "governance.resumed" };
const CLAIMED_V1: Kind = Kind { id: 106, version: 1, name: "governance.proof_claimed" };

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

/// The reason is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedV2 {
    pub number: u64,
    pub by: String,
    /// Who stopped, as the seal file says it, if that was recorded later by another; else empty.
    pub on_behalf_of: String,
    pub reason: Personal,
    pub at: Timestamp,
    pub digest: Digest,
}

impl From<StoppedV1> for StoppedV2 {
    fn from(StoppedV1 { number, by, reason, at, digest }: StoppedV1) -> Self {
        Self { number, by, on_behalf_of: String::new(), reason: Personal::plain(&reason), at, digest }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedV1 {
    pub number: u64,
    pub by: String,
    pub at: Timestamp,
}

/// What came of proving something of a text, as `by` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedV1 {
    pub epoch: u64,
    pub text: Digest,
    pub against: Digest,
    pub solver: String,
    pub goals: Vec<GoalV1>,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoalV1 {
    pub property: String,
    /// 0 proven, 1 not proven, 2 a counterexample.
    pub verdict: u8,
    pub detail: String,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] =
        &[BOOTSTRAPPED_V1, PROPOSED_V1, ACTIVATED_V1, ROLLED_BACK_V1, STOPPED_V1, STOPPED_V2, RESUMED_V1, CLAIMED_V1];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Bootstrapped(body) => writer.put(BOOTSTRAPPED_V1, body),
            Self::Proposed(body) => writer.put(PROPOSED_V1, body),
            Self::Activated(body) => writer.put(ACTIVATED_V1, body),
            Self::RolledBack(body) => writer.put(ROLLED_BACK_V1, body),
            Self::Stopped(body) => writer.put(STOPPED_V2, body),
            Self::Resumed(body) => writer.put(RESUMED_V1, body),
            Self::Claimed(body) => writer.put(CLAIMED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (100, 1) => reader.get().map(Self::Bootstrapped),
            (101, 1) => reader.get().map(Self::Proposed),
            (102, 1) => reader.get().map(Self::Activated),
            (103, 1) => reader.get().map(Self::RolledBack),
            (104, 1) => reader.get::<StoppedV1>().map(StoppedV2::from).map(Self::Stopped),
            (104, 2) => reader.get().map(Self::Stopped),
            (105, 1) => reader.get().map(Self::Resumed),
            (106, 1) => reader.get().map(Self::Claimed),
            _ => Err(reader.unknown()),
        }
    }
}
