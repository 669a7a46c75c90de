//! What others hold of a hosted machine: a cheap, stable handle with async methods. The mailbox stays private.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use journal::store::StoreError;
use journal::{Durable, Journal, codec, envelope};
use kernel::{Asked, CommandId, Decision, Digest, Machine, Position, Principal, Sequence};
use supervisors::{Child, ChildRef};
use tokio::sync::oneshot;

use crate::actor::{Given, Host, Msg, Request};
use crate::memory::{Keeping, Standing};
use crate::replica::Replica;
use crate::{Clock, Error};

/// What bounds a host.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands outstanding at once; ractor's mailboxes have no bound of their own.
    pub permits: usize,
    /// Outcomes kept for repeats; about 100 bytes each.
    pub outcomes: usize,
    /// Events between two snapshots; zero for no snapshots at all.
    pub snapshot_every: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { permits: 4_096, outcomes: 1_000_000, snapshot_every: 10_000 }
    }
}

/// A command with everything it is judged and recorded by.
#[derive(Clone, Debug)]
pub struct Order<C> {
    pub command: C,
    pub command_id: CommandId,
    pub principal: Principal,
    pub decision: Decision,
    /// The record whose route or worker asks.
    pub cause: Option<Sequence>,
    /// What was asked at the door; nothing by the authority's own parts.
    pub asked: Option<Box<Asked>>,
}

/// The first outcome of a command, durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<M: Machine> {
    pub outcome: Result<M::Reply, M::Refusal>,
    /// Where its records lie.
    pub first: Sequence,
    pub last: Sequence,
    /// It had been answered before.
    pub repeated: bool,
}

/// A read view that follows a machine's durable facts. Called on the journal's thread: must be quick and must not block.
pub trait View<M: Machine>: Send + Sync + 'static {
    /// The facts are told from the beginning: once, when the machine first starts in this process. A restart goes on.
    fn reset(&self);
    /// What the facts up to `at` came to: told in their place. The view may have seen some of them.
    fn restore(&self, machine: &M, at: Position);
    fn apply(&self, event: &M::Event, at: Position);
    /// All that was durable when an incarnation started was told. Until the first time, what the view shows is a beginning.
    fn caught_up(&self) {}
}

/// The stable handle of a hosted machine.
pub struct Handle<M: Machine> {
    pub(crate) reference: ChildRef<Msg<M>>,
    pub(crate) ports: Arc<Ports<M>>,
}

impl<M: Machine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { reference: self.reference.clone(), ports: self.ports.clone() }
    }
}

/// What every incarnation of a host uses, and what outlives each.
pub(crate) struct Ports<M: Machine> {
    pub journal: Journal,
    pub clock: Clock,
    pub limits: Limits,
    pub view: Option<Arc<dyn View<M>>>,
    /// The version up to which the stream is durable.
    pub durable: AtomicU64,
    pub keeping: Keeping,
    outstanding: AtomicUsize,
    /// Commands that were one too many.
    overloads: AtomicU64,
    /// Contents that made the machine panic, in this process.
    pub poison: Mutex<BTreeSet<Digest>>,
}

/// Counts one outstanding command for as long as it lives.
pub(crate) struct Permit<M: Machine>(Arc<Ports<M>>);

impl<M: Machine> Drop for Permit<M> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer to come.
type Told<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The handle of some machine, for whoever has to do with all of them.
pub trait Hosted: Send + Sync {
    fn name(&self) -> &'static str;

    /// As [`Handle::outstanding`].
    fn outstanding(&self) -> usize;

    /// As [`Handle::limit`].
    fn limit(&self) -> usize;

    /// As [`Handle::overloads`].
    fn overloads(&self) -> u64;

    /// As [`Handle::poisoned`].
    fn poisoned(&self) -> usize;

    /// As [`Handle::snapshots`].
    fn snapshots(&self) -> Standing;

