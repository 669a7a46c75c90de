//! The language of the approvals: all that their callers need to know of them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{CommandId, Digest, Millis, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest name of an action, in bytes.
pub const ACTION_MAX: usize = 64;
/// Longest resource, in bytes: a path fits.
pub const RESOURCE_MAX: usize = 4_096;
/// Longest arguments that can be asked for, in characters: nobody approves what cannot be read.
pub const ARGUMENTS_MAX: usize = 8_192;
/// Longest reason, in characters.
pub const REASON_MAX: usize = 1_000;
/// Most approvals that one request can need.
pub const NEEDED_MAX: u32 = 10;
/// Most who can decide one request.
pub const DECISIONS_MAX: usize = 64;
/// Most open requests of one asker.
pub const OPEN_MAX: usize = 64;
/// How long a request stands if nothing else is asked for.
pub const LIFETIME: Millis = Millis::hours(24);
/// The longest that it can.
pub const LIFETIME_MAX: Millis = Millis::hours(7 * 24);

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Ask leave to do something. The asker is who asks.
    Request(Wanted),
    Approve {
        request: u64,
    },
    /// Ends the request, whoever has approved it.
    Deny {
        request: u64,
        reason: Personal,
    },
    /// Ends the request: by its asker, or by one who approved it and thinks better of it.
    Withdraw {
        request: u64,
    },
    /// The door's: spends the one use on a command, before its effect is tried.
    Use(Use),
    /// The door's: there will be no effect under this command id, so the use is given back.
    Release {
        request: u64,
        command: CommandId,
    },
    /// Bookkeeping of the clock: record what has expired. Nothing waits for it.
    Expire,
}

/// What leave is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub action: String,
    pub resource: String,
    /// Digest of what exactly would be done.
    pub content: Digest,
    /// What the thing that it would be done to is now; none where nothing single is meant.
    pub target: Option<Digest>,
    /// The arguments as they were given, for those who decide.
    pub arguments: Personal,
    pub reason: Personal,
    /// How many must approve.
    pub needed: u32,
    /// Who issued the token by which it is asked, if it is by one.
    pub issuer: Option<Principal>,
    /// [`LIFETIME`] if not given.
    pub lifetime: Option<Millis>,
}

/// What an approved request is to be used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub request: u64,
    pub asker: Principal,
    pub action: String,
    pub resource: String,
    pub content: Digest,
    /// What the thing is now.
    pub target: Option<Digest>,
    /// The command whose effect it is.
    pub command: CommandId,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// In a box, as it is three times as large as the others.
    Requested(Box<records::RequestedV1>),
    Approved(records::ApprovedV1),
    Denied(records::DeniedV1),
    Withdrawn(records::WithdrawnV1),
    /// The one use was spent.
    Used(records::UsedV1),
    /// The effect was refused: the use is given back.
    Released(records::ReleasedV1),
    /// When it was to be used, what it was asked for had changed: it has ended.
    Stale(records::StaleV1),
    Expired(records::ExpiredV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Requested {
        request: u64,
        needed: u32,
        /// How many have approved: not zero where the very same was asked for before.
        have: u32,
        expires_at: Timestamp,
    },
    Decided {
        request: u64,
        needed: u32,
        have: u32,
        state: State,
    },
    Withdrawn {
        request: u64,
    },
    Used {
        request: u64,
        have: u32,
    },
    /// It was to be used, and has ended instead.
    Stale {
        request: u64,
    },
    Released {
        request: u64,
    },
    /// How many facts the clock recorded.
    Expired {
        facts: u64,
    },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("there is no such request")]
    Unknown,
    #[error("{what} is over the limit of {max}")]
    TooLong { what: String, max: u32 },
    #[error("between 1 and {NEEDED_MAX} can be asked to approve, not {asked}")]
    NeededOutOfRange { asked: u32 },
    #[error("a lifetime is above zero and up to {LIFETIME_MAX}, not {asked}")]
    LifetimeOutOfRange { asked: Millis },
    #[error("{OPEN_MAX} requests of this asker are open, and more are not taken")]
    TooMany,
    #[error("only operators decide about requests; no agent, protocol or application ever does")]
    OperatorsOnly,
    #[error("a request is decided by an operator's own credential, not by a token")]
    OwnCredential,
    #[error("nobody decides about what was asked by himself, or by a token that he issued")]
    OwnRequest,
    #[error("you approved it, and a decision is not turned into another")]
    DecidedAlready,
    #[error("{DECISIONS_MAX} have approved it, and more are not counted")]
    DecidedByMany,
    #[error("the request is not yours")]
    NotYours,
    #[error("only the door uses an approval")]
    DoorOnly,
    #[error("what is asked now is not what leave was asked for")]
    OtherContent,
    #[error("{have} of {needed} have approved it")]
    Pending { have: u32, needed: u32 },
    #[error("{by} denied the request")]
    Denied { by: String },
    #[error("{by} withdrew the request")]
    Withdrawn { by: String },
    #[error("the request expired")]
    Expired { at: Timestamp },
    #[error("its one use is spent, on the command {command}")]
    Used { command: CommandId },
    #[error("what it was asked for has changed since")]
    Stale,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "approvals.unknown",
            Self::TooLong { .. } => "approvals.too_long",
            Self::NeededOutOfRange { .. } => "approvals.needed_out_of_range",
            Self::LifetimeOutOfRange { .. } => "approvals.lifetime_out_of_range",
            Self::TooMany => "approvals.too_many",
            Self::OperatorsOnly => "approvals.operators_only",
            Self::OwnCredential => "approvals.own_credential",
            Self::OwnRequest => "approvals.own_request",
            Self::DecidedAlready => "approvals.decided_already",
            Self::DecidedByMany => "approvals.decided_by_many",
            Self::NotYours => "approvals.not_yours",
            Self::DoorOnly => "approvals.door_only",
            Self::OtherContent => "approvals.other_content",
            Self::Pending { .. } => "approvals.pending",
            Self::Denied { .. } => "approvals.denied",
            Self::Withdrawn { .. } => "approvals.withdrawn",
            Self::Expired { .. } => "approvals.expired",
            Self::Used { .. } => "approvals.used",
            Self::Stale => "approvals.stale",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Unknown => "See `sop approval list`.",
            Self::TooLong { .. } => "Ask with less: whoever decides has to read it.",
            Self::NeededOutOfRange { .. } => "Ask for what the policy demands.",
            Self::LifetimeOutOfRange { .. } => "Ask for a shorter time above zero, or leave it out.",
            Self::TooMany => "Withdraw what is no longer needed, or wait until some are decided.",
            Self::OperatorsOnly => "Ask an operator to decide.",
            Self::OwnCredential => "Decide with the credential that is the operator's own.",
            Self::OwnRequest => "Ask another operator to decide.",
            Self::DecidedAlready => "Withdraw the request, as one who approved it may until it is used.",
            Self::DecidedByMany => "Nothing to do: it has more approvals than any policy asks for.",
            Self::NotYours => "Its asker withdraws it, or one who approved it.",
            Self::DoorOnly => "Repeat the command itself: the door finds the approval.",
            Self::OtherContent => "Repeat exactly what leave was asked for, or ask leave for this.",
            Self::Pending { .. } => "Wait for the others; see who decided in `sop approval show`.",
            Self::Denied { .. } | Self::Withdrawn { .. } | Self::Expired { .. } => {
                "Repeat the command with --request-approval=REASON to ask anew."
            }
            Self::Used { .. } => {
                "Repeat under that command id to learn what became of it; for another time, ask anew with --request-approval=REASON."
            }
            Self::Stale => "Look at it again, and ask anew with --request-approval=REASON.",
        }
        .to_owned()
    }
}

