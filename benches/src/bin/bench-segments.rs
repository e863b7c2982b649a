//! Segments of index trees: bytes a row in every tree, with each compression, and how fast rows are written and read.
//!
//!     bench-segments [--quick] [SCHEMA.edn TX.edn]
//!
//! With `--features zstd` zstd stands beside LZ4; Diachron itself has no need of it.

use benches::measure::repeat;
use benches::people::{self, Random};
use benches::{Report, is_quick};
use db::edn::{Edn, Limits, Reader};
use db::index::segment::{self, Attributes, Node, Row, Rows, Segment, Sizes};
use db::index::{Life, Sort};
use db::model::{EntityId, Partition};
use db::tx::{Functions, TxLimits, transact};
use db::{Datom, Db, Instant, Keyword, Pattern, Value};
use std::collections::BTreeMap;
use std::time::Duration;

fn main() {
    let mut report = Report::new("segments");
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--quick").collect();
    let world = |name: &str| format!("{}/../data/world/{name}", env!("CARGO_MANIFEST_DIR"));
    measure(&mut report, "people", &people_db(if is_quick() { 200 } else { 100_000 }));
    measure(&mut report, "orders", &orders_db(if is_quick() { 200 } else { 100_000 }));
    measure(&mut report, "world", &edn_db(&[world("schema.edn"), world("tx.edn")]));
    if !files.is_empty() {
        measure(&mut report, "the files", &edn_db(&files));
    }
}

/// Every tree of a database: sizes and rates.
fn measure(report: &mut Report, what: &str, db: &Db) {
    let attributes = Attributes::new(db.schema().attributes().map(|(_, attribute)| attribute.id));
    let (open, closed) = lives(db);
    println!("{what}: {} open lives, {} closed\n", open.len(), closed.len());
    let mut rows = Vec::new();
    for sort in [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet] {
        let in_sort = |datom: &Datom| match sort {
            Sort::Eavt | Sort::Aevt => true,
            Sort::Avet => db.schema().attribute(datom.a()).has_avet(),
            Sort::Vaet => matches!(datom.v, Value::Ref(_)),
        };
        let mut current: Vec<Datom> = open.iter().filter(|datom| in_sort(datom)).cloned().collect();
        current.sort_by(|x, y| sort.cmp(x, y));
        rows.extend(tree(report, what, sort, &current, &attributes, Rows::Open));
        let mut history: Vec<Life> = closed.iter().filter(|life| in_sort(&life.datom)).cloned().collect();
        let order = sort.components();
        history.sort_by(|x, y| {
            use db::index::Component::{A, E, T, V};
            let by = |component| match component {
                E => x.datom.e.cmp(&y.datom.e),
                A => x.datom.a().cmp(&y.datom.a()),
                V => x.datom.v.cmp(&y.datom.v),
                T => x.to.cmp(&y.to),
            };
            by(order[0]).then_with(|| by(order[1])).then_with(|| by(T)).then_with(|| by(order[2]))
        });
        rows.extend(tree(report, what, sort, &history, &attributes, Rows::Closed));
    }
    let columns = ["tree", "rows", "a leaf", "plain", "LZ4", "zstd 1", "zstd 3", "memory", "written", "read"];
    report.table(&columns, &rows);
}

