//! Routes: facts of one machine become commands of another.
//!
//! A route follows the source's stream in the journal and asks the target, one fact after the other, each durable before
//! the next. The command's id is hash(route, source sequence), so a repeat does nothing; the cursor is the highest cause
//! that the target's own stream names for this route, so there is nothing else to keep.
//!
//! # Invariants
//! 1. Every fact that translates is asked exactly once, in order, however often the route is killed.
//! 2. A refusal is an answer: it is recorded by the target, and the route goes on.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::Duration;

use host::{Error, Handle, Order};
use journal::Journal;
use journal::codec;
use journal::envelope::Record;
use journal::store::StoreError;
use kernel::{CommandId, Decision, Digest, Machine, Position, Principal, Refuse as _, Sequence};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef, Unrecoverable};

use crate::wake::{Wake, Waker};

/// From whom to whom, and what is made of a fact.
pub struct Route<S: Machine, T: Machine> {
    /// Names the actor `route.<name>` and, in the journal, the principal `internal/route.<name>`. Never renamed.
    pub name: &'static str,
    /// From a fact, and the record that it stands in.
    pub translate: fn(&S::Event, &Record) -> Option<T::Command>,
    pub target: Handle<T>,
    pub journal: Journal,
}

impl<S: Machine, T: Machine> Clone for Route<S, T> {
    fn clone(&self) -> Self {
        Self { name: self.name, translate: self.translate, target: self.target.clone(), journal: self.journal.clone() }
    }
}

impl<S: Machine, T: Machine> Route<S, T> {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new(format!("route.{}", self.name));
        Child::actor::<Follow<S, T>, _>(&reference, move || (Follow(PhantomData), self.clone()))
    }

    fn principal(&self) -> Principal {
        Principal::internal(&format!("route.{}", self.name))
    }

    /// What the record calls for, if anything.
    fn translate(&self, record: &Record) -> Result<Option<T::Command>, Unrecoverable> {
        let unreadable =
            |error| Unrecoverable(format!("route {} cannot read record {}: {error}", self.name, record.sequence));
        let fact = codec::fact(record).map_err(unreadable)?;
        Ok(fact.and_then(|fact| (self.translate)(&fact, record)))
    }

    async fn ask(&self, command: T::Command, cause: Sequence) -> Result<(), Error> {
        let order = Order {
            command,
            command_id: derived(self.name, cause),
            principal: self.principal(),
            decision: Decision::default(),
            cause: Some(cause),
            asked: None,
        };
        if let Err(refusal) = self.target.execute(order).await?.outcome {
            tracing::info!(code = refusal.code(), route = self.name, at = %cause, "refused: {refusal}");
        }
        Ok(())
    }

    /// The source version up to which everything was asked.
    fn cursor(&self) -> Result<Position, StoreError> {
        let principal = self.principal().to_string();
        let mut before = self.journal.stream_heads()?.get(T::NAME).map_or(0, |head| head.version.0);
        while 0 < before {
            let from = before.saturating_sub(CHUNK as u64 - 1).max(1);
            let records = self.journal.read_stream(T::NAME, Position(from), Position(before), CHUNK)?;
            let own = records.iter().rev().find(|record| record.principal == principal);
            if let Some(cause) = own.and_then(|record| record.cause) {
                let source = self.journal.read(cause, 1)?.pop().filter(|record| record.stream == S::NAME);
                let gone = || StoreError::Damaged { what: format!("the cause {cause} is no record of {}", S::NAME) };
                return Ok(source.ok_or_else(gone)?.version);
            }
            before = from - 1;
        }
        Ok(Position(0))
    }
}

/// Records read at once.
const CHUNK: usize = 256;
/// How long to wait for a target that is down or overloaded; its own back-off is longer.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

struct Follow<S, T>(PhantomData<fn() -> (S, T)>);

struct Following<S: Machine, T: Machine> {
    route: Route<S, T>,
    /// The source version up to which everything was asked.
    cursor: Position,
    /// What was read and comes next, in order.
    ahead: VecDeque<Record>,
    waker: Waker,
}

impl<S: Machine, T: Machine> Actor for Follow<S, T> {
    type Msg = Wake;
    type State = Following<S, T>;
    type Arguments = Route<S, T>;

    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        route: Route<S, T>,
    ) -> Result<Following<S, T>, ActorProcessingErr> {
        let cursor = route.cursor()?;
        let waker = Waker::new(route.journal.moved(S::NAME), myself);
        Ok(Following { route, cursor, ahead: VecDeque::new(), waker })
    }

    /// Asks one thing and comes back for the next: a route that is behind must still hear that it is to stop.
    async fn handle(
        &self,
        myself: ActorRef<Wake>,
        _: Wake,
        following: &mut Following<S, T>,
    ) -> Result<(), ActorProcessingErr> {
        let Following { route, cursor, ahead, waker } = following;
        waker.heard();
        if ahead.is_empty() {
            let next = Position(cursor.0 + 1);
            match route.journal.read_stream(S::NAME, next, Position(u64::MAX), CHUNK) {
                Ok(records) => ahead.extend(records),
                // Everything is about to be restarted; nobody is to be charged for having noticed first.
                Err(StoreError::Closed) => {
                    myself.send_after(AGAIN_AFTER, || Wake);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        while let Some(record) = ahead.front() {
            let command = route.translate(record)?;
            let asks = command.is_some();
            if let Some(command) = command
                && let Err(error) = route.ask(command, record.sequence).await
            {
                tracing::debug!(code = error.code(), route = route.name, at = %record.sequence, "will ask again");
                myself.send_after(AGAIN_AFTER, || Wake);
                return Ok(());
            }
            *cursor = record.version;
            ahead.pop_front();
            if asks || ahead.is_empty() {
                myself.send_message(Wake)?;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Equal for equal causes, so that asking again does nothing.
fn derived(route: &str, cause: Sequence) -> CommandId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"route ").update(route.as_bytes()).update(&[0]).update(&cause.0.to_be_bytes());
    CommandId::derived(Digest(*hasher.finalize().as_bytes()))
}
