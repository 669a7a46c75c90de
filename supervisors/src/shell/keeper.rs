//! The actor of a supervisor, and the tasks that mind its children.
//!
//! A [`Keeper`] never awaits, so it answers at any moment. Whatever takes time happens in tasks of the children, and comes
//! back as an event: that a start which waited for something is over, or that a life is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::lives::{Bell, Kid};
use super::panics::{self, Panic};
use super::{Herald, Launched, Life, NAMELESS, News, Tasks, Verdict, task};
use crate::alarms::Alarms;
use crate::board::{Board, Grip, Incarnation, Slot, lock};
use crate::report::{AddError, ChangeError, Exit, Farewell, NodeState, NotFound, RemoveError, RestartError, What};
use crate::row::Row;
use crate::spec::{Child, Part, Restart, Supervisor};
use crate::step::{Action, Change, Event, History, KILL_CONFIRM, Moment, Phase, State, Told, Ward, step};

/// How many starts in a row end within one turn of their supervisor, before it looks for other orders.
const STARTS_IN_A_TURN: u32 = 64;

/// Counts what is still alive below an incarnation of a supervisor that has ended.
#[derive(Clone)]
struct Latch(watch::Sender<usize>);

impl Latch {
    fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn hold(&self) -> Held {
        self.0.send_modify(|live| *live += 1);
        Held(self.clone())
    }

    async fn open(&self) {
        let mut live = self.0.subscribe();
        // The sender lives in `self`, so the wait can only succeed.
        let _ = live.wait_for(|live| *live == 0).await;
    }
}

struct Held(Latch);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.send_modify(|live| *live -= 1);
    }
}

/// Minds a life that no keeper looks at.
fn mind(slot: Arc<Slot>, life: Life, then: impl FnOnce(Exit) + Send + 'static) {
    task(async move {
        let exit = life.await;
        slot.gone(&exit);
        then(exit);
    });
}

/// Launches the root as its incarnation `epoch`, and minds it.
pub(crate) fn launch_root(board: &Arc<Board>, epoch: u64, herald: Herald) {
    let root = &board.root;
    let spec = root.supervisor().expect("the root is made of a supervisor");
    let launched = launch_keeper(board, spec, root, epoch, herald.clone());
    root.live().incarnation = Some(launched.incarnation);
    mind(root.clone(), launched.life, move |exit| herald.tell(News::Ended(exit)));
}

fn launch_keeper(board: &Arc<Board>, spec: Arc<Supervisor>, slot: &Arc<Slot>, epoch: u64, herald: Herald) -> Launched {
    let (verdict, latch) = (Arc::new(Verdict::default()), Latch::new());
    let (up, is_up) = oneshot::channel();
    let post = Post {
        board: board.clone(),
        spec,
        slot: slot.clone(),
        epoch,
        latch: latch.clone(),
        verdict: verdict.clone(),
        up,
    };
    let (keeper, starting) = ActorRuntime::spawn_instant(None, Keeper, post).expect(NAMELESS);
    let (cell, tasks) = (keeper.get_cell(), Arc::new(Tasks::default()));
    tasks.starting(&starting);
    let grip = tasks.clone();
    let life = Box::pin(async move {
        let ended = match starting.await {
            Ok(Ok(running)) => {
                tasks.started(&running);
                // It drops its end of the channel if it ends before it is up.
                if is_up.await.is_ok() {
                    herald.tell(News::Started);
                }
                running.await
            }
            Ok(Err(_)) => Ok(()),
            Err(error) => Err(error),
        };
        let exit = verdict.settle(ended);
        if tokio::time::timeout(KILL_CONFIRM, latch.open()).await.is_err() {
            herald.tell(News::Lingers(exit.clone()));
            latch.open().await;
        }
        exit
    });
    Launched { incarnation: Incarnation { cell, supervisor: Some(keeper), grip }, is_up: false, life }
}

