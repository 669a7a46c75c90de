//! One row per answer.

use std::collections::BTreeSet;

use door::outcomes::{By, Command, Counts, Ended, Event, OPEN_MAX, OPERATIONS, Refusal, Reply, UNKNOWN_MAX, operation};
use kernel::{Machine, Millis, Refuse, Timestamp};

use crate::written::{FIVE, NOON, TWELVE, after, begin, close, decided, end, failed, id, open};

/// The ends of facts: the number, whether it had been unknown, and what became of it.
fn ends(events: &[Event]) -> Vec<(u64, bool, Ended)> {
    let one = |event: &Event| match event {
        Event::Closed(closed) => (closed.number, closed.corrects, closed.ended()),
        Event::Opened(opened) => panic!("nothing was to be opened: {opened:?}"),
    };
    events.iter().map(one).collect()
}

#[test]
fn decide() {
    let kill = || open("system.kill");
    let (none, one, made) = (after(&[]), after(&[kill()]), after(&[begin("backup-1 make")]));
    let later = NOON + TWELVE;
    let unknown = after(&[begin("backup-1 make"), close(1, Ended::Unknown)]);
    let corrected = after(&[begin("backup-1 make"), close(1, Ended::Unknown), end("backup-1 make", failed())]);
    let two = after(&[kill(), begin("backup-1 make")]);
    let forsake = |before: Timestamp| Command::Forsake { before };
    for (row, outcomes, command, now, expected) in [
        ("close what is open", &one, close(1, Ended::Succeeded), NOON, vec![(1, false, Ended::Succeeded)]),
        ("close it as failed", &one, close(1, failed()), NOON, vec![(1, false, failed())]),
        ("close what never was", &none, close(1, Ended::Succeeded), NOON, vec![]),
        (
            "close it by its machine",
            &made,
            end("backup-1 make", Ended::Succeeded),
            NOON,
            vec![(1, false, Ended::Succeeded)],
        ),
        ("close another one", &made, end("backup-2 make", Ended::Succeeded), NOON, vec![]),
        ("nothing of one's own ends by a machine", &one, end("", Ended::Succeeded), NOON, vec![]),
        ("correct", &unknown, end("backup-1 make", failed()), NOON, vec![(1, true, failed())]),
        ("correct by number", &unknown, close(1, Ended::Succeeded), NOON, vec![(1, true, Ended::Succeeded)]),
        ("unknown is no correction", &unknown, close(1, Ended::Unknown), NOON, vec![]),
        ("correct again", &corrected, end("backup-1 make", Ended::Succeeded), NOON, vec![]),
        ("nothing is due", &two, Command::Expire, NOON, vec![]),
        ("one is due", &two, Command::Expire, NOON + FIVE, vec![(1, false, Ended::Unknown)]),
        ("both are", &two, Command::Expire, later, vec![(1, false, Ended::Unknown), (2, false, Ended::Unknown)]),
        ("those of an earlier process", &two, forsake(NOON + Millis(1)), later, vec![(1, false, Ended::Unknown)]),
        ("those of this one", &two, forsake(NOON), later, vec![]),
    ] {
        let (events, reply) = decided(&mut outcomes.clone(), 100, &command, now).unwrap();
        assert_eq!(ends(&events), expected, "{row}");
        assert_eq!(reply, Reply::Closed { count: expected.len() as u64 }, "{row}");
        let mut after = outcomes.clone();
        decided(&mut after, 100, &command, now).unwrap();
        assert_eq!(decided(&mut after, 101, &command, now).unwrap().0, vec![], "{row}: again, it adds nothing");
    }
}

