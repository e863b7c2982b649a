//! The index record: its bytes, its rules, and chains resumed from it.

use super::*;
use crate::index::segment::SegmentId;

pub(super) fn segment(i: u8) -> SegmentId {
    SegmentId { database: DATABASE, term: 5, job: 4, hash: [i; 32] }
}

fn root(i: u8) -> Root {
    let (from_min, from_max) = (0, 4 - u64::from(i % 2));
    Root { id: segment(i), bytes: 1000 + u32::from(i), count: 77, depth: 1, from_min, from_max, to_max: 0 }
}

/// What an index record after these records may say.
pub(super) fn index_after(chain: &Chain) -> IndexBody {
    let closed = |i| Root { to_max: 3, ..root(i) };
    IndexBody {
        index_t: chain.t(),
        previous: 3,
        floor: 0,
        current: Roots { eavt: Some(root(1)), aevt: Some(root(2)), avet: Some(root(3)), vaet: Some(root(4)) },
        history: Roots { eavt: Some(closed(5)), aevt: Some(closed(6)), avet: None, vaet: None },
        meta: MetaRoot { id: segment(9), bytes: 4711 },
        log: Some(LogRoot { id: segment(10), bytes: 300_000, depth: 0, seq: 4, t: 4 }),
        next_counter: 1003,
        last_instant: Some(Instant(1_000_004)),
        chain: chain.state().unwrap(),
    }
}

fn with_index() -> (Chain, Vec<Vec<u8>>, IndexBody) {
    let (chain, _) = log_of(&bodies());
    let index = index_after(&chain);
    let mut all = bodies();
    all.push(Body::Index(Box::new(index.clone())));
    let (chain, records) = log_of(&all);
    (chain, records, index)
}

#[test]
fn index_records_have_the_bytes_they_always_had() {
    let (chain, records, index) = with_index();
    let golden = include_str!("../golden/index.hex").trim();
    assert_eq!(hex(&records[4]), golden, "the format has changed");
    let (followed, read) = follow(&records).unwrap();
    assert_eq!((&followed, &read[4]), (&chain, &Body::Index(Box::new(index))));
    let header = Header::decode(&records[4]).unwrap();
    assert_eq!((header.kind, header.count, header.first_t, chain.t()), (Kind::Index, 0, 5, 4));
    assert!(records[4].len() < 2000, "{}", records[4].len());
}

/// A log known from its index record on is the log.
#[test]
fn a_chain_resumed_from_an_index_record_is_the_chain() {
    let (chain, records, index) = with_index();
    let mut resumed = Chain::resume(DATABASE, DATABASE, &index.chain).unwrap();
    assert_eq!((resumed.seq(), resumed.t(), resumed.term()), (4, 4, 5));
    resumed.push(&RawRecord::parse(&records[4]).unwrap()).unwrap();
    assert_eq!((&resumed, resumed.state()), (&chain, chain.state()));
    assert_eq!(Chain::new(DATABASE).state(), None);
}

#[test]
fn a_chain_resumed_from_another_state_takes_no_record() {
    let (_, records, index) = with_index();
    let next = RawRecord::parse(&records[4]).unwrap();
    let changes: [fn(&mut ChainState); 5] = [
        |state| state.hash[0] ^= 1,
        |state| state.peaks[0][7] ^= 1,
        |state| state.t = 3,
        |state| state.term = 4,
        |state| (state.seq, state.peaks) = (2, vec![[0; 32]]),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut state = index.chain.clone();
        change(&mut state);
        let mut chain = Chain::resume(DATABASE, DATABASE, &state).unwrap();
        assert_eq!(chain.push(&next).unwrap_err().category(), Category::Corrupt, "{i}");
    }
    let impossible: [fn(&mut ChainState); 4] =
        [|state| state.seq = 0, |state| state.seq = 3, |state| state.term = 0, |state| state.t = 1 << 42];
    for change in impossible {
        let mut state = index.chain.clone();
        change(&mut state);
        assert_eq!(Chain::resume(DATABASE, DATABASE, &state).unwrap_err().category(), Category::Corrupt);
    }
}

