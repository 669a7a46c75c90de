//! How facts are written down for ever.
//!
//! Every variant of a machine's event has a registered [`Kind`] and a *frozen* body: a struct of numbers, byte arrays,
//! strings, options and lists of such, that never changes once released. A changed body is a new struct under the same
//! id with the next version; the older one is decoded for ever and lifted to the newest by [`Recorded::read`]: `From` leads
//! from each version to the next and to no other, and events wrap the newest only.
//!
//! ```text
//! (402, 1) => reader.get::<ClaimedV1>().map(ClaimedV2::from).map(ClaimedV3::from).map(Self::Claimed),
//! (402, 2) => reader.get::<ClaimedV2>().map(ClaimedV3::from).map(Self::Claimed),
//! (402, 3) => reader.get().map(Self::Claimed),
//! ```
//!
//! # Invariants
//! 1. A kind's id names one event variant for ever; ids below 100 belong to the host.
//! 2. A frozen body has no enum, `usize`, unordered map, float or serde attribute (tests/architecture.rs looks).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The registered type of a record's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    pub id: u32,
    pub version: u16,
    /// For people; the id is what counts on disk.
    pub name: &'static str,
}

/// An event that can be written to the journal and read from it.
pub trait Recorded: Sized {
    /// Every kind that was ever written, older versions included.
    const KINDS: &'static [Kind];

    fn write<W: Writer>(&self, writer: W) -> W::Done;

    /// # Errors
    /// The reader's, if the body is not what the kind says, or [`Reader::unknown`].
    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error>;
}

/// Takes one body, with its kind: the journal's codec, or `json` for people and tests.
pub trait Writer {
    type Done;

    fn put<T: Serialize>(self, kind: Kind, body: &T) -> Self::Done;
}

/// Gives one body, as whatever type its kind calls for.
pub trait Reader {
    type Error;

    /// # Errors
    /// If the bytes are not exactly one `T`.
    fn get<T: DeserializeOwned>(self) -> Result<T, Self::Error>;

    /// The error for a kind that was never registered.
    fn unknown(self) -> Self::Error;
}
