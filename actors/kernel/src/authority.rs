//! Who asks, by which decision they may, and how a no is worded.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Malformed, Millis, TokenId};

/// What sort of principal somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kin {
    /// A person who operates the system.
    Operator,
    /// An AI agent; always owned by a person.
    Agent,
    /// A program or actor that takes part as a protocol.
    Protocol,
    /// A program that asks over the API, and takes no part.
    Application,
    /// A route, a worker or the clock of the authority itself: fixed capabilities, unreachable from outside.
    Internal,
}

impl Kin {
    pub const ALL: [Self; 5] = [Self::Operator, Self::Agent, Self::Protocol, Self::Application, Self::Internal];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Agent => "agent",
            Self::Protocol => "protocol",
            Self::Application => "application",
            Self::Internal => "internal",
        }
    }
}

/// Somebody who acts, written `agent/alpha`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    pub kin: Kin,
    name: String,
}

impl Principal {
    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 64;
    /// Longest text form, in bytes.
    pub const TEXT_MAX: usize = "application/".len() + Self::NAME_MAX;

    /// # Errors
    /// [`Malformed`] unless the name is 1 to 64 of the characters `a-z A-Z 0-9 . _ : -`.
    pub fn new(kin: Kin, name: &str) -> Result<Self, Malformed> {
        let fits = !name.is_empty() && name.len() <= Self::NAME_MAX;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        if fits && name.chars().all(plain) {
            Ok(Self { kin, name: name.to_owned() })
        } else {
            Err(Malformed {
                text: name.chars().take(80).collect(),
                expected: "a name of 1 to 64 letters, digits and . _ : -",
            })
        }
    }

    /// A part of the authority itself.
    ///
    /// # Panics
    /// If `name` is not a name; these are written in our own source.
    pub fn internal(name: &str) -> Self {
        Self::new(Kin::Internal, name).expect("the authority names its own parts well")
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kin.as_str(), self.name)
    }
}

impl FromStr for Principal {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed {
            text: text.chars().take(80).collect(),
            expected: "a principal such as operator/root or agent/alpha",
        };
        let (kin, name) = text.split_once('/').ok_or_else(malformed)?;
        let kin = Kin::ALL.into_iter().find(|known| known.as_str() == kin).ok_or_else(malformed)?;
        Self::new(kin, name)
    }
}

impl Serialize for Principal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The use of a token that an effect rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    pub token: TokenId,
    /// Counts from 1.
    pub number: u32,
}

/// Why a command was let in. Stands in the envelope of each record that the command makes; there is no second record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The policy epoch it was judged under; internal principals are judged by their fixed capabilities, under epoch 0.
    pub policy_epoch: u64,
    /// The policies that determined the allow, sorted.
    pub policies: Vec<String>,
    /// Counts every durable change of authority (policies, revocations, the seal): shows what was in flight when it changed.
    pub generation: u64,
    pub token: Option<TokenUse>,
}

/// The step of the door's path that said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The request itself: malformed, oversized, unknown.
    Request,
    /// An emergency stop is in force.
    Seal,
    Authenticate,
    /// The capability: may this principal ask for this at all?
    Admit,
    /// Rates, permits, lockout.
    Limit,
    Policy,
    /// The token the request rests on.
    Token,
    /// The machine that owns the concern refused.
    Decide,
    /// The record could not be made durable.
    Commit,
    /// A part of the authority is down.
    Availability,
}

impl Layer {
    pub const ALL: [Self; 10] = [
        Self::Request,
        Self::Seal,
        Self::Authenticate,
        Self::Admit,
        Self::Limit,
        Self::Policy,
        Self::Token,
        Self::Decide,
        Self::Commit,
        Self::Availability,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Seal => "seal",
            Self::Authenticate => "authenticate",
            Self::Admit => "admit",
            Self::Limit => "limit",
            Self::Policy => "policy",
            Self::Token => "token",
            Self::Decide => "decide",
            Self::Commit => "commit",
            Self::Availability => "availability",
        }
    }
}

/// A no that its reader can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Denial {
    pub layer: Layer,
    /// Stable, dotted, for programs: `token.expired`.
    pub code: String,
    /// What is the case, one sentence.
    pub reason: String,
    /// The rule that said no, where there is one: a policy's id, a capability, a limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// What to do next, one sentence.
    pub remedy: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Millis>,
    /// What alone would have made it an allow, where it is for somebody else to give.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing: Option<Missing>,
}

/// What a request lacked, and nothing else: with it, the same request is allowed by the same policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// How many must have approved exactly this, in all; 0 if no more than had.
    #[serde(skip_serializing_if = "is_nothing", default)]
    pub approvals: u32,
    /// The obligations that must be proven beside those that were.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub proofs: BTreeSet<String>,
    /// How many have approved exactly this so far.
    #[serde(skip_serializing_if = "is_nothing", default)]
    pub have: u32,
    /// The request by which approvals of it were asked for, if they were.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_nothing(count: &u32) -> bool {
    *count == 0
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.approvals {
            0 => {}
            1 => f.write_str("1 approval")?,
            approvals => write!(f, "{approvals} approvals")?,
        }
        for (index, proof) in self.proofs.iter().enumerate() {
            let joint = if index == 0 && self.approvals == 0 { "" } else { " and " };
            write!(f, "{joint}proof of {proof:?}")?;
        }
        Ok(())
    }
}

impl Denial {
    pub fn new(layer: Layer, code: &str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            layer,
            code: code.to_owned(),
            reason: reason.into(),
            rule: None,
            remedy: remedy.into(),
            retry_after: None,
            missing: None,
        }
    }

    pub fn rule(self, rule: impl Into<String>) -> Self {
        Self { rule: Some(rule.into()), ..self }
    }

    pub fn retry_after(self, wait: Millis) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    pub fn missing(self, missing: Missing) -> Self {
        Self { missing: Some(missing), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_reads_back() {
        for text in ["operator/root", "agent/alpha-7", "protocol/ARP", "internal/route.gap-todo"] {
            assert_eq!(text.parse::<Principal>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let missing = |approvals, proofs: &[&str]| {
            let proofs = proofs.iter().map(|&proof| proof.to_owned()).collect();
            Missing { approvals, proofs, ..Missing::default() }.to_string()
        };
        assert_eq!(missing(1, &[]), "1 approval");
        assert_eq!(missing(0, &["manifest"]), "proof of \"manifest\"");
        assert_eq!(missing(2, &["kept", "manifest"]), "2 approvals and proof of \"kept\" and proof of \"manifest\"");
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        let long = "agent/".to_owned() + &"a".repeat(65);
        for text in ["", "root", "king/arthur", "agent/", "agent/a b", "agent/a/b", "agent/é", long.as_str()] {
            assert!(text.parse::<Principal>().is_err(), "{text}");
        }
    }
}
