//! SOP, the operations authority: the composition root, and the only place that knows everything.
//!
//! A program that wants protocols of its own begins at [`System`]; docs/protocols.md tells how.
//!
//! [`tree`] says who is supervised by whom, [`routes`] who hears whom, [`boot`] how it starts and stops, and [`desk`] what
//! the outside can ask. The parts themselves know nothing of each other.

pub mod attest;
#[cfg(feature = "http")]
mod bearers;
pub mod beside;
pub mod boot;
#[cfg(feature = "http")]
pub mod certifier;
pub mod decided;
#[cfg(feature = "http")]
pub mod desk;
mod detections;
mod gate;
#[cfg(feature = "http")]
pub mod issuers;
pub mod keys;
pub mod manifests;
pub mod outcomes;
pub mod requests;
pub mod retention;
pub mod routes;
#[cfg(feature = "cli")]
pub mod samples;
#[cfg(feature = "cli")]
pub mod service;
pub mod shelf;
pub mod states;
pub mod subscriptions;
mod system;
mod things;
pub mod tree;
pub mod witnesses;

pub use door::{Denied, Secret};
pub use journal::envelope::Record;
pub use journal::reader::Page;
pub use kernel::{Denial, Millis, Principal, Sequence, Timestamp};
pub use protocols::{CallError, Cx, Draft, Fault, Letter, Line, Priority, Protocol, Reference, Rejected};
pub use system::{Lease, OpenError, Spawn, SpawnError, Subscription, System, Token};
