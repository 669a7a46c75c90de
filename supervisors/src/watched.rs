//! A value that can be waited for.
//!
//! What `tokio::sync::watch` is, with one list of waiters where that keeps eight and a second allocation: there is one of
//! these for every child, and nearly always nobody waits.
//!
//! Invariant: who looks at the value, and then waits, hears of every update that tells and that it has not seen.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(crate) struct Watched<T> {
    value: RwLock<T>,
    updated: Notify,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: RwLock::new(value), updated: Notify::new() }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// `change` returns whether those who wait are told.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T) -> bool) {
        let tells = change(&mut self.value.write().unwrap_or_else(PoisonError::into_inner));
        if tells {
            self.updated.notify_waiters();
        }
    }

    /// Made before the value is looked at, completes with the next update that tells.
    pub(crate) fn updated(&self) -> Notified<'_> {
        self.updated.notified()
    }

    /// Waits until `look` finds something.
    pub(crate) async fn find<R>(&self, mut look: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            let updated = self.updated();
            let found = look(&self.read());
            match found {
                Some(found) => return found,
                None => updated.await,
            }
        }
    }
}
