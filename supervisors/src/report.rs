//! What is told to the outside: why incarnations ended, what was decided, how the tree stands.
//!
//! Plain data, made by [`step`](crate::step) and the board, read by everybody. Names of exits are for programs; every
//! type also displays as a sentence for people.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// By a kill, from outside or as the last step of a stop.
    #[error("killed")]
    Killed,
    #[error("panicked: {message}")]
    Panicked { message: String },
    /// A handler returned an error.
    #[error("failed: {error}")]
    Failed { error: String },
    /// It never came up.
    #[error("did not start: {0}")]
    StartFailed(StartFault),
    /// Neither stop nor kill ended it within bounds; its task may still run.
    #[error("unresponsive: neither stop nor kill ended it")]
    Unresponsive,
    /// A supervisor gave up on a child.
    #[error("gave up on {0}")]
    Escalated(Arc<Cause>),
}

impl Exit {
    /// An end that a transient child is allowed without a restart.
    pub fn is_peaceful(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown)
    }

    /// The causes from the outermost supervisor's to the innermost child's; empty unless a child was the cause.
    pub fn chain(&self) -> Vec<&Cause> {
        let mut chain = Vec::new();
        let mut exit = Some(self);
        while let Some(Self::Escalated(cause) | Self::StartFailed(StartFault::Child(cause))) = exit {
            chain.push(cause.as_ref());
            exit = cause.exits.last();
        }
        chain
    }
}

/// Why a start failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartFault {
    #[error("{error}")]
    Failed { error: String },
    #[error("panicked: {message}")]
    Panicked { message: String },
    #[error("not up within {limit:?}")]
    TimedOut { limit: Duration },
    /// The child said that trying again is pointless.
    #[error("unrecoverable: {reason}")]
    Unrecoverable { reason: String },
    /// A child of the supervisor that was starting.
    #[error("{0}")]
    Child(Arc<Cause>),
}

/// The child behind an escalation or a failed start, with its last ends.
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
    /// Over for good, as its restart kind says.
    Done,
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
    /// Restarted by hand: its quarantine is lifted or its back-off cut short.
    Released,
    /// An unresponsive incarnation ended after all.
    EndedLate,
    /// It was added at run time, and starts as soon as it is its turn.
    Added,
    /// It is forgotten, with all below it: removed, or added and not come up.
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
    Supervisor { strategy: Strategy },
    Worker,
}

/// How a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Starting, or waiting for its turn to.
    Starting,
    Running,
    BackingOff {
        until: Instant,
    },
    Quarantined {
        reason: Exit,
    },
    Stopping,
    /// Not started yet, or over for good.
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
    /// The names that restart when this one ends, itself left out.
    pub restarts_with_me: Vec<String>,
    pub children: Vec<Node>,
}

impl Node {
    /// The node at `path`, which starts with this node's own path.
    pub fn find(&self, path: &str) -> Option<&Node> {
        if self.path == path {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(path))
    }
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
    /// Among others, because its name is taken.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It is down or stopping, or ended before the child was up.
    #[error("the supervisor {path} is down or stopping")]
    SupervisorDown { path: String },
    /// Its first start did not succeed. After [`Exit::Unresponsive`] it keeps its name for as long as it lives.
    #[error("{path} {exit}")]
    Start { path: String, exit: Exit },
}

/// Why a child was not removed. It is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("{path} is the root of the tree: nobody could remove it, only shut it down")]
    Root { path: String },
    /// It is down or stopping, or ended before the child had. If it comes back, so does the child.
    #[error("the supervisor of {path} is down or stopping")]
    SupervisorDown { path: String },
    /// Neither stop nor kill ended it. It is in quarantine, and can be removed once it has ended.
    #[error("{path} is unresponsive: neither stop nor kill ended it")]
    Unresponsive { path: String },
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
