//! From a database value to its log and back: the entries that transactions leave, and the value that a log gives.
//!
//! The log names attributes by entity, values in a process by number; the schema translates. Transactor and peer
//! build their values with the same [`Replay`], so that what one writes the other reads.

use crate::index::segment::Meta;
use crate::index::{Said, Trees};
use crate::log::{
    Body, Chain, DatabaseId, EraseBody, ForkBody, Hash, Header, IndexBody, Kind, LoggedDatom, RawRecord, Replaced,
    TxEntry,
};
use crate::model::{Datom, T};
use crate::schema::{FIRST_USER_COUNTER, Schema, bootstrap_datoms};
use crate::tx::TxReport;
use crate::view::Db;
use crate::{Category, Error, Result};
use std::sync::Arc;

/// A database built from its log, record by record.
///
/// After an error it is what it was before: a record is taken whole or not at all.
#[derive(Clone)]
pub struct Replay {
    chain: Chain,
    db: Db,
    /// The newest `erase` record that the value is behind of.
    floor: u64,
}

/// Transactions are applied together until they have so many datoms: what is worked out for that takes about 200 bytes
/// each.
const DATOMS_AT_ONCE: usize = 1 << 18;

/// The code of the error that says that a value cannot be gone on from, since something was erased: whoever has it begins
/// anew, from the newest `index` or `erase` record.
pub const ERASED: &str = "db.error/erased";

/// A record that was read, its body the one that its header names. Whether it continues a log is [`Replay`]'s to say.
pub struct Checked {
    header: Header,
    hash: Hash,
    body: Body,
    /// The body took another one's place, and nobody has asked the `erase` record yet.
    replaced: Option<Replaced>,
}

impl Checked {
    /// Reads a record's body; `segment` holds that of one whose body lies out of line. Of a body that took another one's
    /// place this is all that is known then; no [`Replay`] takes it.
    pub fn read(record: &RawRecord<'_>, segment: Option<&[u8]>) -> Result<Checked> {
        let (body, replaced) = record.any_body(segment)?;
        Ok(Checked { header: record.header.clone(), hash: record.hash, body, replaced })
    }

    /// The same, with the word of an `erase` record for a body that took another one's place: `vouches` tells whether the
    /// record that it names is one of that log and names it.
    pub fn read_vouched(
        record: &RawRecord<'_>,
        segment: Option<&[u8]>,
        vouches: &mut dyn FnMut(&Replaced) -> Result<bool>,
    ) -> Result<Checked> {
        let mut checked = Checked::read(record, segment)?;
        if let Some(replaced) = checked.replaced.take()
            && !vouches(&replaced)?
        {
            return Err(not_vouched_for(&replaced));
        }
        Ok(checked)
    }

    /// The body took another one's place, by its own word.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.replaced.as_ref()
    }

    pub fn body(&self) -> &Body {
        &self.body
    }

    pub fn into_body(self) -> Body {
        self.body
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its transactions; other records have none.
    pub fn transactions(&self) -> &[TxEntry] {
        if let Body::Tx(entries) = &self.body { entries } else { &[] }
    }

    /// What it says of trees, if it is an `index` or `erase` record or begins a fork.
    pub fn index(&self) -> Option<IndexBody> {
        match &self.body {
            Body::Index(index) => Some(IndexBody::clone(index)),
            Body::Fork(fork) => Some(fork.own_index()),
            Body::Erase(erase) => Some(IndexBody { floor: self.header.seq, ..erase.index.clone() }),
            Body::Create { .. } | Body::Tx(_) | Body::Term { .. } => None,
        }
    }

    /// What was erased, if it is an `erase` record.
    pub fn erase(&self) -> Option<&EraseBody> {
        if let Body::Erase(erase) = &self.body { Some(erase) } else { None }
    }

    /// Where the database goes on from, if the record begins a fork.
    pub fn fork(&self) -> Option<&ForkBody> {
        if let Body::Fork(fork) = &self.body { Some(fork) } else { None }
    }

    /// The record's hash.
    pub fn hash(&self) -> Hash {
        self.hash
    }
}

