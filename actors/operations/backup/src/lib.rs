//! Backups: which there are, and whether they can be relied on.
//!
//! A pure [`Machine`]. It keeps the list and says what is to be done; a worker makes and reads the files and reports. A
//! backup holds what was recorded before the command that asked for it, so that a backup never holds its own making, and
//! making it again after a crash gives the same one.
//!
//! # Invariants
//! 1. Backups count from 1 without gaps in the numbers; a number is never used again.
//! 2. One backup is made or verified at a time.
//! 3. A backup that was made keeps its contents; verified it is only by the manifest it was made with.
//! 4. Only the authority's own worker reports.
//! 5. What is held, worked on, the archive of what has left the tile log, or the newest good one is not let go of.

#![no_std]

extern crate alloc;

mod keep;
mod records;
mod vocabulary;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Kin, Machine, Outcome, Position, Timestamp};
use serde::{Deserialize, Serialize};

pub use records::{
    ARCHIVED, ArchivedV1, BROKEN, BrokenV1, CHECK_STARTED, COMPLETED, CheckStartedV1, CompletedV1, DRILL_FAILED,
    DRILL_STARTED, DRILLED, DrillFailedV1, DrillStartedV1, DrilledV1, EXPIRED, Event, ExpiredV1, FAILED, FailedV1,
    HELD, HeldV1, RELEASED, REMOVED, ReleasedV1, RemovedV1, STARTED, StartedV1, VERIFIED, VerifiedV1,
};
pub use vocabulary::*;

/// Every backup that was ever asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    by_id: BTreeMap<BackupId, Backup>,
    work: Option<Work>,
    /// Let go of, and not taken away yet.
    expired: BTreeSet<BackupId>,
    /// When a verification or a drill was last begun.
    checked_at: Option<Timestamp>,
    drilled_at: Option<Timestamp>,
    /// The archive of what has left the tile log, and the last record of that.
    archive: Option<(BackupId, u64)>,
}

