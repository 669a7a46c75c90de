//! One pool: what is leased of it, who waits for it in which order, and whom a command can serve.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::Timestamp;
use serde::{Deserialize, Serialize};

use crate::records::{DefinedV1, ExpiredV1, GrantedV1};
use crate::{Entry, Event, Grant, LeaseId, Pool};

/// Where a request stands in the queue of its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub stands: Timestamp,
    pub ticket: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub unit: String,
    pub capacity: u64,
    /// Units that are not recorded as given back.
    pub leased: u64,
    /// The newest fencing number.
    fencing: u64,
    /// The newest ticket of the queue.
    pub tickets: u64,
    /// In the order in which they are granted, with their amounts.
    queue: BTreeSet<(Place, LeaseId, u64)>,
    /// When which lease ends, with its amount.
    ending: BTreeSet<(Timestamp, LeaseId, u64)>,
}

impl Stock {
    pub fn new(defined: &DefinedV1) -> Self {
        Self {
            unit: defined.unit.clone(),
            capacity: defined.capacity,
            leased: 0,
            fencing: 0,
            tickets: 0,
            queue: BTreeSet::new(),
            ending: BTreeSet::new(),
        }
    }

    /// Who waits, in order.
    pub fn waiting(&self) -> impl Iterator<Item = (Place, LeaseId)> {
        self.queue.iter().map(|(place, lease, _)| (*place, *lease))
    }

    /// Counts from 1.
    pub fn position(&self, place: Place) -> u64 {
        self.queue.iter().take_while(|(other, ..)| *other < place).count() as u64 + 1
    }

    /// What is recorded as held and has ended by `now`.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = (Timestamp, LeaseId)> {
        self.ending.iter().take_while(move |(at, ..)| *at <= now).map(|(at, lease, _)| (*at, *lease))
    }

    /// When the next lease ends that is held at `now`.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.ending.iter().map(|(at, ..)| *at).find(|at| now < *at)
    }

    /// When the clock has to do with this pool: at once, if there is room for who waits.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.queue.first() {
            Some((_, _, amount)) if *amount <= self.capacity - self.leased => Some(Timestamp(0)),
            _ => self.ending.first().map(|(at, ..)| *at),
        }
    }

    pub fn shown(&self, name: &str, now: Timestamp) -> Pool {
        let held = || self.ending.iter().filter(|(at, ..)| now < *at);
        let leased = held().map(|(_, _, amount)| amount).sum();
        Pool {
            name: name.to_owned(),
            unit: self.unit.clone(),
            capacity: self.capacity,
            leased,
            free: self.capacity - leased,
            held: held().count() as u64,
            waiting: self.queue.len() as u64,
            fencing: self.fencing,
        }
    }
}

/// How it changes.
impl Stock {
    pub fn queue(&mut self, place: Place, lease: LeaseId, amount: u64) {
        assert_eq!(place.ticket, self.tickets + 1, "the requests of a pool are numbered in order");
        self.tickets = place.ticket;
        self.queue.insert((place, lease, amount));
    }

    /// `place` is where it waited, if it did.
    pub fn grant(&mut self, place: Option<Place>, granted: &GrantedV1) {
        assert_eq!(granted.fencing, self.fencing + 1, "the grants of {} are numbered in order", granted.pool);
        self.fencing = granted.fencing;
        if let Some(place) = place {
            let head = self.queue.pop_first();
            assert_eq!(
                head,
                Some((place, granted.lease, granted.amount)),
                "{} was granted out of order",
                granted.lease
            );
        }
        let leased = self.leased.checked_add(granted.amount);
        self.leased = leased.expect("no more is leased than a number can say");
        self.ending.insert((granted.expires_at, granted.lease, granted.amount));
    }

    pub fn renew(&mut self, lease: LeaseId, amount: u64, before: Timestamp, after: Timestamp) {
        assert!(self.ending.remove(&(before, lease, amount)), "a held lease is known to the clock");
        self.ending.insert((after, lease, amount));
    }

    pub fn withdraw(&mut self, place: Place, lease: LeaseId, amount: u64) {
        assert!(self.queue.remove(&(place, lease, amount)), "who waits stands in the queue");
    }

    pub fn take_back(&mut self, lease: LeaseId, amount: u64, expires_at: Timestamp) {
        assert!(self.ending.remove(&(expires_at, lease, amount)), "a held lease is known to the clock");
        self.leased -= amount;
    }
}

/// What one command does with one pool: a copy of its figures that changes with each fact.
pub(crate) struct Round<'a> {
    name: &'a str,
    now: Timestamp,
    pub capacity: u64,
    pub leased: u64,
    fencing: u64,
    pub facts: Vec<Event>,
}

impl<'a> Round<'a> {
    /// Begins with the record of what has expired.
    pub fn new(name: &'a str, stock: &Stock, now: Timestamp) -> Self {
        let due = || stock.ending.iter().take_while(|(at, ..)| *at <= now);
        let (mut facts, count) = (Vec::new(), due().count());
        if 0 < count {
            let leases = u32::try_from(count).expect("there are not so many leases");
            facts.push(Event::Expired(ExpiredV1 { pool: name.to_owned(), at: now, leases }));
        }
        let leased = stock.leased - due().map(|(_, _, amount)| amount).sum::<u64>();
        Self { name, now, capacity: stock.capacity, leased, fencing: stock.fencing, facts }
    }

    pub fn free(&self) -> u64 {
        self.capacity - self.leased
    }

    /// Grants what waits, in order, until the next does not fit, and says how many these were.
    pub fn serve(
        &mut self,
        leases: &BTreeMap<LeaseId, Entry>,
        waiting: impl Iterator<Item = (Place, LeaseId)>,
        max: usize,
    ) -> usize {
        let mut served = 0;
        for (_, lease) in waiting.take(max) {
            let entry = &leases[&lease];
            if self.free() < entry.amount {
                break;
            }
            self.grant(lease, entry);
            served += 1;
        }
        served
    }

    pub fn grant(&mut self, lease: LeaseId, entry: &Entry) -> Grant {
        self.fencing += 1;
        self.leased += entry.amount;
        let grant = Grant { fencing: self.fencing, at: self.now, expires_at: self.now + entry.lifetime };
        self.facts.push(Event::Granted(GrantedV1 {
            lease,
            pool: self.name.to_owned(),
            owner: entry.owner.to_string(),
            amount: entry.amount,
            priority: entry.priority,
            lifetime: entry.lifetime,
            asked_at: entry.asked_at,
            fencing: grant.fencing,
            at: grant.at,
            expires_at: grant.expires_at,
        }));
        grant
    }
}
