//! One row per answer that governance can give.

mod common;

use common::{
    ALPHA, DICTATOR, NOBODY, NOON, OPEN, ROOT, SECRET, activate, after, at, bootstrap, claim, propose, stop,
    stop_because, told,
};
use governance::{
    BUILT_IN, CLAIM_BYTES_MAX, CLAIMANTS_MAX, Command, GOALS_MAX, Governance, MESSAGE_MAX, PROBLEMS_MAX, PROPOSALS_MAX,
    REASON_MAX, Refusal, Reply, Stop, Verdict,
};
use kernel::{Digest, Kin, Machine, Personal, Principal, Refuse, Timestamp};
use policy::Policies;

#[test]
fn decide() {
    let fresh = Governance::default();
    let begun = after(&[bootstrap()]);
    let proposed = after(&[bootstrap(), propose(OPEN)]);
    let opened = after(&[bootstrap(), propose(OPEN), propose(NOBODY), propose(DICTATOR), activate(1)]);
    let dictated = after(&[bootstrap(), propose(OPEN), propose(DICTATOR), activate(1), activate(2)]);
    let stopped = after(&[bootstrap(), stop()]);

    let text_digest = |text: &str| Digest(*blake3::hash(text.as_bytes()).as_bytes());
    let digest = Stop::digest_of(1, &ROOT.parse().unwrap(), "", &Personal::plain("smoke"), NOON);
    let root: Principal = ROOT.parse().unwrap();
    let named = |name: &str| Command::Bootstrap { operator: name.to_owned(), credential: SECRET };
    let rollback = Command::Rollback { expected_active: None };
    let long = "ä".repeat(REASON_MAX + 1);

    for (row, governance, who, command, answer) in [
        ("bootstrap", &fresh, ROOT, bootstrap(), Ok((1, Reply::Bootstrapped { operator: root }))),
        ("bootstrap again", &begun, ROOT, bootstrap(), Err(Refusal::Bootstrapped)),
        ("bootstrap another", &begun, ROOT, named("eve"), Err(Refusal::Bootstrapped)),
        ("bootstrap no name", &fresh, ROOT, named("a b"), Err(Refusal::MalformedName { name: "a b".to_owned() })),
        ("propose", &begun, ROOT, propose(OPEN), Ok((1, Reply::Proposed { epoch: 1, digest: text_digest(OPEN) }))),
        (
            "propose again",
            &opened,
            ROOT,
            propose(OPEN),
            Ok((0, Reply::Proposed { epoch: 1, digest: text_digest(OPEN) })),
        ),
        ("propose more", &proposed, ALPHA, propose(""), Ok((1, Reply::Proposed { epoch: 2, digest: text_digest("") }))),
        ("activate", &proposed, ROOT, activate(1), Ok((1, Reply::Active { epoch: 1 }))),
        ("activate again", &opened, ROOT, activate(1), Ok((0, Reply::Active { epoch: 1 }))),
        ("activate the unknown", &proposed, ROOT, activate(2), Err(Refusal::UnknownEpoch { epoch: 2 })),
        ("activate far away", &proposed, ROOT, activate(u64::MAX), Err(Refusal::UnknownEpoch { epoch: u64::MAX })),
        ("activate what nobody can leave", &opened, ROOT, activate(2), Err(Refusal::LocksOut { epoch: 2 })),
        ("activate what is built in", &opened, ROOT, activate(0), Ok((1, Reply::Active { epoch: 0 }))),
        (
            "activate instead of the active one",
            &opened,
            ROOT,
            Command::Activate { epoch: 3, expected_active: Some(1), despite_counterexample: false },
            Ok((1, Reply::Active { epoch: 3 })),
        ),
        (
            "activate instead of another one",
            &opened,
            ROOT,
            Command::Activate { epoch: 3, expected_active: Some(0), despite_counterexample: false },
            Err(Refusal::ActiveDiffers { expected: 0, active: 1 }),
        ),
        (
            "activate again, instead of what was active",
            &opened,
            ROOT,
            Command::Activate { epoch: 1, expected_active: Some(0), despite_counterexample: false },
            Ok((0, Reply::Active { epoch: 1 })),
        ),
        ("roll back", &dictated, ROOT, rollback.clone(), Ok((1, Reply::Active { epoch: 1 }))),
        ("roll back to what is built in", &opened, ROOT, rollback.clone(), Ok((1, Reply::Active { epoch: 0 }))),
        ("roll back from the beginning", &proposed, ROOT, rollback.clone(), Err(Refusal::NothingBefore)),
        (
            "roll back another one",
            &opened,
            ROOT,
            Command::Rollback { expected_active: Some(2) },
            Err(Refusal::ActiveDiffers { expected: 2, active: 1 }),
        ),
        ("stop", &begun, ROOT, stop(), Ok((1, Reply::Stopped { number: 1, digest }))),
        ("stop before there is an operator", &fresh, ROOT, stop(), Ok((1, Reply::Stopped { number: 1, digest }))),
        ("stop what is stopped", &stopped, ALPHA, stop_because("fire"), Ok((0, Reply::Stopped { number: 1, digest }))),
        ("stop at length", &begun, ROOT, stop_because(&long), Err(Refusal::ReasonTooLong { length: 301 })),
        ("resume", &stopped, ROOT, Command::Resume { digest }, Ok((1, Reply::Running))),
        ("resume what runs", &begun, ROOT, Command::Resume { digest }, Ok((0, Reply::Running))),
        ("resume as an agent", &stopped, ALPHA, Command::Resume { digest }, Err(Refusal::OperatorsOnly)),
        (
            "resume unread",
            &stopped,
            ROOT,
            Command::Resume { digest: SECRET },
            Err(Refusal::DigestMismatch { number: 1 }),
        ),
    ] {
        let outcome = governance.decide(&command, &told(who, NOON));
        assert_eq!(outcome.map(|outcome| (outcome.events.len(), outcome.reply)), answer, "{row}");
    }
}

