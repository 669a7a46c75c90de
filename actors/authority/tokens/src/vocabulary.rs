//! The language of the token authority: all that its callers need to know of it.

use alloc::boxed::Box;
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
/// Longest target, in bytes.
pub const TARGET_MAX: usize = 512;
/// Most operations that the work on a todo may take.
pub const WORK_MAX: usize = 16;
/// How often a token may be derived from one that was derived.
pub const DEPTH_MAX: u8 = 8;
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

/// One operation at one audience.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Work {
    pub audience: String,
    pub operation: String,
}

/// On what the replacement of an artefact rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    /// The todo that the replacement is for.
    pub todo: u64,
    /// Digest of the report that says that the new artefact is valid.
    pub report: Digest,
    /// Who approved it: never the subject of the token.
    pub approver: Principal,
}

/// To what a token is bound besides. Each binding narrows, and none is ever lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// The only thing that it may be used on.
    pub target: Option<String>,
    /// Digest of the only request that it pays for.
    pub request: Option<Digest>,
    /// First instant at which it is valid; until then it is pending. Its life counts from its issue all the same.
    pub not_before: Option<Timestamp>,
    /// Of a todo token: what may be derived from it besides. Up to [`WORK_MAX`].
    pub work: Vec<Work>,
    /// Of an integration token, and always.
    pub backing: Option<Backing>,
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
    /// Bookkeeping of the clock: record what has begun or expired. Nothing waits for it.
    Expire,
    /// Create a token that may do less than another one. Asked by whom the other one speaks for.
    Derive(Derive),
    /// End a token now, and all that was derived from it.
    RevokeTree { id: TokenId, reason: Reason },
    /// End every token that was issued before an instant that has passed, in one commit.
    RevokeBefore { before: Timestamp },
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
    pub bounds: Bounds,
}

/// A token to create out of another one, whose uses it gets. Of a test token it is a test token, else an operation token; its
/// issuer is that of the other one, as who derives grants nothing of his own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derive {
    pub parent: TokenId,
    /// blake3 of the parent's secret, which its holder shows.
    pub held: Digest,
    pub id: TokenId,
    pub secret: Digest,
    pub subject: Principal,
    pub audience: String,
    pub operation: String,
    /// The parent's if not given.
    pub target: Option<String>,
    /// The parent's if not given.
    pub request: Option<Digest>,
    /// One if not given. The parent has them no more, and they do not come back to it.
    pub uses: Option<u32>,
    /// The usual life, or as long as the parent lives, if not given.
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
    /// The todo that is worked on, or that an artefact is replaced for: for a todo token and an integration token always, else
    /// never.
    pub todo: Option<u64>,
    /// The artefact that is replaced: for an integration token always, else never.
    pub artefact: Option<Replacement>,
    /// What it is used on; a token that is bound to no target does not look at it.
    pub target: Option<String>,
    /// The report that the replacement rests on: for an integration token always, else never.
    pub report: Option<Digest>,
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
    /// All tokens of before an epoch were revoked.
    Epoch,
}

