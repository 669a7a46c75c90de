//! What one incarnation of a supervisor was told and what it did about it, so that both can be looked at and the first be
//! told again.
//!
//! Invariant: telling all that is kept to what it started from leads to where the supervisor is.

use std::collections::VecDeque;

use super::{Action, Event, Moment, State, step};

/// The latest events of a supervisor, each with the actions that followed. Bounded: of those before, only what they led
/// to is known.
#[derive(Clone, Debug)]
pub struct History {
    /// Before the oldest event that is kept.
    start: State,
    kept: VecDeque<Told>,
    limit: usize,
    forgotten: u64,
}

/// One event and what followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub at: Moment,
    pub event: Event,
    pub actions: Vec<Action>,
}

/// The same events led to something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("told again, {0:?} is answered with {1:?}")]
pub struct Diverged(pub Told, pub Vec<Action>);

impl History {
    /// Of a supervisor that stands like this, and of which the latest `limit` events are to be kept.
    pub fn new(start: State, limit: usize) -> Self {
        Self { start, kept: VecDeque::new(), limit, forgotten: 0 }
    }

    pub fn write(&mut self, told: Told) {
        self.kept.push_back(told);
        while self.kept.len() > self.limit {
            if let Some(oldest) = self.kept.pop_front() {
                step(&mut self.start, oldest.event, oldest.at);
                self.forgotten += 1;
            }
        }
    }

    /// Oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Told> {
        self.kept.iter()
    }

    /// How many events came before those that are kept.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Tells all of it again, and returns where that leads.
    ///
    /// # Errors
    /// The first event that is answered differently.
    pub fn replay(&self) -> Result<State, Diverged> {
        let mut state = self.start.clone();
        for told in &self.kept {
            let actions = step(&mut state, told.event.clone(), told.at);
            if actions != told.actions {
                return Err(Diverged(told.clone(), actions));
            }
        }
        Ok(state)
    }
}
