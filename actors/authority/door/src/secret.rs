//! Bearer secrets: 256 random bits with a prefix that says what they open, so that a leaked one is recognised. That of an API
//! key, `sop_<id>_<secret>`, names its credential, so that a leaked one is found, and a guessed one is slowed down.
//!
//! Only the blake3 of the text is ever stored; a secret of this entropy needs no slow hash.

use std::fmt;

use identity::CredentialId;
use kernel::Digest;

use crate::carried::PREFIX;

/// What a secret opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// An operator's credential.
    Operator,
    /// One token.
    Token,
    /// A credential of this id.
    Key(CredentialId),
}

/// No secret is longer, in bytes.
const TEXT_MAX: usize = 256;
/// No token of an issuer elsewhere is.
const FOREIGN_MAX: usize = 8 << 10;

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
            SecretKind::Operator => "sop_op_".to_owned(),
            SecretKind::Token => "sop_tk_".to_owned(),
            SecretKind::Key(id) => format!("sop_{id}_"),
        };
        Self(format!("{prefix}{}", Digest(bytes)))
    }

    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn digest(&self) -> Digest {
        Digest(*blake3::hash(self.0.as_bytes()).as_bytes())
    }

    /// What the text says that it opens: `None` for one of no form that we give out.
    pub fn kind(&self) -> Option<SecretKind> {
        let (name, digits) = self.0.strip_prefix("sop_")?.split_once('_')?;
        let plain = digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match name {
            _ if !plain => None,
            "op" => Some(SecretKind::Operator),
            "tk" => Some(SecretKind::Token),
            id => id.parse().ok().map(SecretKind::Key),
        }
    }

    /// Whether it has the form of what issuers elsewhere sign (JWS, RFC 7515): three parts, of which the first begins an
    /// object of JSON in base64url.
    pub fn is_foreign(&self) -> bool {
        let of = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let dots = self.0.bytes().filter(|byte| *byte == b'.').count();
        self.0.len() <= FOREIGN_MAX && self.0.starts_with("ey") && dots == 2 && self.0.bytes().all(of)
    }

    /// Whether it says that it is a token's bearer form: no other secret begins so. Nothing of it was looked at.
    pub fn is_bearer(&self) -> bool {
        self.0.starts_with(PREFIX)
    }

    /// Whether it cannot be a secret: cut short, too long, or not of one line. One that was made elsewhere has any form.
    pub fn is_malformed(&self) -> bool {
        if self.is_foreign() || self.is_bearer() {
            return false;
        }
        let strange = self.0.is_empty() || TEXT_MAX < self.0.len() || self.0.chars().any(char::is_control);
        strange || self.0.starts_with("sop_") && self.kind().is_none()
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

    #[test]
    fn a_secret_says_what_it_opens() {
        for kind in [SecretKind::Operator, SecretKind::Token, SecretKind::Key(CredentialId(0x17))] {
            let secret = Secret::generate(kind);
            assert_eq!((secret.kind(), secret.is_malformed()), (Some(kind), false), "{kind:?}");
            let text = secret.expose();
            for bad in [&text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase().replace("SOP", "sop")] {
                assert!(Secret::of(bad).kind().is_none() && Secret::of(bad).is_malformed(), "{bad}");
            }
        }
        for (text, malformed) in [
            ("", true),
            ("a\nb", true),
            ("sop_x", true),
            (&"a".repeat(257), true),
            (&"a".repeat(256), false),
            ("the operator's secret", false),
        ] {
            assert_eq!((Secret::of(text).kind(), Secret::of(text).is_malformed()), (None, malformed), "{text:?}");
        }
        for (text, bearer) in [
            ("sop_bt_", true),
            ("sop_bt_AAAA", true),
            (&format!("sop_bt_{}", "0".repeat(64)), true),
            (&format!("sop_bt_{}", "a".repeat(100_000)), true),
            ("sop_bt", false),
            ("SOP_BT_AAAA", false),
            (" sop_bt_AAAA", false),
        ] {
            let secret = Secret::of(text);
            assert_eq!((secret.is_bearer(), secret.kind(), secret.is_foreign()), (bearer, None, false), "{text:.20}");
            assert!(!bearer || !secret.is_malformed(), "{text:.20}: who reads it says what is wrong with it");
        }
        let long = |bytes: usize| format!("eyJhbGciOiJFUzI1NiJ9.e30.{}", "a".repeat(bytes));
        for (text, foreign) in [
            (long(0), true),
            (long(1_000), true),
            (long(FOREIGN_MAX), false),
            (long(4) + "=", false),
            (long(4) + ".a", false),
            ("eyJhbGciOiJFUzI1NiJ9.e30".to_owned(), false),
            (format!("a{}", long(4)), false),
        ] {
            assert_eq!(Secret::of(&text).is_foreign(), foreign, "{text}");
        }
    }
}
