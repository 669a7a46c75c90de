//! Approvals: what somebody asked leave for, who decided how, and the one use it is good for.
//!
//! A pure [`Machine`]. A request is bound to who asks, to exactly what would be done (a digest of the command's content) and
//! to what the thing it would be done to was at that time. It is good for one use, which is spent on a command id before the
//! effect is tried, and given back if there will be none. Validity is decided by the time of the command: what the clock
//! records is bookkeeping, and nothing waits for it.
//!
//! # Invariants
//! 1. Only operators decide, by their own credentials; nobody decides his own request, nor one that was asked by a token
//!    that he issued; nobody counts twice.
//! 2. One denial ends a request, and what has ended stays so. A decision is not turned into another; a request can be
//!    withdrawn until it is used, by its asker and by whoever approved it.
//! 3. One request, at most one command id at a time: it is used by no second one unless the first gave it back.
//! 4. It is used by its asker only, for the content that was asked for, on a target that has not changed; one whose target
//!    has changed when it is to be used has ended.
//! 5. Numbers count from 1 without a gap, and name one request for ever.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{CommandId, Context, Digest, Kin, Machine, Outcome, Personal, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use records::{ApprovedV1, DeniedV1, ExpiredV1, ReleasedV1, RequestedV1, StaleV1, UsedV1, WithdrawnV1};
pub use vocabulary::*;

/// Most facts of one [`Command::Expire`]: the clock asks again while something is due.
const EXPIRE_MAX: usize = 256;

/// Every request ever made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// Number 1 is the first.
    requests: Vec<Entry>,
    /// The requests for each content, by number.
    by_content: BTreeMap<Digest, BTreeSet<u64>>,
    /// The requests of each asker that can still be used, as far as is recorded.
    open_by_asker: BTreeMap<Principal, BTreeSet<u64>>,
    /// The same, in the order in which the clock will have to record their ends.
    expiring: BTreeSet<(Timestamp, u64)>,
    /// The commands on which the use of a request is spent, with the requests.
    held: BTreeSet<(CommandId, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    asker: Principal,
    issuer: Option<Principal>,
    action: String,
    resource: String,
    content: Digest,
    target: Option<Digest>,
    arguments: Personal,
    reason: Personal,
    needed: u32,
    asked_at: Timestamp,
    expires_at: Timestamp,
    approvals: Vec<Approval>,
    end: Option<End>,
    used: Option<Used>,
    /// The clock recorded the end. Bookkeeping: what is valid is decided by `expires_at`.
    expired: bool,
}

impl Machine for Approvals {
    const NAME: &'static str = "approvals";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Request(wanted) => self.request(wanted, cx),
            Command::Approve { request } => self.approve(*request, cx),
            Command::Deny { request, reason } => self.deny(*request, reason, cx),
            Command::Withdraw { request } => self.withdraw(*request, cx),
            Command::Use(_) | Command::Release { .. } if cx.principal.kin != Kin::Internal => Err(Refusal::DoorOnly),
            Command::Use(used) => self.spend(used, cx.now),
            Command::Release { request, command } => {
                let holds = self.entry(*request)?.used.is_some_and(|used| used.command == *command);
                let body = ReleasedV1 { number: *request, command: *command };
                let facts = holds.then_some(Event::Released(body)).into_iter().collect();
                Ok(Outcome::new(facts, Reply::Released { request: *request }))
            }
            Command::Expire => {
                let due = self.expiring.iter().take_while(|(expires_at, _)| *expires_at <= cx.now).take(EXPIRE_MAX);
                let facts: Vec<_> = due.map(|&(_, number)| Event::Expired(ExpiredV1 { number })).collect();
                let reply = Reply::Expired { facts: facts.len() as u64 };
                Ok(Outcome::new(facts, reply))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Requested(requested) => {
                let number = requested.number;
                assert_eq!(number, self.requests.len() as u64 + 1, "requests are numbered without a gap");
                self.by_content.entry(requested.content).or_default().insert(number);
                self.requests.push(Entry::new(requested));
                self.change(number, |_| ());
            }
            Event::Approved(ApprovedV1 { number, by, at }) => self.change(*number, |entry| {
                let by = recorded(by);
                assert!(entry.is_open(), "only what is open is approved");
                assert!(!entry.is_approved_by(&by), "{by} approved twice");
                entry.approvals.push(Approval { by, at: *at });
            }),
            Event::Denied(DeniedV1 { number, by, reason, at }) => {
                let (by, reason) = (Some(recorded(by)), reason.clone());
                self.end(*number, End { how: State::Denied, by, reason, at: *at });
            }
            Event::Withdrawn(WithdrawnV1 { number, by, at }) => {
                let by = Some(recorded(by));
                self.end(*number, End { how: State::Withdrawn, by, reason: Personal::default(), at: *at });
            }
            Event::Stale(StaleV1 { number, found: _, at }) => {
                self.end(*number, End { how: State::Stale, by: None, reason: Personal::default(), at: *at });
            }
            Event::Used(UsedV1 { number, command, at }) => {
                self.change(*number, |entry| {
                    assert!(entry.is_open(), "only what is open is used");
                    entry.used = Some(Used { command: *command, at: *at });
                });
                self.held.insert((*command, *number));
            }
            Event::Released(ReleasedV1 { number, command }) => {
                self.change(*number, |entry| {
                    let held = entry.used.take().map(|used| used.command);
                    assert_eq!(held, Some(*command), "only who holds a use gives it back");
                });
                self.held.remove(&(*command, *number));
            }
            Event::Expired(ExpiredV1 { number }) => self.change(*number, |entry| {
                assert!(entry.is_open(), "request {number} expired after it had ended");
                entry.expired = true;
            }),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.expiring.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Expire)
    }
}

