//! What a prover outside is asked, and what its answer must be.
//!
//! ```text
//! sop question v1              sop verdict v1
//! goal DIGEST                  goal DIGEST
//! kernel DIGEST                kernel DIGEST
//! check ID                     check ID
//!                              verdict proven
//! the goal, a line each
//!                              — name signature
//! the evidence in base64
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::note::{NoteError, PublicKey};
use kernel::{CommandId, Digest};
use proofs::Goal;

use crate::Failure;
use crate::signature::signed;

/// Longest answer that is read, in bytes.
pub const ANSWER_MAX: usize = 16 << 10;

/// What is asked: this goal, for this check and no other.
pub fn question(goal: &Goal, kernel: Digest, check: CommandId, evidence: &[u8]) -> String {
    let (digest, text, evidence) = (goal.digest(), goal.text(), STANDARD.encode(evidence));
    format!("sop question v1\ngoal {digest}\nkernel {kernel}\ncheck {check}\n\n{text}\n{evidence}\n")
}

/// What a prover signs.
pub fn verdict(goal: Digest, kernel: Digest, check: &str, verdict: &str) -> String {
    format!("sop verdict v1\ngoal {goal}\nkernel {kernel}\ncheck {check}\nverdict {verdict}\n")
}

/// Does the prover with this key say, by this kernel, that the goal is proven, and does it say so now?
///
/// # Errors
/// [`Failure`].
pub fn judge(key: &str, goal: &Goal, kernel: Digest, check: CommandId, answer: &[u8]) -> Result<(), Failure> {
    let garbage = |what: String| Failure::Garbage { what };
    let note = std::str::from_utf8(answer).map_err(|error| garbage(error.to_string()))?;
    let key = PublicKey::parse(key).map_err(|error| Failure::BadSignature { what: error.to_string() })?;
    if matches!(key.open(note), Err(NoteError::Malformed)) {
        return Err(garbage(NoteError::Malformed.to_string()));
    }
    let fields = ["goal", "kernel", "check", "verdict"];
    let [about, by, of, says] = signed(&key, note, "sop verdict v1", fields).map_err(|failure| match failure {
        Failure::Malformed { what } => garbage(what),
        failure => failure,
    })?;
    let digest = goal.digest();
    // An answer to an earlier question is about another goal: things may have changed since.
    if about.parse() != Ok(digest) || of != check.to_string() {
        return Err(Failure::WrongGoal { goal: digest });
    }
    if by.parse() != Ok(kernel) {
        return Err(Failure::WrongKernel { expected: kernel, found: by });
    }
    match says.as_str() {
        "proven" => Ok(()),
        "refuted" => Err(Failure::Refuted),
        says => Err(garbage(format!("{says:?} is no verdict"))),
    }
}
