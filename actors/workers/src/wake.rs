//! How workers hear that there may be something to do: one wake-up at the start, then one for what becomes durable, and
//! never more than one in the mailbox. Who follows one stream is not woken by the others. What there is to do, they read from the journal or ask the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::OwnedTask;
use ractor::{ActorRef, Message};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// "There may be more."
pub(crate) struct Wake;

/// Wakes an actor later, unless it goes before that.
pub(crate) struct Timer(AbortHandle);

impl Timer {
    pub fn after(wait: Duration, actor: &ActorRef<Wake>) -> Self {
        Self(actor.send_after(wait, || Wake).abort_handle())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps an actor awake; part of its state.
pub(crate) struct Waker {
    pending: Arc<AtomicBool>,
    _task: OwnedTask,
}

impl Waker {
    /// `durable` is of the journal, or of one of its streams.
    pub fn new<T, M>(mut durable: watch::Receiver<T>, actor: ActorRef<M>) -> Self
    where
        T: Send + Sync + 'static,
        M: Message + From<Wake>,
    {
        let pending = Arc::new(AtomicBool::new(false));
        let waking = pending.clone();
        let task = OwnedTask::spawn(async move {
            loop {
                if !waking.swap(true, Ordering::AcqRel) && actor.send_message(Wake.into()).is_err() {
                    return;
                }
                if durable.changed().await.is_err() {
                    return;
                }
            }
        });
        Self { pending, _task: task }
    }

    /// Before looking: what becomes durable from now on wakes again.
    pub fn heard(&self) {
        self.pending.store(false, Ordering::Release);
    }
}
