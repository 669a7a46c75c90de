//! Holds what clients were told against what is recorded.
//!
//! What it looks for, each a complaint when it is not so:
//! 1. every command is recorded once, whole, at one place;
//! 2. what a client was told is what is recorded, at the place it was told; a denial that names a decision has it;
//! 3. a client's acknowledgements lie in the record in the order in which it heard them;
//! 4. nothing is recorded that no client asked, in its own name, or that is not the work of a known part;
//! 5. a use of a token is spent once, before the one effect that rests on it, and is not given back after;
//! 6. every fact that a route carries was carried once, in order, and has come to what it is for;
//! 7. no pool is leased over its capacity at any point, no fencing number is given twice, and what waits is granted in order;
//! 8. once a subject was revoked no token that it had is used, and once the allocator heard of it no lease that it had stays;
//! 9. every backup that was asked for was made, and ends where it was asked for; none failed or was found broken;
//! 10. a message that was acknowledged was sent once, and then waits, was delivered once, or died; what follows from one was
//!     sent with its delivery; no lane and no destination has more waiting than its bound.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use allocator::{Allocator, LeaseId};
use backup::Backups;
use gaps::Gaps;
use journal::codec;
use journal::envelope::{self, Record};
use kernel::{CommandId, Digest, Kin, Machine, Millis, Principal, Sequence, Timestamp, TokenId};
use nexus::Nexus;
use serde_json::Value;
use sop::routes::ROUTES;
use todos::{TodoId, Todos};
use tokens::Tokens;

use crate::{Answer, Ledger, Note};

/// The parts that act for the authority itself; its routes come on top.
const PARTS: [&str; 12] = [
    "archivist",
    "attestor",
    "bootstrap",
    "clock",
    "custodian",
    "detector",
    "door",
    "host",
    "monitor",
    "protocols",
    "scanner",
    "watch",
];

/// What was found wanting, and what there was to look at.
#[derive(Debug, Default)]
pub struct Judgement {
    pub complaints: Vec<String>,
    pub records: usize,
    pub acknowledged: usize,
    pub denied: usize,
    /// Denials of somebody known that could not be recorded: right while something is down, and at no other time.
    pub unrecorded: usize,
    /// Commands that were repeated because nothing was heard of them.
    pub repeated: usize,
    pub routed: usize,
    /// Effects that rest on a token.
    pub paid: usize,
    /// Leases that were granted.
    pub granted: usize,
    /// Leases, held or waited for, that ended because their owner was revoked.
    pub revoked: usize,
    /// Backups that were made.
    pub backups: usize,
    /// Messages that were sent, and what became of them.
    pub sent: usize,
    pub delivered: usize,
    pub died: usize,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, acknowledged, denied, unrecorded, repeated, routed, .. } = self;
        let Self { paid, granted, revoked, backups, sent, delivered, died, .. } = self;
        write!(
            f,
            "{records} records; {acknowledged} acknowledged, {denied} denied ({unrecorded} of them while nothing "
        )?;
        write!(
            f,
            "could be recorded), {repeated} repeated; {routed} routed, {paid} paid by token; {granted} leased, "
        )?;
        write!(f, "{revoked} of that revoked; {backups} backups; ")?;
        write!(f, "{sent} messages, {delivered} delivered, {died} times one died")
    }
}

/// The records of one command in one stream.
struct Command<'a> {
    records: Vec<&'a Record>,
}

impl Command<'_> {
    fn first(&self) -> &Record {
        self.records[0]
    }
}

