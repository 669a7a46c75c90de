//! What the door sees and does not record one by one: strangers, locked credentials, and what could not be recorded.
//!
//! Who listens is told of a run of denials at its eighth, then at every doubling: a flood leaves a trace, and not one a
//! request. Telling never waits.

use kernel::{Millis, Timestamp};

use crate::Source;

/// The denial of strangers that is told first.
const TOLD_FROM: u64 = 8;
/// A run ends when it is quiet for so long.
const QUIET: Millis = Millis::minutes(10);

/// Something that only the door saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// So many strangers more were denied.
    Strangers { source: Source, code: String, count: u64, first_at: Timestamp, last_at: Timestamp },
    /// Wrong secrets were shown for a credential, or wrong signatures of an issuer, until it was locked for a while.
    LockedOut { guessed: String, source: Source, wait: Millis, at: Timestamp },
    /// The denial or the answer of a request could not be recorded.
    Unrecorded { what: String, at: Timestamp },
}

/// Who listens. Must be quick and must not block.
pub type Tell = Box<dyn Fn(Trace) + Send + Sync>;

/// The denials of strangers from one source with one code.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strangers {
    /// Since the process began.
    pub total: u64,
    run: u64,
    untold: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl Strangers {
    /// One more; gives how many are to be told, and since when.
    pub fn count(&mut self, now: Timestamp) -> Option<(u64, Timestamp)> {
        if self.run == 0 || self.last_at + QUIET < now {
            *self = Self { total: self.total, first_at: now, ..Self::default() };
        }
        self.total += 1;
        self.run += 1;
        self.untold += 1;
        self.last_at = now;
        let is_told = TOLD_FROM <= self.run && self.run.is_power_of_two();
        is_told.then(|| (std::mem::take(&mut self.untold), self.first_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_at_doublings_and_a_quiet_source_begins_anew() {
        let mut strangers = Strangers::default();
        let mut now = Timestamp(1_000);
        let mut told = Vec::new();
        for _ in 0..40 {
            now = now + Millis(1);
            told.extend(strangers.count(now).map(|(count, _)| count));
        }
        assert_eq!(told, [8, 8, 16], "each is told once");
        now = now + QUIET;
        let later: Vec<_> = (0..24).filter_map(|_| strangers.count(now)).collect();
        assert_eq!(later, [(32, Timestamp(1_001))], "after so long it is still the same run");
        now = now + QUIET + Millis(1);
        let again: Vec<_> = (0..7).filter_map(|_| strangers.count(now)).collect();
        assert_eq!((again, strangers.count(now)), (vec![], Some((8, now))));
        assert_eq!(strangers.total, 72);
    }
}
