//! Which segments the indexes that are kept consist of.

use db::log::Hash;
use std::collections::{HashMap, HashSet};

/// Names of segments, each as a number made of term, job and the first bytes of the hash: two that share it keep one
/// another, which is harmless. (Term and job matter: two jobs may write the same bytes, under two names.)
///
/// At most so many are held. Where there are more, they are gone through in parts, by another byte of the hash.
pub struct Marks {
    most: usize,
    parts: usize,
    part: usize,
    marked: HashMap<u64, By>,
    /// Branches whose children were marked.
    walked: HashSet<u64>,
}

/// Who needs a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Newest,
    Earlier,
    /// Other databases of the lineage, or a fork's past.
    Others,
}

/// More parts than this would go through the store too often.
const PARTS_MAX: usize = 256;

impl Marks {
    pub fn new(most: usize) -> Self {
        Marks { most, parts: 1, part: 0, marked: HashMap::new(), walked: HashSet::new() }
    }

    /// Goes on to the next part; false when there is none.
    pub fn next_part(&mut self) -> bool {
        self.part += 1;
        self.marked.clear();
        self.walked.clear();
        self.part < self.parts
    }

    pub fn is_of_part(&self, hash: &Hash) -> bool {
        usize::from(hash[31]) % self.parts == self.part
    }

    /// Marks a segment; true if it is a branch whose children were not marked yet.
    pub fn mark(&mut self, term: u64, job: u64, hash: &Hash, by: By, is_branch: bool) -> bool {
        if self.is_of_part(hash) {
            self.marked.entry(short(term, job, hash)).or_insert(by);
        }
        is_branch && self.walked.insert(short(term, job, hash))
    }

    /// Begins again in smaller parts if there are more than may be held; true if it did. What earlier parts were done
    /// with stays done: a part of twice as many is a half of one.
    pub fn shrink(&mut self) -> bool {
        if self.marked.len() <= self.most || self.parts >= PARTS_MAX {
            return false;
        }
        (self.parts, self.part) = (self.parts * 2, 0);
        self.marked.clear();
        self.walked.clear();
        true
    }

    /// Whether a segment is kept, and by whom.
    pub fn of(&self, term: u64, job: u64, hash: &Hash) -> Option<By> {
        self.marked.get(&short(term, job, hash)).copied()
    }
}

fn short(term: u64, job: u64, hash: &Hash) -> u64 {
    let place = term.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(job).wrapping_mul(0xd6e8_feb8_6659_fd93);
    u64::from_le_bytes(std::array::from_fn(|i| hash[i])) ^ place
}
