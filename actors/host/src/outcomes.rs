//! The index of outcomes: which command ids were answered, and where the answer lies.
//!
//! Rebuilt from the records of the stream, which carry id, digest and answer; so it holds a version each and no answers.
//!
//! # Invariants
//! 1. While an id is young enough to be taken, its outcome is here: at the limit new commands are refused, none evicted.
//! 2. An id that is not here and not young enough is refused: answered or refused, never run twice.

#![expect(clippy::disallowed_types, reason = "a hot look-up by random key, never iterated")]

use std::collections::{HashMap, VecDeque};

use kernel::{CommandId, Digest, Millis, Position, Timestamp};

use crate::Error;

/// How long a repeat is recognised.
pub const WINDOW: Millis = Millis::hours(24);
/// How far a caller's clock may be ahead of ours.
pub const AHEAD_MAX: Millis = Millis::seconds(60);

/// The first outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub digest: Digest,
    /// Of the first record, which holds the answer.
    pub version: Position,
}

#[derive(Debug)]
pub struct Outcomes {
    by_id: HashMap<CommandId, Seen>,
    by_time: VecDeque<(Timestamp, CommandId)>,
    limit: usize,
}

impl Outcomes {
    pub fn new(limit: usize) -> Self {
        Self { by_id: HashMap::new(), by_time: VecDeque::new(), limit }
    }

    pub fn get(&self, id: CommandId) -> Option<Seen> {
        self.by_id.get(&id).copied()
    }

    /// Whether a command that is not known may be run at `now`.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::Untimely`] or [`Error::WindowFull`].
    pub fn admit(&mut self, name: &'static str, id: CommandId, internal: bool, now: Timestamp) -> Result<(), Error> {
        match id.made_at() {
            // Only the authority itself derives ids, and its cursors keep it from repeating beyond the window.
            None if internal && id.is_derived() => {}
            None => return Err(Error::Untimely { by: Millis(0) }),
            Some(made) if made + WINDOW < now => return Err(Error::Stale { by: now - (made + WINDOW) }),
            Some(made) if now + AHEAD_MAX < made => return Err(Error::Untimely { by: made - now }),
            Some(_) => {}
        }
        self.forget(now);
        if self.by_id.len() < self.limit { Ok(()) } else { Err(Error::WindowFull { name, limit: self.limit }) }
    }

    /// Notes an outcome recorded at `time`; replay passes records that have left the window too.
    pub fn note(&mut self, id: CommandId, seen: Seen, time: Timestamp) {
        if self.by_id.insert(id, seen).is_none() {
            self.by_time.push_back((time, id));
        }
    }

    /// All of them, in the order in which they were recorded.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Timestamp, CommandId, Seen)> {
        self.by_time.iter().map(|(time, id)| (*time, *id, self.by_id[id]))
    }

    /// Drops what no repeat can reach. An id is at most [`AHEAD_MAX`] younger than its record, so once the record is older
    /// than both spans the id itself is stale.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some((time, id)) = self.by_time.front().copied() {
            if now <= time + WINDOW + AHEAD_MAX {
                break;
            }
            self.by_time.pop_front();
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_700_000_000_000);

    fn id(made: Timestamp) -> CommandId {
        CommandId::new(made, [1; 10])
    }

    #[test]
    fn who_may_run() {
        let hour = Millis::hours(1);
        let old = Timestamp(NOON.0 - WINDOW.0 - hour.0);
        let derived = CommandId::derived(Digest([1; 32]));
        for (row, id, internal, answer) in [
            ("now", id(NOON), false, Ok(())),
            ("at the edge of the window", id(Timestamp(NOON.0 - WINDOW.0)), false, Ok(())),
            ("older than the window", id(old), false, Err(Error::Stale { by: hour })),
            ("a minute ahead", id(NOON + AHEAD_MAX), false, Ok(())),
            ("an hour ahead", id(NOON + hour), false, Err(Error::Untimely { by: hour })),
            ("derived, from inside", derived, true, Ok(())),
            ("derived, from outside", derived, false, Err(Error::Untimely { by: Millis(0) })),
            ("no time in it", CommandId(7), true, Err(Error::Untimely { by: Millis(0) })),
        ] {
            assert_eq!(Outcomes::new(1).admit("notes", id, internal, NOON), answer, "{row}");
        }
    }

    #[test]
    fn at_the_limit_none_is_evicted_until_its_window_has_passed() {
        let mut outcomes = Outcomes::new(1);
        let seen = Seen { digest: Digest([1; 32]), version: Position(2) };
        outcomes.note(id(NOON), seen, NOON);
        let later = NOON + WINDOW;
        assert_eq!(
            outcomes.admit("notes", id(later), false, later),
            Err(Error::WindowFull { name: "notes", limit: 1 })
        );
        assert_eq!(outcomes.get(id(NOON)), Some(seen));
        let later = later + AHEAD_MAX + Millis(1);
        assert_eq!(outcomes.admit("notes", id(later), false, later), Ok(()));
        assert_eq!(outcomes.get(id(NOON)), None);
        assert!(matches!(outcomes.admit("notes", id(NOON), false, later), Err(Error::Stale { .. })));
    }
}
