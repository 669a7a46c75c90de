//! A task that belongs to an actor: it waits for what happens elsewhere and tells the actor, so that the actor itself never
//! waits inside a handler and stays open to a stop. And work that waits for the disk, on threads that are there for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

/// Keep it in the actor's state: dropping it ends the task, so the task never outlives its incarnation.
#[derive(Debug)]
pub struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    #[expect(clippy::disallowed_methods, reason = "owned by the actor that keeps it, and ended with it")]
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Work on a thread that may wait for the disk. Keep it in the actor's state: dropping it tells the work, by its flag, that
/// nobody wants it any more.
#[derive(Debug)]
pub(crate) struct OwnedWork {
    gone: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl OwnedWork {
    pub fn begin(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let gone = Arc::new(AtomicBool::new(false));
        let flag = gone.clone();
        Self { gone, task: off_the_workers(move || work(&flag)) }
    }

    pub fn is_done(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for OwnedWork {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Of use if it has not begun.
        self.task.abort();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what waits for the disk must not hold up the runtime; awaited, or owned"
)]
pub(crate) fn off_the_workers<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}
