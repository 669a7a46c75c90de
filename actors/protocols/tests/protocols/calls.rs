//! What a call comes to: the answer, or one of six reasons why there is none.

use std::time::Duration;

use protocols::{CallError, Line, Reference};
use tokens::Reason;

use crate::peer::{Peer, Request, Shared};
use crate::world::{Plan, World, root};

fn say(text: &str) -> Request {
    Request::Say(text.into())
}

/// The answer, or the code of the denial or the name of the error.
async fn told(line: &Line<Peer>, request: Request) -> String {
    match line.call(request).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => format!("inside: {}", word(&error)),
        Err(error) => word(&error),
    }
}

fn word(error: &CallError) -> String {
    match error {
        CallError::Denied(denial) | CallError::Unsent { denial, .. } => denial.code.clone(),
        CallError::Down { .. } => "down".into(),
        CallError::Overloaded { limit, .. } => format!("over {limit}"),
        CallError::Restarted { .. } => "restarted".into(),
        CallError::Fault { fault, .. } => fault.to_string(),
        CallError::TimedOut { .. } => "timed out".into(),
    }
}

async fn one(permits: usize) -> (World, Reference<Peer>, Shared) {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    let peer = plan.protocol("peer", (&[], &[]), permits, move || Peer::new(&gives, None));
    (plan.start().await, peer, shared)
}

#[tokio::test]
async fn a_line_is_for_who_holds_it_and_for_one_operation() {
    let (world, peer, _) = one(8).await;
    let by_operator = peer.line(&root(), "say").await.unwrap();
    assert_eq!(told(&by_operator, say("hello")).await, "1 hello to operator/root");
    assert_eq!(told(&by_operator, Request::Fail).await, "protocols.other_operation");

    let (_, secret) = world.token("peer", "say").await;
    let by_token = peer.line(&secret, "say").await.unwrap();
    assert_eq!(told(&by_token, say("hello")).await, "2 hello to agent/alpha");

    for (audience, operation, code) in
        [("peer", "act", "door.not_capable"), ("other", "say", "door.not_capable"), ("sop", "say", "door.not_capable")]
    {
        let (_, secret) = world.token(audience, operation).await;
        assert_eq!(peer.line(&secret, "say").await.err().unwrap().denial.code, code, "{audience} {operation}");
    }
}

#[tokio::test]
async fn a_call_fails_in_one_of_six_ways() {
    let (world, peer, shared) = one(1).await;
    let line = peer.line(&root(), "act").await.unwrap();
    let says = peer.line(&root(), "say").await.unwrap();
    assert_eq!(told(&says, say("a")).await, "1 a to operator/root");

    let epoch = peer.epoch();
    assert_eq!(told(&line, Request::Fail).await, "told to");
    peer.up_after(epoch).await;
    assert_eq!(told(&says, say("b")).await, "1 b to operator/root", "a fault costs the state");
    let epoch = peer.epoch();
    assert_eq!(told(&line, Request::Panic).await, "it panicked: told to panic");
    let epoch = peer.up_after(epoch).await;

    let waits = async { told(&line, Request::Wait).await };
    let meanwhile = async {
        shared.reached().await;
        assert_eq!(told(&says, say("c")).await, "over 1");
        world.tree.kill("root/peer").await.unwrap();
    };
    assert_eq!(tokio::join!(waits, meanwhile).0, "restarted");
    peer.up_after(epoch).await;

    let hasty = line.clone().patience(Duration::from_millis(1));
    assert_eq!(told(&hasty, Request::Wait).await, "timed out");
    shared.gate.add_permits(1);
    world.end().await;
    assert_eq!(told(&says, say("d")).await, "down");
}

#[tokio::test]
async fn each_end_of_authority_ends_a_line() {
    let (world, peer, _) = one(8).await;
    let (id, secret) = world.token("peer", "say").await;
    let line = peer.line(&secret, "say").await.unwrap();
    assert_eq!(told(&line, say("a")).await, "1 a to agent/alpha");
    world.own(world.door.tokens(), tokens::Command::Revoke { id, reason: Reason::Withdrawn }).await;
    assert_eq!(told(&line, say("b")).await, "tokens.revoked");

    let line = peer.line(&root(), "say").await.unwrap();
    let stopped = world.door.stop(&world.ask("system.stop"), |_| std::future::ready(None)).await.unwrap();
    assert_eq!(told(&line, say("c")).await, "door.sealed");
    world.door.resume(&world.ask("system.resume"), stopped.recorded.unwrap()).await.unwrap();
    assert_eq!(told(&line, say("d")).await, "2 d to operator/root");

    let withdraw = nexus::Command::Withdraw { protocol: "peer".into(), reason: kernel::Personal::plain("for a test") };
    world.own(&world.nexus, withdraw).await;
    assert_eq!(told(&line, say("e")).await, "protocols.not_admitted");
}

/// `first` asks and writes to `second` by tickets of its own.
async fn two() -> (World, Line<Peer>, Shared) {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    let second = plan.protocol("second", (&[], &[]), 8, move || Peer::new(&gives, None));
    let gives = shared.clone();
    let first = plan.protocol("first", (&["second"], &["second"]), 8, move || Peer::new(&gives, Some(&second)));
    let world = plan.start().await;
    let line = first.line(&root(), "act").await.unwrap();
    (world, line, shared)
}

#[tokio::test]
async fn a_protocol_asks_in_its_own_name() {
    let (world, line, _) = two().await;
    for number in 1..=3 {
        assert_eq!(told(&line, Request::Ask("hello".into())).await, format!("{number} hello to protocol/first"));
    }
    let drawn = world.door.tokens_view().read(|tokens| {
        let of = tokens::Filter { subject: Some("protocol/first".parse().unwrap()), ..tokens::Filter::default() };
        tokens.list(&of, world.clock.now()).count()
    });
    assert_eq!(drawn, 1, "a ticket serves many calls");
    assert_eq!(told(&line, Request::Post("hello".into())).await, "posted");
    world.until(|nexus| nexus.counters().delivered == 1).await;
}

#[tokio::test]
async fn a_revoked_protocol_neither_asks_nor_writes_until_it_is_admitted_again() {
    let (world, line, _) = two().await;
    assert_eq!(told(&line, Request::Ask("a".into())).await, "1 a to protocol/first");
    world.revoke_subject("protocol/first").await;
    assert_eq!(told(&line, Request::Ask("b".into())).await, "inside: tokens.revoked");
    // A ticket that was never drawn is not drawn now, although nothing has withdrawn the protocol yet.
    assert_eq!(told(&line, Request::Post("c".into())).await, "protocols.not_admitted");
    let alive = world.door.tokens_view().read(|tokens| {
        let of = tokens::Filter {
            subject: Some("protocol/first".parse().unwrap()),
            state: Some(tokens::State::Active),
            ..tokens::Filter::default()
        };
        tokens.list(&of, world.clock.now()).count()
    });
    assert_eq!(alive, 0);
    assert_eq!(world.nexus.inspect(|nexus| nexus.counters().sent).await.unwrap(), 0);

    world.readmit("first", &["second"]).await;
    assert_eq!(told(&line, Request::Ask("d".into())).await, "2 d to protocol/first");
    assert_eq!(told(&line, Request::Post("e".into())).await, "posted");
    world.readmit("first", &[]).await;
    assert_eq!(told(&line, Request::Ask("f".into())).await, "inside: nexus.not_on_its_list");
}
