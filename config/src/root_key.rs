//! Where the root key of the keystore comes from. Never the key itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest name of a credential or variable.
const NAME_MAX: usize = 255;

/// `file:/etc/sop/root.key`, `credential:sop-root`, `env:SOP_PASSPHRASE` or `shares`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKey {
    File(PathBuf),
    /// Of systemd.
    Credential(String),
    /// A passphrase in a variable of the environment.
    Environment(String),
    /// People bring it, once the authority runs.
    Shares,
}

/// A text that names no such place. It may be a secret, so it is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a root key is from file:PATH, credential:NAME, env:VARIABLE, or shares")]
pub struct NotARootKey;

impl FromStr for RootKey {
    type Err = NotARootKey;

    fn from_str(text: &str) -> Result<Self, NotARootKey> {
        let is_name = |name: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
            !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.chars().all(fits)
        };
        match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            Some(("credential", name)) if is_name(name, "-.") => Ok(Self::Credential(name.to_owned())),
            Some(("env", name)) if is_name(name, "") => Ok(Self::Environment(name.to_owned())),
            None if text == "shares" => Ok(Self::Shares),
            _ => Err(NotARootKey),
        }
    }
}

impl fmt::Display for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Shares => f.write_str("shares"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_text() {
        for text in ["file:/etc/sop/root.key", "credential:sop-root.1", "env:SOP_PASSPHRASE", "shares"] {
            assert_eq!(text.parse::<RootKey>().unwrap().to_string(), text);
        }
        for text in
            ["", "file:", "file:root.key", "credential:../root", "credential:.root", "env:A B", "shares:3", "deadbeef"]
        {
            assert_eq!(text.parse::<RootKey>(), Err(NotARootKey), "{text}");
        }
    }
}
