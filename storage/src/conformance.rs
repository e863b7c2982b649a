//! What every backend must do, as cases that each backend's tests run.
//!
//! A case gets a [`Subject`]: it opens a store that is empty the first time, and the same store again after
//! it was closed.

use crate::{
    Appended, Compaction, DatabaseId, ErrorKind, Head, Journal, POD_BYTES_MAX, PodPut, Records, SegmentKey, Segments,
    Store, StoredRecord, sha256,
};

mod replacing;

use replacing::*;

/// Opens one store, again and again.
pub type Subject<'a> = &'a dyn Fn() -> Store;

/// A case: its name, and the function that panics where the backend breaks its promise.
pub type Case = (&'static str, fn(Subject));

/// The cases of the journal.
pub const JOURNAL_CASES: &[Case] = &[
    ("a_new_database_begins_at_seq_1", a_new_database_begins_at_seq_1),
    ("an_append_on_a_moved_head_changes_nothing", an_append_on_a_moved_head_changes_nothing),
    ("a_stale_term_cannot_append", a_stale_term_cannot_append),
    ("a_take_over_begins_a_higher_term", a_take_over_begins_a_higher_term),
    ("offering_the_same_bytes_again_shows_the_own_head", offering_the_same_bytes_again_shows_the_own_head),
    ("impossible_heads_are_refused", impossible_heads_are_refused),
    ("records_of_any_size_come_back_as_written", records_of_any_size_come_back_as_written),
    ("a_read_stops_at_its_byte_limit_after_one_record", a_read_stops_at_its_byte_limit_after_one_record),
    ("of_many_appends_to_one_slot_one_wins", of_many_appends_to_one_slot_one_wins),
    ("databases_do_not_meet", databases_do_not_meet),
    ("a_pod_is_put_at_its_version_only", a_pod_is_put_at_its_version_only),
    ("a_pod_made_again_takes_no_old_version", a_pod_made_again_takes_no_old_version),
    ("pods_are_listed_by_prefix_in_order", pods_are_listed_by_prefix_in_order),
    ("impossible_pods_are_refused", impossible_pods_are_refused),
    ("a_dropped_database_is_gone_and_others_stay", a_dropped_database_is_gone_and_others_stay),
    ("sealed_records_are_gone_and_the_others_stay", sealed_records_are_gone_and_the_others_stay),
    ("a_seal_goes_to_the_newest_index_record_and_never_back", a_seal_goes_to_the_newest_index_record_and_never_back),
    ("many_records_are_sealed_at_once", many_records_are_sealed_at_once),
    ("a_replaced_record_has_the_new_bytes_and_all_else_stays", a_replaced_record_has_the_new_bytes_and_all_else_stays),
    ("a_record_is_replaced_on_its_old_hash_only", a_record_is_replaced_on_its_old_hash_only),
    ("of_many_replacements_of_one_record_one_wins", of_many_replacements_of_one_record_one_wins),
    ("replaced_records_survive_compaction_seals_and_opens", replaced_records_survive_compaction_seals_and_opens),
    ("everything_answered_is_there_after_opening_again", everything_answered_is_there_after_opening_again),
];

/// The cases of the segments.
pub const SEGMENT_CASES: &[Case] = &[
    ("a_segment_comes_back_as_put", a_segment_comes_back_as_put),
    ("a_segment_is_put_once_however_often", a_segment_is_put_once_however_often),
    ("bytes_of_another_hash_are_refused", bytes_of_another_hash_are_refused),
    ("segments_are_listed_by_database_in_order", segments_are_listed_by_database_in_order),
    ("a_deleted_segment_is_gone", a_deleted_segment_is_gone),
    ("deleting_and_compacting_takes_nothing_else", deleting_and_compacting_takes_nothing_else),
    ("a_scrub_has_an_end_and_takes_nothing_else", a_scrub_has_an_end_and_takes_nothing_else),
    ("segments_are_there_after_opening_again", segments_are_there_after_opening_again),
];

/// A database id for tests.
pub fn database(n: u8) -> DatabaseId {
    DatabaseId([n; 16])
}

/// The head after a record of these bytes: one seq and one t on.
pub fn head_after(before: Option<Head>, record: &[u8]) -> Head {
    match before {
        None => Head { term: 1, seq: 1, t: 0, hash: sha256(record), index_seq: 0 },
        Some(head) => Head { seq: head.seq + 1, t: head.t + 1, hash: sha256(record), ..head },
    }
}

/// Appends a record where nobody else writes, and returns the new head.
pub fn append_next(journal: &dyn Journal, db: DatabaseId, before: Option<Head>, record: &[u8]) -> Head {
    let head = head_after(before, record);
    let appended = journal.append(db, before, head, record).expect("the append reaches the store");
    assert_eq!(appended, Appended::Done, "append of seq {} to {db}", head.seq);
    head
}

/// Appends a record as [`append_next`] does, one that new roots come with.
pub fn append_index(journal: &dyn Journal, db: DatabaseId, before: Head, record: &[u8]) -> Head {
    let head = Head { t: before.t, index_seq: before.seq + 1, ..head_after(Some(before), record) };
    let appended = journal.append(db, Some(before), head, record).expect("the append reaches the store");
    assert_eq!(appended, Appended::Done, "append of seq {} to {db}", head.seq);
    head
}

/// Chance that is the same every time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// Bytes that look random and are the same every time.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..bytes).map(|_| dice.below(256) as u8).collect()
}

