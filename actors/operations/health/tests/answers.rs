//! One row per answer that can be given about health.

use health::records::{BegunV1, SilenceV1};
use health::{
    AT_ONCE_MAX, Code, Command, Disk, Ends, Event, Exit, Health, Observation, Phase, Refusal, SUBJECT_MAX, Severity,
    Silence, TEXT_MAX, Trouble, Verdict, clipped,
};
use kernel::{CommandId, Context, Decision, Kin, Machine, Millis, Position, Principal, Refuse, Timestamp};

const PROCESS: CommandId = CommandId(7);
const DAY: Millis = Millis::hours(24);
const SCANNER: &str = "sop/operations/scanner";

fn context(kin: Kin, at: u64) -> Context {
    Context {
        now: Timestamp(at),
        command_id: CommandId(1),
        principal: Principal::new(kin, "x").unwrap(),
        decision: Decision::default(),
    }
}

/// A machine after commands, each at its time.
fn after(commands: &[(u64, Command)]) -> Health {
    let mut health = Health::default();
    for (at, command) in commands {
        let outcome = health.decide(command, &context(Kin::Internal, *at)).expect("a row's history is not refused");
        for event in &outcome.events {
            health.evolve(event, Position(0));
        }
    }
    health
}

/// What happens, in words.
fn told(event: &Event) -> String {
    match event {
        Event::Begun(_) => "begun".into(),
        Event::Up(_) => "up".into(),
        Event::Raised(raised) => format!("+{}", Code::from_tag(raised.code).unwrap().as_str()),
        Event::Cleared(cleared) => format!("-{}", Code::from_tag(cleared.code).unwrap().as_str()),
        Event::ChildEnded(ended) => format!("ended {}", ended.count),
        Event::Silence(_) => "silence".into(),
        Event::BackupMade(_) => "made".into(),
        Event::BackupVerified(_) => "verified".into(),
    }
}

fn begin() -> Command {
    Command::Begin { process: PROCESS, overdue_after: DAY }
}

fn fine() -> Observation {
    let disk = Some(Disk { free: 1_000, reserve: 10 });
    Observation {
        process: PROCESS,
        children: vec![],
        poisoned: vec![],
        disk,
        appends: 1_000,
        slow_appends: 0,
        clock_jump: Millis(0),
    }
}

fn trouble(path: &str, quarantined: bool, needed: bool) -> Observation {
    let trouble = Trouble { path: path.into(), quarantined, needed, why: "killed".into() };
    Observation { children: vec![trouble], ..fine() }
}

fn disk(free: u64) -> Command {
    Command::Observe(Observation { disk: Some(Disk { free, reserve: 10 }), ..fine() })
}

fn slow(slow_appends: u64) -> Command {
    Command::Observe(Observation { slow_appends, appends: 200, ..fine() })
}

fn ends(path: &str, text: &str) -> Ends {
    let (first, last) = (Timestamp(1), Timestamp(2));
    let (exit, verdict) = (Exit::Killed, Verdict::Restart);
    Ends { path: path.into(), epoch: 2, exit, text: text.into(), verdict, count: 3, first, last }
}

fn record(ends: Vec<Ends>) -> Command {
    Command::Record { ends, silence: None }
}

/// After which history, at what time, what is asked, and what happens.
type Row<'a> = (&'a str, &'a [(u64, Command)], u64, Command, Result<&'a str, Refusal>);

