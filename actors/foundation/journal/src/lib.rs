//! The event journal: one group-committing writer over a log of its own, fjall to read from, and readers of what is durable.
//!
//! [`Journal`] is a stable handle: it exists before the store is opened and outlives it, so that whoever holds one can ask
//! why it is closed. Appends are queued and answered later, on the committer's thread, so that no machine ever waits for
//! the disk between two commands.
//!
//! # Invariants
//! 1. What an append was answered `Ok` for is on stable storage, and stays what it is: records are never changed.
//! 2. Sequences have no gaps; each record carries the blake3 of the one before ([`envelope`]).
//! 3. A stream has one writing incarnation: opening it is itself an append, and fences the older one.
//! 4. A failed sync is never retried: the journal refuses everything until it is opened anew ([`Journal::failure`]).
//! 5. What was acknowledged is there twice, in two of the tail, fjall and the tile log, and no loss passes unseen ([`disk`],
//!    [`trim`]).
//! 6. No fjall handle leaves this crate ([`store`]); bincode is known to one module ([`codec`]).

pub mod archive;
pub mod bundle;
pub mod codec;
mod committer;
mod disk;
pub mod envelope;
pub mod keeper;
mod past;
pub mod reader;
pub mod repair;
pub mod segment;
pub mod snapshots;
pub mod store;
pub mod tail;
mod trim;
mod verify;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kernel::{Epoch, Kind, Millis, Position, Sequence, Timestamp};
use tokio::sync::watch;

pub use committer::{Append, Entry, Then};
use committer::{Committer, refuse_the_rest};
use disk::Disk;
pub use disk::{Held, Import};
use envelope::Record;
pub use keeper::Keeper;
pub use past::{Kept, Past};
use store::{Head, Log, Store, StoreError};
use trim::Cut;
pub use verify::{Broken, Chain, Verified};

/// The record that opens a stream for a new incarnation.
pub const OPENED: Kind = Kind { id: 1, version: 1, name: "stream.opened" };
/// The record of a command that made no facts: its answer is all there is.
pub const CONCLUDED: Kind = Kind { id: 2, version: 1, name: "command.concluded" };

/// Most records of one append, so that a group has a bound and the tail that a start writes again has one too.
pub const APPEND_RECORDS_MAX: usize = 4_096;

/// The bounds of one group, and the free disk space that is kept for the authority's own bookkeeping.
#[derive(Clone, Debug)]
pub struct Limits {
    pub group_records_max: usize,
    pub group_bytes_max: usize,
    /// Below this much free space [`Journal::writable`] refuses, while an orderly stop still finds room.
    pub reserve_bytes: u64,
    /// A segment of the tail is about as long as this.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            group_records_max: 4_096,
            group_bytes_max: 1 << 20,
            reserve_bytes: 64 << 20,
            segment_bytes: tail::SEGMENT_BYTES,
        }
    }
}

/// Where the records of a command came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    pub first: Sequence,
    pub last: Sequence,
    /// The stream's version after them.
    pub version: Position,
}

/// A stream opened for one incarnation: replay reads to exactly `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub epoch: Epoch,
    pub version: Position,
    /// Of the opening record: no later record of the stream is older.
    pub time: Timestamp,
}

/// Why an append has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("another incarnation has taken over the stream")]
    Fenced,
    #[error("the outcome is unknown: {why}")]
    Unknown { why: String },
    #[error("the journal is closed")]
    Unavailable,
}

/// Why nothing new is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    #[error("{free_bytes} bytes are free on the journal's disk, under the reserve of {reserve_bytes}")]
    DiskFull { free_bytes: u64, reserve_bytes: u64 },
    #[error("the journal failed: {why}")]
    Failed { why: String },
    #[error("the journal is closed")]
    Closed,
}

/// What the journal has done since the process began.
#[derive(Debug, Default)]
pub struct Figures {
    pub groups: AtomicU64,
    pub records: AtomicU64,
    pub bytes: AtomicU64,
    /// Groups by the time that each took: up to the bound of the same place in [`SYNC_BOUNDS`], and beyond all of them.
    pub syncs: [AtomicU64; SYNC_BOUNDS.len() + 1],
    pub sync_micros_sum: AtomicU64,
    pub sync_micros_last: AtomicU64,
    pub sync_micros_max: AtomicU64,
}

/// Bounds of the classes in [`Figures::syncs`], in microseconds.
pub const SYNC_BOUNDS: [u64; 13] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000];

