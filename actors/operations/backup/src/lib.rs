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

#![no_std]

extern crate alloc;

mod records;
mod vocabulary;

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;

use kernel::{Context, Kin, Machine, Outcome, Position, Timestamp};
use serde::{Deserialize, Serialize};

pub use records::{
    BROKEN, BrokenV1, CHECK_STARTED, COMPLETED, CheckStartedV1, CompletedV1, Event, FAILED, FailedV1, STARTED,
    StartedV1, VERIFIED, VerifiedV1,
};
pub use vocabulary::*;

/// Every backup that was ever asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    by_id: BTreeMap<BackupId, Backup>,
    work: Option<Work>,
}

impl Machine for Backups {
    const NAME: &'static str = "backup";
    const REVISION: u32 = 1;

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
                (_, Some(Work::Check(checked))) if checked == *backup => {
                    Ok(Outcome::already(Reply::Checking { backup: *backup }))
                }
                (_, Some(work)) => Err(Refusal::Busy { backup: work.backup() }),
                (_, None) => Ok(Outcome::new(
                    vec![Event::CheckStarted(CheckStartedV1 { backup: backup.0, at })],
                    Reply::Checking { backup: *backup },
                )),
            },
            Command::Complete { .. } | Command::Fail { .. } | Command::Confirm { .. } | Command::Reject { .. }
                if !internal =>
            {
                Err(Refusal::NotInternal)
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
                let started = Backup { id, state, started_at: at, changed_at: at, contents, why, checking: false };
                self.by_id.insert(id, started);
            }
            Event::Completed(CompletedV1 { backup, last, head, entries, bytes, manifest, directory, at }) => {
                let made = self.end(Work::Make(BackupId(backup)), State::Complete, at);
                made.contents = Some(Contents { last, head, entries, bytes, manifest, directory });
            }
            Event::Failed(FailedV1 { backup, why, at }) => {
                self.end(Work::Make(BackupId(backup)), State::Failed, at).why = Some(why);
            }
            Event::CheckStarted(CheckStartedV1 { backup, .. }) => {
                assert_eq!(self.work, None, "one backup is worked on at a time");
                self.work = Some(Work::Check(BackupId(backup)));
                let checked = self.by_id.get_mut(&BackupId(backup)).expect("only a known backup is verified");
                assert!(checked.contents.is_some(), "only what was made is verified");
                checked.checking = true;
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
        self.work
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

    fn next(&self) -> BackupId {
        BackupId(self.by_id.len() as u64 + 1)
    }

    fn find(&self, backup: BackupId) -> Result<&Backup, Refusal> {
        self.by_id.get(&backup).ok_or(Refusal::Unknown { backup })
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
