//! The store that is read: fjall, which follows the tail group by group and is made again from it.
//!
//! Records lie in *bundles*: a group is cut into values of at most [`BUNDLE_RECORDS_MAX`] records, keyed by the first
//! sequence, so that the store pays per bundle and not per record. An index entry per group and stream maps versions to
//! sequences. No fjall handle leaves this module.
//!
//! ```text
//! records   first sequence u64 BE                   -> (length u32 LE, record)...
//! streams   name, 0x00, first version u64 BE        -> (first sequence u64 LE, records u32 LE)...
//!           0x00                                    -> format u32 LE, last sequence u64 LE, link after it:
//!                                                      how far the index goes
//! ```
//!
//! # Invariants
//! 1. Readers see durable records only: a group comes here once it is synced in the tail, and fjall shows all of it or
//!    nothing.
//! 2. What is here is never all there is: a group that fjall loses, in a crash or later, is in the tail, and
//!    [`crate::disk`] compares the two heads at every open.
//! 3. Reading has no holes: a record or a version that is missing in the middle is an error.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use kernel::{Digest, Epoch, Position, Sequence, Timestamp};

use crate::envelope::{Record, link};
use crate::verify::Broken;

/// A bundle is read whole to reach one record in it: small enough for that, large enough to make an insert rare.
pub const BUNDLE_RECORDS_MAX: usize = 128;
const BUNDLE_BYTES_MAX: usize = 48 * 1024;
/// Of what lies in fjall; another one is made again from the tail.
const FORMAT: u32 = 2;
/// Key of how far the index goes. No stream's name is empty.
const INDEXED: [u8; 1] = [0];

/// What the store says when it cannot.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("another process holds the store")]
    Locked,
    #[error("the store is of format {found}, this release reads {reads}", reads = crate::segment::FORMAT)]
    Format { found: u32 },
    #[error("the store is damaged: {what}")]
    Damaged { what: String },
    #[error("the store is damaged from record {at} on: {what}")]
    DamagedFrom { at: Sequence, what: String },
    #[error("the store is damaged: the process ended whenever fjall opened its files")]
    Deadly,
    #[error("the store failed: {why}")]
    Io { why: String },
    #[error("there is a store in {path} already")]
    Occupied { path: String },
    #[error("a restore of the store was not finished: {path} is what is left of it")]
    HalfRestored { path: String },
    /// It is not kept where the tail's older records are.
    #[error("record {at} is not in the tile log any more, which begins with record {first}: {place} has it")]
    Pruned { at: Sequence, first: Sequence, place: String },
    #[error("the journal is closed")]
    Closed,
}

impl StoreError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Locked => "journal.locked",
            Self::Format { .. } => "journal.format",
            Self::Damaged { .. } | Self::DamagedFrom { .. } | Self::Deadly => "journal.damaged",
            Self::Io { .. } => "journal.io",
            Self::Occupied { .. } => "journal.occupied",
            Self::HalfRestored { .. } => "journal.half_restored",
            Self::Pruned { .. } => "evidence.pruned",
            Self::Closed => "journal.closed",
        }
    }

    /// What lies there is not what was written: trying again finds the same.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::DamagedFrom { .. } | Self::Deadly)
    }
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            fjall::Error::Poisoned => Self::Io { why: "an earlier write failed".into() },
            fjall::Error::Io(io) | fjall::Error::Storage(lsm_tree::Error::Io(io)) => match io.kind() {
                // What it opens and reads it has written itself.
                ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                    Self::Damaged { what: io.to_string() }
                }
                _ => Self::Io { why: io.to_string() },
            },
            other => Self::Damaged { what: other.to_string() },
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Io { why: error.to_string() }
    }
}

/// The seam between committing and storing: one group, one sync, and then readers see it.
pub trait Log: Send {
    /// Makes the whole group durable and shows it to readers, or fails with an unknown outcome.
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
    /// (length u32 LE, record)...: the payload of a frame, and bundles one after the other.
    payload: Vec<u8>,
    bundles: Vec<Bundle>,
    runs: BTreeMap<String, Runs>,
    before: Head,
    after: Head,
    pub records: usize,
    pub bytes: usize,
}

#[derive(Debug)]
struct Bundle {
    first: Sequence,
    records: usize,
    place: Range<usize>,
}

#[derive(Debug)]
struct Runs {
    first: Position,
    runs: Vec<(u64, u32)>,
}

impl Head {
    pub(crate) fn bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.link.0);
        bytes
    }

    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (sequence, link) = bytes.split_first_chunk::<8>()?;
        Some(Self { sequence: Sequence(u64::from_le_bytes(*sequence)), link: Digest(link.try_into().ok()?) })
    }
}