#[test]
fn what_is_opened_says_who_asked_for_what_and_until_when() {
    let mut outcomes = after(&[]);
    let (events, reply) = decided(&mut outcomes, 7, &open("system.kill"), NOON).unwrap();
    let [Event::Opened(opened)] = &events[..] else { panic!("one record") };
    assert_eq!(reply, Reply::Opened { number: 1 });
    assert_eq!((opened.operation, opened.stream.as_str(), opened.thing.as_str()), (id(7), "outcomes", ""));
    assert_eq!((opened.action.as_str(), opened.resource.as_str()), ("system.kill", "sop"));
    assert_eq!((opened.principal.as_str(), opened.began, opened.deadline), ("operator/root", NOON, NOON + FIVE));

    let late = NOON + Millis::hours(3);
    let (events, _) = decided(&mut outcomes, 8, &begin("backup-1 make"), late).unwrap();
    let [Event::Opened(begun)] = &events[..] else { panic!("one record") };
    assert_eq!((begun.operation, begun.principal.as_str()), (id(200), "agent/alpha"), "of the machine's own record");
    assert_eq!((begun.began, begun.deadline), (NOON, late + TWELVE), "a route that is behind takes no time away");
    assert_eq!(outcomes.deadline(), Some(NOON + FIVE), "the first of them is due first");
    assert_eq!((outcomes.due(NOON), outcomes.due(NOON + FIVE)), (None, Some(Command::Expire)));

    let long = "é".repeat(10_000);
    let (events, _) = decided(&mut outcomes, 9, &Command::Open { action: long.clone(), resource: long }, NOON).unwrap();
    let [Event::Opened(cut)] = &events[..] else { panic!("one record") };
    assert!(cut.action.len() <= 64 && cut.resource.len() <= 256 && cut.deadline == NOON + Millis::hours(1), "{cut:?}");
}

#[test]
fn so_many_are_open_and_no_more_but_what_a_machine_began_is_taken() {
    let mut outcomes = after(&[]);
    for number in 0..OPEN_MAX {
        assert!(!outcomes.is_full(), "{number}");
        decided(&mut outcomes, 1, &open("system.kill"), NOON).unwrap();
    }
    let refusal = decided(&mut outcomes, 1, &open("system.kill"), NOON).unwrap_err();
    assert_eq!(refusal, Refusal::Full { open: OPEN_MAX as u64 });
    assert_eq!(refusal.code(), "outcomes.full");
    assert!(refusal.remedy().contains("--outcome open"), "{}", refusal.remedy());
    decided(&mut outcomes, 1, &begin("backup-1 make"), NOON).unwrap();
    decided(&mut outcomes, 1, &close(1, Ended::Succeeded), NOON).unwrap();
    assert!(outcomes.is_full());
    decided(&mut outcomes, 1, &close(2, Ended::Succeeded), NOON).unwrap();
    decided(&mut outcomes, 1, &open("system.kill"), NOON).unwrap();
}

#[test]
fn so_many_that_are_unknown_can_be_corrected_and_the_oldest_go_first() {
    let mut outcomes = after(&[]);
    let all = UNKNOWN_MAX as u64 + 2;
    for number in 1..=all {
        decided(&mut outcomes, 1, &begin(&format!("backup-{number} make")), NOON).unwrap();
    }
    let (events, _) = decided(&mut outcomes, 1, &Command::Expire, NOON + TWELVE).unwrap();
    let forgotten = events.iter().filter_map(|event| match event {
        Event::Closed(closed) => closed.forgets,
        Event::Opened(_) => None,
    });
    assert_eq!((events.len() as u64, forgotten.collect::<Vec<_>>()), (all, vec![1, 2]));
    assert_eq!(outcomes.unknown().count(), UNKNOWN_MAX);
    assert_eq!(outcomes.unknown().next().unwrap().number, 3);
    let late = decided(&mut outcomes, 1, &end("backup-2 make", Ended::Succeeded), NOON).unwrap();
    assert_eq!(late, (vec![], Reply::Closed { count: 0 }));
    decided(&mut outcomes, 1, &end("backup-3 make", Ended::Succeeded), NOON).unwrap();
    let counts = Counts { succeeded: 1, failed: 0, unknown: all, corrected: 1 };
    assert_eq!((outcomes.counts(), outcomes.unknown().count()), (counts, UNKNOWN_MAX - 1));
}

/// What is not in the table ends with its first record; what is, is something that can be asked for, once.
#[test]
fn the_table_is_of_actions_that_there_are() {
    let names: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.action).collect();
    assert_eq!(names.len(), OPERATIONS.len());
    for name in names {
        assert!(policy::action(name).is_some(), "{name}");
    }
    let reads = OPERATIONS.iter().filter(|one| policy::action(one.action).is_some_and(|action| action.reads_only));
    assert_eq!(reads.map(|one| one.action).collect::<Vec<_>>(), ["audit.attest"], "an attestation leaves a file");
    assert_eq!(operation("backup.create").map(|one| one.by), Some(By::Machine));
    assert_eq!(operation("token.issue"), None);
}
