//! Who must change, and who must not: judged from the specification, one decision after the other.
//!
//! The oracle reads what the tree decides and says of each whether it had to come: an end needs a cause, a verdict follows
//! from the rules and from all that is remembered, a start must be due. It is written from the specification and not from
//! the core: it keeps every charge for ever and counts them all again. What is due and does not come shows when the tree
//! has come to rest: see [`Oracle::rests`].
//!
//! # What it cannot see
//! - Two tasks of one child at once (I1), and what a task does after its end: the journal says what was decided. For actors
//!   of the cast, their ledger says what is so.
//! - Who came and was gone before anybody looked: the end of such a one is a cause for its group, and is not judged. Whoever
//!   else comes while the tree runs is judged like all others, but that he may be told to leave at any time, unless he is
//!   of the cast.
//! - What was before it began to listen: budgets and delays are judged as far as they follow from what was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::judgement::{Law, Violation};
use super::plan::Fault;
use crate::board::Slot;
use crate::report::{Decision, Exit, Node as Shown, NodeState, StartFault, Unhealth, Verdict, What};
use crate::spec::{AutoShutdown, Budget, Exhausted, Restart, Strategy};
use crate::step::{ChildRules, Moment, Rules};

/// A model of one tree.
#[derive(Clone, Debug)]
pub struct Oracle {
    nodes: Vec<Node>,
    by_path: BTreeMap<Arc<str>, usize>,
    /// Of members of pools that are gone, for those to come: pools have no order.
    free: Vec<usize>,
    pub(super) joined: u64,
    /// So many starts were judged.
    pub(super) started: u64,
    pub(super) by_themselves: u64,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing that is so or not, whatever the others say")]
struct Node {
    path: Arc<str>,
    above: Option<usize>,
    below: Vec<usize>,
    /// As a child; the root is none.
    rules: Option<ChildRules>,
    /// As a supervisor.
    leads: Option<Rules>,
    /// Of the cast, and so ends for no reason but what is done to it.
    is_ours: bool,
    epoch: u64,
    life: Life,
    rest: Option<Rest>,
    /// It must start, and not before.
    due: Option<Moment>,
    /// What is due comes after a delay.
    delayed: bool,
    /// It came while its supervisor ran, and is temporary: it does not come again.
    once: bool,
    /// It is in the specification of its supervisor: it did not come while that ran.
    listed: bool,
    /// It came while its supervisor ran, and is not of the cast: who wanted it may want it to leave.
    is_guest: bool,
    /// It was added, and has not come up yet.
    on_probation: bool,
    /// Nobody knows which epochs it had before.
    is_fresh: bool,
    /// It must end with its group.
    doomed: bool,
    /// Somebody orders its end and its start.
    by_hand: bool,
    /// Somebody was told that it starts.
    promised: bool,
    /// Restarts in a row; `None` if some were not heard of.
    failures: Option<u32>,
    /// Charges to its own budget.
    own: Vec<Moment>,
    /// As a supervisor: charges to the budget of all.
    shared: Vec<Moment>,
    course: Course,
    /// All charges since then are known.
    known: Moment,
    /// What is done, by the epoch that it is done to.
    faults: Vec<(u64, Fault)>,
    /// So many starts are going to fail.
    failing: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Down,
    Starting,
    Up { since: Moment },
    Stopping,
}

/// Why nothing is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Done,
    Over,
    Quarantined,
    Gone,
}

/// How a supervisor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Opening,
    Steady,
    /// It is being told to end, and may not have heard of it.
    Asked,
    Closing,
}

/// Somebody who comes while the tree runs, with all below, as the specification has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    rules: ChildRules,
    leads: Option<Rules>,
    listed: bool,
    is_ours: bool,
    below: Vec<Newcomer>,
}

impl Newcomer {
    pub fn path(&self) -> &str {
        &self.rules.path
    }

    pub(super) fn at(slot: &Arc<Slot>, is_ours: &dyn Fn(&str) -> bool) -> Option<Self> {
        let above = slot.above.upgrade()?.supervisor()?;
        Some(Self {
            rules: above.child_rules(&slot.spec(), slot.path.clone()),
            leads: slot.supervisor().map(|leads| leads.rules(Vec::new())),
            listed: slot.is_listed(),
            is_ours: is_ours(&slot.path),
            below: slot.children().iter().filter_map(|child| Self::at(child, is_ours)).collect(),
        })
    }
}

type Judged = Result<(), Violation>;

impl Oracle {
    /// Of a tree that has come to rest.
    pub(super) fn new(root: &Arc<Slot>, now: Moment, is_ours: impl Fn(&str) -> bool) -> Self {
        let (nodes, by_path, free) = Default::default();
        let mut oracle = Self { nodes, by_path, free, joined: 0, started: 0, by_themselves: 0 };
        oracle.take_in(root, None, now, &is_ours);
        oracle
    }

