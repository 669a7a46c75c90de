//! Each detector: a history that shows it, and one that nearly does.

use kernel::{Layer, Millis, Sequence, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use security::detect::{Detectors, KEYS_MAX, Rules, Seen};
use security::{EVIDENCE_MAX, Finding, Kind};

const NOON: u64 = 1_800_000_000_000;
const RULES: Rules = Rules { denials: 4, within: Millis::minutes(1) };

fn denied(who: &str, layer: Layer, code: &str) -> Seen {
    Seen::Denied { who: who.to_owned(), layer, code: code.to_owned(), action: "gap.scan".to_owned() }
}

fn forbidden(who: &str) -> Seen {
    denied(who, Layer::Policy, "policy.forbidden")
}

/// What it is called, what happens, and what is found where.
type Row = (&'static str, Vec<(u64, Seen)>, Vec<(u64, Kind)>);

/// What is found in a history, as records that follow each other at these times.
fn found(history: &[(u64, Seen)]) -> Vec<(u64, Finding)> {
    let mut detectors = Detectors::new(RULES);
    let look = |(index, (at, seen)): (usize, &(u64, Seen))| {
        let sequence = index as u64 + 1;
        let found = detectors.look(Sequence(sequence), Timestamp(NOON + at), std::slice::from_ref(seen));
        found.into_iter().map(move |finding| (sequence, finding)).collect::<Vec<_>>()
    };
    history.iter().enumerate().flat_map(look).collect()
}

fn kinds(history: &[(u64, Seen)]) -> Vec<(u64, Kind)> {
    found(history).into_iter().map(|(at, finding)| (at, finding.kind)).collect()
}

fn times(times: &[u64], seen: &Seen) -> Vec<(u64, Seen)> {
    times.iter().map(|at| (*at, seen.clone())).collect()
}

#[test]
fn each_finds_what_it_is_for_and_not_what_is_near() {
    let alpha = "agent/alpha";
    let privileged = Seen::Privileged { subject: alpha.to_owned(), what: "a role".to_owned() };
    let rows: [Row; 18] = [
        ("four denials in a minute", times(&[0, 1, 2, 60_000], &forbidden(alpha)), vec![(4, Kind::DeniedBurst)]),
        ("three", times(&[0, 1, 2], &forbidden(alpha)), vec![]),
        ("four in more than a minute", times(&[0, 1, 2, 60_001], &forbidden(alpha)), vec![]),
        (
            "four of two",
            (0..4).map(|at| (at, forbidden(if at % 2 == 0 { alpha } else { "agent/beta" }))).collect(),
            vec![],
        ),
        ("what the authority could not", times(&[0; 9], &denied(alpha, Layer::Availability, "door.not_ready")), vec![]),
        ("a stop", times(&[0; 9], &denied(alpha, Layer::Seal, "door.sealed")), vec![]),
        ("nonsense", times(&[0; 9], &denied(alpha, Layer::Request, "request.unknown_action")), vec![]),
        ("refused by a machine", times(&[0; 9], &denied(alpha, Layer::Decide, "todos.taken")), vec![]),
        ("too often", times(&[0; 4], &denied(alpha, Layer::Limit, "door.rate_limited")), vec![(4, Kind::DeniedBurst)]),
        ("a spent token", vec![(0, denied(alpha, Layer::Token, "tokens.exhausted"))], vec![(1, Kind::DoubleSpend)]),
        ("by a machine", vec![(0, denied(alpha, Layer::Decide, "tokens.exhausted"))], vec![(1, Kind::DoubleSpend)]),
        ("an expired token", vec![(0, denied(alpha, Layer::Token, "tokens.expired"))], vec![]),
        ("an id again", vec![(0, denied(alpha, Layer::Decide, "host.id_taken"))], vec![(1, Kind::Replay)]),
        ("an id ahead of its time", vec![(0, denied(alpha, Layer::Decide, "host.id_untimely"))], vec![]),
        ("revoked", vec![(0, denied(alpha, Layer::Token, "tokens.revoked"))], vec![(1, Kind::UseAfterRevocation)]),
        ("not admitted", vec![(0, denied(alpha, Layer::Admit, "door.not_admitted"))], vec![]),
        ("a role", vec![(0, privileged)], vec![(1, Kind::PrivilegeChange)]),
        (
            "what is told by itself",
            vec![
                (0, Seen::ClockJumped { what: "by 8s".to_owned() }),
                (1, Seen::Gap { subject: "journal".to_owned(), what: "record 7 is missing".to_owned() }),
                (2, Seen::BrokeGlass { who: "operator/root".to_owned(), what: "policy.activate".to_owned() }),
            ],
            vec![(1, Kind::ClockJump), (2, Kind::AuditGap), (3, Kind::BreakGlass)],
        ),
    ];
    for (row, history, expected) in rows {
        assert_eq!(kinds(&history), expected, "{row}");
    }
}

#[test]
fn a_burst_that_goes_on_is_told_at_doublings_and_once_a_span() {
    // The spans are whole minutes; noon begins one.
    let history: Vec<_> = (0..100).map(|number| (number * 1_000, forbidden("agent/alpha"))).collect();
    let told: Vec<_> = found(&history).into_iter().map(|(at, finding)| (at, finding.count)).collect();
    assert_eq!(
        told,
        [(4, 4), (5, 1), (7, 2), (11, 4), (19, 8), (35, 16), (61, 26), (62, 1), (64, 2), (68, 4), (76, 8), (92, 16)]
    );
    let one = &found(&history)[0].1;
    assert_eq!((&one.evidence[..], one.subject.as_str()), (&[1, 2, 3, 4][..], "agent/alpha"));
    assert_eq!(one.detail, "gap.scan was denied: policy.forbidden");
}

fn step() -> impl Strategy<Value = (u64, Seen)> {
    let who = prop_oneof![Just("agent/alpha"), Just("agent/beta")];
    let code = prop_oneof![3 => Just("policy.forbidden"), 1 => Just("tokens.exhausted"), 1 => Just("tokens.revoked")];
    let pause = prop_oneof![8 => 0..5_000_u64, 1 => 0..200_000_u64];
    (pause, who, code).prop_map(|(pause, who, code)| (pause, denied(who, Layer::Policy, code)))
}

proptest! {
    /// Who begins to look as far back as the rules say finds what he would have found who saw all of it.
    #[test]
    fn what_is_found_does_not_depend_on_where_one_begins(steps in vec(step(), 1..300), cut in any::<prop::sample::Index>()) {
        let mut now = 0;
        let history: Vec<_> = steps.into_iter().map(|(pause, seen)| { now += pause; (now, seen) }).collect();
        let cut = cut.index(history.len());
        let all = found(&history);
        let since = history[cut].0.saturating_sub(RULES.lookback().0);
        let begin = history.iter().position(|(at, _)| since <= *at).unwrap();
        let mut again = Detectors::new(RULES);
        for (index, (at, seen)) in history.iter().enumerate().skip(begin) {
            let sequence = index as u64 + 1;
            let found = again.look(Sequence(sequence), Timestamp(NOON + at), std::slice::from_ref(seen));
            let before: Vec<_> = all.iter().filter(|(at, _)| *at == sequence).map(|(_, found)| found.clone()).collect();
            if cut < index {
                prop_assert_eq!(found, before, "record {} of {}, from {}", sequence, history.len(), begin);
            }
        }
    }

    #[test]
    fn what_is_found_is_bounded_and_at_least_half_of_all(steps in vec(step(), 1..300)) {
        let mut now = 0;
        let history: Vec<_> = steps.into_iter().map(|(pause, seen)| { now += pause; (now, seen) }).collect();
        let told = found(&history);
        prop_assert!(told.iter().all(|(_, finding)| finding.evidence.len() <= EVIDENCE_MAX));
        prop_assert!(told.iter().all(|(at, finding)| finding.evidence.last() == Some(at)));
        for (kind, code) in [(Kind::DoubleSpend, "tokens.exhausted"), (Kind::UseAfterRevocation, "tokens.revoked")] {
            let is = |seen: &Seen| matches!(seen, Seen::Denied { code: found, .. } if found == code);
            let all = history.iter().filter(|(_, seen)| is(seen)).count() as u64;
            let counted: u64 = told.iter().filter(|(_, found)| found.kind == kind).map(|(_, found)| found.count).sum();
            prop_assert!(counted <= all && all <= 2 * counted, "{} of {}", counted, all);
        }
    }
}

#[test]
fn no_more_are_watched_than_there_is_room_for() {
    let mut detectors = Detectors::new(RULES);
    let mut told = 0;
    for number in 0..3 * KEYS_MAX as u64 {
        let seen = forbidden(&format!("agent/a{number}"));
        told += detectors.look(Sequence(number + 1), Timestamp(NOON + number), &[seen]).len();
    }
    assert_eq!(told, 0);
    // Who was seen last is still known.
    let last = forbidden(&format!("agent/a{}", 3 * KEYS_MAX - 1));
    for more in 0..3 {
        told += detectors.look(Sequence(10_000 + more), Timestamp(NOON + 10_000), std::slice::from_ref(&last)).len();
    }
    assert_eq!(told, 1);
}
