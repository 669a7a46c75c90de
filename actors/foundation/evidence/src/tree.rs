//! The Merkle tree of RFC 6962 over SHA-256: roots, proofs, and their verification.
//!
//! Nothing here knows where hashes come from: [`Nodes`] gives the roots of complete subtrees, and everything else follows.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A SHA-256 of the tree. Its text is base64, as notes and proofs have it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash that `text` is, in the one form that it can have.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    Hash(context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// Of two neighbours.
pub fn node(left: Hash, right: Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

/// The root of a tree without entries.
pub fn empty() -> Hash {
    Hash(digest(&SHA256, b"").as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// The root over `hashes`, whose number is a power of two.
///
/// # Panics
/// If it is not.
pub fn complete(hashes: &[Hash]) -> Hash {
    assert!(hashes.len().is_power_of_two(), "a complete tree has a power of two of leaves, not {}", hashes.len());
    let mut row = hashes.to_vec();
    while let [_, _, ..] = row[..] {
        row = row.chunks_exact(2).map(|pair| node(pair[0], pair[1])).collect();
    }
    row[0]
}

/// Where the hashes of a tree come from.
pub trait Nodes {
    /// Why there is none.
    type Error;

    /// The root of the complete subtree number `index` of those with 2^`height` entries.
    ///
    /// # Errors
    /// If it cannot be had.
    fn subtree(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The largest power of two under `count`, which is two at least.
pub(crate) fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over the entries from `from` up to `to`. `from` is a multiple of a power of two that spans them.
fn span<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let count = to - from;
    if count.is_power_of_two() {
        let height = count.ilog2();
        return nodes.subtree(height, from >> height);
    }
    let middle = from + split(count);
    Ok(node(span(nodes, from, middle)?, span(nodes, middle, to)?))
}

/// The root of the tree of the first `size` entries.
///
/// # Errors
/// Those of `nodes`.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty()) } else { span(nodes, 0, size) }
}

/// The proof that entry `index` is in the tree of `size`: from its sibling up.
///
/// # Errors
/// Those of `nodes`.
///
/// # Panics
/// If the tree has no such entry.
pub fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    siblings(index, size).into_iter().map(|(from, to)| span(nodes, from, to)).collect()
}

/// What the hashes of a proof of inclusion are over: the entries from the one up to the other, from the sibling up.
///
/// # Panics
/// If the tree has no such entry.
pub fn siblings(index: u64, size: u64) -> Vec<(u64, u64)> {
    assert!(index < size, "entry {index} is not in a tree of {size}");
    let (mut from, mut to) = (0, size);
    let mut spans = Vec::new();
    while 1 < to - from {
        let middle = from + split(to - from);
        let (sibling, rest) =
            if index < middle { ((middle, to), (from, middle)) } else { ((from, middle), (middle, to)) };
        spans.push(sibling);
        (from, to) = rest;
    }
    spans.reverse();
    spans
}

/// The proof that the tree of `old` is the beginning of that of `new`. Of the empty tree there is none to give.
///
/// # Errors
/// Those of `nodes`.
///
/// # Panics
/// If the old one is larger.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    assert!(old <= new, "a tree of {old} is not the beginning of one of {new}");
    let mut proof = Vec::new();
    if old == 0 {
        return Ok(proof);
    }
    let (mut from, mut to) = (0, new);
    while to != old {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(span(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(span(nodes, from, middle)?);
            from = middle;
        }
    }
    // What began with the first entry and is all of the old tree is its root, which is known.
    if from != 0 {
        proof.push(span(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is entry `index` of the tree of `size` with `root` (RFC 9162, 2.1.3.2).
pub fn is_included(proof: &[Hash], index: u64, size: u64, leaf: Hash, root: Hash) -> bool {
    if size <= index {
        return false;
    }
    let (mut index, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            hash = node(*sibling, hash);
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            hash = node(hash, *sibling);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree of `old` with `old_root` is the beginning of that of `new` with `new_root` (RFC 9162,
/// 2.1.4.2).
pub fn is_consistent(proof: &[Hash], old: u64, old_root: Hash, new: u64, new_root: Hash) -> bool {
    match old {
        0 => return proof.is_empty() && old_root == empty() && (new != 0 || new_root == empty()),
        _ if new < old => return false,
        _ if new == old => return proof.is_empty() && old_root == new_root,
        _ => {}
    }
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        (*first, rest)
    };
    let (mut index, mut last) = (old - 1, new - 1);
    while index & 1 == 1 {
        (index, last) = (index >> 1, last >> 1);
    }
    let (mut older, mut newer) = (first, first);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if index & 1 == 1 || index == last {
            (older, newer) = (node(*hash, older), node(*hash, newer));
            while index & 1 == 0 && index != 0 {
                (index, last) = (index >> 1, last >> 1);
            }
        } else {
            newer = node(newer, *hash);
        }
        (index, last) = (index >> 1, last >> 1);
    }
    last == 0 && older == old_root && newer == new_root
}
