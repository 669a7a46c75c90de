//! All that an incarnation remembers, machine and outcomes, and its snapshots: how they are made, and when one is used.
//!
//! A snapshot is of a durable version, and made without the actor wherever that goes on meanwhile: from the last snapshot and
//! the records after it, on another thread. So a large state holds nobody up, and nothing that is not on disk gets into it.
//! At a start and at an orderly stop, when nobody is being served, it is what the incarnation itself remembers.
//!
//! # Invariants
//! 1. A snapshot is used only if every byte is as it was written, by a machine of this revision and shape, of this very
//!    journal up to there: the link after its last record says so. Otherwise it is removed, and what it spared is replayed.
//! 2. What comes of a snapshot and the rest of the records is what comes of all records, outcomes included: whoever repeats a
//!    command of the window is answered, whichever way the machine came up.
//! 3. Nothing fails because a snapshot does.
//! 4. Over time they cost no more writing than the records themselves: the larger the last one, the later the next. And of the
//!    time no more than a tenth, so that at the highest rates most of the processor is left to those who are served.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use journal::envelope::{Record, link};
use journal::snapshots::{Label, Snapshots};
use journal::store::{Head, StoreError};
use journal::{Journal, OPENED, codec};
use kernel::{CommandId, Digest, Machine, Position, Timestamp};

use crate::handle::Limits;
use crate::outcomes::{Outcomes, Seen};
use crate::replica::{Replica, Unreadable, said};
use crate::shape;

/// Records read at once: few enough to stay in the processor's cache.
const REPLAY_CHUNK: usize = 512;
/// What a record takes in the journal, about.
const RECORD_BYTES: u64 = 200;
/// An outcome in a snapshot: id u128 LE, digest, version u64 LE, time u64 LE.
const OUTCOME_BYTES: usize = 64;

/// What is remembered at a version of the stream.
pub struct Memory<M> {
    pub state: Replica<M>,
    pub outcomes: Outcomes,
}

impl<M: Machine> Memory<M> {
    /// Before the first record.
    pub fn new(limits: Limits) -> Self {
        Self { state: Replica::default(), outcomes: Outcomes::new(limits.outcomes) }
    }

    /// Takes the next record, and gives the fact that it holds, if it holds one.
    pub fn relive(&mut self, record: &Record) -> Result<Option<M::Event>, Unreadable> {
        let event = self.state.apply(record)?;
        if record.index == 0 && record.kind_id != OPENED.id {
            let seen = Seen { digest: record.command_digest, version: record.version };
            // No later record of the stream is older.
            self.outcomes.forget(record.time);
            self.outcomes.note(record.command_id, seen, record.time);
        }
        Ok(event)
    }

    /// What the newest good snapshot remembers, of a version up to `to`, and how many bytes it has. Those that are no good are
    /// removed.
    ///
    /// # Errors
    /// If the journal cannot say what is good.
    pub fn load(journal: &Journal, limits: Limits, to: Position) -> Result<Option<(Self, u64)>, StoreError> {
        let snapshots = Snapshots::of(journal.path(), M::NAME);
        for version in snapshots.versions() {
            let loaded = match Self::label(journal, version.min(to))? {
                Ok(label) => Self::load_one(&snapshots, version, &label, limits),
                Err(why) => Err(why),
            };
            match loaded {
                Ok(loaded) => return Ok(Some(loaded)),
                Err(why) => {
                    tracing::warn!(
                        code = "host.snapshot_unusable",
                        machine = M::NAME,
                        version = version.0,
                        why,
                        "a snapshot is not used, and removed; what it spared is replayed"
                    );
                    snapshots.remove(version);
                }
            }
        }
        Ok(None)
    }