#[test]
fn decide() {
    let see = |seen: Observation| Command::Observe(seen);
    let (made, good) =
        (|backup, at| Command::BackupMade { backup, at: Timestamp(at) }, |backup| Command::BackupVerified { backup });
    let bad = |backup, why: &str| Command::BackupBad { backup, why: why.into() };
    let long = "x".repeat(TEXT_MAX + 1);
    let too_long = |max: usize| Refusal::TooLong { bytes: max as u64 + 1, max: max as u64 };
    let too_many = Refusal::TooMany { count: AT_ONCE_MAX as u64 + 1, max: AT_ONCE_MAX as u64 };
    let crowd = Observation { children: vec![trouble("x", true, true).children.remove(0); AT_ONCE_MAX + 1], ..fine() };
    let up = [(0, begin()), (1, see(fine()))];
    let with = |more: &[(u64, Command)]| [&up[..], more].concat();
    let quarantined = with(&[(2, see(trouble(SCANNER, true, false)))]);
    let low = with(&[(2, disk(39))]);
    let sluggish = with(&[(2, slow(4))]);
    let jumped = with(&[(2, see(Observation { clock_jump: Millis(9_000), ..fine() }))]);
    let missing = with(&[(DAY.0, Command::Due)]);
    let verified = with(&[(5, made(1, 4)), (6, good(1))]);
    let overdue = [&verified[..], &[(4 + DAY.0, Command::Due)]].concat();
    let whole = with(&[(5, made(1, 4))]);
    let renewed = [&overdue[..], &[(5 + DAY.0, made(2, 5 + DAY.0))]].concat();
    let later_bad = with(&[(5, made(1, 4)), (6, bad(2, "x"))]);
    let broken = with(&[(5, made(1, 4)), (6, bad(1, "a bit"))]);
    let other = CommandId(8);
    let minutes = |minutes: u64| Millis::minutes(minutes).0;
    let rows: Vec<Row<'_>> = vec![
        ("begin", &[], 0, begin(), Ok("begun")),
        ("begin again", &up, 9, begin(), Ok("")),
        ("begin another", &up, 9, Command::Begin { process: other, overdue_after: DAY }, Ok("begun")),
        ("begin late", &up, DAY.0, Command::Begin { process: other, overdue_after: DAY }, Ok("begun +backup.missing")),
        (
            "begin with more patience",
            &missing,
            DAY.0 + 1,
            Command::Begin { process: other, overdue_after: Millis(DAY.0 * 2) },
            Ok("begun -backup.missing"),
        ),
        ("see before the begin", &[], 0, see(fine()), Err(Refusal::NotBegun)),
        ("see for another process", &up, 2, see(Observation { process: other, ..fine() }), Err(Refusal::NotBegun)),
        ("see that all is well, first", &up[..1], 1, see(fine()), Ok("up")),
        ("see that all is well", &up, 2, see(fine()), Ok("")),
        ("a child in quarantine", &up, 2, see(trouble(SCANNER, true, false)), Ok("+child.quarantined")),
        ("the same", &quarantined, 3, see(trouble(SCANNER, true, false)), Ok("")),
        ("it is released", &quarantined, 3, see(fine()), Ok("-child.quarantined")),
        (
            "it is down instead",
            &quarantined,
            3,
            see(trouble(SCANNER, false, false)),
            Ok("+child.down -child.quarantined"),
        ),
        ("too many children", &up, 2, see(crowd), Err(too_many.clone())),
        (
            "a child of a long name",
            &up,
            2,
            see(trouble(&long, true, true)),
            Err(Refusal::TooLong { bytes: 501, max: 256 }),
        ),
        (
            "a poisoned machine",
            &up,
            2,
            see(Observation { poisoned: vec!["gaps".into()], ..fine() }),
            Ok("+machine.poisoned"),
        ),
        ("room enough", &up, 2, disk(40), Ok("")),
        ("little room", &up, 2, disk(39), Ok("+disk.low")),
        ("hardly more room", &low, 3, disk(49), Ok("")),
        ("room again", &low, 3, disk(50), Ok("-disk.low")),
        ("room that is not known", &low, 3, see(Observation { disk: None, ..fine() }), Ok("")),
        ("a few slow groups", &up, 2, slow(3), Ok("")),
        ("slow groups", &up, 2, slow(4), Ok("+journal.slow")),
        ("still one", &sluggish, 3, slow(1), Ok("")),
        ("none", &sluggish, 3, slow(0), Ok("-journal.slow")),
        ("slow ones among many", &up, 2, see(Observation { slow_appends: 9, appends: 900, ..fine() }), Ok("")),
        ("a jump", &up, 2, see(Observation { clock_jump: Millis(5_000), ..fine() }), Ok("+clock.jumped")),
        ("a small one", &up, 2, see(Observation { clock_jump: Millis(4_999), ..fine() }), Ok("")),
        ("it is over", &jumped, 3, see(fine()), Ok("")),
        ("it was shown", &jumped, 2 + minutes(10), see(fine()), Ok("-clock.jumped")),
        ("record ends", &up, 2, record(vec![ends(SCANNER, "killed")]), Ok("ended 3")),
        ("record nothing", &up, 2, record(vec![]), Ok("")),
        ("record too many", &up, 2, record(vec![ends("x", "x"); AT_ONCE_MAX + 1]), Err(too_many)),
        ("record a long text", &up, 2, record(vec![ends("x", &long)]), Err(too_long(TEXT_MAX))),
        ("record a long path", &up, 2, record(vec![ends(&long[..=SUBJECT_MAX], "x")]), Err(too_long(SUBJECT_MAX))),
        ("a backup", &up, 5, made(1, 4), Ok("made")),
        ("the same backup", &verified, 9, made(1, 4), Ok("")),
        ("it is verified", &whole, 6, good(1), Ok("verified")),
        ("it is verified again", &verified, 9, good(1), Ok("")),
        ("none for a day", &up, DAY.0, Command::Due, Ok("+backup.missing")),
        ("none for nearly a day", &up, DAY.0 - 1, Command::Due, Ok("")),
        ("due before anything began", &[], DAY.0, Command::Due, Ok("")),
        ("the first in time", &missing, DAY.0 + 1, good(1), Ok("verified -backup.missing")),
        ("one that is a day old", &verified, 4 + DAY.0, Command::Due, Ok("+backup.overdue")),
        ("an old one is verified again", &overdue, 5 + DAY.0, good(1), Ok("")),
        ("a new one is verified", &renewed, 6 + DAY.0, good(2), Ok("verified -backup.overdue")),
        ("a backup is broken", &whole, 6, bad(1, "a bit"), Ok("+backup.bad")),
        ("it is broken again", &broken, 7, bad(1, "a bit"), Ok("")),
        ("it is broken for a long reason", &broken, 7, bad(2, &long), Err(too_long(TEXT_MAX))),
        ("it was good after all", &broken, 7, good(1), Ok("verified -backup.bad")),
        ("a later one is good", &broken, 7, good(2), Ok("verified -backup.bad")),
        ("an earlier one is good", &later_bad, 7, good(1), Ok("verified")),
    ];
    for (row, history, at, command, expected) in rows {
        let answer = after(history).decide(&command, &context(Kin::Internal, at));
        let told = answer.map(|outcome| outcome.events.iter().map(told).collect::<Vec<_>>().join(" "));
        assert_eq!(told, expected.map(str::to_owned), "{row}");
    }
}

