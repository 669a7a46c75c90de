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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, Dice};
use crate::report::{Cause, Exit, StartFault, Verdict, What};
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

#[derive(Clone, Debug)]
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
}

impl Ward {
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
    wards: Vec<Ward>,
    shared: Window,
    course: Course,
    dice: Dice,
}

impl State {
    /// `epochs` are the latest epochs that the children reached under an earlier incarnation of this supervisor, and
    /// `restarts` its counts of their restarts: both go on counting.
    pub fn new(rules: Rules, record: impl IntoIterator<Item = (u64, u64)>, seed: u64) -> Self {
        let wards = rules.children.into_iter().zip(record).map(|(child, (epoch, restarts))| {
            let own = match child.on_exhausted {
                Exhausted::Quarantine => Some(child.budget.unwrap_or(rules.intensity)),
                Exhausted::Escalate => child.budget,
            };
            Ward {
                phase: Phase::Down,
                epoch,
                restarts,
                exits: VecDeque::new(),
                rules: child,
                failures: 0,
                own: own.map(Window::new),
                recycle: false,
            }
        });
        Self {
            strategy: rules.strategy,
            wards: wards.collect(),
            shared: Window::new(rules.intensity),
            course: Course::Idle,
            dice: Dice(seed),
        }
    }

    pub fn wards(&self) -> &[Ward] {
        &self.wards
    }

    /// The supervisor stops its children, or has.
    pub fn is_closing(&self) -> bool {
        matches!(self.course, Course::Closing { .. } | Course::Closed)
    }

    /// Whether [`Event::Restart`] would do anything for the child.
    pub fn can_restart(&self, child: usize) -> bool {
        let down = matches!(self.wards[child].phase, Phase::Waiting { .. } | Phase::Done | Phase::Quarantined { .. });
        down && !self.is_closing()
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
                let ward = &mut self.wards[child];
                // Asked to stop before it was up: it stays on its way down.
                if ward.epoch == epoch && ward.phase == Phase::Starting {
                    ward.phase = Phase::Running { since: now };
                    actions.push(Action::Disarm { child });
                    actions.push(Action::Record { child, epoch, what: What::Started });
                }
                Some(child)
            }
            Event::Ended { child, epoch, exit } => {
                if self.wards[child].epoch == epoch {
                    self.ended(child, exit, now, actions);
                }
                Some(child)
            }
            Event::Lingers { child, epoch, exit } => {
                if self.wards[child].epoch == epoch && self.wards[child].is_alive() {
                    self.wards[child].remember(exit);
                    actions.push(Action::Disarm { child });
                    self.stuck(child, actions);
                }
                Some(child)
            }
            Event::Due { child, epoch, timer } => {
                if self.wards[child].epoch == epoch {
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
            Event::Stop => {
                if !self.is_closing() {
                    self.course = Course::Closing { exit: Exit::Shutdown };
                }
                None
            }
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
        let verdict = match (&self.course, ward.rules.on_exhausted) {
            (Course::Closing { .. } | Course::Closed, _) => Verdict::AsOrdered,
            (Course::Steady, Exhausted::Quarantine) => Verdict::Quarantine,
            _ => Verdict::Escalate,
        };
        ward.phase = Phase::Stuck;
        if verdict == Verdict::Escalate {
            self.give_up(child);
        }
        self.record_exit(child, Exit::Unresponsive, verdict, actions);
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
                return;
            }
            Phase::Down | Phase::Waiting { .. } | Phase::Done | Phase::Quarantined { .. } => return,
        };
        ward.remember(exit.clone());
        actions.push(Action::Disarm { child });
        let verdict = self.judge(child, &exit, up_since, now);
        self.carry_out(child, &exit, verdict, now, actions);
        self.record_exit(child, exit, verdict, actions);
    }

    fn record_exit(&self, child: usize, exit: Exit, verdict: Verdict, actions: &mut Vec<Action>) {
        let epoch = self.wards[child].epoch;
        actions.push(Action::Record { child, epoch, what: What::Exited { exit, verdict } });
    }

    /// The one place where an end is judged. Read top to bottom: the first that applies.
    fn judge(&mut self, child: usize, exit: &Exit, up_since: Option<Moment>, now: Moment) -> Verdict {
        let ward = &mut self.wards[child];
        if self.course == Course::Closed || matches!(self.course, Course::Closing { .. }) || ward.recycle {
            return Verdict::AsOrdered;
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
                let group = match self.strategy {
                    Strategy::OneForOne => self.wards.len(),
                    Strategy::OneForAll => 0,
                    Strategy::RestForOne => child + 1,
                };
                for (at, other) in self.wards.iter_mut().enumerate().skip(group) {
                    other.recycle = at != child && other.is_alive();
                }
            }
            Verdict::Done => ward.phase = Phase::Done,
            Verdict::Quarantine => ward.phase = Phase::Quarantined { reason: exit.clone() },
            Verdict::Escalate => {
                ward.phase = Phase::Down;
                self.give_up(child);
            }
            Verdict::AsOrdered => {
                let gone = ward.rules.restart == Restart::Temporary && ward.recycle;
                ward.recycle = false;
                ward.phase = if gone { Phase::Done } else { Phase::Down };
            }
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
                if let Some(last) = self.wards.iter().rposition(Ward::is_alive) {
                    self.stop(last, now, actions);
                } else {
                    self.course = Course::Closed;
                    actions.push(Action::End { exit });
                }
            }
            // Nobody depends on anybody, so an event moves no child but its own: a restart costs the same among ten
            // thousand siblings.
            Course::Steady if self.strategy == Strategy::OneForOne => {
                if let Some(child) = touched.filter(|child| self.wards[*child].phase == Phase::Down) {
                    self.start(child, now, actions);
                }
            }
            Course::Opening | Course::Steady => {
                if let Some(last) = self.wards.iter().rposition(|ward| ward.recycle) {
                    self.stop(last, now, actions);
                } else {
                    self.start_next(now, actions);
                }
            }
        }
    }

    /// In start order and one at a time: a child may need all that come before it.
    fn start_next(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let grouped = self.strategy != Strategy::OneForOne;
        let holds_all = |ward: &Ward| match ward.phase {
            Phase::Starting | Phase::Stopping | Phase::Killing(_) => true,
            Phase::Waiting { .. } => self.strategy == Strategy::OneForAll,
            _ => false,
        };
        if self.wards.iter().any(holds_all) {
            return;
        }
        for child in 0..self.wards.len() {
            match self.wards[child].phase {
                Phase::Down => return self.start(child, now, actions),
                Phase::Waiting { .. } if grouped => return,
                _ => {}
            }
        }
        if self.course == Course::Opening {
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
