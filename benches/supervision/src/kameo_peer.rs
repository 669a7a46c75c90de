//! kameo's supervision, with unbounded mailboxes as everywhere here.

use std::time::Duration;

use kameo::actor::Spawn;
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::prelude::{Actor, ActorRef, Context, Message};
use kameo::supervision::SupervisionStrategy;
use tokio::sync::mpsc;

use crate::metric::{self, Metric, Target, Up, next_incarnation};

struct Child {
    incarnation: u64,
}

type Publish = Option<Up<ActorRef<Child>>>;

impl Actor for Child {
    type Args = Publish;
    type Error = Infallible;

    async fn on_start(up: Publish, myself: ActorRef<Self>) -> Result<Self, Infallible> {
        let incarnation = next_incarnation();
        if let Some(up) = up {
            let _ = up.send((incarnation, myself));
        }
        Ok(Self { incarnation })
    }
}

struct Ping;

impl Message<Ping> for Child {
    type Reply = u64;

    async fn handle(&mut self, _: Ping, _: &mut Context<Self, u64>) -> u64 {
        self.incarnation
    }
}

struct Crash;

impl Message<Crash> for Child {
    type Reply = ();

    async fn handle(&mut self, _: Crash, _: &mut Context<Self, ()>) {
        panic!("crash")
    }
}

impl Target for ActorRef<Child> {
    async fn kill(&self) {
        ActorRef::kill(self);
    }

    async fn crash(&self) {
        let _ = self.tell(Crash).await;
    }

    async fn ping(&self) -> Option<u64> {
        self.ask(Ping).await.ok()
    }
}

/// Two supervisors, because the strategy belongs to the type.
struct OneForOne;

impl Actor for OneForOne {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

struct OneForAll;

impl Actor for OneForAll {
    type Args = ();
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForAll
    }

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

async fn start<S: Actor>(above: &ActorRef<S>, up: Publish) -> ActorRef<Child> {
    Child::supervise(above, up)
        .restart_limit(u32::MAX, Duration::from_secs(1))
        .spawn_with_mailbox(mailbox::unbounded())
        .await
}

async fn restarts<S: Actor>(above: ActorRef<S>, metric: Metric) -> f64 {
    let (up, announced) = mpsc::unbounded_channel();
    let mut children = Vec::new();
    for _ in 0..metric.idle() {
        children.push(start(&above, None).await);
    }
    for _ in 0..metric.announced() {
        children.push(start(&above, Some(up.clone())).await);
    }
    metric::restarts(metric, announced).await
}

pub async fn measure(metric: Metric) -> f64 {
    if metric == Metric::All10 {
        return restarts(OneForAll::spawn(()), metric).await;
    }
    let above = OneForOne::spawn(());
    above.wait_for_startup().await;
    match metric {
        Metric::Start | Metric::Memory => {
            // It ends with its last reference, and its children with it.
            let above = &above;
            let start = |count| async move {
                let mut children = Vec::with_capacity(count);
                for _ in 0..count {
                    children.push(start(above, None).await);
                }
                children
            };
            metric::many(metric, start).await
        }
        Metric::Call1 | Metric::Call64 => metric::calls(metric, start(&above, None).await).await,
        _ => restarts(above, metric).await,
    }
}
