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

fn run_memory(cases: &[Case]) {
    for (name, case) in cases {
        eprintln!("case {name}");
        let memory = MemoryStore::new(Options::default());
        case(&|| memory.store());
    }
}
