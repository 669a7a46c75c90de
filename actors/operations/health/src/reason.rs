//! The reasons that health can have, and the words of supervision, each with the number that stands for it on disk.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

use kernel::Timestamp;
use serde::{Deserialize, Serialize};

/// Why the authority is not simply ready. Stable, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Code {
    ChildQuarantined,
    ChildDown,
    MachinePoisoned,
    JournalSlow,
    DiskLow,
    ClockJumped,
    BackupMissing,
    BackupOverdue,
    BackupBad,
}

impl Code {
    pub const ALL: [Self; 9] = [
        Self::ChildQuarantined,
        Self::ChildDown,
        Self::MachinePoisoned,
        Self::JournalSlow,
        Self::DiskLow,
        Self::ClockJumped,
        Self::BackupMissing,
        Self::BackupOverdue,
        Self::BackupBad,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChildQuarantined => "child.quarantined",
            Self::ChildDown => "child.down",
            Self::MachinePoisoned => "machine.poisoned",
            Self::JournalSlow => "journal.slow",
            Self::DiskLow => "disk.low",
            Self::ClockJumped => "clock.jumped",
            Self::BackupMissing => "backup.missing",
            Self::BackupOverdue => "backup.overdue",
            Self::BackupBad => "backup.bad",
        }
    }

    /// What to do about it, one sentence.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ChildQuarantined => "find the cause with `sop logs --level error`, then `sop restart`",
            Self::ChildDown => "see `sop tree`; it is started again by itself",
            Self::MachinePoisoned => "report the command and the log to the developers; do not repeat the command",
            Self::JournalSlow => "see what else uses the disk of the data directory",
            Self::DiskLow => "free disk space where the data directory lies",
            Self::ClockJumped => "see to the time service of this machine; leases and tokens end by the wall clock",
            Self::BackupMissing | Self::BackupOverdue => "`sop backup create`, then `sop backup verify`",
            Self::BackupBad => "see `sop backup list` for the reason, and make another one",
        }
    }

    pub const fn tag(self) -> u8 {
        match self {
            Self::ChildQuarantined => 1,
            Self::ChildDown => 2,
            Self::MachinePoisoned => 3,
            Self::JournalSlow => 4,
            Self::DiskLow => 5,
            Self::ClockJumped => 6,
            Self::BackupMissing => 7,
            Self::BackupOverdue => 8,
            Self::BackupBad => 9,
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.tag() == tag)
    }

    /// Whether the worker's observation tells if it is so; what else there is comes from records.
    pub(crate) const fn is_observed(self) -> bool {
        !matches!(self, Self::BackupMissing | Self::BackupOverdue | Self::BackupBad)
    }
}

/// What a reason means for readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Commands are taken, and something is wrong.
    Degrades,
    /// Commands are refused.
    Unready,
}

impl Severity {
    pub const ALL: [Self; 2] = [Self::Degrades, Self::Unready];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Degrades => "degrades",
            Self::Unready => "unready",
        }
    }

    pub const fn tag(self) -> u8 {
        match self {
            Self::Degrades => 1,
            Self::Unready => 2,
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.tag() == tag)
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Normal,
    Shutdown,
    Killed,
    Panicked,
    Failed,
    StartFailed,
    Unresponsive,
    Escalated,
    /// Killed by its supervisor: it was up and did not do its work.
    Unhealthy,
    /// Its kill was not heard, and its task was taken away.
    Aborted,
    /// It had nothing to do, and said so at its start.
    Ignored,
    /// A supervisor, in order, after a significant child.
    AutoShutdown,
}

impl Exit {
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::Shutdown,
        Self::Killed,
        Self::Panicked,
        Self::Failed,
        Self::StartFailed,
        Self::Unresponsive,
        Self::Escalated,
        Self::Unhealthy,
        Self::Aborted,
        Self::Ignored,
        Self::AutoShutdown,
    ];

    pub const fn tag(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::Shutdown => 2,
            Self::Killed => 3,
            Self::Panicked => 4,
            Self::Failed => 5,
            Self::StartFailed => 6,
            Self::Unresponsive => 7,
            Self::Escalated => 8,
            Self::Unhealthy => 9,
            Self::Aborted => 10,
            Self::Ignored => 11,
            Self::AutoShutdown => 12,
        }
    }

    /// For people, and nothing of what it said.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "ended by itself",
            Self::Shutdown => "stopped as asked",
            Self::Killed => "killed",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::StartFailed => "did not start",
            Self::Unresponsive => "could not be ended",
            Self::Escalated => "gave up on a child",
            Self::Unhealthy => "did not do its work",
            Self::Aborted => "did not hear its kill",
            Self::Ignored => "had nothing to do",
            Self::AutoShutdown => "shut itself down",
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.tag() == tag)
    }
}

/// What supervision made of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Restart,
    Done,
    Quarantine,
    Escalate,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Restart, Self::Done, Self::Quarantine, Self::Escalate];

    pub const fn tag(self) -> u8 {
        match self {
            Self::Restart => 1,
            Self::Done => 2,
            Self::Quarantine => 3,
            Self::Escalate => 4,
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.tag() == tag)
    }
}

/// One thing that is wrong, since when, and how wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub code: Code,
    /// The child's path, the machine's name; empty where the code says all.
    pub subject: String,
    pub severity: Severity,
    /// As it was when it began.
    pub detail: String,
    pub since: Timestamp,
    /// What comes back soon stays for longer than it lasts, so that it does not fill the journal.
    pub held_until: Timestamp,
}

impl Reason {
    /// For people, one sentence.
    pub fn sentence(&self) -> String {
        let Self { subject, detail, .. } = self;
        match self.code {
            Code::ChildQuarantined => format!("{subject} is quarantined: {detail}"),
            Code::ChildDown => format!("{subject} is down: {detail}"),
            Code::MachinePoisoned => format!("{subject} refuses a command that made it fail"),
            Code::JournalSlow => format!("the journal is slow: {detail}"),
            Code::DiskLow => format!("disk space runs low: {detail}"),
            Code::ClockJumped => format!("the clock jumped: {detail}"),
            Code::BackupMissing => "no backup was ever verified".to_owned(),
            Code::BackupOverdue => format!("the last verified backup is old: {detail}"),
            Code::BackupBad => format!("{subject} is no good"),
        }
    }
}
