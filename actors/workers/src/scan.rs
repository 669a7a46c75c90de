//! Walks a directory and finds what the gap detector's detectors see in it. Blocking, and free of any runtime.
//!
//! What is walked: everything below the root that `.gitignore` and `.ignore` files in it leave over, without hidden files,
//! in the order of the names, so that two surveys of the same tree are equal. Ignore files outside of the root and the
//! user's own do not count. Symbolic links are never followed, so nothing outside of the root is read and no loop is
//! walked; a link in a Markdown file that leads out of the root is looked up and not read.
//!
//! # Invariants
//! 1. Whatever should have been read and was not is in [`Survey::coverage`].
//! 2. Every finding is one that [`gaps::Command::Report`] takes: its path is relative, and all texts are within bounds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gaps::detect::{self, Document, PLACES, REQUIRED};
use gaps::{Coverage, DETAIL_MAX, FINDINGS_MAX, Finding, Kind, PATH_MAX, ROOT_MAX, Tally, UNREAD_MAX, clipped};
use ignore::{DirEntry, WalkBuilder};

/// How far a survey goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Larger files are not read.
    pub file_bytes: u64,
    /// So many files are met at most, and so many directories.
    pub files: u64,
    /// At most [`FINDINGS_MAX`], which is all that a scan can report.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 2 * 1024 * 1024, files: 100_000, findings: FINDINGS_MAX }
    }
}

/// What was found, and where was looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The root, canonical.
    pub root: String,
    /// The required documents first, then file by file in the order of the walk.
    pub findings: Vec<Finding>,
    pub coverage: Coverage,
    pub tally: Tally,
    pub skipped: Skipped,
}

/// Why files were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// In a language that no detector knows.
    pub unknown: u64,
    /// Over [`Limits::file_bytes`].
    pub large: u64,
    /// With a zero byte in the first 8 KiB.
    pub binary: u64,
    pub symlinks: u64,
    /// Sockets, pipes, devices.
    pub special: u64,
    /// Under a path that is not UTF-8, or too long to be reported.
    pub unnamed: u64,
    /// Files and directories that could not be opened or read.
    pub unreadable: u64,
}

impl Skipped {
    pub fn total(&self) -> u64 {
        let Self { unknown, large, binary, symlinks, special, unnamed, unreadable } = self;
        unknown + large + binary + symlinks + special + unnamed + unreadable
    }
}

/// Why there is no survey. Each sentence is short enough to be the reason of an abandoned scan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("there is no directory {root:?}")]
    Missing { root: String },
    #[error("{root:?} is not a directory")]
    NotADirectory { root: String },
    #[error("the path {root:?} is not UTF-8, or over {ROOT_MAX} bytes")]
    Unnamed { root: String },
    #[error("the directory {root:?} cannot be read: {reason}")]
    Unreadable { root: String, reason: String },
    #[error("the directory {root:?} was removed or replaced while it was scanned")]
    Replaced { root: String },
    #[error("the scan was stopped before its end")]
    Stopped,
}

