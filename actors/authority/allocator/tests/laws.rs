//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::BTreeMap;

use allocator::{
    Allocator, Command, Event, Filter, LIFETIME_MAX, LeaseId, PRIORITY_MAX, PRIORITY_STEP, Refusal, Reply, Request,
    State,
};
use journal::codec;
use kernel::{CommandId, Context, Decision, Kin, Machine, Millis, Position, Principal, Timestamp, json};
use proptest::collection::vec;
use proptest::prelude::*;

const NOON: Timestamp = Timestamp(1_800_000_000_000);

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

fn operator() -> Principal {
    Principal::new(Kin::Operator, "root").unwrap()
}

fn agent(number: u8) -> Principal {
    Principal::new(Kin::Agent, &format!("a{number}")).unwrap()
}

/// Who asks for what: few pools, leases and agents, so that they meet.
type Step = (Principal, Command);

fn pool() -> impl Strategy<Value = String> {
    (0..2_u8).prop_map(|pool| format!("p{pool}"))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (0..40_u128).prop_map(LeaseId)
}

fn lifetime() -> impl Strategy<Value = Option<Millis>> {
    prop_oneof![
        3 => Just(None),
        3 => (1..4_u64).prop_map(|minutes| Some(Millis::minutes(minutes))),
        1 => Just(Some(LIFETIME_MAX)),
    ]
}

fn request() -> impl Strategy<Value = Step> {
    let what = (lease(), pool(), 0..3_u8, 1..8_u64, 0..=PRIORITY_MAX, lifetime(), 0..4_u8);
    what.prop_map(|(lease, pool, owner, amount, priority, lifetime, wait)| {
        let owner = agent(owner);
        let request = Request { lease, pool, owner: owner.clone(), amount, priority, lifetime, wait: 0 < wait };
        (owner, Command::Request(request))
    })
}

fn step() -> impl Strategy<Value = Step> {
    let define =
        (pool(), 6..10_u64).prop_map(|(pool, capacity)| Command::Define { pool, capacity, unit: "core".into() });
    let resize = (pool(), 1..12_u64).prop_map(|(pool, capacity)| Command::Resize { pool, capacity, expected: None });
    let renew = (lease(), 1..20_u64, lifetime()).prop_map(|(lease, fencing, lifetime)| Command::Renew {
        lease,
        fencing,
        lifetime,
    });
    let release = lease().prop_map(|lease| Command::Release { lease, fencing: None });
    let revoke = (0..3_u8).prop_map(|owner| Command::RevokeOwner { owner: agent(owner) });
    let by = |who: Principal| move |command| (who.clone(), command);
    let route = Principal::internal("route");
    prop_oneof![
        2 => define.prop_map(by(operator())),
        2 => resize.prop_map(by(operator())),
        24 => request(),
        4 => renew.prop_map(by(operator())),
        6 => release.prop_map(by(operator())),
        1 => revoke.prop_map(by(route.clone())),
        2 => Just((route, Command::Expire)),
    ]
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![
        10 => (0..50_u64).prop_map(Millis::seconds),
        1 => Just(Millis::minutes(10)),
    ]
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    capacity: BTreeMap<String, u64>,
    fencing: BTreeMap<String, u64>,
    /// Pool, owner, amount and end of what is held.
    held: BTreeMap<LeaseId, (String, String, u64, Timestamp)>,
    /// Pool, owner, priority and arrival of what waits, with the number of the fact.
    waiting: BTreeMap<LeaseId, (String, String, u8, Timestamp, usize)>,
    facts: usize,
    grants: usize,
}