    fn take_in(
        &mut self,
        slot: &Arc<Slot>,
        above: Option<usize>,
        now: Moment,
        is_ours: &dyn Fn(&str) -> bool,
    ) -> usize {
        let at = self.nodes.len();
        let (spec, leads) = (slot.spec(), slot.supervisor());
        let rules = slot.above.upgrade().and_then(|above| above.supervisor());
        let rules = rules.map(|above| above.child_rules(&spec, slot.path.clone()));
        let live = slot.live();
        let (stage, rest) = match live.state {
            NodeState::Running => (Life::Up { since: now }, None),
            NodeState::Quarantined { .. } => (Life::Down, Some(Rest::Quarantined)),
            _ => (Life::Down, Some(Rest::Done)),
        };
        // Who was never restarted is known from the first.
        let fresh = live.restarts == 0;
        self.nodes.push(Node {
            path: slot.path.clone(),
            above,
            below: Vec::new(),
            rules,
            leads: leads.map(|leads| leads.rules(Vec::new())),
            is_ours: is_ours(&slot.path),
            epoch: live.epoch,
            life: stage,
            rest,
            due: None,
            delayed: false,
            once: spec.settings.restart == Restart::Temporary && !slot.is_listed(),
            listed: slot.is_listed(),
            is_guest: !slot.is_listed() && !is_ours(&slot.path),
            on_probation: false,
            is_fresh: false,
            doomed: false,
            by_hand: false,
            promised: false,
            failures: fresh.then_some(0),
            own: Vec::new(),
            shared: Vec::new(),
            course: Course::Steady,
            known: if fresh { Moment::ZERO } else { now },
            faults: Vec::new(),
            failing: 0,
        });
        drop(live);
        self.by_path.insert(slot.path.clone(), at);
        for child in slot.children() {
            let below = self.take_in(&child, Some(at), now, is_ours);
            self.nodes[at].below.push(below);
            self.nodes[at].known = self.nodes[at].known.max(self.nodes[below].known);
        }
        at
    }

    /// Somebody is about to come, and to be judged from then on.
    pub fn join(&mut self, newcomer: &Newcomer) {
        let above = newcomer.rules.path.rsplit_once('/').and_then(|(above, _)| self.by_path.get(above));
        if let Some(above) = above.copied() {
            self.take_along(newcomer, above);
            self.joined += 1;
        }
    }

    fn take_along(&mut self, newcomer: &Newcomer, above: usize) {
        let Newcomer { rules, leads, listed, is_ours, below } = newcomer;
        let node = Node {
            path: rules.path.clone(),
            above: Some(above),
            below: Vec::new(),
            rules: Some(rules.clone()),
            leads: leads.clone(),
            is_ours: *is_ours,
            epoch: 0,
            life: Life::Down,
            rest: Some(Rest::Done),
            due: None,
            delayed: false,
            once: rules.restart == Restart::Temporary && !listed,
            listed: *listed,
            is_guest: !listed && !is_ours,
            on_probation: false,
            is_fresh: true,
            doomed: false,
            by_hand: false,
            promised: false,
            failures: Some(0),
            own: Vec::new(),
            shared: Vec::new(),
            course: Course::Steady,
            known: Moment::ZERO,
            faults: Vec::new(),
            failing: 0,
        };
        let at = self.free.pop_if(|_| self.nodes[above].leads.as_ref().is_some_and(|leads| leads.pool));
        let at = at.unwrap_or(self.nodes.len());
        match self.nodes.get_mut(at) {
            Some(free) => *free = node,
            None => self.nodes.push(node),
        }
        self.by_path.insert(rules.path.clone(), at);
        self.nodes[above].below.push(at);
        for newcomer in below {
            self.take_along(newcomer, at);
        }
    }

    /// Who is gone for good, with all below, and will be somebody else if it comes again.
    fn forget(&mut self, at: usize) {
        let above = self.nodes[at].above.expect("the root is not removed");
        self.nodes[above].below.retain(|child| *child != at);
        if self.nodes[above].leads.as_ref().is_some_and(|leads| leads.pool) {
            self.free.push(at);
        }
        let mut gone = vec![at];
        while let Some(at) = gone.pop() {
            let node = &mut self.nodes[at];
            (node.life, node.rest, node.due) = (Life::Down, Some(Rest::Gone), None);
            (node.doomed, node.promised, node.course) = (false, false, Course::Steady);
            gone.extend(std::mem::take(&mut node.below));
            let path = node.path.clone();
            self.by_path.remove(&path);
        }
    }

    /// This is done to incarnation `epoch` of the node at `path`.
    pub fn fault(&mut self, path: &str, epoch: u64, fault: Fault) {
        let Some(at) = self.by_path.get(path) else { return };
        let node = &mut self.nodes[*at];
        match fault {
            Fault::RefuseStop => node.by_hand = true,
            Fault::FailStarts(times) => node.failing += times,
            _ => {}
        }
        node.faults.push((epoch, fault));
    }

