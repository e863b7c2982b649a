//! Erase records and the bodies that they name: their bytes, their rules, and who takes them.

use super::index::index_after;
use super::*;
use crate::replay::Checked;

/// Record 4 without the transaction's one datom, as the record after it will name it.
fn emptied() -> EncodedBody {
    let entries = [2, 3, 4].map(|t| TxEntry { tempids: vec![], digest: [0; 32], ..tx(t, vec![]) });
    Body::encode_erased(entries.to_vec(), (DATABASE, 5), [8; 16]).unwrap()
}

fn erase_after(chain: &Chain, old: Hash) -> EraseBody {
    let replaced = vec![Replacement { seq: 4, old, new: emptied().hash }];
    let scope = EraseScope { entities: vec![user(1002)], attributes: vec![], before: Some(5) };
    EraseBody { request: [3; 16], scope, lives: 1, replaced, index: IndexBody { previous: 0, ..index_after(chain) } }
}

fn with_erase() -> (Chain, Vec<Vec<u8>>, EraseBody) {
    let (chain, records) = log_of(&bodies());
    let erase = erase_after(&chain, Header::decode(&records[3]).unwrap().body_hash);
    let mut all = bodies();
    all.push(Body::Erase(Box::new(erase.clone())));
    all.push(Body::Index(Box::new(IndexBody { floor: 5, previous: 5, ..index_after(&chain) })));
    let (chain, records) = log_of(&all);
    (chain, records, erase)
}

#[test]
fn erase_records_have_the_bytes_they_always_had() {
    let (_, mut records, erase) = with_erase();
    records[3] = record_with(&RawRecord::parse(&records[3]).unwrap(), &emptied(), 5).0;
    let now: String = records[3..].iter().map(|record| hex(record) + "\n").collect();
    assert!(now == include_str!("../golden/erase.hex"), "the format has changed:\n{now}");
    let record = Record::read(&records[4]).unwrap();
    assert_eq!((record.header.kind, record.header.count), (Kind::Erase, 0));
    assert_eq!(record.body, Body::Erase(Box::new(erase)));
    let Body::Index(after) = Record::read(&records[5]).unwrap().body else { panic!("an index record") };
    assert_eq!(after.floor, 5);
}

#[test]
fn a_body_that_took_anothers_place_is_taken_on_the_word_of_its_erase_record_alone() {
    let (_, records, erase) = with_erase();
    let (record, place) = record_with(&RawRecord::parse(&records[3]).unwrap(), &emptied(), 5);
    assert_eq!(place, None);
    let raw = RawRecord::parse(&record).unwrap();
    assert_eq!(raw.hash, RawRecord::parse(&records[3]).unwrap().hash, "header and hash stay");
    let error = raw.body().unwrap_err();
    assert!(error.message().contains("was replaced by erase record 5"), "{error}");
    let expected = Replaced { of: DATABASE, seq: 4, hash: emptied().hash, database: DATABASE, by: 5 };
    let read = |record: &[u8], vouches: bool| {
        Checked::read_vouched(&RawRecord::parse(record).unwrap(), None, &mut |replaced| {
            assert!(vouches || replaced.hash != expected.hash);
            Ok((replaced.database, replaced.by) == (DATABASE, 5) && erase.names(replaced.seq, &replaced.hash))
        })
    };
    let checked = read(&record, true).unwrap();
    assert_eq!((checked.replaced(), checked.transactions().len()), (None, 3));
    assert_eq!(Checked::read(&raw, None).unwrap().replaced(), Some(&expected));
    // Any other body that says the same of itself.
    for at in [Header::BYTES + 3, record.len() - 1] {
        let mut forged = record.clone();
        forged[at] ^= 1;
        assert_eq!(read(&forged, false).map(|_| ()).unwrap_err().category(), Category::Corrupt, "{at}");
    }
    // One that says nothing of itself, and the same one for another record.
    let other = Body::Tx(vec![tx(2, vec![]), tx(3, vec![]), tx(4, vec![])]).encode([9; 16]).unwrap();
    let (forged, _) = record_with(&raw, &other, 5);
    assert!(read(&forged, false).map(|_| ()).unwrap_err().message().contains("another hash"));
    assert!(!erase.names(3, &emptied().hash) && !erase.names(4, &[0; 32]));
}

#[test]
fn a_large_body_that_was_replaced_stays_out_of_line() {
    let large = TxEntry { ..tx(1, vec![added(user(1), 72, Value::string("x".repeat(BODY_BYTES_TARGET)))]) };
    let (_, records) = log_of(&[bodies().remove(0), Body::Tx(vec![large])]);
    let body = Body::encode_erased(vec![tx(1, vec![])], (DATABASE, 3), [8; 16]).unwrap();
    let (record, place) = record_with(&RawRecord::parse(&records[1]).unwrap(), &body, 9);
    let place = place.unwrap();
    assert_eq!((place.term, place.hash, place.length), (9, body.hash, body.bytes.len() as u64));
    let raw = RawRecord::parse(&record).unwrap();
    assert_eq!(raw.content, Content::OutOfLine(place));
    assert_eq!(Checked::read(&raw, Some(&body.bytes)).unwrap().replaced().unwrap().by, 3);
}

