//! The children of these tests. Each starts and stops as its [`Conduct`] says, and writes down when it does.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    Backoff, Child, ChildRef, Exit, Ignore, Node, NodeState, Pool, PoolRef, StartFault, Strategy, Supervisor, Tree,
    WhenFull,
};

pub const HOUR: Duration = Duration::from_hours(1);
pub const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Lets everything happen that is about to: the clock is paused, and moves on when nobody has anything left to do.
pub async fn settle() {
    tokio::time::sleep(ms(1)).await;
}

pub enum Say {
    End,
    Fail,
    Panic,
    /// Hears nothing for so long, except a kill.
    Sleep(Duration),
}

/// How a start goes.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    Well,
    Ignore,
    Fail,
    Panic,
    /// Fails after two seconds, so that a loop of them lasts.
    FailLate,
}

/// How a stop goes.
#[derive(Clone, Copy, Debug, Default)]
pub enum Stop {
    #[default]
    Well,
    Late(Duration),
    Never,
    Fail,
    Panic,
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// What was written down since the last time.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// What all incarnations of one child share.
#[derive(Clone)]
pub struct Conduct {
    pub name: String,
    /// The next starts, and all after them.
    starts: Arc<Mutex<(VecDeque<Start>, Start)>>,
    stop: Stop,
    log: Log,
}

impl Conduct {
    pub fn new(name: &str) -> Self {
        let starts = Arc::new(Mutex::new((VecDeque::new(), Start::Well)));
        Self { name: name.to_owned(), starts, stop: Stop::Well, log: Log::default() }
    }

    pub fn starts(self, starts: impl IntoIterator<Item = Start>) -> Self {
        self.starts.lock().unwrap().0.extend(starts);
        self
    }

    pub fn stops(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// How it starts, from now on.
    pub fn will_start(&self, start: Start) {
        *self.starts.lock().unwrap() = (VecDeque::new(), start);
    }
}

/// One incarnation.
pub struct Probe(pub Conduct);

impl Probe {
    fn note(&self, what: &str) {
        self.0.log.0.lock().unwrap().push(format!("{what} {}", self.0.name));
    }
}

impl Actor for Probe {
    type Msg = Say;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Say>, (): ()) -> Result<(), ActorProcessingErr> {
        assert!(myself.try_get_supervisor().is_none(), "there is no link that it could cut, see `child_unlink`");
        let start = {
            let mut starts = self.0.starts.lock().unwrap();
            starts.0.pop_front().unwrap_or(starts.1)
        };
        match start {
            Start::Well => self.note("start"),
            Start::Ignore => return Err(Ignore.into()),
            Start::Fail => return Err("no disk".into()),
            Start::Panic => panic!("no state"),
            Start::FailLate => {
                tokio::time::sleep(ms(2000)).await;
                return Err("no disk".into());
            }
        }
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Say>, say: Say, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match say {
            Say::End => myself.stop(None),
            Say::Fail => return Err("abnormal".into()),
            Say::Panic => panic!("abnormal"),
            Say::Sleep(time) => tokio::time::sleep(time).await,
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Say>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match self.0.stop {
            Stop::Well => {}
            Stop::Late(time) => tokio::time::sleep(time).await,
            Stop::Never => std::future::pending().await,
            Stop::Fail => return Err("abnormal".into()),
            Stop::Panic => panic!("abnormal"),
        }
        self.note("stop");
        Ok(())
    }
}

/// A child of a supervisor, and the reference to it.
pub struct Kid {
    reference: ChildRef<Say>,
    pub conduct: Conduct,
}

impl Kid {
    pub fn new(name: &str) -> Self {
        Self::like(Conduct::new(name))
    }

    pub fn like(conduct: Conduct) -> Self {
        Self { reference: ChildRef::new(&*conduct.name), conduct }
    }

    pub fn starts(self, starts: impl IntoIterator<Item = Start>) -> Self {
        Self { conduct: self.conduct.starts(starts), ..self }
    }

    pub fn stops(self, stop: Stop) -> Self {
        Self { conduct: self.conduct.stops(stop), ..self }
    }

    /// Permanent, as in OTP, unless it is given another kind.
    pub fn spec(&self) -> Child {
        let conduct = self.conduct.clone();
        Child::actor(&self.reference, move || (Probe(conduct.clone()), ()))
    }

