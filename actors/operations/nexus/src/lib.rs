//! Nexus: which protocols are admitted, and the messages that wait for them.
//!
//! A pure [`Machine`]. Protocols are admitted by name, with the ones they depend on and the ones they may send to. A message
//! waits in one of four lanes at its destination until that acknowledges it, which takes it out and puts in what follows
//! from it in one command: a chain of messages is handled once, link by link. What cannot be delivered becomes a dead
//! letter, which an operator requeues or discards. Payloads are never interpreted.
//!
//! # Order
//! Inside a lane first come, first served. Between the lanes a wheel of 15 turns gives the critical lane eight, the high
//! one four, the normal one two and the low one one; a turn whose lane is empty goes to the first that is not. A turn is
//! over when a message was delivered or failed on for the last time, so what expires takes nobody's turn away. A message at
//! the head of the low lane leaves after at most 14 others.
//!
//! # Invariants
//! 1. What was sent is what waits, was delivered, is dead, was discarded or forgotten; nothing is lost or counted twice.
//! 2. An admitted protocol depends on admitted ones only, unless these were revoked, and never on itself, however indirectly.
//! 3. Only an admitted protocol has messages that wait.
//! 4. No lane has over [`LANE_MAX`] messages, no destination over [`DESTINATION_BYTES_MAX`] bytes waiting, all of them not
//!    over [`WAITING_BYTES_MAX`], and there are at most [`DEAD_MAX`] dead letters and [`PROTOCOLS_MAX`] protocols.
//! 5. Only its destination acknowledges a message, and only until its lifetime ends, whenever that comes to be recorded.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{CommandId, Context, Digest, Kin, Machine, Outcome, Personal, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use records::{
    AdmittedV1, DeliveredV1, DiedV1, DiscardedV1, FailedV1, ForgottenV1, ProtocolForgottenV1, RequeuedV1, SentV1,
    WithdrawnV2,
};
pub use vocabulary::*;

/// Turns of the wheel.
const WHEEL: u64 = 15;
/// Most deaths that one command records: as many as one destination can have waiting, and as there can be dead letters.
const DEATHS_MAX: usize = 4 * LANE_MAX;

const _: () = assert!(DEATHS_MAX <= DEAD_MAX, "what dies at once is kept");

/// Every protocol that is known, and every message that waits or is dead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nexus {
    protocols: BTreeMap<String, Entry>,
    waiting: BTreeMap<MessageId, Waiting>,
    /// When which of them expires.
    expiring: BTreeSet<(Timestamp, MessageId)>,
    /// In the order of their deaths.
    dead: BTreeMap<u64, Dead>,
    dead_by_id: BTreeMap<MessageId, u64>,
    /// Counts the deaths.
    deaths: u64,
    /// Waiting in all.
    bytes: u64,
    counters: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    standing: Standing,
    depends_on: BTreeSet<String>,
    speaks_to: BTreeSet<String>,
    admitted_at: Timestamp,
    /// By ticket.
    lanes: [BTreeMap<u64, MessageId>; 4],
    bytes: u64,
    /// The newest ticket.
    tickets: u64,
    /// Of the wheel, since the beginning.
    turns: u64,
}

