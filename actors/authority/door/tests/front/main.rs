//! The front over real hosts: what is recorded, spent, sealed and answered, whatever fails.

mod approvals;
mod callers;
mod carried;
mod denials;
mod effects;
mod failures;
mod ledger;
mod operating;
mod proofs;
mod quotas;
mod shelf;
mod spending;
mod stops;
mod trials;
mod warrants;
mod world;
