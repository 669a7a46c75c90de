//! Resource allocator: leases over named pools.
//!
//! A pure [`Machine`]. A pool has so many units; a lease holds some of them for one owner until an instant, under a fencing
//! number with which what is leased can turn away whoever comes with an older one. What cannot be granted now waits, if its
//! owner wants that. Validity is decided by time: a lease counts as free from its deadline on, whenever that comes to be
//! recorded, and a command that grants records it first. Whoever has room made grants what waited for it, in the same
//! command; what is too much for one command the clock goes on with.
//!
//! # The queue
//! A request stands in its pool's queue by the time it came, and a step of priority is worth [`PRIORITY_STEP`] of waiting:
//! priority 3 stands as if it had come 90 seconds before one of priority 0. Ties are broken by arrival. Only the head of the
//! queue is ever granted: a smaller request does not slip past a larger one that waits for room. So nobody is overtaken by
//! who came over 90 seconds later, whatever that one's priority or size. While somebody waits, no renewal takes a lease
//! beyond [`LIFETIME_MAX`] from its grant, so the head does not wait for ever either.
//!
//! # Invariants
//! 1. At no time are more units leased than the pool has.
//! 2. Fencing numbers of a pool count from 1 in the order of the grants; none is given twice.
//! 3. An id names one lease for ever, also after it ended.
//! 4. A lease ends once, and never earlier than it was good for but by its owner, an operator or a revocation.
//! 5. What waits is granted in the order of the queue.
//! 6. One command makes at most [`GRANTS_MAX`] grants, and two facts more for each pool that it touches.

#![no_std]

extern crate alloc;

mod queue;
pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Kin, Machine, Millis, Outcome, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use queue::{Place, Round, Stock};
use records::{
    DefinedV1, ExpiredV1, GrantedV1, OwnerRevokedV1, QueuedV1, ReleasedV1, RenewedV1, ResizedV1, WithdrawnV1,
};
pub use vocabulary::*;

/// Most grants of one command.
const GRANTS_MAX: usize = 256;

/// Every pool, and every lease there ever was. Ended ones stay, so that no id is used twice and their owners can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocator {
    pools: BTreeMap<String, Stock>,
    leases: BTreeMap<LeaseId, Entry>,
    /// What each owner holds and waits for, as far as is recorded.
    open_by_owner: BTreeMap<Principal, BTreeSet<LeaseId>>,
    /// How many that are in all.
    open: u64,
    /// When the clock has to do with which pool: [`Stock::deadline`].
    deadlines: BTreeSet<(Timestamp, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub pool: String,
    pub owner: Principal,
    pub amount: u64,
    pub priority: u8,
    pub lifetime: Millis,
    pub asked_at: Timestamp,
    pub stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Waiting(Place),
    Held(Grant),
    Ended { state: State, at: Timestamp, grant: Option<Grant> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub fencing: u64,
    pub at: Timestamp,
    /// First instant at which the lease is no longer held.
    pub expires_at: Timestamp,
}

impl Machine for Allocator {
    const NAME: &'static str = "allocator";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Define { pool, capacity, unit } => self.define(pool, *capacity, unit, cx.now),
            Command::Resize { pool, capacity, expected } => self.resize(pool, *capacity, *expected, cx.now),
            Command::Request(request) => self.request(request, cx),
            Command::Renew { lease, fencing, lifetime } => self.renew(*lease, *fencing, *lifetime, cx),
            Command::Release { lease, fencing } => self.release(*lease, *fencing, cx),
            Command::RevokeOwner { .. } if cx.principal.kin != Kin::Internal => Err(Refusal::RoutesOnly),
            Command::RevokeOwner { owner } => Ok(self.revoke(owner, cx.now)),
            Command::Expire => Ok(self.expire(cx.now)),
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Defined(defined) => {
                let earlier = self.pools.insert(defined.pool.clone(), Stock::new(defined));
                assert_eq!(earlier, None, "the pool {} was defined twice", defined.pool);
            }
            Event::Resized(resized) => self.change(&resized.pool, |stock| stock.capacity = resized.capacity),
            Event::Queued(queued) => {
                let place = Place { stands: queued.stands, ticket: queued.ticket };
                self.enter(queued.lease, Entry::queued(queued, place));
                self.change(&queued.pool, |stock| stock.queue(place, queued.lease, queued.amount));
            }
            Event::Granted(granted) => {
                let place = self.leases.get(&granted.lease).map(|entry| entry.waits(granted.lease));
                let entry = Entry::granted(granted);
                if place.is_none() {
                    self.enter(granted.lease, entry);
                } else {
                    self.leases.insert(granted.lease, entry);
                }
                self.change(&granted.pool, |stock| stock.grant(place, granted));
            }
            Event::Renewed(RenewedV1 { lease, expires_at }) => {
                let entry = self.leases.get_mut(lease).expect("only a lease is renewed");
                let Stage::Held(grant) = &mut entry.stage else { panic!("{lease} was renewed when it was not held") };
                let before = grant.expires_at;
                assert!(before < *expires_at, "{lease} was shortened");
                grant.expires_at = *expires_at;
                let (pool, amount) = (entry.pool.clone(), entry.amount);
                self.change(&pool, |stock| stock.renew(*lease, amount, before, *expires_at));
            }
            Event::Released(ReleasedV1 { lease, at }) => self.end(*lease, State::Released, *at),
            Event::Withdrawn(WithdrawnV1 { lease, at }) => self.end(*lease, State::Withdrawn, *at),
            Event::Expired(ExpiredV1 { pool, at, leases }) => {
                let due: Vec<_> = self.pools[pool].due(*at).collect();
                assert_eq!(due.len(), *leases as usize, "as many leases of {pool} expired as were due");
                for (expires_at, lease) in due {
                    self.end(lease, State::Expired, expires_at);
                }
            }
            Event::OwnerRevoked(revoked) => {
                let owner = revoked.owner();
                for lease in self.open_by_owner.get(&owner).cloned().unwrap_or_default() {
                    self.end(lease, State::Revoked, revoked.at);
                }
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Expire)
    }
}