impl Machine for Nexus {
    const NAME: &'static str = "nexus";
    const REVISION: u32 = 2;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Admit { protocol, depends_on, speaks_to } => self.admit(protocol, depends_on, speaks_to, cx.now),
            Command::Withdraw { protocol, reason } => self.withdraw(protocol, reason, cx.now),
            Command::Revoked { .. } if cx.principal.kin != Kin::Internal => Err(Refusal::RoutesOnly),
            Command::Revoked { protocol } => Ok(self.revoked(protocol, cx.now)),
            Command::Send(message) => self.send(message, cx),
            Command::Acknowledge { message, follow_ups } => self.acknowledge(*message, follow_ups, cx),
            Command::Fail { message, why } => self.fail(*message, why, cx),
            Command::Requeue { message } => self.requeue(*message, cx.now),
            Command::Discard { message } => {
                let Dead { message: Waiting { id, destination, .. }, .. } = self.dead_letter(*message)?;
                let discarded = DiscardedV1 { message: id.0, destination: destination.clone(), at: cx.now };
                Ok(Outcome::new(vec![Event::Discarded(discarded)], Reply::Discarded))
            }
            Command::Expire => {
                let due = self.expiring.iter().take_while(|(at, _)| *at <= cx.now).take(DEATHS_MAX);
                let due: Vec<_> = due.map(|(_, id)| &self.waiting[id]).collect();
                let why = |letter: &Waiting| format!("its lifetime of {} ended", letter.lifetime);
                let messages = due.len() as u64;
                Ok(Outcome::new(self.bury(&due, Death::Expired, why, cx.now), Reply::Expired { messages }))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Admitted(admitted) => {
                let lists = [&admitted.depends_on, &admitted.speaks_to];
                let [depends_on, speaks_to] = lists.map(|list| list.iter().cloned().collect());
                let entry = self.protocols.entry(admitted.protocol.clone()).or_insert_with(Entry::new);
                (entry.depends_on, entry.speaks_to) = (depends_on, speaks_to);
                (entry.standing, entry.admitted_at) = (Standing::Admitted, admitted.at);
            }
            Event::Withdrawn(withdrawn) => {
                let WithdrawnV2 { protocol, reason, revoked, at } = withdrawn;
                let entry = self.protocols.get_mut(protocol).expect("only a known protocol is withdrawn");
                assert_eq!(entry.standing, Standing::Admitted, "{protocol} was withdrawn twice");
                assert_eq!(entry.depth(), [0; 4], "messages wait for {protocol}, which is withdrawn");
                entry.standing = Standing::Withdrawn { at: *at, reason: reason.clone(), revoked: *revoked };
            }
            Event::ProtocolForgotten(ProtocolForgottenV1 { protocol }) => {
                let entry = self.protocols.remove(protocol).expect("only a known protocol is forgotten");
                assert_ne!(entry.standing, Standing::Admitted, "{protocol} was forgotten when it was admitted");
            }
            Event::Sent(sent) => {
                self.counters.sent += 1;
                self.put(Waiting::new(sent));
            }
            Event::Delivered(DeliveredV1 { message, .. }) => {
                let letter = self.take(MessageId(*message));
                self.entry(&letter.destination).turns += 1;
                self.counters.delivered += 1;
            }
            Event::Failed(failed) => {
                let letter = self.waiting.get_mut(&MessageId(failed.message)).expect("only what waits is failed on");
                assert_eq!(letter.attempts + 1, failed.attempt, "the attempts at {} are numbered", letter.id);
                (letter.attempts, letter.why) = (failed.attempt, Some(failed.why.clone()));
                self.counters.failed += 1;
            }
            Event::Died(died) => {
                let message = self.take(MessageId(died.message));
                let death = Death::from_tag(died.death).expect("a recorded death has a cause");
                if death == Death::Rejected {
                    self.entry(&message.destination).turns += 1;
                }
                self.deaths += 1;
                self.counters.dead += 1;
                self.dead_by_id.insert(message.id, self.deaths);
                self.dead.insert(self.deaths, Dead { message, death, why: died.why.clone(), at: died.at });
            }
            Event::Requeued(requeued) => {
                let RequeuedV1 { message, ticket, expires_at, .. } = *requeued;
                let Dead { message: letter, .. } = self.exhume(MessageId(message));
                self.put(Waiting { ticket, expires_at, attempts: 0, why: None, ..letter });
                self.counters.requeued += 1;
            }
            Event::Discarded(DiscardedV1 { message, .. }) => {
                self.exhume(MessageId(*message));
                self.counters.discarded += 1;
            }
            Event::Forgotten(ForgottenV1 { message, .. }) => {
                self.exhume(MessageId(*message));
                self.counters.forgotten += 1;
            }
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
impl Nexus {
    fn admit(
        &self,
        protocol: &str,
        depends_on: &[String],
        speaks_to: &[String],
        now: Timestamp,
    ) -> Result<Outcome<Self>, Refusal> {
        if LIST_MAX < depends_on.len().max(speaks_to.len()) {
            return Err(Refusal::ListTooLong);
        } else if let Some(name) = [protocol]
            .into_iter()
            .chain(depends_on.iter().chain(speaks_to).map(String::as_str))
            .find(|name| !is_name(name))
        {
            return Err(Refusal::BadName { name: shortened(name) });
        }
        let [depends_on, speaks_to] = [depends_on, speaks_to].map(|list| list.iter().cloned().collect::<BTreeSet<_>>());
        let before = self.protocols.get(protocol);
        if depends_on.contains(protocol) {
            return Err(Refusal::OnItself);
        } else if let Some(name) = depends_on.iter().find(|name| self.admitted(name).is_none()) {
            return Err(Refusal::UnknownDependency { name: name.clone() });
        } else if let Some(name) = depends_on.iter().find(|name| self.depends(name, protocol)) {
            return Err(Refusal::Circle { name: name.clone() });
        }
        let same = |entry: &Entry| {
            entry.standing == Standing::Admitted && entry.depends_on == depends_on && entry.speaks_to == speaks_to
        };
        if before.is_some_and(same) {
            return Ok(Outcome::already(Reply::Admitted));
        }
        let mut facts = Vec::new();
        if before.is_none() && PROTOCOLS_MAX <= self.protocols.len() {
            // The one that is withdrawn for longest makes room.
            let withdrawn = self.protocols.iter().filter_map(|(name, entry)| match entry.standing {
                Standing::Admitted => None,
                Standing::Withdrawn { at, .. } => Some((at, name)),
            });
            let (_, oldest) = withdrawn.min().ok_or(Refusal::TooManyProtocols)?;
            facts.push(Event::ProtocolForgotten(ProtocolForgottenV1 { protocol: oldest.clone() }));
        }
        facts.push(Event::Admitted(AdmittedV1 {
            protocol: protocol.to_owned(),
            depends_on: depends_on.into_iter().collect(),
            speaks_to: speaks_to.into_iter().collect(),
            at: now,
        }));
        Ok(Outcome::new(facts, Reply::Admitted))
    }

    fn withdraw(&self, protocol: &str, reason: &Personal, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        if reason.is_empty() || reason.is_longer_than(REASON_MAX) {
            return Err(Refusal::BadReason);
        }
        match self.protocols.get(protocol) {
            None => Err(Refusal::UnknownProtocol { name: shortened(protocol) }),
            Some(Entry { standing: Standing::Withdrawn { .. }, .. }) => {
                Ok(Outcome::already(Reply::Withdrawn { messages: 0 }))
            }
            Some(_) => {
                let depends = |(_, entry): &(&String, &Entry)| entry.depends_on.contains(protocol);
                match self.protocols.iter().filter(|(_, entry)| entry.standing == Standing::Admitted).find(depends) {
                    Some((by, _)) => Err(Refusal::DependedOn { by: by.clone() }),
                    None => Ok(self.end(protocol, reason, false, now)),
                }
            }
        }
    }

    fn revoked(&self, protocol: &str, now: Timestamp) -> Outcome<Self> {
        match self.admitted(protocol) {
            Some(_) => self.end(protocol, &Personal::plain("all its tokens were revoked"), true, now),
            None => Outcome::already(Reply::Withdrawn { messages: 0 }),
        }
    }

    /// Withdraws an admitted protocol; what waits for it dies.
    fn end(&self, protocol: &str, reason: &Personal, revoked: bool, now: Timestamp) -> Outcome<Self> {
        let waiting: Vec<_> = self.protocols[protocol].waiting().map(|id| &self.waiting[id]).collect();
        let messages = waiting.len() as u64;
        // A sealed reason is told by the withdrawal alone.
        let why = |_: &Waiting| match reason.text() {
            Some(reason) => format!("{protocol} was withdrawn: {reason}"),
            None => format!("{protocol} was withdrawn"),
        };
        let mut facts = self.bury(&waiting, Death::Withdrawn, why, now);
        facts.push(Event::Withdrawn(WithdrawnV2 {
            protocol: protocol.to_owned(),
            reason: reason.clone(),
            revoked,
            at: now,
        }));
        Outcome::new(facts, Reply::Withdrawn { messages })
    }

    fn send(&self, message: &Message, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let id = MessageId(cx.command_id);
        if let Some(letter) = self.waiting.get(&id).filter(|letter| letter.is(message)) {
            let position_in_lane = self.protocols[&letter.destination].position(letter);
            return Ok(Outcome::already(Reply::Sent { id, position_in_lane }));
        }
        let mut post = Post::new(self);
        let position_in_lane = post.send(id, message, None, cx)?;
        Ok(Outcome::new(post.facts, Reply::Sent { id, position_in_lane }))
    }

    fn acknowledge(&self, id: MessageId, follow_ups: &[Message], cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let letter = self.for_its_destination(id, cx, false)?;
        if FOLLOW_UPS_MAX < follow_ups.len() {
            return Err(Refusal::TooManyFollowUps);
        }
        let mut post = Post::new(self);
        post.deliver(letter, cx.now);
        let mut ids = Vec::new();
        for (number, message) in (1_u32..).zip(follow_ups) {
            let follow_up = MessageId(follow_up_id(cx.command_id, number - 1));
            let sent = post.send(follow_up, message, Some(id), cx);
            sent.map_err(|refusal| Refusal::FollowUp { number, refusal: Box::new(refusal) })?;
            ids.push(follow_up);
        }
        Ok(Outcome::new(post.facts, Reply::Acknowledged { follow_ups: ids }))
    }

    fn fail(&self, id: MessageId, why: &str, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let letter = self.for_its_destination(id, cx, true)?;
        let (attempt, destination) = (letter.attempts + 1, letter.destination.clone());
        let why: String = why.chars().take(WHY_MAX).collect();
        let failed = FailedV1 { message: id.0, destination, attempt, why: why.clone(), at: cx.now };
        let mut facts = vec![Event::Failed(failed)];
        let died = ATTEMPTS_MAX <= attempt;
        if died {
            facts.append(&mut self.bury(&[letter], Death::Rejected, |_| why.clone(), cx.now));
        }
        Ok(Outcome::new(facts, Reply::Failed { attempts: attempt, died }))
    }

    fn requeue(&self, id: MessageId, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let letter = &self.dead_letter(id)?.message;
        let (ticket, position_in_lane) =
            Post::new(self).room(&letter.destination, letter.priority, letter.payload.len() as u64)?;
        let (destination, expires_at) = (letter.destination.clone(), now + letter.lifetime);
        let requeued = RequeuedV1 { message: id.0, destination, ticket, at: now, expires_at };
        Ok(Outcome::new(vec![Event::Requeued(requeued)], Reply::Requeued { position_in_lane }))
    }

    /// The message, if it waits at `now` and is for who asks; its handling may also be reported by a part of the authority.
    fn for_its_destination(&self, id: MessageId, cx: &Context, or_internal: bool) -> Result<&Waiting, Refusal> {
        let letter = self.waiting.get(&id).filter(|letter| cx.now < letter.expires_at).ok_or(Refusal::NotWaiting)?;
        let itself = cx.principal.kin == Kin::Protocol && cx.principal.name() == letter.destination;
        if itself || or_internal && cx.principal.kin == Kin::Internal {
            Ok(letter)
        } else {
            Err(Refusal::NotItsDestination { destination: letter.destination.clone() })
        }
    }

    fn dead_letter(&self, id: MessageId) -> Result<&Dead, Refusal> {
        self.dead_by_id.get(&id).map(|number| &self.dead[number]).ok_or(Refusal::NotDead)
    }

    /// The deaths, after what makes room for them.
    fn bury(&self, dying: &[&Waiting], death: Death, why: impl Fn(&Waiting) -> String, now: Timestamp) -> Vec<Event> {
        let over = (self.dead.len() + dying.len()).saturating_sub(DEAD_MAX);
        let forgotten = self.dead.values().take(over).map(|Dead { message, .. }| {
            Event::Forgotten(ForgottenV1 { message: message.id.0, destination: message.destination.clone(), at: now })
        });
        let died = dying.iter().map(|letter| {
            let (message, destination) = (letter.id.0, letter.destination.clone());
            Event::Died(DiedV1 { message, destination, death: death.tag(), why: why(letter), at: now })
        });
        forgotten.chain(died).collect()
    }

    fn admitted(&self, protocol: &str) -> Option<&Entry> {
        self.protocols.get(protocol).filter(|entry| entry.standing == Standing::Admitted)
    }

    /// Whether `one` depends on `other`, however indirectly.
    fn depends(&self, one: &str, other: &str) -> bool {
        let (mut seen, mut left) = (BTreeSet::new(), vec![one]);
        while let Some(name) = left.pop() {
            if name == other {
                return true;
            }
            if seen.insert(name) {
                left.extend(self.admitted(name).iter().flat_map(|entry| &entry.depends_on).map(String::as_str));
            }
        }
        false
    }
}

/// What one command puts into the lanes: the figures of those that it touches, which change with each fact.
struct Post<'a> {
    nexus: &'a Nexus,
    loads: BTreeMap<String, Load>,
    bytes: u64,
    facts: Vec<Event>,
}

struct Load {
    depth: [usize; 4],
    bytes: u64,
    tickets: u64,
}

impl<'a> Post<'a> {
    fn new(nexus: &'a Nexus) -> Self {
        Self { nexus, loads: BTreeMap::new(), bytes: nexus.bytes, facts: Vec::new() }
    }

