//! The decision core: what one supervisor does next.
//!
//! [`step`] takes in one [`Event`] and answers with the [`Action`]s that follow. It runs in two halves: *absorb* writes
//! down what the event says about one child, and *reconcile* compares the children with what they should be and orders
//! the next stop or start. Because reconcile looks only at the present state, no interleaving of ends, timers and
//! requests needs a case of its own: a group restart is nothing but a mark on the children that must end first.
//!
//! No I/O, no clock, no randomness: time comes with each event, jitter from a seed in the state, and the caller carries
//! out the actions. The same events give the same actions for ever, which a [`History`] of them shows.
//!
//! Nothing that an event moves is looked for among all children: counts say whether somebody holds the others up, and
//! two marks, `low` and `high`, bound where the next to start and the next to stop are. They move over a child only as
//! often as the child itself is started or stopped, so a hundred thousand children start and stop in linear time.
//!
//! # Invariants
//! 1. `Start` is issued only for a child whose last incarnation has been reported as ended.
//! 2. Among children that are stopped together, the next `Stop` waits until the one after it in start order has ended.
//! 3. An event about an epoch that is over changes nothing.
//! 4. At most one timer per child is armed.
//! 5. A child that is added comes after all others. Until it has come up once it is on probation: if it does not come
//!    up it is taken out, and nobody is charged. One that ignores its start has done all that it will.
//! 6. Whoever is neither restarted nor kept by its specification is forgotten: a temporary child with its end, a member
//!    of a pool with any end that is for good.

mod history;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, Dice};
use crate::report::{Cause, Exit, StartFault, Unhealth, Verdict, What};
use crate::row::Row;
use crate::spec::{AutoShutdown, Budget, Exhausted, Restart, Shutdown, Strategy};

pub use history::{Diverged, History, Told};

/// Time since the tree was started. Never falls.
pub type Moment = Duration;

/// How long a killed child may take to end before it counts as unresponsive. A kill takes effect at the next await of
/// the child, so only one that blocks its thread needs more than microseconds.
pub const KILL_CONFIRM: Duration = Duration::from_secs(5);

/// How long it may take after its task has been aborted as well, which is the last that can be done.
pub const ABORT_CONFIRM: Duration = Duration::from_secs(1);

/// How many of its last ends a child remembers, for the cause of an escalation.
const EXITS_REMEMBERED: usize = 5;

/// The rules of one supervisor, everything inherited filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub strategy: Strategy,
    pub intensity: Budget,
    pub auto_shutdown: AutoShutdown,
    /// All children are of one kind and nothing to each other: they stop together, and whoever ends for good is
    /// forgotten. The strategy of a pool is one-for-one.
    pub pool: bool,
    pub children: Vec<ChildRules>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRules {
    pub path: Arc<str>,
    pub restart: Restart,
    /// Its own end for good may be that of the supervisor.
    pub significant: bool,
    pub shutdown: Shutdown,
    /// `None`: as long as it takes, because it is a supervisor whose own children are limited.
    pub start_timeout: Option<Duration>,
    pub backoff: Backoff,
    pub budget: Option<Budget>,
    pub on_exhausted: Exhausted,
}

/// What [`ChildRules`] say, whoever they are for: nearly all children of a supervisor have the same, and share them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Manner {
    restart: Restart,
    significant: bool,
    shutdown: Shutdown,
    start_timeout: Option<Duration>,
    backoff: Backoff,
    budget: Option<Budget>,
    on_exhausted: Exhausted,
}

impl Manner {
    /// Takes `rules` apart, into for whom they are and what they say. That is shared with `latest` if it is the same.
    fn of(rules: ChildRules, latest: &mut Option<Arc<Self>>) -> (Arc<str>, Arc<Self>) {
        let ChildRules { path, restart, significant, shutdown, start_timeout, backoff, budget, on_exhausted } = rules;
        let manner = Self { restart, significant, shutdown, start_timeout, backoff, budget, on_exhausted };
        let shared = latest.take().filter(|latest| **latest == manner).unwrap_or_else(|| Arc::new(manner));
        *latest = Some(shared.clone());
        (path, shared)
    }

