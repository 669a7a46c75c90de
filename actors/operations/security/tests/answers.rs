//! One row per answer that security can give.

use kernel::{CommandId, Context, Decision, Machine, Millis, Personal, Position, Principal, Refuse, Timestamp};
use security::{
    Act, Command, DETAIL_MAX, EVENTS_MAX, EVIDENCE_MAX, FINDINGS_MAX, Finding, INCIDENTS_MAX, Kind, LINKED_MAX,
    Measure, OTHERS, Refusal, Reply, STEPS_MAX, Security, Severity, TEXT_MAX, TIMELINE_MAX, TITLE_MAX,
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const FIRST: CommandId = CommandId(7);

fn cx(who: &str) -> Context {
    Context { now: NOON, command_id: CommandId(1), principal: who.parse().unwrap(), decision: Decision::default() }
}

fn finding(kind: Kind, subject: &str, evidence: &[u64]) -> Finding {
    Finding {
        kind,
        subject: subject.to_owned(),
        detail: "gap.scan was denied".to_owned(),
        count: 2,
        first_at: NOON,
        last_at: NOON + Millis(evidence.len() as u64),
        evidence: evidence.to_vec(),
    }
}

fn report(at: u64, kind: Kind, subject: &str) -> Command {
    Command::Report { at, findings: vec![finding(kind, subject, &[at])] }
}

fn words(text: &str) -> Personal {
    Personal::plain(text)
}

fn open(events: &[u64]) -> Command {
    Command::Open { title: words("a leak"), severity: None, owner: None, events: events.iter().copied().collect() }
}

fn hold(first: Option<u64>, last: Option<u64>) -> Command {
    Command::Hold { incident: 1, first, last }
}

fn plan(subjects: &[&str]) -> Command {
    Command::Plan { incident: 1, subjects: subjects.iter().map(|subject| subject.parse().unwrap()).collect() }
}

fn step(step: u32, done: bool, command: CommandId) -> Command {
    Command::Step { incident: 1, step, done, command, answer: "suspended".to_owned() }
}

fn dismiss(event: u64) -> Command {
    Command::Dismiss { event, reason: words("a drill") }
}

fn close() -> Command {
    Command::Close { incident: 1, postmortem: words("a key was in a log") }
}

/// Who asks what.
fn by(command: &Command) -> &'static str {
    match command {
        Command::Report { .. } | Command::Tell { .. } | Command::Look { .. } => "internal/detector",
        _ => "operator/root",
    }
}

fn take(security: &mut Security, command: &Command) -> Result<Reply, Refusal> {
    let outcome = security.decide(command, &cx(by(command)))?;
    for event in &outcome.events {
        security.evolve(event, Position(0));
    }
    Ok(outcome.reply)
}

fn after(commands: &[Command]) -> Security {
    let mut security = Security::default();
    for command in commands {
        take(&mut security, command).unwrap();
    }
    security
}

