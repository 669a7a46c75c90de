//! The six documents that say what a system is, who may run it and where it stands.
//!
//! The rule: **each scanned root has the set once**, in the root itself, in `docs` or in `Documentation`. The one of these
//! that holds the most of the six is the set's place (the first of them, if two hold as many; `docs`, if none holds any),
//! and what is not there is missing there. A document that is there must have content, and `METADATA.json` must be JSON.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::IgnoredAny;

use crate::finding::Kind;

pub const REQUIRED: [&str; 6] =
    ["MANIFEST.md", "ORDER_OF_OPERATIONS.md", "STACK_POSITION.md", "RUNTIME_ROLE.md", "GOVERNANCE_SCOPE.md", METADATA];

const METADATA: &str = "METADATA.json";

/// Where the set may be, from the root.
pub const PLACES: [&str; 3] = ["", "docs", "Documentation"];

const DEFAULT: &str = "docs";

/// One of the six that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// One of [`PLACES`].
    pub place: &'a str,
    /// One of [`REQUIRED`].
    pub name: &'a str,
    /// `None` if it is there and could not be read: not missing, and not judged.
    pub text: Option<&'a str>,
}

/// What is wrong with one of the six.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    pub kind: Kind,
    pub path: String,
    pub detail: String,
}

/// What the set lacks, in the order of [`REQUIRED`].
pub fn documents(present: &[Document<'_>]) -> Vec<Lack> {
    let held = |place: &str| REQUIRED.iter().filter(|name| find(present, place, name).is_some()).count();
    let place = match PLACES.iter().rev().max_by_key(|place| held(place)) {
        Some(place) if 0 < held(place) => place,
        _ => DEFAULT,
    };
    let judge = |name: &&str| {
        let path = if place.is_empty() { (*name).to_string() } else { format!("{place}/{name}") };
        match find(present, place, name) {
            None => Some(Lack { kind: Kind::MissingDocument, path, detail: String::new() }),
            Some(document) => document.text.and_then(|text| wrong(name, text)).map(|detail| Lack {
                kind: Kind::InvalidDocument,
                path,
                detail: detail.to_string(),
            }),
        }
    };
    REQUIRED.iter().filter_map(judge).collect()
}

fn find<'a>(present: &'a [Document<'a>], place: &str, name: &str) -> Option<&'a Document<'a>> {
    present.iter().find(|document| document.place == place && document.name == name)
}

/// In words that follow "is". They are part of the gap's identity, so no line or column is in them.
fn wrong(name: &str, text: &str) -> Option<&'static str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        Some("empty")
    } else if name == METADATA && serde_json::from_str::<IgnoredAny>(text).is_err() {
        Some("not JSON")
    } else {
        None
    }
}
