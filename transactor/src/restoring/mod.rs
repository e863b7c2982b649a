//! Restoring: a backup becomes a database of this store.
//!
//! It is a fork whose origin is not here: whoever has the backup is asked for the records that no log tree has, which
//! become one, and for the segments that the value, its trees and its past consist of, unless the store has them. The new
//! database's first record names all of that, and is written when all is durable. Until then the catalogue says that the
//! database is being created: no garbage is collected meanwhile, and a process that starts clears it.

mod arriving;

pub use arriving::Line;

use crate::catalogue::{Catalogue, Entry, Standing, check_name};
use crate::errors::busy;
use crate::forking::{self, Left, Prepared, Source};
use crate::host::{Databases, World};
use crate::indexing::{Job, SegmentSink};
use crate::open::Writer;
use arriving::Arriving;
use cache::Reader;
use db::log::tree::{self, LogRoot};
use db::log::{self, Chain, Content, Hash, Header, IndexBody, Kind, RawRecord};
use db::replay::{Checked, Replay};
use db::{Db, Error, Result};
use proto::v1;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use storage::{DatabaseId, Head, Journal, SegmentKey, Segments, sha256};
use stores::log::{TreeLog, body_key, key_of};
use stores::past::Past;
use stores::trees::{self, Stored};
use stores::wire;

/// Restores that are at work at once.
pub const RESTORES_MAX: usize = 2;
/// Records that are put into the log tree at once.
const RECORDS_BYTES: usize = 8 << 20;
/// Segments that are asked for at once, and so many bytes of them at most, or one.
const WANTS_MAX: usize = 256;
const WANTS_BYTES_MAX: u64 = 16 << 20;
/// Names that are remembered as asked for; of more some are looked for twice.
const SEEN_MAX: usize = 4 << 20;

/// What is asked for.
#[derive(Debug)]
pub struct Asked {
    pub name: String,
    /// Of the backup.
    pub database: DatabaseId,
    pub lineage: DatabaseId,
    pub head: Head,
    /// The newest `index` record, or the one that begins a fork.
    pub index: Option<(Header, Hash, IndexBody)>,
    pub as_of: Option<v1::TimePoint>,
}

/// What came of it, for whoever asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Came {
    pub segments: u64,
    pub segments_there: u64,
    pub bytes: u64,
}

impl Asked {
    pub fn of(begin: v1::RestoreBegin) -> Result<Asked> {
        let v1::RestoreBegin { name, database_id, lineage_id, head, index_record, as_of } = begin;
        check_name(&name)?;
        let (database, lineage) = (wire::database_id_of(&database_id)?, wire::database_id_of(&lineage_id)?);
        let head = wire::head_of(&head.unwrap_or_default())?;
        let index = if index_record.is_empty() {
            None
        } else {
            let record = RawRecord::parse(&index_record)?;
            let index = Checked::read(&record, None)?.index();
            index.map(|index| (record.header, record.hash, index))
        };
        let asked = Asked { name, database, lineage, head, index, as_of };
        match asked.fits() {
            true => Ok(asked),
            false => Err(damaged("its index, its head and its database do not belong together")),
        }
    }

    fn fits(&self) -> bool {
        let Some((header, _, index)) = &self.index else { return self.head.index_seq == 0 && self.head.seq > 0 };
        (header.database.0, header.lineage.0) == (self.database.0, self.lineage.0)
            && header.seq == self.head.index_seq
            && header.seq <= self.head.seq
            && index.log.is_none_or(|root| root.seq == index.chain.seq && root.seq < header.seq)
            && (index.log.is_some() || header.kind == Kind::Fork)
    }
}

/// Announces a database that is about to be restored, and waits until no garbage is collected that does not mind it.
pub fn announce(world: &World, databases: &Databases, name: &str, id: DatabaseId) -> Result<Entry> {
    let taken = || {
        let message = format!(
            "there is a database {name:?}; restore under another name, or delete that one first (`diachron db delete \
             {name}`)"
        );
        Error::conflict("db.error/name-taken", message).with("database", name)
    };
    let catalogue = Catalogue::new(world.journal.clone());
    if databases.get(name).is_ok() {
        return Err(taken());
    }
    for entry in catalogue.entries()?.into_iter().filter(|entry| entry.name == name) {
        match entry.standing {
            Standing::Live => return Err(taken()),
            // It may be one that breaks off just now.
            Standing::Creating => {
                return Err(busy(format!("a database {name:?} is being made, or restored, already"), 1000));
            }
            Standing::Deleted => {}
        }
    }
    let entry = catalogue.begin(id, name)?;
    drop(world.collecting.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(entry)
}

/// Gives up a database that was announced.
pub fn give_up(world: &World, entry: Entry) -> Result<()> {
    Catalogue::new(world.journal.clone()).clear(entry)
}

/// Brings all that the database consists of into the store, and makes its first record. Blocks.
pub fn restore(
    world: &World,
    asked: &Asked,
    line: Line,
    id: DatabaseId,
    writer: &Writer<'_>,
) -> Result<(Prepared, Came)> {
    let arriving = Arc::new(Arriving::new(world.segments.clone(), line));
    let restoring = Restoring { world, asked, id, arriving: arriving.clone() };
    match restoring.run(writer) {
        Ok(prepared) => Ok((prepared, arriving.came())),
        // A store's errors have few words.
        Err(error) => Err(arriving.failure().unwrap_or(error)),
    }
}

struct Restoring<'a> {
    world: &'a World,
    asked: &'a Asked,
    id: DatabaseId,
    arriving: Arc<Arriving>,
}

