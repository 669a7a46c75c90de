//! What is written down of backups for ever.

use alloc::string::String;

use kernel::{Digest, Kind, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedV1 {
    pub backup: u64,
    /// The last record in it.
    pub last: u64,
    /// The link that the record after that one carries.
    pub head: Digest,
    pub entries: u64,
    pub bytes: u64,
    /// The blake3 of the manifest.
    pub manifest: Digest,
    pub directory: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedV1 {
    pub backup: u64,
    pub why: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckStartedV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedV1 {
    pub backup: u64,
    /// The blake3 of the manifest that was found.
    pub manifest: Digest,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenV1 {
    pub backup: u64,
    pub why: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillStartedV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledV1 {
    pub backup: u64,
    /// The blake3 of the manifest that was found.
    pub manifest: Digest,
    pub records: u64,
    pub machines: u64,
    /// Over the digests of all states at the end of the backup.
    pub state: Digest,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillFailedV1 {
    pub backup: u64,
    pub why: String,
    /// The backup is no good; else only the drill could not be held.
    pub broken: bool,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    pub backup: u64,
    pub reason: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedV1 {
    pub backup: u64,
    pub at: Timestamp,
}

/// From now on it is kept for what it alone is sure to have: these records have left the tile log, or are about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedV1 {
    pub backup: u64,
    /// The last of them.
    pub last: u64,
    pub at: Timestamp,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Started(StartedV1),
    Completed(CompletedV1),
    Failed(FailedV1),
    CheckStarted(CheckStartedV1),
    Verified(VerifiedV1),
    Broken(BrokenV1),
    DrillStarted(DrillStartedV1),
    Drilled(DrilledV1),
    DrillFailed(DrillFailedV1),
    Held(HeldV1),
    Released(ReleasedV1),
    Expired(ExpiredV1),
    Removed(RemovedV1),
    Archived(ArchivedV1),
}

pub const STARTED: Kind = Kind { id: 700, version: 1, name: "backup.started" };
pub const COMPLETED: Kind = Kind { id: 701, version: 1, name: "backup.completed" };
pub const FAILED: Kind = Kind { id: 702, version: 1, name: "backup.failed" };
pub const CHECK_STARTED: Kind = Kind { id: 703, version: 1, name: "backup.check_started" };
pub const VERIFIED: Kind = Kind { id: 704, version: 1, name: "backup.verified" };
pub const BROKEN: Kind = Kind { id: 705, version: 1, name: "backup.broken" };
pub const DRILL_STARTED: Kind = Kind { id: 706, version: 1, name: "backup.drill_started" };
pub const DRILLED: Kind = Kind { id: 707, version: 1, name: "backup.drilled" };
pub const DRILL_FAILED: Kind = Kind { id: 708, version: 1, name: "backup.drill_failed" };
pub const HELD: Kind = Kind { id: 709, version: 1, name: "backup.held" };
pub const RELEASED: Kind = Kind { id: 710, version: 1, name: "backup.released" };
pub const EXPIRED: Kind = Kind { id: 711, version: 1, name: "backup.expired" };
pub const REMOVED: Kind = Kind { id: 712, version: 1, name: "backup.removed" };
pub const ARCHIVED: Kind = Kind { id: 713, version: 1, name: "backup.archived" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        STARTED,
        COMPLETED,
        FAILED,
        CHECK_STARTED,
        VERIFIED,
        BROKEN,
        DRILL_STARTED,
        DRILLED,
        DRILL_FAILED,
        HELD,
        RELEASED,
        EXPIRED,
        REMOVED,
        ARCHIVED,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Started(body) => writer.put(STARTED, body),
            Self::Completed(body) => writer.put(COMPLETED, body),
            Self::Failed(body) => writer.put(FAILED, body),
            Self::CheckStarted(body) => writer.put(CHECK_STARTED, body),
            Self::Verified(body) => writer.put(VERIFIED, body),
            Self::Broken(body) => writer.put(BROKEN, body),
            Self::DrillStarted(body) => writer.put(DRILL_STARTED, body),
            Self::Drilled(body) => writer.put(DRILLED, body),
            Self::DrillFailed(body) => writer.put(DRILL_FAILED, body),
            Self::Held(body) => writer.put(HELD, body),
            Self::Released(body) => writer.put(RELEASED, body),
            Self::Expired(body) => writer.put(EXPIRED, body),
            Self::Removed(body) => writer.put(REMOVED, body),
            Self::Archived(body) => writer.put(ARCHIVED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (700, 1) => reader.get().map(Self::Started),
            (701, 1) => reader.get().map(Self::Completed),
            (702, 1) => reader.get().map(Self::Failed),
            (703, 1) => reader.get().map(Self::CheckStarted),
            (704, 1) => reader.get().map(Self::Verified),
            (705, 1) => reader.get().map(Self::Broken),
            (706, 1) => reader.get().map(Self::DrillStarted),
            (707, 1) => reader.get().map(Self::Drilled),
            (708, 1) => reader.get().map(Self::DrillFailed),
            (709, 1) => reader.get().map(Self::Held),
            (710, 1) => reader.get().map(Self::Released),
            (711, 1) => reader.get().map(Self::Expired),
            (712, 1) => reader.get().map(Self::Removed),
            (713, 1) => reader.get().map(Self::Archived),
            _ => Err(reader.unknown()),
        }
    }
}
