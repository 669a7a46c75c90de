//! Rates: how often one principal may ask. The generic cell rate algorithm: one instant a principal, no timer.
//!
//! In memory, and of this node alone. The first denial after an answer is recorded, those that follow it are counted:
//! who asks too often must not fill the disk by it.

use dashmap::DashMap;
use kernel::{Millis, Principal, Timestamp};

/// How often one principal may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// On average; 0 means as often as it likes.
    pub requests_per_second: u32,
    /// At once, after a pause; at least one.
    pub burst: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Rates {
    limits: Limits,
    by_principal: DashMap<Principal, Asked>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// When it will have asked no more than the average, in microseconds.
    settled: u64,
    /// Denials since the last answer.
    denied: u64,
}

/// One request too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOften {
    pub retry_after: Millis,
    /// Counted from 1 since the last one that was not.
    pub number: u64,
}

impl Rates {
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Counts a request.
    pub fn ask(&self, principal: &Principal, now: Timestamp) -> Result<(), TooOften> {
        let Limits { requests_per_second, burst } = self.limits;
        if requests_per_second == 0 {
            return Ok(());
        }
        let each = 1_000_000 / u64::from(requests_per_second).min(1_000_000);
        let (now, burst) = (now.0.saturating_mul(1_000), each * u64::from(burst.max(1)));
        let mut asked = self.by_principal.entry(principal.clone()).or_default();
        // Never further ahead than a burst, also by a clock that went back.
        let next = asked.settled.clamp(now, now + burst) + each;
        if next <= now + burst {
            *asked = Asked { settled: next, denied: 0 };
            return Ok(());
        }
        asked.denied += 1;
        Err(TooOften { retry_after: Millis((next - now - burst).div_ceil(1_000)), number: asked.denied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn a_burst_and_then_the_average() {
        let rates = Rates::new(Limits { requests_per_second: 10, burst: 3 });
        let (alpha, beta) = ("agent/alpha".parse().unwrap(), "agent/beta".parse().unwrap());
        let ask = |now| rates.ask(&alpha, now);
        assert_eq!([(); 3].map(|()| ask(NOON)), [Ok(()); 3]);
        let too_often = |number, wait| Err(TooOften { retry_after: Millis(wait), number });
        assert_eq!((ask(NOON), ask(NOON)), (too_often(1, 100), too_often(2, 100)));
        assert_eq!(rates.ask(&beta, NOON), Ok(()), "each has his own");
        assert_eq!(ask(NOON + Millis(99)), too_often(3, 1));
        assert_eq!(ask(NOON + Millis(100)), Ok(()), "what a denial says is so");
        assert_eq!(ask(NOON + Millis(100)), too_often(1, 100));
        let later = NOON + Millis::hours(1);
        assert_eq!([(); 3].map(|()| ask(later)), [Ok(()); 3], "a pause gives no more than a burst");
        assert_eq!(ask(later), too_often(1, 100));
        assert_eq!(ask(NOON), too_often(2, 100), "nor does a clock that went back take more");
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let rates = Rates::default();
        let alpha = "agent/alpha".parse().unwrap();
        assert!((0..1_000).all(|_| rates.ask(&alpha, NOON).is_ok()));
        assert!(rates.by_principal.is_empty());
    }
}
