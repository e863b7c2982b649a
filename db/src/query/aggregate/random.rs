//! Draws by chance, from a seed that the caller gives.
//!
//! Every draw is one step: nothing is drawn again because it came before, so `sample` ends whatever it is asked.

use crate::Result;
use crate::budget::Budget;

/// A stream of numbers (splitmix64) of its own for each group of each aggregate.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64, element: usize, group: usize) -> Draw {
        let mut draw = Draw(seed ^ (element as u64).rotate_left(48));
        draw.0 = draw.next() ^ group as u64;
        Draw(draw.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound. The bias of not drawing again is below one in 2^32 for any count of rows.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// One of the rows, of which there is at least one.
    pub(super) fn one_of<'r>(&mut self, rows: &'r [u32]) -> &'r u32 {
        &rows[self.below(rows.len())]
    }

    /// So many of the rows, each drawn from all of them.
    pub(super) fn some_of(&mut self, rows: &[u32], n: usize, budget: &Budget<'_>) -> Result<Vec<u32>> {
        budget.rows(n)?;
        budget.hold(n.saturating_mul(ITEM_BYTES))?;
        let mut drawn = Vec::with_capacity(n);
        for _ in 0..n {
            budget.step()?;
            drawn.push(*self.one_of(rows));
        }
        Ok(drawn)
    }

    /// So many different ones of the rows, or all of them where there are no more, in an order of chance.
    pub(super) fn different_of<'r>(&mut self, rows: &'r mut [u32], n: usize) -> &'r [u32] {
        let n = n.min(rows.len());
        for at in 0..n {
            let other = at + self.below(rows.len() - at);
            rows.swap(at, other);
        }
        &rows[..n]
    }
}

/// What an element of an answer is estimated to take.
const ITEM_BYTES: usize = 24;
