//! The I/O hands of machines, a module each; no decisions.

pub mod scan;