pub(crate) struct Shared {
    path: PathBuf,
    limits: Limits,
    session: RwLock<Option<Session>>,
    /// Held across opening and closing, so that neither meets the other half-way.
    committing: Mutex<Option<Committing>>,
    /// The number of the latest session asked for. An older one that was not begun by then never begins.
    asked: AtomicU64,
    durable: watch::Sender<Sequence>,
    /// Of the streams that somebody listens to.
    moved: RwLock<BTreeMap<&'static str, watch::Sender<()>>>,
    failure: watch::Sender<Option<String>>,
    figures: Figures,
    /// Free space, measured at most every [`SPACE_MEASURED_EVERY`]: (when, bytes).
    space: Mutex<Option<(Instant, u64)>>,
    wrap: WrapLog,
    past: OnceLock<Arc<dyn Past>>,
    /// The tail could not be cut when it was last to be.
    uncut: AtomicBool,
}

/// Puts something between the committer and its log.
pub type WrapLog = Box<dyn Fn(Box<dyn Log>) -> Box<dyn Log> + Send + Sync>;

/// Often enough to answer "disk full" within a second, rarely enough to cost nothing.
const SPACE_MEASURED_EVERY: Duration = Duration::from_millis(250);

struct Session {
    queue: Sender<Entry>,
    store: Arc<Store>,
}

/// The committer of a session, joined before the store may be opened again.
struct Committing {
    session: u64,
    thread: JoinHandle<Result<(), StoreError>>,
}

/// The stable handle of the journal.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

impl Journal {
    /// A closed journal over the store in `path`.
    pub fn new(path: &Path, limits: Limits) -> Self {
        Self::with_log(path, limits, Box::new(|log| log))
    }

