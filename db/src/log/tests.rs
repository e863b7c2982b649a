use super::*;
use crate::edn;
use crate::error::{Category, Result};
use crate::model::{BigDec, BigInt, EntityId, Instant, Partition, Symbol, Text, Value};
use crate::testing::{hex, unhex};
use std::sync::Arc;

mod erase;
mod fork;
mod index;

const DATABASE: DatabaseId = DatabaseId(*b"0123456789abcdef");

fn user(counter: u64) -> EntityId {
    EntityId::new(Partition::User, counter)
}

fn added(e: EntityId, a: u64, v: Value) -> LoggedDatom {
    LoggedDatom { e, a: EntityId::new(Partition::Db, a), v, added: true }
}

fn values() -> Vec<Value> {
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
        Value::double(-0.1),
        Value::double(f64::NAN),
        Value::double(f64::NEG_INFINITY),
        dec("1.00"),
        dec("-123456789012345678901234567890e-50"),
        Value::Instant(Instant(-1)),
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
        Value::Tuple(Arc::new(vec![Some(Value::keyword("a")), Some(Value::Ref(user(1)))])),
    ]
}

fn tx(t: u64, datoms: Vec<LoggedDatom>) -> TxEntry {
    let tempids = vec![("france".to_string(), user(1000)), ("country/name".to_string(), user(1001))];
    TxEntry { t, instant: Instant(1_000_000 + t as i64), datoms, tempids, digest: digest(&edn::read("[]").unwrap()) }
}

fn bodies() -> Vec<Body> {
    let bootstrap = vec![added(EntityId::new(Partition::Db, 1), 1, Value::keyword("db/ident"))];
    let all: Vec<LoggedDatom> = values().into_iter().map(|v| added(user(1000), 72, v)).collect();
    let retraction = LoggedDatom { added: false, ..added(user(1000), 73, Value::Long(42)) };
    vec![
        Body::Create { name: "world".into(), next_counter: 1000, datoms: bootstrap },
        Body::Term { endpoint: "http://127.0.0.1:4337".into(), software: "diachron-transactor 0.1.0".into() },
        Body::Tx(vec![tx(1, all)]),
        Body::Tx(vec![tx(2, vec![retraction]), tx(3, vec![]), tx(4, vec![added(user(1002), 72, Value::string("x"))])]),
    ]
}

/// The records of a small log, each of the bodies in turn; terms begin at 1 and each `term` record raises them by 4.
fn log_of(bodies: &[Body]) -> (Chain, Vec<Vec<u8>>) {
    let mut chain = Chain::new(DATABASE);
    let mut records = Vec::new();
    for (i, body) in bodies.iter().enumerate() {
        let body = body.encode([i as u8 + 1; 16]).unwrap();
        let term = match body.kind {
            Kind::Term => chain.term() + 4,
            _ => chain.term().max(1),
        };
        let header = chain.next(&body, term, Instant(1_700_000_000_000 + i as i64));
        records.push(record_bytes(&header, &body));
        chain.push_header(&header, header.hash()).unwrap();
    }
    (chain, records)
}

/// Follows a log from its beginning.
fn follow(records: &[Vec<u8>]) -> Result<(Chain, Vec<Body>)> {
    let mut chain = Chain::new(DATABASE);
    let mut bodies = Vec::new();
    for bytes in records {
        let record = RawRecord::parse(bytes)?;
        chain.push(&record)?;
        bodies.push(record.body()?);
    }
    Ok((chain, bodies))
}

#[test]
fn a_log_reads_back_as_it_was_written() {
    let (chain, records) = log_of(&bodies());
    let (followed, read) = follow(&records).unwrap();
    assert_eq!(read, bodies());
    assert_eq!(records.iter().map(|bytes| Record::read(bytes).unwrap().body).collect::<Vec<_>>(), bodies());
    assert_eq!(followed, chain);
    assert_eq!((chain.seq(), chain.t(), chain.term(), chain.lineage()), (4, 4, 5, Some(DATABASE)));
    assert_eq!(chain.records().size(), 4);
    let hashes: Vec<Hash> = records.iter().map(|bytes| RawRecord::parse(bytes).unwrap().hash).collect();
    assert_eq!(chain.records().root(), merkle::root(&hashes));
    assert_eq!(chain.hash(), hashes[3]);
}

