//! Verdicts on what the authority's own crates wrote, whole and changed in every way that we can think of.

mod beside;
mod exports;
mod logs;
mod notes;
mod program;
mod world;