impl Grip for Tasks {
    /// No reference leads to a supervisor.
    fn unplug(&self) {}

    fn abort(&self) {
        self.take_away();
    }
}

/// The supervisor that is alive at `slot`.
pub(crate) fn keeper(slot: &Slot) -> Option<ActorRef<Order>> {
    slot.incarnation().and_then(|incarnation| incarnation.supervisor)
}

/// Has `child` added to the supervisor at `slot`, and waits until it is up.
pub(crate) async fn add(slot: &Slot, child: Child) -> Result<Arc<Slot>, AddError> {
    let down = || AddError::SupervisorDown { path: slot.path.to_string() };
    let (reply, added) = oneshot::channel();
    keeper(slot).ok_or_else(down)?.cast(Order::Add { child, reply }).map_err(|_| down())?;
    added.await.unwrap_or_else(|_| Err(down()))
}

/// Has the child at `slot` leave in this way, and waits until it has.
pub(crate) async fn leave(slot: Arc<Slot>, way: Way) -> Result<Farewell, RemoveError> {
    let path = slot.path.clone();
    let down = || RemoveError::SupervisorDown { path: path.to_string() };
    let above = slot.above.upgrade().ok_or_else(|| RemoveError::Root { path: path.to_string() })?;
    let (reply, left) = oneshot::channel();
    keeper(&above).ok_or_else(down)?.cast(Order::Leave { slot, way, reply }).map_err(|_| down())?;
    left.await.unwrap_or_else(|_| Err(down()))
}

/// The actor of a supervisor.
struct Keeper;

/// What a keeper takes up its post with.
struct Post {
    board: Arc<Board>,
    spec: Arc<Supervisor>,
    slot: Arc<Slot>,
    epoch: u64,
    latch: Latch,
    verdict: Arc<Verdict>,
    up: oneshot::Sender<()>,
}

pub(crate) enum Order {
    Event(Event),
    /// Look at the clock: an alarm may be due.
    Alarm,
    /// Look at the child: its life may be over.
    Look {
        child: usize,
    },
    Stop,
    Restart {
        slot: Arc<Slot>,
        reply: oneshot::Sender<Result<(), RestartError>>,
    },
    /// Answered when the child is up or taken out again.
    Add {
        child: Child,
        reply: Adding,
    },
    Change {
        spec: Arc<Supervisor>,
        reply: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// Answered when the child is down or forgotten, or will not be.
    Leave {
        slot: Arc<Slot>,
        way: Way,
        reply: Leaving,
    },
}

/// How far a child is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Down.
    Terminate,
    /// Out of the specification, provided that it is down.
    Delete,
    /// Both.
    Remove,
}

/// Where somebody waits for a child to come up. They may have stopped waiting, as is their right.
type Adding = oneshot::Sender<Result<Arc<Slot>, AddError>>;
/// Where somebody waits for a child to be gone. They may have stopped waiting, too.
type Leaving = oneshot::Sender<Result<Farewell, RemoveError>>;

/// A keeper's state. Dropping it, for whatever reason, ends all below, and tells who waits for an answer.
struct Desk {
    board: Arc<Board>,
    spec: Arc<Supervisor>,
    slot: Arc<Slot>,
    latch: Latch,
    verdict: Arc<Verdict>,
    up: Option<oneshot::Sender<()>>,
    core: State,
    history: Option<Arc<Mutex<History>>>,
    /// Our children, numbered as in the core.
    children: Row<Kid>,
    adding: BTreeMap<usize, Adding>,
    leaving: BTreeMap<usize, Vec<(Way, Leaving)>>,
    /// What happened while actions were carried out.
    heard: VecDeque<Event>,
    started_in_turn: u32,
    alarms: Alarms,
    /// The task that sleeps until the earliest alarm, or a little less if that was taken back.
    sleeper: Option<(Moment, AbortHandle)>,
    myself: ActorRef<Order>,
}

