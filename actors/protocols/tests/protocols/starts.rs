//! When a protocol starts.

use protocols::{Cx, Draft, Fault, Limits, Protocol};

use crate::peer::{Peer, Shared};
use crate::world::{Plan, root};

/// Its start waits at the gate, and says when it was let through.
struct Slow(Shared);

impl Protocol for Slow {
    type Request = ();
    type Reply = ();

    fn operation((): &()) -> &'static str {
        "nothing"
    }

    async fn started(&mut self, cx: &mut Cx) -> Result<(), Fault> {
        self.0.log.lock().unwrap().push(format!("{} starts", cx.name()));
        self.0.pass().await;
        Ok(())
    }

    async fn call(&mut self, (): (), _: &mut Cx) -> Result<(), Fault> {
        Ok(())
    }
}

/// In a group of equals the tree starts one after the other; after a kill only the one that ended.
#[tokio::test]
async fn it_starts_when_all_that_it_depends_on_is_up() {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    shared.gate.add_permits(2);
    let gives = shared.clone();
    let below = plan.protocol("below", (&[], &[]), 8, move || Slow(gives.clone()));
    let gives = shared.clone();
    let above = plan.protocol("above", (&["below"], &[]), 8, move || Slow(gives.clone()));
    let world = plan.start().await;
    assert_eq!(shared.logged(), ["below starts", "above starts"]);
    let epochs = (below.epoch(), above.epoch());
    world.tree.kill("root/below").await.unwrap();
    world.tree.kill("root/above").await.unwrap();
    shared.gate.add_permits(2);
    below.up_after(epochs.0).await;
    above.up_after(epochs.1).await;
    assert_eq!(shared.logged()[2..], ["below starts", "above starts"]);
}

#[tokio::test]
async fn a_name_is_a_name() {
    let plan = Plan::new();
    let shared = Shared::default();
    let make = move || Peer::new(&shared, None);
    assert!(plan.runtime().protocol("a b", &[], Limits::default(), make).is_err());
}

/// What a protocol posts when it starts is sent before anybody can call it.
struct Herald;

impl Protocol for Herald {
    type Request = ();
    type Reply = ();

    fn operation((): &()) -> &'static str {
        "nothing"
    }

    async fn started(&mut self, cx: &mut Cx) -> Result<(), Fault> {
        cx.post(Draft::new("peer", "note").text("here I am"));
        Ok(())
    }

    async fn call(&mut self, (): (), _: &mut Cx) -> Result<(), Fault> {
        Err(Fault::new("again"))
    }
}

#[tokio::test]
async fn what_is_posted_at_the_start_is_sent_at_each_start() {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    plan.protocol("peer", (&[], &[]), 8, move || Peer::new(&gives, None));
    let first = plan.start().await;
    first.admit("herald", &["peer"]).await;
    let dir = first.end().await;
    let mut plan = Plan::over(dir);
    let gives = shared.clone();
    plan.protocol("peer", (&[], &[]), 8, move || Peer::new(&gives, None));
    let herald = plan.protocol("herald", (&["peer"], &["peer"]), 8, || Herald);
    let world = plan.start().await;
    herald.up().await;
    world.until(|nexus| nexus.counters().delivered == 1).await;
    let line = herald.line(&root(), "nothing").await.unwrap();
    assert!(line.call(()).await.is_err());
    world.until(|nexus| nexus.counters().delivered == 2).await;
}