/// Records of a database before this seq are sealed; 1 when none are.
pub fn sealed_before(journal: &dyn Journal, db: DatabaseId) -> u64 {
    match journal.read(db, 1, 0).expect("the log can be read") {
        Records::Found(_) => 1,
        Records::Sealed { before_seq } => before_seq,
    }
}

/// All records of a database that are not sealed.
pub fn read_all(journal: &dyn Journal, db: DatabaseId) -> Vec<StoredRecord> {
    let first = sealed_before(journal, db);
    let mut all: Vec<StoredRecord> = Vec::new();
    loop {
        let next = all.last().map_or(first, |last| last.seq + 1);
        let found = match journal.read(db, next, 1 << 20).expect("the log can be read") {
            Records::Found(found) => found,
            sealed => panic!("{db}: {sealed:?}"),
        };
        if found.is_empty() {
            return all;
        }
        for (record, seq) in found.into_iter().zip(next..) {
            assert_eq!(record.seq, seq, "records of {db} come in order without gaps");
            all.push(record);
        }
    }
}

fn found(journal: &dyn Journal, db: DatabaseId, from_seq: u64, bytes_max: usize) -> Vec<u64> {
    match journal.read(db, from_seq, bytes_max).unwrap() {
        Records::Found(found) => found.iter().map(|record| record.seq).collect(),
        sealed => panic!("{sealed:?}"),
    }
}

fn a_new_database_begins_at_seq_1(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    assert_eq!(journal.head(db).unwrap(), None);
    assert_eq!(journal.read(db, 1, 1000).unwrap(), Records::Found(Vec::new()));
    let head = append_next(&*journal, db, None, b"create");
    assert_eq!(journal.head(db).unwrap(), Some(head));
    assert_eq!(
        journal.read(db, 1, 1000).unwrap(),
        Records::Found(vec![StoredRecord { seq: 1, bytes: b"create".to_vec() }])
    );
    assert_eq!(found(&*journal, db, 0, 1000), [1]);
    assert_eq!(found(&*journal, db, 2, 1000), []);
    assert_eq!(found(&*journal, db, u64::MAX, 1000), []);
    store.close().unwrap();
}