#[test]
fn an_invalid_text_is_refused_with_bounded_problems() {
    let one = format!("forbid (principal, action == Action::\"{}\", resource);\n", "x".repeat(500));
    let refusal = after(&[bootstrap()]).decide(&propose(&one.repeat(30)), &told(ROOT, NOON)).unwrap_err();
    let Refusal::Invalid { problems, more } = &refusal else { panic!("{refusal}") };
    assert_eq!((problems.len(), *more), (PROBLEMS_MAX, 10));
    assert!(problems.iter().all(|problem| problem.message.chars().count() <= MESSAGE_MAX));
    assert_eq!((problems[0].line, problems[1].line), (Some(1), Some(2)));
    let reason = refusal.to_string();
    assert!(reason.starts_with("the policy text is not valid: line 1, column 30: in policy \"policy0\": "), "{reason}");
    assert!(reason.ends_with(" (and 29 more)"), "{reason}");

    let long = "/".repeat(Policies::TEXT_MAX + 1);
    let refusal = after(&[bootstrap()]).decide(&propose(&long), &told(ROOT, NOON)).unwrap_err();
    assert_eq!(refusal.code(), "governance.invalid_policy");
}

#[test]
fn no_more_proposals_than_fit_are_kept() {
    let mut governance = after(&[bootstrap()]);
    let one = governance.decide(&propose("// 1"), &told(ROOT, NOON)).unwrap().events.remove(0);
    let governance::Event::Proposed(body) = one else { panic!("a proposal proposes") };
    for number in 1..=PROPOSALS_MAX {
        let text = format!("// {number}");
        let digest = Digest(*blake3::hash(text.as_bytes()).as_bytes());
        let body = governance::records::ProposedV1 { number: number.try_into().unwrap(), text, digest, ..body.clone() };
        governance.evolve(&governance::Event::Proposed(body), kernel::Position(1));
    }
    assert_eq!(governance.decide(&propose("// one more"), &told(ROOT, NOON)), Err(Refusal::Full));
    assert!(governance.decide(&propose("// 10000"), &told(ROOT, NOON)).is_ok(), "what is kept may be proposed again");
}

