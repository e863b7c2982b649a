//! Numbers.
//!
//! ```text
//! integer = [+-] ( 0 | 1-9 digits* | 0 octal+ | 0x hex+ | radix r alnum+ ) [N]      radix 2 to 36
//! ratio   = [+-] digits "/" digits
//! decimal = [+-] digits [ "." digits* ] [ e [+-] digits ] [M]        one of the three at least: else an integer
//! ```
//! An integer beyond 64 bits is a big one with or without the `N`; a ratio is kept in lowest terms, and is an
//! integer where it can be. A double that would round to infinity is refused, not changed.

use super::Edn;
use crate::model::{BigDec, BigInt};
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::sync::Arc;

/// Reading digits takes time in the square of their count.
pub const DIGITS_MAX: usize = 10_000;
/// So does bringing a ratio to its lowest terms, and more of it.
pub const RATIO_DIGITS_MAX: usize = 1_000;

/// Why a token is not a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax(&'static str),
    Limit(&'static str),
}

const NO_NUMBER: Fault = Fault::Syntax("it begins like a number but is none");
const TOO_LONG: Fault = Fault::Limit("a number has at most 10000 digits, a ratio 1000 on each side");

/// Reads a token that begins with a digit or with a sign and a digit.
pub(super) fn parse(token: &str) -> Result<Edn, Fault> {
    if token.len() > DIGITS_MAX + 16 {
        return Err(TOO_LONG);
    }
    let (negative, digits) = match token.as_bytes()[0] {
        b'-' => (true, &token[1..]),
        b'+' => (false, &token[1..]),
        _ => (false, token),
    };
    if let Some((numerator, denominator)) = digits.split_once('/') {
        return ratio(negative, numerator, denominator);
    }
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return integer(negative, hex, 16);
    }
    let bytes = digits.as_bytes();
    if let Some(at) = bytes.iter().take(3).position(|b| matches!(b, b'r' | b'R')) {
        let radix = digits[..at].parse().ok().filter(|radix| (2..=36).contains(radix));
        let radix = radix.ok_or(Fault::Syntax("a radix is 2 to 36"))?;
        if bytes[0] == b'0' {
            return Err(NO_NUMBER);
        }
        // In radix 24 and above N is a digit.
        return integer_of(negative, &digits[at + 1..], radix, false);
    }
    if bytes.iter().any(|b| matches!(b, b'.' | b'e' | b'E' | b'M')) {
        return decimal(token, digits);
    }
    if bytes.len() > 1 && bytes[0] == b'0' && bytes[1] != b'N' {
        return match integer(negative, &digits[1..], 8) {
            Err(Fault::Syntax(_)) if bytes.iter().all(u8::is_ascii_digit) => {
                Err(Fault::Syntax("a leading zero means octal, which has no 8 and no 9"))
            }
            other => other,
        };
    }
    integer(negative, digits, 10)
}

fn integer(negative: bool, digits: &str, radix: u32) -> Result<Edn, Fault> {
    match digits.strip_suffix('N') {
        Some(digits) => integer_of(negative, digits, radix, true),
        None => integer_of(negative, digits, radix, false),
    }
}

fn integer_of(negative: bool, digits: &str, radix: u32, big: bool) -> Result<Edn, Fault> {
    if digits.is_empty() || !digits.bytes().all(|b| char::from(b).is_digit(radix)) {
        return Err(NO_NUMBER);
    }
    if let (false, Ok(magnitude)) = (big, u64::from_str_radix(digits, radix)) {
        if !negative && magnitude <= i64::MAX as u64 {
            return Ok(Edn::Long(magnitude as i64));
        }
        if negative && magnitude <= i64::MAX as u64 + 1 {
            return Ok(Edn::Long((magnitude as i64).wrapping_neg()));
        }
    }
    let magnitude = BigInt::parse_bytes(digits.as_bytes(), radix).ok_or(NO_NUMBER)?;
    Ok(Edn::BigInt(Arc::new(if negative { -magnitude } else { magnitude })))
}

fn decimal(token: &str, digits: &str) -> Result<Edn, Fault> {
    let (digits, exact) = match digits.strip_suffix('M') {
        Some(digits) => (digits, true),
        None => (digits, false),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (digits, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| !exponent.is_empty() && all_digits(exponent));
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || !exponent_fits {
        return Err(NO_NUMBER);
    }
    let number = if exact { &token[..token.len() - 1] } else { token };
    if exact {
        let decimal = BigDec::parse(number);
        return decimal
            .map(|decimal| Edn::BigDec(Arc::new(decimal)))
            .ok_or(Fault::Limit("the scale of a decimal lies within 10000 of zero"));
    }
    match number.parse::<f64>() {
        Ok(double) if double.is_finite() => Ok(Edn::Double(double)),
        Ok(_) => Err(Fault::Syntax("it is beyond the doubles; write ##Inf, or an M behind it for a decimal")),
        Err(_) => Err(NO_NUMBER),
    }
}

fn ratio(negative: bool, numerator: &str, denominator: &str) -> Result<Edn, Fault> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(numerator) || !digits(denominator) {
        return Err(NO_NUMBER);
    }
    if numerator.len().max(denominator.len()) > RATIO_DIGITS_MAX {
        return Err(TOO_LONG);
    }
    let read = |part: &str| BigInt::parse_bytes(part.as_bytes(), 10).ok_or(NO_NUMBER);
    let numerator = read(numerator)?;
    let numerator = if negative { -numerator } else { numerator };
    ratio_of(numerator, read(denominator)?).ok_or(Fault::Syntax("the denominator is zero"))
}

/// A ratio in its lowest terms, an integer where it is one; None for a denominator of zero.
pub fn ratio_of(numerator: BigInt, denominator: BigInt) -> Option<Edn> {
    if denominator.is_zero() {
        return None;
    }
    let divisor = greatest_common_divisor(numerator.clone(), denominator.clone());
    let divisor = if denominator.is_negative() { -divisor } else { divisor };
    let (numerator, denominator) = (numerator / &divisor, denominator / &divisor);
    if denominator.is_one() {
        return Some(numerator.to_i64().map_or_else(|| Edn::BigInt(Arc::new(numerator)), Edn::Long));
    }
    Some(Edn::Ratio(Arc::new((numerator, denominator))))
}

fn greatest_common_divisor(mut a: BigInt, mut b: BigInt) -> BigInt {
    while !b.is_zero() {
        (a, b) = (b.clone(), a % b);
    }
    a.abs()
}
