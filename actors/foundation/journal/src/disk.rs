//! The directory of a journal: what lies in it, when it is whole, and how it comes back.
//!
//! ```text
//! format      "sop journal 2": written last, so that what is half-made is no journal
//! lock        held by the one process that has it open
//! tail/       what is synced first: every acknowledged record goes here, and stays until it is kept twice elsewhere
//!             ([`crate::tail`])
//! store/      what is read: fjall, made again from the tail and what is kept elsewhere ([`crate::store`], [`crate::past`])
//! snapshots/  what machines were at some version: a cache of theirs, looked at by nobody here ([`crate::snapshots`])
//! opening     there while fjall opens its files
//! clean       the head at the last stop, if that was an orderly one; gone while the journal is open
//! ```
//!
//! # Invariants
//! 1. A group is acknowledged after the tail has synced it *and* the store has taken it, so that after the death of the
//!    process either of them tells what the other has lost.
//! 2. Opening never drops what was acknowledged: the last frame may be left out only if it is not whole, no frame comes
//!    after it, the store does not have it, and the last stop was not orderly. Everything else is a refusal, with nothing
//!    changed in the tail.
//! 3. A store that is behind the tail, for a sector of its own that was lost or a power supply, is brought up to it before
//!    the first command; a store that is absent is made again. Records that the tail has no more come from what is kept
//!    elsewhere, if they are one chain with the tail's.
//! 4. A journal is there whole or not at all, whenever the process that makes it dies.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kernel::{Digest, Sequence};
use rustix::fs::{FlockOperation, flock};

use crate::envelope::{Record, link};
use crate::past::{self, Past};
use crate::segment::{FORMAT, Frame};
use crate::store::{Group, Head, Log, Store, StoreError, StreamHead, survived};
use crate::tail::{self, Scanned, Tail, sync_directory};

pub(crate) const TAIL: &str = "tail";
pub(crate) const STORE: &str = "store";
const FORMAT_FILE: &str = "format";
pub(crate) const CLEAN: &str = "clean";
const LOCK: &str = "lock";
/// There while fjall opens its files, a byte for each time that the process ended over it.
const OPENING: &str = "opening";
/// A process that is killed just then must not cost a store; one that ends by itself does so every time.
const OPENING_DEATHS: u64 = 2;
/// Beside the place of a journal: one that is being made from a backup.
pub(crate) const RESTORING: &str = "restoring";
/// Bytes of records that are written at once where nobody waits for one of them.
const AT_ONCE: usize = 1 << 20;
/// A process that is being born or dying may hold a copy of the lock for a moment that is not its own.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The files of an open journal: what a group goes through.
pub(crate) struct Files {
    tail: Tail,
    store: Arc<Store>,
}

impl Log for Files {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        self.tail.append(group)?;
        self.store.apply(group)
    }
}

/// A journal that has been opened, before its first command.
pub(crate) struct Disk {
    pub files: Files,
    pub store: Arc<Store>,
    pub head: Head,
    pub streams: BTreeMap<String, StreamHead>,
    pub held: Held,
}

/// The right to the directory, and how to give it up.
pub struct Held {
    path: PathBuf,
    _lock: File,
}

impl Held {
    /// Takes the lock of a journal that is there.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if somebody else has it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        for again in 1.. {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(_) if again < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
                Err(_) => return Err(StoreError::Locked),
            }
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Notes that the stop was orderly: everything is where `store` says.
    ///
    /// # Errors
    /// Harmless: the next open takes the longer way.
    pub(crate) fn close_cleanly(&self, store: &Store) -> Result<(), StoreError> {
        store.sync()?;
        mark_clean(&self.path, store.head()?)
    }
}

