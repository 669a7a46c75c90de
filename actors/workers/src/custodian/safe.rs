//! The keystore of the authority: opened, unsealed with the root key that is configured, and moved to another one when that is
//! what the configuration says.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto::Purpose;
use kernel::{CommandId, Denial, Layer, Refuse as _};
use keystore::{Cost, Given, Keystore, KeystoreError, Name, NewRoot, RootId, Share, Source, Standing};
use suites::{Domain, Family as _, Policy, Signature, Suite};
use tokio::sync::watch;

/// Where the keystore lies, and where its root key comes from. Clones are the same one.
#[derive(Clone)]
pub struct Safe(Arc<Inner>);

struct Inner {
    place: PathBuf,
    /// The root key that is to be in use, and the one that was before it.
    root: Option<Source>,
    before: Option<Source>,
    policy: Policy,
    opened: Mutex<Opened>,
    /// Held by the one who opens it.
    opening: Mutex<()>,
    /// Whether it was tried to open it.
    tried: watch::Sender<bool>,
}

struct Opened {
    store: Option<Keystore>,
    /// Why it is not unsealed.
    why: Option<Denial>,
    /// What it could not do when it was asked last.
    trouble: Option<Denial>,
    /// Of the root key, as people bring them; forgotten once they were enough.
    shares: Vec<Share>,
}

/// How far people are who bring the root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    pub given: u8,
    pub needed: u8,
    /// These were enough.
    pub unsealed: bool,
}

impl Safe {
    pub fn new(place: &Path, root: Option<Source>, before: Option<Source>, policy: Policy) -> Self {
        let why = Some(not_yet(root.is_none()));
        let opened = Opened { store: None, why, trouble: None, shares: Vec::new() };
        let (place, opened) = (place.to_owned(), Mutex::new(opened));
        let (opening, tried) = (Mutex::default(), watch::Sender::new(false));
        Self(Arc::new(Inner { place, root, before, policy, opened, opening, tried }))
    }

    /// What each domain may use.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Where the root key comes from, if that is configured.
    pub fn source(&self) -> Option<&Source> {
        self.0.root.as_ref()
    }

    pub(super) fn was_tried(&self) {
        self.0.tried.send_replace(true);
    }

