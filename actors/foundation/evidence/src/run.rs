//! Neighbouring entries, proven together: the proofs of the first and of the last one hold all hashes of the tree on both
//! sides of them, and everything between follows from the entries themselves.

use std::collections::BTreeMap;

use crate::tree::{Hash, node, siblings, split};

/// Neighbouring entries of a tree, and what is on both sides of them.
pub struct Run {
    first: u64,
    size: u64,
    leaves: Vec<Hash>,
    /// Over more than one entry: what is outside, and what was computed within.
    spans: BTreeMap<(u64, u64), Hash>,
    root: Hash,
}

impl Run {
    /// The entries with the hashes `leaves` from number `first` on, in the tree of `size`; with the proofs of inclusion of
    /// the first and the last of them. `None` if those are no such proofs.
    pub fn new(first: u64, size: u64, leaves: Vec<Hash>, of_first: &[Hash], of_last: &[Hash]) -> Option<Self> {
        let last = first.checked_add((leaves.len() as u64).checked_sub(1)?)?;
        if size <= last {
            return None;
        }
        let (left, right) = (siblings(first, size), siblings(last, size));
        if (left.len(), right.len()) != (of_first.len(), of_last.len()) {
            return None;
        }
        let left = left.into_iter().zip(of_first.iter().copied()).filter(|((_, to), _)| *to <= first);
        let right = right.into_iter().zip(of_last.iter().copied()).filter(|((from, _), _)| last < *from);
        let mut run = Self { first, size, leaves, spans: left.chain(right).collect(), root: Hash([0; 32]) };
        run.root = run.over(0, size);
        Some(run)
    }

    fn over(&mut self, from: u64, to: u64) -> Hash {
        if let Some(hash) = self.known(from, to) {
            return hash;
        }
        let middle = from + split(to - from);
        let hash = node(self.over(from, middle), self.over(middle, to));
        self.spans.insert((from, to), hash);
        hash
    }

    fn known(&self, from: u64, to: u64) -> Option<Hash> {
        let leaf = || {
            let index = usize::try_from(from.checked_sub(self.first)?).ok()?;
            self.leaves.get(index).copied()
        };
        if to - from == 1 {
            leaf().or_else(|| self.spans.get(&(from, to)).copied())
        } else {
            self.spans.get(&(from, to)).copied()
        }
    }

    /// The root to which all of it leads.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// How many entries it has, which is one at least.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The proof of inclusion of entry `index`, which is one of the run.
    ///
    /// # Panics
    /// If it is not.
    pub fn inclusion(&self, index: u64) -> Vec<Hash> {
        assert!(
            self.first <= index && index - self.first < self.leaves.len() as u64,
            "entry {index} is not in the run"
        );
        let known = |(from, to)| self.known(from, to).expect("what is beside an entry of the run is known");
        siblings(index, self.size).into_iter().map(known).collect()
    }
}
