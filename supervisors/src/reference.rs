//! References that outlive what they refer to.
//!
//! A [`ChildRef`] is made before its child first starts and is handed to everybody who will talk to it. The shell plugs
//! each incarnation in when it is up and unplugs it when it is told to stop, so a sender gets its message back instead
//! of losing it to a dying mailbox. What already lay in the mailbox of an incarnation that ends is lost with it: a caller
//! is told so, and nothing is ever sent twice.
//!
//! # Invariants
//! 1. The epoch of a reference never falls, and no incarnation that was told to end is plugged in.
//! 2. A message is put into one mailbox, or comes back to its sender.
//! 3. Messages that are held lie in the next mailbox before all others, in the order in which they came.

mod line;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ractor::{ActorCell, Message, RpcReplyPort};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::board::lock;
use crate::shell::{Incarnate, News};
use crate::watched::Watched;

use line::NoRoom;
pub(crate) use line::{Gate, Letter, Line};

/// What becomes of a message for a child whose bounded mailbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It comes back at once.
    Fail,
    /// Its sender waits for room, first come first served, and gets it back after this long.
    Wait(Duration),
}

/// What becomes of a message for a child that is down, in a back-off, say, or between two incarnations. When the child is
/// over for good (done, in quarantine, removed, or its tree has ended) every message comes back, also those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhileDown {
    /// It comes back at once.
    #[default]
    Fail,
    /// Its sender waits for the next incarnation, and gets it back after this long. There is no order among those who
    /// wait.
    WaitUp(Duration),
    /// So many are held for the next incarnation, which finds them in its mailbox before all others and in order. One
    /// more comes back as [`SendError::Full`].
    Hold(usize),
}

/// How a bounded mailbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many messages may lie in it, beside the one in the hands of a handler.
    pub limit: usize,
    pub waiting: usize,
    /// For how long the oldest of them has been there.
    pub oldest: Option<Duration>,
}

/// A stable reference to a child, across all its incarnations.
pub struct ChildRef<M: Message> {
    inner: Arc<Inner<M>>,
}

struct Inner<M: Message> {
    name: Arc<str>,
    standing: Watched<Standing<M>>,
    lost: AtomicU64,
    refused: AtomicU64,
}

struct Standing<M: Message> {
    /// The latest incarnation that was launched, until its end. It keeps us, and not we it.
    current: Weak<Incarnate>,
    launched: u64,
    /// The latest that came up.
    epoch: u64,
    /// The latest that was told to end.
    retired: u64,
    /// The latest that has ended.
    ended: u64,
    /// The latest that said that it is ready.
    ready: u64,
    /// Leads to the incarnation that is up.
    line: Option<Line<M>>,
    while_down: WhileDown,
    /// Never contended; it stands for messages that cannot be looked at by two at once.
    held: Mutex<VecDeque<Held<M>>>,
    tickets: u64,
    /// No other incarnation will come, unless somebody sees to it.
    is_over: bool,
}

/// A message that waits for the next incarnation. Tickets rise.
struct Held<M> {
    ticket: u64,
    msg: M,
    told: oneshot::Sender<Result<u64, SendError<M>>>,
}

/// What is to be told to the sender of a held message, outside of the lock: it may be gone, and the message with it.
type Told<M> = (oneshot::Sender<Result<u64, SendError<M>>>, Result<u64, SendError<M>>);

fn tell<M>(told: Vec<Told<M>>) {
    for (told, what) in told {
        let _ = told.send(what);
    }
}

impl<M: Message> Standing<M> {
    fn held(&mut self) -> &mut VecDeque<Held<M>> {
        self.held.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self) -> bool {
        self.line.as_ref().is_some_and(Line::is_up)
    }

    fn send(&self, msg: M) -> Result<u64, SendError<M>> {
        match &self.line {
            Some(line) => line.send(msg).map(|()| self.epoch),
            None => Err(SendError::Down(msg)),
        }
    }

