//! What can be seen of a running tree, at any time and without asking a supervisor: the board and the decision journal.
//!
//! Each node has a [`Slot`], made once from the specification and kept for the life of the tree. The supervisor above it
//! writes there what it decided; the task that minds an incarnation writes there when it came and went, so the board
//! stays true while a supervisor is dead.
//!
//! Invariant: no lock of this module is held while foreign code runs or anything is awaited.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::report::{Decision, Exit, Kind, Node, NodeState, What};
use crate::shell::Order;
use crate::spec::{Part, Restart, Supervisor};

/// How many decisions the journal keeps for readers that are late. A restart makes three.
const JOURNAL_LENGTH: usize = 1024;

/// The value behind `mutex`. All writes behind these locks are single assignments, so a panic leaves nothing half-done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one node on the board.
pub(crate) struct Slot {
    pub(crate) path: Arc<str>,
    name: Arc<str>,
    kind: Kind,
    restart: Restart,
    restarts_with_me: Vec<String>,
    pub(crate) children: Vec<Arc<Slot>>,
    live: Mutex<Live>,
}

pub(crate) struct Live {
    pub(crate) state: NodeState,
    pub(crate) epoch: u64,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<Exit>,
    /// Present from the launch of an incarnation until its task has completed.
    pub(crate) incarnation: Option<Incarnation>,
}

/// A grip on what is alive.
#[derive(Clone)]
pub(crate) struct Incarnation {
    pub(crate) cell: ActorCell,
    /// A supervisor is asked by message to stop, because it must first stop its children in order.
    pub(crate) supervisor: Option<ActorRef<Order>>,
    /// Takes it out of its reference.
    pub(crate) unplug: Arc<dyn Fn() + Send + Sync>,
}

impl Incarnation {
    pub(crate) fn stop(&self) {
        (self.unplug)();
        match &self.supervisor {
            // A supervisor that is gone already needs no stop.
            Some(supervisor) => drop(supervisor.cast(Order::Stop)),
            None => self.cell.stop(Some("stopped by its supervisor".to_owned())),
        }
    }

    pub(crate) fn kill(&self) {
        (self.unplug)();
        self.cell.kill();
    }
}

impl Slot {
    pub(crate) fn new(spec: &Supervisor, path: Arc<str>, restart: Restart, with_me: Vec<String>) -> Arc<Self> {
        let children = spec.children.iter().enumerate().map(|(index, child)| {
            let with_child = spec.restarts_with(index, &with_me);
            let path: Arc<str> = format!("{path}/{}", child.name).into();
            match &child.part {
                Part::Supervisor(nested) => Self::new(nested, path, child.restart, with_child),
                Part::Worker(_) => {
                    Self::with(path, child.name.clone(), Kind::Worker, child.restart, with_child, Vec::new())
                }
            }
        });
        let children = children.collect();
        Self::with(path, spec.name.clone(), Kind::Supervisor { strategy: spec.strategy }, restart, with_me, children)
    }

    fn with(
        path: Arc<str>,
        name: Arc<str>,
        kind: Kind,
        restart: Restart,
        restarts_with_me: Vec<String>,
        children: Vec<Arc<Slot>>,
    ) -> Arc<Self> {
        let live = Live { state: NodeState::Stopped, epoch: 0, restarts: 0, last_exit: None, incarnation: None };
        Arc::new(Self { path, name, kind, restart, restarts_with_me, children, live: Mutex::new(live) })
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.live().incarnation.clone()
    }

    pub(crate) fn node(&self) -> Node {
        let children = self.children.iter().map(|child| child.node()).collect();
        let live = self.live();
        Node {
            path: self.path.to_string(),
            name: self.name.to_string(),
            kind: self.kind,
            restart: self.restart,
            state: live.state.clone(),
            epoch: live.epoch,
            restarts: live.restarts,
            last_exit: live.last_exit.clone(),
            restarts_with_me: self.restarts_with_me.clone(),
            children,
        }
    }

    /// Kills all below after the supervisor died without stopping them, and shows that nobody cares for them any more.
    pub(crate) fn orphan(&self) {
        for child in &self.children {
            let orphan = {
                let mut live = child.live();
                if !matches!(live.state, NodeState::Quarantined { .. }) {
                    live.state = if live.incarnation.is_some() { NodeState::Stopping } else { NodeState::Stopped };
                }
                live.incarnation.clone()
            };
            if let Some(orphan) = orphan {
                orphan.kill();
            }
        }
    }

