//! The pulse of one incarnation: whether a handler runs.
//!
//! Written by the incarnation alone, around each of its handlers; read by whoever must know whether a handler has come to
//! its end. A beat is a plain store.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Pulse {
    /// Odd while a handler runs. It stays odd for ever when that handler fails.
    beats: AtomicU64,
}

impl Pulse {
    pub(crate) fn begin(&self) {
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
}
