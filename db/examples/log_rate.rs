//! How fast the log is written and followed: `cargo run --release -p diachron-db --example log_rate`.
//!
//! Small transactions of 5 datoms, as a busy application makes them, one to a record (a writer who waits for each)
//! and in groups of 64 (many who wait together). Following parses, checks every hash and link, and reads the body.

use diachron_db::log::{Body, Chain, DatabaseId, LoggedDatom, RawRecord, TxEntry, record_bytes};
use diachron_db::model::{EntityId, Instant, Partition, Value};
use std::time::Instant as Clock;

const TRANSACTIONS: u64 = 300_000;
const RUNS: usize = 3;

fn main() {
    for group in [1, 64] {
        let (mut write_s, mut follow_s, mut bytes) = (f64::MAX, f64::MAX, 0);
        for _ in 0..RUNS {
            let entries: Vec<TxEntry> = (1..=TRANSACTIONS).map(transaction).collect();
            let groups: Vec<Body> = entries.chunks(group).map(|group| Body::Tx(group.to_vec())).collect();
            let start = Clock::now();
            let (records, written) = write(&groups);
            write_s = write_s.min(start.elapsed().as_secs_f64());

            let start = Clock::now();
            let followed = follow(&records);
            follow_s = follow_s.min(start.elapsed().as_secs_f64());
            assert!(followed == written && followed.t() == TRANSACTIONS);
            bytes = records.iter().map(Vec::len).sum();
        }
        println!(
            "{group:2} transactions a record: {:.0} bytes each, written at {:.0} transactions/s, followed at {:.0} transactions/s",
            bytes as f64 / TRANSACTIONS as f64,
            TRANSACTIONS as f64 / write_s,
            TRANSACTIONS as f64 / follow_s
        );
    }
}

fn write(groups: &[Body]) -> (Vec<Vec<u8>>, Chain) {
    let mut chain = Chain::new(DatabaseId([7; 16]));
    let create = Body::Create { name: "rate".into(), next_counter: 1000, datoms: Vec::new() };
    let mut records = Vec::new();
    for body in std::iter::once(&create).chain(groups) {
        let body = body.encode([1; 16]).expect("the groups are small");
        let header = chain.next(&body, 1, Instant(0));
        records.push(record_bytes(&header, &body));
        chain.push_header(&header, header.hash()).expect("the chain made the header");
    }
    (records, chain)
}

fn follow(records: &[Vec<u8>]) -> Chain {
    let mut chain = Chain::new(DatabaseId([7; 16]));
    for bytes in records {
        let record = RawRecord::parse(bytes).expect("the record was just written");
        chain.push(&record).expect("the records are in order");
        std::hint::black_box(record.body().expect("the body was just written"));
    }
    chain
}

fn transaction(t: u64) -> TxEntry {
    let e = EntityId::new(Partition::User, 1000 + t);
    let datom = |e, a, v| LoggedDatom { e, a: EntityId::new(Partition::Db, a), v, added: true };
    let datoms = vec![
        datom(EntityId::of_tx(t), 50, Value::Instant(Instant(t as i64))),
        datom(e, 72, Value::string(format!("order {t}"))),
        datom(e, 73, Value::Long(t as i64 * 31)),
        datom(e, 74, Value::keyword(["status/open", "status/paid", "status/sent"][t as usize % 3])),
        datom(e, 75, Value::Ref(EntityId::new(Partition::User, t % 1000))),
    ];
    TxEntry { t, instant: Instant(t as i64), datoms, tempids: vec![("order".into(), e)], digest: [t as u8; 32] }
}
