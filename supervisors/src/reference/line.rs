//! The way into the mailbox of one incarnation: open, or through a [`Gate`] that keeps it bounded.
//!
//! The mailboxes of ractor are unbounded, and nobody can see into them. Behind a gate every message is a [`Letter`] that
//! says whether it came through, so that its place is free again the moment a handler takes it. What lies in the mailbox
//! when its incarnation ends is lost, and the gate with it.
//!
//! # Invariants
//! 1. No more letters that were admitted lie in the mailbox than the gate has places.
//! 2. `admitted` lists them before they lie there, and in the same order but for those that come at the same moment.
//! 3. Letters are admitted while the reference is read, so none is on its way when the reference learns of the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use ractor::{ActorCell, ActorRef, ActorStatus, Message, MessagingErr, SupervisionEvent};
use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use super::{Load, SendError, WhenFull};
use crate::board::lock;

/// What lies in a bounded mailbox.
pub(crate) enum Letter<M> {
    /// Through the gate.
    Admitted(M),
    /// From the actor to itself, or a probe of its supervisor's: it does not wait for a place.
    Own(M),
    /// Of an actor that it started itself.
    Event(Box<SupervisionEvent>),
}

/// The gate before one mailbox.
pub(crate) struct Gate {
    limit: usize,
    pub(super) when_full: WhenFull,
    /// As many permits as there are places; present if anybody may wait for one.
    room: Option<Semaphore>,
    /// When each letter in the mailbox was put there.
    admitted: Mutex<VecDeque<Instant>>,
}

impl Gate {
    pub(crate) fn new(limit: usize, when_full: WhenFull) -> Self {
        let room = || Semaphore::new(limit.min(Semaphore::MAX_PERMITS));
        let room = matches!(when_full, WhenFull::Wait(_)).then(room);
        Self { limit, when_full, room, admitted: Mutex::default() }
    }

    /// A letter that was admitted is out of the mailbox.
    pub(crate) fn taken(&self) {
        lock(&self.admitted).pop_front();
        if let Some(room) = &self.room {
            room.add_permits(1);
        }
    }

    /// How many letters were lost, now that the mailbox is gone.
    pub(super) fn lost(&self) -> usize {
        std::mem::take(&mut *lock(&self.admitted)).len()
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
            Self::Gated(actor, gate) => match gate.room.as_ref().map(Semaphore::try_acquire) {
                None => admit(actor, gate, msg),
                Some(Ok(room)) => {
                    room.forget();
                    admit(actor, gate, msg)
                }
                Some(Err(TryAcquireError::NoPermits)) => Err(SendError::Full(msg)),
                Some(Err(TryAcquireError::Closed)) => Err(SendError::Down(msg)),
            },
        }
    }

    /// Puts `msg` into the mailbox, bounded or not.
    pub(super) fn push(&self, msg: M) -> Result<(), M> {
        match self {
            Self::Open(actor) => actor.send_message(msg).map_err(returned),
            Self::Gated(actor, _) => actor.send_message(Letter::Own(msg)).map_err(|error| match returned(error) {
                Letter::Own(msg) => msg,
                Letter::Admitted(_) | Letter::Event(_) => unreachable!("what comes back is what was sent"),
            }),
        }
    }

    /// Waits for room until `patience` is over. Whoever has it owes an [`Line::enter`].
    pub(super) async fn room(&self, patience: Instant) -> Result<(), NoRoom> {
        let Some(room) = self.gate().and_then(|gate| gate.room.as_ref()) else { return Ok(()) };
        match timeout_at(patience, room.acquire()).await {
            Ok(Ok(room)) => {
                room.forget();
                Ok(())
            }
            Ok(Err(_)) => Err(NoRoom::Closed),
            Err(_) => Err(NoRoom::Late),
        }
    }

    /// Puts `msg` where there is room for it.
    pub(super) fn enter(&self, msg: M) -> Result<(), SendError<M>> {
        match self {
            Self::Open(_) => self.send(msg),
            Self::Gated(actor, gate) => admit(actor, gate, msg),
        }
    }

    /// Nobody gets room any more, and who waits is told.
    pub(super) fn close(&self) {
        if let Some(room) = self.gate().and_then(|gate| gate.room.as_ref()) {
            room.close();
        }
    }
}

/// Why there is no room.
pub(super) enum NoRoom {
    Late,
    /// The incarnation is told to end.
    Closed,
}

impl<M: Message> Clone for Line<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Open(actor) => Self::Open(actor.clone()),
            Self::Gated(actor, gate) => Self::Gated(actor.clone(), gate.clone()),
        }
    }
}

/// Puts `msg` into the mailbox, if there is a place. Who has to wait for one has it already.
fn admit<M: Message>(actor: &ActorRef<Letter<M>>, gate: &Gate, msg: M) -> Result<(), SendError<M>> {
    {
        let mut admitted = lock(&gate.admitted);
        if gate.room.is_none() && admitted.len() >= gate.limit {
            return Err(SendError::Full(msg));
        }
        admitted.push_back(Instant::now());
    }
    // Outside of the lock, as it may wake a thread.
    let Err(error) = actor.send_message(Letter::Admitted(msg)) else { return Ok(()) };
    lock(&gate.admitted).pop_back();
    if let Some(room) = &gate.room {
        room.add_permits(1);
    }
    match returned(error) {
        Letter::Admitted(msg) => Err(SendError::Down(msg)),
        Letter::Own(_) | Letter::Event(_) => unreachable!("what comes back is what was sent"),
    }
}

fn returned<T>(error: MessagingErr<T>) -> T {
    match error {
        MessagingErr::SendErr(msg) => msg,
        error => unreachable!("a local actor of the right type refuses only by returning the message: {error}"),
    }
}
