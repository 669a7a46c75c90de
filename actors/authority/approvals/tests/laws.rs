//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use approvals::{Approvals, Command, Event, LIFETIME_MAX, State, Use, Wanted};
use journal::codec;
use kernel::{
    CommandId, Context, Decision, Digest, Kin, Machine, Millis, Personal, Position, Principal, Timestamp, TokenId,
    TokenUse, json,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

// Few askers, contents and commands, so that they meet.

fn principal() -> impl Strategy<Value = Principal> {
    let named = |kin, of| (0..3_u8).prop_map(move |number| Principal::new(kin, &format!("{of}{number}")).unwrap());
    prop_oneof![
        3 => named(Kin::Agent, "a"),
        5 => named(Kin::Operator, "o"),
        4 => Just(Principal::internal("door")),
    ]
}

fn target() -> impl Strategy<Value = Option<Digest>> {
    prop_oneof![8 => Just(Some(Digest([0; 32]))), 1 => Just(Some(Digest([1; 32]))), 1 => Just(None)]
}

fn request() -> impl Strategy<Value = Wanted> {
    let issuer = prop_oneof![3 => Just(None), 1 => principal().prop_map(Some)];
    let lifetime = prop::option::of((1..30_u64).prop_map(Millis::hours));
    (0..3_u8, target(), 1..3_u32, issuer, lifetime).prop_map(|(content, target, needed, issuer, lifetime)| Wanted {
        action: "backup.drill".into(),
        resource: "*".into(),
        content: Digest([content; 32]),
        target,
        arguments: Personal::plain("{}"),
        reason: Personal::plain("why"),
        needed,
        issuer,
        lifetime,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let spent = (1..6_u64, principal(), 0..3_u8, target(), 0..4_u128);
    let spent = spent.prop_map(|(request, asker, content, target, command)| Use {
        request,
        asker,
        action: "backup.drill".into(),
        resource: "*".into(),
        content: Digest([content; 32]),
        target,
        command: CommandId(command),
    });
    let reason = Personal::plain("no");
    prop_oneof![
        20 => request().prop_map(Command::Request),
        40 => (1..6_u64).prop_map(|request| Command::Approve { request }),
        3 => (1..6_u64).prop_map(move |request| Command::Deny { request, reason: reason.clone() }),
        3 => (1..6_u64).prop_map(|request| Command::Withdraw { request }),
        40 => spent.prop_map(Command::Use),
        10 => (1..6_u64, 0..4_u128).prop_map(|(request, command)| Command::Release { request, command: CommandId(command) }),
        2 => Just(Command::Expire),
    ]
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![40 => Just(Millis(0)), 10 => Just(Millis::minutes(1)), 1 => Just(Millis::hours(20))]
}

/// What the door does is mostly of a request that there is: a script written beforehand would rarely meet one.
fn aimed(command: Command, approvals: &Approvals, now: Timestamp) -> (Command, bool) {
    match command {
        Command::Use(used) => {
            let known = approvals.show(used.request, now).filter(|_| used.command.0 != 3);
            let used = match known {
                Some(known) => Use { asker: known.asker, content: known.content, ..used },
                None => used,
            };
            (Command::Use(used), true)
        }
        Command::Release { request, command } => {
            let held = approvals.show(request, now).and_then(|known| known.used).map(|used| used.command);
            (Command::Release { request, command: held.filter(|_| command.0 != 3).unwrap_or(command) }, true)
        }
        other => (other, false),
    }
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    asked: BTreeMap<u64, approvals::records::RequestedV1>,
    approved: BTreeMap<u64, BTreeSet<String>>,
    ended: BTreeSet<u64>,
    held: BTreeMap<u64, CommandId>,
}

impl Counted {
    fn count(&mut self, event: &Event, cx: &Context) {
        let (now, by) = (cx.now, cx.principal.to_string());
        let decides = |asked: &approvals::records::RequestedV1| {
            assert_eq!(cx.principal.kin, Kin::Operator, "decided by no operator");
            assert_eq!(cx.decision.token, None, "decided by a token");
            assert!(asked.asker != by && asked.issuer.as_ref() != Some(&by), "decided by who asked");
        };
        match event {
            Event::Requested(asked) => {
                assert_eq!(asked.asker, by);
                assert!(asked.expires_at - now <= LIFETIME_MAX, "too long a life");
                assert_eq!(self.asked.insert(asked.number, (**asked).clone()), None, "a number twice");
            }
            Event::Approved(approved) => {
                self.stands(approved.number, now);
                decides(&self.asked[&approved.number]);
                assert!(self.approved.entry(approved.number).or_default().insert(by), "counted twice");
            }
            Event::Denied(denied) => {
                self.stands(denied.number, now);
                decides(&self.asked[&denied.number]);
                self.ended.insert(denied.number);
            }
            Event::Withdrawn(withdrawn) => {
                self.stands(withdrawn.number, now);
                let approver = self.approved.get(&withdrawn.number).is_some_and(|approved| approved.contains(&by));
                assert!(self.asked[&withdrawn.number].asker == by || approver, "withdrawn by a stranger");
                self.ended.insert(withdrawn.number);
            }
            Event::Used(used) => {
                self.stands(used.number, now);
                let approved = self.approved.get(&used.number).map_or(0, BTreeSet::len);
                assert!(self.asked[&used.number].needed as usize <= approved, "used with too few approvals");
                assert_eq!(self.held.insert(used.number, used.command), None, "used twice");
            }
            Event::Released(released) => {
                assert_eq!(self.held.remove(&released.number), Some(released.command), "given back by another");
            }
            Event::Stale(stale) => {
                self.stands(stale.number, now);
                assert_ne!(self.asked[&stale.number].target, stale.found, "nothing changed");
                self.ended.insert(stale.number);
            }
            Event::Expired(expired) => {
                assert!(self.asked[&expired.number].expires_at <= now, "expired early");
                assert!(self.ended.insert(expired.number), "ended twice");
            }
        }
    }

    fn stands(&self, number: u64, now: Timestamp) {
        assert!(!self.ended.contains(&number), "what has ended stays so");
        assert!(!self.held.contains_key(&number), "what is used is used");
        assert!(now < self.asked[&number].expires_at, "it is over");
    }
}

fn context(now: Timestamp, number: u128, principal: Principal, by_token: bool) -> Context {
    let token = by_token.then_some(TokenUse { token: TokenId(1), number: 1 });
    Context { now, command_id: CommandId(number), principal, decision: Decision { token, ..Decision::default() } }
}

fn script() -> impl Strategy<Value = Vec<(Command, Principal, bool, Millis)>> {
    vec((command(), principal(), prop::bool::weighted(0.1), pause()), 0..128)
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in script()) {
        let (mut live, mut replayed, mut counted) = (Approvals::default(), Approvals::default(), Counted::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, by_token, pause)) in (1..).zip(script) {
            now = now + pause;
            let (command, of_door) = aimed(command, &live, now);
            let principal = if of_door { Principal::internal("door") } else { principal };
            let cx = context(now, number, principal, by_token);
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                counted.count(event, &cx);
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            // What was to be used and has ended is refused from then on.
            let repeat = live.decide(&command, &cx).map(|outcome| outcome.events.len()).unwrap_or_default();
            prop_assert_eq!(repeat, 0, "a repeat adds nothing");
            if command == Command::Expire {
                prop_assert!(live.deadline().is_none_or(|deadline| now < deadline), "the clock comes to rest");
            }
            for (&number, asked) in &counted.asked {
                let shown = live.show(number, now).unwrap();
                let have = counted.approved.get(&number).map_or(0, BTreeSet::len);
                prop_assert_eq!(shown.have() as usize, have, "approvals are counted");
                prop_assert_eq!(shown.used.map(|used| used.command), counted.held.get(&number).copied());
                if let Some(held) = shown.used {
                    prop_assert!(live.held_by(held.command, now).is_some_and(|request| request.is_held_by(held.command)));
                }
                let open = !counted.ended.contains(&number) && !counted.held.contains_key(&number);
                let usable = open && now < asked.expires_at && asked.needed as usize <= have;
                prop_assert_eq!(shown.state == State::Approved, usable);
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// Whether the clock came or not: the same answers to everything else.
    #[test]
    fn nothing_waits_for_the_clock(script in script()) {
        let (mut attended, mut forgotten) = (Approvals::default(), Approvals::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, by_token, pause)) in (1..).zip(script) {
            now = now + pause;
            let clock = context(now, number, Principal::internal("clock"), false);
            while let Some(due) = attended.due(now) {
                for event in attended.decide(&due, &clock).unwrap().events {
                    attended.evolve(&event, Position(0));
                }
            }
            let (command, of_door) = aimed(command, &attended, now);
            if command == Command::Expire {
                continue;
            }
            let principal = if of_door { Principal::internal("door") } else { principal };
            let cx = context(now, number, principal, by_token);
            let answers = [attended.decide(&command, &cx), forgotten.decide(&command, &cx)];
            prop_assert_eq!(&answers[0], &answers[1]);
            for (approvals, answer) in [&mut attended, &mut forgotten].into_iter().zip(answers) {
                for event in answer.iter().flat_map(|outcome| &outcome.events) {
                    approvals.evolve(event, Position(0));
                }
            }
            for number in 1..6 {
                prop_assert_eq!(attended.show(number, now), forgotten.show(number, now));
            }
            prop_assert_eq!(attended.pending(now), forgotten.pending(now));
        }
    }
}
