//! Segments go missing, of every sort that an index names; afterwards all answers are what they were.

use crate::host::{DAMAGED_TREES, Fork};
use crate::indexing::Settings;
use crate::testing::{Fixture, memory, start, start_indexing};
use db::index::Sort;
use db::index::segment::{SegmentId, Sizes};
use db::log::tree::{self, LogSizes};
use db::log::{Header, IndexBody};
use db::{Category, Datom, Db, Pattern};
use storage::{DatabaseId, MemoryStore, SegmentKey};
use stores::log::{LogReader, TreeLog, key_of};

fn eager(seal_log: bool) -> Settings {
    Settings {
        novelty_bytes: 8 << 10,
        novelty_bytes_max: 1 << 20,
        sizes: Sizes { leaf_rows: 16, branch_children: 4, ..Sizes::default() },
        log_sizes: LogSizes { chunk_bytes: 2 << 10, branch_children: 3 },
        seal_log,
    }
}

impl Fixture {
    fn value(&self, name: &str) -> Db {
        self.transactor.host.databases.get(name).unwrap().durable().db.clone()
    }

    async fn count_on(&self, name: &str, from: usize, transactions: usize) {
        for n in from..from + transactions {
            let (counter, doc) = (format!("c{}", n % 7), "x".repeat(n % 50));
            let tx_data = format!("[{{:counter/name {counter:?} :counter/n {n} :db/doc {doc:?}}}]");
            self.transact(name, &tx_data).await.unwrap();
        }
    }
}

/// A database with indexes of several times, which were named by an earlier process.
async fn planted(memory: &MemoryStore, settings: Settings) -> DatabaseId {
    let transactor = start_indexing(memory, settings);
    let id = transactor.with_counter("world").await;
    let index_seq = || transactor.transactor.host.databases.get("world").unwrap().durable().head.index_seq;
    let (mut n, mut seen) = (0, Vec::new());
    while seen.len() < 5 {
        transactor.count_on("world", n, 1).await;
        n += 1;
        if !seen.contains(&index_seq()) {
            seen.push(index_seq());
        }
    }
    transactor.stop().await;
    DatabaseId(id.0)
}

/// At a t, some times before, and all of history up to then.
fn all_at(db: &Db, t: u64) -> Vec<Vec<Datom>> {
    let mut windows = vec![db.as_of(t), db.as_of(t).history()];
    windows.extend((0..t).step_by(13).map(|t| db.as_of(t)));
    windows.iter().map(|db| db.datoms(&Pattern::all()).unwrap()).collect()
}

fn all(db: &Db) -> Vec<Vec<Datom>> {
    all_at(db, db.basis_t())
}

fn newest_index(memory: &MemoryStore, id: DatabaseId) -> (Header, IndexBody) {
    let store = memory.store();
    let (journal, segments) = (store.journal(), store.segments());
    let head = journal.head(id).unwrap().unwrap();
    LogReader::new(&*journal, &*segments).index(id, head.index_seq).unwrap().unwrap()
}

fn take_away(memory: &MemoryStore, key: &SegmentKey) {
    let segments = memory.store().segments();
    assert!(segments.get(key).unwrap().is_some());
    segments.delete(key).unwrap();
}

/// Answers of a database before anything was damaged.
async fn answers(memory: &MemoryStore) -> Vec<Vec<Datom>> {
    let transactor = start(memory);
    let answers = all(&transactor.value("world"));
    transactor.stop().await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_trees_are_made_anew_from_the_log_while_commits_go_on() {
    let memory = memory();
    let id = planted(&memory, eager(true)).await;
    let before = answers(&memory).await;
    let (header, index) = newest_index(&memory, id);
    let key = |id: &SegmentId| key_of(header.lineage, id);
    let damages = [&index.current.of(Sort::Eavt), &index.history.of(Sort::Aevt)];
    let damages: Vec<SegmentKey> = damages.iter().map(|root| key(&root.as_ref().unwrap().id)).collect();
    // Novelty passes the threshold many times on the way.
    let transactor = start_indexing(&memory, Settings { novelty_bytes: 4 << 10, ..eager(true) });
    for key in &damages {
        take_away(&memory, key);
    }
    let (faults, _) = transactor.verify("world").await;
    for key in &damages {
        let hash: String = key.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(faults.iter().any(|fault| fault.segment.contains(&hash)), "{faults:?}");
    }
    let t = transactor.value("world").basis_t();
    let docs = async {
        for n in 0..40 {
            let answered = transactor.transact("world", &format!("[{{:db/doc \"during {n}\"}}]")).await;
            assert!(answered.is_ok(), "{answered:?}");
        }
    };
    let (repaired, ()) = tokio::join!(transactor.repair("world"), docs);
    let (faults, summary) = repaired.unwrap();
    assert_eq!(faults, []);
    assert!(summary.repaired_faults > 0 && summary.repaired_index_seq > 0, "{summary:?}");
    let value = transactor.value("world");
    assert_eq!(value.basis_t(), t + 40);
    assert!(all_at(&value, t) == before, "the answers are others");
    assert_eq!(transactor.verify("world").await.0, []);
    // Garbage is the collector's, who needs nothing of the damaged ones, and the log goes on.
    transactor.collect(false).await;
    transactor.count_on("world", 100, 5).await;
    transactor.stop().await;
    let transactor = start(&memory);
    assert_eq!(transactor.verify("world").await.0, []);
    assert!(all_at(&transactor.value("world"), t) == before, "the answers are others after a start");
    transactor.stop().await;
}

/// Without its meta segment a database is not opened. Others are, and a repair opens it by its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_opened_for_its_trees_is_repaired_and_others_are_served_meanwhile() {
    let memory = memory();
    let id = planted(&memory, eager(true)).await;
    let before = answers(&memory).await;
    let (header, index) = newest_index(&memory, id);
    let meta = key_of(header.lineage, &index.meta.id);
    take_away(&memory, &meta);
    let transactor = start_indexing(&memory, eager(true));
    transactor.with_counter("other").await;
    let error = transactor.transact("world", "[]").await.unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Corrupt, DAMAGED_TREES));
    assert!(error.message().contains("--repair"), "{error}");
    let hash: String = meta.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let (faults, summary) = transactor.verify("world").await;
    assert_eq!((faults.len(), summary.faults), (1, 1));
    assert!(faults[0].segment.contains(&hash) && faults[0].place.starts_with("index record"), "{faults:?}");
    let (faults, summary) = transactor.repair("world").await.unwrap();
    assert_eq!((faults, summary.repaired_faults), (Vec::new(), 1));
    assert!(all(&transactor.value("world")) == before, "the answers are others");
    transactor.count_on("world", 100, 30).await;
    transactor.stop().await;
    let transactor = start(&memory);
    assert_eq!(transactor.verify("world").await.0, []);
    assert_eq!(transactor.verify("other").await.0, []);
    transactor.stop().await;
}

