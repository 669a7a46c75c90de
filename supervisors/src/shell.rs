//! The shell: one ractor actor per supervisor, and the tasks that mind its children.
//!
//! The [`keeper`] is the actor: it turns orders, timers and news of its children into events for
//! [`step`](crate::step::step) and carries out the actions. The [`worker`] is what runs around each worker and knows
//! what ractor does not tell apart: a panic, an error, a kill. What both share is here: how an incarnation is launched,
//! what is told of it, and how it ended.
//!
//! # Invariants
//! 1. `Ended` is sent after the task of the incarnation has completed, and for a supervisor after the latch over the
//!    incarnations below it is open.
//! 2. A keeper that ends in any way leaves nothing alive below it that it has not killed.

mod keeper;
mod lives;
mod panics;
mod worker;

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::task::{AbortHandle, JoinError, JoinHandle};

use crate::board::{Incarnation, lock};
use crate::reference::Outlet;
use crate::report::{Exit, Unhealth};

pub(crate) use keeper::{Order, Way, add, keeper, launch_root, leave};
pub(crate) use panics::note_places;
pub use worker::{Ignore, Unrecoverable};
pub(crate) use worker::{Incarnate, Probe, Terms, Worker};

/// What becomes of an incarnation, told to whoever launched it.
pub(crate) enum News {
    Started,
    Unhealthy(Unhealth),
    /// It says that it is well.
    Healthy,
    Lingers(Exit),
    Ended(Exit),
}

/// Tells whoever launched an incarnation.
pub(crate) type Herald = Arc<dyn Tell>;

pub(crate) trait Tell: Send + Sync {
    fn tell(&self, news: News);
}

impl<F: Fn(News) + Send + Sync> Tell for F {
    fn tell(&self, news: News) {
        self(news);
    }
}

/// Completes when all of an incarnation is gone.
type Life = Pin<Box<dyn Future<Output = Exit> + Send>>;

/// An incarnation on its way up, or up already.
pub(crate) struct Launched {
    incarnation: Incarnation,
    /// Its start was over at once, so the herald is not told of it.
    is_up: bool,
    life: Life,
}

/// Where a start runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// As far as it comes without waiting, in the task of its supervisor, and then in one of its own. Most starts wait
    /// for nothing, and a restart is over before any thread had to be woken for it.
    #[default]
    Here,
    /// In a task of its own from the first.
    Apart,
}

/// Makes incarnations of one worker, whatever its type.
pub(crate) trait Launch: Send + Sync {
    fn launch(self: Arc<Self>, epoch: u64, terms: &Terms, herald: Herald) -> Launched;

    /// The reference that leads to them.
    fn outlet(&self) -> &Arc<dyn Outlet>;

    /// How many messages may lie in their mailboxes.
    fn bound(&self) -> Option<usize>;
}

const NAMELESS: &str = "only a name can be taken, and these actors have none";

/// How an incarnation ended, written down by itself where it happened. The first word stands.
#[derive(Default)]
struct Verdict(Mutex<Option<Box<Exit>>>);

impl Verdict {
    /// A later word than the first is a consequence of it.
    fn set(&self, exit: Exit) {
        lock(&self.0).get_or_insert_with(|| Box::new(exit));
    }

    /// Who ended without a word was killed or aborted, or panicked outside of every hook, as a destructor may.
    fn settle(&self, ended: Result<(), JoinError>) -> Exit {
        if let Some(exit) = lock(&self.0).take() {
            return *exit;
        }
        match ended.map_err(JoinError::try_into_panic) {
            Err(Ok(panic)) => Exit::Panicked { message: panics::message(panic.as_ref()), place: None },
            Err(Err(_)) => Exit::Aborted,
            Ok(()) => Exit::Killed,
        }
    }
}

/// The tasks of one incarnation: that of its start, if it has one, and that of its run once it has started.
#[derive(Default)]
struct Tasks {
    starting: OnceLock<AbortHandle>,
    running: OnceLock<AbortHandle>,
}

impl Tasks {
    fn starting<T>(&self, starting: &JoinHandle<T>) {
        let _ = self.starting.set(starting.abort_handle());
    }

    fn started(&self, running: &JoinHandle<()>) {
        let _ = self.running.set(running.abort_handle());
    }

    fn take_away(&self) {
        if let Some(task) = self.running.get().or(self.starting.get()) {
            task.abort();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the supervisor: its tasks end with the children they mind")]
fn task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}

#[cfg(test)]
mod undying;
