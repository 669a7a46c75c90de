//! The actor: replay, decide, evolve, hand over, and the timer.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use journal::codec::{self, Body};
use journal::envelope;
use journal::{APPEND_RECORDS_MAX, Append, AppendError, Durable, Entry, Opened};
use kernel::{CommandId, Context, Digest, Epoch, Kin, Machine, Outcome, Position, Principal, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::Unrecoverable;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::Error;
use crate::ahead::Ahead;
use crate::handle::{Order, Permit, Ports};
use crate::memory::Memory;
use crate::outcomes::Seen;
use crate::owned::{OwnedWork, off_the_workers};
use crate::replica::{Replica, said};

/// Records between two pauses of replay, in which others get their turn: some milliseconds' work.
const PAUSE_EVERY: u64 = 8_192;

type Look<M> = Box<dyn FnOnce(&Replica<M>) -> Box<dyn FnOnce() + Send> + Send>;

/// What a host is told. Only a handle makes one.
pub(crate) enum Msg<M: Machine> {
    Execute(Box<Request<M>>),
    Inspect(Look<M>),
    /// Where the answer to a command lies, if one was given; runs nothing.
    Recall {
        id: CommandId,
        digest: Digest,
        reply: oneshot::Sender<Option<Position>>,
    },
    /// The machine's deadline has come.
    Due,
    /// An append of this incarnation failed.
    Lost(AppendError),
}

pub(crate) struct Request<M: Machine> {
    pub(crate) order: Order<M::Command>,
    pub(crate) digest: Digest,
    pub(crate) reply: oneshot::Sender<Result<Given<M>, Error>>,
    pub(crate) permit: Permit<M>,
}

pub(crate) enum Given<M: Machine> {
    First {
        outcome: Result<M::Reply, M::Refusal>,
        at: Durable,
    },
    /// The answer lies beside the record at this version.
    Repeat {
        version: Position,
    },
}

/// Hosts a machine; all its state is in [`Running`], made anew by each start.
pub(crate) struct Host<M>(PhantomData<fn() -> M>);

impl<M> Default for Host<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// One incarnation: the machine, ahead of the disk, and what it needs to stay one.
pub(crate) struct Running<M: Machine> {
    /// Durable or not.
    memory: Memory<M>,
    ports: Arc<Ports<M>>,
    epoch: Epoch,
    /// The latest that was read or recorded: what was forgotten by it must not become young again.
    time: Timestamp,
    timer: Option<Timer>,
    /// The snapshot that is being made, or was.
    keeping: Option<OwnedWork>,
    myself: ActorRef<Msg<M>>,
}

impl<M: Machine> Actor for Host<M> {
    type Msg = Msg<M>;
    type State = Running<M>;
    type Arguments = Arc<Ports<M>>;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg<M>>,
        ports: Arc<Ports<M>>,
    ) -> Result<Running<M>, ActorProcessingErr> {
        let (mut running, to) = Running::open(myself, ports).await?;
        running.replay(to).await?;
        running.arm(DUE_AGAIN_MIN_MS);
        Ok(running)
    }

    /// `Err` is a fault: it ends the incarnation and wakes the supervisor. A refusal is an answer.
    async fn handle(
        &self,
        _myself: ActorRef<Msg<M>>,
        msg: Msg<M>,
        running: &mut Running<M>,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Execute(request) => running.execute(*request)?,
            Msg::Inspect(look) => {
                let release = look(&running.memory.state);
                running.when_durable(running.memory.state.version, move |durable| {
                    // Not released: the asker's channel closes, which says that the outcome is unknown.
                    if durable.is_ok() {
                        release();
                    }
                });
            }
            Msg::Recall { id, digest, reply } => {
                let seen =
                    running.memory.outcomes.get(id).filter(|seen| seen.digest == digest).map(|seen| seen.version);
                running.when_durable(seen.unwrap_or_default(), move |durable| {
                    if durable.is_ok() {
                        let _ = reply.send(seen);
                    }
                });
                return Ok(());
            }
            Msg::Due => {
                running.timer = None;
                let again = if running.tick()? { DUE_AGAIN_MIN_MS } else { DUE_AGAIN_IDLE_MS };
                running.arm(again);
                return Ok(());
            }
            Msg::Lost(error) => return Err(format!("an append failed: {error}").into()),
        }
        running.arm(DUE_AGAIN_MIN_MS);
        running.keep_up();
        Ok(())
    }

    /// After an orderly stop the next start has nothing to replay. A state that may be wrong never comes here.
    async fn post_stop(&self, _myself: ActorRef<Msg<M>>, running: &mut Running<M>) -> Result<(), ActorProcessingErr> {
        running.keeping = None;
        let version = running.memory.state.version;
        if !running.ports.keeping.is_behind(version) {
            return Ok(());
        }
        let (tell, told) = oneshot::channel();
        running.when_durable(version, move |durable| {
            let _ = tell.send(durable);
        });
        match told.await {
            Ok(Ok(())) => running.keep().await,
            // The next start replays.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

impl<M: Machine> Running<M> {
    /// Opening is an append: it fences the incarnation before, and says up to where to replay.
    async fn open(myself: ActorRef<Msg<M>>, ports: Arc<Ports<M>>) -> Result<(Self, Position), ActorProcessingErr> {
        let (tell, told) = oneshot::channel();
        let then = Box::new(move |opened| {
            let _ = tell.send(opened);
        });
        let principal = Principal::internal("host");
        ports.journal.queue(Entry::Open { stream: M::NAME, principal, time: ports.clock.now(), then });
        let Opened { epoch, version, time } = told.await??;
        ports.clock.not_before(time);
        let memory = Memory::new(ports.limits);
        Ok((Self { memory, ports, epoch, time, timer: None, keeping: None, myself }, version))
    }

    /// Reads back the last good snapshot and all records after it. The view goes on from where it stands: it has seen durable
    /// facts only, so it is never wrong, and whoever reads it meanwhile must not find less than was acknowledged.
    async fn replay(&mut self, to: Position) -> Result<(), ActorProcessingErr> {
        let shown = Position(self.ports.durable.load(Ordering::Acquire));
        if let (Some(view), Position(0)) = (&self.ports.view, shown) {
            view.reset();
        }
        if self.ports.keeping.is_on() {
            self.restore(shown, to).await?;
        }
        let mut next = Position(self.memory.state.version.0 + 1);
        let mut pause = Position(next.0 + PAUSE_EVERY);
        let mut ahead = Ahead::read(&self.ports.journal, M::NAME, next, to);
        while next <= to {
            let records = ahead.next().await.map_err(|error| {
                if error.is_damage() {
                    Unrecoverable(error.to_string()).into()
                } else {
                    ActorProcessingErr::from(error)
                }
            })?;
            for record in &records {
                let event = self.memory.relive(record).map_err(|unreadable| Unrecoverable(unreadable.to_string()))?;
                if shown < record.version {
                    if let (Some(view), Some(event)) = (&self.ports.view, &event) {
                        view.apply(event, record.version);
                    }
                    self.ports.durable.store(record.version.0, Ordering::Release);
                }
            }
            if records.is_empty() {
                let what = format!("{} has no record of version {next}; see `sop audit verify`", M::NAME);
                return Err(Unrecoverable(what).into());
            }
            next.0 += records.len() as u64;
            // Not after each: on a busy machine every pause may cost more than what was read.
            if pause <= next {
                pause = Position(next.0 + PAUSE_EVERY);
                tokio::task::yield_now().await;
            }
        }
        if let Some(view) = &self.ports.view {
            view.caught_up();
        }
        let now = self.now();
        self.memory.outcomes.forget(now);
        if self.ports.keeping.is_due(to) {
            self.keep().await?;
        }
        Ok(())
    }

    /// Takes up what the last good snapshot remembers, if there is one.
    async fn restore(&mut self, shown: Position, to: Position) -> Result<(), ActorProcessingErr> {
        let ports = self.ports.clone();
        let loaded = off_the_workers(move || Memory::load(&ports.journal, ports.limits, to)).await?;
        // If the journal cannot tell what is good, replay will say so.
        let Ok(Some((memory, bytes))) = loaded else { return Ok(()) };
        let version = memory.state.version;
        if shown < version {
            if let Some(view) = &self.ports.view {
                view.restore(&memory.state.machine, version);
            }
            self.ports.durable.store(version.0, Ordering::Release);
        }
        self.ports.keeping.has(version, bytes);
        self.memory = memory;
        Ok(())
    }

    /// Makes a snapshot of what is remembered, which must be durable, while nobody is served.
    async fn keep(&mut self) -> Result<(), ActorProcessingErr> {
        let memory = std::mem::replace(&mut self.memory, Memory::new(self.ports.limits));
        let ports = self.ports.clone();
        let kept = off_the_workers(move || {
            ports.keeping.keep(&ports.journal, &memory);
            memory
        });
        self.memory = kept.await?;
        Ok(())
    }

    /// Has a snapshot made, if one is due and none is being made.
    fn keep_up(&mut self) {
        let durable = Position(self.ports.durable.load(Ordering::Acquire));
        let is_making = |work: &OwnedWork| !work.is_done();
        let keeping = &self.ports.keeping;
        if keeping.is_due(durable) && !self.keeping.as_ref().is_some_and(is_making) && !keeping.rests(Instant::now()) {
            let ports = self.ports.clone();
            self.keeping = Some(OwnedWork::begin(move |gone| {
                ports.keeping.follow::<M>(&ports.journal, ports.limits, durable, gone);
            }));
        }
    }

    /// The time, which never goes back while this incarnation lives.
    fn now(&mut self) -> Timestamp {
        self.time = self.ports.clock.now().max(self.time);
        self.time
    }

    fn execute(&mut self, request: Request<M>) -> Result<(), ActorProcessingErr> {
        let Request { order, digest, reply, permit } = request;
        let now = self.now();
        // A permit ends before its caller hears of it, who may ask for the next one at once.
        let answer = move |given| {
            drop(permit);
            // The caller may have stopped waiting, as is its right.
            let _ = reply.send(given);
        };
        if let Some(seen) = self.memory.outcomes.get(order.command_id) {
            let given =
                if seen.digest == digest { Ok(Given::Repeat { version: seen.version }) } else { Err(Error::IdTaken) };
            self.when_durable(seen.version, move |durable| answer(durable.map_err(lost::<M>).and(given)));
            return Ok(());
        }
        let internal = order.principal.kin == Kin::Internal;
        let admitted = self.memory.outcomes.admit(M::NAME, order.command_id, internal, now).and_then(|()| {
            self.ports.journal.writable()?;
            let why = "it made the machine panic before".to_owned();
            if self.is_poison(digest) { Err(Error::Fault { name: M::NAME, why }) } else { Ok(()) }
        });
        if let Err(error) = admitted {
            // Rests on no version of the machine.
            answer(Err(error));
            return Ok(());
        }
        match self.decide(&order, digest, now) {
            Ok(Decided { outcome, events, bodies, answer: kept }) => {
                self.append(order, digest, now, events, bodies, kept, move |stored| {
                    answer(stored.map(|at| Given::First { outcome, at }).map_err(lost::<M>));
                });
                Ok(())
            }
            Err(why) => {
                answer(Err(Error::Fault { name: M::NAME, why: why.clone() }));
                Err(why.into())
            }
        }
    }

    fn is_poison(&self, digest: Digest) -> bool {
        self.ports.poison.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest)
    }

    /// As [`Running::try_to_decide`]; what made the machine fail is remembered beyond this incarnation.
    fn decide(&mut self, order: &Order<M::Command>, digest: Digest, now: Timestamp) -> Result<Decided<M>, String> {
        self.try_to_decide(order, digest, now).inspect_err(|why| {
            tracing::error!(code = "host.fault", machine = M::NAME, command = %order.command_id, why);
            self.ports.poison.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        })
    }

    /// Decides and evolves, or says why the machine cannot: then it may be half evolved and must not live on.
    fn try_to_decide(
        &mut self,
        order: &Order<M::Command>,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Decided<M>, String> {
        let context = Context {
            now,
            command_id: order.command_id,
            principal: order.principal.clone(),
            decision: order.decision.clone(),
        };
        let machine = &mut self.memory.state.machine;
        let version = self.memory.state.version;
        let decided = catch_unwind(AssertUnwindSafe(|| {
            let (events, outcome) = match machine.decide(&order.command, &context) {
                Ok(Outcome { events, reply }) => (events, Ok(reply)),
                Err(refusal) => (Vec::new(), Err(refusal)),
            };
            for (at, event) in (version.0 + 1..).zip(&events) {
                machine.evolve(event, Position(at));
            }
            (events, outcome)
        }));
        let (events, outcome) = decided.map_err(|panic| said(&*panic))?;
        if APPEND_RECORDS_MAX < events.len() {
            return Err(format!("a command made {} facts, over the limit of {APPEND_RECORDS_MAX}", events.len()));
        }
        let bodies =
            events.iter().map(codec::write).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let answer = match &outcome {
            Ok(reply) => serde_json::to_vec(reply).map(envelope::Answer::Reply),
            Err(refusal) => serde_json::to_vec(refusal).map(envelope::Answer::Refusal),
        };
        let answer = answer.map_err(|error| error.to_string())?;
        if let envelope::Answer::Reply(json) | envelope::Answer::Refusal(json) = &answer
            && envelope::ANSWER_BYTES_MAX < json.len()
        {
            return Err(format!("the answer has {} bytes", json.len()));
        }
        let seen = Seen { digest, version: Position(self.memory.state.version.0 + 1) };
        self.memory.outcomes.note(order.command_id, seen, now);
        Ok(Decided { outcome, events, bodies, answer })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one append, from one place")]
    fn append(
        &mut self,
        order: Order<M::Command>,
        digest: Digest,
        now: Timestamp,
        events: Vec<M::Event>,
        bodies: Vec<Body>,
        answer: envelope::Answer,
        tell: impl FnOnce(Result<Durable, AppendError>) + Send + 'static,
    ) {
        let expected = self.memory.state.version;
        self.memory.state.version.0 += bodies.len().max(1) as u64;
        let (ports, myself) = (self.ports.clone(), self.myself.clone());
        let then = Box::new(move |stored: Result<Durable, AppendError>| {
            match &stored {
                Ok(at) => {
                    if let Some(view) = &ports.view {
                        for (version, event) in (expected.0 + 1..).zip(&events) {
                            view.apply(event, Position(version));
                        }
                    }
                    ports.durable.store(at.version.0, Ordering::Release);
                }
                Err(error) => {
                    // If the actor is gone already, so is the incarnation that must end.
                    let _ = myself.send_message(Msg::Lost(error.clone()));
                }
            }
            tell(stored);
        });
        self.ports.journal.queue(Entry::Append(Box::new(Append {
            stream: M::NAME,
            epoch: self.epoch,
            expected,
            time: now,
            principal: order.principal,
            decision: order.decision,
            command_id: order.command_id,
            command_digest: digest,
            cause: order.cause,
            asked: order.asked,
            answer,
            bodies,
            then,
        })));
    }

    /// Tells when `version` is durable: now, if it is already.
    fn when_durable(&self, version: Position, tell: impl FnOnce(Result<(), AppendError>) + Send + 'static) {
        if version.0 <= self.ports.durable.load(Ordering::Acquire) {
            tell(Ok(()));
        } else {
            let then = Box::new(tell);
            self.ports.journal.queue(Entry::Barrier { stream: M::NAME, epoch: self.epoch, version, then });
        }
    }

    /// The clock asks. Its commands go the same way as anybody's, without a waiter. Answers whether it had one to run.
    fn tick(&mut self) -> Result<bool, ActorProcessingErr> {
        let now = self.now();
        if self.memory.state.machine.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(false);
        }
        // With a full disk the bookkeeping waits; validity never rests on it.
        let (Some(command), Ok(())) = (self.memory.state.machine.due(now), self.ports.journal.writable()) else {
            return Ok(false);
        };
        let digest = crate::Handle::<M>::digest(&command)?;
        if self.is_poison(digest) {
            return Ok(false);
        }
        let id = format!("clock {} {} {}", M::NAME, self.epoch, self.memory.state.version);
        let order = Order {
            command,
            command_id: CommandId::derived(Digest(*blake3::hash(id.as_bytes()).as_bytes())),
            principal: Principal::internal("clock"),
            decision: kernel::Decision::default(),
            cause: None,
            asked: None,
        };
        let Decided { events, bodies, answer, .. } = self.decide(&order, digest, now)?;
        self.append(order, digest, now, events, bodies, answer, |_| {});
        Ok(true)
    }

    /// Sets the one timer to the machine's deadline, but not nearer than `least` milliseconds.
    fn arm(&mut self, least: u64) {
        let Some(deadline) = self.memory.state.machine.deadline() else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.at <= deadline) {
            return;
        }
        let wait = deadline - self.ports.clock.now();
        let wait = Duration::from_millis(wait.0.clamp(least, DUE_AGAIN_MAX_MS));
        self.timer = Some(Timer { at: deadline, task: self.myself.send_after(wait, || Msg::Due).abort_handle() });
    }
}

/// Set for `at`; ends unheard when it is dropped, so that there is never a second one.
struct Timer {
    at: Timestamp,
    task: AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Deadlines that lie close together are done together.
const DUE_AGAIN_MIN_MS: u64 = 20;
/// A due clock that could do nothing (full disk, clock set back) must not spin.
const DUE_AGAIN_IDLE_MS: u64 = 1_000;
/// A timer that waits for months must still notice that the wall clock was set forward.
const DUE_AGAIN_MAX_MS: u64 = 60_000;

struct Decided<M: Machine> {
    outcome: Result<M::Reply, M::Refusal>,
    events: Vec<M::Event>,
    bodies: Vec<Body>,
    answer: envelope::Answer,
}

/// A fenced append has certainly not run; any other failure leaves it open.
fn lost<M: Machine>(error: AppendError) -> Error {
    match error {
        AppendError::Fenced | AppendError::Unavailable => Error::Down { name: M::NAME },
        AppendError::Unknown { why } => Error::Unknown { name: M::NAME, why },
    }
}
