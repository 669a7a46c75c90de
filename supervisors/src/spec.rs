//! What a tree is made of, as data: checked before anything starts, and changed only by adding and removing children.
//!
//! A [`Supervisor`] lists its children in start order. What a child leaves open it inherits from its supervisor, and a
//! nested supervisor is a child like any other, except that its stop and start have no time limit of their own: they are
//! the sum of its children's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::Actor;

use crate::backoff::Backoff;
use crate::reference::ChildRef;
use crate::shell::{Launch, Worker};
use crate::step::{ChildRules, Rules};

/// How long a worker may take to stop before it is killed, unless it says otherwise. OTP's value.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long a worker may take to start, unless it says otherwise. Long, because a start may replay a journal.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// When a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended in peace.
    Transient,
    /// Never.
    Temporary,
}

/// Who is restarted with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneForOne,
    OneForAll,
    /// Those after it in start order, as they may depend on it.
    RestForOne,
}

/// What happens when a budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Exhausted {
    /// The supervisor stops its children and ends, its own supervisor decides.
    #[default]
    Escalate,
    /// Only the child stays down, and the others go on without it.
    Quarantine,
}

/// So many restarts are granted within any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub restarts: u32,
    pub within: Duration,
}

/// The specification of one child.
#[derive(Clone)]
pub struct Child {
    pub(crate) name: Arc<str>,
    pub(crate) restart: Restart,
    shutdown: Duration,
    start_timeout: Duration,
    backoff: Option<Backoff>,
    budget: Option<Budget>,
    on_exhausted: Option<Exhausted>,
    pub(crate) part: Part,
}

#[derive(Clone)]
pub(crate) enum Part {
    Worker(Arc<dyn Launch>),
    Supervisor(Arc<Supervisor>),
}

impl Child {
    /// A worker that `reference` will lead to, and after which it is named. `make` runs anew for every incarnation, in
    /// that incarnation's own task: a panic in it is a failed start.
    pub fn actor<A, F>(reference: &ChildRef<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::actor_with_epoch(reference, move |_| make())
    }

    /// Like [`Child::actor`], for a child that must know which incarnation it is: to fence its writes, say.
    pub fn actor_with_epoch<A, F>(reference: &ChildRef<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let worker = Worker::new(reference.clone(), make);
        Self::new(reference.name().into(), Part::Worker(Arc::new(worker)))
    }

    pub(crate) fn new(name: Arc<str>, part: Part) -> Self {
        Self {
            name,
            restart: Restart::default(),
            shutdown: SHUTDOWN,
            start_timeout: START_TIMEOUT,
            backoff: None,
            budget: None,
            on_exhausted: None,
            part,
        }
    }

    pub fn permanent(self) -> Self {
        Self { restart: Restart::Permanent, ..self }
    }

    pub fn transient(self) -> Self {
        Self { restart: Restart::Transient, ..self }
    }

    pub fn temporary(self) -> Self {
        Self { restart: Restart::Temporary, ..self }
    }

    /// How long a stop may take before the child is killed. A nested supervisor ignores it.
    pub fn shutdown(self, limit: Duration) -> Self {
        Self { shutdown: limit, ..self }
    }

    /// How long a start may take before the child is killed. A nested supervisor ignores it.
    pub fn start_timeout(self, limit: Duration) -> Self {
        Self { start_timeout: limit, ..self }
    }

    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff: Some(backoff), ..self }
    }

    /// A budget of its own, beside the one it shares with its siblings.
    pub fn budget(self, restarts: u32, within: Duration) -> Self {
        Self { budget: Some(Budget { restarts, within }), ..self }
    }

    pub fn on_exhausted(self, exhausted: Exhausted) -> Self {
        Self { on_exhausted: Some(exhausted), ..self }
    }
}

/// A nested supervisor as a child: for a restart kind or a budget other than the default.
impl From<Supervisor> for Child {
    fn from(supervisor: Supervisor) -> Self {
        Self::new(supervisor.name.clone(), Part::Supervisor(Arc::new(supervisor)))
    }
}

/// The specification of a supervisor and of all below it.
#[derive(Clone)]
pub struct Supervisor {
    pub(crate) name: Arc<str>,
    pub(crate) strategy: Strategy,
    intensity: Budget,
    on_exhausted: Exhausted,
    backoff: Backoff,
    pub(crate) children: Vec<Child>,
}

impl Supervisor {
    /// Five restarts within 30 seconds, then escalation; the default back-off.
    pub fn new(name: impl Into<Arc<str>>, strategy: Strategy) -> Self {
        Self {
            name: name.into(),
            strategy,
            intensity: Budget { restarts: 5, within: Duration::from_secs(30) },
            on_exhausted: Exhausted::default(),
            backoff: Backoff::default(),
            children: Vec::new(),
        }
    }