/// One record a line, in hexadecimal. These bytes are in stores: they are read for ever, and what is written today
/// is what was written then. A test that fails here has changed the format.
#[test]
fn records_have_the_bytes_they_always_had() {
    let (_, records) = log_of(&bodies());
    let now: Vec<String> = records.iter().map(|record| hex(record)).collect();
    let golden: Vec<&str> = include_str!("golden/records.hex").lines().collect();
    assert_eq!(now, golden, "the format has changed:\n{}", now.join("\n"));
    let golden: Vec<Vec<u8>> = golden.into_iter().map(unhex).collect();
    assert_eq!(follow(&golden).unwrap().1, bodies());

    let mut frames = Vec::new();
    push_frame(&mut frames, &golden[1], &RawRecord::parse(&golden[1]).unwrap().hash);
    assert_eq!(hex(&frames), include_str!("golden/frame.hex").trim());
}

#[test]
fn header_fields_lie_where_the_format_says() {
    let (_, records) = log_of(&bodies());
    let header = Header::decode(&records[3]).unwrap();
    let bytes = header.encode();
    assert_eq!(bytes.len(), 184);
    assert_eq!(&bytes[..16], b"DIACHRON\x01\0\x02\0\0\0\0\0");
    assert_eq!((&bytes[16..32], &bytes[32..48]), (&DATABASE.0[..], &DATABASE.0[..]));
    let numbers: Vec<u64> =
        (48..88).step_by(8).map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).collect();
    assert_eq!(numbers, [5, 4, 2, 3, 1_700_000_000_003]);
    assert_eq!(bytes[88..120], sha256(&records[3][184..]));
    assert_eq!(bytes[120..152], header.root);
    assert_eq!(bytes[152..184], RawRecord::parse(&records[2]).unwrap().hash);
}

#[test]
fn a_flip_of_any_bit_of_a_record_is_noticed() {
    let (_, records) = log_of(&bodies());
    for (i, record) in records.iter().enumerate() {
        let (mut chain, _) = follow(&records[..i]).unwrap();
        let hash = RawRecord::parse(record).unwrap().hash;
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut damaged = record.clone();
                damaged[at] ^= 1 << bit;
                let read = RawRecord::parse(&damaged).and_then(|read| {
                    chain.verify(&read.header)?;
                    read.body()?;
                    Ok(read.hash)
                });
                // A header that could have been written, with another instant, say, has another hash than the next
                // record's header or the head knows.
                assert!(
                    read.is_err() || at < Header::BYTES && read.unwrap() != hash,
                    "byte {at}, bit {bit} of record {i}"
                );
            }
        }
        chain.push(&RawRecord::parse(record).unwrap()).unwrap();
    }
}

#[test]
fn a_record_cut_off_or_prolonged_is_refused() {
    let (_, records) = log_of(&bodies());
    for record in &records {
        for length in 0..record.len() {
            let read = RawRecord::parse(&record[..length]).and_then(|read| read.body());
            assert_eq!(read.unwrap_err().category(), Category::Corrupt, "cut after {length}");
        }
        let longer = [&record[..], &[0]].concat();
        assert_eq!(RawRecord::parse(&longer).unwrap().body().unwrap_err().category(), Category::Corrupt);
    }
}

/// Body bytes that someone wrote a right hash for.
fn read_forged(kind: Kind, count: u64, body: Vec<u8>) -> Result<Body> {
    let body = EncodedBody { kind, count, hash: sha256(&body), bytes: body };
    let mut chain = Chain::new(DATABASE);
    if kind != Kind::Create {
        let create = bodies()[0].encode([0; 16]).unwrap();
        let header = chain.next(&create, 1, Instant(0));
        chain.push_header(&header, header.hash()).unwrap();
    }
    let header = chain.next(&body, if kind == Kind::Term { 2 } else { 1 }, Instant(0));
    let bytes = record_bytes(&header, &body);
    RawRecord::parse(&bytes)?.body()
}

