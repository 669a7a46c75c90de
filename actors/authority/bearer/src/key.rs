//! Keys that sign tokens: the authority's, and those of holders who say that they handed one on.

use std::fmt;
use std::str::FromStr;

use biscuit_auth::{Algorithm, KeyPair, PrivateKey};
use kernel::Malformed;
use zeroize::Zeroizing;

/// An Ed25519 key. Its text is for the file that it lies in, and for nothing else.
pub struct Key(KeyPair);

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
        let private = PrivateKey::from_bytes(seed, Algorithm::Ed25519).expect("any 32 bytes are a seed");
        Self(KeyPair::from(&private))
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
        let bytes = self.0.private().to_bytes();
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
        PublicKey(self.0.public())
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }
}

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
}
