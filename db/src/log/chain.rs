//! The chain: what the next record must look like, and whether one does.
//!
//! Writers make headers with it and readers check them with it, so that both follow one rule:
//!
//! * database and lineage stay what they are (a database that founds its lineage gives it its own id);
//! * seq counts 1, 2, 3 …; t counts through the `tx` records without gaps, other records do not move it;
//! * the first record is `create` and the only one; the term never falls, and only a `term` record raises it;
//! * the hash of the header before, and the Merkle root over all records before, are those of this chain.
//!
//! Instants are the writer's clock and are not judged.

use super::body::EncodedBody;
use super::header::{DatabaseId, Header, Kind, damaged};
use super::merkle::Frontier;
use super::{Hash, RawRecord};
use crate::error::{Error, Result};
use crate::model::{Instant, T};

/// Where a log ends, and all that the next record is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    database: DatabaseId,
    /// Known from the first record on.
    lineage: Option<DatabaseId>,
    term: u64,
    seq: u64,
    t: T,
    hash: Hash,
    records: Frontier,
    /// Of `records`.
    root: Hash,
}

impl Chain {
    /// The chain of a database that has no records yet.
    pub fn new(database: DatabaseId) -> Self {
        let records = Frontier::default();
        let root = records.root();
        Chain { database, lineage: None, term: 0, seq: 0, t: 0, hash: [0; 32], records, root }
    }

    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// None before the first record.
    pub fn lineage(&self) -> Option<DatabaseId> {
        self.lineage
    }

    /// The newest record's term, 0 before the first.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The newest record's number, 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The newest transaction's t, 0 before the first.
    pub fn t(&self) -> T {
        self.t
    }

    /// The newest record's hash, zeros before the first.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The Merkle tree over all records so far.
    pub fn records(&self) -> &Frontier {
        &self.records
    }

    /// The header of the record that would come next. A `term` record's term is above the chain's; any other's is
    /// the chain's, the `create` record's is 1.
    pub fn next(&self, body: &EncodedBody, term: u64, instant: Instant) -> Header {
        Header {
            kind: body.kind,
            out_of_line: body.is_out_of_line(),
            database: self.database,
            lineage: self.lineage.unwrap_or(self.database),
            term,
            seq: self.seq + 1,
            first_t: self.t + 1,
            count: body.count,
            instant,
            body_hash: body.hash,
            root: self.root,
            previous_hash: self.hash,
        }
    }

    /// Checks that a record comes next.
    pub fn verify(&self, header: &Header) -> Result<()> {
        match self.fault(header) {
            None => Ok(()),
            Some(fault) => Err(self.broken(header, fault)),
        }
    }

    /// Checks that a record comes next and takes it in; on an error the chain stays as it was.
    pub fn push(&mut self, record: &RawRecord<'_>) -> Result<()> {
        self.push_header(&record.header, record.hash)
    }

    /// [`Self::push`] for the one who made the header; `hash` is the header's.
    pub fn push_header(&mut self, header: &Header, hash: Hash) -> Result<()> {
        self.verify(header)?;
        self.lineage = Some(header.lineage);
        self.term = header.term;
        self.seq = header.seq;
        self.t = header.last_t();
        self.hash = hash;
        self.records.push(&hash);
        self.root = self.records.root();
        Ok(())
    }

    fn fault(&self, header: &Header) -> Option<String> {
        let (seq, t) = (self.seq + 1, self.t + 1);
        if header.database != self.database {
            return Some(format!("it belongs to database {}", header.database));
        }
        if self.lineage.is_some_and(|lineage| lineage != header.lineage) {
            return Some(format!("it belongs to lineage {}", header.lineage));
        }
        if header.seq != seq {
            return Some(format!("record {} stands where {seq} should", header.seq));
        }
        if header.previous_hash != self.hash {
            return Some("it does not follow the record before it: its hash of that record's header is another".into());
        }
        if header.root != self.root {
            return Some("its Merkle root over the records before it is another".into());
        }
        if header.first_t != t {
            return Some(format!("t {} stands where {t} should", header.first_t));
        }
        if (header.kind == Kind::Create) != (seq == 1) {
            return Some(format!("record {seq} cannot be of kind `{}`", header.kind.name()));
        }
        let term_fits = match header.kind {
            Kind::Create => header.term == 1,
            Kind::Term => header.term > self.term,
            _ => header.term == self.term,
        };
        if !term_fits {
            let message =
                format!("a `{}` record of term {} cannot follow term {}", header.kind.name(), header.term, self.term);
            return Some(message);
        }
        None
    }

    fn broken(&self, header: &Header, fault: String) -> Error {
        let (seq, t) = (self.seq + 1, self.t + 1);
        damaged(format!("the log of database {} breaks at record {seq} (t {t}): {fault}", self.database))
            .with("database", self.database.to_string())
            .with("seq", seq as i64)
            .with("t", t as i64)
            .with("found-seq", header.seq as i64)
    }
}
