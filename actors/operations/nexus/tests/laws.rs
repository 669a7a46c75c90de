//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use journal::codec;
use kernel::{CommandId, Context, Decision, Kin, Machine, Millis, Personal, Position, Principal, Timestamp, json};
use nexus::{
    ATTEMPTS_MAX, Command, Counters, Death, Event, Filter, LANE_MAX, LIFETIME_MAX, Message, MessageId, Nexus, Priority,
    Reply,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const NAMES: [&str; 4] = ["p0", "p1", "p2", "p3"];

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

fn operator() -> Principal {
    Principal::new(Kin::Operator, "root").unwrap()
}

fn protocol(name: &str) -> Principal {
    Principal::new(Kin::Protocol, name).unwrap()
}

fn context(now: Timestamp, number: u128, principal: Principal) -> Context {
    Context { now, command_id: CommandId(number), principal, decision: Decision::default() }
}

/// Few names and one sender beside them, so that they meet. Messages are named by the place of one that was sent.
#[derive(Clone, Debug)]
enum Step {
    Admit { protocol: usize, depends_on: Vec<usize>, speaks_to: Vec<usize> },
    Withdraw { protocol: usize },
    Revoked { protocol: usize },
    Send { from: Option<usize>, to: usize, priority: u8, minutes: u64, bytes: usize },
    Acknowledge { message: prop::sample::Index, follow_ups: Vec<(usize, u8)> },
    Fail { message: prop::sample::Index },
    Requeue { message: prop::sample::Index },
    Discard { message: prop::sample::Index },
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let message = || any::<prop::sample::Index>();
    prop_oneof![
        6 => (name(), vec(name(), 0..2), vec(name(), 0..4))
            .prop_map(|(protocol, depends_on, speaks_to)| Step::Admit { protocol, depends_on, speaks_to }),
        1 => name().prop_map(|protocol| Step::Withdraw { protocol }),
        1 => name().prop_map(|protocol| Step::Revoked { protocol }),
        20 => (prop::option::of(name()), name(), 0..4_u8, 1..20_u64, 0..3_usize)
            .prop_map(|(from, to, priority, minutes, bytes)| Step::Send { from, to, priority, minutes, bytes }),
        10 => (message(), vec((name(), 0..4_u8), 0..3))
            .prop_map(|(message, follow_ups)| Step::Acknowledge { message, follow_ups }),
        8 => message().prop_map(|message| Step::Fail { message }),
        3 => message().prop_map(|message| Step::Requeue { message }),
        2 => message().prop_map(|message| Step::Discard { message }),
        3 => Just(Step::Expire),
    ]
}

fn letter(source: Principal, to: usize, priority: u8, lifetime: Option<Millis>, bytes: usize) -> Message {
    Message {
        source,
        destination: NAMES[to].into(),
        priority: Priority::from_lane(priority).unwrap(),
        kind: "law".into(),
        content_type: "text/plain".into(),
        payload: vec![7; bytes],
        lifetime,
    }
}

/// The step as a command, with who asks: the destination of a message, as far as there is one.
fn asked(step: &Step, nexus: &Nexus, counted: &Counted) -> (Principal, Command) {
    let names = |list: &[usize]| list.iter().map(|name| NAMES[*name].to_owned()).collect();
    let pick = |index: &prop::sample::Index| {
        if counted.order.is_empty() { MessageId(CommandId(0)) } else { *index.get(&counted.order) }
    };
    let reader = |id| nexus.message(id).map_or_else(operator, |waiting| protocol(&waiting.destination));
    match step {
        Step::Admit { protocol, depends_on, speaks_to } => {
            let (depends_on, speaks_to) = (names(depends_on), names(speaks_to));
            (operator(), Command::Admit { protocol: NAMES[*protocol].into(), depends_on, speaks_to })
        }
        Step::Withdraw { protocol } => {
            (operator(), Command::Withdraw { protocol: NAMES[*protocol].into(), reason: Personal::plain("law") })
        }
        Step::Revoked { protocol } => {
            (Principal::internal("route"), Command::Revoked { protocol: NAMES[*protocol].into() })
        }
        Step::Send { from, to, priority, minutes, bytes } => {
            let source = from.map_or_else(operator, |from| protocol(NAMES[from]));
            let lifetime = Some(Millis::minutes(*minutes));
            (source.clone(), Command::Send(letter(source, *to, *priority, lifetime, *bytes)))
        }
        Step::Acknowledge { message, follow_ups } => {
            let message = pick(message);
            let reader = reader(message);
            let follow_ups =
                follow_ups.iter().map(|(to, priority)| letter(reader.clone(), *to, *priority, None, 1)).collect();
            (reader, Command::Acknowledge { message, follow_ups })
        }
        Step::Fail { message } => {
            let message = pick(message);
            (reader(message), Command::Fail { message, why: "law".into() })
        }
        Step::Requeue { message } => (operator(), Command::Requeue { message: pick(message) }),
        Step::Discard { message } => (operator(), Command::Discard { message: pick(message) }),
        Step::Expire => (Principal::internal("clock"), Command::Expire),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waiting,
    Delivered,
    Dead,
    Discarded,
    Forgotten,
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    fates: BTreeMap<MessageId, Fate>,
    /// In the order in which they were sent.
    order: Vec<MessageId>,
    expires_at: BTreeMap<MessageId, Timestamp>,
    attempts: BTreeMap<MessageId, u32>,
    admitted: BTreeMap<String, BTreeSet<String>>,
}

impl Counted {
    fn turn(&mut self, message: CommandId, from: Fate, to: Fate) -> MessageId {
        let id = MessageId(message);
        assert_eq!(self.fates.insert(id, to), Some(from), "{id} becomes {to:?}");
        id
    }

    fn count(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Admitted(admitted) => {
                let known = |name: &String| self.admitted.contains_key(name) && *name != admitted.protocol;
                assert!(admitted.depends_on.iter().all(known), "what it depends on is admitted");
                let depends_on = admitted.depends_on.iter().cloned().collect();
                self.admitted.insert(admitted.protocol.clone(), depends_on);
            }
            Event::Withdrawn(withdrawn) => {
                assert!(self.admitted.remove(&withdrawn.protocol).is_some(), "only who is admitted is withdrawn");
                let needed = self.admitted.values().any(|depends_on| depends_on.contains(&withdrawn.protocol));
                assert!(withdrawn.revoked || !needed, "who is needed is only withdrawn by a revocation");
            }
            Event::ProtocolForgotten(_) => panic!("there are too few to be forgotten"),
            Event::Sent(sent) => {
                let id = MessageId(sent.message);
                assert_eq!(self.fates.insert(id, Fate::Waiting), None, "{id} is sent once");
                assert!(self.admitted.contains_key(&sent.destination), "to who is admitted");
                let sender: Principal = sent.source.parse().unwrap();
                assert!(sender.kin != Kin::Protocol || self.admitted.contains_key(sender.name()), "by who is admitted");
                assert!(now < sent.expires_at && sent.expires_at - now <= LIFETIME_MAX);
                self.expires_at.insert(id, sent.expires_at);
                self.order.push(id);
            }
            Event::Delivered(delivered) => {
                let id = self.turn(delivered.message, Fate::Waiting, Fate::Delivered);
                assert!(now < self.expires_at[&id], "nothing is delivered late");
            }
            Event::Failed(failed) => {
                let attempts = self.attempts.entry(MessageId(failed.message)).or_default();
                *attempts += 1;
                assert!(*attempts == failed.attempt && failed.attempt <= ATTEMPTS_MAX, "attempts are numbered");
            }
            Event::Died(died) => {
                let id = self.turn(died.message, Fate::Waiting, Fate::Dead);
                match Death::from_tag(died.death).unwrap() {
                    Death::Expired => assert!(self.expires_at[&id] <= now, "nothing expires early"),
                    Death::Rejected => assert_eq!(self.attempts[&id], ATTEMPTS_MAX),
                    Death::Withdrawn => {}
                }
            }
            Event::Requeued(requeued) => {
                let id = self.turn(requeued.message, Fate::Dead, Fate::Waiting);
                self.attempts.remove(&id);
                self.expires_at.insert(id, requeued.expires_at);
            }
            Event::Discarded(discarded) => drop(self.turn(discarded.message, Fate::Dead, Fate::Discarded)),
            Event::Forgotten(forgotten) => drop(self.turn(forgotten.message, Fate::Dead, Fate::Forgotten)),
        }
    }

    fn is_circular(&self) -> bool {
        let mut left = self.admitted.clone();
        while let Some(name) = left
            .iter()
            .find(|(_, depends_on)| !depends_on.iter().any(|name| left.contains_key(name)))
            .map(|(name, _)| name.clone())
        {
            left.remove(&name);
        }
        !left.is_empty()
    }

    fn of(&self, fate: Fate) -> BTreeSet<MessageId> {
        self.fates.iter().filter(|(_, other)| **other == fate).map(|(id, _)| *id).collect()
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((step(), 0..5_u64), 0..160)) {
        let (mut live, mut replayed, mut counted) = (Nexus::default(), Nexus::default(), Counted::default());
        let mut now = NOON;
        for (number, (step, minutes)) in (1..).zip(script) {
            now = now + Millis::minutes(minutes);
            let (principal, command) = asked(&step, &live, &counted);
            let cx = context(now, number, principal);
            let before = live.clone();
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
                counted.count(event, now);
            }
            match live.decide(&command, &cx) {
                // Another attempt is another failure; the host knows a repeat of one by its id.
                Ok(_) if matches!(command, Command::Fail { .. }) => {}
                Ok(again) => prop_assert_eq!(again.events, vec![], "a repeat adds nothing"),
                Err(_) => prop_assert_ne!(&live, &before, "what was done at once is not refused for nothing"),
            }

            // Nothing is lost or counted twice.
            let waiting: Vec<_> = live.waiting(&Filter::default()).map(|letter| letter.id).collect();
            prop_assert_eq!(waiting.iter().copied().collect::<BTreeSet<_>>(), counted.of(Fate::Waiting));
            prop_assert_eq!(waiting.len(), counted.of(Fate::Waiting).len());
            let dead: BTreeSet<_> = live.dead().map(|dead| dead.message.id).collect();
            prop_assert_eq!(dead, counted.of(Fate::Dead));
            let Counters { sent, waiting, delivered, dead, discarded, forgotten, .. } = live.counters();
            prop_assert_eq!(sent, counted.fates.len() as u64);
            prop_assert_eq!(sent, waiting + delivered + dead + discarded + forgotten);

            prop_assert!(!counted.is_circular(), "nobody waits for himself to be started");
            for protocol in live.protocols() {
                prop_assert_eq!(protocol.is_admitted(), counted.admitted.contains_key(&protocol.name));
                prop_assert!(protocol.is_admitted() || protocol.depth == [0; 4]);
                prop_assert!(protocol.depth.iter().all(|depth| *depth <= LANE_MAX));
                let upcoming = live.upcoming(&protocol.name, usize::MAX, now);
                let of = Filter { destination: Some(protocol.name.clone()), ..Filter::default() };
                let valid: BTreeSet<_> =
                    live.waiting(&of).filter(|letter| now < letter.expires_at).map(|letter| letter.id).collect();
                let seen: BTreeSet<_> = upcoming.iter().map(|letter| letter.id).collect();
                prop_assert_eq!(upcoming.len(), seen.len(), "nothing comes up twice");
                prop_assert_eq!(seen, valid, "all that is good comes up in the end");
                for priority in Priority::ALL {
                    let tickets: Vec<_> =
                        upcoming.iter().filter(|one| one.priority == priority).map(|one| one.ticket).collect();
                    prop_assert!(tickets.is_sorted(), "first come, first served in a lane");
                }
            }
            let next = live.waiting(&Filter::default()).map(|letter| letter.expires_at).min();
            prop_assert_eq!(live.deadline(), next);
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// However the lanes are filled meanwhile, and whatever expires: who is at the head of the last lane leaves after at
    /// most 14 others, and the critical lane has every second turn while it has anything.
    #[test]
    fn nobody_starves(rounds in vec((vec(0..3_u8, 0..6), any::<bool>(), any::<bool>()), 60..120)) {
        let mut nexus = Nexus::default();
        let carry_out = |nexus: &mut Nexus, command: Command, cx: &Context| {
            let outcome = nexus.decide(&command, cx).unwrap();
            outcome.events.iter().for_each(|event| nexus.evolve(event, Position(0)));
            outcome.reply
        };
        let admit = Command::Admit { protocol: "p0".into(), depends_on: vec![], speaks_to: vec![] };
        carry_out(&mut nexus, admit, &context(NOON, 1, operator()));
        let (mut now, mut number) = (NOON, 10_u128);
        let mut turns = Vec::new();
        for (arrivals, brief, rejected) in rounds {
            now = now + Millis::seconds(1);
            // One waits in the last lane at all times, and one in the first; the others come as they like.
            for priority in arrivals.into_iter().chain([3, 0]) {
                number += 1;
                let lifetime = if brief && (1..3).contains(&priority) { Millis::seconds(1) } else { LIFETIME_MAX };
                if nexus.depth("p0")[usize::from(priority)] < LANE_MAX {
                    let message = letter(operator(), 0, priority, Some(lifetime), 0);
                    carry_out(&mut nexus, Command::Send(message), &context(now, number, operator()));
                }
            }
            let next = nexus.upcoming("p0", 1, now)[0].clone();
            turns.push(next.priority);
            number += 1;
            if rejected {
                for _ in 0..ATTEMPTS_MAX {
                    number += 1;
                    prop_assert_eq!(nexus.upcoming("p0", 1, now)[0].id, next.id, "it stays first until it is over");
                    let fail = Command::Fail { message: next.id, why: "law".into() };
                    carry_out(&mut nexus, fail, &context(now, number, protocol("p0")));
                }
            } else {
                let acknowledge = Command::Acknowledge { message: next.id, follow_ups: vec![] };
                let reply = carry_out(&mut nexus, acknowledge, &context(now, number, protocol("p0")));
                prop_assert_eq!(reply, Reply::Acknowledged { follow_ups: vec![] });
            }
            if let Some(due) = nexus.due(now) {
                carry_out(&mut nexus, due, &context(now, number, Principal::internal("clock")));
            }
        }
        for window in turns.windows(15) {
            prop_assert!(window.contains(&Priority::Low), "the last lane has a turn: {window:?}");
            let critical = window.iter().filter(|priority| **priority == Priority::Critical).count();
            prop_assert!(8 <= critical, "the first lane has half of them: {window:?}");
        }
    }
}
