//! A supervised protocol with a typed request and reply, a token to call it with, and a lease.

use sop::{Cx, Fault, Millis, Protocol, Spawn, System, Token};

#[derive(Default)]
struct Counter(u64);

impl Protocol for Counter {
    type Request = u64;
    type Reply = u64;

    fn operation(_: &u64) -> &'static str {
        "add"
    }

    async fn call(&mut self, amount: u64, _: &mut Cx) -> Result<u64, Fault> {
        self.0 = self.0.checked_add(amount).ok_or_else(|| Fault::new("it is full"))?;
        Ok(self.0)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::args().nth(1).unwrap_or_else(|| "sop-data".into());
    let system = System::open(data).await?;
    let counter = system.spawn(Spawn::new("counter"), Counter::default).await?;
    system.admit_agent("agent/alpha", &["protocol.call"]).await?;
    let token = system.issue(Token::new("agent/alpha", "counter", "add")).await?;
    let line = counter.line(&token, "add").await?;
    println!("{} then {}", line.call(2).await?, line.call(40).await?);

    system.pool("gpu", 1, "card").await?;
    let lease = system.lease("gpu", 1, Millis::minutes(5)).await?;
    println!("holds gpu under fencing number {}", lease.fencing());
    lease.release().await?;
    system.shutdown().await;
    Ok(())
}
