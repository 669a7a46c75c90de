//! What is missing in how things stand, and when to look again.
//!
//! Nothing is a gap from the first moment: a backup is due a while after there is something to back up, and the policy
//! that is built in is there to be replaced. So whoever starts anew sees no gap that is none.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kernel::{Millis, Timestamp};

use crate::finding::Kind;

/// Most live gaps of one concern that are open at a time. Others follow as these close.
pub const SEEN_MAX: usize = 100;

/// One live gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    /// What makes it the same gap when it is seen again, with its kind.
    pub subject: String,
    pub detail: String,
}

/// All that is missing of one concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The most urgent first.
    pub seen: Vec<Seen>,
    /// When something else will be missing, or no longer, if nothing happens until then.
    pub next: Option<Timestamp>,
}

impl Live {
    /// Of backups, if the first record is of `first` and the last whole backup is the one called so, asked for then.
    pub fn backup(first: Option<Timestamp>, last: Option<(&str, Timestamp)>, due: Millis, now: Timestamp) -> Self {
        match (last, first) {
            (Some((name, asked_for)), _) => {
                let detail = format!("the last whole one is {name}, and one is due every {due}");
                Self::from(asked_for + due, now, Kind::BackupOverdue, "backup", detail)
            }
            (None, Some(first)) => {
                let detail = format!("one is due {due} after the first record");
                Self::from(first + due, now, Kind::BackupMissing, "backup", detail)
            }
            (None, None) => Self::default(),
        }
    }

    /// Of policies, if the one that is built in decides since then.
    pub fn policy(built_in_since: Option<Timestamp>, allowed: Millis, now: Timestamp) -> Self {
        let Some(since) = built_in_since else { return Self::default() };
        let detail = format!("it is there to activate another one, within {allowed}");
        Self::from(since + allowed, now, Kind::PolicyEmpty, "policy", detail)
    }

    fn from(from: Timestamp, now: Timestamp, kind: Kind, subject: &str, detail: String) -> Self {
        if now < from {
            Self { seen: Vec::new(), next: Some(from) }
        } else {
            Self { seen: [Seen { kind, subject: subject.to_owned(), detail }].into(), next: None }
        }
    }
}
