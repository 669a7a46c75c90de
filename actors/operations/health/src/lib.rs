//! Health: whether the authority is up, ready or degraded, for which reasons, and what supervision decided.
//!
//! A pure [`Machine`]. What a node alone knows (its children, its disk, its clocks) comes as an observation, what became
//! of backups over a route; only changes are facts. What is refused *now* is decided from memory, beside the machine, as a
//! journal that refuses cannot record that it does.
//!
//! # Invariants
//! 1. A reason is raised once and cleared once, in turn.
//! 2. What flaps is held: each time that a reason comes back soon after it was cleared it stays for twice as long, so that
//!    one that changes with every look makes a handful of records an hour.
//! 3. A backup counts from when it was made, and only once it was verified.
//! 4. Only the authority's own parts report.

#![no_std]

extern crate alloc;

mod reason;
pub mod records;
mod vocabulary;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{CommandId, Context, Kin, Machine, Millis, Outcome, Position, Timestamp};
use serde::{Deserialize, Serialize};

pub use reason::{Code, Exit, Reason, Severity, Verdict};
pub use records::Event;
use records::{BackupMadeV1, BackupVerifiedV1, BegunV1, ChildEndedV1, ClearedV1, RaisedV1, SilenceV1, UpV1};
pub use vocabulary::*;

/// Space is low below so many times the reserve, and no longer low from [`LOW_ENDS_AT`] times on.
const LOW_BELOW: u64 = 4;
const LOW_ENDS_AT: u64 = 5;
/// More slow groups than this within a minute, and more than one in a hundred of them, are a slow journal.
const SLOW_MIN: u64 = 3;
/// A smaller step of the clock is what time services do all day.
const JUMP_MIN: Millis = Millis::seconds(5);
/// A jump is over at once; it is shown for so long.
const JUMP_SHOWN: Millis = Millis::minutes(10);
/// What comes back within this after it was cleared flaps, and is held.
const FLAP_WITHIN: Millis = Millis::minutes(10);
const HOLD_FIRST: Millis = Millis::seconds(1);
const HOLD_MAX: Millis = Millis::minutes(10);

/// Children whose ends are remembered. Part of what `evolve` means: the records have them all.
const CHILDREN_MAX: usize = 256;

/// Until when a reason that was cleared is remembered, and for how long it had been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    cleared: Timestamp,
    held: Millis,
}

/// What is known of the ends of one child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildHistory {
    /// Since the store was made.
    pub ends: u64,
    pub last: Ends,
}

/// A verified backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedBackup {
    pub backup: u64,
    pub made: Timestamp,
}

/// How the authority stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The process that began last, and whether its tree was up.
    process: Option<CommandId>,
    up: Option<Timestamp>,
    /// From here on a backup is missed.
    first_began: Option<Timestamp>,
    overdue_after: Millis,
    reasons: BTreeMap<(Code, String), Reason>,
    past: BTreeMap<(Code, String), Past>,
    children: BTreeMap<String, ChildHistory>,
    made: BTreeMap<u64, Timestamp>,
    verified: Option<VerifiedBackup>,
    missed: u64,
}

