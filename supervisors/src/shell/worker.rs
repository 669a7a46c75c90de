//! One incarnation of a worker.
//!
//! Every worker runs inside [`Supervised`], which makes the worker afresh and catches its panics where they happen.
//! Whoever ends without having said why was killed.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, Message, SupervisionEvent};

use super::{Herald, Launch, Launched, NAMELESS, News, Tasks, Verdict, message};
use crate::board::{Grip, Incarnation};
use crate::reference::ChildRef;
use crate::report::{Exit, StartFault};

/// An error that a `pre_start` may return, also as the source of another: a new start would end the same way. The
/// supervisor puts the child in quarantine at once and charges no budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrecoverable(pub String);

/// An error that a `pre_start` may return, also as the source of another: there is nothing to do, now. It is no failure
/// and charges no budget. The child stays in the specification and is down until it is started by hand, or with its
/// group or its supervisor; a temporary one and a member of a pool are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("nothing to do")]
pub struct Ignore;

pub(crate) struct Worker<A: Actor, F> {
    reference: ChildRef<A::Msg>,
    make: Arc<F>,
}

impl<A: Actor, F> Worker<A, F> {
    pub(crate) fn new(reference: ChildRef<A::Msg>, make: F) -> Self {
        Self { reference, make: Arc::new(make) }
    }
}

impl<A, F> Launch for Worker<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    fn launch(&self, epoch: u64, herald: Herald) -> Launched {
        let verdict = Verdict::default();
        let actor = Supervised { make: self.make.clone(), epoch, actor: OnceLock::new(), verdict: verdict.clone() };
        let (actor, starting) = ActorRuntime::spawn_instant(None, actor, ()).expect(NAMELESS);
        let cell = actor.get_cell();
        let grip = Arc::new(Plugged { reference: self.reference.clone(), epoch, tasks: Tasks::new(&starting) });
        let plugged = grip.clone();
        let life = Box::pin(async move {
            let ended = match starting.await {
                Ok(Ok(running)) => {
                    plugged.tasks.started(&running);
                    plugged.reference.plug(epoch, actor);
                    herald(News::Started);
                    let ended = running.await;
                    plugged.unplug();
                    ended
                }
                Ok(Err(_)) => Ok(()),
                Err(error) => Err(error),
            };
            verdict.settle(ended)
        });
        Launched { incarnation: Incarnation { cell, supervisor: None, grip }, life }
    }

    fn latest_epoch(&self) -> u64 {
        self.reference.epoch()
    }
}

/// An incarnation and the reference that leads to it.
struct Plugged<M: Message> {
    reference: ChildRef<M>,
    epoch: u64,
    tasks: Tasks,
}

impl<M: Message> Grip for Plugged<M> {
    fn unplug(&self) {
        self.reference.unplug(self.epoch);
    }

    fn abort(&self) {
        self.tasks.take_away();
    }
}

/// An error and its causes, outermost first.
fn causes(error: &ActorProcessingErr) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error.as_ref() as &(dyn Error + 'static)), |error: &&(dyn Error + 'static)| {
        (**error).source()
    })
}

/// An error and its causes in one line.
fn sentence(error: &ActorProcessingErr) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs `hook` and answers a panic in it with its text.
async fn caught<T>(hook: impl Future<Output = T>) -> Result<T, String> {
    let mut hook = pin!(hook);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| hook.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => Poll::Ready(Err(message(panic.as_ref()))),
    })
    .await
}

/// One incarnation of a worker, made inside its own task.
struct Supervised<A: Actor, F> {
    make: Arc<F>,
    epoch: u64,
    actor: OnceLock<A>,
    verdict: Verdict,
}

impl<A: Actor, F> Supervised<A, F> {
    fn actor(&self) -> &A {
        self.actor.get().expect("ractor calls pre_start before any other hook")
    }

    /// Runs a hook of a started actor and keeps the reason if it fails.
    async fn guard(
        &self,
        hook: impl Future<Output = Result<(), ActorProcessingErr>>,
    ) -> Result<(), ActorProcessingErr> {
        match caught(hook).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.verdict.set(Exit::Failed { error: sentence(&error) });
                Err(error)
            }
            Err(message) => {
                self.verdict.set(Exit::Panicked { message: message.clone() });
                Err(message.into())
            }
        }
    }
}

impl<A, F> Actor for Supervised<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<A::Msg>, (): ()) -> Result<A::State, ActorProcessingErr> {
        let start = async {
            let (actor, arguments) = (self.make)(self.epoch);
            self.actor.get_or_init(|| actor).pre_start(myself, arguments).await
        };
        let (fault, error) = match caught(start).await {
            Ok(Ok(state)) => return Ok(state),
            Ok(Err(error)) if causes(&error).any(<dyn Error>::is::<Ignore>) => {
                self.verdict.set(Exit::Ignored);
                return Err(error);
            }
            Ok(Err(error)) if causes(&error).any(<dyn Error>::is::<Unrecoverable>) => {
                (StartFault::Unrecoverable { reason: sentence(&error) }, error)
            }
            Ok(Err(error)) => (StartFault::Failed { error: sentence(&error) }, error),
            Err(message) => (StartFault::Panicked { message: message.clone() }, message.into()),
        };
        self.verdict.set(Exit::StartFailed(fault));
        Err(error)
    }

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.guard(self.actor().post_start(myself, state)).await
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.guard(self.actor().post_stop(myself, state)).await?;
        self.verdict.set(Exit::Normal);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(self.actor().handle(myself, message, state)).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        message: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(self.actor().handle_supervisor_evt(myself, message, state)).await
    }
}
