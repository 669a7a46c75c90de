//! One row per answer that can be given about backups.

use backup::{
    BackupId, Backups, Command, Contents, DIRECTORY_MAX, Drilled, Event, Keep, Refusal, Reply, State, WHY_MAX, Work,
    clipped,
};
use kernel::{CommandId, Context, Decision, Digest, Kin, Machine, Position, Principal, Refuse, Timestamp};

const ONE: BackupId = BackupId(1);
const TWO: BackupId = BackupId(2);
const MANIFEST: Digest = Digest([7; 32]);

fn context(kin: Kin) -> Context {
    Context {
        now: Timestamp(1_000),
        command_id: CommandId(1),
        principal: Principal::new(kin, "x").unwrap(),
        decision: Decision::default(),
    }
}

fn after(commands: &[Command]) -> Backups {
    let mut backups = Backups::default();
    for command in commands {
        let outcome = backups.decide(command, &context(Kin::Internal)).expect("a row's history is not refused");
        for event in &outcome.events {
            backups.evolve(event, Position(0));
        }
    }
    backups
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Started(_) => "started",
        Event::Completed(_) => "completed",
        Event::Failed(_) => "failed",
        Event::CheckStarted(_) => "check started",
        Event::Verified(_) => "verified",
        Event::Broken(_) => "broken",
        Event::DrillStarted(_) => "drill started",
        Event::Drilled(_) => "drilled",
        Event::DrillFailed(_) => "drill failed",
        Event::Held(_) => "held",
        Event::Released(_) => "released",
        Event::Expired(_) => "expired",
        Event::Removed(_) => "removed",
        Event::Archived(_) => "archived",
    }
}

fn contents(directory: &str) -> Contents {
    let directory = directory.to_owned();
    Contents { last: 9, head: Digest([1; 32]), entries: 9, bytes: 900, manifest: MANIFEST, directory }
}

fn complete(backup: BackupId) -> Command {
    Command::Complete { backup, contents: contents("backup-1") }
}

fn fail(backup: BackupId, why: &str) -> Command {
    Command::Fail { backup, why: why.into() }
}

fn confirm(manifest: Digest) -> Command {
    Command::Confirm { backup: ONE, manifest }
}

fn reject(why: &str) -> Command {
    Command::Reject { backup: ONE, why: why.into() }
}

/// What is asked, after which history, and what is answered: a reply and the names of what happened.
type Row<'a> = (&'a str, &'a [Command], Command, Result<(Reply, &'a str), Refusal>);