    /// Somebody started what is down at `path`, and was told so.
    pub fn release(&mut self, path: &str) {
        if let Some(at) = self.by_path.get(path) {
            let node = &mut self.nodes[*at];
            (node.by_hand, node.promised) = (true, true);
        }
    }

    /// Somebody ends the whole tree.
    pub fn shutdown(&mut self) {
        if self.nodes[0].course != Course::Closing {
            self.nodes[0].course = Course::Asked;
        }
    }

    /// Judges one decision.
    ///
    /// # Errors
    /// What it violates.
    pub fn hear(&mut self, decision: &Decision) -> Result<(), Violation> {
        let Decision { path, epoch, at: now, what, .. } = decision;
        let Some(&at) = self.by_path.get(path) else {
            self.hear_of_stranger(path, *now, what);
            return Ok(());
        };
        let wrong = |law, what: &str| Err(Violation::new(law, format!("{path}, incarnation {epoch}: {what}")));
        let node = &self.nodes[at];
        let alive = node.life != Life::Down;
        match what {
            What::Starting => self.starting(at, *epoch, *now)?,
            What::Added if !node.listed && node.is_fresh => {
                let node = &mut self.nodes[at];
                (node.epoch, node.is_fresh, node.on_probation) = (*epoch, false, true);
                (node.rest, node.due) = (None, Some(*now));
            }
            What::Added | What::EndedLate => {}
            What::Released | What::Terminated if !node.by_hand && node.is_ours => {
                return wrong(Law::Predicted, "nobody ordered it");
            }
            What::Released => {
                let node = &mut self.nodes[at];
                (node.rest, node.due, node.promised) = (None, Some(*now), false);
                node.failures = Some(0);
                node.own.clear();
            }
            What::Terminated => {
                (self.nodes[at].rest, self.nodes[at].due) = (Some(Rest::Done), None);
            }
            What::Removed => {
                if alive && !node.once && !node.on_probation {
                    return wrong(Law::NothingLeft, "it is forgotten while it is alive");
                }
                if !node.listed {
                    self.forget(at);
                    return Ok(());
                }
                let node = &mut self.nodes[at];
                (node.life, node.rest, node.due) = (Life::Down, Some(Rest::Gone), None);
            }
            _ if *epoch != node.epoch => return wrong(Law::OneDecision, "it is not the present one"),
            What::Started if node.life != Life::Starting => {
                return wrong(Law::OneIncarnation, "it comes up and was not starting");
            }
            What::Started => {
                (self.nodes[at].life, self.nodes[at].on_probation) = (Life::Up { since: *now }, false);
            }
            What::Exited { .. } if !alive => {
                return wrong(Law::OneDecision, "its end is decided on, and it had ended");
            }
            What::Exited { exit, verdict } => self.exited(at, exit, *verdict, *now)?,
            What::Stopping | What::Killing | What::Aborting if !alive => {
                return wrong(Law::OneDecision, "it is told to end, and has ended");
            }
            What::Stopping => self.stopping(at)?,
            What::Killing | What::Aborting => {}
        }
        if let Some(above) = self.nodes[at].above {
            self.settle(above);
        }
        Ok(())
    }

    /// A member that came later ends the group that it is in, as any other does.
    fn hear_of_stranger(&mut self, path: &str, now: Moment, what: &What) {
        let above = path.rsplit_once('/').and_then(|(above, _)| self.by_path.get(above)).copied();
        let (Some(above), What::Exited { verdict, .. }) = (above, what) else { return };
        if matches!(verdict, Verdict::Restart { .. }) {
            // It may be charged to all.
            self.nodes[above].known = now;
        }
        match verdict {
            Verdict::Escalate | Verdict::AutoShutdown => self.nodes[above].course = Course::Closing,
            // It is the last of them, and so takes nobody along unless all go.
            Verdict::Restart { .. } if self.strategy(above) == Strategy::OneForAll => {
                for child in self.nodes[above].below.clone() {
                    self.doom(child, now);
                }
            }
            _ => {}
        }
    }

