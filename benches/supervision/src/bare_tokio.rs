//! The floor: a task that owns its children's tasks and starts them again. A child is a task with a channel.

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::metric::{self, Metric, Target, Up, next_incarnation};

enum Msg {
    Ping(oneshot::Sender<u64>),
    Crash,
}

#[derive(Clone)]
struct Grip {
    mailbox: mpsc::UnboundedSender<Msg>,
    task: AbortHandle,
}

impl Target for Grip {
    async fn kill(&self) {
        self.task.abort();
    }

    async fn crash(&self) {
        let _ = self.mailbox.send(Msg::Crash);
    }

    async fn ping(&self) -> Option<u64> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Msg::Ping(reply)).ok()?;
        answer.await.ok()
    }
}

async fn child(incarnation: u64, mut mailbox: mpsc::UnboundedReceiver<Msg>) {
    while let Some(msg) = mailbox.recv().await {
        match msg {
            Msg::Ping(reply) => drop(reply.send(incarnation)),
            Msg::Crash => panic!("crash"),
        }
    }
}

fn start(children: &mut JoinSet<()>) -> (u64, Grip) {
    let incarnation = next_incarnation();
    let (mailbox, received) = mpsc::unbounded_channel();
    let task = children.spawn(child(incarnation, received));
    (incarnation, Grip { mailbox, task })
}

async fn supervise(metric: Metric, up: Up<Grip>) {
    let mut children = JoinSet::new();
    let _idle: Vec<_> = (0..metric.idle()).map(|_| start(&mut children)).collect();
    let announce = |children: &mut JoinSet<()>| {
        for _ in 0..metric.announced() {
            let _ = up.send(start(children));
        }
    };
    announce(&mut children);
    while children.join_next().await.is_some() {
        if metric == Metric::All10 {
            children.shutdown().await;
        }
        announce(&mut children);
    }
}

pub async fn measure(metric: Metric) -> f64 {
    match metric {
        Metric::Start | Metric::Memory => {
            let mut children = JoinSet::new();
            let children = &mut children;
            metric::many(metric, |count| async move { (0..count).map(|_| start(children).1).collect() }).await
        }
        Metric::Call1 | Metric::Call64 => {
            let mut children = JoinSet::new();
            let child = start(&mut children).1;
            metric::calls(metric, child).await
        }
        _ => {
            let (up, announced) = mpsc::unbounded_channel();
            tokio::spawn(supervise(metric, up));
            metric::restarts(metric, announced).await
        }
    }
}