/// Judges `records`, which are all there are, in order.
pub fn judge(records: &[Record], ledgers: &[Ledger]) -> Judgement {
    let mut judgement = Judgement { records: records.len(), ..Judgement::default() };
    let mut commands: BTreeMap<(CommandId, &str), Command<'_>> = BTreeMap::new();
    for (sequence, record) in (1..).zip(records) {
        if record.sequence.0 != sequence {
            judgement.complain(format!("record {sequence} is missing"));
            return judgement;
        }
        let command = commands.entry((record.command_id, record.stream.as_str()));
        command.or_insert_with(|| Command { records: Vec::new() }).records.push(record);
    }
    judgement.each_once(&commands);
    judgement.as_told(&commands, ledgers);
    judgement.as_asked(records, ledgers);
    judgement.uses(records);
    judgement.routes(records, &commands);
    judgement.revocations(records);
    judgement.leases(records);
    judgement.backups(records);
    let letters = judgement.messages(records, ledgers);
    // Records that contradict each other make no state to look at.
    if judgement.complaints.is_empty() {
        judgement.ends(records, &letters);
    }
    judgement
}

/// What clients knew when all up to `last` was recorded and nothing after: an answer whose record lies later was not heard.
pub fn known_at(last: Sequence, records: &[Record], ledgers: &[Ledger]) -> Vec<Ledger> {
    let mut places: BTreeMap<(CommandId, &str), Sequence> = BTreeMap::new();
    let mut first: BTreeMap<CommandId, Sequence> = BTreeMap::new();
    for record in records {
        places.entry((record.command_id, record.stream.as_str())).or_insert(record.sequence);
        first.entry(record.command_id).or_insert(record.sequence);
    }
    let answered = |note: &Note| match &note.answer {
        Answer::Unknown => None,
        Answer::Done { first, .. } => Some(*first),
        Answer::Shown | Answer::Denied { decision: None, .. } => places.get(&(note.id, stream(note.action))).copied(),
        Answer::Denied { decision: Some(id), .. } => {
            let places = [(*id, "decisions"), (note.id, stream(note.action))].map(|place| places.get(&place).copied());
            places.into_iter().flatten().next()
        }
    };
    let known = |ledger: &Ledger| {
        let asked = |note: &&Note| first.get(&note.id).is_none_or(|first| *first <= last);
        let notes = ledger.notes.iter().filter(asked).cloned().map(|note| {
            let later = answered(&note).is_some_and(|answered| last < answered);
            Note { answer: if later { Answer::Unknown } else { note.answer.clone() }, ..note }
        });
        Ledger { client: ledger.client.clone(), notes: notes.collect() }
    };
    ledgers.iter().map(known).collect()
}

/// The state that the records of one stream make.
///
/// # Panics
/// If they make none.
pub fn replay<M: Machine>(records: &[Record]) -> M {
    let mut machine = M::default();
    facts::<M>(records).for_each(|(record, event)| machine.evolve(&event, record.version));
    machine
}

/// The facts of one machine.
fn facts<M: Machine>(records: &[Record]) -> impl Iterator<Item = (&Record, M::Event)> {
    let own = records.iter().filter(|record| record.stream == M::NAME);
    own.filter_map(|record| fact::<M>(record).map(|event| (record, event)))
}

/// What a record of a machine's stream says happened, if anything.
fn fact<M: Machine>(record: &Record) -> Option<M::Event> {
    codec::fact(record).unwrap_or_else(|error| panic!("record {}: {error}", record.sequence))
}

impl Judgement {
    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    fn each_once(&mut self, commands: &BTreeMap<(CommandId, &str), Command<'_>>) {
        for ((id, stream), command) in commands {
            let (first, records) = (command.first(), &command.records);
            let one_place = (first.sequence.0..).zip(records).all(|(sequence, record)| record.sequence.0 == sequence);
            let in_order = (0..).zip(records).all(|(index, record)| record.index == index);
            let whole = records.len() == usize::from(first.count.max(1));
            if !(one_place && in_order && whole) {
                let places: Vec<_> = records.iter().map(|record| record.sequence.0).collect();
                self.complain(format!("{id} in {stream} is not recorded once and whole: {places:?}"));
            }
        }
    }

