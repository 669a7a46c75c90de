//! What is told to the outside: why incarnations ended, what was decided, how the tree stands.
//!
//! Plain data, made by [`step`](crate::step) and the board, read by everybody. Names of exits are for programs; every
//! type also displays as a sentence for people.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::reference::Load;
use crate::spec::{Restart, SpecError, Strategy};

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    /// By itself, in peace.
    #[error("ended normally")]
    Normal,
    /// Because its supervisor asked it to.
    #[error("stopped as asked")]
    Shutdown,
    /// It had nothing to do, and said so at its start: see [`Ignore`](crate::Ignore).
    #[error("ignored its start")]
    Ignored,
    /// A supervisor, in order, because a significant child had ended for good.
    #[error("shut itself down after {0}")]
    AutoShutdown(Arc<Cause>),
    /// By a kill, from outside or as a step of a stop.
    #[error("killed")]
    Killed,
    /// By taking away its task, after a kill that it had not heard.
    #[error("aborted: its kill was not heard")]
    Aborted,
    /// The place is `file:line:column`; `None` if somebody has replaced the panic hook, or if it was in no hook of the
    /// actor, as in a destructor.
    #[error("panicked{}: {message}", At(place))]
    Panicked { message: String, place: Option<String> },
    /// A handler returned an error.
    #[error("failed: {error}")]
    Failed { error: String },
    /// It never came up.
    #[error("did not start: {0}")]
    StartFailed(StartFault),
    /// Neither stop nor kill ended it within bounds; its task may still run.
    #[error("unresponsive: neither stop nor kill ended it")]
    Unresponsive,
    /// It was up and did not do its work, so its supervisor killed it.
    #[error("unhealthy: {0}")]
    Unhealthy(Unhealth),
    /// A supervisor gave up on a child.
    #[error("gave up on {0}")]
    Escalated(Arc<Cause>),
}

impl Exit {
    /// An end that a transient child is allowed without a restart.
    pub fn is_peaceful(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::Ignored | Self::AutoShutdown(_))
    }

    /// The causes from the outermost supervisor's to the innermost child's; empty unless a child was the cause.
    pub fn chain(&self) -> Vec<&Cause> {
        let mut chain = Vec::new();
        let mut exit = Some(self);
        while let Some(
            Self::Escalated(cause) | Self::AutoShutdown(cause) | Self::StartFailed(StartFault::Child(cause)),
        ) = exit
        {
            chain.push(cause.as_ref());
            exit = cause.exits.last();
        }
        chain
    }
}

/// Where it was, if that is known.
struct At<'a>(&'a Option<String>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |place| write!(f, " at {place}"))
    }
}

/// How it was seen that an incarnation does not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unhealth {
    /// By its watchdog: see [`Child::watchdog`](crate::Child::watchdog).
    #[error("one handler ran for {limit:?}")]
    Stuck { limit: Duration },
    /// By a probe: see [`Child::probe`](crate::Child::probe).
    #[error("a probe was not answered within {within:?}")]
    Silent { within: Duration },
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartFault {
    #[error("{error}")]
    Failed { error: String },
    #[error("panicked{}: {message}", At(place))]
    Panicked { message: String, place: Option<String> },
    #[error("not up within {limit:?}")]
    TimedOut { limit: Duration },
    /// The child said that trying again is pointless.
    #[error("unrecoverable: {reason}")]
    Unrecoverable { reason: String },
    /// A child of the supervisor that was starting.
    #[error("{0}")]
    Child(Arc<Cause>),
}

/// The child behind an escalation, a failed start or an auto-shutdown, with its last ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub path: String,
    pub epoch: u64,
    /// The most recent ends, the decisive one last.
    pub exits: Vec<Exit>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (epoch {})", self.path, self.epoch)?;
        self.exits.last().map_or(Ok(()), |exit| write!(f, ": {exit}"))
    }
}

/// What a supervisor makes of the end of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again once `after` has passed; a group restart may take longer.
    Restart { after: Duration },
    /// Over for good, as its restart kind says or because it ignored its start.
    Done,
    /// Its budget is spent and nobody needs it back: over for good.
    Stop,
    /// Over for good, and its supervisor ends in peace because it was significant.
    AutoShutdown,
    /// Keep it dead and visible until somebody restarts it by hand.
    Quarantine,
    /// The supervisor gives up and ends with this as the cause.
    Escalate,
    /// The supervisor itself had ordered the end, or was about to: nobody is charged.
    AsOrdered,
    /// It was added and did not come up: forget it again. Nobody is charged.
    TakeOut,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart { after } if after.is_zero() => f.write_str("restart at once"),
            Self::Restart { after } => write!(f, "restart after {after:?}"),
            Self::Done => f.write_str("done"),
            Self::Stop => f.write_str("stop"),
            Self::AutoShutdown => f.write_str("shut down with it"),
            Self::Quarantine => f.write_str("quarantine"),
            Self::Escalate => f.write_str("escalate"),
            Self::AsOrdered => f.write_str("as ordered"),
            Self::TakeOut => f.write_str("take out"),
        }
    }
}

