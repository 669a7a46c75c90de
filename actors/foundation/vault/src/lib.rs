//! Backups as copies of the tile log: made bit by bit, believed only as far as they are signed.
//!
//! A place for backups ([`Target`]) has a folder for each log, named after its key, and in it the files of that log as
//! C2SP tlog-tiles has them, with its newest checkpoint, so that whoever verifies such logs can verify a backup:
//!
//! ```text
//! log-<id>/key                the public key of the log
//! log-<id>/checkpoint         the newest one
//! log-<id>/cosigned           the newest that the quorum of witnesses had cosigned, if they were asked for
//! log-<id>/tile/… blobs/…     the files of the log, shared by all backups of it
//! log-<id>/backups/backup-3   one backup: where it ends, and the checkpoint that it rests on ([`Point`])
//! ```
//!
//! A log only grows, so a backup is the beginning of every later one, and making one means adding what is new.
//!
//! # Invariants
//! 1. A backup is there once its point is: everything under its checkpoint is in place before, was read back, and gives the
//!    root that was signed.
//! 2. What no point covers counts for nothing: it is what a run left that did not come to its end, and is written again.
//! 3. A log in a place goes on as it began: one that is of other records, or has more of them, is not touched.
//! 4. What somebody signed of a backup is its point, under its name: another one in its place is not signed.
//! 5. Nothing is restored that does not belong to what was signed; a store is there whole or not at all.

mod copy;
mod place;
mod point;
mod prune;
mod restore;
mod target;

pub use copy::{Checked, Made, Making, Older, Source, make, verify};
pub use place::{Found, find, locate};
pub use point::{Point, Sign, log_name, point_name, points};
pub use prune::prune;
pub use restore::{Restored, Upto, log_into, restore};
pub use target::{Directory, FILE_MAX, Target, Trouble};

use std::path::PathBuf;

use journal::store::StoreError;
use kernel::Sequence;

/// Why there is no backup, or none that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("there is no backup in {place}")]
    NoBackup { place: String },
    #[error("{place} has backups of {} logs: {}", logs.len(), logs.join(", "))]
    Several { place: String, logs: Vec<String> },
    #[error("the backup is of format {found}, this release reads {}", point::FORMAT)]
    Format { found: u64 },
    #[error("{file}: {what}")]
    Broken { file: String, what: String },
    /// The log itself, not its copy.
    #[error("the tile log is not what was signed: {file}: {what}; see `sop audit verify --deep`")]
    Source { file: String, what: String },
    #[error(
        "{place} has {there} records of this log, which is more than the {here} here: this authority is older than its backups"
    )]
    Ahead { place: String, there: u64, here: u64 },
    #[error("{place} has another log under the same key: they are not the same from record {first} on, or before")]
    Forked { place: String, first: Sequence },
    #[error("another process is writing to {place}")]
    InUse { place: String },
    #[error("the backup ends with record {last}, so {asked} is not in it")]
    Beyond { asked: String, last: u64 },
    #[error("this is not the key that signed the backup: that is {signed}")]
    OtherKey { signed: String },
    /// By whoever signs beside the log.
    #[error("{file}: its signature is not right: {what}")]
    Signature { file: String, what: String },
    #[error("{file}: {key} signed it, which is revoked since record {since}, and it is of record {last}")]
    RevokedKey { file: String, key: String, since: u64, last: u64 },
    #[error("{file}: it is not signed by {key}")]
    Unsigned { file: String, key: String },
    #[error("{place} cannot be used: {why}")]
    Io { place: String, why: String },
    /// Of a place that is reached over a network: it says nothing about what is there.
    #[error("{place}: {trouble}: {why}")]
    Remote { place: String, trouble: Trouble, why: String },
    #[error("it was stopped: {why}")]
    Stopped { why: String },
    #[error(transparent)]
    Journal(#[from] StoreError),
}

impl VaultError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoBackup { .. } => "archive.none",
            Self::Several { .. } => "archive.several",
            Self::Format { .. } => "archive.format",
            Self::Broken { .. } => "archive.broken",
            Self::Source { .. } => "archive.source",
            Self::Ahead { .. } => "archive.ahead",
            Self::Forked { .. } => "archive.forked",
            Self::InUse { .. } => "archive.in_use",
            Self::Beyond { .. } => "archive.beyond",
            Self::OtherKey { .. } => "archive.other_key",
            Self::Signature { .. } => "archive.signature",
            Self::RevokedKey { .. } => "archive.revoked_key",
            Self::Unsigned { .. } => "archive.unsigned",
            Self::Io { .. } => "archive.io",
            Self::Remote { trouble, .. } => trouble.code(),
            Self::Stopped { .. } => "archive.stopped",
            Self::Journal(error) => error.code(),
        }
    }
}

pub(crate) fn broken(file: &str, what: impl Into<String>) -> VaultError {
    VaultError::Broken { file: file.to_owned(), what: what.into() }
}

pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> VaultError {
    let path = path.into();
    move |why| VaultError::Io { place: path.display().to_string(), why: why.to_string() }
}
