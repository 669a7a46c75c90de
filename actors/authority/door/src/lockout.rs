//! Lockout: who shows wrong secrets for a credential waits, each time longer.
//!
//! By credential and source, and of tokens of others by issuer and source: nobody keeps another's credential out of the door from
//! elsewhere. In memory, and of this node alone: a start forgets it, which gains a guesser of 256 bits nothing.
//!
//! # Invariants
//! 1. Nobody waits before [`FREE`] failures, and nobody longer than [`LONGEST`].
//! 2. What is kept is bounded, whatever ids are made up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use identity::CredentialId;
use kernel::{Millis, Timestamp};

use crate::Source;

/// The failure that locks for the first time.
const FREE: u32 = 5;
const FIRST: Millis = Millis::seconds(1);
const LONGEST: Millis = Millis::minutes(15);
/// Pairs of credential and source that are kept.
const KEPT_MAX: usize = 10_000;

/// What is guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// The secret of a credential.
    Credential(CredentialId),
    /// A signature of an issuer elsewhere, by its place among those who are believed.
    Issuer(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Lockout(Mutex<BTreeMap<(Named, Source), Failures>>);

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// First instant at which the next one is looked at.
    until: Timestamp,
}

impl Lockout {
    /// How long it still is until a secret for it from there is looked at; `None` if it is now.
    pub fn wait(&self, named: Named, source: Source, now: Timestamp) -> Option<Millis> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = kept.get(&(named, source))?.until;
        // No longer than the longest, also by a clock that went back.
        (now < until).then(|| Millis((until.0 - now.0).min(LONGEST.0)))
    }

    /// A wrong secret was shown. Gives the wait that follows, if one does.
    pub fn failed(&self, named: Named, source: Source, now: Timestamp) -> Option<Millis> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT_MAX <= kept.len() && !kept.contains_key(&(named, source)) {
            let first = kept.iter().min_by_key(|(_, failures)| failures.until).map(|(key, _)| *key);
            first.map(|key| kept.remove(&key));
        }
        let failures = kept.entry((named, source)).or_default();
        // Who has been quiet for as long as the longest wait begins anew.
        if failures.count != 0 && failures.until + LONGEST <= now {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        let wait =
            failures.count.checked_sub(FREE).map(|more| FIRST.0.saturating_mul(1 << more.min(20)).min(LONGEST.0));
        failures.until = now + Millis(wait.unwrap_or_default());
        wait.map(Millis)
    }

    /// The right one was shown.
    pub fn succeeded(&self, named: Named, source: Source) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(named, source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Source = Source::User(7);
    const KEY: Named = Named::Credential(CredentialId(1));
    const NOON: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn waits_grow_to_a_limit_and_end_with_success() {
        let lockout = Lockout::default();
        let mut now = NOON;
        let mut waits = Vec::new();
        for _ in 0..17 {
            let wait = lockout.failed(KEY, HERE, now);
            assert_eq!(lockout.wait(KEY, HERE, now), wait);
            waits.extend(wait.map(|wait| wait.0 / 1_000));
            now = now + wait.unwrap_or_default();
            assert_eq!(lockout.wait(KEY, HERE, now), None, "at its end the next one is looked at");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(lockout.wait(KEY, Source::User(8), NOON), None, "from elsewhere nobody is kept out");
        assert_eq!(lockout.wait(Named::Issuer(1), HERE, NOON), None, "nor is another one");
        lockout.succeeded(KEY, HERE);
        assert_eq!(lockout.failed(KEY, HERE, now), None, "who is known begins anew");
    }

    #[test]
    fn who_is_quiet_begins_anew_and_what_is_kept_is_bounded() {
        let lockout = Lockout::default();
        for _ in 0..FREE {
            lockout.failed(KEY, HERE, NOON);
        }
        assert_eq!(lockout.wait(KEY, HERE, NOON), Some(FIRST));
        assert_eq!(lockout.wait(KEY, HERE, Timestamp(0)), Some(LONGEST), "by a clock that went back");
        assert_eq!(lockout.failed(KEY, HERE, NOON + FIRST + LONGEST), None);
        for id in 0..KEPT_MAX as u64 + 100 {
            lockout.failed(Named::Credential(CredentialId(id)), HERE, NOON + Millis(id));
        }
        assert_eq!(lockout.0.lock().unwrap().len(), KEPT_MAX);
    }
}
