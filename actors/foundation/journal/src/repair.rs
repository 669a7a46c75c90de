//! A journal looked at, and made whole, while nobody has it open.
//!
//! Every acknowledged record is in two of the tail, the store and the tile log, so that what one has lost another has; a
//! backup is one more copy. The chain tells which records belong together: a record follows from the one before by its hash, and the next one,
//! or a head noted elsewhere, confirms it.
//!
//! # Invariants
//! 1. Looking changes nothing: fjall, which cuts off what it cannot read, is given a copy of its files to open.
//! 2. A repair writes a new journal beside the damaged one and exchanges the two in one step. The damaged one is put aside
//!    under a name of its own, with every byte that it had.
//! 3. A repair that would not have every record of which there is a trace is refused: what is lost is never left out in
//!    silence.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use kernel::{Digest, Sequence};
use rustix::fs::{CWD, RenameFlags, SeekFrom, renameat_with, seek};

use crate::archive::{self, ArchiveError};
use crate::disk::{self, Held, Making, STORE, TAIL};
use crate::envelope::{Record, link};
use crate::past::{Kept, Past};
use crate::segment::{HEADER_BYTES, Segment, frames};
use crate::store::{Head, Store, StoreError, guarded, survived};
use crate::tail::{self, SegmentFile, sync_directory};
use crate::verify::{self, Broken, Chain};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A file or directory of the journal.
    pub part: &'static str,
    /// The first record that it concerns, if it concerns records.
    pub at: Option<Sequence>,
    pub what: String,
}

/// What a look at a journal found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// None, if all is as it was written.
    pub findings: Vec<Finding>,
    /// Where the tail ends, as far as it is whole.
    pub head: Head,
    /// Where the store ends that is read from; a start brings it up to the tail.
    pub store: Option<Head>,
    pub streams: usize,
    /// The last stop was an orderly one.
    pub orderly: bool,
    /// A group that was never acknowledged lies at the end of the tail; a start cuts it off.
    pub torn: bool,
}

impl Examined {
    /// The first record that is not as it was written.
    pub fn first_bad(&self) -> Option<Sequence> {
        self.findings.iter().filter_map(|finding| finding.at).min()
    }
}

/// What a repair did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    pub findings: Vec<Finding>,
    /// Where the journal ends now.
    pub head: Head,
    /// How many records came from where: the tail, the store, the tile log, the backup.
    pub from_tail: u64,
    pub from_store: u64,
    pub from_log: u64,
    pub from_backup: u64,
    /// Where the damaged journal was put; `None` if nothing had to be done, or nothing was to be.
    pub aside: Option<PathBuf>,
}

