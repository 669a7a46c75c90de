//! Security: what the records show that somebody should look at, the incidents that come of it, and how they are contained.
//!
//! A pure [`Machine`], and beside it the pure [`detect::Detectors`] that find something in records. What is found becomes an
//! event, one for as long as nobody is done with it: it is new, then acknowledged, then dismissed or part of an incident. An
//! incident has a timeline, a plan of containment with what came of each step, and a hold on the records that show it.
//!
//! # Invariants
//! 1. A record is looked at once: what is told of one that was looked at before changes nothing.
//! 2. Of one kind and subject there is at most one event that nobody is done with.
//! 3. At most [`EVENTS_MAX`] events are kept, and one more a kind for all subjects that came after; what is forgotten was
//!    dismissed, or is of an incident that is closed.
//! 4. A step of a containment is done at most once. An incident that holds evidence is never forgotten.
//! 5. What was dismissed or closed stays so.

#![no_std]

extern crate alloc;

pub mod detect;
mod kinds;
pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Kin, Machine, Outcome, Personal, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

pub use kinds::*;
use records::{
    AcknowledgedV1, ClosedV1, DetectedV1, DismissedV1, HeldV1, LinkedV1, LookedV1, NotedV1, OpenedV1, PlannedV1,
    ReleasedV1, StepV1, SteppedV1,
};
pub use vocabulary::*;

/// The subject of an event that is about all for whom there is no room.
pub const OTHERS: &str = "*";

/// What was found, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    events: BTreeMap<u64, Detection>,
    last_event: u64,
    incidents: BTreeMap<u64, Incident>,
    last_incident: u64,
    /// All records up to here were looked at.
    looked: u64,
    found: BTreeMap<Kind, u64>,
}