    fn send(
        &mut self,
        id: MessageId,
        message: &Message,
        cause: Option<MessageId>,
        cx: &Context,
    ) -> Result<u64, Refusal> {
        let Message { source, destination, priority, kind, content_type, payload, lifetime } = message;
        let lifetime = lifetime.unwrap_or(LIFETIME);
        let bytes = payload.len() as u64;
        if *source != cx.principal {
            return Err(Refusal::NotItsSource { named: source.clone() });
        } else if !is_name(kind) {
            return Err(Refusal::BadName { name: shortened(kind) });
        } else if !is_content_type(content_type) {
            return Err(Refusal::BadContentType);
        } else if PAYLOAD_MAX < payload.len() {
            return Err(Refusal::PayloadTooLarge { bytes });
        } else if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            return Err(Refusal::LifetimeOutOfRange { asked: lifetime });
        } else if self.nexus.waiting.contains_key(&id) || self.nexus.dead_by_id.contains_key(&id) {
            return Err(Refusal::IdTaken);
        }
        if source.kin == Kin::Protocol {
            let not_admitted = || Refusal::NotAdmitted { name: source.name().to_owned() };
            let sender = self.nexus.admitted(source.name()).ok_or_else(not_admitted)?;
            if !sender.speaks_to.contains(destination) {
                return Err(Refusal::NotOnItsList { name: shortened(destination) });
            }
        }
        let (ticket, position) = self.room(destination, *priority, bytes)?;
        self.facts.push(Event::Sent(SentV1 {
            message: id.0,
            source: source.to_string(),
            destination: destination.clone(),
            priority: priority.lane(),
            kind: kind.clone(),
            content_type: content_type.clone(),
            payload: payload.clone(),
            lifetime,
            cause: cause.map(|MessageId(cause)| cause),
            ticket,
            at: cx.now,
            expires_at: cx.now + lifetime,
        }));
        Ok(position)
    }

