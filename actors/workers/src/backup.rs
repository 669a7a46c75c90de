//! Makes the backups that are asked for, and reads them again: the files are [`vault`]'s, the list the machine's.
//!
//! A backup ends before the record that asked for it, and rests on the first checkpoint that covers that. Both are found
//! again after a crash, so a backup that was interrupted is brought to its end by the next start.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use backup::{BackupId, Backups, Command, Contents, Drilled, Event, Keep, Reply, State, WHY_MAX, Work, clipped};
use evidence::{Evidence, LogError};
use host::{Clock, Error, Handle, Order};
use journal::archive::{self, ArchiveError};
use journal::envelope::Record;
use journal::store::{Head, StoreError};
use journal::{Journal, Unwritable, codec};
use kernel::{Decision, Digest, Machine as _, Position, Principal, Refuse as _, Sequence};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};
use vault::{Directory, Making, Older, Point, Source, Target, Upto, VaultError};

use crate::wake::{Timer, Wake, Waker};

/// Waits before asking again who is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Records read at once when looking for one.
const CHUNK: u64 = 256;

/// The longest that anything due waits for the wall clock to be looked at again, and a place that gave an error for being
/// tried again.
const TIMER_MAX: Duration = Duration::from_mins(1);

/// How often what is done by itself; none for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    pub every: Option<Duration>,
    pub verify_every: Option<Duration>,
    pub drill_every: Option<Duration>,
    pub keep: Keep,
}

/// A machine's name, with the version and the digest of its state.
pub type Digests = BTreeMap<&'static str, (Position, Digest)>;

/// The states of all machines, made from records: the composition root knows which there are.
pub trait States: Send {
    /// # Errors
    /// What cannot be replayed.
    fn replay(&mut self, record: &Record) -> Result<(), String>;

    /// # Errors
    /// If a state cannot be written down.
    fn digests(&self) -> Result<Digests, String>;
}

/// The states of what runs, or why they cannot be had.
pub type Running = Pin<Box<dyn Future<Output = Result<Digests, String>> + Send>>;

/// How a drill gets at states.
#[derive(Clone)]
pub struct Rehearsal {
    /// Before the first record.
    pub anew: fn() -> Box<dyn States>,
    pub running: Arc<dyn Fn() -> Running + Send + Sync>,
    /// Where a backup is restored for practice; nothing else is there.
    pub scratch: PathBuf,
}

/// Reaches the place where backups are kept; it may be one that cannot be reached at present.
pub type Reach = Arc<dyn Fn() -> Result<Box<dyn Target>, VaultError> + Send + Sync>;

/// Signs what a backup says of itself: the line for a text under the name of a log, if somebody signs now.
pub type Sign = Arc<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Judges that signature, of the backup by that name.
pub type Judge = Arc<dyn Fn(&Point, &str) -> Result<(), VaultError> + Send + Sync>;

/// Where backups come from and go to.
#[derive(Clone)]
pub struct Shelves {
    /// The tile log.
    pub log: PathBuf,
    /// Where backups are kept.
    pub target: Reach,
    /// Where they were kept before there was a choice.
    pub old: PathBuf,
    pub sign: Sign,
    pub judge: Judge,
}

/// What the worker works with.
#[derive(Clone)]
pub struct Archivist {
    backups: Handle<Backups>,
    journal: Journal,
    evidence: Evidence,
    clock: Clock,
    shelves: Shelves,
    schedule: Schedule,
    rehearsal: Rehearsal,
    /// Held while files are touched: the work of an incarnation that was killed goes on until it sees its flag.
    at_it: Arc<Mutex<()>>,
}

/// What came of the work.
enum Done {
    Made(Contents),
    Whole(Digest),
    Drilled(Drilled),
    Gone,
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
    /// What was restored does not come to what it should.
    #[error("{why}")]
    Differs { why: String },
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

