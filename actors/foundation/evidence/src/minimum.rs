//! The minimum index: from which entry on a log has what it is of.
//!
//! C2SP tlog-tiles lets a log lose bundles that lie below its minimum index as a whole. Here their files go, and the hashes over
//! them stay, so that every root and every proof can be made as before. Which index it is stands in a file, and why in the
//! log itself:
//!
//! ```text
//! minimum 512      the entries 0 to 511 need not be there
//! record 700       the record that says so
//! ```
//!
//! # Invariants
//! 1. The file is believed if the record it names is signed, in this log, at or above the minimum, and says the same number:
//!    whoever takes bundles away and raises the file has no such record.
//! 2. The file is in place for good before the first bundle goes; a blob goes before the bundle that names it.
//! 3. A bundle at or above the minimum that is not there is damage, and so is one below it where there is no file.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use journal::bundle::{self, Entry, blob_name};
use journal::codec;
use journal::envelope::Record;
use kernel::Sequence;

use crate::checkpoint::Checkpoint;
use crate::files::{LogError, Places, at, damaged, put, text};
use crate::note::PublicKey;
use crate::tile::{Kind, Tile, WIDTH};
use crate::unsynced::Unsynced;

const MINIMUM: &str = "minimum";
/// Bundles that are taken away between two syncs.
const AT_ONCE: u64 = 256;

/// From where on a log has its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimum {
    /// The first entry that must be there, which is how many records need not.
    pub index: u64,
    /// The record that says so.
    pub record: Sequence,
    /// The backup that has what left, as that record names it.
    pub place: String,
}

impl Minimum {
    /// Whether all of a bundle may be gone.
    pub(crate) fn covers(&self, bundle: u64) -> bool {
        bundle < self.index / WIDTH as u64
    }
}

/// Asked before each file that is taken away.
pub type GoOn<'a> = &'a mut dyn FnMut() -> bool;

impl Places {
    /// The minimum index of the log, if it was ever raised, as its own record says it under what was signed.
    ///
    /// # Errors
    /// [`LogError::Damaged`] if nothing signed says so.
    pub fn minimum(&self, signed: &(Checkpoint, String), key: &PublicKey) -> Result<Option<Minimum>, LogError> {
        let Some((index, record)) = self.claimed()? else { return Ok(None) };
        self.said(signed, key, index, record).map(Some)
    }

