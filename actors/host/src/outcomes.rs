//! The index of outcomes: which command ids were answered, and where the answer lies.
//!
//! Rebuilt from the records of the stream, which carry id, digest and answer; so it holds a version each and no answers.
//! A start notes a day of them, and memory that is touched for the first time costs more than all else about it: an outcome is
//! written once and never moved, and the table by id has eight bytes for each.
//!
//! # Invariants
//! 1. While an id is young enough to be taken, its outcome is here: at the limit new commands are refused, none evicted.
//! 2. An id that is not here and not young enough is refused: answered or refused, never run twice.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
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
    by_time: Queue,
    by_id: HashTable<Slot>,
    /// Callers choose their ids, but not where they come to lie.
    hasher: RandomState,
    limit: usize,
}

/// Stands for an outcome, with enough of the hash of its id that others need not be looked at.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    number: u32,
}

/// The table finds a place by the lower bits, and tells apart by the upper ones what lies near it.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Outcomes {
    pub fn new(limit: usize) -> Self {
        Self { by_time: Queue::default(), by_id: HashTable::new(), hasher: RandomState::new(), limit }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.by_id.reserve(more, |slot| spread(slot.hash));
    }

    pub fn get(&self, id: CommandId) -> Option<Seen> {
        self.find(self.hash(id), id).map(|number| self.by_time.at(number).seen)
    }

    fn find(&self, hash: u32, id: CommandId) -> Option<u32> {
        let is = |slot: &Slot| slot.hash == hash && self.by_time.at(slot.number).id == id;
        self.by_id.find(spread(hash), is).map(|slot| slot.number)
    }

    fn hash(&self, id: CommandId) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(id.0).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
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
        if self.by_time.len < self.limit { Ok(()) } else { Err(Error::WindowFull { name, limit: self.limit }) }
    }

    /// Notes an outcome recorded at `time`; replay passes records that have left the window too.
    pub fn note(&mut self, id: CommandId, seen: Seen, time: Timestamp) {
        let hash = self.hash(id);
        if let Some(number) = self.find(hash, id) {
            self.by_time.at_mut(number).seen = seen;
        } else {
            let number = self.by_time.push(Outcome { id, seen, time });
            self.by_id.insert_unique(spread(hash), Slot { hash, number }, |slot| spread(slot.hash));
        }
    }

    /// All of them, in the order in which they were recorded.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Timestamp, CommandId, Seen)> {
        (0..self.by_time.len).map(|place| self.by_time.nth(place)).map(|&Outcome { id, seen, time }| (time, id, seen))
    }

    /// Drops what no repeat can reach. An id is at most [`AHEAD_MAX`] younger than its record, so once the record is older
    /// than both spans the id itself is stale.
    pub fn forget(&mut self, now: Timestamp) {
        while self.by_time.len != 0 {
            let Outcome { id, time, .. } = *self.by_time.nth(0);
            if now <= time + WINDOW + AHEAD_MAX {
                break;
            }
            let number = self.by_time.drop_first();
            if let Ok(slot) = self.by_id.find_entry(spread(self.hash(id)), |slot| slot.number == number) {
                slot.remove();
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    id: CommandId,
    seen: Seen,
    time: Timestamp,
}

/// Outcomes come in at one end and go at the other, in pieces that are made and freed but never moved.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Vec<Outcome>>,
    /// Of the first piece, so many have gone.
    gone: usize,
    len: usize,
    /// The number of the first one. Each has the next number, and after the largest comes zero.
    first: u32,
}

/// Outcomes in a piece, which has some pages of memory.
const PIECE: usize = 256;

impl Queue {
    /// Answers the number that it has from now on.
    fn push(&mut self, outcome: Outcome) -> u32 {
        let count = u32::try_from(self.len).expect("they have not as much room as numbers");
        if self.pieces.back().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push_back(Vec::with_capacity(PIECE));
        }
        self.pieces.back_mut().expect("there is one now").push(outcome);
        self.len += 1;
        self.first.wrapping_add(count)
    }

    /// Answers the number that it had.
    fn drop_first(&mut self) -> u32 {
        let number = self.first;
        (self.gone, self.len, self.first) = (self.gone + 1, self.len - 1, number.wrapping_add(1));
        if self.gone == PIECE {
            self.pieces.pop_front();
            self.gone = 0;
        }
        number
    }

    fn nth(&self, place: usize) -> &Outcome {
        let place = self.gone + place;
        &self.pieces[place / PIECE][place % PIECE]
    }

    fn at(&self, number: u32) -> &Outcome {
        self.nth(number.wrapping_sub(self.first) as usize)
    }

    fn at_mut(&mut self, number: u32) -> &mut Outcome {
        let place = self.gone + number.wrapping_sub(self.first) as usize;
        &mut self.pieces[place / PIECE][place % PIECE]
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

    /// What a plain map and a plain list would say, whatever came and went before.
    #[test]
    fn every_one_is_found_until_it_leaves_the_window() {
        let mut outcomes =
            Outcomes { by_time: Queue { first: u32::MAX - 500, ..Queue::default() }, ..Outcomes::new(9) };
        let mut kept = VecDeque::new();
        for round in 0..3_000_u64 {
            // In steps and in leaps: now some leave, now half a piece, now all.
            let now = NOON + Millis(WINDOW.0 / 300 * round * (1 + round / 1_000)) + Millis(round / 999 * WINDOW.0);
            outcomes.forget(now);
            kept.retain(|(_, _, time): &(CommandId, Seen, Timestamp)| now <= *time + WINDOW + AHEAD_MAX);
            let seen = Seen { digest: Digest([round.to_le_bytes()[0]; 32]), version: Position(round) };
            let id = CommandId::new(now, [(round % 251).to_le_bytes()[0]; 10]);
            outcomes.note(id, seen, now);
            kept.push_back((id, seen, now));
            assert!(outcomes.entries().eq(kept.iter().map(|(id, seen, time)| (*time, *id, *seen))), "{round}");
            assert!(kept.iter().all(|(id, seen, _)| outcomes.get(*id) == Some(*seen)), "{round}");
            assert_eq!(outcomes.by_id.len(), kept.len(), "{round}");
            // Noted again it stays where it is.
            let middle = kept.len() / 2;
            kept[middle].1.version.0 += 9_000;
            outcomes.note(kept[middle].0, kept[middle].1, now);
        }
        assert!(PIECE < 300 && outcomes.by_time.first < 2_999, "pieces came and went, and the numbers began anew");
    }
}
