//! The body of an `index` record: the trees, and the place in the log that they stand for.
//!
//! What a process needs to begin: the roots, the meta segment, and the chain as it was after the record that index-t
//! ends; everything later it reads from the log. A body that contradicts itself is damage.

use super::super::Hash;
use super::super::chain::ChainState;
use super::super::header::{DatabaseId, Header, T_END};
use super::super::tree::LogRoot;
use super::Read;
use crate::index::Sort;
use crate::index::segment::SegmentId;
use crate::model::{Instant, T};
use serde::{Deserialize, Serialize};

/// What an `index` record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexBody {
    /// The trees hold all that was said up to here.
    pub index_t: T,
    /// The seq of the index record before, 0 for none: the roots that old readers may still use are found from here.
    pub previous: u64,
    /// The seq of the newest `erase` record up to this one, 0 for none: roots of before it are void, for everybody.
    pub floor: u64,
    /// Of open lives.
    pub current: Roots,
    /// Of closed lives.
    pub history: Roots,
    pub meta: MetaRoot,
    /// None where the log is in the journal alone.
    pub log: Option<LogRoot>,
    /// The counter of the first entity id that a transaction after index-t makes.
    pub next_counter: u64,
    /// Of transaction index-t; None where there is none yet.
    pub last_instant: Option<Instant>,
    /// After the record that index-t ends. Its seq is the job that wrote the segments.
    pub chain: ChainState,
}

/// The trees of one kind of lives. A tree without rows has no root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    pub eavt: Option<Root>,
    pub aevt: Option<Root>,
    pub avet: Option<Root>,
    pub vaet: Option<Root>,
}

/// What a record says of a tree. Its first row is nobody's to need: everything below is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    pub id: SegmentId,
    /// Length of the encoded segment.
    pub bytes: u32,
    /// Rows in all leaves.
    pub count: u64,
    /// Branches above a leaf: 0 where the root is one.
    pub depth: u8,
    /// The least and the greatest t that began a life.
    pub from_min: T,
    pub from_max: T,
    /// The greatest t that ended a life; 0 in trees of open lives.
    pub to_max: T,
}

/// The meta segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaRoot {
    pub id: SegmentId,
    /// Length of the encoded segment.
    pub bytes: u32,
}

impl Roots {
    pub fn of(&self, sort: Sort) -> Option<&Root> {
        match sort {
            Sort::Eavt => self.eavt.as_ref(),
            Sort::Aevt => self.aevt.as_ref(),
            Sort::Avet => self.avet.as_ref(),
            Sort::Vaet => self.vaet.as_ref(),
        }
    }

    pub fn set(&mut self, sort: Sort, root: Option<Root>) {
        match sort {
            Sort::Eavt => self.eavt = root,
            Sort::Aevt => self.aevt = root,
            Sort::Avet => self.avet = root,
            Sort::Vaet => self.vaet = root,
        }
    }