    /// As [`Handle::digest_of_state`].
    fn digest_of_state(&self) -> Told<'_, Result<(Position, Digest), Error>>;
}

impl<M: Machine> Hosted for Handle<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn outstanding(&self) -> usize {
        self.outstanding()
    }

    fn limit(&self) -> usize {
        self.limit()
    }

    fn overloads(&self) -> u64 {
        self.overloads()
    }

    fn poisoned(&self) -> usize {
        self.poisoned()
    }

    fn snapshots(&self) -> Standing {
        self.snapshots()
    }

    fn digest_of_state(&self) -> Told<'_, Result<(Position, Digest), Error>> {
        Box::pin(self.digest_of_state())
    }
}

impl<M: Machine> Handle<M> {
    pub fn new(journal: &Journal, clock: &Clock, limits: Limits, view: Option<Arc<dyn View<M>>>) -> Self {
        let ports = Ports {
            journal: journal.clone(),
            clock: clock.clone(),
            limits,
            view,
            durable: AtomicU64::new(0),
            keeping: Keeping::new(limits.snapshot_every),
            outstanding: AtomicUsize::new(0),
            overloads: AtomicU64::new(0),
            poison: Mutex::default(),
        };
        Self { reference: ChildRef::new(M::NAME), ports: Arc::new(ports) }
    }

    /// The child to put into the tree.
    pub fn child(&self) -> Child {
        let ports = self.ports.clone();
        // A replay computes for long.
        Child::actor::<Host<M>, _>(&self.reference, move || (Host::default(), ports.clone())).starts_apart()
    }

    pub fn is_up(&self) -> bool {
        self.reference.is_up()
    }

    /// Waits until an incarnation has replayed and takes commands.
    pub async fn up(&self) {
        self.reference.up().await;
    }

    /// Commands that are outstanding now.
    pub fn outstanding(&self) -> usize {
        self.ports.outstanding.load(Ordering::Relaxed)
    }

    /// Commands that may be outstanding at once.
    pub fn limit(&self) -> usize {
        self.ports.limits.permits
    }

    /// Commands that were refused because as many were outstanding as may be, in this process.
    pub fn overloads(&self) -> u64 {
        self.ports.overloads.load(Ordering::Relaxed)
    }

    /// How its snapshots stand.
    pub fn snapshots(&self) -> Standing {
        self.ports.keeping.standing()
    }

    /// How many contents are refused because they made the machine fail, in this process.
    pub fn poisoned(&self) -> usize {
        self.ports.poison.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The version of the stream that is durable: what a view has seen.
    pub fn durable(&self) -> Position {
        Position(self.ports.durable.load(Ordering::Acquire))
    }

    /// The digest under which a repeat of `command` is recognised.
    ///
    /// # Errors
    /// [`Error::Fault`] for a command that cannot be written down.
    pub fn digest(command: &M::Command) -> Result<Digest, Error> {
        codec::digest(M::NAME, command).map_err(|error| Error::Fault { name: M::NAME, why: error.to_string() })
    }

    /// Runs a command, once for its id, and answers when the outcome is durable.
    ///
    /// # Errors
    /// [`Error`]; a refusal of the machine is an answer, not an error.
    pub async fn execute(&self, order: Order<M::Command>) -> Result<Answer<M>, Error> {
        let permit = self.permit()?;
        let digest = Self::digest(&order.command)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { order, digest, reply, permit };
        let down = || Error::Down { name: M::NAME };
        self.reference.cast(Msg::Execute(Box::new(request))).map_err(|_| down())?;
        let lost = || Error::Unknown { name: M::NAME, why: "it was restarted".into() };
        match answer.await.map_err(|_| lost())?? {
            Given::First { outcome, at: Durable { first, last, .. } } => {
                Ok(Answer { outcome, first, last, repeated: false })
            }
            Given::Repeat { version } => self.recall(version).map(|(_, answer)| answer),
        }
    }

    /// The first outcome of a command that was run under `id`, if it was `principal` who had it run; runs nothing.
    ///
    /// # Errors
    /// [`Error`], if it cannot be known now.
    pub async fn recall_first(
        &self,
        id: CommandId,
        digest: Digest,
        principal: &Principal,
    ) -> Result<Option<Answer<M>>, Error> {
        let (reply, answer) = oneshot::channel();
        let recall = Msg::Recall { id, digest, reply };
        self.reference.cast(recall).map_err(|_| Error::Down { name: M::NAME })?;
        let version = answer.await.map_err(|_| Error::Unknown { name: M::NAME, why: "it was restarted".into() })?;
        let Some(version) = version else { return Ok(None) };
        let (by, answer) = self.recall(version)?;
        Ok((by == principal.to_string()).then_some(answer))
    }

    /// Looks at the state between two commands; answers when what was seen is durable.
    ///
    /// # Errors
    /// [`Error::Down`] or [`Error::Unknown`].
    pub async fn inspect<R: Send + 'static>(&self, look: impl FnOnce(&M) -> R + Send + 'static) -> Result<R, Error> {
        self.look(|state| look(&state.machine)).await
    }