impl Actor for Keeper {
    type Msg = Order;
    type State = Desk;
    type Arguments = Post;

    async fn pre_start(&self, myself: ActorRef<Order>, post: Post) -> Result<Desk, ActorProcessingErr> {
        let Post { board, spec, slot, epoch, latch, verdict, up } = post;
        board.wake(&slot);
        let children = slot.children();
        for child in &children {
            child.expect();
        }
        let rules = children.iter().map(|child| spec.child_rules(&child.spec(), child.path.clone()));
        let rules = spec.rules(rules.collect());
        let record = children.iter().map(|child| {
            let live = child.live();
            (live.epoch, live.restarts)
        });
        // Each incarnation of each supervisor rolls dice of its own, all from the one seed of the tree.
        let seed = slot
            .path
            .bytes()
            .fold(board.seed ^ epoch, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
        let core = State::new(rules, record, seed);
        let history = spec.history.map(|limit| slot.begin_history(&core, limit));
        let desk = Desk {
            board,
            spec,
            slot,
            latch,
            verdict,
            up: Some(up),
            core,
            history,
            children: children.into_iter().map(Kid::new).collect(),
            adding: BTreeMap::new(),
            leaving: BTreeMap::new(),
            heard: VecDeque::new(),
            started_in_turn: 0,
            alarms: Alarms::default(),
            sleeper: None,
            myself,
        };
        for (child, kid) in desk.children.iter() {
            kid.slot.live().number = child;
            desk.publish(child);
        }
        Ok(desk)
    }

    async fn post_start(&self, _: ActorRef<Order>, desk: &mut Desk) -> Result<(), ActorProcessingErr> {
        desk.take(Event::Begin)
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, desk: &mut Desk) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Event(event) => desk.take(event),
            Order::Alarm => desk.alarm(),
            Order::Look { child } => desk.look(child),
            Order::Stop => desk.take(Event::Stop),
            Order::Restart { slot, reply } => desk.restart(&slot, reply),
            Order::Add { child, reply } => desk.add(child, reply),
            Order::Change { spec, reply } => desk.change(spec, reply),
            Order::Leave { slot, way, reply } => desk.leave(&slot, way, reply),
        }
    }
}

impl Desk {
    /// A panic here is a broken invariant of this crate. It ends the supervisor like any other fault.
    fn take(&mut self, event: Event) -> Result<(), ActorProcessingErr> {
        self.started_in_turn = 0;
        let taken = panics::caught(|| {
            let mut next = Some(event);
            while let Some(event) = next {
                self.turn(event);
                next = self.heard.pop_front();
            }
            self.sleep();
        });
        taken.map_err(|Panic { message, place }| {
            self.verdict.set(Exit::Panicked { message: message.clone(), place });
            message.into()
        })
    }

    fn turn(&mut self, event: Event) {
        let at = self.board.now();
        let written = self.history.clone().map(|history| (history, event.clone()));
        let actions = step(&mut self.core, event, at);
        if let Some((history, event)) = written {
            lock(&history).write(Told { at, event, actions: actions.clone() });
        }
        for action in actions {
            self.carry_out(action, at);
        }
    }

    fn restart(
        &mut self,
        slot: &Arc<Slot>,
        reply: oneshot::Sender<Result<(), RestartError>>,
    ) -> Result<(), ActorProcessingErr> {
        let path = slot.path.to_string();
        let Some(child) = self.number(slot) else {
            let _ = reply.send(Err(NotFound { path }.into()));
            return Ok(());
        };
        let can = self.core.can_restart(child);
        // The caller may have stopped waiting, as is its right.
        let _ = reply.send(if can { Ok(()) } else { Err(RestartError::NotDown { path }) });
        self.take(Event::Restart { child })
    }

