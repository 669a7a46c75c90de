//! Keys that sign tokens: the authority's, and those of holders who say that they handed one on.

use std::fmt;
use std::str::FromStr;

use biscuit_auth::{Algorithm, KeyPair};
use kernel::Malformed;
use zeroize::Zeroizing;

/// An Ed25519 key. Its text is for the file that it lies in, and for nothing else.
pub struct Key {
    pair: KeyPair,
    version: Option<u32>,
}

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(crate) biscuit_auth::PublicKey);

impl Key {
    /// # Panics
    /// If the system has no randomness to give.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).expect("the system gives randomness");
        Self::of(&seed)
    }

    /// # Panics
    /// Never: any 32 bytes are a seed of Ed25519.
    pub fn of(seed: &[u8; 32]) -> Self {
        let pair = KeyPair::from_bytes(seed, Algorithm::Ed25519.into()).expect("any 32 bytes are a seed");
        Self { pair, version: None }
    }

    /// The same key as this version of the authority's: what it signs names it, so that it is found again.
    #[must_use]
    pub fn numbered(self, version: u32) -> Self {
        Self { version: Some(version), ..self }
    }

    /// As it lies in a file.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = text.strip_prefix(PRIVATE).ok_or(malformed("key"))?;
        let seed = Zeroizing::new(seed(digits).ok_or(malformed("key"))?);
        Ok(Self::of(&seed))
    }

    /// The text of [`Key::parse`].
    pub fn secret(&self) -> Zeroizing<String> {
        let bytes = self.pair.private().to_bytes();
        let mut text = Zeroizing::new(String::with_capacity(PRIVATE.len() + 2 * bytes.len()));
        text.push_str(PRIVATE);
        for byte in bytes.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).expect("four bits are a digit"));
            }
        }
        text
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(crate) fn version(&self) -> Option<u32> {
        self.version
    }
}

impl PublicKey {
    /// As a `SubjectPublicKeyInfo` has it (RFC 8410).
    ///
    /// # Errors
    /// [`Malformed`], also of a key of another kind.
    pub fn read(der: &[u8]) -> Result<Self, Malformed> {
        let bytes = der.strip_prefix(&INFO).filter(|bytes| bytes.len() == 32).ok_or(malformed("public key"))?;
        let key =
            biscuit_auth::PublicKey::from_bytes(bytes, Algorithm::Ed25519).map_err(|_| malformed("public key"))?;
        Ok(Self(key))
    }
}

/// What stands before the 32 bytes of a public key of Ed25519.
const INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PRIVATE: &str = "ed25519-private/";
const PUBLIC: &str = "ed25519/";

/// Without the text, which may be a key.
fn malformed(expected: &'static str) -> Malformed {
    Malformed { text: "(hidden)".to_owned(), expected }
}

fn seed(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PUBLIC)?;
        self.0.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = text.strip_prefix(PUBLIC).and_then(seed).ok_or(malformed("public key"))?;
        let key =
            biscuit_auth::PublicKey::from_bytes(&bytes, Algorithm::Ed25519).map_err(|_| malformed("public key"))?;
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written_and_hide_themselves() {
        let key = Key::generate();
        assert_eq!(Key::parse(&key.secret()).unwrap().public(), key.public());
        assert_eq!(key.public().to_string().parse::<PublicKey>().unwrap(), key.public());
        assert_eq!(format!("{key:?}"), "Key(hidden)");
        assert_ne!(Key::generate().public(), key.public());
        let text = key.secret();
        let bad =
            [&text[..text.len() - 1], &text.replace("private", "public"), &format!("{}g", &text[..text.len() - 1]), ""];
        assert!(bad.into_iter().all(|bad| Key::parse(bad).is_err()));
        assert!(["", "ed25519/00", "p256/00"].into_iter().all(|bad| bad.parse::<PublicKey>().is_err()));
    }

    #[test]
    fn a_public_key_is_read_in_the_one_form_that_it_has() {
        let key = Key::of(&[7; 32]).public();
        let der = [&INFO[..], &key.0.to_bytes()].concat();
        assert_eq!(PublicKey::read(&der).unwrap(), key);
        let x25519 = [&der[..8], &[0x6e], &der[9..]].concat();
        for bad in [&der[..43], &[&der[..], &[0]].concat(), &der[12..], &x25519, &[]] {
            assert!(PublicKey::read(bad).is_err(), "{bad:02x?}");
        }
    }
}
