use super::*;
use crate::error::Category;
use crate::index::order::{Aevt, Avet, Eavt, Vaet};
use crate::index::tree::Order;
use crate::model::{AttrId, EntityId, Keyword, Partition, Text};
use crate::testing::values::one_of_each;
use crate::testing::{cases, hex, unhex};
use proptest::prelude::*;
use std::cmp::Ordering;

const DATABASE: DatabaseId = DatabaseId(*b"0123456789abcdef");
const SORTS: [Sort; 4] = [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet];

/// Twenty attributes, not all beside one another.
fn attributes() -> Attributes {
    Attributes::new((0..20).map(|i| EntityId::new(Partition::Db, 10 + i * i)))
}

fn user(counter: u64) -> EntityId {
    EntityId::new(Partition::User, counter)
}

fn open(e: u64, a: u32, v: Value, t: T) -> Datom {
    Datom::new(user(e), AttrId(a), v, t, true)
}

fn cmp_lives(sort: Sort, x: &Life, y: &Life) -> Ordering {
    match sort {
        Sort::Eavt => Eavt::cmp(x, y),
        Sort::Aevt => Aevt::cmp(x, y),
        Sort::Avet => Avet::cmp(x, y),
        Sort::Vaet => Vaet::cmp(x, y),
    }
}

/// Puts rows in order and drops those that the sort does not tell apart, or does not hold.
fn sorted(sort: Sort, mut rows: Vec<Datom>) -> Vec<Datom> {
    rows.retain(|row| sort != Sort::Vaet || matches!(row.v, Value::Ref(_)));
    rows.sort_by(|x, y| sort.cmp(x, y));
    rows.dedup_by(|x, y| sort.cmp(x, y).is_eq());
    rows
}

fn sorted_lives(sort: Sort, mut rows: Vec<Life>) -> Vec<Life> {
    rows.retain(|row| sort != Sort::Vaet || matches!(row.datom.v, Value::Ref(_)));
    rows.sort_by(|x, y| cmp_lives(sort, x, y));
    rows.dedup_by(|x, y| cmp_lives(sort, x, y).is_eq());
    rows
}

/// A child for each row, as if leaves below began with them.
fn children<R: Row>(rows: &[R]) -> Vec<Child<R>> {
    let child = |(i, first): (usize, &R)| {
        let from = first.datom().t();
        let id = SegmentId {
            database: if i % 3 == 2 { DatabaseId([7; 16]) } else { DATABASE },
            term: 1 + i as u64 / 4,
            job: 1000 + i as u64 * 17,
            hash: hash(&i.to_le_bytes()),
        };
        Child {
            first: first.clone(),
            id,
            bytes: 20_000 + i as u32 * 7,
            count: 4000 + i as u64 % 5,
            from_min: from / 2,
            from_max: from + i as u64,
            to_max: if R::CLOSED { first.to() + 3 } else { 0 },
        }
    };
    rows.iter().enumerate().map(child).collect()
}

/// All segments that can be made of rows.
fn segments(open: &[Datom], closed: &[Life]) -> Vec<Segment> {
    let mut segments = Vec::new();
    for sort in SORTS {
        let rows = sorted(sort, open.to_vec());
        if !rows.is_empty() {
            segments.push(Segment { sort, rows: Rows::Open(Node::Branch(children(&rows))) });
            segments.push(Segment { sort, rows: Rows::Open(Node::Leaf(rows)) });
        }
        let rows = sorted_lives(sort, closed.to_vec());
        if !rows.is_empty() {
            segments.push(Segment { sort, rows: Rows::Closed(Node::Branch(children(&rows))) });
            segments.push(Segment { sort, rows: Rows::Closed(Node::Leaf(rows)) });
        }
    }
    segments
}

