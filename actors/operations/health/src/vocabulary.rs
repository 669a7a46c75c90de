//! The language of health: all that its callers need to know.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{CommandId, Millis, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::reason::{Exit, Verdict};

/// Longest path or name that a reason or an end is about, in bytes.
pub const SUBJECT_MAX: usize = 256;
/// Longest text, in bytes. The worker shortens its own.
pub const TEXT_MAX: usize = 500;
/// Most things that one observation or one record of ends can speak of.
pub const AT_ONCE_MAX: usize = 256;

/// The beginning of a text, in so many bytes.
pub fn clipped(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// How the authority stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not everything was up yet.
    Startup,
    Ready,
    /// Commands are taken, and something is wrong.
    Degraded,
    /// Commands are refused.
    Unready,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Unready => "unready",
        }
    }
}

/// What is wrong with one child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub path: String,
    /// In quarantine, or else down for longer than a restart takes.
    pub quarantined: bool,
    /// Without it, no command is taken.
    pub needed: bool,
    /// How it last ended, in a word.
    pub why: String,
}

/// Room on the journal's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub free: u64,
    /// Below this, commands are refused.
    pub reserve: u64,
}

/// What a node alone knows, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Of the process that observes.
    pub process: CommandId,
    pub children: Vec<Trouble>,
    /// Machines that refuse a command because it made them fail.
    pub poisoned: Vec<String>,
    /// Unless it cannot be measured.
    pub disk: Option<Disk>,
    /// Groups that the journal stored in the last minute, and how many of them took over [`SLOW_AFTER`].
    pub appends: u64,
    pub slow_appends: u64,
    /// How far the wall clock went from the monotonic one since the last observation.
    pub clock_jump: Millis,
}

/// A group that takes longer is slow. One of the bounds of the journal's histogram.
pub const SLOW_AFTER: Millis = Millis::seconds(1);

/// Ends of one child, and what supervision decided on the last of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    pub path: String,
    /// Of the last of them.
    pub epoch: u64,
    pub exit: Exit,
    /// For people.
    pub text: String,
    pub verdict: Verdict,
    /// How many, the last one included.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// For a while nothing could be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Ends of children that were kept back, and stand beside this one by one or counted.
    pub ends: u64,
    /// Decisions of supervision that came faster than they were heard, and stand nowhere.
    pub missed: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub why: String,
}

/// What may be asked, all of it by the authority itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A process begins, which calls the last verified backup overdue after this.
    Begin {
        process: CommandId,
        overdue_after: Millis,
    },
    /// The worker looked. To be sent only if [`Health::changes`](crate::Health::changes) something: every command is a record.
    Observe(Observation),
    /// Supervision decided.
    Record {
        ends: Vec<Ends>,
        silence: Option<Silence>,
    },
    /// From the backups' records.
    BackupMade {
        backup: u64,
        at: Timestamp,
    },
    BackupVerified {
        backup: u64,
    },
    BackupBad {
        backup: u64,
        why: String,
    },
    /// The clock: a backup may be overdue.
    Due,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Noted,
}

/// Why the answer can be no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("only the authority's own parts report on its health")]
    NotInternal,
    #[error("this process has not begun, or is not the one that began last")]
    NotBegun,
    #[error("there are {count} things in one report, over the limit of {max}")]
    TooMany { count: u64, max: u64 },
    #[error("a text of {bytes} bytes is over the limit of {max}")]
    TooLong { bytes: u64, max: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotInternal => "health.not_internal",
            Self::NotBegun => "health.not_begun",
            Self::TooMany { .. } => "health.too_many",
            Self::TooLong { .. } => "health.too_long",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NotInternal => "See `sop health`; it is told by what runs, not by who asks.".to_owned(),
            Self::NotBegun => "Begin first; the monitor does at its start.".to_owned(),
            Self::TooMany { max, .. } => format!("Report at most {max} at once."),
            Self::TooLong { max, .. } => format!("Shorten it to {max} bytes."),
        }
    }
}
