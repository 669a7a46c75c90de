//! References that outlive what they refer to.
//!
//! A [`ChildRef`] is made before its child first starts and is handed to everybody who will talk to it. The shell plugs
//! each incarnation in when it is up and unplugs it when it is told to stop, so a sender gets its message back instead
//! of losing it to a dying mailbox. What already lay in the mailbox of an incarnation that ends is lost with it.
//!
//! Invariant: the epoch of a reference never falls.

use std::fmt;
use std::sync::Arc;

use ractor::{ActorRef, ActorStatus, Message, MessagingErr};
use tokio::sync::watch;

/// A stable reference to a child, across all its incarnations.
pub struct ChildRef<M: Message> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Message> {
    name: Arc<str>,
    standing: watch::Sender<Standing<M>>,
}

struct Standing<M: Message> {
    epoch: u64,
    actor: Option<ActorRef<M>>,
}

impl<M: Message> Standing<M> {
    fn is_up(&self) -> bool {
        self.actor.as_ref().is_some_and(|actor| actor.get_status() < ActorStatus::Draining)
    }
}

/// Nobody is up to take the message; here it is back.
#[derive(thiserror::Error)]
#[error("the child is down")]
pub struct Down<M>(pub M);

impl<M> fmt::Debug for Down<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Down")
    }
}

impl<M: Message> ChildRef<M> {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let standing = watch::Sender::new(Standing { epoch: 0, actor: None });
        Self { inner: Arc::new(Inner { name: name.into(), standing }) }
    }

    /// Sends to the current incarnation.
    ///
    /// # Errors
    /// [`Down`] with the message if none is up.
    pub fn cast(&self, msg: M) -> Result<(), Down<M>> {
        let standing = self.inner.standing.borrow();
        let Some(actor) = &standing.actor else { return Err(Down(msg)) };
        match actor.send_message(msg) {
            Ok(()) => Ok(()),
            Err(MessagingErr::SendErr(msg)) => Err(Down(msg)),
            Err(error) => {
                unreachable!("a local actor of the right type refuses only by returning the message: {error}")
            }
        }
    }

    /// The epoch of the latest incarnation that came up; 0 = never started.
    pub fn epoch(&self) -> u64 {
        self.inner.standing.borrow().epoch
    }

    pub fn is_up(&self) -> bool {
        self.inner.standing.borrow().is_up()
    }

    /// Waits until an incarnation is up.
    pub async fn up(&self) {
        self.up_after(0).await;
    }

    /// Waits until an incarnation later than `epoch` is up, and returns its epoch. This is how to await a restart.
    pub async fn up_after(&self, epoch: u64) -> u64 {
        let mut changes = self.inner.standing.subscribe();
        let reached = changes.wait_for(|standing| standing.epoch > epoch && standing.is_up()).await;
        reached.expect("the sender lives in the reference itself").epoch
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub(crate) fn plug(&self, epoch: u64, actor: ActorRef<M>) {
        self.inner.standing.send_replace(Standing { epoch, actor: Some(actor) });
    }

    /// Does nothing if a later incarnation is plugged in.
    pub(crate) fn unplug(&self, epoch: u64) {
        self.inner.standing.send_if_modified(|standing| standing.epoch == epoch && standing.actor.take().is_some());
    }
}

impl<M: Message> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<M: Message> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildRef").field("name", &self.name()).field("epoch", &self.epoch()).finish()
    }
}
