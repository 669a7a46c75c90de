//! Turns what is missing right now into gaps, and closes them when it is mended: quarantined children, and what the
//! [`Source`]s see.
//!
//! Compares how things stand with the open gaps: whenever supervision decided something, when something was recorded, and
//! when a source said that it will look different. So nothing depends on having heard every single fact. Who cannot be
//! asked leaves its gaps as they are.
//!
//! # Invariants
//! 1. A gap is opened when it is first seen and closed when it is no longer; in between it stays as it is.
//! 2. What changes nothing is not recorded, so the watch never wakes itself twice.
//! 3. At most [`SEEN_MAX`] gaps of one source are open at a time.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gaps::detect::{Live, SEEN_MAX, Seen};
use gaps::{Command, Filter, Gaps, Kind};
use host::{Clock, Error, Handle, Order, OwnedTask};
use journal::Journal;
use kernel::{Decision, Principal, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef, Heard, Node, NodeState, Tree, What};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::wake::{Wake, Waker};

/// Waits before asking a detector again that is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Between two looks for what is recorded: a busy authority is looked at once a second.
const REST: Duration = Duration::from_secs(1);
/// A timer that waits for days must still notice that the wall clock was set forward.
const TIMER_MAX: Duration = Duration::from_mins(1);

/// What a source sees, or that it cannot be asked now.
pub type Looking = Pin<Box<dyn Future<Output = Result<Live, Error>> + Send>>;

/// Something else that the watch looks at.
#[derive(Clone)]
pub struct Source {
    /// What it may see, and nobody else.
    pub kinds: &'static [Kind],
    pub look: Arc<dyn Fn(Timestamp) -> Looking + Send + Sync>,
}

/// What the watch works with.
#[derive(Clone)]
pub struct Watch {
    pub gaps: Handle<Gaps>,
    pub journal: Journal,
    pub clock: Clock,
    /// The tree that the watch itself is part of; there once it has started.
    pub tree: watch::Receiver<Option<Tree>>,
    pub sources: Vec<Source>,
}

