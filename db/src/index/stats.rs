//! Statistics per attribute, kept as facts come and go; never made by a scan.

use super::tree::{Order, Tree};
use crate::model::{AttrId, Value};
use rustc_hash::FxHasher;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// What is known of an attribute's current values.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct AttrStats {
    /// Open lives, exactly.
    pub rows: u64,
    /// Different values ever seen, by estimate (about 10 % off). Never trusted to be zero.
    pub distinct_values: f64,
}

/// HyperLogLog (Flajolet et al. 2007) with 128 registers.
const REGISTERS: usize = 128;

#[derive(Clone)]
struct Row {
    a: AttrId,
    rows: u64,
    registers: Box<[u8; REGISTERS]>,
}

struct ByAttribute;

impl Order<Row> for ByAttribute {
    fn cmp(x: &Row, y: &Row) -> Ordering {
        x.a.cmp(&y.a)
    }
}

/// The statistics of all attributes, as a persistent value.
#[derive(Clone, Default)]
pub(crate) struct Stats(Tree<Row, ByAttribute>);

impl Stats {
    pub(crate) fn of(&self, a: AttrId) -> AttrStats {
        match self.0.find(|row| row.a.cmp(&a)) {
            Some(row) => {
                AttrStats { rows: row.rows, distinct_values: estimate(&row.registers).min(row.rows.max(1) as f64) }
            }
            None => AttrStats::default(),
        }
    }

    pub(crate) fn add(&mut self, a: AttrId, v: &Value) {
        let mut row = self.row(a);
        row.rows += 1;
        let hash = mixed_hash(v);
        let register = (hash >> 57) as usize;
        let zeros = (hash << 7).leading_zeros().min(56) as u8 + 1;
        row.registers[register] = row.registers[register].max(zeros);
        self.0.insert(row);
    }

    pub(crate) fn remove(&mut self, a: AttrId) {
        let mut row = self.row(a);
        row.rows = row.rows.saturating_sub(1);
        self.0.insert(row);
    }

    fn row(&self, a: AttrId) -> Row {
        self.0.find(|row| row.a.cmp(&a)).cloned().unwrap_or_else(|| Row {
            a,
            rows: 0,
            registers: Box::new([0; REGISTERS]),
        })
    }
}

/// Fx is quick but weak in its high bits; the finalizer of splitmix64 spreads them.
fn mixed_hash(v: &Value) -> u64 {
    let mut hasher = FxHasher::default();
    v.hash(&mut hasher);
    let mut x = hasher.finish();
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    let m = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|register| 2f64.powi(-i32::from(*register))).sum();
    let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
    let empty = registers.iter().filter(|register| **register == 0).count();
    if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_values_are_estimated_within_a_third() {
        for count in [1i64, 2, 8, 100, 1000, 50_000] {
            let mut stats = Stats::default();
            for i in 0..count * 3 {
                stats.add(AttrId(7), &Value::Long(i % count));
            }
            let found = stats.of(AttrId(7));
            assert_eq!(found.rows, count as u64 * 3);
            let ratio = found.distinct_values / count as f64;
            assert!((0.7..1.4).contains(&ratio), "{count} estimated as {}", found.distinct_values);
        }
    }

    #[test]
    fn strings_spread_as_well_as_numbers() {
        let mut stats = Stats::default();
        (0..10_000).for_each(|i| stats.add(AttrId(1), &Value::string(format!("name {i}"))));
        assert!((7_000.0..13_000.0).contains(&stats.of(AttrId(1)).distinct_values));
    }
}
