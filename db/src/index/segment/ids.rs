//! Columns of segments' names and lengths.
//!
//! ```text
//! ids = count of databases: varint, their ids of 16 bytes each, in the order in which they first appear
//!     | columns of each name's database, of terms, of jobs, of encoded lengths | hashes of 32 bytes each
//! ```

use super::bytes::{Read, Reader, put_varint};
use super::{SegmentId, numbers};
use crate::log::DatabaseId;

pub(crate) fn put(bytes: &mut Vec<u8>, ids: &[(SegmentId, u32)]) {
    let mut databases: Vec<DatabaseId> = Vec::new();
    let mut places = Vec::with_capacity(ids.len());
    for (id, _) in ids {
        let place = databases.iter().position(|database| *database == id.database).unwrap_or(databases.len());
        if place == databases.len() {
            databases.push(id.database);
        }
        places.push(place as i64);
    }
    put_varint(bytes, databases.len() as u64);
    databases.iter().for_each(|database| bytes.extend_from_slice(&database.0));
    numbers::put(bytes, &places);
    numbers::put(bytes, &ids.iter().map(|(id, _)| id.term as i64).collect::<Vec<_>>());
    numbers::put(bytes, &ids.iter().map(|(id, _)| id.job as i64).collect::<Vec<_>>());
    numbers::put(bytes, &ids.iter().map(|(_, length)| i64::from(*length)).collect::<Vec<_>>());
    ids.iter().for_each(|(id, _)| bytes.extend_from_slice(&id.hash));
}

/// No length is 0.
pub(crate) fn read(reader: &mut Reader<'_>, count: usize) -> Read<Vec<(SegmentId, u32)>> {
    let of_databases = reader.count(count.min(reader.len() / 16))?;
    let mut databases = Vec::with_capacity(of_databases);
    for _ in 0..of_databases {
        databases.push(DatabaseId(reader.array()?));
    }
    let places = numbers::read(reader, count)?;
    let terms = numbers::read(reader, count)?;
    let jobs = numbers::read(reader, count)?;
    let lengths = numbers::read(reader, count)?;
    let mut ids = Vec::with_capacity(count);
    for at in 0..count {
        let length = u32::try_from(lengths[at]).ok().filter(|length| *length > 0);
        let length = length.ok_or("a segment's length has 32 bits and is not 0")?;
        let database = numbers::at(&databases, places[at])?;
        let id = SegmentId { database, term: terms[at] as u64, job: jobs[at] as u64, hash: reader.array()? };
        ids.push((id, length));
    }
    Ok(ids)
}
