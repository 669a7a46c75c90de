//! What holds after every history, however strange.
//!
//! The world around the decision core is played by [`World`], which carries out actions, loses nothing and forgets
//! nothing. Budgets, delays and groups are judged from the whole history, in the most naive way that could be thought
//! of, and must agree with the core at every end. The numbers of the laws are those of the invariants in the
//! specification: I1 one incarnation, I2 order, I4 budget, I5 one verdict per end, I8 nothing starts before its time.
//! Children come and go; the world goes on counting those that are gone, as nobody else does.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
// Proptest and supervision both call theirs `Strategy`.
use proptest::strategy::Strategy as Generator;
use supervisors::step::{Action, Change, ChildRules, Event, History, Phase, Rules, Sentence, State, Timer, Told, step};
use supervisors::{
    AutoShutdown, Backoff, Budget, Exhausted, Exit, Restart, Shutdown, StartFault, Strategy, Unhealth, Verdict, What,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Up {
        since: Duration,
    },
    /// It is killed for not doing its work.
    Sick {
        since: Duration,
    },
    Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dead {
    /// May be started when its time has come.
    Restarting {
        not_before: Duration,
    },
    /// Until its group restarts, or somebody starts it.
    Done,
    /// Until somebody starts it.
    Over,
    Quarantined,
    Stuck,
    /// Must be forgotten before anything else happens.
    Leaving,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive(Stage),
    Dead(Dead),
}

/// What somebody wants of a child that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Down,
    Gone,
}

/// One end that was answered with a restart.
#[derive(Clone)]
struct Granted {
    at: Duration,
    child: usize,
    healthy: bool,
    /// It was charged to the budget of all.
    shared: bool,
}

#[derive(Clone)]
struct World {
    rules: Rules,
    state: State,
    history: History,
    now: Duration,
    epochs: Vec<u64>,
    lives: Vec<Life>,
    /// Its end is ordered, because one that it depends on ended.
    ordered: Vec<bool>,
    /// Started by hand, so that it may come up below others.
    by_hand: Vec<bool>,
    /// Added, and not come up yet.
    on_probation: Vec<bool>,
    unwanted: Vec<Option<Want>>,
    /// Those of whom it must be said that they cannot be ended.
    kept: Vec<usize>,
    /// Those of whom it must be said that they are down.
    resting: Vec<usize>,
    timers: Vec<(Duration, usize, u64, Timer)>,
    granted: Vec<Granted>,
    /// How many of `granted` were there at the latest release of each child: they do not count against it.
    forgiven: Vec<usize>,
    /// The same, at the latest change that gave each child a budget for itself: they do not count against that.
    budgeted: Vec<usize>,
    /// The same at the latest time that each said that it is well: those make its delays no longer.
    well: Vec<usize>,
    past: Vec<Event>,
    opening: bool,
    closing: bool,
    ended: bool,
}

impl World {
    fn new(rules: Rules, seed: u64) -> Self {
        let count = rules.children.len();
        let state = State::new(rules.clone(), vec![(0, 0); count], seed);
        let mut world = Self {
            history: History::new(state.clone(), 30),
            state,
            rules,
            now: Duration::ZERO,
            epochs: vec![0; count],
            lives: vec![Life::Dead(Dead::Restarting { not_before: Duration::ZERO }); count],
            ordered: vec![false; count],
            by_hand: vec![false; count],
            on_probation: vec![false; count],
            unwanted: vec![None; count],
            kept: Vec::new(),
            resting: Vec::new(),
            timers: Vec::new(),
            granted: Vec::new(),
            forgiven: vec![0; count],
            budgeted: vec![0; count],
            well: vec![0; count],
            past: Vec::new(),
            opening: true,
            closing: false,
            ended: false,
        };
        world.tell(Event::Begin);
        world
    }

    fn alive(&self, child: usize) -> bool {
        matches!(self.lives[child], Life::Alive(_))
    }

    /// Ends the incarnation, checks the verdict against the naive one, and lives with it.
    fn end(&mut self, child: usize, exit: Exit) {
        let expected = self.expected(child, &exit);
        let event = Event::Ended { child, epoch: self.epochs[child], exit: exit.clone() };
        self.past.push(event.clone());
        let verdicts = self.tell_with(event, Some((child, expected)));
        assert_eq!(verdicts, 1, "I5: one verdict for the end of {child} by {exit}");
    }

    /// The core killed it because it did not start in time; then that is how it ended.
    fn late_start(&self, child: usize) -> bool {
        let late = [Phase::Killing(Sentence::Start), Phase::Aborting(Sentence::Start)];
        self.state.ward(child).is_some_and(|ward| late.contains(&ward.phase))
    }

