//! A log made whole while nobody writes it.
//!
//! # Invariants
//! 1. A log is made again only as what was signed: the journal's records must give the signed root, and then what was signed over
//!    it stays, byte for byte, with what witnesses said of it. Nothing is signed, so no private key is needed.
//! 2. Nothing is thrown away: what is replaced is put aside under a name of its own.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use journal::Journal;
use journal::bundle::ENTRIES;
use kernel::Sequence;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::cosigned::{COSIGNED, COSIGNING};
use crate::files::{Files, LogError, Places, at, put, sync, text};
use crate::verify::{Checked, Depth, alone, verify};

/// What became of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mended {
    /// There is neither log nor key yet.
    None,
    /// It is what was signed; so many records are.
    Whole { size: u64 },
    /// It was made again from the journal, and is what was signed.
    Again { size: u64, found: String, aside: PathBuf },
    /// It was put aside with its key; the next start begins another log under another key.
    Aside { log: Option<PathBuf>, key: Option<PathBuf> },
}

/// Checks the log in `places` by itself, and changes nothing. There may be none.
///
/// # Errors
/// [`LogError`].
pub fn look(places: &Places) -> Result<Option<Checked>, LogError> {
    if places.begun()? { alone(places, &places.public()?).map(Some) } else { Ok(None) }
}

/// Checks the log in `places` against the open journal, and makes it again if it is damaged. The damaged one is put beside
/// it, with `aside` added to its name.
///
/// # Errors
/// [`LogError`]: above all if the journal is not what was signed. Then nothing was changed.
pub fn repair(journal: &Journal, places: &Places, aside: &str) -> Result<Mended, LogError> {
    if !places.begun()? {
        return Ok(Mended::None);
    }
    let key = places.public()?;
    let found = match verify(journal, places, &key, Depth::All) {
        Ok(checked) => return Ok(Mended::Whole { size: checked.checkpoint.size }),
        Err(error @ LogError::Damaged { .. }) => error.to_string(),
        Err(error) => return Err(error),
    };
    let (checkpoint, note) = places.checkpoint(&key)?;
    let making = Places { log: suffixed(&places.log, "making"), key: places.key.clone() };
    remove(&making.log)?;
    let mut files = Files::again(&making, &key)?;
    while files.size() < checkpoint.size {
        let next = Sequence(files.size() + 1);
        let wanted = usize::try_from(checkpoint.size - files.size()).unwrap_or(ENTRIES).min(ENTRIES);
        let records = journal.raw(next, wanted)?;
        if records.is_empty() {
            return Err(LogError::NotExtended { first: next, size: checkpoint.size, root: checkpoint.root });
        }
        for record in records {
            files.append(&record)?;
        }
    }
    if files.root() != checkpoint.root {
        drop(files);
        remove(&making.log)?;
        // Which record it is, only the hashes that were lost could tell.
        return Err(LogError::NotExtended { first: Sequence(1), size: checkpoint.size, root: checkpoint.root });
    }
    files.publish_again(checkpoint.clone(), note)?;
    drop(files);
    // What left the log does not come back with it; what nobody said left it does.
    let raised = places.minimum_by(|at| journal.raw(at, 1).ok()?.pop());
    if let Some(minimum) = raised.filter(|minimum| minimum.record.0 <= checkpoint.size) {
        let signed = making.checkpoint(&key)?;
        let minimum = making.raise(&signed, &key, minimum.index, minimum.record)?;
        making.lose(&minimum, &mut || true)?;
    }
    keep_cosigned(places, &making)?;
    let aside = suffixed(&places.log, &format!("aside-{aside}"));
    let exchanged = renameat_with(CWD, &making.log, CWD, &places.log, RenameFlags::EXCHANGE);
    exchanged.map_err(|error| at(&places.log)(error.into()))?;
    fs::rename(&making.log, &aside).map_err(at(&aside))?;
    sync(places.log.parent().unwrap_or(Path::new(".")))?;
    Ok(Mended::Again { size: checkpoint.size, found, aside })
}

/// What witnesses said of the log holds for the one that is made again.
fn keep_cosigned(from: &Places, to: &Places) -> Result<(), LogError> {
    let mut names = vec![COSIGNED.to_owned()];
    let folder = from.log.join(COSIGNING);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        names.extend(entry.file_name().to_str().map(|name| format!("{COSIGNING}/{name}")));
    }
    for name in names {
        let Some(note) = text(&from.log.join(&name)).map_err(at(&from.log))? else { continue };
        let path = to.log.join(name);
        let parent = path.parent().unwrap_or(&to.log);
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(at(parent))?;
        put(&path, &note, 0o644)?;
    }
    sync(&to.log)
}

/// Puts the log aside, and its key: the next start begins another log, of all records from the first on, under another key.
/// What the old key signed can be verified for ever; that both are logs of one journal, nobody can prove but by comparing
/// their entries.
///
/// # Errors
/// [`LogError`].
pub fn put_aside(places: &Places, aside: &str) -> Result<Mended, LogError> {
    let move_away = |path: &Path| {
        let to = suffixed(path, &format!("aside-{aside}"));
        match fs::rename(path, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            moved => moved.map(|()| Some(to)).map_err(at(path)),
        }
    };
    let (log, key) = (move_away(&places.log)?, move_away(&places.key)?);
    for path in [&places.log, &places.key] {
        let parent = path.parent().unwrap_or(Path::new("."));
        if parent.exists() {
            sync(parent)?;
        }
    }
    Ok(Mended::Aside { log, key })
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn remove(directory: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(directory)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
