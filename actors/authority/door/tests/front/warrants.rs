//! A permission that is opened once: it holds exactly as long as the judge would say the same.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use door::{Ask, Verdict, Warrant};
use kernel::{Layer, Millis, TokenUse};
use proptest::prelude::*;
use tokens::{Event, Grant, UseState};

use crate::world::{Mode, OPEN, World, ask, bearing, by, said, told, with, word};

const CLOSED: &str = "permit (principal is Operator, action, resource);";

fn call(number: u8) -> Ask {
    with(ask(number, "protocol.call", "arp"), "operation", "decide")
}

impl World {
    async fn issue_call(&self, number: u8) -> kernel::TokenId {
        self.issue_for("arp", "agent/alpha", number, "decide", 2, Grant::Operation).await
    }
}

fn checked(warrant: &Warrant) -> String {
    match warrant.check() {
        Ok(_) => "allowed".to_owned(),
        Err(denial) => denial.code,
    }
}

#[tokio::test]
async fn opening_is_on_record_and_costs_one_use_and_checking_costs_nothing() {
    let world = World::open().await;
    let token = world.issue_call(1).await;
    let warrant = world.door.open(&bearing(1, call(1))).await.unwrap();
    assert_eq!(world.uses(token), [(1, UseState::Succeeded)]);
    let records = world.records("decisions").len();
    let tokens = world.kinds::<Event>("tokens").len();
    for _ in 0..1_000 {
        let decision = warrant.check().unwrap();
        assert_eq!(decision.token, Some(TokenUse { token, number: 1 }));
        assert_eq!((decision.policy_epoch, decision.policies.as_slice()), (1, &["all".to_owned()][..]));
    }
    assert_eq!((world.records("decisions").len(), world.kinds::<Event>("tokens").len()), (records, tokens));
    let denied = world.door.open(&bearing(1, call(2))).await.err().unwrap();
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("door.used_up", Some(call(2).command_id)));
    assert_eq!(world.left(token), 1, "the last use is not spent on what it could not carry");
    assert_eq!(word(world.door.open(&by("a guess", call(3))).await), "door.unknown_credential");
}

#[tokio::test]
async fn each_end_of_authority_ends_it() {
    let world = World::open().await;
    for (number, code) in [(1, "tokens.revoked"), (2, "tokens.revoked"), (3, "policy.not_permitted")] {
        let token = world.issue_call(number).await;
        let warrant = world.door.open(&bearing(number, call(number))).await.unwrap();
        assert_eq!(checked(&warrant), "allowed");
        match number {
            1 => world.revoke(token).await,
            2 => world.revoke_subject("agent/alpha").await,
            _ => drop(world.activate(CLOSED).await),
        }
        assert_eq!(checked(&warrant), code);
        assert!(warrant.check().unwrap_err().rule.is_some(), "{code} can be acted on");
        world.activate(OPEN).await;
        assert_eq!(checked(&warrant), if number < 3 { code } else { "allowed" }, "a token does not revive");
    }
    world.issue_call(4).await;
    let warrant = world.door.open(&bearing(4, call(4))).await.unwrap();
    assert_eq!(warrant.expires_at(), Some(world.now() + Millis::minutes(15)));
    world.later(Millis(Millis::minutes(15).0 - 1));
    assert_eq!(checked(&warrant), "allowed", "the last instant");
    world.later(Millis(1));
    assert_eq!(checked(&warrant), "tokens.expired", "before the clock has recorded it");
}

/// Nothing revokes what is used up, so a warrant ends with the last use of its token.
#[tokio::test]
async fn a_token_that_is_used_up_carries_nothing() {
    let world = World::open().await;
    let token = world.issue_for(door::AUDIENCE, "agent/alpha", 1, "todo.release", 2, Grant::Operation).await;
    let release = |number| bearing(1, ask(number, "todo.release", "todo-7"));
    let warrant = world.door.open(&release(1)).await.unwrap();
    assert_eq!(told(world.put(&release(2), 101).await), "shelf.full");
    assert_eq!(checked(&warrant), "allowed", "it was given back");
    assert_eq!(told(world.put(&release(3), 7).await), "7");
    assert_eq!((world.left(token), checked(&warrant).as_str()), (0, "door.used_up"));
}

#[tokio::test]
async fn an_operators_own_credential_needs_no_token() {
    let world = World::open().await;
    let warrant = world.door.open(&call(1)).await.unwrap();
    assert_eq!(warrant.expires_at(), None);
    assert_eq!(warrant.check().unwrap().token, None);
    let nobody_calls =
        format!("{CLOSED} @id(\"quiet\") forbid (principal, action == Action::\"protocol.call\", resource);");
    world.activate(&nobody_calls).await;
    assert_eq!(checked(&warrant), "policy.forbidden");
}

