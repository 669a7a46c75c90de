//! The language of the proofs: all that their callers need to know of them.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use kernel::{CommandId, Digest, Millis, Principal, Refuse, Timestamp};
use serde::{Deserialize, Serialize};

use crate::records;

/// Longest name of a proof, in bytes: as long as a standing can carry.
pub const NAME_MAX: usize = 64;
/// Longest name of an action, in bytes.
pub const ACTION_MAX: usize = 64;
/// Longest resource, in bytes: a path fits.
pub const RESOURCE_MAX: usize = 4_096;
/// Longest signed text of a receipt, in bytes.
pub const NOTE_MAX: usize = 16_384;
/// Longest public key, in bytes of its text.
pub const KEY_MAX: usize = 256;
/// Longest address of a prover, in bytes.
pub const URL_MAX: usize = 512;
/// Longest name of an argument, in bytes.
pub const ARGUMENT_MAX: usize = 64;
/// Longest path in a manifest, in bytes.
pub const PATH_MAX: usize = 255;
/// Most that a manifest weighs: each file with its path and 40 bytes.
pub const MANIFEST_MAX: usize = 32_768;
/// The longest that a prover is waited for.
pub const TIMEOUT_MAX: Millis = Millis::seconds(20);
/// Most verifiers.
pub const VERIFIERS_MAX: usize = 256;
/// Most receipts of one principal that are good for something.
pub const LIVE_MAX: usize = 64;
/// The longest that a receipt can be good for something.
pub const LIFETIME_MAX: Millis = Millis::hours(1);
/// How long a receipt is shown after it has expired: longer than any command id is taken.
pub const KEPT: Millis = Millis::hours(48);

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Say how the proof of this name is checked from now on.
    Declare { name: String, verifier: Verifier },
    /// There is no such proof any more.
    Withdraw { name: String },
    /// The door's: evidence was checked, and held. Who asks is who gave it.
    Receive(Box<Checked>),
    /// The door's: spends receipts on a command, all of them or none, before its effect is tried.
    Spend(Spend),
    /// The door's: there will be no effect under this command id, so what was spent on it is given back.
    Release { command: CommandId },
    /// Bookkeeping of the clock: forget what is of no use to anybody. Nothing waits for it.
    Forget,
}

/// How evidence is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// The evidence is a content with this digest.
    Digest { algorithm: Algorithm, expected: Expected },
    /// The evidence is exactly these files: path to SHA-256.
    Manifest { files: BTreeMap<String, Digest> },
    /// The evidence is a statement of the goal, signed by this key or by one that it vouches for.
    Signature { root: String },
    /// The evidence is a recorded decision: an allow of this action, which the policies in force still allow.
    PolicyTrace { action: String, within: Option<Millis> },
    /// A prover at this address says so: with this kernel, under this key, within this time.
    External { url: String, kernel: Digest, key: String, timeout: Millis },
}

impl Verifier {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Digest { .. } => "digest",
            Self::Manifest { .. } => "manifest",
            Self::Signature { .. } => "signature",
            Self::PolicyTrace { .. } => "policy-trace",
            Self::External { .. } => "external",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Sha256,
    Blake3,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

/// Where the digest stands that a content must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Here.
    Pinned(Digest),
    /// In the request itself: in its argument of this name.
    Argument(String),
}

/// What was checked, and for what exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The name of the proof.
    pub proof: String,
    /// By which declaration of it.
    pub revision: u64,
    pub action: String,
    pub resource: String,
    /// Digest of what exactly would be done.
    pub content: Digest,
    /// What the thing that it would be done to was; none where nothing single is meant.
    pub target: Option<Digest>,
    /// Digest of the goal: of all of the above.
    pub goal: Digest,
    /// Digest of what was given.
    pub evidence: Digest,
    /// First instant at which the receipt is good for nothing any more.
    pub expires_at: Timestamp,
    /// The same, signed by the authority.
    pub note: String,
}

/// What receipts are to be spent on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    pub receipts: BTreeSet<u64>,
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
    /// In boxes, as they are larger than the others.
    Declared(Box<records::DeclaredV1>),
    Withdrawn(records::WithdrawnV1),
    Received(Box<records::ReceivedV1>),
    Spent(records::SpentV1),
    /// The effect was refused: the receipt is given back.
    Released(records::ReleasedV1),
    Forgotten(records::ForgottenV1),
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Declared {
        revision: u64,
    },
    Withdrawn,
    Received {
        receipt: u64,
        expires_at: Timestamp,
    },
    Spent,
    Released {
        receipts: u64,
    },
    /// How many receipts the clock took away.
    Forgotten {
        receipts: u64,
    },
}

