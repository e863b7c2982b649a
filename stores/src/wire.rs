//! What storage and the contract call by different names.

use bytes::Bytes;
use db::{Error, Result};
use proto::v1;
use storage::{DatabaseId, Head, Records, Replaced, SegmentKey, StoredRecord};

pub fn head(head: &Head) -> v1::Head {
    v1::Head {
        term: head.term,
        seq: head.seq,
        t: head.t,
        hash: Bytes::copy_from_slice(&head.hash),
        index_seq: head.index_seq,
    }
}

pub fn head_of(head: &v1::Head) -> Result<Head> {
    let hash = hash_of(&head.hash)?;
    Ok(Head { term: head.term, seq: head.seq, t: head.t, hash, index_seq: head.index_seq })
}

pub fn database_id(id: DatabaseId) -> Bytes {
    Bytes::copy_from_slice(&id.0)
}

pub fn database_id_of(bytes: &[u8]) -> Result<DatabaseId> {
    bytes.try_into().map(DatabaseId).map_err(|_| {
        let message = format!("a database id has 16 bytes, this one has {}", bytes.len());
        Error::incorrect("db.error/invalid-database-id", message)
    })
}

pub fn key(key: &SegmentKey) -> v1::SegmentKey {
    v1::SegmentKey {
        lineage_id: database_id(key.lineage),
        database_id: database_id(key.database),
        term: key.term,
        job: key.job.clone(),
        hash: Bytes::copy_from_slice(&key.hash),
    }
}

pub fn key_of(key: v1::SegmentKey) -> Result<SegmentKey> {
    Ok(SegmentKey {
        lineage: database_id_of(&key.lineage_id)?,
        database: database_id_of(&key.database_id)?,
        term: key.term,
        job: key.job,
        hash: hash_of(&key.hash)?,
    })
}

pub fn records(records: Records) -> v1::ReadLogResponse {
    match records {
        Records::Found(records) => v1::ReadLogResponse {
            records: records
                .into_iter()
                .map(|record| v1::StoredRecord { seq: record.seq, bytes: record.bytes.into() })
                .collect(),
            sealed_before_seq: 0,
        },
        Records::Sealed { before_seq } => v1::ReadLogResponse { records: Vec::new(), sealed_before_seq: before_seq },
    }
}

pub fn records_of(response: v1::ReadLogResponse) -> Records {
    match response.sealed_before_seq {
        0 => Records::Found(
            response
                .records
                .into_iter()
                .map(|record| StoredRecord { seq: record.seq, bytes: record.bytes.into() })
                .collect(),
        ),
        before_seq => Records::Sealed { before_seq },
    }
}

pub fn replaced(replaced: Replaced) -> v1::ReplaceBodyResponse {
    use v1::replace_body_response::Outcome;
    let (outcome, sealed_before_seq) = match replaced {
        Replaced::Done => (Outcome::Done, 0),
        Replaced::Other => (Outcome::Other, 0),
        Replaced::Sealed { before_seq } => (Outcome::Sealed, before_seq),
    };
    v1::ReplaceBodyResponse { outcome: outcome.into(), sealed_before_seq }
}

pub fn replaced_of(response: v1::ReplaceBodyResponse) -> Result<Replaced> {
    use v1::replace_body_response::Outcome;
    match response.outcome() {
        Outcome::Done => Ok(Replaced::Done),
        Outcome::Other => Ok(Replaced::Other),
        Outcome::Sealed => Ok(Replaced::Sealed { before_seq: response.sealed_before_seq }),
        Outcome::Unspecified => {
            let message = format!("a replacement came out as {}, which nobody knows", response.outcome);
            Err(Error::incorrect("db.error/invalid-outcome", message))
        }
    }
}

pub fn hash_of(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| {
        let message = format!("a hash has 32 bytes, this one has {}", bytes.len());
        Error::incorrect("db.error/invalid-hash", message)
    })
}
