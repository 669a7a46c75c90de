//! What does not end with its first record: opened before its effect, and closed by what became of it.

use door::outcomes::{By, Counts, Ended, Event, OPEN_MAX, OPERATIONS};
use door::{Ask, Denied, Outcomes};
use kernel::{Denial, Layer, Machine, Millis};
use tokens::UseState;

use crate::world::{Mode, NOON, World, ask, bearing, id_at, told, word};

fn kill(number: u8) -> Ask {
    ask(number, "system.kill", "sop/authority/tokens")
}

fn facts(world: &World) -> Vec<Event> {
    let records = world.records(Outcomes::NAME);
    let facts = records.iter().map(|record| journal::codec::fact(record).unwrap());
    facts.flatten().collect()
}

/// Of each number that was closed, as what, in order.
fn ends(world: &World) -> Vec<(u64, Ended)> {
    let one = |event| match event {
        Event::Closed(closed) => Some((closed.number, closed.ended())),
        Event::Opened(_) => None,
    };
    facts(world).into_iter().filter_map(one).collect()
}

fn counts(world: &World) -> Counts {
    world.door.outcomes_view().read(Outcomes::counts)
}

fn broke() -> Denied {
    Denial::new(Layer::Decide, "world.broke", "it broke", "mend it").into()
}

#[tokio::test]
async fn it_is_on_record_before_the_effect_and_so_is_what_became_of_it() {
    let world = World::open().await;
    let seen = async {
        let [Event::Opened(opened)] = &facts(&world)[..] else { panic!("it is opened before") };
        assert_eq!((opened.operation, opened.action.as_str()), (id_at(NOON, 1), "system.kill"));
        Ok(world.door.outcomes_view().read(|outcomes| outcomes.open().count()))
    };
    assert_eq!(world.door.operate(&kill(1), seen).await.unwrap(), 1);
    assert_eq!(word(world.door.operate(&kill(2), async { Err::<(), _>(broke()) }).await), "world.broke");
    let failed = Ended::Failed { code: "world.broke".into() };
    assert_eq!(ends(&world), [(1, Ended::Succeeded), (2, failed)]);
    assert_eq!(counts(&world), Counts { succeeded: 1, failed: 1, ..Counts::default() });

    let [opened, closed, ..] = &world.records(Outcomes::NAME)[..] else { panic!("four records") };
    let asked = opened.asked.as_ref().unwrap();
    assert_eq!((asked.action(), asked.resource()), ("system.kill", "sop/authority/tokens"));
    assert_eq!((opened.principal.as_str(), opened.decision.policies.len()), ("operator/root", 1));
    assert_eq!((closed.principal.as_str(), closed.asked.is_none()), ("internal/door", true), "nobody asked for that");
    assert_eq!(world.decisions(), [], "the opening is its one record");
}

/// The other requests pay nothing for it.
#[tokio::test]
async fn what_ends_with_its_first_record_has_no_other() {
    let world = World::open().await;
    let before = world.journal.head().unwrap().sequence;
    assert_eq!(told(world.put(&ask(1, "todo.release", "todo-7"), 7).await), "7");
    assert_eq!(told(world.put(&ask(2, "todo.release", "todo-7"), 101).await), "shelf.full");
    assert_eq!(word(world.door.witness(&ask(3, "todo.list", "*")).await), "allowed");
    assert_eq!(world.records(Outcomes::NAME), []);
    assert_eq!(world.journal.head().unwrap().sequence.0 - before.0, 3, "one record a request");
}

#[tokio::test]
async fn who_is_denied_opens_nothing() {
    let world = World::open().await;
    let forbids = r#"@id("all") permit (principal, action, resource);
        @id("none") forbid (principal, action == Action::"system.kill", resource);"#;
    world.activate(forbids).await;
    let work = async { panic!("nothing is done") };
    assert_eq!(word(world.door.operate::<()>(&kill(1), work).await), "policy.forbidden");
    assert_eq!(world.records(Outcomes::NAME), []);
}

#[tokio::test]
async fn a_use_is_spent_on_what_was_begun_whatever_becomes_of_it() {
    let world = World::open().await;
    let token = world.issue(1, "system.kill", 3).await;
    assert_eq!(word(world.door.operate(&bearing(1, kill(1)), async { Ok(()) }).await), "allowed");
    assert_eq!(word(world.door.operate(&bearing(1, kill(2)), async { Err::<(), _>(broke()) }).await), "world.broke");
    assert_eq!(world.uses(token), [(1, UseState::Succeeded), (2, UseState::Succeeded)]);
}

#[tokio::test]
async fn a_repeat_opens_nothing_more_and_changes_no_outcome() {
    let world = World::open().await;
    assert_eq!(word(world.door.operate(&kill(1), async { Ok(()) }).await), "allowed");
    assert_eq!(word(world.door.operate(&kill(1), async { Err::<(), _>(broke()) }).await), "world.broke");
    assert_eq!((ends(&world), facts(&world).len()), (vec![(1, Ended::Succeeded)], 2), "the first outcome stands");
}

