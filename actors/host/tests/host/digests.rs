//! The digest of a state is the same for every copy of it, and is of a durable version.

use host::{Replica, state_digest};
use kernel::Position;

use crate::ledger::Ledger;
use crate::world::{World, add, take};

#[tokio::test]
async fn a_replica_has_the_digest_of_what_runs() {
    let world = World::start().await;
    for number in 1..=5 {
        world.ask(add(number, number)).await;
    }
    world.ask(take(6, 100)).await;
    let digest = world.ledger.digest_of_state().await.unwrap();
    assert_eq!(digest.0, world.ledger.durable(), "of all that was acknowledged");
    let mut replica = Replica::<Ledger>::default();
    assert_ne!(replica.digest().unwrap().1, digest.1);
    for record in world.records() {
        replica.apply(&record).unwrap();
    }
    assert_eq!(replica.digest().unwrap(), digest);
    assert_eq!(state_digest(&replica.machine).unwrap(), digest.1);
    let first = &world.records()[0];
    let refused = replica.apply(first).unwrap_err();
    assert_eq!(refused.to_string(), "ledger cannot replay record 1: it is not the next one");

    let world = world.again().await;
    let (version, again) = world.ledger.digest_of_state().await.unwrap();
    assert_eq!((version, again), (Position(digest.0.0 + 1), digest.1), "opening is a record, and no fact");
}
