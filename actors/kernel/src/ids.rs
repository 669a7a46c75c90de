//! Names of things: commands, tokens, contents and places in the journal.
//!
//! Text forms are for people and JSON; binary forms (record bodies) are the bare numbers and bytes.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::Timestamp;

/// A text that is not the id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct Malformed {
    pub text: String,
    pub expected: &'static str,
}

/// Names one command for ever: a UUIDv7 (RFC 9562) made by the caller, so that a repeat carries the same id, or a
/// UUIDv8 that an internal principal derives from what caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u128);

impl CommandId {
    /// An id made at `at`; `entropy` fills the 74 bits that are not time or marker.
    pub fn new(at: Timestamp, entropy: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(at.0, &entropy).into_uuid().as_u128())
    }

    /// The id that an internal principal derives, for example from hash(route, source sequence). Equal causes give
    /// equal ids, which is what makes a repeated effect harmless.
    pub fn derived(digest: Digest) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.0[..16]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid().as_u128())
    }

    /// When the caller made it; `None` if the id carries no time.
    pub fn made_at(self) -> Option<Timestamp> {
        let uuid = Uuid::from_u128(self.0);
        let standard = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        standard.then(|| Timestamp(u64::try_from(self.0 >> 80).expect("48 bits fit in 64")))
    }

    pub fn is_derived(self) -> bool {
        Uuid::from_u128(self.0).get_version_num() == 8
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for CommandId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self(uuid.as_u128())),
            Err(_) => Err(Malformed {
                text: shortened(text),
                expected: "a UUID such as 0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f",
            }),
        }
    }
}

/// Names one token. Chosen by the caller, so that a retry carries the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(pub u128);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for TokenId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match Uuid::try_parse(text) {
            Ok(uuid) => Ok(Self(uuid.as_u128())),
            Err(_) => Err(Malformed { text: shortened(text), expected: "a token id (a UUID)" }),
        }
    }
}

/// Names one credential. Chosen by the caller, so that a retry carries the same id; sixteen hexadecimal digits for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId(pub u64);

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for CredentialId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let malformed =
            || Malformed { text: shortened(text), expected: "the id of a credential: 16 hexadecimal digits" };
        number.map(Self).ok_or_else(malformed)
    }
}

/// Thirty-two bytes of blake3: of a secret, a command, a record or a content. The text form is hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The first eight digits: enough to recognise one in a failed test, short enough to read.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(")?;
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl FromStr for Digest {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed { text: shortened(text), expected: "64 hexadecimal digits" };
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(malformed());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (value(pair[0]).ok_or_else(malformed)?, value(pair[1]).ok_or_else(malformed)?);
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// An id that arrives from outside may be of any length; an error message may not.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The version of a stream: its first record has position 1; 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(pub u64);

/// A place in the whole journal, over all streams. Exists after the commit only: no machine ever sees one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sequence(pub u64);

/// The incarnation of a stream's writer. An append that names an older one is refused as fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

macro_rules! displayed_as_number {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

displayed_as_number! { Position Sequence Epoch }

/// Text for people, bare bytes for the journal.
macro_rules! serialised_as_text_for_people {
    ($($name:ident: $bare:ty;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(&self.to_string())
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    <$bare>::deserialize(deserializer).map(Self)
                }
            }
        }
    )*};
}

serialised_as_text_for_people! {
    CommandId: u128;
    TokenId: u128;
    CredentialId: u64;
    Digest: [u8; 32];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_id_carries_its_time() {
        let id = CommandId::new(Timestamp(1_700_000_000_123), [7; 10]);
        assert_eq!(id.made_at(), Some(Timestamp(1_700_000_000_123)));
        assert!(!id.is_derived());
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_derived_id_carries_no_time_and_is_the_same_for_the_same_cause() {
        let id = CommandId::derived(Digest([9; 32]));
        assert_eq!(id.made_at(), None);
        assert!(id.is_derived());
        assert_eq!(id, CommandId::derived(Digest([9; 32])));
    }

    #[test]
    fn other_uuids_carry_no_time() {
        let v4: CommandId = "c9a04d27-9f0a-4f0e-8a4c-000000000001".parse().unwrap();
        assert_eq!(v4.made_at(), None);
        assert!(!v4.is_derived());
    }

    #[test]
    fn a_digest_reads_back_and_refuses_what_is_none() {
        let digest = Digest([0xa5; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for text in ["", "a5", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