impl Restoring<'_> {
    fn run(&self, writer: &Writer<'_>) -> Result<Prepared> {
        let root = self.records()?;
        let job = Job {
            journal: &*self.world.journal,
            segments: self.arriving.clone(),
            cache: &self.world.cache,
            fetch: Arc::new(Stored(self.arriving.clone())),
            settings: self.world.indexing.settings,
            go_on: &|| self.arriving.line().is_open(),
        };
        let trees = |reader: Reader, body: &IndexBody| {
            trees::named(&self.world.cache, Arc::new(Stored(self.arriving.clone())), reader, body)
        };
        // Of the trees that the backup's log names it has the newest.
        let kept_from = |database: log::DatabaseId| match database.0 == self.asked.database.0 {
            true => Ok(self.asked.head.index_seq),
            false => Ok(u64::MAX),
        };
        let source = Source { trees: &trees, kept_from: &kept_from };
        let left = self.value(&job, &source, root)?;
        self.arriving.line().tell("trees", 0, 0)?;
        // What the origin's index records name is not here.
        let prepared = forking::begin(&job, &source, Left { previous: 0, ..left }, self.id, writer)?;
        self.complete(&prepared, &trees)?;
        // From here on the store has it all.
        let index = prepared.fork.own_index();
        let (meta, trees) = self.world.trees(Reader::of(&prepared.header), &index)?;
        Ok(Prepared { replay: Replay::resume(&prepared.header, &index, &meta, trees)?, ..prepared })
    }

    fn lineage(&self) -> log::DatabaseId {
        log::DatabaseId(self.asked.lineage.0)
    }

    /// The backup's log as a tree, which the records that it had in none are added to; all of them follow one another.
    fn records(&self) -> Result<LogRoot> {
        let Asked { database, head, index, .. } = self.asked;
        let mut chain = match index {
            Some((header, _, body)) if header.kind != Kind::Fork => {
                Chain::resume(header.database, header.lineage, &body.chain)?
            }
            _ => Chain::new(log::DatabaseId(database.0)),
        };
        let mut root = index.as_ref().and_then(|(_, _, body)| body.log);
        let (mut records, mut bytes) = (Vec::new(), 0);
        while chain.seq() < head.seq {
            self.arriving.line().tell("records", chain.seq(), head.seq)?;
            for stored in self.arriving.line().records_from(chain.seq() + 1)? {
                if chain.seq() == head.seq {
                    break;
                }
                let record = RawRecord::parse(&stored.bytes)?;
                chain.push(&record)?;
                if let Some((header, hash, _)) = index
                    && header.seq == record.header.seq
                    && *hash != record.hash
                {
                    return Err(damaged(&format!("record {} is not the index that it names", header.seq)));
                }
                bytes += stored.bytes.len();
                records.push(Ok(stored.bytes));
            }
            if bytes >= RECORDS_BYTES || chain.seq() == head.seq {
                root = self.append(root, std::mem::take(&mut records))?;
                bytes = 0;
            }
        }
        let end = (chain.term(), chain.seq(), chain.t(), chain.hash(), chain.lineage());
        if end != (head.term, head.seq, head.t, head.hash, Some(self.lineage())) {
            return Err(damaged(&format!("its log ends with another record {} than it says", head.seq)));
        }
        root.ok_or_else(|| damaged("it has no records"))
    }

    fn append(&self, root: Option<LogRoot>, records: Vec<Result<Vec<u8>>>) -> Result<Option<LogRoot>> {
        let (segments, lineage) = (self.arriving.clone(), self.lineage());
        let source = TreeLog { segments: &*segments, lineage };
        let attributes = Db::bootstrap().schema().entities();
        let reader = Reader { lineage, database: log::DatabaseId(self.id.0) };
        let cache = self.world.cache.clone();
        let mut sink = SegmentSink::new(segments.clone(), attributes, cache, reader, FIRST_NAMES);
        let sizes = self.world.indexing.settings.log_sizes;
        let root = tree::append(root.as_ref(), records, &source, &mut |bytes| sink.put_bytes(bytes.to_vec()), sizes)?;
        sink.finish()?;
        Ok(root)
    }

    /// The value that is restored.
    fn value<'a>(&'a self, job: &Job<'_>, source: &Source<'_>, root: LogRoot) -> Result<Left<'a>> {
        let Asked { database, head, index, as_of, .. } = self.asked;
        let (journal, segments): (&'a dyn Journal, &'a dyn Segments) = (&*self.world.journal, &*self.arriving);
        let log = Past { journal, segments, lineage: self.lineage(), id: None, root: Some(root) };
        let origin = log::DatabaseId(database.0);
        let mut replay = match index {
            None => Replay::new(origin),
            Some((header, _, body)) => {
                let (meta, trees) = (source.trees)(Reader::of(header), body)?;
                Replay::resume(header, body, &meta, trees)?
            }
        };
        let mut vouching = log.vouching();
        while replay.chain().seq() < head.seq {
            self.arriving.line().tell("value", replay.chain().seq(), head.seq)?;
            let records = log.read(replay.chain().seq() + 1)?;
            let records = records.iter().map(|record| vouching.checked(record)).collect::<Result<Vec<_>>>()?;
            if let Some(error) = replay.take(&records).1 {
                return Err(error);
            }
        }
        let db = replay.db();
        let t = match as_of {
            Some(point) => db.t_at(proto::time_point(db, point)?)?,
            None => db.basis_t(),
        };
        if t > db.basis_t() {
            let message = format!("the backup goes to t {}, and cannot be restored as of t {t}", db.basis_t());
            return Err(Error::incorrect("db.error/t-not-reached", message).with("basis-t", db.basis_t() as i64));
        }
        if t < db.basis_t() {
            let floor = index.as_ref().map_or(0, |(_, _, body)| body.floor);
            return forking::earlier(job, source, log, (origin, head.index_seq, floor), t);
        }
        let state = replay.chain().state().ok_or_else(|| damaged("it has no records"))?;
        let log_end = state.seq;
        Ok(Left { db: db.unfiltered(), log, origin, state, previous: 0, log_root: Some(root), log_end })
    }

    /// Brings what the first record names and the store does not have yet.
    fn complete(&self, prepared: &Prepared, named: &trees::Named<'_>) -> Result<()> {
        let lineage = self.lineage();
        let log = |root| Past { journal: &*self.world.journal, segments: &*self.arriving, lineage, id: None, root };
        let own = (Reader::of(&prepared.header), prepared.fork.clone());
        let mut bringing = Bringing { arriving: &self.arriving, seen: HashSet::new(), wanted: Vec::new(), bytes: 0 };
        // Its past first: that tells of those before it.
        self.each_segment(&own, named, &mut bringing)?;
        bringing.flush()?;
        let origins = log(own.1.index.log).origins()?;
        for origin in &origins {
            self.each_segment(origin, named, &mut bringing)?;
        }
        bringing.flush()?;
        for (_, fork) in std::iter::once(&own).chain(&origins) {
            let (past, end) = (log(fork.index.log), fork.index.chain.seq);
            let mut seq = 1;
            while seq <= end {
                self.arriving.line().tell("bodies", seq, end)?;
                for bytes in past.read(seq)? {
                    let record = RawRecord::parse(&bytes)?;
                    if let Content::OutOfLine(place) = &record.content {
                        bringing.add(body_key(place), place.length)?;
                    }
                    seq = record.header.seq + 1;
                }
            }
        }
        bringing.flush()
    }

    fn each_segment(
        &self,
        (reader, fork): &(Reader, log::ForkBody),
        named: &trees::Named<'_>,
        bringing: &mut Bringing<'_>,
    ) -> Result<()> {
        trees::each_segment(&*self.arriving, named, *reader, &fork.index, &mut |id, bytes, _| {
            bringing.add(key_of(reader.lineage, id), u64::from(bytes))
        })
    }
}

