//! Makes the backups that are asked for, and reads them again: the files are [`vault`]'s, the list the machine's.
//!
//! A backup ends before the record that asked for it, and rests on the first checkpoint that covers that. Both are found
//! again after a crash, so a backup that was interrupted is brought to its end by the next start.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use backup::{BackupId, Backups, Command, Contents, Event, Reply, State, WHY_MAX, Work, clipped};
use evidence::{Evidence, LogError};
use host::{Clock, Error, Handle, Order};
use journal::archive::{self, ArchiveError};
use journal::store::{Head, StoreError};
use journal::{Journal, Unwritable, codec};
use kernel::{Decision, Digest, Machine as _, Position, Principal, Refuse as _, Sequence};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};
use vault::{Directory, Making, VaultError};

use crate::wake::{Wake, Waker};

/// Waits before asking again who is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Records read at once when looking for one.
const CHUNK: u64 = 256;

/// Where backups come from and go to.
#[derive(Clone, Debug)]
pub struct Shelves {
    /// The tile log.
    pub log: PathBuf,
    /// Where backups are kept.
    pub target: PathBuf,
    /// Where they were kept before there was a choice.
    pub old: PathBuf,
}

/// What the worker works with.
#[derive(Clone)]
pub struct Archivist {
    backups: Handle<Backups>,
    journal: Journal,
    evidence: Evidence,
    clock: Clock,
    shelves: Shelves,
    /// Held while files are touched: the work of an incarnation that was killed goes on until it sees its flag.
    at_it: Arc<Mutex<()>>,
}

/// What came of the work.
enum Done {
    Made(Contents),
    Whole(Digest),
    /// Nothing that was signed covers it yet.
    NotYet,
}

/// Why a backup is none.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Of the first format.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the tile log cannot be written: {why}")]
    NotSigned { why: String },
}

impl From<StoreError> for Bad {
    fn from(error: StoreError) -> Self {
        Self::Vault(error.into())
    }
}

impl Bad {
    /// Whether everything is about to be restarted, and then it is done again.
    fn is_closed(&self) -> bool {
        matches!(
            self,
            Self::Vault(VaultError::Journal(StoreError::Closed))
                | Self::Archive(ArchiveError::Store(StoreError::Closed))
                | Self::Log(LogError::Journal(StoreError::Closed))
        )
    }
}

impl Archivist {
    pub fn new(
        backups: &Handle<Backups>,
        journal: &Journal,
        evidence: &Evidence,
        clock: &Clock,
        shelves: Shelves,
    ) -> Self {
        let (backups, journal, evidence, clock) = (backups.clone(), journal.clone(), evidence.clone(), clock.clone());
        Self { backups, journal, evidence, clock, shelves, at_it: Arc::default() }
    }

    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("archivist");
        Child::actor::<Archiving, _>(&reference, move || (Archiving, self.clone()))
    }

    async fn run(&self, work: Work, stop: Arc<AtomicBool>) -> Result<(), Ended> {
        let backup = work.backup();
        let look = move |backups: &Backups| {
            let made = backups.show(backup).and_then(|backup| backup.contents.as_ref());
            (backups.is_in_doubt(), made.map(|made| made.directory.clone()))
        };
        let (all, name) = self.backups.inspect(look).await?;
        let name = name.unwrap_or_default();
        let hands = self.clone();
        #[expect(clippy::disallowed_methods, reason = "files block; the flag ends it when the actor goes")]
        let done = tokio::task::spawn_blocking(move || hands.work(work, &name, all, &stop)).await?;
        let command = match (work, done) {
            (_, Ok(Done::NotYet)) => return Err(Ended::Later),
            (_, Err(error)) if error.is_closed() => return Err(Ended::Later),
            (_, Ok(Done::Made(contents))) => Command::Complete { backup, contents },
            (_, Ok(Done::Whole(manifest))) => Command::Confirm { backup, manifest },
            (Work::Make(_), Err(error)) => Command::Fail { backup, why: clipped(&error.to_string(), WHY_MAX) },
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

    fn work(&self, work: Work, name: &str, all: bool, stop: &AtomicBool) -> Result<Done, Bad> {
        let _alone = self.at_it.lock().unwrap_or_else(PoisonError::into_inner);
        match work {
            Work::Check(_) => self.check(name, stop).map(Done::Whole),
            Work::Make(backup) => self.make(backup, all, stop),
        }
    }

    fn make(&self, backup: BackupId, all: bool, stop: &AtomicBool) -> Result<Done, Bad> {
        let last = self.before(backup)?;
        let (checkpoint, note) = self.evidence.checkpoint()?;
        if checkpoint.size < last.sequence.0 || !self.ends_a_command(Sequence(checkpoint.size))? {
            return match self.evidence.standing().failure {
                Some(why) => Err(Bad::NotSigned { why }),
                None => Ok(Done::NotYet),
            };
        }
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().0);
        let created_at = humantime::format_rfc3339_millis(now).to_string();
        let asked = Making { backup: backup.0, last, sop: env!("CARGO_PKG_VERSION").to_owned(), created_at, all };
        let (source, target) = (Directory::new(&self.shelves.log), Directory::new(&self.shelves.target));
        let key = self.evidence.public()?;
        let made = vault::make(&source, &target, (&key, &note), &asked, &mut || self.may_go_on(stop))?;
        let vault::Made { point, manifest, name, mended } = made;
        if mended != 0 {
            tracing::warn!(code = "backup.mended", %backup, mended, "files of earlier backups were damaged, and are written anew");
        }
        tracing::info!(code = "backup.copied", %backup, bytes = point.copied, of = point.bytes, "the backup is in its place");
        Ok(Done::Made(Contents {
            last: last.sequence.0,
            head: last.link,
            entries: last.sequence.0,
            bytes: point.bytes,
            manifest,
            directory: name,
        }))
    }

    /// Whoever restores all that was signed finds whole commands only.
    fn ends_a_command(&self, at: Sequence) -> Result<bool, StoreError> {
        Ok(self.journal.read(at, 1)?.first().is_some_and(|record| record.count <= record.index + 1))
    }

    /// A backup leaves the journal the space that is kept for it.
    fn may_go_on(&self, stop: &AtomicBool) -> Result<(), String> {
        goes_on(stop)?;
        match self.journal.writable() {
            Err(full @ Unwritable::DiskFull { .. }) => Err(full.to_string()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn check(&self, name: &str, stop: &AtomicBool) -> Result<Digest, Bad> {
        if name.contains('/') {
            let target = Directory::new(&self.shelves.target);
            return Ok(vault::verify(&target, name, &mut || goes_on(stop), &mut |_| Ok(()))?.manifest);
        }
        // A directory of its own, as an earlier release made it.
        Ok(archive::verify_while(&self.shelves.old.join(name), || goes_on(stop))?.manifest)
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