#[test]
fn decide() {
    let verify = |backup| Command::Verify { backup };
    let running = [Command::Create];
    let made = [Command::Create, complete(ONE)];
    let failed = [Command::Create, fail(ONE, "full")];
    let checking = [Command::Create, complete(ONE), verify(ONE)];
    let second = [Command::Create, complete(ONE), Command::Create];
    let broken = [&checking[..], &[reject("gone")]].concat();
    let ended = |state| Reply::Ended { backup: ONE, state };
    let (busy, not_awaited) = (Refusal::Busy { backup: ONE }, Refusal::NotAwaited { backup: ONE });
    let long = "x".repeat(WHY_MAX + 1);
    let too_long = |bytes: usize| Refusal::TooLong { bytes: bytes as u64 + 1, max: bytes as u64 };
    let named = Command::Complete { backup: ONE, contents: contents(&"x".repeat(DIRECTORY_MAX + 1)) };
    let rows: Vec<Row<'_>> = vec![
        ("create", &[], Command::Create, Ok((Reply::Started { backup: ONE }, "started"))),
        ("create while one is made", &running, Command::Create, Err(busy.clone())),
        ("create while one is verified", &checking, Command::Create, Err(busy.clone())),
        ("create after one that failed", &failed, Command::Create, Ok((Reply::Started { backup: TWO }, "started"))),
        ("complete", &running, complete(ONE), Ok((ended(State::Complete), "completed"))),
        ("complete what is done", &made, complete(ONE), Err(not_awaited.clone())),
        ("complete the unknown", &running, complete(TWO), Err(Refusal::Unknown { backup: TWO })),
        ("complete by a long name", &running, named, Err(too_long(DIRECTORY_MAX))),
        ("fail", &running, fail(ONE, "full"), Ok((ended(State::Failed), "failed"))),
        ("fail what is done", &made, fail(ONE, "full"), Err(not_awaited.clone())),
        ("fail for a long reason", &running, fail(ONE, &long), Err(too_long(WHY_MAX))),
        ("verify", &made, verify(ONE), Ok((Reply::Checking { backup: ONE }, "check started"))),
        ("verify again meanwhile", &checking, verify(ONE), Ok((Reply::Checking { backup: ONE }, ""))),
        ("verify while another is made", &second, verify(ONE), Err(Refusal::Busy { backup: TWO })),
        ("verify what is being made", &running, verify(ONE), Err(busy)),
        ("verify what failed", &failed, verify(ONE), Err(Refusal::NotMade { backup: ONE })),
        ("verify the unknown", &made, verify(TWO), Err(Refusal::Unknown { backup: TWO })),
        ("verify the broken", &broken, verify(ONE), Ok((Reply::Checking { backup: ONE }, "check started"))),
        ("confirm", &checking, confirm(MANIFEST), Ok((ended(State::Verified), "verified"))),
        ("confirm another manifest", &checking, confirm(Digest([8; 32])), Ok((ended(State::Broken), "broken"))),
        ("confirm unasked", &made, confirm(MANIFEST), Err(not_awaited.clone())),
        ("reject", &checking, reject("gone"), Ok((ended(State::Broken), "broken"))),
        ("reject unasked", &made, reject("gone"), Err(not_awaited)),
        ("reject for a long reason", &checking, reject(&long), Err(too_long(WHY_MAX))),
    ];
    for (row, history, command, expected) in rows {
        let answer = after(history).decide(&command, &context(Kin::Internal));
        let told = answer.map(|outcome| (outcome.reply, outcome.events.iter().map(name).collect::<Vec<_>>().join(" ")));
        assert_eq!(told, expected.map(|(reply, events)| (reply, events.to_owned())), "{row}");
    }
}

#[test]
fn only_the_worker_reports() {
    let backups = after(&[Command::Create]);
    for command in [complete(ONE), fail(ONE, ""), confirm(MANIFEST), reject("")] {
        for kin in [Kin::Operator, Kin::Agent, Kin::Protocol] {
            let refused = backups.decide(&command, &context(kin)).unwrap_err();
            assert_eq!(refused, Refusal::NotInternal, "{command:?}");
        }
    }
}

#[test]
fn what_is_known() {
    let backups = after(&[Command::Create]);
    assert_eq!((backups.outstanding(), backups.last_good()), (Some(Work::Make(ONE)), None));
    let verify = Command::Verify { backup: ONE };
    let history =
        [Command::Create, complete(ONE), verify, reject("bit"), Command::Create, fail(TWO, "full"), Command::Create];
    let mut backups = after(&history);
    let states: Vec<_> = backups.list().map(|backup| backup.state).collect();
    assert_eq!(states, [State::Broken, State::Failed, State::Running]);
    assert_eq!(backups.show(ONE).unwrap().why.as_deref(), Some("bit"));
    assert_eq!(backups.last_good(), None, "what is broken is no good");
    let done = backups.decide(&complete(BackupId(3)), &context(Kin::Internal)).unwrap();
    backups.evolve(&done.events[0], Position(0));
    assert_eq!(backups.last_good().map(|backup| backup.id), Some(BackupId(3)));
    assert_eq!(backups.outstanding(), None);
}