/// What is answered.
impl Approvals {
    fn request(&self, wanted: &Wanted, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let lifetime = wanted.lifetime.unwrap_or(LIFETIME);
        let too_long = |what: &str, max: usize| {
            Err(Refusal::TooLong { what: what.to_owned(), max: u32::try_from(max).unwrap_or(u32::MAX) })
        };
        if wanted.action.len() > ACTION_MAX {
            return too_long("the action's name", ACTION_MAX);
        } else if wanted.resource.len() > RESOURCE_MAX {
            return too_long("the resource", RESOURCE_MAX);
        } else if wanted.arguments.is_longer_than(ARGUMENTS_MAX) {
            return too_long("what is asked", ARGUMENTS_MAX);
        } else if wanted.reason.is_longer_than(REASON_MAX) {
            return too_long("the reason", REASON_MAX);
        } else if wanted.needed == 0 || NEEDED_MAX < wanted.needed {
            return Err(Refusal::NeededOutOfRange { asked: wanted.needed });
        } else if lifetime.0 == 0 || LIFETIME_MAX < lifetime {
            return Err(Refusal::LifetimeOutOfRange { asked: lifetime });
        }
        let mut facts = Vec::new();
        let newest = self.newest(&cx.principal, (&wanted.action, &wanted.resource), wanted.content);
        if let Some(number) = newest.filter(|number| self.entry_of(*number).is_alive(cx.now)) {
            let entry = self.entry_of(number);
            if entry.target == wanted.target {
                // Leave for the very same was asked before: it stands, with what was decided.
                return Ok(Outcome::already(entry.receipt(number)));
            }
            facts.push(Event::Stale(StaleV1 { number, found: wanted.target, at: cx.now }));
        }
        let open = self.open_by_asker.get(&cx.principal).into_iter().flatten();
        if facts.is_empty() && OPEN_MAX <= open.filter(|open| self.entry_of(**open).is_alive(cx.now)).count() {
            return Err(Refusal::TooMany);
        }
        let number = self.requests.len() as u64 + 1;
        let expires_at = cx.now + lifetime;
        let Wanted { action, resource, content, target, arguments, reason, needed, issuer, lifetime: _ } =
            wanted.clone();
        facts.push(Event::Requested(Box::new(RequestedV1 {
            number,
            asker: cx.principal.to_string(),
            issuer: issuer.map(|issuer| issuer.to_string()),
            action,
            resource,
            content,
            target,
            arguments,
            reason,
            needed,
            at: cx.now,
            expires_at,
        })));
        Ok(Outcome::new(facts, Reply::Requested { request: number, needed, have: 0, expires_at }))
    }

    fn approve(&self, number: u64, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let entry = self.entry(number)?;
        entry.may_decide(cx)?;
        if entry.is_approved_by(&cx.principal) {
            // Counted once, whatever became of the request since.
            return Ok(Outcome::already(entry.decided(number, cx.now, entry.have())));
        }
        entry.alive(cx.now)?;
        if DECISIONS_MAX <= entry.approvals.len() {
            return Err(Refusal::DecidedByMany);
        }
        let body = ApprovedV1 { number, by: cx.principal.to_string(), at: cx.now };
        Ok(Outcome::new(vec![Event::Approved(body)], entry.decided(number, cx.now, entry.have() + 1)))
    }

