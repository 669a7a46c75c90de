//! The lives of a supervisor's children: who tells it that one is over.
//!
//! A life is a future, and the keeper itself looks at it, woken by a [`Bell`] that the child's own last task rings as it
//! completes. So a child needs no task beside its own, and its end reaches the keeper with one message.
//!
//! # Invariant
//! A life that is not over when its keeper ends is handed out by [`Kid::orphan`], and somebody else minds it.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ractor::ActorRef;

use super::keeper::{Order, tell};
use super::{Life, News, Tell};
use crate::board::Slot;
use crate::report::Exit;
use crate::step::Event;

/// A child, as its keeper has it.
pub(super) struct Kid {
    pub(super) slot: Arc<Slot>,
    /// That of its incarnation, and who is to be told that it goes on.
    life: Option<(Life, Waker)>,
}

/// Rings at the keeper for one incarnation of a child: with news of it, or to have its life looked at.
pub(super) struct Bell {
    pub(super) keeper: ActorRef<Order>,
    pub(super) child: usize,
    pub(super) epoch: u64,
}

impl Tell for Bell {
    fn tell(&self, news: News) {
        let Self { child, epoch, .. } = *self;
        let event = match news {
            News::Started => Event::Started { child, epoch },
            News::Unhealthy(fault) => Event::Unhealthy { child, epoch, fault },
            News::Healthy => Event::Healthy { child, epoch },
            News::Lingers(exit) => Event::Lingers { child, epoch, exit },
            News::Ended(exit) => Event::Ended { child, epoch, exit },
        };
        tell(&self.keeper, Order::Event(event));
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        tell(&self.keeper, Order::Look { child: self.child });
    }
}

impl Kid {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        Self { slot, life: None }
    }

    /// Takes in the life of its next incarnation; the last one is over.
    pub(super) fn begin(&mut self, life: Life, bell: Waker) -> Option<Exit> {
        assert!(self.life.is_none(), "a child has one life at a time");
        self.life = Some((life, bell));
        self.look()
    }

    /// How its life ended, once, when it has.
    pub(super) fn look(&mut self) -> Option<Exit> {
        let (life, bell) = self.life.as_mut()?;
        let Poll::Ready(exit) = life.as_mut().poll(&mut Context::from_waker(bell)) else { return None };
        self.life = None;
        Some(exit)
    }

    /// Its life, if that is not over.
    pub(super) fn orphan(&mut self) -> Option<(Arc<Slot>, Life)> {
        self.life.take().map(|(life, _)| (self.slot.clone(), life))
    }
}