#[test]
fn decide() {
    let found = [report(10, Kind::DoubleSpend, "agent/alpha"), report(20, Kind::DeniedBurst, "protocol/ARP")];
    let with = |more: &[Command]| after(&[&found[..], more].concat());
    let (fresh, seen) = (Security::default(), with(&[]));
    let acknowledged = with(&[Command::Acknowledge { event: 1 }]);
    let dismissed = with(&[dismiss(1)]);
    let opened = with(&[open(&[1])]);
    let planned = with(&[open(&[1]), plan(&[])]);
    let stepped = with(&[open(&[1]), plan(&[]), step(1, true, FIRST)]);
    let held = with(&[open(&[1]), hold(None, None)]);
    let closed = with(&[open(&[1]), close()]);
    let bare = with(&[open(&[])]);
    let long = |characters: usize| words(&"x".repeat(characters + 1));
    let many = |count| Command::Tell { findings: vec![finding(Kind::Lockout, "x", &[]); count] };
    let large = Command::Tell { findings: vec![finding(Kind::Lockout, &"x".repeat(DETAIL_MAX + 1), &[])] };
    let broad = Command::Tell { findings: vec![finding(Kind::Lockout, "x", &[1; EVIDENCE_MAX + 1])] };
    let titled = |title: Personal| Command::Open { title, severity: None, owner: None, events: [].into() };
    let note = |text: Personal| Command::Note { incident: 1, text };
    let link = |event| Command::Link { incident: 1, event };
    let shown = |first, last| Ok((1, Reply::Held { first, last }));
    let opening = Ok((1, Reply::Opened { incident: 1 }));
    let (done, nothing) = (Ok((1, Reply::Done)), Ok((0, Reply::Done)));
    let answer = Command::Step { incident: 1, step: 1, done: true, command: FIRST, answer: "x".repeat(DETAIL_MAX + 1) };
    for (row, security, command, expected) in [
        ("found", &fresh, report(10, Kind::DoubleSpend, "agent/alpha"), done.clone()),
        ("found in a record that was looked at", &seen, report(20, Kind::DoubleSpend, "agent/beta"), nothing.clone()),
        ("looked", &seen, Command::Look { upto: 30 }, done.clone()),
        ("looked before", &seen, Command::Look { upto: 20 }, nothing.clone()),
        ("told", &seen, many(1), done.clone()),
        ("told too much", &seen, many(FINDINGS_MAX + 1), Err(Refusal::TooLarge)),
        ("told at length", &seen, large, Err(Refusal::TooLarge)),
        ("told of too many records", &seen, broad, Err(Refusal::TooLarge)),
        ("acknowledged", &seen, Command::Acknowledge { event: 1 }, done.clone()),
        ("again", &acknowledged, Command::Acknowledge { event: 1 }, nothing.clone()),
        ("what was dismissed", &dismissed, Command::Acknowledge { event: 1 }, Err(Refusal::Dismissed { event: 1 })),
        ("what is known", &opened, Command::Acknowledge { event: 1 }, Err(Refusal::Taken { event: 1, incident: 1 })),
        ("what is not", &seen, Command::Acknowledge { event: 3 }, Err(Refusal::UnknownEvent { event: 3 })),
        ("dismissed", &acknowledged, dismiss(1), done.clone()),
        ("dismissed again", &dismissed, dismiss(1), nothing.clone()),
        ("dismissed of an incident", &opened, dismiss(1), Err(Refusal::Taken { event: 1, incident: 1 })),
        ("without a reason", &seen, Command::Dismiss { event: 1, reason: words("") }, Err(Refusal::NoReason)),
        ("with a novel", &seen, Command::Dismiss { event: 1, reason: long(TEXT_MAX) }, Err(Refusal::TooLong)),
        ("opened", &seen, open(&[1, 2]), opening.clone()),
        ("opened for nothing seen", &fresh, open(&[]), opening),
        ("opened without a title", &seen, titled(words("")), Err(Refusal::NoReason)),
        ("opened with a long one", &seen, titled(long(TITLE_MAX)), Err(Refusal::TooLong)),
        ("opened of what is part", &opened, open(&[1]), Err(Refusal::Taken { event: 1, incident: 1 })),
        ("opened of what was dismissed", &dismissed, open(&[1]), Err(Refusal::Dismissed { event: 1 })),
        (
            "opened of too many",
            &seen,
            open(&(0..=LINKED_MAX as u64).collect::<Vec<_>>()),
            Err(Refusal::Full { incident: 1 }),
        ),
        ("linked", &opened, link(2), done.clone()),
        ("linked again", &opened, link(1), nothing.clone()),
        ("linked to none", &seen, link(1), Err(Refusal::UnknownIncident { incident: 1 })),
        ("linked to what is over", &closed, link(2), Err(Refusal::Closed { incident: 1 })),
        ("noted", &opened, note(words("asked the team")), done.clone()),
        ("noted nothing", &opened, note(words("")), Err(Refusal::NoReason)),
        ("planned", &opened, plan(&[]), Ok((1, Reply::Planned { steps: 3 }))),
        ("planned again", &planned, plan(&[]), Ok((0, Reply::Planned { steps: 3 }))),
        ("planned for a protocol, too", &planned, plan(&["protocol/ARP"]), Ok((1, Reply::Planned { steps: 7 }))),
        ("planned for nobody", &bare, plan(&[]), Err(Refusal::Nobody { incident: 1 })),
        ("planned for a part", &bare, plan(&["internal/door"]), Err(Refusal::Nobody { incident: 1 })),
        ("a step", &planned, step(1, true, FIRST), done.clone()),
        ("a step that failed", &planned, step(1, false, FIRST), done.clone()),
        ("the same step", &stepped, step(1, true, FIRST), nothing.clone()),
        ("a step that is done", &stepped, step(1, true, CommandId(8)), Err(Refusal::StepDone { incident: 1, step: 1 })),
        ("no step", &planned, step(4, true, FIRST), Err(Refusal::UnknownStep { incident: 1, step: 4 })),
        ("step 0", &planned, step(0, true, FIRST), Err(Refusal::UnknownStep { incident: 1, step: 0 })),
        ("a step at length", &planned, answer, Err(Refusal::TooLarge)),
        ("held", &opened, hold(None, None), shown(10, u64::MAX)),
        ("held from and to", &opened, hold(Some(3), Some(9)), shown(3, 9)),
        ("held again", &held, hold(None, None), Ok((0, Reply::Held { first: 10, last: u64::MAX }))),
        ("held otherwise", &held, hold(Some(3), None), Err(Refusal::HeldOtherwise { incident: 1 })),
        ("held for nothing", &bare, hold(None, None), Err(Refusal::NoEvidence { incident: 1 })),
        ("held from 0", &bare, hold(Some(0), None), Err(Refusal::BadRange)),
        ("held backwards", &bare, hold(Some(9), Some(8)), Err(Refusal::BadRange)),
        ("released", &held, Command::Release { incident: 1 }, done.clone()),
        ("released nothing", &opened, Command::Release { incident: 1 }, Err(Refusal::NotHeld { incident: 1 })),
        ("closed", &held, close(), done),
        ("closed again", &closed, close(), nothing),
        (
            "closed, nothing learnt",
            &opened,
            Command::Close { incident: 1, postmortem: words("") },
            Err(Refusal::NoReason),
        ),
    ] {
        let outcome = security.decide(&command, &cx(by(&command)));
        assert_eq!(outcome.map(|outcome| (outcome.events.len(), outcome.reply)), expected, "{row}");
        if let Err(refusal) = expected {
            assert!(refusal.code().starts_with("security.") && refusal.remedy().ends_with('.'), "{row}");
        }
    }
    for command in [Command::Look { upto: 3 }, many(1), report(99, Kind::Replay, "agent/alpha")] {
        assert_eq!(fresh.decide(&command, &cx("operator/root")), Err(Refusal::WorkersOnly), "{command:?}");
    }
}

