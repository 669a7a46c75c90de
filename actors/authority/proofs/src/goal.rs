//! What is to be proven: that exactly this may be done, now. Its text is the same wherever it is needed: where it is signed,
//! where a prover is asked, and in a receipt.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write as _;

use kernel::{Digest, Principal};

/// What evidence is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    pub proof: String,
    pub principal: Principal,
    pub action: String,
    pub resource: String,
    /// Digest of what exactly would be done.
    pub content: Digest,
    /// What the thing that it would be done to is; none where nothing single is meant.
    pub target: Option<Digest>,
}

impl Goal {
    /// As it is shown, and as its digest is of.
    pub fn text(&self) -> String {
        format!("sop goal v1\n{}", self.lines())
    }

    /// Names the goal: the BLAKE3 of its text.
    pub fn digest(&self) -> Digest {
        Digest(*blake3::hash(self.text().as_bytes()).as_bytes())
    }

    pub(crate) fn lines(&self) -> String {
        let Self { proof, principal, action, resource, content, target } = self;
        let target = target.map_or_else(|| "none".to_string(), |target| target.to_string());
        let resource = line(resource);
        format!(
            "proof {proof}\nprincipal {principal}\naction {action}\nresource {resource}\ncontent {content}\ntarget {target}\n"
        )
    }
}

/// A text on one line, and no two texts on the same: what no line can hold is written by its number.
pub fn line(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if c.is_control() || c == '\\' {
            // Writing to a text cannot fail.
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}
