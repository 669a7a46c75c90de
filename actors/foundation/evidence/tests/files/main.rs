//! The log in its directory: followed, damaged, killed, and verified by others.

mod beside;
mod cosigned;
mod foreign;
mod held;
mod log;
mod older;
mod pruned;
mod world;
