//! The language of the token authority: all that its callers need to know of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use kernel::{CommandId, Digest, Millis, Personal, Principal, Refuse, Timestamp, TokenId, TokenUse};
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest audience and longest operation name, in bytes.
pub const NAME_MAX: usize = 64;
/// Longest text of [`Reason::Other`], in characters.
pub const REASON_MAX: usize = 200;
/// Test tokens speak to audiences that begin so, and no other token does.
pub const TEST_NAMESPACE: &str = "test.";
/// The one operation of a todo token, and of no other.
pub const TODO_WORK: &str = "todo.work";
/// How long the outcome of a use may stay open before it counts as unknown.
pub const SETTLE_WITHIN: Millis = Millis::minutes(5);
/// Most tokens that one subject may hold alive, and most that may live for one todo: what a revocation ends in one command,
/// which with the fact about the subject makes the 4,096 that a host takes.
pub const LIVE_MAX: usize = 4_095;

/// What sort of permission a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One operation on one protocol: minutes, and one use unless asked otherwise.
    Operation,
    /// Work on one todo.
    Todo,
    /// The replacement of exactly one artefact.
    Integration,
    /// One operation, in the test namespace only.
    Test,
}

/// What a token of a kind gets when nothing is asked, and the most that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub uses: u32,
    pub uses_max: u32,
    pub lifetime: Millis,
    pub lifetime_max: Millis,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Operation, Self::Todo, Self::Integration, Self::Test];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Todo => "todo",
            Self::Integration => "integration",
            Self::Test => "test",
        }
    }

    pub const fn limits(self) -> Limits {
        let (quarter, day, two_days) = (Millis::minutes(15), Millis::hours(24), Millis::hours(48));
        match self {
            Self::Operation => Limits { uses: 1, uses_max: 1_000, lifetime: quarter, lifetime_max: day },
            Self::Todo => Limits { uses: 100, uses_max: 100, lifetime: two_days, lifetime_max: two_days },
            Self::Integration => Limits { uses: 1, uses_max: 1, lifetime: quarter, lifetime_max: day },
            Self::Test => Limits { uses: 1, uses_max: 1_000, lifetime: day, lifetime_max: day },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The replacement of one artefact by another, named by their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    pub old: Digest,
    pub new: Digest,
}

/// The kind of a token, with the one thing that some kinds are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    Operation,
    /// The number of the todo.
    Todo(u64),
    Integration(Replacement),
    Test,
}

impl Grant {
    pub const fn kind(self) -> Kind {
        match self {
            Self::Operation => Kind::Operation,
            Self::Todo(_) => Kind::Todo,
            Self::Integration(_) => Kind::Integration,
            Self::Test => Kind::Test,
        }
    }

    pub const fn todo(self) -> Option<u64> {
        match self {
            Self::Todo(todo) => Some(todo),
            Self::Operation | Self::Integration(_) | Self::Test => None,
        }
    }

    pub const fn artefact(self) -> Option<Replacement> {
        match self {
            Self::Integration(artefact) => Some(artefact),
            Self::Operation | Self::Todo(_) | Self::Test => None,
        }
    }
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Create a token. Its issuer is who asks.
    Issue(Issue),
    /// Check a token and spend one of its uses, in one step.
    Consume(Consume),
    /// Say what became of the effect that a use paid for.
    Settle { id: TokenId, number: u32, outcome: Settlement },
    /// End one token now.
    Revoke { id: TokenId, reason: Reason },
    /// End all that lets `subject` act. Always a fact, for others hear of it: what it holds elsewhere ends too.
    RevokeSubject { subject: Principal },
    /// End all that lets anybody work on a todo.
    RevokeTodo { todo: u64 },
    /// End every token that exists now.
    RevokeAll,
    /// Bookkeeping of the clock: record what has expired. Nothing waits for it.
    Expire,
}

/// A token to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    /// Chosen by the caller, so that a retry carries the same id.
    pub id: TokenId,
    /// blake3 of the secret that its bearer will show. The secret itself stays with the caller.
    pub secret: Digest,
    pub grant: Grant,
    /// For whom the bearer speaks.
    pub subject: Principal,
    /// The protocol that will be spoken to.
    pub audience: String,
    /// Exactly one operation; [`TODO_WORK`] for a todo token.
    pub operation: String,
    /// The kind's own number if not given. Never given for an integration token.
    pub uses: Option<u32>,
    /// The kind's own life if not given.
    pub lifetime: Option<Millis>,
}

/// A token that is shown, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consume {
    pub id: TokenId,
    pub secret: Digest,
    pub audience: String,
    pub operation: String,
    /// Digest of the request that the use pays for. The same request is paid for once, under whichever command id.
    pub request: Digest,
    /// The todo that is worked on: for a todo token always, else never.
    pub todo: Option<u64>,
    /// The artefact that is replaced: for an integration token always, else never.
    pub artefact: Option<Replacement>,
}

