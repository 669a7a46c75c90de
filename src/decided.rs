//! What records say of the decisions that they rest on, and what other policies would have decided.
//!
//! # Invariants
//! 1. A recorded decision is judged by the judge's own questions ([`door::judge_again`]), from what stands in its record and
//!    from nothing else.
//! 2. What cannot be judged is counted with the reason, and never taken for the same.
//! 3. A page of a replay is bounded in time, in records looked at and in flips; the next one goes on where it ended.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use door::{Decisions, judge_again};
use journal::Journal;
use journal::codec;
use journal::envelope::{Answer, Record};
use journal::store::StoreError;
use kernel::{Asked, CommandId, Denial, Kin, Layer, Machine, Millis, Principal, Sequence, Timestamp};
use policy::{Judgement, Policies, WhyNot};

/// What was asked for this record to be; nothing where nobody asked at the door, nor in records of effects from before it
/// was kept.
pub fn asked(record: &Record) -> Option<Cow<'_, Asked>> {
    if let Some(asked) = &record.asked {
        return Some(Cow::Borrowed(asked));
    }
    event(record).and_then(|event| event.asked_before()).map(Cow::Owned)
}

/// The fact of a decision without an effect.
fn event(record: &Record) -> Option<door::Event> {
    (record.stream == Decisions::NAME).then(|| codec::fact(record).ok().flatten()).flatten()
}

/// The denial by the door that a record is of.
pub fn denied(record: &Record) -> Option<Denial> {
    match event(record)? {
        door::Event::Denied(denied) => Some(denied.denial()),
        door::Event::Answered(_) => None,
    }
}

/// What a record says that the door decided; nothing, if it is of no request, or not the first of its command.
pub fn verdict(record: &Record) -> Option<Verdict> {
    let is_asked = record.asked.is_some() || record.stream == Decisions::NAME || !record.decision.policies.is_empty();
    let principal: Principal = record.principal.parse().ok()?;
    if !is_asked || record.index != 0 || principal.kin == Kin::Internal {
        return None;
    }
    Some(match (denied(record), &record.answer) {
        (Some(denial), _) => Verdict::Denied(denial),
        (None, Answer::Refusal(_)) => Verdict::Refused,
        (None, _) => Verdict::Allowed,
    })
}

/// What the door decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// It was let in, and the machine that owns the concern refused.
    Refused,
    Denied(Denial),
}

/// The first record of a command, if it has one.
///
/// # Errors
/// [`StoreError`].
pub fn of_command(journal: &Journal, id: CommandId) -> Result<Option<Record>, StoreError> {
    // Its records cannot be much older than the id itself: the host refuses ids from the future.
    let oldest = id.made_at().map_or(Timestamp(0), |made| Timestamp(made.0.saturating_sub(Millis::minutes(2).0)));
    let mut before = journal.durable().borrow().0 + 1;
    while 1 < before {
        let from = before.saturating_sub(CHUNK as u64).max(1);
        let records = journal.read(Sequence(from), usize::try_from(before - from).unwrap_or(CHUNK))?;
        let over = records.first().is_some_and(|first| first.time < oldest);
        if let Some(found) = records.into_iter().find(|record| record.command_id == id && record.index == 0) {
            return Ok(Some(found));
        }
        if over {
            break;
        }
        before = from;
    }
    Ok(None)
}

/// Whether capability decided it, and no policy.
pub fn is_by_capability(record: &Record) -> bool {
    record.decision.policies.iter().any(|policy| policy.starts_with(CAPABILITY))
}

/// Longest that a page takes, in records looked at and in time.
const PAGE_RECORDS: u64 = 65_536;
const PAGE_TIME: Duration = Duration::from_millis(500);
/// Most flips of a page.
const PAGE_FLIPS: usize = 200;
/// Records read at once.
const CHUNK: usize = 256;

/// A decision that other policies would have made otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    pub record: Sequence,
    pub at: Timestamp,
    pub command: CommandId,
    pub principal: String,
    pub action: &'static str,
    pub resource: String,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was allowed, by these policies.
    Denied { by: Vec<String>, code: &'static str, rule: String },
    /// It was denied, by this rule; the policies that would permit it.
    Allowed { code: String, rule: String, by: Vec<String> },
}

