//! What holds after every history, however strange.

use std::collections::BTreeMap;

use door::outcomes::{Command, Ended, Event, OPEN_MAX, Outcomes};
use journal::codec;
use kernel::{Machine, Millis, Position};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::written::{NOON, begin, close, context, end, failed, open, written_and_read};

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![Just(Ended::Succeeded), Just(failed()), Just(Ended::Unknown)]
}

fn thing() -> impl Strategy<Value = String> {
    (0..4_u8).prop_map(|number| format!("backup-{number} make"))
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => Just(open("system.kill")),
        3 => thing().prop_map(|thing| begin(&thing)),
        3 => (0..24_u64, ended()).prop_map(|(number, ended)| close(number, ended)),
        3 => (thing(), ended()).prop_map(|(thing, ended)| end(&thing, ended)),
        1 => Just(Command::Expire),
        1 => (0..100_000_000_u64).prop_map(|later| Command::Forsake { before: NOON + Millis(later) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), 0..20_000_000_u64), 0..48)) {
        let (mut live, mut replayed) = (Outcomes::default(), Outcomes::default());
        // Of each number, what it was closed as, one after the other.
        let mut closed = BTreeMap::<u64, Vec<Ended>>::new();
        let mut now = NOON;
        for (at, (command, pause)) in (1..).zip(&script) {
            now = now + Millis(*pause);
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            let Ok(outcome) = live.decide(command, &context(1, now)) else {
                prop_assert_eq!(live.open().count(), OPEN_MAX, "only for want of room");
                continue;
            };
            for event in outcome.events {
                live.evolve(&event, Position(at));
                replayed.evolve(&written_and_read(&event), Position(at));
                match event {
                    Event::Opened(opened) => {
                        prop_assert_eq!(closed.insert(opened.number, vec![]), None, "a number names one");
                        prop_assert!(now < opened.deadline);
                    }
                    Event::Closed(end) => {
                        let known = closed.get_mut(&end.number).expect("only what was opened is closed");
                        prop_assert_eq!(end.corrects, !known.is_empty(), "what is closed is closed, but for a correction");
                        known.push(end.ended());
                    }
                }
            }
        }
        prop_assert_eq!(&replayed, &live, "the journal is the state");
        for (number, ends) in &closed {
            let corrected = matches!(&ends[..], [Ended::Unknown, known] if *known != Ended::Unknown);
            prop_assert!(ends.len() <= 1 || corrected, "{number}: {ends:?}");
        }
        let is = |pick: fn(&[Ended]) -> bool| closed.iter().filter(|(_, ends)| pick(ends)).map(|(number, _)| *number).collect::<Vec<_>>();
        prop_assert_eq!(live.open().map(|one| one.number).collect::<Vec<_>>(), is(<[_]>::is_empty));
        prop_assert_eq!(live.unknown().map(|one| one.number).collect::<Vec<_>>(), is(|ends| *ends == [Ended::Unknown]));
        let counts = live.counts();
        let ends = counts.succeeded + counts.failed + counts.unknown;
        prop_assert_eq!(ends, closed.values().map(|ends| ends.len() as u64).sum::<u64>());

        // Whatever is left is over once its deadline is.
        while let Some(deadline) = live.deadline() {
            let due = live.due(deadline).expect("what has a deadline is due then");
            let outcome = live.decide(&due, &context(1, deadline)).expect("the clock is never refused");
            prop_assert!(!outcome.events.is_empty(), "the clock never asks in vain");
            for event in outcome.events {
                live.evolve(&event, Position(1));
            }
        }
        prop_assert_eq!(live.open().count(), 0);
    }
}
