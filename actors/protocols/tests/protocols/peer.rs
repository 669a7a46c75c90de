//! The protocol of these tests: it says, fails, panics, waits and relays as it is told.

use std::sync::{Arc, Mutex};

use protocols::{CallError, Cx, Draft, Fault, Letter, Protocol, Reference, Rejected};
use tokio::sync::Semaphore;

/// What a test shares with its protocols.
#[derive(Clone)]
pub struct Shared {
    /// A handler that waits takes one.
    pub gate: Arc<Semaphore>,
    /// One is added when a handler begins to wait.
    pub waiting: Arc<Semaphore>,
    /// What was handled, attempts included.
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Default for Shared {
    fn default() -> Self {
        let [gate, waiting] = [0, 0].map(|none| Arc::new(Semaphore::new(none)));
        Self { gate, waiting, log: Arc::default() }
    }
}

impl Shared {
    pub async fn pass(&self) {
        self.waiting.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
    }

    /// Waits until a handler waits.
    pub async fn reached(&self) {
        self.waiting.acquire().await.unwrap().forget();
    }

    pub fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

pub enum Request {
    Say(String),
    Fail,
    Panic,
    Wait,
    /// Ask the next one to say it.
    Ask(String),
    /// Post it to the next one.
    Post(String),
}

#[derive(Clone)]
pub struct Peer {
    pub shared: Shared,
    pub next: Option<Reference<Peer>>,
    pub said: u32,
}

impl Peer {
    pub fn new(shared: &Shared, next: Option<&Reference<Peer>>) -> Self {
        Self { shared: shared.clone(), next: next.cloned(), said: 0 }
    }

    fn to_next(&self, text: &str) -> Draft {
        Draft::new(self.next.as_ref().map_or("nobody", |next| next.name()), "relay").text(text)
    }
}

impl Protocol for Peer {
    type Request = Request;
    type Reply = Result<String, CallError>;

    fn operation(request: &Request) -> &'static str {
        match request {
            Request::Say(_) => "say",
            _ => "act",
        }
    }

    async fn call(&mut self, request: Request, cx: &mut Cx) -> Result<Self::Reply, Fault> {
        match request {
            Request::Say(text) => {
                self.said += 1;
                let by = cx.caller().map(ToString::to_string).unwrap_or_default();
                Ok(Ok(format!("{} {text} to {by}", self.said)))
            }
            Request::Fail => Err(Fault::new("told to")),
            Request::Panic => panic!("told to panic"),
            Request::Wait => {
                self.shared.pass().await;
                Ok(Ok("waited".into()))
            }
            Request::Ask(text) => {
                let next = self.next.clone().ok_or_else(|| Fault::new("nobody is next"))?;
                Ok(match cx.line(&next).call(Request::Say(text)).await {
                    Ok(said) => said,
                    Err(error) => Err(error),
                })
            }
            Request::Post(text) => {
                cx.post(self.to_next(&text));
                Ok(Ok("posted".into()))
            }
        }
    }

    async fn message(&mut self, letter: &Letter, cx: &mut Cx) -> Result<(), Rejected> {
        let text = String::from_utf8(letter.payload.clone()).map_err(Rejected::new)?;
        self.shared.log.lock().unwrap().push(format!("{} {text}", cx.name()));
        match letter.kind.as_str() {
            "poison" => panic!("{text} is poison"),
            "wait" => self.shared.pass().await,
            "relay" if self.next.is_some() => cx.post(self.to_next(&text)),
            "relay" | "note" => {}
            _ => return Err(Rejected::new("not this kind")),
        }
        Ok(())
    }

    async fn stopping(&mut self, cx: &mut Cx) {
        self.shared.log.lock().unwrap().push(format!("{} stops", cx.name()));
    }
}