impl Machine for Health {
    const NAME: &'static str = "health";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        if cx.principal.kin != Kin::Internal {
            return Err(Refusal::NotInternal);
        }
        let at = cx.now;
        let events = match command {
            Command::Begin { process, .. } if self.process == Some(*process) => Vec::new(),
            Command::Begin { process, overdue_after } => {
                let (process, overdue_after) = (*process, *overdue_after);
                let forgotten = Timestamp(at.0.saturating_sub(FLAP_WITHIN.0));
                let mut events = vec![Event::Begun(BegunV1 { process, overdue_after, forgotten, at })];
                let first = self.first_began.unwrap_or(at);
                events.extend(self.backup_changes(self.verified, first, overdue_after, at));
                events
            }
            Command::Observe(observation) => {
                check(observation)?;
                if self.process != Some(observation.process) {
                    return Err(Refusal::NotBegun);
                }
                self.changes(observation, at)
            }
            Command::Record { ends, silence } => {
                few(ends.len())?;
                for end in ends {
                    short(&end.path, SUBJECT_MAX)?;
                    short(&end.text, TEXT_MAX)?;
                }
                let mut events: Vec<_> = ends.iter().map(ended).collect();
                if let Some(Silence { ends, missed, first, last, why }) = silence.clone() {
                    short(&why, TEXT_MAX)?;
                    events.push(Event::Silence(SilenceV1 { ends, missed, first, last, why }));
                }
                events
            }
            Command::BackupMade { backup, .. } if self.made.contains_key(backup) => Vec::new(),
            Command::BackupMade { backup, at } => vec![Event::BackupMade(BackupMadeV1 { backup: *backup, at: *at })],
            Command::BackupVerified { backup } => self.backup_verified(*backup, at),
            Command::BackupBad { backup, why } => {
                short(why, TEXT_MAX)?;
                let subject = format!("backup-{backup}");
                let raised = self.raise(Code::BackupBad, &subject, Severity::Degrades, why.clone(), at);
                raised.into_iter().collect()
            }
            Command::Due => match self.first_began {
                Some(first) => self.backup_changes(self.verified, first, self.overdue_after, at),
                None => Vec::new(),
            },
        };
        Ok(Outcome::new(events, Reply::Noted))
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event.clone() {
            Event::Begun(BegunV1 { process, overdue_after, forgotten, at }) => {
                (self.process, self.up, self.overdue_after) = (Some(process), None, overdue_after);
                self.first_began.get_or_insert(at);
                self.past.retain(|_, past| forgotten <= past.cleared);
            }
            Event::Up(UpV1 { process, at }) => {
                assert_eq!(self.process, Some(process), "only the process that began comes up");
                self.up = Some(at);
            }
            Event::Raised(RaisedV1 { code, subject, severity, detail, at, held_until }) => {
                let code = Code::from_tag(code).expect("a recorded reason has a code");
                let severity = Severity::from_tag(severity).expect("a recorded reason has a severity");
                let key = (code, subject.clone());
                let reason = Reason { code, subject, severity, detail, since: at, held_until };
                assert_eq!(self.reasons.insert(key, reason), None, "a reason is raised once");
            }
            Event::Cleared(ClearedV1 { code, subject, at }) => {
                let key = (Code::from_tag(code).expect("a recorded reason has a code"), subject);
                let reason = self.reasons.remove(&key).expect("only what was raised is cleared");
                self.past.insert(key, Past { cleared: at, held: reason.held_until - reason.since });
            }
            Event::ChildEnded(ended) => {
                let ChildEndedV1 { path, epoch, exit, text, verdict, count, first, last } = ended;
                let exit = Exit::from_tag(exit).expect("a recorded end has a kind");
                let verdict = Verdict::from_tag(verdict).expect("a recorded end has a verdict");
                let before = self.children.get(&path).map_or(0, |child| child.ends);
                let last = Ends { path: path.clone(), epoch, exit, text, verdict, count, first, last };
                self.children.insert(path, ChildHistory { ends: before + count, last });
                if CHILDREN_MAX < self.children.len() {
                    let oldest = self.children.iter().min_by_key(|(_, child)| child.last.last);
                    let oldest = oldest.map(|(path, _)| path.clone()).expect("there are some");
                    self.children.remove(&oldest);
                }
            }
            Event::Silence(SilenceV1 { missed, .. }) => self.missed += missed,
            Event::BackupMade(BackupMadeV1 { backup, at }) => {
                self.made.insert(backup, at);
            }
            Event::BackupVerified(BackupVerifiedV1 { backup, made, .. }) => {
                self.verified = Some(VerifiedBackup { backup, made });
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let known = [Code::BackupMissing, Code::BackupOverdue]
            .into_iter()
            .any(|code| self.reasons.contains_key(&(code, String::new())));
        let first = self.first_began?;
        let since = self.verified.map_or(first, |verified| verified.made);
        (!known).then_some(since + self.overdue_after)
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Due)
    }
}

