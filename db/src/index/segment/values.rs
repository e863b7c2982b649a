//! Columns of values, all of one type.
//!
//! What has a fixed length is a column of numbers: a boolean as 0 or 1, a ref as its entity, an instant as its
//! milliseconds, floats and doubles as their bits, those of negative ones but the sign turned over, so that numbers
//! stand in the order of what they mean. Everything else is *entries*:
//!
//! ```text
//! entries = count: varint of different values, in the order in which they first appear | column of prefix lengths
//!           | column of the other lengths | those bytes | unless all values differ, a column of places
//! ```
//! Of each entry that part is left out that it has in common with the one before it: so many bytes as its prefix
//! length says. An entry is UTF-8 (texts, keywords and symbols without a colon), 16 bytes (uuid), two's complement in
//! little endian as short as can be (bigint), a scale as signed varint and such a number (bigdec), bytes as they are,
//! or a tuple: of each element 0 for nil, or 1 + the tag of its type and a signed varint (boolean, long, instant, ref),
//! 4 or 8 bytes of IEEE 754 (float, double), or a varint of length and an entry. Each entry becomes one value in memory,
//! shared by the rows that have it.

use super::PLAIN_BYTES_MAX;
use super::bytes::{Read, Reader, put_signed, put_varint};
use super::numbers;
use crate::Error;
use crate::error::Result;
use crate::model::{BigDec, BigInt, EntityId, Instant, Keyword, Symbol, Text, Value, ValueType};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The tag of a type: its place in [`ValueType::ALL`], as in record bodies.
pub(super) fn tag(value_type: ValueType) -> u8 {
    value_type as u8
}

pub(super) fn type_of(tag: u8) -> Read<ValueType> {
    ValueType::ALL.get(usize::from(tag)).copied().ok_or_else(|| format!("no type of values has tag {tag}").into())
}

/// Writes values of the type.
pub(super) fn put(bytes: &mut Vec<u8>, value_type: ValueType, values: &[&Value]) -> Result<()> {
    if is_number(value_type) {
        let column: Vec<i64> = values.iter().filter_map(|value| number(value)).collect();
        numbers::put_with_places(bytes, &column);
        return Ok(());
    }
    put_entries(bytes, values)
}

/// Reads `count` values of the type.
pub(super) fn read(reader: &mut Reader<'_>, value_type: ValueType, count: usize) -> Read<Vec<Value>> {
    if !is_number(value_type) {
        return read_entries(reader, value_type, count);
    }
    let column = numbers::read(reader, count)?;
    // One loop for each type.
    match value_type {
        ValueType::Long => Ok(column.into_iter().map(Value::Long).collect()),
        ValueType::Instant => Ok(column.into_iter().map(|ms| Value::Instant(Instant(ms))).collect()),
        ValueType::Ref => column.into_iter().map(|id| entity(id).map(Value::Ref)).collect(),
        _ => column.into_iter().map(|number| of_number(value_type, number)).collect(),
    }
}

pub(super) fn entity(id: i64) -> Read<EntityId> {
    EntityId::from_long(id).ok_or_else(|| "an entity id has 63 bits".into())
}

fn is_number(value_type: ValueType) -> bool {
    use ValueType as V;
    matches!(value_type, V::Boolean | V::Long | V::Float | V::Double | V::Instant | V::Ref)
}

/// A value of fixed length as a number, in the order of the values.
fn number(value: &Value) -> Option<i64> {
    Some(match value {
        Value::Boolean(x) => i64::from(*x),
        Value::Long(x) => *x,
        Value::Float(x) => i64::from(turned(x.to_bits() as i32)),
        Value::Double(x) => {
            let bits = x.to_bits() as i64;
            bits ^ (bits >> 63) & i64::MAX
        }
        Value::Instant(x) => x.0,
        Value::Ref(x) => x.as_long(),
        _ => return None,
    })
}

fn turned(bits: i32) -> i32 {
    bits ^ (bits >> 31) & i32::MAX
}