impl Machine for Backups {
    const NAME: &'static str = "backup";
    const REVISION: u32 = 3;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (at, internal) = (cx.now, cx.principal.kin == Kin::Internal);
        match command {
            Command::Create => {
                if let Some(work) = self.work {
                    return Err(Refusal::Busy { backup: work.backup() });
                }
                let backup = self.next();
                let started = Event::Started(StartedV1 { backup: backup.0, at });
                Ok(Outcome::new(vec![started], Reply::Started { backup }))
            }
            Command::Verify { backup } => match (self.find(*backup)?.state, self.work) {
                (State::Failed, _) => Err(Refusal::NotMade { backup: *backup }),
                (State::Expired, _) => Err(Refusal::Expired { backup: *backup }),
                (_, Some(Work::Check(checked))) if checked == *backup => {
                    Ok(Outcome::already(Reply::Checking { backup: *backup }))
                }
                (_, Some(work)) => Err(Refusal::Busy { backup: work.backup() }),
                (_, None) => Ok(Outcome::new(
                    vec![Event::CheckStarted(CheckStartedV1 { backup: backup.0, at })],
                    Reply::Checking { backup: *backup },
                )),
            },
            Command::Drill { backup } => {
                let named = backup.or_else(|| self.last_good().map(|backup| backup.id));
                let backup = named.ok_or(Refusal::NoneGood)?;
                match (self.find(backup)?.state, self.work) {
                    (State::Failed, _) => Err(Refusal::NotMade { backup }),
                    (State::Expired, _) => Err(Refusal::Expired { backup }),
                    (_, Some(Work::Drill(drilled))) if drilled == backup => {
                        Ok(Outcome::already(Reply::Drilling { backup }))
                    }
                    (_, Some(work)) => Err(Refusal::Busy { backup: work.backup() }),
                    (_, None) => {
                        let started = Event::DrillStarted(DrillStartedV1 { backup: backup.0, at });
                        Ok(Outcome::new(vec![started], Reply::Drilling { backup }))
                    }
                }
            }
            Command::Hold { backup, reason } => {
                let found = self.find(*backup)?;
                short(reason, WHY_MAX)?;
                match (found.state, &found.held) {
                    (State::Expired, _) => Err(Refusal::Expired { backup: *backup }),
                    (_, Some(held)) if held == reason => Ok(Outcome::already(Reply::Held { backup: *backup })),
                    _ => {
                        let held = Event::Held(HeldV1 { backup: backup.0, reason: reason.clone(), at });
                        Ok(Outcome::new(vec![held], Reply::Held { backup: *backup }))
                    }
                }
            }
            Command::Release { backup } => {
                if self.find(*backup)?.held.is_none() {
                    return Ok(Outcome::already(Reply::Released { backup: *backup }));
                }
                let released = Event::Released(ReleasedV1 { backup: backup.0, at });
                Ok(Outcome::new(vec![released], Reply::Released { backup: *backup }))
            }
            Command::Complete { .. }
            | Command::Fail { .. }
            | Command::Confirm { .. }
            | Command::Reject { .. }
            | Command::Pass { .. }
            | Command::Miss { .. }
            | Command::Retain { .. }
            | Command::Removed { .. }
            | Command::Archive { .. }
                if !internal =>
            {
                Err(Refusal::NotInternal)
            }
            Command::Retain { keep } => {
                let expired = self.expires(*keep);
                let reply = Reply::Retained { expired: expired.len() as u64 };
                let event = |backup: &BackupId| Event::Expired(ExpiredV1 { backup: backup.0, at });
                Ok(Outcome::new(expired.iter().map(event).collect(), reply))
            }
            Command::Removed { backup } => {
                if !self.expired.contains(backup) {
                    return Err(Refusal::NotAwaited { backup: *backup });
                }
                let removed = Event::Removed(RemovedV1 { backup: backup.0, at });
                Ok(Outcome::new(vec![removed], Reply::Removed { backup: *backup }))
            }
            Command::Archive { backup, last } => {
                let found = self.find(*backup)?;
                let has = found.contents.as_ref().is_some_and(|contents| *last <= contents.last);
                match self.archive {
                    Some(known) if known == (*backup, *last) => {
                        Ok(Outcome::already(Reply::Archived { backup: *backup }))
                    }
                    known
                        if found.state != State::Verified || !has || known.is_some_and(|(_, known)| *last < known) =>
                    {
                        Err(Refusal::NoArchive { backup: *backup, last: *last })
                    }
                    _ => {
                        let archived = Event::Archived(ArchivedV1 { backup: backup.0, last: *last, at });
                        Ok(Outcome::new(vec![archived], Reply::Archived { backup: *backup }))
                    }
                }
            }
            Command::Pass { backup, drill } => {
                self.awaits(Work::Drill(*backup))?;
                let made = self.find(*backup)?.contents.as_ref().map(|contents| contents.manifest);
                let Drilled { manifest, records, machines, state } = *drill;
                if made == Some(manifest) {
                    let passed = DrilledV1 { backup: backup.0, manifest, records, machines, state, at };
                    return Ok(ended(Event::Drilled(passed), *backup, State::Verified));
                }
                let why = "it is whole, but its manifest is not the one it was made with".to_string();
                let failed = DrillFailedV1 { backup: backup.0, why, broken: true, at };
                Ok(ended(Event::DrillFailed(failed), *backup, State::Broken))
            }
            Command::Miss { backup, why, broken } => {
                self.awaits(Work::Drill(*backup))?;
                short(why, WHY_MAX)?;
                let state = if *broken { State::Broken } else { self.find(*backup)?.state };
                let failed = DrillFailedV1 { backup: backup.0, why: why.clone(), broken: *broken, at };
                Ok(ended(Event::DrillFailed(failed), *backup, state))
            }
            Command::Complete { backup, contents } => {
                self.awaits(Work::Make(*backup))?;
                short(&contents.directory, DIRECTORY_MAX)?;
                let Contents { last, head, entries, bytes, manifest, directory } = contents.clone();
                let completed = CompletedV1 { backup: backup.0, last, head, entries, bytes, manifest, directory, at };
                Ok(ended(Event::Completed(completed), *backup, State::Complete))
            }
            Command::Fail { backup, why } => {
                self.awaits(Work::Make(*backup))?;
                short(why, WHY_MAX)?;
                let failed = FailedV1 { backup: backup.0, why: why.clone(), at };
                Ok(ended(Event::Failed(failed), *backup, State::Failed))
            }
            Command::Confirm { backup, manifest } => {
                self.awaits(Work::Check(*backup))?;
                let made = self.find(*backup)?.contents.as_ref().map(|contents| contents.manifest);
                if made == Some(*manifest) {
                    let verified = VerifiedV1 { backup: backup.0, manifest: *manifest, at };
                    Ok(ended(Event::Verified(verified), *backup, State::Verified))
                } else {
                    // Whole, but not what was made: somebody wrote it anew.
                    let why = "it is whole, but its manifest is not the one it was made with".to_string();
                    Ok(ended(Event::Broken(BrokenV1 { backup: backup.0, why, at }), *backup, State::Broken))
                }
            }
            Command::Reject { backup, why } => {
                self.awaits(Work::Check(*backup))?;
                short(why, WHY_MAX)?;
                let broken = BrokenV1 { backup: backup.0, why: why.clone(), at };
                Ok(ended(Event::Broken(broken), *backup, State::Broken))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event.clone() {
            Event::Started(StartedV1 { backup, at }) => {
                assert_eq!(self.work, None, "one backup is worked on at a time");
                let id = BackupId(backup);
                assert_eq!(id, self.next(), "backups are numbered without a gap");
                self.work = Some(Work::Make(id));
                let (state, contents, why) = (State::Running, None, None);
                let (checking, drill, held) = (false, None, None);
                let started =
                    Backup { id, state, started_at: at, changed_at: at, contents, why, checking, drill, held };
                self.by_id.insert(id, started);
            }
            Event::Completed(CompletedV1 { backup, last, head, entries, bytes, manifest, directory, at }) => {
                let made = self.end(Work::Make(BackupId(backup)), State::Complete, at);
                made.contents = Some(Contents { last, head, entries, bytes, manifest, directory });
            }
            Event::Failed(FailedV1 { backup, why, at }) => {
                self.end(Work::Make(BackupId(backup)), State::Failed, at).why = Some(why);
            }
            Event::CheckStarted(CheckStartedV1 { backup, at }) => {
                self.checked_at = Some(at);
                self.begin(Work::Check(BackupId(backup)));
            }
            Event::DrillStarted(DrillStartedV1 { backup, at }) => {
                self.drilled_at = Some(at);
                self.begin(Work::Drill(BackupId(backup)));
            }
            Event::Drilled(DrilledV1 { backup, manifest, records, machines, state, at }) => {
                let drilled = self.end(Work::Drill(BackupId(backup)), State::Verified, at);
                drilled.why = None;
                let found = Some(Drilled { manifest, records, machines, state });
                drilled.drill = Some(Drill { at, found, why: None });
            }
            Event::DrillFailed(DrillFailedV1 { backup, why, broken, at }) => {
                let known = self.known(backup);
                let (state, changed_at) = if broken { (State::Broken, at) } else { (known.state, known.changed_at) };
                let drilled = self.end(Work::Drill(BackupId(backup)), state, changed_at);
                drilled.drill = Some(Drill { at, found: None, why: Some(why.clone()) });
                if broken {
                    drilled.why = Some(why);
                }
            }
            Event::Held(HeldV1 { backup, reason, .. }) => self.known(backup).held = Some(reason),
            Event::Released(ReleasedV1 { backup, .. }) => self.known(backup).held = None,
            Event::Expired(ExpiredV1 { backup, at }) => {
                assert!(!self.is_archive(BackupId(backup)), "an archive is not let go of");
                let known = self.known(backup);
                assert_eq!(known.held, None, "what is held is not let go of");
                (known.state, known.changed_at, known.why) = (State::Expired, at, None);
                self.expired.insert(BackupId(backup));
            }
            Event::Removed(RemovedV1 { backup, .. }) => {
                let there = self.expired.remove(&BackupId(backup));
                assert!(there, "only what was let go of is taken away");
            }
            Event::Archived(ArchivedV1 { backup, last, .. }) => {
                let id = BackupId(backup);
                assert!(!self.expired.contains(&id), "what was let go of is no archive");
                assert!(
                    self.archive.is_none_or(|(_, known)| known <= last),
                    "what has left the log does not come back"
                );
                self.archive = Some((id, last));
            }
            Event::Verified(VerifiedV1 { backup, at, .. }) => {
                self.end(Work::Check(BackupId(backup)), State::Verified, at).why = None;
            }
            Event::Broken(BrokenV1 { backup, why, at }) => {
                self.end(Work::Check(BackupId(backup)), State::Broken, at).why = Some(why);
            }
        }
    }
}

impl Backups {
    /// In the order of their numbers.
    pub fn list(&self) -> impl DoubleEndedIterator<Item = &Backup> {
        self.by_id.values()
    }

