//! The directory of segments: which segment lies where in the packs. Derived: made again from the packs.
//!
//! ```text
//! s database lineage term(be) job 0 hash    pack u64 | offset u64 | length u32
//! d pack(be) offset(be)                     damage in the packs, found when they were scanned
//! f                                         sum u128 | changes u64
//! ```
//! The sum goes over SHA-256 of all entries and is changed in the same step as they are, so that an entry
//! which sled has lost is noticed at open. The number of changes stands in each checkpoint too, so that a
//! directory which sled has put back as a whole is noticed as well.

use super::engine::{Engine, term};
use super::packs::PackPlace;
use super::packs::frame::frame_bytes;
use crate::sled_store::bytes::Fields;
use crate::{DatabaseId, Error, ErrorKind, Result, SegmentKey};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SUM_KEY: &[u8] = b"f";

#[derive(Default)]
pub(crate) struct Directory {
    /// Held while an entry is changed, so that entries and sum stay together.
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sum: Sum,
    damage: Vec<PackPlace>,
    /// Of each pack, what its frames take that are named here.
    live: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    sum: u128,
    /// How often the directory was changed.
    changes: u64,
}

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) place: PackPlace,
    pub(crate) length: u32,
}

impl Directory {
    /// Reads the directory; None when entries were lost, or all since `changes_min` changes.
    pub(crate) fn open(engine: &Engine, changes_min: u64) -> Result<Option<Directory>> {
        let (sum_bytes, found, damage, live) = engine.segments(|tree| {
            let mut found = 0u128;
            let mut live = BTreeMap::new();
            for item in tree.scan_prefix(b"s").chain(tree.scan_prefix(b"d")) {
                let (key, value) = item?;
                found = found.wrapping_add(term(&key, &value));
                if let Some(entry) = decode_entry(&value) {
                    *live.entry(entry.place.pack).or_default() += entry.bytes();
                }
            }
            let damage = tree.scan_prefix(b"d").keys().collect::<sled::Result<Vec<_>>>()?;
            Ok((tree.get(SUM_KEY)?, found, damage, live))
        })?;
        let stored = match sum_bytes {
            None => Some(Sum::default()),
            Some(bytes) => Sum::decode(&bytes),
        };
        let damage = damage.iter().map(|key| decode_damage(key)).collect::<Option<Vec<_>>>();
        Ok(match (stored, damage) {
            (Some(stored), Some(damage)) if stored.sum == found && stored.changes >= changes_min => {
                Some(Directory { inner: Mutex::new(Inner { sum: stored, damage, live }) })
            }
            _ => None,
        })
    }

    pub(crate) fn find(&self, engine: &Engine, key: &SegmentKey) -> Result<Option<Entry>> {
        let value = engine.segments(|tree| tree.get(entry_key(key)))?;
        match value {
            None => Ok(None),
            Some(value) => decode_entry(&value).map(Some).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("the directory entry of segment {key:?} makes no sense"))
            }),
        }
    }

    /// Notes where a segment lies, unless it is known already.
    pub(crate) fn insert(&self, engine: &Engine, key: &SegmentKey, entry: Entry) -> Result<()> {
        let mut inner = self.locked();
        if self.find(engine, key)?.is_some() {
            return Ok(());
        }
        inner.insert(engine, entry_key(key), encode_entry(entry))?;
        *inner.live.entry(entry.place.pack).or_default() += entry.bytes();
        Ok(())
    }

    /// What of a pack is named here, in bytes.
    pub(crate) fn live_bytes(&self, pack: u64) -> u64 {
        self.locked().live.get(&pack).copied().unwrap_or(0)
    }

    /// Leads a segment to a copy of it, if it is still where it was.
    pub(crate) fn lead(&self, engine: &Engine, key: &SegmentKey, from: Entry, to: Entry) -> Result<()> {
        let mut inner = self.locked();
        if self.find(engine, key)? != Some(from) {
            return Ok(());
        }
        let key = entry_key(key);
        let sum = inner.sum.without(&key, &encode_entry(from)).with(&key, &encode_entry(to));
        let mut batch = sled::Batch::default();
        batch.insert(key, encode_entry(to));
        batch.insert(SUM_KEY, sum.encode());
        engine.write_segments(&batch)?;
        inner.sum = sum;
        inner.no_longer_live(from);
        *inner.live.entry(to.place.pack).or_default() += to.bytes();
        Ok(())
    }

    /// How often the directory was changed; all these changes are in sled.
    pub(crate) fn changes(&self) -> u64 {
        self.locked().sum.changes
    }

    /// Forgets some segments, in one step.
    pub(crate) fn remove(&self, engine: &Engine, keys: &[SegmentKey]) -> Result<()> {
        let mut inner = self.locked();
        let (mut sum, mut batch, mut removed) = (inner.sum, sled::Batch::default(), BTreeMap::new());
        for key in keys {
            let Some(entry) = self.find(engine, key)? else { continue };
            let key = entry_key(key);
            if removed.insert(key.clone(), entry).is_none() {
                sum = sum.without(&key, &encode_entry(entry));
                batch.remove(key);
            }
        }
        if removed.is_empty() {
            return Ok(());
        }
        batch.insert(SUM_KEY, sum.encode());
        engine.write_segments(&batch)?;
        inner.sum = sum;
        removed.into_values().for_each(|entry| inner.no_longer_live(entry));
        Ok(())
    }

    /// Notes damage: from now on a segment that is not found may have been there.
    pub(crate) fn note_damage(&self, engine: &Engine, place: PackPlace) -> Result<()> {
        let mut inner = self.locked();
        if !inner.damage.contains(&place) {
            inner.insert(engine, encode_damage(place), Vec::new())?;
            inner.damage.push(place);
        }
        Ok(())
    }

    pub(crate) fn damage(&self) -> Vec<PackPlace> {
        self.locked().damage.clone()
    }

    pub(crate) fn list(
        &self,
        engine: &Engine,
        database: DatabaseId,
        after: Option<&SegmentKey>,
        count_max: usize,
    ) -> Result<Vec<SegmentKey>> {
        let mut prefix = vec![b's'];
        prefix.extend_from_slice(&database.0);
        // Keys of other databases do not come into play: order among them is the database's.
        let first = match after {
            Some(after) => entry_key(&SegmentKey { database, ..after.clone() }),
            None => prefix.clone(),
        };
        let keys = engine.segments(|tree| {
            let keys = tree.range(first.clone()..).keys();
            let of_database = keys.take_while(|key| key.as_ref().map_or(true, |key| key.starts_with(&prefix)));
            let skip_after =
                of_database.filter(|key| key.as_ref().map_or(true, |key| after.is_none() || *key != first));
            skip_after.take(count_max).collect::<sled::Result<Vec<_>>>()
        })?;
        let decode = |key: &sled::IVec| {
            decode_key(key).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, format!("a directory entry of database {database} makes no sense"))
            })
        };
        keys.iter().map(decode).collect()
    }

    /// Nothing here is left half changed where a panic could pass.
    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// What its frame takes in the pack.
    fn bytes(self) -> u64 {
        frame_bytes(self.length)
    }
}

