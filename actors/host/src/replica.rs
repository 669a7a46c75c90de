//! A machine made again from its records, by itself: what an incarnation begins with, and what drills and proofs compare.

use std::panic::{AssertUnwindSafe, catch_unwind};

use journal::codec::{self, CodecError};
use journal::envelope::{Answer, Record};
use kernel::{Digest, Machine, Position, Sequence};

/// A record that a machine cannot take. What cannot be replayed now cannot be replayed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot replay record {at}: {why}")]
pub struct Unreadable {
    pub name: &'static str,
    pub at: Sequence,
    pub why: String,
}

/// The refusal that a record of `M` holds, if it holds one.
pub fn refused<M: Machine>(record: &Record) -> Option<M::Refusal> {
    let Answer::Refusal(refusal) = &record.answer else { return None };
    (record.stream == M::NAME).then(|| serde_json::from_slice(refusal).ok()).flatten()
}

/// A machine at a version of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica<M> {
    pub machine: M,
    pub version: Position,
}

impl<M: Machine> Replica<M> {
    /// Takes the next record of the stream, and gives the fact that it holds, if it holds one.
    ///
    /// # Errors
    /// [`Unreadable`]; then the machine may be half evolved, and is good for nothing.
    pub fn apply(&mut self, record: &Record) -> Result<Option<M::Event>, Unreadable> {
        let unreadable = |why: String| Unreadable { name: M::NAME, at: record.sequence, why };
        if record.stream != M::NAME || record.version.0 != self.version.0 + 1 {
            return Err(unreadable("it is not the next one".to_owned()));
        }
        self.version = record.version;
        let fact = codec::fact::<M::Event>(record).map_err(|error| unreadable(error.to_string()))?;
        let Some(event) = fact else { return Ok(None) };
        let evolved = catch_unwind(AssertUnwindSafe(|| self.machine.evolve(&event, record.version)));
        evolved.map_err(|panic| unreadable(said(&*panic)))?;
        Ok(Some(event))
    }

    /// The digest of the state, with the version that it is of.
    ///
    /// # Errors
    /// As [`state_digest`].
    pub fn digest(&self) -> Result<(Position, Digest), CodecError> {
        Ok((self.version, state_digest(&self.machine)?))
    }
}

/// Blake3 of a machine's name, a zero and its state in canonical form: two copies of a state compare by it, wherever each
/// came from. It means the same within one release; the state's type may change with the next.
///
/// # Errors
/// If serde refuses, as it does for a sequence of unknown length.
pub fn state_digest<M: Machine>(machine: &M) -> Result<Digest, CodecError> {
    codec::digest(M::NAME, machine)
}

/// A replica of some machine, for whoever replays many.
pub trait Replay: Send {
    fn name(&self) -> &'static str;

    /// # Errors
    /// As [`Replica::apply`].
    fn replay(&mut self, record: &Record) -> Result<(), Unreadable>;

    /// # Errors
    /// As [`Replica::digest`].
    fn digest(&self) -> Result<(Position, Digest), CodecError>;
}

impl<M: Machine> Replay for Replica<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn replay(&mut self, record: &Record) -> Result<(), Unreadable> {
        self.apply(record).map(drop)
    }

    fn digest(&self) -> Result<(Position, Digest), CodecError> {
        self.digest()
    }
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