/// What a decision was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Starting,
    Started,
    Exited {
        exit: Exit,
        verdict: Verdict,
    },
    Stopping,
    Killing,
    /// Its kill was not heard.
    Aborting,
    /// Down as somebody wanted, with its specification.
    Terminated,
    /// Restarted by hand: its quarantine is lifted, its back-off cut short, or its rest ended.
    Released,
    /// An unresponsive incarnation ended after all.
    EndedLate,
    /// It was added at run time, and starts as soon as it is its turn.
    Added,
    /// It is forgotten, with all below it: removed, added and not come up, or temporary and over.
    Removed,
}

impl What {
    /// A human should look at this.
    pub fn is_alert(&self) -> bool {
        matches!(self, Self::Exited { verdict: Verdict::Quarantine | Verdict::Escalate, .. })
    }
}

/// One entry of the decision journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Counts from 1 without a gap.
    pub sequence: u64,
    /// Since the tree was started.
    pub at: Duration,
    pub path: Arc<str>,
    pub epoch: u64,
    pub what: What,
}

/// What a node of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Supervisor {
        strategy: Strategy,
    },
    /// A supervisor whose children are all of one kind and nothing to each other.
    Pool,
    Worker,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Starting, or waiting for its turn to.
    Starting,
    Running,
    /// Starting again, after a start that failed.
    Restarting,
    BackingOff {
        until: Instant,
    },
    Quarantined {
        reason: Exit,
    },
    Stopping,
    /// Not started yet, down as asked, or over for good.
    Stopped,
}

/// One node of a snapshot, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Names from the root down, joined by `/`.
    pub path: String,
    pub name: String,
    pub kind: Kind,
    pub restart: Restart,
    pub state: NodeState,
    /// Counts incarnations over the life of the tree, or of the child's reference if that is older; 0 = never started.
    pub epoch: u64,
    /// Ends of its own that were answered by a restart. Restarts with a group show in `epoch` alone.
    pub restarts: u64,
    pub last_exit: Option<Exit>,
    /// Already its first end spends a budget, so that its supervisor ends with it.
    pub ends_supervisor: bool,
    /// How its mailbox stands, if that is bounded and it is up: see [`ChildRef::load`](crate::ChildRef::load).
    pub mailbox: Option<Load>,
    /// Messages that found no room, in all its incarnations: see [`ChildRef::refused`](crate::ChildRef::refused).
    pub refused: u64,
    /// In start order.
    pub children: Vec<Node>,
}

impl Node {
    /// The node at `path`, which starts with this node's own path.
    pub fn find(&self, path: &str) -> Option<&Node> {
        let mut node = self;
        while node.path != path {
            node = &node.children[node.towards(path)?];
        }
        Some(node)
    }

    /// The names that restart when the node at `path` ends, itself left out. Where its first end already ends its
    /// supervisor, that is everybody there, and whom the supervisor's own end restarts. For the whole answer, ask the
    /// root.
    pub fn restarts_with(&self, path: &str) -> Vec<String> {
        let (mut node, mut names) = (self, Vec::new());
        while node.path != path {
            let Some(index) = node.towards(path) else { return Vec::new() };
            names = node.restarts_with_child(index, names);
            node = &node.children[index];
        }
        names
    }

