//! The certificate of the API, of an authority of one's own: the key in use for `tls-authority` signs it.
//!
//! ```text
//! keys/authority/<version>.pem          what clients are given to believe
//! keys/authority/<version>.vouched.pem  the same as the authority before it signs it: who believes that one is led to this one
//! ```
//!
//! Both are public and of the records: what was lost of them is made anew, and is believed by whoever believed it. The key of a
//! server's certificate is in memory alone, and another one after each start.
//!
//! # Invariants
//! 1. Only the key in use by the durable records signs a server's certificate; one that was revoked vouches for nothing, and what
//!    it signed is shown no more.
//! 2. A key that took the place of another is vouched for by that one, as it has signed that already when the new one was made.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certificates::Authority;
use crypto::{Crypto, Purpose, State, Version};
use kernel::{CommandId, Denial, Layer, Machine as _, Millis, Timestamp};
use suites::Suite;
use supervisors::Child;
use workers::certifier::Certifier;
use workers::custodian::{name, signature, told, used};

use crate::attest;
use crate::boot::Parts;

/// So many authorities back somebody may believe whom nobody told of the newer ones.
const LED_MAX: usize = 8;

/// How a server's certificate is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub names: Vec<String>,
    pub lifetime: Millis,
    pub shown: http::Shown,
}

/// What is shown at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    pub version: u32,
    pub from: Timestamp,
    pub until: Timestamp,
    /// How many authorities before it lead to it.
    pub led: usize,
}

/// Of one version of the key, what its certificates are made of.
struct Known {
    authority: Authority,
    id: CommandId,
    state: State,
    /// The version that vouched for it.
    before: Option<u32>,
}

fn known(version: u32, of: &Version) -> Option<Known> {
    let made = of.made.as_ref()?;
    let authority = Authority { version, suite: signature(of.suite)?, public: made.public.clone(), since: made.at };
    let before = made.voucher.as_ref().map(|voucher| voucher.by);
    Some(Known { authority, id: of.id, state: of.state, before })
}

/// The versions that lead to the one in use, which is the first of them.
fn leading(crypto: &Crypto) -> Vec<Known> {
    let mut leading = Vec::new();
    let mut next = crypto.active(Purpose::TlsAuthority).map(|(key, _)| key.version);
    while let Some(version) = next.filter(|_| leading.len() <= LED_MAX) {
        let shown = crypto.show(Purpose::TlsAuthority.key(version));
        let Some(one) = shown.and_then(|of| known(version, of)).filter(|one| one.state != State::Revoked) else {
            break;
        };
        next = one.before;
        leading.push(one);
    }
    leading
}

/// Who sees that the right certificate is shown; a child of the edge.
pub fn child(parts: &Arc<Parts>, wanted: Wanted) -> Child {
    let (moved, parts) = (parts.journal.moved(Crypto::NAME), parts.clone());
    let certify = move || parts.certify(&wanted).map_err(|denial| denial.reason);
    Certifier { moved, certify: Arc::new(certify) }.child()
}

/// What is shown, for whoever asks.
pub type Shown = Mutex<Option<Showing>>;

impl Parts {
    /// The certificates, in PEM, that whoever connects may believe: of the key in use and of those before it that lead to it, the
    /// newest first. Waits for the disk.
    ///
    /// # Errors
    /// If there is none yet.
    pub fn authorities(&self) -> Result<Vec<(u32, String)>, Denial> {
        let versions = self.crypto_view.read(leading);
        if versions.is_empty() {
            return Err(none());
        }
        versions.iter().map(|one| Ok((one.authority.version, self.root(one)?))).collect()
    }