    fn starting(&mut self, at: usize, epoch: u64, now: Moment) -> Judged {
        let node = &self.nodes[at];
        let wrong = |law, what: &str| Err(Violation::new(law, format!("{}, incarnation {epoch}: {what}", node.path)));
        if node.life != Life::Down {
            return wrong(Law::OneIncarnation, "it starts while the last is alive");
        }
        if epoch != node.epoch + 1 && !node.is_fresh {
            return wrong(Law::OneIncarnation, &format!("it starts after incarnation {}", node.epoch));
        }
        let Some(due) = node.due else {
            let resting = matches!(node.rest, Some(Rest::Quarantined | Rest::Over | Rest::Gone));
            let law = if resting { Law::NotBefore } else { Law::Predicted };
            return wrong(law, "it starts, and nothing called for that");
        };
        if now < due {
            return wrong(Law::NotBefore, &format!("it starts at {now:?}, and not before {due:?}"));
        }
        if let Some(above) = node.above {
            let leads = &self.nodes[above];
            if leads.life == Life::Down || leads.course == Course::Closing {
                return wrong(Law::NothingLeft, "it starts below a supervisor that is down or ends");
            }
            if let Some(why) = self.out_of_turn(at, above, now) {
                return wrong(Law::Order, &why);
            }
        }
        self.started += 1;
        let node = &mut self.nodes[at];
        (node.epoch, node.life, node.due, node.delayed) = (epoch, Life::Starting, None, false);
        node.is_fresh = false;
        node.faults.retain(|(done_to, _)| epoch <= *done_to);
        if node.leads.is_some() {
            node.course = Course::Opening;
            node.shared.clear();
            node.known = Moment::ZERO;
            for child in self.nodes[at].below.clone() {
                let child = &mut self.nodes[child];
                if child.once {
                    continue;
                }
                (child.rest, child.due, child.doomed, child.delayed) = (None, Some(now), false, false);
                child.failures = Some(0);
                child.own.clear();
            }
        }
        Ok(())
    }

    /// In an opening and in a group, one after the other.
    fn out_of_turn(&self, at: usize, above: usize, now: Moment) -> Option<String> {
        let leads = &self.nodes[above];
        let grouped = self.strategy(above) != Strategy::OneForOne;
        if !grouped && leads.course != Course::Opening || leads.leads.as_ref().is_some_and(|leads| leads.pool) {
            return None;
        }
        for (is_earlier, other) in leads.below.iter().map(|other| (*other < at, *other)).filter(|(_, one)| *one != at) {
            let sibling = &self.nodes[other];
            if matches!(sibling.life, Life::Starting | Life::Stopping) || grouped && sibling.doomed {
                return Some(format!("it starts while {} is on its way", sibling.path));
            }
            let waits = sibling.due.is_some_and(|due| now < due);
            if is_earlier && sibling.due.is_some() && (grouped || !waits) {
                return Some(format!("it starts before {}", sibling.path));
            }
            if waits && self.strategy(above) == Strategy::OneForAll {
                return Some(format!("it starts, and its group waits for {}", sibling.path));
            }
        }
        None
    }

    fn stopping(&mut self, at: usize) -> Judged {
        let node = &self.nodes[at];
        let wrong = |law, what: &str| Err(Violation::new(law, format!("{}, {}: {what}", node.path, node.epoch)));
        let above = node.above.map(|above| &self.nodes[above]);
        let closes = above.is_some_and(|above| matches!(above.course, Course::Asked | Course::Closing));
        if !(closes || node.doomed || node.by_hand || node.is_guest || !node.is_ours && node.leads.is_none()) {
            return wrong(Law::Predicted, "it is told to stop, and nothing called for that");
        }
        if let Some(above) = above
            && (closes || node.doomed)
            && above.leads.as_ref().is_some_and(|leads| !leads.pool)
        {
            let later = above.below.iter().filter(|other| **other > at).map(|other| &self.nodes[*other]);
            if let Some(later) = later.into_iter().find(|later| later.life != Life::Down) {
                return wrong(Law::Order, &format!("it is told to stop before {}", later.path));
            }
        }
        let ordered = node.doomed || node.by_hand;
        if closes
            && !ordered
            && let Some(above) = node.above
        {
            self.nodes[above].course = Course::Closing;
        }
        let node = &mut self.nodes[at];
        node.by_hand |= node.is_guest && !node.doomed && !closes;
        node.life = Life::Stopping;
        if node.leads.is_some() {
            node.course = Course::Asked;
        }
        Ok(())
    }

    fn exited(&mut self, at: usize, exit: &Exit, verdict: Verdict, now: Moment) -> Judged {
        let node = &self.nodes[at];
        let (path, epoch) = (node.path.clone(), node.epoch);
        let wrong = |law, what: &str| Err(Violation::new(law, format!("{path}, incarnation {epoch}: {what}")));
        let ordered = node.doomed || node.by_hand && verdict == Verdict::AsOrdered;
        let above = node.above.map_or(Course::Steady, |above| self.nodes[above].course);
        if node.rules.is_none() && !matches!(node.course, Course::Asked | Course::Closing) {
            return wrong(Law::Predicted, &format!("the tree {exit}, and nothing called for that"));
        }
        if node.rules.is_some() {
            let as_ordered = verdict == Verdict::AsOrdered;
            let must = ordered || above == Course::Closing;
            let may = must || above == Course::Asked;
            if as_ordered && !may {
                return wrong(Law::Predicted, "its end counts as ordered, and nobody ordered it");
            }
            if must && !as_ordered && *exit != Exit::Unresponsive {
                return wrong(Law::Predicted, &format!("its end was ordered, and is answered by: {verdict}"));
            }
            if as_ordered && above == Course::Asked && !ordered {
                let above = node.above.expect("it has a course");
                self.nodes[above].course = Course::Closing;
            }
            if !as_ordered {
                self.judge_own(at, exit, verdict, now)?;
            }
        }
        self.judge_below(at, exit)?;
        self.carry_out(at, exit, verdict, now);
        Ok(())
    }