    /// With their sorts, those that there are.
    pub fn each(&self) -> impl Iterator<Item = (Sort, &Root)> {
        let sorts = [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet];
        sorts.into_iter().filter_map(|sort| self.of(sort).map(|root| (sort, root)))
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireIndex {
    index_t: u64,
    previous: u64,
    current: [Option<WireRoot>; 4],
    history: [Option<WireRoot>; 4],
    meta: WireSegment,
    log: Option<WireLogRoot>,
    next_counter: u64,
    last_instant: Option<i64>,
    seq: u64,
    t: u64,
    term: u64,
    instant: i64,
    hash: [u8; 32],
    peaks: Vec<[u8; 32]>,
}

/// A segment's name and its encoded length.
#[derive(Serialize, Deserialize)]
struct WireSegment {
    database: [u8; 16],
    term: u64,
    job: u64,
    hash: [u8; 32],
    bytes: u32,
}

#[derive(Serialize, Deserialize)]
struct WireRoot {
    segment: WireSegment,
    count: u64,
    depth: u8,
    from_min: u64,
    from_max: u64,
    to_max: u64,
}

#[derive(Serialize, Deserialize)]
struct WireLogRoot {
    segment: WireSegment,
    depth: u8,
    seq: u64,
    t: u64,
}

impl WireIndex {
    pub(super) fn of(body: &IndexBody) -> WireIndex {
        let roots =
            |roots: &Roots| [&roots.eavt, &roots.aevt, &roots.avet, &roots.vaet].map(|root| root.map(WireRoot::of));
        WireIndex {
            index_t: body.index_t,
            previous: body.previous,
            current: roots(&body.current),
            history: roots(&body.history),
            meta: WireSegment::of(&body.meta.id, body.meta.bytes),
            log: body.log.map(|log| WireLogRoot {
                segment: WireSegment::of(&log.id, log.bytes),
                depth: log.depth,
                seq: log.seq,
                t: log.t,
            }),
            next_counter: body.next_counter,
            last_instant: body.last_instant.map(|instant| instant.0),
            seq: body.chain.seq,
            t: body.chain.t,
            term: body.chain.term,
            instant: body.chain.instant.0,
            hash: body.chain.hash,
            peaks: body.chain.peaks.clone(),
        }
    }

    pub(super) fn read(self, floor: u64, header: &Header) -> Read<IndexBody> {
        let body = IndexBody { floor, ..self.body() };
        match body.fault(header) {
            None => Ok(body),
            Some(fault) => Err(fault.into()),
        }
    }

    /// Whatever it says, on no floor.
    pub(super) fn body(self) -> IndexBody {
        let roots = |[eavt, aevt, avet, vaet]: [Option<WireRoot>; 4]| {
            let [eavt, aevt, avet, vaet] = [eavt, aevt, avet, vaet].map(|root| root.map(WireRoot::read));
            Roots { eavt, aevt, avet, vaet }
        };
        IndexBody {
            index_t: self.index_t,
            previous: self.previous,
            floor: 0,
            current: roots(self.current),
            history: roots(self.history),
            meta: MetaRoot { id: self.meta.id(), bytes: self.meta.bytes },
            log: self.log.map(|log| LogRoot {
                id: log.segment.id(),
                bytes: log.segment.bytes,
                depth: log.depth,
                seq: log.seq,
                t: log.t,
            }),
            next_counter: self.next_counter,
            last_instant: self.last_instant.map(Instant),
            chain: ChainState {
                seq: self.seq,
                t: self.t,
                term: self.term,
                instant: Instant(self.instant),
                hash: self.hash,
                peaks: self.peaks,
            },
        }
    }
}

impl IndexBody {
    /// What no index record can say.
    pub(super) fn fault(&self, header: &Header) -> Option<&'static str> {
        if self.chain.fault().is_some() {
            return self.chain.fault();
        }
        if self.chain.t != self.index_t || self.next_counter >= T_END {
            return Some("index-t is the t of its chain, and the counter of entity ids has 42 bits");
        }
        if self.chain.seq.max(self.previous) >= header.seq
            || self.index_t >= header.first_t
            || self.chain.term > header.term
        {
            return Some("it speaks of records after itself");
        }
        if self.floor > self.previous {
            return Some("its floor is no record that moved the trees before it");
        }
        if self.roots_fault().is_some() {
            return self.roots_fault();
        }
        if self.log.is_some_and(|log| log.seq == 0 || log.seq >= header.seq || log.t >= header.first_t) {
            return Some("its log tree covers no record, or some after itself");
        }
        None
    }

    /// What no trees of index-t can be.
    pub(super) fn roots_fault(&self) -> Option<&'static str> {
        let faulty = |root: &Root| root.count == 0 || root.from_min > root.from_max || root.from_max > self.index_t;
        let open = self.current.each().any(|(_, root)| faulty(root) || root.to_max != 0);
        let closed = self
            .history
            .each()
            .any(|(_, root)| faulty(root) || root.to_max <= root.from_min || root.to_max > self.index_t);
        (open || closed).then_some("a root is empty, or of lives outside of index-t")
    }
}

impl WireRoot {
    fn of(root: Root) -> WireRoot {
        let Root { id, bytes, count, depth, from_min, from_max, to_max } = root;
        WireRoot { segment: WireSegment::of(&id, bytes), count, depth, from_min, from_max, to_max }
    }

    fn read(self) -> Root {
        let WireRoot { segment, count, depth, from_min, from_max, to_max } = self;
        Root { id: segment.id(), bytes: segment.bytes, count, depth, from_min, from_max, to_max }
    }
}

impl WireSegment {
    fn of(id: &SegmentId, bytes: u32) -> WireSegment {
        WireSegment { database: id.database.0, term: id.term, job: id.job, hash: id.hash, bytes }
    }

    fn id(&self) -> SegmentId {
        let hash: Hash = self.hash;
        SegmentId { database: DatabaseId(self.database), term: self.term, job: self.job, hash }
    }
}
