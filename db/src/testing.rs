//! What the tests of this crate share.

use proptest::test_runner::Config;

/// So many cases of a property, and `DIACHRON_SLOW` times as many where it is a number.
pub(crate) fn cases(count: u32) -> Config {
    let factor = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse::<u32>().ok()).unwrap_or(1);
    Config::with_cases(count.saturating_mul(factor))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Any values.
pub(crate) mod values {
    use crate::model::{BigDec, BigInt, EntityId, Instant, Keyword, Symbol, Text, Value};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn scalar() -> impl Strategy<Value = Value> {
        let big = || {
            (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(_, b)| BigInt::from_signed_bytes_le(&b))
        };
        let name = || prop_oneof!["[a-c]{1,2}", "[a-c]/[a-c]"];
        prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Long),
            big().prop_map(|x| Value::BigInt(Arc::new(x))),
            any::<f32>().prop_map(Value::float),
            any::<f64>().prop_map(Value::double),
            (big(), -10_000..=10_000i32).prop_map(|(x, scale)| Value::BigDec(Arc::new(BigDec::new(x, scale).unwrap()))),
            any::<i64>().prop_map(|x| Value::Instant(Instant(x))),
            name().prop_map(|x| Value::Keyword(Keyword::new(x))),
            name().prop_map(|x| Value::Symbol(Symbol::new(x))),
            prop_oneof![name(), any::<String>()].prop_map(Value::string),
            any::<[u8; 16]>().prop_map(Value::uuid),
            any::<String>().prop_map(|x| Value::Uri(Text::from(x))),
            (0..=i64::MAX).prop_map(|x| Value::Ref(EntityId::from_long(x).unwrap())),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|x| Value::Bytes(Arc::new(x))),
        ]
    }

    pub(crate) fn value() -> impl Strategy<Value = Value> {
        let elements = proptest::collection::vec(proptest::option::of(scalar()), 2..=8);
        prop_oneof![4 => scalar(), 1 => elements.prop_map(|x| Value::Tuple(Arc::new(x)))]
    }
}

/// Segments of index trees in memory, as bytes.
pub(crate) mod segments {
    use crate::index::segment::{self, Attributes, Segment, SegmentId, Sizes, Source};
    use crate::index::{Sink, Trees};
    use crate::log::DatabaseId;
    use crate::{Db, Error, Result};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    #[derive(Default)]
    pub(crate) struct Store {
        kept: Mutex<(BTreeMap<SegmentId, Vec<u8>>, Attributes)>,
    }

    impl Source for Store {
        fn fetch(&self, id: &SegmentId) -> Result<Arc<Segment>> {
            let kept = self.kept.lock().unwrap();
            let bytes = kept.0.get(id).ok_or_else(|| Error::corrupt("test/missing", format!("no segment {id}")))?;
            Ok(Arc::new(Segment::read(id, bytes, &kept.1)?))
        }
    }

    impl Sink for &Store {
        fn put(&mut self, segment: Segment) -> Result<(SegmentId, u32)> {
            let mut kept = self.kept.lock().unwrap();
            let bytes = segment.encode(&kept.1)?;
            let id = SegmentId { database: DatabaseId([7; 16]), term: 1, job: 1, hash: segment::hash(&bytes) };
            let length = bytes.len() as u32;
            kept.0.insert(id, bytes);
            Ok((id, length))
        }
    }

    impl Store {
        /// New trees that hold all of a value.
        pub(crate) fn index(self: &Arc<Self>, db: &Db, sizes: Sizes) -> Arc<Trees> {
            self.kept.lock().unwrap().1 = Attributes::new(db.schema().attributes().map(|(_, attribute)| attribute.id));
            let merged = db.merge(sizes, &mut &**self, &mut || Ok(())).unwrap();
            Arc::new(db.trees_of(merged, self.clone()))
        }
    }
}