    /// A supervisor that ends in order leaves nobody, and whoever is killed ends all below.
    fn judge_below(&mut self, at: usize, exit: &Exit) -> Judged {
        if self.nodes[at].leads.is_none() {
            return Ok(());
        }
        let in_order = matches!(
            exit,
            Exit::Shutdown
                | Exit::Normal
                | Exit::Escalated(_)
                | Exit::AutoShutdown(_)
                | Exit::StartFailed(StartFault::Child(_))
        );
        let mut below = self.nodes[at].below.clone();
        while let Some(child) = below.pop() {
            let node = &mut self.nodes[child];
            if in_order && node.life != Life::Down {
                let what = format!("{} is alive, and its supervisor ended in order", node.path);
                return Err(Violation::new(Law::NothingLeft, what));
            }
            (node.life, node.due, node.course) = (Life::Down, None, Course::Steady);
            (node.doomed, node.promised) = (false, false);
            below.extend(&node.below);
        }
        Ok(())
    }

    /// An end that nobody ordered needs a cause, and its verdict follows from the rules.
    fn judge_own(&mut self, at: usize, exit: &Exit, verdict: Verdict, now: Moment) -> Judged {
        let node = &mut self.nodes[at];
        let caused = match exit {
            Exit::StartFailed(StartFault::Child(_)) | Exit::Escalated(_) | Exit::AutoShutdown(_) => {
                node.course == Course::Closing
            }
            Exit::StartFailed(_) if node.failing > 0 => {
                node.failing -= 1;
                true
            }
            exit => node.faults.iter().any(|(epoch, fault)| *epoch == node.epoch && fits(*fault, exit)),
        };
        if !caused && !node.is_ours && node.leads.is_none() {
            self.by_themselves += 1;
        } else if !caused {
            let what = format!("{}, incarnation {}: it {exit}, and nothing was done to it", node.path, node.epoch);
            return Err(Violation::new(Law::Predicted, what));
        }
        let node = &self.nodes[at];
        let expected = self.expected(at, exit, now);
        if let Some(expected) = expected
            && !expected.is(verdict)
        {
            let law = match (verdict, expected) {
                (Verdict::Restart { .. }, Expected::Plain(_)) => Law::Budget,
                (Verdict::Restart { .. }, _) => Law::NotBefore,
                _ => Law::Predicted,
            };
            let (path, epoch) = (&node.path, node.epoch);
            let what = format!("{path}, incarnation {epoch}: it {exit}; {verdict}, where it should be: {expected:?}");
            return Err(Violation::new(law, what));
        }
        Ok(())
    }

