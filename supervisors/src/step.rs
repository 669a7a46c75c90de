//! The decision core: what one supervisor does next.
//!
//! [`step`] takes in one [`Event`] and answers with the [`Action`]s that follow. It runs in two halves: *absorb* writes
//! down what the event says about one child, and *reconcile* compares the children with what they should be and orders
//! the next stop or start. Because reconcile looks only at the present state, no interleaving of ends, timers and
//! requests needs a case of its own: a group restart is nothing but a mark on the children that must end first.
//!
//! No I/O, no clock, no randomness: time comes with each event, jitter from a seed in the state, and the caller carries
//! out the actions. The same events give the same actions for ever.
//!
//! # Invariants
//! 1. `Start` is issued only for a child whose last incarnation has been reported as ended.
//! 2. Among children that are stopped together, the next `Stop` waits until the one after it in start order has ended.
//! 3. An event about an epoch that is over changes nothing.
//! 4. At most one timer per child is armed.
//! 5. A child that is added comes after all others. Until it has come up once it is on probation: if it does not come
//!    up it is taken out, and nobody is charged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, Dice};
use crate::report::{Cause, Exit, StartFault, Verdict, What};
use crate::row::Row;
use crate::spec::{Budget, Exhausted, Restart, Strategy};

/// Time since the tree was started. Never falls.
pub type Moment = Duration;

/// How long a killed child may take to end before it counts as unresponsive. A kill takes effect at the next await of
/// the child, so only one that blocks its thread needs more than microseconds.
pub const KILL_CONFIRM: Duration = Duration::from_secs(5);

/// How many of its last ends a child remembers, for the cause of an escalation.
const EXITS_REMEMBERED: usize = 5;

/// The rules of one supervisor, everything inherited filled in.
#[derive(Clone, Debug)]
pub struct Rules {
    pub strategy: Strategy,
    pub intensity: Budget,
    pub children: Vec<ChildRules>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRules {
    pub path: Arc<str>,
    pub restart: Restart,
    /// `None`: as long as it takes, because it is a supervisor whose own children are limited.
    pub shutdown: Option<Duration>,
    pub start_timeout: Option<Duration>,
    pub backoff: Backoff,
    pub budget: Option<Budget>,
    pub on_exhausted: Exhausted,
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
    /// Somebody wants the child to end, and then to be forgotten.
    Remove {
        child: usize,
    },
    /// Somebody wants this supervisor to end in order.
    Stop,
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
    /// No more of this child: it was removed, or added and did not come up.
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
    /// Over for good, in peace.
    Done,
    /// Dead until released.
    Quarantined {
        reason: Exit,
    },
    /// Killed, and not seen to have ended. It cannot be released while it lives.
    Stuck,
}

/// Why a child was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// It did not stop in time.
    Stop,
    /// It did not start in time.
    Start,
}

/// One child and its record.
#[derive(Clone, Debug)]
pub struct Ward {
    pub phase: Phase,
    pub epoch: u64,
    /// Ends of its own that were answered by a restart.
    pub restarts: u64,
    exits: VecDeque<Exit>,
    rules: ChildRules,
    /// Failures in a row; what the back-off grows with.
    failures: u32,
    own: Option<Window>,
    /// It must end because one it depends on did; until then nobody is started.
    recycle: bool,
    /// It was added, and has not come up yet.
    on_probation: bool,
    /// It is forgotten when it has ended.
    leaving: bool,
}

impl Ward {
    fn new(rules: ChildRules, intensity: Budget, epoch: u64, restarts: u64) -> Self {
        let own = match rules.on_exhausted {
            Exhausted::Quarantine => Some(rules.budget.unwrap_or(intensity)),
            Exhausted::Escalate => rules.budget,
        };
        Self {
            phase: Phase::Down,
            epoch,
            restarts,
            exits: VecDeque::new(),
            rules,
            failures: 0,
            own: own.map(Window::new),
            recycle: false,
            on_probation: false,
            leaving: false,
        }
    }

    pub fn last_exit(&self) -> Option<&Exit> {
        self.exits.back()
    }

    fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running { .. } | Phase::Stopping | Phase::Killing(_))
    }

    fn remember(&mut self, exit: Exit) {
        if self.exits.len() == EXITS_REMEMBERED {
            self.exits.pop_front();
        }
        self.exits.push_back(exit);
    }

    fn cause(&self) -> Arc<Cause> {
        let exits = self.exits.iter().cloned().collect();
        Arc::new(Cause { path: self.rules.path.to_string(), epoch: self.epoch, exits })
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

/// All that one incarnation of a supervisor knows.
#[derive(Clone, Debug)]
pub struct State {
    strategy: Strategy,
    wards: Row<Ward>,
    shared: Window,
    course: Course,
    dice: Dice,
}

impl State {
    /// `epochs` are the latest epochs that the children reached under an earlier incarnation of this supervisor, and
    /// `restarts` its counts of their restarts: both go on counting.
    pub fn new(rules: Rules, record: impl IntoIterator<Item = (u64, u64)>, seed: u64) -> Self {
        let wards = rules.children.into_iter().zip(record);
        let wards = wards.map(|(child, (epoch, restarts))| Ward::new(child, rules.intensity, epoch, restarts));
        Self {
            strategy: rules.strategy,
            wards: wards.collect(),
            shared: Window::new(rules.intensity),
            course: Course::Idle,
            dice: Dice(seed),
        }
    }

    /// `None` for one that was taken out. The children of [`Rules`] are numbered from 0, in their order.
    pub fn ward(&self, child: usize) -> Option<&Ward> {
        self.wards.get(child)
    }

    /// The supervisor stops its children, or has.
    pub fn is_closing(&self) -> bool {
        matches!(self.course, Course::Closing { .. } | Course::Closed)
    }

    /// Whether [`Event::Restart`] would do anything for the child.
    pub fn can_restart(&self, child: usize) -> bool {
        let is_down = |phase: &Phase| matches!(phase, Phase::Waiting { .. } | Phase::Done | Phase::Quarantined { .. });
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
                if self.is_present(child, epoch) && self.wards[child].is_alive() {
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
            Event::Restart { child } => {
                if self.can_restart(child) {
                    let ward = &mut self.wards[child];
                    ward.forgive();
                    ward.phase = Phase::Down;
                    actions.push(Action::Disarm { child });
                    actions.push(Action::Record { child, epoch: ward.epoch, what: What::Released });
                }
                Some(child)
            }
            Event::Add { child, epoch, rules } => {
                if !self.is_closing() {
                    let mut ward = Ward::new(rules, self.shared.budget, epoch, 0);
                    ward.on_probation = true;
                    assert_eq!(self.wards.push(ward), child, "children are numbered in the order of their addition");
                }
                Some(child)
            }
            Event::Remove { child } => {
                if !self.is_closing() && self.wards.get(child).is_some() {
                    self.remove(child, now, actions);
                }
                Some(child)
            }
            Event::Stop => {
                if !self.is_closing() {
                    self.course = Course::Closing { exit: Exit::Shutdown };
                }
                None
            }
        }
    }

    /// Whether there is such a child, in this incarnation.
    fn is_present(&self, child: usize, epoch: u64) -> bool {
        self.wards.get(child).is_some_and(|ward| ward.epoch == epoch)
    }

    fn started(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        // Asked to stop before it was up: it stays on its way down.
        if ward.phase != Phase::Starting {
            return;
        }
        ward.phase = Phase::Running { since: now };
        actions.push(Action::Disarm { child });
        actions.push(Action::Record { child, epoch: ward.epoch, what: What::Started });
        if ward.on_probation {
            ward.on_probation = false;
            actions.push(Action::Admit { child });
        }
    }

    fn remove(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        if ward.is_alive() {
            ward.leaving = true;
            self.stop(child, now, actions);
        } else if ward.phase == Phase::Stuck {
            actions.push(Action::Keep { child });
        } else {
            actions.push(Action::Disarm { child });
            self.forget(child, actions);
        }
    }

    fn forget(&mut self, child: usize, actions: &mut Vec<Action>) {
        if let Some(mut ward) = self.wards.remove(child) {
            actions.push(Action::Forget { child, epoch: ward.epoch, last_exit: ward.exits.pop_back() });
        }
    }

    fn due(&mut self, child: usize, timer: Timer, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        match (timer, &ward.phase) {
            (Timer::Backoff, Phase::Waiting { until }) if *until <= now => ward.phase = Phase::Down,
            (Timer::Start, Phase::Starting) => self.kill(child, Sentence::Start, now, actions),
            (Timer::Stop, Phase::Stopping) => self.kill(child, Sentence::Stop, now, actions),
            (Timer::Confirm, Phase::Killing(_)) => self.stuck(child, actions),
            // The child moved on while the timer fired.
            _ => {}
        }
    }

    fn kill(&mut self, child: usize, sentence: Sentence, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        let epoch = ward.epoch;
        ward.phase = Phase::Killing(sentence);
        actions.push(Action::Record { child, epoch, what: What::Killing });
        actions.push(Action::Kill { child, epoch });
        actions.push(Action::Arm { child, epoch, timer: Timer::Confirm, at: now + KILL_CONFIRM });
    }

    /// Gives up on ending the child. Nobody may start in its place, so its supervisor ends or does without.
    fn stuck(&mut self, child: usize, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        ward.remember(Exit::Unresponsive);
        ward.recycle = false;
        let awaited = ward.leaving || ward.on_probation;
        ward.leaving = false;
        let verdict = match (&self.course, ward.rules.on_exhausted) {
            (Course::Closing { .. } | Course::Closed, _) => Verdict::AsOrdered,
            // Nobody needs it: whoever wanted it gone, or here, learns that it is neither.
            _ if awaited => Verdict::Quarantine,
            (Course::Steady, Exhausted::Quarantine) => Verdict::Quarantine,
            _ => Verdict::Escalate,
        };
        ward.phase = Phase::Stuck;
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
            Phase::Killing(Sentence::Start) => {
                let limit = ward.rules.start_timeout.unwrap_or_default();
                (Exit::StartFailed(StartFault::TimedOut { limit }), None)
            }
            Phase::Starting | Phase::Stopping | Phase::Killing(Sentence::Stop) => (exit, None),
            Phase::Stuck => {
                ward.phase = Phase::Quarantined { reason: Exit::Unresponsive };
                actions.push(Action::Record { child, epoch: ward.epoch, what: What::EndedLate });
                if ward.on_probation {
                    self.forget(child, actions);
                }
                return;
            }
            Phase::Down | Phase::Waiting { .. } | Phase::Done | Phase::Quarantined { .. } => return,
        };
        ward.remember(exit.clone());
        actions.push(Action::Disarm { child });
        let verdict = self.judge(child, &exit, up_since, now);
        self.carry_out(child, &exit, verdict, now, actions);
        self.record_exit(child, exit, verdict, actions);
        if self.wards[child].leaving || verdict == Verdict::TakeOut {
            self.forget(child, actions);
        }
    }

    fn record_exit(&self, child: usize, exit: Exit, verdict: Verdict, actions: &mut Vec<Action>) {
        let epoch = self.wards[child].epoch;
        actions.push(Action::Record { child, epoch, what: What::Exited { exit, verdict } });
    }

    /// The one place where an end is judged. Read top to bottom: the first that applies.
    fn judge(&mut self, child: usize, exit: &Exit, up_since: Option<Moment>, now: Moment) -> Verdict {
        let ward = &mut self.wards[child];
        if self.course == Course::Closed
            || matches!(self.course, Course::Closing { .. })
            || ward.recycle
            || ward.leaving
        {
            return Verdict::AsOrdered;
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
            Restart::Temporary => return Verdict::Done,
            Restart::Transient if exit.is_peaceful() => return Verdict::Done,
            Restart::Transient | Restart::Permanent => {}
        }
        // Both are charged before either is judged, so that each alone tells the truth about its window.
        let own_covers = ward.own.as_mut().is_none_or(|own| own.charge(now));
        let policy = ward.rules.on_exhausted;
        let all_cover = policy == Exhausted::Quarantine || self.shared.charge(now);
        if !(own_covers && all_cover) {
            return match policy {
                Exhausted::Escalate => Verdict::Escalate,
                Exhausted::Quarantine => Verdict::Quarantine,
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

    fn carry_out(&mut self, child: usize, exit: &Exit, verdict: Verdict, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        match verdict {
            Verdict::Restart { after } => {
                ward.restarts += 1;
                if after.is_zero() {
                    ward.phase = Phase::Down;
                } else {
                    let (epoch, until) = (ward.epoch, now + after);
                    ward.phase = Phase::Waiting { until };
                    actions.push(Action::Arm { child, epoch, timer: Timer::Backoff, at: until });
                }
                self.recycle_with(child);
            }
            Verdict::Done | Verdict::TakeOut => ward.phase = Phase::Done,
            Verdict::Quarantine => ward.phase = Phase::Quarantined { reason: exit.clone() },
            Verdict::Escalate => {
                ward.phase = Phase::Down;
                self.give_up(child);
            }
            Verdict::AsOrdered => {
                // Whoever added it still waits for it.
                let gone = ward.rules.restart == Restart::Temporary && ward.recycle && !ward.on_probation;
                ward.recycle = false;
                ward.phase = if gone { Phase::Done } else { Phase::Down };
            }
        }
    }

    /// Marks those who must end because `child` did.
    fn recycle_with(&mut self, child: usize) {
        let group = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => child,
        };
        for (at, other) in self.wards.iter_mut().filter(|(at, _)| *at >= group) {
            other.recycle = at != child && other.is_alive();
        }
    }

    fn give_up(&mut self, child: usize) {
        let cause = self.wards[child].cause();
        let exit = match self.course {
            Course::Opening => Exit::StartFailed(StartFault::Child(cause)),
            _ => Exit::Escalated(cause),
        };
        self.course = Course::Closing { exit };
    }

    /// Orders the next stops and starts.
    fn reconcile(&mut self, touched: Option<usize>, now: Moment, actions: &mut Vec<Action>) {
        match &self.course {
            Course::Idle | Course::Closed => {}
            Course::Closing { exit } => {
                let exit = exit.clone();
                if let Some(last) = self.last(Ward::is_alive) {
                    self.stop(last, now, actions);
                } else {
                    self.course = Course::Closed;
                    actions.push(Action::End { exit });
                }
            }
            // Nobody depends on anybody, so an event moves no child but its own: a restart costs the same among ten
            // thousand siblings.
            Course::Steady if self.strategy == Strategy::OneForOne => {
                let is_down = |child: &usize| self.wards.get(*child).is_some_and(|ward| ward.phase == Phase::Down);
                if let Some(child) = touched.filter(is_down) {
                    self.start(child, now, actions);
                }
            }
            Course::Opening | Course::Steady => {
                if let Some(last) = self.last(|ward| ward.recycle) {
                    self.stop(last, now, actions);
                } else {
                    self.start_next(now, actions);
                }
            }
        }
    }

    /// The last in start order of whom this is true.
    fn last(&self, is_so: impl Fn(&Ward) -> bool) -> Option<usize> {
        self.wards.iter().rev().find(|(_, ward)| is_so(ward)).map(|(child, _)| child)
    }

    /// In start order and one at a time: a child may need all that come before it.
    fn start_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let grouped = self.strategy != Strategy::OneForOne;
        let holds_all = |ward: &Ward| match ward.phase {
            Phase::Starting | Phase::Stopping | Phase::Killing(_) => true,
            Phase::Waiting { .. } => self.strategy == Strategy::OneForAll,
            _ => false,
        };
        if self.wards.iter().any(|(_, ward)| holds_all(ward)) {
            return;
        }
        let next = self.wards.iter().find(|(_, ward)| match ward.phase {
            Phase::Down => true,
            Phase::Waiting { .. } => grouped,
            _ => false,
        });
        if let Some((child, is_down)) = next.map(|(child, ward)| (child, ward.phase == Phase::Down)) {
            if is_down {
                self.start(child, now, actions);
            }
        } else if self.course == Course::Opening {
            self.course = Course::Steady;
            actions.push(Action::Up);
        }
    }

    fn start(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        ward.epoch += 1;
        ward.phase = Phase::Starting;
        let epoch = ward.epoch;
        actions.push(Action::Record { child, epoch, what: What::Starting });
        actions.push(Action::Start { child, epoch });
        if let Some(limit) = ward.rules.start_timeout {
            actions.push(Action::Arm { child, epoch, timer: Timer::Start, at: now + limit });
        }
    }

    /// Does nothing if the child is on its way down already.
    fn stop(&mut self, child: usize, now: Moment, actions: &mut Vec<Action>) {
        let ward = &mut self.wards[child];
        if !matches!(ward.phase, Phase::Starting | Phase::Running { .. }) {
            return;
        }
        ward.phase = Phase::Stopping;
        let epoch = ward.epoch;
        actions.push(Action::Record { child, epoch, what: What::Stopping });
        actions.push(Action::Stop { child, epoch });
        match ward.rules.shutdown {
            Some(limit) => actions.push(Action::Arm { child, epoch, timer: Timer::Stop, at: now + limit }),
            None => actions.push(Action::Disarm { child }),
        }
    }
}

/// Takes in `event` and says what to do about it.
pub fn step(state: &mut State, event: Event, now: Moment) -> Vec<Action> {
    let mut actions = Vec::new();
    let touched = state.absorb(event, now, &mut actions);
    state.reconcile(touched, now, &mut actions);
    actions
}