    fn add(&mut self, child: Child, reply: Adding) -> Result<(), ActorProcessingErr> {
        let path = self.slot.path_of(&child);
        if self.core.is_closing() {
            let _ = reply.send(Err(AddError::SupervisorDown { path: self.slot.path.to_string() }));
            return Ok(());
        }
        if let Some(max) = self.spec.pool.as_ref().and_then(|template| template.max)
            && self.children.len() >= max
        {
            let _ = reply.send(Err(AddError::Full { path: self.slot.path.to_string(), max }));
            return Ok(());
        }
        if let Some(present) = self.board.get(&path) {
            let path = path.to_string();
            let down = matches!(present.live().state, NodeState::Stopped | NodeState::Quarantined { .. });
            let present = if down { AddError::AlreadyPresent { path } } else { AddError::AlreadyStarted { path } };
            let _ = reply.send(Err(present));
            return Ok(());
        }
        let slot = self.slot.slot_for(Arc::new(child), path, false);
        slot.expect();
        let epoch = {
            let mut live = slot.live();
            live.on_probation = true;
            live.epoch
        };
        let rules = self.spec.child_rules(&slot.spec(), slot.path.clone());
        self.board.put_up(&slot, &self.slot);
        self.board.journal.write(self.board.now(), slot.path.clone(), epoch, What::Added);
        let child = self.children.push(Kid::new(slot.clone()));
        slot.live().number = child;
        self.adding.insert(child, reply);
        self.take(Event::Add { child, epoch, rules })
    }

    fn change(
        &mut self,
        spec: Arc<Supervisor>,
        reply: oneshot::Sender<Result<(), ChangeError>>,
    ) -> Result<(), ActorProcessingErr> {
        // Whoever asked may have stopped waiting, as is its right.
        match self.changed(&spec) {
            Ok(()) => drop(reply.send(Ok(()))),
            Err(error) => {
                drop(reply.send(Err(error)));
                return Ok(());
            }
        }
        let children = self.children.iter().map(|(child, kid)| (child, &kid.slot));
        let (children, added): (Vec<_>, Vec<_>) = children.partition(|(child, _)| self.core.has(*child));
        let rules = |slot: &Arc<Slot>| spec.child_rules(&slot.spec(), slot.path.clone());
        let change = Change {
            children: children.into_iter().map(|(child, slot)| (child, rules(slot))).collect(),
            added: added.into_iter().map(|(_, slot)| (slot.live().epoch, rules(slot))).collect(),
            rules: spec.rules(Vec::new()),
        };
        self.spec = spec;
        self.take(Event::Change(Box::new(change)))
    }

    /// Takes over what `spec` says of our children, and puts up those that are new. Either all of it, or nothing.
    fn changed(&mut self, spec: &Arc<Supervisor>) -> Result<(), ChangeError> {
        let path = || self.slot.path.to_string();
        if self.core.is_closing() {
            return Err(ChangeError::SupervisorDown { path: path() });
        }
        let known: BTreeMap<_, _> =
            self.children.iter().map(|(_, kid)| (kid.slot.spec().name.clone(), kid.slot.clone())).collect();
        let mut changes = Vec::new();
        match (&self.spec.pool, &spec.pool) {
            (None, None) => {}
            (Some(old), Some(new)) if old.is_like(new) => {
                new.place.is_at(&self.slot);
                changes.extend(known.values().map(|slot| {
                    let before = slot.spec();
                    (slot.clone(), new.member.like(before.name.clone(), before.part.clone()))
                }));
            }
            _ => return Err(ChangeError::Kind { path: path() }),
        }
        let mut new = Vec::new();
        for child in &spec.children {
            let Some(slot) = known.get(&child.name) else {
                new.push(child);
                continue;
            };
            let part = match (&slot.spec().part, &child.part) {
                (Part::Worker(_), Part::Worker(_)) => child.part.clone(),
                (Part::Supervisor(nested), Part::Supervisor(other))
                    if nested.pool.is_some() == other.pool.is_some() =>
                {
                    Part::Supervisor(nested.clone())
                }
                _ => return Err(ChangeError::Kind { path: slot.path.to_string() }),
            };
            changes.push((slot.clone(), child.like(child.name.clone(), part)));
        }
        for (slot, spec) in changes {
            slot.change(spec);
            if self.spec.pool.is_none() {
                slot.list();
            }
        }
        self.slot.replace(&new.iter().map(|child| child.name.clone()).collect());
        for child in new {
            let slot = self.slot.slot_for(child.clone(), self.slot.path_of(child), true);
            self.board.put_up(&slot, &self.slot);
            self.board.journal.write(self.board.now(), slot.path.clone(), slot.live().epoch, What::Added);
            let number = self.children.push(Kid::new(slot.clone()));
            slot.live().number = number;
        }
        let own = self.slot.spec();
        self.slot.change(own.like(own.name.clone(), Part::Supervisor(spec.clone())));
        Ok(())
    }