/// Rows of all types, of every segment's kind few enough to be looked at.
fn golden_segments() -> Vec<Segment> {
    let values = || one_of_each().into_iter().zip(0u64..);
    let open: Vec<Datom> = values()
        .flat_map(|(v, i)| [open(1000 + i, (i % 20) as u32, v.clone(), 5 + i), open(1500, (i % 20) as u32, v, 40)])
        .chain((0..30).map(|i| open(2000 + i, 3, Value::Ref(user(i * i % 7)), 100)))
        .collect();
    let closed: Vec<Life> =
        open.iter().map(|datom| Life { datom: datom.clone(), to: 60 + datom.e.counter() }).collect();
    let mut segments = segments(&open, &closed);
    for segment in &mut segments {
        // Hashes do not grow smaller: a few children show all there is.
        match &mut segment.rows {
            Rows::Open(Node::Branch(children)) => children.truncate(5),
            Rows::Closed(Node::Branch(children)) => children.truncate(5),
            _ => {}
        }
    }
    segments
}

/// One segment a line, in hexadecimal. These bytes are in stores: they are read for ever, and what is written today is
/// what was written then. A test that fails here has changed the format.
#[test]
fn segments_have_the_bytes_they_always_had() {
    let now: Vec<String> =
        golden_segments().iter().map(|segment| hex(&segment.encode(&attributes()).unwrap())).collect();
    let golden: Vec<&str> = include_str!("golden/segments-1.hex").lines().collect();
    assert!(now == golden, "the format has changed:\n{}", now.join("\n"));
    let golden: Vec<Segment> =
        golden.into_iter().map(|line| Segment::decode(&unhex(line), &attributes()).unwrap()).collect();
    assert_eq!(golden, golden_segments());
}

#[test]
fn header_fields_lie_where_the_format_says() {
    let bytes = golden_segments()[0].encode(&attributes()).unwrap();
    assert_eq!(&bytes[..8], b"DSEG\x01\0\x02\x01", "a branch of open lives in EAVT");
    assert_eq!(bytes[8..12], 5u32.to_le_bytes());
    assert_eq!(bytes[12..16], (plain(&bytes).unwrap().len() as u32).to_le_bytes());
    assert_eq!(bytes[16..20], [1, 0, 0, 0]);
}

#[test]
fn types_have_the_tags_that_records_give_them() {
    use crate::model::ValueType;
    assert!(ValueType::ALL.iter().enumerate().all(|(i, value_type)| usize::from(values::tag(*value_type)) == i));
}

/// A sealed segment with another header or content, under no particular name.
fn changed(segment: &Segment, change: impl Fn(&mut Vec<u8>)) -> Error {
    let mut bytes = segment.encode(&attributes()).unwrap();
    change(&mut bytes);
    Segment::decode(&bytes, &attributes()).unwrap_err()
}

#[test]
fn what_this_build_does_not_know_is_refused_by_name() {
    let segment = &golden_segments()[0];
    let check = |at: usize, value: u8, words: &str| {
        let error = changed(segment, |bytes| bytes[at] = value);
        assert_eq!((error.category(), error.code()), (Category::Unsupported, "db.error/segment-unsupported"));
        assert!(error.message().contains(words), "{error}");
    };
    check(4, 2, "segment format 2 is not known here; this version reads 1");
    check(5, 1, "segment format 257");
    check(6, 0, "kind 0");
    check(6, 200, "kind 200");
    check(7, 5, "sort 5");
    check(16, 2, "compression 2");
    check(18, 1, "flags");
}

#[test]
fn headers_that_contradict_the_content_are_damage() {
    let segment = &golden_segments()[1];
    let check = |change: &dyn Fn(&mut Vec<u8>), words: &str| {
        let error = changed(segment, change);
        assert_eq!((error.category(), error.code()), (Category::Corrupt, "db.error/segment-damaged"), "{error}");
        assert!(error.message().contains(words), "{error}");
    };
    check(&|bytes| bytes[0] = 0, "DSEG");
    check(&|bytes| bytes[7] = 0, "no sort");
    check(&|bytes| bytes[8..12].fill(0), "tells of 0 rows");
    check(&|bytes| bytes[8..12].fill(0xff), "tells of 4294967295 rows");
    check(&|bytes| bytes[8] += 1, "");
    check(&|bytes| bytes[12..16].fill(0xff), "tells of 4294967295 bytes");
    check(&|bytes| bytes[12..16].copy_from_slice(&(PLAIN_BYTES_MAX as u32).to_le_bytes()), "do not make 33554432");
    check(&|bytes| bytes[12] += 1, "");
    check(&|bytes| bytes.truncate(19), "ends in the middle");
    check(&|bytes| bytes.truncate(100), "");
    check(&|bytes| bytes[7] = 2, "do not ascend in AEVT");
}

