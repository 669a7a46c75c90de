//! What witnesses cosigned, in the directory of the log, beside its checkpoint.
//!
//! ```text
//! cosigned            the newest checkpoint with the quorum, as a signed note
//! cosigning/<size>    others that somebody has cosigned, as long as no newer one was by all of those
//! ```
//!
//! # Invariants
//! 1. A cosignature stands in the note of the checkpoint that it is of, and in no other: it was checked over that text.
//! 2. A file is written whole or not at all, and what it replaces goes after it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;

use crate::checkpoint::Checkpoint;
use crate::files::{LogError, Places, at, put, sync, text};
use crate::note::PublicKey;
use crate::tree::root;
use crate::witness::{CosignError, Cosigned, Witnesses};

/// The newest checkpoint with the quorum.
pub const COSIGNED: &str = "cosigned";
pub(crate) const COSIGNING: &str = "cosigning";

/// A file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    pub file: String,
    pub what: String,
}

/// What is cosigned, newest last.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    notes: BTreeMap<u64, Cosigned>,
    /// What lies in [`COSIGNING`].
    files: BTreeSet<u64>,
    /// What lies in [`COSIGNED`].
    newest: Option<u64>,
}

impl Kept {
    /// What lies in `places`, and what of that is not to be believed.
    pub fn read(places: &Places, key: &PublicKey, witnesses: &Witnesses) -> Result<(Self, Vec<Bad>), LogError> {
        let (mut kept, mut bad) = (Self::default(), Vec::new());
        kept.files.extend(Self::list(places)?);
        let names = kept.files.iter().map(|size| format!("{COSIGNING}/{size}"));
        for file in names.chain([COSIGNED.to_owned()]).collect::<Vec<_>>() {
            let path = places.log.join(&file);
            let Some(bytes) = text(&path).map_err(at(&path))? else { continue };
            let note = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
            let read = note.and_then(|note| witnesses.read(&note, key).map_err(|error| error.to_string()));
            let found = read.and_then(|cosigned| {
                let size = cosigned.checkpoint.size;
                let fits = file == COSIGNED || file == format!("{COSIGNING}/{size}");
                if fits { Ok(cosigned) } else { Err("it is of another checkpoint than its name says".to_owned()) }
            });
            match found {
                Ok(cosigned) => {
                    if file == COSIGNED {
                        kept.newest = Some(cosigned.checkpoint.size);
                    }
                    kept.take(cosigned);
                }
                Err(what) => bad.push(Bad { file, what }),
            }
        }
        Ok((kept, bad))
    }

    fn list(places: &Places) -> Result<Vec<u64>, LogError> {
        let folder = places.log.join(COSIGNING);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at(&folder))?,
        };
        let mut sizes = Vec::new();
        for entry in entries {
            // What was being written when the process ended has another name, and is of no harm.
            sizes.extend(entry.map_err(at(&folder))?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        Ok(sizes)
    }

    fn take(&mut self, cosigned: Cosigned) {
        let same = self.notes.entry(cosigned.checkpoint.size).or_insert_with(|| cosigned.clone());
        if same.checkpoint == cosigned.checkpoint {
            same.add(cosigned);
        }
    }

    /// The newest with the quorum.
    pub fn newest(&self, witnesses: &Witnesses) -> Option<&Cosigned> {
        self.notes.values().rev().find(|cosigned| witnesses.suffice(cosigned))
    }

    /// The one that most have cosigned, and of those the newest.
    pub fn widest(&self) -> Option<&Cosigned> {
        self.notes.values().max_by_key(|cosigned| (cosigned.by().count(), cosigned.checkpoint.size))
    }

    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Cosigned> {
        self.notes.values()
    }

    /// Keeps another one; answers with all that is known of its checkpoint if any of it is new.
    pub fn add(
        &mut self,
        places: &Places,
        witnesses: &Witnesses,
        cosigned: Cosigned,
    ) -> Result<Option<Cosigned>, CosignError> {
        let size = cosigned.checkpoint.size;
        let merged = match self.notes.get(&size) {
            None => cosigned,
            Some(known) if known.checkpoint != cosigned.checkpoint => return Err(CosignError::OtherHistory { size }),
            Some(known) => {
                let mut merged = known.clone();
                if !merged.add(cosigned) {
                    return Ok(None);
                }
                merged
            }
        };
        let mut notes = self.notes.clone();
        notes.insert(size, merged.clone());
        let newest = notes.values().rev().find(|cosigned| witnesses.suffice(cosigned)).map(|one| one.checkpoint.size);
        let superseded = |(size, one): (&u64, &Cosigned)| {
            Some(*size) != newest && notes.range(size + 1..).any(|(_, newer)| newer.seen_by_all_of(one))
        };
        let gone: Vec<u64> = notes.iter().filter(|one| superseded(*one)).map(|(size, _)| *size).collect();
        notes.retain(|size, _| !gone.contains(size));
        self.write(places, &notes, size, newest)?;
        self.notes = notes;
        Ok(Some(merged))
    }

    /// What is new first, and only then away with what it replaces.
    fn write(
        &mut self,
        places: &Places,
        notes: &BTreeMap<u64, Cosigned>,
        changed: u64,
        newest: Option<u64>,
    ) -> Result<(), LogError> {
        let folder = places.log.join(COSIGNING);
        for (size, cosigned) in notes {
            if Some(*size) == newest || (*size != changed && self.files.contains(size)) {
                continue;
            }
            if !folder.is_dir() {
                DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at(&folder))?;
                sync(&places.log)?;
            }
            put(&folder.join(size.to_string()), cosigned.note().as_bytes(), 0o644)?;
            self.files.insert(*size);
        }
        if let Some(size) = newest.filter(|size| *size == changed || self.newest != Some(*size)) {
            put(&places.log.join(COSIGNED), notes[&size].note().as_bytes(), 0o644)?;
            self.newest = newest;
        }
        let left: Vec<u64> =
            self.files.iter().copied().filter(|size| !notes.contains_key(size) || Some(*size) == newest).collect();
        for size in left {
            // What is left is of no harm.
            let _ = fs::remove_file(folder.join(size.to_string()));
            self.files.remove(&size);
        }
        Ok(())
    }
}

impl Places {
    /// Whether the log that is here had the tree of `checkpoint` when it was of its size. `signed` is the size that it has.
    pub(crate) fn had(&self, checkpoint: &Checkpoint, signed: u64) -> Result<bool, LogError> {
        let Checkpoint { size, root: wanted, .. } = *checkpoint;
        Ok(size <= signed && root(&mut self.nodes(signed), size)? == wanted)
    }
}
