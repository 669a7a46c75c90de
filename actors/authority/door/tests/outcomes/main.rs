//! The machine that keeps what goes on after its first record.

mod answers;
mod laws;
mod replay;
mod written;
