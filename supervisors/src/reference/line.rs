//! The way into the mailbox of one incarnation: open, or through a [`Gate`] that keeps it bounded.
//!
//! The mailboxes of ractor are unbounded, and nobody can see into them. Behind a gate every message is a [`Letter`] that
//! carries its [`Permit`], so that its place is free again the moment it is taken out of the mailbox, whether for a
//! handler or by the end of the incarnation.
//!
//! # Invariants
//! 1. No more letters with a permit lie in the mailbox than the gate admits.
//! 2. `admitted` lists them in the order in which they lie there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ractor::{ActorCell, ActorRef, ActorStatus, Message, MessagingErr, SupervisionEvent};
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use super::{Load, SendError, WhenFull};
use crate::board::lock;

/// What lies in a bounded mailbox.
pub(crate) enum Letter<M> {
    Admitted(M, Permit),
    /// From the actor to itself, or a probe of its supervisor's: it does not wait for a place.
    Own(M),
    /// Of an actor that it started itself.
    Event(Box<SupervisionEvent>),
}

/// A place in a bounded mailbox.
pub(crate) struct Permit {
    /// None if the place is given back already.
    gate: Option<Arc<Gate>>,
    taken: bool,
}

impl Permit {
    /// The letter is out of the mailbox and in the hands of a handler.
    pub(crate) fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else { return };
        lock(&gate.admitted).pop_front();
        if !self.taken {
            gate.lost.fetch_add(1, Ordering::Relaxed);
        }
        gate.room.add_permits(1);
    }
}

/// Admits as many letters as there is room for.
pub(crate) struct Gate {
    limit: usize,
    pub(super) when_full: WhenFull,
    room: Semaphore,
    /// When each letter in the mailbox was put there.
    admitted: Mutex<VecDeque<Instant>>,
    /// Shared by all incarnations.
    lost: Arc<AtomicU64>,
}

impl Gate {
    fn new(limit: usize, when_full: WhenFull, lost: Arc<AtomicU64>) -> Arc<Self> {
        let room = Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        Arc::new(Self { limit, when_full, room, admitted: Mutex::default(), lost })
    }

    fn load(&self) -> Load {
        let admitted = lock(&self.admitted);
        let oldest = admitted.front().map(Instant::elapsed);
        Load { limit: self.limit, waiting: admitted.len(), oldest }
    }
}

/// Leads to one incarnation.
pub(crate) enum Line<M: Message> {
    Open(ActorRef<M>),
    Gated(ActorRef<Letter<M>>, Arc<Gate>),
}

impl<M: Message> Line<M> {
    pub(super) fn gated(actor: ActorRef<Letter<M>>, limit: usize, when_full: WhenFull, lost: Arc<AtomicU64>) -> Self {
        Self::Gated(actor, Gate::new(limit, when_full, lost))
    }

    pub(super) fn cell(&self) -> &ActorCell {
        match self {
            Self::Open(actor) => actor,
            Self::Gated(actor, _) => actor,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.cell().get_status() < ActorStatus::Draining
    }

    /// What it did not take by now it never will.
    pub(super) fn is_ending(&self) -> bool {
        self.cell().get_status() >= ActorStatus::Stopping
    }

    pub(super) fn gate(&self) -> Option<&Arc<Gate>> {
        match self {
            Self::Open(_) => None,
            Self::Gated(_, gate) => Some(gate),
        }
    }

    pub(super) fn load(&self) -> Option<Load> {
        self.gate().map(|gate| gate.load())
    }

    /// Puts `msg` into the mailbox if there is room.
    pub(super) fn send(&self, msg: M) -> Result<(), SendError<M>> {
        match self {
            Self::Open(actor) => actor.send_message(msg).map_err(|error| SendError::Down(returned(error))),
            Self::Gated(actor, gate) => match gate.room.try_acquire() {
                Ok(room) => {
                    room.forget();
                    admit(actor, gate, msg).map_err(SendError::Down)
                }
                Err(TryAcquireError::NoPermits) => Err(SendError::Full(msg)),
                Err(TryAcquireError::Closed) => Err(SendError::Down(msg)),
            },
        }
    }

    /// Puts `msg` into the mailbox, bounded or not.
    pub(super) fn push(&self, msg: M) -> Result<(), M> {
        match self {
            Self::Open(actor) => actor.send_message(msg).map_err(returned),
            Self::Gated(actor, _) => actor.send_message(Letter::Own(msg)).map_err(|error| match returned(error) {
                Letter::Own(msg) => msg,
                Letter::Admitted(..) | Letter::Event(_) => unreachable!("what comes back is what was sent"),
            }),
        }
    }

    /// Waits for room until `patience` is over, and sends.
    pub(super) async fn send_by(&self, msg: M, patience: Instant) -> Result<(), SendError<M>> {
        let Self::Gated(actor, gate) = self else { return self.send(msg) };
        match timeout_at(patience, gate.room.acquire()).await {
            Ok(Ok(room)) => {
                room.forget();
                admit(actor, gate, msg).map_err(SendError::Down)
            }
            Ok(Err(_)) => Err(SendError::Down(msg)),
            Err(_) => Err(SendError::Full(msg)),
        }
    }

    /// Nobody is admitted any more, and who waits is told.
    pub(super) fn close(&self) {
        if let Some(gate) = self.gate() {
            gate.room.close();
        }
    }
}

impl<M: Message> Clone for Line<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Open(actor) => Self::Open(actor.clone()),
            Self::Gated(actor, gate) => Self::Gated(actor.clone(), gate.clone()),
        }
    }
}

/// Puts `msg` into the mailbox, for which there is room.
fn admit<M: Message>(actor: &ActorRef<Letter<M>>, gate: &Arc<Gate>, msg: M) -> Result<(), M> {
    // The lock makes one order of the mailbox and the list.
    let mut admitted = lock(&gate.admitted);
    admitted.push_back(Instant::now());
    let permit = Permit { gate: Some(gate.clone()), taken: false };
    let Err(error) = actor.send_message(Letter::Admitted(msg, permit)) else { return Ok(()) };
    let Letter::Admitted(msg, mut permit) = returned(error) else { unreachable!("what comes back is what was sent") };
    permit.gate = None;
    admitted.pop_back();
    gate.room.add_permits(1);
    Err(msg)
}

fn returned<T>(error: MessagingErr<T>) -> T {
    match error {
        MessagingErr::SendErr(msg) => msg,
        error => unreachable!("a local actor of the right type refuses only by returning the message: {error}"),
    }
}