#[test]
fn garbage_under_a_right_hash_is_an_error_and_costs_little() {
    let start = std::time::Instant::now();
    for body in bodies() {
        let encoded = body.encode([9; 16]).unwrap();
        let (kind, count) = (encoded.kind, encoded.count);
        for at in 0..encoded.bytes.len() {
            for change in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = encoded.bytes.clone();
                bytes[at] ^= change;
                let _ = read_forged(kind, count, bytes.clone());
                // A length of 8 bytes read from garbage.
                if let Some(length) = bytes.get_mut(at..at + 8) {
                    length.fill(change);
                    let _ = read_forged(kind, count, bytes);
                }
            }
            assert!(read_forged(kind, count, encoded.bytes[..at].to_vec()).is_err(), "cut after {at}");
        }
        assert!(read_forged(kind, count, [&encoded.bytes[..], &[0]].concat()).is_err(), "a byte too many");
    }
    assert!(start.elapsed().as_secs() < 60);
}

#[track_caller]
fn check_forged(change: impl Fn(&mut Vec<u8>), words: &str) {
    let datoms = vec![added(user(1), 1, Value::Tuple(Arc::new(vec![Some(Value::string("abc")), None])))];
    let mut bytes = Body::Tx(vec![TxEntry { tempids: vec![], ..tx(1, datoms) }]).encode([9; 16]).unwrap().bytes;
    change(&mut bytes);
    let error = read_forged(Kind::Tx, 1, bytes).unwrap_err();
    assert!(error.message().contains(words), "{error}");
}

#[test]
fn bodies_that_name_what_is_not_there_are_refused() {
    // Version 1, random 16, texts: 8, "abc": 8 + 3, tuples: 8, elements: 8, some: 1, tag: 4, text 0: 4, none: 1,
    // transactions: 8, t: 8, instant: 8, digest: 32, datoms: 8, e: 8, a: 8, added: 1, tag: 4, tuple 0: 4, tempids: 8.
    check_forged(|body| body[0] = 2, "another stood there before");
    check_forged(|body| body[0] = 3, "version 3");
    check_forged(|body| body[33] = 0xff, "utf-8");
    check_forged(|body| body[57] = 1, "there is no text 1");
    check_forged(|body| body[53] = 14, "there is no tuple 0");
    check_forged(|body| body[53] = 77, "77");
    check_forged(|body| body[70] = 2, "transaction 2 stands where 1 should");
    check_forged(|body| body[62] = 0, "remaining");
    check_forged(|body| body[133] = 0xff, "63 bits");
    check_forged(|body| body[142] = 2, "");
    check_forged(|body| body[147] = 5, "there is no tuple 5");

    let one = Body::Tx(vec![tx(1, vec![])]).encode([9; 16]).unwrap();
    let error = read_forged(Kind::Tx, 2, one.bytes).unwrap_err();
    assert!(error.message().contains("it has 1 transactions, its header says 2"), "{error}");
}

#[test]
fn what_this_build_does_not_know_is_refused_by_name() {
    let (_, records) = log_of(&bodies());
    let check = |at: usize, value: u8, words: &str| {
        let mut bytes = records[2].clone();
        bytes[at] = value;
        let error = RawRecord::parse(&bytes).unwrap_err();
        assert_eq!(error.category(), Category::Unsupported, "{error}");
        assert!(error.message().contains(words), "{error}");
    };
    check(8, 0, "record format 0 is not known here; this version reads 1");
    check(8, 2, "record format 2");
    check(10, 7, "`upgrade`");
    check(10, 7, "`upgrade`");
    check(10, 8, "kind 8");
    check(12, 2, "flags 0x2");
    check(15, 0x80, "flags 0x80000000");
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let (_, records) = log_of(&bodies());
    let header = Header::decode(&records[2]).unwrap();
    let changes: [fn(&mut Header); 8] = [
        |header| header.seq = 0,
        |header| header.term = 0,
        |header| header.count = 0,
        |header| header.kind = Kind::Term,
        |header| header.first_t = 0,
        |header| header.first_t = u64::MAX,
        |header| header.count = u64::MAX,
        |header| (header.count, header.out_of_line) = (2, true),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut header = header.clone();
        change(&mut header);
        let error = Header::decode(&header.encode()).unwrap_err();
        assert_eq!(error.category(), Category::Corrupt, "{i}: {error}");
    }
}