    /// As [`Journal::new`], with another log between committer and store: for tests that make the disk fail.
    pub fn with_log(path: &Path, limits: Limits, wrap: WrapLog) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            limits,
            session: RwLock::new(None),
            committing: Mutex::new(None),
            asked: AtomicU64::new(0),
            durable: watch::Sender::new(Sequence(0)),
            moved: RwLock::default(),
            failure: watch::Sender::new(None),
            figures: Figures::default(),
            space: Mutex::new(None),
            wrap,
            past: OnceLock::new(),
            uncut: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Over what is kept of it in `past`: without, what the tail has no more is in the store alone.
    #[must_use]
    pub fn with_past(self, past: Arc<dyn Past>) -> Self {
        // Of two the first stays: it is asked while the journal is open.
        let _ = self.shared.past.set(past);
        self
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Opens the store and starts the committer; what is open already is closed first. Blocks while the store recovers.
    ///
    /// # Errors
    /// [`StoreError`]; the journal stays closed. An earlier failed sync is final for this process.
    pub fn open(&self) -> Result<(), StoreError> {
        self.open_session(self.ask_to_open())
    }

    /// The number of a session to come, which every session asked for before gives way to.
    pub(crate) fn ask_to_open(&self) -> u64 {
        self.shared.asked.fetch_add(1, Ordering::Relaxed) + 1
    }

    #[expect(clippy::disallowed_methods, reason = "the committer is the one thread of its own: it waits for the disk")]
    pub(crate) fn open_session(&self, session: u64) -> Result<(), StoreError> {
        let mut committing = self.committing();
        if self.shared.asked.load(Ordering::Relaxed) != session {
            return Err(StoreError::Io { why: "it was asked for again, and opens for the later asker".into() });
        }
        self.end(committing.take());
        if let Some(why) = self.failure() {
            return Err(StoreError::Io { why });
        }
        std::fs::create_dir_all(&self.shared.path)?;
        let Disk { files, store, head, streams, held } =
            disk::open(&self.shared.path, self.shared.past(), self.shared.limits.segment_bytes)?;
        let committer = Committer {
            shared: self.shared.clone(),
            log: (self.shared.wrap)(Box::new(files)),
            head,
            streams,
            limits: self.shared.limits.clone(),
            moved: Vec::new(),
            scratch: committer::nothing(),
        };
        self.shared.durable.send_replace(committer.head.sequence);
        self.shared.all_moved();
        let (queue, entries): (Sender<Entry>, Receiver<Entry>) = channel();
        let closing = store.clone();
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            // A committer that panics has left waiters without an answer: that is a failure like that of the disk.
            let ended = catch_unwind(AssertUnwindSafe(|| committer.run(&entries))).unwrap_or_else(|_| {
                let why = "the committer panicked".to_owned();
                shared.fail(&why);
                Err(StoreError::Io { why })
            });
            match &ended {
                Ok(()) => {
                    if let Err(error) = held.close_cleanly(&closing) {
                        tracing::warn!(code = "journal.close", %error, "the stop could not be noted as orderly");
                    }
                }
                Err(error) => refuse_the_rest(&entries, &error.to_string()),
            }
            ended
        })?;
        *committing = Some(Committing { session, thread });
        *self.shared.session.write().unwrap_or_else(PoisonError::into_inner) = Some(Session { queue, store });
        Ok(())
    }

    /// Takes nothing more, waits until all that is queued is answered, and releases the store.
    pub fn close(&self) {
        self.end(self.committing().take());
    }

    /// Closes the journal if it is still open for `session`.
    pub(crate) fn close_session(&self, session: u64) {
        let mut committing = self.committing();
        self.end(committing.take_if(|committing| committing.session == session));
    }

    fn committing(&self) -> MutexGuard<'_, Option<Committing>> {
        self.shared.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, committing: Option<Committing>) {
        let Some(Committing { thread, .. }) = committing else { return };
        drop(self.shared.session.write().unwrap_or_else(PoisonError::into_inner).take());
        if let Ok(Err(error)) = thread.join() {
            tracing::error!(code = "journal.failed", %error, "the journal ended with an unknown outcome");
        }
    }

    /// Queues `entry`. Its `then` is called exactly once: later, on the committer's thread, or at once if the journal is closed.
    pub fn queue(&self, entry: Entry) {
        let session = self.shared.session.read().unwrap_or_else(PoisonError::into_inner);
        let refused = match session.as_ref() {
            Some(session) => session.queue.send(entry).err().map(|error| error.0),
            None => Some(entry),
        };
        drop(session);
        if let Some(entry) = refused {
            entry.refuse(self.failure().map_or(AppendError::Unavailable, |why| AppendError::Unknown { why }));
        }
    }

    /// Lets the tail forget what is signed and kept elsewhere up to `signed`: whole segments, once the store is synced. Blocks
    /// while it is, and does nothing over a journal that has no [`Past`]. What that does not have as it was stays in the tail.
    ///
    /// # Errors
    /// [`StoreError`]; a sync that failed is final for this process.
    pub fn release(&self, signed: Sequence) -> Result<(), StoreError> {
        let Some(past) = self.shared.past.get() else { return Ok(()) };
        if let Some(why) = self.failure() {
            return Err(StoreError::Io { why });
        }
        self.with_store(|store| {
            let Some(cut) = Cut::at(&self.shared.path.join(disk::TAIL), store, signed)? else { return Ok(()) };
            let kept = cut.is_in(&**past);
            let was_uncut = self.shared.uncut.swap(kept.is_err(), Ordering::Relaxed);
            match kept {
                Ok(()) => cut.off().inspect_err(|error| self.shared.fail(&error.to_string())),
                // The journal is well, and goes on with a longer tail.
                Err(error) => {
                    if !was_uncut {
                        tracing::warn!(code = "journal.not_cut", %error, "the tail grows: the tile log has not what it had");
                    }
                    Ok(())
                }
            }
        })
    }

    /// Whether a new command may be taken: asked before deciding, so that a full disk is a refusal and not a fault.
    ///
    /// # Errors
    /// [`Unwritable`], with the reason.
    pub fn writable(&self) -> Result<(), Unwritable> {
        if let Some(why) = self.failure() {
            return Err(Unwritable::Failed { why });
        }
        // Not waited for: whoever holds it alone is opening or closing, and readiness must be answered meanwhile.
        match self.shared.session.try_read() {
            Ok(session) if session.is_some() => {}
            Err(TryLockError::Poisoned(session)) if session.get_ref().is_some() => {}
            Ok(_) | Err(_) => return Err(Unwritable::Closed),
        }
        let reserve_bytes = self.shared.limits.reserve_bytes;
        match self.free_bytes() {
            Some(free_bytes) if free_bytes < reserve_bytes => Err(Unwritable::DiskFull { free_bytes, reserve_bytes }),
            // What cannot be measured is left to the write itself, which tells the truth.
            Some(_) | None => Ok(()),
        }
    }

    /// Free space on the journal's disk, a quarter of a second old at most.
    pub fn free_bytes(&self) -> Option<u64> {
        let mut space = self.shared.space.lock().unwrap_or_else(PoisonError::into_inner);
        match *space {
            Some((at, bytes)) if at.elapsed() < SPACE_MEASURED_EVERY => Some(bytes),
            _ => {
                let disk = rustix::fs::statvfs(&self.shared.path).ok()?;
                let bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
                *space = Some((Instant::now(), bytes));
                Some(bytes)
            }
        }
    }

    /// The last durable sequence, and a wake-up for each group. A reader keeps its own place and reads on from there.
    pub fn durable(&self) -> watch::Receiver<Sequence> {
        self.shared.durable.subscribe()
    }

    /// A wake-up for each group with a record of this stream in it, and for each opening.
    pub fn moved(&self, stream: &'static str) -> watch::Receiver<()> {
        let mut moved = self.shared.moved.write().unwrap_or_else(PoisonError::into_inner);
        moved.entry(stream).or_default().subscribe()
    }

    /// Why a sync failed, once one has. Final for this process.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.borrow().clone()
    }

    /// Resolves to the reason when a sync fails.
    pub fn failures(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// At most `limit` durable records from `from` on.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` while the journal is.
    pub fn read(&self, from: Sequence, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.with_store(|store| store.read(from, limit))
    }

    /// At most `limit` durable records of `stream`, of the versions from `from` to `to`. Empty when there are none left.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` while the journal is.
    pub fn read_stream(
        &self,
        stream: &str,
        from: Position,
        to: Position,
        limit: usize,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_store(|store| store.read_stream(stream, from, to, limit))
    }

    /// At most `limit` durable records from `from` on, as the bytes that they are.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` while the journal is.
    pub fn raw(&self, from: Sequence, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.with_store(|store| store.raw(from, limit))
    }

    /// Where the journal stands: all up to there is durable, and stays as it is while writes go on.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` while the journal is.
    pub fn head(&self) -> Result<Head, StoreError> {
        self.with_store(Store::head)
    }

    /// Where every stream stands.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` while the journal is.
    pub fn stream_heads(&self) -> Result<BTreeMap<String, store::StreamHead>, StoreError> {
        self.with_store(Store::stream_heads)
    }

    /// Re-reads and re-hashes every record from `from` on.
    ///
    /// # Errors
    /// `Closed` while the journal is. Damage is an answer, not an error.
    pub fn verify(&self, from: Sequence) -> Result<Verified, StoreError> {
        self.with_store(|store| Ok(verify::verify(store, from)))
    }

    fn with_store<T>(&self, read: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // The lock is held while reading, so that closing waits and the store is never open twice.
        match self.shared.session.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(session) => read(&session.store),
            None => Err(StoreError::Closed),
        }
    }
}

