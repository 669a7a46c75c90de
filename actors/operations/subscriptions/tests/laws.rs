//! What holds after every history, however strange.

use journal::codec;
use kernel::{CommandId, Context, Decision, Machine, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use subscriptions::{Command, Subscriptions, Wanted};

fn command() -> impl Strategy<Value = Command> {
    let name = || prop_oneof![Just("a"), Just("b"), Just("c"), Just("no name")].prop_map(str::to_owned);
    let wanted = prop_oneof![Just(""), Just("todos")].prop_map(|stream| Wanted {
        streams: Some(stream.to_owned()).filter(|stream| !stream.is_empty()).into_iter().collect(),
        kinds: [400].into(),
    });
    prop_oneof![
        3 => (name(), wanted, proptest::option::of(0..9_u64))
            .prop_map(|(name, wanted, from)| Command::Create { name, wanted, from, head: 7 }),
        5 => (name(), 0..40_u64, any::<bool>())
            .prop_map(|(name, position, given)| Command::Acknowledge { name, position, given }),
        1 => name().prop_map(|name| Command::Delete { name }),
    ]
}

fn who() -> impl Strategy<Value = Principal> {
    prop_oneof![Just("agent/alpha"), Just("agent/beta"), Just("operator/root")].prop_map(|who| who.parse().unwrap())
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((who(), command(), 0..1_000_u64), 0..64)) {
        let (mut live, mut replayed) = (Subscriptions::default(), Subscriptions::default());
        let mut now = Timestamp(1);
        for (principal, command, pause) in script {
            now = Timestamp(now.0 + pause);
            let cx = Context { now, command_id: CommandId(1), principal, decision: Decision::default() };
            let before = live.clone();
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                live.evolve(event, Position(0));
                let body = codec::write(event).unwrap();
                let read = codec::read((body.kind.id, body.kind.version), &body.bytes).unwrap();
                prop_assert_eq!(&read, event, "it means the same");
                replayed.evolve(&read, Position(0));
            }
            if let Ok(again) = live.decide(&command, &cx) {
                prop_assert_eq!(again.events, vec![], "a repeat adds nothing");
            }
            for (name, known) in live.list() {
                let Some((_, earlier)) = before.list().find(|(other, _)| *other == name) else { continue };
                prop_assert_eq!(&known.owner, &earlier.owner, "an owner stays");
                prop_assert_eq!(&known.wanted, &earlier.wanted, "what is wanted stays");
                prop_assert!(earlier.position <= known.position, "a position never goes back");
                if earlier.position != known.position {
                    prop_assert_eq!(&cx.principal, &known.owner, "only the owner acknowledges");
                    let given = matches!(command, Command::Acknowledge { given: true, .. });
                    prop_assert!(given, "what was not given is not acknowledged");
                }
            }
            let deleted = matches!(command, Command::Delete { .. });
            prop_assert!(deleted || before.list().count() <= live.list().count(), "nothing else ends one");
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }
}
