//! What became of requests: of most their first record says it, of the others a closing record ([`door::Outcomes`]).
//!
//! # Invariants
//! 1. What a machine's facts begin and end is said once, here: the routes to [`door::Outcomes`] and the audit both ask.
//! 2. What became of a request is what the journal says; nothing is remembered beside it.

use std::collections::BTreeMap;

use door::Outcomes;
use door::outcomes::{Begun, Command, Ended, Event};
use journal::Journal;
use journal::codec;
use journal::envelope::Record;
use journal::store::StoreError;
use kernel::{CommandId, Kin, Machine, Position, Principal, Sequence, Timestamp};
use serde::{Deserialize, Serialize};

use crate::decided::{self, Verdict};

/// What a fact says of something that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It begins, by this action; the machine calls it so.
    Begins {
        action: &'static str,
        thing: String,
    },
    Ends {
        thing: String,
        ended: Ended,
    },
}

impl Mark {
    fn begins(action: &'static str, thing: String) -> Self {
        Self::Begins { action, thing }
    }

    fn succeeds(thing: String) -> Self {
        Self::Ends { thing, ended: Ended::Succeeded }
    }

    fn fails(thing: String, code: &str) -> Self {
        Self::Ends { thing, ended: Ended::Failed { code: code.to_owned() } }
    }
}

/// A machine whose facts begin and end what goes on.
pub trait Marks: Machine {
    fn mark(event: &Self::Event) -> Option<Mark>;
}

impl Marks for backup::Backups {
    fn mark(event: &backup::Event) -> Option<Mark> {
        use backup::Event as E;
        let making = |backup: u64| format!("backup-{backup} make");
        let checking = |backup: u64| format!("backup-{backup} verify");
        let drilling = |backup: u64| format!("backup-{backup} drill");
        Some(match event {
            E::Started(one) => Mark::begins("backup.create", making(one.backup)),
            E::Completed(one) => Mark::succeeds(making(one.backup)),
            E::Failed(one) => Mark::fails(making(one.backup), "backup.failed"),
            E::CheckStarted(one) => Mark::begins("backup.verify", checking(one.backup)),
            E::Verified(one) => Mark::succeeds(checking(one.backup)),
            E::Broken(one) => Mark::fails(checking(one.backup), "backup.broken"),
            E::DrillStarted(one) => Mark::begins("backup.drill", drilling(one.backup)),
            E::Drilled(one) => Mark::succeeds(drilling(one.backup)),
            E::DrillFailed(one) => Mark::fails(drilling(one.backup), "backup.drill_failed"),
            E::Held(_) | E::Released(_) | E::Expired(_) | E::Removed(_) | E::Archived(_) => return None,
        })
    }
}

impl Marks for gaps::Gaps {
    fn mark(event: &gaps::Event) -> Option<Mark> {
        use gaps::Event as E;
        let scan = |scan: u64| format!("scan-{scan}");
        Some(match event {
            E::ScanStarted(one) => Mark::begins("gap.scan", scan(one.scan)),
            E::ScanFinished(one) => Mark::succeeds(scan(one.scan)),
            E::ScanAbandoned(one) => Mark::fails(scan(one.scan), "gaps.scan_failed"),
            E::GapOpened(_) | E::GapReopened(_) | E::GapClosed(_) => return None,
        })
    }
}

impl Marks for retention::Retention {
    fn mark(event: &retention::Event) -> Option<Mark> {
        use retention::Event as E;
        let leaving = |minimum: u64| format!("the first {minimum}");
        Some(match event {
            E::Pruning(one) => Mark::begins("retention.prune", leaving(one.minimum)),
            E::Pruned(one) => Mark::succeeds(leaving(one.minimum)),
            E::Abandoned(one) => Mark::fails(leaving(one.minimum), "retention.abandoned"),
            E::Held(_) | E::Released(_) => return None,
        })
    }
}

impl Marks for subjects::Subjects {
    fn mark(event: &subjects::Event) -> Option<Mark> {
        use subjects::Event as E;
        Some(match event {
            E::Erasing(one) => Mark::begins("subject.erase", one.erasure.to_string()),
            E::Erased(one) => Mark::succeeds(one.erasure.to_string()),
            E::Held(_) | E::Released(_) => return None,
        })
    }
}

/// What the machine of outcomes is told of a fact. What the authority does by itself was never let in, and needs no end.
pub fn told<M: Marks>(event: &M::Event, record: &Record) -> Option<Command> {
    match M::mark(event)? {
        Mark::Begins { .. } if by_itself(record) => None,
        Mark::Begins { action, thing } => Some(Command::Begin(Begun {
            stream: M::NAME.to_owned(),
            thing,
            operation: record.command_id,
            action: action.to_owned(),
            resource: record.asked.as_ref().map_or_else(|| "*".to_owned(), |asked| asked.resource().to_owned()),
            principal: record.principal.clone(),
            at: record.time,
        })),
        Mark::Ends { thing, ended } => Some(Command::End { stream: M::NAME.to_owned(), thing, ended }),
    }
}

