//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use journal::codec;
use kernel::{
    CommandId, Context, Decision, Digest, Kin, Machine, Millis, Personal, Position, Principal, Timestamp, TokenId, json,
};
use proptest::collection::vec;
use proptest::prelude::*;
use todos::{CLAIM_LIFETIME, Command, Event, State, TodoId, Todos};

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

/// Who asks for what: few gaps, todos, agents and tokens, so that they meet.
type Step = (Principal, Command);

fn agent(number: u8) -> Principal {
    Principal::new(Kin::Agent, &format!("a{number}")).unwrap()
}

fn scan() -> impl Strategy<Value = Step> {
    let gap = || (0..4_u8).prop_map(|gap| Digest([gap; 32]));
    let open = (gap(), 0..3_u8).prop_map(|(gap, place)| Command::Open {
        gap,
        title: "t".to_owned(),
        place: place.to_string(),
    });
    let close = gap().prop_map(|gap| Command::Close { gap });
    prop_oneof![2 => open, 1 => close].prop_map(|command| (Principal::internal("scan"), command))
}

fn work() -> impl Strategy<Value = Step> {
    let todo = || (1..5_u64).prop_map(TodoId);
    let claim = (todo(), 0..3_u8, 0..60_u8).prop_map(|(todo, holder, token)| Command::Claim {
        todo,
        holder: agent(holder),
        token: TokenId(token.into()),
        secret: Digest([token; 32]),
    });
    let release = todo().prop_map(|todo| Command::Release { todo });
    let submit =
        (todo(), 0..2_u8).prop_map(|(todo, note)| Command::Submit { todo, note: Personal::plain(&note.to_string()) });
    let operator = Principal::new(Kin::Operator, "root").unwrap();
    let who = prop_oneof![4 => (0..3_u8).prop_map(agent), 2 => Just(operator)];
    (who, prop_oneof![4 => claim, 1 => release, 2 => submit])
}

fn step() -> impl Strategy<Value = Step> {
    let clock = || (Principal::internal("clock"), Command::LapseClaims);
    prop_oneof![6 => scan(), 14 => work(), 1 => Just(clock())]
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![20 => Just(Millis::minutes(1)), 2 => Just(Millis::hours(20)), 1 => Just(CLAIM_LIFETIME)]
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    gaps: BTreeSet<Digest>,
    closed: BTreeSet<u64>,
    reopened: BTreeMap<u64, u32>,
    /// Who holds what until when.
    held: BTreeMap<u64, (String, Timestamp)>,
    tokens: BTreeSet<TokenId>,
}

impl Counted {
    fn count(&mut self, event: &Event, now: Timestamp, who: &Principal) {
        match event {
            Event::Opened(opened) => {
                assert!(self.gaps.insert(opened.gap), "a gap has one todo");
                assert_eq!(opened.todo, self.gaps.len() as u64, "todos count from 1");
                assert_eq!(who.kin, Kin::Internal);
            }
            Event::Reopened(reopened) => {
                assert!(self.closed.remove(&reopened.todo), "reopened when open");
                *self.reopened.entry(reopened.todo).or_default() += 1;
                assert_eq!(who.kin, Kin::Internal);
            }
            Event::Claimed(claimed) => {
                assert!(!self.closed.contains(&claimed.todo), "claimed when closed");
                let earlier = self.held.insert(claimed.todo, (claimed.holder.clone(), claimed.expires_at));
                assert_eq!(earlier, None, "held by two");
                assert!(self.tokens.insert(claimed.token), "a token for two claims");
                assert!(*who == claimed.principal() || who.kin == Kin::Operator);
            }
            Event::Submitted(submitted) => {
                let (holder, until) = &self.held[&submitted.todo];
                assert!(*holder == who.to_string() && now < *until, "submitted by who does not hold it");
            }
            Event::Released(released) => {
                let (holder, until) = self.held.remove(&released.todo).expect("released by who holds it");
                assert!((holder == who.to_string() || who.kin == Kin::Operator) && now < until);
            }
            Event::Lapsed(lapsed) => {
                let (_, until) = self.held.remove(&lapsed.todo).expect("only what is held lapses");
                assert!(until <= now, "lapsed early");
            }
            Event::Closed(closed) => {
                assert!(self.closed.insert(closed.todo), "closed twice");
                self.held.remove(&closed.todo);
                assert_eq!(who.kin, Kin::Internal);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((step(), pause()), 0..128)) {
        let (mut live, mut replayed, mut counted) = (Todos::default(), Todos::default(), Counted::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, ((principal, command), pause)) in (1..).zip(script) {
            now = now + pause;
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                counted.count(event, now, &cx.principal);
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            let repeat = live.decide(&command, &cx).map(|outcome| outcome.events);
            prop_assert_eq!(repeat, Ok(vec![]), "a repeat adds nothing");
            if command == Command::LapseClaims {
                prop_assert!(live.deadline().is_none_or(|deadline| now < deadline), "the clock comes to rest");
            }
            let todos: Vec<_> = live.list(&todos::Filter::default(), now).collect();
            prop_assert_eq!(todos.len(), counted.gaps.len());
            for todo in todos {
                let id = todo.id.0;
                prop_assert_eq!(todo.state == State::Closed, counted.closed.contains(&id), "only scans close");
                prop_assert_eq!(todo.reopened, counted.reopened.get(&id).copied().unwrap_or(0));
                let held = counted.held.get(&id).filter(|(_, until)| now < *until).map(|(holder, _)| holder.clone());
                prop_assert_eq!(todo.claim.map(|claim| claim.holder.to_string()), held, "a claim ends by its time");
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// Whether the clock came or not: the same todos, and the same answers but for the record of what lapsed.
    #[test]
    fn nothing_waits_for_the_clock(script in vec((step(), pause()), 0..128)) {
        let (mut attended, mut forgotten) = (Todos::default(), Todos::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, ((principal, command), pause)) in (1..).zip(script) {
            now = now + pause;
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            while let Some(due) = attended.due(now) {
                for event in attended.decide(&due, &cx).unwrap().events {
                    attended.evolve(&event, Position(0));
                }
            }
            if command == Command::LapseClaims {
                continue;
            }
            let answers = [attended.decide(&command, &cx), forgotten.decide(&command, &cx)];
            let replies = answers.clone().map(|answer| answer.map(|outcome| outcome.reply));
            prop_assert_eq!(&replies[0], &replies[1]);
            for (todos, answer) in [&mut attended, &mut forgotten].into_iter().zip(answers) {
                for event in answer.iter().flat_map(|outcome| &outcome.events) {
                    todos.evolve(event, Position(0));
                }
            }
            for id in (1..5).map(TodoId) {
                prop_assert_eq!(attended.show(id, now), forgotten.show(id, now));
            }
        }
    }
}
