//! Todos: the work that open gaps call for.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

pub use vocabulary::*;
