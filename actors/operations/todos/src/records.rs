//! How the facts of the todos are written down for ever: ids 400 to 499.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::string::String;

use kernel::{Digest, Kind, Millis, Personal, Reader, Recorded, Timestamp, TokenId, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const OPENED_V1: Kind = Kind { id: 400, version: 1, name: "todos.opened" };
const REOPENED_V1: Kind = Kind { id: 401, version: 1, name: "todos.reopened" };
const CLAIMED_V1: Kind = Kind { id: 402, version: 1, name: "todos.claimed" };
const RELEASED_V1: Kind = Kind { id: 403, version: 1, name: "todos.released" };
const SUBMITTED_V1: Kind = Kind { id: 404, version: 1, name: "todos.submitted" };
const SUBMITTED_V2: Kind = Kind { id: 404, version: 2, name: "todos.submitted" };
const CLOSED_V1: Kind = Kind { id: 405, version: 1, name: "todos.closed" };
const LAPSED_V1: Kind = Kind { id: 406, version: 1, name: "todos.lapsed" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedV1 {
    pub todo: u64,
    pub gap: Digest,
    pub title: String,
    pub place: String,
    pub at: Timestamp,
}

/// The gap is the one that the todo was opened for; its wording may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReopenedV1 {
    pub todo: u64,
    pub title: String,
    pub place: String,
    pub at: Timestamp,
}

/// Holds all that is needed to issue the claim's token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedV1 {
    pub todo: u64,
    pub holder: String,
    pub token: TokenId,
    pub secret: Digest,
    pub lifetime: Millis,
    pub uses: u32,
    pub at: Timestamp,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub todo: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedV1 {
    pub todo: u64,
    pub note: String,
}

/// The note is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedV2 {
    pub todo: u64,
    pub note: Personal,
}

impl From<SubmittedV1> for SubmittedV2 {
    fn from(SubmittedV1 { todo, note }: SubmittedV1) -> Self {
        Self { todo, note: Personal::plain(&note) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedV1 {
    pub todo: u64,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LapsedV1 {
    pub todo: u64,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] =
        &[OPENED_V1, REOPENED_V1, CLAIMED_V1, RELEASED_V1, SUBMITTED_V1, SUBMITTED_V2, CLOSED_V1, LAPSED_V1];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Opened(body) => writer.put(OPENED_V1, body),
            Self::Reopened(body) => writer.put(REOPENED_V1, body),
            Self::Claimed(body) => writer.put(CLAIMED_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::Submitted(body) => writer.put(SUBMITTED_V2, body),
            Self::Closed(body) => writer.put(CLOSED_V1, body),
            Self::Lapsed(body) => writer.put(LAPSED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (400, 1) => reader.get().map(Self::Opened),
            (401, 1) => reader.get().map(Self::Reopened),
            (402, 1) => reader.get().map(Self::Claimed),
            (403, 1) => reader.get().map(Self::Released),
            (404, 1) => reader.get::<SubmittedV1>().map(SubmittedV2::from).map(Self::Submitted),
            (404, 2) => reader.get().map(Self::Submitted),
            (405, 1) => reader.get().map(Self::Closed),
            (406, 1) => reader.get().map(Self::Lapsed),
            _ => Err(reader.unknown()),
        }
    }
}
