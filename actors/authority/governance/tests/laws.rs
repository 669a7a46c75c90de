//! What holds after every history, however strange.

#[expect(dead_code, reason = "the table uses all of it")]
mod common;

use std::collections::BTreeMap;

use common::{ALPHA, DICTATOR, NOBODY, NOON, OPEN, ROOT, SECRET, bootstrap, claim, propose, stop_because, told};
use governance::{Command, Event, Governance, Refusal, Reply, Stop, Verdict};
use journal::codec;
use kernel::{Digest, Kin, Machine, Millis, Personal, Position, Principal};
use policy::{Policies, Question, Standing};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_history_keeps_the_laws(begin in any::<bool>(), script in vec((command(), who(), 0..5_u64), 0..40)) {
        let (mut live, mut replayed) = (Governance::default(), Governance::default());
        let mut now = NOON;
        let mut texts: Vec<String> = Vec::new();
        let first = begin.then(|| (bootstrap(), ROOT, 0));
        let mut version = 0;
        for (command, who, pause) in first.into_iter().chain(script) {
            now = now + Millis(pause);
            let command = aimed(command, &live);
            let stop_before = live.stop().cloned();
            let Ok(outcome) = live.decide(&command, &told(who, now)) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                version += 1;
                live.evolve(event, Position(version));
                replayed.evolve(event, Position(version));
                match event {
                    Event::Proposed(body) => texts.push(body.text.clone()),
                    Event::Activated(body) if live.epochs().any(|epoch| {
                        epoch.number == body.epoch && epoch.claimed == Some(Verdict::Counterexample)
                    }) => {
                        let despite = matches!(command, Command::Activate { despite_counterexample: true, .. });
                        prop_assert!(despite, "whoever activates what does not hold says that he knows");
                    }
                    Event::Activated(_) | Event::RolledBack(_) => {
                        prop_assert!(somebody_can_go_on(&live), "epoch {} locks out", live.active_epoch());
                    }
                    Event::Resumed(_) => {
                        let stop = stop_before.as_ref().unwrap();
                        prop_assert_eq!(who, ROOT, "only an operator lifts a stop");
                        prop_assert_eq!(&command, &Command::Resume { digest: stop.digest });
                    }
                    Event::Claimed(body) => {
                        let shown = live.show(body.epoch).expect("of what was proposed");
                        prop_assert_eq!(shown.epoch.digest, body.text, "of its own text");
                        let own = shown.claims.iter().filter(|claimed| claimed.by.to_string() == who).count();
                        prop_assert_eq!(own, 1, "the last word of each is kept");
                    }
                    Event::Bootstrapped(_) | Event::Stopped(_) => {}
                }
            }
            // A rollback that names no epoch is the one command that means something new each time.
            if command != (Command::Rollback { expected_active: None }) {
                let again = live.decide(&command, &told(who, now));
                let adds = again.as_ref().map_or(0, |outcome| outcome.events.len());
                prop_assert_eq!(adds, 0, "a repeat adds nothing");
                if let (Ok(again), false) = (again, outcome.events.is_empty()) {
                    prop_assert_eq!(again.reply, outcome.reply, "a repeat is told the same");
                }
            }
        }
        for (number, text) in (1..).zip(&texts) {
            prop_assert_eq!(&live.show(number).unwrap().text, text, "a number names one text for ever");
        }
        prop_assert_eq!(live.epochs().filter(|epoch| epoch.active).count(), 1);
        prop_assert!(live.operators().count() <= 1);
        prop_assert_eq!(live.operators().next().cloned(), live.authenticate(SECRET));
        prop_assert!(Policies::compile(live.active_text()).is_ok(), "what is active compiles");
        if let Some(stop) = live.stop() {
            prop_assert_eq!(stop.digest, Stop::digest_of(stop.number, &stop.by, &stop.on_behalf_of, &stop.reason, stop.at));
        }
        let (live_bytes, replayed_bytes) = (serde_json::to_vec(&live).unwrap(), serde_json::to_vec(&replayed).unwrap());
        prop_assert_eq!(live_bytes, replayed_bytes);
        prop_assert_eq!(replayed, live, "the journal is the state");
    }

    #[test]
    fn a_stop_is_known_by_all_of_its_content(
        (number, reason, at, by) in (1..9_u64, "[a-c]{0,3}", 0..9_u64, select(&["operator/a", "operator/ab"][..])),
        (other_number, other_reason, other_at, other_by) in
            (1..9_u64, "[a-c]{0,3}", 0..9_u64, select(&["operator/a", "operator/ab"][..])),
    ) {
        let digest = |number, by: &str, reason: &str, at| {
            Stop::digest_of(number, &by.parse().unwrap(), "", &Personal::plain(reason), kernel::Timestamp(at))
        };
        let same = (number, &reason, at, by) == (other_number, &other_reason, other_at, other_by);
        let equal = digest(number, by, &reason, at) == digest(other_number, other_by, &other_reason, other_at);
        prop_assert_eq!(same, equal);
    }
}

