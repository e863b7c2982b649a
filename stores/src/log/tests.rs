//! A log that is sealed step by step reads as it did before, on every store.

use super::*;
use db::Instant;
use db::log::tree::LogSizes;
use db::log::{Body, Chain, MetaRoot, Roots, record_bytes};
use db::replay::create_body;
use storage::{Appended, Head, MemoryStore, Options, Store};

const ID: DatabaseId = DatabaseId([7; 16]);

/// A database of which nothing but its log is there: terms that follow one another, and now and then an index.
struct Log {
    store: Store,
    chain: Chain,
    head: Option<Head>,
    index: Option<(u64, LogRoot)>,
    /// As it was written.
    records: Vec<Vec<u8>>,
}

impl Log {
    fn new(store: Store) -> Log {
        let mut log =
            Log { store, chain: Chain::new(log::DatabaseId(ID.0)), head: None, index: None, records: Vec::new() };
        log.append(create_body("log"), 1);
        log
    }

    fn append(&mut self, body: Body, term: u64) {
        let is_index = matches!(body, Body::Index(_));
        let encoded = body.encode([3; 16]).unwrap();
        let header = self.chain.next(&encoded, term, Instant(self.records.len() as i64));
        let bytes = record_bytes(&header, &encoded);
        let before = self.head;
        let index_seq = if is_index { header.seq } else { before.map_or(0, |head| head.index_seq) };
        let head = Head { term, seq: header.seq, t: header.last_t(), hash: header.hash(), index_seq };
        let journal = self.store.journal();
        let appended = match before {
            Some(before) if before.term < term => journal.take_over(ID, before, head, &bytes),
            before => journal.append(ID, before, head, &bytes),
        };
        assert_eq!(appended.unwrap(), Appended::Done);
        self.chain.push_header(&header, header.hash()).unwrap();
        self.head = Some(head);
        self.records.push(bytes);
    }

    fn terms(&mut self, count: usize) {
        for _ in 0..count {
            let body = Body::Term { endpoint: "x".repeat(self.records.len() % 90), software: String::new() };
            self.append(body, self.chain.term() + 1);
        }
    }

    /// Puts a log tree and names it.
    fn index(&mut self) {
        let (state, segments) = (self.chain.state().unwrap(), self.store.segments());
        let database = log::DatabaseId(ID.0);
        let id = |bytes: &[u8]| {
            let hash = db::index::segment::hash(bytes);
            SegmentId { database, term: state.term, job: state.seq, hash }
        };
        let mut put = |bytes: &[u8]| {
            segments.put(&key_of(database, &id(bytes)), bytes).map_err(from_storage)?;
            Ok(id(bytes))
        };
        let root = self.index.map(|index| index.1);
        let from = root.map_or(0, |root| root.seq as usize);
        let records = self.records[from..].iter().cloned().map(Ok);
        let source = TreeLog { segments: &*segments, lineage: database };
        let sizes = LogSizes { chunk_bytes: 700, branch_children: 3 };
        let root = tree::append(root.as_ref(), records, &source, &mut put, sizes).unwrap().unwrap();
        let body = IndexBody {
            index_t: 0,
            floor: 0,
            previous: self.index.map_or(0, |index| index.0),
            current: Roots::default(),
            history: Roots::default(),
            meta: MetaRoot { id: root.id, bytes: root.bytes },
            log: Some(root),
            next_counter: 1,
            last_instant: None,
            chain: state,
        };
        self.append(Body::Index(Box::new(body)), self.chain.term());
        self.index = Some((self.chain.seq(), root));
    }

    fn seal(&self) -> u64 {
        let before = self.index.unwrap().1.seq + 1;
        self.store.journal().seal(ID, before).unwrap();
        assert_eq!(self.store.journal().read(ID, 1, 1).unwrap(), Records::Sealed { before_seq: before });
        before
    }

    /// Everything from a seq on, read piece by piece.
    fn read(&self, from: u64, bytes_max: usize) -> Vec<StoredRecord> {
        let (journal, segments) = (self.store.journal(), self.store.segments());
        let (reader, mut read) = (LogReader::new(&*journal, &*segments), Vec::new());
        loop {
            let piece = reader.read(ID, from.max(1) + read.len() as u64, bytes_max).unwrap();
            if piece.is_empty() {
                return read;
            }
            let bytes: usize = piece.iter().map(|record| record.bytes.len()).sum();
            assert!(piece.len() == 1 || bytes <= bytes_max, "{bytes} of at most {bytes_max}");
            read.extend(piece);
        }
    }

    fn check(&self) {
        for from in (0..=self.records.len() as u64 + 1).step_by(7) {
            for bytes_max in [1, 300, 5000, usize::MAX] {
                let skipped = from.max(1) as usize - 1;
                let expected: Vec<_> = (from.max(1)..)
                    .zip(&self.records[skipped.min(self.records.len())..])
                    .map(|(seq, bytes)| StoredRecord { seq, bytes: bytes.clone() })
                    .collect();
                assert_eq!(self.read(from, bytes_max), expected, "from {from}, {bytes_max} bytes");
            }
        }
    }
}

#[test]
fn a_sealed_log_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let sled = format!("sled:{}", dir.path().join("store").display());
    for store in [MemoryStore::new(Options::default()).store(), storage::open(&sled, Options::default()).unwrap()] {
        let mut log = Log::new(store);
        log.terms(30);
        log.index();
        log.check();
        log.seal();
        log.check();
        log.terms(25);
        log.index();
        log.terms(3);
        // Sealed up to the index before the newest, and then up to the newest.
        log.check();
        log.seal();
        log.check();
        log.store.close().unwrap();
    }
}

#[test]
fn a_tree_whose_segment_is_missing_says_so_by_name() {
    let mut log = Log::new(MemoryStore::new(Options::default()).store());
    log.terms(30);
    log.index();
    log.seal();
    let root = log.index.unwrap().1;
    let (journal, segments) = (log.store.journal(), log.store.segments());
    segments.delete(&key_of(log::DatabaseId(ID.0), &root.id)).unwrap();
    let error = LogReader::new(&*journal, &*segments).read(ID, 1, 1000).unwrap_err();
    assert_eq!(error.code(), SEGMENT_MISSING);
    assert!(error.message().contains(&root.id.to_string()), "{}", error.message());
}
