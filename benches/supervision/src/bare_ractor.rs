//! ractor with a supervisor that starts its children again by hand, as its documentation shows. The child is the one of
//! ractor-supervisor and of ours, too.

use ractor::rpc::CallResult;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::mpsc;

use crate::metric::{self, Metric, Target, Up, next_incarnation};

pub enum Msg {
    Ping(RpcReplyPort<u64>),
    Crash,
}

/// Where a child announces itself, unless it is idle.
pub type Publish = Option<Up<ActorRef<Msg>>>;

impl Target for ActorRef<Msg> {
    async fn kill(&self) {
        ActorCell::kill(self);
    }

    async fn crash(&self) {
        let _ = self.cast(Msg::Crash);
    }

    async fn ping(&self) -> Option<u64> {
        match self.call(Msg::Ping, None).await {
            Ok(CallResult::Success(incarnation)) => Some(incarnation),
            _ => None,
        }
    }
}

pub struct Child;

impl Actor for Child {
    type Msg = Msg;
    type State = u64;
    type Arguments = Publish;

    async fn pre_start(&self, myself: ActorRef<Msg>, publish: Publish) -> Result<u64, ActorProcessingErr> {
        let incarnation = next_incarnation();
        if let Some(up) = publish {
            let _ = up.send((incarnation, myself));
        }
        Ok(incarnation)
    }

    async fn handle(&self, _: ActorRef<Msg>, msg: Msg, incarnation: &mut u64) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::Ping(reply) => drop(reply.send(*incarnation)),
            Msg::Crash => panic!("crash"),
        }
        Ok(())
    }
}

/// Starts all its children again when one of them ends.
struct Supervisor;

struct Family {
    announced: usize,
    up: Publish,
    children: Vec<ActorCell>,
}

async fn start(count: usize, up: &Publish, above: &ActorRef<()>) -> Result<Vec<ActorCell>, ActorProcessingErr> {
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        children.push(Actor::spawn_linked(None, Child, up.clone(), above.get_cell()).await?.0.get_cell());
    }
    Ok(children)
}

impl Actor for Supervisor {
    type Msg = ();
    type State = Family;
    type Arguments = (usize, Publish);

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        (announced, up): (usize, Publish),
    ) -> Result<Family, ActorProcessingErr> {
        let children = start(announced, &up, &myself).await?;
        Ok(Family { announced, up, children })
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        family: &mut Family,
    ) -> Result<(), ActorProcessingErr> {
        let (SupervisionEvent::ActorTerminated(ended, ..) | SupervisionEvent::ActorFailed(ended, _)) = event else {
            return Ok(());
        };
        // In reverse order, unlinked so that their ends are not heard, and awaited.
        for sibling in family.children.iter().rev().filter(|child| child.get_id() != ended.get_id()) {
            sibling.unlink(myself.get_cell());
            let _ = sibling.stop_and_wait(None, None).await;
        }
        family.children = start(family.announced, &family.up, &myself).await?;
        Ok(())
    }
}

pub async fn measure(metric: Metric) -> f64 {
    let supervisor = |arguments| async { Actor::spawn(None, Supervisor, arguments).await.expect("it starts").0 };
    match metric {
        Metric::Start | Metric::Memory => {
            let above = supervisor((0, None)).await.get_cell();
            let start = |count| async move {
                let mut children = Vec::with_capacity(count);
                for _ in 0..count {
                    children.push(Actor::spawn_linked(None, Child, None, above.clone()).await.expect("it starts").0);
                }
                children
            };
            metric::many(metric, start).await
        }
        Metric::Call1 | Metric::Call64 => {
            let above = supervisor((0, None)).await.get_cell();
            let child = Actor::spawn_linked(None, Child, None, above).await.expect("it starts").0;
            metric::calls(metric, child).await
        }
        _ => {
            let (up, announced) = mpsc::unbounded_channel();
            let above = supervisor((metric.announced(), Some(up))).await;
            for _ in 0..metric.idle() {
                Actor::spawn_linked(None, Child, None, above.get_cell()).await.expect("it starts");
            }
            metric::restarts(metric, announced).await
        }
    }
}