/// What is answered.
impl Allocator {
    fn define(&self, pool: &str, capacity: u64, unit: &str, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let reply = Reply::Sized { pool: pool.to_owned(), capacity };
        match self.pools.get(pool) {
            Some(stock) if stock.capacity == capacity && stock.unit == unit => Ok(Outcome::already(reply)),
            Some(stock) => Err(Refusal::PoolTaken { pool: pool.to_owned(), capacity: stock.capacity }),
            None if !is_name(pool) => Err(Refusal::BadName),
            None if UNIT_MAX < unit.chars().count() => Err(Refusal::UnitTooLong),
            None if POOLS_MAX <= self.pools.len() => Err(Refusal::TooManyPools),
            None => {
                let defined = DefinedV1 { pool: pool.to_owned(), capacity, unit: unit.to_owned(), at: now };
                Ok(Outcome::new(vec![Event::Defined(defined)], reply))
            }
        }
    }

    fn resize(
        &self,
        pool: &str,
        capacity: u64,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<Outcome<Self>, Refusal> {
        let stock = self.stock(pool)?;
        let mut round = Round::new(pool, stock, now);
        let largest = stock.waiting().filter(|(_, lease)| capacity < self.leases[lease].amount).map(|(_, lease)| lease);
        let reply = Reply::Sized { pool: pool.to_owned(), capacity };
        if stock.capacity == capacity {
            return Ok(Outcome::already(reply));
        } else if expected.is_some_and(|expected| stock.capacity != expected) {
            return Err(Refusal::Changed { capacity: stock.capacity });
        } else if capacity < round.leased {
            return Err(Refusal::BelowLeased { leased: round.leased });
        } else if let Some(lease) = largest.max_by_key(|lease| self.leases[lease].amount) {
            return Err(Refusal::BelowWaiting { lease, amount: self.leases[&lease].amount });
        }
        round.capacity = capacity;
        round.facts.push(Event::Resized(ResizedV1 { pool: pool.to_owned(), capacity, at: now }));
        round.serve(&self.leases, stock.waiting(), GRANTS_MAX);
        Ok(Outcome::new(round.facts, reply))
    }

    fn request(&self, request: &Request, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let Request { lease, ref pool, ref owner, amount, priority, wait, .. } = *request;
        let lifetime = request.lifetime.unwrap_or(LIFETIME);
        let held = || self.open_by_owner.get(owner).map_or(0, BTreeSet::len);
        if let Some(entry) = self.leases.get(&lease) {
            // A retry: what became of the first is the answer.
            return if entry.is(request, lifetime) && (entry.owner == cx.principal || is_operator(cx)) {
                self.as_it_is(lease, entry, cx.now).map(Outcome::already)
            } else {
                Err(Refusal::IdTaken)
            };
        }
        let stock = self.stock(pool)?;
        if owner.kin == Kin::Internal {
            return Err(Refusal::InternalOwner);
        } else if *owner != cx.principal && !is_operator(cx) {
            return Err(Refusal::ForAnother);
        } else if amount == 0 {
            return Err(Refusal::NothingAsked);
        } else if stock.capacity < amount {
            return Err(Refusal::OverCapacity { asked: amount, capacity: stock.capacity });
        } else if PRIORITY_MAX < priority {
            return Err(Refusal::PriorityOutOfRange { asked: priority });
        } else if lifetime.0 == 0 || LIFETIME_MAX < lifetime {
            return Err(Refusal::LifetimeOutOfRange { asked: lifetime });
        } else if OPEN_MAX as u64 <= self.open {
            return Err(Refusal::Full);
        } else if OWNED_MAX <= held() {
            return Err(Refusal::OwnerFull);
        }
        let place = Place { stands: stands(cx.now, priority), ticket: stock.tickets + 1 };
        let before = || stock.waiting().take_while(|(other, _)| *other < place);
        let ahead = before().count();
        let mut round = Round::new(pool, stock, cx.now);
        let served = round.serve(&self.leases, before(), GRANTS_MAX - 1);
        let entry = Entry {
            pool: pool.clone(),
            owner: owner.clone(),
            amount,
            priority,
            lifetime,
            asked_at: cx.now,
            stage: Stage::Waiting(place),
        };
        let reply = if served == ahead && amount <= round.free() {
            let grant = round.grant(lease, &entry);
            round.serve(&self.leases, stock.waiting().skip_while(|(other, _)| *other < place), GRANTS_MAX - 1 - served);
            entry.receipt(lease, grant)
        } else if wait {
            round.facts.push(Event::Queued(entry.written(lease, place)));
            Reply::Queued { lease, pool: pool.clone(), amount, position: (ahead - served) as u64 + 1 }
        } else {
            let retry_after = stock.next_end(cx.now).map(|at| at - cx.now);
            return Err(Refusal::Exhausted { free: round.free(), ahead: (ahead - served) as u64, retry_after });
        };
        Ok(Outcome::new(round.facts, reply))
    }

    fn renew(
        &self,
        lease: LeaseId,
        fencing: u64,
        lifetime: Option<Millis>,
        cx: &Context,
    ) -> Result<Outcome<Self>, Refusal> {
        let entry = self.own(lease, cx)?;
        let lifetime = lifetime.unwrap_or(LIFETIME);
        let grant = match &entry.stage {
            Stage::Waiting(_) => return Err(Refusal::Waiting),
            Stage::Held(grant) if cx.now < grant.expires_at => *grant,
            Stage::Held(_) | Stage::Ended { .. } => return Err(Refusal::Ended { state: entry.state(cx.now) }),
        };
        let (expires_at, until) = (cx.now + lifetime, grant.at + LIFETIME_MAX);
        if fencing != grant.fencing {
            Err(Refusal::Fenced { fencing: grant.fencing })
        } else if lifetime.0 == 0 || LIFETIME_MAX < lifetime {
            Err(Refusal::LifetimeOutOfRange { asked: lifetime })
        } else if expires_at <= grant.expires_at {
            Ok(Outcome::already(entry.receipt(lease, grant)))
        } else if until < expires_at && self.pools[&entry.pool].waiting().next().is_some() {
            Err(Refusal::OthersWait { until })
        } else {
            let renewed = Event::Renewed(RenewedV1 { lease, expires_at });
            Ok(Outcome::new(vec![renewed], entry.receipt(lease, Grant { expires_at, ..grant })))
        }
    }

    fn release(&self, lease: LeaseId, fencing: Option<u64>, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let entry = self.own(lease, cx)?;
        let stock = &self.pools[&entry.pool];
        let mut round = Round::new(&entry.pool, stock, cx.now);
        let grant = entry.grant();
        match (entry.state(cx.now), grant) {
            (_, Some(grant)) if fencing.is_some_and(|fencing| fencing != grant.fencing) => {
                return Err(Refusal::Fenced { fencing: grant.fencing });
            }
            (State::Held, _) => {
                round.facts.push(Event::Released(ReleasedV1 { lease, at: cx.now }));
                round.leased -= entry.amount;
            }
            (State::Waiting, _) => round.facts.push(Event::Withdrawn(WithdrawnV1 { lease, at: cx.now })),
            _ => return Ok(Outcome::already(Reply::Released { lease, ended: false })),
        }
        round.serve(&self.leases, stock.waiting().filter(|(_, other)| *other != lease), GRANTS_MAX);
        Ok(Outcome::new(round.facts, Reply::Released { lease, ended: true }))
    }

    fn revoke(&self, owner: &Principal, now: Timestamp) -> Outcome<Self> {
        let Some(ids) = self.open_by_owner.get(owner) else {
            return Outcome::already(Reply::Revoked { leases: 0, requests: 0 });
        };
        let (mut leases, mut requests) = (0, 0);
        let mut rounds: BTreeMap<&str, Round<'_>> = BTreeMap::new();
        for lease in ids {
            let entry = &self.leases[lease];
            let round = rounds.entry(&entry.pool);
            let round = round.or_insert_with(|| Round::new(&entry.pool, &self.pools[&entry.pool], now));
            match entry.state(now) {
                State::Held => {
                    leases += 1;
                    round.leased -= entry.amount;
                }
                State::Waiting => requests += 1,
                // Recorded as expired first.
                _ => (),
            }
        }
        // First what has expired, then the revocation, then what that makes room for.
        let mut facts: Vec<_> = rounds.values_mut().flat_map(|round| core::mem::take(&mut round.facts)).collect();
        if 0 < leases + requests {
            facts.push(Event::OwnerRevoked(OwnerRevokedV1 { owner: owner.to_string(), at: now }));
        }
        let mut left = GRANTS_MAX;
        for (pool, round) in &mut rounds {
            let others = self.pools[*pool].waiting().filter(|(_, lease)| !ids.contains(lease));
            left -= round.serve(&self.leases, others, left);
            facts.append(&mut round.facts);
        }
        Outcome::new(facts, Reply::Revoked { leases, requests })
    }

    fn expire(&self, now: Timestamp) -> Outcome<Self> {
        let (mut facts, mut leases, mut left) = (Vec::new(), 0, GRANTS_MAX);
        for (_, pool) in self.deadlines.iter().take_while(|(at, _)| *at <= now) {
            let stock = &self.pools[pool];
            let mut round = Round::new(pool, stock, now);
            leases += stock.due(now).count() as u64;
            left -= round.serve(&self.leases, stock.waiting(), left);
            facts.append(&mut round.facts);
        }
        Outcome::new(facts, Reply::Expired { leases, granted: (GRANTS_MAX - left) as u64 })
    }

    /// What is so of a lease that was asked for before.
    fn as_it_is(&self, lease: LeaseId, entry: &Entry, now: Timestamp) -> Result<Reply, Refusal> {
        match (&entry.stage, entry.state(now)) {
            (Stage::Waiting(place), _) => {
                let position = self.pools[&entry.pool].position(*place);
                Ok(Reply::Queued { lease, pool: entry.pool.clone(), amount: entry.amount, position })
            }
            (Stage::Held(grant), State::Held) => Ok(entry.receipt(lease, *grant)),
            (_, state) => Err(Refusal::Ended { state }),
        }
    }

    fn stock(&self, pool: &str) -> Result<&Stock, Refusal> {
        // A name that is none may be of any length; an answer may not.
        self.pools.get(pool).ok_or_else(|| Refusal::UnknownPool { pool: pool.chars().take(NAME_MAX).collect() })
    }

    /// The lease, if it is for the caller to change.
    fn own(&self, lease: LeaseId, cx: &Context) -> Result<&Entry, Refusal> {
        match self.leases.get(&lease) {
            None => Err(Refusal::Unknown),
            Some(entry) if entry.owner != cx.principal && !is_operator(cx) => Err(Refusal::NotOwner),
            Some(entry) => Ok(entry),
        }
    }
}

/// What is shown.
impl Allocator {
    pub fn show(&self, lease: LeaseId, now: Timestamp) -> Option<Lease> {
        let entry = self.leases.get(&lease)?;
        let position = match &entry.stage {
            Stage::Waiting(place) => Some(self.pools[&entry.pool].position(*place)),
            Stage::Held(_) | Stage::Ended { .. } => None,
        };
        Some(entry.shown(lease, position, now))
    }

