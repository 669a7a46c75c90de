//! What holds after every history, however strange.

use door::decisions::{Asked, Command, Decisions};
use journal::codec;
use kernel::{Denial, Layer, Machine, Millis, Position};
use policy::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::written::{check, decided, written_and_read};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,40}", (0..10_000_usize).prop_map(|length| "ß".repeat(length))]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![text().prop_map(Value::Text), any::<i64>().prop_map(Value::Long), any::<bool>().prop_map(Value::Bool)]
}

fn asked() -> impl Strategy<Value = Asked> {
    let context = vec((text(), value()), 0..12);
    (text(), text(), context).prop_map(|(action, resource, context)| Asked { action, resource, context })
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
        (asked(), denial(), any::<u64>()).prop_map(|(asked, denial, policy_epoch)| Command::Deny {
            asked,
            denial,
            policy_epoch
        }),
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

    #[test]
    fn what_passes_the_check_is_kept_whole(asked in asked()) {
        if check(&asked).is_ok() {
            let mut names: Vec<_> = asked.context.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            prop_assume!(names.len() == asked.context.len());
            let events = decided(&Decisions::default(), &Command::Answer { asked: asked.clone() });
            let [door::Event::Answered(kept)] = &events[..] else { panic!("one record") };
            prop_assert_eq!((&kept.action, &kept.resource), (&asked.action, &asked.resource));
            let texts = asked.context.iter().map(|(name, value)| match value {
                Value::Text(text) => (name.clone(), text.clone()),
                Value::Long(number) => (name.clone(), number.to_string()),
                Value::Bool(truth) => (name.clone(), truth.to_string()),
            });
            let kept = kept.context.iter().map(|one| (one.name.clone(), one.value.clone()));
            prop_assert!(texts.eq(kept));
        }
    }
}
