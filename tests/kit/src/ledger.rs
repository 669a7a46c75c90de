//! What one client asked and was told, in the order in which it asked: one command after the other.

use kernel::{CommandId, Principal, Sequence};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Ledger {
    /// For messages.
    pub client: String,
    pub notes: Vec<Note>,
}

/// One command.
#[derive(Clone, Debug)]
pub struct Note {
    pub id: CommandId,
    /// In whose name; `None` for a credential that nobody holds.
    pub by: Option<Principal>,
    pub action: &'static str,
    /// How often it was asked without an answer that settles it.
    pub unheard: u32,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Never heard: it may have been done once, or not.
    Unknown,
    /// Done, with its first record at this place.
    Done {
        first: Sequence,
        told: Value,
    },
    /// Answered from what is; leaves at most a record of the decision.
    Shown,
    Denied {
        code: String,
        decision: Option<CommandId>,
    },
}

impl Ledger {
    pub fn new(client: &str) -> Self {
        Self { client: client.to_owned(), notes: Vec::new() }
    }
}
