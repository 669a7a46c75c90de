//! How the facts of the nexus are written down for ever: ids 950 to 969.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version. What is a message's id is
//! a command's id on disk.

use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Kind, Millis, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const ADMITTED_V1: Kind = Kind { id: 950, version: 1, name: "nexus.admitted" };
const WITHDRAWN_V1: Kind = Kind { id: 951, version: 1, name: "nexus.withdrawn" };
const WITHDRAWN_V2: Kind = Kind { id: 951, version: 2, name: "nexus.withdrawn" };
const PROTOCOL_FORGOTTEN_V1: Kind = Kind { id: 952, version: 1, name: "nexus.protocol_forgotten" };
const SENT_V1: Kind = Kind { id: 953, version: 1, name: "nexus.sent" };
const DELIVERED_V1: Kind = Kind { id: 954, version: 1, name: "nexus.delivered" };
const FAILED_V1: Kind = Kind { id: 955, version: 1, name: "nexus.failed" };
const DIED_V1: Kind = Kind { id: 956, version: 1, name: "nexus.died" };
const REQUEUED_V1: Kind = Kind { id: 957, version: 1, name: "nexus.requeued" };
const DISCARDED_V1: Kind = Kind { id: 958, version: 1, name: "nexus.discarded" };
const FORGOTTEN_V1: Kind = Kind { id: 959, version: 1, name: "nexus.forgotten" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedV1 {
    pub protocol: String,
    /// In order, each once; so is the next.
    pub depends_on: Vec<String>,
    pub speaks_to: Vec<String>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnV1 {
    pub protocol: String,
    pub reason: String,
    /// By the revocation of its tokens.
    pub revoked: bool,
    pub at: Timestamp,
}

/// The reason is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnV2 {
    pub protocol: String,
    pub reason: Personal,
    /// By the revocation of its tokens.
    pub revoked: bool,
    pub at: Timestamp,
}

impl From<WithdrawnV1> for WithdrawnV2 {
    fn from(WithdrawnV1 { protocol, reason, revoked, at }: WithdrawnV1) -> Self {
        Self { protocol, reason: Personal::plain(&reason), revoked, at }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolForgottenV1 {
    pub protocol: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentV1 {
    pub message: CommandId,
    pub source: String,
    pub destination: String,
    /// The lane: 0 critical, 1 high, 2 normal, 3 low.
    pub priority: u8,
    pub kind: String,
    pub content_type: String,
    pub payload: Vec<u8>,
    pub lifetime: Millis,
    /// The message of whose handling it is a consequence.
    pub cause: Option<CommandId>,
    /// Counts what came to this destination, from 1: the order in the lane.
    pub ticket: u64,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredV1 {
    pub message: CommandId,
    pub destination: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedV1 {
    pub message: CommandId,
    pub destination: String,
    /// Counts from 1, anew after a message was made to wait again.
    pub attempt: u32,
    pub why: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiedV1 {
    pub message: CommandId,
    pub destination: String,
    /// 0 expired, 1 rejected, 2 withdrawn.
    pub death: u8,
    pub why: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeuedV1 {
    pub message: CommandId,
    pub destination: String,
    pub ticket: u64,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardedV1 {
    pub message: CommandId,
    pub destination: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenV1 {
    pub message: CommandId,
    pub destination: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        ADMITTED_V1,
        WITHDRAWN_V1,
        WITHDRAWN_V2,
        PROTOCOL_FORGOTTEN_V1,
        SENT_V1,
        DELIVERED_V1,
        FAILED_V1,
        DIED_V1,
        REQUEUED_V1,
        DISCARDED_V1,
        FORGOTTEN_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Admitted(body) => writer.put(ADMITTED_V1, body),
            Self::Withdrawn(body) => writer.put(WITHDRAWN_V2, body),
            Self::ProtocolForgotten(body) => writer.put(PROTOCOL_FORGOTTEN_V1, body),
            Self::Sent(body) => writer.put(SENT_V1, body),
            Self::Delivered(body) => writer.put(DELIVERED_V1, body),
            Self::Failed(body) => writer.put(FAILED_V1, body),
            Self::Died(body) => writer.put(DIED_V1, body),
            Self::Requeued(body) => writer.put(REQUEUED_V1, body),
            Self::Discarded(body) => writer.put(DISCARDED_V1, body),
            Self::Forgotten(body) => writer.put(FORGOTTEN_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (950, 1) => reader.get().map(Self::Admitted),
            (951, 1) => reader.get::<WithdrawnV1>().map(WithdrawnV2::from).map(Self::Withdrawn),
            (951, 2) => reader.get().map(Self::Withdrawn),
            (952, 1) => reader.get().map(Self::ProtocolForgotten),
            (953, 1) => reader.get().map(Self::Sent),
            (954, 1) => reader.get().map(Self::Delivered),
            (955, 1) => reader.get().map(Self::Failed),
            (956, 1) => reader.get().map(Self::Died),
            (957, 1) => reader.get().map(Self::Requeued),
            (958, 1) => reader.get().map(Self::Discarded),
            (959, 1) => reader.get().map(Self::Forgotten),
            _ => Err(reader.unknown()),
        }
    }
}