/// Opens the journal in `path`, or makes one where there is none.
pub(crate) fn open(path: &Path, past: &dyn Past, segment_bytes: u64) -> Result<Disk, StoreError> {
    create(path, segment_bytes)?;
    // Before the lock, which would be the first thing of ours in a directory of an older release.
    check_format(path)?;
    let held = Held::take(path)?;
    let directory = path.join(TAIL);
    // Before fjall looks at its own files: it cuts off what it cannot read, and here is what it is made again from.
    let mark = clean_mark(path)?;
    if !directory.try_exists()? || tail::segments(&directory)?.is_empty() {
        return Err(without_tail(mark, past));
    }
    let scanned = tail::scan(&directory, |_| Ok(()))?;
    if let Some(mark) = mark.filter(|mark| *mark != scanned.head) {
        return Err(lost(scanned.head.sequence, mark.sequence, "the last stop was orderly, and left records up to"));
    }
    let from = Sources { path, past, directory: &directory, scanned: &scanned };
    let store = Arc::new(from.followed(mark.is_some())?);
    let streams = store.stream_heads()?;
    if let Some((stream, _)) = scanned.streams.iter().find(|(stream, head)| streams.get(*stream) != Some(*head)) {
        let what = format!("the index of {stream} does not end where its records do");
        return Err(StoreError::Damaged { what });
    }
    let anew = scanned.torn || (mark.is_none() && scanned.ends_in_a_record());
    let tail = Tail::open(&directory, &scanned, segment_bytes, anew)?;
    if scanned.torn {
        let after = scanned.head.sequence.0;
        tracing::warn!(code = "journal.torn", after, "a group that was never acknowledged was cut off");
    }
    unmark_clean(path)?;
    Ok(Disk { files: Files { tail, store: store.clone() }, store, head: scanned.head, streams, held })
}

pub(crate) fn check_format(path: &Path) -> Result<(), StoreError> {
    let expected = format!("sop journal {FORMAT}\n");
    let found = match fs::read(path.join(FORMAT_FILE)) {
        // Format 1 was fjall's own directory.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let found = u32::from(path.join("keyspaces").try_exists()?);
            return Err(StoreError::Format { found });
        }
        found => found?,
    };
    if found == expected.as_bytes() {
        return Ok(());
    }
    let number = std::str::from_utf8(&found).ok().and_then(|text| text.strip_prefix("sop journal "));
    match number.and_then(|number| number.strip_suffix('\n')).and_then(|number| number.parse().ok()) {
        // What the tail contradicts is no other format.
        Some(found) if found != FORMAT && !tail::is_readable(&path.join(TAIL)) => Err(StoreError::Format { found }),
        _ => Err(StoreError::Damaged { what: format!("the file {FORMAT_FILE} says nothing") }),
    }
}

/// What the store is made of.
struct Sources<'a> {
    path: &'a Path,
    past: &'a dyn Past,
    directory: &'a Path,
    scanned: &'a Scanned,
}

impl Sources<'_> {
    /// The store, as far as the tail.
    fn followed(&self, orderly: bool) -> Result<Store, StoreError> {
        let Self { path, scanned, .. } = self;
        let place = path.join(STORE);
        if !place.try_exists()? {
            return self.made_again();
        }
        let (store, whole, reached) = match survived(&path.join(OPENING), OPENING_DEATHS, || readable(&place)) {
            // Of what fjall had not synced, the loss of power may leave some pages and not others, and then fjall does not
            // open. After an orderly stop it is the disk, of which somebody should know.
            Err(error)
                if (matches!(error, StoreError::Damaged { .. }) && !orderly || matches!(error, StoreError::Deadly))
                    && !scanned.torn =>
            {
                tracing::warn!(code = "journal.unreadable", %error, "what is read from does not open, and is put aside");
                return self.made_again();
            }
            readable => readable?,
        };
        if scanned.head.sequence < reached {
            return Err(lost(scanned.head.sequence, reached, "the store has records up to"));
        }
        if whole == scanned.head && whole.sequence == reached {
            return Ok(store);
        }
        let (from, to) = (whole.sequence.0 + 1, scanned.head.sequence.0);
        tracing::warn!(code = "journal.redone", from, to, "the store was behind the tail, and is brought up to it");
        store.cut(whole)?;
        self.redo(&store, whole)?;
        Ok(store)
    }

    /// Makes the store again, and puts aside what is in its place.
    fn made_again(&self) -> Result<Store, StoreError> {
        let place = self.path.join(STORE);
        let making = place.with_extension("making");
        remove(&making)?;
        let store = Store::create(&making)?;
        let to = self.scanned.head.sequence.0;
        if to != 0 {
            tracing::warn!(code = "journal.rebuilt", to, "the store is made again from the tail and the tile log");
            self.redo(&store, Head::default())?;
        }
        drop(store);
        if place.try_exists()? {
            let aside = place.with_extension("unreadable");
            remove(&aside)?;
            fs::rename(&place, &aside)?;
        }
        fs::rename(&making, &place)?;
        sync_directory(self.path)?;
        Store::open(&place)
    }

    /// Applies what comes after `from`, and syncs.
    fn redo(&self, store: &Store, from: Head) -> Result<(), StoreError> {
        let (mut group, mut head) = (Group::default(), from);
        let before = self.scanned.before;
        if from.sequence < before.sequence {
            let mut kept = self.past.open()?;
            if kept.last() < before.sequence {
                let (has, first) = (kept.last().max(from.sequence).0, before.sequence.0);
                let what = format!("records up to {first} are not in the tail, and the tile log has not all of them");
                return Err(StoreError::DamagedFrom { at: Sequence(has + 1), what });
            }
            past::follow(&mut *kept, from, before, |record, bytes, after| {
                group.push_encoded(record, bytes, after.link);
                if AT_ONCE <= group.bytes {
                    store.apply(&group)?;
                    group.clear();
                }
                Ok(())
            })?;
            head = before;
        }
        let scanned = tail::scan_from(self.directory, from.sequence, |frame: &Frame<'_>| {
            for (record, bytes, link) in &frame.records {
                if record.sequence == from.sequence && *link != from.link {
                    let what = "the store and the tail have another record each".to_owned();
                    return Err(StoreError::DamagedFrom { at: record.sequence, what });
                }
                if record.sequence <= from.sequence {
                    continue;
                }
                if head.link != record.previous {
                    let what = "the store and the tail are not of the same journal".to_owned();
                    return Err(StoreError::DamagedFrom { at: record.sequence, what });
                }
                group.push_encoded(record, bytes, *link);
                head = group.after();
            }
            if AT_ONCE <= group.bytes {
                store.apply(&group)?;
                group.clear();
            }
            Ok(())
        })?;
        if 0 < group.records {
            store.apply(&group)?;
        }
        if store.whole_up_to()? != scanned.head {
            return Err(StoreError::Damaged { what: "the store does not take what the tail has".into() });
        }
        store.sync()
    }
}

