//! The Merkle tree of RFC 9162 over a log's records.
//!
//! Leaf k is SHA-256(0x00 ‖ hash of record k), an inner node SHA-256(0x01 ‖ left ‖ right), and a tree of n leaves
//! splits at the largest power of two below n. [`Frontier`] keeps the roots of the full subtrees, at most one for
//! each bit of the count, which is all that adding records needs. Proofs are made from all record hashes and checked
//! with nothing but a root.

use super::{Hash, sha256};
use sha2::{Digest, Sha256};

/// The tree over the records so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of full subtrees, the largest (and leftmost) first: one for each 1 in `size`.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A frontier that was stored; None when the peaks do not fit the size.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Frontier { size, peaks })
    }

    /// How many records are in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// At most 64.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds the next record by its hash.
    pub fn push(&mut self, record: &Hash) {
        let mut node = leaf(record);
        for _ in 0..self.size.trailing_ones() {
            // Each trailing 1 is a full subtree of the height reached so far.
            let left = self.peaks.pop().expect("a peak for each 1 in the size");
            node = inner(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root; of no records, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut smaller_first = self.peaks.iter().rev();
        let Some(smallest) = smaller_first.next() else { return sha256(&[]) };
        smaller_first.fold(*smallest, |right, left| inner(left, &right))
    }
}

/// The root over records by their hashes.
pub fn root(records: &[Hash]) -> Hash {
    match records {
        [] => sha256(&[]),
        [record] => leaf(record),
        _ => {
            let (left, right) = records.split_at(split(records.len()));
            inner(&root(left), &root(right))
        }
    }
}

/// What proves that record `index` (from 0) is among `records`. Panics if it is not.
pub fn inclusion_proof(records: &[Hash], index: usize) -> Vec<Hash> {
    assert!(index < records.len(), "record {index} of {}", records.len());
    if records.len() == 1 {
        return Vec::new();
    }
    let (left, right) = records.split_at(split(records.len()));
    let (mut proof, sibling) = match index.checked_sub(left.len()) {
        None => (inclusion_proof(left, index), root(right)),
        Some(index) => (inclusion_proof(right, index), root(left)),
    };
    proof.push(sibling);
    proof
}

/// Whether `proof` shows that `record` is number `index` (from 0) of the `size` records under `root`.
pub fn verify_inclusion(record: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut node = leaf(record);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            node = inner(sibling, &node);
            // On the right edge, levels at which the node has no sibling are passed over.
            let levels = if place & 1 == 1 { 0 } else { place.trailing_zeros().min(63) };
            (place, last) = (place >> levels, last >> levels);
        } else {
            node = inner(&node, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && node == *root
}

/// What proves that the tree over the first `old_size` of `records` is a prefix of the tree over all.
pub fn consistency_proof(records: &[Hash], old_size: usize) -> Vec<Hash> {
    assert!((1..=records.len()).contains(&old_size), "{old_size} of {}", records.len());
    fn subproof(records: &[Hash], old_size: usize, whole: bool) -> Vec<Hash> {
        if old_size == records.len() {
            return if whole { Vec::new() } else { vec![root(records)] };
        }
        let (left, right) = records.split_at(split(records.len()));
        let (mut proof, sibling) = match old_size.checked_sub(left.len()) {
            None | Some(0) => (subproof(left, old_size, whole), root(right)),
            Some(rest) => (subproof(right, rest, false), root(left)),
        };
        proof.push(sibling);
        proof
    }
    subproof(records, old_size, true)
}

/// Whether `proof` shows that the log of `old_size` records under `old_root` is the beginning of that of `size`
/// records under `root`.
pub fn verify_consistency(old_size: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old_size == 0 || old_size > size {
        return false;
    }
    if old_size == size {
        return proof.is_empty() && old_root == root;
    }
    let mut rest = proof.iter();
    // The first node: the old tree itself when it is a full subtree of the new one.
    let Some(first) = (if old_size.is_power_of_two() { Some(old_root) } else { rest.next() }) else { return false };
    let levels = (old_size - 1).trailing_ones();
    let (mut place, mut last) = ((old_size - 1) >> levels, (size - 1) >> levels);
    let (mut old_node, mut node) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_node = inner(sibling, &old_node);
            node = inner(sibling, &node);
            let levels = if place & 1 == 1 { 0 } else { place.trailing_zeros().min(63) };
            (place, last) = (place >> levels, last >> levels);
        } else {
            node = inner(&node, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old_node == *old_root && node == *root
}

/// The largest power of two below a count above 1.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn leaf(record: &Hash) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record).finalize().into()
}

fn inner(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Vec<Hash> {
        (0..count).map(|i| sha256(&i.to_le_bytes())).collect()
    }

    #[test]
    fn a_frontier_has_the_root_of_the_definition() {
        let all = records(130);
        let mut frontier = Frontier::default();
        for size in 0..all.len() {
            assert_eq!(frontier.root(), root(&all[..size]), "{size}");
            assert_eq!((frontier.size(), frontier.peaks().len()), (size as u64, size.count_ones() as usize));
            let stored = Frontier::from_parts(frontier.size(), frontier.peaks().to_vec());
            assert_eq!(stored.as_ref(), Some(&frontier));
            frontier.push(&all[size]);
        }
        assert_eq!(Frontier::from_parts(3, vec![[0; 32]]), None);
    }

    #[test]
    fn inclusion_proofs_hold_for_their_record_alone() {
        let all = records(40);
        for size in 1..=all.len() {
            let root = root(&all[..size]);
            for index in 0..size {
                let proof = inclusion_proof(&all[..size], index);
                let holds = |record: &Hash, index: usize, size: usize, proof: &[Hash]| {
                    verify_inclusion(record, index as u64, size as u64, proof, &root)
                };
                assert!(holds(&all[index], index, size, &proof), "{index} of {size}");
                assert!(!holds(&[7; 32], index, size, &proof), "another record, {index} of {size}");
                for other in (0..size + 2).filter(|other| *other != index) {
                    assert!(!holds(&all[index], other, size, &proof), "{index} of {size} at {other}");
                }
                assert!(!holds(&all[index], index, size, &[&proof[..], &[[0; 32]]].concat()));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!holds(&all[index], index, size, shorter));
                }
            }
        }
    }

    #[test]
    fn consistency_proofs_hold_for_prefixes_alone() {
        let all = records(40);
        for size in 1..=all.len() {
            let new_root = root(&all[..size]);
            for old_size in 1..=size {
                let proof = consistency_proof(&all[..size], old_size);
                let holds = |old_size: usize, old_root: &Hash, proof: &[Hash]| {
                    verify_consistency(old_size as u64, old_root, size as u64, &new_root, proof)
                };
                let old_root = root(&all[..old_size]);
                assert!(holds(old_size, &old_root, &proof), "{old_size} of {size}");
                assert!(!holds(old_size, &[7; 32], &proof), "another root, {old_size} of {size}");
                assert!(!holds(0, &old_root, &proof) && !holds(size + 1, &old_root, &proof));
                assert!(!holds(old_size, &old_root, &[&proof[..], &[[0; 32]]].concat()));
                let mut changed = all[..old_size].to_vec();
                changed[old_size / 2] = [9; 32];
                assert!(!holds(old_size, &root(&changed), &proof));
            }
        }
    }
}