    fn as_told(&mut self, commands: &BTreeMap<(CommandId, &str), Command<'_>>, ledgers: &[Ledger]) {
        for ledger in ledgers {
            let mut before = Sequence(0);
            for note in &ledger.notes {
                self.repeated += usize::from(0 < note.unheard);
                let effect = commands.get(&(note.id, stream(note.action)));
                let who = format!("{}: {} {}", ledger.client, note.action, note.id);
                match &note.answer {
                    Answer::Unknown => {}
                    Answer::Done { first, told } => {
                        self.acknowledged += 1;
                        match effect {
                            None => self.complain(format!("{who} was acknowledged at {first} and is not recorded")),
                            Some(effect) if effect.first().sequence != *first => {
                                let lies = effect.first().sequence;
                                self.complain(format!("{who} was acknowledged at {first} and lies at {lies}"));
                            }
                            Some(effect) => self.same_answer(&who, effect.first(), told),
                        }
                        if *first <= before {
                            self.complain(format!("{who} was heard after {before} and lies before it, at {first}"));
                        }
                        before = *first;
                    }
                    Answer::Shown if reads(note.action) => {}
                    Answer::Shown => match effect.map(|effect| &effect.first().answer) {
                        Some(envelope::Answer::Reply(_)) => self.acknowledged += 1,
                        _ => self.complain(format!("{who} was acknowledged and is not recorded")),
                    },
                    Answer::Denied { code, decision } => {
                        self.denied += 1;
                        self.is_denied(commands, note, &who, code, *decision);
                    }
                }
            }
        }
    }

    /// What has one name in both has one value in both.
    fn same_answer(&mut self, who: &str, record: &Record, told: &Value) {
        let envelope::Answer::Reply(json) = &record.answer else {
            return self.complain(format!("{who} was told a yes, and a no is recorded"));
        };
        let recorded: Value = serde_json::from_slice(json).expect("an answer is JSON");
        // {"issued": {…}}: the name of the reply, then what is in it.
        let Some(recorded) = recorded.as_object().and_then(|reply| reply.values().next()) else { return };
        for (name, value) in recorded.as_object().into_iter().flatten() {
            let other = told.get(name).filter(|other| other.is_string() == value.is_string());
            if let Some(other) = other.filter(|other| *other != value) {
                self.complain(format!("{who} was told {name} {other}, and {value} is recorded"));
            }
        }
    }

    fn is_denied(
        &mut self,
        commands: &BTreeMap<(CommandId, &str), Command<'_>>,
        note: &Note,
        who: &str,
        code: &str,
        decision: Option<CommandId>,
    ) {
        let recorded = |id: CommandId, stream: &'static str| commands.get(&(id, stream)).map(Command::first);
        let effect = recorded(note.id, stream(note.action)).map(|record| &record.answer);
        match (effect, decision) {
            (Some(envelope::Answer::Refusal(_)), Some(id)) if id == note.id => return,
            // Asked again because nothing was heard, it was denied by what it had done itself, or by what came between.
            (Some(_), _) if 0 < note.unheard => {}
            (Some(_), _) if !reads(note.action) => self.complain(format!("{who} was denied ({code}) and done")),
            _ => {}
        }
        match decision {
            None => self.unrecorded += usize::from(note.by.is_some()),
            Some(id) if recorded(id, "decisions").is_none_or(|record| record.kind_id != 500) => {
                self.complain(format!("{who} was denied ({code}) by {id}, which is not recorded"));
            }
            Some(_) => {}
        }
    }