/// How many decisions were judged again, and how many of them otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub judged: u64,
    pub flips: u64,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub looked_at: u64,
    pub by_action: BTreeMap<&'static str, Count>,
    pub flips: Vec<Flip>,
    /// Decisions that could not be judged again, by the reason.
    pub not_judged: BTreeMap<&'static str, u64>,
    /// Where to go on, if that was not all.
    pub next: Option<Sequence>,
}

impl Replayed {
    /// All actions together.
    pub fn count(&self) -> Count {
        self.by_action
            .values()
            .fold(Count::default(), |all, one| Count { judged: all.judged + one.judged, flips: all.flips + one.flips })
    }
}

/// How what decides without a policy is called in a record.
const CAPABILITY: &str = "capability:";

/// Why a recorded decision cannot be judged again.
pub const NO_REQUEST: &str = "recorded before requests were kept";
pub const NO_STANDING: &str = "recorded before the standing was kept";
pub const NO_ACTION: &str = "there is no such action any more";
pub const NO_QUESTION: &str = "the schema has no such question any more";

/// Judges the recorded decisions from `from` to `to` by `policies`, as many as a page has.
///
/// # Errors
/// [`StoreError`].
pub fn replay(journal: &Journal, policies: &Policies, from: Sequence, to: Sequence) -> Result<Replayed, StoreError> {
    let began = Instant::now();
    let mut replayed = Replayed::default();
    let mut next = from;
    while next <= to {
        let records = journal.read(next, CHUNK)?;
        let Some(last) = records.last().map(|record| record.sequence) else { break };
        for record in records.iter().take_while(|record| record.sequence <= to) {
            if PAGE_FLIPS <= replayed.flips.len() {
                replayed.next = Some(record.sequence);
                return Ok(replayed);
            }
            replayed.take(policies, record);
        }
        next = Sequence(last.0 + 1);
        if next <= to && (PAGE_RECORDS <= replayed.looked_at || PAGE_TIME <= began.elapsed()) {
            replayed.next = Some(next);
            return Ok(replayed);
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn take(&mut self, policies: &Policies, record: &Record) {
        self.looked_at += 1;
        let Some(verdict) = verdict(record) else { return };
        let before = match verdict {
            Verdict::Denied(denial) if denial.layer == Layer::Policy => Err(denial),
            // Another layer said no, and the policies were not asked, or what they said is not on record.
            Verdict::Denied(_) => return,
            Verdict::Allowed | Verdict::Refused => Ok(&record.decision.policies),
        };
        if before.is_ok() && is_by_capability(record) {
            return;
        }
        let (Some(asked), Ok(principal)) = (&record.asked, record.principal.parse::<Principal>()) else {
            let why = if record.stream == Decisions::NAME { NO_STANDING } else { NO_REQUEST };
            *self.not_judged.entry(why).or_default() += 1;
            return;
        };
        let Some(action) = policy::action(asked.action()) else {
            *self.not_judged.entry(NO_ACTION).or_default() += 1;
            return;
        };
        let Ok((judgement, why)) = judge_again(policies, &principal, asked) else {
            *self.not_judged.entry(NO_QUESTION).or_default() += 1;
            return;
        };
        let change = match (before, why) {
            (Ok(by), Some(why)) => {
                let (code, rule) = said(&judgement, &why);
                Some(Change::Denied { by: by.clone(), code, rule })
            }
            (Err(denial), None) => {
                let rule = denial.rule.unwrap_or_default();
                Some(Change::Allowed { code: denial.code, rule, by: judgement.determining })
            }
            (Ok(_), None) | (Err(_), Some(_)) => None,
        };
        let count = self.by_action.entry(action.name).or_default();
        count.judged += 1;
        if let Some(change) = change {
            count.flips += 1;
            self.flips.push(Flip {
                record: record.sequence,
                at: record.time,
                command: record.command_id,
                principal: record.principal.clone(),
                action: action.name,
                resource: asked.resource().to_owned(),
                change,
            });
        }
    }
}

/// The code that such a denial would have, and its rule.
fn said(judgement: &Judgement, why: &WhyNot) -> (&'static str, String) {
    let rule = match why {
        WhyNot::Error(error) => error.clone(),
        WhyNot::Missing(missing) => format!("it needs {missing}"),
        WhyNot::NotPermitted => "default deny".to_owned(),
        WhyNot::Forbidden => judgement.determining.join(", "),
    };
    (why.code(), rule)
}