/// The store, how far all of it goes, and how far any of it.
fn readable(place: &Path) -> Result<(Store, Head, Sequence), StoreError> {
    let store = Store::open(place)?;
    let whole = store.whole_up_to()?;
    let reached = store.head()?.sequence.max(store.indexed()?.sequence);
    Ok((store, whole, reached))
}

fn without_tail(mark: Option<Head>, past: &dyn Past) -> StoreError {
    let mut what = "the tail is gone".to_owned();
    if let Some(mark) = mark {
        what = format!("{what}; the last stop left records up to {}", mark.sequence);
    }
    if let Some(signed) = past.open().ok().map(|kept| kept.last()).filter(|last| 0 < last.0) {
        what = format!("{what}; the tile log has those up to {signed}, and what came later is in the store alone");
    }
    StoreError::DamagedFrom { at: Sequence(1), what }
}

fn lost(has: Sequence, wanted: Sequence, who: &str) -> StoreError {
    let at = Sequence(has.0.min(wanted.0) + 1);
    StoreError::DamagedFrom { at, what: format!("{who} {wanted}, and the tail ends with {has}") }
}

/// What the mark of the last orderly stop says. One that cannot be read says nothing: the store still tells where the
/// tail must end.
pub(crate) fn clean_mark(path: &Path) -> Result<Option<Head>, StoreError> {
    let bytes = match fs::read(path.join(CLEAN)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let mark = bytes.split_at_checked(40).filter(|(head, sum)| link(head).0 == *sum);
    let mark = mark.and_then(|(head, _)| Head::of(head));
    if mark.is_none() {
        tracing::warn!(code = "journal.mark", "the mark of the last orderly stop cannot be read");
    }
    Ok(mark)
}

fn mark_clean(path: &Path, head: Head) -> Result<(), StoreError> {
    let head = head.bytes();
    let Digest(sum) = link(&head);
    write(&path.join(CLEAN), &[&head[..], &sum[..]].concat())
}

fn unmark_clean(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path.join(CLEAN)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => {
            removed?;
            Ok(sync_directory(path)?)
        }
    }
}

/// Writes a small file, whole or not at all.
fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    Ok(sync_directory(parent(path))?)
}

