//! Tokens in their bearer form: somebody else has found that the authority signed it and that the token is on record; here is said
//! what it is asked to be good for, and kept what it says of that.
//!
//! # Invariants
//! 1. What it is asked to be good for is the request itself, as the door has it: nothing of it is said by who shows it.
//! 2. Whose signature does not count is a stranger. Whose token has ended, or was narrowed to something else, is somebody known.

use std::sync::Arc;

use kernel::{Denial, Digest, Layer, Principal, Timestamp, TokenId};

/// How the text of every bearer form begins, and nothing else that is shown.
pub(crate) const PREFIX: &str = "sop_bt_";

/// What a token is asked to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought<'a> {
    /// Nobody, where a protocol has taken the authority's own name.
    pub audience: Option<&'a str>,
    pub operation: &'a str,
    /// What the operation is a part of, of work on a todo.
    pub work: Option<&'a str>,
    pub target: &'a str,
    pub now: Timestamp,
}

/// One who handed it on, as that one says himself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    pub from: Principal,
    pub to: Principal,
    /// The key that it was said with, if one was.
    pub key: Option<String>,
}

/// A token on record in its bearer form, whose signatures count.
pub trait Carries: Send + Sync {
    fn token(&self) -> TokenId;

    /// What signed it.
    fn signed_by(&self) -> String;

    fn hands(&self) -> Vec<Hand>;

    /// Whether something was added to what was minted.
    fn is_narrowed(&self) -> bool;

    /// Whether it is good for that, as far as it says itself.
    ///
    /// # Errors
    /// What is not met.
    fn permits(&self, sought: &Sought<'_>) -> Result<(), Denial>;
}

/// Reads bearer forms. Waits for nobody.
pub trait Carriers: Send + Sync {
    /// The token that this text stands for, ended or not.
    ///
    /// # Errors
    /// It has another form, its signatures do not count, or no such token is on record.
    fn read(&self, text: &str, now: Timestamp) -> Result<Arc<dyn Carries>, Denial>;

    /// Counts what ends forms and is no record of tokens.
    fn generation(&self) -> u64;
}

/// There are no such forms.
#[derive(Debug)]
pub(crate) struct NoForms;

impl Carriers for NoForms {
    fn read(&self, _: &str, _: Timestamp) -> Result<Arc<dyn Carries>, Denial> {
        let reason = "this program reads no bearer forms of tokens";
        Err(Denial::new(Layer::Authenticate, "door.malformed_credential", reason, "show the token's secret"))
    }

    fn generation(&self) -> u64 {
        0
    }
}

/// What was shown, for the judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    pub token: TokenId,
    /// What the registry knows it by.
    pub secret: Digest,
    pub signed_by: String,
    pub hands: Vec<Hand>,
    pub is_narrowed: bool,
    /// Whether it says itself that it is good for the request.
    pub permitted: Result<(), Denial>,
}

impl Carried {
    /// What the record says of it, beside the policies that permitted it: who signed it, and through whose hands it came.
    pub(crate) fn marks(&self) -> impl Iterator<Item = String> {
        let hand = |(number, Hand { from, to, key }): (usize, &Hand)| {
            let by = key.as_deref().map_or("unsigned", |key| key.get(..KEY_SHOWN).unwrap_or(key));
            format!("handed-on:{:02}:{from}>{to}:{by}", number + 1)
        };
        [format!("bearer:{}", self.signed_by)].into_iter().chain(self.hands.iter().enumerate().map(hand))
    }
}

/// So much of a key is enough to tell it from others.
const KEY_SHOWN: usize = "ed25519/".len() + 16;

/// A denial of who is nobody, but for what is no verdict.
pub(crate) fn stranger(denial: Denial) -> Denial {
    if denial.layer == Layer::Availability {
        return denial;
    }
    Denial { layer: Layer::Authenticate, ..denial }.rule("bearer form")
}

/// A denial of who is known, by what his form says.
pub(crate) fn not_for(token: TokenId, denial: Denial) -> Denial {
    if denial.layer == Layer::Availability {
        return denial;
    }
    Denial { layer: Layer::Admit, ..denial }.rule(format!("token {token}"))
}

/// What was taken off does not reach what would be derived.
pub(crate) fn underivable() -> Denial {
    let reason = "the form was narrowed or handed on, and what is derived would not be";
    let remedy = "narrow it further with `sop token attenuate`, or derive with the form that was minted or its secret";
    Denial::new(Layer::Admit, "bearer.narrowed", reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_says_through_whose_hands_it_came_in_their_order() {
        let hand = |from: &str, to: &str, key: Option<&str>| Hand {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            key: key.map(ToOwned::to_owned),
        };
        let key = format!("ed25519/{}", "ab".repeat(32));
        let carried = Carried {
            token: TokenId(7),
            secret: Digest::default(),
            signed_by: "token-root.2".into(),
            hands: vec![hand("agent/z", "agent/b", Some(&key)), hand("agent/b", "agent/c", None)],
            is_narrowed: true,
            permitted: Ok(()),
        };
        let mut marks: Vec<_> = carried.marks().collect();
        marks.sort();
        assert_eq!(
            marks,
            [
                "bearer:token-root.2",
                "handed-on:01:agent/z>agent/b:ed25519/abababababababab",
                "handed-on:02:agent/b>agent/c:unsigned"
            ]
        );
    }
}
