//! What the benches of durable commits share: a peer that commits in groups, fjall as one, and how long a group takes.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use journal::WrapLog;
use journal::store::{Group, Log, StoreError};
use tokio::sync::oneshot;

use crate::pairs::{Run, load};

pub const CALLERS: [usize; 4] = [1, 64, 256, 1_024];
pub const FACT_BYTES: usize = 256;
/// As many as the journal takes into one group.
const GROUP_MAX: usize = 4_096;

/// One run of one side.
pub struct Side {
    pub run: Run,
    pub per_sync: f64,
    /// What makes one group durable; the rest of a wait is spent in the queue.
    pub sync: Duration,
    pub sync_p99: Duration,
}

/// How long each group took.
#[derive(Clone, Default)]
pub struct Syncs(Arc<Mutex<Vec<Duration>>>);

impl Syncs {
    pub fn begun_at(&self, begun: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
    }

    pub fn side(&self, (run, answered): (Run, u64)) -> Side {
        let mut syncs = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        syncs.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let per_sync = answered as f64 / syncs.len() as f64;
        let (sync, sync_p99) = (syncs[syncs.len() / 2], syncs[syncs.len() * 99 / 100]);
        Side { run, per_sync, sync, sync_p99 }
    }

    /// Between the journal's committer and its log.
    pub fn of_the_journal(&self) -> WrapLog {
        struct Timed(Box<dyn Log>, Syncs);
        impl Log for Timed {
            fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
                let begun = Instant::now();
                let stored = self.0.append_group(group);
                self.1.begun_at(begun);
                stored
            }
        }
        let syncs = self.clone();
        Box::new(move |log| Box::new(Timed(log, syncs.clone())))
    }
}

/// A fresh directory on the disk that the build is on.
pub fn store() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build")
}

/// Directories that last as long as the bench. A tile log makes hundreds of files a second, and where so many were deleted a
/// moment ago some file systems are slow to make new ones: a quarter of the log's processor time went into that.
pub mod kept {
    use std::path::PathBuf;
    use std::sync::{Mutex, PoisonError};

    static KEPT: Mutex<Vec<tempfile::TempDir>> = Mutex::new(Vec::new());

    pub fn store() -> PathBuf {
        let directory = super::store();
        let path = directory.path().to_owned();
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(directory);
        path
    }

    /// Removes all of them: a static is not dropped.
    pub fn remove() {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A record, and whom to tell.
type Job = (Vec<u8>, oneshot::Sender<()>);

/// Makes a group durable.
pub trait Commit: Send + 'static {
    fn open(directory: &Path) -> Self;
    fn commit(&mut self, group: &[Vec<u8>]);
}

/// Callers hand their facts to one thread, which makes all that has gathered durable at once and acknowledges it over
/// oneshots: the least that a group commit is.
pub async fn peer<C: Commit>(callers: usize) -> Side {
    let (dir, syncs) = (store(), Syncs::default());
    let (queue, jobs): (Sender<Job>, Receiver<Job>) = channel();
    let (mut commit, timed) = (C::open(dir.path()), syncs.clone());
    #[expect(clippy::disallowed_methods, reason = "the peer's committer waits for the disk, as ours does")]
    let committer = std::thread::spawn(move || {
        while let Ok(first) = jobs.recv() {
            let gathered = std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX - 1));
            let (group, told): (Vec<_>, Vec<_>) = gathered.unzip();
            let begun = Instant::now();
            commit.commit(&group);
            timed.begun_at(begun);
            for tell in told {
                // A caller may have gone home at the end of the run.
                let _ = tell.send(());
            }
        }
    });
    let ask = move || {
        let (tell, told) = oneshot::channel();
        queue.send((vec![b'n'; FACT_BYTES], tell)).expect("the committer runs");
        async move { told.await.expect("an acknowledgement") }
    };
    let loaded = load(callers, ask).await;
    committer.join().expect("the committer ends with its queue");
    syncs.side(loaded)
}

/// fjall's own group commit: one `WriteBatch` with `SyncData`, one insert under a `u64` key each.
pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    key: u64,
}

impl Commit for Fjall {
    fn open(directory: &Path) -> Self {
        let database = Database::builder(directory).open().expect("a store");
        let keyspace = database.keyspace("records", KeyspaceCreateOptions::default).expect("a keyspace");
        Self { database, keyspace, key: 0 }
    }

    fn commit(&mut self, group: &[Vec<u8>]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for value in group {
            self.key += 1;
            batch.insert(&self.keyspace, self.key.to_be_bytes(), value.as_slice());
        }
        batch.commit().expect("a commit");
    }
}