fn by_itself(record: &Record) -> bool {
    record.principal.parse::<Principal>().is_ok_and(|principal| principal.kin == Kin::Internal)
}

/// Whether what a record begins ends with another.
fn goes_on(record: &Record) -> bool {
    fn begins<M: Marks>(record: &Record) -> bool {
        let fact = codec::fact(record).ok().flatten();
        fact.is_some_and(|fact| matches!(M::mark(&fact), Some(Mark::Begins { .. })))
    }
    match record.stream.as_str() {
        backup::Backups::NAME => begins::<backup::Backups>(record),
        gaps::Gaps::NAME => begins::<gaps::Gaps>(record),
        retention::Retention::NAME => begins::<retention::Retention>(record),
        subjects::Subjects::NAME => begins::<subjects::Subjects>(record),
        // What is asked of it from outside is what it opens.
        Outcomes::NAME => true,
        _ => false,
    }
}

/// How it is with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was done, or answered.
    Succeeded,
    /// Nothing was done: the door denied it, or the machine refused.
    Refused,
    /// It was let in and begun, and came to nothing.
    Failed,
    /// Nobody said in time what became of it.
    Unknown,
    /// Under way.
    Open,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    pub state: State,
    /// Of what was refused or failed.
    pub code: Option<String>,
    /// When it ended, and by which record.
    pub at: Option<Timestamp>,
    pub record: Option<Sequence>,
    /// The record of the machine that ended it.
    pub cause: Option<Sequence>,
    /// It was unknown at first.
    pub corrected: bool,
    /// From when on nothing is known of it, if it does not end before.
    pub deadline: Option<Timestamp>,
}

impl Became {
    fn by(state: State, record: &Record) -> Self {
        Self {
            state,
            code: None,
            at: Some(record.time),
            record: Some(record.sequence),
            cause: None,
            corrected: false,
            deadline: None,
        }
    }

    const OPEN: Self =
        Self { state: State::Open, code: None, at: None, record: None, cause: None, corrected: false, deadline: None };
}

/// Reads what became of requests, from the newest outcome back as far as it is asked for.
pub struct Outlook {
    journal: Journal,
    /// Versions from here on were read.
    read_from: u64,
    /// The oldest record that was read.
    oldest: Sequence,
    /// By the stream and the command that began it.
    known: BTreeMap<(String, CommandId), Became>,
}

/// Records read at once.
const CHUNK: usize = 256;

impl Outlook {
    /// # Errors
    /// [`StoreError`].
    pub fn new(journal: &Journal) -> Result<Self, StoreError> {
        let last = journal.stream_heads()?.get(Outcomes::NAME).map_or(0, |head| head.version.0);
        let oldest = Sequence(u64::MAX);
        Ok(Self { journal: journal.clone(), read_from: last + 1, oldest, known: BTreeMap::new() })
    }

    /// What became of the request whose first record this is; nothing of any other record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of(&mut self, record: &Record) -> Result<Option<Became>, StoreError> {
        let Some(verdict) = decided::verdict(record) else { return Ok(None) };
        Ok(Some(match verdict {
            Verdict::Denied(denial) => Became { code: Some(denial.code), ..Became::by(State::Refused, record) },
            Verdict::Refused => Became::by(State::Refused, record),
            Verdict::Allowed if goes_on(record) => {
                self.read_back_to(record.sequence)?;
                let key = (record.stream.clone(), record.command_id);
                self.known.get(&key).cloned().unwrap_or(Became::OPEN)
            }
            Verdict::Allowed => Became::by(State::Succeeded, record),
        }))
    }

    fn read_back_to(&mut self, upto: Sequence) -> Result<(), StoreError> {
        while 1 < self.read_from && upto < self.oldest {
            let from = self.read_from.saturating_sub(CHUNK as u64).max(1);
            let records =
                self.journal.read_stream(Outcomes::NAME, Position(from), Position(self.read_from - 1), CHUNK)?;
            for record in records.iter().rev() {
                self.take(record);
            }
            self.read_from = from;
        }
        Ok(())
    }

    /// What comes later was taken before.
    fn take(&mut self, record: &Record) {
        self.oldest = record.sequence;
        match codec::fact(record).ok().flatten() {
            Some(Event::Opened(opened)) => {
                let known = self.known.entry((opened.stream, opened.operation)).or_insert(Became::OPEN);
                known.deadline = Some(opened.deadline);
            }
            Some(Event::Closed(closed)) => {
                let (state, code) = match closed.ended() {
                    Ended::Succeeded => (State::Succeeded, None),
                    Ended::Failed { code } => (State::Failed, Some(code)),
                    Ended::Unknown => (State::Unknown, None),
                };
                let became =
                    Became { code, cause: record.cause, corrected: closed.corrects, ..Became::by(state, record) };
                self.known.entry((closed.stream, closed.operation)).or_insert(became);
            }
            None => {}
        }
    }
}
