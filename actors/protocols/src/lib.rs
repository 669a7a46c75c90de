//! Runs protocols as supervised actors. A [`Protocol`] is written as a plain type; this crate gives it a place in the tree,
//! typed calls from others ([`Line`]), messages that it handles once each ([`Letter`]), and authority to speak to those
//! that it was admitted to speak to.
//!
//! A protocol acts as `protocol/NAME`. What it may do is never cached over a change: each call checks a
//! [`Warrant`](door::Warrant), and what a protocol posts is checked again when it is committed.
//!
//! # Invariants
//! 1. A call is answered, or the caller learns why not; it is never repeated behind his back.
//! 2. A letter leaves the nexus in the same commit that puts in what its handling posted: a chain of letters is handled
//!    once, link by link, whatever is killed in between. A handler may run again; its posts do not count twice.
//! 3. A letter that its handler rejects or panics on is a failed attempt, and ends as a dead letter. It costs the protocol
//!    its state, never its restart budget: nobody can quarantine a protocol by writing to it.
//! 4. Tickets are drawn only for a protocol that is admitted and was not revoked since.
//! 5. A protocol starts when all that it depends on is up. A stop lets the letter in hand be finished; the rest waits.

mod cx;
mod line;
mod post;
mod runtime;
#[cfg(feature = "samples")]
pub mod samples;
mod shell;
mod tickets;

use std::fmt::Display;
use std::future::Future;

pub use cx::{Cx, Draft};
pub use line::{CallError, Line, Reference};
pub use nexus::{Priority, Waiting as Letter};
pub use post::Bells;
pub use runtime::{Limits, Runtime};

/// What a protocol is: its state, and what it does when it is called or written to.
///
/// One thing at a time: nothing here runs while another method of the same protocol does.
pub trait Protocol: Send + 'static {
    type Request: Send + 'static;
    /// What can go wrong in the protocol's own terms belongs in here.
    type Reply: Send + 'static;

    /// What a request asks for: the operation that a token must be for.
    fn operation(request: &Self::Request) -> &'static str;

    /// Before anything else, in each incarnation.
    fn started(&mut self, _cx: &mut Cx) -> impl Future<Output = Result<(), Fault>> + Send {
        async { Ok(()) }
    }

    /// Answers a call. A fault ends the incarnation: the next one starts with a fresh state.
    fn call(&mut self, request: Self::Request, cx: &mut Cx) -> impl Future<Output = Result<Self::Reply, Fault>> + Send;

    /// Handles a letter. It may run more than once for the same letter, and what it posts is sent once.
    fn message(&mut self, letter: &Letter, _cx: &mut Cx) -> impl Future<Output = Result<(), Rejected>> + Send {
        async move { Err(Rejected::new(format!("it takes no {}", letter.kind))) }
    }

    /// The last thing, at a stop in order.
    fn stopping(&mut self, _cx: &mut Cx) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Why a protocol cannot go on. It is restarted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    pub fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }
}

/// Why a letter was not handled. It is tried again, and is a dead letter after [`nexus::ATTEMPTS_MAX`] attempts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

impl Rejected {
    pub fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }
}