    /// Whoever is not to take the others along has a budget for itself.
    fn own_budget(&self, intensity: Budget) -> Option<Budget> {
        match self.on_exhausted {
            Exhausted::Quarantine | Exhausted::Stop => Some(self.budget.unwrap_or(intensity)),
            Exhausted::Escalate => self.budget,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The supervisor itself is up and shall start its children.
    Begin,
    Started {
        child: usize,
        epoch: u64,
    },
    /// All of the incarnation is gone.
    Ended {
        child: usize,
        epoch: u64,
        exit: Exit,
    },
    /// A supervisor ended, but something below it lives on after having been killed.
    Lingers {
        child: usize,
        epoch: u64,
        exit: Exit,
    },
    Due {
        child: usize,
        epoch: u64,
        timer: Timer,
    },
    /// It is up, and does not do its work.
    Unhealthy {
        child: usize,
        epoch: u64,
        fault: Unhealth,
    },
    /// It says that it is well: what befell those before it is over.
    Healthy {
        child: usize,
        epoch: u64,
    },
    /// Somebody wants the child up now, whatever its record.
    Restart {
        child: usize,
    },
    /// Somebody wants one more child, after all others. Numbers rise and none is used twice.
    Add {
        child: usize,
        /// The latest that it reached before; its first incarnation has the next.
        epoch: u64,
        rules: ChildRules,
    },
    /// Somebody wants other rules for this supervisor and its children.
    Change(Box<Change>),
    /// Somebody wants the child to end and to stay down.
    Terminate {
        child: usize,
    },
    /// Somebody wants the child to end, and then to be forgotten.
    Remove {
        child: usize,
    },
    /// Somebody wants this supervisor to end in order.
    Stop,
}

/// Other rules. What has been counted stays counted, and nobody ends or starts because of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The rules of the supervisor. Its children are not here but below.
    pub rules: Rules,
    /// The new rules of those that it has, by number.
    pub children: Vec<(usize, ChildRules)>,
    /// Those that it has from now on, with the latest epoch that each reached: after all others, and down.
    pub added: Vec<(u64, ChildRules)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    Start,
    Stop,
    Confirm,
    Backoff,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start {
        child: usize,
        epoch: u64,
    },
    /// Ask it to end.
    Stop {
        child: usize,
        epoch: u64,
    },
    Kill {
        child: usize,
        epoch: u64,
    },
    /// The kill was not heard: take its task away.
    Abort {
        child: usize,
        epoch: u64,
    },
    /// Replaces the timer that was armed for the child.
    Arm {
        child: usize,
        epoch: u64,
        timer: Timer,
        at: Moment,
    },
    Disarm {
        child: usize,
    },
    Record {
        child: usize,
        epoch: u64,
        what: What,
    },
    /// A child that was added is up for the first time, and from now on one like the others.
    Admit {
        child: usize,
    },
    /// The child is down, as somebody wanted.
    Rest {
        child: usize,
    },
    /// No more of this child: it was removed, or added and did not come up, or has no more use for its specification.
    Forget {
        child: usize,
        epoch: u64,
        /// How its last incarnation under this one of the supervisor ended, if there was one.
        last_exit: Option<Exit>,
    },
    /// The child was not seen to end, so it cannot be forgotten yet.
    Keep {
        child: usize,
    },
    /// All children have been started.
    Up,
    /// No child is left to stop; end with this reason.
    End {
        exit: Exit,
    },
}

/// Where one child stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not alive; starts as soon as it is its turn.
    Down,
    /// Not alive; starts not before this moment.
    Waiting {
        until: Moment,
    },
    Starting,
    Running {
        since: Moment,
    },
    /// Asked to end.
    Stopping,
    Killing(Sentence),
    /// The kill was not heard.
    Aborting(Sentence),
    /// Not alive, and nothing starts it but a hand or its group.
    Done,
    /// Its budget is spent, and nobody needs it back: nothing starts it but a hand.
    Over,
    /// Dead until released.
    Quarantined {
        reason: Exit,
    },
    /// Killed, and not seen to have ended. It cannot be released while it lives.
    Stuck,
}

impl Phase {
    fn is_alive(&self) -> bool {
        self.is_busy() || matches!(self, Self::Running { .. })
    }

    /// On its way up or down: one that may need it, or that it may need, waits.
    fn is_busy(&self) -> bool {
        matches!(self, Self::Starting | Self::Stopping | Self::Killing(_) | Self::Aborting(_))
    }

    /// Not to come back by itself.
    fn is_for_good(&self) -> bool {
        matches!(self, Self::Done | Self::Over)
    }
}

/// Why a child was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// It did not stop in time.
    Stop,
    /// It did not start in time.
    Start,
    /// It was up since then, and did not do its work.
    Unhealthy { fault: Unhealth, since: Moment },
}

/// One child and its record.
#[derive(Clone, Debug)]
pub struct Ward {
    pub phase: Phase,
    pub epoch: u64,
    /// Ends of its own that were answered by a restart.
    pub restarts: u64,
    exits: VecDeque<Exit>,
    path: Arc<str>,
    rules: Arc<Manner>,
    /// Failures in a row; what the back-off grows with.
    failures: u32,
    /// Few have one.
    own: Option<Box<Window>>,
    /// It must end because one it depends on did; until then nobody is started.
    recycle: bool,
    /// It was added, and has not come up yet.
    on_probation: bool,
    /// Somebody wants it to end.
    leaving: Option<Leaving>,
}

