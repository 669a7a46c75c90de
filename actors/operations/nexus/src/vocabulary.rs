//! The language of the nexus: all that its callers need to know of it.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use kernel::{CommandId, Denial, Layer, Malformed, Millis, Personal, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest name of a protocol or of a kind of message, in bytes.
pub const NAME_MAX: usize = Principal::NAME_MAX;
/// Most protocols that are known at once.
pub const PROTOCOLS_MAX: usize = 256;
/// Most names on a protocol's list.
pub const LIST_MAX: usize = 32;
/// Longest reason of a withdrawal, in characters.
pub const REASON_MAX: usize = 200;
/// What is kept of the reason of a failed attempt, in characters.
pub const WHY_MAX: usize = 500;
/// Longest content type, in bytes.
pub const CONTENT_TYPE_MAX: usize = 100;
/// Largest payload, in bytes.
pub const PAYLOAD_MAX: usize = 32 * 1024;
/// Most messages that wait in one lane.
pub const LANE_MAX: usize = 256;
/// Most bytes of payload that wait for one destination.
pub const DESTINATION_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// And for all of them.
pub const WAITING_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most follow-ups of one acknowledgement.
pub const FOLLOW_UPS_MAX: usize = 32;
/// How often a message is tried.
pub const ATTEMPTS_MAX: u32 = 5;
/// Most dead letters that are kept.
pub const DEAD_MAX: usize = 1_024;
/// How long a message waits if nothing is asked.
pub const LIFETIME: Millis = Millis::hours(24);
/// And at least, and at most.
pub const LIFETIME_MIN: Millis = Millis::seconds(1);
pub const LIFETIME_MAX: Millis = Millis::hours(7 * 24);

/// Names one message for ever: the id of the command that sent it, or one derived from the acknowledgement that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub CommandId);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self)
    }
}

/// How much a message matters. Each has a lane of its own at each destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// From the first to the last lane.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Its lane; in a record, its tag.
    pub const fn lane(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
        }
    }

    pub fn from_lane(lane: u8) -> Option<Self> {
        Self::ALL.get(usize::from(lane)).copied()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or_else(|| Malformed {
            text: text.chars().take(80).collect(),
            expected: "a priority: critical, high, normal or low",
        })
    }
}

/// How a message died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// Its lifetime ended.
    Expired,
    /// Its destination failed on it too often.
    Rejected,
    /// Its destination was withdrawn.
    Withdrawn,
}

impl Death {
    pub const ALL: [Self; 3] = [Self::Expired, Self::Rejected, Self::Withdrawn];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Of a record.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Expired => 0,
            Self::Rejected => 1,
            Self::Withdrawn => 2,
        }
    }

    pub fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.get(usize::from(tag)).copied()
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Let a protocol take part, or change its lists. It is started after those that it depends on, and sends only to
    /// those that it speaks to.
    Admit { protocol: String, depends_on: Vec<String>, speaks_to: Vec<String> },
    /// Let it take part no more.
    Withdraw { protocol: String, reason: Personal },
    /// The same, whoever depends on it: all its tokens were revoked. For the authority's own route only.
    Revoked { protocol: String },
    /// Put a message into its lane.
    Send(Message),
    /// Its destination has handled the message: take it out, and put in what follows from it, all or nothing.
    Acknowledge { message: MessageId, follow_ups: Vec<Message> },
    /// Its destination could not handle the message: it stays first in its lane, until it was tried often enough.
    Fail { message: MessageId, why: String },
    /// A dead letter waits again.
    Requeue { message: MessageId },
    /// Take a dead letter away.
    Discard { message: MessageId },
    /// Bookkeeping of the clock: record what has expired.
    Expire,
}

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who sends it: whoever asks.
    pub source: Principal,
    /// The name of an admitted protocol.
    pub destination: String,
    pub priority: Priority,
    /// What it is, for its reader: a name.
    pub kind: String,
    /// What its payload is, for example `application/json`.
    pub content_type: String,
    /// Never interpreted by the authority.
    pub payload: Vec<u8>,
    /// [`LIFETIME`] if not given.
    pub lifetime: Option<Millis>,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Admitted(records::AdmittedV1),
    Withdrawn(records::WithdrawnV2),
    /// A withdrawn protocol made room for a new one.
    ProtocolForgotten(records::ProtocolForgottenV1),
    Sent(records::SentV1),
    Delivered(records::DeliveredV1),
    /// One attempt failed; the message waits on, unless it died.
    Failed(records::FailedV1),
    Died(records::DiedV1),
    Requeued(records::RequeuedV1),
    Discarded(records::DiscardedV1),
    /// A dead letter made room for a newer one.
    Forgotten(records::ForgottenV1),
}