/// What has happened. Persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Also of one that was derived: then its parent has the fewer uses.
    Issued(Box<records::IssuedV2>),
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
    /// A token that was pending is valid from now on. Bookkeeping, as an expiry is.
    Activated(records::ActivatedV1),
    /// Every token of before an epoch that was still alive ended.
    RevokedBefore(records::RevokedBeforeV1),
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
    #[error("a target is 1 to {TARGET_MAX} bytes of one line")]
    BadTarget,
    #[error("a token begins before it ends, and this one would end at or before its start")]
    StartsTooLate,
    #[error(
        "up to {WORK_MAX} operations of audiences outside the tests may be named as the work on a todo, and by a todo token only"
    )]
    BadWork,
    #[error(
        "an integration token names its todo, the report of the validation and who approved it; no other token does"
    )]
    Unbacked,
    #[error("nobody approves his own replacement, nor does a part of the authority itself")]
    OwnApproval,
    #[error("nothing is derived from a token of kind {kind}")]
    NotDerivable { kind: Kind },
    #[error("only whom a token speaks for derives from it")]
    NotHolder,
    #[error("what is derived may do no more than what it is derived from, and its {what} would")]
    Widens { what: Narrowed },
    #[error("a token is derived from a derived one {DEPTH_MAX} times at most")]
    TooDeep,
    #[error("the epoch before which all ends has not begun yet")]
    FutureEpoch,
    #[error("no such token, or not its secret")]
    Unknown,
    #[error("the token was revoked")]
    Revoked,
    #[error("the token expired")]
    Expired { at: Timestamp },
    #[error("the token is not valid yet")]
    NotYet { at: Timestamp },
    #[error("the one use of the token was spent on another request, by command {by}")]
    DoubleSpend { by: CommandId },
    #[error("all {uses} uses of the token are spent")]
    Exhausted { uses: u32 },
    #[error("the token is for the audience \"{bound}\" only")]
    OtherAudience { bound: String },
    #[error("the token is for the operation \"{bound}\" only")]
    OtherOperation { bound: String },
    #[error("the token is for the target \"{bound}\" only")]
    OtherTarget { bound: String },
    #[error("the token is for one request only, and this is another")]
    OtherRequest { bound: Digest },
    #[error("an integration token rests on the report of one validation, and no other token names one")]
    OtherReport { bound: Option<Digest> },
    #[error("a todo or integration token is for its own todo only, and no other token names one")]
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
            Self::BadTarget => "tokens.bad_target",
            Self::StartsTooLate => "tokens.starts_too_late",
            Self::BadWork => "tokens.bad_work",
            Self::Unbacked => "tokens.unbacked",
            Self::OwnApproval => "tokens.own_approval",
            Self::NotDerivable { .. } => "tokens.not_derivable",
            Self::NotHolder => "tokens.not_holder",
            Self::Widens { .. } => "tokens.widens",
            Self::TooDeep => "tokens.too_deep",
            Self::FutureEpoch => "tokens.future_epoch",
            Self::NotYet { .. } => "tokens.not_yet",
            Self::DoubleSpend { .. } => "tokens.double_spend",
            Self::OtherTarget { .. } => "tokens.other_target",
            Self::OtherRequest { .. } => "tokens.other_request",
            Self::OtherReport { .. } => "tokens.other_report",
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
            Self::BadTarget => "Give the name of one thing, or none.",
            Self::StartsTooLate => "Let it begin earlier, or live longer.",
            Self::BadWork => "Name each as AUDIENCE/OPERATION, and for a todo token only.",
            Self::Unbacked => {
                "Name the todo, the blake3 of the report and the approver, for an integration token only."
            }
            Self::OwnApproval => "Name whoever else approved it.",
            Self::NotDerivable { .. } => "Ask for a token of its own.",
            Self::NotHolder => "Ask as the subject of the token.",
            Self::Widens { .. } => "Ask for less, or ask somebody who may issue a token for it.",
            Self::TooDeep => "Derive from one that is nearer to what was issued.",
            Self::FutureEpoch => "Name an instant that has passed, or revoke all with an emergency stop.",
            Self::NotYet { .. } => "Wait until it begins.",
            Self::DoubleSpend { .. } => {
                "Look up what it paid for with `sop audit show`; ask for a new token for another request."
            }
            Self::OtherTarget { .. } => "Use it on its own target, or ask for a token for this one.",
            Self::OtherRequest { .. } => "Make the request that it was issued for, to the letter.",
            Self::OtherReport { .. } => "Name the report that it was issued on, or none if it was on none.",
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

/// What of a derived token is no wider than that of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Narrowed {
    Audience,
    Operation,
    Target,
    Request,
    Uses,
    Life,
}

impl fmt::Display for Narrowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audience => "audience",
            Self::Operation => "operation",
            Self::Target => "target",
            Self::Request => "request",
            Self::Uses => "number of uses",
            Self::Life => "life",
        })
    }
}

/// What a token is good for at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was issued, and begins later.
    Pending,
    Active,
    /// All uses are spent or handed on; one whose effect is refused may still come back.
    Consumed,
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
    /// Uses that what was derived from it has instead.
    pub handed_on: u32,
    pub issued_at: Timestamp,
    /// First instant at which the token is valid.
    pub starts_at: Timestamp,
    /// First instant at which the token is no longer valid.
    pub expires_at: Timestamp,
    pub state: State,
    pub target: Option<String>,
    pub request: Option<Digest>,
    /// The todo that it ends with: that of a todo token, and of what was derived from one.
    pub todo: Option<u64>,
    pub work: Vec<Work>,
    pub backing: Option<Backing>,
    pub parent: Option<TokenId>,
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