/// Surveys the directory `root` until done, or until `stop` is set.
///
/// # Errors
/// If the root cannot be walked, or is not the same directory at the end as at the beginning: a survey of half of it
/// would close the gaps of the other half.
pub fn scan(root: &Path, limits: &Limits, stop: &AtomicBool) -> Result<Survey, ScanError> {
    let shown = || clipped(&root.display().to_string(), 100);
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => ScanError::Missing { root: shown() },
        ErrorKind::NotADirectory => ScanError::NotADirectory { root: shown() },
        _ => ScanError::Unreadable { root: shown(), reason: clipped(&error.to_string(), 100) },
    };
    let canonical = fs::canonicalize(root).map_err(failed)?;
    let name = match canonical.to_str() {
        Some(name) if name.len() <= ROOT_MAX => name.to_owned(),
        _ => return Err(ScanError::Unnamed { root: shown() }),
    };
    let before = identity(&canonical).map_err(failed)?;
    fs::read_dir(&canonical).map_err(failed)?;

    let mut surveying = Surveying {
        root: &canonical,
        limits,
        stop,
        findings: Vec::new(),
        coverage: Coverage::default(),
        tally: Tally::default(),
        skipped: Skipped::default(),
        directories: 0,
        files: 0,
    };
    surveying.documents();
    surveying.walk()?;
    match identity(&canonical) {
        Ok(after) if after == before => Ok(surveying.done(name)),
        _ => Err(ScanError::Replaced { root: shown() }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

struct Surveying<'a> {
    root: &'a Path,
    limits: &'a Limits,
    stop: &'a AtomicBool,
    findings: Vec<Finding>,
    coverage: Coverage,
    tally: Tally,
    skipped: Skipped,
    /// Met, read or not.
    files: u64,
    directories: u64,
}

/// Why a walk ends before its end.
enum End {
    /// A limit is reached: from this path on nothing is judged.
    Full {
        path: String,
    },
    Failed(ScanError),
}

/// What a file turned out to be.
enum Content {
    Text { text: String, bytes: u64 },
    Binary,
    Large,
    Special,
}

impl Surveying<'_> {
    /// The required set is read beside the walk: no ignore file makes it optional.
    fn documents(&mut self) {
        let mut texts = BTreeMap::new();
        for (place, name) in PLACES.into_iter().flat_map(|place| REQUIRED.map(|name| (place, name))) {
            let path = Path::new(place).join(name);
            let text = match self.document(&path) {
                Ok(Some(Content::Text { text, .. })) => Some(text),
                Ok(Some(Content::Special) | None) => continue,
                Err(error) if is_absence(&error) => continue,
                // In the detector's eyes a document that cannot be judged is there.
                Ok(Some(Content::Binary | Content::Large)) | Err(_) => {
                    self.unread(&path);
                    None
                }
            };
            texts.insert((place, name), text);
        }
        let present: Vec<_> =
            texts.iter().map(|(&(place, name), text)| Document { place, name, text: text.as_deref() }).collect();
        let lacks = detect::documents(&present);
        let finding =
            |lack: detect::Lack| Finding { kind: lack.kind, path: lack.path, line: 0, detail: lack.detail, ordinal: 0 };
        self.findings.extend(lacks.into_iter().map(finding));
    }

    /// `None` if it is a symbolic link to something outside of the root, which is not the root's document.
    fn document(&self, path: &Path) -> io::Result<Option<Content>> {
        let real = fs::canonicalize(self.root.join(path))?;
        if real.starts_with(self.root) { self.read(&real).map(Some) } else { Ok(None) }
    }

    fn walk(&mut self) -> Result<(), ScanError> {
        let walk = WalkBuilder::new(self.root)
            .sort_by_file_name(std::ffi::OsStr::cmp)
            .follow_links(false)
            .require_git(false)
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .build();
        for entry in walk {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ScanError::Stopped);
            }
            let met = match entry {
                Ok(entry) if entry.depth() == 0 => continue,
                Ok(entry) => self.meet(&entry),
                Err(error) => self.miss(&error),
            };
            match met {
                Ok(()) => {}
                Err(End::Full { path }) => {
                    self.tally.truncated = true;
                    self.coverage.judged_to.get_or_insert(path);
                    break;
                }
                Err(End::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A directory that the walk cannot enter.
    fn miss(&mut self, error: &ignore::Error) -> Result<(), End> {
        if let Some(path) = place(error).and_then(|path| path.strip_prefix(self.root).ok()) {
            self.skipped.unreadable += 1;
            self.unread(path);
            Ok(())
        } else {
            let root = clipped(&self.root.display().to_string(), 100);
            Err(End::Failed(ScanError::Unreadable { root, reason: clipped(&error.to_string(), 100) }))
        }
    }

    fn meet(&mut self, entry: &DirEntry) -> Result<(), End> {
        let path = entry.path().strip_prefix(self.root).expect("a walk stays below its root");
        let is_directory = entry.file_type().is_some_and(|sort| sort.is_dir());
        let Some(name) = path.to_str().filter(|name| name.len() <= PATH_MAX) else {
            self.skipped.unnamed += u64::from(!is_directory);
            return Ok(());
        };
        let met = if is_directory { &mut self.directories } else { &mut self.files };
        if self.limits.files <= *met {
            return Err(End::Full { path: name.to_owned() });
        }
        *met += 1;
        match entry.file_type() {
            Some(sort) if sort.is_dir() => {}
            Some(sort) if sort.is_symlink() => self.skipped.symlinks += 1,
            Some(sort) if !sort.is_file() => self.skipped.special += 1,
            _ if !detect::is_markdown(name) && !detect::is_source(name) => self.skipped.unknown += 1,
            _ => match self.read(entry.path()) {
                Ok(Content::Text { text, bytes }) => {
                    self.tally.files += 1;
                    self.tally.bytes += bytes;
                    self.judge(name, &text)?;
                }
                Ok(Content::Binary) => self.skipped.binary += 1,
                Ok(Content::Special) => self.skipped.special += 1,
                Ok(Content::Large) => {
                    self.skipped.large += 1;
                    self.unread(path);
                }
                Err(_) => {
                    self.skipped.unreadable += 1;
                    self.unread(path);
                }
            },
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Content> {
        // Opening a pipe would wait for its other end.
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(Content::Special);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(self.limits.file_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        let length = bytes.len() as u64;
        if self.limits.file_bytes < length {
            Ok(Content::Large)
        } else if bytes.iter().take(8 * 1024).any(|&byte| byte == 0) {
            Ok(Content::Binary)
        } else {
            let text =
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
            Ok(Content::Text { text, bytes: length })
        }
    }

    fn judge(&mut self, name: &str, text: &str) -> Result<(), End> {
        if detect::is_markdown(name) {
            let directory = self.root.join(name);
            let directory = directory.parent().expect("a file is in a directory");
            for link in detect::links(text) {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(End::Failed(ScanError::Stopped));
                }
                if is_broken(directory, &link.target) {
                    self.found(Kind::BrokenLink, name, link.line, &link.target)?;
                }
            }
        } else {
            for marker in detect::markers(name, text) {
                self.found(Kind::Marker, name, marker.line, &marker.text)?;
            }
        }
        Ok(())
    }

    fn found(&mut self, kind: Kind, path: &str, line: u32, detail: &str) -> Result<(), End> {
        let (path, detail) = (path.to_owned(), clipped(detail, DETAIL_MAX));
        if self.limits.findings.min(FINDINGS_MAX) <= self.findings.len() {
            return Err(End::Full { path });
        }
        self.findings.push(Finding { kind, path, line, detail, ordinal: 0 });
        Ok(())
    }

    fn unread(&mut self, path: &Path) {
        // A path that cannot be named is no gap's, nor is one below it.
        let Some(name) = path.to_str().filter(|name| name.len() <= PATH_MAX) else { return };
        if self.coverage.unread.len() < UNREAD_MAX {
            self.coverage.unread.push(name.to_owned());
        } else {
            self.coverage.judged_to.get_or_insert_with(|| name.to_owned());
        }
    }

    fn done(mut self, root: String) -> Survey {
        gaps::number(&mut self.findings);
        self.tally.skipped = self.skipped.total();
        let Self { findings, coverage, tally, skipped, .. } = self;
        Survey { root, findings, coverage, tally, skipped }
    }
}

/// Where a walk failed.
fn place(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => place(err),
        _ => None,
    }
}

/// Whether a link leads nowhere. What cannot be looked up is not known to be missing.
fn is_broken(directory: &Path, target: &str) -> bool {
    // `..` takes back the part before it, as in the address that a reader's browser builds, symbolic link or not.
    let mut path = PathBuf::new();
    for part in directory.join(target).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    fs::metadata(path).is_err_and(|error| is_absence(&error))
}

fn is_absence(error: &io::Error) -> bool {
    use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
}