/// Some operator may propose a next text and activate it, asked as the door would ask.
fn somebody_can_go_on(governance: &Governance) -> bool {
    let policies = Policies::compile(governance.active_text()).unwrap();
    let next = governance.epochs().count().to_string();
    let may = |principal: &Principal, action, resource| {
        let (context, standing) = (&BTreeMap::new(), &Standing::default());
        policies.judge(&Question { principal, action, resource, context, standing }).allowed
    };
    governance.operators().any(|operator| {
        operator.kin == Kin::Operator && may(operator, "policy.propose", "*") && may(operator, "policy.activate", &next)
    })
}

/// The digest of the stop that is in force cannot be drawn: half of the resumes are aimed at it.
fn aimed(command: Command, governance: &Governance) -> Command {
    match (command, governance.stop()) {
        (Command::Resume { digest }, Some(stop)) if digest == Digest::default() => {
            Command::Resume { digest: stop.digest }
        }
        (command, _) => command,
    }
}

fn who() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(ROOT), 1 => Just(ALPHA)]
}

fn command() -> impl Strategy<Value = Command> {
    let lost = "permit (principal == Operator::\"eve\", action, resource);";
    let texts = select(vec![OPEN, DICTATOR, NOBODY, lost, "", "permit (", "// a remark"]);
    let expected = option::of(0..4_u64);
    prop_oneof![
        1 => Just(bootstrap()),
        4 => texts.prop_map(propose),
        4 => (0..7_u64, expected.clone())
            .prop_map(|(epoch, expected_active)| Command::Activate {
                epoch,
                expected_active,
                despite_counterexample: epoch % 2 == 0,
            }),
        4 => (0..5_u64, select(vec![OPEN, DICTATOR, NOBODY, lost, ""]), select(vec![Verdict::Proven, Verdict::NotProven, Verdict::Counterexample]))
            .prop_map(|(epoch, text, verdict)| claim(epoch, text, verdict)),
        2 => expected.prop_map(|expected_active| Command::Rollback { expected_active }),
        2 => "[a-z]{0,8}".prop_map(|reason| stop_because(&reason)),
        2 => any::<bool>().prop_map(|aimed| Command::Resume { digest: if aimed { Digest::default() } else { SECRET } }),
    ]
}

#[test]
fn a_repeated_rollback_that_names_its_epoch_is_refused() {
    let governance = common::after(&[bootstrap(), propose(OPEN), common::activate(1)]);
    let back = Command::Rollback { expected_active: Some(1) };
    let governance = common::at(governance, &back, NOON);
    assert_eq!(governance.active_epoch(), 0);
    let again = governance.decide(&back, &told(ROOT, NOON)).map(|outcome| outcome.reply);
    assert_eq!(again, Err::<Reply, _>(Refusal::ActiveDiffers { expected: 1, active: 0 }));
}
