//! The fork record: its bytes, its rules, and logs that begin with it.

use super::index::{index_after, segment};
use super::*;

const FORK: DatabaseId = DatabaseId(*b"fedcba9876543210");

/// What the first record of a fork at t 3 may say: the origin's record that holds t 3 holds t 4 as well.
fn fork_at_3() -> ForkBody {
    let (chain, _) = log_of(&bodies());
    let log = LogRoot { id: segment(10), bytes: 300_000, depth: 0, seq: chain.seq(), t: chain.t() };
    let mut index = IndexBody { index_t: 3, log: Some(log), ..index_after(&chain) };
    for root in [&mut index.current.eavt, &mut index.current.aevt, &mut index.current.avet, &mut index.current.vaet] {
        root.as_mut().unwrap().from_max = 3;
    }
    for root in [&mut index.history.eavt, &mut index.history.aevt] {
        root.as_mut().unwrap().from_max = 2;
    }
    ForkBody { origin: DATABASE, index }
}

/// A fork's log of this and one record more for each body.
fn forked(bodies: Vec<Body>) -> (Chain, Vec<Vec<u8>>) {
    let mut chain = Chain::forked(FORK, DATABASE, 3);
    let bodies = std::iter::once(Body::Fork(Box::new(fork_at_3()))).chain(bodies);
    let records = bodies.map(|body| {
        let body = body.encode([5; 16]).unwrap();
        let header = chain.next(&body, 1, Instant(0));
        chain.push_header(&header, header.hash()).unwrap();
        record_bytes(&header, &body)
    });
    let records = records.collect();
    (chain, records)
}

fn followed(records: &[Vec<u8>]) -> Result<Chain> {
    let mut chain = Chain::new(FORK);
    records.iter().try_for_each(|record| chain.push(&RawRecord::parse(record)?))?;
    Ok(chain)
}

#[test]
fn fork_records_have_the_bytes_they_always_had() {
    let (chain, records) = forked(Vec::new());
    let golden = include_str!("../golden/fork.hex").trim();
    assert_eq!(hex(&records[0]), golden, "the format has changed");
    let record = Record::read(&records[0]).unwrap();
    assert_eq!(record.body, Body::Fork(Box::new(fork_at_3())));
    let header = record.header;
    assert_eq!((header.kind, header.seq, header.term, header.first_t, header.count), (Kind::Fork, 1, 1, 4, 0));
    assert_eq!((header.database, header.lineage, header.previous_hash), (FORK, DATABASE, [0; 32]));
    assert_eq!((chain.t(), chain.lineage()), (3, Some(DATABASE)));
}

#[test]
fn a_fork_goes_on_from_the_t_of_its_origin() {
    let (chain, records) = forked(vec![Body::Tx(vec![tx(4, Vec::new())]), Body::Tx(vec![tx(5, Vec::new())])]);
    assert_eq!(followed(&records).unwrap(), chain);
    assert_eq!((chain.seq(), chain.t()), (3, 5));
    // Nothing stands before the record that begins it, and another t does not come after it.
    assert!(followed(&records[1..]).is_err());
    let mut other = Chain::forked(FORK, DATABASE, 4);
    assert_eq!(other.push(&RawRecord::parse(&records[0]).unwrap()).unwrap_err().category(), Category::Corrupt);
}

#[test]
fn only_the_first_record_forks_and_never_the_founder_of_a_lineage() {
    let (chain, records) = forked(vec![Body::Tx(vec![tx(4, Vec::new())])]);
    let body = Body::Fork(Box::new(fork_at_3())).encode([5; 16]).unwrap();
    let again = chain.next(&body, 1, Instant(0));
    assert!(chain.verify(&again).unwrap_err().message().contains("cannot be of kind `fork`"));

    let founder = Chain::forked(FORK, FORK, 3).next(&body, 1, Instant(0));
    assert!(Chain::new(FORK).verify(&founder).unwrap_err().message().contains("cannot have lineage"));
    let create = Chain::new(FORK).next(&bodies()[0].encode([5; 16]).unwrap(), 1, Instant(0));
    let create = Header { lineage: DATABASE, ..create };
    assert!(Chain::new(FORK).verify(&create).unwrap_err().message().contains("cannot have lineage"));

    let mut first = RawRecord::parse(&records[0]).unwrap().header;
    first.term = 2;
    assert!(Chain::new(FORK).verify(&first).is_err());
}

