//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use journal::codec;
use kernel::{
    CommandId, Context, Decision, Digest, Kin, Machine, Millis, Position, Principal, Timestamp, TokenId, json,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tokens::records::{IssuedV2, WorkV1};
use tokens::{
    Backing, Bounds, Command, Consume, Derive, Event, Grant, Issue, Kind, Reason, Replacement, SETTLE_WITHIN,
    Settlement, State, Token, Tokens, UseState, Work,
};

const BEGIN: Timestamp = Timestamp(1_800_000_000_000);

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

const IDS: u8 = 16;
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

/// What a token is bound to besides, where that goes with its kind.
fn bounds() -> impl Strategy<Value = Bounds> {
    let later = (0..40_u64).prop_map(|minutes| BEGIN + Millis::minutes(minutes));
    let (target, request) =
        (mostly(Just("a.txt".to_owned())), mostly((0..4_u8).prop_map(|request| Digest([request; 32]))));
    (target, request, prop::option::weighted(0.2, later)).prop_map(|(target, request, not_before)| {
        let work = [Work { audience: "arp".into(), operation: "deploy".into() }].into();
        let approver = "operator/root".parse().unwrap();
        let backing = Some(Backing { todo: 9, report: Digest([9; 32]), approver });
        Bounds { target, request, not_before, work, backing }
    })
}

fn issue() -> impl Strategy<Value = Issue> {
    let odd = (mostly(0..IDS), mostly((0..IDS).prop_map(usual)), mostly(prop::sample::select(&Kind::ALL[..])));
    let uses = prop::option::of(1..6_u32);
    let lifetime = prop::option::of((0..26_u64).prop_map(Millis::hours));
    let rest = (principal(), uses, lifetime, bounds());
    (0..IDS, odd, rest).prop_map(|(id, (secret, grant, kind), (subject, uses, lifetime, mut bounds))| {
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
            bounds: {
                bounds.backing = bounds.backing.filter(|_| kind == Kind::Integration);
                bounds.work.retain(|_| kind == Kind::Todo);
                bounds
            },
        }
    })
}

