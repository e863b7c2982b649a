use super::*;
use crate::CacheStats;
use crate::Tier;
use crate::prefetch::Hint;
use db::index::segment::Source;

fn ahead(heap_bytes: u64, queue: usize) -> Config {
    Config { prefetch: 2, prefetch_queue: queue, ..config(heap_bytes) }
}

fn actors(cache: &Arc<SegmentCache>) -> Vec<JoinHandle<()>> {
    (0..2).map(|_| prefetching(cache.prefetcher().unwrap())).collect()
}

/// What the actors do, done here.
fn fetch_ahead(cache: &SegmentCache, source: &CachedSource, ids: &[SegmentId]) -> CacheStats {
    ids.iter().for_each(|id| cache.fetch_ahead(&Hint { binding: source.binding.clone(), id: *id }));
    cache.stats()
}

#[test]
fn a_scan_that_says_what_it_will_read_finds_it_and_nothing_is_fetched_twice() {
    let storage = Storage::new();
    let ids = storage.fill(200, 100);
    let cache = SegmentCache::open(&ahead(1 << 20, 64)).unwrap();
    let actors = actors(&cache);
    let source = source(&cache, &storage);
    let (counted, io) = source.counted(None);
    counted.will_read(&ids[..8]);
    storage.until_fetched(8);
    for (at, id) in ids.iter().enumerate() {
        counted.will_read(&ids[at..ids.len().min(at + 8)]);
        assert_eq!(*counted.fetch(id).unwrap(), decoded(&encoded(at as u64, 64, 100)).unwrap());
    }
    assert_eq!(Tier::ALL.map(|tier| io.of(tier).segments).iter().sum::<u64>(), 200);
    let stats = cache.stats();
    assert!(stats.prefetch.segments >= 8, "{stats:?}");
    assert_eq!((stats.prefetch.used, stats.prefetch.unused), (stats.prefetch.segments, 0));
    assert_eq!((storage.fetches(), stats.prefetch.waiting), (200, 0));
    assert!(!storage.change(|state| state.twice_at_once));
    drop((source, counted, cache));
    actors.into_iter().for_each(|actor| actor.join().unwrap());
}

#[test]
fn a_read_of_what_is_being_fetched_ahead_waits_for_it() {
    let storage = Storage::new();
    let id = storage.fill(1, 100)[0];
    let cache = SegmentCache::open(&ahead(1 << 20, 4)).unwrap();
    let (actors, source) = (actors(&cache), source(&cache, &storage));
    let (counted, io) = source.counted(None);
    storage.close();
    source.will_read(&[id]);
    storage.until_fetching(1);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| counted.fetch(&id).unwrap());
        storage.open();
        reader.join().unwrap();
    });
    // Late or in time, it was fetched once, was used, and is on the heap now.
    assert_eq!(io.of(Tier::Waited).segments + io.of(Tier::Ahead).segments, 1);
    let stats = cache.stats();
    assert_eq!((stats.prefetch.segments, stats.prefetch.used, stats.prefetch.waiting), (1, 1, 0));
    assert_eq!((storage.fetches(), stats.heap.segments), (1, 1));
    drop((source, counted, cache));
    actors.into_iter().for_each(|actor| actor.join().unwrap());
}

#[test]
fn what_is_fetched_ahead_displaces_nothing_and_stays_within_its_part() {
    let storage = Storage::new();
    let ids = storage.fill(400, 100);
    let cache = SegmentCache::open(&ahead(100 << 10, 400)).unwrap();
    let source = source(&cache, &storage);
    // About 2.2 KiB each: they fill the heap's own part.
    ids[..39].iter().for_each(|id| drop(source.fetch(id).unwrap()));
    let before = cache.stats().heap;
    assert!(before.bytes * 10 > before.bytes_max * 9 && before.evictions == 0, "{before:?}");
    let stats = fetch_ahead(&cache, &source, &ids[100..110]);
    assert_eq!((stats.heap.segments, stats.heap.evictions), (before.segments, 0));
    assert!(stats.prefetch.waiting_bytes <= stats.prefetch.waiting_bytes_max, "{stats:?}");
    assert_eq!(stats.prefetch.waiting, 6);
    assert_eq!(stats.prefetch.dropped, 10 - stats.prefetch.waiting);
    // The nearest are kept, not those that were said last.
    let (counted, io) = source.counted(None);
    ids[100..106].iter().for_each(|id| drop(counted.fetch(id).unwrap()));
    assert_eq!(io.of(Tier::Ahead).segments, 6);
}

#[test]
fn what_nobody_comes_for_makes_room_for_the_next_scan() {
    let storage = Storage::new();
    let ids = storage.fill(400, 100);
    let cache = SegmentCache::open(&ahead(100 << 10, 400)).unwrap();
    let source = source(&cache, &storage);
    let abandoned = fetch_ahead(&cache, &source, &ids[..6]).prefetch.waiting;
    let stats = fetch_ahead(&cache, &source, &ids[100..200]);
    assert!(stats.prefetch.unused >= abandoned, "{stats:?}");
    let (counted, io) = source.counted(None);
    ids[100..200].iter().for_each(|id| drop(counted.fetch(id).unwrap()));
    assert!(io.of(Tier::Ahead).segments > 0);
}

#[test]
fn hints_beyond_the_queue_are_dropped_and_each_segment_waits_once() {
    let storage = Storage::new();
    let ids = storage.fill(100, 100);
    let cache = SegmentCache::open(&ahead(1 << 20, 16)).unwrap();
    let source = source(&cache, &storage);
    source.fetch(&ids[0]).unwrap();
    source.will_read(&ids[..5]);
    source.will_read(&ids[..5]);
    assert_eq!((cache.stats().prefetch.queue, cache.stats().prefetch.dropped), (4, 0));
    source.will_read(&ids);
    assert_eq!((cache.stats().prefetch.queue, cache.stats().prefetch.dropped), (16, 100 - 17));
}

#[test]
fn a_failed_fetch_ahead_is_no_error_until_somebody_reads() {
    let storage = Storage::new();
    let bytes = encoded(1, 64, 100);
    let id = id(&bytes);
    let cache = SegmentCache::open(&ahead(1 << 20, 4)).unwrap();
    let source = source(&cache, &storage);
    assert_eq!(fetch_ahead(&cache, &source, &[id]).missing, 1);
    assert_eq!(source.fetch(&id).unwrap_err().code(), "db.error/segment-missing");
    storage.put(&bytes);
    assert!(source.fetch(&id).is_ok());
}

#[test]
fn without_actors_nothing_is_said_to_anybody() {
    let storage = Storage::new();
    let ids = storage.fill(3, 100);
    let cache = SegmentCache::open(&config(1 << 20)).unwrap();
    source(&cache, &storage).will_read(&ids);
    assert!(cache.prefetcher().is_none());
    assert_eq!(cache.stats().prefetch, Default::default());
}
