//! Retention: what holds records in the tile log, and which have left it.
//!
//! A pure [`Machine`]. How old records are and which of them is whose is worked out by whoever has them, from the classes
//! that are configured and the holds that are here; a plan that was worked out under other holds is refused. What is to
//! leave the log is put on record first; then a worker looks once more and takes it away; then that is on record.
//!
//! # Invariants
//! 1. Nothing is asked to leave the log while there is a hold on it, or one that the plan did not know of.
//! 2. The minimum grows, bundle by bundle, and one pruning at a time.
//! 3. Each pruning names the backup that has what left.
//! 4. Only the authority's own worker says what became of one.
//! 5. What an incident holds is held and released by the incident alone.

#![no_std]

extern crate alloc;

mod class;
pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;

use kernel::{Context, Kin, Machine, Outcome, Position, Principal};
use serde::{Deserialize, Serialize};

pub use class::Class;
use records::{AbandonedV1, HeldV1, PrunedV1, PruningV1, ReleasedV1};
pub use vocabulary::*;

/// The holds there are, and how far the log was pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    holds: BTreeMap<String, Hold>,
    changes: u64,
    /// The last that was done.
    done: Option<Pruning>,
    outstanding: Option<Pruning>,
    ended: Option<Ended>,
}

impl Machine for Retention {
    const NAME: &'static str = "retention";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (by, at, internal) = (cx.principal.to_string(), cx.now, cx.principal.kin == Kin::Internal);
        match command {
            Command::Hold { name, .. } if !is_name(name) => Err(Refusal::BadName),
            Command::Hold { name, .. } if name.starts_with(OF_INCIDENT) && !internal => Err(Refusal::OfIncident),
            Command::Hold { reason, .. } if reason.is_longer_than(REASON_MAX) => Err(Refusal::ReasonTooLong),
            Command::Hold { scope, .. } if !is_scope(scope) => Err(Refusal::BadScope),
            Command::Hold { name, reason, scope } => match self.holds.get(name) {
                Some(known) if known.scope == *scope => Ok(Outcome::already(self.held())),
                Some(_) => Err(Refusal::Taken { name: name.clone() }),
                // What an incident holds has a bound of its own.
                None if HOLDS_MAX <= self.holds.len() && !internal => Err(Refusal::TooManyHolds),
                None => {
                    let Scope { stream, first, last } = scope.clone();
                    let (name, reason, stream) = (name.clone(), reason.clone(), stream.unwrap_or_default());
                    let held = HeldV1 { name, reason, stream, first, last, by, at };
                    Ok(Outcome::new(vec![Event::Held(held)], self.held()))
                }
            },
            Command::Release { name } if !internal && self.holds.get(name).is_some_and(is_internal) => {
                Err(Refusal::OfIncident)
            }
            Command::Release { name } if self.holds.contains_key(name) => {
                let released = ReleasedV1 { name: name.clone(), by, at };
                Ok(Outcome::new(vec![Event::Released(released)], Reply::Released))
            }
            Command::Release { name } => Err(Refusal::NotHeld { name: name.chars().take(NAME_MAX).collect() }),
            Command::Prune { plan } => {
                let Plan { minimum, archive, rules, why, .. } = plan;
                short(why)?;
                short(rules)?;
                short(&archive.place)?;
                if let Some(Pruning { minimum, .. }) = self.outstanding {
                    return Err(Refusal::Busy { minimum });
                }
                if *minimum <= self.minimum() {
                    return Err(Refusal::Nothing { why: why.clone() });
                }
                if !minimum.is_multiple_of(BUNDLE) {
                    return Err(Refusal::NotWhole { minimum: *minimum });
                }
                if plan.changes != self.changes {
                    return Err(Refusal::Changed);
                }
                // Those on one stream the plan alone can tell.
                let all = |hold: &Hold| hold.scope.stream.is_none() && hold.scope.first <= *minimum;
                if let Some((name, _)) =
                    self.holds.iter().find(|(_, hold)| all(hold) && self.minimum() < hold.scope.last)
                {
                    return Err(Refusal::Held { name: name.clone() });
                }
                let Archive { backup, manifest, place } = archive.clone();
                let (minimum, rules) = (*minimum, rules.clone());
                let pruning = PruningV1 { minimum, backup, manifest, place, rules, by, at };
                Ok(Outcome::new(vec![Event::Pruning(pruning)], Reply::Pruning { minimum }))
            }
            Command::Finish { .. } | Command::Abandon { .. } if !internal => Err(Refusal::WorkersOnly),
            Command::Finish { minimum } => {
                self.awaits(*minimum)?;
                let pruned = PrunedV1 { minimum: *minimum, at };
                Ok(Outcome::new(vec![Event::Pruned(pruned)], Reply::Pruned))
            }
            Command::Abandon { minimum, why } => {
                self.awaits(*minimum)?;
                short(why)?;
                let abandoned = AbandonedV1 { minimum: *minimum, why: why.clone(), at };
                Ok(Outcome::new(vec![Event::Abandoned(abandoned)], Reply::Abandoned))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event.clone() {
            Event::Held(HeldV1 { name, reason, stream, first, last, by, at }) => {
                let scope = Scope { stream: (!stream.is_empty()).then_some(stream), first, last };
                let hold = Hold { scope, reason, by: recorded(&by), at };
                let earlier = self.holds.insert(name, hold);
                assert_eq!(earlier, None, "a hold has a name of its own");
                self.changes += 1;
            }
            Event::Released(ReleasedV1 { name, .. }) => {
                assert!(self.holds.remove(&name).is_some(), "{name} was not held");
                self.changes += 1;
            }
            Event::Pruning(PruningV1 { minimum, backup, manifest, place, rules, by, at }) => {
                assert!(self.minimum() < minimum, "the minimum grows");
                let archive = Archive { backup, manifest, place };
                let asked = Pruning { minimum, archive, rules, by: recorded(&by), asked_at: at };
                assert_eq!(self.outstanding.replace(asked), None, "one pruning at a time");
            }
            Event::Pruned(PrunedV1 { minimum, at }) => {
                let done = self.end(minimum);
                self.done = Some(done);
                self.ended = Some(Ended { minimum, at, why: None });
            }
            Event::Abandoned(AbandonedV1 { minimum, why, at }) => {
                self.end(minimum);
                self.ended = Some(Ended { minimum, at, why: Some(why) });
            }
        }
    }
}

/// What is shown.
impl Retention {
    /// How many records have left the log.
    pub fn minimum(&self) -> u64 {
        self.done.as_ref().map_or(0, |done| done.minimum)
    }

