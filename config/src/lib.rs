//! Configuration: every option, its default and its check.
//!
//! `default.toml` names and explains every option and is the lowest layer; a file, the environment and the command line
//! come over it. [`Config::load`] reads them all and gives typed values, or every [`Problem`] that it found.
//!
//! # Invariants
//! 1. The options that [`Config`] is made of and those of `default.toml` are the same.
//! 2. Nothing is ignored: an unknown key, a wrong type or a value out of its range is a problem with a place and a remedy.
//! 3. The result depends on [`Sources`] and the one file only; the process's environment is read in
//!    [`Sources::of_process`] and nowhere else.

mod address;
mod issuer;
mod load;
mod place;
mod root_key;
mod sections;
mod template;
mod witness;

pub use address::{Address, Named};
pub use issuer::{Algorithm, Issuer, KeysAt, NotAnIssuer};
pub use load::{Config, Origin, Problem};
pub use place::{Files, Sources, socket};
pub use root_key::{NotARootKey, RootKey};
pub use sections::{
    Attestation, Backup, Bytes, Certificate, Classes, Crypto, Door, Gaps, Host, Http, Journal, Limits, Log, Pages,
    Place, Retention, S3, Scan, Security, Store, Supervision, Tls,
};
pub use template::template;
pub use witness::{NotAWitness, Witness, address_of};

/// The lowest layer, and the documentation of all options.
pub const DEFAULT: &str = include_str!("../default.toml");
