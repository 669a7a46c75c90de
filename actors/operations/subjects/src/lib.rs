//! Subjects: whose texts are erased, and whose may not be.
//!
//! A pure [`Machine`]. An erasure is put on record first; then a worker destroys the key under which the subject's texts are
//! sealed; then that is on record, and who asked is told. So there is no erasure without a record of it, one that was told
//! of is final, and one that was not is carried on by the next start or never began.
//!
//! # Invariants
//! 1. Nothing is erased of a subject that a case holds.
//! 2. Who asked for an erasure, and when, stays on record.
//! 3. Only the authority's own worker says that a key is destroyed.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;

use kernel::{CommandId, Context, Kin, Machine, Outcome, Position, Principal};
use serde::{Deserialize, Serialize};

use records::{ErasedV1, ErasingV1, HeldV1, ReleasedV1};
pub use vocabulary::*;

/// Every subject that was ever held or erased.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    by_name: BTreeMap<Principal, Subject>,
    /// What is not done yet, and of whom.
    outstanding: BTreeMap<CommandId, Principal>,
}

impl Machine for Subjects {
    const NAME: &'static str = "subjects";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (by, at) = (cx.principal.to_string(), cx.now);
        match command {
            Command::Hold { subject, .. } | Command::Release { subject, .. } | Command::Erase { subject }
                if subject.kin == Kin::Internal =>
            {
                Err(Refusal::Internal)
            }
            Command::Hold { case, .. } if !is_case(case) => Err(Refusal::BadCase),
            Command::Hold { reason, .. } if reason.is_longer_than(REASON_MAX) => Err(Refusal::ReasonTooLong),
            Command::Hold { subject, case, reason } => match self.by_name.get(subject) {
                Some(known) if known.cases.contains_key(case) => Ok(Outcome::already(Reply::Held)),
                Some(known) if CASES_MAX <= known.cases.len() => {
                    Err(Refusal::TooManyCases { subject: subject.clone() })
                }
                Some(_) | None => {
                    let (subject, case, reason) = (subject.to_string(), case.clone(), reason.clone());
                    let held = HeldV1 { subject, case, reason, by, at };
                    Ok(Outcome::new(vec![Event::Held(held)], Reply::Held))
                }
            },
            Command::Release { subject, case } => match self.by_name.get(subject) {
                Some(known) if known.cases.contains_key(case) => {
                    let released = ReleasedV1 { subject: subject.to_string(), case: case.clone(), by, at };
                    Ok(Outcome::new(vec![Event::Released(released)], Reply::Released))
                }
                Some(_) | None => {
                    let case = case.chars().take(CASE_MAX).collect();
                    Err(Refusal::NotHeld { subject: subject.clone(), case })
                }
            },
            Command::Erase { subject } => {
                let cases = self.by_name.get(subject).map(|known| &known.cases);
                if let Some((case, _)) = cases.and_then(BTreeMap::first_key_value) {
                    let more = cases.map_or(0, |cases| cases.len() - 1);
                    let more = u32::try_from(more).expect("cases are bounded");
                    return Err(Refusal::Held { subject: subject.clone(), case: case.clone(), more });
                }
                let erasure = cx.command_id;
                let erasing = ErasingV1 { erasure, subject: subject.to_string(), by, at };
                Ok(Outcome::new(vec![Event::Erasing(erasing)], Reply::Erasing { erasure }))
            }
            Command::Finish { .. } if cx.principal.kin != Kin::Internal => Err(Refusal::WorkersOnly),
            Command::Finish { erasure, key } if self.outstanding.contains_key(erasure) => {
                let erased = ErasedV1 { erasure: *erasure, key: *key, at };
                Ok(Outcome::new(vec![Event::Erased(erased)], Reply::Erased))
            }
            Command::Finish { erasure, .. } => match self.erasure(*erasure) {
                Some(_) => Ok(Outcome::already(Reply::Erased)),
                None => Err(Refusal::UnknownErasure),
            },
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Held(HeldV1 { subject, case, reason, by, at }) => {
                let hold = Hold { reason: reason.clone(), by: recorded(by), at: *at };
                let earlier = self.by_name.entry(recorded(subject)).or_default().cases.insert(case.clone(), hold);
                assert_eq!(earlier, None, "{subject} was held twice for {case}");
            }
            Event::Released(ReleasedV1 { subject, case, .. }) => {
                let known = self.by_name.get_mut(&recorded(subject)).expect("only who is held is released");
                assert!(known.cases.remove(case).is_some(), "{subject} was not held for {case}");
            }
            Event::Erasing(ErasingV1 { erasure, subject, by, at }) => {
                let subject = recorded(subject);
                let begun = Erasure { id: *erasure, by: recorded(by), asked_at: *at, done_at: None, key: None };
                let known = self.by_name.entry(subject.clone()).or_default();
                assert!(known.cases.is_empty(), "{subject} is held, and was erased");
                known.erasures.push(begun);
                let earlier = self.outstanding.insert(*erasure, subject);
                assert_eq!(earlier, None, "an erasure has an id of its own");
            }
            Event::Erased(ErasedV1 { erasure, key, at }) => {
                let subject = self.outstanding.remove(erasure).expect("only what is outstanding is done");
                let known = self.by_name.get_mut(&subject).expect("who is erased is known");
                let done = known.erasures.iter_mut().find(|known| known.id == *erasure).expect("it was begun");
                (done.done_at, done.key) = (Some(*at), *key);
            }
        }
    }
}

/// What is shown.
impl Subjects {
    pub fn show(&self, subject: &Principal) -> Option<&Subject> {
        self.by_name.get(subject)
    }

    /// In the order of their names.
    pub fn list(&self) -> impl Iterator<Item = (&Principal, &Subject)> {
        self.by_name.iter()
    }

    /// What is to be destroyed next.
    pub fn outstanding(&self) -> Option<(CommandId, Principal)> {
        self.outstanding.first_key_value().map(|(erasure, subject)| (*erasure, subject.clone()))
    }

    /// What was destroyed, all of it: for whoever sees to it that it stays so.
    pub fn done(&self) -> impl Iterator<Item = (&Principal, &Erasure)> {
        let all = self.by_name.iter().flat_map(|(subject, known)| known.erasures.iter().map(move |one| (subject, one)));
        all.filter(|(_, erasure)| erasure.done_at.is_some())
    }

    pub fn erasure(&self, id: CommandId) -> Option<&Erasure> {
        self.by_name.values().flat_map(|known| &known.erasures).find(|erasure| erasure.id == id)
    }
}

fn is_case(case: &str) -> bool {
    // What is a name of a principal is a name of a case.
    Principal::new(Kin::Internal, case).is_ok()
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
