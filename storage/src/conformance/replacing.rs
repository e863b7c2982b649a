//! Records that give way to others, and what a scrub leaves.

use super::{Dice, Subject, append_index, append_next, database, noise, read_all, segment};
use crate::{Compaction, DatabaseId, ErrorKind, Head, Journal, Replaced, Scrub, SegmentKey, Store, sha256};

fn bytes_of(journal: &dyn Journal, db: DatabaseId) -> Vec<Vec<u8>> {
    read_all(journal, db).into_iter().map(|record| record.bytes).collect()
}

/// Records of all sizes give way to ones that are longer, shorter, and as long.
pub(super) fn a_replaced_record_has_the_new_bytes_and_all_else_stays(open: Subject) {
    let (db, other) = (database(1), database(2));
    let sizes = [1, 300, 4000, 4001, 12_345, 50_000];
    let mut store = open();
    let mut records: Vec<Vec<u8>> = sizes.iter().map(|size| noise(*size as u64, *size)).collect();
    let mut head = None;
    for (record, beside) in records.iter().zip(10..) {
        head = Some(append_next(&*store.journal(), db, head, record));
        append_next(&*store.journal(), database(beside), None, b"beside");
    }
    let others = append_next(&*store.journal(), other, None, b"other");
    for (round, moved) in (1..4u64).zip([1, 2, 5]) {
        for at in 0..records.len() {
            let journal = store.journal();
            let new = noise(1000 * round + at as u64, sizes[(at + moved) % sizes.len()]);
            let old = sha256(&records[at]);
            assert_eq!(journal.replace_body(db, at as u64 + 1, old, &new).unwrap(), Replaced::Done);
            records[at] = new;
            assert!(bytes_of(&*journal, db) == records, "records differ right after record {} was replaced", at + 1);
            assert_eq!(journal.head(db).unwrap(), head);
        }
        // The log goes on.
        let record = noise(round, 77);
        head = Some(append_next(&*store.journal(), db, head, &record));
        records.push(record);
        store.close().unwrap();
        store = open();
        let journal = store.journal();
        assert!(bytes_of(&*journal, db) == records, "records differ after opening again");
        assert_eq!((journal.head(db).unwrap(), journal.head(other).unwrap()), (head, Some(others)));
        assert_eq!(bytes_of(&*journal, other), [b"other"]);
    }
    store.close().unwrap();
}

