//! One incarnation of a worker.
//!
//! Every worker runs inside [`Supervised`], which makes the worker afresh and catches its panics where they happen.
//! Whoever ends without having said why was killed.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};

use super::{Herald, Launch, Launched, NAMELESS, News, Verdict, message};
use crate::board::Incarnation;
use crate::reference::ChildRef;
use crate::report::{Exit, StartFault};

/// An error that a `pre_start` may return, also as the source of another: a new start would end the same way. The
/// supervisor puts the child in quarantine at once and charges no budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unrecoverable(pub String);

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
        let (cell, reference) = (actor.get_cell(), self.reference.clone());
        let unplug = {
            let reference = reference.clone();
            Arc::new(move || reference.unplug(epoch))
        };
        let life = Box::pin(async move {
            let ended = match starting.await {
                Ok(Ok(running)) => {
                    reference.plug(epoch, actor);
                    herald(News::Started);
                    let ended = running.await;
                    reference.unplug(epoch);
                    ended
                }
                Ok(Err(_)) => Ok(()),
                Err(error) => Err(error),
            };
            verdict.settle(ended)
        });
        Launched { incarnation: Incarnation { cell, supervisor: None, unplug }, life }
    }

    fn latest_epoch(&self) -> u64 {
        self.reference.epoch()
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