    fn as_asked(&mut self, records: &[Record], ledgers: &[Ledger]) {
        let notes = ledgers.iter().flat_map(|ledger| &ledger.notes);
        let asked: BTreeMap<CommandId, &Note> = notes.map(|note| (note.id, note)).collect();
        for record in records {
            let principal: Principal = record.principal.parse().expect("a principal is recorded");
            let place = format!("record {} of {} in {}", record.sequence, principal, record.stream);
            if principal.kin == Kin::Internal {
                let name = principal.name();
                let route = ROUTES.iter().any(|(_, target, route)| {
                    name.strip_prefix("route.") == Some(*route) && record.stream == *target && record.cause.is_some()
                });
                if !route && !PARTS.contains(&name) {
                    self.complain(format!("{place}: no such part"));
                }
                continue;
            }
            if principal.kin == Kin::Protocol {
                let own = match (record.stream == Nexus::NAME).then(|| fact::<Nexus>(record)) {
                    // It opens its tickets.
                    None => record.stream == "decisions",
                    Some(None) => true,
                    Some(Some(nexus::Event::Delivered(delivered))) => delivered.destination == principal.name(),
                    Some(Some(nexus::Event::Sent(sent))) => sent.source == record.principal,
                    Some(Some(_)) => false,
                };
                if !own {
                    self.complain(format!("{place}: that is not for a protocol"));
                }
                continue;
            }
            let Some(note) = asked.get(&record.command_id) else {
                // A denial under the id of a command that was done is recorded under a new one.
                if record.stream != "decisions" {
                    self.complain(format!("{place}: nobody asked"));
                }
                continue;
            };
            if note.by.as_ref() != Some(&principal) {
                self.complain(format!("{place}: asked by {:?}", note.by));
            }
            if record.stream != stream(note.action) && record.stream != "decisions" {
                self.complain(format!("{place}: it was asked for {}", note.action));
            }
        }
    }

    fn uses(&mut self, records: &[Record]) {
        let mut spent = BTreeMap::new();
        let mut given_back = BTreeSet::new();
        for (record, event) in facts::<Tokens>(records) {
            match event {
                tokens::Event::Consumed(consumed) => {
                    let earlier = spent.insert((consumed.id, consumed.number), record.sequence);
                    if earlier.is_some() {
                        self.complain(format!("use {} of {} is spent twice", consumed.number, consumed.id));
                    }
                }
                tokens::Event::Released(released) => drop(given_back.insert((released.id, released.number))),
                _ => {}
            }
        }
        let mut effects: BTreeMap<(TokenId, u32), CommandId> = BTreeMap::new();
        for record in records {
            let Some(spent_use) = record.decision.token else { continue };
            let key = (spent_use.token, spent_use.number);
            let what = format!("record {} rests on use {} of {}", record.sequence, key.1, key.0);
            if spent.get(&key).is_none_or(|at| record.sequence < *at) {
                self.complain(format!("{what}, which was not spent before"));
            }
            if matches!(record.answer, envelope::Answer::Refusal(_)) {
                continue;
            }
            self.paid += 1;
            if given_back.contains(&key) {
                self.complain(format!("{what}, which was given back"));
            }
            // A protocol acts by one ticket as long as that is good.
            if !record.principal.starts_with("protocol/")
                && *effects.entry(key).or_insert(record.command_id) != record.command_id
            {
                self.complain(format!("{what}, as another effect does"));
            }
        }
    }

