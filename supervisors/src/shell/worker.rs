//! One incarnation of a worker.
//!
//! Every worker runs inside [`Supervised`], which makes the worker afresh and catches its panics where they happen.
//! Whoever ends without having said why was killed.
//!
//! What is generic here is compiled once for every type of worker, ractor's loop around it included. So only what must
//! know the type does: [`Supervised`] hands each hook on, and everything else is [`Incarnate`]'s, which knows none.

use std::error::Error;
use std::future::{pending, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pin_project_lite::pin_project;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, Message, SpawnErr, SupervisionEvent};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use super::panics::{self, Panic};
use super::{Herald, Launch, Launched, Life, NAMELESS, News, Place, Tasks, Verdict, task};
use crate::board::{Grip, Incarnation};
use crate::pulse::Pulse;
use crate::reference::{ChildRef, Gate, Letter, Outlet, WhenFull, WhileDown};
use crate::report::{Exit, StartFault, Unhealth};

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

/// What a child wants of its incarnations beside their life.
#[derive(Clone, Default)]
pub(crate) struct Terms {
    pub(crate) while_down: WhileDown,
    pub(crate) place: Place,
    pub(crate) await_ready: bool,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) probe: Option<Arc<Probe>>,
}

impl Terms {
    /// Every limit is one.
    pub(crate) fn is_meant(&self) -> bool {
        let of_probe = self.probe.iter().flat_map(|probe| [probe.every, probe.within]);
        self.watchdog.into_iter().chain(of_probe).all(|limit| !limit.is_zero())
    }
}

/// A question that is asked again and again.
pub(crate) struct Probe {
    pub(crate) every: Duration,
    pub(crate) within: Duration,
    /// Asks the incarnation of this epoch. The answer is whether it gave one.
    pub(crate) ask: Box<dyn Fn(u64) -> Answer + Send + Sync>,
}

pub(crate) type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

impl Probe {
    async fn silent(&self, epoch: u64) -> Unhealth {
        loop {
            sleep(self.every).await;
            // A question that cannot be put has no answer either.
            let mut asked = pin!(async { (self.ask)(epoch).await });
            let asked = poll_fn(|context| poll_caught(asked.as_mut(), context));
            if !matches!(timeout(self.within, asked).await, Ok(Ok(true))) {
                return Unhealth::Silent { within: self.within };
            }
        }
    }
}

/// What makes a worker: a reference that leads to it, and a maker of its incarnations.
pub(crate) struct Worker<A: Actor, F> {
    outlet: Arc<dyn Outlet>,
    make: F,
    of: PhantomData<fn() -> A>,
}

impl<A, F> Worker<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    pub(crate) fn new(reference: &ChildRef<A::Msg>, make: F) -> Self {
        Self { outlet: reference.outlet(), make, of: PhantomData }
    }

    /// Makes incarnations with mailboxes of so many places.
    pub(crate) fn bounded(self, limit: usize, when_full: WhenFull) -> BoundedWorker<A, F> {
        BoundedWorker { worker: Arc::new(self), limit, when_full }
    }

    fn supervised(self: Arc<Self>, incarnate: Arc<Incarnate>) -> Supervised<A, F> {
        Supervised { worker: self, incarnate, actor: OnceLock::new() }
    }
}

impl<A, F> Launch for Worker<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    fn launch(self: Arc<Self>, epoch: u64, terms: &Terms, herald: Herald) -> Launched {
        let incarnate = Incarnate::new(&self.outlet, epoch, terms, herald);
        let starting = starting(self.supervised(incarnate.clone()));
        incarnate.launch(starting, None, terms)
    }

    fn outlet(&self) -> &Arc<dyn Outlet> {
        &self.outlet
    }

    fn bound(&self) -> Option<usize> {
        None
    }
}

/// A [`Worker`] whose mailbox is bounded.
pub(crate) struct BoundedWorker<A: Actor, F> {
    worker: Arc<Worker<A, F>>,
    limit: usize,
    when_full: WhenFull,
}

impl<A, F> Launch for BoundedWorker<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    fn launch(self: Arc<Self>, epoch: u64, terms: &Terms, herald: Herald) -> Launched {
        let incarnate = Incarnate::new(&self.worker.outlet, epoch, terms, herald);
        let main = Arc::new(OnceLock::new());
        let (mouth, speaking) = ActorRuntime::spawn_instant(None, Mouth(main.clone()), ()).expect(NAMELESS);
        let gate = Arc::new(Gate::new(self.limit, self.when_full));
        let bound = Bound { gate: gate.clone(), mouth: mouth.get_cell(), speaking };
        let actor = self.worker.clone().supervised(incarnate.clone());
        incarnate.launch(starting(Bounded { actor, mouth, main, gate }), Some(bound), terms)
    }

    fn outlet(&self) -> &Arc<dyn Outlet> {
        &self.worker.outlet
    }

    fn bound(&self) -> Option<usize> {
        Some(self.limit)
    }
}

