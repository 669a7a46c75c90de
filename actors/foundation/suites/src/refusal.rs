//! Why an operation can be refused.

use kernel::Refuse;

use crate::{Domain, Suite};

/// A no, worded for who reads it. None of them says anything of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{suite} is not allowed in the domain {domain}")]
    NotAllowed { suite: Suite, domain: Domain },
    #[error("what {suite} made is not accepted in the domain {domain}")]
    NotAccepted { suite: Suite, domain: Domain },
    #[error("{suite} is for checking what others made, and makes nothing new")]
    ChecksOnly { suite: Suite },
    /// The caller asked the policy about another suite than that of the key.
    #[error("the policy was asked about {asked}, and this belongs to {given}")]
    OtherSuite { asked: Suite, given: Suite },
    /// Somebody presents what a weaker suite, or just another one, has made.
    #[error("this was made with {presented}, and {key} is asked for")]
    Downgraded { key: Suite, presented: Suite },
    #[error("{suite} has two halves, and one of them is missing")]
    HalfMissing { suite: Suite },
    #[error("these bytes have not the form of what {suite} makes")]
    Malformed { suite: Suite },
    #[error("this has no form that is known here")]
    Unreadable,
    #[error("these bytes are no key of {suite}, or none that may be used")]
    BadKey { suite: Suite },
    #[error("the signature is not right")]
    Forged,
    #[error("the digest is another one")]
    OtherContent,
    #[error("this is not what this key sealed for this purpose")]
    NotOpened,
    #[error("this key of {suite} has sealed as much as it may")]
    Worn { suite: Suite },
    #[error("{suite} takes no secret of this length")]
    BadLength { suite: Suite },
    #[error("this is no text that a signed note can have")]
    NoNote,
    #[error("{suite} cannot do this")]
    NoSuchUse { suite: Suite },
    #[error("the provider of {suite} failed")]
    Provider { suite: Suite },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "suites.not_allowed",
            Self::NotAccepted { .. } => "suites.not_accepted",
            Self::ChecksOnly { .. } => "suites.checks_only",
            Self::OtherSuite { .. } => "suites.other_suite",
            Self::Downgraded { .. } => "suites.downgraded",
            Self::HalfMissing { .. } => "suites.half_missing",
            Self::Malformed { .. } => "suites.malformed",
            Self::Unreadable => "suites.unreadable",
            Self::BadKey { .. } => "suites.bad_key",
            Self::Forged => "suites.forged",
            Self::OtherContent => "suites.other_content",
            Self::NotOpened => "suites.not_opened",
            Self::Worn { .. } => "suites.worn",
            Self::BadLength { .. } => "suites.bad_length",
            Self::NoNote => "suites.no_note",
            Self::NoSuchUse { .. } => "suites.no_such_use",
            Self::Provider { .. } => "suites.provider",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NotAllowed { .. } => {
                "use a suite that the policy allows there, or allow this one in its configuration"
            }
            Self::NotAccepted { .. } => {
                "have it made again with a suite that the policy accepts there, or accept this one in its configuration"
            }
            Self::ChecksOnly { suite } => {
                return suite.sunset().map_or_else(String::new, |sunset| format!("use {}", sunset.instead));
            }
            Self::OtherSuite { .. } => "ask for the suite of the key",
            Self::Downgraded { .. } | Self::HalfMissing { .. } => {
                "take it for forged; if it is your own, have it made again with the suite of the key"
            }
            Self::Malformed { .. } | Self::Unreadable => "give the bytes as they were made, whole",
            Self::BadKey { .. } => "give a key of this suite, in the one form that it has",
            Self::Forged | Self::OtherContent => "do not rely on the content; get it again from who made it",
            Self::NotOpened => "give the key that sealed it, and the same purpose and subject",
            Self::Worn { .. } => "rotate the key",
            Self::BadLength { .. } => "use aes-256-kwp, which takes every length but none",
            Self::NoNote => "give whole lines, none of them empty, without control characters",
            Self::NoSuchUse { .. } => "use x25519, or encapsulate",
            Self::Provider { .. } => "repeat it; if it fails again, the machine has a fault",
        }
        .to_owned()
    }
}