    fn routes(&mut self, records: &[Record], commands: &BTreeMap<(CommandId, &str), Command<'_>>) {
        let mut carried: BTreeMap<(&str, Sequence), &Command<'_>> = BTreeMap::new();
        for (_, target, route) in ROUTES {
            let principal = format!("internal/route.{route}");
            let mut own: Vec<_> = commands
                .iter()
                .filter(|((_, stream), c)| *stream == target && c.first().principal == principal)
                .collect();
            own.sort_by_key(|(_, command)| command.first().sequence);
            let mut before = Sequence(0);
            for (_, command) in own {
                self.routed += 1;
                let Some(cause) = command.first().cause else { continue };
                if cause <= before {
                    self.complain(format!("{route} carried {cause} after {before}"));
                }
                before = cause;
                carried.insert((route, cause), command);
            }
        }
        for (record, event) in facts::<Gaps>(records) {
            let at = record.sequence;
            let opens = matches!(event, gaps::Event::GapOpened(_) | gaps::Event::GapReopened(_));
            if !opens && !matches!(event, gaps::Event::GapClosed(_)) {
                continue;
            }
            match carried.get(&("gaps-todos", at)).map(|command| command.first()) {
                None => self.complain(format!("the gap of record {at} has not come to a todo")),
                Some(todo) if !matches!(todo.answer, envelope::Answer::Reply(_)) => {
                    self.complain(format!("the todo of record {at} was refused, at {}", todo.sequence));
                }
                Some(_) => {}
            }
        }
        for (record, event) in facts::<Todos>(records) {
            let at = record.sequence;
            let calls = event.grants().is_some() || event.ends_authority().is_some();
            match carried.get(&("todos-tokens", at)).map(|command| command.first()) {
                None if calls => self.complain(format!("record {at} of the todos has not come to the tokens")),
                Some(token) if !matches!(token.answer, envelope::Answer::Reply(_)) => {
                    self.complain(format!("the tokens refused what record {at} calls for, at {}", token.sequence));
                }
                None | Some(_) => {}
            }
        }
        for (record, event) in facts::<Tokens>(records) {
            let at = record.sequence;
            let ended = carried.get(&("tokens-allocator", at)).map(|command| &command.first().answer);
            if matches!(event, tokens::Event::SubjectRevoked(_)) && !matches!(ended, Some(envelope::Answer::Reply(_))) {
                self.complain(format!("the revocation of record {at} has not come to the allocator"));
            }
            let ended = carried.get(&("tokens-nexus", at)).map(|command| &command.first().answer);
            let protocol = matches!(event, tokens::Event::SubjectRevoked(of) if of.subject.starts_with("protocol/"));
            if protocol && !matches!(ended, Some(envelope::Answer::Reply(_))) {
                self.complain(format!("the revocation of record {at} has not come to the nexus"));
            }
        }
    }

    fn revocations(&mut self, records: &[Record]) {
        let mut subjects: BTreeMap<TokenId, String> = BTreeMap::new();
        for (record, event) in facts::<Tokens>(records) {
            let at = record.sequence;
            match event {
                tokens::Event::Issued(issued) => drop(subjects.insert(issued.id, issued.subject)),
                tokens::Event::SubjectRevoked(revoked) => subjects.retain(|_, subject| *subject != revoked.subject),
                tokens::Event::Consumed(consumed) if !subjects.contains_key(&consumed.id) => {
                    self.complain(format!("record {at} uses {}, whose subject was revoked", consumed.id));
                }
                _ => {}
            }
        }
    }

    fn leases(&mut self, records: &[Record]) {
        let mut pools: BTreeMap<String, Counted> = BTreeMap::new();
        let mut owners: BTreeMap<LeaseId, String> = BTreeMap::new();
        let subjects: BTreeMap<Sequence, String> = facts::<Tokens>(records)
            .filter_map(|(record, event)| match event {
                tokens::Event::SubjectRevoked(revoked) => Some((record.sequence, revoked.subject)),
                _ => None,
            })
            .collect();
        for record in records.iter().filter(|record| record.stream == Allocator::NAME) {
            let at = record.sequence;
            if let Some(event) = fact::<Allocator>(record) {
                self.lease(at, &event, &mut pools, &mut owners);
            }
            for (name, pool) in &pools {
                let leased: u64 = pool.held.values().map(|(amount, _)| amount).sum();
                if pool.capacity < leased {
                    let capacity = pool.capacity;
                    self.complain(format!("at record {at} {leased} of {name} are leased, and there are {capacity}"));
                }
            }
            let heard = record.cause.filter(|_| record.count <= record.index + 1);
            let Some(subject) = heard.and_then(|cause| subjects.get(&cause)) else { continue };
            for lease in pools.values().flat_map(Counted::open).filter(|lease| owners.get(lease) == Some(subject)) {
                self.complain(format!("{lease} of {subject} is open after the revocation came, at record {at}"));
            }
        }
    }

