//! An oracle that cannot fail proves nothing: what a real tree decided is doctored, and must be seen through.
//!
//! Each forgery is tried at every place of a real journal that it fits, and must be seen at each.

use std::sync::Arc;
use std::time::Duration;

use supervisors::chaos::{Cast, Chaos, Law, Oracle, Plan, Told, Violation};
use supervisors::{Backoff, Decision, Exhausted, Exit, Strategy, Supervisor, Tree, Verdict, What};

const SECOND: Duration = Duration::from_secs(1);

/// What a small tree decided in two minutes, and the oracle that hears it for the first time.
async fn heard() -> (Oracle, Vec<Told>) {
    let cast = Cast::new();
    let group = |name: &str, strategy, exhausted| {
        let group = Supervisor::new(name, strategy)
            .intensity(1, 20 * SECOND)
            .on_exhausted(exhausted)
            .backoff(Backoff::exp(SECOND / 10, SECOND).healthy_after(SECOND));
        (1..=3).fold(group, |group, at| group.child(cast.child(&format!("root/{name}/{at}"))))
    };
    let root = Supervisor::new("root", Strategy::OneForOne)
        .intensity(u32::MAX, SECOND)
        .supervisor(group("one", Strategy::OneForOne, Exhausted::Quarantine))
        .supervisor(group("all", Strategy::OneForAll, Exhausted::Escalate))
        .supervisor(group("rest", Strategy::RestForOne, Exhausted::Escalate));
    let tree = Tree::start(root, 1).await.unwrap();
    let plan = Plan::new(1, &tree, &cast, 120 * SECOND);
    let mut chaos = Chaos::over(&tree, &cast).await.recorded();
    let fresh = chaos.oracle().clone();
    let judgement = chaos.run(&plan).await;
    assert!(judgement.is_kept(), "{judgement}");
    (fresh, chaos.transcript().to_vec())
}

pub fn judged(fresh: &Oracle, told: &[Told]) -> Option<Violation> {
    let mut oracle = fresh.clone();
    told.iter().find_map(|told| told.to(&mut oracle).err())
}

/// Forges at each place where `forge` can, and answers with the laws that were found violated.
fn forged(fresh: &Oracle, told: &[Told], forge: impl Fn(&[Told], usize) -> Option<Vec<Told>>) -> Vec<Option<Law>> {
    let places = 0..told.len();
    let forged = places.filter_map(|at| forge(told, at)).take(40);
    forged.map(|told| judged(fresh, &told).map(|violation| violation.law)).collect()
}

pub fn decision(told: &Told) -> Option<&Decision> {
    match told {
        Told::Decision(decision) => Some(decision),
        _ => None,
    }
}

/// With another decision in the place of this one.
pub fn instead(told: &[Told], at: usize, decision: Decision) -> Vec<Told> {
    let mut told = told.to_vec();
    told[at] = Told::Decision(decision);
    told
}

pub fn without(told: &[Told], at: usize) -> Vec<Told> {
    told.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, told)| told.clone()).collect()
}

pub fn twice(told: &[Told], at: usize) -> Vec<Told> {
    let mut told = told.to_vec();
    told.insert(at, told[at].clone());
    told
}

/// Of one that was up, and not because of those below it.
fn is_of_its_own(exit: &Exit) -> bool {
    matches!(exit, Exit::Killed | Exit::Panicked { .. } | Exit::Normal | Exit::Unhealthy(_))
}

fn is_leaf(decision: &Decision) -> bool {
    decision.path.matches('/').count() == 2
}

/// The next decision on the same node.
fn next(told: &[Told], at: usize) -> Option<usize> {
    let path = decision(&told[at])?.path.clone();
    (at + 1..told.len()).find(|place| decision(&told[*place]).is_some_and(|decision| decision.path == path))
}