/// A start, until the actor runs.
type Starting = Pin<Box<dyn Future<Output = Result<JoinHandle<()>, SpawnErr>> + Send>>;

fn starting<A: Actor<Arguments = ()>>(actor: A) -> Starting {
    Box::pin(async { ActorRuntime::spawn(None, actor, ()).await.map(|(_, running)| running) })
}

/// How far a start has come.
enum Beginning {
    Up(JoinHandle<()>),
    Starting(JoinHandle<Result<JoinHandle<()>, SpawnErr>>),
    Failed,
}

/// What a [`Bounded`] actor has beside itself.
struct Bound {
    gate: Arc<Gate>,
    mouth: ActorCell,
    speaking: JoinHandle<Result<JoinHandle<()>, SpawnErr>>,
}

impl Bound {
    /// The life of `main`, which ends with its mouth, and of that, which ends with it.
    async fn together<T>(self, main: ActorCell, life: impl Future<Output = T>) -> T {
        let (mut life, mut silence) = (pin!(life), pin!(silence(self.speaking)));
        let ended = tokio::select! {
            biased;
            ended = &mut life => ended,
            () = &mut silence => {
                main.kill();
                return life.await;
            }
        };
        self.mouth.kill();
        silence.await;
        ended
    }
}

/// However it comes about.
async fn silence(speaking: JoinHandle<Result<JoinHandle<()>, SpawnErr>>) {
    if let Ok(Ok(speaking)) = speaking.await {
        let _ = speaking.await;
    }
}

/// How one incarnation is looked after.
struct Care {
    await_ready: bool,
    watchdog: Option<Duration>,
    probe: Option<Arc<Probe>>,
}

impl Care {
    fn is_needed(&self) -> bool {
        self.watchdog.is_some() || self.probe.is_some()
    }

    /// Waits for the first fault.
    async fn fault(&self, incarnate: &Incarnate) -> Unhealth {
        let stuck = async {
            let Some(limit) = self.watchdog else { return pending().await };
            incarnate.pulse.stuck(limit).await;
            Unhealth::Stuck { limit }
        };
        let silent = async {
            let Some(probe) = &self.probe else { return pending().await };
            probe.silent(incarnate.epoch).await
        };
        tokio::select! {
            biased;
            fault = stuck => fault,
            fault = silent => fault,
        }
    }
}

/// One incarnation, whatever its type: what it writes down about itself, the reference that leads to it, and whoever
/// minds it.
pub(crate) struct Incarnate {
    pub(crate) epoch: u64,
    pub(crate) herald: Herald,
    pub(crate) pulse: Pulse,
    place: Place,
    outlet: Arc<dyn Outlet>,
    cell: OnceLock<ActorCell>,
    verdict: Verdict,
    tasks: Tasks,
}

impl Incarnate {
    fn new(outlet: &Arc<dyn Outlet>, epoch: u64, terms: &Terms, herald: Herald) -> Arc<Self> {
        let incarnate = Arc::new(Self {
            epoch,
            herald,
            pulse: Pulse::new(terms.watchdog.is_some()),
            place: terms.place,
            outlet: outlet.clone(),
            cell: OnceLock::new(),
            verdict: Verdict::default(),
            tasks: Tasks::default(),
        });
        outlet.launch(epoch, Arc::downgrade(&incarnate));
        incarnate
    }

    fn launch(self: Arc<Self>, starting: Starting, bound: Option<Bound>, terms: &Terms) -> Launched {
        let care = Care { await_ready: terms.await_ready, watchdog: terms.watchdog, probe: terms.probe.clone() };
        let beginning = self.begin(starting);
        let cell = self.cell.get().expect("ractor calls pre_start before it waits for anything").clone();
        let gate = bound.as_ref().map(|bound| bound.gate.clone());
        let is_up = matches!(beginning, Beginning::Up(_)) && !care.await_ready;
        if is_up {
            self.outlet.plug(self.epoch, &cell, gate.as_ref());
        }
        let incarnation = Incarnation { cell: cell.clone(), supervisor: None, grip: self.clone() };
        let life: Life = match (beginning, bound) {
            // Nearly every life, in the room that it takes and no more.
            (Beginning::Up(running), None) if is_up && !care.is_needed() => Box::pin(async move {
                let ended = running.await;
                self.ended(ended, None)
            }),
            (beginning, None) => Box::pin(async move {
                let ended = self.life(beginning, is_up, &cell, None, care).await;
                self.ended(ended, None)
            }),
            (beginning, Some(bound)) => Box::pin(async move {
                let life = self.life(beginning, is_up, &cell, gate.as_ref(), care);
                let ended = bound.together(cell.clone(), life).await;
                self.ended(ended, gate.as_deref())
            }),
        };
        Launched { incarnation, is_up, life }
    }