/// How a request stands at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// More have to approve.
    Pending,
    /// It can be used, once.
    Approved,
    Used,
    Denied,
    Withdrawn,
    Stale,
    Expired,
}

impl State {
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Approved, Self::Used, Self::Denied, Self::Withdrawn, Self::Stale, Self::Expired];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }
}

/// A request, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub number: u64,
    pub asker: Principal,
    /// Who issued the token by which it was asked.
    pub issuer: Option<Principal>,
    pub action: String,
    pub resource: String,
    pub content: Digest,
    pub target: Option<Digest>,
    pub arguments: Personal,
    pub reason: Personal,
    pub needed: u32,
    pub asked_at: Timestamp,
    /// First instant at which it is good for nothing any more.
    pub expires_at: Timestamp,
    pub state: State,
    /// Who approved, in the order in which they did.
    pub approvals: Vec<Approval>,
    /// How it ended, if not by use or by time.
    pub end: Option<End>,
    pub used: Option<Used>,
}

impl Request {
    pub fn have(&self) -> u32 {
        u32::try_from(self.approvals.len()).unwrap_or(u32::MAX)
    }

    /// Whether its one use was spent on this command.
    pub fn is_held_by(&self, command: CommandId) -> bool {
        self.used.is_some_and(|used| used.command == command)
    }

    /// Why nothing can begin to use it now; `None` if something can.
    pub fn obstacle(&self) -> Option<Refusal> {
        let by = || self.end.as_ref().and_then(|end| end.by.as_ref()).map_or_else(String::new, ToString::to_string);
        match self.state {
            State::Approved => None,
            State::Pending => Some(Refusal::Pending { have: self.have(), needed: self.needed }),
            State::Used => self.used.map(|Used { command, .. }| Refusal::Used { command }),
            State::Denied => Some(Refusal::Denied { by: by() }),
            State::Withdrawn => Some(Refusal::Withdrawn { by: by() }),
            State::Stale => Some(Refusal::Stale),
            State::Expired => Some(Refusal::Expired { at: self.expires_at }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub by: Principal,
    pub at: Timestamp,
}

/// Denied, withdrawn or stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub how: State,
    /// Nobody, where it is stale.
    pub by: Option<Principal>,
    pub reason: Personal,
    pub at: Timestamp,
}

/// What its one use was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub command: CommandId,
    pub at: Timestamp,
}

/// Which requests to list; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub state: Option<State>,
    pub asker: Option<Principal>,
    pub action: Option<String>,
}