/// Why a journal cannot be repaired. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("there is no journal in {}", path.display())]
    Absent { path: PathBuf },
    #[error("records {from} to {to} are in no copy that can be read")]
    Lost { from: Sequence, to: Sequence },
    #[error("record {at} is one in one copy and another in another: these are two journals")]
    Forked { at: Sequence },
    #[error("{} is there already", path.display())]
    Occupied { path: PathBuf },
    #[error(transparent)]
    Backup(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RepairError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "journal.absent",
            Self::Lost { .. } => "journal.lost",
            Self::Forked { .. } => "journal.forked",
            Self::Occupied { .. } => "journal.occupied",
            Self::Backup(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

impl From<std::io::Error> for RepairError {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a journal is made whole from, beside its own files.
#[derive(Clone, Copy, Default)]
pub struct Others<'a> {
    /// What is kept of it in its tile log.
    pub past: Option<&'a dyn Past>,
    /// A backup of it, or a journal that one was restored to.
    pub backup: Option<&'a Path>,
}

impl Others<'_> {
    /// What cannot be relied on is no copy; whoever looks at the log itself says what is wrong with it.
    fn kept(&self) -> Option<Box<dyn Kept>> {
        self.past?.open().ok().filter(|kept| 0 < kept.last().0)
    }
}

/// Reads and checks everything in `path`: the tail, the store, the index, and that they say the same, as far as the tile
/// log in `past` says it, too.
///
/// # Errors
/// [`RepairError`] if it cannot be looked at, as while it is open. Damage is an answer, not an error.
pub fn examine(path: &Path, past: Option<&dyn Past>) -> Result<Examined, RepairError> {
    let others = Others { past, backup: None };
    Ok(Looking::at(path)?.examine(others.kept())?.0)
}

/// Makes the journal in `path` whole from what its tail, its store and `others` have, and puts the damaged one beside it,
/// with `aside` added to its name. A `rehearsal` only says what would be done.
///
/// # Errors
/// [`RepairError`]; then nothing was changed.
pub fn repair(path: &Path, others: Others<'_>, aside: &str, rehearsal: bool) -> Result<Repaired, RepairError> {
    let looking = Looking::at(path)?;
    let (examined, store) = looking.examine(others.kept())?;
    let mut repaired = Repaired {
        findings: examined.findings,
        head: examined.head,
        from_tail: 0,
        from_store: 0,
        from_log: 0,
        from_backup: 0,
        aside: None,
    };
    if repaired.findings.is_empty() {
        return Ok(repaired);
    }
    let aside = suffixed(path, &format!("aside-{aside}"));
    if aside.try_exists()? {
        return Err(RepairError::Occupied { path: aside });
    }
    let mut copies = Copies::new(path, store.map(|(_, store)| store), others.kept())?;
    if let Some(place) = others.backup {
        let restored = looking.scratch.join("backup");
        // What another kind of backup was restored to is as good as one.
        let restored = if place.join(STORE).is_dir() {
            place
        } else {
            archive::restore(place, &restored)?;
            &restored
        };
        let store = Store::open(&restored.join(STORE))?;
        copies.heads.push(store.head()?);
        copies.backup = Some(FromStore::new(store));
    }
    let whole = looking.scratch.join("whole");
    let mut making = if rehearsal { None } else { Some(Making::begin(&whole, tail::SEGMENT_BYTES)?) };
    let mut came = [0; COPIES];
    let mut head = Head::default();
    while let Some((from, bytes, record)) = copies.next(head)? {
        came[from] += 1;
        head = Head { sequence: record.sequence, link: link(&bytes) };
        if let Some(making) = &mut making {
            making.push(&record)?;
        }
    }
    if head.sequence < copies.traces {
        return Err(RepairError::Lost { from: Sequence(head.sequence.0 + 1), to: copies.traces });
    }
    [repaired.from_tail, repaired.from_store, repaired.from_log, repaired.from_backup] = came;
    repaired.head = head;
    drop(copies);
    if let Some(making) = making {
        making.finish()?;
        renameat_with(CWD, &whole, CWD, path, RenameFlags::EXCHANGE).map_err(std::io::Error::from)?;
        fs::rename(&whole, &aside)?;
        sync_directory(disk::parent(path))?;
        repaired.aside = Some(aside);
    }
    Ok(repaired)
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// A journal that nobody else has open, and a place beside it to work at, which is gone afterwards.
struct Looking {
    path: PathBuf,
    scratch: PathBuf,
    format: Option<Finding>,
    _held: Held,
}

impl Drop for Looking {
    fn drop(&mut self) {
        // What is left of it is removed by the next look, too.
        let _ = disk::remove(&self.scratch);
    }
}

impl Looking {
    fn at(path: &Path) -> Result<Self, RepairError> {
        if !path.join(TAIL).try_exists()? && !path.join(STORE).try_exists()? {
            return Err(match disk::check_format(path) {
                Err(error @ StoreError::Format { found: 1.. }) => error.into(),
                _ => RepairError::Absent { path: path.to_owned() },
            });
        }
        let damaged = |what: String| Some(Finding { part: "format", at: None, what });
        let format = match disk::check_format(path) {
            Ok(()) => None,
            Err(StoreError::Damaged { what }) => damaged(what),
            Err(StoreError::Format { found: 0 }) => damaged("it is missing".to_owned()),
            Err(other) => return Err(other.into()),
        };
        let held = Held::take(path)?;
        let scratch = suffixed(path, "looking");
        if scratch.join("whole").join("lock").try_exists()? {
            // A journal that was exchanged by a repair which then died: nothing of it is lost.
            return Err(RepairError::Occupied { path: scratch.join("whole") });
        }
        disk::remove(&scratch)?;
        fs::create_dir(&scratch)?;
        Ok(Self { path: path.to_owned(), scratch, format, _held: held })
    }

    /// What is found, and the store, opened over a copy, with its head.
    fn examine(&self, kept: Option<Box<dyn Kept>>) -> Result<(Examined, Option<(Head, Store)>), RepairError> {
        let mut findings = Vec::new();
        findings.extend(self.format.clone());
        let store = self.store(&mut findings)?;
        let reached = store.as_ref().map(|(head, _)| *head);
        let Tailed { before, head, torn, streams, noted } = self.tail(reached, &mut findings)?;
        let mark = disk::clean_mark(&self.path);
        let orderly = matches!(mark, Ok(Some(_)));
        match mark {
            Ok(Some(mark)) if mark != head => {
                let at = Some(Sequence(head.sequence.0.min(mark.sequence.0) + 1));
                let what = format!("the last stop left records up to {}", mark.sequence);
                findings.push(Finding { part: TAIL, at, what });
            }
            Ok(None) if self.path.join(disk::CLEAN).try_exists()? => {
                findings.push(Finding { part: disk::CLEAN, at: None, what: "it cannot be read".to_owned() });
            }
            mark => drop(mark?),
        }
        if let Some((reached, store)) = &store {
            let damaged = |at: Sequence, what: String| Finding { part: STORE, at: Some(at), what };
            if head.sequence < reached.sequence {
                let what = format!("the store has records up to {}", reached.sequence);
                findings.push(Finding { part: TAIL, at: Some(Sequence(head.sequence.0 + 1)), what });
            } else if reached.sequence < head.sequence && orderly {
                findings.push(damaged(Sequence(reached.sequence.0 + 1), "it ends before the tail".to_owned()));
            } else if reached.sequence < before.sequence {
                let what = "it ends before the tail begins; a start makes it good from the tile log".to_owned();
                findings.push(damaged(Sequence(reached.sequence.0 + 1), what));
            }
            // Of what both have.
            let noted = if head.sequence <= reached.sequence {
                store.raw(head.sequence, 1).ok().and_then(|mut last| last.pop()).map(|last| (link(&last), head.link))
            } else {
                noted.map(|noted| (reached.link, noted))
            };
            let at = head.sequence.min(reached.sequence);
            if 0 < at.0 && noted.is_some_and(|(store, tail)| store != tail) {
                findings.push(damaged(at, "up to here it is not what the tail is".to_owned()));
            }
        }
        if let Some(mut kept) = kept {
            // What was signed was acknowledged, and more than that may have been.
            let (signed, last) = (kept.last(), head.sequence);
            if last < signed {
                let what = format!("the tile log has records up to {signed}");
                findings.push(Finding { part: TAIL, at: Some(Sequence(last.0 + 1)), what });
            } else if let (Some(theirs), Some((_, store))) = (at(&mut *kept, signed), &store) {
                let ours = guarded(|| store.raw(signed, 1)).ok().and_then(|mut records| records.pop());
                if ours.is_some_and(|ours| ours != theirs) {
                    let what = "up to here it is not what was signed".to_owned();
                    findings.push(Finding { part: STORE, at: Some(signed), what });
                }
            }
        }
        let store_head = store.as_ref().map(|(head, _)| *head);
        // With anything else wrong, nobody can say that it was never acknowledged.
        let torn = torn && findings.is_empty();
        Ok((Examined { findings, head, store: store_head, streams, orderly, torn }, store))
    }

    fn store(&self, findings: &mut Vec<Finding>) -> Result<Option<(Head, Store)>, RepairError> {
        let mut found = |at, what| findings.push(Finding { part: STORE, at, what });
        let place = self.path.join(STORE);
        if !place.try_exists()? {
            found(None, "it is missing; a start makes it again".to_owned());
            return Ok(None);
        }
        let copy = self.scratch.join(STORE);
        copied(&place, &copy)?;
        let checked = survived(&suffixed(&self.path, "opening"), 1, || {
            let store = Store::open(&copy)?;
            let checked = guarded(|| {
                let (head, indexed) = (store.head()?, store.indexed()?);
                let verified = verify::verify(&store, Sequence(1));
                Ok((head, indexed, verified.broken, store.unindexed()?))
            });
            Ok((checked, store))
        });
        let (checked, store) = match checked {
            Ok(opened) => opened,
            Err(error) => {
                found(None, format!("it does not open: {error}"));
                return Ok(None);
            }
        };
        match checked {
            Ok((head, indexed, broken, unindexed)) => {
                if head != indexed {
                    let at = Sequence(head.sequence.0.min(indexed.sequence.0) + 1);
                    found(Some(at), format!("its records go to {}, its index to {}", head.sequence, indexed.sequence));
                }
                for Broken { at, what } in broken.into_iter().chain(unindexed) {
                    found(Some(at), what);
                }
                Ok(Some((head, store)))
            }
            Err(StoreError::DamagedFrom { at, what }) => {
                found(Some(at), what);
                Ok(Some((Head::default(), store)))
            }
            Err(error) => {
                found(None, error.to_string());
                Ok(Some((Head::default(), store)))
            }
        }
    }

    /// How far the tail is whole, and its link at `reached`.
    fn tail(&self, reached: Option<Head>, findings: &mut Vec<Finding>) -> Result<Tailed, RepairError> {
        let mut chain: Option<Chain> = None;
        let mut tailed = Tailed::default();
        let mut broken = None;
        let scanned = tail::scan(&self.path.join(TAIL), |frame| {
            let chain = chain.get_or_insert_with(|| Chain::from(frame.records[0].0.sequence));
            for (record, bytes, link) in &frame.records {
                if let Some(what) = chain.next(record.sequence, record, bytes) {
                    broken.get_or_insert(Finding { part: TAIL, at: Some(record.sequence), what });
                }
                if reached.is_some_and(|reached| reached.sequence == record.sequence) {
                    tailed.noted = Some(*link);
                }
            }
            tailed.head = frame.after;
            Ok(())
        });
        findings.extend(broken);
        match scanned {
            Ok(scanned) => {
                let noted = tailed.noted.or_else(|| {
                    let before = reached.filter(|reached| reached.sequence == scanned.before.sequence);
                    before.map(|_| scanned.before.link)
                });
                let (before, head, torn, streams) = (scanned.before, scanned.head, scanned.torn, scanned.streams.len());
                Ok(Tailed { before, head, torn, streams, noted })
            }
            Err(StoreError::DamagedFrom { at, what }) => {
                findings.push(Finding { part: TAIL, at: Some(at), what });
                Ok(tailed)
            }
            Err(StoreError::Io { why }) if !self.path.join(TAIL).try_exists()? => {
                findings.push(Finding { part: TAIL, at: Some(Sequence(1)), what: why });
                Ok(tailed)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What a look at the tail found.
#[derive(Default)]
struct Tailed {
    before: Head,
    /// How far it is whole.
    head: Head,
    torn: bool,
    streams: usize,
    /// The link at a record that was asked for.
    noted: Option<Digest>,
}

/// The record of this sequence, if it can be had.
fn at(kept: &mut dyn Kept, sequence: Sequence) -> Option<Vec<u8>> {
    kept.records(sequence).ok()?.into_iter().next()
}

/// Copies a directory of fjall. Its tables never change and are only named a second time; of the rest the holes stay holes.
fn copied(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copied(&path, &target)?;
            continue;
        }
        let table = from.file_name().is_some_and(|name| name == "tables");
        if !(table && fs::hard_link(&path, &target).is_ok()) {
            sparse(&File::open(&path)?, &File::create(&target)?)?;
        }
    }
    Ok(())
}

fn sparse(from: &File, to: &File) -> std::io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    let mut buffer = vec![0; 256 << 10];
    while at < length {
        let data = match seek(from, SeekFrom::Data(at)) {
            Err(rustix::io::Errno::NXIO) => break,
            data => data?,
        };
        let end = seek(from, SeekFrom::Hole(data))?;
        at = data;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            from.read_exact_at(&mut buffer[..wanted], at)?;
            to.write_all_at(&buffer[..wanted], at)?;
            at += wanted as u64;
        }
    }
    Ok(())
}

/// The tail, the store, the tile log, the backup.
const COPIES: usize = 4;
const TAIL_COPY: usize = 0;

/// All copies of the records that there are.
struct Copies {
    tail: FromTail,
    store: Option<FromStore>,
    log: Option<FromLog>,
    backup: Option<FromStore>,
    /// Heads that were noted outside of the records: they confirm the last one.
    heads: Vec<Head>,
    /// The last record of which anything is known.
    traces: Sequence,
}

impl Copies {
    fn new(path: &Path, store: Option<Store>, kept: Option<Box<dyn Kept>>) -> Result<Self, RepairError> {
        let tail = FromTail::new(&path.join(TAIL))?;
        let store = store.map(FromStore::new);
        let mut log = kept.map(|kept| FromLog { kept, bundle: BTreeMap::new() });
        let mut heads = tail.heads.clone();
        heads.extend(disk::clean_mark(path)?);
        heads.extend(store.iter().filter_map(|from| guarded(|| from.store.indexed()).ok()));
        if let Some(log) = &mut log {
            let sequence = log.kept.last();
            heads.extend(log.read(sequence.0).map(|last| Head { sequence, link: link(&last) }));
        }
        let last = |from: &FromStore| from.last().unwrap_or_default();
        let signed = log.iter().map(|log| log.kept.last());
        let traces = heads.iter().map(|head| head.sequence).chain(store.iter().map(last)).chain(signed).max();
        Ok(Self { tail, store, log, backup: None, heads, traces: traces.unwrap_or_default() })
    }

    /// The record that follows `head`, and which copy it is from.
    fn next(&mut self, head: Head) -> Result<Option<(usize, Vec<u8>, Record)>, RepairError> {
        let (at, after) = (head.sequence.0 + 1, head.sequence.0 + 2);
        let mut found: Option<(usize, Vec<u8>, Record)> = None;
        for from in 0..COPIES {
            let Some(bytes) = self.read(from, at)? else { continue };
            if found.as_ref().is_some_and(|(_, found, _)| *found == bytes) {
                continue;
            }
            let Ok(record) = Record::decode(&bytes) else { continue };
            if record.sequence.0 != at || record.previous != head.link {
                continue;
            }
            let own = Head { sequence: record.sequence, link: link(&bytes) };
            // A frame of the tail confirms its own records: it ends with the link after them.
            let mut confirmed = from == TAIL_COPY || self.heads.contains(&own);
            for from in 0..COPIES {
                let follows = |next: Vec<u8>| Record::decode(&next).is_ok_and(|next| next.previous == own.link);
                confirmed = confirmed || self.read(from, after)?.is_some_and(follows);
            }
            if confirmed && found.replace((from, bytes, record)).is_some() {
                return Err(RepairError::Forked { at: Sequence(at) });
            }
        }
        Ok(found)
    }

    fn read(&mut self, from: usize, at: u64) -> Result<Option<Vec<u8>>, RepairError> {
        match from {
            TAIL_COPY => self.tail.read(at),
            1 => Ok(self.store.as_mut().and_then(|store| store.read(at))),
            2 => Ok(self.log.as_mut().and_then(|log| log.read(at))),
            _ => Ok(self.backup.as_mut().and_then(|store| store.read(at))),
        }
    }
}

/// What can be read of the tail: every frame in it that is whole.
struct FromTail {
    segments: Vec<SegmentFile>,
    /// By their first sequence: segment and place.
    frames: BTreeMap<u64, (usize, usize)>,
    /// After every last frame, and before every segment.
    heads: Vec<Head>,
    segment: Option<(usize, Vec<u8>)>,
    frame: BTreeMap<u64, Vec<u8>>,
}

impl FromTail {
    fn new(directory: &Path) -> Result<Self, RepairError> {
        let segments = if directory.try_exists()? { tail::segments(directory)? } else { Vec::new() };
        let (mut found, mut heads) = (BTreeMap::new(), Vec::new());
        for (number, SegmentFile { path, .. }) in segments.iter().enumerate() {
            let bytes = fs::read(path)?;
            heads.extend(Segment::new(&bytes).ok().map(|segment| segment.head()));
            let mut last = None;
            for frame in frames(&bytes, HEADER_BYTES) {
                found.entry(frame.records[0].0.sequence.0).or_insert((number, frame.at));
                last = Some(frame.after);
            }
            heads.extend(last);
        }
        Ok(Self { segments, frames: found, heads, segment: None, frame: BTreeMap::new() })
    }

    fn read(&mut self, at: u64) -> Result<Option<Vec<u8>>, RepairError> {
        if let Some(bytes) = self.frame.get(&at) {
            return Ok(Some(bytes.clone()));
        }
        let Some((_, &(number, place))) = self.frames.range(..=at).next_back() else { return Ok(None) };
        if self.segment.as_ref().is_none_or(|(loaded, _)| *loaded != number) {
            self.segment = Some((number, fs::read(&self.segments[number].path)?));
        }
        let frame = self.segment.as_ref().and_then(|(_, bytes)| crate::segment::Frame::read(bytes, place));
        let Some(frame) = frame.filter(|frame| at <= frame.after.sequence.0) else { return Ok(None) };
        // The frame before stays, too: a record is read beside the next one.
        while 2 * crate::store::BUNDLE_RECORDS_MAX < self.frame.len() {
            self.frame.pop_first();
        }
        for (record, bytes, _) in &frame.records {
            self.frame.insert(record.sequence.0, bytes.to_vec());
        }
        Ok(self.frame.get(&at).cloned())
    }
}

/// What can be read of the tile log, bundle by bundle.
struct FromLog {
    kept: Box<dyn Kept>,
    bundle: BTreeMap<u64, Vec<u8>>,
}

impl FromLog {
    fn read(&mut self, at: u64) -> Option<Vec<u8>> {
        if let Some(bytes) = self.bundle.get(&at) {
            return Some(bytes.clone());
        }
        let records = self.kept.records(Sequence(at)).unwrap_or_default();
        // The last of those before stay: a record is read beside the next one.
        while 2 * crate::bundle::ENTRIES < self.bundle.len() {
            self.bundle.pop_first();
        }
        self.bundle.extend((at..).zip(records));
        self.bundle.get(&at).cloned()
    }
}

/// What can be read of a store, bundle by bundle.
struct FromStore {
    store: Store,
    /// The first sequences of its bundles.
    bundles: Vec<u64>,
    bundle: BTreeMap<u64, Vec<u8>>,
}

impl FromStore {
    fn new(store: Store) -> Self {
        let bundles = guarded(|| store.bundles()).unwrap_or_default();
        Self { store, bundles, bundle: BTreeMap::new() }
    }

    fn last(&self) -> Option<Sequence> {
        let first = *self.bundles.last()?;
        let records = guarded(|| self.store.bundle(first)).unwrap_or_default();
        Some(Sequence(first + (records.len() as u64).saturating_sub(1)))
    }

    fn read(&mut self, at: u64) -> Option<Vec<u8>> {
        if let Some(bytes) = self.bundle.get(&at) {
            return Some(bytes.clone());
        }
        let first = *self.bundles[..self.bundles.partition_point(|first| *first <= at)].last()?;
        if self.bundle.contains_key(&first) {
            return None;
        }
        while 2 * crate::store::BUNDLE_RECORDS_MAX < self.bundle.len() {
            self.bundle.pop_first();
        }
        let records = guarded(|| self.store.bundle(first)).ok()?;
        self.bundle.extend((first..).zip(records));
        self.bundle.get(&at).cloned()
    }
}
