//! Backups: all records up to a head, in files that anybody can check without this program.
//!
//! The journal is append-only, so a head, which is a sequence and a link, *is* a snapshot: what lies before it stays as it
//! is while writes go on. A backup is a directory:
//!
//! ```text
//! entries/000000000000.bin   256 entries each, the last file perhaps fewer ([`crate::bundle`])
//! blobs/<blake3>             a record over 65,535 bytes
//! manifest.json              format, versions, first and last sequence, count, head, and each file with its blake3
//! manifest.blake3            the blake3 of manifest.json, as b3sum writes and checks it
//! ```
//!
//! # Invariants
//! 1. A backup is there whole or not at all: it is made under another name, synced, and renamed.
//! 2. The same records make the same entries: a backup that is made again is the same one.
//! 3. What [`verify`] passes has no bit that the manifest does not account for, and its records are one unbroken chain
//!    from the first to the head. Who made it, only a digest kept elsewhere can tell.
//! 4. [`restore`] puts a store where there was none, whole or not at all, after everything has been verified.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use kernel::{Digest, Sequence};
use serde::{Deserialize, Serialize};

use crate::Journal;
use crate::bundle::{self, ENTRIES, Entry, blob_name};
use crate::disk::{Import, RESTORING};
use crate::envelope::{Record, link};
use crate::store::{Head, StoreError};
use crate::verify::Chain;

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const SEAL: &str = "manifest.blake3";
/// A manifest names a file for 256 records: this one would be of hundreds of millions.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Why there is no backup, or none that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{} is no backup: it has no {MANIFEST}", path.display())]
    NoBackup { path: PathBuf },
    #[error("the backup is of format {found}, this release reads {FORMAT}")]
    Format { found: u32 },
    #[error("{file}: {what}")]
    Broken { file: String, what: String },
    #[error("{} cannot be used: {why}", path.display())]
    Io { path: PathBuf, why: std::io::Error },
    #[error("it was stopped: {why}")]
    Stopped { why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoBackup { .. } => "archive.none",
            Self::Format { .. } => "archive.format",
            Self::Broken { .. } => "archive.broken",
            Self::Io { .. } => "archive.io",
            Self::Stopped { .. } => "archive.stopped",
            Self::Store(error) => error.code(),
        }
    }
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The release that made it.
    pub sop: String,
    /// RFC 3339.
    pub created_at: String,
    pub first: u64,
    pub last: u64,
    pub count: u64,
    /// The link that the record after the last one carries.
    pub head: Digest,
    /// Entries first, then blobs, each in the order of their names.
    pub files: Vec<Listed>,
    /// The blake3 of all files' blake3, one after the other.
    pub digest: Digest,
}

impl Manifest {
    /// The manifest that a text is.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] if it is of another format, [`ArchiveError::Broken`] if it is none.
    pub fn parse(text: &[u8]) -> Result<Self, ArchiveError> {
        let malformed = |error: serde_json::Error| broken(MANIFEST, error.to_string());
        let found: serde_json::Value = serde_json::from_slice(text).map_err(malformed)?;
        match found["format"].as_u64().and_then(|format| u32::try_from(format).ok()).unwrap_or_default() {
            FORMAT => {}
            found => return Err(ArchiveError::Format { found }),
        }
        let manifest: Self = serde_json::from_value(found).map_err(malformed)?;
        if manifest.first != 1 || manifest.last != manifest.count || manifest.digest != of_all(&manifest.files) {
            return Err(broken(MANIFEST, "it contradicts itself".into()));
        }
        Ok(manifest)
    }
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
    pub blake3: Digest,
}

/// What a manifest says that the records do not.
#[derive(Clone, Debug)]
pub struct About {
    pub sop: String,
    pub created_at: String,
}

/// A backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub head: Head,
    pub entries: u64,
    /// Of all files but the manifest.
    pub bytes: u64,
    /// The blake3 of the manifest, and so of everything.
    pub manifest: Digest,
    pub created_at: String,
}

