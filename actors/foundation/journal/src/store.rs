//! The store under the journal: fjall, one atomic batch and one `fdatasync` a group.
//!
//! Records lie in *bundles*: a group is cut into values of at most [`BUNDLE_RECORDS_MAX`] records, keyed by the first
//! sequence, so that the store pays per bundle and not per record. An index entry per group and stream maps versions to
//! sequences. No fjall handle leaves this module.
//!
//! ```text
//! records   first sequence u64 BE                   -> (length u32 LE, record)...
//! streams   name, 0x00, first version u64 BE        -> (first sequence u64 LE, records u32 LE)...
//! meta      "format" -> u32 LE                      "clean" -> head sequence u64 LE, if the last stop was orderly
//! ```
//!
//! # Invariants
//! 1. What [`Log::append_group`] has returned `Ok` for is on stable storage; what it returned an error for is unknown.
//! 2. Readers see durable records only: fjall publishes a batch after its sync.
//! 3. A store is there whole or not at all, whenever the process that makes it dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kernel::{Digest, Epoch, Position, Sequence, Timestamp};
use rustix::fs::{FlockOperation, flock};

use crate::envelope::{Record, link};

/// A bundle is read whole to reach one record in it: small enough for that, large enough to make an insert rare.
pub const BUNDLE_RECORDS_MAX: usize = 128;
const BUNDLE_BYTES_MAX: usize = 48 * 1024;
const FORMAT: u32 = 1;
/// Bytes of records that an import makes durable at once.
const IMPORTED_AT_ONCE: usize = 1 << 20;
/// Beside the place of a store: one that is being made from a backup.
pub(crate) const RESTORING: &str = "restoring";

/// What the store says when it cannot.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another process holds the store")]
    Locked,
    #[error("the store is of format {found}, this release reads {FORMAT}")]
    Format { found: u32 },
    #[error("the store is damaged: {what}")]
    Damaged { what: String },
    #[error("the store failed: {why}")]
    Io { why: String },
    #[error("there is a store in {path} already")]
    Occupied { path: String },
    #[error("a restore of the store was not finished: {path} is what is left of it")]
    HalfRestored { path: String },
    #[error("the journal is closed")]
    Closed,
}

impl StoreError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked => "journal.locked",
            Self::Format { .. } => "journal.format",
            Self::Damaged { .. } => "journal.damaged",
            Self::Io { .. } => "journal.io",
            Self::Occupied { .. } => "journal.occupied",
            Self::HalfRestored { .. } => "journal.half_restored",
            Self::Closed => "journal.closed",
        }
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Io(io) => Self::Io { why: io.to_string() },
            other => Self::Io { why: other.to_string() },
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io { why: error.to_string() }
    }
}

/// The seam between committing and storing: one group, one sync.
pub trait Log: Send {
    /// Makes the whole group durable, or fails with an unknown outcome.
    ///
    /// # Errors
    /// Any failure. The caller must not append again: what happened is known after the next open only.
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError>;
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamHead {
    pub version: Position,
    pub epoch: Epoch,
    /// Of the last record.
    pub time: Timestamp,
}

/// Where the journal stands: the last sequence and the link that the next record carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub sequence: Sequence,
    pub link: Digest,
}

/// Encoded records of one commit, in order.
#[derive(Debug, Default)]
pub struct Group {
    bundles: Vec<Bundle>,
    runs: BTreeMap<String, Runs>,
    pub records: usize,
    pub bytes: usize,
}

#[derive(Debug)]
struct Bundle {
    first: Sequence,
    records: usize,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Runs {
    first: Position,
    runs: Vec<(u64, u32)>,
}

impl Group {
    /// Adds the next record and gives its link.
    pub fn push(&mut self, record: &Record) -> Digest {
        let full = |bundle: &Bundle| BUNDLE_RECORDS_MAX <= bundle.records || BUNDLE_BYTES_MAX <= bundle.bytes.len();
        if self.bundles.last().is_none_or(full) {
            self.bundles.push(Bundle {
                first: record.sequence,
                records: 0,
                bytes: Vec::with_capacity(BUNDLE_BYTES_MAX),
            });
        }
        let bundle = self.bundles.last_mut().expect("one was just pushed");
        let start = bundle.bytes.len();
        bundle.bytes.extend_from_slice(&[0; 4]);
        record.encode(&mut bundle.bytes);
        let length = bundle.bytes.len() - start - 4;
        let prefix = u32::try_from(length).expect("a record is under 200 KiB").to_le_bytes();
        bundle.bytes[start..start + 4].copy_from_slice(&prefix);
        bundle.records += 1;
        self.records += 1;
        self.bytes += length;
        let link = link(&bundle.bytes[start + 4..]);
        self.index(record);
        link
    }

