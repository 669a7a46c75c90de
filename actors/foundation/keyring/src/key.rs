//! One key: how it is written down, how it seals and opens. Pure.
//!
//! ```text
//! a sealed text: form [1], id of the key [8], nonce [12], the text in AES-256-GCM with its tag [16]
//! ```
//!
//! The nonce is made of what is sealed and of the command that brings it, under a second key: the same command sealed again
//! is the same bytes, which is what makes a repeat a repeat, and no nonce serves two texts.

use std::fmt::Write as _;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use kernel::{CommandId, Principal};

/// The form of a sealed text.
const FORM: u8 = 1;
/// What is before the text: form, id, nonce.
const HEAD: usize = 1 + 8 + NONCE_LEN;
const TITLE: &str = "sop subject key 1";

/// The key of one subject.
pub struct Key {
    subject: Principal,
    id: u64,
    secret: [u8; 32],
    cipher: LessSafeKey,
    nonces: hmac::Key,
}

impl Key {
    /// Of what the caller drew.
    pub fn new(subject: &Principal, id: u64, secret: [u8; 32]) -> Self {
        let cipher = blake3::derive_key("sop subject key 1: texts", &secret);
        let nonces = blake3::derive_key("sop subject key 1: nonces", &secret);
        Self {
            subject: subject.clone(),
            id,
            secret,
            cipher: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cipher).expect("a key has 32 bytes")),
            nonces: hmac::Key::new(hmac::HMAC_SHA256, &nonces),
        }
    }

    pub fn subject(&self) -> &Principal {
        &self.subject
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn seal(&self, command: CommandId, field: &str, text: &str) -> Vec<u8> {
        let mut made_of = hmac::Context::with_key(&self.nonces);
        made_of.update(&command.0.to_be_bytes());
        made_of.update(&(field.len() as u64).to_be_bytes());
        made_of.update(field.as_bytes());
        made_of.update(text.as_bytes());
        let tag = made_of.sign();
        let nonce: [u8; NONCE_LEN] = *tag.as_ref().first_chunk().expect("HMAC-SHA256 has 32 bytes");
        let mut sealed = text.as_bytes().to_vec();
        let done = self.cipher.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(about(&self.subject)),
            &mut sealed,
        );
        done.expect("a text in memory is shorter than AES-GCM can take");
        let mut bytes = Vec::with_capacity(HEAD + sealed.len());
        bytes.push(FORM);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(nonce);
        bytes.extend(sealed);
        bytes
    }

    /// The text; `None` if these bytes are not what this key sealed.
    pub fn open(&self, sealed: &[u8]) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = *sealed.get(9..)?.first_chunk()?;
        let mut text = sealed.get(HEAD..)?.to_vec();
        if key_of(sealed) != Some(self.id) {
            return None;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.cipher.open_in_place(nonce, Aad::from(about(&self.subject)), &mut text).ok()?.len();
        text.truncate(length);
        String::from_utf8(text).ok()
    }

    /// As it is kept.
    pub fn written(&self) -> String {
        let mut text = format!("{TITLE}\nsubject {}\nid {:016x}\nsecret ", self.subject, self.id);
        self.secret.iter().for_each(|byte| write!(text, "{byte:02x}").expect("memory takes it"));
        let check = blake3::hash(text.as_bytes()).to_hex();
        text + "\ncheck " + &check + "\n"
    }

    /// As it was kept; `None` if a bit of it is not as it was.
    pub fn read(text: &str) -> Option<Self> {
        let (told, check) = text.strip_suffix('\n')?.split_once("\ncheck ")?;
        if blake3::hash(told.as_bytes()).to_hex().as_str() != check {
            return None;
        }
        let [TITLE, subject, id, secret] = told.split('\n').collect::<Vec<_>>()[..] else { return None };
        let subject = subject.strip_prefix("subject ")?.parse().ok()?;
        let id = u64::from_str_radix(id.strip_prefix("id ")?, 16).ok()?;
        let secret = secret.strip_prefix("secret ")?.parse::<kernel::Digest>().ok()?.0;
        // In the one form that it has.
        Some(Self::new(&subject, id, secret)).filter(|key| key.written() == text)
    }
}

/// Which key sealed these bytes.
pub fn key_of(sealed: &[u8]) -> Option<u64> {
    let (FORM, rest) = sealed.split_first().map(|(form, rest)| (*form, rest))? else { return None };
    Some(u64::from_be_bytes(*rest.first_chunk()?))
}

/// What is sealed for one subject is no text of another's.
fn about(subject: &Principal) -> String {
    format!("sop personal {FORM} {subject}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_text() {
        let key = Key::new(&"agent/ada".parse().unwrap(), 7, [0xab; 32]);
        let told = key.written().split_once("\ncheck ").unwrap().0.to_owned();
        for (row, told, is_read) in [
            ("as it is written", told.clone(), true),
            ("with a short id", told.replace("id 0000000000000007", "id 7"), false),
            ("with a sign", told.replace("id 0", "id +"), false),
            ("in capitals", told.replace("abab", "ABAB"), false),
            ("with a line more", told + "\n", false),
        ] {
            let vouched = format!("{told}\ncheck {}\n", blake3::hash(told.as_bytes()).to_hex());
            assert_eq!(Key::read(&vouched).is_some(), is_read, "{row}");
        }
    }
}
