//! What the tests of this crate share.

use crate::index::segment::{MemorySegments, Sizes};
use proptest::test_runner::Config;

/// So many cases of a property, and `DIACHRON_SLOW` times as many where it is a number.
pub(crate) fn cases(count: u32) -> Config {
    let factor = std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse::<u32>().ok()).unwrap_or(1);
    Config::with_cases(count.saturating_mul(factor))
}

/// A value with all of it in trees of the store, whose nodes are tiny.
pub(crate) fn in_trees(db: &crate::Db, store: &std::sync::Arc<MemorySegments>) -> crate::Db {
    let sizes = Sizes { leaf_rows: 4, branch_children: 3, ..Sizes::default() };
    store.index(db, sizes).unwrap()
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
    use crate::model::{BigDec, BigInt, EntityId, Instant, Keyword, Partition, Symbol, Text, Value};
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

    /// A few of every type.
    pub(crate) fn one_of_each() -> Vec<Value> {
        let dec = |text| Value::BigDec(Arc::new(BigDec::parse(text).unwrap()));
        let int = |text: &str| Value::BigInt(Arc::new(text.parse::<BigInt>().unwrap()));
        vec![
            Value::Boolean(true),
            Value::Boolean(false),
            Value::Long(i64::MIN),
            Value::Long(42),
            int("0"),
            int("-1"),
            int("123456789012345678901234567890"),
            Value::float(1.5),
            Value::float(-0.1),
            Value::double(-0.1),
            Value::double(f64::NAN),
            Value::double(f64::NEG_INFINITY),
            dec("1.00"),
            dec("-123456789012345678901234567890e-50"),
            Value::Instant(Instant(-1)),
            Value::Instant(Instant(86_400_000)),
            Value::keyword("country/name"),
            Value::Symbol(Symbol::new("country/name")),
            Value::string("country/name"),
            Value::string(""),
            Value::string("naïve 中 😀"),
            Value::uuid(*b"fedcba9876543210"),
            Value::Uri(Text::from("http://example.org/")),
            Value::Ref(user(1001)),
            Value::Bytes(Arc::new(vec![0, 255, 7])),
            Value::Tuple(Arc::new(vec![Some(Value::Long(1)), None, Some(Value::string("naïve 中 😀"))])),
            Value::Tuple(Arc::new(vec![
                Some(Value::keyword("a")),
                Some(Value::Ref(user(1))),
                Some(Value::double(-0.5)),
            ])),
        ]
    }

    fn user(counter: u64) -> EntityId {
        EntityId::new(Partition::User, counter)
    }
}
