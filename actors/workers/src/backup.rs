//! Makes the backups that are asked for, and reads them again: the files are [`journal::archive`]'s, the list the machine's.
//!
//! A backup ends before the record that asked for it. That place is in the journal, so a backup that a crash interrupted is
//! made again as the same one, and what a restore starts from has no backup outstanding.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use backup::{BackupId, Backups, Command, Contents, Event, Reply, State, WHY_MAX, Work, clipped};
use host::{Clock, Error, Handle, Order};
use journal::archive::{self, About, Archive, ArchiveError};
use journal::store::{Head, StoreError};
use journal::{Journal, Unwritable, codec};
use kernel::{Decision, Machine as _, Position, Principal, Refuse as _, Sequence};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};

use crate::wake::{Wake, Waker};

/// Waits before asking again who is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Records read at once when looking for one.
const CHUNK: u64 = 256;

/// What the worker works with.
#[derive(Clone)]
pub struct Archivist {
    backups: Handle<Backups>,
    journal: Journal,
    clock: Clock,
    /// Each backup is a directory in it.
    place: PathBuf,
    /// Held while files are touched: the work of an incarnation that was killed goes on until it sees its flag.
    at_it: Arc<Mutex<()>>,
}

impl Archivist {
    pub fn new(backups: &Handle<Backups>, journal: &Journal, clock: &Clock, place: &Path) -> Self {
        let (backups, journal, clock) = (backups.clone(), journal.clone(), clock.clone());
        Self { backups, journal, clock, place: place.to_owned(), at_it: Arc::default() }
    }

    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("archivist");
        Child::actor::<Archiving, _>(&reference, move || (Archiving, self.clone()))
    }

    async fn run(&self, work: Work, stop: Arc<AtomicBool>) -> Result<(), Ended> {
        let backup = work.backup();
        let hands = self.clone();
        #[expect(clippy::disallowed_methods, reason = "files block; the flag ends it when the actor goes")]
        let done = tokio::task::spawn_blocking(move || hands.work(work, &stop)).await?;
        let command = match (work, done) {
            // Everything is about to be restarted, and then it is done again.
            (_, Err(ArchiveError::Store(StoreError::Closed))) => return Err(Ended::Later),
            (Work::Make(_), Ok(archive)) => Command::Complete { backup, contents: contents(backup, archive) },
            (Work::Make(_), Err(error)) => Command::Fail { backup, why: clipped(&error.to_string(), WHY_MAX) },
            (Work::Check(_), Ok(archive)) => Command::Confirm { backup, manifest: archive.manifest },
            (Work::Check(_), Err(error)) => Command::Reject { backup, why: clipped(&error.to_string(), WHY_MAX) },
        };
        let order = Order {
            command,
            command_id: self.clock.command_id(),
            principal: Principal::internal("archivist"),
            decision: Decision::default(),
            cause: None,
        };
        match self.backups.execute(order).await?.outcome {
            Ok(Reply::Ended { state: state @ (State::Complete | State::Verified), .. }) => {
                tracing::info!(code = "backup.done", %backup, ?state, "a backup is whole");
            }
            Ok(reply) => tracing::warn!(code = "backup.bad", %backup, ?reply, "a backup is not to be relied on"),
            // It was reported before a crash that took the answer.
            Err(refusal) => tracing::info!(code = refusal.code(), %backup, "refused: {refusal}"),
        }
        Ok(())
    }

    fn work(&self, work: Work, stop: &AtomicBool) -> Result<Archive, ArchiveError> {
        let _alone = self.at_it.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place.join(work.backup().to_string());
        match work {
            Work::Check(_) => archive::verify_while(&place, || goes_on(stop)),
            Work::Make(backup) => {
                let head = self.before(backup)?;
                let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().0);
                let created_at = humantime::format_rfc3339_millis(now).to_string();
                let about = About { sop: env!("CARGO_PKG_VERSION").to_owned(), created_at };
                archive::write(&self.journal, head, &place, &about, || self.may_go_on(stop))
            }
        }
    }

    /// A backup leaves the journal the space that is kept for it.
    fn may_go_on(&self, stop: &AtomicBool) -> Result<(), String> {
        goes_on(stop)?;
        match self.journal.writable() {
            Err(full @ Unwritable::DiskFull { .. }) => Err(full.to_string()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Where the journal stood before the backup was asked for.
    fn before(&self, backup: BackupId) -> Result<Head, StoreError> {
        let mut before = self.journal.stream_heads()?.get(Backups::NAME).map_or(0, |head| head.version.0);
        while 0 < before {
            let from = before.saturating_sub(CHUNK - 1).max(1);
            let (first, last) = (Position(from), Position(before));
            for record in self.journal.read_stream(Backups::NAME, first, last, usize::MAX)?.into_iter().rev() {
                if let Ok(Some(Event::Started(started))) = codec::fact(&record)
                    && started.backup == backup.0
                {
                    return Ok(Head { sequence: Sequence(record.sequence.0 - 1), link: record.previous });
                }
            }
            before = from - 1;
        }
        Err(StoreError::Damaged { what: format!("nothing asks for {backup}") })
    }
}

fn goes_on(stop: &AtomicBool) -> Result<(), String> {
    if stop.load(Ordering::Relaxed) { Err("its worker ended".to_owned()) } else { Ok(()) }
}

fn contents(backup: BackupId, archive: Archive) -> Contents {
    let Archive { head, entries, bytes, manifest, .. } = archive;
    Contents { last: head.sequence.0, head: head.link, entries, bytes, manifest, directory: backup.to_string() }
}

/// Why a backup was not brought to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the journal is closed")]
    Later,
    #[error(transparent)]
    Host(#[from] Error),
    #[error("the work panicked: {0}")]
    Work(#[from] tokio::task::JoinError),
}

struct Archiving;

struct Working {
    archivist: Archivist,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Actor for Archiving {
    type Msg = Wake;
    type State = Working;
    type Arguments = Archivist;

    async fn pre_start(&self, myself: ActorRef<Wake>, archivist: Archivist) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(&archivist.journal, myself);
        Ok(Working { archivist, waker, stop: Arc::default() })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        let done = match working.archivist.backups.inspect(Backups::outstanding).await {
            Ok(None) => Ok(()),
            Ok(Some(work)) => working.archivist.run(work, working.stop.clone()).await,
            Err(error) => Err(error.into()),
        };
        match done {
            Ok(()) => {}
            // The machine or the journal went away in the midst: it is outstanding still, and done again.
            Err(Ended::Host(_) | Ended::Later) => {
                myself.send_after(AGAIN_AFTER, || Wake);
            }
            Err(fault @ Ended::Work(_)) => return Err(fault.into()),
        }
        Ok(())
    }
}
