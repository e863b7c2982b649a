use super::*;
use db::index::segment::Source;

#[test]
fn who_comes_while_a_segment_is_fetched_waits_for_that_fetch() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let id = storage.put(&encoded(1, 64, 100));
    storage.close();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8).map(|_| scope.spawn(|| source.fetch(&id).unwrap())).collect();
        storage.until_fetching(1);
        storage.open();
        let segments: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(segments.iter().all(|segment| Arc::ptr_eq(segment, &segments[0])));
    });
    let stats = cache.stats();
    assert_eq!((storage.fetches(), stats.under_way, stats.waits + stats.heap.hits), (1, 0, 7));
}

#[test]
fn an_error_is_told_to_those_who_wait_and_the_next_one_tries_again() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let id = storage.put(&encoded(1, 64, 100));
    storage.close();
    storage.change(|state| state.fails = true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| source.fetch(&id));
        storage.until_fetching(1);
        let wait = Arc::new(Waits::default());
        let (counted, _) = source.counted(Some(wait.clone()));
        let second = scope.spawn(move || counted.fetch(&id));
        wait.until_waiting();
        storage.open();
        let errors = [first, second].map(|reader| reader.join().unwrap().unwrap_err());
        assert_eq!(errors[0].message(), errors[1].message());
        assert!(errors.iter().all(|error| error.code() == "db.error/unavailable"));
    });
    assert_eq!(storage.fetches(), 1);
    storage.change(|state| state.fails = false);
    assert!(source.fetch(&id).is_ok());
}

#[test]
fn a_waiter_stops_waiting_when_it_is_to_stop_and_the_fetch_goes_on() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let id = storage.put(&encoded(1, 64, 100));
    storage.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| source.fetch(&id));
        storage.until_fetching(1);
        let wait = Arc::new(Waits::default());
        let (counted, _) = source.counted(Some(wait.clone()));
        let second = scope.spawn(move || counted.fetch(&id));
        wait.until_waiting();
        wait.stop.cancel();
        let error = second.join().unwrap().unwrap_err();
        assert_eq!((error.category(), error.code()), (Category::Interrupted, "db.error/cancelled"));
        storage.open();
        assert!(first.join().unwrap().is_ok());
    });
    assert_eq!((storage.fetches(), cache.stats().under_way), (1, 0));
}

#[test]
fn when_who_fetches_panics_a_waiter_takes_over() {
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let source = source(&cache, &storage);
    let id = storage.put(&encoded(1, 64, 100));
    storage.close();
    storage.change(|state| state.panics = true);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.fetch(&id)));
            storage.change(|state| state.panics = false);
            caught.is_err()
        });
        storage.until_fetching(1);
        let wait = Arc::new(Waits::default());
        let (counted, _) = source.counted(Some(wait.clone()));
        // It may meet the panic too, and then asks again.
        let second = scope.spawn(move || {
            let ask = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| counted.fetch(&id)));
            std::iter::repeat_with(ask).find_map(|caught| caught.ok())
        });
        wait.until_waiting();
        storage.open();
        assert!(first.join().unwrap());
        assert!(second.join().unwrap().unwrap().is_ok());
    });
    assert_eq!(cache.stats().under_way, 0);
}

#[test]
fn when_who_fetches_is_cancelled_a_waiter_takes_over() {
    /// Cancels the query that fetches, once, as a fetch with a deadline of its caller's would.
    struct Cancelled(Arc<Storage>, AtomicBool);
    impl Fetch for Cancelled {
        fn fetch(&self, key: &SegmentKey) -> Result<Option<Bytes>> {
            let found = self.0.fetch(key);
            if self.1.swap(true, Ordering::Relaxed) { found } else { Err(Stop::Deadline.error()) }
        }
    }
    let (storage, cache) = (Storage::new(), SegmentCache::open(&config(1 << 20)).unwrap());
    let id = storage.put(&encoded(1, 64, 100));
    let fetch = Arc::new(Cancelled(storage.clone(), AtomicBool::new(false)));
    let source = cache.source_decoding(founder(LINEAGE), 0, decode(), fetch).unwrap();
    storage.close();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| source.fetch(&id));
        storage.until_fetching(1);
        let wait = Arc::new(Waits::default());
        let (counted, _) = source.counted(Some(wait.clone()));
        let second = scope.spawn(move || counted.fetch(&id));
        wait.until_waiting();
        storage.open();
        assert_eq!(first.join().unwrap().unwrap_err().category(), Category::Interrupted);
        assert!(second.join().unwrap().is_ok());
    });
    assert_eq!(storage.fetches(), 2);
}

/// Tells when its query waits: it has been asked twice.
#[derive(Default)]
struct Waits {
    stop: Cancel,
    looks: Mutex<usize>,
    looked: Condvar,
}

impl Waits {
    fn until_waiting(&self) {
        let looks = self.looks.lock().unwrap();
        drop(self.looked.wait_while(looks, |looks| *looks < 2).unwrap());
    }
}

impl Interrupt for Waits {
    fn stop(&self) -> Option<Stop> {
        *self.looks.lock().unwrap() += 1;
        self.looked.notify_all();
        self.stop.stop()
    }
}
