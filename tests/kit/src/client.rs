//! A client as the remedies tell it to be: it repeats what was not answered under the same command id, until it is.

use std::pin::Pin;
use std::sync::Arc;

use host::Clock;
use kernel::{CommandId, Denial, Layer, Principal, Sequence};
use serde_json::Value;

use crate::{Answer, Ledger, Note};

/// Asked so often without an answer, a command has been lost for good.
const ATTEMPTS_MAX: u32 = 10_000;

/// A way to the authority.
pub trait Line: Send + Sync {
    fn ask<'a>(
        &'a self,
        action: &'static str,
        arguments: &'a Value,
        bearer: &'a str,
        id: CommandId,
    ) -> Pin<Box<dyn Future<Output = Result<Value, Lost>> + Send + 'a>>;

    /// Returns when it makes sense to ask again.
    fn again(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What came back instead of a yes.
#[derive(Clone, Debug)]
pub enum Lost {
    Denied {
        denial: Denial,
        decision: Option<CommandId>,
    },
    /// The line broke.
    Silence {
        why: String,
    },
}

/// What a command came to.
#[derive(Clone, Debug)]
pub enum Told {
    Yes(Value),
    No(Denial),
}

impl Told {
    /// The code of the denial.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Yes(_) => None,
            Self::No(denial) => Some(&denial.code),
        }
    }

    /// # Panics
    /// If it was denied.
    pub fn yes(self) -> Value {
        match self {
            Self::Yes(value) => value,
            Self::No(denial) => panic!("{denial} ({})", denial.code),
        }
    }
}

/// Asks, and keeps the ledger.
pub struct Client {
    pub ledger: Ledger,
    line: Arc<dyn Line>,
    clock: Clock,
}

impl Client {
    pub fn new(name: &str, line: Arc<dyn Line>) -> Self {
        Self { ledger: Ledger::new(name), line, clock: Clock::system() }
    }

    /// Asks until it is answered.
    ///
    /// # Panics
    /// If it is not answered in very many attempts.
    pub async fn ask(&mut self, by: Option<&Principal>, bearer: &str, action: &'static str, arguments: Value) -> Told {
        let id = self.clock.command_id();
        let by = by.cloned();
        self.ledger.notes.push(Note { id, by, action, unheard: 0, answer: Answer::Unknown });
        let last = self.ledger.notes.len() - 1;
        loop {
            let heard = self.line.ask(action, &arguments, bearer, id).await;
            let note = &mut self.ledger.notes[last];
            let why = match heard {
                Ok(told) => {
                    let first = told.get("record").and_then(Value::as_u64).map(Sequence);
                    note.answer = match first {
                        Some(first) => Answer::Done { first, told: told.clone() },
                        None => Answer::Shown,
                    };
                    return Told::Yes(told);
                }
                Err(Lost::Denied { denial, .. }) if is_open(&denial) => denial.to_string(),
                Err(Lost::Denied { denial, decision }) => {
                    note.answer = Answer::Denied { code: denial.code.clone(), decision };
                    return Told::No(denial);
                }
                Err(Lost::Silence { why }) => why,
            };
            note.unheard += 1;
            assert!(note.unheard < ATTEMPTS_MAX, "{} {action} {id} is never answered: {why}", self.ledger.client);
            self.line.again().await;
        }
    }

    /// Asks again and again, each time anew, until what is shown is `so`.
    ///
    /// # Panics
    /// If it is denied, or not so in very many attempts.
    pub async fn until(
        &mut self,
        by: &Principal,
        bearer: &str,
        action: &'static str,
        arguments: Value,
        so: impl Fn(&Value) -> bool,
    ) -> Value {
        for _ in 0..ATTEMPTS_MAX {
            let shown = self.ask(Some(by), bearer, action, arguments.clone()).await.yes();
            if so(&shown) {
                return shown;
            }
            self.line.again().await;
        }
        panic!("{} {action} {arguments} never shows it", self.ledger.client);
    }
}

/// Whether the remedy is to repeat with the same id.
fn is_open(denial: &Denial) -> bool {
    match denial.layer {
        Layer::Availability => !["host.fault", "http.fault"].contains(&denial.code.as_str()),
        Layer::Commit => denial.code != "host.answer_lost",
        Layer::Limit => denial.code == "host.overloaded",
        _ => false,
    }
}
