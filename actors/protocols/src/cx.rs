//! What a protocol works with while it handles something: who asks, what it posts, and lines to others.

use std::sync::Arc;

use kernel::{Decision, Millis, Principal};
use nexus::{Message, Priority};

use crate::runtime::Seat;
use crate::{Line, Protocol, Reference};

/// One handling.
pub struct Cx {
    pub(crate) seat: Arc<Seat>,
    pub(crate) caller: Option<Caller>,
    pub(crate) posted: Vec<Draft>,
}

/// Who calls, and by which decision he may.
#[derive(Clone)]
pub(crate) struct Caller {
    pub principal: Arc<Principal>,
    pub decision: Arc<Decision>,
}

impl Cx {
    pub(crate) fn new(seat: &Arc<Seat>, caller: Option<Caller>) -> Self {
        Self { seat: seat.clone(), caller, posted: Vec::new() }
    }

    /// The protocol's own name.
    pub fn name(&self) -> &str {
        self.seat.me.name()
    }

    /// Who calls; `None` outside a call. Of a letter, see its `source`.
    pub fn caller(&self) -> Option<&Principal> {
        self.caller.as_ref().map(|caller| &*caller.principal)
    }

    /// The decision that let the call in.
    pub fn decision(&self) -> Option<&Decision> {
        self.caller.as_ref().map(|caller| &*caller.decision)
    }

    /// Posts a message: it is sent when the handling has succeeded, and not at all otherwise. What the handling of a letter
    /// posts is sent in one commit with the letter's end.
    pub fn post(&mut self, draft: Draft) {
        self.posted.push(draft);
    }

    /// A line to another protocol, in this one's own name. Its tickets are drawn when they are first needed, for those that
    /// this protocol was admitted to speak to.
    pub fn line<P: Protocol>(&self, to: &Reference<P>) -> Line<P> {
        Line::by_tickets(to, &self.seat)
    }
}

/// A message to be posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    destination: String,
    kind: String,
    content_type: String,
    payload: Vec<u8>,
    priority: Priority,
    lifetime: Option<Millis>,
}

impl Draft {
    /// To the protocol `destination`; `kind` says what it is.
    pub fn new(destination: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            destination: destination.into(),
            kind: kind.into(),
            content_type: "application/octet-stream".to_owned(),
            payload: Vec::new(),
            priority: Priority::default(),
            lifetime: None,
        }
    }

    pub fn text(self, text: impl Into<String>) -> Self {
        self.payload("text/plain; charset=utf-8", text.into())
    }

    pub fn payload(self, content_type: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { content_type: content_type.into(), payload: payload.into(), ..self }
    }

    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// How long it waits to be handled.
    pub fn lifetime(self, lifetime: Millis) -> Self {
        Self { lifetime: Some(lifetime), ..self }
    }

    /// The message, sent by `source`.
    pub fn from(self, source: Principal) -> Message {
        let Self { destination, kind, content_type, payload, priority, lifetime } = self;
        Message { source, destination, priority, kind, content_type, payload, lifetime }
    }
}
