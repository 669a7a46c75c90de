//! Who comes while the tree runs is judged like all others: members of pools that come and go, and children that are added.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::chaos::{Cast, Chaos, Judgement, Oracle, Plan, Told};
use supervisors::{Backoff, Child, ChildRef, Decision, Exit, Pool, PoolRef, Strategy, Supervisor, Tree, Verdict, What};
use tokio::time::sleep;

use crate::doctored::{decision, instead, judged, twice, without};

const SECOND: Duration = Duration::from_secs(1);

struct Guest;

/// The message is what it does.
enum Do {
    Fail,
    Leave,
}

impl Actor for Guest {
    type Msg = Do;
    type State = ();
    type Arguments = bool;

    async fn pre_start(&self, _: ActorRef<Do>, comes_up: bool) -> Result<(), ActorProcessingErr> {
        if comes_up { Ok(()) } else { Err("not today".into()) }
    }

    async fn handle(&self, myself: ActorRef<Do>, msg: Do, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match msg {
            Do::Fail => Err("as asked".into()),
            Do::Leave => {
                myself.stop(None);
                Ok(())
            }
        }
    }
}

/// Some come, and some of those leave, fail, or are told to leave.
async fn visited(tree: Tree, pool: PoolRef<Do, bool>, turns: u32) {
    let mut inside = Vec::new();
    for turn in 0..turns {
        sleep(SECOND / 20).await;
        // The pool may be down.
        if let Ok(member) = pool.start(turn % 7 != 0).await {
            inside.push(member);
        }
        if inside.len() > 5 {
            let member = inside.remove(0);
            match turn % 3 {
                0 => drop(member.cast(Do::Fail)),
                1 => drop(member.cast(Do::Leave)),
                _ => drop(member.terminate().await),
            }
        }
        if turn % 5 == 0 {
            let guest = ChildRef::new(format!("guest{turn}"));
            let comes_up = turn % 3 != 0;
            let spec = Child::actor(&guest, move || (Guest, comes_up));
            let spec = if turn % 2 == 0 { spec.temporary() } else { spec };
            let group = ["root/one", "root/all", "root/rest"][turn as usize / 5 % 3];
            let _ = tree.add(group, spec).await;
        }
    }
}