    /// The digest of the state, durable, and the version that it is of: what any other copy of the state at that version
    /// has too. The machine does nothing else meanwhile.
    ///
    /// # Errors
    /// [`Error::Down`] or [`Error::Unknown`]; [`Error::Fault`] for a state that cannot be written down.
    pub async fn digest_of_state(&self) -> Result<(Position, Digest), Error> {
        let digest = self.look(Replica::digest).await?;
        digest.map_err(|error| Error::Fault { name: M::NAME, why: error.to_string() })
    }

    async fn look<R: Send + 'static>(&self, look: impl FnOnce(&Replica<M>) -> R + Send + 'static) -> Result<R, Error> {
        let (reply, answer) = oneshot::channel();
        let inspect = Msg::Inspect(Box::new(move |state: &Replica<M>| {
            let seen = look(state);
            Box::new(move || {
                // The asker may have stopped waiting, as is its right.
                let _ = reply.send(seen);
            })
        }));
        self.reference.cast(inspect).map_err(|_| Error::Down { name: M::NAME })?;
        answer.await.map_err(|_| Error::Unknown { name: M::NAME, why: "it was restarted".into() })
    }

    fn permit(&self) -> Result<Permit<M>, Error> {
        let limit = self.ports.limits.permits;
        let before = self.ports.outstanding.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.ports.clone());
        if before < limit {
            return Ok(permit);
        }
        self.ports.overloads.fetch_add(1, Ordering::Relaxed);
        Err(Error::Overloaded { name: M::NAME, limit })
    }

    /// The answer that lies beside the record at `version`, and whose command it was.
    fn recall(&self, version: Position) -> Result<(String, Answer<M>), Error> {
        let unreadable = |why: String| Error::AnswerLost { why };
        let records = self.ports.journal.read_stream(M::NAME, version, version, 1);
        let records = records.map_err(|error| match error {
            StoreError::Closed => Error::Down { name: M::NAME },
            error => unreadable(error.to_string()),
        });
        let record = records?.pop();
        let record = record.ok_or_else(|| unreadable(format!("version {version} is not there")))?;
        let outcome = match &record.answer {
            envelope::Answer::Reply(json) => serde_json::from_slice(json).map(Ok),
            envelope::Answer::Refusal(json) => serde_json::from_slice(json).map(Err),
            envelope::Answer::None => return Err(unreadable("the record holds none".into())),
        };
        let outcome = outcome.map_err(|error| unreadable(error.to_string()))?;
        let last = Sequence(record.sequence.0 + u64::from(record.count.max(1)) - 1);
        Ok((record.principal, Answer { outcome, first: record.sequence, last, repeated: true }))
    }
}