    /// One fact of the allocator.
    fn lease(
        &mut self,
        at: Sequence,
        event: &allocator::Event,
        pools: &mut BTreeMap<String, Counted>,
        owners: &mut BTreeMap<LeaseId, String>,
    ) {
        match event {
            allocator::Event::Defined(defined) => {
                pools.entry(defined.pool.clone()).or_default().capacity = defined.capacity;
            }
            allocator::Event::Resized(resized) => {
                pools.entry(resized.pool.clone()).or_default().capacity = resized.capacity;
            }
            allocator::Event::Queued(queued) => {
                let pool = pools.entry(queued.pool.clone()).or_default();
                pool.waiting.insert(queued.lease, (queued.stands, queued.ticket));
                owners.insert(queued.lease, queued.owner.clone());
            }
            allocator::Event::Granted(granted) => {
                self.granted += 1;
                let pool = pools.entry(granted.pool.clone()).or_default();
                if granted.fencing <= pool.fencing {
                    self.complain(format!("record {at} gives number {} after {}", granted.fencing, pool.fencing));
                }
                pool.fencing = granted.fencing;
                let below = u64::from(allocator::PRIORITY_MAX - granted.priority);
                let stands = granted.asked_at + Millis(below * allocator::PRIORITY_STEP.0);
                // Who never waited came after all that wait.
                let place = pool.waiting.remove(&granted.lease).unwrap_or((stands, u64::MAX));
                if pool.waiting.values().any(|other| *other < place) {
                    self.complain(format!("record {at} grants {} before its turn", granted.lease));
                }
                pool.held.insert(granted.lease, (granted.amount, granted.expires_at));
                owners.insert(granted.lease, granted.owner.clone());
            }
            allocator::Event::Renewed(renewed) => {
                let held = pools.values_mut().find_map(|pool| pool.held.get_mut(&renewed.lease));
                match held {
                    Some((_, expires_at)) => *expires_at = renewed.expires_at,
                    None => self.complain(format!("record {at} renews what is not held")),
                }
            }
            allocator::Event::Released(released) => {
                for pool in pools.values_mut() {
                    pool.held.remove(&released.lease);
                }
            }
            allocator::Event::Withdrawn(withdrawn) => {
                for pool in pools.values_mut() {
                    pool.waiting.remove(&withdrawn.lease);
                }
            }
            allocator::Event::Expired(expired) => {
                let pool = pools.entry(expired.pool.clone()).or_default();
                pool.held.retain(|_, (_, expires_at)| expired.at < *expires_at);
            }
            allocator::Event::OwnerRevoked(revoked) => {
                for pool in pools.values_mut() {
                    let before = pool.open().count();
                    let others = |lease: &LeaseId| owners.get(lease) != Some(&revoked.owner);
                    pool.held.retain(|lease, _| others(lease));
                    pool.waiting.retain(|lease, _| others(lease));
                    self.revoked += before - pool.open().count();
                }
            }
        }
    }

    fn backups(&mut self, records: &[Record]) {
        let mut before: BTreeMap<u64, (u64, Digest)> = BTreeMap::new();
        for (record, event) in facts::<Backups>(records) {
            let at = record.sequence;
            match event {
                backup::Event::Started(started) => {
                    before.insert(started.backup, (at.0 - 1, record.previous));
                }
                backup::Event::Completed(made) => {
                    self.backups += 1;
                    if before.get(&made.backup) != Some(&(made.last, made.head)) || made.entries != made.last {
                        self.complain(format!(
                            "record {at}: backup-{} does not end where it was asked for",
                            made.backup
                        ));
                    }
                }
                backup::Event::Failed(failed) => {
                    self.complain(format!("record {at}: backup-{} failed: {}", failed.backup, failed.why));
                }
                backup::Event::Broken(broken) => {
                    self.complain(format!("record {at}: backup-{} is broken: {}", broken.backup, broken.why));
                }
                backup::Event::DrillFailed(failed) => {
                    self.complain(format!(
                        "record {at}: the drill with backup-{} failed: {}",
                        failed.backup, failed.why
                    ));
                }
                _ => {}
            }
        }
    }

