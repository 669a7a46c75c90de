//! Signed notes and checkpoints: whose word is taken, and what they said.
//!
//! A note is a text, an empty line, and lines `— name base64(key id [4], signature)`. The key of a log signs the text itself
//! (type 1); a witness signs two lines and the text, with the time at which it saw it (type 4, cosignature/v1).

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::tree::Hash;
use crate::{Bad, number};

const ED25519: u8 = 1;
const COSIGNATURE: u8 = 4;
/// Longest note that is read; the format asks for 16 signatures at least.
pub const NOTE_MAX: usize = 64 * 1024;

/// Whose signature counts.
#[derive(Clone, Debug)]
pub struct Key {
    name: String,
    id: [u8; 4],
    kind: u8,
    key: VerifyingKey,
}

impl Key {
    /// The key of a log.
    ///
    /// # Errors
    /// If `vkey` is none.
    pub fn log(vkey: &str) -> Result<Self, String> {
        Self::parse(vkey, ED25519, "the Ed25519 key of a log")
    }

    /// The key of a witness.
    ///
    /// # Errors
    /// If `vkey` is none.
    pub fn witness(vkey: &str) -> Result<Self, String> {
        Self::parse(vkey, COSIGNATURE, "the Ed25519 key of a witness (cosignature/v1)")
    }

    fn parse(vkey: &str, wanted: u8, what: &str) -> Result<Self, String> {
        let parsed = || {
            let mut parts = vkey.splitn(3, '+');
            let (name, id, key) = (parts.next()?, parts.next()?, Base64::decode_vec(parts.next()?).ok()?);
            let (&kind, bytes) = key.split_first()?;
            let bytes: [u8; 32] = bytes.try_into().ok()?;
            let key = VerifyingKey::from_bytes(&bytes).ok()?;
            let digest = Sha256::new().chain_update(name).chain_update([b'\n', kind]).chain_update(bytes).finalize();
            let named = is_name(name) && crate::hex(&digest[..4]) == id && kind == wanted;
            named.then(|| Self { name: name.to_owned(), id: [digest[0], digest[1], digest[2], digest[3]], kind, key })
        };
        parsed().ok_or_else(|| format!("{vkey:?} is not {what}, as NAME+ID+KEY"))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time of this key's signature among these, if there is one. A wrong one spoils the note.
    fn found(&self, text: &str, signatures: &[(&str, Vec<u8>)]) -> Result<Option<u64>, Bad> {
        let mut found = None;
        for (name, signature) in signatures {
            let Some((id, signature)) = signature.split_first_chunk::<4>() else { continue };
            if *name == self.name && *id == self.id {
                let time = self.signed(text, signature);
                let wrong = || Bad::new(format!("the signature of {} is not right", self.name));
                found = Some(time.ok_or_else(wrong)?);
            }
        }
        Ok(found)
    }

    /// The time that goes with a good signature over `text`: zero, if this is the key of a log.
    fn signed(&self, text: &str, signature: &[u8]) -> Option<u64> {
        let (time, signature) = if self.kind == COSIGNATURE {
            let (time, signature) = signature.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*time), signature)
        } else {
            (0, signature)
        };
        let signature = Signature::from_slice(signature).ok()?;
        let signed = match self.kind {
            COSIGNATURE if time == 0 || i64::try_from(time).is_err() => return None,
            COSIGNATURE => {
                self.key.verify_strict(format!("cosignature/v1\ntime {time}\n{text}").as_bytes(), &signature)
            }
            _ => self.key.verify_strict(text.as_bytes(), &signature),
        };
        signed.ok().map(|()| time)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// Whose word is taken: that of the log's key, and of so many of the witnesses.
#[derive(Clone, Debug)]
pub struct Trust {
    pub log: Key,
    pub witnesses: Vec<Key>,
    pub quorum: usize,
}

/// For which tree a log stands, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// The witnesses that saw it, and when, in seconds since 1970.
    pub cosigned: Vec<(String, u64)>,
}

struct Note<'a> {
    text: &'a str,
    signatures: Vec<(&'a str, Vec<u8>)>,
}

fn read(note: &str) -> Option<Note<'_>> {
    if NOTE_MAX < note.len() || note.contains(|c: char| c.is_control() && c != '\n') {
        return None;
    }
    let split = note.rfind("\n\n")?;
    let lines = note[split + 2..].strip_suffix('\n')?;
    let signature = |line: &'_ str| {
        let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let signature = Base64::decode_vec(signature).ok()?;
        (is_name(name) && 4 < signature.len()).then_some(())?;
        Some((name.len(), signature))
    };
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        let (length, bytes) = signature(line)?;
        let start = "— ".len();
        signatures.push((&line[start..start + length], bytes));
    }
    Some(Note { text: &note[..=split], signatures })
}

impl Trust {
    /// The text of a note that the log's key has signed; `what` it is called if it has not.
    ///
    /// # Errors
    /// [`Bad`] if it has not.
    pub fn text<'a>(&self, note: &'a str, what: &str) -> Result<&'a str, Bad> {
        let Note { text, signatures } = read(note).ok_or_else(|| Bad::new(format!("the {what} is no signed note")))?;
        self.log
            .found(text, &signatures)?
            .map(|_| text)
            .ok_or_else(|| Bad::new(format!("the {what} is not signed by {}", self.log.name)))
    }

    /// The checkpoint in a note.
    ///
    /// # Errors
    /// [`Bad`] if the log's key has not signed it, if fewer witnesses than are asked for have, or if it is of another log.
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, Bad> {
        let text = self.text(note, "checkpoint")?;
        let Note { signatures, .. } = read(note).ok_or_else(|| Bad::new("the checkpoint is no signed note"))?;
        let mut cosigned = Vec::new();
        let mut keys = BTreeSet::new();
        for witness in &self.witnesses {
            // The same key under two names is one witness.
            if let Some(time) = witness.found(text, &signatures)?
                && keys.insert(witness.key.to_bytes())
            {
                cosigned.push((witness.name.clone(), time));
            }
        }
        if cosigned.len() < self.quorum {
            let (has, wanted) = (cosigned.len(), self.quorum);
            return Err(Bad::new(format!("the checkpoint is cosigned by {has} of the given witnesses, {wanted} must")));
        }
        let tree = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, size) = (lines.next()?, number(lines.next()?)?);
            let root = Hash::parse(lines.next()?)?;
            // These logs have no extension lines.
            lines.next().is_none().then_some((origin, size, root))
        };
        let (origin, size, root) = tree().ok_or_else(|| Bad::new("what was signed is no checkpoint"))?;
        if origin != self.log.name {
            return Err(Bad::new(format!("the checkpoint is that of {origin:?}, not of {}", self.log.name)));
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root, cosigned })
    }
}