    fn leave(&mut self, slot: &Arc<Slot>, way: Way, reply: Leaving) -> Result<(), ActorProcessingErr> {
        match self.may_leave(slot, way) {
            Ok(child) => {
                self.leaving.entry(child).or_default().push((way, reply));
                self.take(if way == Way::Terminate { Event::Terminate { child } } else { Event::Remove { child } })
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                Ok(())
            }
        }
    }

    /// The number of the child, if it can be told to leave in this way.
    fn may_leave(&self, slot: &Arc<Slot>, way: Way) -> Result<usize, RemoveError> {
        let path = || slot.path.to_string();
        let child = self.number(slot).ok_or_else(|| NotFound { path: path() })?;
        if self.core.is_closing() {
            return Err(RemoveError::SupervisorDown { path: path() });
        }
        match &self.core.ward(child).expect("the core has whom we have").phase {
            _ if way != Way::Delete => Ok(child),
            Phase::Running { .. } | Phase::Stopping | Phase::Killing(_) | Phase::Aborting(_) => {
                Err(RemoveError::Running { path: path() })
            }
            Phase::Down | Phase::Waiting { .. } | Phase::Starting => Err(RemoveError::Restarting { path: path() }),
            Phase::Done | Phase::Over | Phase::Quarantined { .. } | Phase::Stuck => Ok(child),
        }
    }

    fn number(&self, slot: &Arc<Slot>) -> Option<usize> {
        let number = slot.live().number;
        self.children.get(number).filter(|kid| Arc::ptr_eq(&kid.slot, slot)).map(|_| number)
    }

    /// A child is up that somebody may have waited for.
    fn admit(&mut self, child: usize) {
        self.children[child].slot.live().on_probation = false;
        if let Some(adding) = self.adding.remove(&child) {
            let _ = adding.send(Ok(self.children[child].slot.clone()));
        }
    }

    fn forget(&mut self, child: usize, epoch: u64, last_exit: Option<Exit>) {
        let Some(Kid { slot, .. }) = self.children.remove(child) else { return };
        slot.give_up();
        {
            let mut live = slot.live();
            live.state = NodeState::Stopped;
            if let Some(exit) = &last_exit {
                live.last_exit = Some(Box::new(exit.clone()));
            }
        }
        let leaving = self.leaving.remove(&child).unwrap_or_default();
        // Unless somebody wants it gone, one that is listed is there again with the next incarnation of its supervisor.
        let comes_again = slot.is_listed() && leaving.iter().all(|(way, _)| *way == Way::Terminate);
        self.board.take_down(&slot, &self.slot, comes_again);
        self.board.journal.write(self.board.now(), slot.path.clone(), epoch, What::Removed);
        if let Some(adding) = self.adding.remove(&child) {
            let (path, exit) = (slot.path.to_string(), last_exit.unwrap_or(Exit::Shutdown));
            let _ = adding.send(Err(AddError::Start { path, exit }));
        }
        for (_, leaving) in leaving {
            let _ = leaving.send(Ok(slot.farewell()));
        }
    }

