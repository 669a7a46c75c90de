//! Lets records leave the tile log: what was asked for is carried out, and what is due is asked for. What may leave it, and how
//! that is done, is the authority's; here is when.
//!
//! # Invariants
//! 1. What is outstanding is tried until it has come to an end, by each incarnation anew.
//! 2. When this actor goes, what it had begun is told so by its flag, and begins nothing more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::Clock;
use kernel::{Millis, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};
use tokio::sync::watch;

use crate::wake::{Timer, Wake, Waker};

/// Waits before asking again who is down, or for what is not signed yet.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Waits before trying again what failed, and no longer before looking what is due: clocks are set.
const LATER: Duration = Duration::from_mins(1);

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing is left to be done.
    Idle,
    /// Something was done, and there may be more.
    Done,
    /// It cannot be done yet.
    NotYet,
    /// It cannot be done for some reason that was said.
    Hindered,
}

pub type Looking = Pin<Box<dyn Future<Output = Looked> + Send>>;
/// Once it is set, nothing more is to be begun.
pub type Stop = Arc<AtomicBool>;

/// Who knows what is to be done, and when.
#[derive(Clone)]
pub struct Pruner {
    /// When something was asked for, or came to its end.
    pub moved: watch::Receiver<()>,
    pub clock: Clock,
    /// How often what is due is asked for, from each start on; none for never.
    pub every: Option<Duration>,
    /// Asks for what is due, if anything is.
    pub ask: Arc<dyn Fn() -> Looking + Send + Sync>,
    /// Carries out what was asked for.
    pub carry_out: Arc<dyn Fn(Stop) -> Looking + Send + Sync>,
}

impl Pruner {
    /// The child to put into the tree, after the machine and all that it looks at.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("pruner");
        Child::actor::<Pruning, _>(&reference, move || (Pruning, self.clone()))
    }
}

struct Pruning;

struct Working {
    pruner: Pruner,
    waker: Waker,
    stop: Stop,
    /// When what is due is asked for next.
    due: Option<Timestamp>,
    timer: Option<Timer>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Working {
    /// How long until it is to be looked at again, if nothing becomes durable before.
    async fn look(&mut self) -> Option<Duration> {
        let Pruner { clock, every, ask, carry_out, .. } = &self.pruner;
        let wait = match carry_out(self.stop.clone()).await {
            Looked::Done => return Some(Duration::ZERO),
            Looked::NotYet => Some(AGAIN_AFTER),
            Looked::Hindered => Some(LATER),
            Looked::Idle => None,
        };
        let (Some(every), None) = (every, wait) else { return wait };
        let (now, span) = (clock.now(), Millis(u64::try_from(every.as_millis()).unwrap_or(u64::MAX)));
        if now < *self.due.get_or_insert(now) {
            return Some(Duration::from_millis((self.due.unwrap_or(now) - now).0).min(LATER));
        }
        match ask().await {
            Looked::NotYet => Some(AGAIN_AFTER),
            looked => {
                self.due = Some(now + span);
                Some(if looked == Looked::Done { Duration::ZERO } else { (*every).min(LATER) })
            }
        }
    }
}

impl Actor for Pruning {
    type Msg = Wake;
    type State = Working;
    type Arguments = Pruner;

    async fn pre_start(&self, myself: ActorRef<Wake>, pruner: Pruner) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(pruner.moved.clone(), myself);
        Ok(Working { pruner, waker, stop: Arc::default(), due: None, timer: None })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        let wait = working.look().await;
        working.timer = wait.map(|wait| Timer::after(wait, &myself));
        Ok(())
    }
}