#[test]
fn what_is_found_again_is_one_event_until_somebody_is_done_with_it() {
    let mut security =
        after(&[report(1, Kind::DeniedBurst, "agent/alpha"), report(2, Kind::DeniedBurst, "agent/alpha")]);
    let one = security.event(1).unwrap();
    assert_eq!((one.count, &one.evidence[..], security.events().count()), (4, &[1, 2][..], 1));
    take(&mut security, &report(3, Kind::DeniedBurst, "agent/beta")).unwrap();
    take(&mut security, &report(4, Kind::Replay, "agent/alpha")).unwrap();
    assert_eq!(security.events().count(), 3, "of another, and of another kind");
    take(&mut security, &open(&[1])).unwrap();
    take(&mut security, &report(5, Kind::DeniedBurst, "agent/alpha")).unwrap();
    assert_eq!(security.event(1).unwrap().count, 6, "while the incident is open");
    take(&mut security, &close()).unwrap();
    take(&mut security, &report(6, Kind::DeniedBurst, "agent/alpha")).unwrap();
    assert_eq!((security.event(1).unwrap().count, security.event(4).unwrap().count), (6, 2), "a new one");
    for at in 7..100 {
        take(&mut security, &report(at, Kind::DeniedBurst, "agent/alpha")).unwrap();
    }
    assert_eq!(security.event(4).unwrap().evidence, (6..22).collect::<Vec<_>>(), "the first of them");
    let counted: u64 = security.found().filter(|(kind, _)| *kind == Kind::DeniedBurst).map(|(_, count)| count).sum();
    assert_eq!(counted, 2 * 98, "all of them, ever");
}

