//! The pulse of one incarnation: whether a handler runs, and since when.
//!
//! Written by the incarnation alone, around each of its handlers; read by whoever must know whether a handler is stuck, or
//! has come to its end. A beat is a plain store, and only a watched incarnation looks at the clock for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

pub(crate) struct Pulse {
    /// Odd while a handler runs. It stays odd for ever when that handler fails.
    beats: AtomicU64,
    /// When the latest handler began, in nanoseconds since `origin`.
    since: AtomicU64,
    /// Present if anybody wants to know.
    origin: Option<Instant>,
}

impl Pulse {
    pub(crate) fn new(watched: bool) -> Self {
        Self { beats: AtomicU64::new(0), since: AtomicU64::new(0), origin: watched.then(Instant::now) }
    }

    pub(crate) fn begin(&self) {
        if let Some(origin) = self.origin {
            // After 584 years it stands still.
            self.since.store(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.beat();
    }

    /// The handler came to its end, and the incarnation lives on.
    pub(crate) fn done(&self) {
        self.beat();
    }

    fn beat(&self) {
        // Only the incarnation writes, so nothing gets in between.
        self.beats.store(self.beats.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// A handler runs, or did when it failed.
    pub(crate) fn is_busy(&self) -> bool {
        self.beats.load(Ordering::Acquire) % 2 == 1
    }

    /// Waits until one handler has been running for `limit`.
    pub(crate) async fn stuck(&self, limit: Duration) {
        let Some(origin) = self.origin else { return std::future::pending().await };
        loop {
            if !self.is_busy() {
                // Whichever handler begins in the meantime is seen by then, before its time is over.
                sleep(limit).await;
                continue;
            }
            // If another handler has begun since, this is its later time, and the wait only longer.
            let due = origin + Duration::from_nanos(self.since.load(Ordering::Relaxed)) + limit;
            if due <= Instant::now() && self.is_busy() {
                return;
            }
            sleep_until(due).await;
        }
    }
}
