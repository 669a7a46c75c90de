//! A hundred thousand children of one supervisor. Nothing is timed; but where an event looked for its next action among
//! all children, these tests would take minutes instead of moments.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::step::{Action, ChildRules, Event, Rules, State, step};
use supervisors::{
    AutoShutdown, Backoff, Budget, Child, ChildRef, Exhausted, Exit, Pool, PoolRef, Restart, Shutdown, Strategy,
    Supervisor, Tree,
};

const CHILDREN: usize = 100_000;
const LONG: Duration = Duration::from_mins(10);
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

fn child(at: usize) -> ChildRules {
    ChildRules {
        path: format!("top/{at}").into(),
        restart: if at.is_multiple_of(3) { Restart::Transient } else { Restart::Permanent },
        significant: at.is_multiple_of(3),
        shutdown: Shutdown::Within(LONG),
        start_timeout: Some(LONG),
        backoff: Backoff::none(),
        budget: None,
        on_exhausted: Exhausted::Escalate,
    }
}

/// A world in which whatever is started comes up, and whatever is asked to stop does, in that order of events.
struct World {
    state: State,
    starts: usize,
    stops: usize,
    ended: bool,
}

impl World {
    fn new(strategy: Strategy, pool: bool) -> Self {
        let intensity = Budget { restarts: u32::MAX, within: LONG };
        let auto_shutdown = AutoShutdown::AllSignificant;
        let children = (0..if pool { 0 } else { CHILDREN }).map(child).collect();
        let rules = Rules { strategy, intensity, auto_shutdown, pool, children };
        let state = State::new(rules, std::iter::repeat_n((0, 0), CHILDREN), 1);
        Self { state, starts: 0, stops: 0, ended: false }
    }

    fn tell(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in step(&mut self.state, event, Duration::ZERO) {
                match action {
                    Action::Start { child, epoch } => {
                        self.starts += 1;
                        events.push_back(Event::Started { child, epoch });
                    }
                    Action::Stop { child, epoch } => {
                        self.stops += 1;
                        events.push_back(Event::Ended { child, epoch, exit: Exit::Normal });
                    }
                    Action::End { .. } => self.ended = true,
                    _ => {}
                }
            }
        }
    }

    fn killed(&mut self, child: usize) {
        let epoch = self.state.ward(child).unwrap().epoch;
        self.tell(Event::Ended { child, epoch, exit: Exit::Killed });
    }
}

#[test]
fn one_after_the_other() {
    for strategy in STRATEGIES {
        let mut world = World::new(strategy, false);
        world.tell(Event::Begin);
        assert_eq!(world.starts, CHILDREN);
        // Each is the last that those before it need, so its group is itself and those after it.
        let crashes = if strategy == Strategy::OneForAll { 1 } else { CHILDREN };
        for _ in 0..crashes {
            world.killed(CHILDREN - 1);
        }
        let group = if strategy == Strategy::OneForAll { CHILDREN } else { 1 };
        assert_eq!((world.starts, world.stops), (CHILDREN + crashes * group, crashes * (group - 1)), "{strategy:?}");
        world.tell(Event::Stop);
        assert_eq!((world.stops, world.ended), (crashes * (group - 1) + CHILDREN, true));
    }
}

#[test]
fn those_that_come_and_go() {
    for (strategy, pool) in
        STRATEGIES.map(|strategy| (strategy, false)).into_iter().chain([(Strategy::OneForOne, true)])
    {
        let mut world = World::new(strategy, pool);
        world.tell(Event::Begin);
        let first = if pool { 0 } else { CHILDREN };
        for at in first..first + CHILDREN {
            world.tell(Event::Add { child: at, epoch: 0, rules: child(at) });
            if !at.is_multiple_of(10) {
                world.tell(Event::Terminate { child: at });
                world.tell(Event::Restart { child: at });
                world.tell(Event::Remove { child: at });
            }
        }
        for at in first..first + CHILDREN {
            world.tell(Event::Remove { child: at });
            assert!(world.state.ward(at).is_none());
        }
        world.tell(Event::Stop);
        assert!(world.ended && world.starts == world.stops);
    }
}

struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_tree() {
    for strategy in STRATEGIES {
        let children = (0..CHILDREN / 10).map(|at| Child::actor(&ChildRef::new(at.to_string()), || (Idle, ())));
        let root = Supervisor::new("root", strategy).intensity(9, LONG).backoff(Backoff::none());
        let tree = Tree::start(children.fold(root, Supervisor::child), 1).await.unwrap();
        let last = format!("root/{}", CHILDREN / 10 - 1);
        assert_eq!(tree.count("root").unwrap().active, CHILDREN / 10);
        tree.terminate(&last).await.unwrap();
        tree.delete(&last).await.unwrap();
        assert!(tree.snapshot().find(&last).is_none());
        assert!(tree.shutdown(LONG).await.is_graceful());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool() {
    let members = PoolRef::new("pool");
    let pool = Pool::once(&members, |()| (Idle, ()));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).child(pool), 1).await.unwrap();
    let mut started = Vec::new();
    for _ in 0..CHILDREN / 10 {
        started.push(members.start(()).await.unwrap());
    }
    for member in started.drain(..CHILDREN / 20) {
        member.terminate().await.unwrap();
    }
    assert_eq!(tree.count("root/pool").unwrap().active, CHILDREN / 20);
    assert!(tree.shutdown(LONG).await.is_graceful());
}
