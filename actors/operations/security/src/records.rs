//! How the facts of security are written down for ever: ids 1100 to 1149.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Kind, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const DETECTED_V1: Kind = Kind { id: 1100, version: 1, name: "security.detected" };
const LOOKED_V1: Kind = Kind { id: 1101, version: 1, name: "security.looked" };
const ACKNOWLEDGED_V1: Kind = Kind { id: 1102, version: 1, name: "security.acknowledged" };
const DISMISSED_V1: Kind = Kind { id: 1103, version: 1, name: "security.dismissed" };
const OPENED_V1: Kind = Kind { id: 1104, version: 1, name: "security.incident_opened" };
const LINKED_V1: Kind = Kind { id: 1105, version: 1, name: "security.incident_linked" };
const NOTED_V1: Kind = Kind { id: 1106, version: 1, name: "security.incident_noted" };
const PLANNED_V1: Kind = Kind { id: 1107, version: 1, name: "security.containment_planned" };
const STEPPED_V1: Kind = Kind { id: 1108, version: 1, name: "security.containment_done" };
const HELD_V1: Kind = Kind { id: 1109, version: 1, name: "security.evidence_held" };
const RELEASED_V1: Kind = Kind { id: 1110, version: 1, name: "security.evidence_released" };
const CLOSED_V1: Kind = Kind { id: 1111, version: 1, name: "security.incident_closed" };

/// Something was detected, for the first time or again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectedV1 {
    pub event: u64,
    pub kind: u8,
    /// Whom or what it is about; "*" together with others.
    pub subject: String,
    pub detail: String,
    /// How often, since it was told last.
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Sequence numbers of records that show it.
    pub evidence: Vec<u64>,
    /// There was no such event that is not done with.
    pub fresh: bool,
    /// The event that is kept no longer for this one; 0 if there is none.
    pub forgets: u64,
    /// All records up to here were looked at; 0 where it is not seen in the records.
    pub looked: u64,
    pub at: Timestamp,
}

/// All records up to one were looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedV1 {
    pub looked: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgedV1 {
    pub event: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DismissedV1 {
    pub event: u64,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedV1 {
    pub incident: u64,
    pub title: Personal,
    pub severity: u8,
    pub owner: String,
    pub events: Vec<u64>,
    /// The incident that is kept no longer for this one, with its events; 0 if there is none.
    pub forgets: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedV1 {
    pub incident: u64,
    pub event: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedV1 {
    pub incident: u64,
    pub text: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepV1 {
    pub measure: u8,
    pub subject: String,
}

/// These steps come after those that there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedV1 {
    pub incident: u64,
    pub steps: Vec<StepV1>,
    pub by: String,
    pub at: Timestamp,
}

/// A step was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteppedV1 {
    pub incident: u64,
    /// Counts from 1.
    pub step: u32,
    pub done: bool,
    /// The command that did it.
    pub command: CommandId,
    /// What came of it, or the code of the denial.
    pub answer: String,
    pub by: String,
    pub at: Timestamp,
}

/// From now on these records must stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    pub incident: u64,
    pub first: u64,
    pub last: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub incident: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedV1 {
    pub incident: u64,
    pub postmortem: Personal,
    pub by: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        DETECTED_V1,
        LOOKED_V1,
        ACKNOWLEDGED_V1,
        DISMISSED_V1,
        OPENED_V1,
        LINKED_V1,
        NOTED_V1,
        PLANNED_V1,
        STEPPED_V1,
        HELD_V1,
        RELEASED_V1,
        CLOSED_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Detected(body) => writer.put(DETECTED_V1, body),
            Self::Looked(body) => writer.put(LOOKED_V1, body),
            Self::Acknowledged(body) => writer.put(ACKNOWLEDGED_V1, body),
            Self::Dismissed(body) => writer.put(DISMISSED_V1, body),
            Self::Opened(body) => writer.put(OPENED_V1, body),
            Self::Linked(body) => writer.put(LINKED_V1, body),
            Self::Noted(body) => writer.put(NOTED_V1, body),
            Self::Planned(body) => writer.put(PLANNED_V1, body),
            Self::Stepped(body) => writer.put(STEPPED_V1, body),
            Self::Held(body) => writer.put(HELD_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::Closed(body) => writer.put(CLOSED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (1100, 1) => reader.get().map(Self::Detected),
            (1101, 1) => reader.get().map(Self::Looked),
            (1102, 1) => reader.get().map(Self::Acknowledged),
            (1103, 1) => reader.get().map(Self::Dismissed),
            (1104, 1) => reader.get().map(Self::Opened),
            (1105, 1) => reader.get().map(Self::Linked),
            (1106, 1) => reader.get().map(Self::Noted),
            (1107, 1) => reader.get().map(Self::Planned),
            (1108, 1) => reader.get().map(Self::Stepped),
            (1109, 1) => reader.get().map(Self::Held),
            (1110, 1) => reader.get().map(Self::Released),
            (1111, 1) => reader.get().map(Self::Closed),
            _ => Err(reader.unknown()),
        }
    }
}
