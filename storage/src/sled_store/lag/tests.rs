use super::*;
use crate::conformance::{database, noise};
use crate::disk::OsDisk;
use crate::sled_store::engine::Found;
use std::sync::atomic::{AtomicBool, Ordering};

fn head(seq: u64) -> Head {
    Head { term: 1, seq, t: seq, hash: [0; 32], index_seq: 0 }
}

fn record(db: u8, seq: u64) -> Change {
    Change::Record { db: database(db), head: head(seq), record: noise(seq, 300) }
}

fn frame(commit: u64, changes: Vec<Change>) -> Frame {
    Frame::new(Meta { store: [1; 16], commit, pod_version_last: commit }, changes)
}

/// First pending seq, the head's seq, the seqs seen; None for nothing.
fn tail(lag: &Lag, db: u8, from_seq: u64) -> Option<(u64, u64, Vec<u64>)> {
    match lag.seen(database(db), from_seq) {
        Seen::Tail { first_seq, head, records } => {
            for record in &records {
                assert_eq!(record.bytes(), noise(record.seq, 300));
            }
            Some((first_seq, head.seq, records.iter().map(|record| record.seq).collect()))
        }
        Seen::Nothing | Seen::Dropped => None,
    }
}

struct World {
    lag: Arc<Lag>,
    engine: Arc<Engine>,
    health: Arc<Health>,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let health = Arc::new(Health::default());
    let engine = Engine::open(Arc::new(OsDisk), dir.path(), 1 << 20, health.clone()).unwrap();
    World { lag: Arc::new(Lag::new(health.clone(), 0)), engine: Arc::new(engine), health, _dir: dir }
}

#[test]
fn records_are_seen_at_once_in_their_order_until_sled_has_them() {
    let World { lag, engine, .. } = world();
    lag.put(frame(1, vec![record(1, 1), record(2, 1)])).unwrap();
    lag.put(frame(2, vec![record(1, 2)])).unwrap();
    lag.put(frame(3, vec![record(1, 3), record(1, 4)])).unwrap();
    assert_eq!(tail(&lag, 1, 1), Some((1, 4, vec![1, 2, 3, 4])));
    assert_eq!(tail(&lag, 1, 3), Some((1, 4, vec![3, 4])));
    assert_eq!(tail(&lag, 1, u64::MAX), Some((1, 4, vec![])));
    assert_eq!(tail(&lag, 2, 1), Some((1, 1, vec![1])));
    assert!(matches!(lag.seen(database(3), 1), Seen::Nothing));

    std::thread::scope(|scope| {
        scope.spawn(|| lag.run(&engine, BTreeMap::new(), || panic!("nothing fails here")));
        lag.wait_for(3).unwrap();
        assert_eq!(engine.head(database(1)).unwrap(), Some(head(4)));
        assert!(matches!(lag.seen(database(1), 1), Seen::Nothing));
        assert_eq!(engine.meta().unwrap().unwrap().commit, 3);
        // What comes at the end is carried over too.
        lag.put(frame(4, vec![record(1, 5)])).unwrap();
        lag.end();
    });
    let Found::Records(records) = engine.records(database(1), 1, 5, usize::MAX).unwrap() else { panic!("broken") };
    assert_eq!(records.len(), 5);
}

#[test]
fn a_drop_and_a_pod_are_in_sled_when_they_are_answered() {
    let World { lag, engine, .. } = world();
    std::thread::scope(|scope| {
        scope.spawn(|| lag.run(&engine, BTreeMap::new(), || panic!("nothing fails here")));
        lag.put(frame(1, vec![record(1, 1), record(1, 2)])).unwrap();
        let pod = Change::PodPut { name: "a".into(), version: 1, bytes: vec![7] };
        lag.put(frame(2, vec![pod])).unwrap();
        assert_eq!(engine.pod("a").unwrap(), Some((1, vec![7])));
        lag.put(frame(3, vec![Change::Dropped { db: database(1) }])).unwrap();
        assert_eq!(engine.head(database(1)).unwrap(), None);
        assert_eq!(tail(&lag, 1, 1), None);
        // The same database again has nothing of the one before it.
        lag.put(frame(4, vec![record(1, 1)])).unwrap();
        lag.wait_for(4).unwrap();
        let Found::Records(records) = engine.records(database(1), 1, 1, usize::MAX).unwrap() else { panic!("broken") };
        assert_eq!(records.len(), 1);
        lag.end();
    });
}

#[test]
fn a_drop_hides_what_came_before_it_while_sled_still_has_it() {
    let World { lag, .. } = world();
    // Nobody carries: put straight in.
    for frame in [frame(1, vec![record(1, 1)]), frame(2, vec![Change::Dropped { db: database(1) }])] {
        lag.locked().frames.push_back(Arc::new(frame));
    }
    assert!(matches!(lag.seen(database(1), 1), Seen::Dropped));
    lag.locked().frames.push_back(Arc::new(frame(3, vec![record(1, 1)])));
    assert_eq!(tail(&lag, 1, 1), Some((1, 1, vec![1])));
    // The drop ends its batch.
    lag.end();
    let batch: Vec<u64> = lag.next_batch(false).unwrap().iter().map(|frame| frame.meta.commit).collect();
    assert_eq!(batch, [1, 2]);
}

#[test]
fn what_waits_for_sled_is_bounded() {
    let World { lag, engine, .. } = world();
    for commit in 1..=FRAMES_MAX as u64 {
        lag.put(frame(commit, vec![record(1, commit)])).unwrap();
    }
    let went_in = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let more = scope.spawn(|| {
            lag.put(frame(FRAMES_MAX as u64 + 1, vec![record(1, FRAMES_MAX as u64 + 1)])).unwrap();
            went_in.store(true, Ordering::SeqCst);
        });
        // It says that it is in a hurry before it waits.
        while lag.locked().wanted == 0 {
            std::thread::yield_now();
        }
        assert!(!went_in.load(Ordering::SeqCst));
        assert_eq!(lag.locked().frames.len(), FRAMES_MAX);
        scope.spawn(|| lag.run(&engine, BTreeMap::new(), || panic!("nothing fails here")));
        more.join().unwrap();
        lag.end();
    });
    assert_eq!(engine.head(database(1)).unwrap(), Some(head(FRAMES_MAX as u64 + 1)));
}

#[test]
fn when_sled_fails_everyone_who_waits_is_told() {
    let World { lag, engine, health, .. } = world();
    health.poison("could not write", "no reason");
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| lag.wait_for(1));
        lag.put(frame(1, vec![record(1, 1)])).unwrap();
        scope.spawn(|| lag.run(&engine, BTreeMap::new(), || failed.store(true, Ordering::SeqCst)));
        assert!(waits.join().unwrap().is_err());
    });
    assert!(failed.load(Ordering::SeqCst));
    assert!(lag.put(frame(2, vec![record(1, 2)])).is_err());
}
