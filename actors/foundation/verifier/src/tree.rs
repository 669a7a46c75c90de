//! The Merkle tree of RFC 6962 over SHA-256.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A hash of the tree; its text is base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    pub fn parse(text: &str) -> Option<Self> {
        Base64::decode_vec(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// Of two neighbours.
pub fn node(left: Hash, right: Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// Of no entries.
pub fn empty() -> Hash {
    Hash(Sha256::digest(b"").into())
}

/// The largest power of two under `count`, which is two at least.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over `hashes`, which are those of neighbours of one height, the last of them perhaps of fewer entries.
pub fn over(hashes: &[Hash]) -> Hash {
    match *hashes {
        [] => empty(),
        [hash] => hash,
        _ => {
            let middle = usize::try_from(split(hashes.len() as u64)).expect("within a slice");
            node(over(&hashes[..middle]), over(&hashes[middle..]))
        }
    }
}

/// The root over the entries from `from` up to `to`, made of what `whole` knows: it is asked for spans that get smaller, and
/// must know those of one entry.
///
/// # Errors
/// Those of `whole`.
pub fn span<E>(from: u64, to: u64, whole: &mut impl FnMut(u64, u64) -> Result<Option<Hash>, E>) -> Result<Hash, E> {
    if let Some(hash) = whole(from, to)? {
        return Ok(hash);
    }
    let middle = from + split(to - from);
    Ok(node(span(from, middle, whole)?, span(middle, to, whole)?))
}

/// The neighbours that a proof of inclusion of entry `index` in the tree of `size` names, from the leaf up: which entries
/// each of them is over.
pub fn neighbours(index: u64, size: u64) -> Vec<(u64, u64)> {
    let (mut from, mut to) = (0, size);
    let mut spans = Vec::new();
    while 1 < to - from {
        let middle = from + split(to - from);
        if index < middle {
            spans.push((middle, to));
            to = middle;
        } else {
            spans.push((from, middle));
            from = middle;
        }
    }
    spans.reverse();
    spans
}

/// The root to which `proof` leads from `leaf` as entry `index` of the tree of `size`; `None` if it is no such proof.
pub fn root_by(proof: &[Hash], leaf: Hash, index: u64, size: u64) -> Option<Hash> {
    if size <= index {
        return None;
    }
    let spans = neighbours(index, size);
    (spans.len() == proof.len()).then_some(())?;
    let step = |hash, ((from, _), other): ((u64, u64), &Hash)| {
        if from < index { node(*other, hash) } else { node(hash, *other) }
    };
    Some(spans.into_iter().zip(proof).fold(leaf, step))
}
