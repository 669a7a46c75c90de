//! One incarnation of a worker.
//!
//! Every worker runs inside [`Supervised`], which makes the worker afresh and catches its panics where they happen.
//! Whoever ends without having said why was killed.

use std::error::Error;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, Message, SpawnErr, SupervisionEvent};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use super::panics::{self, Panic};
use super::{Herald, Launch, Launched, Life, NAMELESS, News, Place, Tasks, Verdict, task};
use crate::board::{Grip, Incarnation};
use crate::pulse::Pulse;
use crate::reference::{ChildRef, Gate, Letter, Line, WhenFull, WhileDown};
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
    pub(crate) mailbox: Option<(usize, WhenFull)>,
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
    fn launch(&self, epoch: u64, terms: &Terms, herald: Herald) -> Launched {
        let (verdict, pulse) = (Verdict::default(), Arc::new(Pulse::new(terms.watchdog.is_some())));
        self.reference.launch(epoch, herald.clone(), pulse.clone());
        let make = self.make.clone();
        let actor = Supervised { make, epoch, actor: OnceLock::new(), verdict: verdict.clone(), pulse: pulse.clone() };
        let care = Care { await_ready: terms.await_ready, watchdog: terms.watchdog, probe: terms.probe.clone(), pulse };
        let plug = |tasks: Tasks| Arc::new(Plugged { reference: self.reference.clone(), epoch, herald, tasks });
        let mut is_up = false;
        let (cell, grip, life): (_, Arc<dyn Grip>, Life) = match terms.mailbox {
            None => {
                let (actor, beginning) = match terms.place {
                    Place::Here => begin(actor, &verdict),
                    Place::Apart => {
                        let (actor, starting) = ActorRuntime::spawn_instant(None, actor, ()).expect(NAMELESS);
                        (actor, Beginning::Starting(starting))
                    }
                };
                let (cell, plugged) = (actor.get_cell(), plug(beginning.tasks()));
                is_up = matches!(beginning, Beginning::Up(_)) && !care.await_ready;
                let mut open = Some(Line::Open(actor));
                if let Some(line) = open.take_if(|_| is_up) {
                    plugged.reference.plug(epoch, line);
                }
                let grip = plugged.clone();
                let life: Life = match beginning {
                    // Nearly every life, in the room that it takes and no more.
                    Beginning::Up(running) if is_up && !care.is_needed() => Box::pin(async move {
                        let ended = running.await;
                        plugged.ended(&verdict, ended, None)
                    }),
                    beginning => Box::pin(async move {
                        let ended = plugged.life(beginning, open, care).await;
                        plugged.ended(&verdict, ended, None)
                    }),
                };
                (cell, grip, life)
            }
            Some((limit, when_full)) => {
                let main = Arc::new(OnceLock::new());
                let (mouth, speaking) = ActorRuntime::spawn_instant(None, Mouth(main.clone()), ()).expect(NAMELESS);
                let gate = Arc::new(Gate::new(limit, when_full));
                let actor = Bounded { actor, mouth: mouth.clone(), main, gate: gate.clone() };
                let (actor, starting) = ActorRuntime::spawn_instant(None, actor, ()).expect(NAMELESS);
                let (cell, plugged) = (actor.get_cell(), plug(Tasks::new(&starting)));
                let (main, grip) = (cell.clone(), plugged.clone());
                let life = async move {
                    let gated = Line::Gated(actor, gate.clone());
                    let life = plugged.life(Beginning::Starting(starting), Some(gated), care);
                    let ended = together(main, life, mouth.get_cell(), speaking).await;
                    plugged.ended(&verdict, ended, Some(&gate))
                };
                (cell, grip, Box::pin(life))
            }
        };
        Launched { incarnation: Incarnation { cell, supervisor: None, grip }, is_up, life }
    }

    fn latest_epoch(&self) -> u64 {
        self.reference.launched()
    }

    fn expect(&self, terms: &Terms) {
        self.reference.expect(terms.while_down);
    }

    fn succeed(&self, before: &dyn Launch, terms: &Terms) {
        self.reference.follow(terms.while_down);
        if before.reference() != self.reference() {
            // The last incarnation that it will ever lead to, if it lives, is not the end of it.
            before.give_up();
        }
    }

    fn reference(&self) -> usize {
        self.reference.identity()
    }

    fn give_up(&self) {
        self.reference.give_up();
    }
}

/// What ractor hands out for an actor that is being started.
type Starting = JoinHandle<Result<JoinHandle<()>, SpawnErr>>;

/// How far a start has come.
enum Beginning {
    Up(JoinHandle<()>),
    Starting(Starting),
    Failed,
}

impl Beginning {
    fn tasks(&self) -> Tasks {
        match self {
            Self::Up(running) => Tasks { starting: None, running: running.abort_handle().into() },
            Self::Starting(starting) => Tasks::new(starting),
            Self::Failed => Tasks::default(),
        }
    }
}

