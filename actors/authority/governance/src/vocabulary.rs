//! The language of governance: all that its callers need to know of it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{Digest, Personal, Principal, Refuse, Timestamp};
use policy::Problem;
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest reason for a stop, in characters.
pub const REASON_MAX: usize = 300;
/// Most proposals that are ever kept: none is forgotten, and all are held in memory.
pub const PROPOSALS_MAX: usize = 10_000;
/// Most bytes that all proposals together may have, for the same reason.
pub const TEXTS_MAX: usize = 64 * 1024 * 1024;
/// Most problems that a refusal lists.
pub const PROBLEMS_MAX: usize = 20;
/// Longest message of a listed problem, in characters.
pub const MESSAGE_MAX: usize = 300;

/// Most goals of a claim.
pub const GOALS_MAX: usize = 64;
/// Most bytes that all texts of a claim together may have: it fits into a record.
pub const CLAIM_BYTES_MAX: usize = 32 * 1024;
/// Most principals whose claims about one epoch are kept; of each, the last one is.
pub const CLAIMANTS_MAX: usize = 16;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Name the first operator. Once only.
    Bootstrap {
        operator: String,
        /// blake3 of the secret that the operator will show. The secret itself stays with the caller.
        credential: Digest,
    },
    /// Keep a policy text, under the next number. It decides nothing yet.
    Propose { text: String },
    /// Make an epoch the one that decides.
    Activate {
        epoch: u64,
        /// Refuse unless this epoch is the active one.
        expected_active: Option<u64>,
        /// Also where somebody claims a request for which what was to be proven does not hold.
        despite_counterexample: bool,
    },
    /// Say what came of proving something of an epoch's text. Said again, it takes the place of what was said before.
    Claim { epoch: u64, claim: Claim },
    /// Go back to the epoch that was active before the present one was activated. Repeated, it goes further back.
    Rollback {
        /// Refuse unless this epoch is the active one: two who roll back at once then go back one step, not two.
        expected_active: Option<u64>,
    },
    /// The emergency stop.
    Stop {
        reason: Personal,
        /// Who stopped, if who asks only keeps the record of it; else empty.
        on_behalf_of: String,
    },
    /// End the emergency stop.
    Resume {
        /// Of the stop that is meant, so that nobody lifts one that they have not read.
        digest: Digest,
    },
}

/// What a client says came of proving something of a text. It is his word: the authority starts no solver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// blake3 of the text that it is about.
    pub text: Digest,
    /// blake3 of the text that it was compared with.
    pub against: Digest,
    /// Name and version; empty if there was none.
    pub solver: String,
    pub goals: Vec<Goal>,
}

/// What was to be proven, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    pub property: String,
    pub verdict: Verdict,
    /// The request for which it does not hold, or why it is not proven; else empty.
    pub detail: String,
}

/// The worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Proven,
    NotProven,
    Counterexample,
}

impl Verdict {
    pub(crate) const fn tag(self) -> u8 {
        match self {
            Self::Proven => 0,
            Self::NotProven => 1,
            Self::Counterexample => 2,
        }
    }

    pub(crate) fn of(tag: u8) -> Self {
        match tag {
            0 => Self::Proven,
            1 => Self::NotProven,
            2 => Self::Counterexample,
            _ => panic!("a recorded verdict is a known one, not {tag}"),
        }
    }
}

impl Claim {
    /// The worst of its goals; what has none proves nothing.
    pub fn verdict(&self) -> Verdict {
        self.goals.iter().map(|goal| goal.verdict).max().unwrap_or(Verdict::NotProven)
    }
}

/// A claim, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    pub claim: Claim,
    pub by: Principal,
    pub at: Timestamp,
}

/// What has happened. Persisted: variants are added, none is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Bootstrapped(records::BootstrappedV1),
    Proposed(records::ProposedV1),
    Claimed(records::ClaimedV1),
    Activated(records::ActivatedV1),
    RolledBack(records::RolledBackV1),
    Stopped(records::StoppedV2),
    Resumed(records::ResumedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Bootstrapped {
        operator: Principal,
    },
    Proposed {
        epoch: u64,
        digest: Digest,
    },
    /// It is on record.
    Claimed {
        epoch: u64,
        verdict: Verdict,
    },
    /// This epoch decides now.
    Active {
        epoch: u64,
    },
    Stopped {
        number: u64,
        digest: Digest,
    },
    /// No stop is in force.
    Running,
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("the authority has its first operator already")]
    Bootstrapped,
    #[error("{name:?} is not a name of 1 to 64 letters, digits and . _ : -")]
    MalformedName { name: String },
    /// `more` counts the problems that are not listed.
    #[error("the policy text is not valid: {}", summary(problems, *more))]
    Invalid { problems: Vec<Problem>, more: u32 },
    #[error("no more proposals are kept: the limit is {PROPOSALS_MAX} of them, and {TEXTS_MAX} bytes")]
    Full,
    #[error("there is no policy epoch {epoch}")]
    UnknownEpoch { epoch: u64 },
    #[error("this is about another text than that of policy epoch {epoch}")]
    ClaimDiffers { epoch: u64 },
    #[error("a claim has 1 to {GOALS_MAX} goals, and at most {CLAIM_BYTES_MAX} bytes")]
    ClaimSize,
    #[error("{CLAIMANTS_MAX} principals have claimed something of policy epoch {epoch}")]
    TooManyClaims { epoch: u64 },
    #[error("{by} claims a counterexample for policy epoch {epoch}: {property} does not hold")]
    Counterexample { epoch: u64, by: Principal, property: String },
    #[error("policy epoch {active} is active, not {expected}")]
    ActiveDiffers { expected: u64, active: u64 },
    #[error("under policy epoch {epoch} no operator could propose and activate another one")]
    LocksOut { epoch: u64 },
    #[error("no policy epoch was active before this one")]
    NothingBefore,
    #[error("a reason of {length} characters is over the limit of {REASON_MAX}")]
    ReasonTooLong { length: u32 },
    #[error("only an operator may resume")]
    OperatorsOnly,
    #[error("this is not the digest of stop {number}, which is in force")]
    DigestMismatch { number: u64 },
}