/// What becomes of a child that ends because somebody wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It stays down, with its specification.
    ToRest,
    /// It is forgotten.
    ForGood,
}

impl Ward {
    fn new((path, rules): (Arc<str>, Arc<Manner>), intensity: Budget, epoch: u64, restarts: u64) -> Self {
        let own = rules.own_budget(intensity);
        Self {
            phase: Phase::Down,
            epoch,
            restarts,
            exits: VecDeque::new(),
            path,
            rules,
            failures: 0,
            own: own.map(Window::new).map(Box::new),
            recycle: false,
            on_probation: false,
            leaving: None,
        }
    }

    /// Its record stays.
    fn obey(&mut self, rules: Arc<Manner>, intensity: Budget) {
        let before = self.own.take().map(|own| own.charges);
        let own = rules.own_budget(intensity).map(|budget| Window { budget, charges: before.unwrap_or_default() });
        self.own = own.map(Box::new);
        self.rules = rules;
    }

    pub fn last_exit(&self) -> Option<&Exit> {
        self.exits.back()
    }

    /// Its specification goes when it ends for good.
    fn is_transitory(&self, pool: bool) -> bool {
        pool || self.rules.restart == Restart::Temporary
    }

    fn remember(&mut self, exit: Exit) {
        if self.exits.len() == EXITS_REMEMBERED {
            self.exits.pop_front();
        }
        self.exits.push_back(exit);
    }

    fn cause(&self) -> Arc<Cause> {
        let exits = self.exits.iter().cloned().collect();
        Arc::new(Cause { path: self.path.to_string(), epoch: self.epoch, exits })
    }

    fn forgive(&mut self) {
        self.failures = 0;
        if let Some(own) = &mut self.own {
            own.charges.clear();
        }
    }
}

/// The restarts within a budget's sliding window; never more than one over the budget, because what follows on that one
/// is the end of the supervisor, or a quarantine whose release clears the window.
#[derive(Clone, Debug)]
struct Window {
    budget: Budget,
    charges: VecDeque<Moment>,
}

impl Window {
    fn new(budget: Budget) -> Self {
        Self { budget, charges: VecDeque::new() }
    }

    /// Counts one more restart and says whether the budget still covers it.
    fn charge(&mut self, now: Moment) -> bool {
        self.charges.push_back(now);
        while self.charges.front().is_some_and(|charge| *charge + self.budget.within < now) {
            self.charges.pop_front();
        }
        u32::try_from(self.charges.len()).is_ok_and(|charges| charges <= self.budget.restarts)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Course {
    /// Not begun.
    Idle,
    /// The first start of the children, one by one.
    Opening,
    Steady,
    /// Stopping the children, one by one, in order to end with this.
    Closing {
        exit: Exit,
    },
    Closed,
}

/// How many children stand how, so that nobody has to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    alive: usize,
    busy: usize,
    down: usize,
    waiting: usize,
    /// Marked to end because another did.
    marked: usize,
    /// Significant, and not over for good.
    significant: usize,
}

impl Tally {
    fn add(&mut self, ward: &Ward) {
        for (count, is_one) in self.counts(ward) {
            *count += usize::from(is_one);
        }
    }

    fn take(&mut self, ward: &Ward) {
        for (count, is_one) in self.counts(ward) {
            *count -= usize::from(is_one);
        }
    }

    /// Every count, and whether `ward` is one of those counted.
    fn counts(&mut self, ward: &Ward) -> [(&mut usize, bool); 6] {
        [
            (&mut self.alive, ward.phase.is_alive()),
            (&mut self.busy, ward.phase.is_busy()),
            (&mut self.down, ward.phase == Phase::Down),
            (&mut self.waiting, matches!(ward.phase, Phase::Waiting { .. })),
            (&mut self.marked, ward.recycle),
            (&mut self.significant, ward.rules.significant && !ward.phase.is_for_good()),
        ]
    }
}

/// All that one incarnation of a supervisor knows.
#[derive(Clone, Debug)]
pub struct State {
    strategy: Strategy,
    auto_shutdown: AutoShutdown,
    pool: bool,
    wards: Row<Ward>,
    /// The manner of the latest child to come.
    manner: Option<Arc<Manner>>,
    tally: Tally,
    /// No child below this number is to be started.
    low: usize,
    /// No child from this number on must end: is marked to, or is alive while all are to end.
    high: usize,
    shared: Window,
    course: Course,
    dice: Dice,
}

impl State {
    /// `epochs` are the latest epochs that the children reached under an earlier incarnation of this supervisor, and
    /// `restarts` its counts of their restarts: both go on counting.
    pub fn new(rules: Rules, record: impl IntoIterator<Item = (u64, u64)>, seed: u64) -> Self {
        let (wards, mut manner) = (rules.children.into_iter().zip(record), None);
        let wards = wards.map(|(child, (epoch, restarts))| {
            Ward::new(Manner::of(child, &mut manner), rules.intensity, epoch, restarts)
        });
        let wards: Row<Ward> = wards.collect();
        let mut tally = Tally::default();
        wards.iter().for_each(|(_, ward)| tally.add(ward));
        Self {
            strategy: rules.strategy,
            auto_shutdown: rules.auto_shutdown,
            pool: rules.pool,
            wards,
            manner,
            tally,
            low: 0,
            high: 0,
            shared: Window::new(rules.intensity),
            course: Course::Idle,
            dice: Dice(seed),
        }
    }