    fn rest(&mut self, child: usize) {
        for (_, leaving) in self.leaving.remove(&child).unwrap_or_default() {
            let _ = leaving.send(Ok(self.children[child].slot.farewell()));
        }
    }

    /// The child can neither be had nor be got rid of.
    fn keep(&mut self, child: usize) {
        let path = self.children[child].slot.path.to_string();
        if let Some(adding) = self.adding.remove(&child) {
            let _ = adding.send(Err(AddError::Start { path: path.clone(), exit: Exit::Unresponsive }));
        }
        for (_, leaving) in self.leaving.remove(&child).unwrap_or_default() {
            let _ = leaving.send(Err(RemoveError::Unresponsive { path: path.clone() }));
        }
    }

    /// What was decided `at` this moment, and is written down with it.
    fn carry_out(&mut self, action: Action, at: Moment) {
        match action {
            Action::Start { child, epoch } => self.start(child, epoch),
            Action::Stop { child, .. } => {
                let slot = &self.children[child].slot;
                if let Some(incarnation) = slot.incarnation() {
                    incarnation.stop(slot.spec().drains());
                }
            }
            Action::Kill { child, .. } => {
                if let Some(incarnation) = self.children[child].slot.incarnation() {
                    incarnation.kill();
                }
            }
            Action::Abort { child, .. } => {
                if let Some(incarnation) = self.children[child].slot.incarnation() {
                    incarnation.abort();
                }
            }
            Action::Admit { child } => self.admit(child),
            Action::Rest { child } => self.rest(child),
            Action::Forget { child, epoch, last_exit } => self.forget(child, epoch, last_exit),
            Action::Keep { child } => self.keep(child),
            Action::Arm { child, epoch, timer, at } => self.alarms.arm(child, epoch, timer, at),
            Action::Disarm { child } => self.alarms.disarm(child),
            Action::Record { child, epoch, what } => {
                if what == What::Released {
                    self.children[child].slot.expect();
                }
                self.publish(child);
                let path = self.children[child].slot.path.clone();
                self.board.journal.write(at, path, epoch, what);
            }
            Action::Up => {
                if let Some(up) = self.up.take() {
                    // Nobody minds the start of a supervisor that is being killed.
                    let _ = up.send(());
                }
            }
            Action::End { exit } => {
                self.verdict.set(exit);
                self.myself.stop(None);
            }
        }
    }

    fn start(&mut self, child: usize, epoch: u64) {
        let slot = self.children[child].slot.clone();
        let bell = Arc::new(Bell { keeper: self.myself.clone(), child, epoch });
        let herald = bell.clone();
        let spec = slot.spec();
        let launched = match &spec.part {
            Part::Worker(worker) => worker.clone().launch(epoch, &spec.settings.terms, herald),
            Part::Supervisor(nested) => launch_keeper(&self.board, nested.clone(), &slot, epoch, herald),
        };
        slot.live().incarnation = Some(launched.incarnation);
        if launched.is_up {
            self.hear(Event::Started { child, epoch });
        }
        if let Some(exit) = self.children[child].begin(launched.life, Waker::from(bell)) {
            slot.gone(&exit);
            // Never in the same turn: a start that fails again and again keeps nobody waiting.
            tell(&self.myself, Order::Event(Event::Ended { child, epoch, exit }));
        }
    }

    /// Takes in the event within this turn, unless the turn has been long.
    fn hear(&mut self, event: Event) {
        self.started_in_turn += 1;
        if self.started_in_turn < STARTS_IN_A_TURN {
            self.heard.push_back(event);
        } else {
            tell(&self.myself, Order::Event(event));
        }
    }

