//! Makes a store, or a log, out of a backup.

use std::path::Path;

use evidence::checkpoint::Checkpoint;
use evidence::cosigned::COSIGNED;
use evidence::note::PublicKey;
use evidence::tile::{self, Tile};
use evidence::tree::Hash;
use journal::Import;
use journal::envelope::Record;
use journal::store::Head;
use kernel::{Sequence, Timestamp};

use crate::VaultError;
use crate::copy::{Checked, Files, GoOn, Sink, verify, walk};
use crate::target::{Directory, Target};

/// How much of a backup is wanted. Whatever it is, it ends where a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upto {
    /// What was there before it was asked for.
    Backup,
    /// Everything that was signed with it.
    Signed,
    /// No more records than that.
    Size(u64),
    /// What was recorded until then.
    Time(Timestamp),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub checked: Checked,
    /// Where the store ends.
    pub head: Head,
    /// When its last record was written.
    pub time: Timestamp,
}

/// Where the records that are wanted end.
struct End {
    upto: Upto,
    backup: u64,
    last: Sequence,
    time: Timestamp,
    over: bool,
}

impl End {
    fn look(&mut self, record: &Record) {
        let at = record.sequence.0;
        self.over = self.over
            || match self.upto {
                Upto::Backup => self.backup < at,
                Upto::Signed => false,
                Upto::Size(size) => size < at,
                Upto::Time(time) => time < record.time,
            };
        // Between two records of a command nothing ends.
        if !self.over && record.count <= record.index + 1 {
            self.last = record.sequence;
            self.time = record.time;
        }
    }
}

/// Verifies the backup `name` of `target`, all of it, and makes a store of it in `path`, where there is none.
///
/// # Errors
/// [`VaultError`]; then there is no store in `path`, nor anything that passes for one.
pub fn restore(
    target: &dyn Target,
    name: &str,
    upto: Upto,
    path: &Path,
    go_on: GoOn<'_>,
) -> Result<Restored, VaultError> {
    let mut end = End { upto, backup: 0, last: Sequence(0), time: Timestamp(0), over: false };
    if let Some((point, _)) = crate::point::read(target, name)? {
        end.backup = point.last;
    }
    // Before anything is made.
    let checked = verify(target, name, go_on, &mut |record| {
        end.look(record);
        Ok(())
    })?;
    let signed = checked.records;
    match upto {
        Upto::Size(size) if signed < size => {
            return Err(VaultError::Beyond { asked: format!("record {size}"), last: signed });
        }
        _ if end.last.0 == 0 => {
            return Err(VaultError::Beyond { asked: "a time before its first record".to_owned(), last: signed });
        }
        _ => {}
    }
    let mut import = Import::begin(path)?;
    let last = end.last;
    let filled = verify(target, name, go_on, &mut |record| {
        if record.sequence <= last { Ok(import.push(record)?) } else { Ok(()) }
    });
    let same = filled.and_then(|again| {
        if again == checked { Ok(()) } else { Err(crate::broken(name, "it changed while it was read")) }
    });
    if let Err(error) = same {
        // Or the next start takes it for a restore that was not finished.
        import.abandon();
        return Err(error);
    }
    let head = import.head();
    import.finish(head)?;
    Ok(Restored { checked, head, time: end.time })
}

/// Puts the log of a backup into `place`, where there is none, as it was signed.
///
/// # Errors
/// [`VaultError`].
pub fn log_into(target: &dyn Target, name: &str, place: &Path, go_on: GoOn<'_>) -> Result<(), VaultError> {
    let none = || VaultError::NoBackup { place: format!("{}/{name}", target.place()) };
    let (point, _) = crate::point::read(target, name)?.ok_or_else(none)?;
    let (key, checkpoint): (PublicKey, Checkpoint) = point.signed()?;
    let log = name.split_once("/backups/").map(|(log, _)| log).ok_or_else(none)?;
    let to = Directory::new(place);
    let folder = format!("{log}/");
    let files = Files { target, folder: &folder, older: None };
    walk(files, &checkpoint, 0, go_on, &mut Putting { to: &to })?;
    to.sync()?;
    to.put(crate::point::CHECKPOINT, point.checkpoint.as_bytes())?;
    if let Some(cosigned) = files.cosigned(&key, &checkpoint)? {
        to.put(COSIGNED, &cosigned)?;
    }
    to.sync()
}

struct Putting<'a> {
    to: &'a Directory,
}

impl Sink for Putting<'_> {
    fn file(&mut self, name: &str, bytes: &[u8], _: bool) -> Result<(), VaultError> {
        self.to.put(name, bytes)
    }

    fn hashes(&mut self, tile: Tile, hashes: &[Hash]) -> Result<(), VaultError> {
        self.to.put(&tile.path(), &tile::bytes(hashes))
    }

    fn record(&mut self, _: Sequence, _: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }
}
