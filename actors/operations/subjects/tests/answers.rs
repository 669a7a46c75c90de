//! One row per answer; and that every history keeps the laws.

use kernel::{CommandId, Context, Decision, Machine, Personal, Position, Refuse, Timestamp, json};
use proptest::prelude::*;
use subjects::{CASES_MAX, Command, Event, REASON_MAX, Subjects};

const ROOT: &str = "operator/root";
const WORKER: &str = "internal/eraser";

fn cx(by: &str, id: u128) -> Context {
    Context {
        now: Timestamp(1_800_000_000_000),
        command_id: CommandId(id),
        principal: by.parse().unwrap(),
        decision: Decision::default(),
    }
}

fn hold(subject: &str, case: &str) -> Command {
    Command::Hold { subject: subject.parse().unwrap(), case: case.into(), reason: Personal::plain("a suit") }
}

fn release(subject: &str, case: &str) -> Command {
    Command::Release { subject: subject.parse().unwrap(), case: case.into() }
}

fn erase(subject: &str) -> Command {
    Command::Erase { subject: subject.parse().unwrap() }
}

fn finish(id: u128) -> Command {
    Command::Finish { erasure: CommandId(id), key: Some(7) }
}

fn run(subjects: &mut Subjects, by: &str, id: u128, command: &Command) -> Result<usize, &'static str> {
    let outcome = subjects.decide(command, &cx(by, id)).map_err(|refusal| refusal.code())?;
    for event in &outcome.events {
        let (kind, body) = json::write(event);
        assert_eq!(json::read::<Event>((kind.id, kind.version), body).as_ref(), Ok(event));
        subjects.evolve(event, Position(0));
    }
    Ok(outcome.events.len())
}

fn after(commands: &[(&str, u128, Command)]) -> Subjects {
    let mut subjects = Subjects::default();
    for (by, id, command) in commands {
        run(&mut subjects, by, *id, command).unwrap();
    }
    subjects
}

#[test]
fn decide() {
    let a = "agent/alpha";
    let fresh = &Subjects::default();
    let held = &after(&[(ROOT, 1, hold(a, "case-1"))]);
    let full = &after(&(0..CASES_MAX).map(|n| (ROOT, n as u128, hold(a, &format!("c{n}")))).collect::<Vec<_>>());
    let released = &after(&[(ROOT, 1, hold(a, "case-1")), (ROOT, 2, release(a, "case-1"))]);
    let erasing = &after(&[(ROOT, 1, erase(a))]);
    let erased = &after(&[(ROOT, 1, erase(a)), (WORKER, 2, finish(1))]);
    let long = Command::Hold {
        subject: a.parse().unwrap(),
        case: "c".into(),
        reason: Personal::plain(&"é".repeat(REASON_MAX + 1)),
    };
    for (row, subjects, by, command, answer) in [
        ("hold", fresh, ROOT, hold(a, "case-1"), Ok(1)),
        ("hold again", held, ROOT, hold(a, "case-1"), Ok(0)),
        ("hold for another case", held, ROOT, hold(a, "case-2"), Ok(1)),
        ("hold for too many", full, ROOT, hold(a, "case-2"), Err("subjects.too_many_cases")),
        ("hold for no name", fresh, ROOT, hold(a, "a b"), Err("subjects.bad_case")),
        ("hold with too many words", fresh, ROOT, long, Err("subjects.reason_too_long")),
        ("hold a part of the authority", fresh, ROOT, hold("internal/clock", "c"), Err("subjects.internal")),
        ("release", held, ROOT, release(a, "case-1"), Ok(1)),
        ("release again", released, ROOT, release(a, "case-1"), Err("subjects.not_held")),
        ("release nobody", fresh, ROOT, release(a, "case-1"), Err("subjects.not_held")),
        ("erase", fresh, ROOT, erase(a), Ok(1)),
        ("erase who is held", held, ROOT, erase(a), Err("subjects.held")),
        ("erase who was released", released, ROOT, erase(a), Ok(1)),
        ("erase again, while it is done", erasing, ROOT, erase(a), Ok(1)),
        ("erase again", erased, ROOT, erase(a), Ok(1)),
        ("erase a part of the authority", fresh, ROOT, erase("internal/clock"), Err("subjects.internal")),
        ("hold while it is erased", erasing, ROOT, hold(a, "case-1"), Ok(1)),
        ("finish", erasing, WORKER, finish(1), Ok(1)),
        ("finish again", erased, WORKER, finish(1), Ok(0)),
        ("finish what nobody asked for", fresh, WORKER, finish(1), Err("subjects.unknown_erasure")),
        ("finish by hand", erasing, ROOT, finish(1), Err("subjects.workers_only")),
    ] {
        assert_eq!(run(&mut subjects.clone(), by, 99, &command), answer, "{row}");
    }
    assert_eq!(erasing.outstanding(), Some((CommandId(1), a.parse().unwrap())));
    assert_eq!(erased.outstanding(), None);
    let done: Vec<_> = erased.done().map(|(subject, erasure)| (subject.to_string(), erasure.key)).collect();
    assert_eq!(done, [(a.to_owned(), Some(7))]);
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in prop::collection::vec((0..4_u8, 0..2_u8, 0..2_u8, 1..20_u128), 0..64)) {
        let (mut subjects, mut ids) = (Subjects::default(), 100..);
        for (what, who, case, id) in script {
            let (who, case) = (format!("agent/{who}"), format!("case-{case}"));
            let command = match what {
                0 => hold(&who, &case),
                1 => release(&who, &case),
                2 => erase(&who),
                _ => finish(99 + id),
            };
            let held = subjects.show(&who.parse().unwrap()).is_some_and(|known| !known.cases.is_empty());
            let by = if what == 3 { WORKER } else { ROOT };
            let answer = run(&mut subjects, by, ids.next().unwrap(), &command);
            prop_assert!(what != 2 || held == (answer == Err("subjects.held")), "{who} {held} {answer:?}");
        }
        let bytes = serde_json::to_vec(&subjects.list().collect::<Vec<_>>()).unwrap();
        prop_assert!(!bytes.is_empty());
        let outstanding = subjects.list().flat_map(|(_, known)| &known.erasures).filter(|one| one.done_at.is_none());
        prop_assert_eq!(outstanding.count() == 0, subjects.outstanding().is_none());
    }
}
