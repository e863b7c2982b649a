use super::*;
use crate::error::Category;
use crate::index::segment::hash;
use crate::log::{Body, Chain, DatabaseId, Header, Kind, RawRecord, TxEntry, record_bytes};
use crate::model::Instant;
use crate::testing::{cases, hex, unhex};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

const DATABASE: DatabaseId = DatabaseId(*b"0123456789abcdef");

/// A store of segments, counting what is asked of it.
#[derive(Default)]
struct Memory {
    segments: RefCell<BTreeMap<SegmentId, Vec<u8>>>,
    fetched: RefCell<Vec<SegmentId>>,
}

impl LogSource for Memory {
    fn fetch(&self, id: &SegmentId) -> Result<Vec<u8>> {
        self.fetched.borrow_mut().push(*id);
        let found = self.segments.borrow().get(id).cloned();
        found.ok_or_else(|| crate::Error::not_found("db.error/segment-missing", format!("{id} is missing")))
    }
}

impl Memory {
    fn append(
        &self,
        root: Option<&LogRoot>,
        records: &[Vec<u8>],
        job: u64,
        sizes: LogSizes,
    ) -> Result<Option<LogRoot>> {
        let mut sink = |bytes: &[u8]| {
            let id = SegmentId { database: DATABASE, term: 1, job, hash: hash(bytes) };
            assert!(self.segments.borrow_mut().insert(id, bytes.to_vec()).is_none(), "nothing is put twice");
            Ok(id)
        };
        append(root, records.iter().map(Ok), self, &mut sink, sizes)
    }
}

/// The records of a log with so many transactions in each, 0 for a record without any.
fn log_of(transactions: &[usize]) -> Vec<Vec<u8>> {
    let mut chain = Chain::new(DATABASE);
    let mut records = Vec::new();
    let mut push = |body: Body, i: usize| {
        let body = body.encode([i as u8; 16]).unwrap();
        let term = chain.term().max(1) + u64::from(body.kind == Kind::Term);
        let header = chain.next(&body, term, Instant(i as i64));
        records.push(record_bytes(&header, &body));
        chain.push_header(&header, header.hash()).unwrap();
    };
    push(Body::Create { name: "world".into(), next_counter: 1024, datoms: vec![] }, 0);
    let mut t = 0;
    for (i, count) in transactions.iter().enumerate() {
        let entry = |_| {
            t += 1;
            let tempids = (0..t as usize % 7).map(|i| (format!("tempid {i}"), Default::default())).collect();
            TxEntry { t, instant: Instant(t as i64), datoms: vec![], tempids, digest: [t as u8; 32] }
        };
        match count {
            0 => push(Body::Term { endpoint: "http://localhost".into(), software: "test".into() }, i + 1),
            _ => push(Body::Tx((0..*count).map(entry).collect()), i + 1),
        }
    }
    records
}

fn tiny() -> LogSizes {
    LogSizes { chunk_bytes: 2000, branch_children: 3 }
}

fn read_all(root: &LogRoot, source: &Memory, from: u64) -> Vec<Vec<u8>> {
    records(root, source, from).collect::<Result<_>>().unwrap()
}

/// The seq of the record with a transaction, looked for one by one.
fn naive_seq_of(records: &[Vec<u8>], t: T) -> Option<u64> {
    let header = |record: &Vec<u8>| Header::decode(record).unwrap();
    records.iter().map(header).find(|header| header.last_t() >= t).map(|header| header.seq)
}

#[track_caller]
fn check(root: &LogRoot, memory: &Memory, expected: &[Vec<u8>]) {
    let last = Header::decode(expected.last().unwrap()).unwrap();
    assert_eq!((root.seq, root.t), (last.seq, last.last_t()));
    for from in 1..=expected.len() + 1 {
        assert_eq!(read_all(root, memory, from as u64), expected[from - 1..], "from {from}");
    }
    for t in 0..=root.t + 1 {
        assert_eq!(seq_of(root, memory, t).unwrap(), naive_seq_of(expected, t), "t {t}");
    }
}

#[test]
fn a_tree_grows_record_by_record_and_holds_what_it_held() {
    let all = log_of(&[1, 2, 0, 3, 1, 1, 0, 0, 5, 1, 1, 1, 2, 1, 1, 9, 1, 1, 1, 1, 4, 1, 1, 0, 1, 2, 3]);
    let memory = Memory::default();
    let mut root = None;
    let mut older = Vec::new();
    for (at, record) in all.iter().enumerate() {
        root = memory.append(root.as_ref(), std::slice::from_ref(record), at as u64, tiny()).unwrap();
        older.push(root.unwrap());
    }
    assert!(root.unwrap().depth >= 2, "{root:?}");
    for (at, root) in older.iter().enumerate() {
        check(root, &memory, &all[..=at]);
    }
}