impl Counted {
    fn count(&mut self, event: &Event, now: Timestamp) {
        self.facts += 1;
        match event {
            Event::Defined(defined) => {
                assert_eq!(self.capacity.insert(defined.pool.clone(), defined.capacity), None, "defined twice");
            }
            Event::Resized(resized) => drop(self.capacity.insert(resized.pool.clone(), resized.capacity)),
            Event::Queued(queued) => {
                let waits = (queued.pool.clone(), queued.owner.clone(), queued.priority, queued.at, self.facts);
                assert_eq!(self.waiting.insert(queued.lease, waits), None, "queued twice");
            }
            Event::Granted(granted) => {
                self.grants += 1;
                let fencing = self.fencing.entry(granted.pool.clone()).or_default();
                assert_eq!(granted.fencing, *fencing + 1, "fencing numbers count in the order of the grants");
                *fencing = granted.fencing;
                let waited = self.waiting.remove(&granted.lease);
                let arrived = waited.as_ref().map_or(self.facts, |waited| waited.4);
                let stands = |priority: u8, at: Timestamp| at.0 + u64::from(PRIORITY_MAX - priority) * PRIORITY_STEP.0;
                let own = (stands(granted.priority, granted.asked_at), arrived);
                for (pool, _, priority, at, number) in self.waiting.values() {
                    let other = (stands(*priority, *at), *number);
                    assert!(*pool != granted.pool || own < other, "granted before its turn");
                    let later = granted.asked_at - *at;
                    let most = u64::from(PRIORITY_MAX) * PRIORITY_STEP.0;
                    assert!(*pool != granted.pool || later.0 <= most, "overtaken by who came much later");
                }
                let holds = (granted.pool.clone(), granted.owner.clone(), granted.amount, granted.expires_at);
                assert_eq!(self.held.insert(granted.lease, holds), None, "held twice");
                assert_eq!(granted.at, now);
                assert!(granted.expires_at - now <= LIFETIME_MAX);
            }
            Event::Renewed(renewed) => {
                let end = &mut self.held.get_mut(&renewed.lease).expect("only what is held is renewed").3;
                assert!(now < *end && *end < renewed.expires_at && renewed.expires_at - now <= LIFETIME_MAX);
                *end = renewed.expires_at;
            }
            Event::Released(released) => {
                let (.., end) = self.held.remove(&released.lease).expect("only what is held is released");
                assert!(now < end, "released after its end");
            }
            Event::Withdrawn(withdrawn) => {
                self.waiting.remove(&withdrawn.lease).expect("only what waits is withdrawn");
            }
            Event::Expired(expired) => {
                let before = self.held.len();
                self.held.retain(|_, (pool, .., end)| *pool != expired.pool || now < *end);
                assert_eq!(before - self.held.len(), expired.leases as usize, "as many as were due");
            }
            Event::OwnerRevoked(revoked) => {
                self.held.retain(|_, (_, owner, ..)| *owner != revoked.owner);
                self.waiting.retain(|_, (_, owner, ..)| *owner != revoked.owner);
            }
        }
        for (pool, capacity) in &self.capacity {
            let live = self.held.values().filter(|(other, ..)| other == pool);
            let leased: u64 = live.map(|(_, _, amount, _)| amount).sum();
            assert!(leased <= *capacity, "{pool}: {leased} leased of {capacity}");
        }
    }
}

fn context(now: Timestamp, number: u128, principal: Principal) -> Context {
    Context { now, command_id: CommandId(number), principal, decision: Decision::default() }
}

fn defined(capacity: u64) -> Allocator {
    let mut allocator = Allocator::default();
    for pool in ["p0", "p1"] {
        let define = Command::Define { pool: pool.into(), capacity, unit: "core".into() };
        carry_out(&mut allocator, &define, &context(NOON, 0, operator())).unwrap();
    }
    allocator
}