#[test]
fn the_chain_takes_only_the_record_that_comes_next() {
    let (_, records) = log_of(&bodies());
    let (chain, _) = follow(&records[..3]).unwrap();
    let header = Header::decode(&records[3]).unwrap();
    let check = |change: &dyn Fn(&mut Header), words: &str| {
        let mut header = header.clone();
        change(&mut header);
        let error = chain.verify(&header).unwrap_err();
        assert_eq!(error.category(), Category::Corrupt);
        assert!(error.message().contains(words), "{error}");
        let details: Vec<&str> = error.details().iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(details, ["database", "seq", "t", "found-seq"]);
        assert_eq!(error.details()[1].1, edn::Edn::Long(4));
    };
    assert!(chain.verify(&header).is_ok());
    check(&|header| header.database.0[0] ^= 1, "belongs to database");
    check(&|header| header.lineage.0[0] ^= 1, "belongs to lineage");
    check(&|header| header.seq = 5, "record 5 stands where 4 should");
    check(&|header| header.seq = 3, "record 3 stands where 4 should");
    check(&|header| header.previous_hash[31] ^= 1, "does not follow the record before it");
    check(&|header| header.root[0] ^= 1, "Merkle root");
    check(&|header| header.first_t = 3, "t 3 stands where 2 should");
    check(&|header| header.first_t = 1, "t 1 stands where 2 should");
    check(&|header| header.term = 6, "a `tx` record of term 6 cannot follow term 5");
    check(&|header| header.term = 4, "of term 4 cannot follow term 5");
    check(&|header| header.kind = Kind::Create, "cannot be of kind `create`");
    check(&|header| header.kind = Kind::Term, "a `term` record of term 5 cannot follow term 5");
    // The clock may say what it likes.
    assert!(chain.verify(&Header { instant: Instant(i64::MIN), ..header.clone() }).is_ok());

    let empty = Chain::new(DATABASE);
    let first = Header::decode(&records[0]).unwrap();
    assert!(empty.verify(&first).is_ok());
    assert!(empty.verify(&Header { term: 2, ..first.clone() }).is_err());
    assert!(empty.verify(&Header { kind: Kind::Term, ..first }).is_err());
    assert!(
        follow(&[&records[..2], &records[3..]].concat()).unwrap_err().message().contains("record 4 stands where 3")
    );
}

#[test]
fn a_refused_record_leaves_the_chain_as_it_was() {
    let (_, records) = log_of(&bodies());
    let (mut chain, _) = follow(&records[..2]).unwrap();
    let before = chain.clone();
    assert!(chain.push(&RawRecord::parse(&records[3]).unwrap()).is_err());
    assert_eq!(chain, before);
    assert!(chain.push(&RawRecord::parse(&records[2]).unwrap()).is_ok());
}

#[test]
fn a_large_transaction_goes_out_of_line_and_comes_back_from_its_segment() {
    let datoms: Vec<LoggedDatom> = (0..20_000).map(|i| added(user(i), 72, Value::Long(i as i64))).collect();
    let large = Body::Tx(vec![tx(1, datoms)]);
    let (mut chain, _) = log_of(&bodies()[..2]);
    let encoded = large.encode([3; 16]).unwrap();
    assert!(encoded.is_out_of_line());
    let header = chain.next(&encoded, chain.term(), Instant(0));
    let place = BodyPlace::of(&header, &encoded).unwrap();
    assert_eq!((place.hash, place.length, place.term), (encoded.hash, encoded.bytes.len() as u64, 5));

    let bytes = record_bytes(&header, &encoded);
    assert_eq!(bytes.len(), 184 + 80);
    let record = RawRecord::parse(&bytes).unwrap();
    assert_eq!(record.content, Content::OutOfLine(place));
    chain.push(&record).unwrap();
    assert!(record.body().unwrap_err().message().contains("out of line"));
    assert_eq!(record.body_from(&encoded.bytes).unwrap(), large);
    let mut damaged = encoded.bytes.clone();
    damaged[1000] ^= 1;
    assert!(record.body_from(&damaged).unwrap_err().message().contains("another hash"));
    for length in 184..bytes.len() {
        assert!(RawRecord::parse(&bytes[..length]).is_err());
    }
}

#[test]
fn an_overlong_body_in_line_is_refused_before_it_is_hashed() {
    let (_, records) = log_of(&bodies());
    let mut bytes = records[2].clone();
    bytes.resize(RECORD_BYTES_MAX + 1, 0);
    assert!(RawRecord::parse(&bytes).unwrap_err().message().contains("the most is 262144"));
}

