//! From a database value to its log and back: the entries that transactions leave, and the value that a log gives.
//!
//! The log names attributes by entity, values in a process by number; the schema translates. Transactor and peer
//! build their values with the same [`Replay`], so that what one writes the other reads.

use crate::log::{Body, Chain, DatabaseId, Hash, LoggedDatom, RawRecord, TxEntry};
use crate::model::Datom;
use crate::schema::{FIRST_USER_COUNTER, Schema, bootstrap_datoms};
use crate::tx::TxReport;
use crate::view::Db;
use crate::{Error, Result};

/// A database built from its log, record by record.
///
/// After an error it is what it was before: a record is taken whole or not at all.
#[derive(Clone)]
pub struct Replay {
    chain: Chain,
    db: Db,
}

impl Replay {
    /// Before the first record.
    pub fn new(database: DatabaseId) -> Self {
        Replay { chain: Chain::new(database), db: Db::bootstrap() }
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Takes the next record; `segment` holds the body of one whose body lies out of line. Gives its transactions.
    pub fn apply(&mut self, record: &RawRecord<'_>, segment: Option<&[u8]>) -> Result<Vec<TxEntry>> {
        self.chain.verify(&record.header)?;
        let body = match segment {
            Some(segment) => record.body_from(segment)?,
            None => record.body()?,
        };
        let (db, entries) = match body {
            Body::Create { next_counter, datoms, .. } => (created(next_counter, datoms)?, Vec::new()),
            Body::Tx(entries) => {
                let mut db = self.db.clone();
                for entry in &entries {
                    db = db.commit(entry.t, entry.instant, &datoms(db.schema(), entry)?)?;
                }
                (db, entries)
            }
            Body::Term { .. } => (self.db.clone(), Vec::new()),
        };
        self.chain.push(record)?;
        self.db = db;
        Ok(entries)
    }

    /// Takes what the one who wrote the record knows already: the value after it, and the chain with it.
    pub fn advance(&mut self, chain: Chain, db: Db) {
        assert!(chain.seq() == self.chain.seq() + 1 && chain.t() == db.basis_t(), "one record further, and the same t");
        self.chain = chain;
        self.db = db;
    }
}

/// The body of the record that a database begins with.
pub fn create_body(name: &str) -> Body {
    let datoms = bootstrap_datoms().into_iter().map(|(e, a, v)| LoggedDatom { e, a, v, added: true }).collect();
    Body::Create { name: name.to_owned(), next_counter: FIRST_USER_COUNTER, datoms }
}

/// What a transaction leaves in the log; `digest` is that of the request.
pub fn entry(report: &TxReport, digest: Hash) -> TxEntry {
    let schema = report.db_after.schema();
    let logged = |datom: &Datom| LoggedDatom {
        e: datom.e,
        a: schema.attribute(datom.a()).id,
        v: datom.v.clone(),
        added: datom.added(),
    };
    TxEntry {
        t: report.t,
        instant: report.instant,
        datoms: report.datoms.iter().map(logged).collect(),
        tempids: report.tempids.iter().map(|(name, e)| (name.clone(), *e)).collect(),
        digest,
    }
}

/// The datoms of a transaction, its attributes numbered by a schema that knows them.
pub fn datoms(schema: &Schema, entry: &TxEntry) -> Result<Vec<Datom>> {
    let numbered = |logged: &LoggedDatom| {
        let a = schema.attr_of_entity(logged.a).ok_or_else(|| {
            let message = format!("t {} speaks of attribute {}, which is not in the schema", entry.t, logged.a);
            Error::corrupt("db.error/replay", message)
        })?;
        Ok(Datom::new(logged.e, a, logged.v.clone(), entry.t, logged.added))
    };
    entry.datoms.iter().map(numbered).collect()
}

fn created(next_counter: u64, datoms: Vec<LoggedDatom>) -> Result<Db> {
    if next_counter != FIRST_USER_COUNTER || datoms.iter().any(|datom| !datom.added) {
        let message = "the database was created by another version, with another bootstrap than this one knows";
        return Err(Error::unsupported("db.error/bootstrap-unsupported", message));
    }
    let datoms: Vec<_> = datoms.into_iter().map(|datom| (datom.e, datom.a, datom.v)).collect();
    Ok(Db::from_bootstrap(&datoms))
}
