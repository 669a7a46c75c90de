//! What one backup is: where it ends, and what was signed over it.

use evidence::beside;
use evidence::checkpoint::Checkpoint;
use evidence::note::PublicKey;
use journal::store::Head;
use kernel::{Digest, Sequence};
use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::{VaultError, broken};

/// The first one was of whole copies, each a directory of its own ([`journal::archive`]).
const UNSIGNED: u32 = 2;
/// The same with a signature, which earlier releases must not read as if there were none.
pub(crate) const FORMAT: u32 = 3;
pub(crate) const KEY: &str = "key";
pub(crate) const CHECKPOINT: &str = "checkpoint";
const BACKUPS: &str = "backups";

/// Gives the line of a signature for a text under the name of a log, if somebody signs now.
pub type Sign<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

/// A backup. Its blake3 is that of everything in it: the checkpoint has the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub format: u32,
    /// The release that made it.
    pub sop: String,
    /// Its number in the log that it is of.
    pub backup: u64,
    /// RFC 3339.
    pub created_at: String,
    /// The last record that was there before it was asked for: where it ends unless more is wanted.
    pub last: u64,
    /// The link that the record after that one carries.
    pub head: Digest,
    /// Of everything under the checkpoint.
    pub bytes: u64,
    /// Of the files in that which never change, so that the next backup need not count them again.
    pub full_bytes: u64,
    /// What it took to make it.
    pub copied: u64,
    /// Who signed it.
    pub key: String,
    /// The signed note.
    pub checkpoint: String,
    /// The line of who signed all of the above, in the note of [`Point::manifest`] ([`evidence::beside`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl Point {
    /// The backup `name` that a text is, in the one form that it has: every bit of it counts.
    ///
    /// # Errors
    /// [`VaultError::Broken`], [`VaultError::Format`].
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, VaultError> {
        let malformed = |error: serde_json::Error| broken(name, error.to_string());
        let found: serde_json::Value = serde_json::from_slice(text).map_err(malformed)?;
        match found["format"].as_u64().unwrap_or_default() {
            format if [UNSIGNED, FORMAT].map(u64::from).contains(&format) => {}
            found => return Err(VaultError::Format { found }),
        }
        let point: Self = serde_json::from_value(found).map_err(malformed)?;
        let as_it_is = point.format == if point.signature.is_some() { FORMAT } else { UNSIGNED };
        if as_it_is && point.text() == text { Ok(point) } else { Err(broken(name, "it is not as it was written")) }
    }

    /// The point with a signature of what it says, under this name, if somebody signs that.
    pub(crate) fn sealed(self, name: &str, log: &str, sign: Sign<'_>) -> Self {
        let text = self.manifest(name, log);
        let line = sign(log, &text).filter(|line| is_line(&text, line, log));
        Self { format: if line.is_some() { FORMAT } else { UNSIGNED }, signature: line, ..self }
    }

    /// What is signed of a backup of this name: where it lies, and all that it says but for the signature. Its first line
    /// cannot be the name of a log, so that nobody takes it for a checkpoint.
    pub fn manifest(&self, name: &str, log: &str) -> String {
        let unsigned = Self { signature: None, format: FORMAT, ..self.clone() };
        let digest = blake3::hash(&unsigned.text()).to_hex();
        // The folders above are where somebody put it.
        let mut parts = name.rsplit('/');
        let (point, folder) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        format!("backup manifest v1 of {log}\nbackup {folder}/{BACKUPS}/{point}\nblake3 {digest}\n")
    }

    /// The signed note of that, if it is signed; nothing of it is checked.
    pub fn note(&self, name: &str) -> Option<String> {
        let key = PublicKey::parse(&self.key).ok()?;
        Some(format!("{}\n{}\n", self.manifest(name, key.name()), self.signature.as_ref()?))
    }

    /// Where it ends.
    pub fn last(&self) -> Head {
        Head { sequence: Sequence(self.last), link: self.head }
    }

    /// The checkpoint, if the key that it names has signed it.
    ///
    /// # Errors
    /// [`VaultError::Broken`].
    pub fn signed(&self) -> Result<(PublicKey, Checkpoint), VaultError> {
        let name = format!("backup-{}", self.backup);
        let unsigned = |error: evidence::note::NoteError| broken(&name, error.to_string());
        let key = PublicKey::parse(&self.key).map_err(unsigned)?;
        let checkpoint = Checkpoint::open(&self.checkpoint, &key).map_err(unsigned)?;
        if checkpoint.size < self.last {
            return Err(broken(&name, "it ends after what was signed"));
        }
        Ok((key, checkpoint))
    }

    /// As it is written.
    pub fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a point is plain data");
        text.push(b'\n');
        text
    }
}

/// Whether it is one line of a key beside that of the log.
fn is_line(text: &str, line: &str, log: &str) -> bool {
    let read =
        beside::read(&format!("{text}\n{line}\n"), log).map(|(signed, lines)| signed == text && lines.len() == 1);
    read.unwrap_or(false) && !line.contains('\n')
}

/// The folder of the log that `key` signs.
pub fn log_name(key: &PublicKey) -> String {
    format!("log-{}", &blake3::hash(key.to_string().as_bytes()).to_hex()[..16])
}

/// The name of a backup in a target.
pub fn point_name(log: &str, backup: u64) -> String {
    format!("{log}/{BACKUPS}/backup-{backup}")
}

/// The numbers of the backups of a log, in their order.
///
/// # Errors
/// [`VaultError::Io`].
pub fn points(target: &dyn Target, log: &str) -> Result<Vec<u64>, VaultError> {
    let names = target.names(&format!("{log}/{BACKUPS}"))?;
    let mut found: Vec<u64> = names.iter().filter_map(|name| name.strip_prefix("backup-")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// A point, and its blake3; `None` if there is none of that name.
///
/// # Errors
/// [`VaultError::Broken`], [`VaultError::Format`].
pub(crate) fn read(target: &dyn Target, name: &str) -> Result<Option<(Point, Digest)>, VaultError> {
    let Some(text) = target.get(name)? else { return Ok(None) };
    Ok(Some((Point::parse(name, &text)?, Digest(*blake3::hash(&text).as_bytes()))))
}