    /// Hands over what was held, and returns whom to tell what. What a dying incarnation does not take is held on.
    fn release(&mut self) -> Vec<Told<M>> {
        let mut told = Vec::new();
        while let Some(held) = self.held().pop_front() {
            match self.send(held.msg) {
                Err(SendError::Down(msg)) => {
                    self.held().push_front(Held { msg, ..held });
                    break;
                }
                sent => told.push((held.told, sent)),
            }
        }
        told
    }

    fn unplug(&mut self, epoch: u64) -> bool {
        self.retired = self.retired.max(epoch);
        let line = self.line.take_if(|_| self.epoch == epoch);
        line.inspect(Line::close).is_some()
    }
}

/// Why a message was not taken. Here it is back.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// Nobody is up to take it.
    #[error("the child is down")]
    Down(M),
    /// The mailbox of the child is full, or as many messages are held as may be.
    #[error("the mailbox of the child is full")]
    Full(M),
}

impl<M> SendError<M> {
    /// The message, for another attempt.
    pub fn into_message(self) -> M {
        match self {
            Self::Down(msg) | Self::Full(msg) => msg,
        }
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down(_) => "Down",
            Self::Full(_) => "Full",
        })
    }
}

/// Why a call has no answer. The message was not sent if the child was down or full, and is not sent again in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the child is down")]
    Down,
    #[error("the mailbox of the child is full")]
    Full,
    /// The message was sent, and nothing else is known.
    #[error("the child did not answer in time")]
    Timeout,
    /// The incarnation that the message was sent to ended before it answered. Nobody knows whether it had acted on it.
    #[error("incarnation {epoch} of the child ended before it answered")]
    Restarted { epoch: u64 },
    /// The child dropped the reply, and lives on.
    #[error("the child took the call and does not answer it")]
    Unanswered,
}

impl<M> From<SendError<M>> for CallError {
    fn from(error: SendError<M>) -> Self {
        match error {
            SendError::Down(_) => Self::Down,
            SendError::Full(_) => Self::Full,
        }
    }
}

/// The half of a call that travels in the message: a channel of tokio, or ractor's port around one.
pub trait Reply {
    type Answer: Send + 'static;

    fn from_sender(sender: oneshot::Sender<Self::Answer>) -> Self;
}

impl<T: Send + 'static> Reply for oneshot::Sender<T> {
    type Answer = T;

    fn from_sender(sender: oneshot::Sender<T>) -> Self {
        sender
    }
}

impl<T: Send + 'static> Reply for RpcReplyPort<T> {
    type Answer = T;

    fn from_sender(sender: oneshot::Sender<T>) -> Self {
        sender.into()
    }
}

/// How often it is looked whether a handler that has dropped its reply has come to its end.
const PAUSE: Duration = Duration::from_millis(1);

