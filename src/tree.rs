//! Who is supervised by whom: the whole tree, as data, on one page.
//!
//! ```text
//! sop                rest_for_one   what ends takes along what comes after it
//! ├─ edge            one_for_one    starts first and stops last: it answers status and reasons through everything
//! │  └─ issuer.*  certifier  http
//! ├─ foundation      intensity 0    any end of one of them ends it, and restarts all below
//! │  ├─ journal
//! │  └─ evidence
//! ├─ authority       one_for_one    never ends by budget: who is exhausted is quarantined, and the door says so
//! │  ├─ governance   identity   tokens   decisions   outcomes   allocator   approvals   proofs
//! ├─ operations      one_for_one    the same
//! │  ├─ health   nexus   gaps   todos   backup   subjects   subscriptions   retention   security   crypto
//! │  └─ monitor   scanner   archivist   eraser   custodian   pruner   watch   attestor   witness   detector   route.*
//! └─ protocols       one_for_one    the same; empty at first, its children are added while the tree runs
//! ```
//!
//! # Invariants
//! 1. Children start in this order and stop in the reverse of it.
//! 2. When the root's own budget is spent the process ends: what cannot be healed here must be seen from outside.

use std::time::Duration;

use config::Supervision;
use supervisors::{Backoff, Child, Exhausted, Strategy, Supervisor};

/// Where protocols are added.
pub const PROTOCOLS: &str = "sop/protocols";

/// The children of each group, made by [`boot`](crate::boot).
pub struct Groups {
    pub edge: Vec<Child>,
    pub journal: Child,
    pub evidence: Child,
    pub authority: Vec<Child>,
    pub operations: Vec<Child>,
}

/// The tree.
pub fn tree(groups: Groups, limits: &Supervision) -> Supervisor {
    let Groups { edge, journal, evidence, authority, operations } = groups;
    let restarts = u32::try_from(limits.restarts).unwrap_or(u32::MAX);
    let backoff = || Backoff::exp(limits.backoff_first, limits.backoff_max).jitter(10);
    let group = |name, children: Vec<Child>| {
        // A group that restarts with the journal brings all its children up again, so its own budget is not theirs.
        let group = Supervisor::new(name, Strategy::OneForOne)
            .intensity(restarts, limits.within)
            .on_exhausted(Exhausted::Quarantine)
            .backoff(backoff());
        children.into_iter().fold(group, |group, child| group.child(child.shutdown(limits.shutdown_deadline)))
    };
    let foundation = Supervisor::new("foundation", Strategy::OneForAll)
        .intensity(0, Duration::from_secs(1))
        .on_exhausted(Exhausted::Escalate)
        .child(journal.shutdown(limits.shutdown_deadline))
        .child(evidence.shutdown(limits.shutdown_deadline));
    Supervisor::new("sop", Strategy::RestForOne)
        .intensity(restarts, limits.within)
        .on_exhausted(Exhausted::Escalate)
        .backoff(backoff())
        .supervisor(group("edge", edge))
        .supervisor(foundation)
        .supervisor(group("authority", authority))
        .supervisor(group("operations", operations))
        .supervisor(group("protocols", Vec::new()))
}
