//! A task that belongs to an actor: it waits for what happens elsewhere and tells the actor, so that the actor itself never
//! waits inside a handler and stays open to a stop.

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