    /// This slot and all below it, parents first.
    pub(crate) fn all(self: &Arc<Self>) -> Vec<Arc<Slot>> {
        let mut all = vec![self.clone()];
        for child in &self.children {
            all.extend(child.all());
        }
        all
    }
}

/// A node and where it hangs.
pub(crate) struct Place {
    pub(crate) slot: Arc<Slot>,
    /// The supervisor above and the place among its children; the root has none.
    pub(crate) above: Option<(Arc<Slot>, usize)>,
}

/// The whole tree as seen from outside.
pub(crate) struct Board {
    pub(crate) root: Arc<Slot>,
    pub(crate) by_path: BTreeMap<Arc<str>, Place>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) seed: u64,
    pub(crate) origin: Instant,
}

impl Board {
    pub(crate) fn new(spec: &Supervisor, seed: u64) -> Self {
        let root = Slot::new(spec, spec.name.clone(), Restart::Temporary, Vec::new());
        let mut by_path = BTreeMap::from([(root.path.clone(), Place { slot: root.clone(), above: None })]);
        for slot in root.all() {
            for (index, child) in slot.children.iter().enumerate() {
                let place = Place { slot: child.clone(), above: Some((slot.clone(), index)) };
                by_path.insert(child.path.clone(), place);
            }
        }
        Self { root, by_path, journal: Arc::new(Journal::default()), seed, origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// The latest decisions, in order. Bounded: a reader that falls too far behind is told how many it missed.
pub(crate) struct Journal {
    pages: Mutex<Pages>,
    /// Woken by every entry and by the end; carries nothing, the pages do.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct Pages {
    kept: VecDeque<Decision>,
    written: u64,
    closed: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Self { pages: Mutex::default(), news: watch::Sender::new(()) }
    }
}

impl Journal {
    pub(crate) fn write(&self, at: Duration, path: Arc<str>, epoch: u64, what: What) {
        match &what {
            What::Exited { exit, verdict } if what.is_alert() => {
                tracing::error!(%path, epoch, %exit, %verdict, "supervision gave up on a child");
            }
            What::Exited { exit, verdict } => tracing::info!(%path, epoch, %exit, %verdict, "a child ended"),
            _ => tracing::debug!(%path, epoch, ?what, "supervision"),
        }
        let mut pages = lock(&self.pages);
        pages.written += 1;
        let sequence = pages.written;
        if pages.kept.len() == JOURNAL_LENGTH {
            pages.kept.pop_front();
        }
        pages.kept.push_back(Decision { sequence, at, path, epoch, what });
        drop(pages);
        self.news.send_replace(());
    }

    pub(crate) fn close(&self) {
        lock(&self.pages).closed = true;
        self.news.send_replace(());
    }

    pub(crate) fn read(self: &Arc<Self>) -> Events {
        Events { journal: self.clone(), news: self.news.subscribe(), read: 0 }
    }
}

/// One reader of the decision journal. It begins with the oldest decision still kept.
pub struct Events {
    journal: Arc<Journal>,
    news: watch::Receiver<()>,
    read: u64,
}

/// What a reader hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Decision(Decision),
    /// So many decisions were dropped before this reader came to them.
    Missed(u64),
}

impl Events {
    /// The next decision, or `None` once the tree has ended and all is read.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            self.news.mark_unchanged();
            if let Some(heard) = self.try_next() {
                return Some(heard);
            }
            if lock(&self.journal.pages).closed {
                return self.try_next();
            }
            self.news.changed().await.expect("the sender lives in the journal, which this reader holds");
        }
    }

    /// The next decision, if there is one already.
    pub fn try_next(&mut self) -> Option<Heard> {
        let pages = lock(&self.journal.pages);
        let oldest = pages.kept.front()?.sequence;
        let missed = oldest.saturating_sub(self.read + 1);
        if missed > 0 {
            self.read += missed;
            return Some(Heard::Missed(missed));
        }
        let place = usize::try_from(self.read + 1 - oldest).ok()?;
        let decision = pages.kept.get(place)?.clone();
        self.read = decision.sequence;
        Some(Heard::Decision(decision))
    }
}