    /// The specification does not outlive it.
    fn is_transitory(&self, child: usize) -> bool {
        self.rules.pool || self.rules.children[child].restart == Restart::Temporary
    }

    /// The supervisor ends when this one ends for good.
    fn is_the_end(&self, child: usize) -> bool {
        let significant = |child: &usize| self.rules.children[*child].significant;
        let left = |other: &usize| {
            !matches!(self.lives[*other], Life::Dead(Dead::Done | Dead::Over | Dead::Leaving | Dead::Gone))
        };
        let mut others = (0..self.lives.len()).filter(|other| *other != child);
        significant(&child)
            && match self.rules.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !others.any(|other| significant(&other) && left(&other)),
            }
    }

    fn policy(&self, child: usize) -> Exhausted {
        self.rules.children[child].on_exhausted
    }

    fn own_budget(&self, child: usize) -> Option<Budget> {
        let budget = self.rules.children[child].budget;
        if self.policy(child) == Exhausted::Escalate { budget } else { budget.or(Some(self.rules.intensity)) }
    }

    fn was_healthy(&self, child: usize) -> bool {
        let enough = self.rules.children[child].backoff.healthy_after;
        matches!(self.lives[child], Life::Alive(Stage::Up { since } | Stage::Sick { since }) if since + enough <= self.now)
    }

    /// The verdict on this end, between the least and the most that jitter can make of it.
    fn expected(&self, child: usize, exit: &Exit) -> (Verdict, Verdict) {
        let rules = &self.rules.children[child];
        let just = |verdict| (verdict, verdict);
        let late_start = self.late_start(child);
        if self.closing || self.ordered[child] || self.unwanted[child].is_some() {
            return just(Verdict::AsOrdered);
        }
        if *exit == Exit::Ignored && !late_start {
            return just(Verdict::Done);
        }
        let for_good = |verdict| just(if self.is_the_end(child) { Verdict::AutoShutdown } else { verdict });
        if self.on_probation[child] {
            return just(Verdict::TakeOut);
        }
        if !late_start && matches!(exit, Exit::StartFailed(StartFault::Unrecoverable { .. })) {
            return just(Verdict::Quarantine);
        }
        let was_up = matches!(self.lives[child], Life::Alive(Stage::Up { .. } | Stage::Sick { .. }));
        if self.opening && !was_up {
            return just(Verdict::Escalate);
        }
        let in_peace = exit.is_peaceful() && !late_start;
        if rules.restart == Restart::Temporary || rules.restart == Restart::Transient && in_peace {
            return for_good(Verdict::Done);
        }
        let alone = rules.on_exhausted != Exhausted::Escalate;
        let spent = |budget: Budget, counts: &dyn Fn(usize, &Granted) -> bool| {
            let granted = self.granted.iter().enumerate();
            let within = granted.filter(|(at, past)| past.at + budget.within >= self.now && counts(*at, past));
            within.count() >= usize::try_from(budget.restarts).unwrap()
        };
        let own = self.own_budget(child);
        let mine = |at: usize, past: &Granted| past.child == child && at >= self.forgiven[child];
        let of_own = |at: usize, past: &Granted| mine(at, past) && at >= self.budgeted[child];
        let shared = |_: usize, past: &Granted| past.shared;
        if own.is_some_and(|own| spent(own, &of_own)) || !alone && spent(self.rules.intensity, &shared) {
            return match rules.on_exhausted {
                Exhausted::Escalate => just(Verdict::Escalate),
                Exhausted::Quarantine => just(Verdict::Quarantine),
                Exhausted::Stop => for_good(Verdict::Stop),
            };
        }
        let mut failures = 0;
        if !self.was_healthy(child) {
            for (at, past) in self.granted.iter().enumerate().rev() {
                if mine(at, past) && at >= self.well[child] {
                    failures += 1;
                    if past.healthy {
                        break;
                    }
                }
            }
        }
        let mut delay = Duration::ZERO;
        for failure in 0..failures {
            delay = if failure == 0 { rules.backoff.first } else { delay * rules.backoff.factor };
            delay = delay.min(rules.backoff.cap);
        }
        let stray = delay * u32::from(rules.backoff.jitter_percent) / 100;
        let longest = (delay + stray).min(rules.backoff.cap);
        (Verdict::Restart { after: delay.saturating_sub(stray) }, Verdict::Restart { after: longest })
    }

    fn tell(&mut self, event: Event) {
        let verdicts = self.tell_with(event, None);
        assert_eq!(verdicts, 0, "no end, no verdict");
    }

    /// Returns the number of verdicts on the end that is told.
    fn tell_with(&mut self, event: Event, end: Option<(usize, (Verdict, Verdict))>) -> usize {
        let mut verdicts = 0;
        let actions = step(&mut self.state, event.clone(), self.now);
        self.history.write(Told { at: self.now, event, actions: actions.clone() });
        for action in actions {
            let late = matches!(action, Action::Record { what: What::EndedLate, .. } | Action::Forget { .. });
            assert!(!self.ended || late, "{action:?}");
            let leaving = self.lives.contains(&Life::Dead(Dead::Leaving));
            assert!(
                !leaving || matches!(action, Action::Forget { .. } | Action::Record { .. } | Action::Disarm { .. })
            );
            match action {
                Action::Start { child, epoch } => self.start(child, epoch),
                Action::Stop { child, epoch } => self.stop(child, epoch),
                Action::Kill { child, epoch } => self.kill(child, epoch),
                Action::Abort { child, epoch } => assert!(self.alive(child) && self.epochs[child] == epoch),
                Action::Arm { child, epoch, timer, at } => self.timers.push((at, child, epoch, timer)),
                // A timer that was disarmed too late fires all the same; here, all of them do.
                Action::Disarm { .. } => {}
                Action::Record { child, epoch, what } => {
                    assert_eq!(epoch, self.epochs[child] + u64::from(what == What::Starting));
                    match what {
                        What::Exited { exit: Exit::Unresponsive, verdict } => self.give_up(child, verdict),
                        What::Exited { verdict, .. } => {
                            let (expected_child, (least, most)) = end.expect("only an end is judged");
                            assert_eq!(child, expected_child);
                            agree(verdict, least, most);
                            self.obey(child, verdict);
                            verdicts += 1;
                        }
                        What::EndedLate if self.on_probation[child] => self.lives[child] = Life::Dead(Dead::Leaving),
                        What::EndedLate => self.lives[child] = Life::Dead(Dead::Quarantined),
                        _ => {}
                    }
                }
                Action::Admit { child } => {
                    assert!(matches!(self.lives[child], Life::Alive(_)) && self.on_probation[child]);
                    self.on_probation[child] = false;
                }
                Action::Forget { child, epoch, last_exit } => {
                    assert_eq!(self.lives[child], Life::Dead(Dead::Leaving), "{child} is forgotten without need");
                    assert_eq!(epoch, self.epochs[child]);
                    assert_eq!(last_exit.is_some(), epoch > 0);
                    assert!(self.state.ward(child).is_none());
                    self.lives[child] = Life::Dead(Dead::Gone);
                }
                Action::Keep { child } => {
                    let at = self.kept.iter().position(|kept| *kept == child);
                    self.kept.swap_remove(at.expect("only what lives is kept"));
                }
                Action::Rest { child } => {
                    assert!(!self.alive(child));
                    let at = self.resting.iter().position(|resting| *resting == child);
                    self.resting.swap_remove(at.expect("somebody wants it down"));
                }
                Action::Up => {
                    assert!(self.opening && !self.closing);
                    self.opening = false;
                }
                Action::End { .. } => {
                    assert!(self.closing, "a supervisor ends for a reason");
                    assert!((0..self.lives.len()).all(|child| !self.alive(child)), "I2: all have ended before it");
                    self.ended = true;
                }
            }
        }
        assert!(!self.lives.contains(&Life::Dead(Dead::Leaving)), "one is not forgotten");
        assert_eq!((&self.kept[..], &self.resting[..]), (&[][..], &[][..]), "somebody waits for an answer");
        verdicts
    }

    fn start(&mut self, child: usize, epoch: u64) {
        assert!(!self.closing, "nothing starts in a supervisor that ends");
        let Life::Dead(Dead::Restarting { not_before }) = self.lives[child] else {
            panic!("I1, I8: {child} starts as {:?}", self.lives[child]);
        };
        assert!(not_before <= self.now, "I8: {child} starts before its time");
        assert_eq!(epoch, self.epochs[child] + 1);
        if self.opening || self.rules.strategy != Strategy::OneForOne {
            let busy = |life: &Life| matches!(life, Life::Alive(Stage::Starting | Stage::Asked | Stage::Sick { .. }));
            assert!(!self.lives.iter().any(busy), "I2: one after the other");
        }
        if self.rules.strategy != Strategy::OneForOne {
            let waits = |life: &Life| matches!(life, Life::Dead(Dead::Restarting { .. }));
            assert!(!self.lives[..child].iter().any(waits), "I2: {child} starts before one that it may need");
            let later = (child + 1..self.lives.len()).find(|later| self.alive(*later));
            assert!(later.is_none() || self.by_hand[child], "I2: {child} starts below {later:?}");
        }
        self.epochs[child] = epoch;
        self.lives[child] = Life::Alive(Stage::Starting);
    }

    fn stop(&mut self, child: usize, epoch: u64) {
        let need = self.closing || self.ordered[child] || self.unwanted[child].is_some();
        assert!(need, "{child} is stopped without need");
        assert!(matches!(self.lives[child], Life::Alive(Stage::Starting | Stage::Up { .. })));
        assert_eq!(epoch, self.epochs[child]);
        let later = (child + 1..self.lives.len()).find(|later| self.alive(*later));
        let may_go_first = later.is_none() || self.unwanted[child].is_some() || self.rules.pool;
        assert!(may_go_first, "I2: {child} stops before {later:?}, which may need it");
        self.lives[child] = Life::Alive(Stage::Asked);
    }

    fn kill(&mut self, child: usize, epoch: u64) {
        assert!(self.alive(child) && self.epochs[child] == epoch);
        if let Life::Alive(Stage::Sick { .. }) = self.lives[child] {
            return;
        }
        if self.lives[child] != Life::Alive(Stage::Asked) && !self.late_start(child) {
            assert_eq!(self.rules.children[child].shutdown, Shutdown::BrutalKill, "{child} is killed without warning");
            self.stop(child, epoch);
        }
    }

    /// The core gave up on ending a child.
    fn give_up(&mut self, child: usize, verdict: Verdict) {
        assert!(self.alive(child));
        let expected = match self.policy(child) {
            _ if self.closing => Verdict::AsOrdered,
            _ if self.unwanted[child].is_some() || self.on_probation[child] => Verdict::Quarantine,
            Exhausted::Quarantine | Exhausted::Stop if !self.opening => Verdict::Quarantine,
            _ => Verdict::Escalate,
        };
        assert_eq!(verdict, expected);
        self.closing |= verdict == Verdict::Escalate;
        self.ordered[child] = false;
        if self.unwanted[child].take().is_some() || self.on_probation[child] {
            self.kept.push(child);
        }
        self.lives[child] = Life::Dead(Dead::Stuck);
    }

    fn obey(&mut self, child: usize, verdict: Verdict) {
        assert!(self.alive(child), "{child} ended twice");
        let transitory = self.is_transitory(child);
        let dead = match verdict {
            Verdict::Restart { after } => {
                let healthy = self.was_healthy(child);
                let shared = self.policy(child) == Exhausted::Escalate;
                self.granted.push(Granted { at: self.now, child, healthy, shared });
                for other in 0..self.lives.len() {
                    let grouped = match self.rules.strategy {
                        Strategy::OneForOne => false,
                        Strategy::OneForAll => other != child,
                        Strategy::RestForOne => other > child,
                    };
                    self.ordered[other] |= grouped && self.alive(other);
                    if grouped && self.lives[other] == Life::Dead(Dead::Done) {
                        self.lives[other] = Life::Dead(Dead::Restarting { not_before: self.now });
                    }
                }
                Dead::Restarting { not_before: self.now + after }
            }
            Verdict::Done | Verdict::AutoShutdown | Verdict::Stop if transitory => Dead::Leaving,
            Verdict::Done | Verdict::AutoShutdown => Dead::Done,
            Verdict::Stop => Dead::Over,
            Verdict::Quarantine => Dead::Quarantined,
            Verdict::TakeOut => Dead::Leaving,
            Verdict::AsOrdered if self.unwanted[child].is_some() => self.left(child),
            // Whoever added it still waits for it.
            Verdict::AsOrdered if self.ordered[child] && !self.on_probation[child] && transitory => Dead::Leaving,
            Verdict::Escalate | Verdict::AsOrdered => Dead::Restarting { not_before: self.now },
        };
        self.closing |= matches!(verdict, Verdict::Escalate | Verdict::AutoShutdown);
        self.ordered[child] = false;
        self.by_hand[child] = false;
        self.lives[child] = Life::Dead(dead);
    }

    /// Somebody wanted it down, and it is.
    fn left(&mut self, child: usize) -> Dead {
        if self.unwanted[child].take() == Some(Want::Gone) || self.on_probation[child] || self.is_transitory(child) {
            return Dead::Leaving;
        }
        self.resting.push(child);
        match self.lives[child] {
            Life::Dead(dead @ (Dead::Over | Dead::Quarantined)) => dead,
            _ => Dead::Done,
        }
    }

    fn come_up(&mut self, child: usize) {
        if self.lives[child] == Life::Alive(Stage::Starting) && !self.late_start(child) {
            self.lives[child] = Life::Alive(Stage::Up { since: self.now });
        }
        self.tell(Event::Started { child, epoch: self.epochs[child] });
        let is_up = matches!(self.lives[child], Life::Alive(Stage::Up { .. }));
        assert!(!(is_up && self.on_probation[child]), "{child} is up, and whoever added it does not hear of it");
    }

    fn release(&mut self, child: usize) {
        let down = matches!(self.lives[child], Life::Dead(dead) if !matches!(dead, Dead::Stuck | Dead::Gone));
        if down && !self.closing {
            // Where one only waits for its turn there is nothing to lift.
            if self.state.can_restart(child) {
                self.lives[child] = Life::Dead(Dead::Restarting { not_before: self.now });
                self.forgiven[child] = self.granted.len();
                self.by_hand[child] = true;
            }
        }
        self.tell(Event::Restart { child });
    }

    fn add(&mut self, rules: &ChildRules) {
        let child = self.lives.len();
        if !self.closing {
            self.rules.children.push(rules.clone());
            self.newcomer(0, Dead::Restarting { not_before: self.now }, true);
        }
        self.tell(Event::Add { child, epoch: 0, rules: rules.clone() });
    }

    fn want(&mut self, child: usize, want: Want) {
        match self.lives[child] {
            _ if self.closing => {}
            Life::Dead(Dead::Stuck) => self.kept.push(child),
            Life::Dead(Dead::Gone) => {}
            Life::Alive(_) if self.unwanted[child] == Some(Want::Gone) => {}
            Life::Alive(_) => self.unwanted[child] = Some(want),
            Life::Dead(_) => {
                self.unwanted[child] = Some(want);
                self.lives[child] = Life::Dead(self.left(child));
            }
        }
        self.tell(match want {
            Want::Down => Event::Terminate { child },
            Want::Gone => Event::Remove { child },
        });
    }

    fn say(&mut self, child: usize, is_well: bool) {
        let epoch = self.epochs[child];
        if is_well {
            if self.alive(child) {
                self.well[child] = self.granted.len();
            }
            self.tell(Event::Healthy { child, epoch });
            return;
        }
        let up = self.lives[child];
        if let Life::Alive(Stage::Up { since }) = up {
            self.lives[child] = Life::Alive(Stage::Sick { since });
        }
        let killed = |state: &State| matches!(state.ward(child), Some(ward) if matches!(ward.phase, Phase::Killing(_)));
        let before = killed(&self.state);
        self.tell(Event::Unhealthy { child, epoch, fault: Unhealth::Stuck { limit: ms(1) } });
        let is_news = matches!(up, Life::Alive(Stage::Up { .. }));
        assert!(killed(&self.state) == (is_news || before), "{child} is sick");
    }

    /// Other rules, and some more children. The core keeps no charges that a longer window would cover, so that windows
    /// grow no longer here.
    fn change(&mut self, rules: &Rules) {
        let shorter = |budget: Budget, before: Budget| Budget { within: budget.within.min(before.within), ..budget };
        let mut change =
            Change { rules: Rules { children: Vec::new(), ..rules.clone() }, children: vec![], added: vec![] };
        change.rules.pool = self.rules.pool;
        if self.rules.pool {
            (change.rules.strategy, change.rules.auto_shutdown) = (Strategy::OneForOne, AutoShutdown::Never);
        }
        change.rules.intensity = shorter(rules.intensity, self.rules.intensity);
        let owned: Vec<_> = (0..self.lives.len()).map(|child| self.own_budget(child)).collect();
        let known = rules.children.iter().take(self.lives.len()).cloned().enumerate();
        for (child, mut new) in known.filter(|(child, _)| self.lives[*child] != Life::Dead(Dead::Gone)) {
            let all = change.rules.intensity;
            new.budget = match (owned[child], new.budget) {
                (Some(before), Some(budget)) => Some(shorter(budget, before)),
                (Some(before), None) if new.on_exhausted != Exhausted::Escalate => Some(shorter(all, before)),
                (_, budget) => budget,
            };
            change.children.push((child, new));
        }
        // Those whose rules do not change may still inherit another budget.
        for (child, before) in owned.iter().enumerate().filter(|(child, _)| *child >= rules.children.len()) {
            let mut new = self.rules.children[child].clone();
            if self.lives[child] != Life::Dead(Dead::Gone) {
                new.budget = new.budget.or(*before);
                change.children.push((child, new));
            }
        }
        if !self.rules.pool {
            change.added = rules.children.iter().skip(2).map(|child| (0, child.clone())).collect();
        }
        if !self.closing {
            if self.rules.strategy == Strategy::OneForOne {
                // Each was on its way alone, and goes it to the end.
                for child in 0..self.lives.len() {
                    self.by_hand[child] |= !self.alive(child);
                }
            }
            let children = std::mem::take(&mut self.rules.children);
            self.rules = Rules { children, ..change.rules.clone() };
            for (child, new) in &change.children {
                self.rules.children[*child] = new.clone();
                if owned[*child].is_none() {
                    self.budgeted[*child] = self.granted.len();
                }
            }
            for (epoch, new) in &change.added {
                self.rules.children.push(new.clone());
                self.newcomer(*epoch, Dead::Done, false);
            }
            let spared = |life: &Life| matches!(life, Life::Alive(Stage::Starting | Stage::Up { .. }));
            if self.rules.strategy == Strategy::OneForOne {
                for child in 0..self.lives.len() {
                    self.ordered[child] &= !spared(&self.lives[child]) || self.late_start(child);
                }
            }
        }
        self.tell(Event::Change(Box::new(change)));
    }

    fn newcomer(&mut self, epoch: u64, dead: Dead, on_probation: bool) {
        self.epochs.push(epoch);
        self.lives.push(Life::Dead(dead));
        self.ordered.push(false);
        self.by_hand.push(false);
        self.on_probation.push(on_probation);
        self.unwanted.push(None);
        self.forgiven.push(0);
        self.budgeted.push(0);
        self.well.push(0);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let next = self.timers.iter().enumerate().filter(|(_, timer)| timer.0 <= until).min_by_key(|(_, t)| t.0);
            let Some((place, _)) = next else { break };
            let (at, child, epoch, timer) = self.timers.remove(place);
            self.now = self.now.max(at);
            self.tell(Event::Due { child, epoch, timer });
        }
        self.now = until;
    }

    /// From here on the world is kind. Then everything must find its place without help.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let answer = (0..self.lives.len()).find(|child| match self.lives[*child] {
                Life::Alive(Stage::Starting | Stage::Asked | Stage::Sick { .. }) => true,
                Life::Alive(Stage::Up { .. }) => false,
                Life::Dead(dead) => dead == Dead::Stuck,
            });
            match answer {
                Some(child) if self.lives[child] == Life::Dead(Dead::Stuck) => {
                    self.tell(Event::Ended { child, epoch: self.epochs[child], exit: Exit::Killed });
                }
                Some(child) if self.lives[child] != Life::Alive(Stage::Starting) || self.late_start(child) => {
                    self.end(child, Exit::Killed);
                }
                Some(child) => self.come_up(child),
                None if self.timers.is_empty() => return,
                None => self.pass(ms(100)),
            }
        }
        panic!("no peace in a kind world: {:?}", self.lives);
    }

    fn play(&mut self, deed: &Deed) {
        let count = self.lives.len();
        match *deed {
            Deed::Pass(millis) => self.pass(ms(millis)),
            Deed::Stop => {
                self.closing = true;
                self.tell(Event::Stop);
            }
            Deed::Release(child) => self.release(child % count),
            Deed::Change(ref rules) => self.change(rules),
            Deed::Add(ref rules) => self.add(rules),
            Deed::Say(child, is_well) => self.say(child % count, is_well),
            Deed::Want(child, want) => self.want(child % count, want),
            Deed::Repeat(place) => {
                if let Some(event) = self.past.get(place % self.past.len().max(1)).cloned() {
                    let before = format!("{:?}", self.state);
                    assert_eq!(step(&mut self.state, event, self.now), [], "what is over changes nothing");
                    assert_eq!(format!("{:?}", self.state), before);
                }
            }
            Deed::Answer(child, answer) => {
                let child = child % count;
                match (self.lives[child], answer) {
                    (Life::Alive(Stage::Starting | Stage::Asked), 0..3) => self.come_up(child),
                    (Life::Alive(Stage::Starting), 3) => {
                        let fault = StartFault::Failed { error: "no".to_owned() };
                        self.end(child, Exit::StartFailed(fault));
                    }
                    (Life::Alive(Stage::Starting), 4) => {
                        let fault = StartFault::Unrecoverable { reason: "torn".to_owned() };
                        self.end(child, Exit::StartFailed(fault));
                    }
                    (Life::Alive(Stage::Starting), 5) => {
                        self.end(child, Exit::Ignored);
                        let told = !self.on_probation[child] || self.lives[child] != Life::Dead(Dead::Done);
                        assert!(told, "{child} ignores its start, and whoever added it does not hear of it");
                    }
                    (Life::Alive(Stage::Up { .. } | Stage::Sick { .. }), 0..3) => {}
                    (Life::Alive(_), 3..6) => self.end(child, Exit::Normal),
                    (Life::Alive(_), 6..9) => self.end(child, Exit::Killed),
                    (Life::Alive(_), _) => {
                        self.tell(Event::Lingers { child, epoch: self.epochs[child], exit: Exit::Killed });
                    }
                    (Life::Dead(Dead::Stuck), _) => {
                        self.tell(Event::Ended { child, epoch: self.epochs[child], exit: Exit::Killed });
                    }
                    (Life::Dead(Dead::Gone), _) => {
                        let epoch = self.epochs[child];
                        self.tell(Event::Started { child, epoch });
                        self.tell(Event::Ended { child, epoch, exit: Exit::Killed });
                        assert_eq!(self.lives[child], Life::Dead(Dead::Gone));
                    }
                    (Life::Dead(_), _) => {}
                }
            }
        }
    }
}