    /// The child on the way to `path`.
    fn towards(&self, path: &str) -> Option<usize> {
        let leads =
            |child: &Node| path.strip_prefix(&child.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.children.iter().position(leads)
    }

    /// `beyond` are those that our own end restarts.
    fn restarts_with_child(&self, index: usize, beyond: Vec<String>) -> Vec<String> {
        let child = &self.children[index];
        let strategy = match self.kind {
            Kind::Supervisor { strategy } => strategy,
            Kind::Pool | Kind::Worker => Strategy::OneForOne,
        };
        let ends_us = child.ends_supervisor;
        if child.restart == Restart::Temporary || strategy == Strategy::OneForOne && !ends_us {
            return Vec::new();
        }
        let from = if strategy == Strategy::RestForOne && !ends_us { index + 1 } else { 0 };
        let siblings = self.children.iter().enumerate().skip(from).filter(|(at, other)| {
            // A temporary child does not come back from a group restart, but it does with a new supervisor.
            *at != index && (ends_us || other.restart != Restart::Temporary)
        });
        let beyond = beyond.into_iter().filter(|_| ends_us);
        siblings.map(|(_, other)| other.name.clone()).chain(beyond).collect()
    }
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All in its specification.
    pub specs: usize,
    /// Those that are up, or on their way down.
    pub active: usize,
    /// Nested supervisors, alive or not.
    pub supervisors: usize,
    pub workers: usize,
}

/// How the tree as a whole ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`Exit::chain`] leads to the child that was the cause.
    pub exit: Exit,
}

/// How one child took the shutdown of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Graceful,
    /// It ended in time, but with an error or a panic.
    Failed,
    Killed,
    /// It did not hear its kill, and its task was taken away.
    Aborted,
    /// Its task, or with a supervisor, a task below it, may still run.
    Unresponsive,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub path: String,
    pub outcome: Outcome,
    /// How its last incarnation ended; [`Exit::Unresponsive`] if it has not.
    pub exit: Exit,
}

/// What became of everything that was alive when [`Tree::shutdown`](crate::Tree::shutdown) was called, parents first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub farewells: Vec<Farewell>,
}

impl Report {
    /// Everything ended in peace and in time.
    pub fn is_graceful(&self) -> bool {
        self.farewells.iter().all(|farewell| farewell.outcome == Outcome::Graceful)
    }
}

/// Why a tree did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("the specification of the tree is wrong: {0}")]
    Spec(#[from] SpecError),
    /// A child did not start; those before it were stopped again, in reverse order.
    #[error("the tree {exit}")]
    Start { exit: Exit },
    /// A panic would end the whole process instead of one incarnation.
    #[error("this program is built with panic = \"abort\", and what is supervised must unwind")]
    PanicAborts,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no node {path}")]
pub struct NotFound {
    pub path: String,
}

/// Why a child was not added. Then it is not in the tree, or about to be taken out of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("{path} is a worker: only a supervisor has children")]
    NotASupervisor { path: String },
    #[error("{path} is a pool: its reference starts its members")]
    IsAPool { path: String },
    #[error("the pool {path} has the {max} members that it may have")]
    Full { path: String, max: usize },
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its supervisor has a child of this name, which is up or on its way.
    #[error("{path} has already been started")]
    AlreadyStarted { path: String },
    /// Its supervisor has a child of this name, which is down: restart it, or delete it.
    #[error("{path} is already there, but down")]
    AlreadyPresent { path: String },
    /// It is down or stopping, or ended before the child was up.
    #[error("the supervisor {path} is down or stopping")]
    SupervisorDown { path: String },
    /// Its first start did not succeed. After [`Exit::Unresponsive`] it keeps its name for as long as it lives.
    #[error("{path} {exit}")]
    Start { path: String, exit: Exit },
}

/// Why a child was not terminated, deleted or removed. It is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("{path} is the root of the tree: it can only be shut down")]
    Root { path: String },
    /// It is down or stopping, or ended before the child had. If it comes back, so does the child.
    #[error("the supervisor of {path} is down or stopping")]
    SupervisorDown { path: String },
    /// Neither stop nor kill ended it. It is in quarantine, and can be removed once it has ended.
    #[error("{path} is unresponsive: neither stop nor kill ended it")]
    Unresponsive { path: String },
    /// Only what is down can be deleted.
    #[error("{path} is running: terminate it first")]
    Running { path: String },
    /// The same, for one on its way up: its start is under way, or waits for its turn or for a back-off.
    #[error("{path} is restarting: terminate it first")]
    Restarting { path: String },
}

/// Why the specification of a supervisor was not changed. Then nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A supervisor cannot become a pool, a pool one of other types, or a worker a supervisor.
    #[error("{path} is there, but of another kind")]
    Kind { path: String },
    #[error("the supervisor {path} is down or stopping")]
    SupervisorDown { path: String },
}

/// Why a child was not restarted by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// It is up, on its way up or down, or an unresponsive incarnation of it still lives.
    #[error("{path} is not down")]
    NotDown { path: String },
    #[error("the supervisor of {path} is down or stopping")]
    SupervisorDown { path: String },
}