    /// `None` for one that was taken out. The children of [`Rules`] are numbered from 0, in their order.
    pub fn ward(&self, child: usize) -> Option<&Ward> {
        self.wards.get(child)
    }

    pub fn has(&self, child: usize) -> bool {
        self.wards.get(child).is_some()
    }

    /// The supervisor stops its children, or has.
    pub fn is_closing(&self) -> bool {
        matches!(self.course, Course::Closing { .. } | Course::Closed)
    }

    /// Whether [`Event::Restart`] would do anything for the child.
    pub fn can_restart(&self, child: usize) -> bool {
        let is_down =
            |phase: &Phase| phase.is_for_good() || matches!(phase, Phase::Waiting { .. } | Phase::Quarantined { .. });
        self.ward(child).is_some_and(|ward| is_down(&ward.phase)) && !self.is_closing()
    }

    /// Writes down what `event` says. Returns the child it was about.
    fn absorb(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) -> Option<usize> {
        match event {
            Event::Begin => {
                if self.course == Course::Idle {
                    self.course = Course::Opening;
                }
                None
            }
            Event::Started { child, epoch } => {
                if self.is_present(child, epoch) {
                    self.started(child, now, actions);
                }
                Some(child)
            }
            Event::Ended { child, epoch, exit } => {
                if self.is_present(child, epoch) {
                    self.ended(child, exit, now, actions);
                }
                Some(child)
            }
            Event::Lingers { child, epoch, exit } => {
                if self.is_present(child, epoch) && self.wards[child].phase.is_alive() {
                    self.wards[child].remember(exit);
                    actions.push(Action::Disarm { child });
                    self.stuck(child, actions);
                }
                Some(child)
            }
            Event::Due { child, epoch, timer } => {
                if self.is_present(child, epoch) {
                    self.due(child, timer, now, actions);
                }
                Some(child)
            }
            Event::Unhealthy { child, epoch, fault } => {
                if self.is_present(child, epoch)
                    && let Phase::Running { since } = self.wards[child].phase
                {
                    self.kill(child, Sentence::Unhealthy { fault, since }, now, actions);
                }
                Some(child)
            }
            Event::Healthy { child, epoch } => {
                if self.is_present(child, epoch) && self.wards[child].phase.is_alive() {
                    self.wards[child].failures = 0;
                }
                Some(child)
            }
            Event::Restart { child } => {
                if self.can_restart(child) {
                    self.wards[child].forgive();
                    self.set(child, Phase::Down);
                    actions.push(Action::Disarm { child });
                    actions.push(Action::Record { child, epoch: self.wards[child].epoch, what: What::Released });
                }
                Some(child)
            }
            Event::Add { child, epoch, rules } => {
                if !self.is_closing() {
                    let rules = Manner::of(rules, &mut self.manner);
                    let mut ward = Ward::new(rules, self.shared.budget, epoch, 0);
                    ward.on_probation = true;
                    self.tally.add(&ward);
                    self.low = self.low.min(child);
                    assert_eq!(self.wards.push(ward), child, "children are numbered in the order of their addition");
                }
                Some(child)
            }
            Event::Change(change) => {
                if !self.is_closing() {
                    self.obey(*change);
                }
                None
            }
            Event::Terminate { child } => {
                self.leave(child, Leaving::ToRest, now, actions);
                Some(child)
            }
            Event::Remove { child } => {
                self.leave(child, Leaving::ForGood, now, actions);
                Some(child)
            }
            Event::Stop => {
                self.close(Exit::Shutdown);
                None
            }
        }
    }

