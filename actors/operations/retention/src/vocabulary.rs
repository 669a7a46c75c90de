//! The language of retention: all that its callers need to know of it.

use alloc::string::{String, ToString};

use kernel::{Digest, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// The log loses whole bundles only, of so many records.
pub const BUNDLE: u64 = 256;
/// Longest name of a hold, in characters.
pub const NAME_MAX: usize = 64;
/// Most holds at a time.
pub const HOLDS_MAX: usize = 1_000;
/// Longest reason of a hold, in characters.
pub const REASON_MAX: usize = 300;
/// Longest name of a stream, in bytes.
pub const STREAM_MAX: usize = 64;
/// Names of holds that begin so are of incidents, which hold and release them by themselves.
pub const OF_INCIDENT: &str = "incident-";
/// Longest place of a backup and longest reason of a worker, in bytes. The caller shortens its own.
pub const TEXT_MAX: usize = 1_000;

/// Which records are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Of one stream only.
    pub stream: Option<String>,
    pub first: u64,
    pub last: u64,
}

impl Scope {
    /// Whether it holds a record.
    pub fn holds(&self, sequence: u64, stream: &str) -> bool {
        let of_it = self.stream.as_ref().is_none_or(|held| held == stream);
        self.first <= sequence && sequence <= self.last && of_it
    }
}

/// The backup that has what leaves the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    pub backup: u64,
    /// Its blake3, and so that of everything in it.
    pub manifest: Digest,
    /// Where it lies.
    pub place: String,
}

/// What was worked out before it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many records the log is to lose, those that it lost already among them.
    pub minimum: u64,
    /// The holds that were looked at ([`crate::Retention::changes`]).
    pub changes: u64,
    pub archive: Archive,
    /// How long each class was kept.
    pub rules: String,
    /// Why there is no more that may leave it.
    pub why: String,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Keep records in the log, whatever their class says.
    Hold {
        name: String,
        reason: Personal,
        scope: Scope,
    },
    Release {
        name: String,
    },
    /// Let the oldest records leave the log, as planned.
    Prune {
        plan: Plan,
    },
    /// They have left it. For the worker only.
    Finish {
        minimum: u64,
    },
    /// They stay. For the worker only.
    Abandon {
        minimum: u64,
        why: String,
    },
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Held(records::HeldV1),
    Released(records::ReleasedV1),
    Pruning(records::PruningV1),
    Pruned(records::PrunedV1),
    Abandoned(records::AbandonedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// So many records had left the log before, or were about to: of those, the archive is kept.
    Held {
        pruned: u64,
    },
    Released,
    /// It is on record, and is done next.
    Pruning {
        minimum: u64,
    },
    Pruned,
    Abandoned,
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("the name of a hold is 1 to {NAME_MAX} letters, digits and . _ : -")]
    BadName,
    #[error("a reason is up to {REASON_MAX} characters long")]
    ReasonTooLong,
    #[error("a hold is on records from 1 on, the first not after the last, and on a stream by its name")]
    BadScope,
    #[error("holds by the names {OF_INCIDENT}… are of incidents")]
    OfIncident,
    #[error("{name} holds other records")]
    Taken { name: String },
    #[error("there are {HOLDS_MAX} holds already")]
    TooManyHolds,
    #[error("there is no hold {name}")]
    NotHeld { name: String },
    #[error("nothing more may leave the log: {why}")]
    Nothing { why: String },
    #[error("the log loses whole bundles of {BUNDLE} records, and {minimum} are not")]
    NotWhole { minimum: u64 },
    #[error("the first {minimum} records are about to leave the log, and that is one at a time")]
    Busy { minimum: u64 },
    #[error("a hold came or went since it was worked out what may leave the log")]
    Changed,
    #[error("{name} holds some of these records")]
    Held { name: String },
    #[error("a text of {bytes} bytes is over the limit of {TEXT_MAX}")]
    TooLong { bytes: u64 },
    #[error("only the worker that prunes says what became of it")]
    WorkersOnly,
    #[error("nobody is waiting to hear of the first {minimum} records")]
    NotAwaited { minimum: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::BadName => "retention.bad_name",
            Self::ReasonTooLong => "retention.reason_too_long",
            Self::BadScope => "retention.bad_scope",
            Self::OfIncident => "retention.of_incident",
            Self::Taken { .. } => "retention.taken",
            Self::TooManyHolds => "retention.too_many_holds",
            Self::NotHeld { .. } => "retention.not_held",
            Self::Nothing { .. } => "retention.nothing",
            Self::NotWhole { .. } => "retention.not_whole",
            Self::Busy { .. } => "retention.busy",
            Self::Changed => "retention.changed",
            Self::Held { .. } => "retention.held",
            Self::TooLong { .. } => "retention.too_long",
            Self::WorkersOnly => "retention.workers_only",
            Self::NotAwaited { .. } => "retention.not_awaited",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::BadName => "Give the name that the matter has elsewhere, such as case-2026-17.",
            Self::ReasonTooLong => "Shorten the reason.",
            Self::BadScope => "Name the records as `sop audit list` does.",
            Self::OfIncident => "Hold and release it with `sop incident hold` and `sop incident release`.",
            Self::Taken { .. } => "Give it another name, or release that one.",
            Self::TooManyHolds => "Release one whose matter has ended.",
            Self::NotHeld { .. } => "See the holds with `sop retention list`.",
            Self::Nothing { .. } => "See `sop retention show`.",
            Self::NotWhole { .. } | Self::TooLong { .. } => "Ask with `sop retention prune`.",
            Self::Busy { .. } => "Wait until `sop retention show` says that it is done.",
            Self::Changed => "Ask again.",
            Self::Held { .. } => "See why with `sop retention list`; prune when it is released.",
            Self::WorkersOnly => "Wait: it is told by itself.",
            Self::NotAwaited { .. } => "Nothing is to be done.",
        }
        .to_string()
    }
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub scope: Scope,
    pub reason: Personal,
    pub by: Principal,
    pub at: Timestamp,
}

/// Records that leave the log, or have left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruning {
    pub minimum: u64,
    pub archive: Archive,
    pub rules: String,
    pub by: Principal,
    pub asked_at: Timestamp,
}

/// What became of the last one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub minimum: u64,
    pub at: Timestamp,
    /// Why they stayed, if they did.
    pub why: Option<String>,
}