    pub fn show(&self, backup: BackupId) -> Option<&Backup> {
        self.by_id.get(&backup)
    }

    /// What is to be done.
    pub fn outstanding(&self) -> Option<Work> {
        self.work.or_else(|| self.expired.first().copied().map(Work::Remove))
    }

    /// When one was last asked for, when one was last begun to be verified, and when one to be restored for practice; each
    /// of them none if it never was.
    pub fn last_begun(&self) -> [Option<Timestamp>; 3] {
        let asked = self.list().next_back().map(|backup| backup.started_at);
        [asked, self.checked_at.max(self.drilled_at), self.drilled_at]
    }

    /// What need not be kept.
    pub fn expires(&self, keep: Keep) -> BTreeSet<BackupId> {
        let good = |backup: &&Backup| matches!(backup.state, State::Complete | State::Verified);
        let Some(last) = self.last_good() else { return BTreeSet::new() };
        let newest_first: Vec<_> = self.list().rev().filter(good).map(|one| (one.id, one.started_at)).collect();
        let kept = keep::kept(&newest_first, keep);
        let Some(kept) = kept else { return BTreeSet::new() };
        let let_go = self.list().filter(|backup| {
            let one = good(backup) || backup.state == State::Broken && backup.id < last.id;
            let stays = kept.contains(&backup.id) || backup.id == last.id || self.is_archive(backup.id);
            one && backup.held.is_none() && !stays
        });
        let worked_on = self.work.map(Work::backup);
        let_go.map(|backup| backup.id).filter(|backup| Some(*backup) != worked_on).collect()
    }