impl Health {
    pub fn phase(&self) -> Phase {
        match self.reasons.values().map(|reason| reason.severity).max() {
            _ if self.up.is_none() => Phase::Startup,
            None => Phase::Ready,
            Some(Severity::Degrades) => Phase::Degraded,
            Some(Severity::Unready) => Phase::Unready,
        }
    }

    /// In the order of their codes and subjects.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        self.reasons.values()
    }

    pub fn reason(&self, code: Code, subject: &str) -> Option<&Reason> {
        self.reasons.get(&(code, subject.to_string()))
    }

    /// The verified backup that was made last.
    pub fn last_verified(&self) -> Option<VerifiedBackup> {
        self.verified
    }

    /// What is recorded of a child's ends.
    pub fn child(&self, path: &str) -> Option<&ChildHistory> {
        self.children.get(path)
    }

    /// Decisions of supervision that stand in no record.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The facts that an observation makes, none if all is as it was.
    pub fn changes(&self, seen: &Observation, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        if self.up.is_none() {
            events.push(Event::Up(UpV1 { process: seen.process, at: now }));
        }
        let (wrong, unclear) = (wrong(seen), unclear(seen));
        for ((code, subject), (severity, detail)) in &wrong {
            events.extend(self.raise(*code, subject, *severity, detail.clone(), now));
        }
        for (key @ (code, subject), reason) in &self.reasons {
            let stays = wrong.contains_key(key) || unclear.contains(code) || !code.is_observed();
            if !stays && reason.held_until <= now {
                events.push(cleared(*code, subject, now));
            }
        }
        events
    }

    /// The fact that a reason begins, unless it has.
    fn raise(&self, code: Code, subject: &str, severity: Severity, detail: String, at: Timestamp) -> Option<Event> {
        let key = (code, subject.to_string());
        if self.reasons.contains_key(&key) {
            return None;
        }
        let held = match self.past.get(&key) {
            Some(past) if at <= past.cleared + FLAP_WITHIN => Millis((past.held.0 * 2).clamp(HOLD_FIRST.0, HOLD_MAX.0)),
            Some(_) | None => Millis(0),
        };
        let held = if code == Code::ClockJumped { JUMP_SHOWN } else { held };
        let (subject, held_until) = (key.1, at + held);
        let (code, severity) = (code.tag(), severity.tag());
        Some(Event::Raised(RaisedV1 { code, subject, severity, detail, at, held_until }))
    }

    fn backup_verified(&self, backup: u64, at: Timestamp) -> Vec<Event> {
        // What was made before health kept a record of it is as old as its verification, for want of better.
        let made = self.made.get(&backup).copied().unwrap_or(at);
        let verified = VerifiedBackup { backup, made };
        let newest = self.verified.is_none_or(|known| known.made <= made);
        if !newest || self.verified == Some(verified) {
            return self.good_again(backup, at);
        }
        let mut events = vec![Event::BackupVerified(BackupVerifiedV1 { backup, made, at })];
        events.extend(self.good_again(backup, at));
        if let Some(first) = self.first_began {
            events.extend(self.backup_changes(Some(verified), first, self.overdue_after, at));
        }
        events
    }

    /// A backup that is whole makes up for those before it.
    fn good_again(&self, backup: u64, at: Timestamp) -> Vec<Event> {
        let earlier = |subject: &str| {
            let number = subject.strip_prefix("backup-").and_then(|number| number.parse::<u64>().ok());
            number.is_some_and(|number| number <= backup)
        };
        let bad = self.reasons.keys().filter(|(code, subject)| *code == Code::BackupBad && earlier(subject));
        bad.map(|(code, subject)| cleared(*code, subject, at)).collect()
    }

    /// What is to be raised or cleared if this backup were the last verified one.
    fn backup_changes(
        &self,
        verified: Option<VerifiedBackup>,
        first: Timestamp,
        overdue_after: Millis,
        at: Timestamp,
    ) -> Vec<Event> {
        let since = verified.map_or(first, |verified| verified.made);
        let code = if verified.is_some() { Code::BackupOverdue } else { Code::BackupMissing };
        let due = (since + overdue_after <= at).then_some(code);
        let mut events = Vec::new();
        for code in [Code::BackupMissing, Code::BackupOverdue] {
            let known = self.reasons.contains_key(&(code, String::new()));
            if known && due != Some(code) {
                events.push(cleared(code, "", at));
            }
        }
        if let Some(code) = due {
            let detail = verified.map(|verified| format!("backup-{}", verified.backup)).unwrap_or_default();
            events.extend(self.raise(code, "", Severity::Degrades, detail, at));
        }
        events
    }
}