    /// The leases that `filter` lets through, in the order of their ids.
    pub fn list(&self, filter: &Filter, now: Timestamp) -> impl Iterator<Item = Lease> {
        let Filter { pool, owner, state } = filter;
        let passes = move |entry: &Entry| {
            pool.as_ref().is_none_or(|pool| entry.pool == *pool)
                && owner.as_ref().is_none_or(|owner| entry.owner == *owner)
                && state.map_or(entry.state(now).is_open(), |state| entry.state(now) == state)
        };
        // Each queue is counted once, not once for each who stands in it.
        let queues = self.pools.values().flat_map(|stock| (1_u64..).zip(stock.waiting()));
        let positions: BTreeMap<_, _> = queues.map(|(position, (_, lease))| (lease, position)).collect();
        let found = self.leases.iter().filter(move |(_, entry)| passes(entry));
        found.map(move |(lease, entry)| entry.shown(*lease, positions.get(lease).copied(), now))
    }

    pub fn pool(&self, pool: &str, now: Timestamp) -> Option<Pool> {
        self.pools.get_key_value(pool).map(|(name, stock)| stock.shown(name, now))
    }

    /// All pools, in the order of their names.
    pub fn pools(&self, now: Timestamp) -> impl Iterator<Item = Pool> {
        self.pools.iter().map(move |(name, stock)| stock.shown(name, now))
    }

