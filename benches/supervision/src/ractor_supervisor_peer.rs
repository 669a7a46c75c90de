//! ractor-supervisor's static supervisor.

use ractor::concurrency::Duration;
use ractor::{ActorRef, registry};
use ractor_supervisor::{
    ChildSpec, Restart, SpawnFn, Supervisor, SupervisorArguments, SupervisorOptions, SupervisorStrategy,
};
use tokio::sync::mpsc;

use crate::bare_ractor::{Child, Msg, Publish};
use crate::metric::{self, Metric};

fn child(id: String, up: Publish) -> ChildSpec {
    let spawn = move |above, id| {
        let up = up.clone();
        async move { Ok(Supervisor::spawn_linked(id, Child, up, above).await?.0.get_cell()) }
    };
    ChildSpec { id, restart: Restart::Permanent, spawn_fn: SpawnFn::new(spawn), backoff_fn: None, reset_after: None }
}

async fn start(strategy: SupervisorStrategy, child_specs: Vec<ChildSpec>) {
    let options =
        SupervisorOptions { strategy, max_restarts: 10_000_000, max_window: Duration::from_secs(1), reset_after: None };
    let arguments = SupervisorArguments { child_specs, options };
    Supervisor::spawn("root".into(), arguments).await.expect("it starts");
}

/// It hands out no references: children are found by their global name.
async fn named(id: &str) -> ActorRef<Msg> {
    loop {
        match registry::where_is(id) {
            Some(child) => return child.into(),
            None => tokio::task::yield_now().await,
        }
    }
}

pub async fn measure(metric: Metric) -> f64 {
    let one = SupervisorStrategy::OneForOne;
    match metric {
        Metric::Start | Metric::Memory => {
            let start = |count| async move {
                start(one, (0..count).map(|number| child(format!("c{number}"), None)).collect()).await;
                let mut children = Vec::with_capacity(count);
                for number in 0..count {
                    children.push(named(&format!("c{number}")).await);
                }
                children
            };
            metric::many(metric, start).await
        }
        Metric::Call1 | Metric::Call64 => {
            start(one, vec![child("c".to_owned(), None)]).await;
            metric::calls(metric, named("c").await).await
        }
        _ => {
            let (up, announced) = mpsc::unbounded_channel();
            let idle = (0..metric.idle()).map(|number| child(format!("idle{number}"), None));
            let busy = (0..metric.announced()).map(|number| child(format!("c{number}"), Some(up.clone())));
            let strategy = if metric == Metric::All10 { SupervisorStrategy::OneForAll } else { one };
            start(strategy, idle.chain(busy).collect()).await;
            metric::restarts(metric, announced).await
        }
    }
}
