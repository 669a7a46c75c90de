//! What one backup is: where it ends, and what was signed over it.

use evidence::checkpoint::Checkpoint;
use evidence::note::PublicKey;
use journal::store::Head;
use kernel::{Digest, Sequence};
use serde::{Deserialize, Serialize};

use crate::target::Target;
use crate::{VaultError, broken};

/// The first one was of whole copies, each a directory of its own ([`journal::archive`]).
pub(crate) const FORMAT: u32 = 2;
pub(crate) const KEY: &str = "key";
pub(crate) const CHECKPOINT: &str = "checkpoint";
const BACKUPS: &str = "backups";

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
            format if format == u64::from(FORMAT) => {}
            found => return Err(VaultError::Format { found }),
        }
        let point: Self = serde_json::from_value(found).map_err(malformed)?;
        if point.text() == text { Ok(point) } else { Err(broken(name, "it is not as it was written")) }
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