/// One tree's leaves.
fn tree<R: Row>(
    report: &mut Report,
    what: &str,
    sort: Sort,
    rows: &[R],
    attributes: &Attributes,
    wrap: fn(Node<R>) -> Rows,
) -> Option<Vec<String>> {
    if rows.is_empty() {
        return None;
    }
    let mut leaves = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let (leaf, after) = rest.split_at(Sizes::default().leaf_len(rest));
        leaves.push(Segment { sort, rows: wrap(Node::Leaf(leaf.to_vec())) });
        rest = after;
    }
    let encode = || leaves.iter().map(|leaf| leaf.encode(attributes).expect("rows of a database")).collect::<Vec<_>>();
    let encoded = encode();
    let decode = || {
        let read = |bytes: &Vec<u8>| Segment::decode(bytes, attributes).expect("what was just written");
        // One at a time, as a cache would: what was read before is dropped meanwhile.
        encoded.iter().map(read).for_each(|segment| drop(std::hint::black_box(segment)))
    };
    let budget = Duration::from_millis(if is_quick() { 1 } else { 400 });
    let (written, read) = (repeat(budget, encode), repeat(budget, decode));
    let plain: Vec<Vec<u8>> =
        encoded.iter().map(|bytes| segment::plain(bytes).expect("what was just written")).collect();
    let memory: usize = encoded
        .iter()
        .map(|bytes| Segment::decode(bytes, attributes).expect("what was just written").heap_bytes())
        .sum();
    let kind = if matches!(leaves[0].rows, Rows::Open(_)) { "current" } else { "history" };
    let tree = format!("{} {kind}", sort.name());
    let mut figures = |name: &str, value: f64, unit: &str| {
        report.figure(&format!("{what}, {tree}: {name}"), value, unit);
    };
    let bytes_a_row = |bytes: usize| bytes as f64 / rows.len() as f64;
    let size = bytes_a_row(encoded.iter().map(Vec::len).sum());
    let rate = |took: Duration| rows.len() as f64 / took.as_secs_f64() / 1e6;
    figures("bytes a row", size, "bytes");
    figures("written", rate(written.median), "M rows/s");
    figures("read", rate(read.median), "M rows/s");
    let mut line = vec![tree, rows.len().to_string(), (rows.len() / leaves.len()).to_string()];
    line.push(format!("{:.2}", bytes_a_row(plain.iter().map(Vec::len).sum())));
    line.push(format!("{size:.2}"));
    line.extend([1, 3].map(|level| zstd(&plain, level, rows.len())));
    line.push(format!("{:.0}", bytes_a_row(memory)));
    line.extend([written, read].map(|figure| format!("{:.1} M/s", rate(figure.median))));
    Some(line)
}

/// Bytes a row, and rows a second written and read by the compression alone.
#[cfg(feature = "zstd")]
fn zstd(plain: &[Vec<u8>], level: i32, rows: usize) -> String {
    let budget = Duration::from_millis(if is_quick() { 1 } else { 200 });
    let compress = || plain.iter().map(|bytes| zstd::bulk::compress(bytes, level).expect("bytes")).collect::<Vec<_>>();
    let compressed = compress();
    let decompress = || {
        let lengths = plain.iter().map(Vec::len);
        compressed.iter().zip(lengths).for_each(|(bytes, length)| {
            std::hint::black_box(zstd::bulk::decompress(bytes, length).expect("what was just compressed"));
        })
    };
    let rate = |took: Duration| rows as f64 / took.as_secs_f64() / 1e6;
    let (written, read) = (rate(repeat(budget, compress).median), rate(repeat(budget, decompress).median));
    let bytes: usize = compressed.iter().map(|bytes| bytes.len() + 20).sum();
    format!("{:.2} ({written:.0}, {read:.0})", bytes as f64 / rows as f64)
}

#[cfg(not(feature = "zstd"))]
fn zstd(_: &[Vec<u8>], _: i32, _: usize) -> String {
    "-".to_owned()
}

/// Open and closed lives of a database.
fn lives(db: &Db) -> (Vec<Datom>, Vec<Life>) {
    let all = db.history().datoms(&Pattern::all()).expect("a read");
    let mut facts: BTreeMap<_, Vec<Datom>> = BTreeMap::new();
    for datom in all {
        facts.entry((datom.e, datom.a(), datom.v.clone())).or_default().push(datom);
    }
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for mut datoms in facts.into_values() {
        datoms.sort_by_key(|datom| datom.t());
        for life in datoms.chunks(2) {
            match life {
                [begun, ended] => closed.push(Life { datom: begun.clone(), to: ended.t() }),
                _ => open.push(life[0].clone()),
            }
        }
    }
    (open, closed)
}

/// Five attributes each, a hundred to a transaction; then every fifth gets another salary, three times.
fn people_db(count: usize) -> Db {
    let (mut db, attrs) = people::empty_db();
    let people = people::people(count);
    let e = |i: usize| EntityId::new(Partition::User, 2000 + i as u64);
    for (chunk, group) in people.chunks(100).enumerate() {
        let t = db.basis_t() + 1;
        let datoms: Vec<Datom> = group
            .iter()
            .enumerate()
            .flat_map(|(i, person)| people::datoms(person, e(chunk * 100 + i), t, &attrs))
            .collect();
        db = commit(db, t, datoms);
    }
    let mut random = Random::new(7);
    let mut salaries: Vec<i64> = people.iter().map(|person| person.salary).collect();
    for round in 0..3 {
        for begin in (0..count).step_by(500) {
            let t = db.basis_t() + 1;
            let mut datoms = Vec::new();
            for i in (begin..count.min(begin + 500)).filter(|i| i % 5 == round) {
                let salary = salaries[i] + 1 + random.below(1000) as i64;
                datoms.push(Datom::new(e(i), attrs[4], Value::Long(salaries[i]), t, false));
                datoms.push(Datom::new(e(i), attrs[4], Value::Long(salary), t, true));
                salaries[i] = salary;
            }
            db = commit(db, t, datoms);
        }
    }
    db
}

