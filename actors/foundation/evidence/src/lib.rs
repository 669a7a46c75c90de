//! The tile log: what was recorded, signed so that a stranger can verify it.
//!
//! Every durable record of the journal becomes an entry of a C2SP tlog-tiles log: entry number n is record n + 1. The log is
//! a directory of files that never change, but for its checkpoint, which is signed and says for which tree the log stands.
//! [`tree`], [`tile`], [`note`] and [`checkpoint`] are pure; [`files`] is the directory; [`Evidence`] lets it follow the
//! journal; [`verify`] checks all of it, [`repair`] makes it whole, and [`export`] gives a part of it away. To the
//! journal it is what its older records come from ([`journal::Past`]). [`witness`] and [`cosigned`] are about those who saw
//! it from outside, [`beside`] about a second signature, of a key that has its time,
//! and [`Keeper`] about who holds the log's own.
//!
//! # Invariants
//! 1. Nothing is signed before it is durable, in the journal and in the files of the log.
//! 2. Nothing is signed that does not extend what was signed last: its tiles are read again and give its root before the
//!    log grows, and the journal must have the records that were signed.
//! 3. No file that a checkpoint covers is ever written again; a partial tile goes when the full one is covered.
//! 4. What a log loses by its minimum index is what a record in it says, and no hash of it ([`minimum`]).
//! 5. The log follows and is never waited for: whatever becomes of it, the journal goes on.

pub mod beside;
pub mod checkpoint;
pub mod cosigned;
pub mod export;
pub mod files;
mod follow;
mod held;
mod minimum;
pub mod note;
mod past;
pub mod repair;
pub mod run;
pub mod tile;
pub mod tree;
pub mod unsynced;
pub mod verify;
pub mod witness;

pub use beside::{Beside, BesideKey, What};
pub use files::{LogError, Places};
pub use follow::{Evidence, Failing, Limits, Standing, Witnessed};
pub use held::{Hands, Holding, Keeper, NotKept};
pub use minimum::Minimum;
pub use witness::{CosignError, Witness, Witnesses};