/// A leaf of two longs, not compressed, and the places of its bytes.
#[track_caller]
fn check_forged(change: impl Fn(&mut Vec<u8>), words: &str) {
    let rows = vec![open(1, 1, Value::Long(5), 3), open(2, 1, Value::Long(7), 4)];
    let leaf = Segment { sort: Sort::Eavt, rows: Rows::Open(Node::Leaf(rows)) };
    let mut content = plain(&leaf.encode(&attributes()).unwrap()).unwrap();
    change(&mut content);
    let bytes = envelope::seal(Kind::OpenLeaf, Some(Sort::Eavt), 2, &content).unwrap();
    let error = Segment::decode(&bytes, &attributes()).unwrap_err();
    assert_eq!(error.category(), Category::Corrupt);
    assert!(error.message().contains(words), "{error}");
}

#[test]
fn contents_that_contradict_themselves_are_damage() {
    // Groups: 1, entity: 1, tag: 1. Column of e: form, divisor, first: 7, width, least. From: form, divisor, first,
    // width, least. Values: the same.
    check_forged(|content| content[0] = 0, "no attribute");
    check_forged(|content| content[0] = 100, "100 things where at most 2 can be");
    check_forged(|content| content[1] = 12, "attribute 12, which is not in the schema");
    check_forged(|content| content[2] = 15, "no type of values has tag 15");
    check_forged(|content| content[2] = 9, "");
    check_forged(|content| content[3] = 3, "form 3");
    check_forged(|content| content[12] = 60, "width 60");
    check_forged(|content| content[13] = 1, "do not ascend");
    check_forged(|content| content.push(0), "1 bytes follow its end");
    check_forged(|content| _ = content.pop(), "1 bytes are left");
    check_forged(|content| content[5] |= 1, "63 bits");
}

#[test]
fn rows_that_no_segment_holds_are_refused_by_the_writer() {
    let check = |rows: Vec<Datom>, sort: Sort, words: &str| {
        let error = Segment { sort, rows: Rows::Open(Node::Leaf(rows)) }.encode(&attributes()).unwrap_err();
        assert_eq!(error.category(), Category::Fault);
        assert!(error.message().contains(words), "{error}");
    };
    let row = |e: u64| open(e, 1, Value::Long(5), 3);
    check(vec![], Sort::Eavt, "0 rows");
    check(vec![row(2), row(1)], Sort::Eavt, "do not ascend in EAVT");
    check(vec![row(1), row(1)], Sort::Aevt, "do not ascend in AEVT");
    check(vec![row(1)], Sort::Vaet, "VAET holds refs, not a long");
    check(vec![open(1, 20, Value::Long(5), 3)], Sort::Eavt, "AttrId(20) is not among the attributes");
    check(vec![Datom::new(user(1), AttrId(1), Value::Long(5), 3, false)], Sort::Eavt, "is no life");
    let life = Life { datom: row(1), to: 3 };
    let closed = Segment { sort: Sort::Eavt, rows: Rows::Closed(Node::Leaf(vec![life])) };
    assert!(closed.encode(&attributes()).unwrap_err().message().contains("is no life"));
    let mut child = children(&[row(1)]);
    child[0].from_max = 2;
    let branch = Segment { sort: Sort::Eavt, rows: Rows::Open(Node::Branch(child)) };
    assert!(branch.encode(&attributes()).unwrap_err().message().contains("began outside"));
}