#[test]
fn only_the_right_edge_is_written_and_read() {
    let all = log_of(&[1; 400]);
    let memory = Memory::default();
    let sizes = LogSizes { chunk_bytes: 2000, branch_children: 8 };
    let root = memory.append(None, &all[..390], 1, sizes).unwrap().unwrap();
    let before = memory.segments.borrow().len();
    memory.fetched.take();
    let longer = memory.append(Some(&root), &all[390..391], 2, sizes).unwrap().unwrap();
    assert_eq!(longer.depth, root.depth);
    assert_eq!(memory.fetched.take().len(), usize::from(root.depth) + 1, "a node of each level is read");
    let written = memory.segments.borrow().len() - before;
    assert!(written <= usize::from(root.depth) + 2, "{written} segments written for one record");
    assert_eq!(memory.append(Some(&longer), &[], 3, sizes).unwrap(), Some(longer));
    assert_eq!(memory.fetched.take(), [], "nothing to add, nothing to read");
    assert_eq!(memory.append(None, &[], 3, sizes).unwrap(), None);
}

#[test]
fn reading_on_fetches_every_segment_once() {
    let all = log_of(&[1; 200]);
    let memory = Memory::default();
    let root = memory.append(None, &all, 1, tiny()).unwrap().unwrap();
    memory.fetched.take();
    assert_eq!(read_all(&root, &memory, 1), all);
    assert_eq!(memory.fetched.take().len(), memory.segments.borrow().len());
    assert_eq!(records(&root, &memory, 77).take(3).collect::<Result<Vec<_>>>().unwrap(), all[76..79]);
    assert!(memory.fetched.take().len() <= usize::from(root.depth) + 3);
}

#[test]
fn a_chunk_ends_with_the_record_that_reaches_its_size() {
    let all = log_of(&[1; 5000]);
    let memory = Memory::default();
    let root = memory.append(None, &all, 1, LogSizes::default()).unwrap().unwrap();
    let bytes: usize = all.iter().map(Vec::len).sum();
    let stored: usize = memory.segments.borrow().values().map(Vec::len).sum();
    assert_eq!((root.depth, memory.segments.borrow().len()), (1, bytes.div_ceil(512 << 10) + 1));
    assert!(stored * 3 < bytes * 2, "{stored} bytes for {bytes}: hashes do not compress, the rest does");
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let all = log_of(&[1, 1, 1]);
    let memory = Memory::default();
    let root = memory.append(None, &all[..2], 1, tiny()).unwrap().unwrap();
    for wrong in [&all[3..], &all[1..]] {
        let error = memory.append(Some(&root), wrong, 2, tiny()).unwrap_err();
        assert!(error.message().contains("cannot follow record 2 (t 1) in a log tree"), "{error}");
    }
    assert!(memory.append(None, &all[1..], 2, tiny()).is_err());
}

/// One segment a line: a small chunk, then the branch and the chunks of a small tree in the order of their writing.
#[test]
fn log_trees_have_the_bytes_they_always_had() {
    let all = log_of(&[1, 2, 0, 3]);
    let written = RefCell::new(Vec::new());
    let mut sink = |bytes: &[u8]| {
        written.borrow_mut().push(bytes.to_vec());
        Ok(SegmentId { database: DATABASE, term: 3, job: 5, hash: hash(bytes) })
    };
    let memory = Memory::default();
    let sizes = LogSizes { chunk_bytes: 700, branch_children: 4 };
    let root = append(None, all.iter().map(Ok), &memory, &mut sink, sizes).unwrap().unwrap();
    assert_eq!((root.depth, root.seq, root.t), (1, 5, 6));
    let now: Vec<String> = written.borrow().iter().map(|bytes| hex(bytes)).collect();
    let golden: Vec<&str> = include_str!("golden/tree-1.hex").lines().collect();
    assert!(now == golden, "the format has changed:\n{}", now.join("\n"));
    for line in golden {
        let bytes = unhex(line);
        let id = SegmentId { database: DATABASE, term: 3, job: 5, hash: hash(&bytes) };
        memory.segments.borrow_mut().insert(id, bytes);
    }
    check(&root, &memory, &all);
}

/// Every segment of a tree in turn is lost, changed, or another one in its place.
#[test]
fn damage_is_an_error_that_names_the_segment() {
    let all = log_of(&[1; 30]);
    let memory = Memory::default();
    let root = memory.append(None, &all, 1, tiny()).unwrap().unwrap();
    let segments = memory.segments.borrow().clone();
    for (id, bytes) in &segments {
        let check = |bytes: Option<Vec<u8>>, words: &str| {
            match bytes {
                Some(bytes) => memory.segments.borrow_mut().insert(*id, bytes),
                None => memory.segments.borrow_mut().remove(id),
            };
            let error = records(&root, &memory, 1).find_map(Result::err).expect("all is read");
            assert!(error.message().contains(&id.to_string()) && error.message().contains(words), "{error}");
            memory.segments.borrow_mut().insert(*id, segments[id].clone());
        };
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        check(None, "is missing");
        check(Some(flipped), "another hash");
    }
    // A root that says more than there is.
    for wrong in [LogRoot { seq: root.seq + 1, ..root }, LogRoot { t: root.t + 1, ..root }] {
        let error = records(&wrong, &memory, 1).next().unwrap().unwrap_err();
        assert!(error.category() == Category::Corrupt && error.message().contains("should stand"), "{error}");
    }
    let wrong = LogRoot { depth: root.depth - 1, ..root };
    assert!(records(&wrong, &memory, 1).next().unwrap().unwrap_err().message().contains("no chunk of a log"));
    let wrong = LogRoot { depth: root.depth + 1, ..root };
    assert!(records(&wrong, &memory, 1).next().unwrap().unwrap_err().message().contains("no branch of a log"));
}

