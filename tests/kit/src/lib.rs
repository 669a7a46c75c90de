//! The test kit: what tests of the whole need in order to break it and to judge what is left.
//!
//! [`Client`]s do the work of [`work`] over a [`Line`], which is a desk in this process or the socket of a [`Daemon`], and
//! each keeps a [`Ledger`] of what it asked and was told. The [`judge`] holds the ledgers against the journal. Nothing here
//! knows what was killed, so that one judge serves every way of dying.

mod authority;
mod client;
mod daemon;
mod dice;
pub mod figures;
pub mod judge;
mod ledger;
pub mod restored;
pub mod work;

pub use authority::{Authority, STARTER, admit, adopt_starter, root};
pub use client::{Client, Line, Lost, Told};
pub use daemon::{Daemon, Output};
pub use dice::{Dice, seed};
pub use ledger::{Answer, Ledger, Note};
/// Faults for supervision trees of one's own, and an oracle that judges them.
pub use supervisors::chaos;