#[test]
fn a_transaction_beyond_all_bounds_is_refused() {
    let half = Arc::new(vec![0; BODY_BYTES_MAX / 2]);
    let datoms = (0..2).map(|i| added(user(i), 72, Value::Bytes(half.clone()))).collect();
    let error = Body::Tx(vec![tx(1, datoms)]).encode([0; 16]).unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Incorrect, "db.error/transaction-too-large"));
}

#[test]
fn groups_within_the_bound_stay_in_line() {
    let entries: Vec<TxEntry> =
        (1..200).map(|t| tx(t, values().into_iter().map(|v| added(user(t), 72, v)).collect())).collect();
    let mut group = Vec::new();
    let mut bound = 0;
    for entry in entries {
        bound += tx_bytes_bound(&entry);
        group.push(entry);
        let bytes = Body::Tx(group.clone()).encode([0; 16]).unwrap().bytes.len();
        assert!(bytes <= bound, "{bytes} bytes, {bound} foretold");
    }
    // Alone, the bound is close.
    let datoms = (0..100).map(|i| added(user(i), 72, Value::string(format!("text number {i}")))).collect();
    let entry = tx(1, datoms);
    let bytes = Body::Tx(vec![entry.clone()]).encode([0; 16]).unwrap().bytes.len();
    assert_eq!(bytes, tx_bytes_bound(&entry));
}

#[test]
fn equal_texts_stand_once_and_are_shared_when_read() {
    let text = "a text that many datoms have";
    let datoms: Vec<LoggedDatom> = (0..100).map(|i| added(user(i), 72, Value::string(text))).collect();
    let encoded = Body::Tx(vec![tx(1, datoms)]).encode([0; 16]).unwrap();
    let times = encoded.bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
    assert_eq!(times, 1);
}

#[test]
fn frames_carry_records_one_after_the_other() {
    let (_, records) = log_of(&bodies());
    let mut frames = Vec::new();
    let mut ends = Vec::new();
    for record in &records {
        push_frame(&mut frames, record, &RawRecord::parse(record).unwrap().hash);
        ends.push(frames.len());
    }
    let read: Vec<Vec<u8>> = Frames::new(&frames).map(|frame| frame.unwrap().0.to_vec()).collect();
    assert_eq!(read, records);
    assert_eq!(Frames::new(&[]).count(), 0);
    for length in (0..frames.len()).filter(|length| *length > 0 && !ends.contains(length)) {
        let last = Frames::new(&frames[..length]).last().unwrap();
        assert!(last.is_err(), "cut after {length}");
    }
    let check = |at: usize, value: u8, words: &str| {
        let mut damaged = frames.clone();
        damaged[at] = value;
        let read: Vec<_> = Frames::new(&damaged).collect();
        assert_eq!(read.len(), 1, "nothing is read after an error");
        let error = read[0].as_ref().unwrap_err();
        assert!(error.message().contains(words), "{error}");
    };
    check(0, 0, "do not begin like a frame");
    check(4, 9, "version 9");
    check(6, 3, "kind 3");
    check(11, 0x7f, "a frame tells of 21");
    check(12, 0, "another hash than its frame says");
}

#[track_caller]
fn check_digest(a: &str, b: &str, same: bool) {
    let digest = |text: &str| digest(&edn::read(text).unwrap());
    assert_eq!(digest(a) == digest(b), same, "{a} and {b}");
}

#[test]
fn a_digest_is_of_the_meaning_of_tx_data() {
    check_digest("[{:a 1 :b #{2 3}}]", "[{:b #{3, 2}, :a 0x1} ; the same\n]", true);
    check_digest("[[:db/add 1 :a 2]]", "((:db/add 1 :a 2))", true);
    check_digest("[{:a 1} {:b 2}]", "[{:b 2} {:a 1}]", false);
    check_digest("[1 [2]]", "[[1] 2]", false);
    check_digest("[[] 1]", "[[1]]", false);
    check_digest("[1]", "[1N]", false);
    check_digest("[1]", "[1.0]", false);
    check_digest("[1.0M]", "[1.00M]", false);
    check_digest("[0.0]", "[-0.0]", true);
    check_digest("[\"a\"]", "[:a]", false);
    check_digest("[a]", "[:a]", false);
    check_digest("[\"ab\" \"c\"]", "[\"a\" \"bc\"]", false);
    check_digest("[#{1 2}]", "[[1 2]]", false);
    check_digest("[{1 2}]", "[#{[1 2]}]", false);
    check_digest("[#inst \"2020\"]", "[#inst \"2020-01-01T00:00:00Z\"]", true);
    check_digest("[#uri \"a\"]", "[#bytes \"a\"]", false);
    check_digest("[nil true false]", "[nil false true]", false);
    check_digest("[1/2 \\a]", "[2/4 \\u0061]", true);
}