    /// Whose lease it is, or was.
    pub fn owner(&self, lease: LeaseId) -> Option<&Principal> {
        self.leases.get(&lease).map(|entry| &entry.owner)
    }
}

/// How the state changes.
impl Allocator {
    fn enter(&mut self, lease: LeaseId, entry: Entry) {
        self.open_by_owner.entry(entry.owner.clone()).or_default().insert(lease);
        self.open += 1;
        let earlier = self.leases.insert(lease, entry);
        assert_eq!(earlier, None, "{lease} was asked for twice");
    }

    fn end(&mut self, lease: LeaseId, state: State, at: Timestamp) {
        let entry = self.leases.get_mut(&lease).expect("only a lease that was asked for ends");
        let grant = match (&entry.stage, state) {
            (Stage::Held(grant), State::Released | State::Expired | State::Revoked) => Some(*grant),
            (Stage::Waiting(_), State::Withdrawn | State::Revoked) => None,
            (before, state) => panic!("{lease} ended as {state} when it was {before:?}"),
        };
        let before = core::mem::replace(&mut entry.stage, Stage::Ended { state, at, grant });
        let (pool, amount, owner) = (entry.pool.clone(), entry.amount, entry.owner.clone());
        let ids = self.open_by_owner.get_mut(&owner).expect("an open lease has an owner");
        assert!(ids.remove(&lease), "an open lease is known to be its owner's");
        if ids.is_empty() {
            self.open_by_owner.remove(&owner);
        }
        self.open -= 1;
        self.change(&pool, |stock| match before {
            Stage::Waiting(place) => stock.withdraw(place, lease, amount),
            Stage::Held(grant) => stock.take_back(lease, amount, grant.expires_at),
            Stage::Ended { .. } => unreachable!("checked above"),
        });
    }

