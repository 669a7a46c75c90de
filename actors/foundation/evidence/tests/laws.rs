//! What holds of every tree: proofs prove, and nothing that was changed does.

use evidence::run::Run;
use evidence::tile::Edge;
use evidence::tree::{self, Hash, Nodes, complete, is_consistent, is_included, leaf};
use proptest::prelude::*;

struct Leaves(Vec<Hash>);

impl Leaves {
    fn of(size: u64) -> Self {
        Self((0..size).map(|number| leaf(&number.to_be_bytes())).collect())
    }

    fn root(&mut self, size: u64) -> Hash {
        let Ok(root) = tree::root(self, size);
        root
    }
}

impl Nodes for Leaves {
    type Error = std::convert::Infallible;

    fn subtree(&mut self, height: u32, index: u64) -> Result<Hash, Self::Error> {
        let from = usize::try_from(index << height).unwrap();
        Ok(complete(&self.0[from..from + (1 << height)]))
    }
}

/// Every hash of a proof with one bit changed, one hash less, one more, and two exchanged.
fn tampered(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[leaf(b"more")]].concat()];
    for place in 0..proof.len() {
        let (mut changed, mut less) = (proof.to_vec(), proof.to_vec());
        changed[place].0[7] ^= 1;
        less.remove(place);
        all.extend([changed, less]);
        if let Some(next) = proof.get(place + 1).filter(|next| **next != proof[place]) {
            let mut exchanged = proof.to_vec();
            (exchanged[place], exchanged[place + 1]) = (*next, proof[place]);
            all.push(exchanged);
        }
    }
    all
}

proptest! {
    #[test]
    fn inclusion_is_proven_and_nothing_else(size in 1_u64..300, index in 0_u64..300, other in 0_u64..300) {
        let (index, other) = (index % size, other % size);
        let mut leaves = Leaves::of(size);
        let (root, own) = (leaves.root(size), leaves.0[usize::try_from(index).unwrap()]);
        let Ok(proof) = tree::inclusion(&mut leaves, index, size);
        prop_assert!(is_included(&proof, index, size, own, root));
        prop_assert!(!is_included(&proof, index, size, leaf(b"another"), root));
        prop_assert!(!is_included(&proof, index, size, own, leaf(b"another root")));
        prop_assert!(!is_included(&proof, size, size, own, root));
        prop_assert!(other == index || !is_included(&proof, other, size, own, root), "in another place");
        for changed in tampered(&proof) {
            prop_assert!(!is_included(&changed, index, size, own, root));
        }
    }

    #[test]
    fn a_run_is_proven_by_its_ends(size in 1_u64..300, first in 0_u64..300, last in 0_u64..300, place in 0_usize..300) {
        let (first, last) = ((first % size).min(last % size), (first % size).max(last % size));
        let mut all = Leaves::of(size);
        let root = all.root(size);
        let (Ok(of_first), Ok(of_last)) = (tree::inclusion(&mut all, first, size), tree::inclusion(&mut all, last, size));
        let within = usize::try_from(first).unwrap()..=usize::try_from(last).unwrap();
        let leaves = all.0[within].to_vec();
        let run = Run::new(first, size, leaves.clone(), &of_first, &of_last).unwrap();
        prop_assert_eq!(run.root(), root);
        for index in first..=last {
            let Ok(proof) = tree::inclusion(&mut all, index, size);
            prop_assert_eq!(run.inclusion(index), proof, "of {}", index);
        }
        let mut other = leaves.clone();
        let place = place % other.len();
        other[place].0[3] ^= 1;
        prop_assert_ne!(Run::new(first, size, other, &of_first, &of_last).unwrap().root(), root);
        let longer = [&leaves[..], &[leaf(b"more")]].concat();
        prop_assert!(Run::new(first, size, longer, &of_first, &of_last).is_none_or(|run| run.root() != root));
        prop_assert!(Run::new(first, size, Vec::new(), &of_first, &of_last).is_none());
    }

    #[test]
    fn consistency_is_proven_and_nothing_else(new in 0_u64..300, old in 0_u64..300) {
        let old = old.min(new);
        let mut leaves = Leaves::of(new);
        let (before, after) = (leaves.root(old), leaves.root(new));
        let Ok(proof) = tree::consistency(&mut leaves, old, new);
        prop_assert!(is_consistent(&proof, old, before, new, after));
        prop_assert!(!is_consistent(&proof, old, leaf(b"another"), new, after));
        prop_assert!(old == 0 || !is_consistent(&proof, old, before, new, leaf(b"another")));
        prop_assert!(old == new || !is_consistent(&proof, new, after, old, before), "the other way round");
        for changed in tampered(&proof) {
            prop_assert!(!is_consistent(&changed, old, before, new, after));
        }
        if 0 < old {
            // Of a history in which one entry was another one.
            let mut forged = Leaves::of(new);
            forged.0[usize::try_from(old - 1).unwrap()] = leaf(b"another");
            let (root, Ok(proof)) = (forged.root(new), tree::consistency(&mut forged, old, new));
            prop_assert!(!is_consistent(&proof, old, before, new, root));
        }
    }

    #[test]
    fn an_edge_has_the_root_of_its_tree(size in 0_u64..3_000) {
        let mut edge = Edge::default();
        let mut leaves = Leaves::of(size);
        for hash in &leaves.0 {
            edge.push(*hash, |_, _| {});
        }
        prop_assert_eq!(edge.root(), leaves.root(size));
    }
}