#[test]
fn a_silence_is_recorded_as_it_was() {
    let silence = Silence { ends: 2, missed: 3, first: Timestamp(1), last: Timestamp(5), why: "full".into() };
    let command = Command::Record { ends: vec![], silence: Some(silence) };
    let outcome = Health::default().decide(&command, &context(Kin::Internal, 9)).unwrap();
    let (first, last) = (Timestamp(1), Timestamp(5));
    let recorded = SilenceV1 { ends: 2, missed: 3, first, last, why: "full".into() };
    assert_eq!(outcome.events, [Event::Silence(recorded)]);
    assert_eq!(after(&[(9, command.clone()), (9, command)]).missed(), 6);
    let long = Silence { ends: 0, missed: 0, first, last, why: "x".repeat(TEXT_MAX + 1) };
    let command = Command::Record { ends: vec![], silence: Some(long) };
    let refused = Health::default().decide(&command, &context(Kin::Internal, 9)).unwrap_err();
    assert_eq!(refused, Refusal::TooLong { bytes: TEXT_MAX as u64 + 1, max: TEXT_MAX as u64 });
}

#[test]
fn only_the_authority_itself_reports() {
    for kin in [Kin::Operator, Kin::Agent, Kin::Protocol] {
        for command in [begin(), Command::Observe(fine()), record(vec![]), Command::Due] {
            assert_eq!(Health::default().decide(&command, &context(kin, 0)).unwrap_err(), Refusal::NotInternal);
        }
    }
}

#[test]
fn a_phase_is_the_worst_reason() {
    let up = [(0, begin()), (1, Command::Observe(fine()))];
    let phase = |seen: Observation| after(&[&up[..], &[(2, Command::Observe(seen))]].concat()).phase();
    assert_eq!(after(&up[..1]).phase(), Phase::Startup);
    assert_eq!(phase(fine()), Phase::Ready);
    assert_eq!(phase(trouble(SCANNER, true, false)), Phase::Degraded);
    assert_eq!(phase(trouble("sop/authority/tokens", false, true)), Phase::Unready);
    let again = [&up[..], &[(2, Command::Begin { process: CommandId(8), overdue_after: DAY })]].concat();
    assert_eq!(after(&again).phase(), Phase::Startup, "each process starts");
}