    /// The same of the log as it is.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn pruned(&self) -> Result<Option<Minimum>, LogError> {
        if !self.begun()? {
            return Ok(None);
        }
        let key = self.public()?;
        self.minimum(&self.checkpoint(&key)?, &key)
    }

    /// What the file says.
    fn claimed(&self) -> Result<Option<(u64, Sequence)>, LogError> {
        let path = self.log.join(MINIMUM);
        let Some(bytes) = text(&path).map_err(at(&path))? else { return Ok(None) };
        let claimed = std::str::from_utf8(&bytes).ok().and_then(|text| {
            let (minimum, record) = text.strip_suffix('\n')?.split_once('\n')?;
            let index = minimum.strip_prefix("minimum ")?.parse().ok()?;
            let record = Sequence(record.strip_prefix("record ")?.parse().ok()?);
            // In the one form that it has.
            (written(index, record) == text).then_some((index, record))
        });
        claimed.map(Some).ok_or_else(|| damaged(MINIMUM, "it does not say which entries need not be there".into()))
    }

    /// What a record of the log says about the minimum, if it is this one.
    fn said(
        &self,
        signed: &(Checkpoint, String),
        key: &PublicKey,
        index: u64,
        record: Sequence,
    ) -> Result<Minimum, LogError> {
        let size = signed.0.size;
        let unsaid = || damaged(MINIMUM, format!("no record that was signed says that the minimum is {index}"));
        if record.0 <= index || size < record.0 || !index.is_multiple_of(WIDTH as u64) {
            return Err(unsaid());
        }
        let (number, place) = ((record.0 - 1) / WIDTH as u64, (record.0 - 1) % WIDTH as u64);
        let bundle = Tile::of(Kind::Entries, number, size).ok_or_else(unsaid)?;
        let (_, mut entries) = self.entries(bundle)?;
        let bytes = self.record(entries.swap_remove(usize::try_from(place).expect("under 256")))?;
        match self.prove_under(signed, size, key, record, &bytes) {
            Ok(_) => decreed(&bytes, index, record).ok_or_else(unsaid),
            Err(LogError::NotExtended { .. }) => Err(unsaid()),
            Err(error) => Err(error),
        }
    }

    /// Raises the minimum to what `record` says, for good.
    pub(crate) fn raise(
        &self,
        signed: &(Checkpoint, String),
        key: &PublicKey,
        index: u64,
        record: Sequence,
    ) -> Result<Minimum, LogError> {
        let minimum = self.said(signed, key, index, record)?;
        match self.claimed()? {
            Some((known, _)) if index < known => {
                Err(damaged(MINIMUM, format!("it is {known} already, which is more than {index}")))
            }
            Some(known) if known == (index, record) => Ok(minimum),
            Some(_) | None => {
                put(&self.log.join(MINIMUM), written(index, record).as_bytes(), 0o644)?;
                Ok(minimum)
            }
        }
    }

    /// Takes away the bundles below the minimum, and the blobs that they name: those that are there still. Says whether it
    /// came to the end.
    pub(crate) fn lose(&self, minimum: &Minimum, go_on: GoOn<'_>) -> Result<bool, LogError> {
        let bundles = minimum.index / WIDTH as u64;
        for first in (0..bundles).step_by(usize::try_from(AT_ONCE).expect("small")) {
            let some = first..bundles.min(first + AT_ONCE);
            let mut unsynced = Unsynced::default();
            for number in some.clone() {
                for blob in self.blobs_of(number)? {
                    if !go_on() {
                        return Ok(false);
                    }
                    self.remove(&blob, &mut unsynced)?;
                }
            }
            unsynced.sync().map_err(at(&self.log))?;
            for number in some {
                if !go_on() {
                    return Ok(false);
                }
                let name = Tile::full(Kind::Entries, number).path();
                // None there, most likely.
                let _ = fs::remove_dir_all(self.log.join(format!("{name}.p")));
                self.remove(&name, &mut unsynced)?;
            }
            unsynced.sync().map_err(at(&self.log))?;
        }
        Ok(true)
    }

    fn blobs_of(&self, number: u64) -> Result<Vec<String>, LogError> {
        let path = self.log.join(Tile::full(Kind::Entries, number).path());
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes.map_err(at(&path))?,
        };
        // One that is damaged names what it can.
        let mut rest = &bytes[..];
        let entries = std::iter::from_fn(|| bundle::take(&mut rest));
        let blobs = entries.filter_map(|entry| match Entry::read(entry) {
            Some(Entry::Blob { digest, .. }) => Some(blob_name(digest)),
            Some(Entry::Record(_)) | None => None,
        });
        Ok(blobs.collect())
    }

    fn remove(&self, name: &str, unsynced: &mut Unsynced) -> Result<(), LogError> {
        let path = self.log.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(at(&path))?,
        }
        unsynced.changed(path.parent().unwrap_or(Path::new(".")));
        Ok(())
    }

    /// The minimum that `record` of the journal says, if the file says it, too: for a log that cannot say so itself.
    pub(crate) fn minimum_by(&self, record: impl FnOnce(Sequence) -> Option<Vec<u8>>) -> Option<Minimum> {
        let (index, at) = self.claimed().ok()??;
        decreed(&record(at)?, index, at)
    }
}

/// What is to stand in the file.
fn written(index: u64, record: Sequence) -> String {
    format!("minimum {index}\nrecord {record}\n")
}

/// The minimum, if that is what the record says.
fn decreed(bytes: &[u8], index: u64, at: Sequence) -> Option<Minimum> {
    let record = Record::decode(bytes).ok()?;
    let of_it = record.sequence == at && record.stream == <retention::Retention as kernel::Machine>::NAME;
    match codec::fact::<retention::Event>(&record) {
        Ok(Some(retention::Event::Pruning(said))) if of_it && said.minimum == index && index < at.0 => {
            Some(Minimum { index, record: at, place: said.place })
        }
        _ => None,
    }
}