    fn index(&mut self, record: &Record) {
        if !self.runs.contains_key(&record.stream) {
            self.runs.insert(record.stream.clone(), Runs { first: record.version, runs: Vec::new() });
        }
        let runs = &mut self.runs.get_mut(&record.stream).expect("one was just inserted").runs;
        match runs.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == record.sequence.0 => *count += 1,
            _ => runs.push((record.sequence.0, 1)),
        }
    }
}

/// The open store.
pub struct Store {
    database: Database,
    records: Keyspace,
    streams: Keyspace,
    meta: Keyspace,
}

impl Store {
    /// Opens or creates the store in `path` and, after an unclean stop, writes and syncs the recovered tail again: after a
    /// failed sync the page cache may show bytes that the disk never got.
    ///
    /// # Errors
    /// [`StoreError`], with nothing changed.
    pub fn open(path: &Path, tail_records: usize) -> Result<Self, StoreError> {
        create(path)?;
        let store = Self::open_whole(path)?;
        let format = store.meta.get("format")?;
        let found = format.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u32::from_le_bytes);
        if found != FORMAT {
            return Err(StoreError::Format { found });
        }
        store.rewrite_tail(tail_records)?;
        Ok(store)
    }

    fn open_whole(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(path).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self { records: keyspace("records")?, streams: keyspace("streams")?, meta: keyspace("meta")?, database })
    }

    fn rewrite_tail(&self, tail_records: usize) -> Result<(), StoreError> {
        let head = self.head()?;
        let clean = self.meta.get("clean")?.is_some_and(|bytes| *bytes == head.sequence.0.to_le_bytes());
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        if !clean {
            let mut rewritten = 0;
            for guard in self.records.iter().rev() {
                let (key, bundle) = guard.into_inner()?;
                rewritten += Records { bundle: &bundle, at: 0 }.count();
                batch.insert(&self.records, key, bundle);
                if tail_records <= rewritten {
                    break;
                }
            }
            for (stream, _) in self.stream_heads()? {
                if let Some(guard) = self.streams.prefix(prefix(&stream)).next_back() {
                    let (key, runs) = guard.into_inner()?;
                    batch.insert(&self.streams, key, runs);
                }
            }
        }
        batch.remove(&self.meta, "clean");
        Ok(batch.commit()?)
    }

    /// Notes that the stop was orderly.
    ///
    /// # Errors
    /// Harmless: the next open takes the longer way.
    pub fn close_cleanly(&self) -> Result<(), StoreError> {
        let head = self.head()?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "clean", head.sequence.0.to_le_bytes());
        Ok(batch.commit()?)
    }

    /// # Errors
    /// If the last bundle cannot be read.
    pub fn head(&self) -> Result<Head, StoreError> {
        let Some(guard) = self.records.last_key_value() else { return Ok(Head::default()) };
        let (key, bundle) = guard.into_inner()?;
        let last = Records { bundle: &bundle, at: 0 }.last().transpose()?;
        let last = last.ok_or_else(|| StoreError::Damaged { what: format!("bundle {} is empty", number(&key)) })?;
        Ok(Head { sequence: decoded(last)?.sequence, link: link(last) })
    }

    /// # Errors
    /// If the index or the records it names cannot be read.
    pub fn stream_heads(&self) -> Result<BTreeMap<String, StreamHead>, StoreError> {
        let mut heads = BTreeMap::new();
        let mut after = Vec::new();
        while let Some(guard) = self.streams.range(after.clone()..).next() {
            let stream = stream_of(&guard.key()?)?;
            let last = self.streams.prefix(prefix(&stream)).next_back();
            let (_, runs) = last.expect("the stream has the entry just read").into_inner()?;
            let (first, count) = *parse_runs(&runs)?.last().expect("parse_runs refuses an empty list");
            let record = self.record(Sequence(first + u64::from(count) - 1))?;
            let record =
                record.ok_or_else(|| StoreError::Damaged { what: format!("stream {stream} ends in nothing") })?;
            heads
                .insert(stream.clone(), StreamHead { version: record.version, epoch: record.epoch, time: record.time });
            after = stream.into_bytes();
            after.push(1);
        }
        Ok(heads)
    }

    /// # Errors
    /// If the bundle cannot be read.
    pub fn record(&self, sequence: Sequence) -> Result<Option<Record>, StoreError> {
        Ok(self.read(sequence, 1)?.pop().filter(|record| record.sequence == sequence))
    }

    /// At most `limit` records from `from` on, in order.
    ///
    /// # Errors
    /// If a bundle cannot be read or decoded.
    pub fn read(&self, from: Sequence, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        self.scan(from, |sequence, bytes| {
            if from <= sequence {
                found.push(decoded(bytes)?);
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// At most `limit` records from `from` on, as the bytes that they are.
    ///
    /// # Errors
    /// If a bundle cannot be read.
    pub fn raw(&self, from: Sequence, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        self.scan(from, |sequence, bytes| {
            if from <= sequence {
                found.push(bytes.to_vec());
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Gives `look` every record of the bundles from the one that may hold `from` on, with its key's sequence, until it
    /// answers `false`.
    ///
    /// # Errors
    /// Those of the store, and of `look`.
    pub fn scan(
        &self,
        from: Sequence,
        mut look: impl FnMut(Sequence, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let start = self.records.range(..=from.0.to_be_bytes()).next_back();
        let start = start.map(fjall::Guard::key).transpose()?.map_or(from.0, |key| number(&key));
        for guard in self.records.range(start.to_be_bytes()..) {
            let (key, bundle) = guard.into_inner()?;
            for (sequence, bytes) in (number(&key)..).zip(Records { bundle: &bundle, at: 0 }) {
                if !look(Sequence(sequence), bytes?)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// At most about `limit` records of `stream` with versions from `from` to `to`, in order.
    ///
    /// # Errors
    /// If index or records cannot be read, or do not agree.
    pub fn read_stream(
        &self,
        stream: &str,
        from: Position,
        to: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let start = self.streams.range(prefix(stream)..=key(stream, from)).next_back();
        let start = start.map(fjall::Guard::key).transpose()?.map_or_else(|| key(stream, from), |key| key.to_vec());
        'entries: for guard in self.streams.range(start..=key(stream, to)) {
            let (entry, runs) = guard.into_inner()?;
            let mut version = number(&entry[entry.len() - 8..]);
            for (first, count) in parse_runs(&runs)? {
                let end = version + u64::from(count);
                if end <= from.0 {
                    version = end;
                    continue;
                }
                let before = found.len();
                let skip = from.0.saturating_sub(version);
                let wanted = usize::try_from(u64::from(count) - skip).expect("a run is a u32");
                self.scan(Sequence(first + skip), |sequence, bytes| {
                    if first + skip <= sequence.0 {
                        found.push(decoded(bytes)?);
                    }
                    Ok(found.len() - before < wanted)
                })?;
                version = end;
                if limit <= found.len() || to.0 < version {
                    break 'entries;
                }
            }
        }
        found.retain(|record| record.version <= to);
        match found.iter().find(|record| record.stream != stream) {
            None => Ok(found),
            Some(other) => {
                Err(StoreError::Damaged { what: format!("the index of {stream} names record {}", other.sequence) })
            }
        }
    }
}

/// Makes a store where there is none: beside its place, and moved there when it is whole. What a process leaves behind that
/// dies while it makes one, fjall takes neither for a database nor for none.
fn create(path: &Path) -> Result<(), StoreError> {
    let is_there = || Ok::<_, std::io::Error>(path.try_exists()? && path.read_dir()?.next().is_some());
    if is_there()? {
        return Ok(());
    }
    let restoring = path.with_extension(RESTORING);
    if restoring.try_exists()? {
        // An empty store in its place would pass for what was to be restored.
        return Err(StoreError::HalfRestored { path: restoring.display().to_string() });
    }
    let making = path.with_extension("making");
    std::fs::create_dir_all(&making)?;
    // Held until the file is closed: two who make the same store would take it away from each other.
    let lock = File::open(&making).map_err(|_| StoreError::Locked)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::Locked)?;
    if is_there()? {
        return Ok(());
    }
    let whole = making.join("whole");
    match std::fs::remove_dir_all(&whole) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let store = Store::open_whole(&whole)?;
    let mut batch = store.database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&store.meta, "format", FORMAT.to_le_bytes());
    batch.commit()?;
    drop(store);
    put(&whole, &making, path)
}

/// Moves what is whole from `making` to its place, for good.
fn put(whole: &Path, making: &Path, path: &Path) -> Result<(), StoreError> {
    std::fs::rename(whole, path)?;
    std::fs::remove_dir(making)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(File::open(parent)?.sync_all()?)
}

/// A store that is being made from the records of another one: beside its place, and moved there when it is whole.
pub struct Import {
    path: PathBuf,
    making: PathBuf,
    store: Arc<Store>,
    group: Group,
    head: Head,
}

impl Import {
    /// # Errors
    /// [`StoreError::Occupied`] and [`StoreError::HalfRestored`], with nothing changed.
    pub fn begin(path: &Path) -> Result<Self, StoreError> {
        if path.try_exists()? && path.read_dir()?.next().is_some() {
            return Err(StoreError::Occupied { path: path.display().to_string() });
        }
        let making = path.with_extension(RESTORING);
        match std::fs::create_dir(&making) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(StoreError::HalfRestored { path: making.display().to_string() });
            }
            made => made?,
        }
        let store = Arc::new(Store::open_whole(&making.join("whole"))?);
        Ok(Self { path: path.to_owned(), making, store, group: Group::default(), head: Head::default() })
    }

    /// Adds the next record. That it follows from those before is for the caller to have checked.
    ///
    /// # Errors
    /// If it is not the next one, or the store cannot take it.
    pub fn push(&mut self, record: &Record) -> Result<(), StoreError> {
        if record.sequence.0 != self.head.sequence.0 + 1 || record.previous != self.head.link {
            return Err(StoreError::Damaged { what: format!("record {} does not follow", record.sequence) });
        }
        self.head = Head { sequence: record.sequence, link: self.group.push(record) };
        if IMPORTED_AT_ONCE <= self.group.bytes {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.store.append_group(&std::mem::take(&mut self.group))
    }

    /// Puts the store into its place, if it ends in `head`.
    ///
    /// # Errors
    /// Then there is no store.
    pub fn finish(mut self, head: Head) -> Result<(), StoreError> {
        self.flush()?;
        if self.store.head()? != head {
            return Err(StoreError::Damaged { what: "what was written does not end as it should".into() });
        }
        let mut batch = self.store.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.store.meta, "format", FORMAT.to_le_bytes());
        batch.commit()?;
        self.store.close_cleanly()?;
        let Self { path, making, store, .. } = self;
        drop(store);
        put(&making.join("whole"), &making, &path)
    }
}

impl Log for Arc<Store> {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for bundle in &group.bundles {
            batch.insert(&self.records, bundle.first.0.to_be_bytes(), bundle.bytes.as_slice());
        }
        for (stream, Runs { first, runs }) in &group.runs {
            let mut value = Vec::with_capacity(runs.len() * 12);
            for (sequence, count) in runs {
                value.extend_from_slice(&sequence.to_le_bytes());
                value.extend_from_slice(&count.to_le_bytes());
            }
            batch.insert(&self.streams, key(stream, *first), value);
        }
        Ok(batch.commit()?)
    }
}

/// The records of one bundle.
pub struct Records<'a> {
    bundle: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<&'a [u8], StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bundle[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.first_chunk::<4>().map(|prefix| u32::from_le_bytes(*prefix) as usize);
        let Some(record) = length.and_then(|length| rest.get(4..4 + length)) else {
            self.at = self.bundle.len();
            return Some(Err(StoreError::Damaged { what: "a bundle ends within a record".into() }));
        };
        self.at += 4 + record.len();
        Some(Ok(record))
    }
}

fn decoded(bytes: &[u8]) -> Result<Record, StoreError> {
    Record::decode(bytes).map_err(|error| StoreError::Damaged { what: error.to_string() })
}

fn prefix(stream: &str) -> Vec<u8> {
    let mut prefix = stream.as_bytes().to_vec();
    prefix.push(0);
    prefix
}

fn key(stream: &str, version: Position) -> Vec<u8> {
    let mut key = prefix(stream);
    key.extend_from_slice(&version.0.to_be_bytes());
    key
}

fn stream_of(key: &[u8]) -> Result<String, StoreError> {
    let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(name.to_vec()).map_err(|_| StoreError::Damaged { what: "a stream's name is no text".into() })
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

fn parse_runs(value: &[u8]) -> Result<Vec<(u64, u32)>, StoreError> {
    if value.is_empty() || !value.len().is_multiple_of(12) {
        return Err(StoreError::Damaged { what: "an index entry has a wrong length".into() });
    }
    let run = |run: &[u8]| {
        let (sequence, count) = run.split_at(8);
        let sequence = u64::from_le_bytes(sequence.try_into().expect("split at 8"));
        (sequence, u32::from_le_bytes(count.try_into().expect("12 less 8")))
    };
    Ok(value.chunks_exact(12).map(run).collect())
}