    fn deliver(&mut self, letter: &Waiting, now: Timestamp) {
        let bytes = letter.payload.len() as u64;
        let load = self.load(&letter.destination).expect("messages wait for who is admitted");
        load.depth[usize::from(letter.priority.lane())] -= 1;
        load.bytes -= bytes;
        self.bytes -= bytes;
        let (message, destination) = (letter.id.0, letter.destination.clone());
        self.facts.push(Event::Delivered(DeliveredV1 { message, destination, at: now }));
    }

    /// Takes a place in a lane: its ticket, and its position.
    fn room(&mut self, destination: &str, priority: Priority, bytes: u64) -> Result<(u64, u64), Refusal> {
        let in_all = self.bytes + bytes;
        let load = self.load(destination).ok_or_else(|| Refusal::NotAdmitted { name: shortened(destination) })?;
        let depth = &mut load.depth[usize::from(priority.lane())];
        if LANE_MAX <= *depth || DESTINATION_BYTES_MAX < load.bytes + bytes {
            let (waiting, bytes) = (*depth as u64, load.bytes);
            return Err(Refusal::LaneFull { destination: destination.to_owned(), priority, waiting, bytes });
        } else if WAITING_BYTES_MAX < in_all {
            return Err(Refusal::Full { bytes: self.bytes });
        }
        *depth += 1;
        load.bytes += bytes;
        load.tickets += 1;
        let place = (load.tickets, *depth as u64);
        self.bytes = in_all;
        Ok(place)
    }