#[test]
fn index_records_that_contradict_themselves_are_damage() {
    let (before, _) = log_of(&bodies());
    let check = |change: &dyn Fn(&mut IndexBody), words: &str| {
        let mut index = index_after(&before);
        change(&mut index);
        let body = Body::Index(Box::new(index)).encode([5; 16]).unwrap();
        let header = before.next(&body, before.term(), Instant(0));
        let error = Record::read(&record_bytes(&header, &body)).unwrap_err();
        assert_eq!(error.category(), Category::Corrupt);
        assert!(error.message().contains(words), "{error}");
    };
    check(&|index| index.index_t = 3, "index-t is the t of its chain");
    check(&|index| index.next_counter = 1 << 42, "42 bits");
    check(&|index| (index.chain.seq, index.chain.peaks) = (8, vec![[0; 32]]), "records after itself");
    check(&|index| index.previous = 5, "records after itself");
    check(&|index| index.chain.term = 6, "records after itself");
    check(&|index| (index.index_t, index.chain.t) = (5, 5), "records after itself");
    check(&|index| index.chain.peaks.push([0; 32]), "frontier");
    check(&|index| index.current.eavt.as_mut().unwrap().count = 0, "a root is empty");
    check(&|index| index.current.avet.as_mut().unwrap().to_max = 1, "lives outside of index-t");
    check(&|index| index.history.eavt.as_mut().unwrap().to_max = 5, "lives outside of index-t");
    check(&|index| index.history.aevt.as_mut().unwrap().from_max = 5, "lives outside of index-t");
    check(&|index| index.log.as_mut().unwrap().seq = 5, "log tree");
    check(&|index| index.log.as_mut().unwrap().seq = 0, "log tree");
}

#[test]
fn roots_go_by_their_sorts() {
    use crate::index::Sort;
    let (chain, _) = log_of(&bodies());
    let mut roots = index_after(&chain).history;
    assert_eq!(roots.each().map(|(sort, _)| sort).collect::<Vec<_>>(), [Sort::Eavt, Sort::Aevt]);
    roots.set(Sort::Vaet, Some(root(8)));
    roots.set(Sort::Eavt, None);
    assert_eq!((roots.of(Sort::Vaet), roots.of(Sort::Eavt)), (Some(&root(8)), None));
}

/// The same care for what is read as with every other record.
#[test]
fn a_flip_of_any_bit_of_an_index_record_is_noticed() {
    let (_, records, _) = with_index();
    let (chain, _) = follow(&records[..4]).unwrap();
    let hash = RawRecord::parse(&records[4]).unwrap().hash;
    for at in 0..records[4].len() {
        for bit in 0..8 {
            let mut damaged = records[4].clone();
            damaged[at] ^= 1 << bit;
            let read = RawRecord::parse(&damaged).and_then(|read| {
                chain.verify(&read.header)?;
                read.body()?;
                Ok(read.hash)
            });
            assert!(read.is_err() || at < Header::BYTES && read.unwrap() != hash, "byte {at}, bit {bit}");
        }
    }
    for length in Header::BYTES..records[4].len() {
        assert!(Record::read(&records[4][..length]).is_err(), "cut after {length}");
    }
}

#[test]
fn garbage_under_a_right_hash_is_an_error_or_an_index() {
    let (before, _) = log_of(&bodies());
    let encoded = Body::Index(Box::new(index_after(&before))).encode([5; 16]).unwrap();
    for at in 0..encoded.bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = encoded.bytes.clone();
            bytes[at] ^= change;
            let body = EncodedBody { hash: sha256(&bytes), bytes, ..encoded.clone() };
            let header = before.next(&body, before.term(), Instant(0));
            let _ = Record::read(&record_bytes(&header, &body));
        }
    }
}