#[tokio::test]
async fn what_nobody_closes_is_unknown_after_its_deadline_and_corrected_late() {
    let world = World::open().await;
    let lost = world.door.begin(&kill(1)).await.unwrap();
    world.later(Millis::minutes(5));
    let world = world.again().await;
    // At its start the host asks what is due.
    while world.door.outcomes_view().read(|outcomes| outcomes.open().next().is_some()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(ends(&world), [(1, Ended::Unknown)]);
    world.door.close(lost, Ended::Succeeded).await;
    assert_eq!(ends(&world), [(1, Ended::Unknown), (1, Ended::Succeeded)], "what comes late is not lost");
    assert_eq!(counts(&world), Counts { succeeded: 1, unknown: 1, corrected: 1, failed: 0 });
}

#[tokio::test]
async fn what_an_earlier_process_left_open_is_unknown() {
    let world = World::open().await;
    let _gone = world.door.begin(&kill(1)).await.unwrap();
    world.later(Millis(1));
    let world = world.again().await;
    let began = world.now();
    let own = world.door.begin(&kill(2)).await.unwrap();
    world.door.forsake(began).await;
    assert_eq!(ends(&world), [(1, Ended::Unknown)], "and no other");
    world.door.close(own, Ended::Succeeded).await;
    world.door.forsake(began + Millis(1)).await;
    assert_eq!(ends(&world).len(), 2, "nothing is left");
}

/// What became of it is known while the machine that keeps that is not there.
#[tokio::test]
async fn an_end_waits_for_who_records_it_and_not_for_ever() {
    let world = World::open().await;
    let [lost, kept] = [world.door.begin(&kill(1)).await.unwrap(), world.door.begin(&kill(2)).await.unwrap()];
    world.kill(world.door.outcomes()).await;
    let ((), ()) = tokio::join!(world.door.close(kept, Ended::Succeeded), world.restart(world.door.outcomes()));
    assert_eq!(ends(&world), [(2, Ended::Succeeded)]);
    world.kill(world.door.outcomes()).await;
    // From here on a timer ends as soon as nothing else is left to do.
    tokio::time::pause();
    world.door.close(lost, Ended::Succeeded).await;
    assert_eq!(ends(&world).len(), 1, "it is unknown after its deadline");
}

#[tokio::test]
async fn so_many_are_under_way_and_the_next_is_told_to_wait() {
    let world = World::open().await;
    let token = world.issue(1, "backup.create", 1).await;
    let mut first = None;
    for number in 0..OPEN_MAX {
        let id = kernel::CommandId::new(
            NOON,
            [[7; 8].as_slice(), &u16::try_from(number).unwrap().to_be_bytes()].concat().try_into().unwrap(),
        );
        let begun = world.door.begin(&Ask { command_id: id, ..kill(0) }).await.unwrap();
        first.get_or_insert(begun);
    }
    for (row, ask) in
        [("what is closed here", kill(1)), ("what a machine closes", bearing(1, ask(2, "backup.create", "*")))]
    {
        let denied = world.put(&ask, 7).await.unwrap_err();
        let Denial { layer, code, retry_after, .. } = denied.denial;
        assert_eq!(
            (layer, code.as_str(), retry_after),
            (Layer::Limit, "outcomes.full", Some(Millis::seconds(1))),
            "{row}"
        );
        assert_eq!(denied.decision, Some(ask.command_id), "{row}: it is on record");
    }
    assert_eq!(world.uses(token), [], "nothing is spent on it");
    assert_eq!(told(world.put(&ask(3, "todo.release", "todo-7"), 7).await), "7", "nobody else waits");
    world.door.close(first.unwrap(), Ended::Succeeded).await;
    assert_eq!(word(world.door.begin(&kill(1)).await), "allowed", "under the same id, which has done nothing");
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Fail { written: false });
    let work = async { panic!("nothing is done") };
    assert_eq!(word(world.door.operate::<()>(&kill(1), work).await), "host.outcome_unknown");
    let world = world.again_with(|setup| setup.reserve_bytes = u64::MAX).await;
    let work = async { panic!("nothing is done") };
    assert_eq!(word(world.door.operate::<()>(&kill(2), work).await), "journal.disk_full");
}

#[test]
fn each_has_somebody_to_close_it() {
    let by = |by: By| OPERATIONS.iter().filter(move |one| one.by == by).map(|one| one.action).collect::<Vec<_>>();
    assert_eq!(
        by(By::Asker),
        ["audit.attest", "audit.cosign", "crypto.sign", "system.chaos", "system.kill", "system.restart"]
    );
    assert_eq!(
        by(By::Machine),
        ["backup.create", "backup.drill", "backup.verify", "gap.scan", "retention.prune", "subject.erase"]
    );
}
