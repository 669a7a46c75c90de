//! Proofs of single records (C2SP tlog-proof): a text with the place, the way to the root, and the checkpoint.

use base64ct::{Base64, Encoding as _};

use crate::note::{Checkpoint, Trust};
use crate::record::Record;
use crate::tree::{Hash, leaf, root_by};
use crate::{Bad, number};

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// A proof as it is written; nothing of it is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The entry that came along.
    pub entry: Option<Vec<u8>>,
    pub index: u64,
    pub hashes: Vec<Hash>,
    /// A signed note.
    pub note: String,
}

impl Proof {
    /// # Errors
    /// [`Bad`] if `text` is no proof.
    pub fn parse(text: &str) -> Result<Self, Bad> {
        let parsed = || {
            let (head, note) = text.split_once("\n\n")?;
            let mut lines = head.split('\n').peekable();
            (lines.next()? == HEAD).then_some(())?;
            let entry = match lines.next_if(|line| line.starts_with("extra ")) {
                Some(line) => Some(Base64::decode_vec(&line["extra ".len()..]).ok()?),
                None => None,
            };
            let index = number(lines.next()?.strip_prefix("index ")?)?;
            let hashes = lines.map(Hash::parse).collect::<Option<_>>()?;
            Some(Self { entry, index, hashes, note: note.to_owned() })
        };
        parsed().ok_or_else(|| Bad::new("it is no proof (c2sp.org/tlog-proof@v1)"))
    }

    /// The checkpoint in whose tree `entry` is.
    ///
    /// # Errors
    /// [`Bad`] if this does not prove it.
    pub fn verify(&self, entry: &[u8], trust: &Trust) -> Result<Checkpoint, Bad> {
        let checkpoint = trust.checkpoint(&self.note)?;
        if root_by(&self.hashes, leaf(entry), self.index, checkpoint.size) == Some(checkpoint.root) {
            Ok(checkpoint)
        } else {
            let at = self.index.saturating_add(1);
            Err(Bad::at(at, "the proof does not lead from the record to the root that was signed"))
        }
    }
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub sequence: u64,
    pub checkpoint: Checkpoint,
    /// The record as JSON; `None` if only its hash is in the log, because it is long.
    pub record: Option<String>,
}

/// Checks the proof `text` of the entry that it has with it.
///
/// # Errors
/// [`Bad`].
pub fn verify(text: &str, trust: &Trust) -> Result<Proven, Bad> {
    let proof = Proof::parse(text)?;
    let entry = proof.entry.as_deref().ok_or_else(|| Bad::new("the proof has no record with it"))?;
    let checkpoint = proof.verify(entry, trust)?;
    let sequence = proof.index + 1;
    if crate::record::marker(entry).is_some() {
        return Ok(Proven { sequence, checkpoint, record: None });
    }
    let record = Record::read(entry).map_err(|what| Bad::at(sequence, what))?;
    if record.sequence != sequence {
        return Err(Bad::at(sequence, format!("it is record {} that lies in this place", record.sequence)));
    }
    Ok(Proven { sequence, checkpoint, record: Some(record.json(entry)) })
}
