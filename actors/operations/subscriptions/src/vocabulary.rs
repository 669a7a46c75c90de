//! The language of subscriptions: all that their callers need to know.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use kernel::{Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

/// Most subscriptions there may be.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// And of one owner.
pub const OWNED_MAX: usize = 100;
/// Most streams, and most kinds, that one names.
pub const WANTED_MAX: usize = 64;
/// Longest name of a stream, in bytes.
pub const STREAM_MAX: usize = 64;

/// What may be asked. The owner of a subscription is who creates it.
///
/// What is not serialised is no part of what is asked but how things stand: a repeat is the same command, however they
/// stand by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    /// Read what is wanted of all that is recorded from record `from` on; without it, of what is recorded from now on.
    Create {
        name: String,
        wanted: Wanted,
        from: Option<u64>,
        /// The last record there is.
        #[serde(skip_serializing)]
        head: u64,
    },
    /// All up to `position` is done with.
    Acknowledge {
        name: String,
        position: u64,
        /// Whether that much was given out.
        #[serde(skip_serializing)]
        given: bool,
    },
    /// Read no more. An operator may end anybody's.
    Delete { name: String },
}

/// Which records are read. Empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Of these streams.
    pub streams: BTreeSet<String>,
    /// Of these kinds, by their ids.
    pub kinds: BTreeSet<u32>,
}

/// What is answered: how far the subscription has come, or had when it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub position: u64,
}

/// Why the answer can be no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("{name:?} is no name for a subscription")]
    Name { name: String },
    #[error("there is another subscription {name}, or one that reads other records")]
    Taken { name: String },
    #[error("there is no subscription {name}")]
    Unknown { name: String },
    #[error("{name} is somebody else's")]
    Foreign { name: String },
    #[error("the records up to {position} were not given out since the authority started")]
    NotGiven { name: String, position: u64 },
    #[error("{head} is the last record there is")]
    Ahead { head: u64 },
    #[error("there are {max} already")]
    TooMany { max: u64 },
    #[error("it names more than {WANTED_MAX} streams or kinds, or a stream of more than {STREAM_MAX} bytes")]
    TooMuchWanted,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "subscriptions.name",
            Self::Taken { .. } => "subscriptions.taken",
            Self::Unknown { .. } => "subscriptions.unknown",
            Self::Foreign { .. } => "subscriptions.foreign",
            Self::NotGiven { .. } => "subscriptions.not_given",
            Self::Ahead { .. } => "subscriptions.ahead",
            Self::TooMany { .. } => "subscriptions.too_many",
            Self::TooMuchWanted => "subscriptions.too_much_wanted",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Name { .. } => "Use 1 to 64 letters, digits and . _ : -".into(),
            Self::Taken { .. } => "Choose another name, or delete that one first.".into(),
            Self::Unknown { .. } => "See `sop subscription list`.".into(),
            Self::Foreign { .. } => "Create one of your own.".into(),
            Self::NotGiven { name, .. } => {
                format!("Read again with `sop subscription read {name}`, and acknowledge what that gives.")
            }
            Self::Ahead { .. } => "Leave it out to begin with what is recorded next.".into(),
            Self::TooMany { .. } => "Delete what nobody reads; see `sop subscription list`.".into(),
            Self::TooMuchWanted => "Name fewer, or none for all of them.".into(),
        }
    }
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    pub owner: Principal,
    pub wanted: Wanted,
    /// All up to this record is done with.
    pub position: u64,
    pub created_at: Timestamp,
    /// When it came to its position.
    pub moved_at: Timestamp,
}
