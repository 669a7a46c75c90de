//! The I/O hands of machines, a module each; no decisions.
//!
//! A worker reads what is outstanding from the journal or from its machine, does the work, and reports what came of it as
//! a command of an internal principal. Being killed costs it nothing but time.

pub mod attestor;
pub mod backup;
pub mod certifier;
pub mod custodian;
pub mod detector;
pub mod erasure;
pub mod evidence;
pub mod monitor;
pub mod pruner;
pub mod route;
pub mod scan;
pub mod scanner;
mod wake;
pub mod watch;
pub mod witness;
