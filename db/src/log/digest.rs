//! The digest of a request: what tells whether the same transaction is sent again.
//!
//! SHA-256 over `diachron tx-data 1`, a zero byte, and the canonical encoding of the parsed tx-data: of each form a
//! tag byte, then its content; lengths and counts in 8 bytes, little endian, numbers in theirs.
//!
//! ```text
//! 0 nil     1 false     2 true     3 character: code point, 4 bytes     4 long: 8 bytes     5 bigint: text
//! 6 double: 8 bytes, one NaN, -0.0 as 0.0     7 bigdec: scale, 4 bytes, then the unscaled number as text
//! 8 ratio: numerator, denominator, as texts   9 string: text     10 keyword: text     11 symbol: text
//! 12 instant: 8 bytes     13 uuid: 16 bytes   14 list or vector: count, elements
//! 15 map: count, entries (key, value) in the order of their bytes     16 set: count, elements in that order
//! 17 tagged: tag as text, form                text: length, UTF-8
//! ```
//! Lists and vectors are one: nowhere in tx-data do they mean different things. So white space, comments, the order
//! of maps and sets, and ways to write a number do not change a digest; the order of a vector does.

use super::Hash;
use crate::edn::Edn;
use crate::model::Value;
use sha2::{Digest, Sha256};

/// The digest of parsed tx-data, before expansion.
pub fn digest(tx_data: &Edn) -> Hash {
    let mut bytes = Vec::new();
    encode(tx_data, &mut bytes);
    Sha256::new().chain_update(b"diachron tx-data 1\0").chain_update(&bytes).finalize().into()
}

fn encode(form: &Edn, bytes: &mut Vec<u8>) {
    match form {
        Edn::Nil => bytes.push(0),
        Edn::Bool(x) => bytes.push(1 + u8::from(*x)),
        Edn::Char(x) => scalar(bytes, 3, &u32::from(*x).to_le_bytes()),
        Edn::Long(x) => scalar(bytes, 4, &x.to_le_bytes()),
        Edn::BigInt(x) => text(bytes, 5, &x.to_string()),
        Edn::Double(x) => match Value::double(*x) {
            Value::Double(x) => scalar(bytes, 6, &x.to_bits().to_le_bytes()),
            _ => unreachable!("Value::double makes doubles"),
        },
        Edn::BigDec(x) => {
            scalar(bytes, 7, &x.scale().to_le_bytes());
            put_text(bytes, &x.unscaled().to_string());
        }
        Edn::Ratio(x) => {
            text(bytes, 8, &x.0.to_string());
            put_text(bytes, &x.1.to_string());
        }
        Edn::String(x) => text(bytes, 9, x),
        Edn::Keyword(x) => text(bytes, 10, x.as_str()),
        Edn::Symbol(x) => text(bytes, 11, x.as_str()),
        Edn::Inst(x) => scalar(bytes, 12, &x.0.to_le_bytes()),
        Edn::Uuid(x) => scalar(bytes, 13, x),
        Edn::List(elements) | Edn::Vector(elements) => {
            scalar(bytes, 14, &(elements.len() as u64).to_le_bytes());
            elements.iter().for_each(|element| encode(element, bytes));
        }
        Edn::Map(entries) => unordered(bytes, 15, entries, |(key, value), bytes| {
            encode(key, bytes);
            encode(value, bytes);
        }),
        Edn::Set(elements) => unordered(bytes, 16, elements, encode),
        Edn::Tagged(tag, form) => {
            text(bytes, 17, tag.as_str());
            encode(form, bytes);
        }
    }
}

fn unordered<X>(bytes: &mut Vec<u8>, tag: u8, members: &[X], encode: impl Fn(&X, &mut Vec<u8>)) {
    scalar(bytes, tag, &(members.len() as u64).to_le_bytes());
    let start = bytes.len();
    let mut ends = Vec::with_capacity(members.len());
    for member in members {
        encode(member, bytes);
        ends.push(bytes.len());
    }
    let unsorted = bytes.split_off(start);
    let starts = std::iter::once(start).chain(ends.iter().copied());
    let mut parts: Vec<&[u8]> = starts.zip(&ends).map(|(from, to)| &unsorted[from - start..to - start]).collect();
    parts.sort_unstable();
    parts.into_iter().for_each(|part| bytes.extend_from_slice(part));
}

fn scalar(bytes: &mut Vec<u8>, tag: u8, content: &[u8]) {
    bytes.push(tag);
    bytes.extend_from_slice(content);
}

fn text(bytes: &mut Vec<u8>, tag: u8, text: &str) {
    bytes.push(tag);
    put_text(bytes, text);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