/// Makes a backup of all records up to `head` in the directory `place`; one that is there already must be that backup.
/// `go_on` is asked before each file and ends the work with its reason.
///
/// # Errors
/// [`ArchiveError`]; then there is no backup in `place` that was not there before.
pub fn write(
    journal: &Journal,
    head: Head,
    place: &Path,
    about: &About,
    mut go_on: impl FnMut() -> Result<(), String>,
) -> Result<Archive, ArchiveError> {
    let parent = place.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if place.try_exists().map_err(at(place))? {
        let there = verify_while(place, go_on)?;
        // Whoever made it may have died between the rename and this.
        sync(parent)?;
        let what = || format!("there is a backup up to record {} in its place", there.head.sequence);
        return if there.head == head { Ok(there) } else { Err(broken(MANIFEST, what())) };
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".making");
    let making = parent.join(name);
    remove(&making)?;
    let written = Writing::begin(&making).and_then(|writing| writing.all(journal, head, about, &mut go_on));
    let put = written.and_then(|archive| {
        fs::rename(&making, place).map_err(at(place))?;
        sync(parent)?;
        Ok(archive)
    });
    if put.is_err() {
        // What is left of it is removed before the next attempt, too.
        let _ = remove(&making);
    }
    put
}

struct Writing<'a> {
    directory: &'a Path,
    entries: Vec<Listed>,
    blobs: Vec<Listed>,
}

impl<'a> Writing<'a> {
    fn begin(directory: &'a Path) -> Result<Self, ArchiveError> {
        for made in [directory.to_owned(), directory.join("entries"), directory.join("blobs")] {
            fs::create_dir_all(&made).map_err(at(&made))?;
        }
        Ok(Self { directory, entries: Vec::new(), blobs: Vec::new() })
    }

    fn all(
        mut self,
        journal: &Journal,
        head: Head,
        about: &About,
        go_on: &mut impl FnMut() -> Result<(), String>,
    ) -> Result<Archive, ArchiveError> {
        let mut chain = Chain::from(Sequence(1));
        let mut next = 1;
        while next <= head.sequence.0 {
            go_on().map_err(|why| ArchiveError::Stopped { why })?;
            let left = usize::try_from(head.sequence.0 - next + 1).unwrap_or(usize::MAX);
            let records = journal.raw(Sequence(next), ENTRIES.min(left))?;
            if records.is_empty() {
                return Err(StoreError::Damaged { what: format!("record {next} is missing") }.into());
            }
            let mut bundle = Vec::new();
            for bytes in &records {
                let damaged = |what: String| StoreError::Damaged { what: format!("record {next}: {what}") };
                let record = Record::decode(bytes).map_err(|error| damaged(error.to_string()))?;
                if let Some(what) = chain.next(Sequence(next), &record, bytes) {
                    return Err(damaged(what).into());
                }
                self.entry(bytes, &mut bundle)?;
                next += 1;
            }
            let listed = self.file(&entries_name(self.entries.len()), &bundle)?;
            self.entries.push(listed);
        }
        if chain.head() != head.link {
            return Err(StoreError::Damaged { what: "the records do not end in the head asked for".into() }.into());
        }
        self.finish(head, about)
    }

    fn entry(&mut self, record: &[u8], bundle: &mut Vec<u8>) -> Result<(), ArchiveError> {
        let entry = Entry::of(record);
        if let Entry::Blob { digest, .. } = entry {
            let listed = self.file(&blob_name(digest), record)?;
            // No two records are the same: each carries its sequence.
            self.blobs.push(listed);
        }
        entry.put(bundle);
        Ok(())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<Listed, ArchiveError> {
        let path = self.directory.join(name);
        let mut file = File::create_new(&path).map_err(at(&path))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&path))?;
        Ok(Listed { name: name.to_owned(), bytes: bytes.len() as u64, blake3: link(bytes) })
    }

    fn finish(mut self, head: Head, about: &About) -> Result<Archive, ArchiveError> {
        let mut files = std::mem::take(&mut self.entries);
        self.blobs.sort_by(|one, other| one.name.cmp(&other.name));
        files.append(&mut self.blobs);
        let About { sop, created_at } = about.clone();
        let digest = of_all(&files);
        let last = head.sequence.0;
        let manifest =
            Manifest { format: FORMAT, sop, created_at, first: 1, last, count: last, head: head.link, files, digest };
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        text.push(b'\n');
        for directory in [self.directory.join("entries"), self.directory.join("blobs")] {
            sync(&directory)?;
        }
        let Listed { blake3, .. } = self.file(MANIFEST, &text)?;
        self.file(SEAL, seal(blake3).as_bytes())?;
        sync(self.directory)?;
        Ok(archive(manifest, blake3))
    }
}