/// What became of the effect that a use paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    Succeeded,
    /// There was no effect: the use is given back.
    Refused,
}

/// Why a token was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No longer needed.
    Withdrawn,
    /// The secret may be known to others.
    Compromised,
    /// All tokens of its subject were revoked.
    SubjectRevoked,
    /// The work on its todo ended.
    TodoEnded,
    /// All tokens were revoked.
    AllRevoked,
    /// In the caller's words, up to [`REASON_MAX`] characters.
    Other(Personal),
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Issued(records::IssuedV1),
    /// A use was spent; its outcome is open.
    Consumed(records::ConsumedV1),
    /// The effect of a use happened: the use is closed.
    Settled(records::SettledV1),
    /// The effect of a use was refused: the use is given back.
    Released(records::ReleasedV1),
    /// No outcome came in time: the use stays spent.
    UseUnknown(records::UseUnknownV1),
    Revoked(records::RevokedV2),
    /// Every token that was still alive ended, in one record because they were too many for one each.
    AllRevoked(records::AllRevokedV1),
    Expired(records::ExpiredV1),
    /// All that let a subject act ended, whether there was anything or not.
    SubjectRevoked(records::SubjectRevokedV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Issued {
        id: TokenId,
        kind: Kind,
        uses: u32,
        expires_at: Timestamp,
    },
    Consumed(Consumption),
    Settled {
        spent: TokenUse,
        left: u32,
    },
    /// How many tokens this command ended.
    Revoked {
        tokens: u64,
    },
    /// How many facts the clock recorded.
    Expired {
        facts: u64,
    },
}