fn summary(problems: &[Problem], more: u32) -> String {
    match problems {
        [] => "it has problems".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len() + more as usize),
    }
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Bootstrapped => "governance.bootstrapped",
            Self::MalformedName { .. } => "governance.malformed_name",
            Self::Invalid { .. } => "governance.invalid_policy",
            Self::Full => "governance.full",
            Self::UnknownEpoch { .. } => "governance.unknown_epoch",
            Self::ClaimDiffers { .. } => "governance.claim_differs",
            Self::ClaimSize => "governance.claim_size",
            Self::TooManyClaims { .. } => "governance.too_many_claims",
            Self::Counterexample { .. } => "governance.counterexample",
            Self::ActiveDiffers { .. } => "governance.active_differs",
            Self::LocksOut { .. } => "governance.locks_out",
            Self::NothingBefore => "governance.nothing_before",
            Self::ReasonTooLong { .. } => "governance.reason_too_long",
            Self::OperatorsOnly => "governance.operators_only",
            Self::DigestMismatch { .. } => "governance.digest_mismatch",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Bootstrapped => "Act as that operator.".to_owned(),
            Self::MalformedName { .. } => "Choose a name such as root.".to_owned(),
            Self::Invalid { .. } => {
                "Correct the text and propose it again; policy.validate checks it first.".to_owned()
            }
            Self::Full => "Activate one of the proposals that exist.".to_owned(),
            Self::UnknownEpoch { .. } => "List the policy epochs and choose one of them.".to_owned(),
            Self::ClaimDiffers { epoch } => format!("Prove the text that `sop policy show {epoch}` shows."),
            Self::ClaimSize => "Claim fewer goals, or shorten what is said of them.".to_owned(),
            Self::TooManyClaims { .. } => "Ask one of them to prove it again.".to_owned(),
            Self::Counterexample { epoch, .. } => {
                format!(
                    "Read it with `sop policy show {epoch}`; if the change is right all the same, activate it with \
                     --despite-counterexample."
                )
            }
            Self::ActiveDiffers { active, .. } => {
                format!("Read epoch {active}; if the change is still right, ask again and expect it.")
            }
            Self::LocksOut { .. } => {
                "Propose a text that permits one operator both policy.propose and policy.activate.".to_owned()
            }
            Self::NothingBefore => "Activate an epoch by its number.".to_owned(),
            Self::ReasonTooLong { .. } => "Shorten the reason.".to_owned(),
            Self::OperatorsOnly => "Ask an operator.".to_owned(),
            Self::DigestMismatch { .. } => "Read the stop that is in force, and repeat its digest.".to_owned(),
        }
    }
}

/// A policy epoch, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// 0 is the one that is built in.
    pub number: u64,
    pub digest: Digest,
    /// `None` for the one that is built in; so is the next.
    pub author: Option<Principal>,
    pub proposed_at: Option<Timestamp>,
    pub active: bool,
    /// The worst that anybody claims came of proving it; nothing, if nobody claims anything.
    pub claimed: Option<Verdict>,
}

/// A policy epoch with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub epoch: Epoch,
    pub text: String,
    /// The last one of each who claims something, by name.
    pub claims: Vec<Claimed>,
}

/// A change of the active epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    pub epoch: u64,
    pub replaced: u64,
    pub by: Principal,
    pub at: Timestamp,
    pub rolled_back: bool,
}

/// An emergency stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Counts from 1.
    pub number: u64,
    pub by: Principal,
    /// Who stopped, as the seal file says it, if that was recorded later by another; else empty.
    pub on_behalf_of: String,
    pub reason: Personal,
    pub at: Timestamp,
    pub digest: Digest,
}

impl Stop {
    /// blake3 over the other fields in a fixed form: a marker with the form's version, the numbers as eight bytes, least
    /// first, and each text behind its length in bytes as four. The reason is taken as it is sealed, so that the digest
    /// stays right when nobody can open it any more. (In form 1, of records of version 1, it was the reason's own text.)
    pub fn digest_of(number: u64, by: &Principal, on_behalf_of: &str, reason: &Personal, at: Timestamp) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"sop governance stop 2\n").update(&number.to_le_bytes()).update(&at.0.to_le_bytes());
        let (by, subject) = (by.to_string(), reason.subject().unwrap_or_default());
        for part in [by.as_bytes(), on_behalf_of.as_bytes(), subject.as_bytes(), reason.bytes()] {
            let length = u32::try_from(part.len()).expect("names and reasons are bounded");
            hasher.update(&length.to_le_bytes()).update(part);
        }
        Digest(*hasher.finalize().as_bytes())
    }
}
