//! The emergency stop: it needs nothing to work, and nothing but its own digest ends it.

use door::{Ask, Stopped};
use kernel::{Digest, Timestamp};
use tokens::Grant;

use crate::world::{Mode, NOBODYS, NOON, OPEN, Setup, World, ask, bearing, id_at, said, secret, told, word};

fn stop(number: u8) -> Ask {
    ask(number, "system.stop", "*")
}

fn resume(number: u8) -> Ask {
    ask(number, "system.resume", "*")
}

fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

impl World {
    async fn stopped(&self, number: u8) -> Stopped {
        self.door.stop(&stop(number), said("fire")).await.unwrap()
    }

    async fn resumed(&self, number: u8, digest: Digest) -> String {
        word(self.door.resume(&resume(number), digest).await)
    }

    async fn is_sealed(&self) -> bool {
        let answer = told(self.put(&put(200), 0).await);
        let sealed = answer == "door.sealed";
        assert!(sealed || answer.starts_with('0'), "{answer}");
        assert_eq!(self.door.sealed().is_some(), sealed);
        sealed
    }
}

#[tokio::test]
async fn a_stop_shuts_the_door_until_its_digest_is_named() {
    let world = World::open().await;
    world.issue(1, "todo.release", 3).await;
    let Stopped { recorded, kept } = world.stopped(1).await;
    let digest = recorded.unwrap();
    assert_eq!(kept, Ok(()));
    assert_eq!(world.stop().unwrap().digest, digest);
    assert!(world.setup.seal_file().exists());
    let denied = world.put(&put(2), 7).await.unwrap_err();
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("door.sealed", Some(id_at(NOON, 2))));
    assert_eq!(told(world.put(&bearing(1, put(3)), 7).await), "door.sealed");
    assert_eq!(word(world.door.witness(&ask(4, "todo.list", "*")).await), "allowed", "what is there can be read");
    assert_eq!(world.stopped(5).await.recorded, Ok(digest), "stopped is stopped");

    assert_eq!(world.resumed(6, NOBODYS).await, "governance.digest_mismatch");
    assert!(world.is_sealed().await);
    assert_eq!(world.resumed(7, digest).await, "allowed");
    assert_eq!(world.resumed(7, digest).await, "allowed", "again");
    assert!(!world.setup.seal_file().exists());
    assert_eq!(told(world.put(&put(8), 7).await), "7");
}

#[tokio::test]
async fn only_an_operator_himself_stops_and_resumes() {
    let world = World::open().await;
    world.issue_to("agent/alpha", 1, "system.stop", 1, Grant::Operation).await;
    world.issue_to("operator/deputy", 2, "system.stop", 1, Grant::Operation).await;
    world.issue_to("agent/alpha", 3, "system.resume", 1, Grant::Operation).await;
    world.issue_to("operator/deputy", 4, "system.resume", 1, Grant::Operation).await;
    for token in [1, 2] {
        let denied = world.door.stop(&bearing(token, stop(token)), said("fire")).await.unwrap_err();
        assert_eq!((denied.denial.code.as_str(), denied.decision.is_some()), ("door.operators_only", true), "{token}");
        let record = world.records("decisions").pop().unwrap().decision;
        assert_eq!((record.policy_epoch, record.generation), (1, world.generation()), "{token}");
    }
    assert_eq!(
        word(world.door.stop(&crate::world::by("a guess", stop(5)), said("fire")).await),
        "door.unknown_credential"
    );
    assert!(!world.is_sealed().await);
    let digest = world.stopped(6).await.recorded.unwrap();
    for token in [3, 4] {
        let answer = world.door.resume(&bearing(token, resume(6 + token)), digest).await;
        assert_eq!(word(answer), "door.operators_only", "{token}");
    }
    assert_eq!(secret(1), "the secret of token 1");
    assert!(world.is_sealed().await);
}

#[tokio::test]
async fn with_a_dead_journal_it_still_stops() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Fail { written: false });
    assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
    let Stopped { recorded, kept } = world.stopped(2).await;
    assert!(recorded.is_err());
    assert_eq!(kept, Ok(()));
    assert!(world.door.sealed().is_some());

    // Another door finds the file, and what was not recorded is.
    let world = world.again().await;
    assert!(world.is_sealed().await);
    assert_eq!(world.stop(), None);
    assert_eq!(world.resumed(3, NOBODYS).await, "governance.digest_mismatch", "what is not recorded has no digest yet");
    world.door.take_up_stop().await;
    let digest = world.stop().unwrap().digest;
    assert!(world.is_sealed().await);
    assert_eq!(world.resumed(4, digest).await, "allowed");
    assert!(!world.is_sealed().await);
    assert!(!world.again().await.is_sealed().await);
}

