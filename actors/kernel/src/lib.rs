//! The contract and vocabulary that everything else is written in.
//!
//! A concern of the authority is a [`Machine`]: a deterministic, event-sourced state machine without clock, randomness or
//! I/O. This crate says what a machine is, what it is told ([`Context`]), what it answers ([`Outcome`], a [`Refuse`]d
//! command), how its facts are written down for ever ([`Recorded`]), and which words all concerns share: ids, times,
//! positions, principals, requests, decisions, denials and texts about people.
//!
//! # Invariants
//! 1. `#![no_std]`: what is written against this crate alone cannot read a clock or a file.
//! 2. Nothing here decides anything.

#![no_std]

extern crate alloc;

mod asked;
mod authority;
mod ids;
#[cfg(feature = "json")]
pub mod json;
mod machine;
mod personal;
mod record;
mod time;

pub use asked::{Asked, Attribute, Standing, cut};
pub use authority::{Decision, Denial, Kin, Layer, Missing, Principal, TokenUse};
pub use ids::{CommandId, CredentialId, Digest, Epoch, Malformed, Position, Sequence, TokenId};
pub use machine::{Context, Machine, Outcome, Refuse};
pub use personal::Personal;
pub use record::{Kind, Reader, Recorded, Writer};
pub use time::{Millis, Timestamp};