impl Event {
    /// Whose lanes it is about, if it is about a message.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::Admitted(_) | Self::Withdrawn(_) | Self::ProtocolForgotten(_) => None,
            Self::Sent(sent) => Some(&sent.destination),
            Self::Delivered(delivered) => Some(&delivered.destination),
            Self::Failed(failed) => Some(&failed.destination),
            Self::Died(died) => Some(&died.destination),
            Self::Requeued(requeued) => Some(&requeued.destination),
            Self::Discarded(discarded) => Some(&discarded.destination),
            Self::Forgotten(forgotten) => Some(&forgotten.destination),
        }
    }
}

/// What the caller is told: what was so then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Admitted,
    /// How many messages died with it.
    Withdrawn {
        messages: u64,
    },
    /// 1 is the next to leave its lane.
    Sent {
        id: MessageId,
        position_in_lane: u64,
    },
    /// The follow-ups, in their order.
    Acknowledged {
        follow_ups: Vec<MessageId>,
    },
    Failed {
        attempts: u32,
        died: bool,
    },
    Requeued {
        position_in_lane: u64,
    },
    Discarded,
    Expired {
        messages: u64,
    },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("{name:?} is no name: one is 1 to {NAME_MAX} letters, digits and . _ : -")]
    BadName { name: String },
    #[error("a list of protocols has up to {LIST_MAX} names")]
    ListTooLong,
    #[error("a protocol does not depend on itself")]
    OnItself,
    #[error("it would depend on {name}, which is not admitted")]
    UnknownDependency { name: String },
    #[error("it would depend on {name}, which depends on it")]
    Circle { name: String },
    #[error("{PROTOCOLS_MAX} protocols are admitted, and more are not")]
    TooManyProtocols,
    #[error("there is no protocol {name:?}")]
    UnknownProtocol { name: String },
    #[error("{by} depends on it")]
    DependedOn { by: String },
    #[error("a reason is 1 to {REASON_MAX} characters long")]
    BadReason,
    #[error("only the authority's own route says that a protocol was revoked")]
    RoutesOnly,
    #[error("the message says that it is from {named}, who is not who sends it")]
    NotItsSource { named: Principal },
    #[error("the protocol {name} is not admitted")]
    NotAdmitted { name: String },
    #[error("{name} is not on the list of those that this protocol speaks to")]
    NotOnItsList { name: String },
    #[error("a content type is 1 to {CONTENT_TYPE_MAX} printable ASCII characters")]
    BadContentType,
    #[error("a payload has up to {PAYLOAD_MAX} bytes, not {bytes}")]
    PayloadTooLarge { bytes: u64 },
    #[error("a lifetime is {LIFETIME_MIN} to {LIFETIME_MAX}, not {asked}")]
    LifetimeOutOfRange { asked: Millis },
    #[error("this id already names another message, or one that died")]
    IdTaken,
    #[error("the {priority} lane of {destination} has {waiting} messages and {bytes} bytes waiting, and takes no more")]
    LaneFull {
        destination: String,
        priority: Priority,
        /// In the lane, of [`LANE_MAX`].
        waiting: u64,
        /// For the destination, of [`DESTINATION_BYTES_MAX`].
        bytes: u64,
    },
    #[error("{bytes} bytes wait in all, and more are not taken")]
    Full { bytes: u64 },
    #[error("the message does not wait, or does so no more")]
    NotWaiting,
    #[error("the message is for {destination}, and not for who asks")]
    NotItsDestination { destination: String },
    #[error("an acknowledgement has up to {FOLLOW_UPS_MAX} follow-ups")]
    TooManyFollowUps,
    #[error("follow-up {number} cannot be sent: {refusal}")]
    FollowUp {
        /// Counts from 1.
        number: u32,
        refusal: Box<Refusal>,
    },
    #[error("there is no such dead letter")]
    NotDead,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "nexus.bad_name",
            Self::ListTooLong => "nexus.list_too_long",
            Self::OnItself => "nexus.on_itself",
            Self::UnknownDependency { .. } => "nexus.unknown_dependency",
            Self::Circle { .. } => "nexus.circle",
            Self::TooManyProtocols => "nexus.too_many_protocols",
            Self::UnknownProtocol { .. } => "nexus.unknown_protocol",
            Self::DependedOn { .. } => "nexus.depended_on",
            Self::BadReason => "nexus.bad_reason",
            Self::RoutesOnly => "nexus.routes_only",
            Self::NotItsSource { .. } => "nexus.not_its_source",
            Self::NotAdmitted { .. } => "nexus.not_admitted",
            Self::NotOnItsList { .. } => "nexus.not_on_its_list",
            Self::BadContentType => "nexus.bad_content_type",
            Self::PayloadTooLarge { .. } => "nexus.payload_too_large",
            Self::LifetimeOutOfRange { .. } => "nexus.lifetime_out_of_range",
            Self::IdTaken => "nexus.id_taken",
            Self::LaneFull { .. } => "nexus.lane_full",
            Self::Full { .. } => "nexus.full",
            Self::NotWaiting => "nexus.not_waiting",
            Self::NotItsDestination { .. } => "nexus.not_its_destination",
            Self::TooManyFollowUps => "nexus.too_many_follow_ups",
            Self::FollowUp { .. } => "nexus.follow_up",
            Self::NotDead => "nexus.not_dead",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::BadName { .. } => "Choose another name.",
            Self::ListTooLong => "Name fewer protocols.",
            Self::OnItself => "Leave its own name out.",
            Self::UnknownDependency { .. } => "Admit that one first, or leave it out.",
            Self::Circle { .. } => "Leave one of the two dependencies out.",
            Self::TooManyProtocols => "Withdraw one that is not needed.",
            Self::UnknownProtocol { .. } => "See `sop protocol list`.",
            Self::DependedOn { .. } => "Withdraw that one first, or admit it again without the dependency.",
            Self::BadReason => "Give a short reason.",
            Self::RoutesOnly => "Revoke the protocol's tokens: the withdrawal follows.",
            Self::NotItsSource { .. } => "Send in your own name.",
            Self::NotAdmitted { .. } => "See `sop protocol list`; have an operator admit it.",
            Self::NotOnItsList { .. } => "Have an operator admit the sender again with that name on its list.",
            Self::BadContentType => "Name a content type such as application/json.",
            Self::PayloadTooLarge { .. } => "Send a reference to where the content lies, or send it in parts.",
            Self::LifetimeOutOfRange { .. } => "Choose another lifetime, or leave it out.",
            Self::IdTaken => "Choose a new id; only a retry of the same message repeats one.",
            Self::LaneFull { .. } => "Try again later; the lanes of other priorities have room of their own.",
            Self::Full { .. } => "Try again when messages were delivered.",
            Self::NotWaiting => "See `sop message dead`, and `sop audit show` for what became of it.",
            Self::NotItsDestination { .. } => "Leave it to its destination.",
            Self::TooManyFollowUps => "Send fewer messages for one, or send the rest from one of them.",
            Self::FollowUp { refusal, .. } => return refusal.remedy(),
            Self::NotDead => "See `sop message dead`.",
        }
        .to_string()
    }

    fn denial(&self) -> Denial {
        let denial = Denial::new(Layer::Decide, self.code(), self.to_string(), self.remedy());
        if self.is_for_now() { denial.retry_after(Millis::seconds(1)) } else { denial }
    }
}

