//! The event journal: one group-committing writer over fjall.