    /// Sees that the right certificate is shown: how long that one will do. Waits for the disk.
    fn certify(&self, wanted: &Wanted) -> Result<Duration, Denial> {
        let (versions, now) = (self.crypto_view.read(leading), self.clock.now());
        let mut showing = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(active) = versions.first() else {
            // What is shown is of a key that signs no more.
            wanted.shown.withdraw();
            *showing = None;
            return Err(none());
        };
        if let Some(shown) = showing.as_ref().filter(|shown| shown.version == active.authority.version)
            && shown.led + 1 == versions.len()
            && now < renewed_at(shown)
        {
            return Ok(wait(now, renewed_at(shown)));
        }
        let mut chain = String::new();
        for pair in versions.windows(2) {
            let [one, before] = pair else { unreachable!("a window of two has two") };
            match self.vouched(one, before) {
                Ok(vouched) => chain += &vouched,
                // Who believes a later one is led there all the same.
                Err(denial) => {
                    tracing::warn!(code = denial.code, version = one.authority.version, "{}", denial.reason);
                    break;
                }
            }
        }
        self.root(active)?;
        let issued = self.lent(active, |key| active.authority.server(key, &wanted.names, now, wanted.lifetime))?;
        let put = wanted.shown.put(&(issued.certificate + &chain), issued.key.expose());
        put.map_err(|why| unmade(&why))?;
        let shown =
            Showing { version: active.authority.version, from: now, until: issued.until, led: versions.len() - 1 };
        tracing::info!(
            code = "crypto.certified",
            version = shown.version,
            until = shown.until.0,
            "another certificate is shown"
        );
        let wait = wait(now, renewed_at(&shown));
        *showing = Some(shown);
        Ok(wait)
    }

    /// As its file has it; else it is made.
    fn root(&self, one: &Known) -> Result<String, Denial> {
        let file = self.places.authority.join(format!("{}.pem", one.authority.version));
        self.kept(&file, || self.lent(one, |key| one.authority.root(key)))
    }

    fn vouched(&self, one: &Known, before: &Known) -> Result<String, Denial> {
        let file = self.places.authority.join(format!("{}.vouched.pem", one.authority.version));
        self.kept(&file, || self.lent(before, |key| one.authority.vouched(&before.authority, key)))
    }

    fn kept(&self, file: &Path, make: impl FnOnce() -> Result<String, Denial>) -> Result<String, Denial> {
        let failed = |why: io::Error| unmade(&format!("{}: {why}", file.display()));
        match fs::read_to_string(file) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let text = make()?;
        attest::write(&self.places.authority, file, &text).map_err(failed)?;
        Ok(text)
    }

    fn lent<T>(
        &self,
        one: &Known,
        to: impl FnOnce(&suites::Secret) -> Result<T, certificates::CertificateError>,
    ) -> Result<T, Denial> {
        let (Some(store), None) = (self.safe.store(), self.safe.sealed()) else {
            return Err(self.safe.sealed().unwrap_or_else(|| told(&keystore::KeystoreError::Sealed)));
        };
        let (_, purpose) = used(Purpose::TlsAuthority);
        let lent = store.lend(name(Purpose::TlsAuthority, one.id, one.authority.version), purpose, to);
        lent.map_err(|error| told(&error))?.map_err(|error| unmade(&error.to_string()))
    }
}

/// That a key of this suite can sign certificates, if it is for that.
///
/// # Errors
/// The denial of who asks for one.
pub fn fits(purpose: Purpose, tag: u16) -> Result<(), Denial> {
    if purpose != Purpose::TlsAuthority || signature(tag).is_some_and(certificates::signs) {
        return Ok(());
    }
    let named = Suite::tagged(tag).map_or_else(|| format!("{tag:#06x}"), |suite| suite.to_string());
    let reason = format!("certificates are not signed with {named}, which few clients of TLS could verify");
    Err(Denial::new(Layer::Request, "crypto.fixed_suite", reason, "name the suite ecdsa-p256 or ecdsa-p384"))
}

fn renewed_at(shown: &Showing) -> Timestamp {
    shown.from + Millis((shown.until - shown.from).0 / 3 * 2)
}

fn wait(now: Timestamp, until: Timestamp) -> Duration {
    Duration::from_millis((until - now).0)
}

fn none() -> Denial {
    let remedy = "`sop crypto keys --generate tls-authority`, or wait until the one that is ordered is made";
    Denial::new(Layer::Availability, "crypto.none_in_use", "no key is in use for tls-authority", remedy)
}

fn unmade(why: &str) -> Denial {
    let reason = format!("a certificate of the authority cannot be made: {why}");
    let remedy = "see that the data directory can be written; a key of another suite: `sop crypto keys --rotate tls-authority --suite ecdsa-p256`";
    Denial::new(Layer::Availability, "crypto.no_certificate", reason, remedy)
}