    fn obey(&mut self, Change { rules, children, added }: Change) {
        for (child, child_rules) in children {
            let (_, child_rules) = Manner::of(child_rules, &mut self.manner);
            self.change(child, |ward| ward.obey(child_rules, rules.intensity));
        }
        for (epoch, child_rules) in added {
            let child_rules = Manner::of(child_rules, &mut self.manner);
            let mut ward = Ward::new(child_rules, rules.intensity, epoch, 0);
            ward.phase = Phase::Done;
            self.tally.add(&ward);
            self.wards.push(ward);
        }
        if rules.strategy == Strategy::OneForOne {
            // Who was marked to end with its group, and has not been asked to, need not.
            for (_, ward) in self.wards.range_mut(..) {
                let spared = ward.recycle && matches!(ward.phase, Phase::Starting | Phase::Running { .. });
                self.tally.take(ward);
                ward.recycle &= !spared;
                self.tally.add(ward);
            }
        }
        self.strategy = rules.strategy;
        self.auto_shutdown = rules.auto_shutdown;
        self.shared.budget = rules.intensity;
        (self.low, self.high) = (0, usize::MAX);
    }

    /// Whether there is such a child, in this incarnation.
    fn is_present(&self, child: usize, epoch: u64) -> bool {
        self.wards.get(child).is_some_and(|ward| ward.epoch == epoch)
    }

    /// The one way to change what is counted.
    fn change(&mut self, child: usize, change: impl FnOnce(&mut Ward)) {
        let ward = &mut self.wards[child];
        self.tally.take(ward);
        change(ward);
        self.tally.add(ward);
        if matches!(ward.phase, Phase::Down | Phase::Waiting { .. }) {
            self.low = self.low.min(child);
        }
    }

    fn set(&mut self, child: usize, phase: Phase) {
        self.change(child, |ward| ward.phase = phase);
    }

    /// The first reason to end is the one that counts.
    fn close(&mut self, exit: Exit) {
        if !self.is_closing() {
            self.course = Course::Closing { exit };
            self.high = usize::MAX;
        }
    }

    fn started(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        // Asked to stop before it was up: it stays on its way down.
        if self.wards[child].phase != Phase::Starting {
            return;
        }
        self.set(child, Phase::Running { since: now });
        actions.push(Action::Disarm { child });
        actions.push(Action::Record { child, epoch: self.wards[child].epoch, what: What::Started });
        self.admit(child, actions);
    }

    fn admit(&mut self, child: usize, actions: &mut Vec<Action>) {
        if std::mem::take(&mut self.wards[child].on_probation) {
            actions.push(Action::Admit { child });
        }
    }

    /// Somebody wants the child down.
    fn leave(&mut self, child: usize, leaving: Leaving, now: Moment, actions: &mut Vec<Action>) {
        if self.is_closing() || self.wards.get(child).is_none() {
            return;
        }
        let ward = &mut self.wards[child];
        if ward.phase.is_alive() {
            // Who is to be forgotten stays so.
            ward.leaving = ward.leaving.filter(|earlier| *earlier == Leaving::ForGood).or(Some(leaving));
            self.stop(child, now, actions);
        } else if ward.phase == Phase::Stuck {
            actions.push(Action::Keep { child });
        } else {
            actions.push(Action::Disarm { child });
            self.left(child, leaving, actions);
        }
    }

    /// Somebody wanted the child down, and it is.
    fn left(&mut self, child: usize, leaving: Leaving, actions: &mut Vec<Action>) {
        let ward = &self.wards[child];
        if leaving == Leaving::ForGood || ward.on_probation || ward.is_transitory(self.pool) {
            self.forget(child, actions);
            return;
        }
        let epoch = ward.epoch;
        if matches!(ward.phase, Phase::Down | Phase::Waiting { .. }) {
            self.set(child, Phase::Done);
            actions.push(Action::Record { child, epoch, what: What::Terminated });
        }
        actions.push(Action::Rest { child });
    }

    fn forget(&mut self, child: usize, actions: &mut Vec<Action>) {
        if let Some(mut ward) = self.wards.remove(child) {
            self.tally.take(&ward);
            actions.push(Action::Forget { child, epoch: ward.epoch, last_exit: ward.exits.pop_back() });
        }
    }

    fn due(&mut self, child: usize, timer: Timer, now: Moment, actions: &mut Vec<Action>) {
        match (timer, &self.wards[child].phase) {
            (Timer::Backoff, Phase::Waiting { until }) if *until <= now => self.set(child, Phase::Down),
            (Timer::Start, Phase::Starting) => self.kill(child, Sentence::Start, now, actions),
            (Timer::Stop, Phase::Stopping) => self.kill(child, Sentence::Stop, now, actions),
            (Timer::Confirm, Phase::Killing(sentence)) => self.abort(child, *sentence, now, actions),
            (Timer::Confirm, Phase::Aborting(_)) => self.stuck(child, actions),
            // The child moved on while the timer fired.
            _ => {}
        }
    }