    /// Whether it says nothing about the backup, but about the way there.
    fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Vault(VaultError::Remote { .. }))
    }

    fn code(&self) -> &'static str {
        if let Self::Vault(error) = self { error.code() } else { "backup.unread" }
    }

    /// Whether it says something about the backup, and not about the attempt to read it.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Differs { .. }
                | Self::Vault(
                    VaultError::Broken { .. }
                        | VaultError::NoBackup { .. }
                        | VaultError::Format { .. }
                        | VaultError::Signature { .. }
                        | VaultError::RevokedKey { .. }
                )
                | Self::Archive(
                    ArchiveError::Broken { .. } | ArchiveError::NoBackup { .. } | ArchiveError::Format { .. }
                )
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
        schedule: Schedule,
        rehearsal: Rehearsal,
    ) -> Self {
        let (backups, journal, evidence, clock) = (backups.clone(), journal.clone(), evidence.clone(), clock.clone());
        Self { backups, journal, evidence, clock, shelves, schedule, rehearsal, at_it: Arc::default() }
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
        let running = match work {
            Work::Drill(_) => (self.rehearsal.running)().await,
            _ => Ok(Digests::default()),
        };
        let running = match running {
            Ok(running) => running,
            Err(why) => {
                let why = clipped(&format!("what runs cannot be compared with: {why}"), WHY_MAX);
                return self.ask(Command::Miss { backup, why, broken: false }).await;
            }
        };
        let hands = self.clone();
        #[expect(clippy::disallowed_methods, reason = "files block; the flag ends it when the actor goes")]
        let done = tokio::task::spawn_blocking(move || hands.work(work, &name, all, &running, &stop)).await?;
        let command = match (work, done) {
            (_, Ok(Done::NotYet)) => return Err(Ended::Later),
            (_, Err(error)) if error.is_closed() => return Err(Ended::Later),
            (Work::Check(_), Err(why)) if why.is_elsewhere() => {
                tracing::warn!(code = why.code(), %backup, %why, "a backup cannot be read at present, which is tried again");
                return Err(Ended::InAWhile);
            }
            (_, Ok(Done::Made(contents))) => Command::Complete { backup, contents },
            (_, Ok(Done::Whole(manifest))) => Command::Confirm { backup, manifest },
            (_, Ok(Done::Drilled(drill))) => Command::Pass { backup, drill },
            (_, Ok(Done::Gone)) => Command::Removed { backup },
            (Work::Remove(_), Err(why)) => {
                tracing::warn!(code = "backup.not_removed", %backup, %why, "a backup could not be taken away, which is tried again");
                return Err(Ended::InAWhile);
            }
            (Work::Drill(_), Err(error)) => {
                let why = clipped(&error.to_string(), WHY_MAX);
                Command::Miss { backup, why, broken: error.is_damage() }
            }
            (Work::Make(_), Err(error)) => Command::Fail { backup, why: clipped(&error.to_string(), WHY_MAX) },
            (Work::Check(_), Err(error)) => Command::Reject { backup, why: clipped(&error.to_string(), WHY_MAX) },
        };
        self.ask(command).await
    }

    async fn ask(&self, command: Command) -> Result<(), Ended> {
        let order = Order {
            command,
            command_id: self.clock.command_id(),
            principal: Principal::internal("archivist"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        match self.backups.execute(order).await?.outcome {
            Ok(Reply::Ended { state: State::Broken | State::Failed, backup }) => {
                tracing::warn!(code = "backup.bad", %backup, "a backup is not to be relied on");
            }
            Ok(reply) => tracing::info!(code = "backup.done", ?reply, "done"),
            Err(refusal) => tracing::info!(code = refusal.code(), "refused: {refusal}"),
        }
        Ok(())
    }

    /// Asks for what is due, if it is idle, and says when something will be.
    async fn look_ahead(&self) -> Result<Option<Duration>, Ended> {
        let Schedule { every, verify_every, drill_every, keep } = self.schedule;
        let look = move |backups: &Backups| {
            let last_good = backups.last_good().map(|backup| backup.id);
            (backups.last_begun(), last_good, !backups.expires(keep).is_empty())
        };
        let ([made, checked, drilled], last_good, expires) = self.backups.inspect(look).await?;
        let (good, last_good) = (last_good.is_some(), last_good.unwrap_or(BackupId(0)));
        if expires {
            self.ask(Command::Retain { keep }).await?;
            return Ok(None);
        }
        let now = self.clock.now();
        let mut next: Option<Duration> = None;
        for (period, last, command) in [
            (every, made, Command::Create),
            (drill_every.filter(|_| good), drilled, Command::Drill { backup: None }),
            (verify_every.filter(|_| good), checked, Command::Verify { backup: last_good }),
        ] {
            let Some(period) = period else { continue };
            let passed = last.map_or(period, |last| Duration::from_millis((now - last).0));
            if period <= passed {
                self.ask(command).await?;
                return Ok(None);
            }
            next = next.into_iter().chain([period.saturating_sub(passed)]).min();
        }
        Ok(next)
    }

    fn work(&self, work: Work, name: &str, all: bool, running: &Digests, stop: &AtomicBool) -> Result<Done, Bad> {
        let _alone = self.at_it.lock().unwrap_or_else(PoisonError::into_inner);
        match work {
            Work::Check(_) => self.check(name, stop).map(Done::Whole),
            Work::Make(backup) => self.make(backup, all, stop),
            Work::Drill(_) => {
                let drilled = self.drill(name, running, stop);
                // What is left is taken away before the next one.
                let _ = fs::remove_dir_all(&self.rehearsal.scratch);
                drilled.map(Done::Drilled)
            }
            Work::Remove(_) if name.contains('/') => {
                vault::prune(&*(self.shelves.target)()?, name)?;
                Ok(Done::Gone)
            }
            Work::Remove(_) => match fs::remove_dir_all(self.shelves.old.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::from(error).into()),
                Ok(()) | Err(_) => Ok(Done::Gone),
            },
        }
    }

    fn make(&self, backup: BackupId, all: bool, stop: &AtomicBool) -> Result<Done, Bad> {
        let last = self.before(backup)?;
        let (checkpoint, note) = self.evidence.checkpoint()?;
        if checkpoint.size < last.sequence.0 || !self.ends_a_command(Sequence(checkpoint.size))? {
            return match self.evidence.standing().failure {
                Some(failing) => Err(Bad::NotSigned { why: failing.why }),
                None => Ok(Done::NotYet),
            };
        }
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().0);
        let created_at = humantime::format_rfc3339_millis(now).to_string();
        let asked = Making { backup: backup.0, last, sop: env!("CARGO_PKG_VERSION").to_owned(), created_at, all };
        let (files, target) = (Directory::new(&self.shelves.log), (self.shelves.target)()?);
        let minimum = self.evidence.minimum()?.map(|minimum| minimum.index);
        let older = minimum.map(|minimum| Older { journal: &self.journal, minimum });
        let (source, key) = (Source { files: &files, older }, self.evidence.public()?);
        let sign = &*self.shelves.sign;
        let made = vault::make(source, &*target, (&key, &note), &asked, sign, &mut || self.may_go_on(stop))?;
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

    /// Restores a backup beside everything, replays it and what was recorded since, and compares what comes of it with what
    /// runs.
    fn drill(&self, name: &str, running: &Digests, stop: &AtomicBool) -> Result<Drilled, Bad> {
        let scratch = &self.rehearsal.scratch;
        match fs::remove_dir_all(scratch) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::from(error).into()),
            Ok(()) | Err(_) => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(scratch).map_err(StoreError::from)?;
        let place = scratch.join("journal");
        let (manifest, head) = if name.contains('/') {
            let target = (self.shelves.target)()?;
            let restored = vault::restore(&*target, name, Upto::Backup, &place, &mut || self.may_go_on(stop))?;
            (self.shelves.judge)(&restored.checked.point, name)?;
            (restored.checked.manifest, restored.head)
        } else {
            let archive = archive::restore(&self.shelves.old.join(name), &place)?;
            (archive.manifest, archive.head)
        };
        let differs = |why: String| Bad::Differs { why };
        let mut states = (self.rehearsal.anew)();
        let restored = Journal::new(&place, journal::Limits { reserve_bytes: 0, ..journal::Limits::default() });
        restored.open()?;
        let replayed = each(&restored, Sequence(1), stop, |record| states.replay(record).map_err(differs));
        restored.close();
        replayed?;
        let then = states.digests().map_err(differs)?;
        let mut all = blake3::Hasher::new();
        for (machine, (version, digest)) in &then {
            all.update(machine.as_bytes()).update(&[0]).update(&version.0.to_be_bytes()).update(&digest.0);
        }
        each(&self.journal, Sequence(head.sequence.0 + 1), stop, |record| {
            // Those who run were asked one after the other, and each is as it was at its own version.
            let due = running.get(record.stream.as_str()).is_some_and(|(version, _)| record.version <= *version);
            if due { states.replay(record).map_err(differs) } else { Ok(()) }
        })?;
        let now = states.digests().map_err(differs)?;
        if let Some((machine, _)) = running.iter().find(|(machine, state)| now.get(*machine) != Some(*state)) {
            return Err(differs(format!("{machine} comes to another state than the one that runs")));
        }
        let state = Digest(*all.finalize().as_bytes());
        Ok(Drilled { manifest, records: head.sequence.0, machines: then.len() as u64, state })
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
            let target = (self.shelves.target)()?;
            let checked = vault::verify(&*target, name, &mut || goes_on(stop), &mut |_| Ok(()))?;
            (self.shelves.judge)(&checked.point, name)?;
            return Ok(checked.manifest);
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

/// Looks at every record from one on.
fn each(
    journal: &Journal,
    from: Sequence,
    stop: &AtomicBool,
    mut look: impl FnMut(&Record) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let mut next = from;
    loop {
        goes_on(stop).map_err(|why| VaultError::Stopped { why })?;
        let records = journal.read(next, usize::try_from(CHUNK).unwrap_or(usize::MAX))?;
        let Some(last) = records.last() else { return Ok(()) };
        next = Sequence(last.sequence.0 + 1);
        records.iter().try_for_each(&mut look)?;
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
    #[error("it cannot be done at present")]
    InAWhile,
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
    /// For what will be due.
    timer: Option<Timer>,
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
        let waker = Waker::new(archivist.journal.moved(Backups::NAME), myself);
        Ok(Working { archivist, waker, stop: Arc::default(), timer: None })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        let archivist = &working.archivist;
        let done = match archivist.backups.inspect(Backups::outstanding).await {
            Ok(None) => archivist.look_ahead().await,
            Ok(Some(work)) => archivist.run(work, working.stop.clone()).await.map(|()| None),
            Err(error) => Err(error.into()),
        };
        let wait = match done {
            Ok(next) => next.map(|next| next.clamp(AGAIN_AFTER, TIMER_MAX)),
            // The machine or the journal went away in the midst: it is outstanding still, and done again.
            Err(Ended::Host(_) | Ended::Later) => Some(AGAIN_AFTER),
            Err(Ended::InAWhile) => {
                // What is due is not kept from it.
                let _ = archivist.look_ahead().await;
                Some(TIMER_MAX)
            }
            Err(fault @ Ended::Work(_)) => return Err(fault.into()),
        };
        working.timer = wait.map(|wait| Timer::after(wait, &myself));
        Ok(())
    }
}
