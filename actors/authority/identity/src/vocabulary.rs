//! The language of identity: all that its callers need to know of it.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

pub use kernel::CredentialId;
use kernel::{Digest, Kin, Malformed, Millis, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// Most principals that are ever admitted: none is forgotten.
pub const PRINCIPALS_MAX: usize = 20_000;
/// Most credentials that are ever made, for the same reason.
pub const CREDENTIALS_MAX: usize = 100_000;
/// Most credentials of one principal that are good at once.
pub const LIVE_MAX: usize = 16;
/// Most capabilities of one principal.
pub const CAPABILITIES_MAX: usize = 128;
/// Most roles of one principal.
pub const ROLES_MAX: usize = 32;
/// Most pairs of roles that nobody may have both of.
pub const PAIRS_MAX: usize = 1_000;
/// Longest reason, in characters.
pub const REASON_MAX: usize = 300;
/// Longest part of what a certificate or a foreign token must say, in bytes.
pub const SAID_MAX: usize = 256;
/// Longest time for which an old credential stays good beside its successor.
pub const OVERLAP_MAX: Millis = Millis::hours(90 * 24);

/// Most quotas at once: every request is held against all of them.
pub const QUOTAS_MAX: usize = 64;
/// Most requests that a quota can be of.
pub const QUOTA_LIMIT_MAX: u64 = 1_000_000_000;
/// Shortest window of a quota.
pub const QUOTA_WINDOW_MIN: Millis = Millis::seconds(1);
/// Longest window of a quota: a start reads what was recorded in it.
pub const QUOTA_WINDOW_MAX: Millis = Millis::hours(31 * 24);

/// What somebody may ask for: one action (`gap.scan`), all of a noun (`gap.*`), or everything (`*`).
///
/// One that was written down is read as it was; what comes from outside is [parsed](FromStr).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capability(String);

impl Capability {
    /// Longest text form, in bytes.
    pub const TEXT_MAX: usize = 64;

    /// Everything.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether whoever has this may ask for `action`, or, of the text of another capability, for all that this permits.
    pub fn covers(&self, action: &str) -> bool {
        match self.0.strip_suffix('*') {
            // With the dot: "gap.*" says nothing of "gapless.scan".
            Some(noun) => action.starts_with(noun),
            None => self.0 == action,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Capability {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let fits = text == "*"
            || text.len() <= Self::TEXT_MAX
                && text.split_once('.').is_some_and(|(noun, verb)| word(noun) && (verb == "*" || word(verb)));
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(Malformed {
            text: text.chars().take(80).collect(),
            expected: "a capability: an action such as gap.scan, all of a noun such as gap.*, or *",
        })
    }
}

/// Whom something is about: one, or each of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    One(Principal),
    /// `agent/*`.
    Each(Kin),
}

impl Whose {
    pub fn covers(&self, principal: &Principal) -> bool {
        match self {
            Self::One(one) => one == principal,
            Self::Each(kin) => *kin == principal.kin,
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(principal) => principal.fmt(f),
            Self::Each(kin) => write!(f, "{}/*", kin.as_str()),
        }
    }
}

impl FromStr for Whose {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let kin = |kin: &str| Kin::ALL.into_iter().find(|known| known.as_str() == kin);
        match text.strip_suffix("/*").and_then(kin) {
            Some(kin) => Ok(Self::Each(kin)),
            None => text.parse().map(Self::One).map_err(|malformed: Malformed| Malformed {
                expected: "a principal such as agent/alpha, or all of a kind such as agent/*",
                ..malformed
            }),
        }
    }
}

/// How much may be asked for: so many requests of some actions, by each of some principals, in a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    pub whose: Whose,
    pub action: Capability,
    pub limit: u64,
    /// Windows begin at the multiples of this since the Unix epoch.
    pub window: Millis,
}

impl Allowance {
    pub fn covers(&self, principal: &Principal, action: &str) -> bool {
        self.whose.covers(principal) && self.action.covers(action)
    }

    /// When the window began that `at` lies in.
    pub fn began(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0 - at.0 % self.window.0.max(1))
    }
}

/// What a credential is: how it is shown at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The secret that bootstrap wrote down; it names no id.
    Bootstrap,
    /// A key that names its id.
    ApiKey,
    /// One certificate of a client of TLS.
    Certificate,
    /// Any certificate with a name, by an authority.
    CertificateName,
    /// A token of an issuer elsewhere (OAuth2, OpenID Connect), about one subject.
    Foreign,
}

