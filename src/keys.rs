//! What the authority signs with: the key in use for a purpose, and how a signature is judged later.
//!
//! # Invariants
//! 1. Only the key that is in use by the durable records signs.
//! 2. A signature is judged by the key that made it and the record that has it, whatever became of the key since.

use std::sync::Arc;
use std::time::Duration;

use config::{Certificate, Config, RootKey};
use crypto::{Crypto, KeyId, Purpose, State, Verdict, Version};
use door::Follower;
use evidence::{NotKept, note};
use gaps::Kind;
use gaps::detect::{Live, Seen};
use kernel::{Denial, Layer, Refuse as _, Sequence, Timestamp};
use keystore::{Keystore, KeystoreError, Name, Source};
use suites::signing::{PrivateKey, PublicKey, Signed};
use suites::{Domain, Secret, Signature};
use workers::custodian::{LOG, Safe, due_at, log_name, name, signature, told, used};

use crate::boot::{Parts, Places};

/// The keystore as it is configured, not opened yet.
pub fn safe(config: &Config, places: &Places) -> Safe {
    let source = |root: &Option<RootKey>| root.as_ref().map(source);
    Safe::new(
        &places.keystore,
        source(&config.crypto.root_key),
        source(&config.crypto.root_key_before),
        config.crypto.suites.clone(),
    )
}

fn source(root: &RootKey) -> Source {
    root.to_string().parse().expect("the keystore reads what the configuration does, as a test says")
}

/// The keystore as what keeps the key of the tile log.
pub struct LogKeeper(pub Safe);

impl LogKeeper {
    /// The keystore that has the key already: who signs with it does not wait for the custodian to start.
    fn opened(&self) -> Result<Keystore, NotKept> {
        if self.0.store().is_none() {
            self.0.unseal(true);
        }
        self.store()
    }

    fn store(&self) -> Result<Keystore, NotKept> {
        match (self.0.store(), self.0.sealed()) {
            (Some(store), None) => Ok(store),
            (_, why) => Err(NotKept(why.unwrap_or_else(|| told(&KeystoreError::Sealed)).reason)),
        }
    }
}

impl evidence::Keeper for LogKeeper {
    /// Not where the domain may not use what logs are signed with: such a key lies in its file as before.
    fn wants(&self) -> bool {
        self.0.policy().allow(Domain::System, Signature::Ed25519).is_ok()
    }

    fn take(&self, key: &note::Key) -> Result<(), NotKept> {
        let store = self.store()?;
        let private = PrivateKey::read(Signature::Ed25519, Secret::new(key.seed().to_vec())).map_err(not_kept)?;
        let adopted = store.adopt(log_name(key.public().bare()), Domain::System, LOG, private);
        adopted.map(drop).map_err(not_kept)
    }

    fn ready(&self, key: &note::PublicKey) -> Result<(), NotKept> {
        self.opened()?.ready(log_name(key.bare())).map_err(not_kept)
    }

    fn sign(&self, key: &note::PublicKey, text: &str) -> Result<Vec<u8>, NotKept> {
        self.opened()?.sign_note(log_name(key.bare()), LOG, text).map_err(not_kept)
    }
}

fn not_kept(error: impl ToString) -> NotKept {
    NotKept(error.to_string())
}

/// The key in use, as the keystore names it.
#[derive(Clone, Copy)]
pub struct InUse {
    pub key: KeyId,
    pub name: Name,
    /// The tag of its suite.
    pub suite: u16,
}

/// Has the keystore do something with the key in use. Its first use waits for the disk.
///
/// # Errors
/// If the keystore is sealed, or no key is in use for this.
pub fn with_key_in_use<T>(
    keys: &Follower<Crypto>,
    safe: &Safe,
    purpose: Purpose,
    act: impl Fn(&Keystore, InUse) -> Result<T, KeystoreError>,
) -> Result<(KeyId, T), Denial> {
    let mut tried = None;
    loop {
        let in_use = keys.read(|keys| {
            let (key, version) = keys.active(purpose)?;
            Some(InUse { key, name: name(purpose, version.id, key.version), suite: version.suite })
        });
        let Some(in_use) = in_use else { return Err(none_in_use(purpose)) };
        let store = match (safe.store(), safe.sealed()) {
            (Some(store), None) => store,
            (_, why) => return Err(why.unwrap_or_else(|| told(&KeystoreError::Sealed))),
        };
        match act(&store, in_use) {
            Ok(done) => return Ok((in_use.key, done)),
            // Another one took its place meanwhile.
            Err(KeystoreError::Destroyed { .. }) if tried != Some(in_use.key) => tried = Some(in_use.key),
            Err(error) => return Err(told(&error)),
        }
    }
}

