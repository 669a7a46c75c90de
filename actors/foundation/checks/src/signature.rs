//! Signed statements of a goal, by a pinned key or by one that it vouches for, over any number of steps up to [`CHAIN_MAX`].
//!
//! Evidence is a JSON list of signed notes: the statement last, and before it those that vouch, from the root on.
//!
//! ```text
//! sop delegation v1            sop proof v1
//! proof NAME                   goal DIGEST
//! key VKEY                     until MILLISECONDS
//! until MILLISECONDS
//! ```

use evidence::note::PublicKey;
use kernel::Timestamp;
use proofs::Goal;

use crate::Failure;

/// Most notes in a chain.
pub const CHAIN_MAX: usize = 8;

/// What a signer states.
pub fn statement(goal: &Goal, until: Timestamp) -> String {
    format!("sop proof v1\ngoal {}\nuntil {}\n", goal.digest(), until.0)
}

/// What whoever vouches for another key signs.
pub fn delegation(proof: &str, key: &PublicKey, until: Timestamp) -> String {
    format!("sop delegation v1\nproof {proof}\nkey {key}\nuntil {}\n", until.0)
}

/// Does `root`, or one it vouches for, state the goal?
///
/// # Errors
/// [`Failure`].
pub fn check(root: &str, goal: &Goal, evidence: &[u8], now: Timestamp) -> Result<(), Failure> {
    let malformed = |what: &str| Failure::Malformed { what: what.to_owned() };
    let notes: Vec<String> = serde_json::from_slice(evidence).map_err(|error| malformed(&error.to_string()))?;
    let Some((statement, vouched)) = notes.split_last() else { return Err(malformed("there is nothing in it")) };
    if CHAIN_MAX < notes.len() {
        return Err(malformed("the chain is too long"));
    }
    let mut key = parsed(root)?;
    for note in vouched {
        let [proof, next, until] = signed(&key, note, "sop delegation v1", ["proof", "key", "until"])?;
        if proof != goal.proof {
            return Err(Failure::BadSignature { what: format!("{} vouches for {proof:?} only", key.name()) });
        }
        in_time(&until, now)?;
        key = parsed(&next)?;
    }
    let [about, until] = signed(&key, statement, "sop proof v1", ["goal", "until"])?;
    let digest = goal.digest();
    if about.parse() != Ok(digest) {
        return Err(Failure::WrongGoal { goal: digest });
    }
    in_time(&until, now)
}

fn in_time(until: &str, now: Timestamp) -> Result<(), Failure> {
    let until = until.parse().map_err(|_| Failure::Malformed { what: "until is no time".to_owned() })?;
    if now < Timestamp(until) { Ok(()) } else { Err(Failure::SignedTooLongAgo) }
}

fn parsed(key: &str) -> Result<PublicKey, Failure> {
    PublicKey::parse(key).map_err(|error| Failure::BadSignature { what: error.to_string() })
}

/// The fields of a note that `key` signed: a title, and a line each.
pub(crate) fn signed<const N: usize>(
    key: &PublicKey,
    note: &str,
    title: &str,
    fields: [&str; N],
) -> Result<[String; N], Failure> {
    let text = key.open(note).map_err(|error| Failure::BadSignature { what: format!("{error} ({})", key.name()) })?;
    fields_of(text, title, fields).ok_or_else(|| Failure::Malformed { what: format!("it is no {title:?}") })
}

fn fields_of<const N: usize>(text: &str, title: &str, fields: [&str; N]) -> Option<[String; N]> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != title {
        return None;
    }
    let mut values = [const { String::new() }; N];
    for (value, field) in values.iter_mut().zip(fields) {
        lines.next()?.strip_prefix(field)?.strip_prefix(' ')?.clone_into(value);
    }
    lines.next().is_none().then_some(values)
}