impl Form {
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Bootstrap => 0,
            Self::ApiKey => 1,
            Self::Certificate => 2,
            Self::CertificateName => 3,
            Self::Foreign => 4,
        }
    }

    pub(crate) fn of(tag: u8) -> Self {
        match tag {
            0 => Self::Bootstrap,
            1 => Self::ApiKey,
            2 => Self::Certificate,
            3 => Self::CertificateName,
            4 => Self::Foreign,
            _ => panic!("a recorded credential has a known form, not {tag}"),
        }
    }
}

/// By what a credential is known when it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Proof {
    /// blake3 of a secret, which stays with the caller.
    Secret(Digest),
    /// SHA-256 of a certificate.
    Certificate(Digest),
    /// A name in a certificate, such as `uri:sop://agent/alpha` or `dns:alpha.example`, under an authority: the SHA-256 of
    /// its certificate.
    CertificateName { authority: Digest, name: String },
    /// What a token of an issuer elsewhere says; of all its claims only this one counts, if one is named.
    Foreign { issuer: String, subject: String, claim: Option<(String, String)> },
}

impl Proof {
    /// The form of a credential that is made of it.
    pub const fn form(&self) -> Form {
        match self {
            Self::Secret(_) => Form::ApiKey,
            Self::Certificate(_) => Form::Certificate,
            Self::CertificateName { .. } => Form::CertificateName,
            Self::Foreign { .. } => Form::Foreign,
        }
    }

    /// Whether it may be given again once the credential that it was given for has ended: a name is whoever bears it by
    /// then, a secret is one thing for ever.
    pub(crate) const fn is_name(&self) -> bool {
        matches!(self, Self::CertificateName { .. } | Self::Foreign { .. })
    }

    /// Its digest and its texts, as they are recorded.
    pub(crate) fn parts(&self) -> (Option<Digest>, Vec<String>) {
        match self {
            Self::Secret(digest) | Self::Certificate(digest) => (Some(*digest), Vec::new()),
            Self::CertificateName { authority, name } => (Some(*authority), vec![name.clone()]),
            Self::Foreign { issuer, subject, claim } => {
                let claim = claim.iter().flat_map(|(name, value)| [name.clone(), value.clone()]);
                (None, [issuer.clone(), subject.clone()].into_iter().chain(claim).collect())
            }
        }
    }

    pub(crate) fn of(form: u8, digest: Option<Digest>, said: &[String]) -> Self {
        match (Form::of(form), digest, said) {
            (Form::Bootstrap | Form::ApiKey, Some(digest), []) => Self::Secret(digest),
            (Form::Certificate, Some(digest), []) => Self::Certificate(digest),
            (Form::CertificateName, Some(authority), [name]) => Self::CertificateName { authority, name: name.clone() },
            (Form::Foreign, None, [issuer, subject]) => {
                Self::Foreign { issuer: issuer.clone(), subject: subject.clone(), claim: None }
            }
            (Form::Foreign, None, [issuer, subject, name, value]) => {
                let claim = Some((name.clone(), value.clone()));
                Self::Foreign { issuer: issuer.clone(), subject: subject.clone(), claim }
            }
            (form, ..) => panic!("a recorded credential of the form {form:?} has what it takes"),
        }
    }
}

