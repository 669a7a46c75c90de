//! How the facts of retention are written down for ever: ids 985 to 989.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version. `sop-verify` reads the
//! beginning of [`PruningV1`], too.

use alloc::string::String;

use kernel::{Digest, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const HELD_V1: Kind = Kind { id: 985, version: 1, name: "retention.held" };
const RELEASED_V1: Kind = Kind { id: 986, version: 1, name: "retention.released" };
const PRUNING_V1: Kind = Kind { id: 987, version: 1, name: "retention.pruning" };
const PRUNED_V1: Kind = Kind { id: 988, version: 1, name: "retention.pruned" };
const ABANDONED_V1: Kind = Kind { id: 989, version: 1, name: "retention.abandoned" };

/// From now on these records must stay in the tile log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    pub name: String,
    pub reason: Personal,
    /// Empty for all of them.
    pub stream: String,
    pub first: u64,
    pub last: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub name: String,
    pub by: String,
    pub at: Timestamp,
}

/// The records up to one are to leave the tile log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruningV1 {
    /// The minimum index of the log from then on, which is how many records leave it. Comes first for ever.
    pub minimum: u64,
    /// The backup that has them.
    pub backup: u64,
    /// Its blake3, and so that of everything in it.
    pub manifest: Digest,
    /// Where it lies.
    pub place: String,
    /// How long each class was kept then.
    pub rules: String,
    pub by: String,
    pub at: Timestamp,
}

/// They have left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedV1 {
    pub minimum: u64,
    pub at: Timestamp,
}

/// They stay, as something came in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbandonedV1 {
    pub minimum: u64,
    pub why: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[HELD_V1, RELEASED_V1, PRUNING_V1, PRUNED_V1, ABANDONED_V1];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Held(body) => writer.put(HELD_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::Pruning(body) => writer.put(PRUNING_V1, body),
            Self::Pruned(body) => writer.put(PRUNED_V1, body),
            Self::Abandoned(body) => writer.put(ABANDONED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (985, 1) => reader.get().map(Self::Held),
            (986, 1) => reader.get().map(Self::Released),
            (987, 1) => reader.get().map(Self::Pruning),
            (988, 1) => reader.get().map(Self::Pruned),
            (989, 1) => reader.get().map(Self::Abandoned),
            _ => Err(reader.unknown()),
        }
    }
}
