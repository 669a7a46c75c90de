//! Digests. A digest says by which suite it is one, so that two of different suites are never taken for each other.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA3_256, SHA256, SHA384, SHA512};

use crate::{Accepted, Allowed, Hash, Refusal};

/// The longest digest, in bytes.
const BYTES_MAX: usize = 64;

/// What a content is known by. Its text is `sha256:` and the bytes in small hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    suite: Hash,
    /// Zero after its length.
    bytes: [u8; BYTES_MAX],
}

/// Takes a content piece by piece.
pub struct Hasher {
    suite: Hash,
    state: State,
}

enum State {
    Sha(Context),
    Blake3(Box<blake3::Hasher>),
}

/// Compares a content, piece by piece, with what it should be.
pub struct Checker {
    expected: Digest,
    hasher: Hasher,
}

impl Allowed<'_, Hash> {
    pub fn digest(&self, content: &[u8]) -> Digest {
        let mut hasher = self.hasher();
        hasher.update(content);
        hasher.finish()
    }

    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.suite())
    }
}

impl Accepted<'_, Hash> {
    /// That `content` is what `digest` says.
    ///
    /// # Errors
    /// [`Refusal::OtherContent`], [`Refusal::OtherSuite`].
    pub fn check(&self, digest: &Digest, content: &[u8]) -> Result<(), Refusal> {
        let mut checker = self.checker(digest)?;
        checker.update(content);
        checker.finish()
    }

    /// # Errors
    /// [`Refusal::OtherSuite`].
    pub fn checker(&self, expected: &Digest) -> Result<Checker, Refusal> {
        self.is_of(expected.suite)?;
        Ok(Checker { expected: *expected, hasher: Hasher::new(expected.suite) })
    }
}

impl Hasher {
    fn new(suite: Hash) -> Self {
        let state = match suite {
            Hash::Sha256 => State::Sha(Context::new(&SHA256)),
            Hash::Sha384 => State::Sha(Context::new(&SHA384)),
            Hash::Sha512 => State::Sha(Context::new(&SHA512)),
            Hash::Sha3_256 => State::Sha(Context::new(&SHA3_256)),
            Hash::Blake3 => State::Blake3(Box::default()),
        };
        Self { suite, state }
    }

    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.state {
            State::Sha(context) => context.update(piece),
            State::Blake3(hasher) => drop(hasher.update(piece)),
        }
    }

    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha(context) => Digest::new(self.suite, context.finish().as_ref()),
            State::Blake3(hasher) => Digest::new(self.suite, hasher.finalize().as_bytes()),
        }
        .expect("a suite gives digests of its length")
    }
}

impl Checker {
    pub fn update(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// That all of it is what it should be.
    ///
    /// # Errors
    /// [`Refusal::OtherContent`].
    pub fn finish(self) -> Result<(), Refusal> {
        let found = self.hasher.finish();
        verify_slices_are_equal(found.bytes(), self.expected.bytes()).map_err(|_| Refusal::OtherContent)
    }
}

impl Digest {
    /// A digest that was made elsewhere; `None` if it has another length.
    pub fn new(suite: Hash, bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; BYTES_MAX];
        padded.get_mut(..suite.digest_len()).filter(|own| own.len() == bytes.len())?.copy_from_slice(bytes);
        Some(Self { suite, bytes: padded })
    }

    pub fn suite(&self) -> Hash {
        self.suite
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.suite.digest_len()]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.suite)?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// In the one form that it has.
impl FromStr for Digest {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let read = || {
            let (name, digits) = text.split_once(':')?;
            let suite = Hash::all().find(|suite| suite.name() == name)?;
            let digit = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
            let pairs = digits.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| match *pair {
                [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
                _ => None,
            });
            Self::new(suite, &bytes.collect::<Option<Vec<_>>>()?)
        };
        read().ok_or(Refusal::Unreadable)
    }
}