    fn load_one(
        snapshots: &Snapshots,
        version: Position,
        expected: &Label,
        limits: Limits,
    ) -> Result<(Self, u64), String> {
        let (label, content) = snapshots.read(version).map_err(|error| error.to_string())?;
        if (&label.stream, label.version, label.head) != (&expected.stream, expected.version, expected.head) {
            return Err("it is of another journal".to_owned());
        }
        if label != *expected {
            return Err("it is of another release".to_owned());
        }
        let read = catch_unwind(AssertUnwindSafe(|| Self::of(&content, version, limits)));
        let memory = read.map_err(|panic| said(&*panic))?.ok_or("it cannot be understood")?;
        Ok((memory, content.len() as u64))
    }

    /// What a snapshot of `version` has to say of itself here, or why there can be none.
    fn label(journal: &Journal, version: Position) -> Result<Result<Label, String>, StoreError> {
        let Some(record) = journal.read_stream(M::NAME, version, version, 1)?.pop() else {
            return Ok(Err("its last record is not there".to_owned()));
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let head = Head { sequence: record.sequence, link: link(&bytes) };
        let shape = shape::digest_of::<M>().map_err(|error| format!("the machine has no shape: {error}"));
        Ok(shape.map(|shape| Label { stream: M::NAME.to_owned(), revision: M::REVISION, shape, version, head }))
    }

    fn of(content: &[u8], version: Position, limits: Limits) -> Option<Self> {
        let (count, rest) = content.split_first_chunk::<8>()?;
        let bytes = usize::try_from(u64::from_le_bytes(*count)).ok()?.checked_mul(OUTCOME_BYTES)?;
        let (entries, state) = rest.split_at_checked(bytes)?;
        let mut outcomes = Outcomes::new(limits.outcomes);
        outcomes.reserve(entries.len() / OUTCOME_BYTES);
        for entry in entries.chunks_exact(OUTCOME_BYTES) {
            let (id, rest) = entry.split_first_chunk::<16>()?;
            let (digest, rest) = rest.split_first_chunk::<32>()?;
            let (at, time) = rest.split_first_chunk::<8>()?;
            let seen = Seen { digest: Digest(*digest), version: Position(u64::from_le_bytes(*at)) };
            let time = Timestamp(u64::from_le_bytes(time.try_into().ok()?));
            outcomes.note(CommandId(u128::from_le_bytes(*id)), seen, time);
        }
        Some(Self { state: Replica { machine: codec::restore(state).ok()?, version }, outcomes })
    }

    fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let entries = self.outcomes.entries();
        to.write_all(&(entries.len() as u64).to_le_bytes())?;
        for (time, id, Seen { digest, version }) in entries {
            let mut entry = [0; OUTCOME_BYTES];
            entry[..16].copy_from_slice(&id.0.to_le_bytes());
            entry[16..48].copy_from_slice(&digest.0);
            entry[48..56].copy_from_slice(&version.0.to_le_bytes());
            entry[56..].copy_from_slice(&time.0.to_le_bytes());
            to.write_all(&entry)?;
        }
        codec::canonical_into(&self.state.machine, to).map_err(io::Error::other)
    }

    /// Makes a snapshot of what is remembered, which must be durable. Answers how many bytes it has.
    fn save(&self, journal: &Journal) -> Result<u64, String> {
        journal.writable().map_err(|error| error.to_string())?;
        let label = Self::label(journal, self.state.version).map_err(|error| error.to_string())??;
        let snapshots = Snapshots::of(journal.path(), M::NAME);
        snapshots.write(&label, |to| self.write(to)).map_err(|error| error.to_string())
    }

    /// Goes on from here to `to`. Answers whether it got there, or nobody wants it any more.
    fn advance(&mut self, journal: &Journal, to: Position, gone: &AtomicBool) -> Result<bool, String> {
        while self.state.version < to {
            if gone.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let next = Position(self.state.version.0 + 1);
            let records = journal.read_stream(M::NAME, next, to, REPLAY_CHUNK).map_err(|error| error.to_string())?;
            if records.is_empty() {
                return Err(format!("version {next} is not there"));
            }
            for record in &records {
                self.relive(record).map_err(|unreadable| unreadable.to_string())?;
            }
        }
        Ok(true)
    }
}

/// After one that was made beside the work there is none for so many times as long as it took.
const RESTS: u32 = 9;

