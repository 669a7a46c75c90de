//! What can be seen of a running tree, at any time and without asking a supervisor: the board and the decision journal.
//!
//! Each node has a [`Slot`], made when its specification comes into the tree and kept until it is taken out again. The
//! supervisor above it writes there what it decided; the task that minds an incarnation writes there when it came and
//! went, so the board stays true while a supervisor is dead. It is also where the next incarnation of a supervisor finds
//! its children: all that the specification lists by then.
//!
//! # Invariants
//! 1. No lock of this module is held while foreign code runs or anything is awaited.
//! 2. The children of a slot change only by the supervisor at that slot, while it is alive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ractor::{ActorCell, ActorRef};
use tokio::sync::Notify;
#[cfg(feature = "chaos")]
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::report::{Counts, Decision, Exit, Farewell, Kind, Node, NodeState, NotFound, Outcome, What};
use crate::shell::Order;
use crate::spec::{Child, Part, Supervisor};
use crate::step::{History, State};

/// How many decisions the journal keeps for readers that are late. A restart makes three.
const JOURNAL_LENGTH: usize = 1024;

/// Of so many incarnations of a supervisor the histories are kept, if any are.
const HISTORIES: usize = 4;

/// The value behind `mutex`. All writes behind these locks are single assignments, so a panic leaves nothing half-done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one node on the board.
pub(crate) struct Slot {
    pub(crate) path: Arc<str>,
    spec: Mutex<Arc<Child>>,
    /// Leads nowhere for the root.
    pub(crate) above: Weak<Slot>,
    /// Among its siblings, in start order; of those that come and go, none has that of another.
    place: u64,
    /// The specification of its supervisor lists it: it did not come while that ran.
    listed: AtomicBool,
    live: Mutex<Live>,
    /// What only a supervisor has.
    below: Option<Box<Below>>,
}

#[derive(Default)]
struct Below {
    children: Mutex<Children>,
    /// Of the latest incarnations, if it is to keep any.
    histories: Mutex<VecDeque<Arc<Mutex<History>>>>,
}

/// By place.
#[derive(Default)]
struct Children {
    shown: BTreeMap<u64, Arc<Slot>>,
    /// Listed, temporary and over: not there until the next incarnation of the supervisor.
    resting: BTreeMap<u64, Arc<Slot>>,
    next: u64,
    /// How many a pool has named.
    members: u64,
}

pub(crate) struct Live {
    pub(crate) state: NodeState,
    pub(crate) epoch: u64,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<Box<Exit>>,
    /// Present from the launch of an incarnation until its task has completed.
    pub(crate) incarnation: Option<Incarnation>,
    /// It was added and has not come up yet, so it ends with its supervisor.
    pub(crate) on_probation: bool,
    /// What the present incarnation of its supervisor calls it.
    pub(crate) number: usize,
}

/// A hold on what is alive.
#[derive(Clone)]
pub(crate) struct Incarnation {
    pub(crate) cell: ActorCell,
    /// A supervisor is asked by message to stop, because it must first stop its children in order.
    pub(crate) supervisor: Option<ActorRef<Order>>,
    pub(crate) grip: Arc<dyn Grip>,
}

/// What can be done to an incarnation apart from telling it.
pub(crate) trait Grip: Send + Sync {
    /// Takes it out of its reference.
    fn unplug(&self);

    /// Takes its task away.
    fn abort(&self);
}

impl Incarnation {
    pub(crate) fn stop(&self, drains: bool) {
        self.grip.unplug();
        match &self.supervisor {
            // Who is gone already needs no stop.
            Some(supervisor) => drop(supervisor.cast(Order::Stop)),
            None if drains => drop(self.cell.drain()),
            None => self.cell.stop(Some("stopped by its supervisor".to_owned())),
        }
    }

    pub(crate) fn kill(&self) {
        self.grip.unplug();
        self.cell.kill();
    }

    pub(crate) fn abort(&self) {
        self.grip.unplug();
        self.grip.abort();
    }
}

