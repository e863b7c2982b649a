use super::*;
use crate::{IoCounts, Tier};
use db::index::segment::{Attributes, Source};

#[test]
fn a_segment_is_fetched_once_and_then_read_from_the_heap() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let bytes = encoded(5, 64, 500);
    let id = storage.put(&bytes);
    let first = source.fetch(&id).unwrap();
    assert_eq!(*first, decoded(&bytes).unwrap());
    assert!(Arc::ptr_eq(&first, &source.fetch(&id).unwrap()));
    let stats = cache.stats();
    assert_eq!((stats.heap.hits, stats.heap.misses, stats.heap.segments), (1, 1, 1));
    assert_eq!((stats.fetches, stats.fetched_bytes, storage.fetches()), (1, 500, 1));
    assert_eq!(stats.heap.hit_bytes, stats.heap.bytes);
    assert!((64 * 32..64 * 32 + 200).contains(&stats.heap.bytes), "{}", stats.heap.bytes);
}

#[test]
fn a_segment_of_a_tree_is_read_as_it_was_written() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let segment = decoded(&encoded(5, 64, 500)).unwrap();
    let attributes = Attributes::new((0..64).map(|at| EntityId::new(Partition::Db, 100 + at)));
    let id = storage.put(&segment.encode(&attributes).unwrap().into());
    let source = cache.source(founder(LINEAGE), Arc::new(attributes), storage.clone()).unwrap();
    assert_eq!(*source.fetch(&id).unwrap(), segment);
    // Of attributes that this database does not have.
    let source = cache.source(founder(DatabaseId([8; 16])), Arc::default(), storage.clone()).unwrap();
    let error = source.fetch(&id).unwrap_err();
    assert!(error.message().contains(&id.to_string()[8..]), "{error}");
}

#[test]
fn a_missing_or_damaged_segment_is_an_error_that_names_it_and_is_not_kept() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let bytes = encoded(1, 8, 100);
    let id = id(&bytes);
    let name = SegmentKey { lineage: LINEAGE, id }.to_string();

    let missing = source.fetch(&id).unwrap_err();
    assert_eq!((missing.category(), missing.code()), (Category::Unavailable, "db.error/segment-missing"));
    assert!(missing.message().contains(&name), "{missing}");

    storage.change(|state| state.segments.insert(id.hash, bytes.slice(1..)));
    let damaged = source.fetch(&id).unwrap_err();
    assert_eq!((damaged.category(), damaged.code()), (Category::Corrupt, "db.error/segment-damaged"));
    assert!(damaged.message().contains(&name) && damaged.message().contains("in storage"), "{damaged}");

    storage.change(|state| state.fails = true);
    let unreachable = source.fetch(&id).unwrap_err();
    assert_eq!((unreachable.category(), unreachable.code()), (Category::Unavailable, "db.error/unavailable"));
    assert_eq!(unreachable.message(), format!("segment {name}: nobody is there"));

    storage.change(|state| state.fails = false);
    storage.put(&bytes);
    assert_eq!(*source.fetch(&id).unwrap(), decoded(&bytes).unwrap());
    let stats = cache.stats();
    assert_eq!((stats.missing, stats.damaged, stats.failed, stats.fetches), (1, 1, 1, 1));
}

#[test]
fn a_segment_that_cannot_be_decoded_is_named() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let bytes = Bytes::from_static(b"short");
    let id = storage.put(&bytes);
    let error = source(&cache, &storage).fetch(&id).unwrap_err();
    let expected = format!("segment {}: it ends in its header", SegmentKey { lineage: LINEAGE, id });
    assert_eq!((error.category(), error.message()), (Category::Corrupt, expected.as_str()));
}

#[test]
fn lineages_do_not_see_each_others_segments() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let id = storage.put(&encoded(1, 8, 100));
    source(&cache, &storage).fetch(&id).unwrap();
    let empty = Storage::new();
    let other = cache.source_decoding(founder(DatabaseId([8; 16])), 0, decode(), empty.clone()).unwrap();
    assert_eq!(other.fetch(&id).unwrap_err().code(), "db.error/segment-missing");
    assert_eq!(empty.fetches(), 1);
}