/// What only the log tree says, nothing else can say again.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_piece_of_the_log_is_told_of_by_record_and_t_and_not_repaired() {
    let memory = memory();
    let id = planted(&memory, eager(true)).await;
    let (header, index) = newest_index(&memory, id);
    let store = memory.store();
    let segments = store.segments();
    let source = TreeLog { segments: &*segments, lineage: header.lineage };
    let mut chunks = Vec::new();
    let mut visit = |id: &SegmentId, _: u32, is_branch: bool| {
        if !is_branch {
            chunks.push(*id);
        }
        Ok(true)
    };
    tree::each_segment(&index.log.unwrap(), &source, &mut visit).unwrap();
    let chunk = key_of(header.lineage, &chunks[1]);
    take_away(&memory, &chunk);
    let transactor = start(&memory);
    let seq = transactor.head(db::log::DatabaseId(id.0)).await.seq;
    let (faults, summary) = transactor.repair("world").await.unwrap();
    assert_eq!(summary.repaired_index_seq, 0);
    let hash: String = chunk.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let fault = faults.iter().find(|fault| fault.place.starts_with("record")).unwrap();
    assert!(fault.segment.contains(&hash) || fault.what.contains(&hash), "{fault:?}");
    assert!(fault.what.contains("restore the database from a backup"), "{fault:?}");
    // The piece is the second one: it begins where the first one ends, and there are records after it.
    let numbers: Vec<u64> = fault.place.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(fault.place.starts_with("records ") && fault.place.contains("(t "), "{fault:?}");
    assert!(numbers[0] > 1 && numbers[1] >= numbers[0] && numbers[1] < seq && numbers[3] >= numbers[2], "{fault:?}");
    assert_eq!(transactor.head(db::log::DatabaseId(id.0)).await.seq, seq);
    transactor.stop().await;
}

/// A log tree whose records are in the journal too is as good as new.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_tree_is_made_anew_as_long_as_the_journal_has_its_records() {
    let memory = memory();
    let id = planted(&memory, eager(false)).await;
    let before = answers(&memory).await;
    let (header, index) = newest_index(&memory, id);
    take_away(&memory, &key_of(header.lineage, &index.log.unwrap().id));
    let transactor = start_indexing(&memory, eager(false));
    assert_ne!(transactor.verify("world").await.0, []);
    let (faults, summary) = transactor.repair("world").await.unwrap();
    assert_eq!(faults, []);
    assert!(summary.repaired_index_seq > 0);
    assert!(all(&transactor.value("world")) == before, "the answers are others");
    transactor.stop().await;
}

/// A fork shares what is damaged with its origin: each is repaired by itself, from what the origin's log says.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_repaired_from_the_log_of_its_origin() {
    let memory = memory();
    let id = planted(&memory, eager(true)).await;
    let transactor = start(&memory);
    let fork = Fork { name: "world".into(), new_name: "branch".into(), as_of: None };
    transactor.transactor.host.fork(fork).await.unwrap();
    transactor.count_on("branch", 200, 10).await;
    let before = all(&transactor.value("branch"));
    transactor.stop().await;
    let (header, index) = newest_index(&memory, id);
    let mut shared = Vec::new();
    let store = memory.store();
    for key in store.segments().list(id, None, usize::MAX).unwrap() {
        if key.job == format!("index-{}", index.chain.seq) && key.term == header.term {
            shared.push(key);
        }
    }
    let log = index.log.unwrap();
    let segments = store.segments();
    let source = TreeLog { segments: &*segments, lineage: header.lineage };
    let mut of_the_log = Vec::new();
    let mut visit = |id: &SegmentId, _: u32, _: bool| {
        of_the_log.push(key_of(header.lineage, id));
        Ok(true)
    };
    tree::each_segment(&log, &source, &mut visit).unwrap();
    shared.retain(|key| !of_the_log.contains(key));
    assert!(shared.len() > 3);
    for key in &shared {
        take_away(&memory, key);
    }
    let transactor = start(&memory);
    for name in ["branch", "world"] {
        let (faults, summary) = transactor.repair(name).await.unwrap();
        assert_eq!(faults, [], "{name}");
        assert!(summary.repaired_index_seq > 0, "{name}");
    }
    assert!(all(&transactor.value("branch")) == before, "the answers are others");
    transactor.stop().await;
    let transactor = start(&memory);
    assert_eq!(transactor.verify("branch").await.0, []);
    assert!(all(&transactor.value("branch")) == before, "the answers are others");
    transactor.stop().await;
}
