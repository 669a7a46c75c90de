//! What holds after every history, however strange. The facts themselves are the model: each law is counted from them.

use std::collections::{BTreeMap, BTreeSet};

use journal::codec;
use kernel::{CommandId, Context, Decision, Digest, Kin, Machine, Millis, Position, Principal, Timestamp, json};
use proofs::records::ReceivedV1;
use proofs::{Algorithm, Checked, Command, Event, Expected, LIFETIME_MAX, Proofs, Spend, State, Verifier};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

/// Stands in for the journal's codec.
fn written_and_read(event: &Event) -> Event {
    let (kind, body) = json::write(event);
    json::read((kind.id, kind.version), body).unwrap()
}

// Few askers, contents, proofs and commands, so that they meet.

fn principal() -> impl Strategy<Value = Principal> {
    (0..2_u8).prop_map(|number| Principal::new(Kin::Agent, &format!("a{number}")).unwrap())
}

fn target() -> impl Strategy<Value = Option<Digest>> {
    prop_oneof![8 => Just(Some(Digest([0; 32]))), 1 => Just(Some(Digest([1; 32]))), 1 => Just(None)]
}

fn name() -> impl Strategy<Value = String> {
    (0..2_u8).prop_map(|number| format!("p{number}"))
}

fn verifier() -> impl Strategy<Value = Verifier> {
    let digest = || (0..2_u8).prop_map(|digest| Digest([digest; 32]));
    let (key, url) = ("k+1+A".to_owned(), "https://p.example".to_owned());
    prop_oneof![
        digest()
            .prop_map(|digest| Verifier::Digest { algorithm: Algorithm::Blake3, expected: Expected::Pinned(digest) }),
        Just(Verifier::Digest { algorithm: Algorithm::Sha256, expected: Expected::Argument("digest".into()) }),
        digest().prop_map(|digest| Verifier::Manifest { files: [("a".to_owned(), digest)].into() }),
        Just(Verifier::Signature { root: key.clone() }),
        prop::option::of(Just(Millis(7)))
            .prop_map(|within| Verifier::PolicyTrace { action: "backup.verify".into(), within }),
        digest().prop_map(move |kernel| Verifier::External {
            url: url.clone(),
            kernel,
            key: key.clone(),
            timeout: Millis(9)
        }),
    ]
}

fn checked() -> impl Strategy<Value = Checked> {
    let lifetime = prop_oneof![9 => 1..30_u64, 1 => 59..62_u64];
    (name(), 0..3_u8, target(), lifetime).prop_map(|(proof, content, target, lifetime)| Checked {
        proof,
        revision: 0,
        action: "backup.drill".into(),
        resource: "*".into(),
        content: Digest([content; 32]),
        target,
        goal: Digest([3; 32]),
        evidence: Digest([4; 32]),
        // From when it is said.
        expires_at: Timestamp(Millis::minutes(lifetime).0),
        note: "signed".into(),
    })
}

fn command() -> impl Strategy<Value = Command> {
    let spend = (btree_set(1..8_u64, 1..3), principal(), 0..3_u8, target(), 0..4_u128);
    let spend = spend.prop_map(|(receipts, asker, content, target, command)| Spend {
        receipts,
        asker,
        action: "backup.drill".into(),
        resource: "*".into(),
        content: Digest([content; 32]),
        target,
        command: CommandId(command),
    });
    prop_oneof![
        10 => (name(), verifier()).prop_map(|(name, verifier)| Command::Declare { name, verifier }),
        2 => name().prop_map(|name| Command::Withdraw { name }),
        40 => checked().prop_map(|checked| Command::Receive(Box::new(checked))),
        40 => spend.prop_map(Command::Spend),
        10 => (0..4_u128).prop_map(|command| Command::Release { command: CommandId(command) }),
        2 => Just(Command::Forget),
    ]
}

fn pause() -> impl Strategy<Value = Millis> {
    prop_oneof![40 => Just(Millis(0)), 10 => Just(Millis::minutes(1)), 1 => Just(Millis::hours(20))]
}

/// What the door does is mostly of what there is: a script written beforehand would rarely meet it.
fn aimed(command: Command, proofs: &Proofs, asker: Principal, now: Timestamp) -> (Command, Principal) {
    let door = Principal::internal("door");
    match command {
        Command::Receive(mut checked) => {
            checked.revision = proofs.declared(&checked.proof).map_or(1, |declared| declared.revision);
            checked.expires_at = now + Millis(checked.expires_at.0);
            (Command::Receive(checked), asker)
        }
        Command::Spend(spend) => {
            let first = spend.receipts.first().and_then(|number| proofs.show(*number, now));
            let spend = match first.filter(|_| spend.command.0 != 3) {
                Some(known) => Spend { asker: known.asker, content: known.checked.content, ..spend },
                None => spend,
            };
            (Command::Spend(spend), door)
        }
        command @ Command::Release { .. } => (command, door),
        other => (other, asker),
    }
}

