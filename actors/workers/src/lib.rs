//! The I/O hands of machines; no decisions.