/// How a machine's snapshots stand, for as long as the process lives.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Events between two; zero for none at all.
    every: u64,
    /// The version of the last one.
    last: AtomicU64,
    /// From which version on there should be another one.
    due: AtomicU64,
    failed: AtomicU64,
    /// Held by the one who writes.
    writing: Mutex<()>,
    rests_until: Mutex<Option<Instant>>,
}

/// How a machine's snapshots stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version of the newest; zero if there is none.
    pub version: Position,
    /// How often one could not be made, in this process.
    pub failed: u64,
}

impl Keeping {
    pub fn new(every: u64) -> Self {
        Self { every, due: AtomicU64::new(every), ..Self::default() }
    }

    pub fn standing(&self) -> Standing {
        let version = Position(self.last.load(Ordering::Relaxed));
        Standing { version, failed: self.failed.load(Ordering::Relaxed) }
    }

    pub fn is_on(&self) -> bool {
        self.every != 0
    }

    pub fn is_due(&self, durable: Position) -> bool {
        self.is_on() && self.due.load(Ordering::Relaxed) <= durable.0
    }

    /// Whether one was made beside the work so short a time ago that the next is made later, with the first command then.
    pub fn rests(&self, now: Instant) -> bool {
        self.resting().is_some_and(|until| now < until)
    }

    fn rest(&self, began: Instant, ended: Instant) {
        *self.resting() = Some(ended + (ended - began) * RESTS);
    }

    fn resting(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `version` is more than an opening away from the last one.
    pub fn is_behind(&self, version: Position) -> bool {
        self.is_on() && self.last.load(Ordering::Relaxed) + 1 < version.0
    }

    /// There is one of `version`, of so many bytes.
    pub fn has(&self, version: Position, bytes: u64) {
        self.last.store(version.0, Ordering::Relaxed);
        self.due.store(version.0 + self.every.max(bytes / RECORD_BYTES), Ordering::Relaxed);
    }

    /// Makes a snapshot of what is remembered, which must be durable.
    pub fn keep<M: Machine>(&self, journal: &Journal, memory: &Memory<M>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.made(memory.state.version, M::NAME, || memory.save(journal).map(Some));
    }

    /// Makes one of `to`, from the last one and the records after it.
    pub fn follow<M: Machine>(&self, journal: &Journal, limits: Limits, to: Position, gone: &AtomicBool) {
        // Another incarnation's, which ends soon.
        let Ok(_writing) = self.writing.try_lock() else { return };
        let began = Instant::now();
        self.made(to, M::NAME, || {
            let loaded = Memory::<M>::load(journal, limits, to).map_err(|error| error.to_string())?;
            let mut memory = loaded.map_or_else(|| Memory::new(limits), |(memory, _)| memory);
            if memory.advance(journal, to, gone)? { memory.save(journal).map(Some) } else { Ok(None) }
        });
        self.rest(began, Instant::now());
    }

    fn made(&self, version: Position, machine: &str, make: impl FnOnce() -> Result<Option<u64>, String>) {
        let began = Instant::now();
        let bytes = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|panic| Err(said(&*panic)));
        match bytes {
            Ok(Some(bytes)) => {
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(code = "host.snapshot", machine, version = version.0, bytes, millis, "made");
                self.has(version, bytes);
            }
            Ok(None) => {}
            Err(why) => {
                tracing::warn!(code = "host.snapshot_failed", machine, version = version.0, why, "goes on without");
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.due.store(version.0 + self.every, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_longer_one_took_the_later_the_next() {
        let (keeping, began) = (Keeping::new(10), Instant::now());
        let after = |millis| began + Duration::from_millis(millis);
        assert!(keeping.is_due(Position(10)) && !keeping.rests(began), "the first is made at once");
        keeping.rest(began, after(20));
        for (millis, rests) in [(20, true), (199, true), (200, false), (1_000, false)] {
            assert_eq!(keeping.rests(after(millis)), rests, "{millis} ms after it began");
        }
        assert!(keeping.is_due(Position(10)), "it is made still, and at an orderly stop whatever it took");
    }
}