impl Shared {
    fn past(&self) -> &dyn Past {
        self.past.get().map_or(&past::Nothing, |past| &**past)
    }

    /// To be told once it is durable.
    fn moved(&self, streams: &[&'static str]) {
        let heard = self.moved.read().unwrap_or_else(PoisonError::into_inner);
        streams.iter().filter_map(|stream| heard.get(stream)).for_each(|heard| heard.send_replace(()));
    }

    fn all_moved(&self) {
        let heard = self.moved.read().unwrap_or_else(PoisonError::into_inner);
        heard.values().for_each(|heard| heard.send_replace(()));
    }

    fn fail(&self, why: &str) {
        self.failure.send_replace(Some(why.to_owned()));
    }
}

impl Figures {
    fn stored(&self, records: usize, bytes: usize, micros: u64) {
        let class = SYNC_BOUNDS.partition_point(|bound| *bound < micros);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syncs[class].fetch_add(1, Ordering::Relaxed);
        self.sync_micros_sum.fetch_add(micros, Ordering::Relaxed);
        self.sync_micros_last.store(micros, Ordering::Relaxed);
        self.sync_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    /// How many groups took longer; `bound` is one of [`SYNC_BOUNDS`].
    pub fn slower_than(&self, bound: Millis) -> u64 {
        let beyond = SYNC_BOUNDS.partition_point(|micros| *micros <= bound.0 * 1_000);
        self.syncs[beyond..].iter().map(|class| class.load(Ordering::Relaxed)).sum()
    }

    pub fn read(&self) -> [(&'static str, u64); 4] {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        [
            ("groups", load(&self.groups)),
            ("records", load(&self.records)),
            ("sync_micros_last", load(&self.sync_micros_last)),
            ("sync_micros_max", load(&self.sync_micros_max)),
        ]
    }
}