pub(super) fn a_record_is_replaced_on_its_old_hash_only(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let one = sha256(b"one");
    assert_eq!(journal.replace_body(db, 1, one, b"new").unwrap_err().kind(), ErrorKind::NotFound);
    let mut head = append_next(&*journal, db, None, b"one");
    for seq in [0, 2, u64::MAX] {
        assert_eq!(journal.replace_body(db, seq, one, b"new").unwrap_err().kind(), ErrorKind::Invalid, "{seq}");
    }
    assert_eq!(journal.replace_body(db, 1, one, b"").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.replace_body(db, 1, one, &vec![0; 16 << 20]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.replace_body(db, 1, sha256(b"two"), b"new").unwrap(), Replaced::Other);
    assert_eq!(bytes_of(&*journal, db), [b"one"]);
    // The same again is done already, whatever hash is named as the old one; the old bytes do not come back by mistake.
    assert_eq!(journal.replace_body(db, 1, one, b"new").unwrap(), Replaced::Done);
    assert_eq!(journal.replace_body(db, 1, one, b"new").unwrap(), Replaced::Done);
    assert_eq!(journal.replace_body(db, 1, [7; 32], b"new").unwrap(), Replaced::Done);
    assert_eq!(journal.replace_body(db, 1, one, b"newer").unwrap(), Replaced::Other);
    assert_eq!(bytes_of(&*journal, db), [b"new"]);
    for n in 2..=5 {
        head = append_next(&*journal, db, Some(head), &[n]);
    }
    let index = append_index(&*journal, db, head, b"index");
    journal.seal(db, 4).unwrap();
    for (seq, old) in [(1, sha256(b"new")), (3, sha256(&[3])), (3, [0; 32])] {
        assert_eq!(journal.replace_body(db, seq, old, b"late").unwrap(), Replaced::Sealed { before_seq: 4 });
    }
    assert_eq!(journal.replace_body(db, 4, sha256(&[4]), b"four").unwrap(), Replaced::Done);
    assert_eq!(journal.replace_body(db, 6, sha256(b"index"), b"trees").unwrap(), Replaced::Done);
    assert_eq!(bytes_of(&*journal, db), [&b"four"[..], &[5], b"trees"]);
    assert_eq!(journal.head(db).unwrap(), Some(index));
    store.close().unwrap();
}

pub(super) fn of_many_replacements_of_one_record_one_wins(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let head = append_next(&*journal, db, None, b"0");
    let mut bytes = b"0".to_vec();
    for round in 1..=5u8 {
        let old = sha256(&bytes);
        let offers: Vec<Vec<u8>> = (0..8).map(|caller| vec![round, caller]).collect();
        let answers: Vec<Replaced> = std::thread::scope(|scope| {
            let mut callers = Vec::new();
            for record in &offers {
                let journal = journal.clone();
                callers.push(scope.spawn(move || journal.replace_body(db, 1, old, record).unwrap()));
            }
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let winners = offers.iter().zip(&answers).filter(|(_, answer)| **answer == Replaced::Done);
        let winners: Vec<&Vec<u8>> = winners.map(|(record, _)| record).collect();
        assert_eq!(winners.len(), 1, "{answers:?}");
        assert!(answers.iter().all(|answer| matches!(answer, Replaced::Done | Replaced::Other)), "{answers:?}");
        bytes = winners[0].clone();
        assert_eq!(bytes_of(&*journal, db), [&bytes[..]]);
    }
    assert_eq!(journal.head(db).unwrap(), Some(head));
    store.close().unwrap();
}

/// Compacting says records again that are left; what it says is what they were replaced by.
pub(super) fn replaced_records_survive_compaction_seals_and_opens(open: Subject) {
    let db = database(1);
    let mut dice = Dice::new(5);
    let mut head: Option<Head> = None;
    let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
    for round in 0..4u64 {
        let store = open();
        let (journal, segments) = (store.journal(), store.segments());
        for _ in 0..30 {
            let record = noise(dice.below(1000), 1 + dice.below(9000) as usize);
            let appended = append_next(&*journal, db, head, &record);
            records.push((appended.seq, record));
            head = Some(appended);
            let at = dice.below(records.len() as u64) as usize;
            let (seq, bytes) = &mut records[at];
            let new = noise(dice.below(1000), 1 + dice.below(9000) as usize);
            assert_eq!(journal.replace_body(db, *seq, sha256(bytes), &new).unwrap(), Replaced::Done);
            *bytes = new;
            if dice.below(4) == 0 {
                segments.compact(Compaction { copy_bytes_max: 5000, live_percent_max: 100 }).unwrap();
            }
        }
        if round == 2 {
            let index = append_index(&*journal, db, head.unwrap(), b"index");
            records.push((index.seq, b"index".to_vec()));
            head = Some(index);
            journal.seal(db, 40).unwrap();
            records.retain(|(seq, _)| *seq >= 40);
        }
        while segments.compact(Compaction { copy_bytes_max: 20_000, live_percent_max: 100 }).unwrap().more {}
        let check = |journal: &dyn Journal| {
            let read = read_all(journal, db).into_iter().map(|record| (record.seq, record.bytes)).collect::<Vec<_>>();
            assert!(read == records, "records differ in round {round}");
            assert_eq!(journal.head(db).unwrap(), head);
        };
        check(&*journal);
        drop((journal, segments));
        store.close().unwrap();
        let store = open();
        check(&*store.journal());
        store.close().unwrap();
    }
}

pub(super) fn a_scrub_has_an_end_and_takes_nothing_else(open: Subject) {
    let db = database(1);
    let store = open();
    let (journal, segments) = (store.journal(), store.segments());
    let head = (0..20).fold(None, |head, n| Some(append_next(&*journal, db, head, &noise(n, 700))));
    let replaced = journal.replace_body(db, 4, sha256(&noise(3, 700)), b"new").unwrap();
    assert_eq!(replaced, Replaced::Done);
    let all: Vec<_> = (0..12).map(|n| segment(1, n, "index-7", 3000)).collect();
    all.iter().for_each(|(key, bytes)| segments.put(key, bytes).unwrap());
    let gone: Vec<SegmentKey> = all[..6].iter().map(|(key, _)| key.clone()).collect();
    segments.delete_all(&gone).unwrap();
    let check = |store: &Store| {
        let records = bytes_of(&*store.journal(), db);
        let expected = (0..20).map(|n| if n == 3 { b"new".to_vec() } else { noise(n, 700) });
        assert!(records == expected.collect::<Vec<_>>(), "records differ");
        assert_eq!(store.journal().head(db).unwrap(), head);
        assert_eq!(store.segments().list(database(1), None, 100).unwrap().len(), 6);
        for (key, bytes) in &all[6..] {
            assert!(store.segments().get(key).unwrap().as_ref() == Some(bytes), "{key:?} came back changed");
        }
    };
    let mut wanted = Scrub { ticket: None, copy_bytes_max: 2000 };
    for pieces in 0.. {
        let done = segments.scrub(wanted).unwrap();
        check(&store);
        if !done.more {
            break;
        }
        assert!(wanted.ticket.is_none_or(|ticket| ticket == done.ticket), "it goes on under its ticket");
        wanted.ticket = Some(done.ticket);
        assert!(pieces < 10_000, "no end is in sight");
    }
    drop((journal, segments));
    store.close().unwrap();
    let store = open();
    check(&store);
    store.close().unwrap();
}
