//! Pools: members that callers start, each with arguments of its own.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    AddError, Backoff, Child, Counts, Exhausted, Exit, Kind, Member, NodeState, Outcome, Pool, PoolRef, RemoveError,
    RestartError, SpecError, StartError, StartFault, Strategy, Supervisor, Tree,
};
use tokio::time::Instant;

use crate::probe::{LONG, Probe, Say, Script, Start, count, exit_of, ms, probe};

const POOL: &str = "root/pool";

/// A pool of probes, each started with its name and its script.
type Probes = PoolRef<Say, (&'static str, Script)>;

fn pool(reference: &Probes) -> Pool {
    Pool::actor(reference, |(name, script)| (Probe { name: (*name).to_owned(), script: script.clone() }, ()))
        .backoff(Backoff::none())
}

async fn tree(pool: Pool) -> Tree {
    Tree::start(Supervisor::new("root", Strategy::OneForOne).backoff(Backoff::none()).child(pool), 1).await.unwrap()
}

fn counts(specs: usize, active: usize) -> Counts {
    Counts { specs, active, supervisors: 0, workers: specs }
}

/// Reads the pool until so many members are in it.
async fn comes_to(tree: &Tree, members: usize) {
    while tree.count(POOL).unwrap() != counts(members, members) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_member_is_started_with_its_own_and_restarted_with_it() {
    let probes = Probes::new("pool");
    assert!(matches!(probes.start(("early", Script::default())).await, Err(AddError::SupervisorDown { .. })));
    let tree = tree(pool(&probes)).await;
    let script = Script::default();
    let (a, b) =
        (probes.start(("a", script.clone())).await.unwrap(), probes.start(("b", script.clone())).await.unwrap());
    assert_eq!((a.path(), b.path(), tree.count(POOL)), ("root/pool/1", "root/pool/2", Ok(counts(2, 2))));
    assert_eq!((tree.snapshot().children[0].kind, count(&a).await), (Kind::Pool, 1));

    a.cast(Say::Panic).unwrap();
    assert_eq!((a.up_after(1).await, count(&a).await), (2, 1));
    assert_eq!((b.epoch(), script.logged()), (1, ["start a", "start b", "start a"].map(String::from).to_vec()));
    let other = tree.add(POOL, probe(&supervisors::ChildRef::new("other"), &script)).await;
    assert_eq!(other, Err(AddError::IsAPool { path: POOL.to_owned() }));

    tree.kill(POOL).await.unwrap();
    b.up_after(1).await;
    assert_eq!((a.epoch(), tree.count(POOL)), (3, Ok(counts(2, 2))), "they come back with their pool");
    let c = probes.start(("c", script)).await.unwrap();
    assert_eq!(c.path(), "root/pool/3", "no number is used twice");
    assert!(tree.shutdown(LONG).await.is_graceful());
    assert!(matches!(probes.start(("late", Script::default())).await, Err(AddError::SupervisorDown { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_is_over_for_good_is_forgotten() {
    for (member, told, exit) in [
        ("transient", Say::End, Exit::Normal),
        ("temporary", Say::Fail, Exit::Failed { error: "lost my disk".to_owned() }),
    ] {
        let probes = Probes::new("pool");
        let kind = |child: Child| if member == "transient" { child.transient() } else { child.temporary() };
        let tree = tree(pool(&probes).members(kind)).await;
        let mut events = tree.subscribe();
        let a = probes.start(("a", Script::default())).await.unwrap();
        a.cast(told).unwrap();
        assert_eq!(exit_of(&mut events, a.path()).await.0, exit);
        comes_to(&tree, 0).await;
        assert_eq!(a.terminate().await.unwrap().exit, exit, "and terminating it is fine");
        assert!(matches!(tree.terminate(a.path()).await, Err(RemoveError::NotFound(_))));
        assert!(matches!(tree.restart(a.path()).await, Err(RestartError::NotFound(_))));

        let ignores = Script::starts([Some(Start::Ignore)]);
        let b = probes.start(("b", ignores)).await.unwrap();
        assert_eq!((b.is_up(), tree.count(POOL)), (false, Ok(counts(0, 0))));
        let fails = Script::starts([Some(Start::Fail)]);
        let fault = Exit::StartFailed(StartFault::Failed { error: "no disk".to_owned() });
        let failed = probes.start(("c", fails)).await.unwrap_err();
        assert!(matches!(&failed, AddError::Start { exit, .. } if *exit == fault), "{failed}");
        assert_eq!(tree.count(POOL), Ok(counts(0, 0)));

        let d = probes.start(("d", Script::starts([None, Some(Start::Ignore)]))).await.unwrap();
        d.cast(Say::Panic).unwrap();
        comes_to(&tree, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_stop_at_once_and_each_within_its_time() {
    let probes = Probes::new("pool");
    let tree = tree(pool(&probes).members(|member| member.shutdown(ms(700)))).await;
    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    for at in 0..20 {
        let script = if at % 2 == 0 { refuses.clone() } else { Script::default() };
        probes.start(("member", script)).await.unwrap();
    }
    let before = Instant::now();
    let farewell = tree.terminate(POOL).await.unwrap();
    assert_eq!((before.elapsed(), farewell.outcome), (ms(700), Outcome::Graceful));
    assert_eq!(tree.count(POOL).unwrap().active, 0);
    tree.restart(POOL).await.unwrap();
    comes_to(&tree, 20).await;
    let killed = tree.shutdown(LONG).await.farewells;
    let killed = killed.iter().filter(|farewell| farewell.outcome == Outcome::Killed);
    assert_eq!((killed.count(), before.elapsed()), (10, ms(1400)));
}

#[tokio::test(start_paused = true)]
async fn a_pool_takes_no_more_than_it_may() {
    let probes = Probes::new("pool");
    let tree = tree(pool(&probes).max_children(2).members(Child::temporary)).await;
    let slow = Script::starts([Some(Start::Slow(100))]);
    let (first, second) = tokio::join!(probes.start(("a", slow)), probes.start(("b", Script::default())));
    let full = || AddError::Full { path: POOL.to_owned(), max: 2 };
    assert_eq!(probes.start(("c", Script::default())).await.unwrap_err(), full());
    second.unwrap().terminate().await.unwrap();
    probes.start(("c", Script::default())).await.unwrap();
    assert_eq!(probes.start(("d", Script::default())).await.unwrap_err(), full());
    assert_eq!(full().to_string(), "the pool root/pool has the 2 members that it may have");
    drop(first);
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn members_share_a_budget_or_have_their_own() {
    for (policy, ends) in [(Exhausted::Escalate, true), (Exhausted::Quarantine, false), (Exhausted::Stop, false)] {
        let probes = Probes::new("pool");
        let tree = tree(pool(&probes).intensity(1, LONG).on_exhausted(policy)).await;
        let mut events = tree.subscribe();
        let (a, b) = (probes.start(("a", Script::default())).await, probes.start(("b", Script::default())).await);
        let (a, b) = (a.unwrap(), b.unwrap());
        a.cast(Say::Panic).unwrap();
        a.up_after(1).await;
        let spent = if ends { &b } else { &a };
        spent.cast(Say::Panic).unwrap();
        exit_of(&mut events, spent.path()).await;
        if ends {
            b.up_after(1).await;
            assert_eq!(tree.snapshot().find(POOL).unwrap().epoch, 2, "the pool begins anew");
            continue;
        }
        exit_of(&mut events, a.path()).await;
        comes_to_state(&tree, &a, policy).await;
        assert_eq!(count(&b).await, 1);
    }
}

/// One that is quarantined is there to be seen and released, one that is over is not.
async fn comes_to_state(tree: &Tree, member: &Member<Say>, policy: Exhausted) {
    loop {
        let snapshot = tree.snapshot();
        let state = snapshot.find(member.path()).map(|node| &node.state);
        match (policy, state) {
            (Exhausted::Stop, None) => return,
            (Exhausted::Quarantine, Some(NodeState::Quarantined { .. })) => {
                tree.restart(member.path()).await.unwrap();
                member.up_after(2).await;
                return;
            }
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Something that cannot be copied, as a connection.
struct Connection(String);

struct Session;

impl Actor for Session {
    type Msg = ();
    type State = Connection;
    type Arguments = Connection;

    async fn pre_start(&self, _: ActorRef<()>, connection: Connection) -> Result<Connection, ActorProcessingErr> {
        if connection.0.is_empty() { Err("closed".into()) } else { Ok(connection) }
    }

    async fn handle(&self, _: ActorRef<()>, (): (), connection: &mut Connection) -> Result<(), ActorProcessingErr> {
        Err(std::mem::take(&mut connection.0).into())
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_copied_is_handed_over_once() {
    let sessions = PoolRef::new("pool");
    // It may say what it likes: whoever has given its arguments away is not restarted.
    let spec = Pool::once(&sessions, |connection| (Session, connection)).members(Child::permanent);
    let tree = tree(spec).await;
    let mut events = tree.subscribe();
    let session = sessions.start(Connection("from afar".to_owned())).await.unwrap();
    assert!(matches!(sessions.start(Connection(String::new())).await, Err(AddError::Start { .. })));
    session.cast(()).unwrap();
    let failed = Exit::Failed { error: "from afar".to_owned() };
    assert_eq!(exit_of(&mut events, session.path()).await.0, failed);
    comes_to(&tree, 0).await;

    sessions.start(Connection("again".to_owned())).await.unwrap();
    tree.kill(POOL).await.unwrap();
    while tree.snapshot().find(POOL).unwrap().epoch == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tree.count(POOL), Ok(counts(0, 0)), "a temporary member does not come back with its pool");
}

#[tokio::test(start_paused = true)]
async fn a_pool_must_mean_something() {
    let start = async |pool: Pool| Tree::start(Supervisor::new("root", Strategy::OneForOne).child(pool), 1).await.err();
    let path = || "root/pool/member".to_owned();
    let probes = Probes::new("pool");
    let significant = start(pool(&probes).members(|member| member.temporary().significant())).await;
    assert_eq!(significant, Some(StartError::Spec(SpecError::SignificantForNobody { path: path() })), "(61)");
    let windowless = start(pool(&probes).members(|member| member.budget(1, ms(0)))).await;
    assert_eq!(windowless, Some(StartError::Spec(SpecError::EmptyWindow { path: path() })));
    let nameless = start(pool(&Probes::new(""))).await;
    assert_eq!(nameless, Some(StartError::Spec(SpecError::Name { path: "root/".to_owned() })));
}