    /// The archive of what has left the tile log, and the last record of that.
    pub fn archive(&self) -> Option<(BackupId, u64)> {
        self.archive
    }

    /// The newest one that was whole when it was last read.
    pub fn last_verified(&self) -> Option<&Backup> {
        self.list().rev().find(|backup| backup.state == State::Verified)
    }

    /// The newest backup of which nothing bad is known.
    pub fn last_good(&self) -> Option<&Backup> {
        self.list().rev().find(|backup| matches!(backup.state, State::Complete | State::Verified))
    }

    /// Whether the last one that was read again was broken: what it shares with others may have to be written anew.
    pub fn is_in_doubt(&self) -> bool {
        let read = self.list().filter(|backup| matches!(backup.state, State::Verified | State::Broken));
        read.max_by_key(|backup| backup.changed_at).is_some_and(|backup| backup.state == State::Broken)
    }

    fn is_archive(&self, backup: BackupId) -> bool {
        self.archive.is_some_and(|(archive, _)| archive == backup)
    }

    fn next(&self) -> BackupId {
        BackupId(self.by_id.len() as u64 + 1)
    }

    fn find(&self, backup: BackupId) -> Result<&Backup, Refusal> {
        self.by_id.get(&backup).ok_or(Refusal::Unknown { backup })
    }

    fn known(&mut self, backup: u64) -> &mut Backup {
        self.by_id.get_mut(&BackupId(backup)).expect("only of a known backup something happens")
    }

    fn begin(&mut self, work: Work) {
        assert_eq!(self.work.replace(work), None, "one backup is worked on at a time");
        let known = self.known(work.backup().0);
        assert!(known.contents.is_some(), "only what was made is read again");
        known.checking = true;
    }

    fn awaits(&self, work: Work) -> Result<(), Refusal> {
        self.find(work.backup())?;
        if self.work == Some(work) { Ok(()) } else { Err(Refusal::NotAwaited { backup: work.backup() }) }
    }

    fn end(&mut self, work: Work, state: State, at: Timestamp) -> &mut Backup {
        assert_eq!(self.work.take(), Some(work), "only what is worked on ends");
        let backup = self.by_id.get_mut(&work.backup()).expect("what is worked on is known");
        (backup.state, backup.changed_at, backup.checking) = (state, at, false);
        backup
    }
}

fn ended(event: Event, backup: BackupId, state: State) -> Outcome<Backups> {
    Outcome::new(vec![event], Reply::Ended { backup, state })
}

fn short(text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() <= max { Ok(()) } else { Err(Refusal::TooLong { bytes: text.len() as u64, max: max as u64 }) }
}
