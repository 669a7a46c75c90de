//! How the facts of the subjects are written down for ever: ids 980 to 989.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;

use kernel::{CommandId, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const HELD_V1: Kind = Kind { id: 980, version: 1, name: "subjects.held" };
const RELEASED_V1: Kind = Kind { id: 981, version: 1, name: "subjects.released" };
const ERASING_V1: Kind = Kind { id: 982, version: 1, name: "subjects.erasing" };
const ERASED_V1: Kind = Kind { id: 983, version: 1, name: "subjects.erased" };

/// From now on the subject's texts must stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    pub subject: String,
    /// What it is held for, by the name that the matter has elsewhere.
    pub case: String,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub subject: String,
    pub case: String,
    pub by: String,
    pub at: Timestamp,
}

/// The key of the subject is to be destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasingV1 {
    /// The command that asked for it.
    pub erasure: CommandId,
    pub subject: String,
    pub by: String,
    pub at: Timestamp,
}

/// It is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedV1 {
    pub erasure: CommandId,
    /// Unless there was none, or none that could be read.
    pub key: Option<u64>,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[HELD_V1, RELEASED_V1, ERASING_V1, ERASED_V1];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Held(body) => writer.put(HELD_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::Erasing(body) => writer.put(ERASING_V1, body),
            Self::Erased(body) => writer.put(ERASED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (980, 1) => reader.get().map(Self::Held),
            (981, 1) => reader.get().map(Self::Released),
            (982, 1) => reader.get().map(Self::Erasing),
            (983, 1) => reader.get().map(Self::Erased),
            _ => Err(reader.unknown()),
        }
    }
}