/// Who may be locked out, and who may not.
#[test]
fn a_candidate_must_leave_a_way_on() {
    let both = "action in [Action::\"policy.propose\", Action::\"policy.activate\"]";
    let one_policy = |scope: &str| format!("permit ({scope});");
    for (row, text, locks_out) in [
        ("nobody may anything", String::new(), true),
        ("operators may both", one_policy(&format!("principal is Operator, {both}, resource")), false),
        ("this operator may", one_policy(&format!("principal == Operator::\"root\", {both}, resource")), false),
        ("an unknown operator may", one_policy(&format!("principal == Operator::\"eve\", {both}, resource")), true),
        ("agents may", one_policy(&format!("principal is Agent, {both}, resource")), true),
        ("only propose", one_policy("principal, action == Action::\"policy.propose\", resource"), true),
        ("only activate", one_policy("principal, action == Action::\"policy.activate\", resource"), true),
        ("only this one", one_policy(&format!("principal, {both}, resource == Policy::\"1\"")), true),
        ("by token only", format!("permit (principal, {both}, resource) when {{ context.via_token }};"), true),
        ("never by token", format!("permit (principal, {both}, resource) unless {{ context.via_token }};"), false),
        (
            "all but this one",
            "permit (principal, action, resource); forbid (principal, action, resource == Policy::\"1\");".to_owned(),
            false,
        ),
    ] {
        let governance = after(&[bootstrap(), propose(&text)]);
        let answer = governance.decide(&activate(1), &told(ROOT, NOON)).map(|_| ());
        let expected = if locks_out { Err(Refusal::LocksOut { epoch: 1 }) } else { Ok(()) };
        assert_eq!(answer, expected, "{row}");
    }
    let nobody = after(&[propose(OPEN)]);
    let answer = nobody.decide(&activate(1), &told(ROOT, NOON));
    assert_eq!(answer, Err(Refusal::LocksOut { epoch: 1 }), "without an operator");
}

#[test]
fn the_built_in_policy_lets_operators_see_to_policies_and_nothing_else() {
    let policies = Policies::compile(BUILT_IN).unwrap();
    for action in policy::ACTIONS {
        for principal in [ROOT, ALPHA, "protocol/ARP"] {
            let principal: Principal = principal.parse().unwrap();
            let value = |(name, sort): (&String, &policy::Sort)| {
                let value = match sort {
                    policy::Sort::Text => name.as_str().into(),
                    policy::Sort::Long => 1.into(),
                    policy::Sort::Bool => true.into(),
                };
                (name.clone(), value)
            };
            let context = policy::attributes(action.name).unwrap().iter().map(value).collect();
            let standing = &policy::Standing { via_token: true, ..policy::Standing::default() };
            let question = policy::Question {
                principal: &principal,
                action: action.name,
                resource: "*",
                context: &context,
                standing,
            };
            let judgement = policies.judge(&question);
            assert_eq!(judgement.errors, Vec::<String>::new(), "{}", action.name);
            // A replay shows what the audit shows, which is for a policy of the users' own to permit.
            let sees_to = ["Policy", "Right"].contains(&action.resource) && action.name != "policy.replay";
            let expected = principal.kin == Kin::Operator && sees_to;
            assert_eq!(judgement.allowed, expected, "{principal} {}", action.name);
        }
    }
}

#[test]
fn rolling_back_twice_goes_two_steps_back() {
    let back = || Command::Rollback { expected_active: None };
    let start = [bootstrap(), propose(OPEN), propose(DICTATOR), activate(1), activate(2)];
    let mut governance = after(&start);
    for expected in [1, 0] {
        governance = at(governance, &back(), NOON);
        assert_eq!(governance.active_epoch(), expected);
    }
    assert_eq!(governance.active_text(), BUILT_IN);
    let steps: Vec<_> = governance.history().iter().map(|step| (step.replaced, step.epoch, step.rolled_back)).collect();
    assert_eq!(steps, [(0, 1, false), (1, 2, false), (2, 1, true), (1, 0, true)]);
}