#[tokio::test]
async fn a_stop_ends_it_in_memory_and_a_resume_gives_it_back() {
    let world = World::open().await;
    world.issue_call(1).await;
    let by_token = world.door.open(&bearing(1, call(1))).await.unwrap();
    let by_operator = world.door.open(&call(2)).await.unwrap();
    let reads = world.door.open(&ask(3, "todo.list", "*")).await.unwrap();
    let stopped = world.door.stop(&ask(4, "system.stop", "*"), said("fire")).await.unwrap();
    assert_eq!([&by_token, &by_operator, &reads].map(checked), ["door.sealed", "door.sealed", "allowed"]);
    assert_eq!(by_token.check().unwrap_err().layer, Layer::Seal);
    world.door.resume(&ask(5, "system.resume", "*"), stopped.recorded.unwrap()).await.unwrap();
    // Here nothing revokes the tokens after a stop; src/routes.rs does.
    assert_eq!([&by_token, &by_operator, &reads].map(checked), ["allowed", "allowed", "allowed"]);
}

#[tokio::test]
async fn a_stop_that_nothing_could_record_ends_it_too() {
    let world = World::open().await;
    let warrant = world.door.open(&call(1)).await.unwrap();
    assert_eq!(checked(&warrant), "allowed");
    world.setup.disk.set(Mode::Fail { written: false });
    let stopped = world.door.stop(&ask(2, "system.stop", "*"), said("fire")).await.unwrap();
    assert!(stopped.recorded.is_err());
    assert_eq!(checked(&warrant), "door.sealed");
}

/// While the journal holds everything up, nobody waits for a check.
#[tokio::test]
async fn a_check_waits_for_nobody() {
    let world = World::open().await;
    let token = world.issue_call(1).await;
    let warrant = world.door.open(&bearing(1, call(1))).await.unwrap();
    world.setup.disk.set(Mode::Hold);
    let mut revoking = std::pin::pin!(world.revoke(token));
    assert_eq!(revoking.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending);
    assert_eq!(checked(&warrant), "allowed", "it is not acknowledged yet");
    world.setup.disk.set(Mode::Pass);
    revoking.await;
    assert_eq!(checked(&warrant), "tokens.revoked");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Revoke,
    RevokeSubject,
    Activate(&'static str),
    Stop,
    Resume,
    Later(u64),
    /// Something that concerns nobody here.
    Other,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Revoke),
        1 => Just(Step::RevokeSubject),
        3 => Just(Step::Activate(CLOSED)),
        3 => Just(Step::Activate(OPEN)),
        2 => Just(Step::Stop),
        3 => Just(Step::Resume),
        2 => (1..400_u64).prop_map(Step::Later),
        2 => Just(Step::Other),
    ]
}

impl World {
    async fn take(&self, step: Step, number: u8, token: kernel::TokenId) {
        match step {
            Step::Revoke => self.revoke(token).await,
            Step::RevokeSubject => self.revoke_subject("agent/alpha").await,
            Step::Activate(text) => drop(self.activate(text).await),
            Step::Stop => drop(self.door.stop(&ask(number, "system.stop", "*"), said("fire")).await.unwrap()),
            Step::Resume => {
                if let Some(stop) = self.stop() {
                    self.door.resume(&ask(number, "system.resume", "*"), stop.digest).await.unwrap();
                }
            }
            Step::Later(seconds) => self.later(Millis::seconds(seconds)),
            Step::Other => drop(self.issue(number, "todo.release", 1).await),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Checked after every step or only after some: what the judge would deny passes no check, and nothing else is denied.
    #[test]
    fn a_check_says_what_the_judge_would_say(script in proptest::collection::vec((step(), any::<bool>()), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::open().await;
            let token = world.issue_call(1).await;
            let asked = [bearing(1, call(1)), call(2)];
            let warrants = [world.door.open(&asked[0]).await.unwrap(), world.door.open(&asked[1]).await.unwrap()];
            for (number, (step, look)) in (10..).zip(script) {
                world.take(step, number, token).await;
                if !look {
                    continue;
                }
                for (warrant, asked) in warrants.iter().zip(&asked) {
                    let expected = matches!(world.judged(asked), Verdict::Allow { .. });
                    assert_eq!(checked(warrant) == "allowed", expected, "after {step:?}: {}", checked(warrant));
                }
            }
        });
    }
}