impl Machine for Security {
    const NAME: &'static str = "security";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (by, at, internal) = (cx.principal.to_string(), cx.now, cx.principal.kin == Kin::Internal);
        let done = |event| Ok(Outcome::new(vec![event], Reply::Done));
        match command {
            Command::Report { .. } | Command::Tell { .. } | Command::Look { .. } if !internal => {
                Err(Refusal::WorkersOnly)
            }
            Command::Report { findings, .. } | Command::Tell { findings } if !findings.iter().all(fits) => {
                Err(Refusal::TooLarge)
            }
            Command::Report { findings, .. } | Command::Tell { findings } if FINDINGS_MAX < findings.len() => {
                Err(Refusal::TooLarge)
            }
            Command::Report { at: looked, .. } | Command::Look { upto: looked } if *looked <= self.looked => {
                Ok(Outcome::already(Reply::Done))
            }
            Command::Report { at: looked, findings } => {
                Ok(Outcome::new(self.detected(findings, *looked, at), Reply::Done))
            }
            Command::Tell { findings } => Ok(Outcome::new(self.detected(findings, 0, at), Reply::Done)),
            Command::Look { upto } => done(Event::Looked(LookedV1 { looked: *upto, at })),
            Command::Acknowledge { event } => match self.known(*event)?.triage {
                Triage::New => done(Event::Acknowledged(AcknowledgedV1 { event: *event, by, at })),
                Triage::Acknowledged { .. } => Ok(Outcome::already(Reply::Done)),
                Triage::Dismissed { .. } => Err(Refusal::Dismissed { event: *event }),
                Triage::Incident(incident) => Err(Refusal::Taken { event: *event, incident }),
            },
            Command::Dismiss { event, reason } => match self.known(*event)?.triage {
                Triage::Dismissed { .. } => Ok(Outcome::already(Reply::Done)),
                Triage::Incident(incident) => Err(Refusal::Taken { event: *event, incident }),
                Triage::New | Triage::Acknowledged { .. } => {
                    said(reason)?;
                    done(Event::Dismissed(DismissedV1 { event: *event, reason: reason.clone(), by, at }))
                }
            },
            Command::Open { title, .. } if title.is_longer_than(TITLE_MAX) => Err(Refusal::TooLong),
            Command::Open { title, severity, owner, events } => {
                said(title)?;
                let incident = self.last_incident + 1;
                if LINKED_MAX < events.len() {
                    return Err(Refusal::Full { incident });
                }
                let mut highest = Severity::Low;
                for event in events {
                    highest = highest.max(self.free(*event)?.kind.severity());
                }
                let opened = OpenedV1 {
                    incident,
                    title: title.clone(),
                    severity: severity.unwrap_or(highest).tag(),
                    owner: owner.as_ref().map_or_else(|| by.clone(), ToString::to_string),
                    events: events.iter().copied().collect(),
                    forgets: self.makes_room()?,
                    by,
                    at,
                };
                Ok(Outcome::new(vec![Event::Opened(opened)], Reply::Opened { incident }))
            }
            Command::Link { incident, event } => {
                let found = self.open(*incident)?;
                if found.events.contains(event) {
                    return Ok(Outcome::already(Reply::Done));
                }
                if LINKED_MAX <= found.events.len() || TIMELINE_MAX <= found.timeline.len() {
                    return Err(Refusal::Full { incident: *incident });
                }
                self.free(*event)?;
                done(Event::Linked(LinkedV1 { incident: *incident, event: *event, by, at }))
            }
            Command::Note { incident, text } => {
                said(text)?;
                // The end of a timeline is for what is done.
                if TIMELINE_MAX <= self.open(*incident)?.timeline.len() {
                    return Err(Refusal::Full { incident: *incident });
                }
                done(Event::Noted(NotedV1 { incident: *incident, text: text.clone(), by, at }))
            }
            Command::Plan { incident, subjects } => {
                let found = self.open(*incident)?;
                let steps = self.missing(found, subjects, &cx.principal);
                if steps.is_empty() && found.steps.is_empty() {
                    return Err(Refusal::Nobody { incident: *incident });
                }
                let count = found.steps.len() + steps.len();
                if STEPS_MAX < count {
                    return Err(Refusal::Full { incident: *incident });
                }
                let reply = Reply::Planned { steps: u32::try_from(count).expect("few") };
                if steps.is_empty() {
                    return Ok(Outcome::already(reply));
                }
                let written = |(measure, subject): (Measure, Principal)| {
                    let subject = subject.to_string();
                    StepV1 { measure: measure.tag(), subject }
                };
                let steps = steps.into_iter().map(written).collect();
                Ok(Outcome::new(vec![Event::Planned(PlannedV1 { incident: *incident, steps, by, at })], reply))
            }
            Command::Step { answer, .. } if DETAIL_MAX < answer.len() => Err(Refusal::TooLarge),
            Command::Step { incident, step, done: is_done, command, answer } => {
                let found = self.open(*incident)?;
                let unknown = Refusal::UnknownStep { incident: *incident, step: *step };
                let known = step.checked_sub(1).and_then(|index| found.steps.get(index as usize)).ok_or(unknown)?;
                let told = known.last.as_ref().is_some_and(|(last, _)| last == command);
                match (known.done, told && known.done == *is_done) {
                    (_, true) => Ok(Outcome::already(Reply::Done)),
                    (true, false) => Err(Refusal::StepDone { incident: *incident, step: *step }),
                    (false, false) => done(Event::Stepped(SteppedV1 {
                        incident: *incident,
                        step: *step,
                        done: *is_done,
                        command: *command,
                        answer: answer.clone(),
                        by,
                        at,
                    })),
                }
            }
            Command::Hold { incident, first, last } => {
                let found = self.open(*incident)?;
                let shown =
                    found.events.iter().filter_map(|event| self.events.get(event)?.evidence.iter().min().copied());
                let first = first.or(shown.min()).ok_or(Refusal::NoEvidence { incident: *incident })?;
                let last = last.unwrap_or(u64::MAX);
                if first == 0 || last < first {
                    return Err(Refusal::BadRange);
                }
                match found.hold {
                    Some(held) if held == (Hold { first, last }) => Ok(Outcome::already(Reply::Held { first, last })),
                    Some(_) => Err(Refusal::HeldOtherwise { incident: *incident }),
                    None => {
                        let held = HeldV1 { incident: *incident, first, last, by, at };
                        Ok(Outcome::new(vec![Event::Held(held)], Reply::Held { first, last }))
                    }
                }
            }
            Command::Release { incident } => match self.incident(*incident)?.hold {
                Some(_) => done(Event::Released(ReleasedV1 { incident: *incident, by, at })),
                None => Err(Refusal::NotHeld { incident: *incident }),
            },
            Command::Close { incident, postmortem } => {
                if self.incident(*incident)?.closed.is_some() {
                    return Ok(Outcome::already(Reply::Done));
                }
                said(postmortem)?;
                let postmortem = postmortem.clone();
                done(Event::Closed(ClosedV1 { incident: *incident, postmortem, by, at }))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event.clone() {
            Event::Detected(detected) => self.detect(detected),
            Event::Looked(LookedV1 { looked, .. }) => self.look(looked),
            Event::Acknowledged(AcknowledgedV1 { event, by, at }) => {
                self.detection(event).triage = Triage::Acknowledged { by: recorded(&by), at };
            }
            Event::Dismissed(DismissedV1 { event, reason, by, at }) => {
                self.detection(event).triage = Triage::Dismissed { by: recorded(&by), reason, at };
            }
            Event::Opened(OpenedV1 { incident, title, severity, owner, events, forgets, by, at }) => {
                if let Some(forgotten) = self.incidents.remove(&forgets) {
                    for event in forgotten.events {
                        self.events.remove(&event);
                    }
                }
                for event in &events {
                    self.detection(*event).triage = Triage::Incident(incident);
                }
                let opened = entry(at, &by, Act::Opened, told(&events));
                let found = Incident {
                    title,
                    severity: Severity::from_tag(severity).expect("a recorded severity is one"),
                    owner: recorded(&owner),
                    events: events.into_iter().collect(),
                    timeline: vec![opened],
                    steps: Vec::new(),
                    hold: None,
                    opened_at: at,
                    closed: None,
                };
                let earlier = self.incidents.insert(incident, found);
                assert_eq!(earlier, None, "an incident has a number of its own");
                self.last_incident = incident;
            }
            Event::Linked(LinkedV1 { incident, event, by, at }) => {
                self.detection(event).triage = Triage::Incident(incident);
                let found = self.of(incident);
                found.events.insert(event);
                found.timeline.push(entry(at, &by, Act::Linked, told(&[event])));
            }
            Event::Noted(NotedV1 { incident, text, by, at }) => {
                let noted = Entry { text: Some(text), ..entry(at, &by, Act::Noted, String::new()) };
                self.of(incident).timeline.push(noted);
            }
            Event::Planned(PlannedV1 { incident, steps, by, at }) => {
                let found = self.of(incident);
                found.timeline.push(entry(at, &by, Act::Planned, format!("{} steps", steps.len())));
                found.steps.extend(steps.iter().map(|StepV1 { measure, subject }| Step {
                    measure: Measure::from_tag(*measure).expect("a recorded measure is one"),
                    subject: recorded(subject),
                    tried: 0,
                    done: false,
                    last: None,
                }));
            }
            Event::Stepped(SteppedV1 { incident, step, done, command, answer, by, at }) => {
                let found = self.of(incident);
                let known = &mut found.steps[step as usize - 1];
                assert!(!known.done, "a step is done once");
                known.tried += 1;
                known.done = done;
                known.last = Some((command, answer.clone()));
                let act = if done { Act::Contained } else { Act::NotContained };
                let what = format!("{} {}: {answer}", known.measure.as_str(), known.subject);
                // What is tried for ever is on record, and not in the timeline for ever.
                if done || found.timeline.len() < TIMELINE_MAX {
                    found.timeline.push(entry(at, &by, act, what));
                }
            }
            Event::Held(HeldV1 { incident, first, last, by, at }) => {
                let found = self.of(incident);
                let earlier = found.hold.replace(Hold { first, last });
                assert_eq!(earlier, None, "one hold at a time");
                let upto = if last == u64::MAX { "on".to_owned() } else { format!("to {last}") };
                found.note(entry(at, &by, Act::Held, format!("the records from {first} {upto}")));
            }
            Event::Released(ReleasedV1 { incident, by, at }) => {
                let found = self.of(incident);
                assert!(found.hold.take().is_some(), "only what is held is released");
                found.note(entry(at, &by, Act::Released, String::new()));
            }
            Event::Closed(ClosedV1 { incident, postmortem, by, at }) => {
                let found = self.of(incident);
                found.timeline.push(entry(at, &by, Act::Closed, String::new()));
                let closed = Closed { by: recorded(&by), at, postmortem };
                assert_eq!(found.closed.replace(closed), None, "an incident is closed once");
            }
        }
    }
}

/// What is shown.
impl Security {
    /// By their numbers.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = (u64, &Detection)> {
        self.events.iter().map(|(number, event)| (*number, event))
    }