#[tokio::test]
async fn a_stop_that_only_the_journal_knows_is_in_force_from_the_first_request_on() {
    let setup = Setup::default();
    let nowhere = setup.dir.path().join("missing/sealed");
    let world = World::with(Setup { seal: Some(nowhere), ..setup }, OPEN).await;
    let Stopped { recorded, kept } = world.stopped(1).await;
    assert!(kept.is_err());
    let digest = recorded.unwrap();
    let world = world.again_with(|setup| setup.seal = None).await;
    assert!(world.is_sealed().await, "before anybody takes it up");
    world.door.take_up_stop().await;
    assert!(world.setup.seal_file().exists());
    assert_eq!(world.resumed(2, NOBODYS).await, "governance.digest_mismatch");
    assert_eq!(world.resumed(3, digest).await, "allowed");
    assert!(!world.is_sealed().await);
}

#[tokio::test]
async fn with_a_full_disk_it_still_stops() {
    let world = World::open().await.again_with(|setup| setup.reserve_bytes = u64::MAX).await;
    let Stopped { recorded, kept } = world.stopped(1).await;
    assert!(recorded.is_err());
    assert_eq!(kept, Ok(()));
    assert_eq!(told(world.put(&put(2), 7).await), "door.sealed");
}

/// An operator whose clock is wrong stops as well as another, and his stop is recorded.
#[tokio::test]
async fn a_stop_does_not_hang_on_its_command_id() {
    for id in [id_at(Timestamp(NOON.0 + 3_600_000), 1), id_at(Timestamp(0), 1), kernel::CommandId(7)] {
        let world = World::open().await;
        let stop = Ask { command_id: id, ..stop(1) };
        assert!(world.door.stop(&stop, said("fire")).await.unwrap().recorded.is_ok(), "{id}");
        assert!(world.stop().is_some());
    }
}

#[tokio::test]
async fn what_was_not_recorded_is_resumed_by_no_digest_but_its_own() {
    let world = World::open().await;
    world.kill(&world.governance).await;
    assert!(world.stopped(1).await.recorded.is_err());
    world.restart(&world.governance).await;
    assert!(world.is_sealed().await);
    assert_eq!(world.resumed(2, NOBODYS).await, "governance.digest_mismatch");
    assert!(world.is_sealed().await);
    let digest = world.stop().expect("now it is recorded, and has a digest").digest;
    assert_eq!(world.resumed(3, digest).await, "allowed");
    assert!(!world.is_sealed().await);
}

/// A resume that is sent once more ends the stop that it ended, and no later one.
#[tokio::test]
async fn an_old_resume_ends_no_new_stop() {
    let world = World::open().await;
    let first = world.stopped(1).await.recorded.unwrap();
    assert_eq!(world.resumed(2, first).await, "allowed");
    let second = world.stopped(3).await.recorded.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.resumed(2, first).await, "door.stopped_again");
    assert!(world.is_sealed().await && world.setup.seal_file().exists());

    // Nor one that is not recorded.
    assert_eq!(world.resumed(4, second).await, "allowed");
    world.kill(&world.governance).await;
    assert!(world.stopped(5).await.recorded.is_err());
    world.restart(&world.governance).await;
    assert_eq!(world.resumed(4, second).await, "door.stopped_again");
    assert!(world.is_sealed().await && world.setup.seal_file().exists());
}

/// A stop that is sent once more after the resume stops again, and can be resumed.
#[tokio::test]
async fn an_old_stop_is_a_new_one() {
    let world = World::open().await;
    let first = world.stopped(1).await.recorded.unwrap();
    assert_eq!(world.resumed(2, first).await, "allowed");
    let second = world.stopped(1).await.recorded.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.stop().unwrap().digest, second);
    assert!(world.is_sealed().await);
    assert_eq!(world.resumed(3, second).await, "allowed");
    assert!(!world.is_sealed().await);

    // While another is in force it is that one.
    let third = world.stopped(4).await.recorded.unwrap();
    assert_eq!(world.stopped(1).await.recorded, Ok(third));
    assert_eq!(world.resumed(5, third).await, "allowed");
    assert!(!world.is_sealed().await);
}

#[tokio::test]
async fn a_stop_that_meets_a_resume_stays() {
    let world = World::open().await;
    let first = world.stopped(1).await.recorded.unwrap();
    world.setup.disk.set(Mode::Hold);
    let (resumption, stop) = (resume(2), stop(3));
    let (resumed, stopped, ()) =
        tokio::join!(world.door.resume(&resumption, first), world.door.stop(&stop, said("fire again")), async {
            world.setup.disk.set(Mode::Pass);
        });
    assert_eq!(word(resumed), "door.stopped_again");
    let second = stopped.unwrap().recorded.unwrap();
    assert_ne!(first, second);
    assert!(world.is_sealed().await && world.setup.seal_file().exists());
    assert_eq!(world.resumed(4, second).await, "allowed");
    assert!(!world.is_sealed().await);
}