/// Starts `actor` here as far as it comes without waiting, and sees to it that the rest is done in a task of its own.
fn begin<A, F>(actor: Supervised<A, F>, verdict: &Verdict) -> (ActorRef<A::Msg>, Beginning)
where
    A: Actor,
    F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
{
    let mut starting = Box::pin(ActorRuntime::spawn(None, actor, ()));
    let polled = panics::caught(|| starting.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    let myself = || verdict.0.cell.get().expect("ractor calls pre_start before it waits for anything").clone().into();
    match polled {
        Ok(Poll::Ready(Ok((actor, running)))) => (actor, Beginning::Up(running)),
        Ok(Poll::Ready(Err(_))) => (myself(), Beginning::Failed),
        Ok(Poll::Pending) => {
            let starting = task(async move { starting.await.map(|(_, running)| running) });
            (myself(), Beginning::Starting(starting))
        }
        // Panics of hooks are caught where they happen, which leaves those of destructors.
        Err(Panic { message, place }) => {
            verdict.set(Exit::StartFailed(StartFault::Panicked { message, place }));
            (myself(), Beginning::Failed)
        }
    }
}

/// The life of a bounded actor, `main`, which ends with its mouth, and of that, which ends with it.
async fn together<T>(main: ActorCell, life: impl Future<Output = T>, mouth: ActorCell, speaking: Starting) -> T {
    let (mut life, mut silence) = (pin!(life), pin!(silence(speaking)));
    let ended = tokio::select! {
        biased;
        ended = &mut life => ended,
        () = &mut silence => {
            main.kill();
            return life.await;
        }
    };
    mouth.kill();
    silence.await;
    ended
}

/// However it comes about.
async fn silence(speaking: Starting) {
    if let Ok(Ok(speaking)) = speaking.await {
        let _ = speaking.await;
    }
}

/// How one incarnation is looked after.
struct Care {
    await_ready: bool,
    watchdog: Option<Duration>,
    probe: Option<Arc<Probe>>,
    pulse: Arc<Pulse>,
}

impl Care {
    fn is_needed(&self) -> bool {
        self.watchdog.is_some() || self.probe.is_some()
    }

    /// Waits for the first fault.
    async fn fault(&self, epoch: u64) -> Unhealth {
        let stuck = async {
            let Some(limit) = self.watchdog else { return pending().await };
            self.pulse.stuck(limit).await;
            Unhealth::Stuck { limit }
        };
        let silent = async {
            let Some(probe) = &self.probe else { return pending().await };
            probe.silent(epoch).await
        };
        tokio::select! {
            biased;
            fault = stuck => fault,
            fault = silent => fault,
        }
    }
}

/// An incarnation, the reference that leads to it, and whoever minds it.
struct Plugged<M: Message> {
    reference: ChildRef<M>,
    epoch: u64,
    herald: Herald,
    tasks: Tasks,
}

impl<M: Message> Plugged<M> {
    /// Plugs `line` in once it is up, unless that was done already.
    async fn life(&self, beginning: Beginning, line: Option<Line<M>>, care: Care) -> Result<(), JoinError> {
        let mut running = match beginning {
            Beginning::Up(running) => running,
            Beginning::Starting(starting) => {
                let Ok(running) = starting.await? else { return Ok(()) };
                self.tasks.started(&running);
                running
            }
            Beginning::Failed => return Ok(()),
        };
        if let Some(line) = line {
            if care.await_ready {
                tokio::select! {
                    biased;
                    ended = &mut running => return ended,
                    () = Box::pin(self.reference.readiness(self.epoch)) => {}
                }
            }
            self.reference.plug(self.epoch, line);
            (self.herald)(News::Started);
        }
        if care.is_needed() {
            tokio::select! {
                biased;
                ended = &mut running => return ended,
                fault = Box::pin(care.fault(self.epoch)) => (self.herald)(News::Unhealthy(fault)),
            }
        }
        running.await
    }

    fn ended(&self, verdict: &Verdict, ended: Result<(), JoinError>, gate: Option<&Gate>) -> Exit {
        self.reference.ended(self.epoch, gate);
        verdict.settle(ended)
    }
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

/// Polls `hook` and answers a panic in it. It is pinned by the caller and polled from closures, because every async
/// function that it was handed through would keep a place of its own for it, in every child.
fn poll_caught<F: Future>(hook: Pin<&mut F>, context: &mut Context<'_>) -> Poll<Result<F::Output, Panic>> {
    match panics::caught(|| hook.poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// One incarnation of a worker, made inside its own task.
struct Supervised<A: Actor, F> {
    make: Arc<F>,
    epoch: u64,
    actor: OnceLock<A>,
    verdict: Verdict,
    pulse: Arc<Pulse>,
}

impl<A: Actor, F> Supervised<A, F> {
    fn actor(&self) -> &A {
        self.actor.get().expect("ractor calls pre_start before any other hook")
    }

    /// Runs a hook of a started actor and keeps the reason if it fails.
    fn guard<'a>(
        &'a self,
        mut hook: Pin<&'a mut impl Future<Output = Result<(), ActorProcessingErr>>>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> {
        self.pulse.begin();
        poll_fn(move |context| {
            let ended = match poll_caught(hook.as_mut(), context) {
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
        })
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
        let _ = self.verdict.0.cell.set(myself.get_cell());
        let start = async {
            let (actor, arguments) = (self.make)(self.epoch);
            self.actor.get_or_init(|| actor).pre_start(myself, arguments).await
        };
        let mut start = pin!(start);
        let (fault, error) = match poll_fn(|context| poll_caught(start.as_mut(), context)).await {
            Ok(Ok(state)) => return Ok(state),
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

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.guard(pin!(self.actor().post_start(myself, state))).await
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.guard(pin!(self.actor().post_stop(myself, state))).await?;
        self.verdict.set(Exit::Normal);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(pin!(self.actor().handle(myself, message, state))).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        message: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(pin!(self.actor().handle_supervisor_evt(myself, message, state))).await
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
