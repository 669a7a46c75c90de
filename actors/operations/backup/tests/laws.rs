//! What holds after every history, however strange.

mod written;

use backup::{BackupId, Backups, Command, Contents, Drilled, Keep, State, Work};
use journal::codec;
use kernel::{CommandId, Context, Decision, Digest, Machine, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use written::written_and_read;

fn command() -> impl Strategy<Value = Command> {
    let backup = || (1..5_u64).prop_map(BackupId);
    let digest = || (0..2_u8).prop_map(|byte| Digest([byte; 32]));
    prop_oneof![
        2 => Just(Command::Create),
        2 => (backup(), digest()).prop_map(|(backup, manifest)| {
            let (last, entries, directory) = (backup.0, backup.0, backup.to_string());
            let contents = Contents { last, head: Digest([9; 32]), entries, bytes: 1, manifest, directory };
            Command::Complete { backup, contents }
        }),
        1 => backup().prop_map(|backup| Command::Fail { backup, why: "law".into() }),
        3 => backup().prop_map(|backup| Command::Verify { backup }),
        2 => (backup(), digest()).prop_map(|(backup, manifest)| Command::Confirm { backup, manifest }),
        1 => backup().prop_map(|backup| Command::Reject { backup, why: "law".into() }),
        2 => proptest::option::of(backup()).prop_map(|backup| Command::Drill { backup }),
        2 => (backup(), digest()).prop_map(|(backup, manifest)| {
            let drill = Drilled { manifest, records: 1, machines: 9, state: Digest([4; 32]) };
            Command::Pass { backup, drill }
        }),
        1 => (backup(), any::<bool>()).prop_map(|(backup, broken)| Command::Miss { backup, why: "law".into(), broken }),
        1 => backup().prop_map(|backup| Command::Hold { backup, reason: "law".into() }),
        1 => backup().prop_map(|backup| Command::Release { backup }),
        1 => (0..3_u64, 0..2_u64).prop_map(|(last, daily)| Command::Retain { keep: Keep { last, daily, ..Keep::default() } }),
        1 => backup().prop_map(|backup| Command::Removed { backup }),
        1 => (backup(), 0..4_u64).prop_map(|(backup, last)| Command::Archive { backup, last }),
    ]
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), 0..1_000_u64), 0..64)) {
        let (mut live, mut replayed) = (Backups::default(), Backups::default());
        let mut cx = Context {
            now: Timestamp(1),
            command_id: CommandId(1),
            principal: Principal::internal("law"),
            decision: Decision::default(),
        };
        for (command, pause) in script {
            cx.now = Timestamp(cx.now.0 + pause);
            let before = live.clone();
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                live.evolve(event, Position(0));
                replayed.evolve(&written_and_read(event), Position(0));
            }
            if let Ok(again) = live.decide(&command, &cx) {
                prop_assert_eq!(again.events, vec![], "a repeat adds nothing");
            }
            let numbers: Vec<_> = live.list().map(|backup| backup.id.0).collect();
            prop_assert_eq!(numbers, (1..=live.list().count() as u64).collect::<Vec<_>>(), "without gaps");
            let busy: Vec<_> =
                live.list().filter(|one| one.checking || one.state == State::Running).map(|one| one.id).collect();
            let work = live.outstanding().filter(|work| !matches!(work, Work::Remove(_)));
            prop_assert_eq!(busy, work.map(Work::backup).into_iter().collect::<Vec<_>>());
            let held = before.list().filter(|one| one.held.is_some() || before.last_good().is_some_and(|good| good.id == one.id));
            for kept in held {
                prop_assert!(live.show(kept.id).unwrap().state != State::Expired, "what is held, and the last good one, are kept");
            }
            if let Some((archive, last)) = before.archive() {
                prop_assert!(live.show(archive).unwrap().state != State::Expired, "the archive is kept");
                prop_assert!(live.archive().is_some_and(|(_, now)| last <= now), "it has what the one before had");
            }
            for backup in live.list() {
                let made = !matches!(backup.state, State::Running | State::Failed);
                prop_assert_eq!(backup.contents.is_some(), made, "what was made has contents");
                let bad = matches!(backup.state, State::Broken | State::Failed);
                prop_assert_eq!(backup.why.is_some(), bad, "what is bad has a reason");
            }
            for earlier in before.list().filter(|backup| backup.contents.is_some()) {
                prop_assert_eq!(&live.show(earlier.id).unwrap().contents, &earlier.contents, "contents stay");
            }
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }
}