/// That nothing signs for a purpose.
pub fn none_in_use(purpose: Purpose) -> Denial {
    let reason = format!("no key is in use for {purpose}");
    let remedy = format!("`sop crypto keys --generate {purpose}`, or wait until the one that is ordered is made");
    Denial::new(Layer::Availability, "crypto.none_in_use", reason, remedy)
}

/// For which purposes there has to be a key, whoever asks for it or not.
pub fn wanted(config: &Config) -> Vec<Purpose> {
    let certificate = config.http.tls.as_ref().map(|tls| &tls.certificate);
    let shows = matches!(certificate, Some(Certificate::Own { .. })).then_some(Purpose::TlsAuthority);
    // Else bearer forms are signed by a key that lies in a file in plain; they have no other suite.
    let may = config.crypto.suites.allow(Domain::Trust, Signature::Ed25519).is_ok();
    let signs = (config.crypto.root_key.is_some() && may).then_some(Purpose::TokenRoot);
    shows.into_iter().chain(signs).collect()
}

/// So much of its time is over when it is said that a key will be due.
const ALERT_PERCENT: u64 = 80;

/// When a key that is in use will be due, and how much of its time is over, if it is to be said.
pub fn ageing(key: KeyId, version: &Version, every: Duration, now: Timestamp) -> Option<(Timestamp, u64)> {
    let (due, began) = (due_at(key, version, every)?, version.activated_at?);
    let life = due.0.saturating_sub(began.0).max(1);
    let percent = now.0.saturating_sub(began.0).saturating_mul(100) / life;
    (ALERT_PERCENT <= percent).then_some((due, percent))
}

/// What becomes a gap: a key that is to be rotated soon.
pub fn watched(crypto: &Arc<Follower<Crypto>>, every: Option<Duration>) -> workers::watch::Source {
    let crypto = crypto.clone();
    let look = move |now: Timestamp| {
        let mut live = Live::default();
        crypto.read(|crypto| {
            let active = crypto.keys().filter(|(_, version)| version.state == State::Active);
            for (key, version, every) in active.filter_map(|(key, version)| Some((key, version, every?))) {
                if ageing(key, version, every, now).is_some() {
                    let detail = format!("{ALERT_PERCENT} % of its time are over");
                    live.seen.push(Seen { kind: Kind::KeyDue, subject: key.to_string(), detail });
                } else if let (Some(due), Some(began)) = (due_at(key, version, every), version.activated_at) {
                    let said = Timestamp(began.0 + (due - began).0.div_ceil(100) * ALERT_PERCENT);
                    live.next = Some(live.next.map_or(said, |next| next.min(said)));
                }
            }
        });
        Box::pin(async { Ok(live) }) as workers::watch::Looking
    };
    workers::watch::Source { kinds: &[Kind::KeyDue], look: Arc::new(look) }
}

impl Parts {
    /// Signs with the key in use. Its first signature waits for the disk.
    ///
    /// # Errors
    /// If the keystore is sealed, or no key is in use for this.
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> Result<(KeyId, Signed), Denial> {
        let (_, bound) = used(purpose);
        with_key_in_use(&self.crypto_view, &self.safe, purpose, |store, InUse { name, .. }| {
            store.sign(name, bound, message)
        })
    }

    /// Whether what a key signed, and a record has, counts.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, key: KeyId, record: Sequence, message: &[u8], signed: &Signed) -> Result<(), Denial> {
        let no = |code: &str, reason: String| {
            Denial::new(Layer::Decide, code, reason, "see the keys with `sop crypto keys --list`")
        };
        let known = self.crypto_view.read(|keys| {
            let public =
                keys.show(key).and_then(|version| Some((version.suite, version.made.as_ref()?.public.clone())));
            (keys.judge(key, record.0), public)
        });
        let (Verdict::Counts, Some((suite, public))) = known else {
            return Err(match known.0 {
                Verdict::RevokedSince(since) => no(
                    "crypto.revoked",
                    format!("{key} is revoked since record {since}, and this is record {}", record.0),
                ),
                Verdict::Counts | Verdict::NeverSigned => no("crypto.never_signed", format!("{key} was never in use")),
            });
        };
        let (domain, bound) = used(key.purpose);
        let Some(suite) = signature(suite) else {
            return Err(no("crypto.unknown_suite", format!("this release does not know the suite of {key}")));
        };
        let checked = PublicKey::read(suite, &public)
            .and_then(|public| self.safe.policy().accept(domain, suite)?.verify(&public, bound, message, signed));
        checked.map_err(|refusal| refusal.denial())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keystore_reads_what_the_configuration_does() {
        for text in ["file:/etc/sop/root.key", "credential:sop-root.1", "env:SOP_PASSPHRASE", "shares"] {
            assert_eq!(source(&text.parse().unwrap()).to_string(), text);
        }
    }
}
