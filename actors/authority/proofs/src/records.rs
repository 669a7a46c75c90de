//! How the facts of the proofs are written down for ever: ids 1070 to 1099.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Digest, Kind, Millis, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const DECLARED: Kind = Kind { id: 1070, version: 1, name: "proofs.declared" };
const WITHDRAWN: Kind = Kind { id: 1071, version: 1, name: "proofs.withdrawn" };
const RECEIVED: Kind = Kind { id: 1072, version: 1, name: "proofs.received" };
const SPENT: Kind = Kind { id: 1073, version: 1, name: "proofs.spent" };
const RELEASED: Kind = Kind { id: 1074, version: 1, name: "proofs.released" };
const FORGOTTEN: Kind = Kind { id: 1075, version: 1, name: "proofs.forgotten" };

/// Of each kind of verifier, what it pins; nothing else is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredV1 {
    pub revision: u64,
    pub name: String,
    /// 1 digest, 2 manifest, 3 signature, 4 policy trace, 5 external.
    pub verifier: u8,
    /// Of a digest: 1 SHA-256, 2 BLAKE3.
    pub algorithm: Option<u8>,
    /// The digest of a content, or of a prover's kernel.
    pub digest: Option<Digest>,
    /// The argument that has the digest.
    pub argument: Option<String>,
    pub files: Vec<FileV1>,
    /// The root of signatures, or a prover's key.
    pub key: Option<String>,
    pub action: Option<String>,
    pub within: Option<Millis>,
    pub url: Option<String>,
    pub timeout: Option<Millis>,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileV1 {
    pub path: String,
    pub sha256: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnV1 {
    pub name: String,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedV1 {
    pub number: u64,
    pub check: CommandId,
    pub asker: String,
    pub proof: String,
    pub revision: u64,
    pub action: String,
    pub resource: String,
    pub content: Digest,
    pub target: Option<Digest>,
    pub goal: Digest,
    pub evidence: Digest,
    pub note: String,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    /// When the clock may take it away.
    pub kept_until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentV1 {
    pub number: u64,
    pub command: CommandId,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub number: u64,
    pub command: CommandId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenV1 {
    pub number: u64,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[DECLARED, WITHDRAWN, RECEIVED, SPENT, RELEASED, FORGOTTEN];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Declared(body) => writer.put(DECLARED, &**body),
            Self::Withdrawn(body) => writer.put(WITHDRAWN, body),
            Self::Received(body) => writer.put(RECEIVED, &**body),
            Self::Spent(body) => writer.put(SPENT, body),
            Self::Released(body) => writer.put(RELEASED, body),
            Self::Forgotten(body) => writer.put(FORGOTTEN, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (1070, 1) => reader.get().map(Box::new).map(Self::Declared),
            (1071, 1) => reader.get().map(Self::Withdrawn),
            (1072, 1) => reader.get().map(Box::new).map(Self::Received),
            (1073, 1) => reader.get().map(Self::Spent),
            (1074, 1) => reader.get().map(Self::Released),
            (1075, 1) => reader.get().map(Self::Forgotten),
            _ => Err(reader.unknown()),
        }
    }
}
