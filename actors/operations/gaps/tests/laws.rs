//! What holds after every history, however strange.

mod written;

use std::collections::BTreeSet;

use gaps::{Command, Coverage, Event, Filter, Finding, GapId, Gaps, Kind, Reply, ScanId, State, Tally};
use journal::codec;
use kernel::{CommandId, Context, Decision, Machine, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use written::written_and_read;

const PATHS: [&str; 5] = ["a/b.rs", "a/c.rs", "a.rs", "b/d/e.rs", "z.rs"];

fn path() -> impl Strategy<Value = String> {
    prop::sample::select(&PATHS[..]).prop_map(Into::into)
}

fn root() -> impl Strategy<Value = String> {
    prop::sample::select(&["/one", "/two"][..]).prop_map(Into::into)
}

fn finding() -> impl Strategy<Value = Finding> {
    (path(), 0..2_u32, prop::sample::select(&["TODO", "FIXME"][..]), 0..2_u32).prop_map(
        |(path, line, detail, ordinal)| Finding { kind: Kind::Marker, path, line, detail: detail.into(), ordinal },
    )
}

fn coverage() -> impl Strategy<Value = Coverage> {
    let unread = prop_oneof![path(), Just("a".to_owned()), Just("b/d".to_owned())];
    (vec(unread, 0..2), prop::option::weighted(0.3, path()))
        .prop_map(|(unread, judged_to)| Coverage { unread, judged_to })
}

fn command() -> impl Strategy<Value = Command> {
    let scan = || (1..6_u64).prop_map(ScanId);
    let live = || prop::sample::select(Kind::ALL.into_iter().filter(|kind| kind.is_live()).collect::<Vec<_>>());
    prop_oneof![
        3 => root().prop_map(|root| Command::Scan { root }),
        5 => (scan(), vec(finding(), 0..8)).prop_map(|(scan, findings)| Command::Report { scan, findings }),
        4 => (scan(), vec((1..12_u64).prop_map(GapId), 0..3), coverage())
            .prop_map(|(scan, seen, coverage)| Command::Finish { scan, seen, coverage, tally: Tally::default() }),
        1 => scan().prop_map(|scan| Command::Abandon { scan, why: "law".into() }),
        2 => (live(), "[ab]", "[xy]").prop_map(|(kind, subject, detail)| Command::Observe { kind, subject, detail }),
        2 => (live(), "[ab]").prop_map(|(kind, subject)| Command::Clear { kind, subject }),
    ]
}

fn open(gaps: &Gaps) -> BTreeSet<GapId> {
    gaps.list(&Filter { state: Some(State::Open), ..Filter::default() }).map(|gap| gap.id).collect()
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), 0..1_000_u64), 0..64)) {
        let (mut live, mut replayed) = (Gaps::default(), Gaps::default());
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
            let all = Filter::default();
            let numbers: Vec<_> = live.list(&all).map(|gap| gap.id.0).collect();
            prop_assert_eq!(numbers, (1..=live.list(&all).count() as u64).collect::<Vec<_>>(), "in the order of opening");
            let prints: BTreeSet<_> = live.list(&all).map(|gap| gap.fingerprint).collect();
            prop_assert_eq!(prints.len(), live.list(&all).count(), "a fingerprint names one gap");
            prop_assert_eq!(open(&live).len() as u64, live.counts().open);
            let roots: BTreeSet<_> = live.outstanding().map(|running| &running.root).collect();
            prop_assert_eq!(roots.len(), live.outstanding().count(), "a root is scanned once at a time");

            let (was, is) = (open(&before), open(&live));
            match (&command, &outcome.reply) {
                (Command::Report { .. }, Reply::Reported { gaps, opened, reopened }) => {
                    prop_assert!(gaps.iter().all(|gap| is.contains(gap)), "what was reported is open");
                    prop_assert!(was.is_subset(&is), "a report closes nothing");
                    prop_assert_eq!(outcome.events.len() as u64, opened + reopened, "what was open adds nothing");
                }
                (Command::Finish { seen, coverage, .. }, Reply::Finished(finished)) => {
                    prop_assert!(is.is_subset(&was), "a finish opens nothing");
                    let closed: Vec<_> = was.difference(&is).collect();
                    prop_assert!(closed.iter().all(|gap| !seen.contains(gap)), "what was seen stays open");
                    for gap in closed.iter().map(|gap| live.show(**gap).unwrap()) {
                        prop_assert_eq!(&gap.root, &finished.root, "other roots stay as they are");
                        for unread in &coverage.unread {
                            let below = gap.path.strip_prefix(unread.as_str());
                            prop_assert!(below.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/')), "not looked at");
                        }
                    }
                }
                (Command::Abandon { .. }, _) => prop_assert_eq!(is, was, "an abandoned scan closes nothing"),
                _ => {}
            }
            let gap_events = outcome.events.iter().filter(|event| {
                matches!(event, Event::GapOpened(_) | Event::GapReopened(_) | Event::GapClosed(_))
            });
            prop_assert_eq!(open(&before).symmetric_difference(&open(&live)).count(), gap_events.count());
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }
}