#[test]
fn names_and_reasons() {
    for text in ["backup-3", "3"] {
        assert_eq!(text.parse(), Ok(BackupId(3)));
    }
    for text in ["", "backup-", "backup-+3", "gap-3", "./backup-3", "99999999999999999999"] {
        assert!(text.parse::<BackupId>().is_err(), "{text}");
    }
    assert_eq!(clipped("aé", 2), "a");
    assert_eq!(clipped("aé", 3), "aé");
    let refusals = [
        Refusal::NotInternal,
        Refusal::Busy { backup: ONE },
        Refusal::Unknown { backup: ONE },
        Refusal::NotMade { backup: ONE },
        Refusal::NotAwaited { backup: ONE },
        Refusal::NoArchive { backup: ONE, last: 9 },
        Refusal::TooLong { bytes: 2, max: 1 },
    ];
    for refusal in refusals {
        assert!(refusal.code().starts_with("backup.") && refusal.remedy().ends_with('.'), "{refusal:?}");
    }
}

fn drilled(manifest: Digest) -> Drilled {
    Drilled { manifest, records: 9, machines: 9, state: Digest([3; 32]) }
}

fn answered(history: &[Command], command: &Command, kin: Kin) -> Result<(Reply, Vec<&'static str>), Refusal> {
    let outcome = after(history).decide(command, &context(kin))?;
    Ok((outcome.reply, outcome.events.iter().map(name).collect()))
}

#[test]
fn drills() {
    let drill = |backup| Command::Drill { backup };
    let pass = |manifest| Command::Pass { backup: ONE, drill: drilled(manifest) };
    let miss = |broken| Command::Miss { backup: ONE, why: "another state".into(), broken };
    let made = [Command::Create, complete(ONE)];
    let drilling = [&made[..], &[drill(None)]].concat();
    let failed = [Command::Create, fail(ONE, "full")];
    let (internal, operator) = (Kin::Internal, Kin::Operator);
    let started = Ok((Reply::Drilling { backup: ONE }, vec!["drill started"]));
    let ended = |state, event| Ok((Reply::Ended { backup: ONE, state }, vec![event]));
    for (row, history, command, kin, given) in [
        ("the last good one", &made[..], drill(None), operator, started.clone()),
        ("a named one", &made, drill(Some(ONE)), operator, started),
        ("there is none", &[], drill(None), operator, Err(Refusal::NoneGood)),
        ("there is none of that name", &made, drill(Some(TWO)), operator, Err(Refusal::Unknown { backup: TWO })),
        ("it was never made", &failed, drill(Some(ONE)), operator, Err(Refusal::NotMade { backup: ONE })),
        ("again", &drilling, drill(None), operator, Ok((Reply::Drilling { backup: ONE }, vec![]))),
        ("while it is read", &drilling, Command::Verify { backup: ONE }, operator, Err(Refusal::Busy { backup: ONE })),
        ("it passes", &drilling, pass(MANIFEST), internal, ended(State::Verified, "drilled")),
        ("it is another one", &drilling, pass(Digest([8; 32])), internal, ended(State::Broken, "drill failed")),
        ("it is broken", &drilling, miss(true), internal, ended(State::Broken, "drill failed")),
        ("it cannot be tried", &drilling, miss(false), internal, ended(State::Complete, "drill failed")),
        ("nobody asked", &made, pass(MANIFEST), internal, Err(Refusal::NotAwaited { backup: ONE })),
        ("somebody else says so", &drilling, pass(MANIFEST), operator, Err(Refusal::NotInternal)),
    ] {
        assert_eq!(answered(history, &command, kin), given, "{row}");
    }
    let passed = after(&[&drilling[..], &[pass(MANIFEST)]].concat());
    let drill = passed.show(ONE).unwrap().drill.clone().unwrap();
    assert_eq!((drill.found, drill.why), (Some(drilled(MANIFEST)), None));
    assert_eq!((passed.outstanding(), passed.last_begun()), (None, [Some(Timestamp(1_000)); 3]));
}