    fn messages(&mut self, records: &[Record], ledgers: &[Ledger]) -> BTreeMap<CommandId, Letter> {
        let mut letters: BTreeMap<CommandId, Letter> = BTreeMap::new();
        let mut lanes: BTreeMap<(String, u8), usize> = BTreeMap::new();
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        let mut delivered: BTreeMap<CommandId, CommandId> = BTreeMap::new();
        let mut causes: Vec<(Sequence, CommandId, CommandId)> = Vec::new();
        for (record, event) in facts::<Nexus>(records) {
            let at = record.sequence;
            let (id, from, to) = match event {
                nexus::Event::Sent(sent) => {
                    self.sent += 1;
                    let (destination, size) = (sent.destination, sent.payload.len() as u64);
                    let letter = Letter { destination, lane: sent.priority, bytes: size, stage: Stage::Sent };
                    if letters.insert(sent.message, letter).is_some() {
                        self.complain(format!("record {at} sends {} again", sent.message));
                    }
                    causes.extend(sent.cause.map(|cause| (at, record.command_id, cause)));
                    (sent.message, Stage::Sent, Stage::Waiting)
                }
                nexus::Event::Delivered(event) => {
                    self.delivered += 1;
                    delivered.insert(event.message, record.command_id);
                    (event.message, Stage::Waiting, Stage::Delivered)
                }
                nexus::Event::Failed(event) => {
                    if nexus::ATTEMPTS_MAX < event.attempt {
                        self.complain(format!("record {at} tries {} too often", event.message));
                    }
                    (event.message, Stage::Waiting, Stage::Waiting)
                }
                nexus::Event::Died(event) => {
                    self.died += 1;
                    (event.message, Stage::Waiting, Stage::Dead)
                }
                nexus::Event::Requeued(event) => (event.message, Stage::Dead, Stage::Waiting),
                nexus::Event::Discarded(event) => (event.message, Stage::Dead, Stage::Gone),
                nexus::Event::Forgotten(event) => (event.message, Stage::Dead, Stage::Gone),
                nexus::Event::Admitted(_) | nexus::Event::Withdrawn(_) | nexus::Event::ProtocolForgotten(_) => continue,
            };
            let Some(letter) = letters.get_mut(&id) else {
                self.complain(format!("record {at} is about {id}, which nobody sent"));
                continue;
            };
            let before = std::mem::replace(&mut letter.stage, to);
            let lane = lanes.entry((letter.destination.clone(), letter.lane)).or_default();
            let size = bytes.entry(letter.destination.clone()).or_default();
            if before == Stage::Waiting {
                (*lane, *size) = (*lane - 1, *size - letter.bytes);
            }
            if to == Stage::Waiting {
                (*lane, *size) = (*lane + 1, *size + letter.bytes);
            }
            if before != from {
                self.complain(format!("record {at} makes {id} {to:?}, which was {before:?}"));
            }
            if record.count <= record.index + 1 {
                let over = lanes.iter().find(|(_, waiting)| nexus::LANE_MAX < **waiting);
                let heavy = bytes.iter().find(|(_, bytes)| nexus::DESTINATION_BYTES_MAX < **bytes);
                if over.is_some() || heavy.is_some() {
                    self.complain(format!("at record {at} more waits than may: {over:?} {heavy:?}"));
                }
            }
        }
        for (at, command, cause) in causes {
            if delivered.get(&cause) != Some(&command) {
                self.complain(format!("record {at} follows from {cause}, which was not delivered with it"));
            }
        }
        for (ledger, note) in ledgers.iter().flat_map(|ledger| ledger.notes.iter().map(move |note| (ledger, note))) {
            let Answer::Done { told, .. } = &note.answer else { continue };
            if note.action == "message.send"
                && (!letters.contains_key(&note.id) || told["message"] != note.id.to_string())
            {
                self.complain(format!("{}: {} was acknowledged and not sent: {told}", ledger.client, note.id));
            }
        }
        letters
    }