fn of_number(value_type: ValueType, number: i64) -> Read<Value> {
    Ok(match value_type {
        ValueType::Boolean if number & !1 == 0 => Value::Boolean(number == 1),
        ValueType::Long => Value::Long(number),
        ValueType::Float => {
            let bits = i32::try_from(number).map_err(|_| "a float has 32 bits")?;
            Value::float(f32::from_bits(turned(bits) as u32))
        }
        ValueType::Double => Value::double(f64::from_bits((number ^ (number >> 63) & i64::MAX) as u64)),
        ValueType::Instant => Value::Instant(Instant(number)),
        ValueType::Ref => Value::Ref(entity(number)?),
        other => return Err(format!("{number} is no {}", other.name()).into()),
    })
}

fn put_entries(bytes: &mut Vec<u8>, values: &[&Value]) -> Result<()> {
    let mut plain: Vec<u8> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    let mut places: Vec<i64> = Vec::with_capacity(values.len());
    let mut seen: FxHashMap<&Value, i64> = FxHashMap::default();
    for value in values {
        let next = seen.len() as i64;
        let place = *seen.entry(value).or_insert(next);
        if place == next {
            put_entry(&mut plain, value)?;
            ends.push(plain.len());
        }
        places.push(place);
    }
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(too_long(plain.len()));
    }
    let (mut prefixes, mut lengths, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    let (mut before, mut begin): (&[u8], usize) = (&[], 0);
    for end in ends {
        let entry = &plain[begin..end];
        let prefix = entry.iter().zip(before).take_while(|(x, y)| x == y).count();
        prefixes.push(prefix as i64);
        lengths.push((entry.len() - prefix) as i64);
        rest.extend_from_slice(&entry[prefix..]);
        (before, begin) = (entry, end);
    }
    put_varint(bytes, prefixes.len() as u64);
    numbers::put(bytes, &prefixes);
    numbers::put(bytes, &lengths);
    bytes.append(&mut rest);
    if prefixes.len() < places.len() {
        numbers::put(bytes, &places);
    }
    Ok(())
}

pub(super) fn too_long(length: usize) -> Error {
    let message = format!("the rows of a segment take {length} bytes; at most {PLAIN_BYTES_MAX} go into one");
    Error::incorrect("db.error/segment-too-large", message)
}

fn read_entries(reader: &mut Reader<'_>, value_type: ValueType, count: usize) -> Read<Vec<Value>> {
    let different = reader.count(count)?;
    if different == 0 && count > 0 {
        return Err("values are told of and none is there".into());
    }
    let prefixes = numbers::read(reader, different)?;
    let lengths = numbers::read(reader, different)?;
    // An entry may be as long as the one before it without a byte of its own: their sum has a bound.
    let mut sum = 0usize;
    for (prefix, length) in prefixes.iter().zip(&lengths) {
        let length =
            usize::try_from(*prefix).ok().zip(usize::try_from(*length).ok()).and_then(|(x, y)| x.checked_add(y));
        sum = length
            .and_then(|length| sum.checked_add(length))
            .filter(|sum| *sum <= PLAIN_BYTES_MAX)
            .ok_or("its values are longer than a segment can be")?;
    }
    let mut values = Vec::with_capacity(different);
    let mut entry: Vec<u8> = Vec::new();
    for (prefix, length) in prefixes.into_iter().zip(lengths) {
        if prefix as usize > entry.len() {
            return Err("an entry shares more with the one before it than that has".into());
        }
        entry.truncate(prefix as usize);
        entry.extend_from_slice(reader.bytes(length as usize)?);
        values.push(read_entry(value_type, &entry)?);
    }
    if different == count {
        return Ok(values);
    }
    numbers::read(reader, count)?.into_iter().map(|place| numbers::at(&values, place)).collect()
}

