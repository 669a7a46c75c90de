//! Text about a person, as machines, records and files hold it: sealed under a key of its subject, so that the key's end is
//! the text's end, and nothing that was hashed or signed over it changes.
//!
//! Sealing and opening are done outside, by whoever has the keys. A machine moves such a text about and measures it, and
//! never sees it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Principal;

/// A sealed text, or one that was written down before texts were sealed.
///
/// Part of frozen bodies, so frozen itself. In JSON it is what has these three fields and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Personal {
    /// Whose key it is sealed under; empty if it is not sealed.
    subject: String,
    /// How long the text is.
    characters: u32,
    /// The text itself, in UTF-8, if it is not sealed.
    sealed: Vec<u8>,
}

impl Personal {
    /// Most bytes that sealing adds to a text.
    pub const OVERHEAD_MAX: usize = 64;

    /// A text as it is: what old records hold, and what is not about anybody.
    pub fn plain(text: &str) -> Self {
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Self { subject: String::new(), characters, sealed: text.as_bytes().to_vec() }
    }

    /// What a text of so many characters became under a key of `subject`.
    pub fn sealed(subject: &Principal, characters: usize, sealed: Vec<u8>) -> Self {
        let characters = u32::try_from(characters).unwrap_or(u32::MAX);
        Self { subject: subject.to_string(), characters, sealed }
    }

    /// Whose key it is sealed under; `None` if it is not sealed.
    pub fn subject(&self) -> Option<&str> {
        Some(self.subject.as_str()).filter(|subject| !subject.is_empty())
    }

    /// The text, if it is not sealed.
    pub fn text(&self) -> Option<&str> {
        if self.subject.is_empty() { core::str::from_utf8(&self.sealed).ok() } else { None }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.sealed
    }

    /// How long the text is, in characters.
    pub fn characters(&self) -> usize {
        self.characters as usize
    }

    pub fn is_empty(&self) -> bool {
        self.characters == 0
    }

    /// Whether it is over a limit in characters, or has more bytes than a text within that limit can have.
    pub fn is_longer_than(&self, characters: usize) -> bool {
        let bytes = characters.saturating_mul(4).saturating_add(Self::OVERHEAD_MAX);
        characters < self.characters() || bytes < self.sealed.len() || Principal::TEXT_MAX < self.subject.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn what_is_not_sealed_reads_as_it_was_written() {
        let plain = Personal::plain("é?");
        assert_eq!((plain.subject(), plain.text(), plain.characters()), (None, Some("é?"), 2));
        assert!(Personal::default().is_empty() && Personal::plain("") == Personal::default());
    }

    #[test]
    fn what_is_sealed_shows_its_subject_and_length_only() {
        let alpha = "agent/alpha".parse().unwrap();
        let sealed = Personal::sealed(&alpha, 2, vec![1, 2, 3]);
        assert_eq!((sealed.subject(), sealed.text(), sealed.characters()), (Some("agent/alpha"), None, 2));
        assert!(!sealed.is_longer_than(2));
        assert!(sealed.is_longer_than(1));
        assert!(Personal::sealed(&alpha, 0, vec![0; 69]).is_longer_than(1), "it holds more than it says");
    }
}