#[test]
fn what_is_known() {
    let health = after(&[
        (0, begin()),
        (1, Command::Observe(trouble(SCANNER, true, false))),
        (2, record(vec![ends(SCANNER, "a"), ends("sop/edge/http", "b")])),
        (3, record(vec![ends(SCANNER, "c")])),
        (5, Command::BackupMade { backup: 1, at: Timestamp(4) }),
        (6, Command::BackupVerified { backup: 1 }),
    ]);
    let child = health.child(SCANNER).unwrap();
    assert_eq!((child.ends, child.last.text.as_str()), (6, "c"));
    let reason = health.reason(Code::ChildQuarantined, SCANNER).unwrap();
    assert_eq!((reason.severity, reason.since), (Severity::Degrades, Timestamp(1)));
    assert_eq!(reason.sentence(), "sop/operations/scanner is quarantined: killed");
    assert_eq!(health.reasons().count(), 1);
    assert_eq!(health.last_verified().map(|last| (last.backup, last.made)), Some((1, Timestamp(4))));
    assert_eq!(health.deadline(), Some(Timestamp(4) + DAY));
    assert_eq!((health.due(Timestamp(3)), health.due(Timestamp(4) + DAY)), (None, Some(Command::Due)));
    assert_eq!(Health::default().deadline(), None, "nothing is overdue before the first start");
}

#[test]
fn what_is_known_to_be_overdue_is_due_no_more() {
    let health = after(&[(0, begin()), (DAY.0, Command::Due)]);
    assert_eq!(health.deadline(), None);
}

#[test]
fn what_comes_back_soon_is_held_twice_as_long_each_time() {
    let mut health = after(&[(0, begin()), (0, Command::Observe(fine()))]);
    let (mut now, mut held) = (0, Vec::new());
    for _ in 0..13 {
        for seen in [trouble(SCANNER, true, false), fine()] {
            let mut events = vec![];
            while events.is_empty() {
                now += 1_000;
                events = health.changes(&seen, Timestamp(now));
            }
            for event in events {
                if let Event::Raised(raised) = &event {
                    held.push((raised.held_until - raised.at).0 / 1_000);
                }
                health.evolve(&event, Position(0));
            }
        }
    }
    assert_eq!(held, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
    // Quiet for long enough, and begun anew, it is forgotten.
    let begun =
        BegunV1 { process: CommandId(8), overdue_after: DAY, forgotten: Timestamp(now + 1), at: Timestamp(now) };
    health.evolve(&Event::Begun(begun), Position(0));
    let again = health.changes(&trouble(SCANNER, true, false), Timestamp(now));
    assert!(matches!(&again[..], [Event::Up(_), Event::Raised(raised)] if raised.at == raised.held_until), "{again:?}");
}

#[test]
fn words_and_numbers_lead_back() {
    for code in Code::ALL {
        assert_eq!(Code::from_tag(code.tag()), Some(code));
        assert!(code.as_str().contains('.') && !code.remedy().is_empty());
    }
    assert_eq!(Code::from_tag(0), None);
    assert!(Severity::ALL.into_iter().all(|severity| Severity::from_tag(severity.tag()) == Some(severity)));
    assert!(Exit::ALL.into_iter().all(|exit| Exit::from_tag(exit.tag()) == Some(exit)));
    assert!(Verdict::ALL.into_iter().all(|verdict| Verdict::from_tag(verdict.tag()) == Some(verdict)));
    assert_eq!(Severity::ALL.map(Severity::as_str), ["degrades", "unready"]);
    assert_eq!(
        [Phase::Startup, Phase::Ready, Phase::Degraded, Phase::Unready].map(Phase::as_str),
        ["startup", "ready", "degraded", "unready"]
    );
    assert_eq!((clipped("aé", 2).as_str(), clipped("aé", 3).as_str()), ("a", "aé"));
    let refusals = [
        Refusal::NotInternal,
        Refusal::NotBegun,
        Refusal::TooMany { count: 2, max: 1 },
        Refusal::TooLong { bytes: 2, max: 1 },
    ];
    for refusal in refusals {
        assert!(refusal.code().starts_with("health.") && refusal.remedy().ends_with('.'), "{refusal:?}");
    }
}