/// A tree into which children of the cast came before the plan was made and after somebody listened, and others later.
async fn heard(seed: u64) -> (Oracle, Vec<Told>, Judgement) {
    let cast = Cast::new();
    let backoff = Backoff::exp(SECOND / 10, SECOND).healthy_after(SECOND);
    let group = |name: &str, strategy| {
        let group = Supervisor::new(name, strategy).intensity(3, 10 * SECOND).backoff(backoff);
        (1..=2).fold(group, |group, at| group.child(cast.child(&format!("root/{name}/{at}"))))
    };
    let pool = PoolRef::new("pool");
    let members = Pool::actor(&pool, |comes_up: &bool| (Guest, *comes_up)).members(|member| member.backoff(backoff));
    let root = Supervisor::new("root", Strategy::OneForOne)
        .intensity(u32::MAX, SECOND)
        .supervisor(group("one", Strategy::OneForOne))
        .supervisor(group("all", Strategy::OneForAll))
        .supervisor(group("rest", Strategy::RestForOne))
        .child(members);
    let tree = Tree::start(root, seed).await.unwrap();
    let mut chaos = Chaos::over(&tree, &cast).await.recorded();
    let fresh = chaos.oracle().clone();
    for (name, late) in [("one", "late"), ("all", "late"), ("rest", "late"), ("all", "once"), ("rest", "once")] {
        let child = cast.child(&format!("root/{name}/{late}"));
        let child = if late == "once" { child.temporary() } else { child };
        tree.add(&format!("root/{name}"), child).await.unwrap();
    }
    let nested = Supervisor::new("nested", Strategy::OneForAll).intensity(1, 10 * SECOND).backoff(backoff);
    let nested = (1..=2).fold(nested, |nested, at| nested.child(cast.child(&format!("root/nested/{at}"))));
    tree.add("root", nested).await.unwrap();

    let plan = Plan::new(seed, &tree, &cast, 60 * SECOND);
    let (judgement, ()) = tokio::join!(chaos.run(&plan), visited(tree.clone(), pool, 600));
    (fresh, chaos.transcript().to_vec(), judgement)
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_runs_is_judged_and_may_leave() {
    for seed in 1..=12 {
        let (fresh, told, judgement) = heard(seed).await;
        assert!(judgement.is_kept() && judgement.ended.is_none(), "{judgement}");
        assert!(judgement.joined > 100 && judgement.by_themselves > 30, "{judgement}");
        assert_eq!(judged(&fresh, &told), None, "told again");
        let met = |path: &str| told.iter().any(|told| matches!(told, Told::Fault { path: at, .. } if **at == *path));
        assert!(met("root/one/late") && met("root/nested/1"), "{judgement}");
    }
}

/// The decision at this place, if it is on somebody who came, or on one below.
fn on_newcomer(told: &[Told], at: usize) -> Option<&Decision> {
    let one = decision(&told[at])?;
    let joined = |told: &Told| match told {
        Told::Joins(newcomer) => {
            one.path.strip_prefix(newcomer.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        _ => false,
    };
    told[..at].iter().any(joined).then_some(one)
}

type Forge = fn(&[Told], usize) -> Option<Vec<Told>>;

#[tokio::test(start_paused = true)]
async fn what_is_forged_of_them_is_seen() {
    let (fresh, told, judgement) = heard(1).await;
    assert!(judgement.is_kept(), "{judgement}");
    let forgeries: [(&str, Forge); 6] = [
        ("started twice", |told, at| (on_newcomer(told, at)?.what == What::Starting).then(|| twice(told, at))),
        ("an epoch left out", |told, at| {
            let one = on_newcomer(told, at).filter(|one| one.what == What::Starting)?;
            // What the children of a supervisor that came had been before, nobody has heard.
            let is_known = one.epoch > 1 || !one.path.starts_with("root/nested/");
            is_known.then(|| instead(told, at, Decision { epoch: one.epoch + 1, ..one.clone() }))
        }),
        ("no delay", |told, at| {
            let one = on_newcomer(told, at)?;
            let What::Exited { exit, verdict: Verdict::Restart { after } } = &one.what else { return None };
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::Restart { after: Duration::ZERO } };
            (!after.is_zero()).then(|| instead(told, at, Decision { what, ..one.clone() }))
        }),
        ("kept though it never came up", |told, at| {
            let one = on_newcomer(told, at)?;
            let What::Exited { exit, verdict: Verdict::TakeOut } = &one.what else { return None };
            let what = What::Exited { exit: exit.clone(), verdict: Verdict::Restart { after: Duration::ZERO } };
            Some(instead(told, at, Decision { what, ..one.clone() }))
        }),
        ("an end with two decisions", |told, at| {
            let one = on_newcomer(told, at)?;
            let is_end = matches!(one.what, What::Exited { verdict: Verdict::Restart { .. }, .. });
            is_end.then(|| twice(told, at))
        }),
        ("an end of the cast without a cause", |told, at| {
            let Told::Fault { path, epoch, .. } = &told[at] else { return None };
            (path.ends_with("/late") || path.starts_with("root/nested/")).then_some(())?;
            let mut step = told[at..].iter().take_while(|told| **told != Told::Rest).filter_map(decision);
            let ends = step.any(|one| {
                let of_itself = |exit: &Exit| matches!(exit, Exit::Killed | Exit::Panicked { .. } | Exit::Normal);
                let is_it = one.path == *path && one.epoch == *epoch;
                is_it && matches!(&one.what, What::Exited { exit, verdict } if *verdict != Verdict::AsOrdered && of_itself(exit))
            });
            ends.then(|| without(told, at))
        }),
    ];
    for (name, forge) in forgeries {
        let forged: Vec<_> = (0..told.len()).filter_map(|at| forge(&told, at)).take(40).collect();
        assert!(!forged.is_empty(), "{name}: there is no place for it");
        for (place, forged) in forged.iter().enumerate() {
            assert!(judged(&fresh, forged).is_some(), "{name}: place {place} is not seen");
        }
    }
}
