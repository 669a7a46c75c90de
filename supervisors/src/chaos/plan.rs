//! What will be done to a tree, and when: all of it follows from a seed.
//!
//! Invariant: plans of the same seed, paths and options are the same, step by step. What becomes of a step may differ, as a
//! tree on several threads does.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cast::Cast;
use crate::backoff::Dice;
use crate::report::{Kind, Node};
use crate::tree::Tree;

/// Something that befalls one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A worker is killed.
    Kill,
    /// A supervisor is killed, and with it all below.
    KillSupervisor,
    /// A handler panics.
    Panic,
    /// It ends by itself, in peace.
    Leave,
    /// A handler waits for what never comes, until the watchdog sees it.
    Stall,
    /// A handler keeps its thread for so long, which is no reason to end.
    Block(Duration),
    /// It is killed, and so many starts in a row fail.
    FailStarts(u32),
    /// It is killed, and its next start takes so long.
    SlowStart(Duration),
    /// It is terminated, does not stop, and is restarted by hand when it is down.
    RefuseStop,
}

impl Fault {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillSupervisor => "kill of a supervisor",
            Self::Panic => "panic",
            Self::Leave => "peaceful end",
            Self::Stall => "stalled await",
            Self::Block(_) => "blocked thread",
            Self::FailStarts(_) => "failing starts",
            Self::SlowStart(_) => "slow start",
            Self::RefuseStop => "refused stop",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailStarts(times) => write!(f, "{} ({times})", self.name()),
            Self::Block(time) | Self::SlowStart(time) => write!(f, "{} ({time:?})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// Some faults at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How long everything runs undisturbed before it.
    pub after: Duration,
    /// Each path once.
    pub faults: Vec<(Arc<str>, Fault)>,
}

/// Steps without an end, from a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub seed: u64,
    /// No step begins after this.
    pub lasts: Duration,
    pause: Duration,
    /// To whom anything can be done.
    cast: Vec<Arc<str>>,
    /// Who can only be killed.
    others: Vec<Arc<str>>,
    supervisors: Vec<Arc<str>>,
}

impl Plan {
    /// Everybody in `tree` but the root can be met. Of those who are not of the `cast` nothing is known but that they can
    /// be killed.
    pub fn new(seed: u64, tree: &Tree, cast: &Cast, lasts: Duration) -> Self {
        let mut plan = Self {
            seed,
            lasts,
            pause: Duration::from_millis(50),
            cast: Vec::new(),
            others: Vec::new(),
            supervisors: Vec::new(),
        };
        let root = tree.snapshot();
        root.children.iter().for_each(|child| plan.take_in(child, cast));
        plan
    }

    /// How long it is quiet between steps, on average. 50 milliseconds, unless this says otherwise.
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// All but these paths, and what is below them.
    pub fn without(mut self, spared: &[&str]) -> Self {
        let is_met = |path: &Arc<str>| {
            !spared
                .iter()
                .any(|spared| path.strip_prefix(spared).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        self.cast.retain(is_met);
        self.others.retain(is_met);
        self.supervisors.retain(is_met);
        self
    }

    fn take_in(&mut self, node: &Node, cast: &Cast) {
        let path: Arc<str> = node.path.as_str().into();
        match node.kind {
            Kind::Worker if cast.role(&path).is_some() => self.cast.push(path),
            Kind::Worker => self.others.push(path),
            Kind::Supervisor { .. } => self.supervisors.push(path),
            // Its members come and go.
            Kind::Pool => return self.supervisors.push(path),
        }
        node.children.iter().for_each(|child| self.take_in(child, cast));
    }

    /// From the first; none if there is nobody to do anything to.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<'_> {
        let mut dice = Dice(self.seed);
        std::iter::from_fn(move || self.step(&mut dice))
    }

    fn step(&self, dice: &mut Dice) -> Option<Step> {
        let after = self.pause * u32::try_from(50 + dice.roll() % 100).unwrap_or(100) / 100;
        let count = match dice.roll() % 10 {
            0..6 => 1,
            6..9 => 2 + dice.roll() % 3,
            _ => 8,
        };
        let (mut faults, mut met) = (Vec::new(), BTreeSet::new());
        for place in 0..count {
            let (path, fault) = self.fault(dice)?;
            // Somebody orders this, and it is judged alone.
            let fault = if fault == Fault::RefuseStop && place > 0 { Fault::Kill } else { fault };
            if met.insert(path.clone()) {
                faults.push((path, fault));
            }
            if fault == Fault::RefuseStop {
                break;
            }
        }
        Some(Step { after, faults })
    }

    fn fault(&self, dice: &mut Dice) -> Option<(Arc<str>, Fault)> {
        let all = self.cast.len() + self.others.len();
        if self.supervisors.len() + all == 0 {
            return None;
        }
        let chance = if all == 0 { 0 } else { dice.roll() % 100 };
        if chance < 8 && !self.supervisors.is_empty() {
            return Some((pick(&self.supervisors, dice), Fault::KillSupervisor));
        }
        let at = below(all, dice);
        let Some(path) = self.cast.get(at) else {
            return Some((self.others[at - self.cast.len()].clone(), Fault::Kill));
        };
        let some = |dice: &mut Dice, most| 1 + dice.roll() % most;
        let fault = match dice.roll() % 100 {
            0..25 => Fault::Kill,
            25..48 => Fault::Panic,
            48..60 => Fault::Leave,
            60..72 => Fault::FailStarts(if some(dice, 3) == 1 { 3 } else { 1 }),
            72..84 => Fault::SlowStart(Duration::from_millis(20 * some(dice, 10))),
            84..86 => Fault::Stall,
            86..94 => Fault::Block(Duration::from_millis(some(dice, 5))),
            _ => Fault::RefuseStop,
        };
        Some((path.clone(), fault))
    }
}

fn below(count: usize, dice: &mut Dice) -> usize {
    usize::try_from(dice.roll()).unwrap_or_default() % count
}

fn pick(paths: &[Arc<str>], dice: &mut Dice) -> Arc<str> {
    paths[below(paths.len(), dice)].clone()
}
