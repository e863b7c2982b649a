use super::*;

fn dec(text: &str) -> Value {
    Value::BigDec(Arc::new(BigDec::parse(text).unwrap()))
}

fn int(text: &str) -> Value {
    Value::BigInt(Arc::new(text.parse().unwrap()))
}

/// Values in their order across types, as rule 4 of the semantics fixes it.
fn ladder() -> Vec<Value> {
    vec![
        Value::double(f64::NEG_INFINITY),
        int("-100000000000000000000"),
        Value::Long(i64::MIN),
        Value::Long(-1),
        Value::Long(0),
        Value::double(-0.0),
        dec("0.1"),
        Value::float(0.1),
        Value::Long(1),
        int("1"),
        Value::float(1.0),
        Value::double(1.0),
        dec("1.0"),
        dec("1.00"),
        Value::double(1.5),
        Value::Long(9_007_199_254_740_992),
        Value::double(9_007_199_254_740_992.0),
        Value::Long(9_007_199_254_740_993),
        Value::Long(i64::MAX),
        Value::double(9.3e18),
        int("100000000000000000000"),
        Value::double(f64::INFINITY),
        Value::double(f64::NAN),
        Value::Instant(Instant(-1)),
        Value::Instant(Instant(0)),
        Value::Boolean(false),
        Value::Boolean(true),
        Value::keyword("z"),
        Value::keyword("a/b"),
        Value::keyword("a/c"),
        Value::keyword("a.b/a"),
        Value::Symbol("x".into()),
        Value::string(""),
        Value::string("Z"),
        Value::string("a"),
        Value::string("é"),
        Value::uuid([0; 16]),
        Value::uuid([1; 16]),
        Value::Uri("a:b".into()),
        Value::Ref(EntityId::new(super::super::Partition::User, 1)),
        Value::Bytes(Arc::new(vec![1])),
        Value::Bytes(Arc::new(vec![1, 0])),
        Value::Tuple(Arc::new(vec![None, Some(Value::Long(2))])),
        Value::Tuple(Arc::new(vec![Some(Value::Long(1)), None])),
    ]
}

#[test]
fn rule_4_values_stand_in_one_total_order() {
    let ladder = ladder();
    for (i, a) in ladder.iter().enumerate() {
        for (j, b) in ladder.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} against {b}");
            assert_eq!(a == b, i == j, "{a} against {b}");
        }
    }
}

#[test]
fn rule_4_negative_zero_is_stored_as_zero_and_there_is_one_nan() {
    use std::collections::HashSet;
    let one: HashSet<Value> =
        [Value::double(0.0), Value::double(-0.0), Value::double(f64::NAN), Value::double(-f64::NAN)].into();
    assert_eq!(one.len(), 2);
}

#[test]
fn rule_5_numbers_of_different_types_compare_by_value_but_are_not_equal() {
    assert_ne!(Value::Long(1), Value::double(1.0));
    assert_eq!(Value::Long(1).cmp_numbers(&Value::double(1.0)), Some(Ordering::Equal));
    assert_eq!(dec("1.0").cmp_numbers(&dec("1.00")), Some(Ordering::Equal));
    assert_ne!(dec("1.0"), dec("1.00"));
    assert_eq!(Value::Long(1).cmp_numbers(&Value::double(f64::NAN)), None);
    assert_eq!(Value::Long(1).cmp_numbers(&Value::string("1")), None);
}

#[test]
fn a_value_is_sixteen_bytes() {
    assert_eq!(std::mem::size_of::<Value>(), 16);
}
