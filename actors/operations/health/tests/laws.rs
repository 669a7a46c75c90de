//! What holds after every history, however strange.

mod written;

use std::collections::BTreeMap;

use health::{Code, Command, Disk, Event, Health, Observation, Trouble};
use journal::codec;
use kernel::{CommandId, Context, Decision, Machine, Millis, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use written::written_and_read;

fn observation() -> impl Strategy<Value = Command> {
    let trouble = (0..3_u8, any::<bool>(), any::<bool>()).prop_map(|(child, quarantined, needed)| Trouble {
        path: format!("sop/{child}"),
        quarantined,
        needed,
        why: "killed".into(),
    });
    let disk = prop_oneof![Just(None), (0..80_u64).prop_map(|free| Some(Disk { free, reserve: 10 }))];
    let rest = (vec(Just("gaps".to_owned()), 0..2), disk, 0..9_u64, 0..9_000_u64, 0..2_u128);
    (vec(trouble, 0..4), rest).prop_map(|(children, (poisoned, disk, slow_appends, jump, process))| {
        let (process, clock_jump) = (CommandId(process), Millis(jump));
        Command::Observe(Observation { process, children, poisoned, disk, appends: 300, slow_appends, clock_jump })
    })
}

fn command() -> impl Strategy<Value = Command> {
    let backup = || 1..4_u64;
    prop_oneof![
        1 => (0..2_u128, 1..500_000_u64).prop_map(|(process, span)| {
            Command::Begin { process: CommandId(process), overdue_after: Millis(span) }
        }),
        8 => observation(),
        1 => (backup(), 0..1_000_000_u64).prop_map(|(backup, at)| Command::BackupMade { backup, at: Timestamp(at) }),
        1 => backup().prop_map(|backup| Command::BackupVerified { backup }),
        1 => backup().prop_map(|backup| Command::BackupBad { backup, why: "law".into() }),
        1 => Just(Command::Due),
    ]
}

fn context(now: u64) -> Context {
    Context {
        now: Timestamp(now),
        command_id: CommandId(1),
        principal: Principal::internal("law"),
        decision: Decision::default(),
    }
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), 0..100_000_u64), 0..96)) {
        let (mut live, mut replayed, mut now) = (Health::default(), Health::default(), 1);
        for (command, pause) in script {
            now += pause;
            let Ok(outcome) = live.decide(&command, &context(now)) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            if let Command::Observe(seen) = &command {
                prop_assert_eq!(&live.changes(seen, Timestamp(now)), &outcome.events, "what is foreseen happens");
            }
            for event in &outcome.events {
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            let again = live.decide(&command, &context(now)).unwrap();
            prop_assert_eq!(again.events, vec![], "a repeat adds nothing");
            let codes: Vec<_> = live.reasons().map(|reason| reason.code).collect();
            let both = codes.contains(&Code::BackupMissing) && codes.contains(&Code::BackupOverdue);
            prop_assert!(!both, "a backup is missing or overdue");
            if let Some(due) = live.due(Timestamp(now)) {
                let events = live.decide(&due, &context(now)).unwrap().events;
                prop_assert!(!events.is_empty(), "what is due is something to do");
                let mut done = live.clone();
                for event in &events {
                    done.evolve(event, Position(0));
                }
                prop_assert_eq!(done.due(Timestamp(now)), None, "and then it is done");
            }
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }

    /// However a value flaps, and however often one looks.
    #[test]
    fn flapping_does_not_fill_the_journal(values in vec(observation(), 1..8), step in 1..5_000_u64, turns in 0..3_000_usize) {
        let mut health = Health::default();
        let begin = Command::Begin { process: CommandId(1), overdue_after: Millis(u64::MAX) };
        let begun = health.decide(&begin, &context(0)).unwrap();
        for event in &begun.events {
            health.evolve(event, Position(0));
        }
        let mut raised: BTreeMap<(u8, String), u64> = BTreeMap::new();
        let mut now = 0;
        for value in values.iter().cycle().take(turns) {
            now += step;
            let Command::Observe(seen) = value else { unreachable!("only observations are made") };
            let seen = Observation { process: CommandId(1), ..seen.clone() };
            for event in health.changes(&seen, Timestamp(now)) {
                if let Event::Raised(reason) = &event {
                    *raised.entry((reason.code, reason.subject.clone())).or_default() += 1;
                }
                health.evolve(&event, Position(0));
            }
        }
        // Eleven doublings lead from nothing to ten minutes, and after ten minutes of quiet they begin anew.
        let bound = 12 * (1 + now / Millis::minutes(10).0);
        for (reason, count) in raised {
            prop_assert!(count <= bound, "{reason:?} was raised {count} times in {now} ms");
        }
    }
}