impl Slot {
    /// A slot for `spec` and for all that it lists.
    fn new(spec: Arc<Child>, path: Arc<str>, above: Weak<Slot>, place: u64, listed: bool) -> Arc<Self> {
        let (epoch, below) = match &spec.part {
            Part::Worker(worker) => (worker.outlet().launched(), None),
            Part::Supervisor(_) => (0, Some(Box::default())),
        };
        let live = Live {
            state: NodeState::Stopped,
            epoch,
            restarts: 0,
            last_exit: None,
            incarnation: None,
            on_probation: false,
            number: 0,
        };
        let (spec, listed, live) = (Mutex::new(spec), AtomicBool::new(listed), Mutex::new(live));
        let slot = Arc::new(Self { path, spec, above, place, listed, live, below });
        if let Some(supervisor) = slot.supervisor() {
            if let Some(template) = &supervisor.pool {
                template.place.is_at(&slot);
            }
            for child in &supervisor.children {
                let child = slot.slot_for(child.clone(), slot.path_of(child), true);
                lock(&slot.below().children).shown.insert(child.place, child);
            }
        }
        slot
    }

    fn below(&self) -> &Below {
        self.below.as_deref().expect("only a supervisor has something below it")
    }

    pub(crate) fn spec(&self) -> Arc<Child> {
        lock(&self.spec).clone()
    }

    /// From its next start on, it is made of this; in everything else it is as this says at once.
    pub(crate) fn change(&self, spec: Child) {
        let spec = Arc::new(spec);
        // Dropped after the lock is free: what a child is made of is foreign code.
        let before = std::mem::replace(&mut *lock(&self.spec), spec.clone());
        if let (Part::Worker(before), Part::Worker(worker)) = (&before.part, &spec.part) {
            worker.outlet().follow(spec.settings.terms.while_down);
            if !Arc::ptr_eq(before.outlet(), worker.outlet()) {
                // The last incarnation that it will ever lead to, if it lives, is not the end of it.
                before.outlet().give_up();
            }
        }
    }

    /// Where the next incarnation of this supervisor, which stands like this, writes down what it decides on.
    pub(crate) fn begin_history(&self, start: &State, limit: usize) -> Arc<Mutex<History>> {
        let history = Arc::new(Mutex::new(History::new(start.clone(), limit)));
        let mut histories = lock(&self.below().histories);
        if histories.len() == HISTORIES {
            histories.pop_front();
        }
        histories.push_back(history.clone());
        history
    }

    /// Oldest incarnation first.
    pub(crate) fn histories(&self) -> Vec<History> {
        let Some(below) = &self.below else { return Vec::new() };
        let histories = lock(&below.histories).clone();
        histories.iter().map(|history| lock(history).clone()).collect()
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    pub(crate) fn list(&self) {
        self.listed.store(true, Ordering::Relaxed);
    }

    /// A slot below this one, after all that were there before. It is not shown yet.
    pub(crate) fn slot_for(self: &Arc<Self>, child: Arc<Child>, path: Arc<str>, listed: bool) -> Arc<Self> {
        let place = {
            let mut children = lock(&self.below().children);
            children.next += 1;
            children.next
        };
        Self::new(child, path, Arc::downgrade(self), place, listed)
    }

    /// The name of one more member of this pool.
    pub(crate) fn next_member(&self) -> Arc<str> {
        let mut children = lock(&self.below().children);
        children.members += 1;
        children.members.to_string().into()
    }

    pub(crate) fn path_of(&self, child: &Child) -> Arc<str> {
        [&*self.path, "/", &*child.name].concat().into()
    }

    pub(crate) fn supervisor(&self) -> Option<Arc<Supervisor>> {
        match &self.spec().part {
            Part::Supervisor(supervisor) => Some(supervisor.clone()),
            Part::Worker(_) => None,
        }
    }

    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        self.live().incarnation.clone()
    }

    /// All of its incarnation is gone.
    pub(crate) fn gone(&self, exit: &Exit) {
        let mut live = self.live();
        live.incarnation = None;
        live.last_exit = Some(Box::new(exit.clone()));
        // Unless somebody decides otherwise, which comes after this.
        if live.state == NodeState::Stopping {
            live.state = NodeState::Stopped;
        }
    }

