//! The language of the todos: all that their callers need to know of them.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use kernel::{Digest, Malformed, Millis, Personal, Principal, Refuse, Timestamp, TokenId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::records;

/// Longest title, in characters.
pub const TITLE_MAX: usize = 200;
/// Longest place, in characters.
pub const PLACE_MAX: usize = 512;
/// Longest note of a submission, in characters.
pub const NOTE_MAX: usize = 500;
/// How long a claim holds, and so the life of its token.
pub const CLAIM_LIFETIME: Millis = Millis::hours(48);
/// How many uses the token of a claim gets.
pub const CLAIM_USES: u32 = 100;

/// Names one todo, written `todo-17`. Counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TodoId(pub u64);

impl fmt::Display for TodoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "todo-{}", self.0)
    }
}

/// Reads `todo-17` and `17`.
impl FromStr for TodoId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let digits = text.strip_prefix("todo-").unwrap_or(text);
        match digits.parse() {
            Ok(number) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Self(number)),
            Ok(_) | Err(_) => {
                Err(Malformed { text: text.chars().take(80).collect(), expected: "a todo such as todo-17" })
            }
        }
    }
}

/// Text for people, the bare number else, as the kernel's ids do.
impl Serialize for TodoId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for TodoId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A gap is open: there is work. For the authority's own route only.
    Open {
        /// The gap's fingerprint.
        gap: Digest,
        title: String,
        /// Where the gap is, as its detector says it.
        place: String,
    },
    /// Take a todo, to the exclusion of others, with a token to come under an id and a secret that the caller chose.
    Claim {
        todo: TodoId,
        holder: Principal,
        token: TokenId,
        /// blake3 of the token's secret.
        secret: Digest,
    },
    /// Give a claimed todo back, undone.
    Release { todo: TodoId },
    /// "I believe it is done." Closes nothing: only the next scan does.
    Submit { todo: TodoId, note: Personal },
    /// The gap is gone. For the authority's own route only.
    Close { gap: Digest },
    /// Bookkeeping of the clock: free what is held beyond its time. Nothing waits for it.
    LapseClaims,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Opened(records::OpenedV1),
    /// The gap came back: the same todo again.
    Reopened(records::ReopenedV1),
    Claimed(records::ClaimedV1),
    Released(records::ReleasedV1),
    Submitted(records::SubmittedV2),
    Closed(records::ClosedV1),
    /// A claim was held beyond its time.
    Lapsed(records::LapsedV1),
}

impl Event {
    /// The todo whose tokens are to be revoked because of this.
    pub fn ends_authority(&self) -> Option<TodoId> {
        match self {
            Self::Reopened(records::ReopenedV1 { todo, .. })
            | Self::Released(records::ReleasedV1 { todo, .. })
            | Self::Closed(records::ClosedV1 { todo, .. })
            | Self::Lapsed(records::LapsedV1 { todo, .. }) => Some(TodoId(*todo)),
            Self::Opened(_) | Self::Claimed(_) | Self::Submitted(_) => None,
        }
    }

    /// The claim for which a token is to be issued because of this.
    pub fn grants(&self) -> Option<&records::ClaimedV1> {
        match self {
            Self::Claimed(claimed) => Some(claimed),
            Self::Opened(_)
            | Self::Reopened(_)
            | Self::Released(_)
            | Self::Submitted(_)
            | Self::Closed(_)
            | Self::Lapsed(_) => None,
        }
    }
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Opened {
        todo: TodoId,
    },
    Claimed {
        todo: TodoId,
        token: TokenId,
        /// First instant at which the claim no longer holds.
        expires_at: Timestamp,
    },
    Released {
        todo: TodoId,
    },
    Submitted {
        todo: TodoId,
    },
    Closed {
        todo: TodoId,
    },
    /// How many claims the clock ended.
    Lapsed {
        claims: u64,
    },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("todos open and close by what a scan finds, not by request")]
    ScansOnly,
    #[error("a title is 1 to {TITLE_MAX} characters long")]
    BadTitle,
    #[error("a place is up to {PLACE_MAX} characters long")]
    PlaceTooLong,
    #[error("a note is up to {NOTE_MAX} characters long")]
    NoteTooLong,
    #[error("there is no {todo}")]
    Unknown { todo: TodoId },
    #[error("no todo was ever opened for this gap")]
    UnknownGap,
    #[error("{todo} is closed: its gap is gone")]
    Closed { todo: TodoId },
    #[error("{todo} is claimed by {holder} until its claim ends")]
    Claimed { todo: TodoId, holder: Principal, until: Timestamp },
    #[error("{todo} is already claimed by the same holder, with another token or secret")]
    ClaimedOtherwise { todo: TodoId },
    #[error("the token or its secret was already used for a claim")]
    TokenTaken,
    #[error("only an operator claims for somebody else")]
    ForAnother,
    #[error("a part of the authority itself never holds a todo")]
    InternalHolder,
    #[error("{todo} is not held by who asks")]
    NotHolder { todo: TodoId },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::ScansOnly => "todos.scans_only",
            Self::BadTitle => "todos.bad_title",
            Self::PlaceTooLong => "todos.place_too_long",
            Self::NoteTooLong => "todos.note_too_long",
            Self::Unknown { .. } => "todos.unknown",
            Self::UnknownGap => "todos.unknown_gap",
            Self::Closed { .. } => "todos.closed",
            Self::Claimed { .. } => "todos.claimed",
            Self::ClaimedOtherwise { .. } => "todos.claimed_otherwise",
            Self::TokenTaken => "todos.token_taken",
            Self::ForAnother => "todos.for_another",
            Self::InternalHolder => "todos.internal_holder",
            Self::NotHolder { .. } => "todos.not_holder",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::ScansOnly => "Mend the gap and scan again, or submit the todo with a note.",
            Self::BadTitle => "Give a title of at least one and not too many characters.",
            Self::PlaceTooLong | Self::NoteTooLong => "Shorten the text.",
            Self::Unknown { .. } => "List the todos and choose one of them.",
            Self::UnknownGap => "Open a todo for the gap first.",
            Self::Closed { .. } => "Choose another todo; this one reopens by itself if its gap comes back.",
            Self::Claimed { .. } => "Choose another todo, or ask the holder or an operator to release it.",
            Self::ClaimedOtherwise { .. } => "Go on with the first token, or release the todo and claim it again.",
            Self::TokenTaken => "Choose a new token id and a new secret for each claim.",
            Self::ForAnother => "Claim in your own name.",
            Self::InternalHolder => "Name an operator, an agent or a protocol as the holder.",
            Self::NotHolder { .. } => "Claim the todo first, or ask its holder.",
        }
        .to_string()
    }
}

/// Where a todo stands at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Free to be claimed.
    Open,
    Claimed,
    /// Still claimed; the holder believes it is done.
    Submitted,
    Closed,
}

/// A todo, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    pub id: TodoId,
    /// The gap's fingerprint.
    pub gap: Digest,
    pub title: String,
    pub place: String,
    pub state: State,
    pub claim: Option<Claim>,
    /// When its gap was first seen.
    pub opened_at: Timestamp,
    /// When its gap was last seen gone; stays when it comes back.
    pub closed_at: Option<Timestamp>,
    /// How many times its gap came back.
    pub reopened: u32,
}

/// Who holds a todo, and by what token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub holder: Principal,
    pub token: TokenId,
    pub claimed_at: Timestamp,
    /// First instant at which the claim no longer holds.
    pub expires_at: Timestamp,
    /// What the holder said when submitting.
    pub note: Option<Personal>,
}

/// Which todos to list; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub state: Option<State>,
    pub holder: Option<Principal>,
}
