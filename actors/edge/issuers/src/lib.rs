//! Issuers elsewhere (OAuth2, OpenID Connect): their keys are read ahead, and the tokens that they have signed are read here.
//!
//! A token is a JWT (RFC 7519) in a JWS (RFC 7515). What is believed of it is pinned by the configuration: the issuer, the
//! audience, the algorithms, the claims that must be there. Whom it names, and until when, is the judge's to say.
//!
//! # Invariants
//! 1. Reading a token waits for nobody: it sees the keys that were read last. That they are missing may have them read again,
//!    later and by somebody else.
//! 2. Keys that were not read again for longer than the configuration says are believed no more.
//! 3. The key says with which algorithm it is used, and the configuration which those are; the token chooses neither. `none`,
//!    and a secret in the place of a key, are no algorithm.
//! 4. Whatever tokens ask for, an issuer's keys are looked for at most once in [`PAUSE`] because of them.

mod keys;
mod read;
mod refresh;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use config::Issuer;
use door::{Foreign, Unread};
use kernel::{Millis, Timestamp};

pub use keys::{Keys, NoKeys};
pub use refresh::{Fetch, Fetching, LONGEST};

/// Between two looks for the keys of one issuer that somebody's token asks for; less where they are looked for more often anyway.
pub const PAUSE: Duration = Duration::from_secs(30);

/// The issuers that are believed, and what is known of their keys.
pub struct Issuers(Vec<Arc<Believed>>);

pub(crate) struct Believed {
    issuer: Issuer,
    known: RwLock<Option<Arc<Known>>>,
    /// Who reads its keys, while somebody does.
    reader: Mutex<Option<refresh::Reader>>,
}

/// Keys, and when they were read.
struct Known {
    keys: Keys,
    at: Timestamp,
}

impl Issuers {
    pub fn new(believed: Vec<Issuer>) -> Arc<Self> {
        let known = |issuer| Arc::new(Believed { issuer, known: RwLock::default(), reader: Mutex::default() });
        Arc::new(Self(believed.into_iter().map(known).collect()))
    }

    /// Those are the keys of an issuer from now on.
    pub fn learn(&self, issuer: usize, keys: Keys, at: Timestamp) {
        self.0[issuer].learn(Known { keys, at });
    }

    fn find(&self, name: &str) -> Option<(usize, &Arc<Believed>)> {
        self.0.iter().enumerate().find(|(_, believed)| believed.issuer.name == name)
    }
}

impl Believed {
    fn learn(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
    }

    /// The keys, until when they are believed.
    fn keys(&self, now: Timestamp) -> Option<(Arc<Known>, Timestamp)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let until = known.at + millis(self.issuer.max_age);
        (now < until).then_some((known, until))
    }
}

pub(crate) fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

impl door::Issuers for Issuers {
    fn claimed(&self, token: &str) -> Option<u32> {
        let (_, payload) = read::parts(token)?;
        let (place, _) = self.find(payload.get("iss")?.as_str()?)?;
        u32::try_from(place).ok()
    }

    fn name(&self, place: u32) -> &str {
        usize::try_from(place).ok().and_then(|place| self.0.get(place)).map_or("", |believed| &believed.issuer.name)
    }

    fn read(&self, token: &str, now: Timestamp) -> Result<Foreign, Unread> {
        let (header, payload) = read::parts(token).ok_or(Unread::Malformed)?;
        let name = payload.get("iss").and_then(|name| name.as_str()).ok_or(Unread::Issuer)?;
        let (_, believed) = self.find(name).ok_or(Unread::Issuer)?;
        let algorithm = read::algorithm(&header, &believed.issuer)?;
        let kid = read::key_id(&header)?;
        let Some((known, keys_until)) = believed.keys(now) else {
            believed.wanted();
            return Err(Unread::KeysStale);
        };
        let keys = known.keys.find(kid, algorithm);
        if keys.is_empty() {
            if !known.keys.has(kid) {
                believed.wanted();
                return Err(Unread::Key);
            }
            return Err(Unread::Algorithm);
        }
        if !keys.iter().any(|key| key.has_signed(token)) {
            return Err(Unread::Signature);
        }
        read::said(&payload, &believed.issuer, keys_until)
    }
}
