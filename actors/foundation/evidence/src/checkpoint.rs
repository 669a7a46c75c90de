//! Checkpoints (C2SP tlog-checkpoint): which tree a log stands for. And what makes of one a receipt: the text of a proof
//! (C2SP tlog-proof), which needs nothing but itself, the entry and the log's public key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{NoteError, PublicKey};
use crate::tree::{self, Hash};

/// First line of a proof.
const PROOF: &str = "c2sp.org/tlog-proof@v1";

/// A tree that a log stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log, and of its key.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint in a note that `key` has signed for the log of its name.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open(note: &str, key: &PublicKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(key.open(note)?).ok_or(NoteError::Malformed)?;
        if checkpoint.origin == key.name() { Ok(checkpoint) } else { Err(NoteError::Unsigned) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, number(lines.next()?)?, Hash::parse(lines.next()?)?);
        // Our logs have no extension lines.
        lines.next().is_none().then(|| Self { origin: origin.to_owned(), size, root })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root } = self;
        write!(f, "{origin}\n{size}\n{root}\n")
    }
}

/// A number in its one form.
fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Why a proof proves nothing. Worded for the auditor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is no proof")]
    Malformed,
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    #[error("it does not lead from the entry to the root that was signed")]
    Broken,
}

/// That an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Carried along and not proven: here the entry itself.
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub hashes: Vec<Hash>,
    /// A signed note.
    pub checkpoint: String,
}

impl Proof {
    /// The proof that a text is.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let parsed = || {
            let (head, checkpoint) = text.split_once("\n\n")?;
            let mut lines = head.split('\n').peekable();
            if lines.next()? != PROOF {
                return None;
            }
            let extra = match lines.next_if(|line| line.starts_with("extra ")) {
                Some(line) => Some(STANDARD.decode(line.strip_prefix("extra ")?).ok()?),
                None => None,
            };
            let index = number(lines.next()?.strip_prefix("index ")?)?;
            let hashes = lines.map(Hash::parse).collect::<Option<_>>()?;
            Some(Self { extra, index, hashes, checkpoint: checkpoint.to_owned() })
        };
        parsed().ok_or(ProofError::Malformed)
    }

    /// The checkpoint, if `key` has signed it, and this proves that `entry` is in its tree.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, entry: &[u8], key: &PublicKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let Checkpoint { size, root, .. } = checkpoint;
        if tree::is_included(&self.hashes, self.index, size, tree::leaf(entry), root) {
            Ok(checkpoint)
        } else {
            Err(ProofError::Broken)
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