/// What can be counted from the facts alone.
#[derive(Default)]
struct Counted {
    revisions: BTreeMap<String, u64>,
    received: BTreeMap<u64, ReceivedV1>,
    held: BTreeMap<u64, CommandId>,
    forgotten: BTreeSet<u64>,
}

impl Counted {
    fn count(&mut self, event: &Event, command: &Command, cx: &Context) {
        match event {
            Event::Declared(declared) => {
                let earlier = self.revisions.insert(declared.name.clone(), declared.revision);
                assert!(earlier.is_none_or(|earlier| earlier < declared.revision));
            }
            Event::Withdrawn(withdrawn) => assert!(self.revisions.remove(&withdrawn.name).is_some()),
            Event::Received(received) => {
                assert_eq!(received.asker, cx.principal.to_string());
                assert!(cx.now < received.expires_at && received.expires_at - cx.now <= LIFETIME_MAX, "a wrong life");
                assert_eq!(
                    self.revisions.get(&received.proof),
                    Some(&received.revision),
                    "checked by another verifier"
                );
                assert_eq!(self.received.insert(received.number, (**received).clone()), None, "a number twice");
            }
            Event::Spent(spent) => {
                let Command::Spend(about) = command else { panic!("nothing else spends") };
                let received = &self.received[&spent.number];
                assert_eq!(cx.principal.kin, Kin::Internal, "spent by a stranger");
                assert!(cx.now < received.expires_at, "spent after it expired");
                assert_eq!(received.content, about.content, "spent for another digest");
                assert_eq!(received.target, about.target, "spent on what has changed");
                assert_eq!(received.asker, about.asker.to_string(), "spent by another");
                assert_eq!(self.revisions.get(&received.proof), Some(&received.revision), "its verifier has changed");
                assert_eq!(self.held.insert(spent.number, spent.command), None, "spent twice");
            }
            Event::Released(released) => {
                assert_eq!(self.held.remove(&released.number), Some(released.command), "given back by another");
            }
            Event::Forgotten(forgotten) => {
                let received = &self.received[&forgotten.number];
                assert!(received.kept_until <= cx.now && received.expires_at < received.kept_until);
                assert!(self.forgotten.insert(forgotten.number), "forgotten twice");
            }
        }
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), principal(), pause()), 0..128)) {
        let (mut live, mut replayed, mut counted) = (Proofs::default(), Proofs::default(), Counted::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let (command, principal) = aimed(command, &live, principal, now);
            let cx = Context { now, command_id: CommandId(number), principal, decision: Decision::default() };
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                counted.count(event, &command, &cx);
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            if !matches!(command, Command::Receive(_)) {
                let repeat = live.decide(&command, &cx).map(|outcome| outcome.events.len()).unwrap_or_default();
                prop_assert_eq!(repeat, 0, "a repeat adds nothing");
            }
            for (&number, received) in counted.received.iter().filter(|(number, _)| !counted.forgotten.contains(number)) {
                let shown = live.show(number, now).unwrap();
                prop_assert_eq!(shown.spent.map(|spent| spent.command), counted.held.get(&number).copied());
                let current = counted.revisions.get(&received.proof) == Some(&received.revision);
                let usable = !counted.held.contains_key(&number) && now < received.expires_at && current;
                prop_assert_eq!(shown.state == State::Live, usable);
                prop_assert_eq!(shown.obstacle().is_none(), usable);
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        let digested = [&live, &replayed].map(|state| serde_json::to_string(state).unwrap());
        prop_assert_eq!(&digested[0], &digested[1], "equal states are written alike");
    }

    /// Whether the clock came or not: what can be spent is the same, and so is what is taken in.
    #[test]
    fn nothing_waits_for_the_clock(script in vec((command(), principal(), pause()), 0..128)) {
        let (mut attended, mut left) = (Proofs::default(), Proofs::default());
        let mut now = Timestamp(1_800_000_000_000);
        for (number, (command, principal, pause)) in (1..).zip(script) {
            now = now + pause;
            let (command_id, decision) = (CommandId(number), Decision::default());
            let clock = Context { now, command_id, principal: Principal::internal("clock"), decision: decision.clone() };
            while let Some(due) = attended.due(now) {
                for event in attended.decide(&due, &clock).unwrap().events {
                    attended.evolve(&event, Position(0));
                }
            }
            // What is held by a command is given back by it, or not at all any more.
            if matches!(command, Command::Forget | Command::Release { .. }) {
                continue;
            }
            let (command, principal) = aimed(command, &attended, principal, now);
            let cx = Context { now, command_id, principal, decision };
            let answers = [attended.decide(&command, &cx), left.decide(&command, &cx)];
            prop_assert_eq!(answers[0].is_ok(), answers[1].is_ok());
            for (proofs, answer) in [&mut attended, &mut left].into_iter().zip(answers) {
                for event in answer.iter().flat_map(|outcome| &outcome.events) {
                    proofs.evolve(event, Position(0));
                }
            }
            prop_assert_eq!(attended.live(now), left.live(now));
        }
    }
}