impl Refusal {
    /// The same may be granted later, when messages have left.
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::LaneFull { .. } | Self::Full { .. } => true,
            Self::FollowUp { refusal, .. } => refusal.is_for_now(),
            _ => false,
        }
    }
}

/// Whether a protocol takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Admitted,
    Withdrawn {
        at: Timestamp,
        reason: Personal,
        /// By a revocation of its tokens, and not by somebody's request.
        revoked: bool,
    },
}

/// A protocol, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    pub name: String,
    pub standing: Standing,
    pub depends_on: BTreeSet<String>,
    pub speaks_to: BTreeSet<String>,
    /// When it got these lists.
    pub admitted_at: Timestamp,
    /// How many wait, lane by lane.
    pub depth: [usize; 4],
    /// Their bytes.
    pub bytes: u64,
}

impl Protocol {
    pub fn is_admitted(&self) -> bool {
        self.standing == Standing::Admitted
    }
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub id: MessageId,
    pub source: Principal,
    pub destination: String,
    pub priority: Priority,
    pub kind: String,
    pub content_type: String,
    pub payload: Vec<u8>,
    pub lifetime: Millis,
    /// The message of whose handling it is a consequence.
    pub cause: Option<MessageId>,
    pub sent_at: Timestamp,
    /// First instant at which it no longer waits.
    pub expires_at: Timestamp,
    /// How often its destination failed on it, and why the last time.
    pub attempts: u32,
    pub why: Option<String>,
    /// Counts what came to its destination: the order in its lane.
    pub ticket: u64,
}

/// A message that waits no more and was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    pub message: Waiting,
    pub death: Death,
    pub why: String,
    pub at: Timestamp,
}

/// Which waiting messages to list; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub destination: Option<String>,
    pub source: Option<Principal>,
    pub priority: Option<Priority>,
}

/// What has become of all messages so far. What was sent is what waits, was delivered, is dead, was discarded or forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub sent: u64,
    pub waiting: u64,
    pub delivered: u64,
    pub dead: u64,
    pub discarded: u64,
    pub forgotten: u64,
    /// Failed attempts, and dead letters that were made to wait again: counted apart from that sum.
    pub failed: u64,
    pub requeued: u64,
}