    fn kill(&mut self, child: usize, sentence: Sentence, now: Moment, actions: &mut Vec<Action>) {
        let epoch = self.wards[child].epoch;
        self.set(child, Phase::Killing(sentence));
        actions.push(Action::Record { child, epoch, what: What::Killing });
        actions.push(Action::Kill { child, epoch });
        actions.push(Action::Arm { child, epoch, timer: Timer::Confirm, at: now + KILL_CONFIRM });
    }

    fn abort(&mut self, child: usize, sentence: Sentence, now: Moment, actions: &mut Vec<Action>) {
        let epoch = self.wards[child].epoch;
        self.set(child, Phase::Aborting(sentence));
        actions.push(Action::Record { child, epoch, what: What::Aborting });
        actions.push(Action::Abort { child, epoch });
        actions.push(Action::Arm { child, epoch, timer: Timer::Confirm, at: now + ABORT_CONFIRM });
    }

    /// Gives up on ending the child. Nobody may start in its place, so its supervisor ends or does without.
    fn stuck(&mut self, child: usize, actions: &mut Vec<Action>) {
        self.change(child, |ward| {
            ward.phase = Phase::Stuck;
            ward.recycle = false;
        });
        let ward = &mut self.wards[child];
        ward.remember(Exit::Unresponsive);
        let awaited = ward.leaving.take().is_some() || ward.on_probation;
        let verdict = match (&self.course, ward.rules.on_exhausted) {
            (Course::Closing { .. } | Course::Closed, _) => Verdict::AsOrdered,
            // Nobody needs it: whoever wanted it gone, or here, learns that it is neither.
            _ if awaited => Verdict::Quarantine,
            (Course::Steady, Exhausted::Quarantine | Exhausted::Stop) => Verdict::Quarantine,
            _ => Verdict::Escalate,
        };
        if verdict == Verdict::Escalate {
            self.give_up(child);
        }
        self.record_exit(child, Exit::Unresponsive, verdict, actions);
        if awaited {
            actions.push(Action::Keep { child });
        }
    }

    fn ended(&mut self, child: usize, exit: Exit, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        let (exit, up_since) = match ward.phase {
            Phase::Running { since } => (exit, Some(since)),
            Phase::Stopping if exit == Exit::Normal => (Exit::Shutdown, None),
            Phase::Killing(Sentence::Unhealthy { fault, since })
            | Phase::Aborting(Sentence::Unhealthy { fault, since }) => match exit {
                Exit::Killed | Exit::Aborted => (Exit::Unhealthy(fault), Some(since)),
                // It was quicker, and knows better.
                exit => (exit, Some(since)),
            },
            Phase::Killing(Sentence::Start) | Phase::Aborting(Sentence::Start) => {
                let limit = ward.rules.start_timeout.unwrap_or_default();
                (Exit::StartFailed(StartFault::TimedOut { limit }), None)
            }
            Phase::Starting | Phase::Stopping | Phase::Killing(Sentence::Stop) | Phase::Aborting(Sentence::Stop) => {
                (exit, None)
            }
            Phase::Stuck => {
                self.set(child, Phase::Quarantined { reason: Exit::Unresponsive });
                let ward = &self.wards[child];
                let (epoch, on_probation) = (ward.epoch, ward.on_probation);
                actions.push(Action::Record { child, epoch, what: What::EndedLate });
                if on_probation {
                    self.forget(child, actions);
                }
                return;
            }
            Phase::Down | Phase::Waiting { .. } | Phase::Done | Phase::Over | Phase::Quarantined { .. } => return,
        };
        ward.remember(exit.clone());
        actions.push(Action::Disarm { child });
        let verdict = self.judge(child, &exit, up_since, now);
        let is_kept = self.carry_out(child, &exit, verdict, now, actions);
        self.record_exit(child, exit, verdict, actions);
        match self.wards[child].leaving.take() {
            Some(leaving) => self.left(child, leaving, actions),
            None if is_kept => {}
            None => self.forget(child, actions),
        }
    }

    fn record_exit(&self, child: usize, exit: Exit, verdict: Verdict, actions: &mut Vec<Action>) {
        let epoch = self.wards[child].epoch;
        actions.push(Action::Record { child, epoch, what: What::Exited { exit, verdict } });
    }