impl<M: Message> ChildRef<M> {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let standing = Standing {
            current: Weak::new(),
            launched: 0,
            epoch: 0,
            retired: 0,
            ended: 0,
            ready: 0,
            line: None,
            while_down: WhileDown::default(),
            held: Mutex::default(),
            tickets: 0,
            is_over: false,
        };
        let standing = Watched::new(standing);
        Self {
            inner: Arc::new(Inner { name: name.into(), standing, lost: AtomicU64::new(0), refused: AtomicU64::new(0) }),
        }
    }

    /// Sends to the current incarnation, now or not at all, whatever the child's policies.
    ///
    /// # Errors
    /// [`SendError::Down`] if none is up, [`SendError::Full`] if its mailbox is. The message comes back.
    pub fn cast(&self, msg: M) -> Result<(), SendError<M>> {
        self.attempt(msg).map(drop).inspect_err(|error| self.note(error))
    }

    /// Sends as [`Child::bounded_actor`](crate::Child::bounded_actor) and [`Child::while_down`](crate::Child::while_down) have it,
    /// and returns the epoch of the incarnation in whose mailbox the message now lies. Who stops waiting before that
    /// has not sent.
    ///
    /// # Errors
    /// The message, if it was not taken in the time that the policies grant.
    pub async fn send(&self, msg: M) -> Result<u64, SendError<M>> {
        let refused = match self.attempt(msg) {
            Ok(epoch) => return Ok(epoch),
            Err(refused) => refused,
        };
        self.insist(refused, None).await.inspect_err(|error| self.note(error))
    }

    /// Sends the message that `make` makes around a reply, as [`ChildRef::send`] does, and awaits the answer; all of it
    /// within `deadline`, if there is one. Without, the call lasts at most as long as the incarnation.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use supervisors::{CallError, Child, ChildRef, Strategy, Supervisor, Tree, WhileDown};
    /// use tokio::sync::oneshot;
    ///
    /// enum Msg {
    ///     Double(u32, oneshot::Sender<u32>),
    ///     Forget(oneshot::Sender<()>),
    /// }
    /// struct Sums;
    ///
    /// impl Actor for Sums {
    ///     type Msg = Msg;
    /// #   type State = ();
    /// #   type Arguments = ();
    /// #   async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #       Ok(())
    /// #   }
    ///     async fn handle(&self, _: ActorRef<Msg>, msg: Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
    ///         match msg {
    ///             // The caller may have stopped waiting.
    ///             Msg::Double(_, reply) if reply.is_closed() => Ok(()),
    ///             Msg::Double(number, reply) => Ok(drop(reply.send(2 * number))),
    ///             Msg::Forget(_) => Err("forgot everything".into()),
    ///         }
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (sums, second) = (ChildRef::new("sums"), Duration::from_secs(1));
    /// let child = Child::actor(&sums, || (Sums, ())).while_down(WhileDown::WaitUp(second));
    /// let tree = Tree::start(Supervisor::new("sop", Strategy::OneForOne).child(child), 42).await?;
    ///
    /// assert_eq!(sums.call(|reply| Msg::Double(21, reply), second).await, Ok(42));
    /// assert_eq!(sums.call(Msg::Forget, second).await, Err(CallError::Restarted { epoch: 1 }));
    /// // Its next incarnation may not be up yet: this waits for it.
    /// assert_eq!(sums.call(|reply| Msg::Double(4, reply), second).await, Ok(8));
    /// # tree.shutdown(second).await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<R: Reply>(
        &self,
        make: impl FnOnce(R) -> M,
        deadline: impl Into<Option<Duration>>,
    ) -> Result<R::Answer, CallError> {
        let deadline = deadline.into().and_then(|deadline| Instant::now().checked_add(deadline));
        let (reply, answer) = oneshot::channel();
        let epoch = match self.attempt(make(R::from_sender(reply))) {
            Ok(epoch) => epoch,
            Err(refused) => Box::pin(self.insist(refused, deadline)).await.inspect_err(|error| self.note(error))?,
        };
        let answered = match deadline {
            Some(deadline) => timeout_at(deadline, answer).await.map_err(|_| CallError::Timeout)?,
            None => answer.await,
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(_) => Err(Box::pin(self.fate(epoch, deadline)).await),
        }
    }

    /// The epoch of the latest incarnation that came up; 0 = never started.
    pub fn epoch(&self) -> u64 {
        self.inner.standing.read().epoch
    }

    pub fn is_up(&self) -> bool {
        self.inner.standing.read().is_up()
    }

    /// Waits until an incarnation is up.
    pub async fn up(&self) {
        self.up_after(0).await;
    }

    /// Waits until an incarnation later than `epoch` is up, and returns its epoch. This is how to await a restart.
    pub async fn up_after(&self, epoch: u64) -> u64 {
        let later = |standing: &Standing<M>| (standing.epoch > epoch && standing.is_up()).then_some(standing.epoch);
        self.inner.standing.find(later).await
    }

    /// Waits until incarnation `epoch` has ended, with its task completed, or failed to come up.
    pub async fn wait_end(&self, epoch: u64) {
        self.reached(|standing| standing.ended >= epoch).await;
    }

    /// Ends incarnation `epoch` as if it had stopped itself: after what it is doing, and as [`Exit::Normal`]. Its
    /// supervisor decides what follows. Does nothing and returns false if another is up by now, or none.
    ///
    /// [`Exit::Normal`]: crate::Exit::Normal
    pub fn stop(&self, epoch: u64) -> bool {
        self.end(epoch, |line| line.cell().stop(None))
    }

    /// Kills incarnation `epoch` at its next await. Its supervisor decides what follows. Does nothing and returns false
    /// if another is up by now, or none.
    pub fn kill(&self, epoch: u64) -> bool {
        self.end(epoch, |line| line.cell().kill())
    }

    /// How the bounded mailbox of the current incarnation stands; `None` if it has none, or none is up. Of unbounded
    /// mailboxes nothing is known, and nothing is spent on it: a large bound is how to look into one.
    pub fn load(&self) -> Option<Load> {
        self.inner.mailbox().0
    }

    /// How many messages lay in a bounded mailbox of this child, of whatever incarnation, when that ended.
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// How many messages were not sent because a bounded mailbox of this child had no room for them, or because as many
    /// were held as may be. One that waited for room, and found it, is not among them.
    pub fn refused(&self) -> u64 {
        self.inner.mailbox().1
    }

    /// How many messages are held for the next incarnation.
    pub fn held(&self) -> usize {
        lock(&self.inner.standing.read().held).len()
    }

    /// Incarnation `epoch` of a child that [waits for it](crate::Child::await_ready) can do its work from now on.
    pub fn ready(&self, epoch: u64) {
        self.inner.standing.update(|standing| {
            let is_news = standing.ready < epoch && epoch <= standing.launched;
            standing.ready = if is_news { epoch } else { standing.ready };
            is_news
        });
    }

    /// Incarnation `epoch` is well, whatever befell those before it: should it fail, its back-off begins anew. Budgets
    /// are not touched.
    pub fn healthy(&self, epoch: u64) {
        let current = self.inner.standing.read().current.upgrade();
        if let Some(current) = current.filter(|current| current.epoch == epoch) {
            current.herald.tell(News::Healthy);
        }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A message goes back to its sender.
    fn note(&self, error: &SendError<M>) {
        if matches!(error, SendError::Full(_)) {
            self.inner.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn attempt(&self, msg: M) -> Result<u64, SendError<M>> {
        self.inner.standing.read().send(msg)
    }

    /// Sends to incarnation `epoch`, where there is room.
    fn enter(&self, epoch: u64, msg: M) -> Result<u64, SendError<M>> {
        let standing = self.inner.standing.read();
        match &standing.line {
            Some(line) if standing.epoch == epoch => line.enter(msg).map(|()| epoch),
            _ => Err(SendError::Down(msg)),
        }
    }

    /// Goes on with what was refused, as the policies have it.
    async fn insist(&self, refused: SendError<M>, deadline: Option<Instant>) -> Result<u64, SendError<M>> {
        let by = |patience: &mut Option<Instant>, limit| {
            // A limit beyond the end of time is none.
            let now = Instant::now();
            let late = || now.checked_add(limit).unwrap_or(now + FOREVER);
            let by = *patience.get_or_insert_with(late);
            deadline.map_or(by, |deadline| deadline.min(by))
        };
        let (mut for_room, mut for_up) = (None, None);
        let mut refused = refused;
        loop {
            let (line, epoch, while_down) = {
                let standing = self.inner.standing.read();
                (standing.line.clone(), standing.epoch, standing.while_down)
            };
            let sent = match refused {
                SendError::Full(msg) => match line {
                    Some(line) => match line.gate().map(|gate| gate.when_full) {
                        Some(WhenFull::Fail) => return Err(SendError::Full(msg)),
                        Some(WhenFull::Wait(limit)) => match line.room(by(&mut for_room, limit)).await {
                            Ok(()) => self.enter(epoch, msg),
                            Err(NoRoom::Late) => return Err(SendError::Full(msg)),
                            Err(NoRoom::Closed) => Err(SendError::Down(msg)),
                        },
                        None => self.attempt(msg),
                    },
                    None => Err(SendError::Down(msg)),
                },
                SendError::Down(msg) => match while_down {
                    WhileDown::Fail => return Err(SendError::Down(msg)),
                    WhileDown::WaitUp(limit) => {
                        let up = self.reached(|standing| standing.is_over || standing.is_up());
                        if timeout_at(by(&mut for_up, limit), up).await.is_err() || self.is_over() {
                            return Err(SendError::Down(msg));
                        }
                        self.attempt(msg)
                    }
                    WhileDown::Hold(limit) => match self.hold(msg, limit) {
                        Ok(held) => return held.told(deadline).await,
                        Err(refused) => match refused {
                            Refused::Over(msg) => return Err(SendError::Down(msg)),
                            Refused::Full(msg) => return Err(SendError::Full(msg)),
                            Refused::Up(sent) => sent,
                        },
                    },
                },
            };
            match sent {
                Ok(epoch) => return Ok(epoch),
                Err(error) => refused = error,
            }
        }
    }

    /// Puts `msg` by for the next incarnation, unless one is up that takes it.
    fn hold(&self, msg: M, limit: usize) -> Result<Waiting<'_, M>, Refused<M>> {
        let (mut msg, mut answer) = (Some(msg), None);
        self.inner.standing.update(|standing| {
            let msg = msg.take().expect("this runs once");
            // Whoever is up and takes it has taken before all that was held.
            let sent = if standing.is_up() { standing.send(msg) } else { Err(SendError::Down(msg)) };
            answer = Some(match sent {
                Err(SendError::Down(msg)) if standing.is_over => Err(Refused::Over(msg)),
                Err(SendError::Down(msg)) if standing.held().len() >= limit => Err(Refused::Full(msg)),
                Err(SendError::Down(msg)) => {
                    let (told, tells) = oneshot::channel();
                    standing.tickets += 1;
                    let ticket = standing.tickets;
                    standing.held().push_back(Held { ticket, msg, told });
                    Ok(Waiting { reference: self, ticket, tells })
                }
                sent => Err(Refused::Up(sent)),
            });
            false
        });
        answer.expect("it ran")
    }

    /// What became of a call whose reply incarnation `epoch` dropped.
    async fn fate(&self, epoch: u64, deadline: Option<Instant>) -> CallError {
        loop {
            let updated = self.inner.standing.updated();
            {
                let standing = self.inner.standing.read();
                let current = standing.current.upgrade().filter(|current| current.epoch == epoch);
                let line = standing.line.as_ref().filter(|line| standing.epoch == epoch && !line.is_ending());
                match (current, line) {
                    // What dropped the reply was not a handler that may fail yet.
                    (Some(current), Some(_)) if !current.pulse.is_busy() => return CallError::Unanswered,
                    (Some(_), Some(_)) => {}
                    _ => return CallError::Restarted { epoch },
                }
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return CallError::Timeout;
            }
            let pause = deadline.map_or(PAUSE, |deadline| deadline.duration_since(Instant::now()).min(PAUSE));
            // Either way it is looked again.
            let _ = timeout(pause, updated).await;
        }
    }

    fn end(&self, epoch: u64, order: impl FnOnce(&Line<M>)) -> bool {
        let mut line = None;
        self.inner.standing.update(|standing| {
            line = standing.line.clone().filter(|_| standing.epoch == epoch);
            line.is_some() && standing.unplug(epoch)
        });
        line.as_ref().map(order).is_some()
    }

    fn is_over(&self) -> bool {
        self.inner.standing.read().is_over
    }

    async fn reached(&self, is_so: impl Fn(&Standing<M>) -> bool) {
        self.inner.reached(is_so).await;
    }

    pub(crate) fn outlet(&self) -> Arc<dyn Outlet> {
        self.inner.clone()
    }

    /// Asks incarnation `epoch` past every bound, and says whether it gave an answer. One that is not up is not asked.
    pub(crate) async fn probe<R: Reply>(&self, epoch: u64, make: impl FnOnce(R) -> M) -> bool {
        let (reply, answer) = oneshot::channel();
        let probe = make(R::from_sender(reply));
        let line = {
            let standing = self.inner.standing.read();
            standing.line.clone().filter(|_| standing.epoch == epoch)
        };
        // Who does not take it is about to end.
        line.is_none_or(|line| line.push(probe).is_err()) || answer.await.is_ok()
    }
}

/// A reference as the shell needs it, whatever the messages that go through it.
pub(crate) trait Outlet: Send + Sync {
    /// Incarnation `epoch` is about to be launched.
    fn launch(&self, epoch: u64, incarnate: Weak<Incarnate>);

    /// The latest epoch that was launched.
    fn launched(&self) -> u64;

    /// Waits until incarnation `epoch` has said that it is ready.
    fn readiness(&self, epoch: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Incarnation `epoch`, which is this actor, is up, and gets what was held for it. If it was told to end meanwhile,
    /// it gets nothing. Behind a gate, its messages are letters.
    fn plug(&self, epoch: u64, actor: &ActorCell, gate: Option<&Arc<Gate>>);

    /// Incarnation `epoch` is told to end. Does nothing to a later one.
    fn unplug(&self, epoch: u64);

    /// All of incarnation `epoch` is gone, and whatever lay in its mailbox.
    fn ended(&self, epoch: u64, gate: Option<&Gate>);

    /// An incarnation will come, sooner or later.
    fn expect(&self, while_down: WhileDown);

    /// What becomes of messages from now on.
    fn follow(&self, while_down: WhileDown);

    /// No other incarnation will come: whoever waits for one gets its message back.
    fn give_up(&self);

    /// How its bounded mailbox stands, and how many messages found no room. Asked by who looks, and not per message.
    fn mailbox(&self) -> (Option<Load>, u64);
}

impl<M: Message> Inner<M> {
    async fn reached(&self, is_so: impl Fn(&Standing<M>) -> bool) {
        self.standing.find(|standing| is_so(standing).then_some(())).await;
    }
}

impl<M: Message> Outlet for Inner<M> {
    fn mailbox(&self) -> (Option<Load>, u64) {
        (self.standing.read().line.as_ref().and_then(Line::load), self.refused.load(Ordering::Relaxed))
    }

    fn launch(&self, epoch: u64, incarnate: Weak<Incarnate>) {
        self.standing.update(|standing| {
            standing.current = incarnate;
            standing.launched = epoch;
            standing.is_over = false;
            false
        });
    }

    fn launched(&self) -> u64 {
        self.standing.read().launched
    }

    fn readiness(&self, epoch: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.reached(move |standing| standing.ready >= epoch))
    }

    fn plug(&self, epoch: u64, actor: &ActorCell, gate: Option<&Arc<Gate>>) {
        let actor = actor.clone();
        let line = match gate {
            None => Line::Open(actor.into()),
            Some(gate) => Line::Gated(actor.into(), gate.clone()),
        };
        let mut told = Vec::new();
        self.standing.update(|standing| {
            standing.epoch = epoch;
            if standing.retired < epoch {
                standing.line = Some(line);
                told = standing.release();
            }
            true
        });
        tell(told);
    }

    fn unplug(&self, epoch: u64) {
        self.standing.update(|standing| standing.unplug(epoch));
    }

    fn ended(&self, epoch: u64, gate: Option<&Gate>) {
        self.standing.update(|standing| {
            standing.unplug(epoch);
            // Nobody is sending any more.
            if let Some(lost) = gate.map(Gate::lost) {
                self.lost.fetch_add(u64::try_from(lost).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            standing.ended = epoch;
            standing.current = Weak::new();
            true
        });
    }

    fn expect(&self, while_down: WhileDown) {
        let is_so = |standing: &Standing<M>| !standing.is_over && standing.while_down == while_down;
        if is_so(&self.standing.read()) {
            return;
        }
        self.standing.update(|standing| {
            standing.is_over = false;
            standing.while_down = while_down;
            true
        });
    }

    fn follow(&self, while_down: WhileDown) {
        self.standing.update(|standing| {
            standing.while_down = while_down;
            false
        });
    }

    fn give_up(&self) {
        let mut told = Vec::new();
        self.standing.update(|standing| {
            told.extend(standing.held().drain(..).map(|held| (held.told, Err(SendError::Down(held.msg)))));
            !std::mem::replace(&mut standing.is_over, true)
        });
        tell(told);
    }
}

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_hours(24 * 365);

enum Refused<M> {
    Over(M),
    Full(M),
    /// There was no need to hold it.
    Up(Result<u64, SendError<M>>),
}

/// The sender of a message that is held. Dropping it takes the message back.
struct Waiting<'a, M: Message> {
    reference: &'a ChildRef<M>,
    ticket: u64,
    tells: oneshot::Receiver<Result<u64, SendError<M>>>,
}

impl<M: Message> Waiting<'_, M> {
    async fn told(mut self, deadline: Option<Instant>) -> Result<u64, SendError<M>> {
        let told = match deadline {
            None => (&mut self.tells).await,
            Some(deadline) => match timeout_at(deadline, &mut self.tells).await {
                Ok(told) => told,
                Err(_) => match self.take_back() {
                    Some(msg) => return Err(SendError::Down(msg)),
                    None => (&mut self.tells).await,
                },
            },
        };
        told.expect("who takes a held message away tells its sender")
    }

    fn take_back(&self) -> Option<M> {
        let mut taken = None;
        self.reference.inner.standing.update(|standing| {
            let held = standing.held();
            let place = held.binary_search_by_key(&self.ticket, |held| held.ticket);
            taken = place.ok().and_then(|place| held.remove(place));
            false
        });
        taken.map(|held| held.msg)
    }
}

impl<M: Message> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        // If it is not there any more, it has been sent or has come back.
        drop(self.take_back());
    }
}