impl Group {
    /// Adds the next record and gives its link.
    pub fn push(&mut self, record: &Record) -> Digest {
        let start = self.payload.len() + 4;
        self.payload.extend_from_slice(&[0; 4]);
        record.encode(&mut self.payload);
        let link = link(&self.payload[start..]);
        self.added(record, start, link);
        link
    }

    /// Adds the next record, whose bytes and link are known.
    pub(crate) fn push_encoded(&mut self, record: &Record, bytes: &[u8], link: Digest) {
        let start = self.payload.len() + 4;
        self.payload.extend_from_slice(&[0; 4]);
        self.payload.extend_from_slice(bytes);
        self.added(record, start, link);
    }

    /// Takes note of the record whose bytes lie at the end of the payload, from `start` on.
    fn added(&mut self, record: &Record, start: usize, link: Digest) {
        let length = self.payload.len() - start;
        let prefix = u32::try_from(length).expect("a record is under 200 KiB").to_le_bytes();
        self.payload[start - 4..start].copy_from_slice(&prefix);
        if self.records == 0 {
            self.before = Head { sequence: Sequence(record.sequence.0 - 1), link: record.previous };
        }
        self.after = Head { sequence: record.sequence, link };
        let end = self.payload.len();
        match self.bundles.last_mut() {
            Some(Bundle { records, place, .. }) if *records < BUNDLE_RECORDS_MAX && place.len() < BUNDLE_BYTES_MAX => {
                (*records, place.end) = (*records + 1, end);
            }
            _ => self.bundles.push(Bundle { first: record.sequence, records: 1, place: start - 4..end }),
        }
        self.records += 1;
        self.bytes += length;
        self.index(record);
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What the first record follows.
    pub(crate) fn before(&self) -> Head {
        self.before
    }

    pub(crate) fn after(&self) -> Head {
        self.after
    }

    /// Makes it empty, and keeps its room.
    pub(crate) fn clear(&mut self) {
        self.payload.clear();
        self.bundles.clear();
        self.runs.clear();
        (self.before, self.after, self.records, self.bytes) = Default::default();
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
    path: PathBuf,
    database: Database,
    records: Keyspace,
    streams: Keyspace,
}

impl Store {
    /// Makes an empty store in `path`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let store = Self::open_any(path)?;
        store.sync()?;
        Ok(store)
    }

    /// Opens the store in `path`.
    ///
    /// # Errors
    /// [`StoreError`]; the store can be made again from the tail whichever it is, unless another process holds it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        guarded(|| Self::open_any(path))
    }

    fn open_any(path: &Path) -> Result<Self, StoreError> {
        // One, for with two the first never compacts but sends what it is asked for back to the queue, again and again, while
        // the other one does: a core was spent on that under load.
        let database = Database::builder(path).worker_threads(1).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        Ok(Self { path: path.to_owned(), records: keyspace("records")?, streams: keyspace("streams")?, database })
    }

