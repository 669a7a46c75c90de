//! What the machine of keys answers, and what holds after every history.

mod answers;
mod laws;
mod world;
