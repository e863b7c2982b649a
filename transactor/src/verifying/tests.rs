//! What is sound is found sound, and each kind of damage is told of by place and segment.

use super::*;
use crate::indexing::Settings;
use crate::testing::{Fixture, memory, start, start_indexing};
use db::index::Sort;
use db::index::segment::SegmentId;
use db::index::segment::Sizes;
use db::index::verify::Lives;
use db::log::tree::LogSizes;
use proto::v1::{VerifyFault, VerifySummary};
use storage::{MemoryStore, SegmentKey};
use stores::log::{LogReader, key_of};

fn eager() -> Settings {
    Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log: true,
    }
}

/// A database with some indexes, a sealed log, and a body out of line.
async fn database(memory: &MemoryStore) -> DatabaseId {
    let transactor = start_indexing(memory, eager());
    let id = transactor.with_counter("world").await;
    let entity = |n: usize| format!("{{:counter/name \"large {n}\" :db/doc \"{}\"}}", format!("{n} ").repeat(300));
    transactor.transact("world", &format!("[{}]", (0..600).map(entity).collect::<String>())).await.unwrap();
    let index_seq = || transactor.transactor.host.databases.get("world").unwrap().durable().head.index_seq;
    let (mut n, mut seen) = (0, Vec::new());
    while seen.len() < 5 {
        n += 1;
        let tx_data = format!("[{{:counter/name \"c{}\" :counter/n {n} :db/doc \"{}\"}}]", n % 7, "x".repeat(n % 50));
        transactor.transact("world", &tx_data).await.unwrap();
        if !seen.contains(&index_seq()) {
            seen.push(index_seq());
        }
    }
    transactor.stop().await;
    DatabaseId(id.0)
}

async fn verified(memory: &MemoryStore) -> (Vec<VerifyFault>, VerifySummary) {
    let transactor: Fixture = start(memory);
    let verified = transactor.verify("world").await;
    transactor.stop().await;
    verified
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sound_is_found_sound_over_sealed_parts_and_bodies_out_of_line() {
    let memory = memory();
    let id = database(&memory).await;
    let (faults, summary) = verified(&memory).await;
    assert_eq!(faults, []);
    let head = memory.store().journal().head(id).unwrap().unwrap();
    assert_eq!((summary.records, summary.transactions), (head.seq, head.t));
    assert!(summary.indexes >= 4 && summary.segments > 50, "{summary:?}");
    assert!(summary.open > 1200 && summary.closed > 0, "{summary:?}");
}

/// Every segment that an index or a record names is missed when it is gone, by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_segment_is_named_wherever_it_stands() {
    let memory = memory();
    let id = database(&memory).await;
    let store = memory.store();
    let (journal, segments) = (store.journal(), store.segments());
    let reader = LogReader::new(&*journal, &*segments);
    let head = journal.head(id).unwrap().unwrap();
    let (header, newest) = reader.index(id, head.index_seq).unwrap().unwrap();
    let (_, earlier) = reader.index(id, newest.previous).unwrap().unwrap();
    let body = segments.list(id, None, usize::MAX).unwrap().into_iter().find(|key| key.job == "body").unwrap();
    let key = |id: &SegmentId| key_of(header.lineage, id);
    let cases: [(SegmentKey, &str); 5] = [
        (body, "record 4"),
        (key(&newest.current.of(Sort::Avet).unwrap().id), "index record"),
        (key(&newest.log.unwrap().id), "record"),
        (key(&earlier.meta.id), "index record"),
        (key(&earlier.current.of(Sort::Eavt).unwrap().id), "index record"),
    ];
    for (key, place) in cases {
        let bytes = segments.get(&key).unwrap().unwrap();
        segments.delete(&key).unwrap();
        let (faults, summary) = verified(&memory).await;
        segments.put(&key, &bytes).unwrap();
        let hash: String = key.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let named = faults.iter().any(|fault| fault.segment.contains(&hash) && fault.place.starts_with(place));
        assert!(named && summary.faults == faults.len() as u64, "{key:?}: {faults:?}");
    }
    assert_eq!(verified(&memory).await.0, []);
}

#[test]
fn lives_that_the_log_does_not_tell_of_are_noticed_by_their_sums() {
    use db::log::LoggedDatom;
    use db::{EntityId, Value};
    let datom = |v: i64, added| LoggedDatom { e: EntityId::of_tx(1), a: EntityId::of_tx(2), v: Value::Long(v), added };
    let lives = |said: &[(i64, bool, u64)]| {
        let mut lives = Lives::default();
        said.iter().for_each(|(v, added, t)| lives.said(&[datom(*v, *added)], *t));
        lives
    };
    let log = lives(&[(1, true, 1), (2, true, 2), (1, false, 3)]);
    assert_eq!(log.differences(&log), [] as [String; 0]);
    // Another one open, one more, one that began at another t, one that ended at another t.
    assert_eq!(log.differences(&lives(&[(1, true, 1), (2, true, 2), (2, false, 3)])).len(), 2);
    assert_eq!(log.differences(&lives(&[(1, true, 1), (2, true, 2), (3, true, 2), (1, false, 3)])).len(), 2);
    assert_eq!(log.differences(&lives(&[(1, true, 2), (2, true, 2), (1, false, 3)])).len(), 1);
    assert_eq!(log.differences(&lives(&[(1, true, 1), (2, true, 2), (1, false, 4)])).len(), 1);
}