    /// Changes one pool, and keeps the clock's index true to it.
    fn change(&mut self, pool: &str, change: impl FnOnce(&mut Stock)) {
        let stock = self.pools.get_mut(pool).expect("only a defined pool changes");
        let before = stock.deadline();
        change(stock);
        let after = stock.deadline();
        assert!(stock.leased <= stock.capacity, "more of {pool} is leased than there is");
        if before != after {
            before.map(|at| self.deadlines.remove(&(at, pool.to_owned())));
            after.map(|at| self.deadlines.insert((at, pool.to_owned())));
        }
    }
}

impl Entry {
    fn queued(queued: &QueuedV1, place: Place) -> Self {
        Self {
            pool: queued.pool.clone(),
            owner: queued.owner.parse().expect("a principal asks for a lease"),
            amount: queued.amount,
            priority: queued.priority,
            lifetime: queued.lifetime,
            asked_at: queued.at,
            stage: Stage::Waiting(place),
        }
    }

    fn granted(granted: &GrantedV1) -> Self {
        let GrantedV1 { fencing, at, expires_at, .. } = *granted;
        Self {
            pool: granted.pool.clone(),
            owner: granted.owner.parse().expect("a lease is granted to a principal"),
            amount: granted.amount,
            priority: granted.priority,
            lifetime: granted.lifetime,
            asked_at: granted.asked_at,
            stage: Stage::Held(Grant { fencing, at, expires_at }),
        }
    }

