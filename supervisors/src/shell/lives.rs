//! The lives of a supervisor's children: who tells it that one is over.
//!
//! A life is a future, and the keeper itself looks at it, woken by a [`Bell`] that the child's own last task rings as it
//! completes. So a child needs no task beside its own, and its end reaches the keeper with one message.
//!
//! # Invariant
//! A life that is not over when its keeper ends is handed out by [`Lives::orphans`], and somebody else minds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ractor::ActorRef;

use super::keeper::{Order, tell};
use super::{Life, News, Tell};
use crate::report::Exit;
use crate::step::Event;

/// By the numbers of the children.
#[derive(Default)]
pub(super) struct Lives(BTreeMap<usize, (Life, Waker)>);

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

impl Lives {
    /// Takes in the life of the child's next incarnation; the last one is over.
    pub(super) fn begin(&mut self, child: usize, life: Life, bell: Waker) -> Option<Exit> {
        let before = self.0.insert(child, (life, bell));
        assert!(before.is_none(), "a child has one life at a time");
        self.look(child)
    }

    /// How the life of the child ended, once, when it has.
    pub(super) fn look(&mut self, child: usize) -> Option<Exit> {
        let (life, bell) = self.0.get_mut(&child)?;
        let Poll::Ready(exit) = life.as_mut().poll(&mut Context::from_waker(bell)) else { return None };
        self.0.remove(&child);
        Some(exit)
    }

    /// Those that are not over.
    pub(super) fn orphans(&mut self) -> impl Iterator<Item = (usize, Life)> {
        std::mem::take(&mut self.0).into_iter().map(|(child, (life, _))| (child, life))
    }
}
