//! Durable state to read: a second instance of a machine that follows the journal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use host::View;
use kernel::{Machine, Position};

/// A machine that sees durable facts only. The same code as the machine itself answers from it.
#[derive(Debug, Default)]
pub struct Follower<M>(RwLock<Followed<M>>, AtomicBool);

#[derive(Debug, Default)]
struct Followed<M> {
    machine: M,
    seen: Position,
}

impl<M: Machine> Follower<M> {
    /// Whether it has all that was durable when the machine first started in this process. Until then it shows a beginning, and
    /// who concludes anything from what is *not* in it asks this first.
    pub fn is_whole(&self) -> bool {
        self.1.load(Ordering::Acquire)
    }

    /// Looks at the state as it is on disk. The look must be short: the journal waits for it.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner).machine)
    }
}

impl<M: Machine + Clone + Sync> View<M> for Follower<M> {
    /// Nothing: what a new incarnation replays is what was followed already, and readers must not see it half replayed.
    fn reset(&self) {}

    fn restore(&self, machine: &M, at: Position) {
        let mut followed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if followed.seen < at {
            *followed = Followed { machine: machine.clone(), seen: at };
        }
    }

    fn apply(&self, event: &M::Event, at: Position) {
        let mut followed = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if followed.seen < at {
            followed.machine.evolve(event, at);
            followed.seen = at;
        }
    }

    fn caught_up(&self) {
        self.1.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decisions, Event, records};

    /// A new incarnation replays what was followed already, and a snapshot may be older than that.
    #[test]
    fn what_was_seen_is_not_seen_again() {
        let view = Follower::<Decisions>::default();
        let answered = || view.read(|decisions| decisions.answered);
        let event = Event::Answered(records::AnsweredV2 { before: None });
        let snapshot = Decisions { denied: 0, answered: 70 };
        for (at, count) in [(1, 1), (1, 1), (3, 2), (2, 2), (3, 2), (4, 3)] {
            view.apply(&event, Position(at));
            assert_eq!(answered(), count, "an event at {at}");
        }
        for (at, count) in [(3, 3), (4, 3), (6, 70)] {
            view.restore(&snapshot, Position(at));
            assert_eq!(answered(), count, "a snapshot at {at}");
        }
        view.apply(&event, Position(6));
        assert_eq!(answered(), 70, "it is in the snapshot");
        view.reset();
        assert_eq!(answered(), 70, "readers never see it half replayed");
        view.apply(&event, Position(7));
        assert_eq!(answered(), 71);
        assert!(!view.is_whole(), "as long as nobody says so");
        view.caught_up();
        assert!(view.is_whole());
    }
}
