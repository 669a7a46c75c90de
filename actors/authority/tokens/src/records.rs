//! How the facts of the token authority are written down for ever: ids 200 to 299.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Digest, Kind, Personal, Reader, Recorded, Timestamp, TokenId, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const ISSUED_V1: Kind = Kind { id: 200, version: 1, name: "tokens.issued" };
const CONSUMED_V1: Kind = Kind { id: 201, version: 1, name: "tokens.consumed" };
const SETTLED_V1: Kind = Kind { id: 202, version: 1, name: "tokens.settled" };
const RELEASED_V1: Kind = Kind { id: 203, version: 1, name: "tokens.released" };
const USE_UNKNOWN_V1: Kind = Kind { id: 204, version: 1, name: "tokens.use_unknown" };
const REVOKED_V1: Kind = Kind { id: 205, version: 1, name: "tokens.revoked" };
const REVOKED_V2: Kind = Kind { id: 205, version: 2, name: "tokens.revoked" };
const ALL_REVOKED_V1: Kind = Kind { id: 206, version: 1, name: "tokens.all_revoked" };
const ISSUED_V2: Kind = Kind { id: 200, version: 2, name: "tokens.issued" };
const EXPIRED_V1: Kind = Kind { id: 207, version: 1, name: "tokens.expired" };
const SUBJECT_REVOKED_V1: Kind = Kind { id: 208, version: 1, name: "tokens.subject_revoked" };
const ACTIVATED_V1: Kind = Kind { id: 209, version: 1, name: "tokens.activated" };
const REVOKED_BEFORE_V1: Kind = Kind { id: 210, version: 1, name: "tokens.revoked_before" };

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedV1 {
    pub id: TokenId,
    pub secret: Digest,
    /// 0 operation, 1 todo, 2 integration, 3 test.
    pub kind: u8,
    pub subject: String,
    pub issuer: String,
    pub audience: String,
    pub operation: String,
    /// For kind 1 only, and always.
    pub todo: Option<u64>,
    /// For kind 2 only, and always; so is the next.
    pub artefact_old: Option<Digest>,
    pub artefact_new: Option<Digest>,
    pub uses: u32,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Bound to more, and perhaps derived from another token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedV2 {
    pub id: TokenId,
    pub secret: Digest,
    /// As in version 1.
    pub kind: u8,
    pub subject: String,
    pub issuer: String,
    pub audience: String,
    pub operation: String,
    /// Of kind 1 always, of kind 2 with the report, and of what was derived from kind 1.
    pub todo: Option<u64>,
    /// For kind 2 only, and always; so is the next.
    pub artefact_old: Option<Digest>,
    pub artefact_new: Option<Digest>,
    pub uses: u32,
    pub issued_at: Timestamp,
    pub starts_at: Timestamp,
    pub expires_at: Timestamp,
    pub target: Option<String>,
    pub request: Option<Digest>,
    /// For kind 1 only.
    pub work: Vec<WorkV1>,
    /// For kind 2 only, with the approver; none of it was asked for in version 1.
    pub report: Option<Digest>,
    pub approver: Option<String>,
    /// The token whose uses these were.
    pub parent: Option<TokenId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkV1 {
    pub audience: String,
    pub operation: String,
}

impl From<IssuedV1> for IssuedV2 {
    fn from(v1: IssuedV1) -> Self {
        Self {
            id: v1.id,
            secret: v1.secret,
            kind: v1.kind,
            subject: v1.subject,
            issuer: v1.issuer,
            audience: v1.audience,
            operation: v1.operation,
            todo: v1.todo,
            artefact_old: v1.artefact_old,
            artefact_new: v1.artefact_new,
            uses: v1.uses,
            issued_at: v1.issued_at,
            starts_at: v1.issued_at,
            expires_at: v1.expires_at,
            target: None,
            request: None,
            work: Vec::new(),
            report: None,
            approver: None,
            parent: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedV1 {
    pub id: TokenId,
    pub number: u32,
    pub command: CommandId,
    pub request: Digest,
    pub at: Timestamp,
    pub settle_by: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledV1 {
    pub id: TokenId,
    pub number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub id: TokenId,
    pub number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseUnknownV1 {
    pub id: TokenId,
    pub number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedV1 {
    pub id: TokenId,
    pub at: Timestamp,
    /// 0 withdrawn, 1 compromised, 2 subject revoked, 3 todo ended, 4 all revoked, 5 other, 6 epoch.
    pub reason: u8,
    /// For reason 5, else empty.
    pub text: String,
}

/// The text is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedV2 {
    pub id: TokenId,
    pub at: Timestamp,
    /// As in version 1.
    pub reason: u8,
    /// For reason 5, else empty.
    pub text: Personal,
}

impl From<RevokedV1> for RevokedV2 {
    fn from(RevokedV1 { id, at, reason, text }: RevokedV1) -> Self {
        Self { id, at, reason, text: Personal::plain(&text) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllRevokedV1 {
    /// Every token that was issued earlier in this stream ended at this instant.
    pub before: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredV1 {
    pub id: TokenId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivatedV1 {
    pub id: TokenId,
}

/// Every token that was issued before the one instant ended at the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedBeforeV1 {
    pub before: Timestamp,
    pub at: Timestamp,
}

/// Stands behind the records of the tokens that ended with it, also if there were none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRevokedV1 {
    pub subject: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        ISSUED_V1,
        ISSUED_V2,
        CONSUMED_V1,
        SETTLED_V1,
        RELEASED_V1,
        USE_UNKNOWN_V1,
        REVOKED_V1,
        REVOKED_V2,
        ALL_REVOKED_V1,
        EXPIRED_V1,
        SUBJECT_REVOKED_V1,
        ACTIVATED_V1,
        REVOKED_BEFORE_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Issued(body) => writer.put(ISSUED_V2, body),
            Self::Consumed(body) => writer.put(CONSUMED_V1, body),
            Self::Settled(body) => writer.put(SETTLED_V1, body),
            Self::Released(body) => writer.put(RELEASED_V1, body),
            Self::UseUnknown(body) => writer.put(USE_UNKNOWN_V1, body),
            Self::Revoked(body) => writer.put(REVOKED_V2, body),
            Self::AllRevoked(body) => writer.put(ALL_REVOKED_V1, body),
            Self::Expired(body) => writer.put(EXPIRED_V1, body),
            Self::SubjectRevoked(body) => writer.put(SUBJECT_REVOKED_V1, body),
            Self::Activated(body) => writer.put(ACTIVATED_V1, body),
            Self::RevokedBefore(body) => writer.put(REVOKED_BEFORE_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (200, 1) => reader.get::<IssuedV1>().map(IssuedV2::from).map(Box::new).map(Self::Issued),
            (200, 2) => reader.get().map(Self::Issued),
            (201, 1) => reader.get().map(Self::Consumed),
            (202, 1) => reader.get().map(Self::Settled),
            (203, 1) => reader.get().map(Self::Released),
            (204, 1) => reader.get().map(Self::UseUnknown),
            (205, 1) => reader.get::<RevokedV1>().map(RevokedV2::from).map(Self::Revoked),
            (205, 2) => reader.get().map(Self::Revoked),
            (206, 1) => reader.get().map(Self::AllRevoked),
            (207, 1) => reader.get().map(Self::Expired),
            (208, 1) => reader.get().map(Self::SubjectRevoked),
            (209, 1) => reader.get().map(Self::Activated),
            (210, 1) => reader.get().map(Self::RevokedBefore),
            _ => Err(reader.unknown()),
        }
    }
}
