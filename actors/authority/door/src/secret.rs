//! Bearer secrets: 256 random bits with a prefix that says what they open, so that a leaked one is recognised.
//!
//! Only the blake3 of the text is ever stored; a secret of this entropy needs no slow hash.

use std::fmt;

use kernel::Digest;

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// An operator's credential.
    Operator,
    /// One token.
    Token,
}

/// A secret text. Never printed by accident: `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// # Panics
    /// If the system has no randomness to give.
    pub fn generate(kind: SecretKind) -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the system gives randomness");
        let prefix = match kind {
            SecretKind::Operator => "sop_op_",
            SecretKind::Token => "sop_tk_",
        };
        Self(format!("{prefix}{}", Digest(bytes)))
    }

    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn digest(&self) -> Digest {
        Digest(*blake3::hash(self.0.as_bytes()).as_bytes())
    }

    /// The text itself, for the one place that hands it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_tells_its_kind_and_hides_itself() {
        let secret = Secret::generate(SecretKind::Token);
        assert_eq!(secret.expose().len(), "sop_tk_".len() + 64);
        assert!(secret.expose().starts_with("sop_tk_"));
        assert_ne!(secret, Secret::generate(SecretKind::Token));
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
    }
}