    pub fn event(&self, event: u64) -> Option<&Detection> {
        self.events.get(&event)
    }

    /// By their numbers.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = (u64, &Incident)> {
        self.incidents.iter().map(|(number, incident)| (*number, incident))
    }

    pub fn show(&self, incident: u64) -> Option<&Incident> {
        self.incidents.get(&incident)
    }

    /// All records up to here were looked at.
    pub fn looked(&self) -> u64 {
        self.looked
    }

    /// How often each kind was found, ever.
    pub fn found(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.iter().map(|kind| (*kind, self.found.get(kind).copied().unwrap_or_default()))
    }

    /// What [`Command::Plan`] of `asker` would add.
    ///
    /// # Errors
    /// [`Refusal`] of an incident that is not open.
    pub fn plan(
        &self,
        incident: u64,
        subjects: &BTreeSet<Principal>,
        asker: &Principal,
    ) -> Result<Vec<(Measure, Principal)>, Refusal> {
        Ok(self.missing(self.open(incident)?, subjects, asker))
    }

    /// Whether somebody is done with it.
    fn is_over(&self, event: &Detection) -> bool {
        match event.triage {
            Triage::New | Triage::Acknowledged { .. } => false,
            Triage::Dismissed { .. } => true,
            Triage::Incident(incident) => self.incidents.get(&incident).is_none_or(|found| found.closed.is_some()),
        }
    }

    fn detected(&self, findings: &[Finding], looked: u64, at: Timestamp) -> Vec<Event> {
        let (mut next, mut kept) = (self.last_event + 1, self.events.len());
        let mut over = self.events.iter().filter(|(_, event)| self.is_over(event));
        let mut made = BTreeMap::new();
        let mut facts = Vec::new();
        for finding in findings {
            let known = |subject: &str| {
                let mut alike = self.events.iter().filter(|(_, event)| event.kind == finding.kind);
                alike.find(|(_, event)| event.subject == subject && !self.is_over(event)).map(|(number, _)| *number)
            };
            let (mut subject, mut forgets) = (finding.subject.clone(), 0);
            let again =
                |subject: &String| known(subject).or_else(|| made.get(&(finding.kind, subject.clone())).copied());
            let mut event = again(&subject);
            if event.is_none() && EVENTS_MAX <= kept {
                if let Some((number, _)) = over.next() {
                    forgets = *number;
                } else {
                    OTHERS.clone_into(&mut subject);
                    event = again(&subject);
                }
            }
            let fresh = event.is_none();
            let event = event.unwrap_or(next);
            if fresh {
                next += 1;
                kept += usize::from(forgets == 0);
                made.insert((finding.kind, subject.clone()), event);
            }
            facts.push(Event::Detected(DetectedV1 {
                event,
                kind: finding.kind.tag(),
                subject,
                detail: finding.detail.clone(),
                count: finding.count,
                first_at: finding.first_at,
                last_at: finding.last_at,
                evidence: finding.evidence.clone(),
                fresh,
                forgets,
                looked,
                at,
            }));
        }
        facts
    }

    fn detect(&mut self, detected: DetectedV1) {
        let DetectedV1 { event, subject, detail, count, first_at, last_at, evidence, fresh, forgets, looked, .. } =
            detected;
        let kind = Kind::from_tag(detected.kind).expect("a recorded kind is one");
        self.look(looked);
        *self.found.entry(kind).or_default() += count;
        self.events.remove(&forgets);
        if fresh {
            let triage = Triage::New;
            let found = Detection { kind, subject, detail, count, first_at, last_at, evidence, triage };
            let earlier = self.events.insert(event, found);
            assert_eq!(earlier, None, "an event has a number of its own");
            self.last_event = event;
            return;
        }
        let known = self.detection(event);
        assert_eq!((known.kind, &known.subject), (kind, &subject), "an event stays what it is");
        known.count += count;
        known.detail = detail;
        known.last_at = known.last_at.max(last_at);
        for sequence in evidence {
            if known.evidence.len() < EVIDENCE_MAX && !known.evidence.contains(&sequence) {
                known.evidence.push(sequence);
            }
        }
    }

    fn look(&mut self, looked: u64) {
        // Several findings may be of one record; what the door tells is of none.
        self.looked = self.looked.max(looked);
    }

    fn missing(
        &self,
        found: &Incident,
        subjects: &BTreeSet<Principal>,
        asker: &Principal,
    ) -> Vec<(Measure, Principal)> {
        let about = || {
            let subjects = found.events.iter().filter_map(|event| self.events.get(event)?.subject.parse().ok());
            subjects.filter(|subject: &Principal| subject != asker).collect::<BTreeSet<_>>()
        };
        let subjects = if subjects.is_empty() { about() } else { subjects.clone() };
        let measures = |subject: Principal| {
            let quarantine = (subject.kin == Kin::Protocol).then_some(Measure::Quarantine);
            let all = [Measure::Freeze, Measure::Revoke, Measure::Fence].into_iter().chain(quarantine);
            all.map(move |measure| (measure, subject.clone()))
        };
        let planned = |(measure, subject): &(Measure, Principal)| {
            found.steps.iter().any(|step| step.measure == *measure && step.subject == *subject)
        };
        let subjects = subjects.into_iter().filter(|subject| subject.kin != Kin::Internal);
        subjects.flat_map(measures).filter(|step| !planned(step)).collect()
    }

    /// The incident that is forgotten for another one; 0 if none has to be.
    fn makes_room(&self) -> Result<u64, Refusal> {
        if self.incidents.len() < INCIDENTS_MAX {
            return Ok(0);
        }
        let over = |(_, found): &(&u64, &Incident)| found.closed.is_some() && found.hold.is_none();
        self.incidents.iter().find(over).map(|(number, _)| *number).ok_or(Refusal::TooManyIncidents)
    }

    fn known(&self, event: u64) -> Result<&Detection, Refusal> {
        self.events.get(&event).ok_or(Refusal::UnknownEvent { event })
    }

    /// An event that may become part of an incident.
    fn free(&self, event: u64) -> Result<&Detection, Refusal> {
        let known = self.known(event)?;
        match known.triage {
            Triage::New | Triage::Acknowledged { .. } => Ok(known),
            Triage::Dismissed { .. } => Err(Refusal::Dismissed { event }),
            Triage::Incident(incident) => Err(Refusal::Taken { event, incident }),
        }
    }

    fn incident(&self, incident: u64) -> Result<&Incident, Refusal> {
        self.incidents.get(&incident).ok_or(Refusal::UnknownIncident { incident })
    }

    fn open(&self, incident: u64) -> Result<&Incident, Refusal> {
        let found = self.incident(incident)?;
        if found.closed.is_some() { Err(Refusal::Closed { incident }) } else { Ok(found) }
    }

    fn detection(&mut self, event: u64) -> &mut Detection {
        self.events.get_mut(&event).expect("only what was detected goes on")
    }

    fn of(&mut self, incident: u64) -> &mut Incident {
        self.incidents.get_mut(&incident).expect("only what was opened goes on")
    }
}

impl Incident {
    /// Where there is room: held and released can be as often as somebody likes.
    fn note(&mut self, entry: Entry) {
        if self.timeline.len() < TIMELINE_MAX {
            self.timeline.push(entry);
        }
    }
}

fn fits(finding: &Finding) -> bool {
    finding.subject.len().max(finding.detail.len()) <= DETAIL_MAX && finding.evidence.len() <= EVIDENCE_MAX
}

fn said(text: &Personal) -> Result<(), Refusal> {
    match text {
        text if text.is_empty() => Err(Refusal::NoReason),
        text if text.is_longer_than(TEXT_MAX) => Err(Refusal::TooLong),
        _ => Ok(()),
    }
}

fn told(events: &[u64]) -> String {
    let named: Vec<_> = events.iter().map(|event| format!("event-{event}")).collect();
    named.join(", ")
}

fn entry(at: Timestamp, by: &str, act: Act, what: String) -> Entry {
    Entry { at, by: recorded(by), act, what, text: None }
}

/// The beginning of a text, in [`DETAIL_MAX`] bytes.
pub fn clipped(text: &str) -> String {
    let mut end = text.len().min(DETAIL_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