    fn look(&mut self, child: usize) -> Result<(), ActorProcessingErr> {
        let Some(kid) = self.children.get_mut(child) else { return Ok(()) };
        let Some(exit) = kid.look() else { return Ok(()) };
        let slot = &kid.slot;
        slot.gone(&exit);
        let epoch = slot.live().epoch;
        self.take(Event::Ended { child, epoch, exit })
    }

    fn alarm(&mut self) -> Result<(), ActorProcessingErr> {
        let now = self.board.now();
        // It may have been sent by a sleeper that was replaced a moment too late.
        self.sleeper.take_if(|(until, _)| *until <= now);
        while let Some(event) = self.alarms.ring(now) {
            self.take(event)?;
        }
        self.sleep();
        Ok(())
    }

    /// Sees to it that somebody wakes for the earliest alarm.
    fn sleep(&mut self) {
        let Some(next) = self.alarms.next() else { return };
        if self.sleeper.as_ref().is_some_and(|(until, _)| *until <= next) {
            return;
        }
        let (due, keeper) = (self.board.origin + next, self.myself.clone());
        let sleeper = task(async move {
            tokio::time::sleep_until(due).await;
            tell(&keeper, Order::Alarm);
        });
        if let Some((_, later)) = self.sleeper.replace((next, sleeper.abort_handle())) {
            later.abort();
        }
    }

    /// Shows on the board how `child` stands.
    fn publish(&self, child: usize) {
        // One that is about to be forgotten stands as it did until then.
        let Some(ward) = self.core.ward(child) else { return };
        if matches!(ward.phase, Phase::Done | Phase::Over | Phase::Quarantined { .. } | Phase::Stuck) {
            self.children[child].slot.give_up();
        }
        let state = self.state(ward);
        let mut live = self.children[child].slot.live();
        live.state = state;
        live.epoch = ward.epoch;
        live.restarts = ward.restarts;
        // It stands there already, unless it was judged to be another.
        if let Some(exit) = ward.last_exit().filter(|exit| live.last_exit.as_deref() != Some(exit)) {
            live.last_exit = Some(Box::new(exit.clone()));
        }
    }

    fn state(&self, ward: &Ward) -> NodeState {
        match &ward.phase {
            Phase::Down | Phase::Waiting { .. } if self.core.is_closing() => NodeState::Stopped,
            Phase::Down | Phase::Starting => match ward.last_exit() {
                Some(Exit::StartFailed(_)) => NodeState::Restarting,
                _ => NodeState::Starting,
            },
            Phase::Waiting { until } => NodeState::BackingOff { until: (self.board.origin + *until).into_std() },
            Phase::Running { .. } => NodeState::Running,
            Phase::Stopping | Phase::Killing(_) | Phase::Aborting(_) => NodeState::Stopping,
            Phase::Done | Phase::Over => NodeState::Stopped,
            Phase::Quarantined { reason } => NodeState::Quarantined { reason: reason.clone() },
            Phase::Stuck => NodeState::Quarantined { reason: Exit::Unresponsive },
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some((_, sleeper)) = &self.sleeper {
            sleeper.abort();
        }
        self.slot.orphan();
        // Else the runtime is being torn down, and with it all that lives.
        if Handle::try_current().is_ok() {
            for (slot, life) in self.children.range_mut(..).filter_map(|(_, kid)| kid.orphan()) {
                let held = self.latch.hold();
                mind(slot, life, move |_| drop(held));
            }
        }
        for slot in self.slot.children() {
            let (on_probation, epoch) = {
                let live = slot.live();
                (live.on_probation, live.epoch)
            };
            if on_probation || slot.spec().settings.restart == Restart::Temporary && !slot.is_listed() {
                slot.give_up();
                self.board.take_down(&slot, &self.slot, false);
                self.board.journal.write(self.board.now(), slot.path.clone(), epoch, What::Removed);
            }
        }
    }
}

/// A keeper that is gone has orphaned its children, which is all that there was to do.
pub(super) fn tell(keeper: &ActorRef<Order>, order: Order) {
    drop(keeper.cast(order));
}