    /// By their names.
    pub fn holds(&self) -> impl Iterator<Item = (&str, &Hold)> {
        self.holds.iter().map(|(name, hold)| (name.as_str(), hold))
    }

    pub fn hold(&self, name: &str) -> Option<&Hold> {
        self.holds.get(name)
    }

    /// How often a hold came or went.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What has left the log, and the backup that has it.
    pub fn done(&self) -> Option<&Pruning> {
        self.done.as_ref()
    }

    /// What is to be taken away.
    pub fn outstanding(&self) -> Option<&Pruning> {
        self.outstanding.as_ref()
    }

    /// What became of the last one.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    fn held(&self) -> Reply {
        let outstanding = self.outstanding.as_ref().map_or(0, |pruning| pruning.minimum);
        Reply::Held { pruned: self.minimum().max(outstanding) }
    }

    fn awaits(&self, minimum: u64) -> Result<(), Refusal> {
        let awaited = self.outstanding.as_ref().is_some_and(|pruning| pruning.minimum == minimum);
        if awaited { Ok(()) } else { Err(Refusal::NotAwaited { minimum }) }
    }

    fn end(&mut self, minimum: u64) -> Pruning {
        let pruning = self.outstanding.take().expect("only what is outstanding ends");
        assert_eq!(pruning.minimum, minimum, "only what is outstanding ends");
        pruning
    }
}

/// The beginning of a text, in [`TEXT_MAX`] bytes.
pub fn clipped(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn is_internal(hold: &Hold) -> bool {
    hold.by.kin == Kin::Internal
}

fn is_name(name: &str) -> bool {
    // What is a name of a principal is a name of a hold.
    Principal::new(Kin::Internal, name).is_ok()
}

fn is_scope(scope: &Scope) -> bool {
    let named = |stream: &String| !stream.is_empty() && stream.len() <= STREAM_MAX;
    1 <= scope.first && scope.first <= scope.last && scope.stream.as_ref().is_none_or(named)
}

fn short(text: &str) -> Result<(), Refusal> {
    if text.len() <= TEXT_MAX { Ok(()) } else { Err(Refusal::TooLong { bytes: text.len() as u64 }) }
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
