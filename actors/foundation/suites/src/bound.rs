//! What every signature, seal and derived secret is bound to, besides its content: suite, domain and purpose.
//!
//! ```text
//! sop signed 1
//! suite ed25519
//! domain system
//! purpose backup-manifest
//!
//! (the bytes themselves)
//! ```
//!
//! Names, and what is done, have no line ends in them, so that an empty line ends the header, and each text of this form is of
//! one header and one content.

use crate::{Domain, Suite};

/// Longest name of a purpose, in bytes.
pub const PURPOSE_MAX: usize = 64;

/// What something is signed, sealed or agreed upon for. What was made for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Purpose(&'static str);

impl Purpose {
    /// # Panics
    /// If it is empty, longer than [`PURPOSE_MAX`], or has anything in it but `a-z`, `0-9`, `-` and `.`; in a constant that
    /// is an error of compilation.
    pub const fn new(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= PURPOSE_MAX, "a purpose has a name, and a short one");
        let mut at = 0;
        while at < bytes.len() {
            let fits = matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
            assert!(fits, "a purpose is of small letters, digits, '-' and '.'");
            at += 1;
        }
        Self(name)
    }

    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// The header of what is `done`.
pub(crate) fn header(done: &str, suite: impl Into<Suite>, domain: Domain, purpose: Purpose) -> Vec<u8> {
    let (suite, Purpose(purpose)) = (suite.into(), purpose);
    format!("sop {done} 1\nsuite {suite}\ndomain {domain}\npurpose {purpose}\n\n").into_bytes()
}

/// Bytes of a known form: `form [1]`, which is 1, `tag of the suite [2]`, the rest.
pub(crate) fn tagged(suite: impl Into<Suite>, rest: &[&[u8]]) -> Vec<u8> {
    [&[1], &suite.into().tag().to_be_bytes()[..], &rest.concat()].concat()
}

/// The suite and the rest of such bytes.
pub(crate) fn untagged(bytes: &[u8]) -> Option<(Suite, &[u8])> {
    let (&[form, high, low], rest) = bytes.split_first_chunk()?;
    if form != 1 {
        return None;
    }
    Suite::tagged(u16::from_be_bytes([high, low])).map(|suite| (suite, rest))
}
