//! Token authority: typed, bound, counted permissions.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

pub use vocabulary::*;