#[test]
fn bytes_of_another_name_are_refused_and_the_name_is_told() {
    let segment = &golden_segments()[1];
    let mut bytes = segment.encode(&attributes()).unwrap();
    let id = SegmentId { database: DATABASE, term: 3, job: 77, hash: hash(&bytes) };
    assert_eq!(&Segment::read(&id, &bytes, &attributes()).unwrap(), segment);
    for at in 0..bytes.len() {
        bytes[at] ^= 4;
        let error = Segment::read(&id, &bytes, &attributes()).unwrap_err();
        assert!(error.message().contains("/3/index-77/") && error.message().contains("another hash"), "{error}");
        bytes[at] ^= 4;
    }
}

#[test]
fn equal_values_are_decoded_once_and_counted_once() {
    let text = "a text that is long enough to be noticed when it is counted";
    let rows: Vec<Datom> = (0..1000).map(|i| open(i, 1, Value::string(text), 1)).collect();
    let leaf = Segment { sort: Sort::Aevt, rows: Rows::Open(Node::Leaf(rows)) };
    let bytes = leaf.encode(&attributes()).unwrap();
    assert!(bytes.len() < 200, "{}", bytes.len());
    let decoded = Segment::decode(&bytes, &attributes()).unwrap();
    assert!((32_000..34_000).contains(&decoded.heap_bytes()), "{}", decoded.heap_bytes());
    let Rows::Open(Node::Leaf(rows)) = &decoded.rows else { panic!("a leaf") };
    let (Value::String(first), Value::String(last)) = (&rows[0].v, &rows[999].v) else { panic!("strings") };
    assert!(Text::ptr_eq(first, last));
    assert!(leaf.heap_bytes() > 100_000, "as many texts as rows: {}", leaf.heap_bytes());
}

/// Entries may share all they have with the one before: little on disk, much in memory.
#[test]
fn values_that_would_outgrow_memory_are_refused_before_they_are_made() {
    let rows = vec![open(1, 1, Value::string("x".repeat(1 << 20)), 1)];
    let leaf = Segment { sort: Sort::Eavt, rows: Rows::Open(Node::Leaf(rows)) };
    let content = plain(&leaf.encode(&attributes()).unwrap()).unwrap();
    // Groups, e and from of one row each; then the entries' own count and lengths, written anew for a thousand.
    let mut forged = content[..3].to_vec();
    let column = |bytes: &mut Vec<u8>, first: i64, then: i64, count: usize| {
        numbers::put(bytes, &std::iter::once(first).chain(std::iter::repeat_n(then, count - 1)).collect::<Vec<_>>());
    };
    column(&mut forged, user(1).as_long(), user(1).as_long(), 1000);
    column(&mut forged, 1, 1, 1000);
    bytes::put_varint(&mut forged, 1000);
    column(&mut forged, 0, 1 << 20, 1000);
    column(&mut forged, 1 << 20, 0, 1000);
    forged.extend_from_slice(&[b'x'; 1 << 20]);
    let bytes = envelope::seal(Kind::OpenLeaf, Some(Sort::Eavt), 1000, &forged).unwrap();
    let error = Segment::decode(&bytes, &attributes()).unwrap_err();
    assert!(error.message().contains("longer than a segment can be"), "{error}");
}

#[test]
fn writers_end_leaves_by_bytes_and_by_rows() {
    let short: Vec<Datom> = (0..10_000).map(|i| open(i, 1, Value::Long(i as i64), 1)).collect();
    let sizes = Sizes::default();
    assert_eq!(sizes.leaf_len(&short), 4096);
    assert_eq!(sizes.leaf_len(&short[..10]), 10);
    assert_eq!(sizes.leaf_len::<Datom>(&[]), 0);
    let long: Vec<Datom> = (0..10).map(|i| open(i, 1, Value::string("x".repeat(30_000)), 1)).collect();
    assert_eq!(sizes.leaf_len(&long), 2);
    let huge = vec![open(1, 1, Value::string("x".repeat(1 << 20)), 1); 3];
    assert_eq!(sizes.leaf_len(&huge), 1);
    assert_eq!(sizes.branch_len(&children(&short[..2000])), 1024);
    assert_eq!(sizes.branch_len(&children(&huge)), 2);
    assert_eq!(sizes.branch_len(&children(&huge[..1])), 1);
    let tiny = Sizes { leaf_rows: 4, branch_children: 3, ..sizes };
    assert_eq!((tiny.leaf_len(&short), tiny.branch_len(&children(&short[..9]))), (4, 3));
}