    /// The one place where an end is judged. Read top to bottom: the first that applies.
    fn judge(&mut self, child: usize, exit: &Exit, up_since: Option<Moment>, now: Moment) -> Verdict {
        let ward = &self.wards[child];
        if self.is_closing() || ward.recycle || ward.leaving.is_some() {
            return Verdict::AsOrdered;
        }
        if *exit == Exit::Ignored {
            return Verdict::Done;
        }
        if ward.on_probation {
            return Verdict::TakeOut;
        }
        if matches!(exit, Exit::StartFailed(StartFault::Unrecoverable { .. })) {
            return Verdict::Quarantine;
        }
        if self.course == Course::Opening && up_since.is_none() {
            return Verdict::Escalate;
        }
        match ward.rules.restart {
            Restart::Temporary => return self.for_good(child, Verdict::Done),
            Restart::Transient if exit.is_peaceful() => return self.for_good(child, Verdict::Done),
            Restart::Transient | Restart::Permanent => {}
        }
        let ward = &mut self.wards[child];
        // Both are charged before either is judged, so that each alone tells the truth about its window.
        let own_covers = ward.own.as_mut().is_none_or(|own| own.charge(now));
        let policy = ward.rules.on_exhausted;
        let all_cover = policy != Exhausted::Escalate || self.shared.charge(now);
        if !(own_covers && all_cover) {
            return match policy {
                Exhausted::Escalate => Verdict::Escalate,
                Exhausted::Quarantine => Verdict::Quarantine,
                Exhausted::Stop => self.for_good(child, Verdict::Stop),
            };
        }
        let backoff = ward.rules.backoff;
        if up_since.is_some_and(|since| now.saturating_sub(since) >= backoff.healthy_after) {
            ward.failures = 0;
        }
        let random = if ward.failures == 0 { 0 } else { self.dice.roll() };
        let after = backoff.delay(ward.failures, random);
        ward.failures = ward.failures.saturating_add(1);
        Verdict::Restart { after }
    }

    /// The verdict on an end of its own after which the child does not come back: the supervisor may end with it.
    fn for_good(&self, child: usize, otherwise: Verdict) -> Verdict {
        let is_the_end = match self.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            // The one that has just ended still counts.
            AutoShutdown::AllSignificant => self.tally.significant == 1,
        };
        if self.wards[child].rules.significant && is_the_end { Verdict::AutoShutdown } else { otherwise }
    }

    /// Returns whether the child stays in the specification.
    fn carry_out(
        &mut self,
        child: usize,
        exit: &Exit,
        verdict: Verdict,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> bool {
        let ward = &mut self.wards[child];
        let transitory = ward.is_transitory(self.pool);
        match verdict {
            Verdict::Restart { after } => {
                ward.restarts += 1;
                if after.is_zero() {
                    self.set(child, Phase::Down);
                } else {
                    let (epoch, until) = (ward.epoch, now + after);
                    self.set(child, Phase::Waiting { until });
                    actions.push(Action::Arm { child, epoch, timer: Timer::Backoff, at: until });
                }
                self.recycle_with(child);
                true
            }
            Verdict::Done => {
                self.set(child, Phase::Done);
                self.admit(child, actions);
                !transitory
            }
            Verdict::Stop => {
                self.set(child, Phase::Over);
                !transitory
            }
            Verdict::AutoShutdown => {
                let cause = ward.cause();
                self.set(child, Phase::Done);
                if self.course == Course::Opening {
                    // It did come up, and ends in peace: not a start that failed.
                    actions.push(Action::Up);
                }
                self.close(Exit::AutoShutdown(cause));
                !transitory
            }
            Verdict::TakeOut => {
                self.set(child, Phase::Done);
                false
            }
            Verdict::Quarantine => {
                self.set(child, Phase::Quarantined { reason: exit.clone() });
                true
            }
            Verdict::Escalate => {
                self.set(child, Phase::Down);
                self.give_up(child);
                true
            }
            Verdict::AsOrdered => {
                // Whoever added it still waits for it.
                let gone = ward.recycle && ward.rules.restart == Restart::Temporary && !ward.on_probation;
                self.change(child, |ward| {
                    ward.phase = Phase::Down;
                    ward.recycle = false;
                });
                !gone
            }
        }
    }

    /// Marks those who must end because `child` did, and lets those start again with them that had ended for good.
    fn recycle_with(&mut self, child: usize) {
        let group = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => child,
        };
        for (at, other) in self.wards.range_mut(group..) {
            self.tally.take(other);
            other.recycle = at != child && other.phase.is_alive();
            if other.phase == Phase::Done {
                other.phase = Phase::Down;
                self.low = self.low.min(at);
            }
            self.tally.add(other);
        }
        self.high = usize::MAX;
    }

    fn give_up(&mut self, child: usize) {
        let cause = self.wards[child].cause();
        let exit = match self.course {
            Course::Opening => Exit::StartFailed(StartFault::Child(cause)),
            _ => Exit::Escalated(cause),
        };
        self.close(exit);
    }