fn an_append_on_a_moved_head_changes_nothing(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let not_there = Head { term: 1, seq: 4, t: 3, hash: [9; 32], index_seq: 0 };
    let after = head_after(Some(not_there), b"x");
    assert_eq!(journal.append(db, Some(not_there), after, b"x").unwrap(), Appended::Moved(None));
    let one = append_next(&*journal, db, None, b"one");
    assert_eq!(journal.append(db, None, head_after(None, b"other"), b"other").unwrap(), Appended::Moved(Some(one)));
    let two = append_next(&*journal, db, Some(one), b"two");
    let late = head_after(Some(one), b"late");
    assert_eq!(journal.append(db, Some(one), late, b"late").unwrap(), Appended::Moved(Some(two)));
    // Every field of the expected head counts.
    for wrong in [Head { hash: [7; 32], ..two }, Head { t: 0, ..two }, Head { index_seq: 1, ..two }] {
        let after = head_after(Some(wrong), b"x");
        assert_eq!(journal.append(db, Some(wrong), after, b"x").unwrap(), Appended::Moved(Some(two)));
    }
    let records: Vec<_> = read_all(&*journal, db).into_iter().map(|record| record.bytes).collect();
    assert_eq!(records, [b"one", b"two"]);
    store.close().unwrap();
}

fn a_stale_term_cannot_append(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let old = append_next(&*journal, db, None, b"create");
    let term = Head { term: 2, ..head_after(Some(old), b"term") };
    assert_eq!(journal.take_over(db, old, term, b"term").unwrap(), Appended::Done);
    // The writer of term 1 was paused meanwhile, and goes on.
    let stale = head_after(Some(old), b"stale");
    assert_eq!(journal.append(db, Some(old), stale, b"stale").unwrap(), Appended::Moved(Some(term)));
    append_next(&*journal, db, Some(term), b"fresh");
    let records: Vec<_> = read_all(&*journal, db).into_iter().map(|record| record.bytes).collect();
    assert_eq!(records, [&b"create"[..], b"term", b"fresh"]);
    store.close().unwrap();
}

fn a_take_over_begins_a_higher_term(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let head = append_next(&*journal, db, None, b"create");
    let same = head_after(Some(head), b"term");
    assert_eq!(journal.take_over(db, head, same, b"term").unwrap_err().kind(), ErrorKind::Invalid);
    let higher = Head { term: 5, ..same };
    assert_eq!(journal.append(db, Some(head), higher, b"term").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.take_over(db, head, higher, b"term").unwrap(), Appended::Done);
    let elsewhere = Head { term: 6, ..same };
    assert_eq!(journal.take_over(db, head, elsewhere, b"late").unwrap(), Appended::Moved(Some(higher)));
    store.close().unwrap();
}

fn offering_the_same_bytes_again_shows_the_own_head(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let one = append_next(&*journal, db, None, b"one");
    let two = append_next(&*journal, db, Some(one), b"two");
    assert_eq!(journal.append(db, Some(one), two, b"two").unwrap(), Appended::Moved(Some(two)));
    assert_eq!(read_all(&*journal, db).len(), 2);
    store.close().unwrap();
}

