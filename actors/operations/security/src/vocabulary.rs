//! The language of security: all that its callers need to know of it.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{CommandId, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Act, Kind, Measure, Severity, records};

/// Most events that are kept.
pub const EVENTS_MAX: usize = 1_000;
/// Most incidents that are kept.
pub const INCIDENTS_MAX: usize = 500;
/// Most records that an event names: the first ones.
pub const EVIDENCE_MAX: usize = 16;
/// Most events of an incident.
pub const LINKED_MAX: usize = 100;
/// Most entries of a timeline.
pub const TIMELINE_MAX: usize = 300;
/// Most steps of a containment.
pub const STEPS_MAX: usize = 64;
/// Most findings that are told at once.
pub const FINDINGS_MAX: usize = 16;
/// Longest title of an incident, in characters.
pub const TITLE_MAX: usize = 120;
/// Longest reason, note or postmortem, in characters.
pub const TEXT_MAX: usize = 4_000;
/// Longest subject or detail of a finding, in bytes. The caller shortens its own.
pub const DETAIL_MAX: usize = 300;

/// What a detector found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    pub subject: String,
    pub detail: String,
    /// How often, since this was told last.
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// Sequence numbers of records that show it.
    pub evidence: Vec<u64>,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The record `at` shows this, and all up to it was looked at. For the authority's own parts only.
    Report {
        at: u64,
        findings: Vec<Finding>,
    },
    /// What the records do not show: the door tells it. For the authority's own parts only.
    Tell {
        findings: Vec<Finding>,
    },
    /// All records up to one were looked at. For the authority's own parts only.
    Look {
        upto: u64,
    },
    /// Somebody looks at it.
    Acknowledge {
        event: u64,
    },
    /// It is nothing.
    Dismiss {
        event: u64,
        reason: Personal,
    },
    /// An incident, because of these events.
    Open {
        title: Personal,
        /// The highest of its events, unless it is said.
        severity: Option<Severity>,
        /// Who opens it, unless it is said.
        owner: Option<Principal>,
        events: BTreeSet<u64>,
    },
    /// One more event of an incident.
    Link {
        incident: u64,
        event: u64,
    },
    Note {
        incident: u64,
        text: Personal,
    },
    /// What is to be done about these; about all whom its events are about, unless it is said.
    Plan {
        incident: u64,
        subjects: BTreeSet<Principal>,
    },
    /// What came of a step.
    Step {
        incident: u64,
        /// Counts from 1.
        step: u32,
        done: bool,
        command: CommandId,
        answer: String,
    },
    /// Keep the evidence: these records, or all from the first that an event names.
    Hold {
        incident: u64,
        first: Option<u64>,
        last: Option<u64>,
    },
    Release {
        incident: u64,
    },
    Close {
        incident: u64,
        postmortem: Personal,
    },
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Detected(records::DetectedV1),
    Looked(records::LookedV1),
    Acknowledged(records::AcknowledgedV1),
    Dismissed(records::DismissedV1),
    Opened(records::OpenedV1),
    Linked(records::LinkedV1),
    Noted(records::NotedV1),
    Planned(records::PlannedV1),
    Stepped(records::SteppedV1),
    Held(records::HeldV1),
    Released(records::ReleasedV1),
    Closed(records::ClosedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is so.
    Done,
    Opened {
        incident: u64,
    },
    Planned {
        steps: u32,
    },
    Held {
        first: u64,
        last: u64,
    },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("only the authority's own parts tell what they found")]
    WorkersOnly,
    #[error("a finding is too large, or there are too many at once")]
    TooLarge,
    #[error("there is no event-{event}")]
    UnknownEvent { event: u64 },
    #[error("event-{event} was dismissed")]
    Dismissed { event: u64 },
    #[error("event-{event} is part of incident-{incident}")]
    Taken { event: u64, incident: u64 },
    #[error("a text is up to {TEXT_MAX} characters long, and a title up to {TITLE_MAX}")]
    TooLong,
    #[error("it has to be said why")]
    NoReason,
    #[error("there is no incident-{incident}")]
    UnknownIncident { incident: u64 },
    #[error("incident-{incident} is closed")]
    Closed { incident: u64 },
    #[error("{INCIDENTS_MAX} incidents are kept, and all of them are open or hold evidence")]
    TooManyIncidents,
    #[error("incident-{incident} has as many events, notes or steps as there can be")]
    Full { incident: u64 },
    #[error("there is nobody to contain in incident-{incident}: none of its events is about a principal besides you")]
    Nobody { incident: u64 },
    #[error("incident-{incident} has no step {step}")]
    UnknownStep { incident: u64, step: u32 },
    #[error("step {step} of incident-{incident} is done")]
    StepDone { incident: u64, step: u32 },
    #[error("incident-{incident} holds other records")]
    HeldOtherwise { incident: u64 },
    #[error("no event of incident-{incident} names a record, and none was given")]
    NoEvidence { incident: u64 },
    #[error("what is held begins with record 1 or later, and does not end before it begins")]
    BadRange,
    #[error("incident-{incident} holds no evidence")]
    NotHeld { incident: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::WorkersOnly => "security.workers_only",
            Self::TooLarge => "security.too_large",
            Self::UnknownEvent { .. } => "security.unknown_event",
            Self::Dismissed { .. } => "security.dismissed",
            Self::Taken { .. } => "security.taken",
            Self::TooLong => "security.too_long",
            Self::NoReason => "security.no_reason",
            Self::UnknownIncident { .. } => "security.unknown_incident",
            Self::Closed { .. } => "security.closed",
            Self::TooManyIncidents => "security.too_many_incidents",
            Self::Full { .. } => "security.full",
            Self::Nobody { .. } => "security.nobody",
            Self::UnknownStep { .. } => "security.unknown_step",
            Self::StepDone { .. } => "security.step_done",
            Self::HeldOtherwise { .. } => "security.held_otherwise",
            Self::NoEvidence { .. } => "security.no_evidence",
            Self::BadRange => "security.bad_range",
            Self::NotHeld { .. } => "security.not_held",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::WorkersOnly => "See what was found with `sop security events`.",
            Self::TooLarge => "Tell fewer, and shorter ones.",
            Self::UnknownEvent { .. } => "See the events with `sop security events`.",
            Self::Dismissed { .. } => "It comes back as a new event if it happens again.",
            Self::Taken { .. } => "Go on with that incident.",
            Self::TooLong => "Say it in fewer words.",
            Self::NoReason => "Give the reason, or what was learnt.",
            Self::UnknownIncident { .. } => "See the incidents with `sop incident list`.",
            Self::Closed { .. } => "Open another one.",
            Self::TooManyIncidents => "Close one, and release what it holds.",
            Self::Full { .. } => "Open another one for the rest.",
            Self::Nobody { .. } => "Name whom with `--subject`.",
            Self::UnknownStep { .. } => "See the plan with `sop incident contain`.",
            Self::HeldOtherwise { .. } => "Release that first, with `sop incident release`.",
            Self::NoEvidence { .. } => "Name the first record with `--from`.",
            Self::BadRange => "Name the records as `sop audit list` does.",
            Self::StepDone { .. } | Self::NotHeld { .. } => "Nothing is to be done.",
        }
        .to_string()
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Triage {
    /// Nobody has looked at it.
    New,
    Acknowledged {
        by: Principal,
        at: Timestamp,
    },
    Dismissed {
        by: Principal,
        reason: Personal,
        at: Timestamp,
    },
    Incident(u64),
}

