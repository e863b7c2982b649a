//! Decimals with a scale that counts: `1.0M` and `1.00M` are two values.

use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;
use std::fmt;

/// `unscaled · 10^-scale`. The scale is bounded, so that comparing two of them costs a bounded shift.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BigDec {
    unscaled: BigInt,
    scale: i32,
}

impl BigDec {
    /// No scale lies further from 0 than this.
    pub const SCALE_MAX: i32 = 10_000;

    /// None when the scale is out of bounds.
    pub fn new(unscaled: BigInt, scale: i32) -> Option<Self> {
        (scale.unsigned_abs() <= Self::SCALE_MAX as u32).then_some(BigDec { unscaled, scale })
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
        if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let unscaled = BigInt::parse_bytes(digits.strip_prefix('+').unwrap_or(&digits).as_bytes(), 10)?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        BigDec::new(unscaled, scale)
    }

    /// The exact value of a finite double.
    pub fn from_double(double: f64) -> Option<Self> {
        if !double.is_finite() {
            return None;
        }
        let bits = double.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, power) = if exponent == 0 { (fraction, -1074) } else { (fraction | (1 << 52), exponent - 1075) };
        let signed = BigInt::from(mantissa) * if double.is_sign_negative() { -1 } else { 1 };
        if power >= 0 {
            BigDec::new(signed << power as usize, 0)
        } else {
            // m / 2^n = m · 5^n / 10^n
            BigDec::new(signed * BigInt::from(5).pow(power.unsigned_abs()), -power)
        }
    }

    pub fn unscaled(&self) -> &BigInt {
        &self.unscaled
    }

    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Compares by value: `1.0M` and `1.00M` are equal here.
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        if self.unscaled.sign() != other.unscaled.sign() {
            return self.unscaled.sign().cmp(&other.unscaled.sign());
        }
        // Far apart in magnitude, they are told apart by their digits: no power of ten is made for nothing.
        if let Some(order) = self.cmp_magnitude(other) {
            return if self.unscaled.sign() == Sign::Minus { order.reverse() } else { order };
        }
        match self.scale.cmp(&other.scale) {
            Ordering::Equal => self.unscaled.cmp(&other.unscaled),
            Ordering::Less => self.raised(other.scale).cmp(&other.unscaled),
            Ordering::Greater => self.unscaled.cmp(&other.raised(self.scale)),
        }
    }

    /// How the absolute values compare, where the place of the first digit tells.
    fn cmp_magnitude(&self, other: &Self) -> Option<Ordering> {
        let (low, high) = self.first_place()?;
        let (other_low, other_high) = other.first_place()?;
        if low > other_high {
            Some(Ordering::Greater)
        } else if high < other_low {
            Some(Ordering::Less)
        } else {
            None
        }
    }

    /// Bounds of the first digit's power of ten; None for zero.
    fn first_place(&self) -> Option<(i64, i64)> {
        const LOG10_OF_2: f64 = std::f64::consts::LOG10_2;
        let bits = self.unscaled.bits();
        if bits == 0 {
            return None;
        }
        let low = ((bits - 1) as f64 * LOG10_OF_2).floor() as i64 - 1;
        let high = (bits as f64 * LOG10_OF_2).ceil() as i64 + 1;
        Some((low - i64::from(self.scale), high - i64::from(self.scale)))
    }

    /// The unscaled number at a larger scale.
    pub fn raised(&self, scale: i32) -> BigInt {
        &self.unscaled * BigInt::from(10).pow(scale.abs_diff(self.scale))
    }

    /// The nearest double.
    pub fn to_double(&self) -> f64 {
        // Rust's own reader rounds correctly; text is the exact way there.
        format!("{}e{}", self.unscaled, -i64::from(self.scale)).parse().unwrap_or(f64::NAN)
    }
}

/// By value, then by scale.
impl Ord for BigDec {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cmp_value(other).then(self.scale.cmp(&other.scale))
    }
}

impl PartialOrd for BigDec {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Plain digits where that is short, an exponent otherwise; without the `M`.
impl fmt::Display for BigDec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale <= 0 || self.scale > 60 {
            write!(f, "{}", self.unscaled)?;
            return if self.scale == 0 { Ok(()) } else { write!(f, "E{}", -i64::from(self.scale)) };
        }
        let digits = self.unscaled.magnitude().to_string();
        let scale = self.scale as usize;
        if self.unscaled.sign() == Sign::Minus {
            f.write_str("-")?;
        }
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>scale$}")
        }
    }
}

impl fmt::Debug for BigDec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}M")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_by_value_whatever_their_scales() {
        let texts = [
            "-1e3", "-1.01", "-1.0", "-1e-9000", "0", "0.000", "1e-9000", "1e-10", "0.9", "1", "1.0", "9.99", "10",
            "1e1", "1e9000",
        ];
        let decs: Vec<BigDec> = texts.iter().map(|text| BigDec::parse(text).unwrap()).collect();
        let rank = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 10, 11];
        for (i, x) in decs.iter().enumerate() {
            for (j, y) in decs.iter().enumerate() {
                assert_eq!(x.cmp_value(y), rank[i].cmp(&rank[j]), "{x} against {y}");
            }
        }
    }

    #[test]
    fn decimals_far_apart_compare_without_making_their_digits() {
        let (small, large) = (BigDec::parse("1e-10000").unwrap(), BigDec::parse("1e10000").unwrap());
        for _ in 0..1_000_000 {
            assert_eq!(small.cmp_value(&large), Ordering::Less);
        }
    }
}