/// On which terms somebody is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The operator who answers for it.
    pub owner: Option<Principal>,
    pub can: BTreeSet<Capability>,
    /// First instant at which it is no longer admitted.
    pub until: Option<Timestamp>,
    /// blake3 of what attests it: a build, a model, a contract.
    pub attestation: Option<Digest>,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The first operator, of whom governance tells. Nothing happens for who is known.
    Found {
        operator: Principal,
        secret: Digest,
    },
    /// A protocol that the nexus let take part. Nothing happens for who is known.
    Arrive {
        protocol: Principal,
        can: BTreeSet<Capability>,
    },
    /// Admit somebody, or change the terms.
    Admit {
        principal: Principal,
        terms: Terms,
        reason: Personal,
    },
    Suspend {
        principal: Principal,
        reason: Personal,
    },
    /// End a suspension.
    Resume {
        principal: Principal,
        reason: Personal,
    },
    /// For ever: the name is not used again.
    Retire {
        principal: Principal,
        reason: Personal,
    },
    MakeCredential {
        id: CredentialId,
        principal: Principal,
        proof: Proof,
        label: String,
        until: Option<Timestamp>,
        break_glass: bool,
    },
    /// Make the successor of a credential; both are good until the overlap is over.
    Rotate {
        old: CredentialId,
        id: CredentialId,
        proof: Proof,
        overlap: Millis,
        /// End the old one as soon as the new one is used.
        early: bool,
        until: Option<Timestamp>,
    },
    /// A credential was used for the first time.
    Acknowledge {
        id: CredentialId,
    },
    Revoke {
        id: CredentialId,
    },
    /// Let a user of this machine act as somebody, without a secret.
    BindUid {
        uid: u32,
        principal: Principal,
    },
    FreeUid {
        uid: u32,
    },
    Assign {
        principal: Principal,
        role: String,
        until: Option<Timestamp>,
        reason: Personal,
    },
    Unassign {
        principal: Principal,
        role: String,
    },
    /// Nobody may have both.
    Separate {
        one: String,
        other: String,
    },
    Unite {
        one: String,
        other: String,
    },
    /// Let no more than that be asked for.
    SetQuota {
        name: String,
        allowance: Allowance,
        reason: Personal,
    },
    ClearQuota {
        name: String,
    },
}