    /// Starts it here as far as it comes without waiting, and sees to it that the rest is done in a task of its own.
    fn begin(&self, mut starting: Starting) -> Beginning {
        match panics::caught(|| starting.as_mut().poll(&mut Context::from_waker(Waker::noop()))) {
            Ok(Poll::Ready(Ok(running))) => {
                self.tasks.started(&running);
                Beginning::Up(running)
            }
            Ok(Poll::Ready(Err(_))) => Beginning::Failed,
            Ok(Poll::Pending) => {
                let starting = task(starting);
                self.tasks.starting(&starting);
                Beginning::Starting(starting)
            }
            // Panics of hooks are caught where they happen, which leaves those of destructors.
            Err(Panic { message, place }) => {
                self.verdict.set(Exit::StartFailed(StartFault::Panicked { message, place }));
                Beginning::Failed
            }
        }
    }

    /// Plugs it in once it is up, unless that was done already.
    async fn life(
        &self,
        beginning: Beginning,
        is_up: bool,
        cell: &ActorCell,
        gate: Option<&Arc<Gate>>,
        care: Care,
    ) -> Result<(), JoinError> {
        let mut running = match beginning {
            Beginning::Up(running) => running,
            Beginning::Starting(starting) => {
                let Ok(running) = starting.await? else { return Ok(()) };
                self.tasks.started(&running);
                running
            }
            Beginning::Failed => return Ok(()),
        };
        if !is_up {
            if care.await_ready {
                tokio::select! {
                    biased;
                    ended = &mut running => return ended,
                    () = self.outlet.readiness(self.epoch) => {}
                }
            }
            self.outlet.plug(self.epoch, cell, gate);
            self.herald.tell(News::Started);
        }
        if care.is_needed() {
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                fault = Box::pin(care.fault(self)) => self.herald.tell(News::Unhealthy(fault)),
            }
        }
        running.await
    }

    fn ended(&self, ended: Result<(), JoinError>, gate: Option<&Gate>) -> Exit {
        self.outlet.ended(self.epoch, gate);
        self.verdict.settle(ended)
    }

    /// It is this actor, unless it is another already.
    fn is(&self, cell: ActorCell) {
        let _ = self.cell.set(cell);
    }

    /// Runs `start`, the first that happens in it, and keeps the reason if it fails.
    async fn start(
        &self,
        mut start: Pin<&mut (dyn Future<Output = Result<(), ActorProcessingErr>> + Send)>,
    ) -> Result<(), ActorProcessingErr> {
        if self.place == Place::Apart {
            // Whoever polls next is a task of its own.
            tokio::task::yield_now().await;
        }
        let (fault, error) = match poll_fn(|context| poll_caught(start.as_mut(), context)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if causes(&error).any(<dyn Error>::is::<Ignore>) => {
                self.verdict.set(Exit::Ignored);
                return Err(error);
            }
            Ok(Err(error)) if causes(&error).any(<dyn Error>::is::<Unrecoverable>) => {
                (StartFault::Unrecoverable { reason: sentence(&error) }, error)
            }
            Ok(Err(error)) => (StartFault::Failed { error: sentence(&error) }, error),
            Err(Panic { message, place }) => (StartFault::Panicked { message: message.clone(), place }, message.into()),
        };
        self.verdict.set(Exit::StartFailed(fault));
        Err(error)
    }

    /// Polls a hook of a started actor and keeps the reason if it fails.
    fn guard(
        &self,
        hook: Pin<&mut dyn Future<Output = Result<(), ActorProcessingErr>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ActorProcessingErr>> {
        let ended = match poll_caught(hook, context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(ended) => ended,
        };
        Poll::Ready(match ended {
            Ok(Ok(())) => {
                self.pulse.done();
                Ok(())
            }
            Ok(Err(error)) => {
                self.verdict.set(Exit::Failed { error: sentence(&error) });
                Err(error)
            }
            Err(Panic { message, place }) => {
                self.verdict.set(Exit::Panicked { message: message.clone(), place });
                Err(message.into())
            }
        })
    }
}