fn agree(verdict: Verdict, least: Verdict, most: Verdict) {
    match (verdict, least, most) {
        (Verdict::Restart { after }, Verdict::Restart { after: least }, Verdict::Restart { after: most }) => {
            // Jitter is drawn in whole nanoseconds.
            assert!(least <= after + Duration::from_nanos(1) && after <= most, "{least:?} <= {after:?} <= {most:?}");
        }
        _ => assert_eq!(verdict, least),
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Pass(u64),
    Answer(usize, u8),
    Release(usize),
    Change(Rules),
    Repeat(usize),
    Add(ChildRules),
    Want(usize, Want),
    /// It is well, or sick.
    Say(usize, bool),
    Stop,
}

fn deed() -> impl Generator<Value = Deed> {
    prop_oneof![
        6 => prop_oneof![0..20u64, 50..2000u64].prop_map(Deed::Pass),
        24 => (0..9usize, 0..10u8).prop_map(|(child, answer)| Deed::Answer(child, answer)),
        2 => (0..9usize).prop_map(Deed::Release),
        1 => rules().prop_map(Deed::Change),
        2 => child().prop_map(Deed::Add),
        3 => (0..9usize, prop_oneof![Just(Want::Down), Just(Want::Gone)]).prop_map(|(child, want)| Deed::Want(child, want)),
        3 => (0..9usize, any::<bool>()).prop_map(|(child, is_well)| Deed::Say(child, is_well)),
        2 => any::<usize>().prop_map(Deed::Repeat),
        1 => Just(Deed::Stop),
    ]
}

fn budget() -> impl Generator<Value = Budget> {
    (0..6u32, 1..3000u64).prop_map(|(restarts, within)| Budget { restarts, within: ms(within) })
}

fn child() -> impl Generator<Value = ChildRules> {
    let restart =
        prop_oneof![3 => Just(Restart::Permanent), 1 => Just(Restart::Transient), 1 => Just(Restart::Temporary)];
    let exhausted = prop_oneof![Just(Exhausted::Escalate), Just(Exhausted::Quarantine), Just(Exhausted::Stop)];
    let shutdown = prop_oneof![
        2 => Just(Shutdown::Within(ms(400))),
        1 => Just(Shutdown::Unlimited),
        1 => Just(Shutdown::BrutalKill),
    ];
    let backoff = (0..300u64, 1..4u32, 0..1000u64, 0..50u8, 0..1500u64);
    (restart, exhausted, backoff, proptest::option::of(budget()), shutdown, any::<[bool; 2]>()).prop_map(
        |(restart, on_exhausted, (first, factor, more, jitter, healthy), budget, shutdown, [limited, significant])| {
            ChildRules {
                path: "top/child".into(),
                restart,
                significant,
                shutdown,
                start_timeout: limited.then_some(ms(600)),
                backoff: Backoff::exp(ms(first), ms(first + more))
                    .factor(factor)
                    .jitter(jitter)
                    .healthy_after(ms(healthy)),
                budget,
                on_exhausted,
            }
        },
    )
}

fn rules() -> impl Generator<Value = Rules> {
    let strategy = prop_oneof![
        2 => Just((Strategy::OneForOne, false)),
        1 => Just((Strategy::OneForOne, true)),
        3 => Just((Strategy::OneForAll, false)),
        3 => Just((Strategy::RestForOne, false)),
    ];
    let auto_shutdown = prop_oneof![
        2 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    (strategy, auto_shutdown, budget(), vec(child(), 1..5)).prop_map(
        |((strategy, pool), auto_shutdown, intensity, children)| {
            let auto_shutdown = if pool { AutoShutdown::Never } else { auto_shutdown };
            Rules { strategy, auto_shutdown, pool, intensity, children }
        },
    )
}

/// All that can happen next in this world, a little after what happened last.
fn next(world: &World) -> Vec<Deed> {
    let mut deeds = vec![Deed::Pass(700), Deed::Stop];
    if world.lives.len() < 3 {
        deeds.push(Deed::Add(world.rules.children[0].clone()));
    }
    if world.rules.strategy != Strategy::OneForOne {
        deeds.push(Deed::Change(Rules { strategy: Strategy::OneForOne, ..world.rules.clone() }));
    }
    for child in 0..world.lives.len() {
        let answers: &[u8] = match world.lives[child] {
            Life::Alive(Stage::Starting) => &[0, 3, 5, 6],
            Life::Alive(Stage::Up { .. }) => &[3, 6],
            Life::Alive(Stage::Asked | Stage::Sick { .. }) => &[0, 3],
            Life::Dead(Dead::Stuck) => &[0],
            Life::Dead(_) => &[],
        };
        deeds.extend(answers.iter().map(|answer| Deed::Answer(child, *answer)));
        match world.lives[child] {
            Life::Dead(Dead::Gone) => continue,
            Life::Dead(Dead::Stuck) | Life::Alive(_) => {}
            Life::Dead(_) => deeds.push(Deed::Release(child)),
        }
        deeds.extend([Deed::Want(child, Want::Down), Deed::Want(child, Want::Gone)]);
    }
    deeds
}

/// Returns how many histories there are from here.
fn explore(world: &World, depth: usize) -> usize {
    if depth == 0 || world.ended {
        let mut world = world.clone();
        world.settle();
        let homeless = world.lives.iter().any(|life| matches!(life, Life::Dead(Dead::Restarting { .. })));
        assert!(world.ended == world.closing && (world.ended || !homeless));
        return 1;
    }
    let worlds = next(world).into_iter().map(|deed| {
        let mut world = world.clone();
        world.play(&deed);
        world
    });
    worlds.map(|world| explore(&world, depth - 1)).sum()
}

/// The property test above meets long histories, this one all that are short: two children, one more that may be added,
/// and every event that could come next, four times over, once both are up and once from the beginning.
#[test]
fn all_short_histories_keep_the_laws() {
    let child = |restart, significant, on_exhausted| ChildRules {
        path: "top/child".into(),
        restart,
        significant,
        shutdown: Shutdown::Within(ms(400)),
        start_timeout: Some(ms(600)),
        backoff: Backoff::exp(ms(100), ms(100)),
        budget: None,
        on_exhausted,
    };
    let permanent = child(Restart::Permanent, false, Exhausted::Escalate);
    let families = [
        [permanent.clone(), permanent.clone()],
        [child(Restart::Transient, true, Exhausted::Stop), child(Restart::Temporary, true, Exhausted::Escalate)],
        [child(Restart::Permanent, false, Exhausted::Quarantine), permanent],
    ];
    let mut histories = 0;
    for (strategy, pool) in [
        (Strategy::OneForOne, false),
        (Strategy::OneForAll, false),
        (Strategy::RestForOne, false),
        (Strategy::OneForOne, true),
    ] {
        for children in &families {
            let intensity = Budget { restarts: 1, within: ms(1000) };
            let auto_shutdown = if pool { AutoShutdown::Never } else { AutoShutdown::AllSignificant };
            let rules = Rules { strategy, intensity, auto_shutdown, pool, children: children.to_vec() };
            let mut world = World::new(rules, 1);
            histories += explore(&world, 4);
            for child in 0..2 {
                world.come_up(child);
            }
            histories += explore(&world, 4);
        }
    }
    assert!(histories > 100_000, "{histories} are not all");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_laws(rules in rules(), seed: u64, deeds in vec(deed(), 0..120)) {
        let mut world = World::new(rules, seed);
        for deed in &deeds {
            world.play(deed);
        }
        world.settle();
        for (child, life) in world.lives.iter().enumerate() {
            let homeless = matches!(life, Life::Dead(Dead::Restarting { .. }));
            prop_assert!(world.ended || !homeless, "{child} is forgotten");
        }
        prop_assert!(world.ended == world.closing);
        let replayed = world.history.replay().expect("the same events give the same actions");
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", world.state));
        world.closing = true;
        world.tell(Event::Stop);
        world.settle();
        prop_assert!(world.ended, "whatever happened, a stop comes to an end");
    }

    #[test]
    fn one_seed_gives_one_history(rules in rules(), seed: u64, deeds in vec(deed(), 0..60)) {
        let [first, second] = [(), ()].map(|()| {
            let mut world = World::new(rules.clone(), seed);
            for deed in &deeds {
                world.play(deed);
            }
            format!("{:?}", world.state)
        });
        prop_assert_eq!(first, second);
    }

    #[test]
    fn a_delay_grows_and_stays_below_its_cap(first in 0..5000u64, more in 0..5000u64, failures: u32, random: u64) {
        let backoff = Backoff::exp(ms(first), ms(first + more));
        let delay = backoff.delay(failures, random);
        prop_assert!(delay <= backoff.delay(failures.saturating_add(1), random));
        prop_assert!(backoff.jitter(100).delay(failures, random) <= ms(first + more));
    }
}