mod random {
    use super::*;

    fn entity() -> impl Strategy<Value = EntityId> {
        prop_oneof![
            6 => (0..40u64).prop_map(user),
            2 => (0..2000u64).prop_map(EntityId::of_tx),
            1 => (0..=i64::MAX).prop_map(|id| EntityId::from_long(id).unwrap()),
        ]
    }

    /// Values that meet again, and others.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            3 => proptest::sample::select(one_of_each()),
            3 => crate::testing::values::value(),
            2 => (0..50i64).prop_map(Value::Long),
            2 => "[ab]{0,6}".prop_map(Value::string),
            2 => entity().prop_map(Value::Ref),
            1 => (0..4u8).prop_map(|i| Value::Keyword(Keyword::new(format!("k/{i}")))),
        ]
    }

    fn lives() -> impl Strategy<Value = Vec<Life>> {
        let t = || prop_oneof![4 => 0..100u64, 1 => 0..(1u64 << 42) - 1];
        let life = || {
            (entity(), 0..20u32, value(), t(), t()).prop_map(|(e, a, v, from, lasting)| Life {
                datom: Datom::new(e, AttrId(a), v, from, true),
                to: (from + 1 + lasting).min((1 << 42) - 1),
            })
        };
        prop_oneof![4 => proptest::collection::vec(life(), 1..60), 1 => proptest::collection::vec(life(), 60..400)]
    }

    fn all(lives: &[Life]) -> Vec<Segment> {
        segments(&lives.iter().map(|life| life.datom.clone()).collect::<Vec<_>>(), lives)
    }

    proptest! {
        #![proptest_config(cases(64))]

        #[test]
        fn any_rows_round_trip(lives in lives()) {
            for segment in all(&lives) {
                let bytes = segment.encode(&attributes()).unwrap();
                let decoded = Segment::decode(&bytes, &attributes()).unwrap();
                prop_assert_eq!(&decoded, &segment);
                prop_assert_eq!(decoded.encode(&attributes()).unwrap(), bytes);
                prop_assert!(decoded.heap_bytes() > 0);
            }
        }

        /// The name tells that a byte was changed; that nothing comes of it but an error or a segment that could be
        /// written is for those who read without it.
        #[test]
        fn changed_bytes_give_an_error_or_a_sound_segment(lives in lives(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            for segment in all(&lives) {
                let mut bytes = segment.encode(&attributes()).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                sound(&bytes);
                prop_assert!(Segment::decode(&bytes[..at], &attributes()).is_err(), "cut after {}", at);
                // The same within the content, past the compression.
                let mut content = plain(&segment.encode(&attributes()).unwrap()).unwrap();
                let (kind, count) = (bytes[6], u32::from_le_bytes(bytes[8..12].try_into().unwrap()));
                let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
                let place = at % content.len();
                content[place] ^= flip;
                if let Some(kind) = kind {
                    sound(&envelope::seal(kind, Some(segment.sort), count as usize, &content).unwrap());
                }
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(content in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..4usize, count in 1..600usize) {
            for sort in SORTS {
                sound(&envelope::seal(Kind::ALL[kind], Some(sort), count, &content).unwrap());
            }
        }
    }

    fn sound(bytes: &[u8]) {
        if let Ok(segment) = Segment::decode(bytes, &attributes()) {
            let again = segment.encode(&attributes()).unwrap();
            assert_eq!(Segment::decode(&again, &attributes()).unwrap(), segment);
        }
    }
}