impl<M: Message> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<M: Message> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildRef").field("name", &self.name()).field("epoch", &self.epoch()).finish()
    }
}

/// What one incarnation knows of itself, and what it can tell its supervisor.
pub struct Context<M: Message> {
    reference: ChildRef<M>,
    epoch: u64,
}

impl<M: Message> Context<M> {
    pub(crate) fn new(reference: ChildRef<M>, epoch: u64) -> Self {
        Self { reference, epoch }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The reference to the child, which leads to later incarnations as well.
    pub fn reference(&self) -> &ChildRef<M> {
        &self.reference
    }

    /// [`ChildRef::ready`] of this incarnation.
    pub fn ready(&self) {
        self.reference.ready(self.epoch);
    }

    /// [`ChildRef::stop`] of this incarnation. It handles no message after the present one, also if its mailbox is bounded.
    pub fn stop(&self) -> bool {
        self.reference.stop(self.epoch)
    }

    /// [`ChildRef::healthy`] of this incarnation.
    pub fn healthy(&self) {
        self.reference.healthy(self.epoch);
    }
}

impl<M: Message> Clone for Context<M> {
    fn clone(&self) -> Self {
        Self { reference: self.reference.clone(), epoch: self.epoch }
    }
}

impl<M: Message> fmt::Debug for Context<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("child", &self.reference.name()).field("epoch", &self.epoch).finish()
    }
}
