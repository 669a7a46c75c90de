//! Cryptographic suites: which there are, what each domain may use, and every operation under that policy. Pure but for the
//! randomness that a primitive needs; no files, no clock. The one provider is aws-lc-rs, and BLAKE3's own crate.
//!
//! Who wants to sign, verify, seal, open, wrap, unwrap, agree or hash asks the [`Policy`] of a [`Domain`] first; the operations
//! are methods of what it answers:
//!
//! ```
//! use suites::{Domain, Policy, Purpose, Signature};
//!
//! const MANIFEST: Purpose = Purpose::new("backup-manifest");
//!
//! # fn main() -> Result<(), suites::Refusal> {
//! let policy = Policy::default();
//! let may_sign = policy.preferred::<Signature>(Domain::System);
//! let key = may_sign.generate()?;
//! let signed = may_sign.sign(&key, MANIFEST, b"what is in it")?;
//!
//! let may_check = policy.accept(Domain::System, key.suite())?;
//! may_check.verify(key.public(), MANIFEST, b"what is in it", &signed)
//! # }
//! ```
//!
//! # Invariants
//! 1. Nothing is made or checked but under a policy that allows or accepts the suite in the domain.
//! 2. What is signed, sealed, wrapped or agreed upon is bound to its suite, domain and purpose, and worth nothing under another;
//!    a digest is that of its content alone, and says by which suite.
//! 3. What another suite made is refused, a stronger one's too; so is a hybrid signature of which one half is missing or wrong.
//! 4. What is worth reading again has one form: names, tags, keys and headers are never changed (`tests/forms.rs`).
//! 5. A secret is overwritten when nobody holds it any more (`tests/overwritten.rs`), and printed never.

pub mod agreeing;
mod bound;
pub mod hashing;
#[cfg(test)]
mod known;
mod policy;
mod refusal;
pub mod sealing;
mod secret;
pub mod signing;
mod suite;
pub mod wrapping;

pub use bound::{PURPOSE_MAX, Purpose};
pub use policy::{Accepted, Allowed, DEFAULT_BITS, Domain, FLOOR_BITS, NoDomain, Policy, PolicyError};
pub use refusal::Refusal;
pub use secret::Secret;
pub use suite::{ALIASES, Agreement, Cipher, Family, Hash, Kind, Named, Signature, Suite, Sunset, Unknown, Wrap};
