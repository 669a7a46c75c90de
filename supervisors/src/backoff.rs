//! How long to wait before a restart.
//!
//! The first restart after a healthy run is immediate, because most ends are accidents; from the second failure on the
//! delay grows geometrically up to a cap, with jitter so that siblings that failed together do not return together.
//! Pure: the random number comes from the caller.
//!
//! Invariant: a delay is never longer than the cap.

use std::time::Duration;

/// The curve of the delays. Every field is public data; [`Backoff::exp`] is the usual way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay before the second restart in a row; the first has none.
    pub first: Duration,
    /// By what each further delay is multiplied.
    pub factor: u32,
    /// Longest delay.
    pub cap: Duration,
    /// How far a delay may stray to either side, in percent of itself.
    pub jitter_percent: u8,
    /// A run of at least this length wipes the record of failures.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    /// Reaches the cap with the ninth failure, after less than two minutes.
    fn default() -> Self {
        Self::exp(Duration::from_millis(100), Duration::from_secs(30)).jitter(20)
    }
}

impl Backoff {
    /// Doubles from `first` up to `cap`, without jitter, and is reset by a minute of running.
    pub fn exp(first: Duration, cap: Duration) -> Self {
        Self { first, factor: 2, cap, jitter_percent: 0, healthy_after: Duration::from_mins(1) }
    }

    /// No delay at all: only the budget limits restarts, as in OTP.
    pub fn none() -> Self {
        Self::exp(Duration::ZERO, Duration::ZERO)
    }

    pub fn factor(self, factor: u32) -> Self {
        Self { factor, ..self }
    }

    pub fn jitter(self, percent: u8) -> Self {
        Self { jitter_percent: percent, ..self }
    }

    pub fn healthy_after(self, healthy_after: Duration) -> Self {
        Self { healthy_after, ..self }
    }

    /// The delay after `failures` earlier failures in a row; `random` is any number, used for the jitter alone.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        let Some(exponent) = failures.checked_sub(1) else { return Duration::ZERO };
        let grown = self.factor.checked_pow(exponent).and_then(|growth| self.first.checked_mul(growth));
        let delay = grown.unwrap_or(self.cap).min(self.cap);
        let jitter = u64::from(self.jitter_percent.min(100));
        if jitter == 0 {
            return delay;
        }
        // A thousandth of a percent is fine enough, and integers give the same delay on every machine.
        let percent_milli = 100_000 - 1000 * jitter + random % (2000 * jitter + 1);
        let nanos = delay.as_nanos() * u128::from(percent_milli) / 100_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(self.cap)
    }
}

/// A small seeded generator (SplitMix64). It spreads restarts in time and must be repeatable; it protects nothing.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
