//! The log in its directory: followed, damaged, killed, and verified by others.

mod foreign;
mod log;
mod older;
mod pruned;
mod world;