#[test]
fn fork_records_that_contradict_themselves_are_damage() {
    let check = |change: &dyn Fn(&mut ForkBody), words: &str| {
        let mut fork = fork_at_3();
        change(&mut fork);
        let body = Body::Fork(Box::new(fork)).encode([5; 16]).unwrap();
        let header = Chain::forked(FORK, DATABASE, 3).next(&body, 1, Instant(0));
        let error = Record::read(&record_bytes(&header, &body)).unwrap_err();
        assert_eq!(error.category(), Category::Corrupt);
        assert!(error.message().contains(words), "{error}");
    };
    check(&|fork| fork.origin = FORK, "the database itself");
    check(&|fork| fork.index.index_t = 2, "begins at another t");
    check(&|fork| (fork.index.index_t, fork.index.chain.t) = (3, 2), "begins at another t");
    check(&|fork| fork.index.next_counter = 1 << 42, "begins at another t");
    check(&|fork| fork.index.log = None, "log tree");
    check(&|fork| fork.index.log.as_mut().unwrap().seq = 3, "log tree");
    check(&|fork| fork.index.previous = 5, "log tree");
    check(&|fork| fork.index.chain.peaks.push([0; 32]), "frontier");
    check(&|fork| fork.index.current.eavt.as_mut().unwrap().from_max = 4, "lives outside of index-t");
}

/// What the fork's own log knows of it: nothing of the origin's log stands in its log tree.
#[test]
fn its_own_index_has_no_log_tree_and_none_before_it() {
    let fork = fork_at_3();
    let own = fork.own_index();
    assert_eq!((own.log, own.previous), (None, 0));
    assert_eq!(IndexBody { log: fork.index.log, previous: 3, ..own }, fork.index);
}

#[test]
fn a_flip_of_any_bit_of_a_fork_record_is_noticed() {
    let (_, records) = forked(Vec::new());
    let hash = RawRecord::parse(&records[0]).unwrap().hash;
    for at in 0..records[0].len() {
        let mut damaged = records[0].clone();
        damaged[at] ^= 1 << (at % 8);
        let read = RawRecord::parse(&damaged).and_then(|read| {
            read.body()?;
            Ok(read.hash)
        });
        assert!(read.is_err() || at < Header::BYTES && read.unwrap() != hash, "byte {at}");
    }
}

/// The origin's transactions are found where the log tree of the fork names the record that begins it.
#[test]
fn a_log_tree_begins_with_a_fork() {
    use crate::log::tree::{self, LogSizes, LogSource};
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    #[derive(Default)]
    struct Store(RefCell<BTreeMap<Hash, Vec<u8>>>);
    impl LogSource for Store {
        fn fetch(&self, id: &crate::index::segment::SegmentId) -> Result<Vec<u8>> {
            Ok(self.0.borrow()[&id.hash].clone())
        }
    }
    let (_, records) = forked((4..20).map(|t| Body::Tx(vec![tx(t, Vec::new())])).collect());
    let store = Store::default();
    let mut put = |bytes: &[u8]| {
        store.0.borrow_mut().insert(sha256(bytes), bytes.to_vec());
        Ok(crate::index::segment::SegmentId { hash: sha256(bytes), ..segment(0) })
    };
    let sizes = LogSizes { chunk_bytes: 1 << 10, branch_children: 2 };
    let mut root = None;
    for part in [&records[..1], &records[1..5], &records[5..]] {
        root = tree::append(root.as_ref(), part.iter().map(Ok), &store, &mut put, sizes).unwrap();
    }
    let root = root.unwrap();
    assert_eq!((root.seq, root.t), (17, 19));
    let read: Vec<Vec<u8>> = tree::records(&root, &store, 1).map(|record| record.unwrap()).collect();
    assert_eq!(read, records);
    let seqs: Vec<_> = (1..=20).map(|t| tree::seq_of(&root, &store, t).unwrap()).collect();
    let expected = (1..=20).map(|t: u64| if t == 20 { None } else { Some(t.saturating_sub(2).max(1)) });
    assert_eq!(seqs, expected.collect::<Vec<_>>());
}
