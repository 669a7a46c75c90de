//! What holds after every history, however strange.

use door::decisions::{Command, Decisions};
use journal::codec;
use kernel::{Asked, Attribute, Denial, Layer, Machine, Millis, Position, Standing};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::written::{decided, written_and_read};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", (0..10_000_usize).prop_map(|length| "ß".repeat(length))]
}

fn value() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        text().prop_map(Attribute::Text),
        any::<i64>().prop_map(Attribute::Long),
        any::<bool>().prop_map(Attribute::Bool)
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let names = || btree_set(text(), 0..4);
    let standing = (any::<bool>(), names(), any::<u32>(), names()).prop_map(|(via_token, roles, approvals, proofs)| {
        Standing { via_token, credential: None, roles, approvals, proofs }
    });
    let context = btree_map(text(), value(), 0..12);
    (text(), text(), context, standing)
        .prop_map(|(action, resource, context, standing)| Asked::new(&action, &resource, &context, &standing))
}

fn denial() -> impl Strategy<Value = Denial> {
    let wait = proptest::option::of(any::<u64>().prop_map(Millis));
    (select(&Layer::ALL[..]), text(), text(), text(), proptest::option::of(text()), wait).prop_map(
        |(layer, code, reason, remedy, rule, retry_after)| Denial {
            layer,
            code,
            reason,
            rule,
            remedy,
            retry_after,
            missing: None,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        asked().prop_map(|asked| Command::Answer { asked }),
        (asked(), denial()).prop_map(|(asked, denial)| Command::Deny { asked, denial }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_history_keeps_the_laws(script in vec(command(), 0..12)) {
        let (mut live, mut replayed) = (Decisions::default(), Decisions::default());
        for (at, command) in (1..).zip(&script) {
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            let events = decided(&live, command);
            prop_assert_eq!(events.len(), 1, "one record a decision");
            prop_assert_eq!(&decided(&Decisions::default(), command), &events, "nothing is decided from the state");
            for event in events {
                live.evolve(&event, Position(at));
                // Fits into a record, whatever was asked.
                replayed.evolve(&written_and_read(&event), Position(at));
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        prop_assert_eq!(live.denied + live.answered, script.len() as u64);
    }
}