fn carry_out(allocator: &mut Allocator, command: &Command, cx: &Context) -> Result<Reply, Refusal> {
    let outcome = allocator.decide(command, cx)?;
    outcome.events.iter().for_each(|event| allocator.evolve(event, Position(0)));
    Ok(outcome.reply)
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((step(), pause()), 0..128)) {
        let (mut live, mut replayed, mut counted) = (Allocator::default(), Allocator::default(), Counted::default());
        let mut now = NOON;
        for (number, ((principal, command), pause)) in (1..).zip(script) {
            now = now + pause;
            let cx = context(now, number, principal);
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                counted.count(event, now);
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            // What a release or a revocation ended may be asked for anew, but not under its id.
            let repeat = live.decide(&command, &cx).map(|outcome| outcome.events);
            prop_assert!(repeat.clone().unwrap_or_default().is_empty(), "a repeat adds nothing, not {:?}", repeat);
            if command == Command::Expire {
                prop_assert!(live.deadline().is_none_or(|deadline| now < deadline), "the clock comes to rest");
            }
            for pool in live.pools(now) {
                let of_it = |lease: &&(String, String, u64, Timestamp)| lease.0 == pool.name && now < lease.3;
                let leased: u64 = counted.held.values().filter(of_it).map(|(_, _, amount, _)| amount).sum();
                prop_assert_eq!((pool.leased, pool.free), (leased, counted.capacity[&pool.name] - leased));
                prop_assert_eq!(pool.fencing, counted.fencing.get(&pool.name).copied().unwrap_or(0));
            }
            let filter = |state| Filter { state: Some(state), ..Filter::default() };
            let held = counted.held.values().filter(|(.., end)| now < *end).count();
            prop_assert_eq!(live.list(&filter(State::Held), now).count(), held, "a lease is held to its time, not longer");
            prop_assert_eq!(live.list(&filter(State::Waiting), now).count(), counted.waiting.len());
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// With the clock running, whoever has room for him at the head of the queue is never left waiting.
    #[test]
    fn nobody_waits_while_there_is_room_for_the_head(script in vec((step(), pause()), 0..128)) {
        let mut allocator = defined(8);
        let mut now = NOON;
        for (number, ((principal, command), pause)) in (1..).zip(script) {
            now = now + pause;
            while let Some(due) = allocator.due(now) {
                carry_out(&mut allocator, &due, &context(now, number, Principal::internal("clock"))).unwrap();
            }
            // A refusal is an answer too.
            let _ = carry_out(&mut allocator, &command, &context(now, number, principal));
            for pool in allocator.pools(now) {
                let filter = Filter { pool: Some(pool.name.clone()), state: Some(State::Waiting), ..Filter::default() };
                let head = allocator.list(&filter, now).find(|lease| lease.position == Some(1));
                prop_assert_eq!(head.is_some(), 0 < pool.waiting);
                prop_assert!(head.is_none_or(|head| pool.free < head.amount), "{} has room", pool.name);
            }
        }
    }

    /// However many come with the highest priority, and however small: who came first with the lowest and wants the whole
    /// pool gets it. What is ahead of him is what came in the 90 seconds after him, each for its lifetime.
    #[test]
    fn nobody_starves(amounts in vec(1..4_u64, 200..300), lifetime in 1..120_u64) {
        let mut allocator = defined(8);
        let ask = |number: u128, owner, amount, priority| Command::Request(Request {
            lease: LeaseId(number),
            pool: "p0".into(),
            owner: agent(owner),
            amount,
            priority,
            lifetime: Some(Millis::seconds(lifetime)),
            wait: true,
        });
        let first = context(NOON, 1, agent(0));
        carry_out(&mut allocator, &ask(1, 0, 5, 3), &first).unwrap();
        carry_out(&mut allocator, &ask(2, 0, 8, 0), &first).unwrap();
        let (mut now, mut ahead) = (NOON, 0);
        for (number, amount) in (10..).zip(amounts) {
            now = now + Millis::seconds(2);
            while let Some(due) = allocator.due(now) {
                carry_out(&mut allocator, &due, &context(now, number, Principal::internal("clock"))).unwrap();
            }
            let waits = allocator.show(LeaseId(2), now).unwrap().state == State::Waiting;
            carry_out(&mut allocator, &ask(number, 1, amount, 3), &context(now, number, agent(1))).unwrap();
            ahead += u64::from(waits && now - NOON <= Millis::seconds(90));
            // Not one more comes to stand ahead of him after that.
            let place = allocator.show(LeaseId(2), now).unwrap().position.unwrap_or(1);
            prop_assert!(place <= ahead + 1, "{} are ahead of him, and {} came in time", place - 1, ahead);
        }
        // Each that is ahead holds what it has for its lifetime, so this is long enough for all of them.
        for _ in 0..=ahead {
            now = now + Millis::seconds(lifetime);
            while let Some(due) = allocator.due(now) {
                carry_out(&mut allocator, &due, &context(now, 5, Principal::internal("clock"))).unwrap();
            }
        }
        prop_assert!(allocator.show(LeaseId(2), now).unwrap().granted_at.is_some(), "he had his turn");
    }
}