    /// Takes a group that is durable elsewhere, and shows it to readers. It gets to the disk with time, or by
    /// [`Store::sync`].
    pub(crate) fn apply(&self, group: &Group) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for Bundle { first, place, .. } in &group.bundles {
            batch.insert(&self.records, first.0.to_be_bytes(), &group.payload[place.clone()]);
        }
        for (stream, Runs { first, runs }) in &group.runs {
            let mut value = Vec::with_capacity(runs.len() * 12);
            for (sequence, count) in runs {
                value.extend_from_slice(&sequence.to_le_bytes());
                value.extend_from_slice(&count.to_le_bytes());
            }
            batch.insert(&self.streams, key(stream, *first), value);
        }
        batch.insert(&self.streams, INDEXED, marked(group.after));
        Ok(batch.commit()?)
    }

    /// Makes all that was applied durable here, too.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        // fjall syncs the journal that it writes to, and not one that it has left since; and nothing is applied meanwhile,
        // so that little should be left for it to do.
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jnl") {
                match File::open(path) {
                    // Its records are in tables by now.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    file => file?.sync_data()?,
                }
            }
        }
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }

    /// How far the index goes.
    pub(crate) fn indexed(&self) -> Result<Head, StoreError> {
        let Some(bytes) = self.streams.get(INDEXED)? else { return Ok(Head::default()) };
        let head = bytes.strip_prefix(&FORMAT.to_le_bytes()).and_then(Head::of);
        head.ok_or_else(|| StoreError::Damaged { what: "the index is of another format".into() })
    }

    /// How far records and index go, both of them: fjall keeps the two apart, so that one may go further.
    pub(crate) fn whole_up_to(&self) -> Result<Head, StoreError> {
        let (records, indexed) = (self.head()?, self.indexed()?);
        if records.sequence < indexed.sequence {
            return Ok(records);
        }
        if indexed.sequence.0 == 0 {
            return Ok(Head::default());
        }
        let last = self.raw(indexed.sequence, 1)?.pop();
        let last =
            last.ok_or_else(|| StoreError::Damaged { what: "the index goes further than the records".into() })?;
        Ok(Head { sequence: indexed.sequence, link: link(&last) })
    }

    /// Removes what goes further than `head`, where a group ends.
    pub(crate) fn cut(&self, head: Head) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for guard in self.records.range((head.sequence.0 + 1).to_be_bytes()..) {
            batch.remove(&self.records, guard.key()?);
        }
        for guard in self.streams.range([1]..) {
            let (key, runs) = guard.into_inner()?;
            if parse_runs(&runs)?.iter().any(|(first, _)| head.sequence.0 < *first) {
                batch.remove(&self.streams, key);
            }
        }
        batch.insert(&self.streams, INDEXED, marked(head));
        Ok(batch.commit()?)
    }

    /// # Errors
    /// If the last bundle cannot be read.
    pub fn head(&self) -> Result<Head, StoreError> {
        let Some(guard) = self.records.last_key_value() else { return Ok(Head::default()) };
        let (key, bundle) = guard.into_inner()?;
        let at = number(&key);
        let empty = || StoreError::DamagedFrom { at: Sequence(at), what: "its bundle is empty".into() };
        let mut last = None;
        for (sequence, bytes) in (at..).zip(Records { bundle: &bundle, at: 0 }) {
            last = Some((Sequence(sequence), bytes?));
        }
        let (sequence, last) = last.ok_or_else(empty)?;
        Ok(Head { sequence: decoded(last, sequence)?.sequence, link: link(last) })
    }

    /// # Errors
    /// If the index or the records it names cannot be read.
    pub fn stream_heads(&self) -> Result<BTreeMap<String, StreamHead>, StoreError> {
        let mut heads = BTreeMap::new();
        let mut after = vec![1];
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

    /// The first sequence of every bundle.
    pub(crate) fn bundles(&self) -> Result<Vec<u64>, StoreError> {
        self.records.iter().map(|guard| Ok(number(&guard.key()?))).collect()
    }

    /// The records of the bundle that begins with `first`, as far as it can be read.
    pub(crate) fn bundle(&self, first: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let bundle = self.records.get(first.to_be_bytes())?.unwrap_or_default();
        Ok(Records { bundle: &bundle, at: 0 }.map_while(Result::ok).map(<[u8]>::to_vec).collect())
    }

    /// The first record that the index does not lead to, or leads to from another place.
    pub(crate) fn unindexed(&self) -> Result<Option<Broken>, StoreError> {
        // Of each stream: how many records, and a digest of their sequences in order.
        let mut recorded: BTreeMap<String, (u64, DefaultHasher)> = BTreeMap::new();
        self.scan(Sequence(1), |sequence, bytes| {
            let (count, hasher) = recorded.entry(decoded(bytes, sequence)?.stream).or_default();
            *count += 1;
            hasher.write_u64(sequence.0);
            Ok(true)
        })?;
        let mut indexed: BTreeMap<String, (u64, DefaultHasher)> = BTreeMap::new();
        for guard in self.streams.range([1]..) {
            let (key, runs) = guard.into_inner()?;
            let (count, hasher) = indexed.entry(stream_of(&key)?).or_default();
            if number(&key[key.len().saturating_sub(8)..]) != *count + 1 {
                // Then it names another sequence for a version, whatever it names.
                hasher.write_u64(0);
            }
            for (first, records) in parse_runs(&runs)? {
                *count += u64::from(records);
                (first..first + u64::from(records)).for_each(|sequence| hasher.write_u64(sequence));
            }
        }
        let told = |of: Option<&(u64, DefaultHasher)>| of.map(|(count, hasher)| (*count, hasher.finish()));
        for stream in recorded.keys().chain(indexed.keys()) {
            if told(recorded.get(stream)) != told(indexed.get(stream)) {
                return self.misled(stream).map(Some);
            }
        }
        Ok(None)
    }

    /// Where the index of `stream` begins to be wrong.
    fn misled(&self, stream: &str) -> Result<Broken, StoreError> {
        let mut versions = BTreeMap::new();
        for guard in self.streams.prefix(prefix(stream)) {
            let (key, runs) = guard.into_inner()?;
            let mut version = number(&key[key.len().saturating_sub(8)..]);
            for (first, count) in parse_runs(&runs)? {
                for sequence in first..first + u64::from(count) {
                    versions.insert(version, sequence);
                    version += 1;
                }
            }
        }
        let mut wrong = None;
        self.scan(Sequence(1), |sequence, bytes| {
            let record = decoded(bytes, sequence)?;
            if record.stream == stream && versions.remove(&record.version.0) != Some(sequence.0) {
                wrong = Some(sequence);
            }
            Ok(wrong.is_none())
        })?;
        let at = wrong.or_else(|| versions.values().min().copied().map(Sequence)).unwrap_or_default();
        Ok(Broken { at, what: format!("the index of {stream} is not that of its records") })
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
                found.push(decoded(bytes, sequence)?);
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
        let mut next = start.max(1);
        for guard in self.records.range(start.to_be_bytes()..) {
            let (key, bundle) = guard.into_inner()?;
            if number(&key) != next {
                return Err(StoreError::DamagedFrom { at: Sequence(next), what: "it is not where it is read".into() });
            }
            for bytes in (Records { bundle: &bundle, at: 0 }) {
                if !look(Sequence(next), bytes?)? {
                    return Ok(());
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// The records of these sequences, which go up. What lies near each other is found in passing: streams take turns, and a
    /// bundle has records of all of them.
    fn gathered(&self, wanted: Vec<Range<u64>>) -> Result<Vec<Record>, StoreError> {
        let mut found = Vec::new();
        let mut wanted = wanted.into_iter().peekable();
        while let Some(mut run) = wanted.next() {
            self.scan(Sequence(run.start), |sequence, bytes| {
                if run.contains(&sequence.0) {
                    found.push(decoded(bytes, sequence)?);
                }
                if sequence.0 + 1 < run.end {
                    return Ok(true);
                }
                let near = run.end..=sequence.0 + BUNDLE_RECORDS_MAX as u64;
                let next = wanted.next_if(|next| near.contains(&next.start));
                Ok(next.map(|next| run = next).is_some())
            })?;
        }
        Ok(found)
    }

    /// At most `limit` records of `stream` with versions from `from` to `to`, in order.
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
        let start = self.streams.range(prefix(stream)..=key(stream, from)).next_back();
        let start = start.map(fjall::Guard::key).transpose()?.map_or_else(|| key(stream, from), |key| key.to_vec());
        let (mut wanted, mut records) = (Vec::new(), 0);
        'entries: for guard in self.streams.range(start..=key(stream, to)) {
            let (entry, runs) = guard.into_inner()?;
            let mut version = number(&entry[entry.len() - 8..]);
            for (first, count) in parse_runs(&runs)? {
                let end = version + u64::from(count);
                let skip = from.0.saturating_sub(version);
                if version + skip < end {
                    // A run may be as long as a group: what nobody waits for would only be in the way.
                    let taken = (end - version - skip).min(limit as u64 - records);
                    let first = first.saturating_add(skip);
                    wanted.push(first..first.saturating_add(taken));
                    records += taken;
                }
                version = end;
                if limit as u64 <= records || to.0 < version {
                    break 'entries;
                }
            }
        }
        let mut found = self.gathered(wanted)?;
        found.retain(|record| record.version <= to);
        let expected = from.0.max(1)..;
        match expected.zip(&found).find(|(version, record)| record.stream != stream || record.version.0 != *version) {
            None => Ok(found),
            Some((version, Record { sequence: at, stream: other, version: found, .. })) => {
                let what = format!("version {found} of {other} is where {version} of {stream} is looked for");
                Err(StoreError::DamagedFrom { at: *at, what })
            }
        }
    }
}

/// fjall takes its own files for granted: what it reads may make it panic.
pub(crate) fn guarded<T>(look: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(look))
        .unwrap_or_else(|_| Err(StoreError::Damaged { what: "reading it makes fjall panic".into() }))
}

/// Lets fjall look at files that may be damaged, which may even end the process: then `note` stays behind, and after so many
/// deaths it is not tried again.
pub(crate) fn survived<T>(
    note: &Path,
    deaths: u64,
    look: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut file = OpenOptions::new().create(true).append(true).open(note)?;
    let looked = if deaths <= file.metadata()?.len() {
        Err(StoreError::Deadly)
    } else {
        file.write_all(b".")?;
        guarded(look)
    };
    std::fs::remove_file(note)?;
    looked
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

fn marked(head: Head) -> Vec<u8> {
    [&FORMAT.to_le_bytes()[..], &head.bytes()].concat()
}

/// The record that should be the one of this sequence.
fn decoded(bytes: &[u8], at: Sequence) -> Result<Record, StoreError> {
    match Record::decode(bytes) {
        Ok(record) if record.sequence == at => Ok(record),
        Ok(record) => {
            Err(StoreError::DamagedFrom { at, what: format!("record {} lies in its place", record.sequence) })
        }
        Err(error) => Err(StoreError::DamagedFrom { at, what: error.to_string() }),
    }
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