    /// The figures of an admitted destination.
    fn load(&mut self, destination: &str) -> Option<&mut Load> {
        if !self.loads.contains_key(destination) {
            let entry = self.nexus.admitted(destination)?;
            let load = Load { depth: entry.depth(), bytes: entry.bytes, tickets: entry.tickets };
            self.loads.insert(destination.to_owned(), load);
        }
        self.loads.get_mut(destination)
    }
}

/// What is shown.
impl Nexus {
    /// The next `n` messages for a destination, in the order in which they are to be handled.
    pub fn upcoming(&self, destination: &str, n: usize, now: Timestamp) -> Vec<&Waiting> {
        let Some(entry) = self.protocols.get(destination) else { return Vec::new() };
        let mut lanes = entry
            .lanes
            .each_ref()
            .map(|lane| lane.values().map(|id| &self.waiting[id]).filter(move |letter| now < letter.expires_at));
        let mut found = Vec::new();
        for turn in (entry.turns..).take(n) {
            let Some(next) = [lane_of(turn), 0, 1, 2, 3].into_iter().find_map(|lane| lanes[lane].next()) else { break };
            found.push(next);
        }
        found
    }

    /// All protocols that are known, in the order of their names.
    pub fn protocols(&self) -> impl Iterator<Item = Protocol> {
        self.protocols.iter().map(|(name, entry)| entry.shown(name))
    }

