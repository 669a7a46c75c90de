//! Verifies what an authority recorded and signed: the log, proofs, exports, attestations and releases.
//!
//! It is written from the published formats (RFC 6962, and of C2SP signed-note, tlog-checkpoint, tlog-tiles, tlog-proof,
//! tlog-cosignature), and of what is ours from docs/evidence.md and docs/crypto.md. It has no code and no cryptography in common with the
//! programs that write: an error there is not repeated here. It reads files and nothing else: no network, no clock.
//!
//! # Invariants
//! 1. What is said to be intact was signed by a key that the caller gave: nothing that a file says of itself is believed.
//! 2. What is wrong is told with the first record that is, as far as the signed hashes can tell; what was not checked
//!    is told, too.
//! 3. No input makes it panic, and none makes it read more than the files it is given.

pub mod attestation;
pub mod beside;
pub mod blake3;
pub mod export;
pub mod log;
pub mod note;
pub mod proof;
pub mod record;
pub mod release;
pub mod tree;

use std::fmt;

/// Why something is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The first record that is not what was signed, where the signed hashes tell which one it is.
    pub at: Option<u64>,
    pub what: String,
}

impl Bad {
    pub fn new(what: impl Into<String>) -> Self {
        Self { at: None, what: what.into() }
    }

    pub fn at(at: u64, what: impl Into<String>) -> Self {
        Self { at: Some(at), what: what.into() }
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "DAMAGED at {at}: {}", self.what),
            None => write!(f, "DAMAGED: {}", self.what),
        }
    }
}

impl std::error::Error for Bad {}

/// A number in its one form.
pub(crate) fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
