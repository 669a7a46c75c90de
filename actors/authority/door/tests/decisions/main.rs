//! The machine that keeps decisions without an effect.

mod answers;
mod laws;
mod replay;
mod written;