fn commit(db: Db, t: u64, mut datoms: Vec<Datom>) -> Db {
    let instant = db.schema().attr_of_entity(db::schema::ids::TX_INSTANT).expect("a system attribute");
    let now = Instant(1_700_000_000_000 + t as i64 * 1237);
    datoms.push(Datom::new(EntityId::of_tx(t), instant, Value::Instant(now), t, true));
    db.commit(t, now, &datoms).expect("a commit")
}

/// Orders of few customers and many, with identities, prices and days; ten to a transaction, and most are delivered.
fn orders_db(count: usize) -> Db {
    let schema = "[{:db/ident :order/id :db/valueType :db.type/uuid :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
        {:db/ident :order/customer :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
        {:db/ident :order/at :db/valueType :db.type/instant :db/cardinality :db.cardinality/one :db/index true}
        {:db/ident :order/day :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
        {:db/ident :order/price :db/valueType :db.type/double :db/cardinality :db.cardinality/one}
        {:db/ident :order/state :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
        {:db/ident :order/note :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]";
    let mut db = Db::bootstrap();
    say(&mut db, &db::edn::read(schema).expect("the schema above"));
    let names = ["id", "customer", "at", "day", "price", "state", "note"];
    let a = names.map(|name| db.schema().attr_of_ident(&Keyword::new(format!("order/{name}"))).expect("installed"));
    let mut random = Random::new(11);
    let words =
        ["please", "ring", "twice", "leave", "at", "the", "door", "gift", "wrap", "no", "hurry", "call", "before"];
    for begin in (0..count).step_by(10) {
        let t = db.basis_t() + 1;
        let mut datoms = Vec::new();
        for i in begin..begin + 10 {
            let e = EntityId::new(Partition::User, 100_000 + i as u64);
            let mut id = [0; 16];
            id.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            // Few customers order most.
            let (bound, share) = (1 + random.below(20_000), 1 + random.below(50));
            let customer = EntityId::new(Partition::User, 2000 + bound / share);
            let at = 1_600_000_000_000 + i as i64 * 60_000 + random.below(60_000) as i64;
            let note: Vec<&str> = (0..random.below(8)).map(|_| words[random.below(13) as usize]).collect();
            let mut said = vec![
                Value::uuid(id),
                Value::Ref(customer),
                Value::Instant(Instant(at)),
                Value::Instant(Instant(at / 86_400_000 * 86_400_000)),
                Value::double(random.below(20_000) as f64 / 100.0),
                Value::keyword(["order.state/open", "order.state/paid"][random.below(2) as usize]),
            ];
            if !note.is_empty() {
                said.push(Value::string(note.join(" ")));
            }
            datoms.extend(said.into_iter().zip(a).map(|(v, a)| Datom::new(e, a, v, t, true)));
        }
        db = commit(db, t, datoms);
    }
    let state = Pattern::all().a(a[5]);
    let states: Vec<Datom> = db.datoms(&state).expect("a read");
    for group in states.chunks(20) {
        let t = db.basis_t() + 1;
        let mut datoms = Vec::new();
        for datom in group {
            datoms.push(Datom::new(datom.e, a[5], datom.v.clone(), t, false));
            datoms.push(Datom::new(datom.e, a[5], Value::keyword("order.state/delivered"), t, true));
        }
        db = commit(db, t, datoms);
    }
    db
}

/// What files of transactions say, one after the other.
fn edn_db(files: &[String]) -> Db {
    let mut db = Db::bootstrap();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut reader = Reader::new(&text, Limits::default());
        while let Some(form) = reader.next_form().unwrap_or_else(|error| panic!("{file}: {error}")) {
            say(&mut db, &form);
        }
    }
    db
}

fn say(db: &mut Db, form: &Edn) {
    let report = transact(db, form, Instant(4_000_000_000_000), &Functions::builtin(), &TxLimits::default());
    *db = report.expect("a transaction of a file that fits").db_after;
}