    /// What is left: no token for a todo but that of the claim that holds it, one for each claim, no scan on its way.
    fn ends(&mut self, records: &[Record], letters: &BTreeMap<CommandId, Letter>) {
        let (todos, tokens): (Todos, Tokens) = (replay(records), replay(records));
        let now = records.iter().map(|record| record.time).max().unwrap_or_default();
        let mut holding: BTreeMap<TodoId, TokenId> = BTreeMap::new();
        let mut claimed = BTreeSet::new();
        for (_, event) in facts::<Todos>(records) {
            if let Some(todo) = event.ends_authority() {
                holding.remove(&todo);
            }
            if let Some(claim) = event.grants() {
                holding.insert(TodoId(claim.todo), claim.token);
                claimed.insert(claim.token);
            }
        }
        let by_todo = tokens::Filter { kind: Some(tokens::Kind::Todo), ..tokens::Filter::default() };
        let issued: Vec<_> = tokens.list(&by_todo, now).collect();
        for token in &issued {
            let todo = TodoId(token.grant.todo().expect("the filter asked for them"));
            let holds = holding.get(&todo) == Some(&token.id);
            // The claim is still to be given back.
            let of_revoked = token.revocation.as_ref().is_some_and(|by| by.reason == tokens::Reason::SubjectRevoked);
            if !of_revoked && holds != (token.state == tokens::State::Active) && token.state != tokens::State::Consumed
            {
                let state = token.state;
                self.complain(format!("{todo} is held by {:?}, and {} is {state:?}", holding.get(&todo), token.id));
            }
            if todos.show(todo, now).is_none() {
                self.complain(format!("{} is for {todo}, which there is not", token.id));
            }
        }
        let issued: BTreeSet<_> = issued.iter().map(|token| token.id).collect();
        if issued != claimed {
            self.complain(format!("claims and tokens differ: {:?}", issued.symmetric_difference(&claimed)));
        }
        let gaps: Gaps = replay(records);
        for running in gaps.outstanding() {
            self.complain(format!("{} has not finished", running.scan));
        }
        let nexus: Nexus = replay(records);
        let waiting: BTreeSet<_> = nexus.waiting(&nexus::Filter::default()).map(|letter| letter.id.0).collect();
        let dead: BTreeSet<_> = nexus.dead().map(|dead| dead.message.id.0).collect();
        for (id, letter) in letters {
            if (waiting.contains(id), dead.contains(id))
                != (letter.stage == Stage::Waiting, letter.stage == Stage::Dead)
            {
                self.complain(format!("{id} is {:?}, and the nexus knows it otherwise", letter.stage));
            }
        }
        let backups: Backups = replay(records);
        if let Some(work) = backups.outstanding() {
            self.complain(format!("{} is being worked on", work.backup()));
        }
    }
}

/// What can be told of a message from its facts.
struct Letter {
    destination: String,
    lane: u8,
    bytes: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Sent,
    Waiting,
    Delivered,
    Dead,
    /// Discarded or forgotten.
    Gone,
}

/// What can be counted of a pool from its facts.
#[derive(Default)]
struct Counted {
    capacity: u64,
    fencing: u64,
    held: BTreeMap<LeaseId, (u64, Timestamp)>,
    waiting: BTreeMap<LeaseId, (Timestamp, u64)>,
}

impl Counted {
    fn open(&self) -> impl Iterator<Item = &LeaseId> {
        self.held.keys().chain(self.waiting.keys())
    }
}

fn reads(action: &str) -> bool {
    policy::action(action).is_some_and(|action| action.reads_only)
}

/// The stream in which an action has its effect.
fn stream(action: &str) -> &'static str {
    match action.split_once('.').map_or(action, |(noun, _)| noun) {
        _ if reads(action) => "decisions",
        "token" => Tokens::NAME,
        "todo" => Todos::NAME,
        "gap" => Gaps::NAME,
        "resource" | "lease" => Allocator::NAME,
        "backup" => Backups::NAME,
        "message" | "protocol" => Nexus::NAME,
        "policy" => "governance",
        "security" | "credential" => "identity",
        noun => panic!("no client asks for {noun}"),
    }
}