#[test]
fn what_is_kept() {
    let keep = |last| Command::Retain { keep: Keep { last, ..Keep::default() } };
    let hold = |reason: &str| Command::Hold { backup: ONE, reason: reason.into() };
    let release = Command::Release { backup: ONE };
    let two =
        [Command::Create, complete(ONE), Command::Create, Command::Complete { backup: TWO, contents: contents("2") }];
    let with = |more: &[Command]| [&two[..], more].concat();
    let (internal, operator) = (Kin::Internal, Kin::Operator);
    let kept = |expired, events: &[&'static str]| Ok((Reply::Retained { expired }, events.to_vec()));
    let (answer_held, answer_released) = (Reply::Held { backup: ONE }, Reply::Released { backup: ONE });
    let (verify, archive) = (Command::Verify { backup: ONE }, |last| Command::Archive { backup: ONE, last });
    let verified = with(&[verify.clone(), confirm(MANIFEST)]);
    let archived = [&verified[..], &[archive(8)]].concat();
    let broken = [&archived[..], &[verify, reject("a bit")]].concat();
    let (answer_archived, no_archive) =
        (Reply::Archived { backup: ONE }, |last| Refusal::NoArchive { backup: ONE, last });
    let expired = with(&[keep(1)]);
    let removed = Command::Removed { backup: ONE };
    for (row, history, command, kin, given) in [
        ("all", with(&[]), keep(0), internal, kept(0, &[])),
        ("the newest", with(&[]), keep(1), internal, kept(1, &["expired"])),
        ("there are no more", with(&[]), keep(2), internal, kept(0, &[])),
        ("again", expired.clone(), keep(1), internal, kept(0, &[])),
        ("it is held", with(&[hold("a case")]), keep(1), internal, kept(0, &[])),
        ("it was held", with(&[hold("a case"), release.clone()]), keep(1), internal, kept(1, &["expired"])),
        ("it is worked on", with(&[Command::Verify { backup: ONE }]), keep(1), internal, kept(0, &[])),
        ("by somebody else", with(&[]), keep(1), operator, Err(Refusal::NotInternal)),
        ("hold", with(&[]), hold("a case"), operator, Ok((answer_held.clone(), vec!["held"]))),
        ("hold again", with(&[hold("a case")]), hold("a case"), operator, Ok((answer_held.clone(), vec![]))),
        ("hold for another reason", with(&[hold("a case")]), hold("two"), operator, Ok((answer_held, vec!["held"]))),
        ("hold what is gone", expired.clone(), hold("a case"), operator, Err(Refusal::Expired { backup: ONE })),
        (
            "release",
            with(&[hold("a case")]),
            release.clone(),
            operator,
            Ok((answer_released.clone(), vec!["released"])),
        ),
        ("release what nobody holds", with(&[]), release, operator, Ok((answer_released, vec![]))),
        (
            "verify what is gone",
            expired.clone(),
            Command::Verify { backup: ONE },
            operator,
            Err(Refusal::Expired { backup: ONE }),
        ),
        (
            "it is taken away",
            expired.clone(),
            removed.clone(),
            internal,
            Ok((Reply::Removed { backup: ONE }, vec!["removed"])),
        ),
        ("archive", verified.clone(), archive(9), internal, Ok((answer_archived.clone(), vec!["archived"]))),
        ("archive again", archived.clone(), archive(8), internal, Ok((answer_archived.clone(), vec![]))),
        ("archive more", archived.clone(), archive(9), internal, Ok((answer_archived, vec!["archived"]))),
        ("archive less", archived.clone(), archive(7), internal, Err(no_archive(7))),
        ("archive what it has not", verified.clone(), archive(10), internal, Err(no_archive(10))),
        ("archive what was not read", with(&[]), archive(9), internal, Err(no_archive(9))),
        ("archive by hand", verified, archive(9), operator, Err(Refusal::NotInternal)),
        ("the archive is kept", archived, keep(1), internal, kept(0, &[])),
        ("and where it is broken", broken, keep(1), internal, kept(0, &[])),
        ("nothing is to be", with(&[]), removed.clone(), internal, Err(Refusal::NotAwaited { backup: ONE })),
    ] {
        assert_eq!(answered(&history, &command, kin), given, "{row}");
    }
    assert_eq!(after(&expired).outstanding(), Some(Work::Remove(ONE)));
    assert_eq!(after(&[&expired[..], &[removed]].concat()).outstanding(), None);
}