    /// Orders the next stops and starts.
    fn reconcile(&mut self, touched: Option<usize>, now: Moment, actions: &mut Vec<Action>) {
        match &self.course {
            Course::Idle | Course::Closed => {}
            Course::Closing { exit } if self.tally.alive == 0 => {
                let exit = exit.clone();
                self.course = Course::Closed;
                actions.push(Action::End { exit });
            }
            Course::Closing { .. } if self.pool => {
                if std::mem::take(&mut self.high) > 0 {
                    let members: Vec<_> = self.wards.iter().map(|(child, _)| child).collect();
                    for child in members {
                        self.stop(child, now, actions);
                    }
                }
            }
            Course::Closing { .. } => {
                if let Some(last) = self.last(|ward| ward.phase.is_alive()) {
                    self.stop(last, now, actions);
                }
            }
            // Nobody depends on anybody, so an event moves no child but its own: a restart costs the same among ten
            // thousand siblings.
            Course::Steady if self.strategy == Strategy::OneForOne => {
                let is_down = |child: &usize| self.wards.get(*child).is_some_and(|ward| ward.phase == Phase::Down);
                if touched.is_none() && self.tally.down > 0 {
                    // They waited for their turn, under another strategy.
                    let down: Vec<_> = self.wards.iter().map(|(child, _)| child).filter(is_down).collect();
                    for child in down {
                        self.start(child, now, actions);
                    }
                } else if let Some(child) = touched.filter(is_down) {
                    self.start(child, now, actions);
                }
            }
            Course::Opening | Course::Steady => {
                if self.tally.marked == 0 {
                    self.start_next(now, actions);
                } else if let Some(last) = self.last(|ward| ward.recycle) {
                    self.stop(last, now, actions);
                }
            }
        }
    }

    /// The last in start order of whom this is true, and it is of nobody from `high` on.
    fn last(&mut self, is_so: impl Fn(&Ward) -> bool) -> Option<usize> {
        let last = self.wards.range(..self.high).rev().find(|(_, ward)| is_so(ward)).map(|(child, _)| child);
        self.high = last.map_or(0, |last| last + 1);
        last
    }

    /// In start order and one at a time: a child may need all that come before it.
    fn start_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.tally.busy > 0 || self.strategy == Strategy::OneForAll && self.tally.waiting > 0 {
            return;
        }
        let grouped = self.strategy != Strategy::OneForOne;
        let left = self.tally.down + if grouped { self.tally.waiting } else { 0 };
        let from = if left == 0 { usize::MAX } else { self.low };
        let next = self.wards.range(from..).find(|(_, ward)| match ward.phase {
            Phase::Down => true,
            Phase::Waiting { .. } => grouped,
            _ => false,
        });
        if let Some((child, is_down)) = next.map(|(child, ward)| (child, ward.phase == Phase::Down)) {
            self.low = child;
            if is_down {
                self.start(child, now, actions);
            }
        } else {
            self.low = usize::MAX;
            if self.course == Course::Opening {
                self.course = Course::Steady;
                actions.push(Action::Up);
            }
        }
    }

    fn start(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        self.set(child, Phase::Starting);
        let ward = &mut self.wards[child];
        ward.epoch += 1;
        let epoch = ward.epoch;
        actions.push(Action::Record { child, epoch, what: What::Starting });
        actions.push(Action::Start { child, epoch });
        if let Some(limit) = ward.rules.start_timeout {
            actions.push(Action::Arm { child, epoch, timer: Timer::Start, at: now + limit });
        }
    }

    /// Does nothing if the child is on its way down already, or is down.
    fn stop(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        let ward = &self.wards[child];
        if !matches!(ward.phase, Phase::Starting | Phase::Running { .. }) {
            return;
        }
        let (epoch, shutdown) = (ward.epoch, ward.rules.shutdown);
        if shutdown == Shutdown::BrutalKill {
            self.kill(child, Sentence::Stop, now, actions);
            return;
        }
        self.set(child, Phase::Stopping);
        actions.push(Action::Record { child, epoch, what: What::Stopping });
        actions.push(Action::Stop { child, epoch });
        match shutdown {
            Shutdown::Within(limit) => actions.push(Action::Arm { child, epoch, timer: Timer::Stop, at: now + limit }),
            Shutdown::Unlimited | Shutdown::BrutalKill => actions.push(Action::Disarm { child }),
        }
    }
}

/// How many actions nearly always suffice. So many follow when a child ends and is restarted.
const ACTIONS: usize = 5;

/// Takes in `event` and says what to do about it.
pub fn step(state: &mut State, event: Event, now: Moment) -> Vec<Action> {
    let mut actions = Vec::with_capacity(ACTIONS);
    let touched = state.absorb(event, now, &mut actions);
    state.reconcile(touched, now, &mut actions);
    actions
}
