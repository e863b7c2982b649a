//! Every backend keeps the promises of both roles.

use diachron_storage::conformance::{Case, JOURNAL_CASES, SEGMENT_CASES};
use diachron_storage::{ErrorKind, MemoryStore, Options, open};

#[test]
fn memory_keeps_the_journal_promises() {
    run_memory(JOURNAL_CASES);
}

#[test]
fn memory_keeps_the_segment_promises() {
    run_memory(SEGMENT_CASES);
}

#[test]
fn a_url_that_names_no_store_is_refused_by_name() {
    for url in ["", "memory", "memory:x", "sled", "postgres://host/db", "etcd:"] {
        let error = open(url, Options::default()).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.message().contains(url), "{error}");
    }
}

#[test]
fn sled_keeps_the_journal_promises() {
    // Every store begins with a redo file full of zeros; a smaller one takes less time and changes nothing else.
    run_sled(JOURNAL_CASES, &Options { redo_file_bytes: 16 << 20, ..Options::default() });
}

#[test]
fn sled_keeps_the_segment_promises() {
    run_sled(SEGMENT_CASES, &Options::default());
}

#[test]
fn sled_keeps_the_promises_with_tiny_bounds() {
    let tiny = Options {
        record_bytes_max: 60_000,
        redo_file_bytes: 1 << 20,
        frame_bytes_max: 64 * 1024,
        checkpoint_bytes: 10_000,
        pack_bytes_target: 20_000,
        sled_cache_bytes: 1 << 20,
        ..Options::default()
    };
    run_sled(JOURNAL_CASES, &tiny);
    run_sled(SEGMENT_CASES, &tiny);
}

fn run_sled(cases: &[Case], options: &Options) {
    for (name, case) in cases {
        eprintln!("case {name}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let url = format!("sled:{}", path.display());
        case(&|| {
            let store = open(&url, options.clone()).unwrap();
            assert_eq!(store.notes(), [""; 0]);
            store
        });
        assert_eq!(std::fs::read_dir(path.join("sled/blobs")).unwrap().count(), 0);
    }
}

fn run_memory(cases: &[Case]) {
    for (name, case) in cases {
        eprintln!("case {name}");
        let memory = MemoryStore::new(Options::default());
        case(&|| memory.store());
    }
}
