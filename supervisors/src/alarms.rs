//! The timers of one supervisor, as data: at most one per child, ordered by time.
//!
//! The shell keeps a single sleeping task for the earliest of them. Nearly every alarm is taken back before it rings (a
//! start that succeeds, a stop that is obeyed), so a child's start must not cost a task of its own.
//! In order lie only those that have waited: the latest is held apart, and most often taken back from there.
//!
//! Invariant: `by_time` has exactly the alarms that `of_child` names, and `latest` is of a child that it does not name.

use std::collections::BTreeMap;

use crate::step::{Event, Moment, Timer};

#[derive(Default)]
pub(crate) struct Alarms {
    latest: Option<Alarm>,
    by_time: BTreeMap<(Moment, usize), Alarm>,
    of_child: BTreeMap<usize, Moment>,
}

#[derive(Clone, Copy)]
struct Alarm {
    child: usize,
    epoch: u64,
    timer: Timer,
    at: Moment,
}

impl Alarms {
    /// Replaces the alarm of `child`.
    pub(crate) fn arm(&mut self, child: usize, epoch: u64, timer: Timer, at: Moment) {
        self.disarm(child);
        self.file();
        self.latest = Some(Alarm { child, epoch, timer, at });
    }

    pub(crate) fn disarm(&mut self, child: usize) {
        if self.latest.take_if(|latest| latest.child == child).is_some() {
            return;
        }
        if let Some(at) = self.of_child.remove(&child) {
            self.by_time.remove(&(at, child));
        }
    }

    pub(crate) fn next(&self) -> Option<Moment> {
        let first = self.by_time.first_key_value().map(|((at, _), _)| *at);
        self.latest.iter().map(|latest| latest.at).chain(first).min()
    }

    /// Takes out the earliest alarm that is due.
    pub(crate) fn ring(&mut self, now: Moment) -> Option<Event> {
        self.file();
        let first = self.by_time.first_entry().filter(|first| first.key().0 <= now)?;
        let Alarm { child, epoch, timer, .. } = first.remove();
        self.of_child.remove(&child);
        Some(Event::Due { child, epoch, timer })
    }

    /// Puts the latest in order.
    fn file(&mut self) {
        if let Some(alarm) = self.latest.take() {
            self.of_child.insert(alarm.child, alarm.at);
            self.by_time.insert((alarm.at, alarm.child), alarm);
        }
    }
}
