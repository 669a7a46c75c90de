//! The one actor shell: runs any [`Machine`], and is the only place that knows the order *decide, persist, tell*.
//!
//! A host never waits for the disk between two commands. It decides, evolves its machine at once, hands the facts to the
//! journal and takes the next command; the answer leaves when the journal says that the facts are durable. So the machine
//! runs ahead of the disk, and nobody can see how far: replies, refusals and reads alike wait for the version they saw.
//!
//! # Invariants
//! 1. No answer rests on a version that is not durable.
//! 2. A command id has one outcome: a repeat gets the first answer, another content under the id is refused ([`outcomes`]).
//! 3. An append that fails ends the incarnation; the next one replays. Nothing is undone in memory.
//! 4. A command whose decision panics is answered as a fault and refused from then on: no crash loop.
//! 5. [`View`]s see durable facts only, in order, and before anybody is told of them.
//! 6. Where a start begins, with a snapshot or without, makes no difference to anybody ([`memory`]).

mod actor;
mod ahead;
mod clock;
mod error;
mod handle;
mod memory;
mod outcomes;
mod owned;
mod replica;
mod shape;

pub use clock::Clock;
pub use error::Error;
pub use handle::{Answer, Handle, Hosted, Limits, Order, View};
pub use memory::Standing;
pub use owned::OwnedTask;
pub use replica::{Replay, Replica, Unreadable, refused, state_digest};
pub use shape::digest_of as shape_digest;