impl Triage {
    pub const WORDS: [&'static str; 4] = ["new", "acknowledged", "dismissed", "incident"];

    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Dismissed { .. } => "dismissed",
            Self::Incident(_) => "incident",
        }
    }
}

/// Something that was detected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    pub kind: Kind,
    pub subject: String,
    /// Of the last time.
    pub detail: String,
    pub count: u64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// The first records that show it.
    pub evidence: Vec<u64>,
    pub triage: Triage,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub title: Personal,
    pub severity: Severity,
    pub owner: Principal,
    pub events: BTreeSet<u64>,
    pub timeline: Vec<Entry>,
    pub steps: Vec<Step>,
    pub hold: Option<Hold>,
    pub opened_at: Timestamp,
    pub closed: Option<Closed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub by: Principal,
    pub act: Act,
    /// What is said of it by ourselves.
    pub what: String,
    /// What somebody said.
    pub text: Option<Personal>,
}

/// A step of a containment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub measure: Measure,
    pub subject: Principal,
    /// How often it was tried.
    pub tried: u32,
    pub done: bool,
    /// The last command, and what came of it.
    pub last: Option<(CommandId, String)>,
}

/// Records that must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub first: u64,
    pub last: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub by: Principal,
    pub at: Timestamp,
    pub postmortem: Personal,
}
