//! The transport against a real socket and a fake of what stands behind it.

mod answers;
mod common;
mod lives;
mod tcp;