impl Replay {
    /// Before the first record.
    pub fn new(database: DatabaseId) -> Self {
        Replay { chain: Chain::new(database), db: Db::bootstrap(), floor: 0 }
    }

    /// Before the first record of a log out of which everything was taken that its `erase` records say.
    pub fn of_erased(database: DatabaseId) -> Self {
        Replay { floor: u64::MAX, ..Replay::new(database) }
    }

    /// From an `index` record on, or an `erase` record, which is one: the value that its trees hold, and the log from the record after the one that
    /// index-t ends; from the `fork` record of a fork on: the value that it begins with, and the log from the second
    /// record. `meta` is the meta segment that the record names, `trees` are its trees.
    pub fn resume(header: &Header, index: &IndexBody, meta: &Meta, trees: Arc<Trees>) -> Result<Self> {
        let chain = if header.kind == Kind::Fork {
            let mut chain = Chain::new(header.database);
            chain.push_header(header, header.hash())?;
            chain
        } else {
            Chain::resume(header.database, header.lineage, &index.chain)?
        };
        let db = Db::on_trees(trees, meta.schema(), index.next_counter, index.last_instant);
        Ok(Replay { chain, db, floor: index.floor })
    }

    /// Goes on from the same value on the trees of `prepared`, an earlier value of this log.
    pub fn adopt(&mut self, prepared: &Db) -> Result<()> {
        self.db = self.db.onto_those_of(prepared)?;
        Ok(())
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The newest `erase` record that the value is behind of, 0 for none.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Takes the next record; `segment` holds the body of one whose body lies out of line. Gives its transactions.
    pub fn apply(&mut self, record: &RawRecord<'_>, segment: Option<&[u8]>) -> Result<Vec<TxEntry>> {
        self.chain.verify(&record.header)?;
        let checked = Checked::read(record, segment)?;
        match self.take(std::slice::from_ref(&checked)) {
            (_, Some(error)) => Err(error),
            (_, None) => Ok(if let Body::Tx(entries) = checked.body { entries } else { Vec::new() }),
        }
    }

    /// Takes the next records, as many as continue what is there: how many those are, and what is wrong with the one
    /// after them. Quicker than one at a time, since the values between are never made.
    pub fn take(&mut self, records: &[Checked]) -> (usize, Option<Error>) {
        let before = self.clone();
        if self.advance_by(records).is_ok() {
            return (records.len(), None);
        }
        // One by one, up to the one that cannot be taken.
        *self = before;
        for (at, record) in records.iter().enumerate() {
            let before = self.clone();
            if let Err(error) = self.advance_by(std::slice::from_ref(record)) {
                *self = before;
                return (at, Some(error));
            }
        }
        (records.len(), None)
    }

    /// After an error the database is of no use any more.
    fn advance_by(&mut self, records: &[Checked]) -> Result<()> {
        let mut said = Vec::new();
        let mut datoms_count = 0;
        for record in records {
            self.chain.verify(&record.header)?;
            if let Some(Replaced { by, .. }) = record.replaced {
                return Err(erased(&record.header, by));
            }
            for entry in record.transactions() {
                let said_now = self.said(entry)?;
                datoms_count += said_now.datoms.len();
                let is_last = datoms_count >= DATOMS_AT_ONCE || self.db.defines(&said_now.datoms);
                said.push(said_now);
                if is_last {
                    self.db.advance_all(&std::mem::take(&mut said))?;
                    datoms_count = 0;
                }
            }
            if !matches!(record.body, Body::Tx(_)) {
                self.db.advance_all(&std::mem::take(&mut said))?;
                self.advance_without_transactions(record)?;
            }
            self.chain.push_header(&record.header, record.hash)?;
        }
        self.db.advance_all(&said)
    }

    fn said(&self, entry: &TxEntry) -> Result<Said> {
        let datoms = datoms(self.db.schema(), entry)?;
        Ok(Said { t: entry.t, instant: entry.instant, datoms: datoms.into() })
    }

    fn advance_without_transactions(&mut self, record: &Checked) -> Result<()> {
        match &record.body {
            Body::Create { next_counter, datoms, .. } => self.db = created(*next_counter, datoms)?,
            Body::Tx(_) => {}
            // Trees are a shorter way to the same value; who replays needs none.
            Body::Term { .. } | Body::Index(_) => {}
            Body::Erase(_) if record.header.seq > self.floor => return Err(erased(&record.header, record.header.seq)),
            Body::Erase(erase) => self.db.count_on_from(erase.index.next_counter),
            Body::Fork(fork) => {
                let message = format!(
                    "database {} is a fork of {} and begins with the trees that its first record names, not with nothing",
                    record.header.database, fork.origin
                );
                return Err(Error::fault(message));
            }
        }
        Ok(())
    }

    /// Takes the next record, and of its transactions those up to a t; the log's later ones cannot be taken any more.
    pub fn take_upto(&mut self, record: &Checked, t: T) -> Result<()> {
        if record.header.last_t() <= t {
            return self.take(std::slice::from_ref(record)).1.map_or(Ok(()), Err);
        }
        self.chain.verify(&record.header)?;
        for entry in record.transactions().iter().take_while(|entry| entry.t <= t) {
            let said = self.said(entry)?;
            self.db.advance_all(&[said])?;
        }
        self.chain.push_header(&record.header, record.hash)
    }

    /// Takes what the one who wrote the record knows already: the value after it, and the chain with it.
    pub fn advance(&mut self, chain: Chain, db: Db) {
        assert!(chain.seq() == self.chain.seq() + 1 && chain.t() == db.basis_t(), "one record further, and the same t");
        self.chain = chain;
        self.db = db;
    }
}

/// Values of before hold what was erased by record `by`.
fn erased(header: &Header, by: u64) -> Error {
    let message =
        format!("record {by} of database {} erased something; what is known of before is void", header.database);
    Error::new(Category::Unavailable, ERASED, message).with("seq", by as i64)
}

/// No `erase` record names this body, so that somebody else has put it there.
pub fn not_vouched_for(replaced: &Replaced) -> Error {
    let Replaced { of, seq, database, by, .. } = replaced;
    let message = format!(
        "the body of record {seq} of database {of} is not the one that its header names, nor one that erase record {by} of \
         database {database} names"
    );
    Error::corrupt("db.error/record-damaged", message).with("seq", *seq as i64).with("erase-seq", *by as i64)
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

fn created(next_counter: u64, datoms: &[LoggedDatom]) -> Result<Db> {
    if next_counter != FIRST_USER_COUNTER || datoms.iter().any(|datom| !datom.added) {
        let message = "the database was created by another version, with another bootstrap than this one knows";
        return Err(Error::unsupported("db.error/bootstrap-unsupported", message));
    }
    let datoms: Vec<_> = datoms.iter().map(|datom| (datom.e, datom.a, datom.v.clone())).collect();
    // Many databases in one process share what they all begin with.
    Ok(if datoms == bootstrap_datoms() { Db::bootstrap() } else { Db::from_bootstrap(&datoms) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record_bytes;
    use crate::model::{EntityId, Instant, Partition, Value};
    use crate::schema::ids;

    /// A log of a creation and one record for each body, as bytes.
    fn log(bodies: Vec<Body>) -> Vec<Vec<u8>> {
        let mut chain = Chain::new(DatabaseId([7; 16]));
        let bodies = std::iter::once(create_body("world")).chain(bodies);
        let record = |body: Body| {
            let body = body.encode([1; 16]).unwrap();
            let header = chain.next(&body, 1, Instant(0));
            chain.push_header(&header, header.hash()).unwrap();
            record_bytes(&header, &body)
        };
        bodies.map(record).collect()
    }

    /// Says or takes back that an entity has a documentation.
    fn tx(t: u64, e: u64, added: bool) -> TxEntry {
        let datom = |e, a, v, added| LoggedDatom { e, a, v, added };
        let datoms = vec![
            datom(EntityId::of_tx(t), ids::TX_INSTANT, Value::Instant(Instant(t as i64)), true),
            datom(EntityId::new(Partition::User, e), ids::DOC, Value::string(format!("doc {e}")), added),
        ];
        TxEntry { t, instant: Instant(t as i64), datoms, tempids: Vec::new(), digest: [0; 32] }
    }

    fn checked(log: &[Vec<u8>]) -> Vec<Checked> {
        log.iter().map(|bytes| Checked::read(&RawRecord::parse(bytes).unwrap(), None).unwrap()).collect()
    }

    fn all(replay: &Replay) -> Vec<Datom> {
        replay.db().datoms(&crate::Pattern::all()).unwrap()
    }

    /// Damage that no hash tells of: the transactor that wrote the log contradicted itself in the second transaction
    /// of a record, after the records and the transaction before it were taken in the same go.
    #[test]
    fn records_before_a_contradiction_are_taken_and_nothing_of_those_after() {
        let log = log(vec![
            Body::Tx(vec![tx(1, 2000, true)]),
            Body::Tx(vec![tx(2, 2001, true), tx(3, 2002, true)]),
            Body::Tx(vec![tx(4, 2000, false), tx(5, 3000, false)]),
            Body::Tx(vec![tx(6, 2003, true)]),
        ]);
        let mut one_by_one = Replay::new(DatabaseId([7; 16]));
        for bytes in &log[..3] {
            one_by_one.apply(&RawRecord::parse(bytes).unwrap(), None).unwrap();
        }
        let contradiction = RawRecord::parse(&log[3]).unwrap();
        assert_eq!(one_by_one.apply(&contradiction, None).unwrap_err().code(), "db.error/replay");

        let mut at_once = Replay::new(DatabaseId([7; 16]));
        let (taken, error) = at_once.take(&checked(&log));
        assert_eq!((taken, error.unwrap().code()), (3, "db.error/replay"));
        assert_eq!((at_once.chain(), at_once.db().basis_t()), (one_by_one.chain(), 3));
        assert_eq!(all(&at_once), all(&one_by_one));
    }

    #[test]
    fn index_records_are_passed_over() {
        use crate::log::{IndexBody, MetaRoot, Roots};
        let plain = log(vec![Body::Tx(vec![tx(1, 2000, true)]), Body::Tx(vec![tx(2, 2001, true)])]);
        let mut replay = Replay::new(DatabaseId([7; 16]));
        replay.take(&checked(&plain[..2]));
        let chain = replay.chain().state().unwrap();
        let id = crate::index::segment::SegmentId { database: DatabaseId([7; 16]), term: 1, job: 2, hash: [0; 32] };
        let index = Body::Index(Box::new(IndexBody {
            index_t: 1,
            previous: 0,
            floor: 0,
            current: Roots::default(),
            history: Roots::default(),
            meta: MetaRoot { id, bytes: 1 },
            log: None,
            next_counter: 2001,
            last_instant: None,
            chain,
        }));
        let mixed = log(vec![Body::Tx(vec![tx(1, 2000, true)]), index, Body::Tx(vec![tx(2, 2001, true)])]);
        let (mut with, mut without) = (Replay::new(DatabaseId([7; 16])), Replay::new(DatabaseId([7; 16])));
        assert!(with.take(&checked(&mixed)).1.is_none() && without.take(&checked(&plain)).1.is_none());
        assert_eq!((with.chain().seq(), without.chain().seq()), (4, 3));
        assert_eq!(all(&with), all(&without));
    }

    #[test]
    fn values_taken_from_on_the_way_do_not_change() {
        let log = log((1..=100).map(|t| Body::Tx(vec![tx(t, 2000 + t, true)])).collect());
        let mut replay = Replay::new(DatabaseId([7; 16]));
        let mut checked = checked(&log);
        let rest = checked.split_off(50);
        assert_eq!(replay.take(&checked).0, 50);
        let (db, datoms) = (replay.db().clone(), all(&replay));
        assert!(replay.take(&rest).1.is_none());
        assert_eq!((replay.db().basis_t(), db.basis_t()), (100, 49));
        assert_eq!(db.datoms(&crate::Pattern::all()).unwrap(), datoms);
        assert_ne!(all(&replay), datoms);
    }
}
