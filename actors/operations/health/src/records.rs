//! What is written down of health for ever.

use alloc::string::String;

use kernel::{CommandId, Kind, Millis, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

/// A process began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunV1 {
    pub process: CommandId,
    pub overdue_after: Millis,
    /// What was cleared before this is forgotten: it is no flapping any more.
    pub forgotten: Timestamp,
    pub at: Timestamp,
}

/// Its tree is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpV1 {
    pub process: CommandId,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaisedV1 {
    pub code: u8,
    /// The child's path, the machine's name; empty where the code says all.
    pub subject: String,
    pub severity: u8,
    pub detail: String,
    pub at: Timestamp,
    /// Not cleared before this.
    pub held_until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearedV1 {
    pub code: u8,
    pub subject: String,
    pub at: Timestamp,
}

/// Ends of one child, and what supervision decided on the last of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildEndedV1 {
    pub path: String,
    /// Of the last of them.
    pub epoch: u64,
    pub exit: u8,
    pub text: String,
    pub verdict: u8,
    /// How many, the last one included.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// For a while nothing could be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceV1 {
    /// Ends of children that were kept back, and stand beside this one by one or counted.
    pub ends: u64,
    /// Decisions of supervision that came faster than they were heard, and stand nowhere.
    pub missed: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMadeV1 {
    pub backup: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupVerifiedV1 {
    pub backup: u64,
    /// When it was made: so old is what a restore would give.
    pub made: Timestamp,
    pub at: Timestamp,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begun(BegunV1),
    Up(UpV1),
    Raised(RaisedV1),
    Cleared(ClearedV1),
    ChildEnded(ChildEndedV1),
    Silence(SilenceV1),
    BackupMade(BackupMadeV1),
    BackupVerified(BackupVerifiedV1),
}

pub const BEGUN: Kind = Kind { id: 800, version: 1, name: "health.begun" };
pub const UP: Kind = Kind { id: 801, version: 1, name: "health.up" };
pub const RAISED: Kind = Kind { id: 802, version: 1, name: "health.raised" };
pub const CLEARED: Kind = Kind { id: 803, version: 1, name: "health.cleared" };
pub const CHILD_ENDED: Kind = Kind { id: 804, version: 1, name: "health.child_ended" };
pub const SILENCE: Kind = Kind { id: 805, version: 1, name: "health.silence" };
pub const BACKUP_MADE: Kind = Kind { id: 806, version: 1, name: "health.backup_made" };
pub const BACKUP_VERIFIED: Kind = Kind { id: 807, version: 1, name: "health.backup_verified" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[BEGUN, UP, RAISED, CLEARED, CHILD_ENDED, SILENCE, BACKUP_MADE, BACKUP_VERIFIED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Begun(body) => writer.put(BEGUN, body),
            Self::Up(body) => writer.put(UP, body),
            Self::Raised(body) => writer.put(RAISED, body),
            Self::Cleared(body) => writer.put(CLEARED, body),
            Self::ChildEnded(body) => writer.put(CHILD_ENDED, body),
            Self::Silence(body) => writer.put(SILENCE, body),
            Self::BackupMade(body) => writer.put(BACKUP_MADE, body),
            Self::BackupVerified(body) => writer.put(BACKUP_VERIFIED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (800, 1) => reader.get().map(Self::Begun),
            (801, 1) => reader.get().map(Self::Up),
            (802, 1) => reader.get().map(Self::Raised),
            (803, 1) => reader.get().map(Self::Cleared),
            (804, 1) => reader.get().map(Self::ChildEnded),
            (805, 1) => reader.get().map(Self::Silence),
            (806, 1) => reader.get().map(Self::BackupMade),
            (807, 1) => reader.get().map(Self::BackupVerified),
            _ => Err(reader.unknown()),
        }
    }
}