    /// The budget that all children share, except those that are quarantined when it is spent: a verdict on one child
    /// must follow from its own ends, so each of those has this much for itself.
    pub fn intensity(self, restarts: u32, within: Duration) -> Self {
        Self { intensity: Budget { restarts, within }, ..self }
    }

    /// For children that do not say otherwise.
    pub fn on_exhausted(self, exhausted: Exhausted) -> Self {
        Self { on_exhausted: exhausted, ..self }
    }

    /// For children that do not say otherwise.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into());
        self
    }

    /// Appends a nested, permanent supervisor.
    pub fn supervisor(self, supervisor: Supervisor) -> Self {
        self.child(supervisor)
    }

    /// What the decision core needs to know of this supervisor and its present children.
    pub(crate) fn rules(&self, children: Vec<ChildRules>) -> Rules {
        Rules { strategy: self.strategy, intensity: self.intensity, children }
    }

    /// The same of `child`, which is or becomes one of ours, at `path`.
    pub(crate) fn child_rules(&self, child: &Child, path: Arc<str>) -> ChildRules {
        let limited = matches!(child.part, Part::Worker(_));
        ChildRules {
            path,
            restart: child.restart,
            shutdown: limited.then_some(child.shutdown),
            start_timeout: limited.then_some(child.start_timeout),
            backoff: child.backoff.unwrap_or(self.backoff),
            budget: child.budget,
            on_exhausted: self.policy(child),
        }
    }

    fn policy(&self, child: &Child) -> Exhausted {
        child.on_exhausted.unwrap_or(self.on_exhausted)
    }

    /// The names that restart when the one at `index` of our present `children` ends. Where its first end already
    /// spends the budget, the supervisor ends with it, and with that everybody here and `beyond`, whom the supervisor's
    /// own end restarts.
    pub(crate) fn restarts_with(&self, children: &[&Child], index: usize, beyond: &[String]) -> Vec<String> {
        let child = children[index];
        let own_budget_is_none = child.budget.is_some_and(|budget| budget.restarts == 0);
        let ends_us = self.policy(child) == Exhausted::Escalate && (self.intensity.restarts == 0 || own_budget_is_none);
        let alone = self.strategy == Strategy::OneForOne && !ends_us;
        if child.restart == Restart::Temporary || alone {
            return Vec::new();
        }
        let from = if self.strategy == Strategy::RestForOne && !ends_us { index + 1 } else { 0 };
        let siblings = children.iter().enumerate().skip(from);
        let siblings = siblings.filter(|(at, other)| {
            // A temporary child does not come back from a group restart, but it does with a new supervisor.
            *at != index && (ends_us || other.restart != Restart::Temporary)
        });
        let beyond = beyond.iter().filter(|_| ends_us).cloned();
        siblings.map(|(_, other)| other.name.to_string()).chain(beyond).collect()
    }

    /// # Errors
    /// The first mistake found, from the root down.
    pub(crate) fn check(&self, path: &str) -> Result<(), SpecError> {
        let mut names = BTreeSet::new();
        check_name(&self.name, path)?;
        for child in &self.children {
            let path = format!("{path}/{}", child.name);
            self.check_child(child, &path)?;
            if !names.insert(&child.name) {
                return Err(SpecError::DuplicateName { path });
            }
        }
        Ok(())
    }

    /// Everything about `child` as one of ours, except that its name is free.
    pub(crate) fn check_child(&self, child: &Child, path: &str) -> Result<(), SpecError> {
        check_name(&child.name, path)?;
        let path = || path.to_owned();
        let budgets = [Some(self.intensity), child.budget];
        if budgets.into_iter().flatten().any(|budget| budget.restarts > 0 && budget.within.is_zero()) {
            return Err(SpecError::EmptyWindow { path: path() });
        }
        let backoff = child.backoff.unwrap_or(self.backoff);
        if backoff.factor == 0 || backoff.cap < backoff.first || backoff.jitter_percent > 100 {
            return Err(SpecError::Backoff { path: path() });
        }
        match &child.part {
            Part::Supervisor(nested) => nested.check(&path()),
            Part::Worker(_) => Ok(()),
        }
    }
}

fn check_name(name: &str, path: &str) -> Result<(), SpecError> {
    if name.is_empty() || name.contains('/') {
        return Err(SpecError::Name { path: path.to_owned() });
    }
    Ok(())
}

/// A specification that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{path}: a name is not empty and has no slash")]
    Name { path: String },
    #[error("{path}: its supervisor already has a child of this name")]
    DuplicateName { path: String },
    #[error("{path}: a budget counts within a window longer than zero")]
    EmptyWindow { path: String },
    #[error("{path}: a back-off has a factor of at least 1, a cap not below its first delay, and at most 100 % jitter")]
    Backoff { path: String },
}
