//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use journal::codec;
use kernel::{
    CommandId, Context, Decision, Digest, Kin, Machine, Millis, Position, Principal, Timestamp, TokenId, json,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tokens::{
    Command, Consume, Event, Grant, Issue, Kind, Reason, Replacement, SETTLE_WITHIN, Settlement, State, Tokens,
    UseState,
};

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

// Few ids, secrets and requests, so that they meet; and mostly what goes together, so that much succeeds.

/// The grant that goes with an id, for issue and use alike.
fn usual(id: u8) -> Grant {
    match id % 8 {
        0..4 => Grant::Operation,
        todo @ 4..6 => Grant::Todo(todo.into()),
        6 => Grant::Integration(SWAP),
        _ => Grant::Test,
    }
}

const IDS: u8 = 12;
const SWAP: Replacement = Replacement { old: Digest([0; 32]), new: Digest([1; 32]) };

fn mostly<T: Clone + std::fmt::Debug + 'static>(other: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop_oneof![14 => Just(None), 1 => other.prop_map(Some)]
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        8 => (0..3_u8).prop_map(|agent| Principal::new(Kin::Agent, &format!("a{agent}")).unwrap()),
        1 => Just(Principal::internal("clock")),
    ]
}

fn audience(kind: Kind) -> String {
    if kind == Kind::Test { "test.arp" } else { "arp" }.to_owned()
}

fn operation(kind: Kind) -> String {
    if kind == Kind::Todo { "todo.work" } else { "deploy" }.to_owned()
}

fn issue() -> impl Strategy<Value = Issue> {
    let odd = (mostly(0..IDS), mostly((0..IDS).prop_map(usual)), mostly(prop::sample::select(&Kind::ALL[..])));
    let uses = prop::option::of(1..4_u32);
    let lifetime = prop::option::of((0..26_u64).prop_map(Millis::hours));
    (0..IDS, odd, principal(), uses, lifetime).prop_map(|(id, (secret, grant, kind), subject, uses, lifetime)| {
        let grant = grant.unwrap_or(usual(id));
        let kind = kind.unwrap_or(grant.kind());
        Issue {
            id: TokenId(id.into()),
            secret: Digest([secret.unwrap_or(id); 32]),
            grant,
            subject,
            audience: audience(kind),
            operation: operation(kind),
            uses: uses.filter(|_| kind != Kind::Integration),
            lifetime,
        }
    })
}

fn consume() -> impl Strategy<Value = Consume> {
    let odd = (mostly(0..IDS), mostly((0..IDS).prop_map(usual)));
    (0..IDS, odd, 0..4_u8).prop_map(|(id, (secret, grant), request)| {
        let grant = grant.unwrap_or(usual(id));
        Consume {
            id: TokenId(id.into()),
            secret: Digest([secret.unwrap_or(id); 32]),
            audience: audience(grant.kind()),
            operation: operation(grant.kind()),
            request: Digest([request; 32]),
            todo: grant.todo(),
            artefact: grant.artefact(),
        }
    })
}

fn settle() -> impl Strategy<Value = Command> {
    let outcome = prop_oneof![Just(Settlement::Succeeded), Just(Settlement::Refused)];
    (0..8_u128, 0..5_u32, outcome).prop_map(|(id, number, outcome)| Command::Settle {
        id: TokenId(id),
        number,
        outcome,
    })
}

fn revocation() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => (0..IDS).prop_map(|id| Command::Revoke { id: TokenId(id.into()), reason: Reason::Compromised }),
        2 => principal().prop_map(|subject| Command::RevokeSubject { subject }),
        2 => (4..6_u64).prop_map(|todo| Command::RevokeTodo { todo }),
        1 => Just(Command::RevokeAll),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        24 => issue().prop_map(Command::Issue),
        60 => consume().prop_map(Command::Consume),
        30 => settle(),
        2 => revocation(),
        2 => Just(Command::Expire),
    ]
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![
        60 => Just(Millis(0)),
        20 => Just(Millis::minutes(1)),
        2 => Just(SETTLE_WITHIN),
        2 => Just(Millis::minutes(15)),
        1 => Just(Millis::hours(20)),
    ]
}

/// Settles a use that is pending, mostly: a script written beforehand would rarely meet one.
fn aimed(command: Command, tokens: &Tokens, now: Timestamp) -> Command {
    let Command::Settle { id, number: 1.., outcome } = command else { return command };
    let ids = (0..IDS).map(|id| TokenId(id.into()));
    let uses = ids.flat_map(|id| tokens.uses(id, now).unwrap_or_default().into_iter().map(move |spent| (id, spent)));
    let pending: Vec<_> = uses.filter(|(_, spent)| spent.state == UseState::Pending).collect();
    match pending.get(usize::try_from(id.0).unwrap() % pending.len().max(1)) {
        Some((id, spent)) => Command::Settle { id: *id, number: spent.number, outcome },
        None => command,
    }
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    issued: BTreeMap<TokenId, (u32, Timestamp)>,
    secrets: BTreeSet<Digest>,
    /// The request of each use that was spent and not given back.
    spent: BTreeMap<(TokenId, u32), Digest>,
    closed: BTreeSet<(TokenId, u32)>,
    revoked: BTreeSet<TokenId>,
    expired: BTreeSet<TokenId>,
}