impl Inner {
    fn no_longer_live(&mut self, entry: Entry) {
        if let Some(bytes) = self.live.get_mut(&entry.place.pack) {
            *bytes = bytes.saturating_sub(entry.bytes());
        }
    }

    fn insert(&mut self, engine: &Engine, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        let sum = self.sum.with(&key, &value);
        let mut batch = sled::Batch::default();
        batch.insert(key, value);
        batch.insert(SUM_KEY, sum.encode());
        engine.write_segments(&batch)?;
        self.sum = sum;
        Ok(())
    }
}

impl Sum {
    fn with(self, key: &[u8], value: &[u8]) -> Sum {
        Sum { sum: self.sum.wrapping_add(term(key, value)), changes: self.changes + 1 }
    }

    fn without(self, key: &[u8], value: &[u8]) -> Sum {
        Sum { sum: self.sum.wrapping_sub(term(key, value)), changes: self.changes + 1 }
    }

    fn encode(self) -> Vec<u8> {
        let mut out = self.sum.to_le_bytes().to_vec();
        out.extend_from_slice(&self.changes.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Sum> {
        let mut fields = Fields::new(bytes);
        let sum = Sum { sum: u128::from_le_bytes(fields.array()?), changes: fields.u64()? };
        fields.is_empty().then_some(sum)
    }
}

/// Within one database keys sort as [`SegmentKey`]s do: a job contains no byte as small as the 0 after it.
fn entry_key(key: &SegmentKey) -> Vec<u8> {
    let mut out = vec![b's'];
    out.extend_from_slice(&key.database.0);
    out.extend_from_slice(&key.lineage.0);
    out.extend_from_slice(&key.term.to_be_bytes());
    out.extend_from_slice(key.job.as_bytes());
    out.push(0);
    out.extend_from_slice(&key.hash);
    out
}

fn decode_key(bytes: &[u8]) -> Option<SegmentKey> {
    let mut fields = Fields::new(bytes.get(1..)?);
    let (database, lineage) = (DatabaseId(fields.array()?), DatabaseId(fields.array()?));
    let term = u64::from_be_bytes(fields.array()?);
    let rest = bytes.get(1 + 16 + 16 + 8..)?;
    let (job, hash) = rest.split_at_checked(rest.len().checked_sub(33)?)?;
    let job = String::from_utf8(job.to_vec()).ok()?;
    Some(SegmentKey { lineage, database, term, job, hash: hash[1..].try_into().ok()? })
}

fn encode_entry(entry: Entry) -> Vec<u8> {
    let mut out = entry.place.pack.to_le_bytes().to_vec();
    out.extend_from_slice(&entry.place.offset.to_le_bytes());
    out.extend_from_slice(&entry.length.to_le_bytes());
    out
}

fn decode_entry(bytes: &[u8]) -> Option<Entry> {
    let mut fields = Fields::new(bytes);
    let place = PackPlace { pack: fields.u64()?, offset: fields.u64()? };
    let entry = Entry { place, length: fields.u32()? };
    fields.is_empty().then_some(entry)
}

fn encode_damage(place: PackPlace) -> Vec<u8> {
    let mut out = vec![b'd'];
    out.extend_from_slice(&place.pack.to_be_bytes());
    out.extend_from_slice(&place.offset.to_be_bytes());
    out
}

fn decode_damage(key: &[u8]) -> Option<PackPlace> {
    let (pack, offset) = key.get(1..)?.split_first_chunk()?;
    Some(PackPlace { pack: u64::from_be_bytes(*pack), offset: u64::from_be_bytes(offset.try_into().ok()?) })
}