/// What has happened. Persisted: variants are added, none is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Admitted(records::AdmittedV1),
    Suspended(records::SuspendedV1),
    Resumed(records::ResumedV1),
    Retired(records::RetiredV1),
    CredentialMade(records::CredentialMadeV1),
    CredentialRotated(records::CredentialRotatedV1),
    CredentialUsed(records::CredentialUsedV1),
    CredentialRevoked(records::CredentialRevokedV1),
    CredentialBound(Box<records::CredentialBoundV1>),
    UidBound(records::UidBoundV1),
    UidFreed(records::UidFreedV1),
    RoleAssigned(records::RoleAssignedV1),
    RoleTaken(records::RoleTakenV1),
    RolesSeparated(records::RolesSeparatedV1),
    RolesUnited(records::RolesUnitedV1),
    QuotaSet(Box<records::QuotaSetV1>),
    QuotaCleared(records::QuotaClearedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// So it is now.
    Done,
    /// The old credential ends then, if the new one does not end it before.
    Rotated { old_until: Timestamp },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("{principal} is not admitted")]
    Unknown { principal: Principal },
    #[error("{principal} is retired, for ever")]
    Retired { principal: Principal },
    #[error("{principal} is suspended")]
    Suspended { principal: Principal },
    #[error("{principal} is a part of the authority itself: its capabilities are fixed")]
    Internal { principal: Principal },
    #[error("only an operator may do this")]
    OperatorsOnly,
    #[error("{principal} needs an operator who answers for it")]
    NoOwner { principal: Principal },
    #[error("{owner} is no active operator, and so answers for nobody")]
    BadOwner { owner: Principal },
    #[error("{principal} answers for {owned}, and perhaps others")]
    Owns { principal: Principal, owned: Principal },
    #[error("{principal} is the last active operator who may do everything")]
    LastOperator { principal: Principal },
    #[error("{by} may not ask for {capability}, and so may not let others")]
    Exceeds { by: Principal, capability: Capability },
    #[error("this names more than {CAPABILITIES_MAX} capabilities, or none")]
    Capabilities,
    #[error("a reason has at most {REASON_MAX} characters")]
    ReasonTooLong,
    #[error("its end is not in the future")]
    Past,
    #[error("{name:?} is not a name of 1 to 64 letters, digits and . _ : -")]
    Name { name: String },
    #[error("there is no credential {id}")]
    UnknownCredential { id: CredentialId },
    #[error("credential {id} has ended")]
    Ended { id: CredentialId },
    #[error("there is another credential {id}, or another that is known by the same")]
    CredentialTaken { id: CredentialId },
    #[error("only an operator has a credential to break the glass with, and that is a key")]
    BreakGlass,
    #[error("what a certificate or a token must say is 1 to {SAID_MAX} bytes, without control characters")]
    Said,
    #[error("a name in a certificate begins with uri: or dns:")]
    CertificateName,
    #[error("it is the last credential of the last active operator who may do everything")]
    LastCredential,
    #[error("an overlap of {asked} is over the limit of {OVERLAP_MAX}")]
    Overlap { asked: Millis },
    #[error("user {uid} acts as {principal}")]
    UidTaken { uid: u32, principal: Principal },
    #[error("user {uid} acts as nobody")]
    UnknownUid { uid: u32 },
    #[error("nobody may have both {role} and {other}, and {principal} has that")]
    Separated { principal: Principal, role: String, other: String },
    #[error("{principal} does not have the role {role}")]
    NoRole { principal: Principal, role: String },
    #[error("a role is not kept apart from itself")]
    SameRole,
    #[error("{one} and {other} are not kept apart")]
    NotSeparated { one: String, other: String },
    #[error("a quota is of 1 to {QUOTA_LIMIT_MAX} requests")]
    QuotaLimit,
    #[error("the window of a quota is from {QUOTA_WINDOW_MIN} to {QUOTA_WINDOW_MAX}")]
    QuotaWindow,
    #[error("the authority's own parts have no quota")]
    QuotaInternal,
    #[error("there is no quota {name:?}")]
    UnknownQuota { name: String },
    #[error("there are {max} already")]
    TooMany { max: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "identity.not_admitted",
            Self::Retired { .. } => "identity.retired",
            Self::Suspended { .. } => "identity.suspended",
            Self::Internal { .. } => "identity.internal",
            Self::OperatorsOnly => "identity.operators_only",
            Self::NoOwner { .. } => "identity.no_owner",
            Self::BadOwner { .. } => "identity.bad_owner",
            Self::Owns { .. } => "identity.owns",
            Self::LastOperator { .. } => "identity.last_operator",
            Self::Exceeds { .. } => "identity.exceeds",
            Self::Capabilities => "identity.capabilities",
            Self::ReasonTooLong => "identity.reason_too_long",
            Self::Past => "identity.past",
            Self::Name { .. } => "identity.name",
            Self::UnknownCredential { .. } => "identity.unknown_credential",
            Self::Ended { .. } => "identity.credential_ended",
            Self::CredentialTaken { .. } => "identity.credential_taken",
            Self::BreakGlass => "identity.break_glass",
            Self::Said => "identity.said",
            Self::CertificateName => "identity.certificate_name",
            Self::LastCredential => "identity.last_credential",
            Self::Overlap { .. } => "identity.overlap",
            Self::UidTaken { .. } => "identity.uid_taken",
            Self::UnknownUid { .. } => "identity.unknown_uid",
            Self::Separated { .. } => "identity.separated",
            Self::NoRole { .. } => "identity.no_role",
            Self::SameRole => "identity.same_role",
            Self::NotSeparated { .. } => "identity.not_separated",
            Self::QuotaLimit => "identity.quota_limit",
            Self::QuotaWindow => "identity.quota_window",
            Self::QuotaInternal => "identity.quota_internal",
            Self::UnknownQuota { .. } => "identity.unknown_quota",
            Self::TooMany { .. } => "identity.too_many",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Unknown { principal } => {
                format!("An operator admits it: `{}`.", admission(principal, None, "gap.*"))
            }
            Self::Retired { .. } => "Admit another one, by a name of its own.".into(),
            Self::Suspended { principal } => format!("An operator ends it with `sop security resume {principal}`."),
            Self::Internal { .. } => "See them with `sop security capabilities`.".into(),
            Self::OperatorsOnly => "Ask an operator.".into(),
            Self::NoOwner { .. } => "Name one with --owner, such as operator/root.".into(),
            Self::BadOwner { .. } => "Choose one of `sop security users --list`.".into(),
            Self::Owns { owned, .. } => {
                format!("Give it another owner first: `sop security admit {owned} --owner ...`.")
            }
            Self::LastOperator { .. } => {
                "Admit another operator first, with --can '*' and no end; then do this.".into()
            }
            Self::Exceeds { .. } => "Leave it out, or ask an operator who may.".into(),
            Self::Capabilities => "Name what it may ask for, such as 'gap.*' or '*'.".into(),
            Self::ReasonTooLong => "Shorten the reason.".into(),
            Self::Past => "Name a later time, or none.".into(),
            Self::Name { .. } => "Choose a name such as auditor.".into(),
            Self::UnknownCredential { .. } => "See `sop security credentials --list`.".into(),
            Self::Ended { .. } => "Make a new one with `sop security credentials --create`.".into(),
            Self::CredentialTaken { .. } => {
                "Make a new secret under a new id; a name or a subject is free once the credential for it has ended."
                    .into()
            }
            Self::Said => "Give it as the certificate or the token has it.".into(),
            Self::CertificateName => "Write uri:sop://agent/alpha or dns:alpha.example.".into(),
            Self::BreakGlass => "Make a plain one, or choose an operator.".into(),
            Self::LastCredential => "Make another one first, or rotate it.".into(),
            Self::Overlap { .. } => "Ask for a shorter one.".into(),
            Self::UidTaken { uid, .. } => format!("Free it first: `sop security unbind {uid}`."),
            Self::Separated { other, .. } => format!("Take {other} away first, or choose somebody else."),
            Self::UnknownUid { .. } | Self::NoRole { .. } => "See `sop security users --list`.".into(),
            Self::SameRole => "Name two roles.".into(),
            Self::NotSeparated { .. } => "See `sop security roles --list`.".into(),
            Self::QuotaLimit => "Name a number; to allow none at all, forbid it by a policy.".into(),
            Self::QuotaWindow => "Name a span such as 1h or 1d.".into(),
            Self::QuotaInternal => "Name a principal such as agent/alpha, or all of a kind such as agent/*.".into(),
            Self::UnknownQuota { .. } => "See `sop security quota`.".into(),
            Self::TooMany { .. } => "End what nobody needs.".into(),
        }
    }
}