fn impossible_heads_are_refused(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let one = append_next(&*journal, db, None, b"one");
    let two = head_after(Some(one), b"two");
    for wrong in [
        Head { seq: 1, ..two },
        Head { seq: 3, ..two },
        Head { index_seq: 3, ..two },
        Head { term: 0, ..two },
        Head { term: 2, ..two },
    ] {
        assert_eq!(journal.append(db, Some(one), wrong, b"two").unwrap_err().kind(), ErrorKind::Invalid, "{wrong:?}");
    }
    assert_eq!(journal.append(db, None, two, b"two").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.append(db, Some(one), two, b"").unwrap_err().kind(), ErrorKind::Invalid);
    let huge = vec![0; 16 << 20];
    assert_eq!(journal.append(db, Some(one), two, &huge).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(read_all(&*journal, db).len(), 1);
    store.close().unwrap();
}

fn records_of_any_size_come_back_as_written(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let sizes = [1, 100, 3999, 4000, 4001, 4095, 4096, 4097, 8000, 8191, 8192, 12_345, 50_000];
    let records: Vec<Vec<u8>> = sizes.iter().map(|size| noise(*size as u64, *size)).collect();
    let mut head = None;
    for record in &records {
        head = Some(append_next(&*journal, db, head, record));
    }
    let read: Vec<_> = read_all(&*journal, db).into_iter().map(|record| record.bytes).collect();
    assert!(read == records, "records differ after reading");
    store.close().unwrap();
    let store = open();
    let read: Vec<_> = read_all(&*store.journal(), db).into_iter().map(|record| record.bytes).collect();
    assert!(read == records, "records differ after opening again");
    store.close().unwrap();
}

fn a_read_stops_at_its_byte_limit_after_one_record(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let mut head = None;
    for n in 0..20 {
        head = Some(append_next(&*journal, db, head, &noise(n, 1000)));
    }
    assert_eq!(found(&*journal, db, 1, 0), [1]);
    assert_eq!(found(&*journal, db, 5, 999), [5]);
    assert_eq!(found(&*journal, db, 5, 1000), [5]);
    assert_eq!(found(&*journal, db, 5, 2999), [5, 6]);
    assert_eq!(found(&*journal, db, 18, 1 << 20), [18, 19, 20]);
    store.close().unwrap();
}

fn of_many_appends_to_one_slot_one_wins(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    let mut head = append_next(&*journal, db, None, b"create");
    for _ in 0..10 {
        let answers: Vec<(Head, Appended)> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..8u8)
                .map(|caller| {
                    let journal = journal.clone();
                    scope.spawn(move || {
                        let record = [caller; 50];
                        let after = head_after(Some(head), &record);
                        (after, journal.append(db, Some(head), after, &record).unwrap())
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        let winners: Vec<Head> =
            answers.iter().filter(|(_, answer)| *answer == Appended::Done).map(|(after, _)| *after).collect();
        assert_eq!(winners.len(), 1);
        head = winners[0];
        for (_, answer) in answers.iter().filter(|(_, answer)| *answer != Appended::Done) {
            assert_eq!(*answer, Appended::Moved(Some(head)));
        }
        assert_eq!(journal.head(db).unwrap(), Some(head));
    }
    assert_eq!(read_all(&*journal, db).len(), 11);
    store.close().unwrap();
}

fn databases_do_not_meet(open: Subject) {
    let store = open();
    let journal = store.journal();
    let mut heads = [None; 5];
    for n in 0..40u8 {
        let db = n % 5;
        heads[db as usize] = Some(append_next(&*journal, database(db), heads[db as usize], &[n; 10]));
    }
    for db in 0..5u8 {
        assert_eq!(journal.head(database(db)).unwrap(), heads[db as usize]);
        let first_bytes: Vec<u8> = read_all(&*journal, database(db)).iter().map(|record| record.bytes[0]).collect();
        assert_eq!(first_bytes, (0..8).map(|k| k * 5 + db).collect::<Vec<u8>>());
    }
    store.close().unwrap();
}

fn a_pod_is_put_at_its_version_only(open: Subject) {
    let store = open();
    let journal = store.journal();
    assert_eq!(journal.read_pod("lease").unwrap(), None);
    assert_eq!(journal.put_pod("lease", 7, b"a").unwrap(), PodPut::Conflict(0));
    let PodPut::Done(first) = journal.put_pod("lease", 0, b"a").unwrap() else { panic!("a new pod is put") };
    assert_eq!(journal.put_pod("lease", 0, b"b").unwrap(), PodPut::Conflict(first));
    let PodPut::Done(second) = journal.put_pod("lease", first, b"b").unwrap() else { panic!("the pod is put") };
    assert!(second > first);
    assert_eq!(journal.put_pod("lease", first, b"c").unwrap(), PodPut::Conflict(second));
    assert_eq!(journal.read_pod("lease").unwrap(), Some((second, b"b".to_vec())));
    assert_eq!(journal.put_pod("other", second, b"c").unwrap(), PodPut::Conflict(0));
    store.close().unwrap();
}

fn a_pod_made_again_takes_no_old_version(open: Subject) {
    let store = open();
    let journal = store.journal();
    let PodPut::Done(first) = journal.put_pod("lease", 0, b"mine").unwrap() else { panic!("a new pod is put") };
    assert_eq!(journal.delete_pod("lease", first + 1).unwrap(), PodPut::Conflict(first));
    assert_eq!(journal.delete_pod("lease", first).unwrap(), PodPut::Done(0));
    assert_eq!(journal.read_pod("lease").unwrap(), None);
    assert_eq!(journal.delete_pod("lease", first).unwrap(), PodPut::Conflict(0));
    store.close().unwrap();
    let store = open();
    let journal = store.journal();
    let PodPut::Done(again) = journal.put_pod("lease", 0, b"theirs").unwrap() else { panic!("the pod is made again") };
    assert!(again > first);
    assert_eq!(journal.put_pod("lease", first, b"mine").unwrap(), PodPut::Conflict(again));
    store.close().unwrap();
}

fn pods_are_listed_by_prefix_in_order(open: Subject) {
    let store = open();
    let journal = store.journal();
    for name in ["name/b", "db/1", "name/a", "name", "name/ä", "namf", "name/a/x"] {
        assert!(matches!(journal.put_pod(name, 0, name.as_bytes()).unwrap(), PodPut::Done(_)));
    }
    assert_eq!(journal.list_pods("name/").unwrap(), ["name/a", "name/a/x", "name/b", "name/ä"]);
    assert_eq!(journal.list_pods("").unwrap().len(), 7);
    assert_eq!(journal.list_pods("zzz").unwrap(), [""; 0]);
    store.close().unwrap();
}

fn impossible_pods_are_refused(open: Subject) {
    let store = open();
    let journal = store.journal();
    let too_long = "n".repeat(201);
    for name in ["", "a\0b", too_long.as_str()] {
        assert_eq!(journal.put_pod(name, 0, b"x").unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(journal.put_pod("pod", 0, &vec![0; POD_BYTES_MAX + 1]).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(matches!(journal.put_pod("pod", 0, &vec![1; POD_BYTES_MAX]).unwrap(), PodPut::Done(_)));
    assert_eq!(journal.read_pod("pod").unwrap().unwrap().1, vec![1; POD_BYTES_MAX]);
    assert_eq!(journal.delete_pod("pod", 0).unwrap_err().kind(), ErrorKind::Invalid);
    store.close().unwrap();
}

fn a_dropped_database_is_gone_and_others_stay(open: Subject) {
    let store = open();
    let journal = store.journal();
    let (gone, stays) = (database(1), database(2));
    let (mut gone_head, mut stays_head) = (None, None);
    for n in 0..50u8 {
        gone_head = Some(append_next(&*journal, gone, gone_head, &[n; 5000]));
        stays_head = Some(append_next(&*journal, stays, stays_head, &[n; 50]));
    }
    journal.drop_database(gone).unwrap();
    journal.drop_database(database(3)).unwrap();
    let check = |journal: &dyn Journal| {
        assert_eq!(journal.head(gone).unwrap(), None);
        assert_eq!(found(journal, gone, 1, 1000), []);
        assert_eq!(journal.head(stays).unwrap(), stays_head);
        assert_eq!(read_all(journal, stays).len(), 50);
    };
    check(&*journal);
    store.close().unwrap();
    let store = open();
    check(&*store.journal());
    store.close().unwrap();
}

fn sealed_records_are_gone_and_the_others_stay(open: Subject) {
    let store = open();
    let journal = store.journal();
    let (db, other) = (database(1), database(2));
    let (mut head, mut others) = (append_next(&*journal, db, None, b"create"), None);
    for n in 2..=20 {
        head = append_next(&*journal, db, Some(head), &noise(n, 900));
        others = Some(append_next(&*journal, other, others, &noise(n, 50)));
    }
    head = append_index(&*journal, db, head, b"index");
    head = append_next(&*journal, db, Some(head), b"after");
    journal.seal(db, 21).unwrap();
    let check = |journal: &dyn Journal, head: Head| {
        assert_eq!(journal.head(db).unwrap(), Some(head));
        for from_seq in [0, 1, 7, 20] {
            assert_eq!(journal.read(db, from_seq, 1000).unwrap(), Records::Sealed { before_seq: 21 });
        }
        assert_eq!(found(journal, db, 21, 1000), (21..=head.seq).collect::<Vec<_>>());
        assert_eq!(read_all(journal, db)[0].bytes, b"index");
        assert_eq!(journal.head(other).unwrap(), others);
        assert_eq!(found(journal, other, 1, 1 << 20), (1..=19).collect::<Vec<_>>());
    };
    check(&*journal, head);
    drop(journal);
    store.close().unwrap();
    let store = open();
    let journal = store.journal();
    check(&*journal, head);
    // The log goes on, and a database made again after it was dropped has nothing sealed.
    head = append_next(&*journal, db, Some(head), b"more");
    check(&*journal, head);
    journal.drop_database(db).unwrap();
    assert_eq!(journal.read(db, 1, 1000).unwrap(), Records::Found(Vec::new()));
    append_next(&*journal, db, None, b"anew");
    assert_eq!(read_all(&*journal, db), [StoredRecord { seq: 1, bytes: b"anew".to_vec() }]);
    drop(journal);
    store.close().unwrap();
    let store = open();
    assert_eq!(read_all(&*store.journal(), db).len(), 1);
    store.close().unwrap();
}

fn a_seal_goes_to_the_newest_index_record_and_never_back(open: Subject) {
    let store = open();
    let journal = store.journal();
    let db = database(1);
    assert_eq!(journal.seal(db, 1).unwrap_err().kind(), ErrorKind::NotFound);
    let mut head = append_next(&*journal, db, None, b"create");
    journal.seal(db, 1).unwrap();
    for n in 2..=9 {
        head = append_next(&*journal, db, Some(head), &[n]);
    }
    // There is no log tree yet, and then one that holds the first nine records.
    assert_eq!(journal.seal(db, 2).unwrap_err().kind(), ErrorKind::Invalid);
    head = append_index(&*journal, db, head, b"index");
    assert_eq!(journal.seal(db, 11).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(journal.seal(db, u64::MAX).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(sealed_before(&*journal, db), 1);
    for (seal, before_seq) in [(5, 5), (5, 5), (3, 5), (0, 5), (10, 10), (4, 10)] {
        journal.seal(db, seal).unwrap();
        assert_eq!(sealed_before(&*journal, db), before_seq, "after a seal of {seal}");
        assert_eq!(read_all(&*journal, db)[0].seq, before_seq);
    }
    assert_eq!(journal.head(db).unwrap(), Some(head));
    store.close().unwrap();
}

fn many_records_are_sealed_at_once(open: Subject) {
    let db = database(1);
    let mut head = None;
    for _ in 0..3 {
        let store = open();
        let journal = store.journal();
        assert_eq!(journal.head(db).unwrap(), head);
        for n in 0..60 {
            head = Some(append_next(&*journal, db, head, &noise(n, 20)));
        }
        let index = append_index(&*journal, db, head.unwrap(), b"index");
        journal.seal(db, index.seq).unwrap();
        for n in 0..20 {
            head = Some(append_next(&*journal, db, head.filter(|_| n > 0).or(Some(index)), &[n]));
        }
        assert_eq!(sealed_before(&*journal, db), index.seq);
        assert_eq!(read_all(&*journal, db).len(), 21);
        drop(journal);
        store.close().unwrap();
    }
}

fn everything_answered_is_there_after_opening_again(open: Subject) {
    let db = database(1);
    let mut head = None;
    let mut pod = 0;
    for round in 0..4u8 {
        let store = open();
        let journal = store.journal();
        assert_eq!(journal.head(db).unwrap(), head);
        assert_eq!(journal.read_pod("pod").unwrap().map_or(0, |pod| pod.0), pod);
        for n in 0..25u8 {
            head = Some(append_next(&*journal, db, head, &[round * 25 + n; 300]));
        }
        let PodPut::Done(version) = journal.put_pod("pod", pod, &[round]).unwrap() else { panic!("the pod is put") };
        pod = version;
        drop(journal);
        store.close().unwrap();
    }
    let store = open();
    let first_bytes: Vec<u8> = read_all(&*store.journal(), db).iter().map(|record| record.bytes[0]).collect();
    assert_eq!(first_bytes, (0..100).collect::<Vec<u8>>());
    store.close().unwrap();
}

/// A segment of test bytes: its key and the bytes.
pub fn segment(db: u8, term: u64, job: &str, bytes: usize) -> (SegmentKey, Vec<u8>) {
    let bytes = noise(term ^ bytes as u64, bytes);
    let (database, lineage) = (database(db), database(200));
    (SegmentKey { lineage, database, term, job: job.to_owned(), hash: sha256(&bytes) }, bytes)
}

fn a_segment_comes_back_as_put(open: Subject) {
    let store = open();
    let segments = store.segments();
    for bytes in [0, 1, 4096, 100_000, 1_000_000] {
        let (key, bytes) = segment(1, 3, "index-1", bytes);
        assert_eq!(segments.get(&key).unwrap(), None);
        segments.put(&key, &bytes).unwrap();
        assert!(segments.get(&key).unwrap() == Some(bytes), "{key:?} came back changed");
        // Each part of the name counts.
        assert_eq!(segments.get(&SegmentKey { term: 4, ..key.clone() }).unwrap(), None);
        assert_eq!(segments.get(&SegmentKey { job: "index-2".into(), ..key.clone() }).unwrap(), None);
    }
    store.close().unwrap();
}

fn a_segment_is_put_once_however_often(open: Subject) {
    let store = open();
    let segments = store.segments();
    let (key, bytes) = segment(1, 3, "body", 5000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| segments.put(&key, &bytes).unwrap());
        }
    });
    assert_eq!(segments.list(key.database, None, 10).unwrap(), std::slice::from_ref(&key));
    assert_eq!(segments.get(&key).unwrap(), Some(bytes));
    store.close().unwrap();
}

fn bytes_of_another_hash_are_refused(open: Subject) {
    let store = open();
    let segments = store.segments();
    let (key, mut bytes) = segment(1, 3, "body", 5000);
    bytes[17] ^= 1;
    assert_eq!(segments.put(&key, &bytes).unwrap_err().kind(), ErrorKind::Invalid);
    bytes[17] ^= 1;
    let long = "j".repeat(33);
    for job in ["", "Body", "a/b", long.as_str()] {
        let key = SegmentKey { job: job.to_owned(), ..key.clone() };
        assert_eq!(segments.put(&key, &bytes).unwrap_err().kind(), ErrorKind::Invalid, "{job:?}");
    }
    assert_eq!(segments.list(key.database, None, 10).unwrap(), []);
    store.close().unwrap();
}

fn segments_are_listed_by_database_in_order(open: Subject) {
    let store = open();
    let segments = store.segments();
    let mut keys = Vec::new();
    for (term, job) in [(1, "a"), (1, "ab"), (1, "b"), (2, "a"), (300, "a"), (70_000, "a-b")] {
        for bytes in [10, 20, 30] {
            let (key, bytes) = segment(1, term, job, bytes);
            segments.put(&key, &bytes).unwrap();
            keys.push(key);
        }
    }
    let (other, bytes) = segment(2, 1, "a", 10);
    segments.put(&other, &bytes).unwrap();
    keys.sort();
    assert_eq!(segments.list(database(1), None, 100).unwrap(), keys);
    assert_eq!(segments.list(database(1), None, 4).unwrap(), keys[..4]);
    assert_eq!(segments.list(database(1), Some(&keys[3]), 4).unwrap(), keys[4..8]);
    assert_eq!(segments.list(database(1), keys.last(), 4).unwrap(), []);
    assert_eq!(segments.list(database(2), None, 4).unwrap(), [other]);
    store.close().unwrap();
}

fn a_deleted_segment_is_gone(open: Subject) {
    let store = open();
    let segments = store.segments();
    let (key, bytes) = segment(1, 1, "a", 1000);
    let (stays, stays_bytes) = segment(1, 1, "a", 2000);
    segments.put(&key, &bytes).unwrap();
    segments.put(&stays, &stays_bytes).unwrap();
    segments.delete(&key).unwrap();
    segments.delete(&key).unwrap();
    let check = |segments: &dyn Segments| {
        assert_eq!(segments.get(&key).unwrap(), None);
        assert_eq!(segments.list(database(1), None, 10).unwrap(), std::slice::from_ref(&stays));
        assert_eq!(segments.get(&stays).unwrap(), Some(stays_bytes.clone()));
    };
    check(&*segments);
    store.close().unwrap();
    let store = open();
    check(&*store.segments());
    store.close().unwrap();
}

fn deleting_and_compacting_takes_nothing_else(open: Subject) {
    let all: Vec<_> = (0..40).map(|n| segment(1, n, "index-7", 3000 + n as usize)).collect();
    let (gone, stay): (Vec<_>, Vec<_>) = all.iter().partition(|(key, _)| key.term % 4 != 1);
    let gone: Vec<SegmentKey> = gone.into_iter().map(|(key, _)| key.clone()).collect();
    let check = |store: &Store| {
        let segments = store.segments();
        let mut expected: Vec<_> = stay.iter().map(|(key, _)| key.clone()).collect();
        expected.sort();
        assert_eq!(segments.list(database(1), None, 100).unwrap(), expected);
        for (key, bytes) in &stay {
            assert!(segments.get(key).unwrap().as_ref() == Some(bytes), "{key:?} came back changed");
        }
        assert_eq!(segments.get(&gone[0]).unwrap(), None);
    };
    let store = open();
    let segments = store.segments();
    all.iter().for_each(|(key, bytes)| segments.put(key, bytes).unwrap());
    let before = store.usage().unwrap();
    assert!(before.live_bytes >= 40 * 3000, "{before:?}");
    segments.delete_all(&gone).unwrap();
    segments.delete_all(&gone).unwrap();
    check(&store);
    let deleted = store.usage().unwrap();
    assert!(deleted.live_bytes < before.live_bytes / 2, "{deleted:?}");
    while segments.compact(Compaction { copy_bytes_max: 8000, live_percent_max: 100 }).unwrap().more {
        check(&store);
    }
    check(&store);
    let after = store.usage().unwrap();
    assert_eq!(after.live_bytes, deleted.live_bytes);
    assert!(after.dead_bytes < 1000, "{after:?}");
    drop(segments);
    store.close().unwrap();
    let store = open();
    check(&store);
    assert_eq!(store.usage().unwrap().live_bytes, after.live_bytes);
    store.close().unwrap();
}

fn segments_are_there_after_opening_again(open: Subject) {
    let mut put = Vec::new();
    for round in 0..4 {
        let store = open();
        let segments = store.segments();
        for n in 0..5 {
            let (key, bytes) = segment(1, round, "index-7", 1000 + n * 7000);
            segments.put(&key, &bytes).unwrap();
            put.push((key, bytes));
        }
        for (key, bytes) in &put {
            assert!(segments.get(key).unwrap().as_ref() == Some(bytes), "{key:?} came back changed");
        }
        assert_eq!(segments.list(database(1), None, 100).unwrap().len(), put.len());
        drop(segments);
        store.close().unwrap();
    }
}