#[test]
fn erase_records_that_contradict_themselves_are_damage() {
    let (before, _) = log_of(&bodies());
    let check = |change: &dyn Fn(&mut EraseBody), words: &str| {
        let mut erase = erase_after(&before, [1; 32]);
        change(&mut erase);
        let body = Body::Erase(Box::new(erase)).encode([5; 16]).unwrap();
        let header = before.next(&body, before.term(), Instant(0));
        let error = Record::read(&record_bytes(&header, &body)).unwrap_err();
        assert_eq!(error.category(), Category::Corrupt);
        assert!(error.message().contains(words), "{error}");
    };
    check(&|erase| erase.index.log = None, "do not end right before it");
    check(&|erase| erase.index.log.as_mut().unwrap().seq = 3, "do not end right before it");
    check(&|erase| erase.index.floor = 1, "floor");
    check(&|erase| erase.replaced[0].seq = 5, "stand after it");
    check(&|erase| erase.replaced.push(erase.replaced[0]), "do not ascend");
    check(&|erase| erase.index.chain.t = 3, "index-t");
}

#[test]
fn many_replaced_bodies_put_an_erase_record_out_of_line() {
    let (before, _) = log_of(&bodies());
    let mut erase = erase_after(&before, [1; 32]);
    erase.scope.attributes = (0..40_000).map(user).collect();
    let body = Body::Erase(Box::new(erase.clone())).encode([5; 16]).unwrap();
    let header = before.next(&body, before.term(), Instant(0));
    let bytes = record_bytes(&header, &body);
    let record = RawRecord::parse(&bytes).unwrap();
    assert!(matches!(record.content, Content::OutOfLine(_)));
    assert_eq!(record.body_from(&body.bytes).unwrap(), Body::Erase(Box::new(erase)));
}

/// Whoever has a value from before an erasure must not go on from it, and learns so from the first record that tells.
#[test]
fn no_replay_goes_on_past_an_erasure_or_a_replaced_body() {
    use crate::replay::{ERASED, Replay, create_body};
    let text = |v: &str| LoggedDatom { v: Value::string(v), ..added(user(2000), 17, Value::Long(0)) };
    let said = |t, datoms| {
        let instant = LoggedDatom { e: EntityId::of_tx(t), ..added(user(1), 25, Value::Instant(Instant(t as i64))) };
        TxEntry { tempids: vec![], ..tx(t, [vec![instant], datoms].concat()) }
    };
    let bodies = [create_body("world"), Body::Tx(vec![said(1, vec![text("secret")])])];
    let (chain, mut records) = log_of(&bodies);
    let by = (DATABASE, 3);
    let emptied = Body::encode_erased(vec![said(1, vec![])], by, [8; 16]).unwrap();
    let log = Some(LogRoot { id: super::index::segment(1), bytes: 1, depth: 0, seq: 2, t: 1 });
    let index = IndexBody { log, current: Roots::default(), history: Roots::default(), ..index_after(&chain) };
    let index = IndexBody { previous: 0, ..index };
    let old = Header::decode(&records[1]).unwrap().body_hash;
    let replaced = vec![Replacement { seq: 2, old, new: emptied.hash }];
    let erase = EraseBody { request: [1; 16], scope: EraseScope::default(), lives: 1, replaced, index };
    let all = [bodies[0].clone(), bodies[1].clone(), Body::Erase(Box::new(erase.clone()))];
    let as_they_were = log_of(&all).1;
    let taken = |replay: &mut Replay, records: &[Vec<u8>], vouches: bool| {
        let read = |bytes: &Vec<u8>| {
            let record = RawRecord::parse(bytes).unwrap();
            match vouches {
                true => Checked::read_vouched(&record, None, &mut |at| Ok(erase.names(at.seq, &at.hash))).unwrap(),
                false => Checked::read(&record, None).unwrap(),
            }
        };
        let (count, error) = replay.take(&records.iter().map(read).collect::<Vec<_>>());
        (count, error.map(|error| error.code().to_owned()), replay.db().len())
    };
    let erased = || Some(ERASED.to_owned());
    let (_, _, bootstrap) = taken(&mut Replay::new(DATABASE), &as_they_were[..1], false);
    assert_eq!(taken(&mut Replay::new(DATABASE), &as_they_were, false), (2, erased(), bootstrap + 2));
    records = as_they_were;
    records[1] = record_with(&RawRecord::parse(&records[1]).unwrap(), &emptied, 1).0;
    assert_eq!(taken(&mut Replay::new(DATABASE), &records, false), (1, erased(), bootstrap));
    // A whole log out of which it was taken.
    assert_eq!(taken(&mut Replay::of_erased(DATABASE), &records, true), (3, None, bootstrap + 1));
}