/// The command by which an operator lets somebody ask for `can`, too.
pub fn admission(principal: &Principal, terms: Option<&Terms>, can: &str) -> String {
    let owner = terms.and_then(|terms| terms.owner.as_ref()).map_or("operator/root".to_owned(), ToString::to_string);
    let owner = if principal.kin == Kin::Operator { String::new() } else { format!(" --owner {owner}") };
    let known = terms.into_iter().flat_map(|terms| &terms.can).map(Capability::as_str);
    let can: Vec<_> = known.chain([can]).map(|can| format!(" --can '{can}'")).collect();
    format!("sop security admit {principal}{owner}{}", can.concat())
}

/// Whether somebody takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Active,
    Suspended { by: Principal, at: Timestamp, reason: Personal },
    Retired { by: Principal, at: Timestamp, reason: Personal },
}

impl State {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended { .. } => "suspended",
            Self::Retired { .. } => "retired",
        }
    }
}

/// Somebody who was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub terms: Terms,
    /// Why, at the last change of the terms.
    pub reason: Personal,
    pub state: State,
    /// By whom and when its terms became what they are.
    pub by: Principal,
    pub at: Timestamp,
    /// When it was admitted first.
    pub since: Timestamp,
    pub roles: BTreeMap<String, Binding>,
}

/// A quota that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub allowance: Allowance,
    /// What was let in before is not counted: when it was set first, or came to be about somebody or something else.
    pub since: Timestamp,
    pub reason: Personal,
    pub by: Principal,
    pub at: Timestamp,
}

/// A role that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// First instant at which it is no longer held.
    pub until: Option<Timestamp>,
    pub reason: Personal,
    pub by: Principal,
    pub at: Timestamp,
}

/// A credential, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    pub principal: Principal,
    pub form: Form,
    pub proof: Proof,
    pub label: String,
    /// First instant at which it is no longer good.
    pub until: Option<Timestamp>,
    pub break_glass: bool,
    pub made_by: Principal,
    pub made_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// The one that it takes the place of.
    pub replaces: Option<CredentialId>,
    pub replaced_by: Option<CredentialId>,
    /// It ends that one as soon as it is used.
    pub early: bool,
    /// When it was used first.
    pub used_at: Option<Timestamp>,
}

/// How a credential ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Revoked,
    Expired,
}

impl Credential {
    /// Whether it has ended, and how.
    pub fn ended(&self, now: Timestamp) -> Option<End> {
        match (self.revoked_at, self.until) {
            (Some(_), _) => Some(End::Revoked),
            (None, Some(until)) if until <= now => Some(End::Expired),
            _ => None,
        }
    }
}

/// Why somebody may not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    NotAdmitted,
    Suspended,
    Retired,
    /// No longer admitted, by the terms.
    Expired,
}