    /// Waits until it was tried to open and unseal it, whatever came of that, and the keys that are always wanted are made.
    pub async fn tried(&self) {
        // The sender lives in us.
        let _ = self.0.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// The keystore, sealed or not, once it was opened.
    pub fn store(&self) -> Option<Keystore> {
        self.opened().store.clone()
    }

    /// Why nothing is made or signed with it now.
    pub fn sealed(&self) -> Option<Denial> {
        self.opened().why.clone()
    }

    /// What keeps it from doing what is on record to be done; that is tried again.
    pub fn trouble(&self) -> Option<Denial> {
        self.opened().trouble.clone()
    }

    pub(super) fn troubled(&self, trouble: Option<Denial>) {
        self.opened().trouble = trouble;
    }

    /// Opens it, if it is not, and unseals it; blocks. The root key in use, if it is unsealed. Where it should have keys, none is
    /// begun in its place.
    pub fn unseal(&self, has_keys: bool) -> Option<RootId> {
        let _opening = self.0.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let store = self.store().map_or_else(|| Keystore::open(&self.0.place, self.0.policy.clone()), Ok);
        let (store, unsealed) = match store {
            Ok(store) => (Some(store.clone()), self.unsealed(&store, has_keys)),
            Err(error) => (None, Err(told(&error))),
        };
        let mut opened = self.opened();
        opened.store = store;
        opened.why = unsealed.as_ref().err().cloned();
        unsealed.ok()
    }

    /// Takes a share of the root key, and unseals the store with the last one that it takes; blocks.
    ///
    /// # Errors
    /// Why that share, or all of them, are of no use; those that are right are kept.
    pub fn bring(&self, share: Share) -> Result<Brought, Denial> {
        if self.0.root != Some(Source::Shares) {
            let reason = "the root key is not one that people bring in shares";
            let remedy = "draw one while no daemon runs (sop crypto shares), and set crypto.root_key = \"shares\"";
            return Err(Denial::new(Layer::Availability, "crypto.no_shares", reason, remedy));
        }
        let mut opened = self.opened();
        let Some(store) = opened.store.clone() else { return Err(not_yet(false)) };
        let (needed, number) = (share.needed(), share.number());
        if let Standing::Unsealed { .. } = store.standing() {
            return Ok(Brought { given: 0, needed, unsealed: true });
        }
        opened.shares.retain(|other| other.number() != number);
        opened.shares.push(share);
        let given = opened.shares.len();
        match store.unseal(&Given::Shares(opened.shares.clone())) {
            Ok(()) => {
                (opened.shares, opened.why) = (Vec::new(), None);
                Ok(Brought { given: needed, needed, unsealed: true })
            }
            Err(KeystoreError::TooFewShares { given, needed }) => Ok(Brought { given, needed, unsealed: false }),
            Err(error) => {
                // Right ones were found to be so when they came.
                opened.shares.truncate(given - 1);
                Err(told(&error))
            }
        }
    }

    fn unsealed(&self, store: &Keystore, has_keys: bool) -> Result<RootId, Denial> {
        let variable = |name: &str| std::env::var_os(name);
        if has_keys && store.standing() == Standing::New {
            let reason = format!("the keystore is gone, and keys are known that it had: {}", self.0.place.display());
            let remedy = "put it back from a copy, and start again; if there is none, revoke and destroy every key, and a new one is begun";
            return Err(Denial::new(Layer::Availability, "crypto.keystore_lost", reason, remedy));
        }
        if let Standing::Unsealed { root, .. } = store.standing() {
            return Ok(root);
        }
        let source = self.0.root.as_ref().ok_or_else(|| not_yet(true))?;
        let fetched = source.fetch(variable).map_err(|error| told(&error))?;
        let given = fetched.ok_or_else(|| {
            let reason = format!("the root key is not there: {source}");
            let remedy = match source {
                Source::Environment(_) => "set it, and start again",
                Source::Shares => "have its holders bring enough of them, one after the other: sop crypto unseal",
                _ => "put it there; the keystore is unsealed within some seconds",
            };
            Denial::new(Layer::Availability, "crypto.root_missing", reason, remedy)
        })?;
        let unsealed = match (store.standing(), &self.0.before) {
            (Standing::New, _) => NewRoot::of(given, Cost::RECOMMENDED).and_then(|new| store.initialise(new).map(drop)),
            (_, None) => store.unseal(&given),
            // The keys follow once it is asked for.
            (_, Some(before)) => match store.unseal(&given) {
                Err(KeystoreError::WrongRoot { rotated: false } | KeystoreError::OtherKind { .. }) => before
                    .fetch(variable)
                    .and_then(|before| before.ok_or(KeystoreError::WrongRoot { rotated: false }))
                    .and_then(|before| store.unseal(&before))
                    .and_then(|()| NewRoot::of(given, Cost::RECOMMENDED))
                    .and_then(|new| store.rotate_root(new).map(drop))
                    .inspect_err(|_| store.seal_up()),
                unsealed => unsealed,
            },
        };
        unsealed.map_err(|error| told(&error))?;
        match store.standing() {
            Standing::Unsealed { root, .. } => Ok(root),
            Standing::New | Standing::Sealed { .. } => Err(told(&KeystoreError::Sealed)),
        }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.0.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_yet(unconfigured: bool) -> Denial {
    if unconfigured {
        let reason = "the keystore is sealed: no root key is configured";
        let remedy = "set crypto.root_key, such as \"file:/etc/sop/root.key\" with 64 hexadecimal digits (openssl rand -hex 32) and \
                      mode 0600, and start again";
        return Denial::new(Layer::Availability, "crypto.sealed", reason, remedy);
    }
    Denial::new(Layer::Availability, "crypto.sealed", "the keystore is not unsealed yet", "ask again in a moment")
}

/// A no of the keystore, for who asked.
pub fn told(error: &KeystoreError) -> Denial {
    Denial::new(Layer::Availability, error.code(), error.to_string(), error.remedy())
}

/// In which domain a key is used, and for which purpose of `suites`.
pub fn used(purpose: Purpose) -> (Domain, suites::Purpose) {
    let domain = match purpose {
        Purpose::Checkpoints | Purpose::BackupManifests => Domain::System,
        Purpose::Receipts => Domain::Governance,
        Purpose::TokenRoot | Purpose::Releases | Purpose::TlsAuthority => Domain::Trust,
    };
    (domain, suites::Purpose::new(purpose.name()))
}

/// The suite of a key for which nobody named another: what is usual for it, if its domain may use that.
pub fn usual(policy: &Policy, purpose: Purpose) -> Signature {
    let usual = match purpose {
        // Kept for years, and to be believed then.
        Purpose::Checkpoints | Purpose::Releases => Signature::Ed25519MlDsa65,
        // What every client of TLS takes.
        Purpose::TlsAuthority => Signature::EcdsaP256,
        Purpose::Receipts | Purpose::TokenRoot | Purpose::BackupManifests => Signature::Ed25519,
    };
    let (domain, _) = used(purpose);
    policy.allow(domain, usual).map_or_else(|_| policy.preferred(domain).suite(), |allowed| allowed.suite())
}

/// The suite of a key, which signs: what else there is has no use here.
pub fn signature(tag: u16) -> Option<Signature> {
    Signature::of(Suite::tagged(tag)?)
}

/// The purpose of the key that a tile log is known by. It is on no list: it is never rotated, and its end is that of its log.
pub const LOG: suites::Purpose = suites::Purpose::new("log");

/// How the keystore names the key of a tile log, by its public half.
pub fn log_name(public: &[u8]) -> Name {
    let digest = blake3::derive_key("sop 2026-11 crypto: the id of a tile log's key in the keystore", public);
    Name { id: u128::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes")), version: 1 }
}

/// How the keystore names a version. Commands are named by who gives them, so the purpose is bound in: two keys are never one.
pub fn name(purpose: Purpose, id: CommandId, version: u32) -> Name {
    let mut hasher = blake3::Hasher::new_derive_key("sop 2026-11 crypto: the id of a key in the keystore");
    hasher.update(purpose.name().as_bytes()).update(&id.0.to_be_bytes());
    let digest = hasher.finalize();
    Name { id: u128::from_be_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes")), version }
}