#[test]
fn events_are_bounded_and_what_is_forgotten_is_over() {
    let mut security = Security::default();
    for number in 1..=EVENTS_MAX as u64 {
        take(&mut security, &report(number, Kind::DeniedBurst, &format!("agent/a{number}"))).unwrap();
    }
    let next = EVENTS_MAX as u64 + 1;
    for more in 0..3 {
        take(&mut security, &report(next + more, Kind::DeniedBurst, &format!("agent/b{more}"))).unwrap();
    }
    let others = security.event(next).unwrap();
    assert_eq!((others.subject.as_str(), others.count, security.events().count()), (OTHERS, 6, EVENTS_MAX + 1));
    take(&mut security, &dismiss(17)).unwrap();
    take(&mut security, &report(next + 3, Kind::Replay, "agent/c")).unwrap();
    assert!(security.event(17).is_none() && security.event(next + 1).unwrap().subject == "agent/c");
    assert_eq!(security.events().count(), EVENTS_MAX + 1);
}

#[test]
fn incidents_are_bounded_and_those_that_hold_evidence_stay() {
    let mut security = after(&[report(1, Kind::Replay, "agent/alpha")]);
    for _ in 0..INCIDENTS_MAX {
        take(&mut security, &open(&[])).unwrap();
    }
    assert_eq!(take(&mut security, &open(&[])), Err(Refusal::TooManyIncidents));
    take(&mut security, &hold(Some(1), None)).unwrap();
    take(&mut security, &close()).unwrap();
    assert_eq!(take(&mut security, &open(&[])), Err(Refusal::TooManyIncidents));
    take(&mut security, &Command::Release { incident: 1 }).unwrap();
    let reply = take(&mut security, &open(&[1])).unwrap();
    assert_eq!(reply, Reply::Opened { incident: INCIDENTS_MAX as u64 + 1 });
    assert!(security.show(1).is_none() && security.incidents().count() == INCIDENTS_MAX);
}

#[test]
fn the_timeline_tells_it_all_and_has_an_end() {
    let mut security =
        after(&[report(10, Kind::DoubleSpend, "agent/alpha"), report(20, Kind::Replay, "operator/root")]);
    for command in [open(&[1, 2]), plan(&[]), step(1, false, FIRST), step(1, true, CommandId(8)), hold(None, None)] {
        take(&mut security, &command).unwrap();
    }
    let found = security.show(1).unwrap();
    let measures: Vec<_> = found.steps.iter().map(|step| (step.measure, step.subject.to_string())).collect();
    let alpha = || "agent/alpha".to_owned();
    let expected = [(Measure::Freeze, alpha()), (Measure::Revoke, alpha()), (Measure::Fence, alpha())];
    assert_eq!(measures, expected, "nobody contains himself");
    assert_eq!((found.severity, found.steps[0].tried, found.steps[0].done), (Severity::High, 2, true));
    let acts: Vec<_> = found.timeline.iter().map(|entry| entry.act).collect();
    assert_eq!(acts, [Act::Opened, Act::Planned, Act::NotContained, Act::Contained, Act::Held]);
    assert_eq!(found.timeline[3].what, "freeze agent/alpha: suspended");
    for _ in found.timeline.len()..TIMELINE_MAX {
        take(&mut security, &Command::Note { incident: 1, text: words("x") }).unwrap();
    }
    let more = Command::Note { incident: 1, text: words("x") };
    assert_eq!(take(&mut security, &more), Err(Refusal::Full { incident: 1 }));
    assert_eq!(take(&mut security, &close()), Ok(Reply::Done), "an end there always is");
}

#[test]
fn a_plan_has_an_end() {
    let mut security = after(&[open(&[])]);
    let names: Vec<_> = (0..STEPS_MAX / 3).map(|number| format!("agent/a{number}")).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    take(&mut security, &plan(&all)).unwrap();
    assert_eq!(take(&mut security, &plan(&["agent/one-more"])), Err(Refusal::Full { incident: 1 }));
    let asker: Principal = "operator/root".parse().unwrap();
    assert_eq!(security.plan(1, &["agent/one-more".parse().unwrap()].into(), &asker).unwrap().len(), 3);
}
