//! Ours. The child is bare ractor's; calls go through the stable reference, as users' calls do.

use std::time::{Duration, Instant};

use ractor::ActorRef;
use supervisors::{Backoff, ChildRef, Strategy, Supervisor, Tree};
use tokio::sync::{mpsc, oneshot};

use crate::bare_ractor::{Child, Msg, Publish};
use crate::metric::{self, Metric, Target};

/// A child by its stable reference.
#[derive(Clone)]
struct Stable(ChildRef<Msg>);

impl Target for Stable {
    async fn kill(&self) {
        unreachable!("ends are measured by grips on incarnations, as with all others");
    }

    async fn crash(&self) {
        self.kill().await;
    }

    async fn ping(&self) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.0.cast(Msg::Ping(reply.into())).ok()?;
        answer.await.ok()
    }
}

fn child(name: String, up: Publish) -> (Stable, supervisors::Child) {
    let reference = ChildRef::new(name);
    let child = supervisors::Child::actor(&reference, move || (Child, up.clone()));
    (Stable(reference), child)
}

fn supervisor(strategy: Strategy) -> Supervisor {
    Supervisor::new("root", strategy).intensity(u32::MAX, Duration::from_secs(1)).backoff(Backoff::none())
}

async fn start(supervisor: Supervisor) -> Tree {
    Tree::start(supervisor, 1).await.expect("it starts")
}

pub async fn measure(metric: Metric) -> f64 {
    match metric {
        Metric::Start | Metric::Memory => {
            let tree = start(supervisor(Strategy::OneForOne)).await;
            let tree = &tree;
            let start = |count| async move {
                let mut children = Vec::with_capacity(count);
                for number in 0..count {
                    let (reference, child) = child(format!("c{number}"), None);
                    tree.add("root", child).await.expect("it starts");
                    children.push(reference);
                }
                children
            };
            metric::many(metric, start).await
        }
        Metric::Call1 | Metric::Call64 => {
            let (reference, child) = child("c".to_owned(), None);
            let tree = start(supervisor(Strategy::OneForOne).child(child)).await;
            let figure = metric::calls(metric, reference).await;
            drop(tree);
            figure
        }
        Metric::Static10k | Metric::Static100k => {
            let children = (0..metric.started()).map(|number| child(format!("c{number}"), None).1);
            let specification = children.fold(supervisor(Strategy::OneForOne), Supervisor::child);
            let from = Instant::now();
            let tree = start(specification).await;
            let report = tree.shutdown(Duration::from_secs(60)).await;
            let time = from.elapsed();
            assert!(report.is_graceful(), "all stop in peace");
            time.as_secs_f64() * 1e3
        }
        _ => {
            let strategy = if metric == Metric::All10 { Strategy::OneForAll } else { Strategy::OneForOne };
            let (up, announced) = mpsc::unbounded_channel::<(u64, ActorRef<Msg>)>();
            let idle = (0..metric.idle()).map(|number| child(format!("idle{number}"), None).1);
            let busy = (0..metric.announced()).map(|number| child(format!("c{number}"), Some(up.clone())).1);
            let specification = idle.chain(busy).fold(supervisor(strategy), Supervisor::child);
            let tree = start(specification).await;
            let figure = metric::restarts(metric, announced).await;
            drop(tree);
            figure
        }
    }
}
