//! SOP, the operations authority: the composition root, and the only place that knows everything.
//!
//! [`tree`] says who is supervised by whom, [`routes`] who hears whom, [`boot`] how it starts and stops, and [`desk`] what
//! the outside can ask. The parts themselves know nothing of each other.

pub mod boot;
#[cfg(feature = "http")]
pub mod desk;
pub mod requests;
pub mod routes;
#[cfg(feature = "cli")]
pub mod service;
pub mod tree;