/// The bytes of a value of no fixed length.
fn put_entry(bytes: &mut Vec<u8>, value: &Value) -> Result<()> {
    match value {
        Value::String(x) | Value::Uri(x) => bytes.extend_from_slice(x.as_bytes()),
        Value::Keyword(x) => bytes.extend_from_slice(x.as_str().as_bytes()),
        Value::Symbol(x) => bytes.extend_from_slice(x.as_str().as_bytes()),
        Value::Uuid(x) => bytes.extend_from_slice(&**x),
        Value::Bytes(x) => bytes.extend_from_slice(x),
        Value::BigInt(x) => bytes.extend_from_slice(&x.to_signed_bytes_le()),
        Value::BigDec(x) => {
            put_signed(bytes, i64::from(x.scale()));
            bytes.extend_from_slice(&x.unscaled().to_signed_bytes_le());
        }
        Value::Tuple(elements) => elements.iter().try_for_each(|element| put_element(bytes, element.as_ref()))?,
        other => return Err(Error::fault(format!("{other} is a number in a segment"))),
    }
    Ok(())
}

fn read_entry(value_type: ValueType, entry: &[u8]) -> Read<Value> {
    let text = || std::str::from_utf8(entry).map_err(|error| format!("a text is not UTF-8: {error}"));
    Ok(match value_type {
        ValueType::String => Value::String(Text::from(text()?)),
        ValueType::Uri => Value::Uri(Text::from(text()?)),
        ValueType::Keyword => Value::Keyword(Keyword::new(text()?)),
        ValueType::Symbol => Value::Symbol(Symbol::new(text()?)),
        ValueType::Uuid => Value::uuid(entry.try_into().map_err(|_| format!("a uuid has {} bytes", entry.len()))?),
        ValueType::Bytes => Value::Bytes(Arc::new(entry.to_vec())),
        ValueType::BigInt => Value::BigInt(Arc::new(BigInt::from_signed_bytes_le(entry))),
        ValueType::BigDec => {
            let mut reader = Reader::new(entry);
            let scale = i32::try_from(reader.signed()?).map_err(|_| "a decimal's scale has 32 bits")?;
            let unscaled = BigInt::from_signed_bytes_le(reader.bytes(reader.len())?);
            Value::BigDec(Arc::new(BigDec::new(unscaled, scale).ok_or("a decimal's scale is out of bounds")?))
        }
        ValueType::Tuple => {
            let mut reader = Reader::new(entry);
            let mut elements = Vec::new();
            while reader.len() > 0 {
                elements.push(read_element(&mut reader)?);
            }
            Value::Tuple(Arc::new(elements))
        }
        other => return Err(format!("a {} is no entry", other.name()).into()),
    })
}

fn put_element(bytes: &mut Vec<u8>, element: Option<&Value>) -> Result<()> {
    let Some(value) = element else {
        bytes.push(0);
        return Ok(());
    };
    bytes.push(1 + tag(value.value_type()));
    match value {
        Value::Float(x) => bytes.extend_from_slice(&x.to_le_bytes()),
        Value::Double(x) => bytes.extend_from_slice(&x.to_le_bytes()),
        // No attribute has such values.
        Value::Tuple(_) => return Err(Error::fault(format!("a tuple inside a tuple cannot be indexed: {value}"))),
        other => match number(other) {
            Some(number) => put_signed(bytes, number),
            None => {
                let mut entry = Vec::new();
                put_entry(&mut entry, other)?;
                put_varint(bytes, entry.len() as u64);
                bytes.append(&mut entry);
            }
        },
    }
    Ok(())
}

fn read_element(reader: &mut Reader<'_>) -> Read<Option<Value>> {
    let Some(tag) = reader.byte()?.checked_sub(1) else { return Ok(None) };
    let value = match type_of(tag)? {
        ValueType::Float => Value::float(f32::from_le_bytes(reader.array()?)),
        ValueType::Double => Value::double(f64::from_le_bytes(reader.array()?)),
        ValueType::Tuple => return Err("a tuple is inside a tuple".into()),
        value_type if is_number(value_type) => of_number(value_type, reader.signed()?)?,
        value_type => {
            let length = reader.count(reader.len())?;
            read_entry(value_type, reader.bytes(length)?)?
        }
    };
    Ok(Some(value))
}