/// Reads and checks everything.
///
/// # Errors
/// [`ArchiveError`]: what is wrong, and in which file.
pub fn verify(place: &Path) -> Result<Archive, ArchiveError> {
    verify_while(place, || Ok(()))
}

/// As [`verify`]; `go_on` is asked before each file and ends the work with its reason.
///
/// # Errors
/// As [`verify`], and [`ArchiveError::Stopped`].
pub fn verify_while(place: &Path, go_on: impl FnMut() -> Result<(), String>) -> Result<Archive, ArchiveError> {
    walk(place, go_on, |_| Ok(()))
}

/// Makes a store in `path` from a backup, of the same records and so with the same head.
///
/// # Errors
/// [`ArchiveError`]; then there is no store in `path`, nor anything that passes for one.
pub fn restore(place: &Path, path: &Path) -> Result<Archive, ArchiveError> {
    let verified = verify(place)?;
    let import = Import::begin(path)?;
    let filled = fill(import, place, &verified);
    if filled.is_err() {
        remove(&path.with_extension(RESTORING))?;
    }
    filled.map(|()| verified)
}

fn fill(mut import: Import, place: &Path, verified: &Archive) -> Result<(), ArchiveError> {
    if walk(place, || Ok(()), |record| Ok(import.push(record)?))? != *verified {
        return Err(broken(MANIFEST, "it changed while it was read".into()));
    }
    Ok(import.finish(verified.head)?)
}

fn walk(
    place: &Path,
    mut go_on: impl FnMut() -> Result<(), String>,
    mut look: impl FnMut(&Record) -> Result<(), ArchiveError>,
) -> Result<Archive, ArchiveError> {
    let (manifest, digest) = manifest(place)?;
    let mut chain = Chain::from(Sequence(1));
    let mut blobs = BTreeSet::new();
    let bundles = usize::try_from(manifest.count.div_ceil(ENTRIES as u64)).unwrap_or(usize::MAX);
    let mut next = 1_u64;
    for number in 0..bundles {
        go_on().map_err(|why| ArchiveError::Stopped { why })?;
        let name = entries_name(number);
        let listed = manifest.files.get(number).filter(|listed| listed.name == name);
        let listed = listed.ok_or_else(|| broken(MANIFEST, format!("it does not list {name}")))?;
        let bundle = contents(place, listed)?;
        let wanted = (manifest.count - (next - 1)).min(ENTRIES as u64);
        let mut rest = &bundle[..];
        for _ in 0..wanted {
            let cut = || broken(&name, format!("it ends within record {next}"));
            let entry = bundle::take(&mut rest).ok_or_else(cut)?;
            let blob;
            let bytes = match Entry::read(entry) {
                Some(Entry::Record(record)) => record,
                Some(Entry::Blob { digest, .. }) => {
                    blob = blob_of(place, &manifest, digest)?;
                    blobs.insert(blob_name(digest));
                    &blob[..]
                }
                None => return Err(broken(&name, "a marker has 33 bytes".into())),
            };
            let record = Record::decode(bytes).map_err(|error| broken(&name, format!("record {next}: {error}")))?;
            if let Some(what) = chain.next(Sequence(next), &record, bytes) {
                return Err(broken(&name, format!("record {next}: {what}")));
            }
            look(&record)?;
            next += 1;
        }
        if !rest.is_empty() {
            return Err(broken(&name, "it has more than its records".into()));
        }
    }
    if chain.head() != manifest.head {
        return Err(broken(MANIFEST, "its head is not the link of the last record".into()));
    }
    let others: Vec<_> = manifest.files[bundles..].iter().map(|listed| &listed.name).collect();
    if !others.iter().copied().eq(&blobs) {
        return Err(broken(MANIFEST, "it lists files that no record is in".into()));
    }
    nothing_else(place, &manifest)?;
    Ok(archive(manifest, digest))
}

