//! The library from outside: what a program sees that opens a [`System`](sop::System).

use std::process::Command;
use std::sync::Arc;

use sop::{
    CallError, Cx, Draft, Fault, Letter, Millis, Protocol, Rejected, Sequence, Spawn, SpawnError, System, Token,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Runs twice over the same directory: the second time everything is there already.
#[test]
fn the_example_says_what_the_readme_says() {
    let dir = tempfile::tempdir().unwrap();
    for fencing in [1, 2] {
        let ran = Command::new(env!("CARGO_BIN_EXE_protocol")).arg(dir.path().join("data")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert_eq!(said, format!("2 then 42\nholds gpu under fencing number {fencing}\n"), "{ran:?}");
    }
}

#[test]
fn the_example_is_short() {
    let example = include_str!("../protocol.rs");
    assert!(example.lines().count() < 40);
}

/// Echoes, and tells its test of the letters that it gets.
struct Echo(UnboundedSender<String>);

impl Protocol for Echo {
    type Request = String;
    type Reply = String;

    fn operation(_: &String) -> &'static str {
        "echo"
    }

    async fn call(&mut self, request: String, cx: &mut Cx) -> Result<String, Fault> {
        if request == "fail" {
            return Err(Fault::new("told to"));
        }
        Ok(format!("{request} for {}", cx.caller().map(ToString::to_string).unwrap_or_default()))
    }

    async fn message(&mut self, letter: &Letter, _: &mut Cx) -> Result<(), Rejected> {
        let text = String::from_utf8(letter.payload.clone()).map_err(Rejected::new)?;
        self.0.send(format!("{text} from {}", letter.source)).map_err(Rejected::new)
    }
}

#[tokio::test]
async fn a_program_has_an_authority_of_its_own() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let system = System::open(dir.path().join("data")).await?;
    let (tell, mut told) = unbounded_channel();
    let tell = Arc::new(tell);
    let make = move || Echo(tell.as_ref().clone());
    let echo = system.spawn(Spawn::new("echo").permits(4), make.clone()).await?;

    let stranger = system.issue(Token::new("agent/alpha", "echo", "echo")).await.err().ok_or("it is not admitted")?;
    assert_eq!(stranger.denial.code, "door.not_admitted");
    system.admit_agent("agent/alpha", &["protocol.call"]).await?;
    let secret = system.issue(Token::new("agent/alpha", "echo", "echo").uses(2)).await?;
    let line = echo.line(&secret, "echo").await?;
    assert_eq!(line.call("hello".into()).await?, "hello for agent/alpha");
    let refused = echo.line(&secret, "echo").await.err().ok_or("one use must be left over")?;
    assert_eq!(refused.denial.code, "door.used_up");
    let own = system.line(&echo, "echo").await?;
    let epoch = echo.epoch();
    assert!(matches!(own.call("fail".into()).await, Err(CallError::Fault { .. })));
    echo.up_after(epoch).await;
    assert_eq!(own.call("again".into()).await?, "again for operator/root");

    let id = system.send(Draft::new("echo", "note").text("hello")).await?;
    assert_eq!(told.recv().await.as_deref(), Some("hello from operator/root"), "{id}");

    assert!(matches!(system.spawn(Spawn::new("a b"), make.clone()).await, Err(SpawnError::Name(_))));
    assert!(matches!(system.spawn(Spawn::new("echo"), make.clone()).await, Err(SpawnError::Start(_))));
    let unknown = system.spawn(Spawn::new("other").depends_on("nobody"), make.clone()).await;
    assert!(matches!(unknown, Err(SpawnError::Denied(denied)) if denied.denial.code == "nexus.unknown_dependency"));
    assert_eq!(own.call("still".into()).await?, "still for operator/root", "none of that did it any harm");

    system.pool("gpu", 2, "card").await?;
    let mut lease = system.lease("gpu", 2, Millis::minutes(1)).await?;
    let second = system.lease("gpu", 1, Millis::minutes(1)).await.err().ok_or("nothing is free")?;
    assert_eq!(second.denial.code, "allocator.exhausted");
    let before = lease.expires_at();
    lease.renew().await?;
    assert!(before <= lease.expires_at());
    lease.release().await?;
    assert_eq!(system.lease("gpu", 1, Millis::minutes(1)).await?.fencing(), 2);

    // What is sent while nobody is there waits.
    system.remove("echo").await?;
    assert!(matches!(own.call("gone".into()).await, Err(CallError::Down { .. })));
    system.send(Draft::new("echo", "note").text("later")).await?;
    assert!(system.shutdown().await.is_graceful());
    let system = System::open(dir.path().join("data")).await?;
    system.spawn(Spawn::new("echo"), make).await?;
    assert_eq!(told.recv().await.as_deref(), Some("later from operator/root"));
    assert!(system.shutdown().await.is_graceful());
    Ok(())
}

