//! What the keystore signs beside the key of the tile log: a further line in checkpoints, attestations and receipts, and what
//! such a line comes to later.
//!
//! # Invariants
//! 1. A line is of the key that is in use by the durable records, and of no other.
//! 2. Nothing waits for it: the key is at hand, or there is no line, and since when that is so is known.
//! 3. A line is judged by the key that made it and the record that it is of, whatever became of the key since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto::{Crypto, KeyId, Purpose, Verdict, Version};
use door::Follower;
use evidence::beside::{self, Signature};
use evidence::{Beside, BesideKey, What};
use host::Clock;
use kernel::{Denial, Layer, Timestamp};
use keystore::KeystoreError;
use suites::Policy;
use suites::signing::{PublicKey, Signed};
use vault::{Point, VaultError};
use workers::custodian::{Safe, name, signature, told, used};

use crate::manifests::{self, Manifest};

/// What else a receipt has in it that is signed with a line more: its first line, and the log's own signature.
const AROUND: usize = 1_024;

/// Signs with the key in use, if it is at hand.
pub struct Signer {
    keys: Arc<Follower<Crypto>>,
    safe: Safe,
    clock: Clock,
    missed: Mutex<BTreeMap<Purpose, Missed>>,
}

/// A key is in use, and what it is for is not signed with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub key: KeyId,
    pub since: Timestamp,
    pub why: Denial,
}

impl Signer {
    pub fn new(keys: &Arc<Follower<Crypto>>, safe: &Safe, clock: &Clock) -> Self {
        Self { keys: keys.clone(), safe: safe.clone(), clock: clock.clone(), missed: Mutex::default() }
    }

    /// Whether all keys that are on record are known.
    pub fn knows_keys(&self) -> bool {
        self.keys.is_whole()
    }

    /// What was not signed when it was made, although a key was in use for it, and would not be now.
    pub fn missed(&self) -> BTreeMap<Purpose, Missed> {
        let missed = self.held().clone();
        missed.into_iter().filter(|(purpose, missed)| self.misses(*purpose, missed.key)).collect()
    }

    fn misses(&self, purpose: Purpose, key: KeyId) -> bool {
        let active = self.keys.read(|keys| keys.active(purpose).map(|(key, version)| (key, version.id)));
        let Some((_, id)) = active.filter(|(active, _)| *active == key) else { return false };
        let store = self.safe.store().filter(|_| self.safe.sealed().is_none());
        !store.is_some_and(|store| store.is_at_hand(name(purpose, id, key.version)))
    }

    /// The line of the key in use, in a note of `text` under the name of the log.
    ///
    /// # Errors
    /// Why there is none, and which key should have made it; nothing, if none is in use.
    pub fn sign(&self, purpose: Purpose, log: &str, text: &str) -> Result<String, Option<(KeyId, Denial)>> {
        let in_use = |keys: &Crypto| {
            let (key, version) = keys.active(purpose)?;
            Some((key, version.id, vkey(log, key, version)?))
        };
        let (key, id, vkey) = self.keys.read(in_use).ok_or(None)?;
        let no = |why: Denial| Some((key, why));
        let store = match (self.safe.store(), self.safe.sealed()) {
            (Some(store), None) => store,
            (_, why) => return Err(no(why.unwrap_or_else(|| told(&KeystoreError::Sealed)))),
        };
        let (_, bound) = used(purpose);
        match store.sign_at_hand(name(purpose, id, key.version), bound, text.as_bytes()) {
            Some(Ok(signed)) => Ok(vkey.line(&signed.to_bytes())),
            Some(Err(error)) => Err(no(told(&error))),
            None if self.safe.trouble().is_some() => Err(self.safe.trouble().and_then(no)),
            None => {
                let (reason, remedy) =
                    (format!("{key} is not opened yet"), "wait a moment; then see `sop crypto status`");
                Err(no(Denial::new(Layer::Availability, "crypto.not_at_hand", reason, remedy)))
            }
        }
    }