pub(crate) fn remove(directory: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_there(path: &Path) -> Result<bool, StoreError> {
    Ok(path.try_exists()? && path.read_dir()?.next().is_some())
}

/// Makes a journal where there is none: beside its place, and moved there when it is whole.
fn create(path: &Path, segment_bytes: u64) -> Result<(), StoreError> {
    if is_there(path)? {
        return Ok(());
    }
    let restoring = path.with_extension(RESTORING);
    if restoring.try_exists()? {
        // An empty journal in its place would pass for what was to be restored.
        return Err(StoreError::HalfRestored { path: restoring.display().to_string() });
    }
    let making = path.with_extension("making");
    fs::create_dir_all(&making)?;
    // Held until the file is closed: two who make the same journal would take it away from each other.
    let lock = File::open(&making).map_err(|_| StoreError::Locked)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::Locked)?;
    if is_there(path)? {
        return Ok(());
    }
    let whole = making.join("whole");
    remove(&whole)?;
    Making::begin(&whole, segment_bytes)?.finish()?;
    put(&whole, &making, path)
}

/// Moves what is whole from `making` to its place, for good.
fn put(whole: &Path, making: &Path, path: &Path) -> Result<(), StoreError> {
    fs::rename(whole, path)?;
    fs::remove_dir(making)?;
    Ok(sync_directory(parent(path))?)
}

/// A journal being made: it is none before [`Making::finish`].
pub(crate) struct Making {
    path: PathBuf,
    files: Files,
    group: Group,
    head: Head,
}

impl Making {
    pub fn begin(path: &Path, segment_bytes: u64) -> Result<Self, StoreError> {
        fs::create_dir(path)?;
        let directory = path.join(TAIL);
        fs::create_dir(&directory)?;
        let tail = Tail::create(&directory, Head::default(), segment_bytes)?;
        let files = Files { tail, store: Arc::new(Store::create(&path.join(STORE))?) };
        Ok(Self { path: path.to_owned(), files, group: Group::default(), head: Head::default() })
    }

    pub fn push(&mut self, record: &Record) -> Result<(), StoreError> {
        if record.sequence.0 != self.head.sequence.0 + 1 || record.previous != self.head.link {
            return Err(StoreError::Damaged { what: format!("record {} does not follow", record.sequence) });
        }
        self.head = Head { sequence: record.sequence, link: self.group.push(record) };
        if AT_ONCE <= self.group.bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if 0 < self.group.records {
            self.files.append_group(&self.group)?;
            self.group.clear();
        }
        Ok(())
    }

    /// Makes it a journal, and answers with its head.
    pub fn finish(mut self) -> Result<Head, StoreError> {
        self.flush()?;
        self.files.store.sync()?;
        let head = self.files.store.whole_up_to()?;
        if head != self.head {
            return Err(StoreError::Damaged { what: "what was written does not end as it should".into() });
        }
        if 0 < head.sequence.0 {
            mark_clean(&self.path, head)?;
        }
        drop(self.files);
        write(&self.path.join(FORMAT_FILE), format!("sop journal {FORMAT}\n").as_bytes())?;
        Ok(head)
    }
}

/// A journal that is being made from the records of another one: beside its place, and moved there when it is whole.
pub struct Import {
    path: PathBuf,
    making: PathBuf,
    journal: Making,
}

impl Import {
    /// # Errors
    /// [`StoreError::Occupied`] and [`StoreError::HalfRestored`], with nothing changed.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        if is_there(path)? {
            return Err(StoreError::Occupied { path: path.display().to_string() });
        }
        let making = path.with_extension(RESTORING);
        match fs::create_dir(&making) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(StoreError::HalfRestored { path: making.display().to_string() });
            }
            made => made?,
        }
        let journal = Making::begin(&making.join("whole"), tail::SEGMENT_BYTES)?;
        Ok(Self { path: path.to_owned(), making, journal })
    }

    /// Adds the next record.
    ///
    /// # Errors
    /// If it does not follow from those before, or cannot be written.
    pub fn push(&mut self, record: &Record) -> Result<(), StoreError> {
        self.journal.push(record)
    }

    /// Of what was added.
    pub fn head(&self) -> Head {
        self.journal.head
    }

    /// Takes away what was made so far, as far as that goes.
    pub fn abandon(self) {
        let Self { making, journal, .. } = self;
        drop(journal);
        // What is left is found by the next one.
        let _ = remove(&making);
    }

    /// Puts the journal into its place, if it ends in `head`.
    ///
    /// # Errors
    /// Then there is no journal.
    pub fn finish(self, head: Head) -> Result<(), StoreError> {
        let Self { path, making, journal } = self;
        if journal.head != head {
            return Err(StoreError::Damaged { what: "what was written does not end as it should".into() });
        }
        journal.finish()?;
        put(&making.join("whole"), &making, &path)
    }
}