#[test]
fn after_an_error_there_are_no_more_records() {
    let all = log_of(&[1; 30]);
    let memory = Memory::default();
    let root = memory.append(None, &all, 1, tiny()).unwrap().unwrap();
    memory.segments.borrow_mut().clear();
    assert_eq!(records(&root, &memory, 1).count(), 1);
}

mod random {
    use super::*;
    use crate::index::segment::envelope;

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn a_tree_is_the_vector_of_its_records(
            transactions in proptest::collection::vec(0..4usize, 0..60),
            groups in proptest::collection::vec(1..20usize, 1..20),
            chunk_bytes in prop_oneof![Just(1usize), 300..5000usize],
            branch_children in 2..5usize,
        ) {
            let all = log_of(&transactions);
            let sizes = LogSizes { chunk_bytes, branch_children };
            let memory = Memory::default();
            let (mut root, mut at) = (None, 0);
            for (job, group) in groups.iter().cycle().enumerate() {
                let end = all.len().min(at + group);
                root = memory.append(root.as_ref(), &all[at..end], job as u64, sizes).unwrap();
                at = end;
                if at == all.len() {
                    break;
                }
            }
            check(&root.unwrap(), &memory, &all);
            let mut chain = Chain::new(DATABASE);
            for record in read_all(&root.unwrap(), &memory, 1) {
                chain.push(&RawRecord::parse(&record).unwrap()).unwrap();
            }
        }

        #[test]
        fn changed_bytes_never_make_the_reader_panic(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let all = log_of(&[1, 2, 0, 3, 1, 1, 1, 1]);
            let memory = Memory::default();
            memory.append(None, &all, 1, tiny()).unwrap();
            for bytes in memory.segments.borrow().values() {
                let opened = envelope::open(bytes).unwrap();
                let mut changed = bytes.clone();
                let place = at.index(bytes.len());
                changed[place] ^= flip;
                let mut content = opened.plain;
                let place = at.index(content.len());
                content[place] ^= flip;
                for bytes in [changed, envelope::seal(opened.kind, None, opened.count, &content).unwrap()] {
                    let _ = chunk::Chunk::decode(&bytes);
                    let _ = branch::decode(&bytes);
                }
            }
        }
    }
}

/// Other bytes for a record: a body of another length, whose hash is not the header's.
fn other_bytes(record: &[u8], length: usize) -> Vec<u8> {
    [&record[..Header::BYTES], &vec![0x5a; length]].concat()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn records_whose_bytes_were_replaced_stand_where_they_stood(
        transactions in proptest::collection::vec(0usize..4, 1..60),
        ts in proptest::collection::btree_set(1u64..60, 0..9),
        stays in any::<bool>(),
        length in 0usize..900,
    ) {
        let mut all = log_of(&transactions);
        let memory = Memory::default();
        let root = memory.append(None, &all, 1, tiny()).unwrap().unwrap();
        let ts: Vec<T> = ts.into_iter().filter(|t| *t <= root.t).collect();
        let seqs: std::collections::BTreeSet<u64> = ts.iter().map(|t| naive_seq_of(&all, *t).unwrap()).collect();
        let (mut asked, mut put) = (Vec::new(), 0);
        let mut rewrite = |record: &[u8]| {
            asked.push(Header::decode(record)?.seq);
            Ok((!stays).then(|| other_bytes(record, length)))
        };
        let mut sink = |bytes: &[u8]| {
            put += 1;
            let id = SegmentId { database: DATABASE, term: 1, job: 2, hash: hash(bytes) };
            memory.segments.borrow_mut().insert(id, bytes.to_vec());
            Ok(id)
        };
        let new = replace(&root, &ts, &memory, &mut rewrite, &mut sink).unwrap();
        prop_assert_eq!(asked, seqs.iter().copied().collect::<Vec<_>>());
        if stays || ts.is_empty() {
            prop_assert_eq!((new, put), (root, 0));
        } else {
            check(&root, &memory, &all);
            for seq in seqs {
                let record = &mut all[seq as usize - 1];
                *record = other_bytes(record, length);
            }
        }
        check(&new, &memory, &all);
    }
}

#[test]
fn a_record_is_not_replaced_by_another_one() {
    let all = log_of(&[1, 1]);
    let memory = Memory::default();
    let root = memory.append(None, &all, 1, tiny()).unwrap().unwrap();
    let mut sink = |_: &[u8]| panic!("nothing is put");
    let mut rewrite = |_: &[u8]| Ok(Some(all[2].clone()));
    let error = replace(&root, &[1], &memory, &mut rewrite, &mut sink).unwrap_err();
    assert_eq!(error.category(), Category::Fault);
}