/// Two forks that gave their next numbers to different attributes after they parted, and wrote the same bytes: each
/// reads its own rows, from every tier.
#[test]
fn databases_of_a_lineage_share_bytes_and_not_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, attribute) = (Storage::new(), |counter| EntityId::new(Partition::Db, counter));
    let ours = Attributes::new([attribute(100), attribute(102)]);
    let theirs = Attributes::new([attribute(100), attribute(101), attribute(102)]);
    let datom = |a| Datom::new(attribute(7), AttrId(a), Value::Long(1), 1, true);
    let segment = |a| Segment { sort: Sort::Eavt, rows: Rows::Open(Node::Leaf(vec![datom(0), datom(a)])) };
    let bytes: Bytes = segment(1).encode(&ours).unwrap().into();
    assert_eq!(bytes, segment(2).encode(&theirs).unwrap());
    let id = storage.put(&bytes);
    let fork = Reader { lineage: LINEAGE, database: DatabaseId([9; 16]) };
    for _ in 0..2 {
        // The first time from storage and disk, the second time from disk twice; and each once more from the heap.
        let cache = SegmentCache::open(&Config { disk: disk(dir.path(), 1 << 20), ..config(1 << 20) }).unwrap();
        let ours = cache.source(founder(LINEAGE), Arc::new(ours.clone()), storage.clone()).unwrap();
        let theirs = cache.source(fork, Arc::new(theirs.clone()), storage.clone()).unwrap();
        for _ in 0..2 {
            assert_eq!((&*ours.fetch(&id).unwrap(), &*theirs.fetch(&id).unwrap()), (&segment(1), &segment(2)));
        }
        assert_eq!(cache.stats().heap.segments, 2);
    }
    assert_eq!(storage.fetches(), 1);
}

#[test]
fn what_is_not_to_be_kept_goes_from_every_tier() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, other) = (Storage::new(), DatabaseId([8; 16]));
    let cache = SegmentCache::open(&Config { disk: disk(dir.path(), 1 << 20), ..config(1 << 20) }).unwrap();
    let sources =
        [source(&cache, &storage), cache.source_decoding(founder(other), 0, decode(), storage.clone()).unwrap()];
    let ids = storage.fill(4, 100);
    sources.iter().for_each(|source| ids.iter().for_each(|id| drop(source.fetch(id).unwrap())));
    cache.retain(LINEAGE, |hash| *hash == ids[3].hash);
    assert_eq!((cache.stats().heap.segments, cache.stats().disk.unwrap().segments), (5, 5));
    storage.change(|state| state.segments.clear());
    assert!(ids[..3].iter().all(|id| sources[0].fetch(id).is_err()));
    assert!(sources[0].fetch(&ids[3]).is_ok() && ids.iter().all(|id| sources[1].fetch(id).is_ok()));
    let files = |lineage: DatabaseId| {
        let groups = std::fs::read_dir(dir.path().join(lineage.to_string())).unwrap();
        groups.map(|group| std::fs::read_dir(group.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    assert_eq!((files(LINEAGE), files(other)), (1, 4));
}

#[test]
fn a_query_is_told_what_it_read_from_which_tier() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Storage::new();
    let ids = storage.fill(3, 700);
    let with_disk = Config { disk: disk(dir.path(), 1 << 20), ..config(1 << 20) };
    source(&SegmentCache::open(&with_disk).unwrap(), &storage).fetch(&ids[0]).unwrap();

    let cache = SegmentCache::open(&with_disk).unwrap();
    let shared = source(&cache, &storage);
    let (counted, io) = shared.counted(None);
    ids.iter().chain(&ids[..2]).for_each(|id| drop(counted.fetch(id).unwrap()));
    // Of others, and not counted.
    shared.fetch(&ids[0]).unwrap();
    let decoded = cache.stats().heap.bytes / 3;
    assert_eq!(io.of(Tier::Storage), IoCounts { segments: 2, bytes: 1400 });
    assert_eq!(io.of(Tier::Disk), IoCounts { segments: 1, bytes: 700 });
    assert_eq!(io.of(Tier::Heap), IoCounts { segments: 2, bytes: 2 * decoded });
    assert_eq!((io.of(Tier::Ahead), io.of(Tier::Waited)), Default::default());
}

#[test]
fn a_cancelled_query_fetches_nothing_more_and_still_reads_what_is_here() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let ids = storage.fill(2, 100);
    let cancel = Arc::new(Cancel::default());
    let (counted, _) = source(&cache, &storage).counted(Some(cancel.clone()));
    counted.fetch(&ids[0]).unwrap();
    cancel.cancel();
    assert!(counted.fetch(&ids[0]).is_ok());
    let error = counted.fetch(&ids[1]).unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Interrupted, "db.error/cancelled"));
    assert_eq!(storage.fetches(), 1);
}

#[test]
fn metrics_are_shown_and_do_not_keep_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let with_disk = Config { disk: disk(dir.path(), 1 << 20), ..config(1 << 20) };
    let cache = SegmentCache::open(&with_disk).unwrap();
    let storage = Storage::new();
    let id = storage.put(&encoded(1, 8, 100));
    let mut registry = process::metrics::registry();
    cache.show(&mut registry);
    let source = source(&cache, &storage);
    source.fetch(&id).unwrap();
    source.fetch(&id).unwrap();
    let text = process::metrics::text(&registry);
    for line in [
        "diachron_cache_hits_total{tier=\"heap\"} 1",
        "diachron_cache_misses_total{tier=\"disk\"} 1",
        "diachron_cache_bytes{tier=\"disk\"} 4096.0",
        "diachron_cache_fetches_total 1",
        "diachron_cache_prefetch_queue_max 0.0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    drop((source, cache));
    SegmentCache::open(&with_disk).unwrap();
}