impl Watch {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("watch");
        Child::actor::<Watching, _>(&reference, move || (Watching, self.clone()))
    }

    /// Brings the open gaps into line with how things stand; answers when that will change by itself.
    async fn compare(&self) -> Result<Option<Timestamp>, Error> {
        let now = self.clock.now();
        let open = Filter { state: Some(gaps::State::Open), ..Filter::default() };
        let live = move |gaps: &Gaps| {
            let live = gaps.list(&open).filter(|gap| gap.kind.is_live());
            live.map(|gap| (gap.kind, gap.path.clone())).collect::<BTreeSet<_>>()
        };
        let open = self.gaps.inspect(live).await?;
        let tree = self.tree.borrow().clone();
        if let Some(tree) = tree {
            let mut seen = Vec::new();
            collect(&tree.snapshot(), &mut seen);
            self.align(&open, &[Kind::ChildQuarantined], seen).await?;
        }
        let mut next = None;
        for source in &self.sources {
            match (source.look)(now).await {
                Ok(live) => {
                    next = next.into_iter().chain(live.next).min();
                    self.align(&open, source.kinds, live.seen).await?;
                }
                Err(error) => tracing::debug!(code = error.code(), kinds = ?source.kinds, "not looked at: {error}"),
            }
        }
        Ok(next)
    }

    /// Closes the open gaps of these kinds that are not seen, and opens those that are new.
    async fn align(&self, open: &BTreeSet<(Kind, String)>, kinds: &[Kind], seen: Vec<Seen>) -> Result<(), Error> {
        let now: BTreeSet<_> = seen.iter().map(|seen| (seen.kind, seen.subject.clone())).collect();
        let (still, gone): (Vec<_>, Vec<_>) =
            open.iter().filter(|(kind, _)| kinds.contains(kind)).partition(|one| now.contains(*one));
        for (kind, subject) in gone.into_iter().cloned() {
            self.ask(Command::Clear { kind, subject }).await?;
        }
        let new = seen.into_iter().filter(|seen| !open.contains(&(seen.kind, seen.subject.clone())));
        for Seen { kind, subject, detail } in new.take(SEEN_MAX.saturating_sub(still.len())) {
            self.ask(Command::Observe { kind, subject, detail }).await?;
        }
        Ok(())
    }

    async fn ask(&self, command: Command) -> Result<(), Error> {
        let order = Order {
            command,
            command_id: self.clock.command_id(),
            principal: Principal::internal("watch"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        if let Err(refusal) = self.gaps.execute(order).await?.outcome {
            tracing::warn!(code = kernel::Refuse::code(&refusal), "the detector refused: {refusal}");
        }
        Ok(())
    }
}

fn collect(node: &Node, quarantined: &mut Vec<Seen>) {
    if let NodeState::Quarantined { reason } = &node.state {
        let (subject, detail) = (node.path.clone(), reason.to_string());
        quarantined.push(Seen { kind: Kind::ChildQuarantined, subject, detail });
    }
    node.children.iter().for_each(|child| collect(child, quarantined));
}

struct Watching;

/// Why to look.
enum Look {
    /// Something was recorded.
    Recorded,
    /// Supervision decided something, or what was seen changes now, or the last look failed.
    Now,
    /// The last look for a record is long enough ago.
    Rested,
}

impl From<Wake> for Look {
    fn from(_: Wake) -> Self {
        Self::Recorded
    }
}

struct State {
    watch: Watch,
    waker: Waker,
    rest: Rest,
    /// For when things will look different, or to try again.
    timer: Option<Timer>,
    _ears: OwnedTask,
}

#[derive(PartialEq)]
enum Rest {
    /// The next record is looked at.
    No,
    Resting,
    /// And something was recorded meanwhile.
    Called,
}

struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for Watching {
    type Msg = Look;
    type State = State;
    type Arguments = Watch;

    async fn pre_start(&self, myself: ActorRef<Look>, watch: Watch) -> Result<State, ActorProcessingErr> {
        let waker = Waker::new(watch.journal.durable(), myself.clone());
        let mut tree = watch.tree.clone();
        let ears = OwnedTask::spawn(async move {
            let Ok(Some(tree)) = tree.wait_for(Option::is_some).await.map(|tree| tree.clone()) else { return };
            let mut events = tree.subscribe();
            let mut told = myself.send_message(Look::Now);
            while let (Ok(()), Some(heard)) = (&told, events.next().await) {
                // A decision about the gap detector or about us would otherwise call for the next one.
                let matters = match heard {
                    Heard::Decision(decision) => match decision.what {
                        What::Started | What::Released | What::Removed => true,
                        what => what.is_alert(),
                    },
                    Heard::Missed(_) => true,
                };
                if matters {
                    told = myself.send_message(Look::Now);
                }
            }
        });
        Ok(State { watch, waker, rest: Rest::No, timer: None, _ears: ears })
    }

    async fn handle(&self, myself: ActorRef<Look>, look: Look, state: &mut State) -> Result<(), ActorProcessingErr> {
        let for_a_record = match look {
            Look::Now => false,
            Look::Recorded if state.rest == Rest::No => true,
            Look::Recorded => {
                // Not heard yet, so that no more of them arrive.
                state.rest = Rest::Called;
                return Ok(());
            }
            Look::Rested => std::mem::replace(&mut state.rest, Rest::No) == Rest::Called,
        };
        if for_a_record {
            state.waker.heard();
            state.rest = Rest::Resting;
            myself.send_after(REST, || Look::Rested);
        } else if matches!(look, Look::Rested) {
            return Ok(());
        }
        let until = |next: Timestamp| Duration::from_millis((next - state.watch.clock.now()).0);
        let wait = match state.watch.compare().await {
            Ok(next) => next.map(|next| until(next).clamp(AGAIN_AFTER, TIMER_MAX)),
            Err(_) => Some(AGAIN_AFTER),
        };
        state.timer = wait.map(|wait| Timer(myself.send_after(wait, || Look::Now).abort_handle()));
        Ok(())
    }
}