#[tokio::test(start_paused = true)]
async fn what_really_happened_is_believed() {
    let (fresh, told) = heard().await;
    assert_eq!(judged(&fresh, &told), None);
    let count = |is: fn(&What) -> bool| told.iter().filter_map(decision).filter(|decision| is(&decision.what)).count();
    assert!(count(|what| matches!(what, What::Exited { verdict: Verdict::Escalate, .. })) > 3);
    assert!(count(|what| matches!(what, What::Exited { verdict: Verdict::Quarantine, .. })) > 3);
    assert!(count(|what| matches!(what, What::Stopping)) > 20);
}

type Forge = fn(&[Told], usize) -> Option<Vec<Told>>;

#[tokio::test(start_paused = true)]
async fn every_forgery_is_seen() {
    let (fresh, told) = heard().await;
    let forgeries: [(&str, Law, Forge); 16] = [
        ("started twice", Law::OneIncarnation, |told, at| {
            matches!(decision(&told[at])?.what, What::Starting).then(|| twice(told, at))
        }),
        ("an epoch left out", Law::OneIncarnation, |told, at| {
            let decision = decision(&told[at]).filter(|decision| decision.what == What::Starting)?;
            Some(instead(told, at, Decision { epoch: decision.epoch + 1, ..decision.clone() }))
        }),
        ("started before its end", Law::OneIncarnation, |told, at| {
            let end = decision(&told[at]).filter(|decision| is_leaf(decision))?;
            let next = next(told, at)?;
            let starts = decision(&told[next]).is_some_and(|next| next.what == What::Starting);
            matches!(end.what, What::Exited { verdict: Verdict::Restart { .. }, .. }).then_some(())?;
            let mut forged = told.to_vec();
            let start = forged.remove(next);
            forged.insert(at, start);
            starts.then_some(forged)
        }),
        ("started before its delay is over", Law::NotBefore, |told, at| {
            let decision = decision(&told[at]).filter(|decision| decision.what == What::Starting)?;
            let before = (0..at)
                .rev()
                .find_map(|place| self::decision(&told[place]).filter(|before| before.path == decision.path))?;
            let What::Exited { verdict: Verdict::Restart { after }, .. } = before.what else { return None };
            let early = before.at + after.checked_sub(Duration::from_millis(1))?;
            Some(instead(told, at, Decision { at: early, ..decision.clone() }))
        }),
        ("no delay", Law::NotBefore, |told, at| {
            let decision = decision(&told[at])?;
            let What::Exited { exit, verdict: Verdict::Restart { after } } = &decision.what else { return None };
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::Restart { after: Duration::ZERO } };
            (!after.is_zero()).then(|| instead(told, at, Decision { what, ..decision.clone() }))
        }),
        ("over its budget", Law::Budget, |told, at| {
            let decision = decision(&told[at])?;
            let What::Exited { exit, verdict: Verdict::Quarantine | Verdict::Escalate } = &decision.what else {
                return None;
            };
            // Whose start fails while its supervisor starts has no budget.
            is_of_its_own(exit).then_some(())?;
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::Restart { after: Duration::ZERO } };
            Some(instead(told, at, Decision { what, ..decision.clone() }))
        }),
        ("given up within its budget", Law::Predicted, |told, at| {
            let decision = decision(&told[at]).filter(|decision| is_leaf(decision))?;
            let What::Exited { exit, verdict: Verdict::Restart { .. } } = &decision.what else { return None };
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::Quarantine };
            Some(instead(told, at, Decision { what, ..decision.clone() }))
        }),
        ("an end without a decision", Law::OneIncarnation, |told, at| {
            let decision = decision(&told[at]).filter(|decision| is_leaf(decision))?;
            let comes_again = matches!(self::decision(&told[next(told, at)?])?.what, What::Starting);
            (matches!(decision.what, What::Exited { .. }) && comes_again).then(|| without(told, at))
        }),
        ("an end with two", Law::OneDecision, |told, at| {
            matches!(decision(&told[at])?.what, What::Exited { .. }).then(|| twice(told, at))
        }),
        ("an end for which there is no cause", Law::Predicted, |told, at| {
            let Told::Fault { path, epoch, .. } = &told[at] else { return None };
            let of_it = |decision: &&Decision| decision.path == *path && decision.epoch == *epoch;
            let step = told[at..].iter().take_while(|told| **told != Told::Rest);
            let end = step.filter_map(decision).filter(of_it).find_map(|decision| match &decision.what {
                // One whose start failed may owe that to an earlier fault.
                What::Exited { exit, verdict } => Some(*verdict != Verdict::AsOrdered && is_of_its_own(exit)),
                _ => None,
            });
            end.unwrap_or(false).then(|| without(told, at))
        }),
        ("an end that counts as ordered", Law::Predicted, |told, at| {
            let decision = decision(&told[at])?;
            let What::Exited { exit, verdict: Verdict::Restart { .. } } = &decision.what else { return None };
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::AsOrdered };
            Some(instead(told, at, Decision { what, ..decision.clone() }))
        }),
        ("a group that goes on without one of its own", Law::Order, |told, at| {
            let decision = decision(&told[at]).filter(|decision| &*decision.path == "root/all/3")?;
            let group = self::decision(&told[at.checked_sub(1)?])?;
            let restarts = matches!(group.what, What::Exited { verdict: Verdict::Restart { .. }, .. });
            (restarts && decision.what == What::Stopping && &*group.path == "root/all/1").then_some(())?;
            let path: Arc<str> = "root/all/2".into();
            let epoch = told[..at].iter().filter_map(self::decision).rfind(|one| one.path == path)?.epoch;
            Some(instead(told, at, Decision { path, epoch, ..decision.clone() }))
        }),
        ("a sibling that changes for nothing", Law::Predicted, |told, at| {
            let started = decision(&told[at]).filter(|decision| decision.what == What::Started)?;
            (&*started.path == "root/one/1").then_some(())?;
            let path: Arc<str> = "root/one/2".into();
            let one = told[..at].iter().filter_map(decision).rfind(|one| one.path == path)?;
            matches!(one.what, What::Started).then_some(())?;
            let mut forged = told.to_vec();
            forged.insert(at + 1, Told::Decision(Decision { what: What::Stopping, ..one.clone() }));
            Some(forged)
        }),
        ("a start that never comes", Law::Predicted, |told, at| {
            let decision = decision(&told[at]).filter(|one| one.what == What::Starting && is_leaf(one))?;
            let rest = (at..told.len()).find(|place| told[*place] == Told::Rest)?;
            let forged = told[..=rest].iter().enumerate().filter(|(place, told)| {
                *place < at || self::decision(told).is_none_or(|other| other.path != decision.path)
            });
            let forged: Vec<_> = forged.map(|(_, told)| told.clone()).collect();
            // In a group, who comes after it is out of turn.
            decision.path.starts_with("root/one/").then_some(forged)
        }),
        ("a supervisor that ends and leaves an orphan", Law::NothingLeft, |told, at| {
            let decision = decision(&told[at]).filter(|decision| is_leaf(decision))?;
            let ordered = matches!(decision.what, What::Exited { verdict: Verdict::AsOrdered, .. });
            let first = decision.path.ends_with("/1") && !decision.path.starts_with("root/one");
            let above = decision.path.rsplit_once('/')?.0;
            let then = self::decision(told.get(at + 1)?)?;
            (ordered && first && &*then.path == above).then(|| without(told, at))
        }),
        ("quarantine that ends by itself", Law::NotBefore, |told, at| {
            let decision = decision(&told[at])?;
            matches!(decision.what, What::Exited { verdict: Verdict::Quarantine, .. }).then_some(())?;
            let (epoch, what) = (decision.epoch + 1, What::Starting);
            let mut forged = told.to_vec();
            forged.insert(at + 1, Told::Decision(Decision { epoch, what, ..decision.clone() }));
            Some(forged)
        }),
    ];
    for (name, law, forge) in forgeries {
        let found = forged(&fresh, &told, forge);
        assert!(!found.is_empty(), "{name}: there is no place for it");
        assert!(found.iter().all(Option::is_some), "{name}: {found:?}");
        assert!(found.contains(&Some(law)), "{name}: not by {law}, but {found:?}");
    }
}