/// Of one of the tokens, as far as there are any: see [`aimed`].
fn derive() -> impl Strategy<Value = Derive> {
    let odd = (mostly(Just("scp".to_owned())), mostly(Just("stop".to_owned())), mostly(Just("b.txt".to_owned())));
    let much = (prop::option::of(1..4_u32), prop::option::weighted(0.2, (1..30_u64).prop_map(Millis::minutes)));
    (0..IDS, 0..IDS, principal(), odd, much).prop_map(
        |(parent, id, subject, (audience, operation, target), (uses, lifetime))| Derive {
            parent: TokenId(parent.into()),
            held: Digest([parent; 32]),
            id: TokenId(id.into()),
            secret: Digest([id; 32]),
            subject,
            audience: audience.unwrap_or_else(|| "arp".into()),
            operation: operation.unwrap_or_else(|| "deploy".into()),
            target,
            request: None,
            uses,
            lifetime,
        },
    )
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
            todo: grant.todo().or((grant.kind() == Kind::Integration).then_some(9)),
            artefact: grant.artefact(),
            target: Some("a.txt".into()),
            report: (grant.kind() == Kind::Integration).then_some(Digest([9; 32])),
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
        2 => (0..IDS).prop_map(|id| Command::RevokeTree { id: TokenId(id.into()), reason: Reason::Withdrawn }),
        1 => (0..60_u64).prop_map(|minutes| Command::RevokeBefore { before: BEGIN + Millis::minutes(minutes) }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        24 => issue().prop_map(Command::Issue),
        24 => derive().prop_map(Command::Derive),
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

/// Derives from a token that is there, by its holder, and uses what was derived as what it is; else `principal` asks.
fn meant(command: Command, principal: Principal, tokens: &Tokens, now: Timestamp) -> (Command, Principal) {
    match command {
        Command::Derive(derive) => {
            let able: Vec<_> = tokens.list(&tokens::Filter::default(), now).filter(|token| 0 < token.left).collect();
            let place = usize::try_from(derive.parent.0).unwrap() % able.len().max(1);
            let Some(parent) = able.get(place) else { return (Command::Derive(derive), principal) };
            let is_test = parent.grant == Grant::Test && derive.audience == "arp";
            let audience = if is_test { "test.arp".to_owned() } else { derive.audience.clone() };
            // Its secret, for the few whose secret is another's number.
            let held = (0..IDS).map(|id| Digest([id; 32]));
            let held = held.into_iter().find(|held| tokens.by_secret(*held, now).is_some_and(|of| of.id == parent.id));
            let held = held.expect("each has one of the secrets");
            (Command::Derive(Derive { parent: parent.id, held, audience, ..derive }), parent.subject.clone())
        }
        Command::Consume(consume) => match tokens.show(consume.id, now) {
            Some(Token { parent: Some(_), audience, operation, .. }) => {
                let (todo, artefact, report) = (None, None, None);
                (Command::Consume(Consume { audience, operation, todo, artefact, report, ..consume }), principal)
            }
            _ => (Command::Consume(consume), principal),
        },
        other => (aimed(other, tokens, now), principal),
    }
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
    issued: BTreeMap<TokenId, IssuedV2>,
    secrets: BTreeSet<Digest>,
    /// The request of each use that was spent and not given back, and when that is unknown.
    spent: BTreeMap<(TokenId, u32), (Digest, Timestamp)>,
    begun: BTreeSet<TokenId>,
    closed: BTreeSet<(TokenId, u32)>,
    revoked: BTreeSet<TokenId>,
    expired: BTreeSet<TokenId>,
}

impl Counted {
    fn left(&self, id: TokenId) -> u32 {
        let spent = self.spent.keys().filter(|(token, _)| *token == id).count();
        let handed_on: u32 = self.derived(id).map(|(_, issued)| issued.uses).sum();
        let gone = u32::try_from(spent).unwrap() + handed_on;
        self.issued[&id].uses.checked_sub(gone).expect("no use is spent or handed on beyond the last")
    }

    fn derived(&self, id: TokenId) -> impl Iterator<Item = (&TokenId, &IssuedV2)> {
        self.issued.iter().filter(move |(_, issued)| issued.parent == Some(id))
    }

    /// The uses of a token and of all that was derived from it, spent or left.
    fn all_of(&self, id: TokenId) -> u32 {
        let spent = self.spent.keys().filter(|(token, _)| *token == id).count();
        let derived: u32 = self.derived(id).map(|(id, _)| self.all_of(*id)).sum();
        self.left(id) + u32::try_from(spent).unwrap() + derived
    }

    fn is_alive(&self, id: TokenId, now: Timestamp) -> bool {
        let pending = |(place, (_, by)): (&(TokenId, u32), &(Digest, Timestamp))| {
            place.0 == id && !self.closed.contains(place) && now < *by
        };
        let has_some = 0 < self.left(id) || self.spent.iter().any(pending);
        now < self.issued[&id].expires_at && !self.revoked.contains(&id) && has_some
    }

    /// What is derived may do no more than what it is derived from, at the time at least.
    fn narrows(&self, child: &IssuedV2, now: Timestamp) {
        let Some(id) = child.parent else { return };
        let parent = &self.issued[&id];
        assert!(parent.starts_at <= now && now < parent.expires_at, "derived from what is not valid");
        assert!(!self.revoked.contains(&id), "derived from what was revoked");
        assert!(child.uses <= self.left(id), "uses out of nothing");
        assert!(child.expires_at <= parent.expires_at, "a longer life");
        assert_eq!(child.issuer, parent.issuer, "a grant of its own");
        assert_eq!(child.todo, parent.todo, "another todo");
        let work = |work: &WorkV1| (work.audience.clone(), work.operation.clone());
        let own = [(parent.audience.clone(), parent.operation.clone())];
        let may: Vec<_> = if parent.kind == 1 { parent.work.iter().map(work).collect() } else { own.into() };
        assert!(may.contains(&(child.audience.clone(), child.operation.clone())), "another operation");
        assert!(parent.target.is_none() || parent.target == child.target, "another target");
        assert!(parent.request.is_none() || parent.request == child.request, "another request");
        assert_eq!(child.kind, if parent.kind == 3 { 3 } else { 0 }, "another kind");
    }

    fn count(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::Issued(issued) => {
                let kind = issued.grant().kind();
                let limits = kind.limits();
                self.narrows(issued, now);
                assert!(self.issued.insert(issued.id, (**issued).clone()).is_none(), "an id twice");
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
                let bound = &self.issued[&id];
                assert!(bound.starts_at <= now && now < bound.expires_at, "consumed when pending or expired");
                assert!(bound.request.is_none_or(|request| request == consumed.request), "for another request");
                assert!(!self.revoked.contains(&id), "consumed when revoked");
                let mut paid = self.spent.iter().filter(|((token, _), _)| *token == id);
                assert!(paid.all(|(_, (request, _))| *request != consumed.request), "one request paid for twice");
                let place = (id, consumed.number);
                assert!(!self.closed.contains(&place), "a number twice");
                let spent = (consumed.request, consumed.settle_by);
                assert!(self.spent.insert(place, spent).is_none(), "a number twice");
            }
            Event::Settled(settled) => self.close((settled.id, settled.number)),
            Event::UseUnknown(unknown) => self.close((unknown.id, unknown.number)),
            Event::Released(released) => {
                self.close((released.id, released.number));
                self.spent.remove(&(released.id, released.number));
            }
            Event::Revoked(revoked) => {
                assert!(self.revoked.insert(revoked.id), "revoked twice");
                assert!(now < self.issued[&revoked.id].expires_at, "revoked when expired");
            }
            Event::Expired(expired) => {
                assert!(self.expired.insert(expired.id), "expired twice");
                assert!(self.issued[&expired.id].expires_at <= now, "expired early");
            }
            Event::Activated(begun) => {
                assert!(self.begun.insert(begun.id), "begun twice");
                assert!(!self.revoked.contains(&begun.id) && !self.expired.contains(&begun.id), "begun after its end");
                assert!(self.issued[&begun.id].starts_at <= now, "begun early");
            }
            Event::RevokedBefore(revoked) => {
                let of_before = self.issued.iter().filter(|(_, issued)| issued.issued_at < revoked.before);
                let ended: Vec<_> = of_before.map(|(id, _)| *id).filter(|id| self.is_alive(*id, now)).collect();
                assert!(!ended.is_empty(), "a record of nothing");
                self.revoked.extend(ended);
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
        let mut ended = BTreeMap::new();
        let mut now = BEGIN;
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let (command, principal) = meant(command, principal, &live, now);
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
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
            for (&id, issued) in &counted.issued {
                let token = live.show(id, now).unwrap();
                let is_over = counted.revoked.contains(&id) || issued.expires_at <= now || counted.left(id) == 0;
                prop_assert_eq!(token.state == State::Active, !is_over && issued.starts_at <= now, "ended for ever");
                let ended = ended.entry(id).or_insert(false);
                *ended |= matches!(token.state, State::Revoked | State::Expired);
                prop_assert!(!*ended || !matches!(token.state, State::Active | State::Pending), "it came back");
                prop_assert_eq!(token.left, counted.left(id), "uses are counted");
                prop_assert_eq!(token.state == State::Revoked, counted.revoked.contains(&id), "revocation is final");
                let by_bearer = live.by_secret(Digest([u8::try_from(id.0).unwrap(); 32]), now);
                prop_assert!(by_bearer.is_none_or(|by_bearer| counted.issued.contains_key(&by_bearer.id)));
            }
        }
        for (id, issued) in counted.issued.iter().filter(|(_, issued)| issued.parent.is_none()) {
            prop_assert_eq!(counted.all_of(*id), issued.uses, "what comes of one issue is what was issued");
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// Whether the clock came or not: the same answers to everything else.
    #[test]
    fn nothing_waits_for_the_clock(script in vec((command(), principal(), pause()), 0..128)) {
        let (mut attended, mut forgotten) = (Tokens::default(), Tokens::default());
        let mut now = BEGIN;
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let (command, principal) = meant(command, principal, &attended, now);
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            while let Some(due) = attended.due(now) {
                for event in attended.decide(&due, &cx).unwrap().events {
                    attended.evolve(&event, Position(0));
                }
            }
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
