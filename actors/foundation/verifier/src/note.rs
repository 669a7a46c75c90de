//! Signed notes and checkpoints: whose word is taken, and what they said.
//!
//! A note is a text, an empty line, and lines `— name base64(key id [4], signature)`. The key of a log signs the text itself
//! (type 1); a witness signs two lines and the text, with the time at which it saw it (type 4, cosignature/v1); and keys of the
//! authority's keystore sign beside that of the log ([`crate::beside`]).

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::beside::{Chain, Signer};
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

pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// Whose word is taken: that of the log's key, of those beside it, and of so many of the witnesses. Without any key it is
/// nobody's.
#[derive(Clone, Debug)]
pub struct Trust {
    /// `None` if those beside it are enough.
    pub log: Option<Key>,
    /// One of each chain must have signed.
    pub beside: Vec<Chain>,
    pub witnesses: Vec<Key>,
    pub quorum: usize,
}

/// For which tree a log stands, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// Who signed it beside the key of the log, of those that were asked for.
    pub beside: Vec<Signer>,
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
    /// That of the log's key alone.
    pub fn of(log: Key) -> Self {
        Self { log: Some(log), beside: Vec::new(), witnesses: Vec::new(), quorum: 0 }
    }

    /// The log that it is about.
    pub fn origin(&self) -> &str {
        let beside = || self.beside.first().map_or("", Chain::log);
        self.log.as_ref().map_or_else(beside, |log| &log.name)
    }

    /// The text of a note that every key that is asked for has signed, and those beside the log's that did; `what` it is called
    /// if they have not. Whether what they sign still counts is for who knows which record it is of ([`Trust::counting`]).
    ///
    /// # Errors
    /// [`Bad`] if one of them has not.
    pub fn text<'a>(&self, note: &'a str, what: &str) -> Result<(&'a str, Vec<Vec<Signer>>), Bad> {
        let Note { text, signatures } = read(note).ok_or_else(|| Bad::new(format!("the {what} is no signed note")))?;
        let unsigned = |by: &str| Bad::new(format!("the {what} is not signed by {by}"));
        if let Some(log) = &self.log {
            log.found(text, &signatures)?.ok_or_else(|| unsigned(&log.name))?;
        } else if self.beside.is_empty() {
            return Err(unsigned("anybody who is trusted"));
        }
        let mut signers = Vec::new();
        for chain in &self.beside {
            let wrong = |name: String| Bad::new(format!("the signature of {name} is not right"));
            let found = chain.signers(text, &signatures).map_err(wrong)?;
            if found.is_empty() {
                let or = if chain.len() == 1 { "" } else { ", nor by one that follows it" };
                return Err(unsigned(&format!("{}{or}", chain.name())));
            }
            signers.push(found);
        }
        Ok((text, signers))
    }

    /// Those of them whose signature counts for what is of this record.
    ///
    /// # Errors
    /// [`Bad`] if of those who had to sign one is left that does not.
    pub fn counting(&self, signers: Vec<Vec<Signer>>, record: u64, what: &str) -> Result<Vec<Signer>, Bad> {
        let mut counting = Vec::new();
        for found in signers {
            let (revoked, counts): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|signer| signer.revoked.is_some_and(|since| since <= record));
            if let (Some(Signer { name, revoked: Some(since), .. }), true) = (revoked.first(), counts.is_empty()) {
                return Err(Bad::new(format!(
                    "the {what} is of record {record}, and what {name} signed from record {since} on does not count"
                )));
            }
            counting.extend(counts);
        }
        Ok(counting)
    }

    /// The same of what may be older than a key that is asked for: one of them is enough.
    pub(crate) fn of_older(&self) -> Vec<Self> {
        let log = self.log.as_ref().map(|log| Self { log: Some(log.clone()), beside: Vec::new(), ..self.clone() });
        let beside = self.beside.iter().map(|chain| Self { log: None, beside: vec![chain.clone()], ..self.clone() });
        log.into_iter().chain(beside).collect()
    }

    /// The checkpoint in a note.
    ///
    /// # Errors
    /// [`Bad`] if a key that is asked for has not signed it, if fewer witnesses than are asked for have, or if it is of another
    /// log.
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, Bad> {
        let (text, signers) = self.text(note, "checkpoint")?;
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
        if origin != self.origin() {
            return Err(Bad::new(format!("the checkpoint is that of {origin:?}, not of {}", self.origin())));
        }
        let beside = self.counting(signers, size, "checkpoint")?;
        Ok(Checkpoint { origin: origin.to_owned(), size, root, beside, cosigned })
    }

    /// The same of what may be older than a key that is asked for.
    ///
    /// # Errors
    /// As [`Trust::checkpoint`], of the first key that is asked for.
    pub(crate) fn older_checkpoint(&self, note: &str) -> Result<Checkpoint, Bad> {
        let mut first = None;
        for trust in self.of_older() {
            match trust.checkpoint(note) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(bad) => {
                    first.get_or_insert(bad);
                }
            }
        }
        Err(first.unwrap_or_else(|| Bad::new("no key is trusted")))
    }
}