    fn written(&self, lease: LeaseId, place: Place) -> QueuedV1 {
        QueuedV1 {
            lease,
            pool: self.pool.clone(),
            owner: self.owner.to_string(),
            amount: self.amount,
            priority: self.priority,
            lifetime: self.lifetime,
            at: self.asked_at,
            stands: place.stands,
            ticket: place.ticket,
        }
    }

    /// Was this lease asked for by the very same request?
    fn is(&self, request: &Request, lifetime: Millis) -> bool {
        self.pool == request.pool
            && self.owner == request.owner
            && self.amount == request.amount
            && self.priority == request.priority
            && self.lifetime == lifetime
    }

    fn waits(&self, lease: LeaseId) -> Place {
        let Stage::Waiting(place) = self.stage else { panic!("{lease} was granted when it did not wait") };
        place
    }

    fn grant(&self) -> Option<Grant> {
        match &self.stage {
            Stage::Waiting(_) => None,
            Stage::Held(grant) => Some(*grant),
            Stage::Ended { grant, .. } => *grant,
        }
    }

    fn state(&self, now: Timestamp) -> State {
        match &self.stage {
            Stage::Waiting(_) => State::Waiting,
            Stage::Held(grant) if grant.expires_at <= now => State::Expired,
            Stage::Held(_) => State::Held,
            Stage::Ended { state, .. } => *state,
        }
    }

    fn shown(&self, id: LeaseId, position: Option<u64>, now: Timestamp) -> Lease {
        let grant = self.grant();
        Lease {
            id,
            pool: self.pool.clone(),
            owner: self.owner.clone(),
            amount: self.amount,
            priority: self.priority,
            lifetime: self.lifetime,
            state: self.state(now),
            asked_at: self.asked_at,
            position,
            fencing: grant.map(|grant| grant.fencing),
            granted_at: grant.map(|grant| grant.at),
            expires_at: grant.map(|grant| grant.expires_at),
            ended_at: match &self.stage {
                Stage::Ended { at, .. } => Some(*at),
                Stage::Held(grant) if grant.expires_at <= now => Some(grant.expires_at),
                Stage::Held(_) | Stage::Waiting(_) => None,
            },
        }
    }

    fn receipt(&self, lease: LeaseId, grant: Grant) -> Reply {
        let Grant { fencing, expires_at, .. } = grant;
        Reply::Granted { lease, pool: self.pool.clone(), amount: self.amount, fencing, expires_at }
    }
}

impl OwnerRevokedV1 {
    /// # Panics
    /// If the record is corrupt.
    pub fn owner(&self) -> Principal {
        self.owner.parse().expect("an owner is a principal")
    }
}

/// Where a request stands that comes at `now`: each step below the highest priority as if it came later.
fn stands(now: Timestamp, priority: u8) -> Timestamp {
    now + Millis(u64::from(PRIORITY_MAX - priority) * PRIORITY_STEP.0)
}

fn is_operator(cx: &Context) -> bool {
    cx.principal.kin == Kin::Operator
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    (1..=NAME_MAX).contains(&text.len()) && text.chars().all(plain)
}