    pub fn protocol(&self, name: &str) -> Option<Protocol> {
        self.protocols.get_key_value(name).map(|(name, entry)| entry.shown(name))
    }

    /// Whether a protocol takes part.
    pub fn is_admitted(&self, name: &str) -> bool {
        self.admitted(name).is_some()
    }

    /// The messages that wait and that `filter` lets through, by destination, lane and age.
    pub fn waiting(&self, filter: &Filter) -> impl Iterator<Item = &Waiting> {
        let Filter { destination, source, priority } = filter;
        let of = move |(name, _): &(&String, &Entry)| destination.as_ref().is_none_or(|wanted| wanted == *name);
        let letters = self.protocols.iter().filter(of).flat_map(|(_, entry)| entry.waiting());
        letters.map(|id| &self.waiting[id]).filter(move |letter| {
            source.as_ref().is_none_or(|source| letter.source == *source)
                && priority.is_none_or(|priority| letter.priority == priority)
        })
    }

    /// The dead letters, oldest death first.
    pub fn dead(&self) -> impl Iterator<Item = &Dead> {
        self.dead.values()
    }

    /// A message that waits.
    pub fn message(&self, id: MessageId) -> Option<&Waiting> {
        self.waiting.get(&id)
    }

    /// A message that is dead.
    pub fn dead_message(&self, id: MessageId) -> Option<&Dead> {
        self.dead_letter(id).ok()
    }

    /// How many messages wait for a destination, lane by lane.
    pub fn depth(&self, destination: &str) -> [usize; 4] {
        self.protocols.get(destination).map_or([0; 4], Entry::depth)
    }

    pub fn counters(&self) -> Counters {
        Counters { waiting: self.waiting.len() as u64, dead: self.dead.len() as u64, ..self.counters }
    }
}

/// How the state changes.
impl Nexus {
    fn entry(&mut self, protocol: &str) -> &mut Entry {
        self.protocols.get_mut(protocol).expect("messages are for protocols that are known")
    }

    fn put(&mut self, letter: Waiting) {
        let Waiting { id, ticket, expires_at, .. } = letter;
        let bytes = letter.payload.len() as u64;
        let entry = self.entry(&letter.destination);
        assert_eq!(entry.standing, Standing::Admitted, "{id} was sent to {}, which is withdrawn", letter.destination);
        assert_eq!(ticket, entry.tickets + 1, "what comes to {} is numbered in order", letter.destination);
        entry.tickets = ticket;
        entry.lanes[usize::from(letter.priority.lane())].insert(ticket, id);
        entry.bytes += bytes;
        self.bytes += bytes;
        self.expiring.insert((expires_at, id));
        let earlier = self.waiting.insert(id, letter);
        assert!(earlier.is_none(), "{id} was sent twice");
    }