/// What the observation shows to be wrong.
fn wrong(seen: &Observation) -> BTreeMap<(Code, String), (Severity, String)> {
    let mut wrong = BTreeMap::new();
    for Trouble { path, quarantined, needed, why } in &seen.children {
        let code = if *quarantined { Code::ChildQuarantined } else { Code::ChildDown };
        let severity = if *needed { Severity::Unready } else { Severity::Degrades };
        wrong.insert((code, path.clone()), (severity, why.clone()));
    }
    for machine in &seen.poisoned {
        wrong.insert((Code::MachinePoisoned, machine.clone()), (Severity::Degrades, String::new()));
    }
    let mut degrades = |code, detail| wrong.insert((code, String::new()), (Severity::Degrades, detail));
    if let Some(Disk { free, reserve }) = seen.disk
        && free < reserve.saturating_mul(LOW_BELOW)
    {
        degrades(Code::DiskLow, format!("{free} bytes are free, under {LOW_BELOW} times the reserve of {reserve}"));
    }
    if SLOW_MIN < seen.slow_appends && seen.appends < seen.slow_appends.saturating_mul(100) {
        let (slow, all) = (seen.slow_appends, seen.appends);
        degrades(Code::JournalSlow, format!("{slow} of {all} groups took over {SLOW_AFTER}"));
    }
    if JUMP_MIN <= seen.clock_jump {
        degrades(Code::ClockJumped, format!("by {} against the time that passed", seen.clock_jump));
    }
    wrong
}

/// What the observation neither raises nor clears.
fn unclear(seen: &Observation) -> BTreeSet<Code> {
    let mut unclear = BTreeSet::new();
    if seen.disk.is_none_or(|disk| disk.free < disk.reserve.saturating_mul(LOW_ENDS_AT)) {
        unclear.insert(Code::DiskLow);
    }
    if 0 < seen.slow_appends {
        unclear.insert(Code::JournalSlow);
    }
    unclear
}

fn check(seen: &Observation) -> Result<(), Refusal> {
    few(seen.children.len().max(seen.poisoned.len()))?;
    for Trouble { path, why, .. } in &seen.children {
        short(path, SUBJECT_MAX)?;
        short(why, TEXT_MAX)?;
    }
    seen.poisoned.iter().try_for_each(|machine| short(machine, SUBJECT_MAX))
}

fn ended(ends: &Ends) -> Event {
    let Ends { path, epoch, exit, text, verdict, count, first, last } = ends.clone();
    let (exit, verdict) = (exit.tag(), verdict.tag());
    Event::ChildEnded(ChildEndedV1 { path, epoch, exit, text, verdict, count, first, last })
}

fn cleared(code: Code, subject: &str, at: Timestamp) -> Event {
    Event::Cleared(ClearedV1 { code: code.tag(), subject: subject.to_string(), at })
}

fn few(count: usize) -> Result<(), Refusal> {
    if count <= AT_ONCE_MAX { Ok(()) } else { Err(Refusal::TooMany { count: count as u64, max: AT_ONCE_MAX as u64 }) }
}

fn short(text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() <= max { Ok(()) } else { Err(Refusal::TooLong { bytes: text.len() as u64, max: max as u64 }) }
}
