//! The timers of one supervisor, as data: at most one per child, ordered by time.
//!
//! The shell keeps a single sleeping task for the earliest of them. Nearly every alarm is taken back before it rings (a
//! start that succeeds, a stop that is obeyed), so a child's start must not cost a task of its own.
//!
//! Invariant: `by_time` has exactly the alarms that `of_child` names.

use std::collections::BTreeMap;

use crate::step::{Event, Moment, Timer};

#[derive(Default)]
pub(crate) struct Alarms {
    by_time: BTreeMap<(Moment, usize), (u64, Timer)>,
    of_child: BTreeMap<usize, Moment>,
}

impl Alarms {
    /// Replaces the alarm of `child`.
    pub(crate) fn arm(&mut self, child: usize, epoch: u64, timer: Timer, at: Moment) {
        self.disarm(child);
        self.of_child.insert(child, at);
        self.by_time.insert((at, child), (epoch, timer));
    }

    pub(crate) fn disarm(&mut self, child: usize) {
        if let Some(at) = self.of_child.remove(&child) {
            self.by_time.remove(&(at, child));
        }
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out the earliest alarm that is due.
    pub(crate) fn ring(&mut self, now: Moment) -> Option<Event> {
        let first = self.by_time.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, child), (epoch, timer)) = first.remove_entry();
        self.of_child.remove(&child);
        Some(Event::Due { child, epoch, timer })
    }
}