/// An epoch that was a good one in its time may be the end of the road later: here, once its one successor is taken.
#[test]
fn a_rollback_must_leave_a_way_on_too() {
    let until_3 = "permit (principal, action, resource) unless { resource is Policy };
        permit (principal, action, resource == Policy::\"*\"); permit (principal, action, resource == Policy::\"3\");";
    let start = [bootstrap(), propose(until_3), propose(OPEN), activate(1), activate(2)];
    let back = Command::Rollback { expected_active: None };
    assert!(after(&start).decide(&back, &told(ROOT, NOON)).is_ok());
    let taken = at(after(&start), &propose(DICTATOR), NOON);
    assert_eq!(taken.decide(&back, &told(ROOT, NOON)), Err(Refusal::LocksOut { epoch: 1 }));
}

#[test]
fn what_can_be_looked_up() {
    let governance = after(&[bootstrap(), propose(OPEN), activate(1), stop()]);
    assert_eq!(governance.operators().map(ToString::to_string).collect::<Vec<_>>(), [ROOT]);
    assert_eq!(governance.authenticate(SECRET), Some(ROOT.parse().unwrap()));
    assert_eq!(governance.authenticate(Digest([0; 32])), None);
    assert_eq!(Governance::default().authenticate(SECRET), None);

    let epochs: Vec<_> = governance.epochs().map(|epoch| (epoch.number, epoch.author, epoch.active)).collect();
    assert_eq!(epochs, [(0, None, false), (1, Some(ROOT.parse().unwrap()), true)]);
    assert_eq!(governance.show(0).unwrap().text, BUILT_IN);
    assert_eq!(governance.show(1).unwrap().text, OPEN);
    assert_eq!(governance.show(2), None);
    assert_eq!((governance.active_epoch(), governance.active_text()), (1, OPEN));

    let stop = governance.stop().unwrap();
    assert_eq!(stop.digest, Stop::digest_of(stop.number, &stop.by, &stop.on_behalf_of, &stop.reason, stop.at));
    let resumed = at(governance.clone(), &Command::Resume { digest: stop.digest }, NOON);
    assert_eq!(resumed.stop(), None);
    let again = at(resumed, &stop_because("smoke"), Timestamp(NOON.0 + 1));
    assert_eq!(again.stop().map(|stop| stop.number), Some(2));
    assert_ne!(again.stop().unwrap().digest, stop.digest, "each stop has a digest of its own");
}

#[test]
fn every_refusal_has_a_code_and_a_remedy() {
    let refusals = [
        Refusal::Bootstrapped,
        Refusal::MalformedName { name: "a b".to_owned() },
        Refusal::Invalid { problems: vec![], more: 0 },
        Refusal::Full,
        Refusal::UnknownEpoch { epoch: 1 },
        Refusal::ActiveDiffers { expected: 1, active: 2 },
        Refusal::LocksOut { epoch: 1 },
        Refusal::NothingBefore,
        Refusal::ReasonTooLong { length: 301 },
        Refusal::OperatorsOnly,
        Refusal::DigestMismatch { number: 1 },
    ];
    let codes: std::collections::BTreeSet<_> = refusals.iter().map(Refuse::code).collect();
    assert_eq!(codes.len(), refusals.len());
    for refusal in refusals {
        assert!(refusal.code().starts_with("governance."));
        assert!(refusal.remedy().ends_with('.'), "{}", refusal.remedy());
    }
}

#[test]
fn what_is_claimed_of_a_proposal() {
    let proposed = &after(&[bootstrap(), propose(OPEN), propose(DICTATOR)]);
    let (holds, fails, open) = (Verdict::Proven, Verdict::Counterexample, Verdict::NotProven);
    let proven = &at(proposed.clone(), &claim(1, OPEN, holds), NOON);
    let refuted = &at(proven.clone(), &claim(1, OPEN, fails), NOON);
    let mended = &at(refuted.clone(), &claim(1, OPEN, open), NOON);
    let claimed = |verdict| Reply::Claimed { epoch: 1, verdict };
    let sized = |goals: usize, detail: usize| {
        let Command::Claim { epoch, mut claim } = claim(1, OPEN, open) else { panic!("a claim claims") };
        claim.goals[0].detail = "d".repeat(detail);
        claim.goals = vec![claim.goals[0].clone(); goals];
        Command::Claim { epoch, claim }
    };
    let despite = Command::Activate { epoch: 1, expected_active: None, despite_counterexample: true };
    let counterexample = || {
        let (by, property) = (ROOT.parse().unwrap(), "never errors".to_owned());
        Err(Refusal::Counterexample { epoch: 1, by, property })
    };
    for (row, governance, command, answer) in [
        ("claim", proposed, claim(1, OPEN, holds), Ok((1, claimed(holds)))),
        ("claim a counterexample", proposed, claim(1, OPEN, fails), Ok((1, claimed(fails)))),
        ("claim the same again", proven, claim(1, OPEN, holds), Ok((0, claimed(holds)))),
        ("claim otherwise", proven, claim(1, OPEN, fails), Ok((1, claimed(fails)))),
        ("claim of another text", proposed, claim(1, DICTATOR, holds), Err(Refusal::ClaimDiffers { epoch: 1 })),
        ("claim of nothing", proposed, claim(3, OPEN, holds), Err(Refusal::UnknownEpoch { epoch: 3 })),
        ("claim of what is built in", proposed, claim(0, BUILT_IN, holds), Err(Refusal::UnknownEpoch { epoch: 0 })),
        ("claim no goal", proposed, sized(0, 1), Err(Refusal::ClaimSize)),
        ("claim too many goals", proposed, sized(GOALS_MAX + 1, 1), Err(Refusal::ClaimSize)),
        ("claim with too many words", proposed, sized(1, CLAIM_BYTES_MAX), Err(Refusal::ClaimSize)),
        ("activate what is proven", proven, activate(1), Ok((1, Reply::Active { epoch: 1 }))),
        ("activate what does not hold", refuted, activate(1), counterexample()),
        ("activate it all the same", refuted, despite, Ok((1, Reply::Active { epoch: 1 }))),
        ("activate what is not proven", mended, activate(1), Ok((1, Reply::Active { epoch: 1 }))),
        ("activate another one", refuted, activate(2), Ok((1, Reply::Active { epoch: 2 }))),
    ] {
        let decided = governance.decide(&command, &told(ROOT, NOON));
        let decided = decided.map(|outcome| (outcome.events.len(), outcome.reply));
        if let Err(refusal) = &decided {
            assert!(!refusal.to_string().is_empty() && refusal.remedy().ends_with('.'), "{refusal:?}");
        }
        assert_eq!(decided, answer, "{row}");
    }
    let shown = refuted.show(1).unwrap();
    assert_eq!((shown.claims.len(), shown.epoch.claimed), (1, Some(fails)), "the last word of each counts");
    assert_eq!(proposed.show(1).unwrap().epoch.claimed, None);

    let mut many = refuted.clone();
    for number in 1..CLAIMANTS_MAX {
        let by = format!("agent/a{number}");
        let outcome = many.decide(&claim(1, OPEN, holds), &told(&by, NOON)).unwrap();
        outcome.events.iter().for_each(|event| many.evolve(event, kernel::Position(9)));
    }
    let one_more = many.decide(&claim(1, OPEN, holds), &told(ALPHA, NOON)).map(|outcome| outcome.reply);
    assert_eq!(one_more, Err(Refusal::TooManyClaims { epoch: 1 }));
    let activated = many.decide(&activate(1), &told(ROOT, NOON)).map(|outcome| (1, outcome.reply));
    assert_eq!(activated, counterexample(), "that others found none says nothing");
}
