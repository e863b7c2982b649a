//! Keys and values of sled's items, and records as several of them.

use super::ITEM_BYTES_MAX;
use crate::sled_store::bytes::Fields;
use crate::{DatabaseId, PodVersion, StoredRecord, sha256};

/// How many bytes of a record go into one item: the limit less the key and the field before the first part.
pub(super) const PART_BYTES: usize = ITEM_BYTES_MAX - 96;

/// Records come out of their items.
pub(super) struct Reading {
    pub(super) db: DatabaseId,
    pub(super) next_seq: u64,
    /// The record that is read: its length, crc32c, next part and the bytes so far.
    pub(super) part: Option<(usize, u32, u16, Vec<u8>)>,
    pub(super) found: Vec<StoredRecord>,
    pub(super) bytes_sum: usize,
}

impl Reading {
    /// Takes the next item; false when enough is read.
    pub(super) fn take(&mut self, key: &[u8], value: &[u8], bytes_max: usize) -> Result<bool, String> {
        let broken = |seq: u64| format!("record {seq} of {} is not there as written", self.db);
        let (seq, part) = record_key_fields(key).ok_or_else(|| broken(self.next_seq))?;
        let expected_part = self.part.as_ref().map_or(0, |part| part.2);
        if seq != self.next_seq || part != expected_part {
            return Err(broken(self.next_seq));
        }
        let (length, crc, _, mut bytes) = match self.part.take() {
            Some(part) => part,
            None => {
                let mut fields = Fields::new(value);
                let (length, crc) = fields.u32().zip(fields.u32()).ok_or_else(|| broken(seq))?;
                let length = length as usize;
                if !self.found.is_empty() && self.bytes_sum + length > bytes_max {
                    return Ok(false);
                }
                (length, crc, 0, Vec::with_capacity(length.min(PART_BYTES)))
            }
        };
        bytes.extend_from_slice(if part == 0 { &value[8..] } else { value });
        if bytes.len() < length {
            self.part = Some((length, crc, part + 1, bytes));
            return Ok(true);
        }
        if bytes.len() != length || crc32c::crc32c(&bytes) != crc {
            return Err(broken(seq));
        }
        self.bytes_sum += length;
        self.found.push(StoredRecord { seq, bytes });
        self.next_seq += 1;
        Ok(true)
    }
}

pub(super) fn insert_record(batch: &mut sled::Batch, db: DatabaseId, seq: u64, record: &[u8]) {
    for (chunk, part) in record.chunks(PART_BYTES).zip(0u16..) {
        let mut value = Vec::with_capacity(chunk.len() + 8);
        if part == 0 {
            value.extend_from_slice(&(record.len() as u32).to_le_bytes());
            value.extend_from_slice(&crc32c::crc32c(record).to_le_bytes());
        }
        value.extend_from_slice(chunk);
        let key = record_key(db, seq, part);
        debug_assert!(key.len() + value.len() <= ITEM_BYTES_MAX);
        batch.insert(&key, value);
    }
}

/// How many items a record of this length takes. Its length was checked, so that parts are numbered by 16 bits.
pub(super) fn parts_of(length: usize) -> u16 {
    length.div_ceil(PART_BYTES) as u16
}

pub(super) fn record_key(db: DatabaseId, seq: u64, part: u16) -> [u8; 27] {
    let mut key = [0; 27];
    key[0] = b'r';
    key[1..17].copy_from_slice(&db.0);
    key[17..25].copy_from_slice(&seq.to_be_bytes());
    key[25..].copy_from_slice(&part.to_be_bytes());
    key
}

pub(super) fn replaced_key(db: DatabaseId, seq: u64) -> [u8; 25] {
    let mut key = [0; 25];
    key[0] = b'e';
    key[1..17].copy_from_slice(&db.0);
    key[17..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(super) fn decode_replaced(key: &[u8], value: &[u8]) -> Option<(DatabaseId, u64, [u8; 32])> {
    let (db, seq) = key.get(1..)?.split_first_chunk()?;
    Some((DatabaseId(*db), u64::from_be_bytes(seq.try_into().ok()?), value.try_into().ok()?))
}

fn record_key_fields(key: &[u8]) -> Option<(u64, u16)> {
    let (seq, part) = key.get(17..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u16::from_be_bytes(part.try_into().ok()?)))
}

/// What an item adds to a sum that shows whether one is missing.
pub(crate) fn term(key: &[u8], value: &[u8]) -> u128 {
    let hash = sha256(&[key, value].concat());
    let half = hash.first_chunk().unwrap_or_else(|| unreachable!("a SHA-256 has 32 bytes"));
    u128::from_le_bytes(*half)
}

pub(super) fn encode_pod(version: PodVersion, bytes: &[u8]) -> Vec<u8> {
    let mut out = version.to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

pub(super) fn decode_pod(bytes: &[u8]) -> Option<(PodVersion, Vec<u8>)> {
    let (version, bytes) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*version), bytes.to_vec()))
}

pub(super) fn key(tag: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(tag);
    key.extend_from_slice(name);
    key
}