impl Counted {
    fn left(&self, id: TokenId) -> u32 {
        let spent = self.spent.keys().filter(|(token, _)| *token == id).count();
        self.issued[&id].0.checked_sub(u32::try_from(spent).unwrap()).expect("no use is spent beyond the last")
    }

    fn count(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Issued(issued) => {
                let kind = issued.grant().kind();
                let limits = kind.limits();
                assert!(self.issued.insert(issued.id, (issued.uses, issued.expires_at)).is_none(), "an id twice");
                assert!(self.secrets.insert(issued.secret), "a secret twice");
                assert!(issued.uses <= limits.uses_max, "too many uses");
                assert!(issued.expires_at - now <= limits.lifetime_max, "too long a life");
                assert_eq!(issued.audience.starts_with("test."), kind == Kind::Test, "the test namespace leaks");
                assert_eq!(issued.operation == "todo.work", kind == Kind::Todo, "todo work leaks");
                assert_ne!(issued.subject, issued.issuer, "issued to oneself");
            }
            Event::Consumed(consumed) => {
                let id = consumed.id;
                assert!(0 < self.left(id), "consumed when exhausted");
                assert!(now < self.issued[&id].1, "consumed when expired");
                assert!(!self.revoked.contains(&id), "consumed when revoked");
                let mut paid = self.spent.iter().filter(|((token, _), _)| *token == id);
                assert!(paid.all(|(_, request)| *request != consumed.request), "one request paid for twice");
                let place = (id, consumed.number);
                assert!(!self.closed.contains(&place), "a number twice");
                assert!(self.spent.insert(place, consumed.request).is_none(), "a number twice");
            }
            Event::Settled(settled) => self.close((settled.id, settled.number)),
            Event::UseUnknown(unknown) => self.close((unknown.id, unknown.number)),
            Event::Released(released) => {
                self.close((released.id, released.number));
                self.spent.remove(&(released.id, released.number));
            }
            Event::Revoked(revoked) => {
                assert!(self.revoked.insert(revoked.id), "revoked twice");
                assert!(now < self.issued[&revoked.id].1, "revoked when expired");
            }
            Event::Expired(expired) => {
                assert!(self.expired.insert(expired.id), "expired twice");
                assert!(self.issued[&expired.id].1 <= now, "expired early");
            }
            Event::AllRevoked(_) => panic!("there are not so many tokens here"),
            Event::SubjectRevoked(_) => {}
        }
    }

    fn close(&mut self, place: (TokenId, u32)) {
        assert!(self.spent.contains_key(&place), "closed before it was spent");
        assert!(self.closed.insert(place), "closed twice");
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), principal(), pause()), 0..128)) {
        let (mut live, mut replayed, mut counted) = (Tokens::default(), Tokens::default(), Counted::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            let command = aimed(command, &live, now);
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                counted.count(event, now);
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            let repeat = live.decide(&command, &cx).map(|outcome| outcome.events);
            // That a subject was revoked is said each time.
            let said = usize::from(matches!(command, Command::RevokeSubject { .. }));
            prop_assert_eq!(repeat.map(|events| events.len()), Ok(said), "a repeat adds nothing");
            if command == Command::RevokeAll {
                prop_assert!(live.list(&tokens::Filter::default(), now).all(|token| token.state != State::Active));
            }
            if command == Command::Expire {
                prop_assert!(live.deadline().is_none_or(|deadline| now < deadline), "the clock comes to rest");
            }
            for &id in counted.issued.keys() {
                let token = live.show(id, now).unwrap();
                prop_assert_eq!(token.left, counted.left(id), "uses are counted");
                prop_assert_eq!(token.state == State::Revoked, counted.revoked.contains(&id), "revocation is final");
                let by_bearer = live.by_secret(Digest([u8::try_from(id.0).unwrap(); 32]), now);
                prop_assert!(by_bearer.is_none_or(|by_bearer| counted.issued.contains_key(&by_bearer.id)));
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// Whether the clock came or not: the same answers to everything else.
    #[test]
    fn nothing_waits_for_the_clock(script in vec((command(), principal(), pause()), 0..128)) {
        let (mut attended, mut forgotten) = (Tokens::default(), Tokens::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            while let Some(due) = attended.due(now) {
                for event in attended.decide(&due, &cx).unwrap().events {
                    attended.evolve(&event, Position(0));
                }
            }
            let command = aimed(command, &attended, now);
            if command == Command::Expire {
                continue;
            }
            let answers = [attended.decide(&command, &cx), forgotten.decide(&command, &cx)];
            prop_assert_eq!(&answers[0], &answers[1]);
            for (tokens, answer) in [&mut attended, &mut forgotten].into_iter().zip(answers) {
                for event in answer.iter().flat_map(|outcome| &outcome.events) {
                    tokens.evolve(event, Position(0));
                }
            }
            for id in (0..IDS).map(|id| TokenId(id.into())) {
                prop_assert_eq!(attended.show(id, now), forgotten.show(id, now));
                prop_assert_eq!(attended.uses(id, now), forgotten.uses(id, now));
            }
        }
    }
}
