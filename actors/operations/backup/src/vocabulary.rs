//! The language of backups: all that their callers need to know.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use kernel::{Digest, Malformed, Refuse, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest reason in bytes. The worker shortens its own.
pub const WHY_MAX: usize = 500;
/// Longest name of a directory in bytes, as file systems have it.
pub const DIRECTORY_MAX: usize = 255;

/// Backups count in the order of starting, from 1. Written `backup-3`, which is its directory's name, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(pub u64);

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup-{}", self.0)
    }
}

impl FromStr for BackupId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let digits = text.strip_prefix("backup-").unwrap_or(text);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| Malformed {
            text: text.chars().take(80).collect(),
            expected: "a backup such as backup-3 or 3",
        })
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_string())
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Make a backup of all that was recorded before this command.
    Create,
    /// The worker made it. Internal.
    Complete { backup: BackupId, contents: Contents },
    /// The worker could not. Internal.
    Fail { backup: BackupId, why: String },
    /// Read a backup again, all of it.
    Verify { backup: BackupId },
    /// The worker found a whole backup, by this manifest. Internal.
    Confirm { backup: BackupId, manifest: Digest },
    /// The worker found something else, or nothing. Internal.
    Reject { backup: BackupId, why: String },
    /// Restore a backup for practice, the last good one if none is named: replay it, and compare what comes of it.
    Drill { backup: Option<BackupId> },
    /// It came to the states that it should. Internal.
    Pass { backup: BackupId, drill: Drilled },
    /// It did not, and is `broken`; or it could not be tried. Internal.
    Miss { backup: BackupId, why: String, broken: bool },
    /// Keep a backup, whatever is to be kept otherwise.
    Hold { backup: BackupId, reason: String },
    /// Keep it no longer than others.
    Release { backup: BackupId },
    /// Let go of what need not be kept. Internal.
    Retain { keep: Keep },
    /// The worker took away what only that one needed. Internal.
    Removed { backup: BackupId },
    /// Keep one as the archive of the records up to `last`, which are to leave the tile log. Internal.
    Archive { backup: BackupId, last: u64 },
}

/// How much is kept: the newest ones, and the newest of each of so many days, weeks and months that have one, in UTC. All
/// zero keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub last: u64,
    pub daily: u64,
    pub weekly: u64,
    pub monthly: u64,
}

/// What a drill found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// The blake3 of the manifest.
    pub manifest: Digest,
    pub records: u64,
    pub machines: u64,
    /// Over the digests of all states at the end of the backup.
    pub state: Digest,
}

/// The last drill with a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    pub at: Timestamp,
    /// What it found, if it came to its end.
    pub found: Option<Drilled>,
    /// Why it did not.
    pub why: Option<String>,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The last record in it.
    pub last: u64,
    /// The link that the record after that one carries.
    pub head: Digest,
    pub entries: u64,
    pub bytes: u64,
    /// The blake3 of the manifest, and so of everything.
    pub manifest: Digest,
    /// Its name among the backups.
    pub directory: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Started {
        backup: BackupId,
    },
    Checking {
        backup: BackupId,
    },
    Drilling {
        backup: BackupId,
    },
    Held {
        backup: BackupId,
    },
    Released {
        backup: BackupId,
    },
    /// So many need not be kept any more.
    Retained {
        expired: u64,
    },
    Removed {
        backup: BackupId,
    },
    Archived {
        backup: BackupId,
    },
    /// What became of the worker's report.
    Ended {
        backup: BackupId,
        state: State,
    },
}

/// Why the answer can be no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("only the authority's own worker reports on backups")]
    NotInternal,
    #[error("{backup} is being worked on, and that is one at a time")]
    Busy { backup: BackupId },
    #[error("there never was a {backup}")]
    Unknown { backup: BackupId },
    #[error("{backup} was not made: there is nothing to verify")]
    NotMade { backup: BackupId },
    #[error("there is no good backup to practise with")]
    NoneGood,
    #[error("{backup} was not to be kept any longer: it is gone")]
    Expired { backup: BackupId },
    #[error("nobody holds {backup}")]
    NotHeld { backup: BackupId },
    #[error(
        "{backup} cannot be an archive: it was not verified, does not have record {last}, or has less than the one there is"
    )]
    NoArchive { backup: BackupId, last: u64 },
    #[error("nobody is waiting for this report on {backup}")]
    NotAwaited { backup: BackupId },
    #[error("a text of {bytes} bytes is over the limit of {max}")]
    TooLong { bytes: u64, max: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotInternal => "backup.not_internal",
            Self::Busy { .. } => "backup.busy",
            Self::Unknown { .. } => "backup.unknown",
            Self::NotMade { .. } => "backup.not_made",
            Self::NoneGood => "backup.none_good",
            Self::Expired { .. } => "backup.expired",
            Self::NotHeld { .. } => "backup.not_held",
            Self::NoArchive { .. } => "backup.no_archive",
            Self::NotAwaited { .. } => "backup.not_awaited",
            Self::TooLong { .. } => "backup.too_long",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NotInternal => "Ask for a backup or for a verification; the worker reports what comes of it.".into(),
            Self::Busy { backup } => format!("Wait until `sop backup show {backup}` says that it is done."),
            Self::Unknown { .. } => "See `sop backup list`.".into(),
            Self::NotMade { .. } => "See `sop backup show` for the reason, and make another one.".into(),
            Self::NoneGood => "Make one with `sop backup create`.".into(),
            Self::Expired { .. } => "See `sop backup list` for those that are kept.".into(),
            Self::NotHeld { .. } => "Nothing is to be done.".into(),
            Self::NoArchive { backup, .. } => format!("Verify one with `sop backup verify {backup}`."),
            Self::NotAwaited { .. } => "Nothing is to be done: it has been reported on already.".into(),
            Self::TooLong { max, .. } => format!("Shorten it to {max} bytes."),
        }
    }
}

/// What is known of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    /// Made, and not read again since.
    Complete,
    /// Whole when it was last read.
    Verified,
    /// Not whole when it was last read.
    Broken,
    /// Never made.
    Failed,
    /// It need not be kept, and is taken away.
    Expired,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    pub id: BackupId,
    pub state: State,
    pub started_at: Timestamp,
    /// When it came to its state.
    pub changed_at: Timestamp,
    /// Once it was made.
    pub contents: Option<Contents>,
    /// Why it failed or is broken.
    pub why: Option<String>,
    /// Being read again.
    pub checking: bool,
    /// The last time that it was restored for practice.
    pub drill: Option<Drill>,
    /// Why it is to be kept.
    pub held: Option<String>,
}

/// What the worker has to do, again if need be: it may be that nobody is at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    Make(BackupId),
    Check(BackupId),
    Drill(BackupId),
    Remove(BackupId),
}

impl Work {
    pub const fn backup(self) -> BackupId {
        match self {
            Self::Make(backup) | Self::Check(backup) | Self::Drill(backup) | Self::Remove(backup) => backup,
        }
    }
}

/// The beginning of a text, in so many bytes.
pub fn clipped(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