/// The term and job that name segments written before a first record.
const FIRST_NAMES: (u64, u64) = (1, 0);

/// Segments that are to be there, asked for many at a time.
struct Bringing<'a> {
    arriving: &'a Arriving,
    seen: HashSet<[u8; 16]>,
    wanted: Vec<SegmentKey>,
    bytes: u64,
}

impl Bringing<'_> {
    /// Whether it was not told of before.
    fn add(&mut self, key: SegmentKey, bytes: u64) -> Result<bool> {
        let name = short(&key);
        if self.seen.contains(&name) {
            return Ok(false);
        }
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(name);
        }
        if self.wanted.len() == WANTS_MAX || self.bytes + bytes > WANTS_BYTES_MAX {
            self.flush()?;
        }
        self.wanted.push(key);
        self.bytes += bytes;
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let wanted = std::mem::take(&mut self.wanted);
        self.arriving.bring(&wanted)
    }
}

/// A segment's name in few bytes. (Who wrote it matters: two jobs may write the same bytes, under two names.)
fn short(key: &SegmentKey) -> [u8; 16] {
    let name = sha256(format!("{key:?}").as_bytes());
    std::array::from_fn(|i| name[i])
}

fn damaged(what: &str) -> Error {
    Error::corrupt("db.error/backup-damaged", format!("the backup does not hold together: {what}"))
}
