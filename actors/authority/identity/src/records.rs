//! How the facts of identity are written down for ever: ids 1000 to 1049.
//!
//! Frozen: a body that must change becomes a new struct under the same id with the next version.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Digest, Kind, Millis, Personal, Reader, Recorded, Timestamp, Writer};
use serde::{Deserialize, Serialize};

use crate::Event;

const ADMITTED_V1: Kind = Kind { id: 1000, version: 1, name: "identity.admitted" };
const SUSPENDED_V1: Kind = Kind { id: 1001, version: 1, name: "identity.suspended" };
const RESUMED_V1: Kind = Kind { id: 1002, version: 1, name: "identity.resumed" };
const RETIRED_V1: Kind = Kind { id: 1003, version: 1, name: "identity.retired" };
const CREDENTIAL_MADE_V1: Kind = Kind { id: 1004, version: 1, name: "identity.credential_made" };
const CREDENTIAL_ROTATED_V1: Kind = Kind { id: 1005, version: 1, name: "identity.credential_rotated" };
const CREDENTIAL_USED_V1: Kind = Kind { id: 1006, version: 1, name: "identity.credential_used" };
const CREDENTIAL_REVOKED_V1: Kind = Kind { id: 1007, version: 1, name: "identity.credential_revoked" };
const UID_BOUND_V1: Kind = Kind { id: 1008, version: 1, name: "identity.uid_bound" };
const UID_FREED_V1: Kind = Kind { id: 1009, version: 1, name: "identity.uid_freed" };
const ROLE_ASSIGNED_V1: Kind = Kind { id: 1010, version: 1, name: "identity.role_assigned" };
const ROLE_TAKEN_V1: Kind = Kind { id: 1011, version: 1, name: "identity.role_taken" };
const ROLES_SEPARATED_V1: Kind = Kind { id: 1012, version: 1, name: "identity.roles_separated" };
const ROLES_UNITED_V1: Kind = Kind { id: 1013, version: 1, name: "identity.roles_united" };
const CREDENTIAL_BOUND_V1: Kind = Kind { id: 1014, version: 1, name: "identity.credential_bound" };
const QUOTA_SET_V1: Kind = Kind { id: 1015, version: 1, name: "identity.quota_set" };
const QUOTA_CLEARED_V1: Kind = Kind { id: 1016, version: 1, name: "identity.quota_cleared" };

