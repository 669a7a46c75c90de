//! Why a command has no answer of its machine.

use kernel::{Denial, Layer, Millis};

/// Each one says whether the command can have run: only [`Error::Unknown`] leaves that open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{name} has {limit} commands outstanding, which is its limit")]
    Overloaded { name: &'static str, limit: usize },
    #[error("{name} is down")]
    Down { name: &'static str },
    #[error("{name} ended before the outcome was known: {why}")]
    Unknown { name: &'static str, why: String },
    #[error("this command id already names another command")]
    IdTaken,
    #[error("the command id is {by} older than the window in which repeats are known")]
    Stale { by: Millis },
    #[error("the command id carries no time, or one {by} ahead of ours")]
    Untimely { by: Millis },
    #[error("{name} keeps {limit} outcomes, which is its limit")]
    WindowFull { name: &'static str, limit: usize },
    #[error("this command made {name} fail: {why}")]
    Fault { name: &'static str, why: String },
    #[error("{0}")]
    Unwritable(#[from] journal::Unwritable),
    #[error("the answer given then cannot be read any more: {why}")]
    AnswerLost { why: String },
}

impl Error {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "host.overloaded",
            Self::Down { .. } => "host.down",
            Self::Unknown { .. } => "host.outcome_unknown",
            Self::IdTaken => "host.id_taken",
            Self::Stale { .. } => "host.id_stale",
            Self::Untimely { .. } => "host.id_untimely",
            Self::WindowFull { .. } => "host.window_full",
            Self::Fault { .. } => "host.fault",
            Self::Unwritable(journal::Unwritable::DiskFull { .. }) => "journal.disk_full",
            Self::Unwritable(journal::Unwritable::Failed { .. }) => "journal.failed",
            Self::Unwritable(journal::Unwritable::Closed) => "journal.closed",
            Self::AnswerLost { .. } => "host.answer_lost",
        }
    }

    pub fn denial(&self) -> Denial {
        let (layer, remedy, wait) = match self {
            Self::Overloaded { .. } => (Layer::Limit, "wait, then repeat with the same command id", Some(Millis(100))),
            Self::Down { .. } => {
                (Layer::Availability, "see `sop tree`; repeat with the same command id once it runs", Some(Millis(500)))
            }
            Self::Unknown { .. } => (
                Layer::Commit,
                "repeat with the same command id: it is answered with the first outcome or run once",
                Some(Millis(500)),
            ),
            Self::IdTaken => (Layer::Request, "make a new command id for a new command", None),
            Self::Stale { .. } | Self::Untimely { .. } => {
                (Layer::Request, "make a new UUIDv7 on a machine whose clock is right", None)
            }
            Self::WindowFull { .. } => {
                (Layer::Limit, "wait until older outcomes leave the window", Some(Millis::minutes(1)))
            }
            Self::Fault { .. } => (
                Layer::Availability,
                "do not repeat it; report the command and the daemon's log to the developers",
                None,
            ),
            Self::Unwritable(journal::Unwritable::DiskFull { .. }) => (
                Layer::Commit,
                "free disk space where the data directory lies; it clears by itself",
                Some(Millis::seconds(1)),
            ),
            Self::Unwritable(_) => (
                Layer::Commit,
                "see `sop status`; repeat with the same command id after the restart",
                Some(Millis::seconds(1)),
            ),
            Self::AnswerLost { .. } => (Layer::Commit, "it was done; look at the record with `sop audit show`", None),
        };
        let denial = Denial::new(layer, self.code(), self.to_string(), remedy);
        match wait {
            Some(wait) => denial.retry_after(wait),
            None => denial,
        }
    }
}