/// The manifest, and its blake3.
fn manifest(place: &Path) -> Result<(Manifest, Digest), ArchiveError> {
    let path = place.join(MANIFEST);
    let text = match read(&path, MANIFEST_BYTES_MAX) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Err(ArchiveError::NoBackup { path: place.to_owned() });
        }
        text => text.map_err(at(&path))?,
    };
    let digest = link(&text);
    let path = place.join(SEAL);
    let sealed = match read(&path, 1024) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(broken(SEAL, "it is missing".into())),
        sealed => sealed.map_err(at(&path))?,
    };
    if sealed != seal(digest).as_bytes() {
        return Err(broken(MANIFEST, format!("it is not what {SEAL} was written for")));
    }
    Ok((Manifest::parse(&text)?, digest))
}

fn blob_of(place: &Path, manifest: &Manifest, digest: Digest) -> Result<Vec<u8>, ArchiveError> {
    let name = blob_name(digest);
    let listed = manifest.files.iter().find(|listed| listed.name == name && listed.blake3 == digest);
    contents(place, listed.ok_or_else(|| broken(MANIFEST, format!("it does not list {name}")))?)
}

/// The bytes of a file, if they are what the manifest says.
fn contents(place: &Path, listed: &Listed) -> Result<Vec<u8>, ArchiveError> {
    let path = place.join(&listed.name);
    let bytes = match read(&path, listed.bytes.saturating_add(1)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(broken(&listed.name, "it is missing".into()));
        }
        bytes => bytes.map_err(at(&path))?,
    };
    if bytes.len() as u64 != listed.bytes {
        return Err(broken(&listed.name, format!("it has not the {} bytes that the manifest says", listed.bytes)));
    }
    if link(&bytes) != listed.blake3 {
        return Err(broken(&listed.name, "it is not what the manifest says: its blake3 is another".into()));
    }
    Ok(bytes)
}

/// That there is no file that the manifest does not speak of.
fn nothing_else(place: &Path, manifest: &Manifest) -> Result<(), ArchiveError> {
    let known: BTreeSet<&str> =
        manifest.files.iter().map(|listed| listed.name.as_str()).chain([MANIFEST, SEAL, "entries", "blobs"]).collect();
    for folder in ["", "entries/", "blobs/"] {
        let path = place.join(folder);
        if !path.try_exists().map_err(at(&path))? {
            continue;
        }
        for entry in fs::read_dir(&path).map_err(at(&path))? {
            let name = format!("{folder}{}", entry.map_err(at(&path))?.file_name().to_string_lossy());
            if !known.contains(name.as_str()) {
                return Err(broken(&name, "the manifest does not list it".into()));
            }
        }
    }
    Ok(())
}

fn archive(manifest: Manifest, digest: Digest) -> Archive {
    let bytes = manifest.files.iter().map(|listed| listed.bytes).sum();
    let head = Head { sequence: Sequence(manifest.last), link: manifest.head };
    Archive { head, entries: manifest.count, bytes, manifest: digest, created_at: manifest.created_at }
}

fn entries_name(number: usize) -> String {
    format!("entries/{number:012}.bin")
}

fn seal(digest: Digest) -> String {
    format!("{digest}  {MANIFEST}\n")
}

fn of_all(files: &[Listed]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for listed in files {
        hasher.update(&listed.blake3.0);
    }
    Digest(*hasher.finalize().as_bytes())
}

fn read(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn remove(directory: &Path) -> Result<(), ArchiveError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(directory)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(directory: &Path) -> Result<(), ArchiveError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |why| ArchiveError::Io { path: path.clone(), why }
}

fn broken(file: &str, what: String) -> ArchiveError {
    ArchiveError::Broken { file: file.to_owned(), what }
}