    fn deny(&self, number: u64, reason: &Personal, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let entry = self.entry(number)?;
        entry.may_decide(cx)?;
        if reason.is_longer_than(REASON_MAX) {
            let max = u32::try_from(REASON_MAX).unwrap_or(u32::MAX);
            return Err(Refusal::TooLong { what: "the reason".to_owned(), max });
        }
        let (needed, have) = (entry.needed, entry.have());
        let reply = Reply::Decided { request: number, needed, have, state: State::Denied };
        match &entry.end {
            Some(End { how: State::Denied, by: Some(by), .. }) if *by == cx.principal => {
                return Ok(Outcome::already(reply));
            }
            _ => entry.alive(cx.now)?,
        }
        if entry.is_approved_by(&cx.principal) {
            return Err(Refusal::DecidedAlready);
        }
        let body = DeniedV1 { number, by: cx.principal.to_string(), reason: reason.clone(), at: cx.now };
        Ok(Outcome::new(vec![Event::Denied(body)], reply))
    }

    fn withdraw(&self, number: u64, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let entry = self.entry(number)?;
        // An approval was given by an operator's own credential, and is taken back by it.
        let approver = entry.is_approved_by(&cx.principal) && cx.decision.token.is_none();
        if entry.asker != cx.principal && !approver {
            return Err(Refusal::NotYours);
        }
        let reply = Reply::Withdrawn { request: number };
        match &entry.end {
            Some(End { how: State::Withdrawn, .. }) => return Ok(Outcome::already(reply)),
            _ => entry.alive(cx.now)?,
        }
        let body = WithdrawnV1 { number, by: cx.principal.to_string(), at: cx.now };
        Ok(Outcome::new(vec![Event::Withdrawn(body)], reply))
    }

    fn spend(&self, used: &Use, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let (number, entry) = (used.request, self.entry(used.request)?);
        if entry.asker != used.asker {
            return Err(Refusal::NotYours);
        }
        if entry.content != used.content || !entry.is_about(&used.action, &used.resource) {
            return Err(Refusal::OtherContent);
        }
        let held = entry.used.is_some_and(|held| held.command == used.command);
        if !held {
            entry.shown(number, now).obstacle().map_or(Ok(()), Err)?;
        } else if entry.expires_at <= now {
            return Err(Refusal::Expired { at: entry.expires_at });
        }
        let changed = entry.target != used.target;
        let reply = Reply::Used { request: number, have: entry.have() };
        match (held, changed) {
            (true, false) => Ok(Outcome::already(reply)),
            // What holds the use may have had its effect: that must not be said to have ended.
            (true, true) => Err(Refusal::Stale),
            (false, true) => {
                let body = StaleV1 { number, found: used.target, at: now };
                Ok(Outcome::new(vec![Event::Stale(body)], Reply::Stale { request: number }))
            }
            (false, false) => {
                let body = UsedV1 { number, command: used.command, at: now };
                Ok(Outcome::new(vec![Event::Used(body)], reply))
            }
        }
    }
}

/// What is known.
impl Approvals {
    pub fn show(&self, number: u64, now: Timestamp) -> Option<Request> {
        self.entry(number).ok().map(|entry| entry.shown(number, now))
    }

    /// In the order of their numbers.
    pub fn list<'a>(&'a self, filter: &'a Filter, now: Timestamp) -> impl Iterator<Item = Request> + 'a {
        let numbered = (1..).zip(&self.requests);
        let fits = move |(_, entry): &(u64, &Entry)| {
            filter.asker.as_ref().is_none_or(|asker| entry.asker == *asker)
                && filter.action.as_ref().is_none_or(|action| entry.action == *action)
                && filter.state.is_none_or(|state| entry.state(now) == state)
        };
        numbered.filter(fits).map(move |(number, entry)| entry.shown(number, now))
    }

    /// How many wait for somebody to decide.
    pub fn pending(&self, now: Timestamp) -> usize {
        let open = self.expiring.iter().map(|(_, number)| self.entry_of(*number));
        open.filter(|entry| entry.state(now) == State::Pending).count()
    }

    /// The newest request of `asker` for exactly this, whatever became of it.
    pub fn find(&self, asker: &Principal, about: (&str, &str), content: Digest, now: Timestamp) -> Option<Request> {
        self.newest(asker, about, content).map(|number| self.entry_of(number).shown(number, now))
    }

    /// The newest request of `asker` for the same action on the same resource that is open, whatever its content.
    pub fn akin(&self, asker: &Principal, (action, resource): (&str, &str), now: Timestamp) -> Option<Request> {
        let mut open = self.open_by_asker.get(asker)?.iter().rev();
        let number = open.find(|number| {
            let entry = self.entry_of(**number);
            entry.is_about(action, resource) && entry.is_alive(now)
        })?;
        Some(self.entry_of(*number).shown(*number, now))
    }

    /// The request whose use is spent on this command; the latest, if there are several.
    pub fn held_by(&self, command: CommandId, now: Timestamp) -> Option<Request> {
        let mut held = self.held.range((command, 0)..=(command, u64::MAX));
        held.next_back().and_then(|(_, number)| self.show(*number, now))
    }

