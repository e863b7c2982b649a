use super::items::PART_BYTES;
use super::*;
use crate::conformance::{database, noise};
use crate::disk::OsDisk;

fn engine(dir: &Path, health: &Arc<Health>) -> Engine {
    Engine::open(Arc::new(OsDisk), dir, 1 << 20, health.clone()).unwrap()
}

#[test]
fn a_panic_inside_sled_is_an_error_and_poisons_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let health = Arc::new(Health::default());
    let engine = engine(dir.path(), &health);
    let error = engine.segments::<()>(|_| panic!("page 17 is not there")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert!(error.message().contains("page 17 is not there"), "{error}");
    assert_eq!(engine.head(database(1)).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(health.check().is_err());
}

/// Long values go into files that sled never syncs.
#[test]
fn no_item_is_longer_than_4_kib_and_there_are_no_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let health = Arc::new(Health::default());
    let engine = engine(dir.path(), &health);
    let meta = Meta { store: [1; 16], commit: 1, pod_version_last: 1 };
    let head = |seq| Head { term: 1, seq, t: seq, hash: [0; 32], index_seq: 0 };
    let mut changes: Vec<Change> = (1..=40)
        .map(|seq| Change::Record { db: database(1), head: head(seq), record: noise(seq, seq as usize * 13_000) })
        .collect();
    let (name, bytes) = ("n".repeat(crate::POD_NAME_BYTES_MAX), vec![1; crate::POD_BYTES_MAX]);
    changes.push(Change::PodPut { name, version: 1, bytes });
    engine.apply(meta, &changes).unwrap();
    engine.make_durable().unwrap();
    let longest = engine.call("read", |open| {
        let lengths = open.db.iter().map(|item| item.map(|(key, value)| key.len() + value.len()));
        lengths.collect::<sled::Result<Vec<usize>>>()
    });
    assert!(longest.unwrap().into_iter().max().unwrap() <= ITEM_BYTES_MAX);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
}

/// A missing part, a missing record and a changed byte: the reader says so and gives nothing back.
#[test]
fn records_that_are_not_as_written_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let health = Arc::new(Health::default());
    let engine = engine(dir.path(), &health);
    let db = database(1);
    let meta = Meta { store: [1; 16], commit: 1, pod_version_last: 1 };
    let head = |seq| Head { term: 1, seq, t: seq, hash: [0; 32], index_seq: 0 };
    let record = |seq: u64| noise(seq, 10_000);
    let spoilers: [&dyn Fn(&sled::Db); 5] = [
        &|tree| drop(tree.remove(record_key(db, 2, 1)).unwrap()),
        &|tree| drop(tree.remove(record_key(db, 2, 2)).unwrap()),
        &|tree| drop(tree.remove(record_key(db, 2, 0)).unwrap()),
        &|tree| drop(tree.insert(record_key(db, 2, 3), b"more").unwrap()),
        &|tree| drop(tree.insert(record_key(db, 2, 1), &noise(2, PART_BYTES)[..]).unwrap()),
    ];
    for spoil in spoilers {
        for seq in 1..=3 {
            engine.apply(meta, &[Change::Record { db, head: head(seq), record: record(seq) }]).unwrap();
        }
        engine.call("write", |open| open.db.remove(record_key(db, 2, 3))).unwrap();
        assert!(matches!(engine.records(db, 1, 3, 1 << 20).unwrap(), Found::Records(records) if records.len() == 3));
        let spoiled = engine.call("write", |open| {
            spoil(&open.db);
            Ok(())
        });
        spoiled.unwrap();
        assert!(matches!(engine.records(db, 1, 3, 1 << 20).unwrap(), Found::Broken(_)));
    }
}
