//! The chain: what the next record must look like, and whether one does.
//!
//! Writers make headers with it and readers check them with it, so that both follow one rule:
//!
//! * database and lineage stay what they are; a database that is created founds a lineage of its own id, a fork is
//!   never the one that its lineage began with;
//! * seq counts 1, 2, 3 …; t counts through the `tx` records without gaps, other records do not move it; that of a fork
//!   begins where it left its origin;
//! * the first record is `create` or `fork`, and no other is; the term never falls, and only a `term` record raises it;
//! * the hash of the header before, and the Merkle root over all records before, are those of this chain.
//!
//! Instants are the writer's clock and are not judged.

use super::body::EncodedBody;
use super::header::{DatabaseId, Header, Kind, T_END, damaged};
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
    instant: Instant,
    hash: Hash,
    records: Frontier,
    /// Of `records`.
    root: Hash,
}

/// Where a log stood after a record: all that a chain needs to go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainState {
    /// Of that record.
    pub seq: u64,
    /// Of the newest transaction up to it, 0 where there is none.
    pub t: T,
    pub term: u64,
    /// The record's own, the clock of its writer.
    pub instant: Instant,
    pub hash: Hash,
    /// [`Frontier::peaks`] of the Merkle tree over records 1 to `seq`.
    pub peaks: Vec<Hash>,
}

impl ChainState {
    /// What no state can say, whatever the records.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.seq == 0 || self.term == 0 || self.t >= T_END {
            return Some("seq and term of a chain begin at 1, and a t has 42 bits");
        }
        if self.peaks.len() != self.seq.count_ones() as usize {
            return Some("the frontier of a chain does not fit its seq");
        }
        None
    }
}

impl Chain {
    /// The chain of a database that has no records yet.
    pub fn new(database: DatabaseId) -> Self {
        let records = Frontier::default();
        let root = records.root();
        Chain { database, lineage: None, term: 0, seq: 0, t: 0, instant: Instant(0), hash: [0; 32], records, root }
    }

    /// The chain of a fork that has no records yet: one that goes on after a t of another database of the lineage.
    pub fn forked(database: DatabaseId, lineage: DatabaseId, t: T) -> Self {
        Chain { lineage: Some(lineage), t, ..Chain::new(database) }
    }

    /// The chain of a log of which only the state after some record is known. The next record's own root and hash of
    /// the record before show whether the state is the log's.
    pub fn resume(database: DatabaseId, lineage: DatabaseId, state: &ChainState) -> Result<Self> {
        let frontier = Frontier::from_parts(state.seq, state.peaks.clone());
        let (None, Some(records)) = (state.fault(), frontier) else {
            let fault = state.fault().unwrap_or_default();
            return Err(damaged(format!("the log of database {database} cannot be resumed: {fault}")));
        };
        let root = records.root();
        let ChainState { seq, t, term, instant, hash, .. } = *state;
        Ok(Chain { database, lineage: Some(lineage), term, seq, t, instant, hash, records, root })
    }

    /// What [`Self::resume`] goes on from; None before the first record.
    pub fn state(&self) -> Option<ChainState> {
        let Chain { seq, t, term, instant, hash, .. } = *self;
        (seq > 0).then(|| ChainState { seq, t, term, instant, hash, peaks: self.records.peaks().to_vec() })
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

    /// The newest record's instant, 0 before the first.
    pub fn instant(&self) -> Instant {
        self.instant
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
    /// the chain's, that of a `create` or `fork` record is 1.
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
        self.instant = header.instant;
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
        // Where a fork begins its first record says, unless we are the one who writes it.
        let tells_t = header.kind == Kind::Fork && self.lineage.is_none();
        if header.first_t != t && !tells_t {
            return Some(format!("t {} stands where {t} should", header.first_t));
        }
        if matches!(header.kind, Kind::Create | Kind::Fork) != (seq == 1) {
            return Some(format!("record {seq} cannot be of kind `{}`", header.kind.name()));
        }
        if seq == 1 && (header.kind == Kind::Create) != (header.lineage == header.database) {
            let kind = header.kind.name();
            return Some(format!(
                "a `{kind}` record of database {} cannot have lineage {}",
                header.database, header.lineage
            ));
        }
        let term_fits = match header.kind {
            Kind::Create | Kind::Fork => header.term == 1,
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
