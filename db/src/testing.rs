//! What the tests of this crate share.

use proptest::test_runner::Config;

/// So many cases of a property, and `DIACHRON_SLOW` times as many where it is a number.
pub(crate) fn cases(count: u32) -> Config {
    let factor = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse::<u32>().ok()).unwrap_or(1);
    Config::with_cases(count.saturating_mul(factor))
}

/// Segments of index trees in memory.
pub(crate) mod segments {
    use crate::index::segment::{Segment, SegmentId, Sizes, Source};
    use crate::index::{Sink, Trees};
    use crate::log::DatabaseId;
    use crate::{Db, Error, Result};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    pub(crate) struct Store {
        segments: Mutex<BTreeMap<SegmentId, Arc<Segment>>>,
    }

    impl Source for Store {
        fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
            let found = self.segments.lock().unwrap().get(id).cloned();
            found.ok_or_else(|| Error::corrupt("test/missing", format!("no segment {id}")))
        }
    }

    impl Sink for &Store {
        fn put(&mut self, segment: Segment) -> Result<(SegmentId, u32)> {
            let mut segments = self.segments.lock().unwrap();
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(segments.len() as u64).to_le_bytes());
            let id = SegmentId { database: DatabaseId([7; 16]), term: 1, job: 1, hash };
            segments.insert(id, Arc::new(segment));
            Ok((id, 1000))
        }
    }

    impl Store {
        /// New trees that hold all of a value.
        pub(crate) fn index(self: &Arc<Self>, db: &Db, sizes: Sizes) -> Arc<Trees> {
            let merged = db.merge(sizes, &mut &**self, &mut || Ok(())).unwrap();
            Arc::new(db.trees_of(merged, self.clone()))
        }
    }
}