/// A use takes a sync to consume: time enough for a stop.
#[tokio::test]
async fn a_stop_catches_what_has_paid_and_is_not_done() {
    let world = World::open().await;
    world.issue(1, "todo.release", 1).await;
    world.setup.disk.set(Mode::Hold);
    let (request, stop) = (bearing(1, put(1)), stop(2));
    let (put, stopped, ()) = tokio::join!(world.put(&request, 7), world.door.stop(&stop, said("fire")), async {
        world.setup.disk.set(Mode::Pass);
    });
    assert_eq!(told(put), "door.sealed");
    assert!(stopped.unwrap().recorded.is_ok());
    assert_eq!(world.on_shelf().await, 0);
}

#[tokio::test]
async fn a_caller_who_hangs_up_has_stopped_all_the_same() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Hold);
    let request = stop(1);
    tokio::select! {
        biased;
        _ = world.door.stop(&request, said("fire")) => panic!("the disk holds it up"),
        () = tokio::task::yield_now() => {}
    }
    world.setup.disk.set(Mode::Pass);
    assert!(world.is_sealed().await && world.setup.seal_file().exists());
    let digest = world.stopped(2).await.recorded.unwrap();
    assert_eq!(world.stop().map(|stop| stop.number), Some(1), "it was recorded once");
    // And one who hangs up while it is resumed asks again.
    world.setup.disk.set(Mode::Hold);
    let request = resume(3);
    tokio::select! {
        biased;
        _ = world.door.resume(&request, digest) => panic!("the disk holds it up"),
        () = tokio::task::yield_now() => {}
    }
    world.setup.disk.set(Mode::Pass);
    assert_eq!(world.resumed(3, digest).await, "allowed");
    assert!(!world.is_sealed().await);
}

#[tokio::test]
async fn a_reason_that_is_too_long_keeps_nobody_from_stopping() {
    let world = World::open().await;
    assert!(world.door.stop(&stop(1), said(&"é".repeat(10_000))).await.unwrap().recorded.is_ok());
    assert!(world.stop().unwrap().reason.text().is_some_and(|kept| kept.contains("not kept")));
}

/// Whatever has the keys hangs, or fails: nobody who stops waits for it.
#[tokio::test]
async fn a_reason_that_cannot_be_sealed_keeps_nobody_from_stopping() {
    let world = World::open().await;
    let stopped = world.door.stop(&stop(1), |_| std::future::ready(None)).await.unwrap();
    assert!(stopped.kept.is_ok());
    assert_eq!(world.resumed(2, stopped.recorded.unwrap()).await, "allowed");
    // From here on a timer ends as soon as nothing else is left to do, the one for the journal too.
    tokio::time::pause();
    let stopped = world.door.stop(&stop(3), |_| std::future::pending()).await.unwrap();
    assert!(stopped.kept.is_ok() && world.door.sealed().is_some());
}

/// A denial is kept in the clear, and so is the log.
#[tokio::test]
async fn a_reason_is_quoted_nowhere() {
    let world = World::open().await;
    world.door.stop(&stop(1), said("alpha is ill")).await.unwrap();
    let denied = world.put(&put(2), 7).await.unwrap_err();
    assert_eq!(denied.denial.code, "door.sealed");
    assert!(!format!("{denied:?}").contains("ill"));
}

/// The disk neither writes nor fails: nobody who stops waits for it.
#[tokio::test]
async fn with_a_journal_that_hangs_it_still_stops() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Hold);
    // From here on a timer ends as soon as nothing else is left to do.
    tokio::time::pause();
    let Stopped { recorded, kept } = world.stopped(1).await;
    assert_eq!((recorded, kept), (Err("the journal did not answer in time".into()), Ok(())));
    let hasty = word(world.door.resume(&resume(2), NOBODYS).await);
    assert_eq!(hasty, "door.stop_unrecorded", "nor is it resumed before it has a digest");
    tokio::time::resume();
    world.setup.disk.set(Mode::Pass);
    assert!(world.is_sealed().await);
    assert_eq!(world.resumed(3, NOBODYS).await, "governance.digest_mismatch");
    let stop = world.stop().unwrap();
    assert_eq!((stop.number, stop.by.to_string()), (1, "operator/root".into()), "it came through after all, once");
    assert_eq!(world.resumed(4, stop.digest).await, "allowed");
    assert!(!world.is_sealed().await);
}

#[tokio::test]
async fn a_stop_waits_for_its_turn() {
    let world = World::with(Setup { permits: 1, ..Setup::default() }, OPEN).await;
    world.setup.disk.set(Mode::Hold);
    let busy = ask(1, "policy.propose", "*");
    let command = governance::Command::Propose { text: format!("{OPEN} // once more") };
    let (proposed, stopped, ()) =
        tokio::join!(world.door.perform(&busy, &world.governance, command), world.stopped(2), async {
            assert!(world.door.sealed().is_some());
            world.setup.disk.set(Mode::Pass);
        });
    assert!(proposed.is_ok() && stopped.recorded.is_ok());
    assert_eq!(world.stop().map(|stop| stop.digest), stopped.recorded.ok());
}
