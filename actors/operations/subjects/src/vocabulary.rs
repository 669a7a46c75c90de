//! The language of the subjects: all that their callers need to know of them.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{CommandId, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest name of a case, in characters.
pub const CASE_MAX: usize = 64;
/// Most cases that hold one subject.
pub const CASES_MAX: usize = 100;
/// Longest reason of a hold, in characters.
pub const REASON_MAX: usize = 300;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Erase nothing of a subject until the case is released.
    Hold {
        subject: Principal,
        case: String,
        reason: Personal,
    },
    Release {
        subject: Principal,
        case: String,
    },
    /// Destroy the key under which the subject's texts are sealed.
    Erase {
        subject: Principal,
    },
    /// It is destroyed. For the worker that did it only.
    Finish {
        erasure: CommandId,
        key: Option<u64>,
    },
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Held(records::HeldV1),
    Released(records::ReleasedV1),
    Erasing(records::ErasingV1),
    Erased(records::ErasedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Held,
    Released,
    /// The erasure is on record, and is done next.
    Erasing {
        erasure: CommandId,
    },
    Erased,
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("the authority's own parts have no texts")]
    Internal,
    #[error("a case is 1 to {CASE_MAX} letters, digits and . _ : -")]
    BadCase,
    #[error("a reason is up to {REASON_MAX} characters long")]
    ReasonTooLong,
    #[error("{subject} is held for {CASES_MAX} cases already")]
    TooManyCases { subject: Principal },
    #[error("{subject} is not held for {case}")]
    NotHeld { subject: Principal, case: String },
    #[error("{subject} is held for {case} (and {more} more): nothing of it may be erased")]
    Held { subject: Principal, case: String, more: u32 },
    #[error("there is no such erasure")]
    UnknownErasure,
    #[error("only the worker that erases says that it is done")]
    WorkersOnly,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Internal => "subjects.internal",
            Self::BadCase => "subjects.bad_case",
            Self::ReasonTooLong => "subjects.reason_too_long",
            Self::TooManyCases { .. } => "subjects.too_many_cases",
            Self::NotHeld { .. } => "subjects.not_held",
            Self::Held { .. } => "subjects.held",
            Self::UnknownErasure => "subjects.unknown_erasure",
            Self::WorkersOnly => "subjects.workers_only",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Internal => "Name an operator, an agent or a protocol.",
            Self::BadCase => "Give the name that the matter has elsewhere, such as case-2026-17.",
            Self::ReasonTooLong => "Shorten the reason.",
            Self::TooManyCases { .. } => "Release a case that has ended.",
            Self::NotHeld { .. } => "See the cases with `sop subject show`.",
            Self::Held { .. } => "See why with `sop subject show`; erase when its cases are released.",
            Self::UnknownErasure => "Ask for an erasure.",
            Self::WorkersOnly => "Wait: it is told by itself.",
        }
        .to_string()
    }
}

/// A case that holds a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub reason: Personal,
    pub by: Principal,
    pub at: Timestamp,
}

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub id: CommandId,
    pub by: Principal,
    pub asked_at: Timestamp,
    /// When the key was gone; `None` while it is being destroyed.
    pub done_at: Option<Timestamp>,
    /// The key that was destroyed, unless there was none.
    pub key: Option<u64>,
}

/// What is on record of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// By their names.
    pub cases: BTreeMap<String, Hold>,
    /// Oldest first.
    pub erasures: Vec<Erasure>,
}