impl Grip for Incarnate {
    fn unplug(&self) {
        self.outlet.unplug(self.epoch);
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

/// Polls `hook` and answers a panic in it.
fn poll_caught<F: Future + ?Sized>(hook: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<F::Output, Panic>> {
    match panics::caught(|| hook.poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

pin_project! {
    /// A hook of a started actor. An async function around it would keep a second place for all that the hook is given,
    /// in every child.
    struct Guarded<'a, H> {
        #[pin]
        hook: H,
        incarnate: &'a Incarnate,
    }
}

impl<H: Future<Output = Result<(), ActorProcessingErr>>> Future for Guarded<'_, H> {
    type Output = Result<(), ActorProcessingErr>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.incarnate.guard(this.hook, context)
    }
}

/// One incarnation of a worker, made inside its own task.
struct Supervised<A: Actor, F> {
    worker: Arc<Worker<A, F>>,
    incarnate: Arc<Incarnate>,
    actor: OnceLock<A>,
}

impl<A: Actor, F> Supervised<A, F> {
    fn guard<'a, H>(&'a self, hook: impl FnOnce(&'a A) -> H) -> Guarded<'a, H> {
        self.incarnate.pulse.begin();
        let actor = self.actor.get().expect("ractor calls pre_start before any other hook");
        Guarded { hook: hook(actor), incarnate: &self.incarnate }
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
        self.incarnate.is(myself.get_cell());
        let mut state = None;
        let start = async {
            let (actor, arguments) = (self.worker.make)(self.incarnate.epoch);
            state = Some(self.actor.get_or_init(|| actor).pre_start(myself, arguments).await?);
            Ok(())
        };
        self.incarnate.start(pin!(start)).await?;
        Ok(state.expect("a start that has not failed has made a state"))
    }

    fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(|actor| actor.post_start(myself, state))
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.guard(|actor| actor.post_stop(myself, state)).await?;
        self.incarnate.verdict.set(Exit::Normal);
        Ok(())
    }

    fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(|actor| actor.handle(myself, message, state))
    }

    fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        message: SupervisionEvent,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(|actor| actor.handle_supervisor_evt(myself, message, state))
    }
}

/// An incarnation whose mailbox is bounded, so that it must know which messages have come through the gate.
///
/// What the actor sends to itself through the `myself` that ractor promises it has come through none, and must be of its own
/// message type. So that `myself` is an actor of its own, its [`Mouth`], which passes on what it hears.
struct Bounded<A: Actor, F> {
    actor: Supervised<A, F>,
    mouth: ActorRef<A::Msg>,
    /// Where the mouth finds us.
    main: Arc<OnceLock<ActorRef<Letter<A::Msg>>>>,
    gate: Arc<Gate>,
}

impl<A, F> Actor for Bounded<A, F>
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    type Msg = Letter<A::Msg>;
    type State = A::State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Letter<A::Msg>>, (): ()) -> Result<A::State, ActorProcessingErr> {
        self.actor.incarnate.is(myself.get_cell());
        let _ = self.main.set(myself);
        self.actor.pre_start(self.mouth.clone(), ()).await
    }

    async fn post_start(&self, _: ActorRef<Letter<A::Msg>>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.actor.post_start(self.mouth.clone(), state).await
    }

    async fn post_stop(&self, _: ActorRef<Letter<A::Msg>>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.actor.post_stop(self.mouth.clone(), state).await
    }

    async fn handle(
        &self,
        _: ActorRef<Letter<A::Msg>>,
        letter: Letter<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        let myself = self.mouth.clone();
        match letter {
            Letter::Admitted(msg) => {
                self.gate.taken();
                self.actor.handle(myself, msg, state).await
            }
            Letter::Own(msg) => self.actor.handle(myself, msg, state).await,
            Letter::Event(event) => self.actor.handle_supervisor_evt(myself, *event, state).await,
        }
    }
}

/// What a [`Bounded`] actor takes for itself. The actors that it starts are linked here; its stop and its end are those of
/// the actor.
struct Mouth<M: Message>(Arc<OnceLock<ActorRef<Letter<M>>>>);

impl<M: Message> Mouth<M> {
    fn pass(&self, letter: Letter<M>) {
        let main = self.0.get().expect("nobody knows the mouth before the actor starts");
        // An actor that ends needs no more of it.
        drop(main.cast(letter));
    }
}

impl<M: Message> Actor for Mouth<M> {
    type Msg = M;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<M>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<M>, msg: M, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.pass(Letter::Own(msg));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<M>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.pass(Letter::Event(Box::new(event)));
        Ok(())
    }

    /// The actor has stopped itself. What is linked here lives until that has ended.
    async fn post_stop(&self, _: ActorRef<M>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if let Some(main) = self.0.get() {
            main.stop(None);
            let _ = main.wait(None).await;
        }
        Ok(())
    }
}
