//! Keys sealed under a key, the root first of all: AES key wrap (RFC 3394, and RFC 5649 for every length; NIST SP 800-38F).
//!
//! ```text
//! a wrapped key: form [1] = 1, tag of the suite [2], the key, wrapped
//! ```
//!
//! It needs no nonce and gives the same bytes for the same key. What it cannot do by itself is to bind a wrapped key to what it
//! is: so each is wrapped under a key of its own, derived from the wrapping one and from suite, domain, purpose
//! ([`crate::bound`]) and what it is about, such as its id and version. Moved to another place it is not unwrapped.

use std::fmt;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _, KeyWrapPadded as _};

use crate::bound::{header, tagged, untagged};
use crate::{Accepted, Allowed, Domain, Purpose, Refusal, Secret, Suite, Wrap};

const KEY: usize = 32;

/// Who wraps and unwraps.
pub struct Key {
    suite: Wrap,
    secret: Secret,
}

impl Allowed<'_, Wrap> {
    /// A new key.
    ///
    /// # Errors
    /// [`Refusal::Provider`].
    pub fn generate(&self) -> Result<Key, Refusal> {
        Key::read(self.suite(), Secret::drawn(KEY, self.suite())?)
    }

    /// Wraps `secret` for `purpose`, and `about` something that has to be named again to unwrap it.
    ///
    /// # Errors
    /// [`Refusal::BadLength`] of what the suite does not take; [`Refusal::OtherSuite`].
    pub fn wrap(&self, key: &Key, purpose: Purpose, about: &[u8], secret: &Secret) -> Result<Vec<u8>, Refusal> {
        self.accepted().is_of(key.suite)?;
        let own = key.own(self.domain(), purpose, about);
        let wrapped = wrap(key.suite, own.expose(), secret.expose());
        let wrapped = wrapped.ok_or(Refusal::BadLength { suite: key.suite.into() })?;
        Ok(tagged(key.suite, &[&wrapped]))
    }
}

impl Accepted<'_, Wrap> {
    /// The secret that was wrapped with `key` for `purpose`, and `about` this.
    ///
    /// # Errors
    /// [`Refusal::NotOpened`]; [`Refusal::Downgraded`] if another suite wrapped it; [`Refusal::Unreadable`],
    /// [`Refusal::OtherSuite`].
    pub fn unwrap(&self, key: &Key, purpose: Purpose, about: &[u8], wrapped: &[u8]) -> Result<Secret, Refusal> {
        self.is_of(key.suite)?;
        let (Suite::Wrap(suite), wrapped) = untagged(wrapped).ok_or(Refusal::Unreadable)? else {
            return Err(Refusal::Unreadable);
        };
        if suite != key.suite {
            return Err(Refusal::Downgraded { key: key.suite.into(), presented: suite.into() });
        }
        unwrap(suite, key.own(self.domain(), purpose, about).expose(), wrapped).ok_or(Refusal::NotOpened)
    }
}

impl Key {
    /// The key that a secret of 32 bytes is.
    ///
    /// # Errors
    /// [`Refusal::BadKey`].
    pub fn read(suite: Wrap, secret: Secret) -> Result<Self, Refusal> {
        if secret.expose().len() == KEY {
            Ok(Self { suite, secret })
        } else {
            Err(Refusal::BadKey { suite: suite.into() })
        }
    }

    pub fn suite(&self) -> Wrap {
        self.suite
    }

    /// What has to be kept to have the key again.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The key under which one thing is wrapped.
    fn own(&self, domain: Domain, purpose: Purpose, about: &[u8]) -> Secret {
        self.secret.derived(&[&header("wrapped", self.suite, domain, purpose), about])
    }
}

pub(crate) fn wrap(suite: Wrap, key: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let kek = AesKek::new(&AES_256, key).ok()?;
    // Padded to eight bytes, and eight of integrity.
    let mut wrapped = vec![0; secret.len() + 15];
    let length = match suite {
        Wrap::Aes256Kw => kek.wrap(secret, &mut wrapped),
        Wrap::Aes256Kwp => kek.wrap_with_padding(secret, &mut wrapped),
    };
    let length = length.ok()?.len();
    wrapped.truncate(length);
    Some(wrapped)
}

pub(crate) fn unwrap(suite: Wrap, key: &[u8], wrapped: &[u8]) -> Option<Secret> {
    let kek = AesKek::new(&AES_256, key).ok()?;
    let mut secret = Secret::new(vec![0; wrapped.len()]);
    let length = match suite {
        Wrap::Aes256Kw => kek.unwrap(wrapped, secret.exposed_mut()),
        Wrap::Aes256Kwp => kek.unwrap_with_padding(wrapped, secret.exposed_mut()),
    };
    let length = length.ok()?.len();
    secret.exposed_mut().truncate(length);
    Some(secret)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, ..)", self.suite)
    }
}
