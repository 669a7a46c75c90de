//! Texts sealed under a key, so that only who has it reads them, and nobody changes them unseen.
//!
//! ```text
//! a sealed text: form [1] = 1, tag of the suite [2], nonce [12], the text, and its tag [16]
//! ```
//!
//! Bound to it, and not in it: suite, domain and purpose ([`crate::bound`]), and what it is about, which the caller says again
//! to open it.
//!
//! Nonces are drawn, or made of what is sealed and of the occasion ([`Allowed::seal_again`]). Of either 2^32 may come about
//! under one key (NIST SP 800-38D, 8.3), which a key counts. The bytes of a key are used neither for texts nor for nonces:
//! one key for each is derived from them and from the name of the suite, so that the same bytes are another key in another suite.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};

use crate::bound::{header, tagged, untagged};
use crate::{Accepted, Allowed, Cipher, Domain, Purpose, Refusal, Secret, Suite};

/// So many texts one key seals, from when it is read.
pub const TEXTS_MAX: u64 = 1 << 32;
/// What a sealed text has more than the text, in bytes.
pub const OVERHEAD: usize = 3 + NONCE_LEN + TAG;
const KEY: usize = 32;
const TAG: usize = 16;

/// Who seals and opens.
pub struct Key {
    suite: Cipher,
    secret: Secret,
    texts: LessSafeKey,
    nonces: hmac::Key,
    sealed: AtomicU64,
}

impl Allowed<'_, Cipher> {
    /// A new key.
    ///
    /// # Errors
    /// [`Refusal::Provider`].
    pub fn generate(&self) -> Result<Key, Refusal> {
        Key::read(self.suite(), Secret::drawn(KEY, self.suite())?)
    }

    /// Seals `text` for `purpose`, and `about` something that has to be named again to open it.
    ///
    /// # Errors
    /// [`Refusal::OtherSuite`], [`Refusal::Worn`], [`Refusal::Provider`].
    pub fn seal(&self, key: &Key, purpose: Purpose, about: &[u8], text: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.accepted().is_of(key.suite)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| Refusal::Provider { suite: key.suite.into() })?;
        key.seal(nonce, &bound(key.suite, self.domain(), purpose, about), text)
    }

    /// As [`Allowed::seal`], and the same again gives the same bytes: what makes a repeated command a repeat. `occasion` is
    /// what tells this sealing from others of the same text, such as the id of the command; who sees two sealed texts of
    /// one occasion sees whether they are the same text.
    ///
    /// # Errors
    /// As [`Allowed::seal`].
    pub fn seal_again(
        &self,
        key: &Key,
        purpose: Purpose,
        about: &[u8],
        occasion: &[u8],
        text: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        self.accepted().is_of(key.suite)?;
        let bound = bound(key.suite, self.domain(), purpose, about);
        let mut made_of = hmac::Context::with_key(&key.nonces);
        for part in [&bound, occasion, text] {
            made_of.update(&(part.len() as u64).to_be_bytes());
            made_of.update(part);
        }
        let nonce = *made_of.sign().as_ref().first_chunk().expect("HMAC-SHA256 has 32 bytes");
        key.seal(nonce, &bound, text)
    }
}

impl Accepted<'_, Cipher> {
    /// The text that was sealed with `key` for `purpose`, and `about` this.
    ///
    /// # Errors
    /// [`Refusal::NotOpened`]; [`Refusal::Downgraded`] if another suite sealed it; [`Refusal::Unreadable`],
    /// [`Refusal::OtherSuite`].
    pub fn open(&self, key: &Key, purpose: Purpose, about: &[u8], sealed: &[u8]) -> Result<Secret, Refusal> {
        self.is_of(key.suite)?;
        let (Suite::Cipher(suite), sealed) = untagged(sealed).ok_or(Refusal::Unreadable)? else {
            return Err(Refusal::Unreadable);
        };
        if suite != key.suite {
            return Err(Refusal::Downgraded { key: key.suite.into(), presented: suite.into() });
        }
        let (nonce, sealed) = sealed.split_first_chunk().ok_or(Refusal::Malformed { suite: suite.into() })?;
        let mut text = Secret::copied(sealed);
        let opened = open(&key.texts, *nonce, &bound(suite, self.domain(), purpose, about), text.exposed_mut());
        opened.ok_or(Refusal::NotOpened)?;
        Ok(text)
    }
}

impl Key {
    /// The key that a secret of 32 bytes is.
    ///
    /// # Errors
    /// [`Refusal::BadKey`].
    pub fn read(suite: Cipher, secret: Secret) -> Result<Self, Refusal> {
        if secret.expose().len() != KEY {
            return Err(Refusal::BadKey { suite: suite.into() });
        }
        let derived = |part: &str| secret.derived(&[format!("sop sealing 1\nsuite {suite}\npart {part}\n").as_bytes()]);
        let texts = cipher(suite, derived("texts").expose());
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, derived("nonces").expose());
        Ok(Self { suite, secret, texts, nonces, sealed: AtomicU64::new(0) })
    }

    pub fn suite(&self) -> Cipher {
        self.suite
    }

    /// What has to be kept to have the key again.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// How many texts it has sealed since it was read. Who keeps the count over restarts says so with [`Key::has_sealed`].
    pub fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    /// It has sealed `texts` before it was read: these count, too.
    pub fn has_sealed(&self, texts: u64) {
        let more = |sealed: u64| Some(sealed.saturating_add(texts));
        let _ = self.sealed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], bound: &[u8], text: &[u8]) -> Result<Vec<u8>, Refusal> {
        let more = |sealed: u64| (sealed < TEXTS_MAX).then_some(sealed + 1);
        let counted = self.sealed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.map_err(|_| Refusal::Worn { suite: self.suite.into() })?;
        let mut sealed = Vec::with_capacity(text.len() + TAG);
        sealed.extend(text);
        let done = seal(&self.texts, nonce, bound, &mut sealed);
        done.ok_or(Refusal::Provider { suite: self.suite.into() })?;
        Ok(tagged(self.suite, &[&nonce, &sealed]))
    }
}

fn bound(suite: Cipher, domain: Domain, purpose: Purpose, about: &[u8]) -> Vec<u8> {
    let mut bytes = header("sealed", suite, domain, purpose);
    bytes.extend(about);
    bytes
}

pub(crate) fn cipher(suite: Cipher, key: &[u8]) -> LessSafeKey {
    let algorithm = match suite {
        Cipher::Aes256Gcm => &AES_256_GCM,
        Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
    };
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("a key has 32 bytes"))
}

/// In place, with the tag after it.
pub(crate) fn seal(key: &LessSafeKey, nonce: [u8; NONCE_LEN], bound: &[u8], text: &mut Vec<u8>) -> Option<()> {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound), text).ok()
}

/// In place, without the tag after it.
pub(crate) fn open(key: &LessSafeKey, nonce: [u8; NONCE_LEN], bound: &[u8], sealed: &mut Vec<u8>) -> Option<()> {
    let length = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound), sealed).ok()?.len();
    sealed.truncate(length);
    Some(())
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, ..)", self.suite)
    }
}