#[test]
fn digests_have_the_values_they_always_had() {
    let text = r#"[{:db/id "x" :a/b [1 2N 3.5 4.50M 5/6 \c nil true false] s/t #{:k "v"} #inst "2020" #uuid "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
                   #uri "u" {1 2}} (:db/add 1 :a ##NaN)]"#;
    assert_eq!(hex(&digest(&edn::read(text).unwrap())), include_str!("golden/digest.hex").trim());
}

mod random {
    use super::*;
    use crate::testing::values::value;
    use proptest::prelude::*;

    fn entity() -> impl Strategy<Value = EntityId> {
        (0..=i64::MAX).prop_map(|id| EntityId::from_long(id).unwrap())
    }

    fn datoms() -> impl Strategy<Value = Vec<LoggedDatom>> {
        let datom = (entity(), entity(), value(), any::<bool>());
        proptest::collection::vec(datom.prop_map(|(e, a, v, added)| LoggedDatom { e, a, v, added }), 0..20)
    }

    fn body() -> impl Strategy<Value = Body> {
        let tempids = proptest::collection::vec((any::<String>(), entity()), 0..4);
        let entry = (any::<i64>(), datoms(), tempids, any::<[u8; 32]>());
        let entry = entry.prop_map(|(instant, datoms, tempids, digest)| TxEntry {
            t: 0,
            instant: Instant(instant),
            datoms,
            tempids,
            digest,
        });
        prop_oneof![
            6 => proptest::collection::vec(entry, 1..6).prop_map(Body::Tx),
            1 => (any::<String>(), 0..1u64 << 42, datoms())
                .prop_map(|(name, next_counter, datoms)| Body::Create { name, next_counter, datoms }),
            1 => (any::<String>(), any::<String>()).prop_map(|(endpoint, software)| Body::Term { endpoint, software }),
        ]
    }

    /// A log may begin with `create` only, and t counts on.
    fn log() -> impl Strategy<Value = Vec<Body>> {
        proptest::collection::vec(body(), 0..6).prop_map(|rest| {
            let mut bodies = vec![bodies().swap_remove(0)];
            bodies.extend(rest.into_iter().filter(|body| body.kind() != Kind::Create));
            let mut t = 0;
            for body in &mut bodies {
                if let Body::Tx(entries) = body {
                    entries.iter_mut().for_each(|entry| (t, entry.t) = (t + 1, t + 1));
                }
            }
            bodies
        })
    }

    proptest! {
        #[test]
        fn logs_read_back_as_they_were_written(bodies in log()) {
            let (chain, records) = log_of(&bodies);
            let (followed, read) = follow(&records).unwrap();
            prop_assert_eq!(&read, &bodies);
            prop_assert_eq!(followed, chain);
            prop_assert_eq!(log_of(&read).1, records);
        }

        #[test]
        fn bodies_of_every_kind_read_back_and_stay_within_their_bound(body in body(), random in any::<[u8; 16]>()) {
            let mut body = body;
            if let Body::Tx(entries) = &mut body {
                entries.iter_mut().zip(1..).for_each(|(entry, t)| entry.t = t);
                let bound: usize = entries.iter().map(tx_bytes_bound).sum();
                prop_assert!(body.encode(random).unwrap().bytes.len() <= bound);
            }
            let encoded = body.encode(random).unwrap();
            prop_assert_eq!(read_forged(encoded.kind, encoded.count, encoded.bytes).unwrap(), body);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            kind in prop_oneof![Just(Kind::Create), Just(Kind::Tx), Just(Kind::Term)],
        ) {
            let _ = RawRecord::parse(&bytes);
            let _ = Frames::new(&bytes).count();
            let mut body = bytes;
            if let Some(version) = body.first_mut() {
                *version = 1;
            }
            let _ = read_forged(kind, u64::from(kind == Kind::Tx), body);
        }
    }
}