    pub fn bounded(&self, limit: usize, when_full: WhenFull) -> Child {
        let conduct = self.conduct.clone();
        Child::bounded_actor(&self.reference, limit, when_full, move |_| (Probe(conduct.clone()), ()))
    }
}

impl Deref for Kid {
    type Target = ChildRef<Say>;

    fn deref(&self) -> &ChildRef<Say> {
        &self.reference
    }
}

/// Children who write into one log.
pub fn kids<const N: usize>(names: [&str; N]) -> ([Kid; N], Log) {
    let log = Log::default();
    (names.map(|name| Kid::like(Conduct { log: log.clone(), ..Conduct::new(name) })), log)
}

/// What makes a child one of a kind.
pub type Make = fn(Child) -> Child;

/// A supervisor as most of OTP's cases have it: two restarts an hour, and no delays.
pub fn sup(strategy: Strategy) -> Supervisor {
    Supervisor::new("sup", strategy).intensity(2, HOUR).backoff(Backoff::none())
}

/// How the tree ended. One that goes on would be waited for without end, as nobody moves the clock.
pub async fn ended(tree: &Tree) -> Exit {
    tokio::time::timeout(100 * HOUR, tree.ended()).await.expect("the tree ends").exit
}

pub async fn start(root: Supervisor) -> Tree {
    Tree::start(root, 1).await.unwrap()
}

pub type Members = PoolRef<Say, Conduct>;

pub const POOL: &str = "top/pool";

/// What OTP calls `simple_one_for_one`, with two restarts an hour and no delays.
pub fn pool(members: &Members) -> Pool {
    Pool::actor(members, |conduct: &Conduct| (Probe(conduct.clone()), ())).intensity(2, HOUR).backoff(Backoff::none())
}

/// A tree of nothing but the pool, which ends with it.
pub async fn start_pool(pool: impl Into<Child>) -> Tree {
    start(Supervisor::new("top", Strategy::OneForOne).intensity(0, HOUR).child(pool)).await
}

/// How a child can end by itself, or by the hand of a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Normal,
    Fail,
    Panic,
    Kill,
}

pub const ABNORMAL: [Way; 3] = [Way::Fail, Way::Panic, Way::Kill];

impl Way {
    pub fn is_like(self, exit: &Exit) -> bool {
        match self {
            Self::Normal => *exit == Exit::Normal,
            Self::Fail => *exit == Exit::Failed { error: "abnormal".to_owned() },
            Self::Panic => matches!(exit, Exit::Panicked { message, .. } if message == "abnormal"),
            Self::Kill => *exit == Exit::Killed,
        }
    }
}

/// Has the current incarnation end.
pub fn order_end(child: &ChildRef<Say>, way: Way) {
    let say = match way {
        Way::Normal => Say::End,
        Way::Fail => Say::Fail,
        Way::Panic => Say::Panic,
        Way::Kill => return assert!(child.kill(child.epoch()), "{} is up", child.name()),
    };
    assert!(child.cast(say).is_ok(), "{} is up", child.name());
}

/// Has the current incarnation end, and everything follow that follows at once.
pub async fn end(child: &ChildRef<Say>, way: Way) {
    order_end(child, way);
    child.wait_end(child.epoch()).await;
    settle().await;
}

pub fn state(tree: &Tree, path: &str) -> Option<NodeState> {
    tree.snapshot().find(path).map(|node| node.state.clone())
}

pub fn last_exit(tree: &Tree, path: &str) -> Option<Exit> {
    tree.snapshot().find(path).and_then(|node| node.last_exit.clone())
}

/// In start order; OTP's lists are in the reverse of it.
pub fn names(tree: &Tree, path: &str) -> Vec<String> {
    tree.children(path).unwrap().into_iter().map(|Node { name, .. }| name).collect()
}

/// Specifications, active children, supervisors, workers.
pub fn counts(tree: &Tree, path: &str) -> [usize; 4] {
    let counts = tree.count(path).unwrap();
    [counts.specs, counts.active, counts.supervisors, counts.workers]
}

pub fn no_disk() -> Exit {
    Exit::StartFailed(StartFault::Failed { error: "no disk".to_owned() })
}
