//! Why evidence does not prove what was asked for.

use kernel::{Digest, Millis, Refuse};

/// Each has a code of its own, as each is mended by somebody else. Worded for whoever gave the evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the evidence cannot be read: {what}")]
    Malformed { what: String },
    #[error("the evidence is longer than {} bytes", crate::EVIDENCE_MAX)]
    TooLong,
    #[error("the {algorithm} of the evidence is {found}, and {expected} is asked for")]
    WrongDigest { algorithm: &'static str, expected: Digest, found: Digest },
    #[error("the request has no digest in its argument {argument:?}")]
    NoArgument { argument: String },
    #[error("the files are not those of the manifest: {differences}{}", and_more(*more))]
    WrongManifest { differences: String, more: usize },
    #[error("a signature is not right, or not of the key that it must be of: {what}")]
    BadSignature { what: String },
    #[error("what was signed is too old")]
    SignedTooLongAgo,
    #[error("it is about another goal, not about {goal}")]
    WrongGoal { goal: Digest },
    #[error("the prover says that it is not so")]
    Refuted,
    #[error("the prover answers with the kernel {found}, and {expected} is asked for")]
    WrongKernel { expected: Digest, found: String },
    #[error("the prover does not answer as provers do: {what}")]
    Garbage { what: String },
    #[error("the prover answers with more than {max} bytes")]
    Oversized { max: usize },
    #[error("the prover does not answer within {within}")]
    TimedOut { within: Millis },
    #[error("the prover cannot be asked: {why}")]
    Unreachable { why: String },
    #[error("there is no record of a decision {id}")]
    NoDecision { id: String },
    #[error("that decision is {what}")]
    OtherDecision { what: String },
    #[error("that decision was made longer than {within} ago")]
    DecidedTooLongAgo { within: Millis },
    #[error("the policies in force would not allow it again: {why}")]
    NotAllowedNow { why: String },
    #[error("it cannot be checked now: {why}")]
    Unchecked { why: String },
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} more") }
}

impl Refuse for Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "proofs.malformed",
            Self::TooLong => "proofs.too_long",
            Self::WrongDigest { .. } => "proofs.wrong_digest",
            Self::NoArgument { .. } => "proofs.no_argument",
            Self::WrongManifest { .. } => "proofs.wrong_manifest",
            Self::BadSignature { .. } => "proofs.bad_signature",
            Self::SignedTooLongAgo => "proofs.signed_too_long_ago",
            Self::WrongGoal { .. } => "proofs.wrong_goal",
            Self::Refuted => "proofs.refuted",
            Self::WrongKernel { .. } => "proofs.wrong_kernel",
            Self::Garbage { .. } => "proofs.garbage",
            Self::Oversized { .. } => "proofs.oversized",
            Self::TimedOut { .. } => "proofs.timeout",
            Self::Unreachable { .. } => "proofs.unreachable",
            Self::NoDecision { .. } => "proofs.no_decision",
            Self::OtherDecision { .. } => "proofs.other_decision",
            Self::DecidedTooLongAgo { .. } => "proofs.decided_too_long_ago",
            Self::NotAllowedNow { .. } => "proofs.not_allowed_now",
            Self::Unchecked { .. } => "proofs.unchecked",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Malformed { .. } => "give evidence in the form that docs/proof-gate.md has for this kind of verifier",
            Self::TooLong => "give less, or have an external prover check it",
            Self::WrongDigest { .. } | Self::WrongManifest { .. } => {
                "give the content that is asked for; if that has changed for good, an operator declares it with `sop proof declare`"
            }
            Self::NoArgument { .. } => "name the digest in the request, or ask an operator to pin it with `sop proof declare`",
            Self::BadSignature { .. } => "have the goal signed by whoever `sop proof verifiers` names",
            Self::SignedTooLongAgo => "have the goal signed anew",
            Self::WrongGoal { .. } => "see the goal with `--prove NAME`, and prove that",
            Self::Refuted => "look at what would be done: it is not as the policy demands",
            Self::WrongKernel { .. } | Self::Garbage { .. } | Self::Oversized { .. } => {
                "an operator looks at the prover, and declares it with `sop proof declare` if it has changed for good"
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => "see that the prover runs, and repeat the command",
            Self::NoDecision { .. } | Self::OtherDecision { .. } => {
                "name the command id of what was allowed: see `sop audit list`"
            }
            Self::DecidedTooLongAgo { .. } | Self::NotAllowedNow { .. } => "do it again, and name that",
            Self::Unchecked { .. } => "see `sop status`; repeat the command once all is well",
        }
        .to_owned()
    }
}