/// Why the answer can be no. Worded for the caller, who gets to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("a proof has a name of 1 to {NAME_MAX} of the characters a-z 0-9 . _ -")]
    Name,
    #[error("{what} is over the limit of {max}")]
    TooLong { what: String, max: u32 },
    #[error("{what} is missing")]
    Empty { what: String },
    #[error("a prover is waited for above zero and up to {TIMEOUT_MAX}, not {asked}")]
    TimeoutOutOfRange { asked: Millis },
    #[error("there are {VERIFIERS_MAX} verifiers, and more are not taken")]
    TooManyVerifiers,
    #[error("no verifier is declared for {name:?}")]
    UnknownVerifier { name: String },
    #[error("there is no such receipt")]
    Unknown,
    #[error("only the door keeps receipts")]
    DoorOnly,
    #[error("a receipt is good above zero and up to {LIFETIME_MAX}")]
    LifetimeOutOfRange,
    #[error("{LIVE_MAX} receipts of this principal are not spent, and more are not taken")]
    TooMany,
    #[error("the receipt is not yours")]
    NotYours,
    #[error("what is asked now is not what was proven")]
    OtherContent,
    #[error("the receipt expired")]
    Expired { at: Timestamp },
    #[error("the receipt is spent, on the command {command}")]
    Used { command: CommandId },
    #[error("what it was proven for has changed since")]
    Stale,
    #[error("how it is checked has changed since it was")]
    VerifierChanged,
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Name => "proofs.name",
            Self::TooLong { .. } => "proofs.too_long",
            Self::Empty { .. } => "proofs.empty",
            Self::TimeoutOutOfRange { .. } => "proofs.timeout_out_of_range",
            Self::TooManyVerifiers => "proofs.too_many_verifiers",
            Self::UnknownVerifier { .. } => "proofs.unknown_verifier",
            Self::Unknown => "proofs.unknown",
            Self::DoorOnly => "proofs.door_only",
            Self::LifetimeOutOfRange => "proofs.lifetime_out_of_range",
            Self::TooMany => "proofs.too_many",
            Self::NotYours => "proofs.not_yours",
            Self::OtherContent => "proofs.other_content",
            Self::Expired { .. } => "proofs.expired",
            Self::Used { .. } => "proofs.used",
            Self::Stale => "proofs.stale",
            Self::VerifierChanged => "proofs.verifier_changed",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Name => "Name it as the policy does, such as manifest.",
            Self::TooLong { .. } => "Declare less: split it into several proofs.",
            Self::Empty { .. } => "Say it, or declare another kind of verifier.",
            Self::TooManyVerifiers => "Withdraw what no policy asks for.",
            Self::UnknownVerifier { .. } => {
                "An operator declares one with `sop proof declare`; see `sop proof verifiers`."
            }
            Self::Unknown => "See `sop proof list`.",
            Self::DoorOnly => "Give the command itself with --prove: the door finds the receipt.",
            Self::TimeoutOutOfRange { .. } | Self::LifetimeOutOfRange => "Ask for a shorter time above zero.",
            Self::TooMany => "Spend them, or wait until some expire.",
            Self::NotYours => "Prove it yourself: the same command with --prove NAME=EVIDENCE.",
            Self::OtherContent => "Repeat exactly what was proven, or prove this: the same command with --prove NAME=EVIDENCE.",
            Self::Expired { .. } | Self::VerifierChanged => {
                "Prove it again: the same command with --prove NAME=EVIDENCE."
            }
            Self::Used { .. } => {
                "Repeat under that command id to learn what became of it; for another time, prove it again with --prove NAME=EVIDENCE."
            }
            Self::Stale => "Look at it again, and prove it as it is now with --prove NAME=EVIDENCE.",
        }
        .to_owned()
    }
}

/// How a receipt stands at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It can be spent, once.
    Live,
    Spent,
    Expired,
    /// Its verifier was declared anew, or withdrawn.
    Void,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Live, Self::Spent, Self::Expired, Self::Void];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Spent => "spent",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

/// A verifier, as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// Counts every declaration.
    pub revision: u64,
    pub verifier: Verifier,
    pub by: Principal,
    pub at: Timestamp,
}

/// A receipt, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub number: u64,
    /// The id of the check.
    pub check: CommandId,
    pub asker: Principal,
    pub checked: Checked,
    pub at: Timestamp,
    pub state: State,
    pub spent: Option<Spent>,
}

impl Receipt {
    pub fn is_held_by(&self, command: CommandId) -> bool {
        self.spent.is_some_and(|spent| spent.command == command)
    }

    /// Why nothing can begin to spend it now; `None` if something can.
    pub fn obstacle(&self) -> Option<Refusal> {
        match self.state {
            State::Live => None,
            State::Spent => self.spent.map(|Spent { command, .. }| Refusal::Used { command }),
            State::Expired => Some(Refusal::Expired { at: self.checked.expires_at }),
            State::Void => Some(Refusal::VerifierChanged),
        }
    }
}

/// What a receipt was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub command: CommandId,
    pub at: Timestamp,
}

/// Which receipts to list; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    pub state: Option<State>,
    pub asker: Option<Principal>,
    pub proof: Option<String>,
    pub action: Option<String>,
}
