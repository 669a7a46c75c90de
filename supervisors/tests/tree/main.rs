//! Whole trees with real actors on tokio's paused clock: what a caller sees.
//!
//! The clock moves only when every task waits, so a test that reads "after 400 ms" measures nothing: it is exact.

mod changes;
mod ends;
mod members;
mod pools;
mod probe;
mod rules;
