//! What is said in the end: what was done, how often, and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::plan::Fault;

/// What must hold. The numbers are those of the invariants in the documents on supervision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// I1.
    OneIncarnation,
    /// I2.
    Order,
    /// I3.
    NothingLeft,
    /// I4.
    Budget,
    /// I5.
    OneDecision,
    /// I6.
    Acknowledged,
    /// I7.
    Answers,
    /// I8.
    NotBefore,
    /// Those incarnations change that must, and no other.
    Predicted,
    /// What a supervisor was told leads, told again, to the same actions.
    Replay,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneIncarnation => "I1 (never two incarnations of one child)",
            Self::Order => "I2 (started in order, stopped in the reverse of it)",
            Self::NothingLeft => "I3 (nothing is left alive below what has ended)",
            Self::Budget => "I4 (restarts stay within the budget)",
            Self::OneDecision => "I5 (every end yields exactly one decision)",
            Self::Acknowledged => "I6 (what is acknowledged is there, once, and from no old incarnation)",
            Self::Answers => "I7 (every call is answered within its bound)",
            Self::NotBefore => "I8 (nothing starts before its time)",
            Self::Predicted => "prediction (those incarnations change that must, and no other)",
            Self::Replay => "replay (the same events lead to the same actions)",
        })
    }
}

/// What was found first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{law} is violated: {what}")]
pub struct Violation {
    pub law: Law,
    pub what: String,
}

impl Violation {
    pub(super) fn new(law: Law, what: impl Into<String>) -> Self {
        Self { law, what: what.into() }
    }
}

/// What was done to a tree, and whether every invariant was kept. It displays as a few lines for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The plan's.
    pub seed: u64,
    /// How many steps were carried out.
    pub steps: u64,
    /// How long that took, by the clock of the runtime.
    pub took: Duration,
    /// By name, those that met an incarnation.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults that met nobody, or would have ended the whole tree.
    pub spared: u64,
    /// Decisions that were judged.
    pub decisions: u64,
    /// Incarnations that were started, and judged to be due.
    pub started: u64,
    /// Children that came while it ran, and were judged from then on.
    pub joined: u64,
    /// Steps before which it was said who would change, from the specification alone.
    pub predicted: u64,
    /// Calls to the tree and to its children that were answered within their bounds.
    pub answered: u64,
    /// Notes that children acknowledged.
    pub acknowledged: u64,
    /// Histories of supervisors that were told again.
    pub replayed: u64,
    /// Ends of children that are not of the cast, and to whom nothing was done.
    pub by_themselves: u64,
    /// How the tree ended, if it did before it was to.
    pub ended: Option<String>,
    /// The first violation, and the step in which it was found.
    pub violation: Option<(u64, Violation)>,
}

impl Judgement {
    pub fn is_kept(&self) -> bool {
        self.violation.is_none()
    }

    pub(super) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault.name()).or_default() += 1;
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, steps, took, decisions, started, predicted, answered, acknowledged, replayed, .. } = self;
        let all: u64 = self.faults.values().sum();
        let took = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        write!(f, "seed {seed}: {all} faults in {steps} steps, {took:?}")?;
        for (place, (name, count)) in self.faults.iter().enumerate() {
            write!(f, "{}{name} {count}", if place == 0 { "\n  " } else { ", " })?;
        }
        write!(f, "\n  {decisions} decisions judged, {started} starts; {predicted} steps foretold")?;
        write!(f, "\n  {answered} calls answered in time, {acknowledged} notes kept, {replayed} histories told again")?;
        if 0 < self.spared + self.by_themselves {
            write!(f, "\n  {} faults spared, {} ends by themselves", self.spared, self.by_themselves)?;
        }
        if 0 < self.joined {
            write!(f, "\n  {} came while it ran, and were judged", self.joined)?;
        }
        if let Some(ended) = &self.ended {
            write!(f, "\n  the tree ended: {ended}")?;
        }
        match &self.violation {
            None => f.write_str("\nkept: every invariant"),
            Some((step, violation)) => write!(f, "\nVIOLATED in step {step} of seed {seed}: {violation}"),
        }
    }
}