    fn newest(&self, asker: &Principal, (action, resource): (&str, &str), content: Digest) -> Option<u64> {
        let mut numbers = self.by_content.get(&content)?.iter().rev();
        let fits = |entry: &Entry| entry.asker == *asker && entry.is_about(action, resource);
        numbers.find(|number| fits(self.entry_of(**number))).copied()
    }

    fn entry(&self, number: u64) -> Result<&Entry, Refusal> {
        let place = number.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.requests.get(place)).ok_or(Refusal::Unknown)
    }

    fn entry_of(&self, number: u64) -> &Entry {
        self.entry(number).expect("an index names requests that there are")
    }

    /// Changes a request, and tells the indices.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut Entry)) {
        let place = number.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let entry = place.and_then(|place| self.requests.get_mut(place)).expect("only a request that was made changes");
        change(entry);
        let (asker, expires_at, open) = (entry.asker.clone(), entry.expires_at, entry.is_open());
        if open {
            self.open_by_asker.entry(asker).or_default().insert(number);
            self.expiring.insert((expires_at, number));
        } else {
            self.expiring.remove(&(expires_at, number));
            if let Some(of_asker) = self.open_by_asker.get_mut(&asker) {
                of_asker.remove(&number);
                if of_asker.is_empty() {
                    self.open_by_asker.remove(&asker);
                }
            }
        }
    }

    fn end(&mut self, number: u64, end: End) {
        self.change(number, |entry| {
            assert!(entry.is_open(), "only what is open ends");
            entry.end = Some(end);
        });
    }
}

impl Entry {
    fn new(requested: &RequestedV1) -> Self {
        Self {
            asker: recorded(&requested.asker),
            issuer: requested.issuer.as_deref().map(recorded),
            action: requested.action.clone(),
            resource: requested.resource.clone(),
            content: requested.content,
            target: requested.target,
            arguments: requested.arguments.clone(),
            reason: requested.reason.clone(),
            needed: requested.needed,
            asked_at: requested.at,
            expires_at: requested.expires_at,
            approvals: Vec::new(),
            end: None,
            used: None,
            expired: false,
        }
    }

    /// As far as is recorded, can it be decided about or used?
    fn is_open(&self) -> bool {
        self.end.is_none() && self.used.is_none() && !self.expired
    }

    fn is_alive(&self, now: Timestamp) -> bool {
        self.is_open() && now < self.expires_at
    }

    /// Can it be decided about?
    fn alive(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.state(now) {
            State::Pending | State::Approved => Ok(()),
            _ => self.shown(0, now).obstacle().map_or(Ok(()), Err),
        }
    }

    fn may_decide(&self, cx: &Context) -> Result<(), Refusal> {
        if cx.principal.kin != Kin::Operator {
            Err(Refusal::OperatorsOnly)
        } else if cx.decision.token.is_some() {
            Err(Refusal::OwnCredential)
        } else if self.asker == cx.principal || self.issuer.as_ref() == Some(&cx.principal) {
            Err(Refusal::OwnRequest)
        } else {
            Ok(())
        }
    }

    fn is_about(&self, action: &str, resource: &str) -> bool {
        self.action == action && self.resource == resource
    }

    fn is_approved_by(&self, principal: &Principal) -> bool {
        self.approvals.iter().any(|approval| approval.by == *principal)
    }

    fn have(&self) -> u32 {
        u32::try_from(self.approvals.len()).expect("few can decide one request")
    }

    fn state(&self, now: Timestamp) -> State {
        if let Some(end) = &self.end {
            end.how
        } else if self.used.is_some() {
            State::Used
        } else if self.expires_at <= now {
            State::Expired
        } else if self.have() < self.needed {
            State::Pending
        } else {
            State::Approved
        }
    }

    fn decided(&self, number: u64, now: Timestamp, have: u32) -> Reply {
        let state = match self.state(now) {
            State::Pending if self.needed <= have => State::Approved,
            state => state,
        };
        Reply::Decided { request: number, needed: self.needed, have, state }
    }

    fn receipt(&self, number: u64) -> Reply {
        Reply::Requested { request: number, needed: self.needed, have: self.have(), expires_at: self.expires_at }
    }

    fn shown(&self, number: u64, now: Timestamp) -> Request {
        Request {
            number,
            asker: self.asker.clone(),
            issuer: self.issuer.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            content: self.content,
            target: self.target,
            arguments: self.arguments.clone(),
            reason: self.reason.clone(),
            needed: self.needed,
            asked_at: self.asked_at,
            expires_at: self.expires_at,
            state: self.state(now),
            approvals: self.approvals.clone(),
            end: self.end.clone(),
            used: self.used,
        }
    }
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