    fn take(&mut self, id: MessageId) -> Waiting {
        let letter = self.waiting.remove(&id).expect("only what waits is delivered or dies");
        let bytes = letter.payload.len() as u64;
        let entry = self.entry(&letter.destination);
        let removed = entry.lanes[usize::from(letter.priority.lane())].remove(&letter.ticket);
        assert_eq!(removed, Some(id), "what waits stands in its lane");
        entry.bytes -= bytes;
        self.bytes -= bytes;
        assert!(self.expiring.remove(&(letter.expires_at, id)), "what waits is known to the clock");
        letter
    }

    fn exhume(&mut self, id: MessageId) -> Dead {
        let number = self.dead_by_id.remove(&id).expect("only a dead letter is taken up again");
        self.dead.remove(&number).expect("a dead letter is kept under its number")
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            standing: Standing::Admitted,
            depends_on: BTreeSet::new(),
            speaks_to: BTreeSet::new(),
            admitted_at: Timestamp(0),
            lanes: Default::default(),
            bytes: 0,
            tickets: 0,
            turns: 0,
        }
    }

    /// What waits, lane by lane, in order.
    fn waiting(&self) -> impl Iterator<Item = &MessageId> {
        self.lanes.iter().flat_map(BTreeMap::values)
    }

    fn depth(&self) -> [usize; 4] {
        self.lanes.each_ref().map(BTreeMap::len)
    }

    /// Counts from 1.
    fn position(&self, letter: &Waiting) -> u64 {
        self.lanes[usize::from(letter.priority.lane())].range(..=letter.ticket).count() as u64
    }

    fn shown(&self, name: &str) -> Protocol {
        Protocol {
            name: name.to_owned(),
            standing: self.standing.clone(),
            depends_on: self.depends_on.clone(),
            speaks_to: self.speaks_to.clone(),
            admitted_at: self.admitted_at,
            depth: self.depth(),
            bytes: self.bytes,
        }
    }
}

impl Waiting {
    /// # Panics
    /// If the record is corrupt.
    fn new(sent: &SentV1) -> Self {
        Self {
            id: MessageId(sent.message),
            source: sent.source.parse().expect("a recorded source is a principal"),
            destination: sent.destination.clone(),
            priority: Priority::from_lane(sent.priority).expect("a recorded message has a lane"),
            kind: sent.kind.clone(),
            content_type: sent.content_type.clone(),
            payload: sent.payload.clone(),
            lifetime: sent.lifetime,
            cause: sent.cause.map(MessageId),
            sent_at: sent.at,
            expires_at: sent.expires_at,
            attempts: 0,
            why: None,
            ticket: sent.ticket,
        }
    }

    /// Whether it is what was sent as `message`.
    fn is(&self, message: &Message) -> bool {
        let own = (&self.source, &self.destination, self.priority, &self.kind, &self.content_type, &self.payload);
        let Message { source, destination, priority, kind, content_type, payload, lifetime } = message;
        own == (source, destination, *priority, kind, content_type, payload)
            && self.lifetime == lifetime.unwrap_or(LIFETIME)
    }
}

/// Whose turn it is. Of 15 turns, every second is the first lane's, every second of what is left is the next one's, and so on.
fn lane_of(turn: u64) -> usize {
    // Of 1 to 15, eight are odd, four are twice that, two four times, and one is eight.
    (turn % WHEEL + 1).trailing_zeros() as usize
}

/// Equal for equal acknowledgements, so that a repeat sends nothing twice.
fn follow_up_id(acknowledgement: CommandId, index: u32) -> CommandId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"nexus follow-up ").update(&acknowledgement.0.to_be_bytes()).update(&index.to_be_bytes());
    CommandId::derived(Digest(*hasher.finalize().as_bytes()))
}

fn is_name(text: &str) -> bool {
    Principal::new(Kin::Protocol, text).is_ok()
}

fn is_content_type(text: &str) -> bool {
    (1..=CONTENT_TYPE_MAX).contains(&text.len()) && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// A name that is none may be of any length; an answer may not.
fn shortened(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}