/// For the first time, or on other terms than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedV1 {
    pub principal: String,
    pub owner: Option<String>,
    /// In order, each once.
    pub can: Vec<String>,
    /// First instant at which it is no longer admitted.
    pub until: Option<Timestamp>,
    pub attestation: Option<Digest>,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspendedV1 {
    pub principal: String,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedV1 {
    pub principal: String,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredV1 {
    pub principal: String,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialMadeV1 {
    pub credential: u64,
    pub principal: String,
    /// How it is shown: see [`Form`](crate::Form).
    pub form: u8,
    /// blake3 of the secret.
    pub secret: Digest,
    pub label: String,
    /// First instant at which it is no longer good.
    pub until: Option<Timestamp>,
    pub break_glass: bool,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRotatedV1 {
    pub old: u64,
    /// First instant at which the old one is no longer good.
    pub old_until: Timestamp,
    /// The old one ends as soon as the new one is used.
    pub early: bool,
    pub credential: u64,
    pub secret: Digest,
    pub until: Option<Timestamp>,
    pub by: String,
    pub at: Timestamp,
}

/// Made, or made in the place of another: one that is known by what somebody else vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialBoundV1 {
    pub credential: u64,
    pub principal: String,
    /// How it is shown: see [`Form`](crate::Form).
    pub form: u8,
    /// SHA-256 of the certificate, or of that of the authority.
    pub digest: Option<Digest>,
    /// The name in the certificate; or issuer, subject, and perhaps name and value of a claim.
    pub said: Vec<String>,
    pub label: String,
    /// First instant at which it is no longer good.
    pub until: Option<Timestamp>,
    /// The one that it takes the place of.
    pub old: Option<u64>,
    /// First instant at which that one is no longer good.
    pub old_until: Option<Timestamp>,
    /// That one ends as soon as this one is used.
    pub early: bool,
    pub by: String,
    pub at: Timestamp,
}

/// For the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialUsedV1 {
    pub credential: u64,
    /// The one before it, if that ends by this.
    pub ends: Option<u64>,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRevokedV1 {
    pub credential: u64,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidBoundV1 {
    pub uid: u32,
    pub principal: String,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UidFreedV1 {
    pub uid: u32,
    pub by: String,
    pub at: Timestamp,
}

/// For the first time, or until another time than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleAssignedV1 {
    pub principal: String,
    pub role: String,
    /// First instant at which it is no longer held.
    pub until: Option<Timestamp>,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleTakenV1 {
    pub principal: String,
    pub role: String,
    pub by: String,
    pub at: Timestamp,
}

/// In order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolesSeparatedV1 {
    pub one: String,
    pub other: String,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolesUnitedV1 {
    pub one: String,
    pub other: String,
    pub by: String,
    pub at: Timestamp,
}

/// For the first time, or on other terms than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaSetV1 {
    pub name: String,
    /// A principal, or all of a kind: `agent/*`.
    pub whose: String,
    /// In the form of a capability.
    pub action: String,
    pub limit: u64,
    pub window: Millis,
    /// What was let in before is not counted.
    pub since: Timestamp,
    pub reason: Personal,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaClearedV1 {
    pub name: String,
    pub by: String,
    pub at: Timestamp,
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[
        ADMITTED_V1,
        SUSPENDED_V1,
        RESUMED_V1,
        RETIRED_V1,
        CREDENTIAL_MADE_V1,
        CREDENTIAL_ROTATED_V1,
        CREDENTIAL_USED_V1,
        CREDENTIAL_REVOKED_V1,
        UID_BOUND_V1,
        UID_FREED_V1,
        ROLE_ASSIGNED_V1,
        ROLE_TAKEN_V1,
        ROLES_SEPARATED_V1,
        ROLES_UNITED_V1,
        CREDENTIAL_BOUND_V1,
        QUOTA_SET_V1,
        QUOTA_CLEARED_V1,
    ];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Admitted(body) => writer.put(ADMITTED_V1, body),
            Self::Suspended(body) => writer.put(SUSPENDED_V1, body),
            Self::Resumed(body) => writer.put(RESUMED_V1, body),
            Self::Retired(body) => writer.put(RETIRED_V1, body),
            Self::CredentialMade(body) => writer.put(CREDENTIAL_MADE_V1, body),
            Self::CredentialRotated(body) => writer.put(CREDENTIAL_ROTATED_V1, body),
            Self::CredentialUsed(body) => writer.put(CREDENTIAL_USED_V1, body),
            Self::CredentialRevoked(body) => writer.put(CREDENTIAL_REVOKED_V1, body),
            Self::UidBound(body) => writer.put(UID_BOUND_V1, body),
            Self::UidFreed(body) => writer.put(UID_FREED_V1, body),
            Self::RoleAssigned(body) => writer.put(ROLE_ASSIGNED_V1, body),
            Self::RoleTaken(body) => writer.put(ROLE_TAKEN_V1, body),
            Self::RolesSeparated(body) => writer.put(ROLES_SEPARATED_V1, body),
            Self::RolesUnited(body) => writer.put(ROLES_UNITED_V1, body),
            Self::CredentialBound(body) => writer.put(CREDENTIAL_BOUND_V1, body.as_ref()),
            Self::QuotaSet(body) => writer.put(QUOTA_SET_V1, body.as_ref()),
            Self::QuotaCleared(body) => writer.put(QUOTA_CLEARED_V1, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (1000, 1) => reader.get().map(Self::Admitted),
            (1001, 1) => reader.get().map(Self::Suspended),
            (1002, 1) => reader.get().map(Self::Resumed),
            (1003, 1) => reader.get().map(Self::Retired),
            (1004, 1) => reader.get().map(Self::CredentialMade),
            (1005, 1) => reader.get().map(Self::CredentialRotated),
            (1006, 1) => reader.get().map(Self::CredentialUsed),
            (1007, 1) => reader.get().map(Self::CredentialRevoked),
            (1008, 1) => reader.get().map(Self::UidBound),
            (1009, 1) => reader.get().map(Self::UidFreed),
            (1010, 1) => reader.get().map(Self::RoleAssigned),
            (1011, 1) => reader.get().map(Self::RoleTaken),
            (1012, 1) => reader.get().map(Self::RolesSeparated),
            (1013, 1) => reader.get().map(Self::RolesUnited),
            (1014, 1) => reader.get().map(|body| Self::CredentialBound(Box::new(body))),
            (1015, 1) => reader.get().map(|body| Self::QuotaSet(Box::new(body))),
            (1016, 1) => reader.get().map(Self::QuotaCleared),
            _ => Err(reader.unknown()),
        }
    }
}
