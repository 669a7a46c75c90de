//! Turns what supervision quarantines into gaps, and closes them when it is released.
//!
//! Compares the tree with the open gaps whenever supervision decided something, so that nothing depends on having heard
//! every single decision.

use std::collections::BTreeMap;
use std::time::Duration;

use gaps::{Command, Filter, Gaps, Kind};
use host::{Clock, Error, Handle, Order, OwnedTask};
use kernel::{Decision, Principal};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef, Heard, Node, NodeState, Tree, What};
use tokio::sync::watch;

/// Waits before asking a detector again that is down.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What the watch works with.
#[derive(Clone)]
pub struct Watch {
    pub gaps: Handle<Gaps>,
    pub clock: Clock,
    /// The tree that the watch itself is part of; there once it has started.
    pub tree: watch::Receiver<Option<Tree>>,
}

impl Watch {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("watch");
        Child::actor::<Watching, _>(&reference, move || (Watching, self.clone()))
    }

    /// Brings the open gaps into line with the tree.
    async fn compare(&self) -> Result<(), Error> {
        let Some(tree) = self.tree.borrow().clone() else { return Ok(()) };
        let mut quarantined = BTreeMap::new();
        collect(&tree.snapshot(), &mut quarantined);
        let open = Filter { kind: Some(Kind::ChildQuarantined), state: Some(gaps::State::Open), root: None };
        let known = move |gaps: &Gaps| gaps.list(&open).map(|gap| gap.path.clone()).collect::<Vec<_>>();
        let known = self.gaps.inspect(known).await?;
        for subject in known.iter().filter(|subject| !quarantined.contains_key(*subject)) {
            self.ask(Command::Clear { kind: Kind::ChildQuarantined, subject: subject.clone() }).await?;
        }
        for (subject, detail) in quarantined.into_iter().filter(|(subject, _)| !known.contains(subject)) {
            let detail = shortened(&detail, gaps::DETAIL_MAX);
            self.ask(Command::Observe { kind: Kind::ChildQuarantined, subject, detail }).await?;
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
        };
        if let Err(refusal) = self.gaps.execute(order).await?.outcome {
            tracing::warn!(code = kernel::Refuse::code(&refusal), "the detector refused: {refusal}");
        }
        Ok(())
    }
}

fn collect(node: &Node, quarantined: &mut BTreeMap<String, String>) {
    if let NodeState::Quarantined { reason } = &node.state {
        quarantined.insert(node.path.clone(), reason.to_string());
    }
    node.children.iter().for_each(|child| collect(child, quarantined));
}

/// The longest beginning that has at most `bytes`.
fn shortened(text: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

struct Watching;

/// "Supervision decided something."
struct Look;

struct State {
    watch: Watch,
    _ears: OwnedTask,
}

impl Actor for Watching {
    type Msg = Look;
    type State = State;
    type Arguments = Watch;

    async fn pre_start(&self, myself: ActorRef<Look>, watch: Watch) -> Result<State, ActorProcessingErr> {
        let mut tree = watch.tree.clone();
        let ears = OwnedTask::spawn(async move {
            let Ok(Some(tree)) = tree.wait_for(Option::is_some).await.map(|tree| tree.clone()) else { return };
            let mut events = tree.subscribe();
            let mut told = myself.send_message(Look);
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
                    told = myself.send_message(Look);
                }
            }
        });
        Ok(State { watch, _ears: ears })
    }

    async fn handle(&self, myself: ActorRef<Look>, _: Look, state: &mut State) -> Result<(), ActorProcessingErr> {
        if state.watch.compare().await.is_err() {
            myself.send_after(AGAIN_AFTER, || Look);
        }
        Ok(())
    }
}