/// The answer to [`Consume`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumption {
    /// The use, as it travels in the decision of the effect.
    pub spent: TokenUse,
    /// Uses that remain.
    pub left: u32,
    /// The command that spent the use: another than the caller's if this request was paid for before. Then `already` is
    /// true, there must be no second effect, and the outcome of that command is the answer.
    pub by: CommandId,
    pub already: bool,
    /// What is known of the effect.
    pub state: UseState,
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("this id already names another token")]
    IdTaken,
    #[error("this secret already belongs to another token")]
    SecretTaken,
    #[error("nobody issues a token to himself")]
    OwnSubject,
    #[error("a part of the authority itself is never the subject of a token")]
    InternalSubject,
    #[error("an audience is 1 to {NAME_MAX} letters, digits and . _ : -")]
    BadAudience,
    #[error("an operation is one name of 1 to {NAME_MAX} letters, digits and . _ : -")]
    BadOperation,
    #[error("the audience of a test token begins with \"{TEST_NAMESPACE}\"; that of a token of kind {kind} does not")]
    OutsideNamespace { kind: Kind },
    #[error("the operation \"{TODO_WORK}\" belongs to todo tokens, and they have no other")]
    NotTodoWork,
    #[error("the number of uses is between 1 and {max}, not {asked}")]
    UsesOutOfRange { asked: u32, max: u32 },
    #[error("an integration token has exactly one use")]
    UsesFixed,
    #[error("a lifetime is above zero and up to {max}, not {asked}")]
    LifetimeOutOfRange { asked: Millis, max: Millis },
    #[error("{LIVE_MAX} tokens of this subject are alive, and more are not issued")]
    SubjectFull,
    #[error("{LIVE_MAX} tokens for this todo are alive, and more are not issued")]
    TodoFull,
    #[error("no such token, or not its secret")]
    Unknown,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token expired")]
    Expired { at: Timestamp },
    #[error("all {uses} uses of the token are spent")]
    Exhausted { uses: u32 },
    #[error("the token is for the audience \"{bound}\" only")]
    OtherAudience { bound: String },
    #[error("the token is for the operation \"{bound}\" only")]
    OtherOperation { bound: String },
    #[error("a todo token is for its own todo only, and no other token names one")]
    OtherTodo { bound: Option<u64> },
    #[error("an integration token is for its own artefact only, and no other token names one")]
    OtherArtefact { bound: Option<Replacement> },
    #[error("the token has no use of this number")]
    UnknownUse,
    #[error("the use was already settled the other way")]
    SettledOtherwise,
    #[error("no outcome was known in time, so the use is recorded as unknown and stays spent")]
    SettledLate { by: Timestamp },
    #[error("a reason is up to {REASON_MAX} characters long")]
    ReasonTooLong,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::IdTaken => "tokens.id_taken",
            Self::SecretTaken => "tokens.secret_taken",
            Self::OwnSubject => "tokens.own_subject",
            Self::InternalSubject => "tokens.internal_subject",
            Self::BadAudience => "tokens.bad_audience",
            Self::BadOperation => "tokens.bad_operation",
            Self::OutsideNamespace { .. } => "tokens.outside_namespace",
            Self::NotTodoWork => "tokens.not_todo_work",
            Self::UsesOutOfRange { .. } => "tokens.uses_out_of_range",
            Self::UsesFixed => "tokens.uses_fixed",
            Self::LifetimeOutOfRange { .. } => "tokens.lifetime_out_of_range",
            Self::SubjectFull => "tokens.subject_full",
            Self::TodoFull => "tokens.todo_full",
            Self::Unknown => "tokens.unknown",
            Self::Revoked => "tokens.revoked",
            Self::Expired { .. } => "tokens.expired",
            Self::Exhausted { .. } => "tokens.exhausted",
            Self::OtherAudience { .. } => "tokens.other_audience",
            Self::OtherOperation { .. } => "tokens.other_operation",
            Self::OtherTodo { .. } => "tokens.other_todo",
            Self::OtherArtefact { .. } => "tokens.other_artefact",
            Self::UnknownUse => "tokens.unknown_use",
            Self::SettledOtherwise => "tokens.settled_otherwise",
            Self::SettledLate { .. } => "tokens.settled_late",
            Self::ReasonTooLong => "tokens.reason_too_long",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::IdTaken => "Choose a new id; only a retry of the same request repeats one.",
            Self::SecretTaken => "Draw a new secret from a source of randomness.",
            Self::OwnSubject => "Ask another principal to issue the token.",
            Self::InternalSubject => "Name an operator, an agent or a protocol as the subject.",
            Self::BadAudience => "Give the name of one protocol.",
            Self::BadOperation => "Give the name of one operation; issue one token for each.",
            Self::OutsideNamespace { kind: Kind::Test } => "Prefix the audience with \"test.\".",
            Self::OutsideNamespace { .. } => "Name a production audience, or issue a test token.",
            Self::NotTodoWork => "Use the operation \"todo.work\" for a todo token, and another name for any other.",
            Self::UsesOutOfRange { .. } => "Ask for fewer uses, at least one, or leave the number out.",
            Self::UsesFixed => "Leave the number of uses out.",
            Self::LifetimeOutOfRange { .. } => "Ask for a shorter life above zero, or leave it out.",
            Self::SubjectFull => "Revoke tokens of this subject that are not needed, or wait until some expire.",
            Self::TodoFull => "Revoke tokens of this todo that are not needed, or wait until some expire.",
            Self::Unknown => "Check the id and the secret, or ask for a token.",
            Self::Revoked | Self::Expired { .. } => "Ask for a new token.",
            Self::Exhausted { .. } => "Ask for a new token; a use whose effect is refused comes back by itself.",
            Self::OtherAudience { .. } => "Present the token to its own audience, or ask for one for this audience.",
            Self::OtherOperation { .. } => "Ask for a token for this operation.",
            Self::OtherTodo { .. } => "Name the todo that the token was issued for, or no todo if it was for none.",
            Self::OtherArtefact { .. } => {
                "Name the artefact that the token was issued for, old and new, or none if it was for none."
            }
            Self::UnknownUse => "Settle with the number that the consumption returned.",
            Self::SettledOtherwise => "Nothing to do: the first outcome stands.",
            Self::SettledLate { .. } => {
                "Look the effect up in the audit record, and ask for a new token if one is needed."
            }
            Self::ReasonTooLong => "Shorten the reason.",
        }
        .to_string()
    }
}

/// What a token is good for at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Active,
    /// All uses are spent; one whose effect is refused may still come back.
    Exhausted,
    Expired,
    Revoked,
}

/// What is known of the effect that a use paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UseState {
    Pending,
    Succeeded,
    /// No outcome came in time.
    Unknown,
}

/// A token, as it is shown. The digest of its secret is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: TokenId,
    pub grant: Grant,
    pub subject: Principal,
    pub issuer: Principal,
    pub audience: String,
    pub operation: String,
    pub uses: u32,
    pub left: u32,
    pub issued_at: Timestamp,
    /// First instant at which the token is no longer valid.
    pub expires_at: Timestamp,
    pub state: State,
    pub revocation: Option<Revocation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub at: Timestamp,
    pub reason: Reason,
}

/// The credentials that end soon with none to follow them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// One for each subject, audience and operation; what ends first comes first.
    pub credentials: Vec<Token>,
    /// When there will be more or fewer of them, if nothing happens until then.
    pub next: Option<Timestamp>,
}

/// One use that is spent. A use that was given back is no longer listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub number: u32,
    /// The command that spent it.
    pub command: CommandId,
    pub request: Digest,
    pub at: Timestamp,
    /// First instant at which an outcome comes too late.
    pub settle_by: Timestamp,
    pub state: UseState,
}

/// Which tokens to list; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub kind: Option<Kind>,
    pub subject: Option<Principal>,
    pub audience: Option<String>,
    pub todo: Option<u64>,
    pub state: Option<State>,
}
