//! The one door: every request, from wherever, takes this path and no other.
//!
//! ```text
//! lockout -> authenticate -> rate -> seal -> admit (registry) -> policy -> quota -> token, approval, proofs (consumed) -> seal -> decide, commit with audit -> settled
//! ```
//!
//! [`judge`] is the pure part: it says allow or deny from what it is shown, and knows no clock, store or actor. [`Door`] is
//! the thin front that shows it the durable state, spends tokens, runs the command and keeps the record.
//!
//! # Invariants
//! 1. Deny is the default of every step, and each denial names its layer, a stable code, its rule and the remedy.
//! 2. The judge sees durable facts only, so a request judged after an acknowledged revocation never succeeds.
//! 3. An allow lives in the envelope of its effect; a decision without an effect is one record in [`Decisions`]; an
//!    unauthenticated denial is counted, so that strangers cannot fill the disk.
//! 4. A token is consumed before the effect, under an id derived from the command's: one use, at most one effect. It is
//!    given back only once nothing will ever be done under that command id.
//! 5. The seal shuts in memory first: an emergency stop needs neither journal nor disk. It opens for the digest of the stop
//!    that shut it, and for no other.
//! 6. A [`Warrant`] is judged and recorded once and holds only as long as the judge would say the same: after an
//!    acknowledged change of authority no check of it passes that the judge would not let in.
//! 7. What decides and what is recorded as deciding are of one policy epoch.
//! 8. Who is not in the registry, active and admitted for it, may ask for nothing, whatever a policy or a token says.
//! 9. Neither lockout nor rate keeps out an emergency stop.
//! 10. An approved request is spent on the command before the effect as a token is, and given back as one: one approval, at
//!     most one effect, of exactly what was approved, on what has not changed.
//! 11. What does not end with its first record is opened in [`Outcomes`] before its effect, and closed by what became of it
//!     ([`outcomes::OPERATIONS`]); everything else ends with its first record, and needs no other.
//! 12. What was proven counts by a receipt alone: signed by the authority, for exactly this request on what has not changed, not
//!     expired, and spent on the command as an approval is. What cannot be checked now is not proven.
//! 13. Of what a quota covers, no more is let in within a window than the quota has: room is kept for a request before anything
//!     is spent on it, and after a start what is used is counted from the records of what was let in.
//! 14. The bearer form of a token opens what its secret does, and no more; what was taken off of it since is asked about the request
//!     as the door has it, each time that the request is judged.
//! 15. A trial does nothing and spends nothing: it ends in a no, and in one record of the question.

mod carried;
pub mod decisions;
mod front;
mod judge;
mod lockout;
pub mod outcomes;
mod outside;
mod quotas;
mod rates;
mod seal;
mod secret;
mod source;
mod trace;
mod views;
mod warrant;

pub use carried::{Carried, Carriers, Carries, Hand, Sought};
pub use decisions::{Decisions, Event, records};
pub use front::{
    Ask, Bound, Came, Checking, Compiled, Denied, Done, Door, Evidence, Foreseen, Gate, Introduced, Known, Pass,
    Promise, RESUME_ALONE_AFTER, Stopped, TRY, Things, Trial, Tried, UnderWay, Wanted,
};
pub use judge::{
    Approved, Bearer, Credential, Sight, Supposed, Supposition, Verdict, judge, judge_again, near_misses, suppose,
};
pub use outcomes::Outcomes;
pub use outside::{CLAIMS_MAX, Certificate, Foreign, Issuers, Read, Unread};
pub use quotas::Used;
pub use rates::Limits;
pub use seal::{Seal, Sealed};
pub use secret::{Secret, SecretKind};
pub use source::Source;
pub use trace::{Tell, Trace};
pub use views::Follower;
pub use warrant::Warrant;

/// The name under which tokens address the authority itself.
pub const AUDIENCE: &str = "sop";

/// What the work on a todo takes: a todo token opens these, for its own todo.
pub const TODO_WORK: [&str; 4] = ["todo.show", "todo.submit", "todo.release", "gap.scan"];