/// A revocation reaches the protocol in every way, and a restart of the program does not undo it.
#[tokio::test]
async fn what_was_revoked_stays_so_until_it_is_admitted_again() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (tell, _told) = unbounded_channel();
    let make = move || Echo(tell.clone());
    let system = System::open(dir.path().join("data")).await?;
    let echo = system.spawn(Spawn::new("echo"), make.clone()).await?;
    let line = system.line(&echo, "echo").await?;
    assert!(line.call("a".into()).await.is_ok());
    system.revoke("protocol/echo").await?;
    // The route takes a moment; until then it answers.
    while line.call("b".into()).await.is_ok() {}
    let denied = line.call("c".into()).await.err().ok_or("it is withdrawn")?;
    assert!(matches!(denied, CallError::Denied(denial) if denial.code == "protocols.not_admitted"));
    system.shutdown().await;

    let system = System::open(dir.path().join("data")).await?;
    let refused = system.spawn(Spawn::new("echo"), make.clone()).await;
    assert!(matches!(refused, Err(SpawnError::Withdrawn { .. })), "{refused:?}");
    system.admit(&Spawn::new("echo")).await?;
    let echo = system.spawn(Spawn::new("echo"), make).await?;
    assert!(system.line(&echo, "echo").await?.call("d".into()).await.is_ok());
    system.shutdown().await;
    Ok(())
}

/// What a program follows under a name goes on where it was, in a later process too.
#[tokio::test]
async fn what_is_recorded_can_be_followed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let system = System::open(&data).await.unwrap();
    let kinds = ["allocator.defined"];
    let follow = async |system: &System| system.subscribe("pools", &["allocator"], &kinds, Some(Sequence(1))).await;
    let pools = follow(&system).await.unwrap();
    system.pool("gpu", 4, "card").await.unwrap();
    system.pool("cpu", 64, "core").await.unwrap();
    let first = pools.next(1).await.unwrap();
    assert_eq!((first.records.len(), first.records[0].principal.as_str()), (1, "operator/root"));
    let denied = pools.acknowledge(Sequence(1_000_000)).await.unwrap_err();
    assert_eq!(denied.denial.code, "subscriptions.not_given");
    pools.acknowledge(first.position).await.unwrap();
    let second = pools.next(10).await.unwrap();
    assert_eq!(second.records.len(), 1, "the other one");
    system.shutdown().await;

    let system = System::open(&data).await.unwrap();
    let pools = follow(&system).await.unwrap();
    assert_eq!(pools.next(10).await.unwrap().records, second.records, "it was not acknowledged");
    let denied = system.subscribe("more", &["nobody"], &[], None).await.map(drop).unwrap_err();
    assert_eq!(denied.denial.code, "request.arguments");
    pools.clone().delete().await.unwrap();
    assert_eq!(pools.next(10).await.unwrap_err().denial.code, "subscriptions.unknown");
    system.shutdown().await;
}