    /// In start order.
    pub(crate) fn children(&self) -> Vec<Arc<Slot>> {
        let Some(below) = &self.below else { return Vec::new() };
        lock(&below.children).shown.values().cloned().collect()
    }

    /// This node with all below it.
    pub(crate) fn node(&self) -> Node {
        let children = self.children().iter().map(|child| child.node()).collect();
        let kind = match self.supervisor() {
            Some(supervisor) if supervisor.pool.is_some() => Kind::Pool,
            Some(supervisor) => Kind::Supervisor { strategy: supervisor.strategy },
            None => Kind::Worker,
        };
        let spec = self.spec();
        let above = self.above.upgrade().and_then(|above| above.supervisor());
        let ends_supervisor = above.is_some_and(|above| above.ends_with(&spec));
        let (mailbox, refused) = match &spec.part {
            Part::Worker(worker) => worker.outlet().mailbox(),
            Part::Supervisor(_) => (None, 0),
        };
        let live = self.live();
        Node {
            path: self.path.to_string(),
            name: spec.name.to_string(),
            kind,
            restart: spec.settings.restart,
            state: live.state.clone(),
            epoch: live.epoch,
            restarts: live.restarts,
            last_exit: live.last_exit.as_deref().cloned(),
            ends_supervisor,
            mailbox,
            refused,
            children,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for child in self.children() {
            counts.specs += 1;
            counts.active += usize::from(matches!(child.live().state, NodeState::Running | NodeState::Stopping));
            *(if child.supervisor().is_some() { &mut counts.supervisors } else { &mut counts.workers }) += 1;
        }
        counts
    }

    /// Kills all below after the supervisor died without stopping them, and shows that nobody cares for them any more.
    pub(crate) fn orphan(&self) {
        for child in self.children() {
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

    /// Forgets those below that rest under these names: there are others now.
    pub(crate) fn replace(&self, names: &BTreeSet<Arc<str>>) {
        let is_one = |_: &u64, slot: &mut Arc<Slot>| names.contains(&slot.spec().name);
        // Dropped after the lock is free.
        let _gone: Vec<_> = lock(&self.below().children).resting.extract_if(.., is_one).collect();
    }

    /// An incarnation of each worker here and below will come sooner or later.
    pub(crate) fn expect(&self) {
        let spec = self.spec();
        if let Part::Worker(worker) = &spec.part {
            worker.outlet().expect(spec.settings.terms.while_down);
        }
        for child in self.children() {
            child.expect();
        }
    }

    /// None will come, unless somebody sees to it.
    pub(crate) fn give_up(&self) {
        if let Part::Worker(worker) = &self.spec().part {
            worker.outlet().give_up();
        }
        for child in self.children() {
            child.give_up();
        }
    }

    /// This slot and all below it, parents first.
    pub(crate) fn all(self: &Arc<Self>) -> Vec<Arc<Slot>> {
        let mut all = vec![self.clone()];
        for child in self.children() {
            all.extend(child.all());
        }
        all
    }

    pub(crate) fn farewell(&self) -> Farewell {
        let live = self.live();
        let exit = match (&live.last_exit, &live.incarnation) {
            (Some(exit), None) => Exit::clone(exit),
            // It never came to a start, so there was nothing to stop.
            (None, None) => Exit::Shutdown,
            (_, Some(_)) => Exit::Unresponsive,
        };
        let outcome = match exit {
            Exit::Unresponsive => Outcome::Unresponsive,
            Exit::Killed => Outcome::Killed,
            Exit::Aborted => Outcome::Aborted,
            _ if exit.is_peaceful() => Outcome::Graceful,
            _ => Outcome::Failed,
        };
        Farewell { path: self.path.to_string(), outcome, exit }
    }
}

#[expect(clippy::disallowed_types, reason = "looked into whenever a child is added or named, and never iterated")]
type ByPath = std::collections::HashMap<Arc<str>, Arc<Slot>>;

/// The whole tree as seen from outside.
pub(crate) struct Board {
    pub(crate) root: Arc<Slot>,
    by_path: Mutex<ByPath>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) seed: u64,
    pub(crate) origin: Instant,
}

impl Board {
    pub(crate) fn new(spec: Supervisor, seed: u64) -> Self {
        let path = spec.name.clone();
        let root = Slot::new(Arc::new(Child::from(spec).temporary()), path, Weak::new(), 0, true);
        let by_path = Mutex::new(root.all().into_iter().map(|slot| (slot.path.clone(), slot)).collect());
        Self { root, by_path, journal: Arc::new(Journal::default()), seed, origin: Instant::now() }
    }

    pub(crate) fn find(&self, path: &str) -> Result<Arc<Slot>, NotFound> {
        self.get(path).ok_or_else(|| NotFound { path: path.to_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> Option<Arc<Slot>> {
        lock(&self.by_path).get(path).cloned()
    }

    /// Shows a new slot as the last below `above`.
    pub(crate) fn put_up(&self, slot: &Arc<Slot>, above: &Slot) {
        lock(&self.by_path).extend(slot.all().into_iter().map(|slot| (slot.path.clone(), slot)));
        lock(&above.below().children).shown.insert(slot.place, slot.clone());
    }

    /// Shows those below `above` again that rested until its next incarnation, except where another has the name now.
    pub(crate) fn wake(&self, above: &Slot) {
        let resting = std::mem::take(&mut lock(&above.below().children).resting);
        for slot in resting.into_values().filter(|slot| self.get(&slot.path).is_none()) {
            self.put_up(&slot, above);
        }
    }

    /// Shows it no longer, at least not before the next incarnation of `above`, if it `comes_again` with that.
    pub(crate) fn take_down(&self, slot: &Arc<Slot>, above: &Slot, comes_again: bool) {
        // Whoever calls holds the slot, so that nothing of a child is dropped under these locks.
        {
            let mut children = lock(&above.below().children);
            children.shown.remove(&slot.place);
            if comes_again {
                children.resting.insert(slot.place, slot.clone());
            }
        }
        let gone = slot.all();
        let mut by_path = lock(&self.by_path);
        for slot in &gone {
            by_path.remove(&slot.path);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// The latest decisions, in order. Bounded: a reader that falls too far behind is told how many it missed.
pub(crate) struct Journal {
    pages: Mutex<Pages>,
    /// Woken by every entry and by the end; carries nothing, the pages do.
    news: Notify,
}

#[derive(Default)]
struct Pages {
    kept: VecDeque<Decision>,
    written: u64,
    closed: bool,
    /// Those who must miss nothing.
    #[cfg(feature = "chaos")]
    ears: Vec<mpsc::UnboundedSender<Decision>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { pages: Mutex::default(), news: Notify::new() }
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
        let decision = Decision { sequence, at, path, epoch, what };
        #[cfg(feature = "chaos")]
        pages.ears.retain(|ear| ear.send(decision.clone()).is_ok());
        pages.kept.push_back(decision);
        drop(pages);
        self.news.notify_waiters();
    }

    /// All decisions from now on, kept for whoever listens until they are heard.
    #[cfg(feature = "chaos")]
    pub(crate) fn overhear(&self) -> mpsc::UnboundedReceiver<Decision> {
        let (ear, heard) = mpsc::unbounded_channel();
        lock(&self.pages).ears.push(ear);
        heard
    }

    pub(crate) fn close(&self) {
        lock(&self.pages).closed = true;
        self.news.notify_waiters();
    }

    pub(crate) fn read(self: &Arc<Self>) -> Events {
        Events { journal: self.clone(), read: 0 }
    }
}

/// One reader of the decision journal. It begins with the oldest decision still kept.
pub struct Events {
    journal: Arc<Journal>,
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
        let journal = self.journal.clone();
        loop {
            // Of what is written from here on, it tells.
            let news = journal.news.notified();
            if let Some(heard) = self.try_next() {
                return Some(heard);
            }
            if lock(&self.journal.pages).closed {
                return self.try_next();
            }
            news.await;
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