    /// What the rules say of an end that nobody ordered; `None` if that depends on what was not heard.
    fn expected(&self, at: usize, exit: &Exit, now: Moment) -> Option<Expected> {
        let node = &self.nodes[at];
        let (rules, above) = (node.rules.as_ref()?, &self.nodes[node.above?]);
        let leads = above.leads.as_ref()?;
        let for_good = |otherwise| {
            let all_over = || {
                let mut significant = above.below.iter().map(|other| &self.nodes[*other]);
                significant.all(|other| {
                    other.path == node.path
                        || !other.rules.as_ref().is_some_and(|rules| rules.significant)
                        || matches!(other.rest, Some(Rest::Done | Rest::Over | Rest::Gone))
                })
            };
            let is_the_end = match leads.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => all_over(),
            };
            Some(Expected::Plain(if rules.significant && is_the_end { Verdict::AutoShutdown } else { otherwise }))
        };
        if *exit == Exit::Unresponsive {
            return None;
        }
        if *exit == Exit::Ignored {
            return Some(Expected::Plain(Verdict::Done));
        }
        if node.on_probation {
            return Some(Expected::Plain(Verdict::TakeOut));
        }
        if matches!(exit, Exit::StartFailed(StartFault::Unrecoverable { .. })) {
            return Some(Expected::Plain(Verdict::Quarantine));
        }
        let was_up = matches!(node.life, Life::Up { .. });
        if above.course == Course::Opening && !was_up {
            return Some(Expected::Plain(Verdict::Escalate));
        }
        match rules.restart {
            Restart::Temporary => return for_good(Verdict::Done),
            Restart::Transient if exit.is_peaceful() => return for_good(Verdict::Done),
            Restart::Transient | Restart::Permanent => {}
        }
        let policy = rules.on_exhausted;
        let own = match policy {
            Exhausted::Escalate => rules.budget,
            Exhausted::Quarantine | Exhausted::Stop => Some(rules.budget.unwrap_or(leads.intensity)),
        };
        let shared = (policy == Exhausted::Escalate).then_some(leads.intensity);
        let spent = |budget: Option<Budget>, charges: &[Moment]| {
            budget.is_some_and(|budget| {
                let within = charges.iter().filter(|charge| now <= **charge + budget.within).count();
                u32::try_from(within + 1).is_ok_and(|restarts| restarts > budget.restarts)
            })
        };
        let all_known = |budget: Option<Budget>| {
            budget.is_none_or(|budget| above.known + budget.within < now || above.known.is_zero())
        };
        if spent(own, &node.own) || spent(shared, &above.shared) {
            return Some(match policy {
                Exhausted::Escalate => Expected::Plain(Verdict::Escalate),
                Exhausted::Quarantine => Expected::Plain(Verdict::Quarantine),
                Exhausted::Stop => return for_good(Verdict::Stop),
            });
        }
        if !all_known(own) || !all_known(shared) {
            return None;
        }
        let healthy = matches!(node.life, Life::Up { since } if since + rules.backoff.healthy_after <= now);
        let failures = if healthy { 0 } else { node.failures? };
        let backoff = rules.backoff;
        let widest = 2000 * u64::from(backoff.jitter_percent);
        Some(Expected::Restart { least: backoff.delay(failures, 0), most: backoff.delay(failures, widest) })
    }

    fn carry_out(&mut self, at: usize, exit: &Exit, verdict: Verdict, now: Moment) {
        let above = self.nodes[at].above;
        let was_up = match self.nodes[at].life {
            Life::Up { since } => Some(since),
            _ => None,
        };
        let node = &mut self.nodes[at];
        let doomed = std::mem::take(&mut node.doomed);
        node.life = Life::Down;
        match verdict {
            Verdict::Restart { after } => {
                let rules = node.rules.clone().expect("the root is not restarted");
                let healthy = was_up.is_some_and(|since| since + rules.backoff.healthy_after <= now);
                node.failures = if healthy { Some(1) } else { node.failures.map(|failures| failures + 1) };
                (node.due, node.delayed) = (Some(now + after), !after.is_zero());
                node.own.push(now);
                if let Some(above) = above {
                    if rules.on_exhausted == Exhausted::Escalate {
                        self.nodes[above].shared.push(now);
                    }
                    for other in self.group(at, above) {
                        self.doom(other, now);
                    }
                }
            }
            Verdict::AsOrdered if doomed => {
                let temporary = node.rules.as_ref().is_some_and(|rules| rules.restart == Restart::Temporary);
                let forgotten = temporary && !node.on_probation;
                (node.due, node.rest) = if forgotten { (None, Some(Rest::Gone)) } else { (Some(now), None) };
            }
            Verdict::Done | Verdict::AutoShutdown => (node.rest, node.on_probation) = (Some(Rest::Done), false),
            Verdict::Stop => node.rest = Some(Rest::Over),
            Verdict::Quarantine => node.rest = Some(Rest::Quarantined),
            Verdict::TakeOut => node.rest = Some(Rest::Gone),
            Verdict::AsOrdered | Verdict::Escalate => {}
        }
        if matches!(verdict, Verdict::Escalate | Verdict::AutoShutdown)
            && let Some(above) = above
        {
            self.nodes[above].course = Course::Closing;
        }
        if *exit == Exit::Unresponsive {
            self.nodes[at].rest = Some(Rest::Quarantined);
        }
    }

    /// The siblings that restart with it.
    fn group(&self, at: usize, above: usize) -> Vec<usize> {
        let below = self.nodes[above].below.iter().copied();
        match self.strategy(above) {
            Strategy::OneForOne => Vec::new(),
            Strategy::OneForAll => below.filter(|other| *other != at).collect(),
            Strategy::RestForOne => below.filter(|other| *other > at).collect(),
        }
    }

    /// It must end with its group, and then start; or only start, if it had ended for good.
    fn doom(&mut self, at: usize, now: Moment) {
        let node = &mut self.nodes[at];
        if node.life != Life::Down {
            node.doomed = true;
        } else if node.rest == Some(Rest::Done) {
            (node.rest, node.due) = (None, Some(now));
        }
    }

    fn strategy(&self, at: usize) -> Strategy {
        self.nodes[at].leads.as_ref().map_or(Strategy::OneForOne, |leads| leads.strategy)
    }

    /// An opening is over when nobody is on the way, and nobody is left whose turn it is.
    fn settle(&mut self, at: usize) {
        if self.nodes[at].course != Course::Opening {
            return;
        }
        let grouped = self.strategy(at) != Strategy::OneForOne;
        let mut below = self.nodes[at].below.iter().map(|child| &self.nodes[*child]);
        let over = below.all(|child| {
            let busy = matches!(child.life, Life::Starting | Life::Stopping) || child.doomed;
            let left = child.due.is_some() && (grouped || !child.delayed);
            !busy && !left
        });
        if over {
            self.nodes[at].course = Course::Steady;
        }
    }

    /// What has yet to come, if the tree is not at rest.
    ///
    /// # Errors
    /// The first that is not as it will be.
    pub fn rests(&self) -> Result<(), String> {
        for node in &self.nodes {
            let path = &node.path;
            let below_the_living = node.above.is_none_or(|above| self.nodes[above].life != Life::Down);
            if (node.due.is_some() || node.promised) && below_the_living {
                return Err(format!("{path} must start after incarnation {}", node.epoch));
            }
            if node.doomed || matches!(node.course, Course::Asked | Course::Closing) && node.life != Life::Down {
                return Err(format!("{path} must end its incarnation {}", node.epoch));
            }
            if matches!(node.life, Life::Starting | Life::Stopping) {
                return Err(format!("{path} is on its way in incarnation {}", node.epoch));
            }
            let open = |(epoch, fault): &&(u64, Fault)| {
                let has_ended = *epoch < node.epoch || *epoch == node.epoch && node.life == Life::Down;
                !has_ended && !matches!(fault, Fault::Block(_))
            };
            if let Some((epoch, fault)) = node.faults.iter().find(open) {
                return Err(format!("{path} must end its incarnation {epoch}: {fault}"));
            }
        }
        Ok(())
    }

    /// The step is over: what was done is answered for.
    pub fn forgets_faults(&mut self) {
        for node in &mut self.nodes {
            node.faults.clear();
            node.by_hand = false;
        }
    }

    /// Whether `root` shows what was decided.
    pub(super) fn is_shown(&self, root: &Shown) -> Judged {
        let mut seen = BTreeSet::new();
        let mut left = vec![root];
        while let Some(shown) = left.pop() {
            left.extend(&shown.children);
            let Some(&at) = self.by_path.get(&*shown.path) else { continue };
            seen.insert(at);
            let node = &self.nodes[at];
            // It comes and goes while we look.
            if node.is_guest {
                continue;
            }
            let state = match (node.life, node.rest) {
                (Life::Up { .. }, _) => matches!(shown.state, NodeState::Running),
                (_, Some(Rest::Quarantined)) => matches!(shown.state, NodeState::Quarantined { .. }),
                _ => matches!(shown.state, NodeState::Stopped),
            };
            if !state || shown.epoch != node.epoch {
                let Shown { path, state, epoch, .. } = shown;
                let (life, rest) = (node.life, node.rest);
                let what =
                    format!("{path} is shown as {state:?} in {epoch}, and is {life:?} {rest:?} in {}", node.epoch);
                return Err(Violation::new(Law::Predicted, what));
            }
        }
        let missing = self.nodes.iter().enumerate().find(|(at, node)| {
            !seen.contains(at)
                && !node.is_guest
                && (node.life != Life::Down || !matches!(node.rest, Some(Rest::Gone | Rest::Done)))
        });
        match missing {
            Some((_, node)) => Err(Violation::new(Law::Predicted, format!("{} is not shown", node.path))),
            None => Ok(()),
        }
    }

    /// The epoch of the incarnation of each actor of ours that is alive, by path.
    pub(super) fn alive(&self, path: &str) -> Option<u64> {
        let node = &self.nodes[*self.by_path.get(path)?];
        (node.life != Life::Down).then_some(node.epoch)
    }

    /// Where everybody is.
    pub(super) fn epochs(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.epoch).collect()
    }

    /// Those who change for reasons of their own.
    pub(super) fn is_guest(&self, at: usize) -> bool {
        self.nodes[at].is_guest
    }

    pub(super) fn paths(&self, of: impl IntoIterator<Item = usize>) -> Vec<Arc<str>> {
        of.into_iter().map(|at| self.nodes[at].path.clone()).collect()
    }

    /// Those that wait for somebody to start them.
    pub(super) fn resting(&self) -> Vec<Arc<str>> {
        let rests = |node: &&Node| {
            let above = node.above.map(|above| self.nodes[above].life);
            matches!(node.rest, Some(Rest::Done | Rest::Over | Rest::Quarantined))
                && above.is_some_and(|above| above != Life::Down)
        };
        self.nodes.iter().filter(rests).map(|node| node.path.clone()).collect()
    }

    /// Foretells from the specification and the record alone whose incarnation this fault changes, if it is the only one
    /// and comes at `now` or a little `later`; `None` if that cannot be said.
    pub(super) fn foretold(&self, path: &str, fault: Fault, now: Moment, later: Moment) -> Option<BTreeSet<usize>> {
        let at = *self.by_path.get(path)?;
        let exit = match fault {
            Fault::Kill | Fault::KillSupervisor | Fault::SlowStart(_) => Exit::Killed,
            Fault::Panic => Exit::Panicked { message: String::new(), place: None },
            Fault::Leave => Exit::Normal,
            Fault::Stall => Exit::Unhealthy(Unhealth::Stuck { limit: later }),
            Fault::Block(_) => return Some(BTreeSet::new()),
            Fault::RefuseStop => {
                let forgotten = self.nodes[at].rules.as_ref().is_some_and(|rules| rules.restart == Restart::Temporary);
                return Some(if forgotten { BTreeSet::new() } else { BTreeSet::from([at]) });
            }
            Fault::FailStarts(_) => return None,
        };
        let (soon, late) = (self.changes(at, &exit, now)?, self.changes(at, &exit, later)?);
        // One whose start is yet to fail, from an earlier fault, may take more along.
        let is_sure = soon == late && soon.iter().all(|at| self.nodes[*at].failing == 0);
        is_sure.then_some(soon)
    }

    /// Whether a kill would be the end of the whole tree, `after` as many others that may each cost the root a restart.
    pub(super) fn is_fatal(&self, path: &str, after: usize, now: Moment) -> bool {
        let (Some(&at), Some(leads)) = (self.by_path.get(path), &self.nodes[0].leads) else { return false };
        let (mut at, mut exit) = (at, Exit::Killed);
        while let Some(above) = self.nodes[at].above {
            if above == 0 {
                let root = &self.nodes[0];
                let within = leads.intensity.within;
                let known = root.known.is_zero() || root.known + within < now;
                let spent = root.shared.iter().filter(|charge| now <= **charge + within).count() + after + 1;
                let covers = u32::try_from(spent).is_ok_and(|spent| spent <= leads.intensity.restarts);
                let charges = self.nodes[at].rules.as_ref().is_none_or(|rules| {
                    rules.on_exhausted == Exhausted::Escalate && rules.restart != Restart::Temporary
                });
                return charges && !(covers && (known || leads.intensity.restarts == u32::MAX));
            }
            let policy = self.nodes[at].rules.as_ref().map(|rules| rules.on_exhausted);
            match self.expected(at, &exit, now) {
                // It takes nobody along.
                _ if policy != Some(Exhausted::Escalate) => return false,
                Some(Expected::Plain(Verdict::Escalate)) | None => {}
                Some(_) if after == 0 => return false,
                Some(_) => {}
            }
            (at, exit) = (above, Exit::Failed { error: String::new() });
        }
        true
    }

    fn changes(&self, at: usize, exit: &Exit, now: Moment) -> Option<BTreeSet<usize>> {
        let above = self.nodes[at].above?;
        match self.expected(at, exit, now)? {
            Expected::Restart { .. } => {
                let mut changed = BTreeSet::new();
                let comes = |other: &usize| {
                    let node = &self.nodes[*other];
                    let forgotten = node.rules.as_ref().is_some_and(|rules| rules.restart == Restart::Temporary);
                    match (node.life, node.rest) {
                        (Life::Down, rest) => rest == Some(Rest::Done),
                        _ => !forgotten,
                    }
                };
                let mut left: Vec<_> = self.group(at, above).into_iter().filter(comes).chain([at]).collect();
                while let Some(at) = left.pop() {
                    changed.insert(at);
                    left.extend(self.nodes[at].below.iter().filter(|child| !self.nodes[**child].once));
                }
                Some(changed)
            }
            Expected::Plain(Verdict::Escalate) => self.changes(above, &Exit::Failed { error: String::new() }, now),
            Expected::Plain(Verdict::AutoShutdown) => None,
            Expected::Plain(_) => Some(BTreeSet::new()),
        }
    }
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Restart { least: Moment, most: Moment },
    Plain(Verdict),
}

impl Expected {
    fn is(self, verdict: Verdict) -> bool {
        match (self, verdict) {
            (Self::Restart { least, most }, Verdict::Restart { after }) => least <= after && after <= most,
            (Self::Plain(expected), verdict) => expected == verdict,
            (Self::Restart { .. }, _) => false,
        }
    }
}

/// Whether this is how an incarnation ends to which that was done.
fn fits(fault: Fault, exit: &Exit) -> bool {
    match fault {
        Fault::Kill | Fault::KillSupervisor | Fault::FailStarts(_) | Fault::SlowStart(_) => *exit == Exit::Killed,
        Fault::Panic => matches!(exit, Exit::Panicked { .. }),
        Fault::Leave => *exit == Exit::Normal,
        Fault::Stall => matches!(exit, Exit::Unhealthy(Unhealth::Stuck { .. })),
        Fault::Block(_) | Fault::RefuseStop => false,
    }
}
