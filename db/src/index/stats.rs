//! Statistics per attribute, kept as facts come and go; never made by a scan.

use super::tree::{Order, Tree};
use crate::model::{AttrId, Value};
use std::cmp::Ordering;
use std::fmt;
use std::ops::ControlFlow;

/// What is known of an attribute's current values.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct AttrStats {
    /// Open lives, exactly.
    pub rows: u64,
    /// Different values ever seen, by estimate (about 10 % off). Never trusted to be zero.
    pub distinct_values: f64,
}

/// HyperLogLog (Flajolet et al. 2007) with 128 registers: a value's hash names one by its highest 7 bits, which keeps
/// the place of the first 1 among the others, counted from 1, or 57 where there is none. Registers are in index
/// records, so [`hash`] gives every value the same for ever.
pub(super) const REGISTERS: usize = 128;
pub(super) const REGISTER_MAX: u8 = 57;

#[derive(Clone, PartialEq)]
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
pub struct Stats(Tree<Row, ByAttribute>);

impl Stats {
    pub fn of(&self, a: AttrId) -> AttrStats {
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
        let hash = hash(v);
        let register = (hash >> 57) as usize;
        let place = ((hash << 7).leading_zeros() as u8 + 1).min(REGISTER_MAX);
        row.registers[register] = row.registers[register].max(place);
        self.0.insert(row);
    }

    pub(crate) fn remove(&mut self, a: AttrId) {
        let mut row = self.row(a);
        row.rows = row.rows.saturating_sub(1);
        self.0.insert(row);
    }

    /// One open life less, which was erased. Of values the registers go on telling, a few bits of a hash each, until an
    /// attribute has none.
    pub(crate) fn forget(&mut self, a: AttrId) {
        self.remove(a);
        if self.of(a).rows == 0 {
            self.0.insert(Row { a, rows: 0, registers: Box::new([0; REGISTERS]) });
        }
    }

    fn row(&self, a: AttrId) -> Row {
        self.0.find(|row| row.a.cmp(&a)).cloned().unwrap_or_else(|| Row {
            a,
            rows: 0,
            registers: Box::new([0; REGISTERS]),
        })
    }
}

/// What an index record says of an attribute: open lives, and registers.
impl Stats {
    pub(super) fn parts(&self, a: AttrId) -> Option<(u64, &[u8; REGISTERS])> {
        self.0.find(|row| row.a.cmp(&a)).map(|row| (row.rows, &*row.registers))
    }

    pub(super) fn put(&mut self, a: AttrId, rows: u64, registers: [u8; REGISTERS]) {
        self.0.insert(Row { a, rows, registers: Box::new(registers) });
    }

    /// Each attribute of which something is known.
    fn each(&self) -> Vec<&Row> {
        let mut rows = Vec::with_capacity(self.0.len());
        let all = |_: &Row| Ordering::Equal;
        let _ = self.0.each_slice(&all, &mut |slice| {
            rows.extend(slice);
            ControlFlow::Continue(())
        });
        rows
    }
}

impl PartialEq for Stats {
    fn eq(&self, other: &Self) -> bool {
        self.each() == other.each()
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.each().into_iter().map(|row| (row.a, self.of(row.a)))).finish()
    }
}

/// A hash that is the same in every build and on every machine; `docs/data-format.md`, "Statistics", has it.
fn hash(v: &Value) -> u64 {
    hash_of(&[], v)
}

/// A hash of numbers and a value, likewise.
pub(super) fn hash_of(words: &[u64], v: &Value) -> u64 {
    let mut state = State(0);
    words.iter().for_each(|word| state.word(*word));
    state.value(v);
    state.finish()
}

struct State(u64);

impl State {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    fn value(&mut self, v: &Value) {
        self.word(v.value_type() as u64 + 1);
        match v {
            Value::Boolean(x) => self.word(u64::from(*x)),
            Value::Long(x) => self.word(*x as u64),
            Value::Float(x) => self.word(u64::from(x.to_bits())),
            Value::Double(x) => self.word(x.to_bits()),
            Value::Instant(x) => self.word(x.0 as u64),
            Value::Ref(x) => self.word(x.as_u64()),
            Value::String(x) | Value::Uri(x) => self.bytes(x.as_bytes()),
            Value::Keyword(x) => self.bytes(x.as_str().as_bytes()),
            Value::Symbol(x) => self.bytes(x.as_str().as_bytes()),
            Value::Uuid(x) => self.bytes(&**x),
            Value::Bytes(x) => self.bytes(x),
            Value::BigInt(x) => self.bytes(&x.to_signed_bytes_le()),
            Value::BigDec(x) => {
                self.word(i64::from(x.scale()) as u64);
                self.bytes(&x.unscaled().to_signed_bytes_le());
            }
            Value::Tuple(elements) => {
                self.word(elements.len() as u64);
                for element in elements.iter() {
                    match element {
                        Some(v) => self.value(v),
                        None => self.word(0),
                    }
                }
            }
        }
    }

    /// The finalizer of splitmix64: the products above are weak in their low bits.
    fn finish(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
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

    /// Registers of older builds go on counting.
    #[test]
    fn hashes_are_what_they_always_were() {
        let values = crate::testing::values::one_of_each();
        let now: Vec<String> = values.iter().map(|v| format!("{:016x} {v}", hash(v))).collect();
        let golden: Vec<&str> = include_str!("segment/golden/hashes-1.txt").lines().collect();
        assert!(now == golden, "hashes have changed:\n{}", now.join("\n"));
    }

    #[test]
    fn equal_stats_are_those_of_the_same_values() {
        let of = |values: &[i64]| {
            let mut stats = Stats::default();
            values.iter().for_each(|v| stats.add(AttrId(*v as u32 % 3), &Value::Long(*v)));
            stats
        };
        assert_eq!(of(&[1, 2, 3, 4]), of(&[4, 3, 2, 1]));
        assert_ne!(of(&[1, 2, 3, 4]), of(&[1, 2, 3, 5]));
        assert_ne!(of(&[1, 2, 3, 4]), of(&[1, 2, 3]));
    }
}
