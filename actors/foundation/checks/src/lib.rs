//! Checks of evidence: whether it proves what was asked for. Pure: what has to be fetched for it, others fetch.
//!
//! # Invariants
//! 1. A check says yes to exactly what is declared, and to nothing that it cannot read to the end.
//! 2. A signature counts for the goal that stands in what it signs, for the time that stands there, and for no other.
//! 3. Evidence is bounded before it is read.

pub mod external;
mod failure;
pub mod signature;

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::Digest;
use proofs::Algorithm;
use serde::Deserialize;

pub use failure::Failure;

/// The longest evidence, in bytes.
pub const EVIDENCE_MAX: usize = 512 << 10;

/// How many differences of a manifest are named.
const SHOWN: usize = 5;

/// Names evidence: its BLAKE3.
pub fn name(evidence: &[u8]) -> Digest {
    Digest(*blake3::hash(evidence).as_bytes())
}

/// Whether there is not too much of it.
///
/// # Errors
/// [`Failure::TooLong`].
pub fn bounded(evidence: &[u8]) -> Result<(), Failure> {
    if evidence.len() <= EVIDENCE_MAX { Ok(()) } else { Err(Failure::TooLong) }
}

fn hash(algorithm: Algorithm, content: &[u8]) -> Digest {
    match algorithm {
        Algorithm::Sha256 => Digest(digest(&SHA256, content).as_ref().try_into().expect("SHA-256 has 32 bytes")),
        Algorithm::Blake3 => name(content),
    }
}

/// Is it a content with this digest?
///
/// # Errors
/// [`Failure::WrongDigest`].
pub fn content(algorithm: Algorithm, expected: Digest, evidence: &[u8]) -> Result<(), Failure> {
    let found = hash(algorithm, evidence);
    if found == expected {
        return Ok(());
    }
    Err(Failure::WrongDigest { algorithm: algorithm.as_str(), expected, found })
}

/// The files that evidence for a manifest is of: each path with its content in base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    files: BTreeMap<String, String>,
}

/// Is it exactly these files, with exactly these contents?
///
/// # Errors
/// [`Failure::WrongManifest`], with the first differences; [`Failure::Malformed`].
pub fn manifest(expected: &BTreeMap<String, Digest>, evidence: &[u8]) -> Result<(), Failure> {
    let malformed = |what: String| Failure::Malformed { what };
    let Files { files } = serde_json::from_slice(evidence).map_err(|error| malformed(error.to_string()))?;
    let mut differ = Vec::new();
    for (path, content) in &files {
        let content = STANDARD.decode(content).map_err(|_| malformed(format!("{path:?} is no base64")))?;
        match expected.get(path) {
            None => differ.push(format!("{path:?} is not in the manifest")),
            Some(digest) if *digest != hash(Algorithm::Sha256, &content) => differ.push(format!("{path:?} differs")),
            Some(_) => {}
        }
    }
    let missing = expected.keys().filter(|path| !files.contains_key(*path));
    differ.extend(missing.map(|path| format!("{path:?} is missing")));
    if differ.is_empty() {
        return Ok(());
    }
    let more = differ.len().saturating_sub(SHOWN);
    differ.truncate(SHOWN);
    Err(Failure::WrongManifest { differences: differ.join(", "), more })
}

/// The files of a manifest as `sha256sum` writes it: a digest, two spaces (or a space and a star), a path.
///
/// # Errors
/// [`Failure::Malformed`], with the line.
pub fn listed(text: &str) -> Result<BTreeMap<String, Digest>, Failure> {
    let mut files = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let malformed = |why: &str| Failure::Malformed { what: format!("line {number} {why}") };
        let (digest, path) = line.split_once(' ').ok_or_else(|| malformed("is no digest with a path"))?;
        let path = path.strip_prefix([' ', '*']).ok_or_else(|| malformed("is no digest with a path"))?;
        let digest = digest.parse().map_err(|_| malformed("has no SHA-256"))?;
        if files.insert(path.to_owned(), digest).is_some() {
            return Err(malformed("names a path again"));
        }
    }
    Ok(files)
}