    /// The line of the key in use, if there is one; else it is remembered since when there is none.
    pub fn line_of(&self, purpose: Purpose, log: &str, text: &str) -> Option<String> {
        let signed = self.sign(purpose, log, text);
        let mut missed = self.held();
        match signed {
            Ok(line) => {
                missed.remove(&purpose);
                Some(line)
            }
            Err(None) => {
                missed.remove(&purpose);
                None
            }
            Err(Some((key, why))) => {
                let since = missed.get(&purpose).map_or_else(|| self.clock.now(), |missed| missed.since);
                missed.insert(purpose, Missed { key, since, why });
                None
            }
        }
    }

    /// What comes of the signature of a backup by that name, by the keys that are on record.
    ///
    /// # Errors
    /// As [`manifests::judge`].
    pub fn judge(&self, point: &Point, name: &str) -> Result<Manifest, VaultError> {
        self.keys.read(|keys| manifests::judge(keys, self.safe.policy(), point, name))
    }

    /// What comes of the lines of a note of the log, whose own signature was checked.
    pub fn judged(&self, purpose: Purpose, log: &str, record: impl FnMut() -> u64, note: &str) -> Vec<Judged> {
        self.keys.read(|keys| judged(keys, self.safe.policy(), purpose, log, record, note))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Purpose, Missed>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beside for Signer {
    fn line(&self, what: What, log: &str, text: &str) -> Option<String> {
        let purpose = match what {
            What::Checkpoint | What::Attestation => Purpose::Checkpoints,
            What::Receipt => Purpose::Receipts,
        };
        let line = self.line_of(purpose, log, text)?;
        let fits = what != What::Receipt || text.len() + line.len() + AROUND <= proofs::NOTE_MAX;
        fits.then_some(line)
    }
}
/// A line, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// As the line has it, below the name of the log.
    pub key: String,
    pub said: Said,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The key of this suite signed it.
    Counts {
        suite: String,
    },
    /// It did, and what it signs from this record on does not count.
    RevokedSince {
        since: u64,
        record: u64,
    },
    /// No such key is on record, or another one by that name.
    Unknown,
    Wrong {
        why: String,
    },
}

/// The vkey of a key that is made.
pub fn vkey(log: &str, key: KeyId, version: &Version) -> Option<BesideKey> {
    Some(BesideKey::new(log, &key.to_string(), version.suite, &version.made.as_ref()?.public))
}

/// What comes of the lines of a note under the name of the log. Which record it is of is asked only if it matters.
pub fn judged(
    keys: &Crypto,
    policy: &Policy,
    purpose: Purpose,
    log: &str,
    mut record: impl FnMut() -> u64,
    note: &str,
) -> Vec<Judged> {
    let Ok((text, lines)) = beside::read(note, log) else { return Vec::new() };
    let judge = |line: Signature| {
        let said = said(keys, policy, purpose, log, &mut record, text, &line);
        Judged { key: line.key, said }
    };
    lines.into_iter().map(judge).collect()
}

fn said(
    keys: &Crypto,
    policy: &Policy,
    purpose: Purpose,
    log: &str,
    record: &mut impl FnMut() -> u64,
    text: &str,
    line: &Signature,
) -> Said {
    let known = || {
        let key = line.key.parse::<KeyId>().ok()?;
        let version = keys.show(key)?;
        vkey(log, key, version).filter(|vkey| vkey.id() == line.id).map(|vkey| (key, version, vkey))
    };
    let Some((key, version, vkey)) = known() else { return Said::Unknown };
    let wrong = |why: String| Said::Wrong { why };
    if key.purpose != purpose {
        return wrong(format!("it is of a key for {}", key.purpose));
    }
    let Some(suite) = signature(vkey.suite()) else { return Said::Unknown };
    let (domain, bound) = used(purpose);
    let checked = PublicKey::read(suite, vkey.public()).and_then(|public| {
        let signed = Signed::read(&line.signature)?;
        policy.accept(domain, suite)?.verify(&public, bound, text.as_bytes(), &signed)
    });
    if let Err(refusal) = checked {
        return wrong(refusal.to_string());
    }
    // Of one that is not revoked it is the same for every record.
    let record = if version.revoked.is_some() { record() } else { 0 };
    match keys.judge(key, record) {
        Verdict::Counts => Said::Counts { suite: suite.to_string() },
        Verdict::RevokedSince(since) => Said::RevokedSince { since, record },
        Verdict::NeverSigned => wrong(format!("{key} was never in use")),
    }
}
